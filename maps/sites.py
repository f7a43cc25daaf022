"""Charging stations of the source, and radio cells spread over the map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import OUTSIDE, SOCKET_KINDS, RoadNetwork
from maps.opening import Spans, opening_spans, price_per_kwh
from maps.places import Places, nearest_street_node
from maps.project import to_metres
from maps.raw import Raw
from maps.tags import station_sockets

CHARGER_REACH_M = 1000.0
"""A station farther than this from any street node is not on this network. Cars reach those
in parts that the extract's edge cuts off over roads it does not hold."""

DENSE_SITE_M = 800.0
SPARSE_SITE_M = 3000.0
DENSE_PLACES_PER_KM2 = 150.0
"""Radio sites: one per 800 m hexagon where places are dense (urban macro cells stand 500 to 1,000 m
apart: 3GPP TR 38.913 deployment scenarios, recalled), one per 3 km elsewhere and along approach roads."""


@dataclass(frozen=True)
class Chargers:
    """Rows of the charger and socket columns of a `CityMap`."""

    osm: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    node: NDArray[np.int32]
    public: NDArray[np.uint8]
    fee: NDArray[np.int8]
    socket_charger: NDArray[np.int32]
    socket_kind: NDArray[np.uint8]
    socket_count: NDArray[np.int32]
    socket_kw: NDArray[np.float32]
    socket_assumed: NDArray[np.uint8]
    names: list[str] = field(default_factory=list)
    skipped: int = 0
    operators: list[str] = field(default_factory=list)
    open: list[Spans | None] = field(default_factory=list)
    prices: list[float | None] = field(default_factory=list)
    unread_hours: int = 0


def find_chargers(raw: Raw, network: RoadNetwork, country: str, *, lon0: float, lat0: float) -> Chargers:
    """Charging stations for cars, in order of OSM id, with what their tags say of sockets.

    Stations for bicycles only, and stations that are private, are left out (`skipped`):
    nobody from outside charges there.
    """
    rows = [k for k, tags in enumerate(raw.feature_tags) if tags.get("amenity") == "charging_station"]
    kept = [k for k in rows if _for_cars(raw.feature_tags[k])]
    kept.sort(key=lambda k: raw.feature_osm[k])
    x, y = to_metres(raw.feature_lon[kept], raw.feature_lat[kept], lon0=lon0, lat0=lat0)
    node, away = nearest_street_node(network, x, y) if kept else (np.zeros(0, np.int64), np.zeros(0))
    near = np.flatnonzero(away <= CHARGER_REACH_M)
    tags = [raw.feature_tags[kept[k]] for k in near]
    hours = [opening_spans(tag["opening_hours"]) if "opening_hours" in tag else None for tag in tags]
    sockets = [(row, socket) for row, tag in enumerate(tags) for socket in station_sockets(tag, country)]
    return Chargers(
        osm=np.array([raw.feature_osm[kept[k]] for k in near], np.int64),
        x=x[near].astype(np.float32),
        y=y[near].astype(np.float32),
        node=node[near].astype(np.int32),
        public=np.array([tag.get("access", "yes") in ("yes", "permissive", "public") for tag in tags], np.uint8),
        fee=np.array([{"no": 0}.get(tag["fee"], 1) if "fee" in tag else -1 for tag in tags], np.int8),
        socket_charger=np.array([row for row, _ in sockets], np.int32),
        socket_kind=np.array([SOCKET_KINDS.index(s.kind) for _, s in sockets], np.uint8),
        socket_count=np.array([s.count for _, s in sockets], np.int32),
        socket_kw=np.array([s.kw for _, s in sockets], np.float32),
        socket_assumed=np.array([s.assumed for _, s in sockets], np.uint8),
        names=[tag.get("name") or tag.get("operator") or tag.get("network") or "" for tag in tags],
        skipped=len(rows) - len(near),
        operators=[tag.get("operator") or tag.get("network") or "" for tag in tags],
        open=hours,
        prices=[price_per_kwh(tag) for tag in tags],
        unread_hours=sum("opening_hours" in tag and span is None for tag, span in zip(tags, hours, strict=True)),
    )


def _for_cars(tags: dict[str, str]) -> bool:
    if tags.get("access") in ("private", "no") or tags.get("motorcar", tags.get("car")) == "no":
        return False
    return not (tags.get("bicycle") in ("yes", "designated") and "car" not in tags and "motorcar" not in tags)


def find_cells(network: RoadNetwork, places: Places) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Radio cell sites, m: a dense hexagonal grid where people are, a sparse one along all other roads.

    OSM maps few masts, so sites are generated; every road node has one within about 3 km.
    """
    east, north = network.node_x.astype(float), network.node_y.astype(float)
    inside = np.zeros(network.n_nodes, bool)
    inner = ~network.has(OUTSIDE)
    inside[network.link_from[inner]] = inside[network.link_to[inner]] = True
    people = cKDTree(np.column_stack([places.x, places.y]))
    roads = cKDTree(np.column_stack([east[inside], north[inside]]))
    fine = _hexagons(east[inside], north[inside], DENSE_SITE_M)
    count = np.array([len(found) for found in people.query_ball_point(fine, DENSE_SITE_M)])
    needed = DENSE_PLACES_PER_KM2 * np.pi * (DENSE_SITE_M / 1000) ** 2
    near_road = roads.query(fine)[0] <= DENSE_SITE_M
    sites = [fine[(count >= needed) & near_road]]
    coarse = _hexagons(east[inside], north[inside], SPARSE_SITE_M)
    coarse = coarse[roads.query(coarse)[0] <= SPARSE_SITE_M / np.sqrt(3)]
    outer = np.column_stack([east[~inside], north[~inside]])
    for points in (coarse, outer):
        for point in points:
            have = np.concatenate(sites)
            apart = SPARSE_SITE_M * (0.6 if points is coarse else 0.99)
            if not len(have) or np.hypot(*(have - point).T).min() >= apart:
                sites.append(point[None, :])
    found = np.concatenate(sites)
    if not len(found):
        found = np.array([[east.mean(), north.mean()]])
    return found[:, 0].astype(np.float32), found[:, 1].astype(np.float32)


def _hexagons(x: NDArray[np.float64], y: NDArray[np.float64], apart: float) -> NDArray[np.float64]:
    """Points of a hexagonal grid over the box of x and y, shape (n, 2); neighbours `apart` metres."""
    rows = np.arange(np.floor(y.min() / (apart * 0.866)), np.ceil(y.max() / (apart * 0.866)) + 1)
    columns = np.arange(np.floor(x.min() / apart) - 1, np.ceil(x.max() / apart) + 1)
    row, column = (v.ravel() for v in np.meshgrid(rows, columns, indexing="ij"))
    return np.column_stack([(column + 0.5 * (row % 2)) * apart, row * apart * 0.866])
