"""How far cities of one market differ, and what that leaves unknown about a market of which a few were run.

Model, for each figure apart: the logarithm of the figure of one and the same fleet in city
c of market m is mu_m + e_mc, the e_mc independent and normal with one standard deviation s
for all markets. Market means are removed first, so what sets markets apart (habits, climate,
sockets) is not taken for a difference between cities. s is pooled over markets with the
sum of (cities - 1) degrees of freedom. The archetypes of a market are strata with one city
each; they are taken together (collapsed strata, Cochran 1977, section 5A.12), which holds
the difference between archetypes to be chance and so errs to the wide side. So does that a
city's figure has the noise of its own cars in it, which is drawn once more elsewhere.

A market's mean of cities with weights w then lies s sqrt(sum w^2) off, and s itself is as
uncertain as its degrees of freedom say: each draw takes one s for all markets (scaled
inverse chi-square), then one normal deviate for each market. Factors are positive, since
they are exponentials.

A market with one city adds no degree of freedom: its cities are assumed to differ as much
as those of the markets that have several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream, chance

Floats = NDArray[np.float64]

LEAST_FREEDOM = 3
"""Degrees of freedom below which the runs cannot tell the spread."""

ASSUMED_SPREAD = 0.25
"""Log standard deviation that is assumed, if the runs show no larger one, when they cannot tell (assumption)."""


class Spread(NamedTuple):
    """Log standard deviation between cities of a market.

    sd : float
    freedom : int, degrees of freedom
    assumed : bool, whether the runs were too few to tell
    """

    sd: float
    freedom: int
    assumed: bool


def pooled(values: Mapping[str, Sequence[float]]) -> Spread:
    """Spread within markets, pooled.

    Parameters
    ----------
    values : mapping of market to logarithms of a figure, one per city

    Examples
    --------
    >>> found = pooled({"japan": [5.0], "europe": [0.0, 0.2, 0.4, 0.2], "us": [-3.0, -2.9]})
    >>> round(found.sd, 3), found.freedom, found.assumed
    (0.146, 4, False)
    >>> pooled({"japan": [5.0], "us": [-3.0]})
    Spread(sd=0.25, freedom=3, assumed=True)
    """
    apart = [np.asarray(v, np.float64) - np.mean(v) for v in values.values() if len(v)]
    freedom = sum(len(v) - 1 for v in apart)
    sd = float(np.sqrt(sum(float((v**2).sum()) for v in apart) / freedom)) if freedom else 0.0
    if freedom < LEAST_FREEDOM:
        return Spread(max(sd, ASSUMED_SPREAD), LEAST_FREEDOM, assumed=True)
    return Spread(sd, freedom, assumed=False)


def factors(spread: Spread, weights: Mapping[str, Sequence[float]], *, seed: int, draws: int) -> dict[str, Floats]:
    """Draws of what other cities in their place would have made of each market's figure.

    Parameters
    ----------
    weights : mapping of market to its cities' shares, which sum to 1

    Returns
    -------
    dict of str to float64 (draws,), positive, median 1
    """
    from scipy.stats import chi2

    u = np.clip(chance(seed, Stream.ESTIMATE, np.full(draws, 400), np.arange(draws)), 1e-6, 1 - 1e-6)
    sd = spread.sd * np.sqrt(spread.freedom / chi2.ppf(u, spread.freedom))
    return {
        market: np.exp(sd * float(np.sqrt(np.square(w).sum())) * normal(seed, 300 + row, draws))
        for row, (market, w) in enumerate(weights.items())
    }


def normal(seed: int, row: int, n: int) -> Floats:
    """Standard normal draws (Box and Muller 1958)."""
    u = np.maximum(chance(seed, Stream.ESTIMATE, np.full(n, row), 2 * np.arange(n)), 1e-12)
    v = chance(seed, Stream.ESTIMATE, np.full(n, row), 2 * np.arange(n) + 1)
    return np.asarray(np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v))
