"""`twin sweep`: its options, what it prints, its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runs.sweeping.sweep import SweepResult

DONE, NOT_ALL_WELL, SIGNALLED = 0, 3, 128
SWEEP_HELP = (
    "Many runs from one file: designs, replications, sensitivity. The same command goes on after any death.\n\n"
    "Example: twin sweep answers --dry-run"
)


def sweep_command(
    file: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a shipped sweep.")],
    executor: Annotated[str, typer.Option("--executor", help="local, dask or slurm.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=4096, help="Runs at a time; default the cores (slurm: the file)."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Dask scheduler that is there already: tls://HOST:PORT.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="3/64", help="Only this part, for array jobs; the last part makes the tables."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Runs, time, memory and disk from small measured runs; the job scripts.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also run again what is recorded as failed.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default results/sweep-<name>-<hash>.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors only, and the path of what was written.")
    ] = False,
) -> int:
    """Run a sweep."""
    from runs.sweeping.local import Stopped
    from runs.sweeping.sweep import sweep
    from runs.sweeping.sweep_file import Sweep
    from runs.views import NoView, draw_sweep

    chosen = Sweep.load(file)
    say = (lambda _text: None) if quiet else _say
    if dry_run:
        return _dry_run(chosen, file, executor, workers, out, as_json=as_json, quiet=quiet)
    try:
        result = sweep(
            chosen,
            executor=executor,
            workers=workers,
            address=address,
            out=out,
            shard=shard,
            again=again,
            say=say,
        )
    except Stopped as stop:
        _say(f"twin: {stop}")
        return SIGNALLED + stop.signal
    pictures: list[Path] = []
    if result.complete and result.done:
        try:
            pictures = draw_sweep(result.path)
        except NoView as error:
            say(str(error))
    if as_json:
        _json({**as_dict(result), "pictures": [str(p) for p in pictures]})
    else:
        _print(() if quiet else (*lines(result), *map(str, pictures)))
        _print([str(result.path)])
    wrong = bool(result.failed or result.degraded) or (not result.complete and shard is None)
    return NOT_ALL_WELL if wrong else DONE


def _dry_run(
    chosen: Any, file: str, executor: str, workers: int | None, out: Path | None, *, as_json: bool, quiet: bool
) -> int:
    import os

    from runs.single import RESULTS
    from runs.sweeping.forecast import forecast
    from runs.sweeping.place import Place

    path = out or RESULTS / chosen.folder_name
    Place(path).check(chosen)
    at_a_time = workers or (chosen.slurm.jobs if executor == "slurm" else len(os.sched_getaffinity(0)))
    found = forecast(chosen, path=path, workers=at_a_time, file=file, say=(lambda _text: None) if quiet else _say)
    script = ""
    if executor == "slurm":
        from runs.sweeping.cluster import slurm_cluster

        with slurm_cluster(chosen) as cluster:
            script = cluster.job_script()
    if as_json:
        _json({**found.to_dict(), "job_script": script})
        return NOT_ALL_WELL if found.over else DONE
    if not quiet:
        _print(found.lines())
        if executor == "slurm":
            _print(
                ["", "each worker is submitted as:", "", script, "or as an array job without Dask:", "", found.script]
            )
    _print([found.path])
    return NOT_ALL_WELL if found.over else DONE


def as_dict(result: SweepResult) -> dict[str, Any]:
    """Plain values of a result."""
    return {
        "path": str(result.path),
        "runs": result.total,
        "done": result.done,
        "degraded": result.degraded,
        "run_here": result.run_here,
        "failed": result.failed,
        "complete": result.complete,
        "why": result.why,
    }


def lines(result: SweepResult) -> Iterator[str]:
    """A result in words: counts, then the effects or indices of every answer."""
    here = f", {result.run_here:,} of them now" if result.run_here != result.done else ""
    wrong = f"{result.degraded:,} degraded, {len(result.failed):,} failed"
    yield f"{result.done:,} of {result.total:,} runs done{here}; {wrong}"
    for key, reason in list(result.failed.items())[:5]:
        yield f"  failed {key}: {reason}"
    if result.why:
        yield f"  not complete: {result.why}"
        return
    if (result.path / "indices.parquet").is_file():
        yield from _index_lines(result)
    if result.done:
        yield from _effect_lines(result)


def _index_lines(result: SweepResult) -> Iterator[str]:
    figure = ""
    for row in result.table("indices").to_pylist():
        if row["figure"] != figure:
            figure = row["figure"]
            yield f"\n{figure}: sensitivity"
        pair = f" x {row['factor2']}" if row["factor2"] else ""
        yield f"  {row['index']:<8} {row['factor'] + pair:<40} {row['value']:>8.3f}{_ends(row, '.3f')}"


def _effect_lines(result: SweepResult) -> Iterator[str]:
    figure = ""
    for row in result.table("effects").to_pylist():
        if row["measure"] == "mean":
            continue
        if row["figure"] != figure:
            figure = row["figure"]
            yield f"\n{figure}: effects"
        what = " x ".join(filter(None, (row["factor"], row["factor2"]))) + (f" {row['level']}" if row["level"] else "")
        yield f"  {row['measure'].replace('_', ' '):<18} {what:<44} {row['value']:>10.4g}{_ends(row, '.4g')}"


def _ends(row: dict[str, Any], form: str) -> str:
    return "" if row["low"] is None else f"  (95 %: {row['low']:{form}} to {row['high']:{form}})"


def _print(texts: Iterable[str]) -> None:
    for text in texts:
        print(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _json(content: dict[str, Any]) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=1, default=str))
