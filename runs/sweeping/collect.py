"""One tidy data set over all runs of a sweep: parameters, figures, chosen series, and what follows from them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runs.folder import disk_errors
from runs.sweeping.design import PlannedRun
from runs.sweeping.effects import effects_of
from runs.sweeping.indices import NotInstalledError, indices_of
from runs.sweeping.place import Place
from runs.sweeping.sweep_file import Sweep, SweepError

if TYPE_CHECKING:
    import pyarrow as pa


def write_tables(
    place: Place,
    sweep: Sweep,
    keyed: Mapping[str, PlannedRun],
    done: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> None:
    """Write runs, series, effects and indices; each file is whole or not there.

    Raises
    ------
    SweepError
        When an answer that the file asks for is in no summary.
    """
    import pyarrow as pa

    rows = runs_table(sweep, keyed, done, failed)
    write_table(place.path / "runs.parquet", rows)
    write_table(place.path / "effects.parquet", pa.Table.from_pylist(effects_of(sweep, rows), _EFFECTS))
    if sweep.answers.series:
        write_table(place.path / "series.parquet", _series(keyed, done))
    indices = place.path / "indices.parquet"
    if sweep.design.kind in ("saltelli", "morris") and len(done) == len(keyed):
        try:
            write_table(indices, pa.Table.from_pylist(indices_of(sweep, rows), _INDICES))
        except NotInstalledError:
            indices.unlink(missing_ok=True)
            raise


def runs_table(
    sweep: Sweep,
    keyed: Mapping[str, PlannedRun],
    done: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> pa.Table:
    """One row per planned run, in the design's order: who it is, its parameters, every number of its summary.

    Columns of parameters begin with `p.`, those of figures are paths in `summary.json`. Rows of runs that are not done
    hold nulls and `status` failed or missing.
    """
    import pyarrow as pa

    labels = list(sweep.point[0]) if sweep.point else [f.label for f in sweep.factor]
    figures = sorted({name for record in done.values() for name in record["figures"]})
    missing = [name for name in sweep.answers.figures if done and name not in figures]
    if missing:
        raise SweepError(f"{sweep.name}: answers.figures: no {missing[0]!r} in a summary; valid: {', '.join(figures)}")
    columns: dict[str, list[Any]] = {name: [] for name in _ABOUT}
    parameters: dict[str, list[Any]] = {label: [] for label in labels}
    values: dict[str, list[float | None]] = {name: [] for name in figures}
    for key, run in sorted(keyed.items(), key=lambda item: (item[1].point.number, item[1].replication)):
        record = done.get(key)
        about = {
            "run_key": key,
            "point": run.point.number,
            "replication": run.replication,
            "seed": run.scenario.seed,
            "scenario": run.scenario.hash8,
            "status": record["status"] if record is not None else "failed" if key in failed else "missing",
            "why": record["why"] if record is not None else failed.get(key, ""),
            "seconds": record["seconds"].get("total") if record is not None else None,
            "memory_mb": record["peak_memory_mb"] if record is not None else None,
            "disk_bytes": record["disk_bytes"] if record is not None else None,
        }
        for name, value in about.items():
            columns[name].append(value)
        for label in labels:
            parameters[label].append(run.point.levels[label])
        for name in figures:
            value = record["figures"].get(name) if record is not None else None
            values[name].append(None if value is None else float(value))
    fields = [(pa.field(n, _ABOUT[n]), pa.array(v, _ABOUT[n])) for n, v in columns.items()]
    for label, levels in parameters.items():
        array = _levels(levels)
        fields.append((pa.field(f"p.{label}", array.type), array))
    fields += [(pa.field(n, pa.float64()), pa.array(v, pa.float64())) for n, v in values.items()]
    return pa.Table.from_arrays([a for _, a in fields], schema=pa.schema([f for f, _ in fields]))


def _levels(levels: list[Any]) -> pa.Array:
    """Levels of a factor: numbers where all are, words otherwise."""
    import pyarrow as pa

    if all(isinstance(v, bool) for v in levels):
        return pa.array(levels, pa.bool_())
    if all(isinstance(v, int) and not isinstance(v, bool) for v in levels):
        return pa.array(levels, pa.int64())
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in levels):
        return pa.array([float(v) for v in levels], pa.float64())
    return pa.array([v if isinstance(v, str) else str(v) for v in levels], pa.string())


def _series(keyed: Mapping[str, PlannedRun], done: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    parts: list[pa.Table] = []
    for key, run in sorted(keyed.items(), key=lambda item: (item[1].point.number, item[1].replication)):
        for table, columns in (done.get(key) or {"series": {}})["series"].items():
            for name, rows in columns.items():
                n = len(rows["time_s"])
                parts.append(
                    pa.table(
                        {
                            "run_key": pa.array([key] * n, pa.string()),
                            "point": pa.array([run.point.number] * n, pa.int64()),
                            "replication": pa.array([run.replication] * n, pa.int64()),
                            "series": pa.array([f"{table}.{name}"] * n, pa.string()),
                            "time_s": pa.array(rows["time_s"], pa.float64()),
                            "value": pa.array(rows["value"], pa.float64()),
                        }
                    )
                )
    return pa.concat_tables(parts) if parts else _SERIES.empty_table()


def write_table(path: Path, table: pa.Table) -> None:
    """One Parquet file: temporary name, fsync, rename."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        with part.open("wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def _schema(**columns: str) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


_ABOUT: dict[str, str] = {
    "run_key": "string",
    "point": "int64",
    "replication": "int64",
    "seed": "int64",
    "scenario": "string",
    "status": "string",
    "why": "string",
    "seconds": "double",
    "memory_mb": "double",
    "disk_bytes": "int64",
}
_EFFECTS = _schema(
    figure="string",
    measure="string",
    factor="string",
    level="string",
    factor2="string",
    value="double",
    low="double",
    high="double",
    n="int64",
)
_INDICES = _schema(
    figure="string",
    index="string",
    factor="string",
    factor2="string",
    value="double",
    low="double",
    high="double",
)
_SERIES = _schema(
    run_key="string", point="int64", replication="int64", series="string", time_s="double", value="double"
)
