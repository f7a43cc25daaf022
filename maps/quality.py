"""The quality table of a map: what was found, kept, filled by defaults, and made by fallbacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from maps.approach import Approaches
from maps.network import ONEWAY, OUTSIDE, PLACE_KINDS, ROAD_CLASSES, SIGNALS, SOCKET_KINDS, RoadNetwork
from maps.places import Places
from maps.sites import Chargers


def quality_table(
    network: RoadNetwork,
    places: Places,
    chargers: Chargers,
    cells: int,
    approach: Approaches,
    counts: dict[str, Any],
) -> dict[str, Any]:
    """Counts for ``meta["quality"]``; approach roads have their own rows and are in no other figure.

    `km` counts every carriageway once: a two-way street is two links and one length.
    """
    inside = ~network.has(OUTSIDE)
    km = network.link_length / 1000 * np.where(network.has(ONEWAY), 1.0, 0.5)
    per_class = np.bincount(network.link_class[inside], weights=km[inside], minlength=len(ROAD_CLASSES))
    nodes = np.unique(np.concatenate([network.link_from[inside], network.link_to[inside]]))
    found = np.bincount(places.kind, minlength=len(PLACE_KINDS))
    sockets = np.bincount(chargers.socket_kind, weights=chargers.socket_count, minlength=len(SOCKET_KINDS))
    filled = [int(np.sum((chargers.socket_assumed & bit) > 0)) for bit in (1, 2, 4)]
    return {
        "links": int(inside.sum()),
        "nodes": len(nodes),
        "km": round(float(km[inside].sum()), 2),
        "km_by_class": {name: round(float(v), 2) for name, v in zip(ROAD_CLASSES, per_class, strict=True) if v > 0},
        **counts,
        "shortest_link_m": round(float(network.link_length[inside].min()), 1),
        "forbidden_turns": len(network.ban_from),
        "signals": int((network.node_control[nodes] == SIGNALS).sum()),
        "places": {name: int(n) for name, n in zip(PLACE_KINDS, found, strict=True)},
        "places_by_fallback": places.by_fallback,
        "chargers": len(chargers.osm),
        "chargers_skipped": chargers.skipped,
        "chargers_hours_unread": chargers.unread_hours,
        "sockets": {name: int(n) for name, n in zip(SOCKET_KINDS, sockets, strict=True) if n},
        "socket_rows": len(chargers.socket_kind),
        "sockets_kind_assumed": filled[0],
        "sockets_count_assumed": filled[1],
        "sockets_power_assumed": filled[2],
        "cells": cells,
        "gates": len(approach.gate_node),
        "outside_links": int((~inside).sum()),
        "outside_km": round(float(km[~inside].sum()), 2),
    }
