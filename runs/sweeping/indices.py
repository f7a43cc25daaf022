"""Sensitivity indices with intervals, by SALib: Sobol's from Saltelli's scheme, Morris' from its trajectories."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runs.sweeping.sweep_file import Sweep, SweepError

if TYPE_CHECKING:
    import pyarrow as pa


class NotInstalledError(SweepError):
    """An optional package is missing; the message says which extra brings it."""


def salib(module: str) -> Any:
    """A module of SALib.

    Raises
    ------
    NotInstalledError
    """
    try:
        return import_module(f"SALib.{module}")
    except ModuleNotFoundError:
        raise NotInstalledError(
            "saltelli and morris designs need SALib: pip install 'fleet-twin[analysis]'; "
            "latin_hypercube, sobol and random do without"
        ) from None


def indices_of(sweep: Sweep, runs: pa.Table) -> list[dict[str, Any]]:
    """Indices of every answer, from the mean over replications at each point.

    Returns
    -------
    list of dict
        figure, index (s1, st, s2, mu_star, sigma), factor, factor2 and value with its 95 % interval; all 0 where a
        figure does not vary. Empty when runs failed: the scheme needs every point.
    """
    if set(runs.column("status").to_pylist()) - {"done", "degraded"}:
        return []
    point = runs.column("point").to_numpy()
    found: list[dict[str, Any]] = []
    for figure in sweep.answers.figures:
        values = runs.column(figure).to_numpy().astype(float)
        means = np.bincount(point, values) / np.bincount(point)
        found += [{"figure": figure, **row} for row in analyse(sweep, means)]
    return found


def analyse(sweep: Sweep, values: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Indices of one answer.

    Parameters
    ----------
    sweep : Sweep
        Of a saltelli or morris design.
    values : float64 (points,)
        Answer at each point, in the design's order.
    """
    from runs.sweeping.design import problem_of, unit_points

    problem, names = problem_of(sweep), [f.label for f in sweep.factor]
    if float(np.ptp(values)) == 0.0:
        kinds = ("s1", "st") if sweep.design.kind == "saltelli" else ("mu_star", "sigma")
        return [_row(kind, name, 0.0, 0.0) for kind in kinds for name in names]
    if sweep.design.kind == "saltelli":
        order2 = sweep.design.second_order
        # centred: the estimator of Saltelli et al. (2010) is the better the closer the mean is to 0
        s = salib("analyze.sobol").analyze(
            problem, values - values.mean(), calc_second_order=order2, seed=sweep.design.seed, num_resamples=500
        )
        rows = [_row("s1", n, v, c) for n, v, c in zip(names, s["S1"], s["S1_conf"], strict=True)]
        rows += [_row("st", n, v, c) for n, v, c in zip(names, s["ST"], s["ST_conf"], strict=True)]
        if order2:
            for i, first in enumerate(names):
                rows += [
                    _row("s2", first, s["S2"][i, j], s["S2_conf"][i, j], names[j]) for j in range(i + 1, len(names))
                ]
        return rows
    m = salib("analyze.morris").analyze(
        problem, unit_points(sweep), values, num_levels=4, seed=sweep.design.seed, num_resamples=500
    )
    rows = [_row("mu_star", n, v, c) for n, v, c in zip(names, m["mu_star"], m["mu_star_conf"], strict=True)]
    return rows + [_row("sigma", n, v, float("nan")) for n, v in zip(names, m["sigma"], strict=True)]


def _row(kind: str, factor: str, value: float, half: float, factor2: str = "") -> dict[str, Any]:
    known = bool(np.isfinite(half))
    return {
        "index": kind,
        "factor": factor,
        "factor2": factor2,
        "value": float(value),
        "low": float(value - half) if known else None,
        "high": float(value + half) if known else None,
    }
