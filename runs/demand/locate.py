"""From what files say of a place to a node of the map."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import OUTSIDE, ROAD_CLASSES, CityMap
from runs.demand.sumo import SumoEdges

_NO_DOORS = tuple(ROAD_CLASSES.index(name) for name in ("motorway", "motorway_link"))
_WAY = re.compile(r"-?(\d+)(?:#\d+)?(?:-AddedOn\w+Edge|\[\d+\])?")

Found = tuple[NDArray[np.int32], NDArray[np.object_]]
"""Row of a node, -1 none, and the word of `twin.demand.given.REASONS` for each that has none."""


class Locator:
    """Finds nodes. Points go to the nearest node of a street with doors: no motorway, no approach road.

    Parameters
    ----------
    city : CityMap
    snap_m : float
        Farthest a point may lie from its node.
    edges : SumoEdges or None
        Where the edges of a SUMO network lie; without it, edges are looked up by the OpenStreetMap way that
        netconvert names them after.
    """

    def __init__(self, city: CityMap, *, snap_m: float, edges: SumoEdges | None = None) -> None:
        network = city.network
        self.network, self.snap_m, self.edges = network, snap_m, edges
        street = ~network.has(OUTSIDE) & ~np.isin(network.link_class, _NO_DOORS)
        if not street.any():
            street = ~network.has(OUTSIDE)
        self.nodes = np.unique(np.concatenate([network.link_from[street], network.link_to[street]]))
        self._lat0 = float(np.mean(network.node_lat[self.nodes]))
        self._tree = cKDTree(self._metres(network.node_lon[self.nodes], network.node_lat[self.nodes]))
        self._order = np.argsort(network.node_osm, kind="stable")
        self._ways: dict[int, int] | None = None

    def _metres(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        # distances of neighbours only: a sphere is good to half a percent
        return np.column_stack([lon * 111_320.0 * np.cos(np.radians(self._lat0)), lat * 111_000.0])

    def of_degrees(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Found:
        """Nodes of points; NaN is a place that is not given."""
        node, why = np.full(len(lon), -1, np.int32), np.full(len(lon), "", object)
        known = np.isfinite(lon) & np.isfinite(lat)
        why[~known] = "no_place"
        if known.any():
            gap, row = self._tree.query(self._metres(lon[known], lat[known]))
            near = gap <= self.snap_m
            node[known] = np.where(near, self.nodes[np.minimum(row, len(self.nodes) - 1)], -1)
            why[np.flatnonzero(known)[~near]] = "off_map"
        return node, why

    def of_osm(self, osm: NDArray[np.int64]) -> Found:
        """Nodes by OpenStreetMap id."""
        ids = self.network.node_osm[self._order]
        at = np.minimum(np.searchsorted(ids, osm), len(ids) - 1)
        good = ids[at] == osm
        return np.where(good, self._order[at], -1).astype(np.int32), np.where(good, "", "unknown_node").astype(object)

    def of_edges(self, names: Sequence[str]) -> Found:
        """Nodes of SUMO edges, "" for a place that is not given."""
        lon, lat = np.full(len(names), np.nan), np.full(len(names), np.nan)
        if self.edges is not None:
            for k, name in enumerate(names):
                at = self.edges.find(name)
                if at is not None:
                    lon[k], lat[k] = at
            node, why = self.of_degrees(lon, lat)
            lost = np.isnan(lon)
        else:
            ways = self._way_nodes()
            matches = [_WAY.fullmatch(name) for name in names]
            node = np.array([ways.get(int(m[1]), -1) if m else -1 for m in matches], np.int32)
            why = np.full(len(names), "", object)
            lost = node < 0
        why[lost] = "unknown_edge"
        why[np.array([not name for name in names], bool)] = "no_place"
        return node, why

    def _way_nodes(self) -> dict[int, int]:
        """A node in the middle of each OpenStreetMap way that the map's links still name."""
        if self._ways is None:
            network = self.network
            keep = np.flatnonzero(~network.has(OUTSIDE) & (network.link_way > 0))
            keep = keep[np.argsort(network.link_way[keep], kind="stable")]
            way, first, count = np.unique(network.link_way[keep], return_index=True, return_counts=True)
            middle = network.link_from[keep[first + count // 2]]
            self._ways = dict(zip(way.tolist(), middle.tolist(), strict=True))
        return self._ways
