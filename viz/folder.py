"""A results folder as arrays: a thin reading of its Parquet and JSON files."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runs.results import ResultsError, RunResult

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class ReportError(ResultsError):
    """A results folder cannot be drawn; the message is one line for the user."""


class Names(NamedTuple):
    """A text column: `labels[codes[row]]` is the text of a row."""

    codes: Rows
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Folder:
    """One finished, stopped or degraded run.

    Attributes
    ----------
    path : Path
        The folder.
    summary, manifest, scenario : mapping
        `summary.json`, `manifest.json`, `scenario.toml`.
    """

    path: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    scenario: Mapping[str, Any]
    _read: dict[tuple[str, str], NDArray[Any] | Names] = field(default_factory=dict, repr=False, compare=False)
    _counted: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> Folder:
        """Read the three small files of a results folder.

        Raises
        ------
        ResultsError
            When the folder is missing, is not a results folder, is of a run that has
            not ended, of another format, or holds a file that cannot be read.
        """
        result = RunResult.open(path)
        try:
            scenario = tomllib.loads((result.path / "scenario.toml").read_text("utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ReportError(
                f"{result.path / 'scenario.toml'}: cannot be read ({' '.join(str(error).split())})"
            ) from None
        return cls(result.path, result.summary, result.manifest, scenario)

    def table(self, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[Any] | Names]:
        """The asked columns of one table; all empty when the run did not write it.

        Numbers come as they are stored, missing ones as NaN; text as `Names`. A column
        is read from the disk once.

        Raises
        ------
        ReportError
            When the file is damaged or lacks a column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.path / f"{name}.parquet"
        if not file.is_file():
            return {c: np.empty(0) for c in columns}
        unread = [c for c in columns if (name, c) not in self._read]
        if not unread:
            return {c: self._read[name, c] for c in columns}
        try:
            found = pq.ParquetFile(file).schema_arrow.names
            if missing := [c for c in unread if c not in found]:
                raise ReportError(f"{file}: no column {missing[0]}; it has {', '.join(found)}")
            table = pq.read_table(file, columns=unread, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise ReportError(f"{file}: damaged or not Parquet ({' '.join(str(error).split())})") from None
        self._read.update({(name, c): _array(table.column(c)) for c in unread})
        return {c: self._read[name, c] for c in columns}

    def once[T](self, name: str, count: Callable[[], T]) -> T:
        """What `count` gives, counted once per folder: several charts show the same series."""
        if name not in self._counted:
            self._counted[name] = count()
        found: T = self._counted[name]
        return found

    def columns(self, name: str) -> tuple[str, ...]:
        """Column names of one table, none when the run did not write it."""
        import pyarrow.parquet as pq

        file = self.path / f"{name}.parquet"
        return tuple(pq.ParquetFile(file).schema_arrow.names) if file.is_file() else ()

    def value(self, *keys: str) -> Any:
        """A value of the summary, None when it is not there."""
        here: Any = self.summary
        for key in keys:
            here = here.get(key) if isinstance(here, Mapping) else None
        return here

    @property
    def start(self) -> datetime | None:
        """Civil time at which the scenario starts, None when the run does not say."""
        for source in (self.manifest, self.scenario):
            start = source.get("start")
            if isinstance(start, datetime):
                return start.replace(tzinfo=None)
            if isinstance(start, str):
                try:
                    return datetime.fromisoformat(start).replace(tzinfo=None)
                except ValueError:
                    continue
        return None

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return str(self.scenario.get("name") or self.manifest.get("scenario") or self.path.name)


def _array(column: Any) -> NDArray[Any] | Names:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        coded = column.combine_chunks().dictionary_encode()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.combine_chunks()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        labels = tuple(coded.dictionary.to_pylist())
        if (codes < 0).any():
            labels, codes = (*labels, ""), np.where(codes < 0, len(labels), codes)
        return Names(codes, labels)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        objects: NDArray[Any] = np.array(column.to_pylist(), object)
        return objects
    if pa.types.is_boolean(kind):
        return np.asarray(column.to_numpy(), bool)
    return np.asarray(column.to_numpy())
