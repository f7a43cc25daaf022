"""What each factor does to each answer: means by level, paired differences, interactions, rank correlations.

Intervals are 95 %. Points are not draws from anything and runs of one seed share their luck, so figures and differences
are averaged over the points of a seed first and the interval is taken over seeds; with one seed, over points: then it
says how much the answer varies with the other factors. Differences are taken within equal seeds and other factors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from runs.sweeping.sweep_file import Sweep

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
MOST_LEVELS = 12
"""A factor of more different levels is treated as a range."""


def effects_of(sweep: Sweep, runs: pa.Table) -> list[dict[str, Any]]:
    """Effects of every factor on every answer of the sweep.

    Returns
    -------
    list of dict
        figure; factor, level, factor2; value, low, high, n; and measure:
        `mean` of a level; `paired_difference` of a level to the first one at equal seeds and equal other factors;
        `main_share` of the sum of squares that one factor explains, `interaction_share` that two explain beyond their
        own, `replication_share` that is replications' (these three in balanced grids only); `rank_correlation` with a
        range (Spearman).
    """
    status = np.array(runs.column("status").to_pylist())
    use = np.isin(status, ["done", "degraded"])
    if not use.any():
        return []
    labels = list(sweep.point[0]) if sweep.point else [f.label for f in sweep.factor]
    levels = {label: np.array([str(v) for v in runs.column(f"p.{label}").to_pylist()])[use] for label in labels}
    numbers = {
        label: runs.column(f"p.{label}").to_numpy().astype(float)[use]
        for label in labels
        if str(runs.column(f"p.{label}").type) in ("double", "int64")
    }
    point, seed = runs.column("point").to_numpy()[use], runs.column("seed").to_numpy()[use]
    found: list[dict[str, Any]] = []
    for figure in sweep.answers.figures:
        values = runs.column(figure).to_numpy().astype(float)[use]
        rows = itertools.chain(
            _by_level(values, levels, point, seed),
            _paired(values, levels, seed),
            _shares(values, levels, point),
            _ranks(values, numbers, levels, point),
        )
        found += [{"figure": figure, "factor": "", "level": "", "factor2": "", **row} for row in rows]
    return found


def _by_level(values: Floats, levels: dict[str, Any], point: Any, seed: Any) -> Iterator[dict[str, Any]]:
    for label, of in levels.items():
        names = _in_order(of)
        if len(names) > MOST_LEVELS:
            continue
        for name in names:
            here = of == name
            means = _averaged(values[here], seed[here], point[here])
            yield {"measure": "mean", "factor": label, "level": name, **_mean(means)}


def _paired(values: Floats, levels: dict[str, Any], seed: Any) -> Iterator[dict[str, Any]]:
    for label, of in levels.items():
        names = _in_order(of)
        if not 2 <= len(names) <= MOST_LEVELS:
            continue
        others = [levels[other] for other in levels if other != label]
        where = list(zip(*others, seed.tolist(), strict=True))
        first = {w: v for w, v, level in zip(where, values, of, strict=True) if level == names[0]}
        for name in names[1:]:
            pairs = [
                (v - first[w], w) for w, v, level in zip(where, values, of, strict=True) if level == name and w in first
            ]
            if pairs:
                differences = np.array([d for d, _ in pairs])
                means = _averaged(differences, np.array([w[-1] for _, w in pairs]), np.arange(len(pairs)))
                said = f"{name} - {names[0]}"
                yield {"measure": "paired_difference", "factor": label, "level": said, **_mean(means)}


def _averaged(values: Floats, seed: Any, point: Any) -> Floats:
    """What an interval is taken over: seeds, each averaged over its points, where they are shared; else points."""
    if len(np.unique(seed)) > 1 and len(np.unique(np.bincount(np.unique(seed, return_inverse=True)[1]))) == 1:
        return _means(values, seed)
    return _means(values, point)


def _shares(values: Floats, levels: dict[str, Any], point: Any) -> Iterator[dict[str, Any]]:
    """Shares of the sum of squares, of designs in which every combination of levels occurs equally often."""
    total = float(((values - values.mean()) ** 2).sum())
    codes = {label: np.unique(of, return_inverse=True)[1] for label, of in levels.items()}
    varied = [label for label in codes if 2 <= codes[label].max() + 1 <= MOST_LEVELS]
    if total <= 0 or len(varied) < len(codes):
        return
    combined = np.unique(np.array([codes[c] for c in varied]), axis=1, return_counts=True)
    size = int(np.prod([codes[c].max() + 1 for c in varied]))
    if combined[0].shape[1] != size or len(set(combined[1].tolist())) != 1:
        return
    main = {label: _between(values, codes[label]) for label in varied}
    n = len(values)
    nothing = {"low": None, "high": None, "n": n}
    for label, ss in main.items():
        yield {"measure": "main_share", "factor": label, "value": ss / total, **nothing}
    for a, b in itertools.combinations(varied, 2):
        both = _between(values, codes[a] * (codes[b].max() + 1) + codes[b])
        share = max(0.0, both - main[a] - main[b]) / total
        yield {"measure": "interaction_share", "factor": a, "factor2": b, "value": share, **nothing}
    within = max(0.0, total - _between(values, np.unique(point, return_inverse=True)[1])) / total
    yield {"measure": "replication_share", "value": within, **nothing}


def _ranks(values: Floats, numbers: dict[str, Floats], levels: dict[str, Any], point: Any) -> Iterator[dict[str, Any]]:
    means = _means(values, point)
    n = len(means)
    for label, number in numbers.items():
        if len(_in_order(levels[label])) <= MOST_LEVELS or n < 4:
            continue
        at = _means(number, point)
        if np.ptp(means) == 0 or np.ptp(at) == 0:
            r = 0.0
        else:
            r = float(np.corrcoef(rankdata(at), rankdata(means))[0, 1])
        # Fisher's z with the variance of Bonett and Wright (2000)
        z, se = np.arctanh(np.clip(r, -0.999999, 0.999999)), np.sqrt((1 + r * r / 2) / (n - 3))
        low, high = np.tanh(z - 1.96 * se), np.tanh(z + 1.96 * se)
        yield {"measure": "rank_correlation", "factor": label, "value": r, "low": low, "high": high, "n": n}


def _between(values: Floats, code: Any) -> float:
    count = np.bincount(code)
    means = np.bincount(code, values)[count > 0] / count[count > 0]
    return float((count[count > 0] * (means - values.mean()) ** 2).sum())


def _means(values: Floats, point: Any) -> Floats:
    _, code = np.unique(point, return_inverse=True)
    return np.asarray(np.bincount(code, values) / np.bincount(code), np.float64)


def _mean(values: Floats) -> dict[str, Any]:
    n, mean = len(values), float(values.mean())
    if n < 2:
        return {"value": mean, "low": None, "high": None, "n": n}
    half = float(student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def _in_order(of: Any) -> list[str]:
    return list(dict.fromkeys(of.tolist()))
