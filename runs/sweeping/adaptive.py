"""Adaptive replication: points whose answer is still too wide get another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from runs.sweeping.design import PlannedRun
from runs.sweeping.sweep_file import Sweep, SweepError

FEWEST = 3
"""Replications before an interval is believed."""


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of a mean (Student's t), as a share of the mean; infinite from fewer than two.

    Examples
    --------
    >>> round(half_width([9.0, 10.0, 11.0]), 4)
    0.2484
    """
    n = len(values)
    if n < 2:
        return float("inf")
    spread = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    mean = abs(float(np.mean(values)))
    return 0.0 if spread == 0 else spread / mean if mean > 0 else float("inf")


def wanted(sweep: Sweep, planned: Sequence[PlannedRun], records: Mapping[str, Mapping[str, Any]]) -> dict[int, int]:
    """Replications per point for the next round; empty when every interval is narrow enough or at the most.

    Raises
    ------
    SweepError
        When the figure is in no summary.
    """
    rule = sweep.adaptive
    assert rule is not None
    values: dict[int, list[float]] = {}
    for record in records.values():
        if rule.figure not in record["figures"]:
            raise SweepError(f"{sweep.name}: adaptive.figure: no {rule.figure!r} in the summary of a run")
        values.setdefault(record["about"]["point"], []).append(record["figures"][rule.figure])
    now: dict[int, int] = {}
    for run in planned:
        now[run.point.number] = max(now.get(run.point.number, 0), run.replication + 1)
    more = False
    for point, count in now.items():
        wide = len(values.get(point, [])) < FEWEST or half_width(values[point]) > rule.half_width
        if wide and count < rule.most:
            now[point] = count + 1 if count >= FEWEST else FEWEST
            more = True
    return now if more else {}
