"""Counter-based random numbers: a draw is a pure function of (seed, stream, row, tick).

No generator object lives in the world, so order, threads and batch size change no
result, and two scenarios share their luck car by car. The hash is Philox4x32-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11), tested against
the published known-answer vectors.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


class Stream(IntEnum):
    """What a draw is for. Numbers are part of every result: append, never renumber."""

    KIND = 1
    MODEL = 2
    YEAR = 3
    EQUIPMENT = 4
    CONNECTED = 5
    HOME = 6
    WORK = 7
    HOME_ACCESS = 8
    WORK_ACCESS = 9
    SOC = 10
    ARCHETYPE = 11
    MOVES_TODAY = 12
    DEPART = 13
    DESTINATION = 14
    DISTANCE = 15
    DWELL = 16
    OTHER_TRAFFIC = 17
    OTHER_ORIGIN = 18
    OTHER_DESTINATION = 19
    ROUTE = 20
    PLUG_IN = 21
    PATIENCE = 22
    SITE_CHOICE = 23
    TIMER = 24
    DRIVER_TYPE = 25
    ENGAGE_TRIP = 26
    ENGAGE_SEGMENT = 27
    DISENGAGE = 28
    DISENGAGE_CAUSE = 29
    TELEMETRY_PHASE = 30
    TELEMETRY_EVENT = 31
    OUTAGE = 32
    RETRY = 33
    CONSENT = 34
    DOWNLOAD = 35
    INSTALL = 36
    CAMPAIGN_GROUP = 37
    BOOTSTRAP = 38
    ESTIMATE = 90
    BREAKDOWN = 39
    TOUR = 40
    SPEED_CHOICE = 41
    HOUSEHOLD = 42
    DATA_CONSENT = 60
    HOME_WIFI = 61
    ROAMING = 62
    UNDERGROUND = 63
    DEALER_VISIT = 64
    ON_PREVIOUS = 65
    TWELVE_VOLT = 66
    INFORMED = 43
    LEARN = 44
    VISITORS = 46
    HEAVY = 45
    OWNED_SINCE = 50
    TIME_GAP = 51
    DESTINATION_SET = 52
    LANE_CHANGE = 53
    LONG_STOP = 54
    PROFILE = 120
    HOSTING = 121
    DIVERSITY = 122


@njit(cache=True, inline="always")
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Philox4x32-10 block: four 32-bit words (as uint64) from counter c0..c3 and key k0, k1."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(cache=True)
def draw(seed, stream, row, tick):  # type: ignore[no-untyped-def]
    """One uniform number in [0, 1); for use inside kernels. Integers only, all >= 0."""
    s, r, t = np.uint64(seed), np.uint64(row), np.uint64(tick)
    a, b, _, _ = philox(r & _LOW, t & _LOW, np.uint64(stream), t >> _32, s & _LOW, s >> _32)
    return ((a >> np.uint64(5)) * np.uint64(67108864) + (b >> np.uint64(6))) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _fill(seed, stream, rows, ticks, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = draw(seed, stream, rows[i], ticks[i])


def chance(seed: int, stream: Stream, row: ArrayLike, tick: ArrayLike = 0) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), one per row.

    Parameters
    ----------
    seed : int
        The run's seed, 0 to 2**63 - 1.
    stream : Stream
        What the number is for.
    row, tick : int or array of int
        Individual and moment (a tick, a millisecond, a serial number); broadcast together.

    Returns
    -------
    ndarray of float64, the broadcast shape (at least one dimension)

    Examples
    --------
    >>> bool((chance(1, Stream.KIND, [7, 8]) == chance(1, Stream.KIND, [7, 8])).all())
    True
    """
    rows, ticks = np.broadcast_arrays(np.atleast_1d(np.asarray(row, np.int64)), np.asarray(tick, np.int64))
    out = np.empty(rows.shape)
    _fill(
        seed, int(stream), np.array(rows).ravel(), np.array(ticks).ravel(), out.ravel()
    )  # copies: views may be read-only
    return out
