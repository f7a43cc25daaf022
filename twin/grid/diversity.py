"""How much less a group of cars draws at its worst than each of them: ADMD and coincidence by group size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream, chance

Floats = NDArray[np.float64]

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
GROUPS = 200
"""Random groups per size."""


class Diversity(NamedTuple):
    """One entry per group size.

    Attributes
    ----------
    n : ndarray of int64
        Cars in a group.
    admd_kw, low_kw, high_kw : ndarray of float64
        Highest interval mean of the group per car (after-diversity maximum demand): mean, and the range in which
        95 % of groups lie.
    coincidence : ndarray of float64
        The group's peak over the sum of its cars' own peaks, mean over groups; 0 when nobody charged.
    """

    n: NDArray[np.int64]
    admd_kw: Floats
    low_kw: Floats
    high_kw: Floats
    coincidence: Floats


def diversity(load_kw: Floats, *, seed: int, sizes: tuple[int, ...] = SIZES, groups: int = GROUPS) -> Diversity:
    """Peaks of random groups drawn from a pool of cars, with replacement.

    Parameters
    ----------
    load_kw : ndarray of float64, shape (n_cars, n_intervals)
        Mean power of each car of the pool, also of those that did not charge.
    seed : int
    sizes : tuple of int
        Group sizes; those larger than the pool are left out, since the pool says nothing about them.

    Examples
    --------
    >>> apart = np.eye(4) * 3.0  # four cars that charge one after the other
    >>> together = np.ones((4, 1)) * 3.0
    >>> diversity(together, seed=1, sizes=(1, 4)).admd_kw.tolist()
    [3.0, 3.0]
    >>> bool(diversity(apart, seed=1, sizes=(1, 4)).admd_kw[1] < 3.0)
    True
    """
    cars = len(load_kw)
    used = [n for n in sizes if n <= cars]
    rows = [_groups(load_kw, n, seed=seed, groups=groups) for n in used]
    columns = np.array(rows).reshape(len(used), 4).T
    return Diversity(np.array(used, np.int64), *columns)


def spread_of_load(load_kw: Floats, n: int, *, seed: int, groups: int = GROUPS) -> tuple[Floats, Floats]:
    """Load between which 95 % of random groups of `n` cars lie in each interval, kW, two of shape (n_intervals,).

    Examples
    --------
    >>> low, high = spread_of_load(np.array([[0.0, 3.0], [2.0, 3.0]]), 1, seed=1)
    >>> low.tolist(), high.tolist()
    ([0.0, 3.0], [2.0, 3.0])
    """
    low, high = np.quantile(_drawn(len(load_kw), n, seed=seed, groups=groups) @ load_kw, [0.025, 0.975], axis=0)
    return low, high


def _groups(load_kw: Floats, n: int, *, seed: int, groups: int) -> tuple[float, float, float, float]:
    own = load_kw.max(axis=1, initial=0.0)
    often = _drawn(len(load_kw), n, seed=seed, groups=groups)
    peak, alone = (often @ load_kw).max(axis=1, initial=0.0), often @ own
    together = np.divide(peak, alone, out=np.zeros(groups), where=alone > 0)
    low, high = np.quantile(peak / n, [0.025, 0.975])
    return float(peak.mean() / n), float(low), float(high), float(together.mean())


def _drawn(cars: int, n: int, *, seed: int, groups: int) -> Floats:
    """How often each car of the pool is in each random group of `n`, shape (groups, cars)."""
    u = chance(seed, Stream.DIVERSITY, np.arange(n)[None, :], (n * groups + np.arange(groups))[:, None])
    picked = np.minimum((u * cars).astype(np.int64), cars - 1) + cars * np.arange(groups)[:, None]
    return np.bincount(picked.ravel(), minlength=groups * cars).reshape(groups, cars).astype(float)
