"""Homes, workplaces, shops, leisure and schools from buildings, points and land use.

Where the source has no buildings, places are set along streets; the rules are data in
`rules/places.toml`, and the quality table says how many places came from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.draft import CLASS
from maps.network import OUTSIDE, PLACE_KINDS, RoadNetwork
from maps.project import to_metres
from maps.raw import Raw
from maps.tags import parse_count, rules

REACH_M = 400.0
"""A place farther than this from any street node is not on this network."""


@dataclass(frozen=True)
class Places:
    """Rows of the place columns of a `CityMap`, and how many of each kind a fallback made."""

    kind: NDArray[np.uint8]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    node: NDArray[np.int32]
    weight: NDArray[np.float32]
    by_fallback: dict[str, int]


def find_places(raw: Raw, network: RoadNetwork, *, lon0: float, lat0: float) -> Places:
    """Places of a map, in the order of the source, then those of the fallback.

    Parameters
    ----------
    raw
        Buildings, points and land use of the source (may hold none).
    network
        The finished network with its approach roads.
    lon0, lat0
        Origin of the network's metres.
    """
    table = rules("places")
    x, y = to_metres(raw.feature_lon, raw.feature_lat, lon0=lon0, lat0=lat0)
    land = _land_under(raw)
    rows: list[tuple[int, int, float]] = []
    for number, tags in enumerate(raw.feature_tags):
        for kind, floor_m2 in uses(tags, float(raw.feature_m2[number]), land[number]).items():
            rows.append((number, PLACE_KINDS.index(kind), floor_m2))
    table_of = np.array(rows, float).reshape(-1, 3)
    feature, kind_row, m2 = table_of[:, 0].astype(np.int64), table_of[:, 1].astype(np.int64), table_of[:, 2]
    nodes, tree = _street_nodes(network)
    away, nearest = _query(tree, x[feature], y[feature])
    near = away <= REACH_M
    columns: list[list[NDArray[Any]]] = [
        [kind_row[near]],
        [x[feature][near]],
        [y[feature][near]],
        [nodes[nearest][near]],
        [m2[near]],
    ]

    built = np.array(["building" in tags for tags in raw.feature_tags], bool)
    unmapped = _unmapped_links(network, x[built], y[built], table["fallback"])
    by_fallback: dict[str, int] = {}
    for row, kind in enumerate(PLACE_KINDS):
        links = unmapped
        if not np.any(kind_row[near] == row) and not _along(network, unmapped, table["fallback"][kind])[0].size:
            links = np.flatnonzero(~network.has(OUTSIDE))  # not one in the whole map: use every street
        at_x, at_y = _along(network, links, table["fallback"][kind])
        if not np.any(kind_row[near] == row) and not at_x.size:
            # no street of the usual classes either: the middle of every link
            middle = (network.geom_ptr[:-1] + network.geom_ptr[1:])[links] // 2
            at_x, at_y = network.geom_x[middle], network.geom_y[middle]
        by_fallback[kind] = len(at_x)
        if len(at_x):
            near_node = nodes[_query(tree, at_x, at_y)[1]]
            m2_each = np.full(len(at_x), table["fallback"][kind]["m2"])
            for column, values in zip(columns, (np.full(len(at_x), row), at_x, at_y, near_node, m2_each), strict=True):
                column.append(values)
    kinds, xs, ys, at, weight = (np.concatenate(column) for column in columns)
    return Places(
        kinds.astype(np.uint8), xs.astype(np.float32), ys.astype(np.float32), at.astype(np.int32),
        weight.astype(np.float32), by_fallback,
    )  # fmt: skip


def uses(tags: dict[str, str], footprint_m2: float, land: str) -> dict[str, float]:
    """Floor area by kind of place of one building or point, m².

    Examples
    --------
    >>> uses({"building": "house", "building:levels": "2"}, 100.0, "")
    {'home': 200.0}
    >>> uses({"building": "garage"}, 30.0, "residential")
    {}
    """
    table = rules("places")
    building = tags.get("building", "")
    if building == "no":
        building = ""
    shares: dict[str, float] | None = None
    for key in ("amenity", "leisure", "tourism"):
        if shares is None and tags.get(key) in table[key]:
            shares = table[key][tags[key]]
    for key in ("shop", "office", "craft"):
        if shares is None and tags.get(key, "no") not in ("no", "vacant"):
            shares = table["any"][key]
    if footprint_m2 <= 0:
        return {kind: share * table["point_m2"] for kind, share in (shares or {}).items()}
    if not building and shares is None:
        return {}
    if building and footprint_m2 < table["smallest_m2"]:
        return {}
    levels = parse_count(tags.get("building:levels", "")) or (table["levels_default"] if building else 1.0)
    if shares is None and building in table["building"]:
        shares = table["building"][building]
    if shares is None and land in table["landuse"]:
        shares = table["landuse"][land]
    if shares is None:
        if footprint_m2 < table["unknown_home_below_m2"]:
            shares = {"home": 1.0}
        else:
            shares = {"home": 0.5, "work": 0.4} if levels >= table["unknown_mixed_levels"] else {"work": 0.5}
    return {kind: share * footprint_m2 * levels for kind, share in shares.items()}


def _land_under(raw: Raw) -> list[str]:
    """Land use at each feature, empty where none is mapped; the smallest area wins."""
    found = [""] * len(raw.feature_tags)
    known = rules("places")["landuse"]
    rows = [row for row, use in enumerate(raw.land_use) if use in known and len(raw.land_ring[row]) >= 4]
    if not rows or not found:
        return found
    import shapely

    shapes = shapely.make_valid(np.array([shapely.Polygon(raw.land_ring[row]) for row in rows]))
    area = shapely.area(shapes)
    points = shapely.points(raw.feature_lon, raw.feature_lat)
    at, inside = shapely.STRtree(shapes).query(points, predicate="within")
    for k in np.argsort(-area[inside], kind="stable"):
        found[int(at[k])] = raw.land_use[rows[int(inside[k])]]
    return found


def _street_nodes(network: RoadNetwork) -> tuple[NDArray[np.int64], cKDTree]:
    """Nodes where cars may start and end a trip: on any street that is no motorway, trunk road or ramp."""
    street = ~network.has(OUTSIDE) & (network.link_class > CLASS["trunk_link"])
    street &= ~np.isin(network.link_class, [k for name, k in CLASS.items() if name.endswith("_link")])
    if not street.any():
        street = ~network.has(OUTSIDE)
    nodes = np.unique(np.concatenate([network.link_from[street], network.link_to[street]])).astype(np.int64)
    return nodes, cKDTree(np.column_stack([network.node_x[nodes], network.node_y[nodes]]))


def nearest_street_node(
    network: RoadNetwork, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest node on an ordinary street, and the distance to it in metres."""
    nodes, tree = _street_nodes(network)
    away, nearest = _query(tree, x, y)
    return nodes[nearest], away


def _query(
    tree: cKDTree, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if not len(x):
        return np.zeros(0), np.zeros(0, np.int64)
    away, nearest = tree.query(np.column_stack([x, y]))
    return np.asarray(away, float), np.asarray(nearest, np.int64)


def _unmapped_links(
    network: RoadNetwork, x: NDArray[np.float64], y: NDArray[np.float64], rule: dict[str, Any]
) -> NDArray[np.int64]:
    """Links in squares whose residential streets have hardly any building."""
    square, inside = float(rule["square_m"]), ~network.has(OUTSIDE)
    middle_x = (network.node_x[network.link_from] + network.node_x[network.link_to]) / 2
    middle_y = (network.node_y[network.link_from] + network.node_y[network.link_to]) / 2
    west, south = middle_x[inside].min(), middle_y[inside].min()
    wide = int((middle_x[inside].max() - west) // square) + 1
    high = int((middle_y[inside].max() - south) // square) + 1

    def flat(px: NDArray[np.float64], py: NDArray[np.float64]) -> NDArray[np.int64]:
        column = np.clip((px - west) // square, 0, wide - 1)
        return np.asarray(np.clip((py - south) // square, 0, high - 1) * wide + column, np.int64)

    live = inside & np.isin(network.link_class, [CLASS["residential"], CLASS["living_street"]])
    at = flat(middle_x, middle_y)
    both = np.where(network.has(1), 1.0, 0.5)  # a two-way street has two links
    street_km = np.bincount(at[live], weights=(network.link_length * both)[live] / 1000, minlength=wide * high)
    inner = (x >= west) & (x <= middle_x[inside].max()) & (y >= south) & (y <= middle_y[inside].max())
    buildings = np.bincount(flat(x[inner], y[inner]), minlength=wide * high)
    empty = (street_km >= rule["street_km"]) & (buildings < rule["per_km"] * street_km)
    return np.flatnonzero(inside & empty[at])


def _along(
    network: RoadNetwork, links: NDArray[np.int64], rule: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points every `every_m` metres along the links of the rule's road classes, one side of two-way streets."""
    fits = np.isin(network.link_class[links], [CLASS[name] for name in rule["classes"]])
    one_side = network.has(1)[links] | (network.link_from[links] < network.link_to[links])
    rows = links[fits & one_side]
    total = np.concatenate([[0.0], np.cumsum(network.link_length[rows])])
    # one running count over all links keeps the density right where streets are short
    marks = np.arange(rule["every_m"] / 2, total[-1], rule["every_m"])
    which = np.clip(np.searchsorted(total, marks, side="right") - 1, 0, max(0, len(rows) - 1))
    xs, ys = np.zeros(len(marks)), np.zeros(len(marks))
    for row, first, last in _runs(which):  # a link at a time: a long one has many marks
        shape = network.shape(int(rows[row])).astype(float)
        run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(shape, axis=0).T))])
        where = (marks[first:last] - total[row]) / network.link_length[rows[row]] * run[-1]
        xs[first:last], ys[first:last] = np.interp(where, run, shape[:, 0]), np.interp(where, run, shape[:, 1])
    return xs, ys


def _runs(sorted_rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Each value of a sorted column, the first place it has and the place after its last.

    Examples
    --------
    >>> list(_runs(np.array([3, 3, 7])))
    [(3, 0, 2), (7, 2, 3)]
    """
    values, first = np.unique(sorted_rows, return_index=True)
    after = np.searchsorted(sorted_rows, values, side="right")
    return zip(values.tolist(), first.tolist(), after.tolist(), strict=True)
