"""One picture of a run: the three answers, three charts and the city."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from viz import charts
from viz.answers import answers
from viz.folder import Folder
from viz.map import draw_load
from viz.style import INK, MUTED, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

WIDTH_IN, HEIGHT_IN, DPI = 14.0, 9.0, 130


def draw_overview(folder: Folder, path: Path) -> Path:
    """Write `overview.png`: headline figures, grid load, autonomy, cloud traffic and the map."""
    with house_style():
        write_png(overview_figure(folder), path, dpi=DPI)
    return path


def overview_figure(folder: Folder) -> Figure:
    """The same as a figure; call and save it inside `house_style`."""
    figure = new_figure(WIDTH_IN, HEIGHT_IN, air_in=0.11)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 6.2))
    head, body = parts
    _headline(head, folder)
    left, right = body.subfigures(1, 2, width_ratios=(1.08, 1))
    axes = left.subplot_mosaic([["grid", "grid"], ["road", "hour"], ["cloud", "cloud"]])
    charts.draw_grid_load(axes["grid"], folder)
    charts.draw_engagement_by_road(axes["road"], folder)
    charts.draw_engagement_by_hour(axes["hour"], folder)
    charts.draw_cloud(axes["cloud"], folder)
    draw_load(right.subplots(), folder)
    return figure


def _headline(head: SubFigure, folder: Folder) -> None:
    head.text(0.012, 0.94, drawable(title(folder)), fontsize=15, weight="bold", va="top", color=INK)
    for column, answer in enumerate(answers(folder)):
        x = 0.012 + column / 3
        head.text(x, 0.52, answer.shown, fontsize=20, weight="bold", va="center", color=INK)
        head.text(x, 0.27, answer.label, fontsize=10.5, va="center", color=INK)
        head.text(x, 0.08, answer.interval, fontsize=9.5, va="center", color=MUTED)


def title(folder: Folder) -> str:
    """Scenario, cars and length of a run in one line."""
    from viz.series import horizon_s

    cars = folder.value("fleet", "cars")
    hours = horizon_s(folder) / 3600
    fleet = f" · {cars:,} cars" if isinstance(cars, int) else ""
    return f"{folder.name}{fleet} · {hours:g} h"
