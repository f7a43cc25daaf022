"""What the command line says and reads about going on with a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from runs.scenario import ScenarioError, seconds


def wall_seconds(text: str) -> float | None:
    """Wall seconds between checkpoints; None for "off".

    Raises
    ------
    ScenarioError
        When it is no time.

    Examples
    --------
    >>> wall_seconds("10m"), wall_seconds("off")
    (600.0, None)
    """
    if text.strip().lower() == "off":
        return None
    try:
        return float(seconds(text))
    except ValueError:
        raise ScenarioError(f"--checkpoint: {text!r} is no time; valid: 60s, 10m, 1h, off") from None


def going_on(arguments: Sequence[str]) -> str:
    """The command that goes on with the run that these arguments of `twin` began.

    Examples
    --------
    >>> going_on(["run", "my city.toml"])
    "twin run 'my city.toml' --resume"
    """
    more = [] if "--resume" in arguments else ["--resume"]
    return shlex.join(["twin", *arguments, *more])
