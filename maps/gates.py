"""Where the map's edge cuts roads that lead on: the gates of the approach roads.

A carriageway that ends in a sink, with its opposite that begins in a source nearby, was
cut by the edge of the extract; joined outside, both stay in the strong component and
the motorways of small extracts survive cleaning. Other gates are the best roads near the edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from maps.approach import Gate
from maps.clean import strong_component
from maps.draft import CLASS, Draft

MOST_GATES = 12
PAIR_M = 150.0
"""Opposite carriageways cut by the edge end this near to one another."""

EDGE = 0.75
"""Gates lie at least this share of the way from the centre to the farthest node in their direction."""

APART = 0.16
"""Gates are at least this share of the map's radius apart."""

ENOUGH, FEWEST = 6, 4
"""Tertiary roads become gates up to ENOUGH, roads that are not even cut up to FEWEST."""


def find_gates(draft: Draft, *, most: int = MOST_GATES) -> list[Gate]:
    """Choose up to `most` gates, at most one per direction sector, best road class first.

    Parameters
    ----------
    draft
        Before it is reduced to one component, so that cut carriageways are still there.
    most
        Number of sectors that the horizon is divided into.
    """
    main = strong_component(draft)
    rank = _class_rank(draft)
    centre_x, centre_y = np.median(draft.node_x[main]), np.median(draft.node_y[main])
    east, north = draft.node_x - centre_x, draft.node_y - centre_y
    far = np.hypot(east, north)
    sector = ((np.degrees(np.arctan2(north, east)) % 360) // (360 / most)).astype(np.int64)
    reach = np.zeros(most)
    np.maximum.at(reach, sector[main], far[main])
    reach = np.maximum(reach, np.median(reach) * 0.5)

    # candidates: (leave, enter, class, distance from the centre)
    found: list[tuple[int, int, int, float]] = []
    into, out = (np.bincount(end, minlength=draft.n_nodes) for end in (draft.link_to, draft.link_from))
    root = int(np.flatnonzero(main)[0])
    sinks = np.flatnonzero(
        (out == 0) & (rank <= CLASS["tertiary"]) & _reached(draft.link_from, draft.link_to, draft.n_nodes, root)
    )
    sources = np.flatnonzero(
        (into == 0) & (rank <= CLASS["tertiary"]) & _reached(draft.link_to, draft.link_from, draft.n_nodes, root)
    )
    for sink in sinks:
        apart = np.hypot(draft.node_x[sources] - draft.node_x[sink], draft.node_y[sources] - draft.node_y[sink])
        apart = np.where(rank[sources] == rank[sink], apart, np.inf)
        if len(apart) and apart.min() <= PAIR_M:
            found.append((int(sink), int(sources[apart.argmin()]), int(rank[sink]), float(far[sink])))
    neighbours = _neighbours(draft)
    rim = main & (far >= EDGE * reach[sector])
    edge = np.flatnonzero(rim & (rank <= CLASS["tertiary"]))
    found += [(int(k), int(k), int(rank[k]), float(far[k])) for k in edge[neighbours[edge] == 1]]
    cut = [row for row in found if row[3] >= EDGE * reach[sector[row[0]]]]
    # A road of some rank that simply ends was cut. Only where too few were, smaller ones and then crossings
    # near the edge stand in: by the sea nothing is cut, and no road leads out.
    tiers = [
        (most, [row for row in cut if row[2] < CLASS["tertiary"]]),
        (ENOUGH, cut),
        (FEWEST, [(int(k), int(k), int(rank[k]), float(far[k])) for k in edge]),
        (1, [(int(k), int(k), int(rank[k]), float(far[k])) for k in np.flatnonzero(rim)]),
    ]
    gates: list[Gate] = []
    apart_m = APART * float(np.median(reach))
    taken: set[int] = set()
    for enough, rows in tiers:
        for leave, enter, _, distance in sorted(rows, key=lambda row: (row[2], -row[3], row[0])):
            if len(gates) >= min(enough, most):
                break
            away = [np.hypot(east[gate.leave] - east[leave], north[gate.leave] - north[leave]) for gate in gates]
            if int(sector[leave]) in taken or distance <= 0 or min(away, default=np.inf) < apart_m:
                continue
            taken.add(int(sector[leave]))
            gates.append(Gate(leave, enter, float(east[leave] / distance), float(north[leave] / distance)))
    return gates


def _class_rank(draft: Draft) -> NDArray[np.int64]:
    """Best road class at each node; ramps rank one behind their road, as in ROAD_CLASSES."""
    rank = np.full(draft.n_nodes, 99, np.int64)
    for end in (draft.link_from, draft.link_to):
        np.minimum.at(rank, end, draft.link_class)
    return rank


def _neighbours(draft: Draft) -> NDArray[np.int64]:
    pairs = np.unique(np.concatenate([draft.link_from * draft.n_nodes + draft.link_to,
                                      draft.link_to * draft.n_nodes + draft.link_from]))  # fmt: skip
    return np.bincount(pairs // draft.n_nodes, minlength=draft.n_nodes)


def _reached(tail: NDArray[np.int64], head: NDArray[np.int64], size: int, root: int) -> NDArray[np.bool_]:
    graph = coo_matrix((np.ones(len(tail), np.int8), (tail, head)), shape=(size, size)).tocsr()
    reached = np.zeros(size, bool)
    reached[breadth_first_order(graph, root, directed=True, return_predecessors=False)] = True
    return reached
