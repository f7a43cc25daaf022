"""The command `twin powerflow`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runs.options import AsJson, Quiet, Verbose

HELP = (
    "Put a run's charging on a real network, solve every interval, report voltage and loading, and export network and "
    "series for pandapower, OpenDSS and PyPSA. Needs the extra grid.\n\n"
    "Example: twin powerflow results/demo-1a2b3c4d-s1 --network kerber-vorstadtnetz-kabel-1"
)


def powerflow_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    network: Annotated[
        str, typer.Option("--network", help="cigre-mv, cigre-lv, kerber-…, or a SimBench code.")
    ] = "kerber-vorstadtnetz-kabel-1",
    scale: Annotated[
        float, typer.Option("--scale", min=0.0, help="Multiplies charging, for a fleet that is a sample.")
    ] = 1.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; default results/powerflow-<run>-<network>.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Solve a run on a network."""
    from runs import cli
    from runs.folder import disk_errors
    from runs.powerflow import study
    from runs.results import RunResult
    from runs.single import RESULTS
    from runs.views import NoView, draw_powerflow

    cli._talk(verbose=verbose)
    run = RunResult(folder)
    found = study.power_flow(run, network, scale=scale, say=None if quiet else cli._say)
    target = out or RESULTS / f"powerflow-{run.path.resolve().name}-{network}"
    place = study.write(found, run, target)
    try:
        with disk_errors(place):
            draw_powerflow(found, run.scenario.start, place / "powerflow.png")
    except NoView as error:
        cli._say(str(error))
    if as_json:
        cli._json({"path": str(place), **found.summary})
    else:
        cli._print([*(() if quiet else study.lines(found)), str(place)])
    return cli.DEGRADED if found.summary["charging"]["failed_at"] else cli.DONE
