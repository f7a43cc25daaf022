"""From a sweep file to its points and runs."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runs.scenario import Scenario, ScenarioError
from runs.sweeping.sweep_file import MOST_RUNS, Factor, Sweep, SweepError, base_scenario


@dataclass(frozen=True)
class Point:
    """One point of a design.

    Attributes
    ----------
    number : int
    levels : dict
        Level of each factor, by its label.
    unit : tuple of float
        Where it lies in the unit cube; empty for grids and lists.
    """

    number: int
    levels: dict[str, Any]
    unit: tuple[float, ...] = ()


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: a point and a replication."""

    point: Point
    replication: int
    scenario: Scenario


def points(sweep: Sweep) -> list[Point]:
    """All points of a design, in its order.

    Raises
    ------
    SweepError
        When there are too many, or what draws them is not installed.
    """
    kind, factors = sweep.design.kind, sweep.factor
    if kind == "list":
        return [Point(i, dict(levels)) for i, levels in enumerate(sweep.point)]
    if kind == "grid":
        size = int(np.prod([len(f.levels or ()) for f in factors], dtype=object))
        if size > MOST_RUNS:
            raise SweepError(f"{sweep.name}: the grid has {size:,} points; valid: up to {MOST_RUNS:,}")
        combined = itertools.product(*(f.levels or () for f in factors))
        return [Point(i, dict(zip(_labels(factors), levels, strict=True))) for i, levels in enumerate(combined)]
    unit = unit_points(sweep)
    if len(unit) > MOST_RUNS:
        raise SweepError(f"{sweep.name}: the design has {len(unit):,} points; valid: up to {MOST_RUNS:,}")
    return [
        Point(i, {f.label: f.at(float(u)) for f, u in zip(factors, row, strict=True)}, tuple(map(float, row)))
        for i, row in enumerate(unit)
    ]


def unit_points(sweep: Sweep) -> NDArray[np.float64]:
    """Points of a drawn design in the unit cube, (n, factors).

    Latin hypercubes (McKay et al. 1979) and Sobol sequences come from `scipy.stats.qmc`, Saltelli's scheme (2002) and
    Morris' trajectories (1991) from SALib.
    """
    from scipy.stats import qmc

    design, d = sweep.design, len(sweep.factor)
    n = design.points or 0
    if design.kind == "random":
        return np.asarray(np.random.default_rng(design.seed).random((n, d)), np.float64)
    if design.kind == "latin_hypercube":
        return np.asarray(qmc.LatinHypercube(d, rng=design.seed).random(n), np.float64)
    if design.kind == "sobol":
        return np.asarray(qmc.Sobol(d, rng=design.seed).random(n), np.float64)
    from runs.sweeping.indices import salib

    problem = problem_of(sweep)
    if design.kind == "saltelli":
        sample = salib("sample.sobol").sample(problem, n, calc_second_order=design.second_order, seed=design.seed)
    else:
        sample = salib("sample.morris").sample(problem, n, num_levels=4, seed=design.seed)
    return np.asarray(sample, np.float64)


def problem_of(sweep: Sweep) -> dict[str, Any]:
    """The factors as SALib asks for them, in the unit cube."""
    d = len(sweep.factor)
    return {"num_vars": d, "names": _labels(sweep.factor), "bounds": [[0.0, 1.0]] * d}


def runs_of(sweep: Sweep, *, place: str = "", replications: dict[int, int] | None = None) -> list[PlannedRun]:
    """All runs, replication by replication, so that an early end leaves whole replications.

    Parameters
    ----------
    sweep : Sweep
    place : str
        Begins error lines.
    replications : dict of int to int, optional
        Replications of a point by its number, where they differ from the design's.

    Raises
    ------
    SweepError
        When a point is no valid scenario: key, value, what is valid.
    """
    place = place or sweep.name
    found = points(sweep)
    if len(found) * sweep.design.replications > MOST_RUNS:
        raise SweepError(f"{place}: {len(found) * sweep.design.replications:,} runs; valid: up to {MOST_RUNS:,}")
    bases: dict[str, Scenario] = {}
    scenarios = [_scenario(sweep, point, bases, place) for point in found]
    count = {p.number: (replications or {}).get(p.number, sweep.design.replications) for p in found}
    return [
        PlannedRun(point, r, scenario.but(seed=seed_of(sweep, point, r)))
        for r in range(max(count.values()))
        for point, scenario in zip(found, scenarios, strict=True)
        if r < count[point.number]
    ]


def seed_of(sweep: Sweep, point: Point, replication: int) -> int:
    """Seed of a run: with common random numbers that of its replication, else one of its own."""
    design = sweep.design
    if design.common_random_numbers:
        return design.first_seed + replication
    digest = hashlib.sha256(f"{design.first_seed}|{point.number}|{replication}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


def changes_of(sweep: Sweep, point: Point) -> dict[str, Any]:
    """Keys of the scenario that a point sets."""
    if sweep.design.kind == "list":
        return dict(point.levels)
    changes: dict[str, Any] = {}
    for factor in sweep.factor:
        level = point.levels[factor.label]
        changes |= factor.cases[level] if factor.cases is not None else {factor.key: level}
    return changes


def _scenario(sweep: Sweep, point: Point, bases: dict[str, Scenario], place: str) -> Scenario:
    changes = {**sweep.base, **changes_of(sweep, point)}
    name = str(changes.pop("scenario", sweep.scenario))
    try:
        if name not in bases:
            bases[name] = base_scenario(sweep, name)
        return bases[name].changed({**changes, "name": sweep.name})
    except ScenarioError as error:
        said = json.dumps(point.levels, ensure_ascii=False, default=str)
        raise SweepError(f"{place}: point {point.number} {said[:120]}: {error}") from None


def _labels(factors: list[Factor]) -> list[str]:
    return [f.label for f in factors]
