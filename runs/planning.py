"""What a run would do and take: the world is built, and its busiest hour tried for some seconds.

The expected time is a fit, not a promise: seconds per tick plus seconds per departing trip,
fitted to the tried ticks, times the ticks and trips of the whole run. Streets are empty when
the trial begins, so a congested city takes longer than said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runs.progress import clock, duration

if TYPE_CHECKING:
    from runs.scenario import Scenario

TRIAL_S = 5.0
TRIAL_MS = 20 * 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Plan:
    """What `twin plan` found; times in seconds of wall clock."""

    name: str
    path: str
    map: str
    links: int
    chargers: int
    cells: int
    cars: dict[str, int]
    sites: dict[str, int]
    phases: list[str]
    ticks: int
    simulated_s: int
    fleet_trips: int
    other_trips: int
    build_s: float
    expected_s: float
    memory_mb: float
    free_memory_mb: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The plan in words."""
        yield f"{self.name} on {self.map}: {self.links:,} links, {self.chargers:,} chargers, {self.cells:,} radio cells"
        yield f"  cars             {', '.join(f'{n:,} {kind}' for kind, n in self.cars.items())}"
        yield f"  charging sites   {', '.join(f'{n:,} {kind}' for kind, n in self.sites.items()) or 'none'}"
        yield f"  trips            {self.fleet_trips:,} of the fleet, {self.other_trips:,} of other traffic"
        yield f"  time             {clock(self.simulated_s)} in {self.ticks:,} ticks of: {' → '.join(self.phases)}"
        free = f" of {self.free_memory_mb:,.0f} MB free" if self.free_memory_mb is not None else ""
        yield f"  memory           about {self.memory_mb:,.0f} MB{free}"
        total = duration(self.build_s + self.expected_s)
        yield f"  expected time    about {total} (build {duration(self.build_s)}), from a trial"


def plan(scenario: Scenario, *, say: Callable[[str], None] | None = None) -> Plan:
    """Build the world of a scenario, count what it would do, and try its busiest hour.

    Raises
    ------
    ScenarioError, MapError
        As a run would.
    """
    from runs.machine import free_memory_mb, peak_memory_mb
    from runs.single import RESULTS
    from twin.fleet.fleet import Kind

    begin = time.perf_counter()
    city = scenario.city(say=say)
    twin = scenario.build_on(city)
    build_s = time.perf_counter() - begin
    world: Any = twin.world
    until_ms = scenario.until_s * 1000
    departures = _departures(world, until_ms)
    others = world.others.demand.trips(0, until_ms).depart_ms
    both = np.concatenate([departures, others])
    if say is not None:
        say("trying the busiest hour")
    per_tick, per_trip = _rates(scenario, city, both)
    kinds = np.bincount(world.fleet.kind, minlength=len(Kind))
    sites = world.sites()["kind"]
    names, counts = np.unique(np.asarray(sites, str), return_counts=True)
    ticks = -(-until_ms // world.tick_ms)
    # what grows with the run: rows of the trip table (15 columns) and of sessions, held until the end
    growing_mb = len(departures) * 15 * 16 / 1e6
    return Plan(
        name=scenario.name,
        path=str(Path(RESULTS) / scenario.folder_name),
        map=str(city.meta.get("name") or scenario.map),
        links=city.network.n_links,
        chargers=len(city.charger_osm),
        cells=len(city.cell_x),
        cars={kind.name.lower(): int(kinds[kind]) for kind in Kind},
        sites={str(k): int(n) for k, n in zip(names, counts, strict=True)},
        phases=[name for name, _ in world.phases],
        ticks=int(ticks),
        simulated_s=scenario.until_s,
        fleet_trips=len(departures),
        other_trips=len(others),
        build_s=round(build_s, 3),
        expected_s=round(per_tick * ticks + per_trip * len(both), 3),
        memory_mb=round(peak_memory_mb() + growing_mb, 1),
        free_memory_mb=free_memory_mb(),
    )


def _departures(world: Any, until_ms: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    days = range(-(-until_ms // DAY_MS) + 1)
    found = [world.demand.plan_day(day).depart_ms for day in days]
    every = np.concatenate(found)
    return np.asarray(every[every < until_ms], np.int64)


def _rates(scenario: Scenario, city: Any, departures: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, float]:
    """Seconds per tick and per departing trip, from ticks of a world that starts in the busiest hour."""
    hours = np.bincount(departures // HOUR_MS, minlength=1)
    busiest = scenario.start + timedelta(hours=int(hours.argmax()))
    # the trial may reach beyond the run, and a table of temperatures need not
    twin = scenario.but(start=busiest, until="2h", climate__table="").build_on(city)
    world: Any = twin.world
    mine = np.sort(
        np.concatenate([_departures(world, 2 * TRIAL_MS), world.others.demand.trips(0, 2 * TRIAL_MS).depart_ms])
    )
    seconds: list[float] = []
    trips: list[int] = []
    began = time.perf_counter()
    while world.now_ms < TRIAL_MS and (len(seconds) < 5 or time.perf_counter() - began < TRIAL_S):
        t0, before = world.now_ms, time.perf_counter()
        twin.step()
        seconds.append(time.perf_counter() - before)
        trips.append(int(np.searchsorted(mine, world.now_ms) - np.searchsorted(mine, t0)))
    # the first ticks compile kernels and meet empty streets
    wall, load = np.array(seconds[len(seconds) // 4 :]), np.array(trips[len(trips) // 4 :], float)
    if load.sum() == 0:
        return float(np.median(wall)), 0.0
    per_tick = (
        float(np.min(wall)) * 0.5
    )  # not separable within an hour of even load: half of the quickest tick is overhead
    return per_tick, max(0.0, float(wall.sum() - per_tick * len(wall)) / float(load.sum()))
