"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only, and the path of what was written.")]
ScenarioName = Annotated[str, typer.Argument(help="A built-in scenario's name, or a TOML file.", show_default=True)]
MapSource = Annotated[
    str | None,
    typer.Option("--map", help="Recipe, place name, or file (.osm.pbf, .osm, .osm.gz, .osm.bz2, .graphml, .npz)."),
]
Cars = Annotated[int | None, typer.Option("--cars", help="Cars of the fleet.")]
Until = Annotated[str | None, typer.Option("--until", help="How long to simulate: 24h, 90m, 1d, seconds.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of this run, if it was stopped or killed.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", metavar="TIME", help="Wall time between checkpoints: 60s, 10m, off.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the scenario: charging.policy=timer. Repeat."),
]
