"""The designed set of runs: archetype cities, seasons, kinds of day, replications, assumptions moved down and up."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from runs.estimates import MOST_GROUPS
from runs.scenario import Scenario
from twin.charging.access import home_access
from twin.demand.market import WEEKDAY, WEEKEND, habits

SIZES = ("full", "quick")
LEAST_CARS, MOST_CARS = 100, 8 * MOST_GROUPS
"""Cars of a run: fewer leave types of car without one, more do not fit into the records."""
_DAYS = {"weekday": WEEKDAY, "weekend": WEEKEND}


class DesignError(ValueError):
    """The design cannot be; one line with file, place and what is valid."""


class PlannedRun(NamedTuple):
    """One run of the design.

    key : text, the run's folder; two runs of one key are one run
    scenario : what is run
    market, city, season, day : where it stands in the design
    weight : share of the market's cars and of the year; 0 for runs that only move an assumption
    assumption, side : which assumption it moves, "low" or "high"; "" for the others
    """

    key: str
    scenario: Scenario
    market: str
    city: str
    season: str
    day: str
    weight: float
    assumption: str
    side: str


@dataclass(frozen=True)
class Design:
    """What `runs/estimation/design.toml` says, for one size."""

    table: dict[str, Any]
    size: str

    @classmethod
    def load(cls, size: str = "full") -> Design:
        """The project's design.

        Raises
        ------
        DesignError
            When there is no such size.
        """
        if size not in SIZES:
            raise DesignError(f"size {size!r}; valid: {', '.join(SIZES)}")
        text = (files("runs.estimation") / "design.toml").read_text("utf-8")
        return cls(tomllib.loads(text), size)

    @property
    def archetypes(self) -> list[dict[str, Any]]:
        """Cities of this size, with `weight` normed to 1 within the market."""
        chosen = [a for a in self.table["archetype"] if self.size == "full" or a.get("quick", True)]
        total: dict[str, float] = {}
        for a in chosen:
            total[a["market"]] = total.get(a["market"], 0.0) + a["weight"]
        return [{**a, "weight": a["weight"] / total[a["market"]]} for a in chosen]

    def runs(
        self, *, seed: int = 1, cars: int | None = None, skip: Mapping[str, str] | None = None
    ) -> list[PlannedRun]:
        """All runs, those of the answers first.

        Parameters
        ----------
        seed : int
            Of the first replication; the others follow.
        cars : int, optional
            Cars of a run instead of the design's.
        skip : mapping of scenario name to reason, optional
            Cities that cannot run here.

        Raises
        ------
        DesignError
            When so many cars cannot be.
        """
        size = self.table["size"][self.size]
        if cars is not None and not LEAST_CARS <= cars <= MOST_CARS:
            raise DesignError(f"{cars} cars a run; valid: {LEAST_CARS} to {MOST_CARS:,}")
        sample = {**self.table["sample"], "cars": size["cars"] if cars is None else cars}
        found = []
        # long runs (those that the small design leaves out) first, so that no core idles at the end
        for a in sorted(self.archetypes, key=lambda a: a.get("quick", True)):
            if skip and a["scenario"] in skip:
                continue
            for season in self.table["season"]:
                for day in _DAYS:
                    base = self._scenario(a, season, day, sample)
                    share = a["weight"] * season["share"] * self.table["day"][day] / size["replications"]
                    first = self._seed(seed, a, season, day)
                    seeds = range(first, first + size["replications"])
                    found += [_planned(a, base.but(seed=s), season["name"], day, share) for s in seeds]
        found += self._varied(sample, seed, skip or {})
        return found

    def _varied(self, sample: Mapping[str, Any], seed: int, skip: Mapping[str, str]) -> Iterator[PlannedRun]:
        """Each assumption down and up, in the first city of each market that is varied, on a mild weekday."""
        season = next(s for s in self.table["season"] if s["name"] == "mild")
        done = set()
        for a in self.archetypes:
            varied = a["market"] in self.table["size"][self.size]["varied_in"]
            if not varied or a["market"] in done or a["scenario"] in skip:
                continue
            done.add(a["market"])
            base = self._scenario(a, season, "weekday", sample).but(seed=self._seed(seed, a, season, "weekday"))
            for assumption in self.table["assumption"]:
                for side in ("low", "high"):
                    value = assumption[side]
                    if "relative" in assumption:
                        value = _moved(assumption, a, base, value)
                    changed = base.changed({assumption["set"]: value})
                    if changed == base:
                        continue  # this side is where the twin stands
                    yield _planned(a, changed, "mild", "weekday", 0.0, assumption["name"], side)

    def base_of(self, planned: PlannedRun, runs: list[PlannedRun]) -> PlannedRun:
        """The run that a moved one is compared with."""
        return next(
            r
            for r in runs
            if not r.assumption
            and (r.city, r.season, r.day, r.scenario.seed)
            == (planned.city, planned.season, planned.day, planned.scenario.seed)
        )

    def _seed(self, seed: int, archetype: Mapping[str, Any], season: Mapping[str, Any], day: str) -> int:
        """Seed of a cell's first replication: no two cells see the same cars, which intervals rest on."""
        cells = [
            (a["scenario"], s["name"], d) for a in self.table["archetype"] for s in self.table["season"] for d in _DAYS
        ]
        return seed + 1000 * cells.index((archetype["scenario"], season["name"], day))

    def _scenario(
        self, archetype: Mapping[str, Any], season: Mapping[str, Any], day: str, sample: Mapping[str, Any]
    ) -> Scenario:
        base = Scenario.load(archetype["scenario"])
        return base.changed(
            {
                "start": f"{season[day]}T00:00:00",
                "until": "24h",
                "climate.ambient_c": archetype["ambient_c"][season["name"]],
                **{f"fleet.{key}": value for key, value in sample.items()},
            }
        )


def _planned(
    a: Mapping[str, Any], scenario: Scenario, season: str, day: str, weight: float, assumption: str = "", side: str = ""
) -> PlannedRun:
    return PlannedRun(scenario.folder_name, scenario, a["market"], a["scenario"], season, day, weight, assumption, side)


def _moved(assumption: Mapping[str, Any], a: Mapping[str, Any], base: Scenario, by: float) -> float:
    """Where an assumption stands in a scenario, moved."""
    key = assumption["set"]
    room, _, name = key.partition(".")
    value = getattr(getattr(base, room), name)
    if value is None:
        market = a["market"]
        value = {
            "demand.moving": lambda: habits(market, day_kind=WEEKDAY).moving,
            "charging.home_access": lambda: home_access(market),
        }[key]()
    moved = float(value) * (1 + by) if assumption["relative"] else float(value) + by
    return min(1.0, moved) if key in ("demand.moving", "charging.home_access") else moved


def cannot_run(design: Design) -> dict[str, str]:
    """Cities whose map is not at hand, by scenario, with the reason."""
    from maps.get import find_source
    from maps.network import MapError

    found = {}
    for a in design.archetypes:
        try:
            find_source(Scenario.load(a["scenario"]).map)
        except (MapError, OSError) as error:
            found[a["scenario"]] = str(error)
    return found


def target_of(out: Path, planned: PlannedRun) -> Path:
    """Folder of a run."""
    return out / "runs" / planned.key
