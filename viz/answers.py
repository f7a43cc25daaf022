"""The three answers of a run, as the head of every page and picture gives them.

Every figure comes from `summary.json`; nothing is counted again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from viz.folder import Folder
from viz.style import amount


class Fact(NamedTuple):
    """One figure of the summary: what it is, its path in `summary.json`, its value and unit."""

    label: str
    key: str
    value: object
    unit: str

    @property
    def shown(self) -> str:
        """Value and unit as people read them."""
        return amount(self.value, self.unit)


class Answer(NamedTuple):
    """One of the three estimates: the headline fact, its interval, and what belongs to it."""

    title: str
    label: str
    main: Fact
    low: Fact | None
    high: Fact | None
    n: int | None
    scaled_by: str
    more: tuple[Fact, ...]

    @property
    def shown(self) -> str:
        """The headline figure with its unit."""
        return self.main.shown

    @property
    def interval(self) -> str:
        """The 95 % interval in words, empty when the run gives none."""
        return f"95 % interval {self.low.shown} to {self.high.shown}" if self.low and self.high else ""


# title, label, keys of `estimates` in order of preference, the summary's own figure and unit, further figures
_PLAN = (
    (
        "Grid load",
        "peak charging power",
        ("grid_peak_kw",),
        ("grid.peak_kw", "kW"),
        (("energy at the meter", "grid.energy_kwh", "kWh"), ("coincidence", "grid.coincidence", "share")),
    ),
    (
        "Autonomy",
        "of fleet distance with ProPILOT engaged",
        ("autonomy_share",),
        ("autonomy.share", "share"),
        (
            ("engaged distance", "autonomy.engaged_km", "km"),
            ("cars with ProPILOT", "autonomy.equipped_share", "share"),
            ("of equipped cars' distance", "autonomy.share_of_equipped_km", "share"),
            ("distance in the domain of an equipped car", "autonomy.possible_share", "share"),
        ),
    ),
    (
        "Cloud traffic",
        "telemetry per connected car and day",
        ("cloud_mb_per_connected_car_day", "mb_per_connected_car_day", "cloud_mb_per_car_day"),
        ("cloud.mb_per_connected_car_day", "MB"),
        (("generated", "cloud.generated_bytes", "bytes"), ("highest rate", "cloud.peak_bytes_per_s", "bytes/s")),
    ),
)


def answers(folder: Folder) -> tuple[Answer, Answer, Answer]:
    """Grid load, autonomy share and cloud traffic of a run, with intervals where it has them."""
    found = folder.value("estimates")
    estimates = found if isinstance(found, Mapping) else {}
    made = []
    for title, label, names, (key, unit), more in _PLAN:
        name = next((n for n in names if isinstance(estimates.get(n), Mapping)), None)
        facts = tuple(fact(folder, *item) for item in more)
        if name is None:
            made.append(Answer(title, label, fact(folder, label, key, unit), None, None, None, "", facts))
            continue
        item = estimates[name]
        ends = [
            Fact(f"{label}, {end}", f"estimates.{name}.{end}", item.get(end), unit) for end in ("mean", "low", "high")
        ]
        known = all(isinstance(end.value, int | float) for end in ends[1:])
        n = item.get("n")
        made.append(
            Answer(
                title,
                label,
                ends[0],
                ends[1] if known else None,
                ends[2] if known else None,
                n if isinstance(n, int) else None,
                str(item.get("scaled_by") or ""),
                facts,
            )
        )
    grid, autonomy, cloud = made
    return grid, autonomy, cloud


def fact(folder: Folder, label: str, key: str, unit: str) -> Fact:
    """A figure of the summary by its dotted path."""
    return Fact(label, key, folder.value(*key.split(".")), unit)
