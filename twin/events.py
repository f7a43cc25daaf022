"""Growing tables of facts: what happened, as columns. Meters and writers read them; nothing flows back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Column(NamedTuple):
    """One output column: NumPy dtype (or "str"), unit ("" for none) and meaning."""

    dtype: str
    unit: str
    doc: str


class Table:
    """A table that grows by batches of rows.

    Parameters
    ----------
    name : str
        File name in the results folder, without ending.
    columns : mapping of str to Column
        Declared once; every batch must bring exactly these.

    Examples
    --------
    >>> table = Table("trips", {"trip_id": Column("i8", "", "serial"), "km": Column("f8", "km", "driven")})
    >>> table.append(trip_id=[0, 1], km=[1.5, 2.5])
    >>> len(table), table["km"].tolist()
    (2, [1.5, 2.5])
    """

    def __init__(self, name: str, columns: Mapping[str, Column]) -> None:
        self.name = name
        self.columns = dict(columns)
        self._parts: dict[str, list[NDArray[np.generic]]] = {c: [] for c in columns}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def append(self, **batch: ArrayLike) -> None:
        """Add rows; scalars are repeated to the length of the batch.

        Raises
        ------
        KeyError
            When a column is missing or unknown.
        ValueError
            When lengths disagree.
        """
        if batch.keys() != self.columns.keys():
            wrong = sorted(batch.keys() ^ self.columns.keys())
            raise KeyError(f"table {self.name}: columns {wrong} are missing or unknown")
        arrays = {k: np.atleast_1d(np.asarray(v, self._dtype(k))) for k, v in batch.items()}
        size = max(len(a) for a in arrays.values())
        if any(len(a) == 0 for a in arrays.values()):
            size = 0
        for name, array in arrays.items():
            if len(array) not in (1, size) and size:
                raise ValueError(f"table {self.name}: {name} has {len(array)} rows, expected {size}")
        if size == 0:
            return
        for name, array in arrays.items():
            self._parts[name].append(np.repeat(array, size) if len(array) == 1 and size > 1 else array.copy())
        self._rows += size

    def _dtype(self, name: str) -> np.dtype[np.generic]:
        kind = self.columns[name].dtype
        return np.dtype(object) if kind == "str" else np.dtype(kind)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        parts = self._parts[name]
        if len(parts) > 1:
            self._parts[name] = parts = [np.concatenate(parts)]
        return parts[0] if parts else np.empty(0, self._dtype(name))

    def rows_since(self, first: int) -> dict[str, NDArray[np.generic]]:
        """Columns of the rows from number `first` on."""
        return {name: self[name][first:] for name in self.columns}

    def refill(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace all rows by these, by none when empty: a restored run goes on with the rows it had.

        Raises
        ------
        KeyError
            When a column is missing or unknown.
        """
        for parts in self._parts.values():
            parts.clear()
        self._rows = 0
        if columns:
            self.append(**columns)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All columns, each of shape (len(self),)."""
        return {name: self[name] for name in self.columns}
