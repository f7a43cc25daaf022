"""The links of a city as lines in metres, from a map file or from a run's `map.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, ROAD_CLASSES, CityMap
from viz.folder import Floats, Folder, Names, ReportError, Rows

if TYPE_CHECKING:
    from matplotlib.path import Path as Path2D

METRES_PER_DEGREE = 111_320.0  # of latitude, mean of WGS 84; good to 0.6 %, for drawing only

LINKS_PER_PATH = 500


@dataclass(frozen=True, eq=False)
class Streets:
    """Links as drawn: metres east and north of the first point's degree origin.

    `ptr` cuts `x`, `y` (metres) into links; `road` is the index into ROAD_CLASSES;
    `outside` marks approach roads beyond the extract.
    """

    link_id: Rows
    x: Floats
    y: Floats
    ptr: Rows
    road: Rows
    outside: NDArray[np.bool_]

    @classmethod
    def of_city(cls, city: CityMap) -> Streets:
        """The links of a map file."""
        net = city.network
        return cls(
            np.arange(net.n_links),
            net.geom_x.astype(float),
            net.geom_y.astype(float),
            net.geom_ptr,
            net.link_class.astype(np.int64),
            net.has(OUTSIDE),
        )

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Links of the extract; all of them when there is nothing else."""
        return ~self.outside if not self.outside.all() else np.ones_like(self.outside)

    def paths(self, rows: NDArray[Any]) -> list[Path2D]:
        """The given links as compound paths of at most `LINKS_PER_PATH` links.

        One path per link costs 6 s for 200,000 links, one for all of them overflows
        the renderer.
        """
        from matplotlib.path import Path as Path2D

        made = []
        for first in range(0, len(rows), LINKS_PER_PATH):
            part = rows[first : first + LINKS_PER_PATH]
            size = self.ptr[part + 1] - self.ptr[part]
            starts = np.concatenate([[0], np.cumsum(size)[:-1]])
            at = np.repeat(self.ptr[part] - starts, size) + np.arange(size.sum())
            codes = np.full(len(at), Path2D.LINETO, Path2D.code_type)
            codes[starts] = Path2D.MOVETO
            made.append(Path2D(np.column_stack([self.x[at], self.y[at]]), codes))
        return made

    def box(self) -> tuple[float, float, float, float]:
        """West, east, south, north of the extract, metres."""
        shown = np.repeat(self.inside, np.diff(self.ptr))
        x, y = self.x[shown], self.y[shown]
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())


@dataclass(frozen=True)
class Origin:
    """Where metres are counted from: degrees of WGS 84 around one latitude (equirectangular)."""

    lon: float
    lat: float

    def metres(self, lonlat: Floats) -> Floats:
        """Degrees of shape (n, 2) as metres east and north."""
        scale = np.array([np.cos(np.radians(self.lat)), 1.0]) * METRES_PER_DEGREE
        return np.asarray((lonlat - [self.lon, self.lat]) * scale)


def streets_of(folder: Folder) -> tuple[Streets, Origin] | None:
    """The links of a run from `map.parquet`; None when the run wrote no map.

    Raises
    ------
    ReportError
        When the geometry cannot be read.
    """
    import shapely

    names = folder.columns("map")
    if not names:
        return None
    flag = next((c for c in ("flags", "link_flags", "outside") if c in names), None)
    road = next((c for c in ("class", "road_class", "link_class") if c in names), None)
    wanted = [c for c in ("link_id", "geometry", flag, road) if c is not None]
    found = folder.table("map", tuple(wanted))
    try:
        shapes = shapely.from_wkb(found["geometry"])
    except shapely.errors.ShapelyError as error:
        raise ReportError(f"{folder.path / 'map.parquet'}: geometry is not WKB: {error}".splitlines()[0]) from error
    lonlat = shapely.get_coordinates(shapes)
    if not len(lonlat):
        return None
    ids = np.asarray(found["link_id"]).astype(np.int64)
    flags = np.asarray(found[flag]) if flag else np.zeros(len(ids), np.int64)
    outside = flags.astype(bool) if flag == "outside" else (flags.astype(np.int64) & OUTSIDE) != 0
    ptr = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(shapes))]).astype(np.int64)
    inner = np.repeat(~outside, np.diff(ptr)) if not outside.all() else slice(None)
    origin = Origin(*(float(v) for v in np.median(lonlat[inner], axis=0)))
    metres = origin.metres(lonlat)
    return Streets(
        ids, metres[:, 0], metres[:, 1], ptr, _classes(found[road] if road else None, len(ids)), outside
    ), origin


def _classes(column: NDArray[Any] | Names | None, n: int) -> Rows:
    if column is None:
        return np.full(n, ROAD_CLASSES.index("road"))
    if isinstance(column, Names):
        index = [ROAD_CLASSES.index(c) if c in ROAD_CLASSES else ROAD_CLASSES.index("road") for c in column.labels]
        return np.array(index, np.int64)[column.codes]
    return np.asarray(column).astype(np.int64)
