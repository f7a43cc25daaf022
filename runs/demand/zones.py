"""Zones of origin-destination matrices: polygons of a GeoJSON file, or a table of nodes or points by zone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from runs.demand.locate import Locator
from runs.demand.trip_list import DemandFileError, read_table

NAMES = ("zone", "zone_id", "id", "taz", "name")
"""Property of a GeoJSON feature that holds the zone's name: the first of these that it has, else the feature's id."""

CONNECTORS = 8
"""Nodes of a zone that its flows use, drawn by the people its places draw."""


class Zones:
    """Streets of each zone.

    Attributes
    ----------
    nodes : dict of str to int32 array
        Rows of the nodes of each zone; empty for a zone off the map.
    overlapping : int
        Nodes that lie in more than one polygon; they belong to the first.
    """

    def __init__(self, nodes: dict[str, NDArray[np.int32]], overlapping: int = 0) -> None:
        self.nodes = nodes
        self.overlapping = overlapping

    @classmethod
    def read(cls, path: Path, city: CityMap, locator: Locator) -> Zones:
        """Read a file of zones.

        Raises
        ------
        DemandFileError
            When it is neither GeoJSON with polygons nor a table with `zone` and `node` or `lon`, `lat`.
        """
        if path.suffix.lower() in (".geojson", ".json"):
            return cls._polygons(path, city, locator)
        return cls._table(path, locator)

    @classmethod
    def _polygons(cls, path: Path, city: CityMap, locator: Locator) -> Zones:
        from shapely import GEOSException, STRtree, points
        from shapely.geometry import shape

        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DemandFileError(f"{path}: cannot be read as GeoJSON ({' '.join(str(error).split())[:120]})") from None
        features = content.get("features") if isinstance(content, dict) else None
        if not isinstance(features, list) or not features:
            raise DemandFileError(f"{path}: no features in it; a GeoJSON FeatureCollection of polygons is needed")
        crs = str(((content.get("crs") or {}).get("properties") or {}).get("name", "CRS84"))
        if not crs.endswith(("CRS84", "4326")):
            raise DemandFileError(f"{path}: its crs is {crs[:60]}; zones must be in degrees (RFC 7946)")
        names, areas = [], []
        for number, feature in enumerate(features, 1):
            name = _name(feature)
            if not name:
                raise DemandFileError(f"{path}: feature {number} has no name; valid properties: {', '.join(NAMES)}")
            try:
                area = shape(feature["geometry"])
            except (GEOSException, KeyError, TypeError, ValueError, AttributeError) as error:
                raise DemandFileError(f"{path}: feature {number} has no valid geometry ({error})") from None
            if area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty or not area.is_valid:
                raise DemandFileError(f"{path}: zone {name[:40]!r} is a {area.geom_type}; a valid polygon is needed")
            names.append(name)
            areas.append(area)
        _once(names, path)
        network, rows = city.network, locator.nodes
        node, zone = STRtree(areas).query(
            points(network.node_lon[rows], network.node_lat[rows]), predicate="intersects"
        )
        order = np.lexsort((zone, node))
        first = np.append(True, np.diff(node[order]) != 0)[: len(order)]
        zone_of = np.full(len(rows), -1)
        zone_of[node[order][first]] = zone[order][first]
        return cls({name: rows[zone_of == k].astype(np.int32) for k, name in enumerate(names)}, int((~first).sum()))

    @classmethod
    def _table(cls, path: Path, locator: Locator) -> Zones:
        table = read_table(path)
        have = set(table.column_names)
        if "zone" not in have or not ("node" in have or {"lon", "lat"} <= have):
            raise DemandFileError(
                f"{path}: columns {', '.join(table.column_names)}; valid: zone with node, or lon and lat"
            )
        names = [str(value) for value in table["zone"].to_pylist()]
        if "node" in have:
            found, _ = locator.of_osm(np.array([value or 0 for value in table["node"].to_pylist()], np.int64))
        else:
            found, _ = locator.of_degrees(*(np.array(table[axis].to_pylist(), float) for axis in ("lon", "lat")))
        nodes: dict[str, list[int]] = {}
        for name, row in zip(names, found.tolist(), strict=True):
            nodes.setdefault(name, []).extend([row] if row >= 0 else [])
        return cls({name: np.unique(np.array(rows, np.int32)) for name, rows in nodes.items()})

    def connectors(self, name: str, weight: NDArray[np.float64], most: int = CONNECTORS) -> NDArray[np.int32]:
        """Nodes where flows of a zone begin and end: those whose places draw most people, spread evenly by weight."""
        rows = self.nodes[name]
        if len(rows) <= most:
            return rows
        share = np.maximum(weight[rows], 1e-9)
        cum = np.cumsum(share) / share.sum()
        return np.unique(rows[np.searchsorted(cum, (np.arange(most) + 0.5) / most)])


def _name(feature: Any) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    for key in NAMES:
        value = (properties or {}).get(key)
        if value is not None and not isinstance(value, dict | list):
            return str(value)
    return str(feature["id"]) if isinstance(feature, dict) and feature.get("id") is not None else ""


def _once(names: list[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DemandFileError(f"{path}: two zones are named {name[:40]!r}")
        seen.add(name)
