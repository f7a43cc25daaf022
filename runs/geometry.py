"""Geometry of a run as GeoParquet 1.1: streets, charging sites and radio cells, WKB in longitude/latitude (WGS 84)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import ArrayLike, NDArray

from maps.network import ONEWAY, OUTSIDE, ROAD_CLASSES, CityMap
from maps.project import to_degrees

_DOCS = {
    "link_id": ("", "row of the link in all tables"),
    "from_node": ("", "start node"),
    "to_node": ("", "end node"),
    "osm_way": ("", "OSM way id of the first piece; negative when made by the build"),
    "class": ("", "OSM highway value"),
    "flags": ("", "bits oneway motorroad tunnel bridge roundabout toll outside ramp"),
    "oneway": ("", "traffic in this direction only"),
    "outside": ("", "approach road beyond the extract"),
    "length_m": ("m", "driving length along the true geometry"),
    "free_speed_kmh": ("km/h", "limit, or national default"),
    "lanes": ("", "lanes in this direction"),
    "cell_id": ("", "row of the radio cell"),
    "site_id": ("", "charging site"),
    "kind": ("", "home, work, public or fast"),
    "name": ("", "label of the map, empty when it has none"),
    "feeder_id": ("", "low-voltage feeder the site hangs on"),
    "sockets": ("", "number of sockets"),
    "kw": ("kW", "rated power of the site"),
}


def streets(city: CityMap) -> pa.Table:
    """One row per link with its curved geometry."""
    net = city.network
    lon, lat = _degrees(city, net.geom_x, net.geom_y)
    lines = shapely.from_ragged_array(shapely.GeometryType.LINESTRING, np.column_stack([lon, lat]), (net.geom_ptr,))
    columns: dict[str, ArrayLike] = {
        "link_id": np.arange(net.n_links, dtype=np.int32),
        "from_node": net.link_from,
        "to_node": net.link_to,
        "osm_way": net.link_way,
        "class": np.asarray(ROAD_CLASSES, object)[net.link_class],
        "flags": net.link_flags,
        "oneway": net.has(ONEWAY),
        "outside": net.has(OUTSIDE),
        "length_m": net.link_length,
        "free_speed_kmh": net.link_speed * 3.6,
        "lanes": net.link_lanes,
    }
    return _table("map", columns, lines, "LineString")


def sites(city: CityMap, found: Mapping[str, Any]) -> pa.Table:
    """One row per charging site; `found` has arrays site_id, kind, name, x, y, feeder_id, sockets, kw."""
    columns = {
        "site_id": np.asarray(found["site_id"], np.int32),
        "kind": _texts(found["kind"]),
        "name": _texts(found["name"]),
        "feeder_id": np.asarray(found["feeder_id"], np.int32),
        "sockets": np.asarray(found["sockets"], np.int32),
        "kw": np.asarray(found["kw"], np.float64),
    }
    return _table("sites", columns, _points(city, found["x"], found["y"]), "Point")


def cells(city: CityMap) -> pa.Table:
    """One row per radio cell."""
    columns = {"cell_id": np.arange(len(city.cell_x), dtype=np.int32)}
    return _table("cells", columns, _points(city, city.cell_x, city.cell_y), "Point")


def _texts(values: ArrayLike) -> NDArray[Any]:
    out = np.empty(len(np.asarray(values, object)), object)
    out[:] = [str(v) for v in np.asarray(values, object)]
    return out


def _points(city: CityMap, x: ArrayLike, y: ArrayLike) -> NDArray[Any]:
    return np.asarray(shapely.points(*_degrees(city, x, y)), object)


def _degrees(city: CityMap, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return to_degrees(x, y, lon0=float(city.meta["lon0"]), lat0=float(city.meta["lat0"]))


def _table(name: str, columns: Mapping[str, ArrayLike], shapes: NDArray[Any], kind: str) -> pa.Table:
    arrays, fields = [], []
    for column, values in columns.items():
        held = np.asarray(values)
        array = pa.array(held, pa.string() if held.dtype == object else None)
        unit, doc = _DOCS[column]
        arrays.append(array)
        fields.append(pa.field(column, array.type, metadata={"unit": unit, "doc": doc}))
    box = [float(v) for v in shapely.total_bounds(shapes)] if len(shapes) else None
    about = {"encoding": "WKB", "geometry_types": [kind], **({"bbox": box} if box else {})}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}  # no crs: OGC:CRS84
    arrays.append(pa.array(list(shapely.to_wkb(shapes)), pa.binary()))
    fields.append(
        pa.field("geometry", pa.binary(), metadata={"unit": "", "doc": f"WKB {kind}, WGS 84 longitude latitude"})
    )
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={"geo": json.dumps(geo), "table": name}))
