"""Reading model files: TOML in, checked tables out, one line of error for the user.

The same rules hold for the project's `vehicles.toml` and for a file that a user brings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

POWERTRAINS = ("bev", "series_hybrid", "hev", "ice")
PROPILOT_LEVELS = ("none", "propilot_1.0", "propilot_1.0_navi", "propilot_2.0")
"""`adas.level`; the index is `Fleet.propilot`."""

ABOUT = ("source", "confidence", "note", "recalled_fields")
"""Where a group of numbers is from; allowed in every table."""

_WORDS = {"id", "name", "brand", "segment", "powertrain", "launch", "end"}
_PARTS = ("battery", "body", "road_load", "drive", "consumption", "charging", "aux", "adas", "connectivity")
_TOP = (*sorted(_WORDS), "regions", *_PARTS)

# field: (least, most) for numbers, None for anything else
_TABLES: dict[str, dict[str, tuple[float, float] | None]] = {
    "battery": {"gross_kwh": (0.1, 300.0), "usable_kwh": (0.1, 300.0)},
    "body": {
        "curb_kg": (300.0, 10_000.0),
        "test_mass_kg": (400.0, 12_000.0),
        "cd": (0.1, 2.0),
        "frontal_area_m2": (0.5, 12.0),
        "effective_cda_m2": (0.1, 12.0),
        "effective_crr": (0.002, 0.05),
    },
    "road_load": {"abc": None},
    "drive": {
        "motor_kw": (1.0, 2000.0),
        "motor_nm": (1.0, 10_000.0),
        "engine": None,
        "engine_kw": (1.0, 2000.0),
        "generator_kw": (1.0, 2000.0),
        "tank_l": (1.0, 1000.0),
        "drive": None,
        "ttw_eff_udds": (0.05, 0.6),
        "ttw_eff_hwfet": (0.05, 0.6),
        "fuel_to_bus_eff": (0.05, 0.6),
    },
    "charging": {
        "ac_kw": (0.1, 50.0),
        "ac_alt_kw": (0.1, 50.0),
        "dc_standard": None,
        "dc_peak_kw": (1.0, 1000.0),
        "curve": None,
    },
    "aux": {"hvac_profile": None},
    "adas": {"level": None, "since": None, "condition": None},
    "connectivity": {"network": None, "tcu_since": None, "firmware_ota": None},
}

_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "bev": {
        "battery": ("usable_kwh",),
        "body": ("test_mass_kg",),
        "drive": ("motor_kw",),
        "charging": ("ac_kw",),
        "aux": ("hvac_profile",),
        "adas": ("level",),
        "connectivity": ("network", "firmware_ota"),
    },
    "series_hybrid": {
        "battery": ("usable_kwh",),
        "body": ("test_mass_kg",),
        "drive": ("motor_kw", "engine_kw", "generator_kw"),
        "aux": ("hvac_profile",),
        "adas": ("level",),
        "connectivity": ("network", "firmware_ota"),
    },
    "ice": {
        "body": ("test_mass_kg",),
        "drive": ("engine_kw",),
        "aux": ("hvac_profile",),
        "adas": ("level",),
        "connectivity": ("network", "firmware_ota"),
    },
}
_NEEDED["hev"] = _NEEDED["ice"]


class CatalogueError(ValueError):
    """A model file cannot be used; one line naming file, model, field and what is valid."""


def read(path: Path | str) -> dict[str, Any]:
    """Parse a TOML file of models.

    Raises
    ------
    CatalogueError
        When the file is missing, is not TOML, or has no `[[vehicle]]`.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: not TOML: {error}") from None
    valid = ("vehicle", "charge_curve")
    for key in content:
        if key not in valid:
            raise CatalogueError(f"{path}: unknown table {key!r}{_near(key, valid)}; valid: {', '.join(valid)}")
    if not isinstance(content.get("vehicle"), list) or not content["vehicle"]:
        raise CatalogueError(f"{path}: no [[vehicle]] in it")
    return content


def check_model(model: Mapping[str, Any], place: str, *, curves: Iterable[str], profiles: Iterable[str]) -> None:
    """Check one `[[vehicle]]` table.

    Parameters
    ----------
    model : mapping
        The table.
    place : str
        File and number, for the message.
    curves, profiles : iterable of str
        Names of DC charge curves and of heating profiles that exist.

    Raises
    ------
    CatalogueError
        With the first fault and what is valid.
    """
    where = f"{place}: model {model.get('id', '?')!r}"
    _known(model, _TOP, where)
    for word in sorted(_WORDS):
        if not isinstance(model.get(word), str) or not model[word]:
            raise CatalogueError(f"{where}: {word} is missing or not a text; needed: {', '.join(sorted(_WORDS))}")
    kind = _one_of(model["powertrain"], POWERTRAINS, f"{where}: powertrain")
    for word in ("launch", "end"):
        month(model[word], f"{where}: {word}")
    if month(model["end"], where) <= month(model["launch"], where):
        raise CatalogueError(f"{where}: end {model['end']} is not after launch {model['launch']}")
    regions = model.get("regions")
    if not isinstance(regions, list) or not regions or not all(isinstance(r, str) for r in regions):
        raise CatalogueError(f'{where}: regions must be a list such as ["JP", "EU", "US"] or ["ANY"]')
    for name, table in _TABLES.items():
        if name in model:
            _check_table(model[name], table, f"{where}: {name}")
    for name, needs in _NEEDED[kind].items():
        for field in needs:
            if field not in model.get(name, {}):
                needed = "; ".join(f"{n}: {', '.join(f)}" for n, f in _NEEDED[kind].items())
                raise CatalogueError(f"{where}: {name}.{field} is missing; a {kind} needs {needed}")
    _check_road_load(model, where)
    _one_of(model["aux"]["hvac_profile"], tuple(profiles), f"{where}: aux.hvac_profile")
    _one_of(model["adas"]["level"], PROPILOT_LEVELS, f"{where}: adas.level")
    if not isinstance(model["connectivity"]["firmware_ota"], bool):
        raise CatalogueError(f"{where}: connectivity.firmware_ota must be true or false")
    network(model["connectivity"]["network"], f"{where}: connectivity.network")
    for part, field in (("adas", "since"), ("connectivity", "tcu_since")):
        if field in model[part]:
            month(model[part][field], f"{where}: {part}.{field}")
    if model.get("battery", {}).get("gross_kwh", 1e9) < model.get("battery", {}).get("usable_kwh", 0.0):
        raise CatalogueError(f"{where}: battery.usable_kwh is above battery.gross_kwh")
    plug = model.get("charging", {})
    if "dc_standard" in plug and not isinstance(plug["dc_standard"], str):
        raise CatalogueError(f"{where}: charging.dc_standard must be a text such as CCS, CHAdeMO or GB/T")
    if "dc_standard" in plug or "curve" in plug:
        _one_of(plug.get("curve"), tuple(curves), f"{where}: charging.curve")


def check_curve(points: Any, where: str) -> None:
    """Check a DC charge curve: pairs [state of charge %, kW], from 0 to 100 %, in order, power above 0."""
    good = isinstance(points, list) and len(points) >= 2
    good = good and all(isinstance(p, list) and len(p) == 2 and all(_number(x) for x in p) for p in points)
    if good:
        soc = [p[0] for p in points]
        good = soc[0] == 0 and soc[-1] == 100 and all(a < b for a, b in pairwise(soc)) and all(p[1] > 0 for p in points)
    if not good:
        raise CatalogueError(f"{where}: points must be [[0, kW], …, [100, kW]], state of charge rising, power above 0")


def month(text: object, where: str) -> int:
    """Months since year 0 of a "YYYY-MM" text."""
    found = re.fullmatch(r"(\d{4})-(\d{2})", text) if isinstance(text, str) else None
    if not found or not 1 <= int(found[2]) <= 12:
        raise CatalogueError(f'{where}: {text!r} is not a month such as "2022-06"')
    return int(found[1]) * 12 + int(found[2]) - 1


def network(text: object, where: str) -> int:
    """Generation of the modem, 0, 2, 3 or 4, from words such as "4G (option)" or "none".

    The first generation named counts; an optional modem without one is LTE.
    What changed during a model's life is in `facts/population.toml`.
    """
    if isinstance(text, str):
        if text.startswith("none"):
            return 0
        found = re.search(r"\b([234])G", text)
        if found:
            return int(found[1])
        if text.startswith("optional"):
            return 4
    raise CatalogueError(f"{where}: {text!r} names no network; valid: none, 2G, 3G, 4G, optional")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _near(word: str, valid: Iterable[str]) -> str:
    close = get_close_matches(word, list(valid), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _known(table: Mapping[str, Any], valid: Iterable[str], where: str) -> None:
    valid = tuple(valid)
    for key in table:
        if key not in valid:
            raise CatalogueError(f"{where}: unknown field {key!r}{_near(key, valid)}; valid: {', '.join(valid)}")


def _one_of(value: object, valid: tuple[str, ...], where: str) -> str:
    if not isinstance(value, str) or value not in valid:
        raise CatalogueError(f"{where} is {value!r}; valid: {', '.join(valid)}")
    return value


def _check_table(table: object, fields: Mapping[str, tuple[float, float] | None], where: str) -> None:
    if not isinstance(table, dict):
        raise CatalogueError(f"{where} must be a table with {', '.join(fields)}")
    _known(table, (*fields, *ABOUT), where)
    for field, span in fields.items():
        if field not in table or span is None:
            continue
        if not _number(table[field]) or not span[0] <= table[field] <= span[1]:
            raise CatalogueError(f"{where}.{field} is {table[field]!r}; valid: {span[0]:g} to {span[1]:g}")


def _check_road_load(model: Mapping[str, Any], where: str) -> None:
    abc = model.get("road_load", {}).get("abc")
    if abc is not None:
        if not isinstance(abc, list) or len(abc) != 3 or not all(_number(x) for x in abc):
            raise CatalogueError(f"{where}: road_load.abc must be three numbers A (N), B (N s/m), C (N s2/m2)")
        # a coast-down fit may dip (B < 0), but a road that pushes the car is an error
        if any(abc[0] + abc[1] * v + abc[2] * v * v <= 0 for v in range(61)):
            raise CatalogueError(f"{where}: road_load.abc gives no resistance at some speed below 60 m/s")
        return
    body = model["body"]
    if "effective_cda_m2" not in body and not ("cd" in body and "frontal_area_m2" in body):
        ways = "road_load.abc, or body.effective_cda_m2, or body.cd and body.frontal_area_m2"
        raise CatalogueError(f"{where}: give {ways}")
