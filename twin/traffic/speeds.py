"""How fast streets are driven when they are empty: less than the limit, most of all in town."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, ROAD_CLASSES, RoadNetwork
from twin import facts

MOTORWAYS = tuple(ROAD_CLASSES.index(c) for c in ("motorway", "motorway_link"))
MAIN_ROADS = tuple(ROAD_CLASSES.index(c) for c in ("trunk", "trunk_link", "primary", "primary_link"))


def driven_speed(network: RoadNetwork) -> NDArray[np.float64]:
    """Speed on each link without other cars, m/s.

    The limit times the factors of facts behaviour `speed_factor`: expressway on motorways,
    rural on trunk and primary roads and on everything beyond the extract, urban off-peak
    elsewhere. The urban factor stands for give-way junctions, turns, crossings and parked
    cars; signals, queues and congestion come on top where the map and the traffic have them.
    """
    factor = facts.load("behaviour")["speed_factor"]
    share = np.full(network.n_links, float(factor["urban_offpeak"]))
    share[np.isin(network.link_class, MAIN_ROADS) | network.has(OUTSIDE)] = factor["rural"]
    share[np.isin(network.link_class, MOTORWAYS)] = factor["expressway"]
    return np.asarray(network.link_speed * share)
