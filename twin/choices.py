"""The question whether to plug in, built from what a driver can know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.agents import PlugInQuestion
from twin.chance import Stream, chance
from twin.fleet.fleet import Fleet


def plug_in_question(
    fleet: Fleet,
    rows: NDArray[np.int64],
    stay_ms: NDArray[np.int64],
    at_home: NDArray[np.bool_],
    moment: NDArray[np.int64],
    *,
    seed: int,
) -> PlugInQuestion:
    """Cars that have parked by a socket of their own for `stay_ms`."""
    return PlugInQuestion(
        rows=rows,
        soc=fleet.soc[rows],
        capacity_kwh=fleet.capacity_j[rows] / 3.6e6,
        stay_h=stay_ms / 3.6e6,
        at_home=at_home,
        u=chance(seed, Stream.PLUG_IN, rows, moment),
    )
