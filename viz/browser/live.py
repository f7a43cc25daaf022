"""The twin that the page runs: the same model, built from the page's sliders, looked at after every step."""

from __future__ import annotations

import ctypes
import gc
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maps.network import CityMap
from runs.scenario import Scenario
from twin.fleet.fleet import Kind, State
from twin.model import Twin
from twin.settings import POLICY_NAMES
from twin.world import World
from viz.browser.layer import Feed, Layer
from viz.browser.packet import pack
from viz.browser.picture import Cameras, Extent, city_packet, marks_of
from viz.browser.story import car_story, site_story
from viz.streets import Streets

LINKS_EVERY_MS = 300_000
"""Simulated time between two looks at congestion and radio cells."""


@dataclass(frozen=True)
class Knob:
    """One slider or select of the page and the key of the scenario behind it."""

    name: str
    key: str
    label: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.01
    choices: tuple[str, ...] = ()
    whole: bool = False


KNOBS = (
    Knob("cars", "fleet.cars", "cars", 100, 20_000, 100, whole=True),
    Knob("seed", "seed", "seed", 1, 50, 1, whole=True),
    Knob("bev", "fleet.bev", "electric share"),
    Knob("epower", "fleet.epower", "e-POWER share"),
    Knob("propilot", "fleet.propilot", "ProPILOT share"),
    Knob("connected", "fleet.connected", "connected share"),
    Knob("policy", "charging.policy", "charging policy", choices=POLICY_NAMES),
    Knob("home_kw", "charging.home_kw", "home socket kW", 2, 11, 0.5),
    Knob("home_access", "charging.home_access", "home sockets"),
    Knob("fast_sites", "charging.extra_fast_sites", "extra fast sites", 0, 20, 1, whole=True),
    Knob("engage", "autonomy.use", "ProPILOT use ×", 0, 3, 0.1),
    Knob("other_traffic", "demand.other_traffic", "other traffic ×", 0, 3, 0.1),
    Knob("ambient_c", "climate.ambient_c", "outside °C", -20, 40, 1),
    Knob("rain", "climate.precipitation_mm_h", "rain mm/h", 0, 20, 0.5),
    Knob("cell", "cloud.cell_uplink_mbit_s", "cell uplink Mbit/s", 0.5, 50, 0.5),
    Knob("service_class", "cloud.service_class", "telemetry"),
)
"""The main parameters; every other key stays what the scenario says."""


def choices_of(knob: Knob) -> tuple[str, ...]:
    """The words that a knob chooses from, none when it is a number.

    Examples
    --------
    >>> choices_of(Knob("service_class", "cloud.service_class", "telemetry"))
    ('basic', 'bev', 'rich')
    """
    import typing

    room, _, name = knob.key.partition(".")
    if knob.choices or not name:
        return knob.choices
    allowed = type(Scenario.model_fields[room].default).model_fields[name].annotation
    return tuple(typing.get_args(allowed)) if typing.get_origin(allowed) is typing.Literal else ()


def value_of(base: Scenario, knob: Knob) -> Any:
    """What the scenario says of a knob; None where the market decides, the mean of hourly temperatures."""
    value: Any = base
    for part in knob.key.split("."):
        value = getattr(value, part)
    return round(float(np.mean(value)), 1) if isinstance(value, list) else value


def shown_value(base: Scenario, knob: Knob) -> Any:
    """Where the slider stands at first: the middle of its range where the market decides."""
    value = value_of(base, knob)
    if value is None:
        return (knob.low + knob.high) / 2
    return int(value) if knob.whole else value


def model_params(base: Scenario, setup: Setup) -> dict[str, Any]:
    """The parameters of `PageModel` as Mesa's SolaraViz wants them: fixed ones, and sliders and selects."""
    from mesa.visualization import Slider

    made: dict[str, Any] = {"setup": setup}
    for knob in KNOBS:
        start, choices = shown_value(base, knob), choices_of(knob)
        label = knob.label + (" (market)" if value_of(base, knob) is None else "")
        if choices:
            # a scenario may also name a policy of its own: FILE.py:FUNCTION
            values = list(dict.fromkeys([*choices, start]))
            made[knob.name] = {"type": "Select", "label": label, "value": start, "values": values}
            continue
        low, high = min(knob.low, start), max(knob.high, start)
        made[knob.name] = Slider(
            label, value=start, min=low, max=high, step=knob.step, dtype=int if knob.whole else float
        )
    return made


@dataclass(eq=False)
class Setup:
    """What all models of one page share: scenario, map and view."""

    base: Scenario
    city: CityMap
    view: View | None = None
    changed: dict[str, Any] = field(default_factory=dict)

    def scenario(self, given: Mapping[str, Any]) -> Scenario:
        """The scenario with the sliders that were moved; shares of more than the whole leave no combustion cars."""
        changes = {
            k.key: given[k.name]
            for k in KNOBS
            if given[k.name] is not None and given[k.name] != shown_value(self.base, k)
        }
        bev = changes.get("fleet.bev", self.base.fleet.bev)
        epower = changes.get("fleet.epower", self.base.fleet.epower)
        if bev + epower > 1:
            changes["fleet.epower"] = round(1 - bev, 6)
        self.changed = changes
        return self.base.changed(changes) if changes else self.base

    def command(self) -> str:
        """The same run from a terminal."""
        sets = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in self.changed.items() if "." in key]
        seed = [f"--seed {self.changed['seed']}"] if "seed" in self.changed else []
        return " ".join(["twin run", self.base.name, *seed, *sets])


class PageModel:
    """A twin behind the page's sliders, as Mesa's SolaraViz handles it: keyword arguments, `step`, `running`, `time`.

    None for an argument means what the scenario says. A step is exactly a step of the `Twin`; the view looks on
    afterwards. SolaraViz keeps hold of models that a Reset has replaced; of this one then only the shell stays.
    """

    scenario = None  # Mesa's own scenarios are not used

    def __init__(
        self,
        *,
        setup: Setup | None = None,
        cars: int | None = None,
        seed: int | None = None,
        bev: float | None = None,
        epower: float | None = None,
        propilot: float | None = None,
        connected: float | None = None,
        policy: str | None = None,
        home_kw: float | None = None,
        home_access: float | None = None,
        fast_sites: int | None = None,
        engage: float | None = None,
        other_traffic: float | None = None,
        ambient_c: float | None = None,
        rain: float | None = None,
        cell: float | None = None,
        service_class: str | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in {k.name for k in KNOBS}}
        if setup is None:
            raise TypeError("PageModel needs a setup")
        chosen = setup.scenario(given)
        self.setup = setup
        self.twin: Twin | None = chosen.build_on(setup.city)
        self.running = True
        self.watch = threading.Lock()
        if setup.view is not None:
            setup.view.attach(self)

    @property
    def world(self) -> World:
        """The bodies of the twin."""
        if self.twin is None:
            raise RuntimeError("this model has been replaced")
        return self.twin.world

    @property
    def time(self) -> float:
        """Mesa's time: ticks since the start."""
        return float(self.twin.time) if self.twin is not None else 0.0

    def step(self) -> None:
        """Advance by one tick of the world, then let the view look."""
        view = self.setup.view
        with self.watch:
            if view is None or view.closed or self.twin is None:
                self.running = False
                return
            if not self.twin.world.done:
                self.twin.step()
            self.running = not self.twin.world.done
        view.look(self)

    def release(self) -> None:
        """Let the twin go."""
        with self.watch:
            self.twin = None
            self.running = False

    def tidy(self) -> None:
        """Give the memory of what was let go back to the system, so that resets do not pile up."""
        gc.collect()  # a twin and its agents know each other
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc, which keeps freed pages otherwise
        if trim is not None:
            trim(0)


class View:
    """One page's look at its present model.

    Parameters
    ----------
    setup : Setup
    widget : Layer
    """

    def __init__(self, setup: Setup, widget: Layer) -> None:
        self.setup, self.widget = setup, widget
        self.streets = Streets.of_city(setup.city)
        self.extent = Extent.of(self.streets)
        widget.observe(self._on_shown, "shown")  # before the feed, which then sends
        self.feed = Feed(widget, self._frame)
        self.model: PageModel | None = None
        self._known = b""
        widget.observe(self._on_pick, "pick")
        setup.view = self

    @property
    def closed(self) -> bool:
        """Whether the page is gone."""
        return self.feed.closed

    def attach(self, model: PageModel) -> None:
        """Show this model from now on; the one before is let go."""
        before, self.model = self.model, model
        if before is not None:
            before.release()
            before.tidy()
        world = model.world
        self.cameras = Cameras(world, self.extent)
        self._history: list[tuple[float, ...]] = []
        self._from_ms = self._now_ms = world.now_ms
        self._moved = np.zeros(len(world.fleet), bool)
        self._told = 0
        self._fresh = True
        self._links_ms = -LINKS_EVERY_MS
        self._note(world)
        meta = self.setup.city.meta
        city = city_packet(
            self.streets, self.extent,
            title=str(meta.get("name") or self.setup.base.name), attribution=str(meta.get("attribution", "")),
            start=world.start.isoformat(), zone=str(meta.get("timezone", "")), marks=marks_of(world),
        )  # fmt: skip
        if city != self._known:  # a change of sites changes it
            self._known = city
            self.widget.city = city
        self.widget.story = {}
        self.feed.offer()

    def look(self, model: PageModel) -> None:
        """A tick has ended."""
        if model is not self.model:
            return
        world = model.world
        left = world.traversals
        self._moved[left.car[: left.n]] = True
        self._moved[world.fleet.state == State.DRIVING] = True
        self._from_ms, self._now_ms = self._now_ms, world.now_ms
        self._note(world)
        self.feed.offer()
        self.feed.hold()

    def close(self) -> None:
        """The page is gone: let the model go."""
        self.feed.close()
        before, self.model = self.model, None
        self.setup.view = None
        if hasattr(self, "cameras"):
            del self.cameras
        if before is not None:
            before.release()
            before.tidy()

    def _on_shown(self, _change: Any) -> None:
        """The page has been opened again: everything anew."""
        self._fresh = True

    def _note(self, world: World) -> None:
        fleet = world.fleet
        counts = world.status()
        row = (
            world.now_ms / 1000, world.charging_kw, fleet.engaged_mm.sum() / 1e6, fleet.driven_mm.sum() / 1e6,
            float(fleet.generated_b.sum()), float(fleet.delivered_b.sum()), float(fleet.buffered_b.sum()),
            counts["driving"], counts["charging"], counts["queued"],
        )  # fmt: skip
        self._history.append(tuple(float(v) for v in row))

    def _frame(self, serial: int) -> bytes:
        model = self.model
        if model is None:
            return b""
        with model.watch:
            if model.twin is None:
                return b""
            world, cameras = model.world, self.cameras
            fresh, self._fresh = self._fresh, False
            rows = np.array(self._history[0 if fresh else self._told :], np.float32)
            self._told = len(self._history)
            # ticks whose frame was dropped: their cars are shown where they are now, the last tick's on their way
            arrays = cameras.everyone() if fresh else cameras.tick(self._from_ms, np.flatnonzero(self._moved))
            self._moved[:] = False
            arrays |= cameras.sites()
            if world.now_ms - self._links_ms >= LINKS_EVERY_MS:
                self._links_ms = world.now_ms
                arrays |= cameras.links() | cameras.cells()
            arrays |= {"rows": rows, "soc": cameras.charge()}
            head = {
                "seq": serial, "n": len(world.fleet), "t0_s": self._from_ms / 1000, "t1_s": world.now_ms / 1000,
                "until_s": world.until_ms / 1000, "online": world.cloud.n_online, "reset": fresh,
                "counts": _counts(world),
            }  # fmt: skip
        return pack(head, arrays)

    def _on_pick(self, change: Any) -> None:
        model, chosen = self.model, change["new"]
        if model is None or not chosen:
            return
        with model.watch:
            if model.twin is None:
                return
            self.widget.story = story_of(model.world, chosen)


def story_of(world: World, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The story of what was clicked; one line when there is no such thing."""
    kind, number = chosen.get("kind"), chosen.get("id")
    known = {"car": len(world.fleet), "site": len(world.charging.sites)}
    size = known.get(str(kind), 0)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < size:
        return {
            "title": f"No such {kind}",
            "facts": [["valid numbers", f"0 to {size - 1:,}"]],
            "tables": [],
            "n": chosen.get("n"),
        }
    made = car_story(world, number) if kind == "car" else site_story(world, number)
    return {**made, "n": chosen.get("n")}


def _counts(world: World) -> str:
    counts, fleet = world.status(), world.fleet
    electric = int((fleet.kind == Kind.ELECTRIC).sum())
    waiting = int((fleet.state == State.WAITING).sum())
    said = [
        f"{len(fleet):,} cars ({electric:,} electric)",
        f"{counts['driving']:,} driving",
        f"{counts['charging']:,} on sockets",
    ]
    said += [f"{counts['queued']:,} queueing"] if counts["queued"] else []
    said += [f"{waiting:,} waiting to enter"] if waiting else []
    said += [f"{counts['stuck']:,} stuck"] if counts["stuck"] else []
    return " · ".join([*said, f"{max(counts['on_road'] - counts['driving'], 0):,} other vehicles"])
