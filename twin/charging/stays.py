"""Sessions at sites that are not the fleet's own: when strangers come, how long they stay, what they take.

The tables of `facts/stays.toml` describe public and fast sites by kind of socket, pooled over cities: the hour of
arrival, the stay given the hour, the energy given the stay. Homes and workplaces have no table: there the twin's own
drivers decide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin import facts
from twin.chance import Stream, chance

LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
"""Shares at which the tables give quantiles."""
PART_OF_DAY = np.repeat([0, 1, 2, 3], [6, 4, 6, 8])
"""Part of the day of each hour: night 0-6, morning 6-10, midday 10-16, evening 16-24."""


class StayError(ValueError):
    """A kind of site that the tables do not know; the message is one line."""


class Stays(NamedTuple):
    """Sessions; all arrays have one entry per session.

    Attributes
    ----------
    hour : ndarray of float64
        Local hour of plugging in, 0 to 24.
    stay_h : ndarray of float64
        Time plugged in.
    energy_kwh : ndarray of float64
        At the meter.
    """

    hour: NDArray[np.float64]
    stay_h: NDArray[np.float64]
    energy_kwh: NDArray[np.float64]


def kinds() -> list[str]:
    """Kinds of site that there are tables for."""
    return sorted(name for name, table in facts.load("stays").items() if isinstance(table, dict))


def draw(kind: str, rows: ArrayLike, *, seed: int) -> Stays:
    """Sessions `rows` of a kind of site; the same row of the same seed is always the same session.

    Parameters
    ----------
    kind : str
        One of `kinds()`.
    rows : array_like of int, shape (n,)
    seed : int

    Raises
    ------
    StayError
        When there is no table of that kind.

    Examples
    --------
    >>> two = draw("us_level2", [0, 1], seed=1)
    >>> bool((two.stay_h > 0).all())
    True
    """
    known = facts.load("stays")
    if kind not in kinds():
        raise StayError(f"no table of stays for {kind!r}; there are {', '.join(kinds())}")
    table = known[kind]
    rows = np.atleast_1d(np.asarray(rows, np.int64))
    u = [chance(seed, Stream.DWELL, rows, tick) for tick in range(3)]
    cumulative = np.concatenate([[0.0], np.cumsum(table["hour_share"])])
    hour = np.interp(u[0] * cumulative[-1], cumulative, np.arange(25.0))
    stay = _quantile(np.array(table["stay_h"]), PART_OF_DAY[np.minimum(hour.astype(int), 23)], u[1])
    energy = _quantile(np.array(table["energy_kwh"]), np.searchsorted(table["stay_cuts_h"], stay), u[2])
    return Stays(hour, stay, energy)


def _quantile(table: NDArray[np.float64], row: NDArray[np.integer], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value of each entry's row of a table of quantiles at its own share, linear between LEVELS."""
    out = np.empty(len(u))
    for i in range(len(table)):
        mine = row == i
        out[mine] = np.interp(u[mine], LEVELS, table[i])
    return out
