"""The page itself: Mesa's SolaraViz for a running twin, a scrubber for finished runs. Solara imports this module."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import solara
import solara.lab
from mesa.visualization import SolaraViz

from viz.browser import serve
from viz.browser.layer import Layer
from viz.browser.live import PageModel, Setup, View, model_params
from viz.browser.panel import calm
from viz.browser.replay import Replay

ROOM = """
.v-navigation-drawer { min-width: min(300px, 85vw) !important; }
.v-navigation-drawer .v-card { margin: 6px !important; }
"""
"""Solara's drawer takes 400 px of any window; the map and the charts need them."""


@solara.component
def Page() -> None:  # noqa: N802 - a component is written like a class
    """One browser session."""
    opening = serve.opening
    with solara.Column(gap="0px"):  # else every invisible part takes a gap of its own above the map
        solara.Style(ROOM)
        solara.Title(f"Fleet twin: {opening.title}")
        if opening.runs:
            Runs(opening.runs)
        elif opening.scenario is not None:
            Live()
        else:
            solara.Error("nothing to show: start the page with twin ui")


@solara.component
def Live() -> None:  # noqa: N802 - a component is written like a class
    """A twin of this session's own, built in the background while the page says so."""
    calm()
    made, set_made = solara.use_state(None)
    model = solara.use_reactive(None)

    def build() -> None:
        scenario, city = serve.opening.scenario, serve.opening.city
        assert scenario is not None
        assert city is not None
        setup = Setup(scenario, city)
        View(setup, Layer(kind="live"))
        model.set(PageModel(setup=setup))
        set_made(setup)

    task = solara.lab.use_task(build, dependencies=[], prefer_threaded=True)

    def leave() -> Any:
        return lambda: made.view.close() if made and made.view else None

    solara.use_effect(leave, [made])
    if task.error:
        solara.Error(f"the twin could not be built: {task.exception}")
    elif made is None:
        scenario = serve.opening.scenario
        assert scenario is not None
        with solara.Column(align="center"):
            solara.Text(f"Building {scenario.fleet.cars:,} cars …")
            solara.ProgressLinear()
    else:
        setup = made
        params = solara.use_memo(lambda: model_params(setup.base, setup), [setup])
        with solara.Column(gap="0px"):
            shown = SolaraViz(
                model, components=[], model_params=params, name=f"Fleet twin: {setup.base.name}", play_interval=41
            )
            # its bar and drawer are elsewhere; what stays here is empty
            solara.v.Html(tag="div", style_="display: none", children=[shown])
            solara.display(setup.view.widget)
            Command(setup, model)


@solara.component
def Command(setup: Setup, model: solara.Reactive[PageModel]) -> None:  # noqa: N802 - a component is written like a class
    """The same run from a terminal, so that what was found here can be kept."""
    cars = len(model.value.world.fleet)
    text = html.escape(setup.command())
    solara.HTML(
        tag="p",
        unsafe_innerHTML=f"{cars:,} cars. Sliders take effect at Reset. This run from a terminal: "
        f'<code data-testid="command">{text}</code>',
        style="padding: 0 10px; font-size: 13px",
    )


@solara.component
def Runs(paths: tuple[Path, ...]) -> None:  # noqa: N802 - a component is written like a class
    """One finished run, or two side by side with their difference."""

    def read() -> list[Replay]:
        first = Replay(paths[0])
        return [first, *(Replay(path, beside=first) for path in paths[1:])]

    shown = solara.use_memo(read, [paths])

    def leave() -> Any:
        return lambda: [replay.close() for replay in shown]

    solara.use_effect(leave, [])
    with solara.Column(gap="0px"):
        with solara.AppBar():
            solara.AppBarTitle(f"Fleet twin: {serve.opening.title}")
        with solara.ColumnsResponsive(
            12, xlarge=[12] if len(shown) == 1 else [6, 6], large=[12] if len(shown) == 1 else [6, 6]
        ):
            for replay in shown:
                with solara.Column(gap="0px"):
                    solara.HTML(tag="div", unsafe_innerHTML=replay.headline(), style="padding: 4px 10px")
                    solara.display(replay.widget)
        if len(shown) == 2:
            solara.HTML(tag="div", unsafe_innerHTML=shown[0].difference(shown[1]), style="padding: 4px 14px")
