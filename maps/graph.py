"""To and from NetworkX, in the form OSMnx uses: a MultiDiGraph with x, y, length, geometry.

`to_networkx` then `from_networkx` gives the same network back. Graphs that OSMnx made, or
its GraphML files, carry strings and lists for tags; `draft_from_networkx` reads those.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maps.draft import CLASS, Draft
from maps.network import (
    BRIDGE,
    GIVE_WAY,
    MOTORROAD,
    ONEWAY,
    RAMP,
    ROAD_CLASSES,
    ROUNDABOUT,
    SIGNALS,
    STOP,
    TOLL,
    TOLL_BOOTH,
    TUNNEL,
    MapError,
    RoadNetwork,
)
from maps.project import to_degrees, to_metres
from maps.tags import default_kmh, default_lanes, parse_count, parse_speed

_CONTROL_TAG = {SIGNALS: "traffic_signals", STOP: "stop", GIVE_WAY: "give_way", TOLL_BOOTH: "toll_booth"}
_CONTROL = {tag: value for value, tag in _CONTROL_TAG.items()}


def to_networkx(network: RoadNetwork) -> Any:
    """Convert to an OSMnx-style `networkx.MultiDiGraph` (nodes are rows of the network, WGS 84).

    Edges carry `length` (m), `speed_kph`, `travel_time` (s), `lanes` (in this direction),
    `highway`, `oneway`, `osmid`, `geometry` (LineString, degrees), and for the way back
    `flags`, `radius`, `speed_mps`, `link`. Nodes carry `x`, `y`, `osmid`, `control` and `highway`
    where they have signals or signs. Forbidden turns are in ``graph.graph["forbidden_turns"]``.
    """
    import networkx as nx
    from shapely import LineString

    lon0, lat0 = _origin(network)
    lon, lat = to_degrees(network.geom_x.astype(float), network.geom_y.astype(float), lon0=lon0, lat0=lat0)
    graph = nx.MultiDiGraph(crs="epsg:4326", simplified=True, lon0=lon0, lat0=lat0)
    graph.graph["forbidden_turns"] = list(zip(network.ban_from.tolist(), network.ban_to.tolist(), strict=True))
    low, high = np.minimum(network.link_from, network.link_to), np.maximum(network.link_from, network.link_to)
    streets = np.unique(np.column_stack([low, high]), axis=0)
    street_count = np.bincount(streets.ravel(), minlength=network.n_nodes)
    for node in range(network.n_nodes):
        control = int(network.node_control[node])
        tag = {"highway": _CONTROL_TAG[control]} if control else {}
        graph.add_node(
            node,
            x=float(network.node_lon[node]),
            y=float(network.node_lat[node]),
            x_m=float(network.node_x[node]),
            y_m=float(network.node_y[node]),
            osmid=int(network.node_osm[node]),
            street_count=int(street_count[node]),
            **tag,
        )
    for link in range(network.n_links):
        part = slice(network.geom_ptr[link], network.geom_ptr[link + 1])
        graph.add_edge(
            int(network.link_from[link]),
            int(network.link_to[link]),
            link=link,
            osmid=int(network.link_way[link]),
            length=float(network.link_length[link]),
            speed_kph=float(network.link_speed[link]) * 3.6,
            speed_mps=float(network.link_speed[link]),
            travel_time=float(network.link_free_s[link]),
            lanes=int(network.link_lanes[link]),
            highway=ROAD_CLASSES[network.link_class[link]],
            oneway=bool(network.link_flags[link] & ONEWAY),
            flags=int(network.link_flags[link]),
            radius=float(network.link_radius[link]),
            geometry=LineString(np.column_stack([lon[part], lat[part]])),
        )
    return graph


def from_networkx(graph: Any, *, country: str = "") -> RoadNetwork:
    """Convert a MultiDiGraph made by `to_networkx` or OSMnx to a `RoadNetwork`, as it is: nothing is cleaned.

    Raises
    ------
    MapError
        When the graph has no edge, or nodes lack `x` and `y`.
    """
    return draft_from_networkx(graph, country=country).finish()


def draft_from_networkx(graph: Any, *, country: str = "") -> Draft:
    """Convert to a `Draft` (see `from_networkx`), for cleaning.

    Speeds come from `speed_mps`, `speed_kph` or `maxspeed`, else the country's urban default.
    `lanes` of an OSMnx two-way edge counts both directions and is halved.
    """
    nodes = list(graph.nodes(data=True))
    edges = [(u, v, d) for u, v, d in graph.edges(data=True) if u != v]
    if not edges:
        raise MapError("the graph has no edge: no drivable road")
    missing = next((name for name, data in nodes if "x" not in data or "y" not in data), None)
    if missing is not None:
        raise MapError(f"node {missing} of the graph has no x and y")
    crs = str(graph.graph.get("crs", "epsg:4326")).lower()
    lon, lat = (np.array([float(data[axis]) for _, data in nodes]) for axis in ("x", "y"))
    if not crs.endswith(("4326", "crs84")):
        lon, lat = _unproject(lon, lat, crs)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and np.abs(lon).max() <= 180 and np.abs(lat).max() <= 90):
        raise MapError("a node of the graph lies off the globe (x is longitude, y is latitude, in degrees)")
    lon0 = float(graph.graph.get("lon0", round(float((lon.min() + lon.max()) / 2), 6)))
    lat0 = float(graph.graph.get("lat0", round(float((lat.min() + lat.max()) / 2), 6)))
    if all("x_m" in data for _, data in nodes):
        x, y = (np.array([float(data[axis]) for _, data in nodes]) for axis in ("x_m", "y_m"))
    else:
        x, y = to_metres(lon, lat, lon0=lon0, lat0=lat0)
    row = {name: k for k, (name, _) in enumerate(nodes)}
    ours = all("link" in data for _, _, data in edges)
    if ours:
        edges.sort(key=lambda edge: int(edge[2]["link"]))
    values = [_edge(data, country, ours=ours) for _, _, data in edges]
    shapes = [_points(data, (lon[row[u]], lat[row[u]]), (lon[row[v]], lat[row[v]]), crs) for u, v, data in edges]
    points_lon, points_lat = np.concatenate(shapes).T
    geom_x, geom_y = to_metres(points_lon, points_lat, lon0=lon0, lat0=lat0)
    bans = np.array(_all(graph.graph.get("forbidden_turns", [])) if ours else [], np.int64).reshape(-1, 2)
    if bans.size and not 0 <= bans.min() <= bans.max() < len(edges):
        raise MapError(f"a forbidden turn names a link that is not there; valid are 0 to {len(edges) - 1}")
    ptr = np.concatenate([[0], np.cumsum([len(shape) for shape in shapes])]).astype(np.int64)
    numbers = np.array([(v["speed"], v["lanes"], v["class"], v["flags"], v["length"]) for v in values])
    draft = Draft(
        lon0=lon0,
        lat0=lat0,
        node_osm=np.array([_whole(data.get("osmid", name), -1 - k) for k, (name, data) in enumerate(nodes)], np.int64),
        node_x=x,
        node_y=y,
        node_control=np.array([_CONTROL.get(str(_first(d.get("highway", ""))), 0) for _, d in nodes], np.uint8),
        link_from=np.array([row[u] for u, _, _ in edges], np.int64),
        link_to=np.array([row[v] for _, v, _ in edges], np.int64),
        link_length=numbers[:, 4],
        link_speed=numbers[:, 0],
        link_lanes=numbers[:, 1].astype(np.int64),
        link_class=numbers[:, 2].astype(np.int64),
        link_flags=numbers[:, 3].astype(np.int64),
        link_way=np.array([v["way"] for v in values], np.int64),
        geom_ptr=ptr,
        geom_x=geom_x,
        geom_y=geom_y,
        ban_from=bans[:, 0],
        ban_to=bans[:, 1],
    )
    if not np.isfinite(draft.link_length).all():
        steps = np.hypot(draft.node_x[draft.link_from] - draft.node_x[draft.link_to],
                         draft.node_y[draft.link_from] - draft.node_y[draft.link_to])  # fmt: skip
        from maps.draft import shape_length

        drawn = np.maximum(shape_length(ptr, geom_x, geom_y), steps)
        draft = replace(draft, link_length=np.where(np.isfinite(draft.link_length), draft.link_length, drawn))
    return replace(draft, link_length=np.maximum(draft.link_length, 0.1))


def read_graphml(path: Path, *, country: str = "") -> Draft:
    """Read an OSMnx GraphML file.

    Raises
    ------
    MapError
        When it is no GraphML, or not a street graph.
    """
    import xml.etree.ElementTree as ET

    import networkx as nx

    try:
        graph = nx.read_graphml(path, force_multigraph=True)
        return draft_from_networkx(graph.to_directed() if not graph.is_directed() else graph, country=country)
    except MapError as error:
        raise MapError(f"{path}: {error}") from None
    except (nx.NetworkXException, ET.ParseError, ValueError, LookupError, TypeError, OSError, RecursionError) as error:
        raise MapError(f"{path}: not a readable OSMnx GraphML file ({' '.join(str(error).split())[:160]})") from None


def _edge(data: Mapping[str, Any], country: str, *, ours: bool) -> dict[str, Any]:
    name = str(_first(data.get("highway", "road")))
    name = name if name in CLASS else "road"
    oneway = str(_first(data.get("oneway", False))).lower() in ("true", "yes", "1", "-1")
    flags = int(data["flags"]) if ours else _flags(data, name, oneway=oneway)
    if "speed_mps" in data:
        speed = float(data["speed_mps"])
    else:
        kmh = parse_speed(";".join(str(v) for v in _all(data.get("maxspeed", ""))), country)
        kmh = kmh or (
            float(data["speed_kph"]) if "speed_kph" in data else default_kmh(country, urban=True)[CLASS[name]]
        )
        speed = kmh / 3.6
    lanes = parse_count(";".join(str(v) for v in _all(data.get("lanes", ""))))
    if lanes and not ours and not oneway:
        lanes = max(1, lanes // 2)
    return {
        "speed": speed,
        "lanes": lanes or default_lanes(name, oneway=oneway),
        "class": CLASS[name],
        "flags": flags,
        "length": float(data.get("length", np.nan)),
        "way": _whole(_first(data.get("osmid", -1)), -1),
    }


def _flags(data: Mapping[str, Any], name: str, *, oneway: bool) -> int:
    def tagged(key: str) -> bool:
        return str(_first(data.get(key, "no"))).lower() not in ("no", "nan", "none", "", "false")

    flags = (ONEWAY if oneway else 0) | (RAMP if name.endswith("_link") else 0)
    flags |= (TUNNEL if tagged("tunnel") else 0) | (BRIDGE if tagged("bridge") else 0) | (TOLL if tagged("toll") else 0)
    flags |= MOTORROAD if name == "motorway" or tagged("motorroad") else 0
    return flags | (ROUNDABOUT if str(_first(data.get("junction", ""))) in ("roundabout", "circular") else 0)


def _points(data: Mapping[str, Any], start: tuple[float, float], end: tuple[float, float], crs: str) -> Any:
    shape = data.get("geometry")
    if shape is None:
        return np.array([start, end])
    if isinstance(shape, str):
        from shapely import GEOSException, from_wkt

        try:
            shape = from_wkt(shape)
        except GEOSException as error:
            raise MapError(f"an edge has a geometry that is no WKT ({error})") from None
    points = np.asarray(shape.coords, float)[:, :2]
    if not crs.endswith(("4326", "crs84")):
        points = np.column_stack(_unproject(points[:, 0], points[:, 1], crs))
    if len(points) < 2:
        raise MapError("an edge has a geometry of one point")
    return points


def _unproject(x: Any, y: Any, crs: str) -> Any:
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        return Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True).transform(x, y)
    except CRSError:
        raise MapError(f"the graph's crs {crs[:60]!r} is unknown; valid is epsg:4326 or another EPSG code") from None


def _all(value: Any) -> list[Any]:
    """Values of an attribute that OSMnx writes as one value, a list, or the text of a list."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


def _first(value: Any) -> Any:
    values = _all(value)
    return values[0] if values else ""


def _whole(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _origin(network: RoadNetwork) -> tuple[float, float]:
    """Where (0, 0) of a network lies: its projection is undone at the node nearest the origin."""
    node = int(np.argmin(np.hypot(network.node_x, network.node_y)))
    lon, lat = float(network.node_lon[node]), float(network.node_lat[node])
    for _ in range(12):
        x, y = to_metres([network.node_lon[node]], [network.node_lat[node]], lon0=lon, lat0=lat)
        # move the centre until the node falls where it should
        lon_new, lat_new = to_degrees(
            [float(x[0]) - network.node_x[node]], [float(y[0]) - network.node_y[node]], lon0=lon, lat0=lat
        )
        if abs(lon_new[0] - lon) < 1e-13 and abs(lat_new[0] - lat) < 1e-13:
            break
        lon, lat = float(lon_new[0]), float(lat_new[0])
    return round(lon, 9), round(lat, 9)
