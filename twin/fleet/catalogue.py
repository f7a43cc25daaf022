"""The catalogue: every car model is one row of numbers, so a new model compiles nothing.

Data are `facts/vehicles.toml` and, when given, a user's file of the same layout.
Columns of `matrix` are named by `Param`; kernels take the matrix and these indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin.facts import load
from twin.fleet.fleet import Kind
from twin.fleet.model_file import (
    ABOUT,
    PROPILOT_LEVELS,
    CatalogueError,
    check_curve,
    check_model,
    month,
    network,
    read,
)

REGION_OF_MARKET = {"japan": "JP", "europe": "EU", "us": "US"}
"""Region code of `vehicles.toml` for each market of the settings."""

HVAC_PROFILES = ("ptc", "hp_ptc", "kei_ptc", "engine_heat")
"""Rows of the table of cabin power against temperature; see `twin.energy.climate`."""

_KIND = {"bev": Kind.ELECTRIC, "series_hybrid": Kind.EPOWER, "hev": Kind.COMBUSTION, "ice": Kind.COMBUSTION}
_SOCKET_WORDS = (("ccs", "CCS"), ("chademo", "CHAdeMO"))
_J_PER_KWH = 3_600_000.0


class Param(IntEnum):
    """Columns of `Catalogue.matrix`; SI units."""

    KIND = 0  # Kind
    MASS = 1  # kg, as tested
    INERTIA = 2  # kg, mass times rotating mass factor
    A = 3  # N, road load F = A + B v + C v2
    B = 4  # N s/m
    C = 5  # N s2/m2
    ETA_DRIVE = 6  # battery to wheel
    ETA_REGEN = 7  # wheel to battery
    REGEN_SHARE = 8  # braking energy that goes through the motor, the rest heats the brakes
    P_CONST = 9  # W, lost while moving
    AUX = 10  # W, lights, computers, pumps
    HVAC = 11  # row of HVAC_PROFILES
    CAPACITY = 12  # J, usable battery; 0 without
    MOTOR = 13  # W
    ENGINE = 14  # W
    GENERATOR = 15  # W
    ETA_FUEL_BUS = 16  # e-POWER: bus energy per fuel energy
    FUEL_PER_WHEEL = 17  # combustion: fuel energy per wheel traction energy (slope of the Willans line)
    FUEL_IDLE = 18  # W, combustion: fuel power that flows whatever the wheels do (its intercept)
    FUEL_PER_AUX = 19  # combustion: fuel energy per electrical energy beyond the test's
    LHV = 20  # J per litre


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All models; arrays have one entry per model.

    Attributes
    ----------
    ids, names, brands, segments, powertrains : tuple of str
    kinds : uint8, `Kind`
    launch, end : int, months since year 0 (first month sold, first month no longer sold)
    regions : tuple of frozenset of str, region codes; "ANY" is everywhere
    matrix : float64 (n_models, len(Param))
    propilot : uint8, highest level that the model offers (index into PROPILOT_LEVELS)
    propilot_since : int, months since year 0
    ac_kw : float64, on-board charger, 0 without plug
    dc_socket : int8, index into SOCKET_KINDS in the catalogue's market, -1 none
    curve_kw : float64 (n_models, 101), DC power at each whole % of charge, 0 without
    generation : uint8, modem generation (0 none) unless `facts/population.toml` knows the year
    ota : bool, firmware over the air
    """

    market: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    brands: tuple[str, ...]
    segments: tuple[str, ...]
    powertrains: tuple[str, ...]
    kinds: NDArray[np.uint8]
    launch: NDArray[np.int64]
    end: NDArray[np.int64]
    regions: tuple[frozenset[str], ...]
    matrix: NDArray[np.float64]
    propilot: NDArray[np.uint8]
    propilot_since: NDArray[np.int64]
    ac_kw: NDArray[np.float64]
    dc_standard: tuple[str, ...]
    dc_socket: NDArray[np.int8]
    curve_kw: NDArray[np.float64]
    generation: NDArray[np.uint8]
    tcu_since: NDArray[np.int64]
    ota: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def load(cls, extra: Path | str | None = None, *, market: str = "japan") -> Catalogue:
        """Read the project's models and a user's.

        Parameters
        ----------
        extra : path, optional
            TOML file with `[[vehicle]]` tables (and `[charge_curve.*]`); a model of
            an id that exists replaces it.
        market : str
            Whose DC inlet a model sold with several has.

        Raises
        ------
        CatalogueError
            One line with file, model, field and what is valid.

        Examples
        --------
        >>> models = Catalogue.load()
        >>> models.ids[models.row("leaf_ze1_40")], float(models["leaf_ze1_40"]["MASS"])
        ('leaf_ze1_40', 1758.0)
        """
        if market not in REGION_OF_MARKET:
            raise CatalogueError(f"market {market!r}; valid: {', '.join(REGION_OF_MARKET)}")
        facts = load("vehicles")
        models = {m["id"]: (m, "vehicles.toml") for m in facts["vehicle"]}
        curves = {name: (c, "vehicles.toml") for name, c in facts["charge_curve"].items()}
        if extra is not None:
            content = read(extra)
            seen: set[str] = set()
            for number, model in enumerate(content["vehicle"], 1):
                name = model.get("id") if isinstance(model, dict) else None
                if not isinstance(name, str) or name in seen:
                    where = f"{extra}: vehicle {number}: id {name!r}"
                    raise CatalogueError(f"{where} is missing, not a text, or used twice")
                seen.add(name)
                models[name] = (model, str(extra))
            given = content.get("charge_curve", {})
            if not isinstance(given, dict):
                raise CatalogueError(f"{extra}: charge_curve must be tables such as [charge_curve.my_car]")
            curves |= {name: (c, str(extra)) for name, c in given.items()}
        for name, (curve, place) in curves.items():
            where = f"{place}: charge_curve {name!r}"
            if not isinstance(curve, dict) or set(curve) - {"points", *ABOUT}:
                raise CatalogueError(f"{where}: valid fields: points, {', '.join(ABOUT)}")
            check_curve(curve.get("points"), where)
        for model, place in models.values():
            check_model(model, place, curves=curves, profiles=HVAC_PROFILES)
        points = {name: curve["points"] for name, (curve, _) in curves.items()}
        return cls._from([m for m, _ in models.values()], points, facts["physics"], market)

    @classmethod
    def _from(
        cls,
        models: list[dict[str, Any]],
        curves: Mapping[str, list[list[float]]],
        physics: Mapping[str, Any],
        market: str,
    ) -> Catalogue:
        energy = load("energy")
        region = REGION_OF_MARKET[market]
        charging = [m.get("charging", {}) for m in models]
        percent = np.arange(101.0)
        curve_kw = np.zeros((len(models), 101))
        for row, plug in enumerate(charging):
            if "curve" in plug:
                curve_kw[row] = np.interp(percent, *np.array(curves[plug["curve"]], float).T)
        words = tuple(_dc_words(plug.get("dc_standard", ""), region) for plug in charging)
        sockets = [_socket(w) for w in words]
        columns: dict[str, Any] = {
            "kinds": np.array([_KIND[m["powertrain"]] for m in models], np.uint8),
            "launch": np.array([month(m["launch"], "") for m in models]),
            "end": np.array([month(m["end"], "") for m in models]),
            "matrix": np.array([_parameters(m, physics, energy) for m in models]),
            "propilot": np.array([PROPILOT_LEVELS.index(m["adas"]["level"]) for m in models], np.uint8),
            "propilot_since": np.array([month(m["adas"].get("since", m["launch"]), "") for m in models]),
            "ac_kw": np.array([float(plug.get("ac_kw", 0.0)) for plug in charging]),
            "dc_socket": np.array(sockets, np.int8),
            "curve_kw": curve_kw,
            "generation": np.array([network(m["connectivity"]["network"], "") for m in models], np.uint8),
            "tcu_since": np.array([month(m["connectivity"].get("tcu_since", m["launch"]), "") for m in models]),
            "ota": np.array([m["connectivity"]["firmware_ota"] for m in models], np.bool_),
        }
        for array in columns.values():
            array.flags.writeable = False
        return cls(
            market=market,
            ids=tuple(m["id"] for m in models),
            names=tuple(m["name"] for m in models),
            brands=tuple(m["brand"] for m in models),
            segments=tuple(m["segment"] for m in models),
            powertrains=tuple(m["powertrain"] for m in models),
            regions=tuple(frozenset(m["regions"]) for m in models),
            dc_standard=words,
            **columns,
        )

    def row(self, name: str) -> int:
        """Row of a model by its id.

        Raises
        ------
        CatalogueError
            When there is no such model; the message lists the ids.
        """
        try:
            return self.ids.index(name)
        except ValueError:
            raise CatalogueError(f"no model {name!r}; there are {', '.join(self.ids)}") from None

    def __getitem__(self, name: str) -> dict[str, float]:
        """Parameters of one model by name of the column, for reading."""
        values = self.matrix[self.row(name)]
        return {p.name: float(values[p]) for p in Param}

    def sold_in(self, region: str) -> NDArray[np.bool_]:
        """Models that were sold in a region ("JP", "EU", "US", …)."""
        return np.array([region in r or "ANY" in r for r in self.regions])


def _dc_words(text: str, region: str) -> str:
    """Which of "CCS (EU/US), CHAdeMO (JP)" holds in a region; the first when none names it."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    here = [part for part in parts if "(" in part and region in part.split("(")[1]]
    return (here or parts or [""])[0].split("(")[0].strip()


def _socket(standard: str) -> int:
    for kind, word in _SOCKET_WORDS:
        if standard == word:
            return SOCKET_KINDS.index(kind)
    return -1  # no DC inlet, or one (GB/T) that the maps' sites do not have


def _parameters(model: Mapping[str, Any], physics: Mapping[str, Any], energy: Mapping[str, Any]) -> list[float]:
    """One row of the matrix, in the order of Param."""
    kind = _KIND[model["powertrain"]]
    body, drive = model["body"], model["drive"]
    mass = float(body["test_mass_kg"])
    a, b, c = (float(x) for x in model.get("road_load", {}).get("abc") or _road_load(body, physics))
    electric, ice = physics["bev"], physics["ice"]
    lhv = physics["fuel"]["gasoline_lhv_kwh_per_l"] * _J_PER_KWH
    slope = idle = per_aux = 0.0
    if kind == Kind.COMBUSTION:
        # a parallel hybrid stops and restarts its engine, so its town efficiency is near the highway's
        town = ice["ttw_eff_highway"] if model["powertrain"] == "hev" else ice["ttw_eff_city"]
        slope, idle = willans(
            abc=(a, b, c),
            mass_kg=mass,
            eff_udds=drive.get("ttw_eff_udds", town),
            eff_hwfet=drive.get("ttw_eff_hwfet", ice["ttw_eff_highway"]),
            cycles=energy["cycle"],
        )
        per_aux = slope / energy["combustion"]["alternator_eta"]
    by_model = energy["epower"]["fuel_to_bus_eff"]
    default = by_model.get(model["id"], physics["series_hybrid"]["eta_fuel_to_bus_default"])
    return [
        float(kind),
        mass,
        mass * physics["rotating_mass_factor"],
        a,
        b,
        c,
        electric["eta_drive"],
        electric["eta_regen"],
        electric["regen_share"],
        1000.0 * electric["p_const_kw"],
        1000.0 * electric["aux_base_kw"],
        float(HVAC_PROFILES.index(model["aux"]["hvac_profile"])),
        0.0 if kind == Kind.COMBUSTION else round(_J_PER_KWH * model["battery"]["usable_kwh"]),
        1000.0 * drive.get("motor_kw", 0.0),
        1000.0 * drive.get("engine_kw", 0.0),
        1000.0 * drive.get("generator_kw", 0.0),
        drive.get("fuel_to_bus_eff", default) if kind == Kind.EPOWER else 0.0,
        slope,
        idle,
        per_aux,
        lhv,
    ]


def _road_load(body: Mapping[str, Any], physics: Mapping[str, Any]) -> tuple[float, float, float]:
    """Road load from drag and rolling resistance where no coast-down is known.

    The brochure's Cd times area is too low by about a third against coast-downs
    (`physics.road_load_note`), so it is raised; B = 2 N s/m as in the other derived rows.
    """
    note = physics["road_load_note"]
    brochure = note["leaf_effective_cda_m2"] / note["leaf_brochure_cda_m2"]
    area = body.get("effective_cda_m2") or body["cd"] * body["frontal_area_m2"] * brochure
    rolling = body.get("effective_crr", 0.0085) * body["test_mass_kg"] * physics["gravity_m_s2"]
    return rolling, 2.0, 0.5 * physics["air_density_kg_m3"] * area


def willans(
    *,
    abc: tuple[float, float, float],
    mass_kg: float,
    eff_udds: float,
    eff_hwfet: float,
    cycles: Mapping[str, Mapping[str, float]],
) -> tuple[float, float]:
    """Straight line of fuel power over wheel power that meets both test cycles.

    Parameters
    ----------
    abc : road load, N, N s/m, N s2/m2
    mass_kg : test mass
    eff_udds, eff_hwfet : wheel traction energy per fuel energy on the two cycles
    cycles : traction integrals per metre of `facts/energy.toml` [cycle.*]

    Returns
    -------
    slope, idle_w : fuel joule per wheel joule (at least 1) and constant fuel power in W (at least 0)
    """
    wheel = {
        name: abc[0] * k["share"] + abc[1] * k["speed_mps"] + abc[2] * k["speed2_m2_s2"] + mass_kg * k["gain_m_s2"]
        for name, k in cycles.items()
    }
    town, road = wheel["udds"], wheel["hwfet"]
    pace_town, pace_road = 1 / cycles["udds"]["mean_mps"], 1 / cycles["hwfet"]["mean_mps"]
    rows = np.array([[town, pace_town], [road, pace_road]])
    slope, idle = np.linalg.solve(rows, np.array([town / eff_udds, road / eff_hwfet]))
    if idle < 0 or slope < 1:  # no town penalty (hybrids): a constant efficiency through the highway's point
        return 1 / eff_hwfet, 0.0
    return float(slope), float(idle)
