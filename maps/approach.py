"""Approach roads: ordinary links that carry cars in and out of the extract.

Cars of a real city also come from, and go to, places beyond the edge of the map. At up to
a dozen gates a straight chain of nodes leads outwards; its road classes and distances are
data of the recipe (defaults below: a secondary road, then a primary, then motorways out
to 40 km). These links are flagged OUTSIDE and appear in no quality figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maps.draft import CLASS, Draft
from maps.network import ONEWAY, OUTSIDE

RINGS_KM = (2.0, 5.0, 10.0, 20.0, 40.0)
RING_CLASSES = ("secondary", "primary", "trunk", "trunk", "motorway")
"""Default mix: near a fifth to a third of a fleet's kilometres on motorways (facts behaviour: road_mix)."""
LONGEST_LINK_M = 2000.0


@dataclass(frozen=True)
class Gate:
    """Where an approach road meets the extract, and the direction it leaves in.

    `leave` is the node where cars drive out and `enter` the one where they drive in: the
    same on a two-way road, two on a dual carriageway. `east`, `north` is a unit vector.
    """

    leave: int
    enter: int
    east: float
    north: float


@dataclass(frozen=True)
class Approaches:
    """Rows of the gate and outside columns of a `CityMap`; `first_node` is each road's first node outside."""

    gate_node: NDArray[np.int32]
    first_node: NDArray[np.int32]
    outside_node: NDArray[np.int32]
    outside_gate: NDArray[np.int32]
    outside_km: NDArray[np.float32]


def attach(
    draft: Draft,
    gates: Sequence[Gate],
    *,
    speeds_mps: Sequence[float],
    rings_km: Sequence[float] = RINGS_KM,
    classes: Sequence[str] = RING_CLASSES,
    lanes: Sequence[int] | None = None,
) -> tuple[Draft, Approaches]:
    """Add a chain of outside nodes at every gate.

    Parameters
    ----------
    speeds_mps
        Free speed of each stretch between rings, m/s, one per ring.
    rings_km
        Distances of the ring nodes from the gate, ascending, km.
    classes
        Road class of each stretch, one per ring.
    lanes
        Lanes per direction of each stretch; 2 on motorways and trunk roads, else 1.

    Returns
    -------
    Draft with the links added at the end, and the rows for the map file.
    """
    if not len(rings_km) == len(classes) == len(speeds_mps):
        raise ValueError("approach roads need one road class and one speed per ring")
    if not gates or not rings_km:
        empty = np.zeros(0, np.int32)
        return draft, Approaches(empty, empty, empty, empty, empty.astype(np.float32))
    many = [2 if name in ("motorway", "trunk") else 1 for name in classes] if lanes is None else list(lanes)
    at_m, stretch = _cuts(rings_km)
    ring_rows = np.flatnonzero(np.diff(np.append(stretch, len(rings_km))) > 0)
    x, y, ends, rows = [], [], [], []
    outside_node, outside_gate, outside_km = [], [], []
    for number, gate in enumerate(gates):
        first = draft.n_nodes + number * len(at_m)
        x.append(draft.node_x[gate.leave] + gate.east * at_m)
        y.append(draft.node_y[gate.leave] + gate.north * at_m)
        chain = first + np.arange(len(at_m))
        ends.append((np.concatenate([[gate.leave], chain[:-1]]), chain))
        ends.append((chain, np.concatenate([[gate.enter], chain[:-1]])))
        rows += [stretch, stretch]
        outside_node.append(chain[ring_rows])
        outside_gate.append(np.full(len(rings_km), number))
        outside_km.append(at_m[ring_rows] / 1000)
    row = np.concatenate(rows)
    tail, head = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
    node_x, node_y = np.concatenate([draft.node_x, *x]), np.concatenate([draft.node_y, *y])
    ring_class = np.array([CLASS[name] for name in classes])
    flags = OUTSIDE | np.where(np.isin(ring_class, [CLASS["motorway"], CLASS["trunk"]]), ONEWAY, 0)
    points = np.column_stack([tail, head]).ravel()
    added = len(tail)
    step_m = np.diff(np.concatenate([[0.0], at_m]))
    # the way in ends at another node on dual carriageways: as long as it is drawn
    drawn_m = np.hypot(node_x[head] - node_x[tail], node_y[head] - node_y[tail])
    lowest = min(0, int(draft.node_osm.min(initial=0)))
    lowest_way = min(0, int(draft.link_way.min(initial=0)))
    grown = replace(
        draft,
        node_osm=np.concatenate([draft.node_osm, lowest - 1 - np.arange(len(node_x) - draft.n_nodes)]),
        node_x=node_x,
        node_y=node_y,
        node_control=np.concatenate([draft.node_control, np.zeros(len(node_x) - draft.n_nodes, np.uint8)]),
        link_from=np.concatenate([draft.link_from, tail]),
        link_to=np.concatenate([draft.link_to, head]),
        link_length=np.concatenate([draft.link_length, np.maximum(np.tile(step_m, 2 * len(gates)), drawn_m)]),
        link_speed=np.concatenate([draft.link_speed, np.asarray(speeds_mps, float)[row]]),
        link_lanes=np.concatenate([draft.link_lanes, np.asarray(many, np.int64)[row]]),
        link_class=np.concatenate([draft.link_class, ring_class[row]]),
        link_flags=np.concatenate([draft.link_flags, flags[row]]),
        link_way=np.concatenate([draft.link_way, lowest_way - 1 - np.arange(added)]),
        geom_ptr=np.concatenate([draft.geom_ptr, draft.geom_ptr[-1] + 2 * np.arange(1, added + 1)]),
        geom_x=np.concatenate([draft.geom_x, node_x[points]]),
        geom_y=np.concatenate([draft.geom_y, node_y[points]]),
    )
    return grown, Approaches(
        gate_node=np.array([gate.leave for gate in gates], np.int32),
        first_node=(draft.n_nodes + np.arange(len(gates)) * len(at_m)).astype(np.int32),
        outside_node=np.concatenate(outside_node).astype(np.int32),
        outside_gate=np.concatenate(outside_gate).astype(np.int32),
        outside_km=np.concatenate(outside_km).astype(np.float32),
    )


def _cuts(rings_km: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance of every node of a chain, m, and the stretch each of its links belongs to."""
    at: list[NDArray[np.float64]] = []
    stretch: list[NDArray[np.int64]] = []
    before = 0.0
    for row, ring in enumerate(rings_km):
        end = ring * 1000
        pieces = max(1, int(np.ceil((end - before) / LONGEST_LINK_M - 1e-9)))
        at.append(np.linspace(before, end, pieces + 1)[1:])
        stretch.append(np.full(pieces, row))
        before = end
    return np.concatenate(at), np.concatenate(stretch)
