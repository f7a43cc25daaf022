"""The command `twin sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runs.options import AsJson, Cars, MapSource, Quiet, ScenarioName, Seed, Sets, Until, Verbose

HELP = (
    "Vary propensity, operating domain and equipment over the trips of one run: autonomy share with intervals.\n\n"
    "Example: twin sensitivity kyoto --use 0.5,1,2 --domain narrow,facts,wide --equipped market,0.5,1"
)


def sensitivity_command(
    scenario: ScenarioName = "demo",
    map_source: MapSource = None,
    cars: Cars = None,
    until: Until = None,
    seed: Seed = None,
    sets: Sets = None,
    use: Annotated[str, typer.Option("--use", help="Factors on the drivers' propensity, comma between.")] = "0.5,1,1.5",
    domain: Annotated[str, typer.Option("--domain", help="Operating domains, comma between.")] = "narrow,facts,wide",
    equipped: Annotated[
        str, typer.Option("--equipped", help="Shares among cars of models that offer ProPILOT; market: the scenario's.")
    ] = "market,0.5,1",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="CSV to write; default results/<name>-<hash>-s<seed>-sensitivity.csv."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Simulate once, run driver assistance again for every combination."""
    from runs import cli
    from runs.sensitivity import MARKET, SensitivityError, sensitivity
    from runs.single import RESULTS

    cli._talk(verbose=verbose)
    chosen = cli._scenario(scenario, map_source, cars, until, seed, sets)
    target = out or RESULTS / f"{chosen.folder_name}-sensitivity.csv"
    if target.is_dir():
        raise SensitivityError(f"--out: {target}: is a folder; give a file name, such as {target / 'sensitivity.csv'}")
    if out is not None:
        cli._writable(out)
    shares = [MARKET if word == MARKET else _number(word, "--equipped") for word in _words(equipped, "--equipped")]
    found = sensitivity(
        chosen,
        use=[_number(word, "--use") for word in _words(use, "--use")],
        domain=_words(domain, "--domain"),
        equipped=shares,
        say=None if quiet else cli._say,
    )
    found.write(target)
    if as_json:
        cli._json({"path": str(target), **found.to_dict()})
        return cli.DONE
    if not quiet:
        cli._print(
            (f"{chosen.name}: {chosen.fleet.cars:,} cars, seed {chosen.seed}; the scenario itself: {found.base}", "")
        )
        cli._print((*found.lines(), "", "intervals: sampling of cars only (bootstrap, paired by car)"))
    cli._print((str(target),))
    return cli.DONE


def _words(text: str, option: str) -> list[str]:
    from runs.sensitivity import SensitivityError

    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise SensitivityError(f"{option}: {text!r} must be values with commas between")
    return words


def _number(word: str, option: str) -> float:
    from runs.sensitivity import SensitivityError

    try:
        return float(word)
    except ValueError:
        raise SensitivityError(f"{option}: {word!r} is not a number") from None
