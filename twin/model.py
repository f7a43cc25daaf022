"""The twin as a Mesa model: its agents are the cars, and one step is one tick of the world."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import mesa
import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from twin.agents import CARS, Car, Maker, Operator, Question, part
from twin.demand.counts import Counts
from twin.demand.given import Given
from twin.fleet.fleet import Kind
from twin.settings import Settings, TwinSettings
from twin.world import World


class Twin(mesa.Model[Any, Any]):
    """Agent-based twin of one city.

    Parameters
    ----------
    city : CityMap
        Streets and what lies on them (`maps.build.build_map`).
    seed : int
        Same seed, same settings and same map give the same run.
    start : datetime
        Local civil time at the beginning.
    until_s : int
        Length of the run, s.
    agents : mapping of Kind to type[Car]
        Other classes for cars of a kind.
    given : Given, optional
        Demand that the user brings, as `runs.demand.given.read_given` reads it.
    counts : Counts, optional
        Traffic counts, as `runs.demand.counts_file.read_counts` reads them.
    rise_m : float64 (links,), optional
        Height gained on each link (`maps.elevation.link_rise`).
    **rooms : Settings
        Settings by room: fleet, demand, traffic, climate, charging, grid, autonomy, cloud, ota, terrain
        (`twin.settings.TwinSettings`); defaults where left out.

    Examples
    --------
    >>> from maps.toy import toy_city
    >>> from twin.settings import FleetSettings
    >>> twin = Twin(toy_city(6), fleet=FleetSettings(cars=20), until_s=600)
    >>> twin.step()
    >>> twin.world.now_ms
    60000
    """

    def __init__(
        self,
        city: CityMap,
        *,
        seed: int = 1,
        start: datetime | None = None,
        until_s: int = 86_400,
        agents: Mapping[Kind, type[Car]] | None = None,
        operator: type[Operator] = Operator,
        given: Given | None = None,
        counts: Counts | None = None,
        rise_m: NDArray[np.float64] | None = None,
        **rooms: Settings,
    ) -> None:
        super().__init__(rng=seed)
        settings = TwinSettings.model_validate(rooms)
        self.world = World(
            city,
            settings,
            seed=seed,
            start=start or datetime(2022, 10, 12),
            until_s=until_s,
            given=given,
            counts=counts,
            rise_m=rise_m,
        )
        kinds = {**CARS, **(agents or {})}
        self._classes = [kinds[kind] for kind in Kind]
        self.world.agent_names = [c.__name__ for c in self._classes]
        for row, kind in enumerate(self.world.fleet.kind.tolist()):
            self._classes[kind](self, row)
        self.operator = operator(self)
        self.maker = Maker(self)
        self.datacollector = mesa.DataCollector(
            model_reporters={
                "hour": lambda m: m.world.now_ms / 3.6e6,
                "driving": lambda m: m.world.status()["driving"],
                "charging": lambda m: m.world.status()["charging"],
                "queued": lambda m: m.world.status()["queued"],
                "charging_kw": lambda m: m.world.charging_kw,
                "engaged_km": lambda m: float(m.world.fleet.engaged_mm.sum() / 1e6),
                "driven_km": lambda m: float(m.world.fleet.driven_mm.sum() / 1e6),
                "cloud_bytes": lambda m: int(m.world.fleet.delivered_b.sum()),
            }
        )
        self.world.live_week(self.ask)

    def ask(self, rows: NDArray[np.int64], question: Question) -> NDArray[Any]:
        """Put a question about `rows` to the minds: once per agent class, answers in row order."""
        kinds = self.world.fleet.kind[rows]
        answer: NDArray[Any] | None = None
        for kind in np.unique(kinds):
            chosen = kinds == kind
            batch = self._classes[int(kind)].decide(part(question, chosen))
            if len(batch) != chosen.sum():
                raise ValueError(
                    f"{self._classes[int(kind)].__name__}.decide gave {len(batch)} answers to {chosen.sum()} cars"
                )
            if answer is None:
                answer = np.zeros(len(rows), batch.dtype)
            answer[chosen] = batch
        return np.zeros(0, bool) if answer is None else answer

    def step(self) -> None:
        """Advance by one tick of the world."""
        self.operator.step()
        self.world.tick(self.ask)
        self.datacollector.collect(self)
        self.running = not self.world.done
