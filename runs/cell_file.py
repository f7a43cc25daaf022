"""Radio cells from a CSV file, put on a map in place of the generated ones.

Two layouts, told apart by the header: a table of one's own (`lon,lat` or `x_m,y_m`, and if wanted
`uplink_mbit_s,downlink_mbit_s`), or OpenCelliD's (`radio,mcc,net,area,cell,unit,lon,lat,range,…`),
whose cells of one mast and radio are merged and get the capacity of their radio.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maps.network import CityMap
from maps.project import to_metres

OPENCELLID = ("radio", "mcc", "net", "area", "cell", "unit", "lon", "lat", "range", "samples", "changeable", "created",
              "updated", "averageSignal")  # fmt: skip
CAPACITY_MBIT_S = {
    "GSM": (0.04, 0.04),
    "CDMA": (0.1, 0.3),
    "UMTS": (3.0, 7.0),
    "LTE": (16.0, 35.0),
    "NR": (60.0, 250.0),
}
"""Mean up- and downlink of one cell by radio. LTE: facts `connectivity.cellular` (20 MHz); others are assumptions."""
MAST_M = 50.0
"""Cells closer than this stand on one mast: their capacities add up."""
BEYOND_M = 5000.0
"""Cells farther than this from every road are left out: they serve other places."""


class CellFileError(ValueError):
    """A file of cells cannot be used; one line with file, line and what is valid."""


def with_cells(city: CityMap, path: str, holes: Sequence[tuple[float, float, float]] = ()) -> CityMap:
    """The map with the cells of a file (none: its own) and places without signal.

    Parameters
    ----------
    path : str
        CSV file, "" for none.
    holes : sequence of (longitude, latitude, radius in m)

    Raises
    ------
    CellFileError
        When the file is missing, has no such columns, or a cell has no place or no capacity.
    """
    if not path and not holes:
        return city
    lon0, lat0 = float(city.meta.get("lon0", 0.0)), float(city.meta.get("lat0", 0.0))
    meta = dict(city.meta)
    if holes:
        lon, lat, radius = np.array(holes, float).T
        x, y = to_metres(lon, lat, lon0=lon0, lat0=lat0)
        meta["holes"] = np.column_stack([x, y, radius]).tolist()
    if not path:
        return replace(city, meta=meta)
    x, y, up, down = _read(Path(path), lon0, lat0)
    low = np.array([city.network.node_x.min(), city.network.node_y.min()]) - BEYOND_M
    high = np.array([city.network.node_x.max(), city.network.node_y.max()]) + BEYOND_M
    near = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    if not near.any():
        raise CellFileError(f"{path}: none of its {len(x):,} cells lies within {BEYOND_M / 1000:g} km of the map")
    meta["cell_up_mbit_s"], meta["cell_down_mbit_s"] = up[near].tolist(), down[near].tolist()
    return replace(city, cell_x=x[near].astype(np.float32), cell_y=y[near].astype(np.float32), meta=meta)


def _read(path: Path, lon0: float, lat0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or ("not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error))
        raise CellFileError(f"{path}: cannot be read ({why})") from None
    if not rows or not rows[0]:
        raise CellFileError(f"{path}: is empty, or its first line is")
    header, first = [name.strip() for name in rows[0]], 2
    if header[0] in CAPACITY_MBIT_S:  # OpenCelliD's downloads come without a header
        header, first = list(OPENCELLID)[: len(header)], 1
        rows.insert(0, header)
    places = [pair for pair in (("x_m", "y_m"), ("lon", "lat")) if set(pair) <= set(header)]
    if not places:
        raise CellFileError(f"{path}: line 1: needs columns lon,lat or x_m,y_m; has {', '.join(header)[:80]}")
    east: list[float] = []
    north: list[float] = []
    up: list[float] = []
    down: list[float] = []
    for number, cells in enumerate(rows[1:], first):
        if not any(cells):
            continue
        row = dict(zip(header, cells, strict=False))
        values = [_number(row, name, path, number) for name in places[0]]
        own = CAPACITY_MBIT_S.get(row.get("radio", "LTE"))
        if own is None:
            raise CellFileError(
                f"{path}: line {number}: unknown radio {row['radio']!r}; valid: {', '.join(CAPACITY_MBIT_S)}"
            )
        for way, out, given in (("uplink_mbit_s", up, own[0]), ("downlink_mbit_s", down, own[1])):
            mbit_s = _number(row, way, path, number) if row.get(way) else given
            if mbit_s <= 0:
                raise CellFileError(
                    f"{path}: line {number}: {way} is {mbit_s:g}, the cell has no capacity; valid: above 0"
                )
            out.append(mbit_s)
        east.append(values[0])
        north.append(values[1])
    if not east:
        raise CellFileError(f"{path}: holds no cell")
    x, y = np.array(east), np.array(north)
    if places[0][0] == "lon":
        x, y = to_metres(x, y, lon0=lon0, lat0=lat0)
    return _merged(x, y, np.array(up), np.array(down)) if "radio" in header else (x, y, np.array(up), np.array(down))


def _number(row: dict[str, str], name: str, path: Path, line: int) -> float:
    try:
        value = float(row[name])
    except (KeyError, ValueError):
        value = math.nan
    limit = {"lon": 180.0, "lat": 90.0}.get(name, math.inf)
    if not math.isfinite(value) or abs(value) > limit:
        raise CellFileError(f"{path}: line {line}: {name} is {row.get(name, 'missing')!r}; must be a number")
    return value


def _merged(
    x: np.ndarray, y: np.ndarray, up: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row per mast (a square of MAST_M), with the capacities of its cells together."""
    square = np.column_stack([np.floor(x / MAST_M), np.floor(y / MAST_M)])
    _, mast = np.unique(square, axis=0, return_inverse=True)
    mast = mast.ravel()
    count = np.bincount(mast)
    return (
        np.bincount(mast, x) / count,
        np.bincount(mast, y) / count,
        np.bincount(mast, up),
        np.bincount(mast, down),
    )
