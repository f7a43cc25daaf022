"""Pictures of runs and maps, drawn by whoever registered for it.

`runs` may not import `viz`; the drawing functions are found among the entry points
`fleet_twin.views` of the installed packages, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GROUP = "fleet_twin.views"


class NoView(LookupError):  # noqa: N818 - says what it is
    """Nothing is installed that draws this."""


def view(name: str) -> Any:
    """The drawing function registered as `name`.

    Raises
    ------
    NoView
    """
    for found in entry_points(group=GROUP, name=name):
        return found.load()
    raise NoView(f"no picture: nothing is registered as {GROUP}:{name}; install the project (make setup)")


def after_run(folder: Path) -> list[Path]:
    """Draw what belongs into a fresh results folder; paths of the new files."""
    return [Path(p) for p in view("after_run")(folder)]


def draw_map(city: Any, path: Path) -> Path:
    """Draw a map as PNG."""
    return Path(view("draw_map")(city, path))


def draw_estimate(estimate: Any, folder: Path) -> list[Path]:
    """Draw a fleet's estimate on two pages, into its folder."""
    return [Path(p) for p in view("draw_estimate")(estimate, folder)]


def draw_fleet(report: Any, path: Path) -> Path:
    """Draw a case's fleet as PNG."""
    return Path(view("draw_fleet")(report, path))


def draw_powerflow(study: Any, start: Any, path: Path) -> Path:
    """Draw a power flow study as PNG."""
    return Path(view("draw_powerflow")(study, start, path))


def draw_sweep(folder: Path) -> list[Path]:
    """Draw the answers of a sweep over its factors, into its folder."""
    return [Path(p) for p in view("draw_sweep")(folder)]


def write_report(
    folder: Path, out: Path | None = None, *, against: Sequence[Path] = (), validation: Path | None = None
) -> Path:
    """Write the report page of a results folder, into the folder unless `out` says where."""
    return Path(view("write_report")(folder, out, against=against, validation=validation))


def write_figures(folder: Path, out: Path) -> list[Path]:
    """Write the charts of a results folder as PNG and SVG, and its links as GeoParquet."""
    return [Path(p) for p in view("write_figures")(folder, out)]


def animate(folder: Path, out: Path) -> Path:
    """Write the day of a results folder as a moving picture."""
    return Path(view("animate")(folder, out))


def open_page(**what: Any) -> None:
    """Serve the browser page until it is stopped."""
    view("open_page")(**what)
