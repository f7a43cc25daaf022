"""Origin-destination matrices: long or square tables (CSV, Parquet) and OMX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runs.demand.trip_list import DemandFileError, read_table

COLUMNS = (("from", "to"), ("origin", "destination"), ("o", "d"))
AMOUNTS = ("trips", "flow", "demand", "volume")


class Matrix(NamedTuple):
    """Cells of a matrix that hold trips.

    Attributes
    ----------
    origin, destination : object (n,)
        Names of zones.
    trips : float64 (n,)
        Trips a day, or in the cell's hour.
    hour : int64 (n,)
        Clock hour, -1 the whole day.
    row : int64 (n,)
        Row of a long table; cell number, counted line by line, of a square one. The first is 1.
    """

    origin: NDArray[np.object_]
    destination: NDArray[np.object_]
    trips: NDArray[np.float64]
    hour: NDArray[np.int64]
    row: NDArray[np.int64]


def read_matrix(path: Path, *, name: str = "") -> Matrix:
    """Read a matrix.

    Parameters
    ----------
    path : Path
        `.omx` (or `.h5`), `.parquet` or `.csv`. A long table has a pair of columns `from`, `to` (or `origin`,
        `destination`), `trips` and perhaps `hour` (0 to 23); a square one has zones in its first column and first row.
    name : str
        Matrix of an OMX file that holds several.

    Raises
    ------
    DemandFileError
        When it is none of these, a cell is negative, no number or given twice, or an hour is not 0 to 23.
    """
    found = _omx(path, name) if path.suffix.lower() in (".omx", ".h5", ".hdf5") else _table(path)
    bad = ~(np.isfinite(found.trips) & (found.trips >= 0))
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        where = f"row {found.row[k]}: from {found.origin[k]} to {found.destination[k]}"
        raise DemandFileError(f"{path}: {where}: {found.trips[k]:g} trips; valid are 0 and more")
    key: dict[tuple[str, str, int], int] = {}
    cells = zip(found.origin.tolist(), found.destination.tolist(), found.hour.tolist(), strict=True)
    for cell, row in zip(cells, found.row.tolist(), strict=True):
        if cell in key:
            raise DemandFileError(
                f"{path}: row {row}: the cell from {cell[0]} to {cell[1]} is that of row {key[cell]} too"
            )
        key[cell] = row
    some = found.trips > 0
    if not some.any():
        raise DemandFileError(f"{path}: no cell holds a trip")
    return Matrix._make(column[some] for column in found)


def _table(path: Path) -> Matrix:
    table = read_table(path)
    lower = {name.lower(): name for name in table.column_names}
    pair = next((p for p in COLUMNS if all(name in lower for name in p)), None)
    amount = next((name for name in AMOUNTS if name in lower), None)
    if pair and amount:
        origin, destination = (_names(table[lower[name]]) for name in pair)
        trips = _floats(table[lower[amount]], path)
        hour = np.full(len(trips), -1, np.int64)
        if "hour" in lower:
            hours = _floats(table[lower["hour"]], path)
            wrong = ~np.isin(hours, np.arange(24.0))
            if wrong.any():
                k = int(np.flatnonzero(wrong)[0])
                raise DemandFileError(f"{path}: row {k + 1}: hour is {hours[k]:g}; valid are 0 to 23")
            hour = hours.astype(np.int64)
        return Matrix(origin, destination, trips, hour, np.arange(1, len(trips) + 1))
    zones = _names(table[table.column_names[0]])
    across = np.array([str(name).strip() for name in table.column_names[1:]], object)
    if len(across) and len(zones) == len(across) and set(zones) == set(across):
        cells = np.array([_floats(table[name], path) for name in table.column_names[1:]]).T
        return _square(zones, across, cells)
    raise DemandFileError(
        f"{path}: columns {', '.join(table.column_names)[:160]}; valid: from, to, trips and perhaps hour, "
        "or a square table with the zones in its first column and its first row"
    )


def _square(zones: NDArray[np.object_], across: NDArray[np.object_], cells: NDArray[np.float64]) -> Matrix:
    size = cells.size
    return Matrix(
        np.repeat(zones, len(across)),
        np.tile(across, len(zones)),
        cells.ravel().astype(float),
        np.full(size, -1, np.int64),
        np.arange(1, size + 1),
    )


def _omx(path: Path, name: str) -> Matrix:
    """Open Matrix: HDF5 with matrices in /data and zone names in /lookup (https://github.com/osPlanning/omx)."""
    try:
        import h5py  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise DemandFileError(f"{path}: reading OMX needs the package h5py: pip install 'fleet-twin[demand]'") from None
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            names = sorted(data) if data is not None else []
            wanted = name or (names[0] if len(names) == 1 else "")
            if wanted not in names:
                raise DemandFileError(
                    f"{path}: demand.matrix is {name!r}; the file holds {', '.join(names) or 'no matrix'}"
                )
            cells = np.asarray(data[wanted], float)
            lookup = file.get("lookup")
            known = sorted(lookup) if lookup is not None else []
            zones: NDArray[Any] = np.asarray(lookup[known[0]]) if known else np.arange(1, len(cells) + 1)
    except OSError as error:
        raise DemandFileError(f"{path}: not a readable OMX file ({' '.join(str(error).split())[:120]})") from None
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or len(zones) != len(cells):
        raise DemandFileError(
            f"{path}: matrix {wanted} is {cells.shape} and its zones are {len(zones)}; a square is needed"
        )
    label = np.array([z.decode() if isinstance(z, bytes) else str(z) for z in zones.tolist()], object)
    return _square(label, label, cells)


def _names(column: Any) -> NDArray[np.object_]:
    return np.array([_name(value) for value in column.to_pylist()], object)


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _floats(column: Any, path: Path) -> NDArray[np.float64]:
    out = np.zeros(len(column))
    for row, value in enumerate(column.to_pylist()):
        try:
            out[row] = float(value) if value is not None else np.nan
        except (TypeError, ValueError):
            raise DemandFileError(f"{path}: row {row + 1}: {str(value)[:40]!r} is not a number") from None
    return out
