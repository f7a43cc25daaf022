"""Lorries and buses among the traffic outside the fleet: each counts for several cars, in a queue and in headway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream, chance
from twin.settings import TrafficSettings


def counts_for(
    settings: TrafficSettings, seed: int, driver: NDArray[np.int64], depart_ms: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cars that each trip counts for: 1, or `traffic.heavy_cars` for the share that is heavy, drawn trip by trip."""
    if not settings.heavy_share:
        return np.ones(len(driver))
    heavy = chance(seed, Stream.HEAVY, driver, depart_ms) < settings.heavy_share
    return np.where(heavy, settings.heavy_cars, 1.0)
