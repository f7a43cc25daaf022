"""Height of the ground at nodes: ESRI ASCII grids, GeoTIFF, tables of points, and GraphML with `elevation`.

Heights are metres above whatever zero the file has; only differences count. Grids are read between
the centres of four cells; points by the three nearest ones, weighted by the inverse of their distance.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import OUTSIDE, MapError, RoadNetwork

STEEPEST = 0.25
"""Rise over run beyond which a link's slope is taken as a fault of the data (the steepest streets have 0.35)."""

NEAR_M = 250.0
"""A node farther than this from every given point has no height."""

_VALID = "valid are .asc (ESRI ASCII grid), .tif (GeoTIFF), .csv with lon, lat, elevation_m, .graphml with elevation"


@dataclass(frozen=True, eq=False)
class Grid:
    """Heights at the centres of even cells, in degrees.

    `value[r, c]` belongs to longitude `lon0 + c * step_lon` and latitude `lat0 + r * step_lat`; NaN is unknown.
    """

    lon0: float
    lat0: float
    step_lon: float
    step_lat: float
    value: NDArray[np.float64]

    def at(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Height at points, m; NaN beyond the outer centres and beside unknown cells."""
        x, y = (lon - self.lon0) / self.step_lon, (lat - self.lat0) / self.step_lat
        rows, columns = self.value.shape
        inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
        c = np.clip(np.floor(np.where(inside, x, 0)).astype(np.int64), 0, max(columns - 2, 0))
        r = np.clip(np.floor(np.where(inside, y, 0)).astype(np.int64), 0, max(rows - 2, 0))
        u, w = x - c, y - r
        c1, r1 = np.minimum(c + 1, columns - 1), np.minimum(r + 1, rows - 1)
        low = self.value[r, c] * (1 - u) + self.value[r, c1] * u
        high = self.value[r1, c] * (1 - u) + self.value[r1, c1] * u
        return np.where(inside, low * (1 - w) + high * w, np.nan)


@dataclass(frozen=True, eq=False)
class Points:
    """Heights at single points; degrees and metres."""

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    value: NDArray[np.float64]

    def at(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Height at points, m; NaN farther than NEAR_M from all that are known."""
        flat = float(np.cos(np.radians(self.lat.mean())))

        def metres(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.column_stack([lon * 111_320.0 * flat, lat * 111_000.0])

        most = min(3, len(self.value))
        gap, row = cKDTree(metres(self.lon, self.lat)).query(metres(lon, lat), k=range(1, most + 1))
        weight = 1.0 / np.maximum(gap, 0.01) ** 2
        height = (self.value[row] * weight).sum(axis=1) / weight.sum(axis=1)
        return np.where(gap[:, 0] <= NEAR_M, height, np.nan)


def read_elevation(path: Path) -> Grid | Points:
    """Read a file of heights.

    Raises
    ------
    MapError
        One line: file, what is wrong, what is valid.
    """
    if not path.is_file():
        raise MapError(f"terrain.elevation: {path} is not a file")
    kind = path.suffix.lower()
    readers: dict[str, Callable[[Path], Grid | Points]] = {
        ".asc": _ascii,
        ".tif": _tiff,
        ".tiff": _tiff,
        ".csv": _table,
        ".graphml": _graphml,
    }
    if kind not in readers:
        raise MapError(f"{path}: heights cannot be read from {kind or 'this'}; {_VALID}")
    try:
        found = readers[kind](path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MapError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); {_VALID}") from None
    if not np.isfinite(found.value).any():
        raise MapError(f"{path}: holds no height")
    return found


def link_rise(
    network: RoadNetwork, heights: Grid | Points, *, place: str
) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Rise of each link from its start to its end, m, and counts of what was not usable.

    Links with an end of unknown height, and approach roads, are level; slopes beyond STEEPEST are cut to it.

    Raises
    ------
    MapError
        When fewer than half of the nodes of the extract have a height: another city's file.
    """
    node = heights.at(network.node_lon, network.node_lat)
    street = ~network.has(OUTSIDE)
    own = np.unique(network.link_from[street])
    known = np.isfinite(node)
    if known[own].mean() < 0.5:
        raise MapError(f"{place}: covers {known[own].mean():.0%} of the map's nodes; valid is a file of the same city")
    rise = node[network.link_to] - node[network.link_from]
    usable = street & np.isfinite(rise)
    rise = np.where(usable, rise, 0.0)
    most = STEEPEST * network.link_length
    steep = np.abs(rise) > most
    counts = {"level_links": int((street & ~usable).sum()), "too_steep_links": int(steep.sum())}
    return np.clip(rise, -most, most), counts


def _ascii(path: Path) -> Grid:
    """ESRI ASCII grid in degrees: six header lines, then rows from north to south."""
    head: dict[str, float] = {}
    with path.open(encoding="ascii") as file:
        for _ in range(6):
            at = file.tell()
            words = file.readline().split()
            if len(words) != 2 or not words[0][:1].isalpha():
                file.seek(at)
                break
            head[words[0].lower()] = _number(words[1], path)
        body = file.read().split()
    corner = "xllcorner" in head
    names = ("ncols", "nrows", "cellsize", *(("xllcorner", "yllcorner") if corner else ("xllcenter", "yllcenter")))
    for name in names:
        if name not in head:
            raise MapError(f"{path}: no {name} in the header of the ESRI ASCII grid")
    columns, rows, step = int(head["ncols"]), int(head["nrows"]), head["cellsize"]
    if columns < 1 or rows < 1 or not step > 0 or len(body) != rows * columns:
        raise MapError(f"{path}: {len(body)} values, the header says {rows} rows of {columns}")
    try:
        value = np.array(body, float).reshape(rows, columns)[::-1]
    except ValueError as error:
        raise MapError(f"{path}: {error}") from None
    value = np.where(value == head.get("nodata_value", -9999.0), np.nan, value)
    west, south = (
        (head[names[3]], head[names[4]]) if not corner else (head[names[3]] + step / 2, head[names[4]] + step / 2)
    )
    if not (abs(west) <= 180 and abs(south) <= 90 and step < 10):
        raise MapError(
            f"{path}: its corner {west:g}, {south:g} is no longitude and latitude; an ASCII grid must be in degrees"
        )
    return Grid(west, south, step, step, value)


def _tiff(path: Path) -> Grid:
    try:
        import rasterio  # type: ignore[import-not-found, unused-ignore]
        from rasterio.enums import Resampling  # type: ignore[import-not-found, unused-ignore]
        from rasterio.errors import RasterioError  # type: ignore[import-not-found, unused-ignore]
        from rasterio.vrt import WarpedVRT  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise MapError(
            f"{path}: reading GeoTIFF needs the package rasterio: pip install 'fleet-twin[terrain]'"
        ) from None
    try:
        with rasterio.open(path) as raw:
            if raw.crs is None:
                raise MapError(f"{path}: has no coordinate system")
            with WarpedVRT(raw, crs="EPSG:4326", resampling=Resampling.bilinear) as grid:
                value = grid.read(1, masked=True).astype(float).filled(np.nan)
                t = grid.transform
    except RasterioError as error:
        raise MapError(f"{path}: not a readable GeoTIFF ({' '.join(str(error).split())[:120]})") from None
    return Grid(t.c + t.a / 2, t.f + t.e * (value.shape[0] - 0.5), t.a, -t.e, value[::-1])


def _table(path: Path) -> Points:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in ("lon", "lat", "elevation_m") if name not in (rows.fieldnames or [])]
        if missing:
            raise MapError(f"{path}: no column {missing[0]}; valid: lon, lat, elevation_m")
        found = [[_number(row[name], path) for name in ("lon", "lat", "elevation_m")] for row in rows]
    return _points(found, path)


def _graphml(path: Path) -> Points:
    """Nodes of an OSMnx GraphML file with x, y and elevation; no entity is expanded."""
    parser = expat.ParserCreate()
    keys: dict[str, str] = {}
    node: dict[str, str] = {}
    found: list[list[float]] = []
    state = {"key": "", "text": "", "node": False}

    def start(tag: str, a: dict[str, str]) -> None:
        if tag == "key" and a.get("for") == "node":
            keys[a.get("id", "")] = a.get("attr.name", "")
        elif tag == "node":
            node.clear()
            state["node"] = True
        elif tag == "data":
            state["key"], state["text"] = keys.get(a.get("key", ""), ""), ""

    def end(tag: str) -> None:
        if tag == "data" and state["node"]:
            node[str(state["key"])] = str(state["text"])
        elif tag == "node":
            state["node"] = False
            if {"x", "y", "elevation"} <= node.keys():
                found.append([_number(node[name], path) for name in ("x", "y", "elevation")])

    def said(text: str) -> None:
        state["text"] = str(state["text"]) + text

    def declared(*_: object) -> None:
        raise MapError(f"{path}: declares entities, which are refused")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, said
    parser.EntityDeclHandler = declared
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise MapError(f"{path}: not well-formed GraphML ({error})") from None
    if not found:
        raise MapError(f"{path}: no node has x, y and elevation (osmnx.elevation adds them)")
    return _points(found, path)


def _points(rows: list[list[float]], path: Path) -> Points:
    if not rows:
        raise MapError(f"{path}: holds no height")
    lon, lat, value = np.array(rows, float).T
    if np.abs(lon).max() > 180 or np.abs(lat).max() > 90:
        raise MapError(f"{path}: a point lies off the globe; lon and lat must be degrees")
    return Points(lon, lat, value)


def _number(text: object, path: Path) -> float:
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MapError(f"{path}: {str(text)[:40]!r} is not a finite number")
    return value
