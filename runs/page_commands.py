"""The commands `twin report` and `twin ui`; `runs.cli` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only, and the path of what was written.")]
MapSource = Annotated[
    str | None,
    typer.Option("--map", help="Recipe, place name, or file (.osm.pbf, .osm, .osm.gz, .osm.bz2, .graphml, .npz)."),
]
Cars = Annotated[int | None, typer.Option("--cars", help="Cars of the fleet.")]
Until = Annotated[str | None, typer.Option("--until", help="How long to simulate: 24h, 90m, 1d, seconds.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the scenario: charging.policy=timer. Repeat."),
]


def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="HTML file to write; DIR/report.html when left out.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="DIR", help="Results of the same fleet under another policy; repeat."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Report of twin validate; beside DIR when left out."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="FOLDER", help="Also all charts as PNG, SVG; links as GeoParquet."),
    ] = None,
    animate: Annotated[
        Path | None, typer.Option("--animate", metavar="FILE", help="Also the day as .gif, or .webm, .mp4 with ffmpeg.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Draw a results folder as one page."""
    from runs import cli, views

    cli._talk(verbose=verbose)
    if out is not None:
        if out.suffix.lower() not in {".html", ".htm"}:
            raise cli._BadInput(f"--out: {out}: must end in .html")
        cli._writable(out)
    if animate is not None:
        cli._writable(animate)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise cli._BadInput(f"--figures: {figures}: is a file; give a folder")
    made = views.write_figures(folder, figures) if figures is not None else []
    if animate is not None:
        if not quiet:
            cli._say("drawing the day")
        made.append(views.animate(folder, animate))
    written = views.write_report(folder, out, against=against or (), validation=validation)
    if as_json:
        cli._json({"path": str(written), "figures": [str(p) for p in made]})
    else:
        cli._print(() if quiet else map(str, made))
        print(written)
    return cli.DONE


def ui_command(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCENARIO | DIR [DIR]]", help="Scenario, or results folders; default demo."),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="P", help="Port on 127.0.0.1; default 8765.")] = None,
    map_source: MapSource = None,
    cars: Cars = None,
    until: Until = None,
    seed: Seed = None,
    sets: Sets = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Serve the browser page until it is stopped."""
    from runs import cli
    from runs.views import open_page

    cli._talk(verbose=verbose)
    given = what or ["demo"]
    folders = [Path(name) for name in given if _means_folder(name)]
    if folders and len(folders) != len(given):
        raise cli._BadInput(f"{' '.join(given)}: give one scenario, or one or two results folders")
    if not folders and len(given) > 1:
        raise cli._BadInput(f"{' '.join(given)}: one scenario at a time; two results folders can be compared")
    if folders and any(v for v in (map_source, cars, until, seed, sets)):
        raise cli._BadInput(
            f"{folders[0]}: is a finished run; --map, --cars, --until, --seed and --set change a scenario"
        )
    chosen = None if folders else cli._scenario(given[0], map_source, cars, until, seed, sets)
    open_page(
        scenario=chosen,
        runs=folders,
        port=port,
        say=None if quiet else cli._say,
        ready=lambda url: print(url, flush=True),
    )
    return cli.DONE


def _means_folder(name: str) -> bool:
    """Whether a word names a results folder: one that is there, or a path that could be no scenario."""
    path = Path(name)
    return path.is_dir() or ("/" in name and path.suffix != ".toml" and not path.is_file())
