"""Whether a run's tables say the same as its summary: both are shown, so both must agree."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from viz import series
from viz.folder import Folder

TOLERANCE = 1e-6
"""Relative difference that counts as equal: tables hold rounded joules and float kilometres."""


class Check(NamedTuple):
    """One figure, counted from a table and said by the summary."""

    label: str
    key: str
    unit: str
    from_table: float
    from_summary: float

    @property
    def agrees(self) -> bool:
        """Equal within the tolerance."""
        return math.isclose(self.from_table, self.from_summary, rel_tol=TOLERANCE, abs_tol=1e-9)


def cross_checks(folder: Folder) -> list[Check]:
    """Every headline figure of the summary that the tables allow to count again."""
    load = series.grid_load(folder)
    step_h = (load.edges_s[1] - load.edges_s[0]) / 3600
    road = series.engagement_by_class(folder)
    day = series.cloud_day(folder)
    counted = (
        ("grid_load", "peak charging power", "grid.peak_kw", "kW", load.total.max(initial=0)),
        ("grid_load", "energy at the meter", "grid.energy_kwh", "kWh", load.total.sum() * step_h),
        ("autonomy", "engaged distance", "autonomy.engaged_km", "km", road.engaged_km.sum()),
        ("autonomy", "engaged share", "autonomy.share", "share", _ratio(road.engaged_km.sum(), road.km.sum())),
        ("cloud", "generated", "cloud.generated_bytes", "bytes", day.generated.sum()),
        ("cloud", "delivered", "cloud.delivered_bytes", "bytes", day.delivered.values.sum()),
        ("cloud", "dropped", "cloud.dropped_bytes", "bytes", day.dropped.sum()),
    )
    checks = []
    for table, label, key, unit, value in counted:
        said = folder.value(*key.split("."))
        if folder.columns(table) and isinstance(said, int | float) and not isinstance(said, bool):
            checks.append(Check(label, key, unit, float(value), float(said)))
    return checks


def _ratio(part: np.float64, whole: np.float64) -> float:
    return float(part / whole) if whole > 0 else 0.0
