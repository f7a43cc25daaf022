"""How many cars the feeders of a city carry: cars are added house by house until feeders exceed their rating."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream, chance

Floats = NDArray[np.float64]

MOST_CARS = 2
"""Cars that a household gets at most."""
SHARES = np.round(np.arange(0.0, MOST_CARS + 0.01, 0.1), 2)
"""Cars per household at which the curve is given."""
REPEATS = 40
MOST_FEEDERS = 200
"""Feeders looked at in one repeat; of more, others in every repeat."""


class Hosting(NamedTuple):
    """Feeders above their rating as cars are added.

    Attributes
    ----------
    share, low, high : ndarray of float64, shape (len(SHARES),)
        Share of feeders above their rating: mean and 95 % range over repeats.
    cars_per_household, least, most : float
        Where the asked share is reached: mean and 95 % range; `MOST_CARS` where not even these reach it.
    reached : float
        Share of repeats in which it was.
    """

    share: Floats
    low: Floats
    high: Floats
    cars_per_household: float
    least: float
    most: float
    reached: float


def hosting(
    base_kw: Floats,
    households: NDArray[np.int64],
    rated_kw: Floats,
    cars_kw: Floats,
    *,
    over_share: float,
    seed: int,
    repeats: int = REPEATS,
) -> Hosting:
    """Add cars to feeders until the share `over_share` of them is above its rating.

    In each repeat cars come to every household at random penetrations up to `MOST_CARS`, each with the load of a
    random car of the pool, itself resampled: so the range covers where cars happen to be and which cars the run
    happened to have.

    Parameters
    ----------
    base_kw : ndarray of float64, shape (n_feeders, n_intervals)
        What households draw besides.
    households : ndarray of int64, shape (n_feeders,)
    rated_kw : ndarray of float64, shape (n_feeders,)
    cars_kw : ndarray of float64, shape (n_cars, n_intervals)
        Load of the pool's cars at home, also of those that did not charge.
    over_share : float
        Between 0 and 1.
    seed : int
    """
    points = [_repeat(k, base_kw, households, rated_kw, cars_kw, seed) for k in range(repeats)]
    curves = np.array([(p[:, None] <= SHARES).mean(axis=0) for p in points])
    limit = np.array([_quantile(p, over_share) for p in points])
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    at = np.minimum(limit, MOST_CARS)
    least, most = (float(v) for v in np.quantile(at, [0.025, 0.975]))
    return Hosting(curves.mean(axis=0), low, high, float(at.mean()), least, most, float(np.isfinite(limit).mean()))


def _quantile(points: Floats, share: float) -> float:
    """Penetration at which the share of feeders is reached or passed."""
    return float(np.sort(points)[max(int(np.ceil(share * len(points) - 1e-9)) - 1, 0)])


def _repeat(
    k: int, base_kw: Floats, households: NDArray[np.int64], rated_kw: Floats, cars_kw: Floats, seed: int
) -> Floats:
    """Penetration at which each feeder exceeds its rating, infinite where it never does."""
    cars, n = len(cars_kw), len(households)
    pool = (chance(seed, Stream.HOSTING, np.arange(cars), 3 * k) * cars).astype(np.int64)
    feeders = np.arange(n)
    if n > MOST_FEEDERS:
        feeders = np.argsort(chance(seed, Stream.HOSTING, feeders, 3 * k + 1), kind="stable")[:MOST_FEEDERS]
    found = np.full(len(feeders), np.inf)
    first = MOST_CARS * np.concatenate([[0], np.cumsum(households)])
    for i, f in enumerate(feeders.tolist()):
        if base_kw[f].max(initial=0.0) > rated_kw[f]:
            found[i] = 0.0
            continue
        house = np.arange(first[f], first[f + 1])  # one entry per car that may come
        come = MOST_CARS * np.sort(chance(seed, Stream.HOSTING, house, 3 * k + 2))
        which = pool[(chance(seed, Stream.HOSTING, house, 3 * k + 2 + 3 * 1_000_000) * cars).astype(np.int64)]
        peak = (np.cumsum(cars_kw[which], axis=0) + base_kw[f]).max(axis=1, initial=0.0)
        over = np.flatnonzero(peak > rated_kw[f])
        if len(over):
            found[i] = come[over[0]]
    return found
