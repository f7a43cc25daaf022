"""Two runs of one fleet compared: paired differences with intervals.

Runs of equal seed share their luck car by car (see `twin.chance`), so the difference is
taken within each resample: what both runs have in common cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from runs.estimates import FIGURES, Estimate, Sample, interval, resample, sample_of, skew_of

if TYPE_CHECKING:
    from runs.results import RunResult


class CompareError(ValueError):
    """Two runs that cannot be compared pairwise; the message is one line for the user."""


_FIGURE = {
    "grid_peak_kw": "grid_peak_kw",
    "grid_energy_kwh": "grid_energy_kwh",
    "autonomy_share": "autonomy_share",
    "cloud_bytes": "cloud_generated_bytes",
}


@dataclass(frozen=True)
class Comparison:
    """Differences `b - a` of two runs, and the figures they come from."""

    grid_peak_kw: Estimate
    grid_energy_kwh: Estimate
    autonomy_share: Estimate
    cloud_bytes: Estimate
    before: dict[str, float]
    after: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {f.name: v.to_dict() if isinstance(v := getattr(self, f.name), Estimate) else v for f in fields(self)}

    def __str__(self) -> str:
        lines = [f"{'':<18}{'a':>14}{'b':>14}   b - a, paired"]
        for name in _FIGURE:
            at = [
                str(Estimate(v, v, v, 0, FIGURES[_FIGURE[name]][0])).split(" (")[0]
                for v in (self.before[name], self.after[name])
            ]
            lines.append(f"{name:<18}{at[0]:>14}{at[1]:>14}   {getattr(self, name)}")
        return "\n".join(lines)


def compare(a: RunResult, b: RunResult) -> Comparison:
    """Paired differences `b - a` of two runs.

    Raises
    ------
    CompareError
        When the runs do not share map, seed, number of cars and simulated time, or did not finish.
    """
    for run in (a, b):
        if run.status not in {"done", "degraded"}:
            raise CompareError(f"{run.path}: the run is {run.status}; only finished runs can be compared")
    for what, first, second in (
        ("seed", a.manifest.get("seed"), b.manifest.get("seed")),
        ("map", a.manifest.get("inputs", {}).get("map"), b.manifest.get("inputs", {}).get("map")),
        ("number of cars", a.table("cars", ["car_id"]).num_rows, b.table("cars", ["car_id"]).num_rows),
        ("simulated seconds", a.manifest.get("simulated_s"), b.manifest.get("simulated_s")),
    ):
        if first != second:
            raise CompareError(
                f"{a.path} and {b.path}: not a pair, {what} differ ({first} and {second});"
                " compare runs that differ in settings only"
            )
    one, two = sample_of_result(a), sample_of_result(b)
    weights, alone = resample(one.seed, one.n_groups), np.ones((1, one.n_groups))
    found, before, after = {}, {}, {}
    for name, known_as in _FIGURE.items():
        unit, of_connected, reflected, figure_of = FIGURES[known_as]
        before[name], after[name] = float(figure_of(one, alone)[0]), float(figure_of(two, alone)[0])
        mean = after[name] - before[name]
        draws = figure_of(two, weights) - figure_of(one, weights)
        skew = 0.0 if reflected else skew_of(figure_of, one, two)
        low, high = interval(mean, draws, skew=skew, reflected=reflected, signed=True)
        n = int(one.connected.sum()) if of_connected else len(one.km)
        unit = "share difference" if unit == "share" else unit  # printed in percentage points
        found[name] = Estimate(mean, low, high, n, unit, "paired by car, not scaled")
    return Comparison(**found, before=before, after=after)


def sample_of_result(run: RunResult) -> Sample:
    """Per-car contributions of a results folder."""
    return sample_of(
        run.table("cars"),
        run.table("sessions"),
        run.table("grid_load"),
        seed=int(run.manifest["seed"]),
        simulated_s=float(run.manifest["simulated_s"]),
        interval_s=run.scenario.grid.interval_min * 60,
    )
