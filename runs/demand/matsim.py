"""Plans of MATSim (`plans.xml`, `population.xml`, gzipped or not): the car legs of every person's chosen plan.

A person with car legs is a car; activities are the ends of its trips. Both spellings of the format are
read (`activity`/`leg` and the older `act`/`leg`). Legs by other modes are counted and left aside.
The format: https://www.matsim.org/files/dtd/population_v6.dtd
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from runs.demand.trip_list import DemandFileError, Purposes, TripList, first_of, seconds
from runs.demand.xml_stream import read_xml

CAR_MODES = ("car", "private_car", "car_driver")
_WORDS = (
    ("home", "home"),
    ("work", "work"),
    ("shop", "shop"),
    ("leisure", "leisure"),
    ("business", "business"),
    ("edu", "errand"),
    ("school", "errand"),
    ("errand", "errand"),
    ("other", "errand"),
    ("escort", "errand"),
)
"""How activity types begin, and what they are here; h and w alone are home and work."""


class _Act(NamedTuple):
    kind: str
    x: float
    y: float
    end_s: float
    stay_s: float
    line: int


class _Leg(NamedTuple):
    mode: str
    depart_s: float
    travel_s: float
    line: int


class _Population:
    def __init__(self, path: Path, purposes: Purposes) -> None:
        self.path, self.purposes = path, purposes
        self.trips = TripList(str(path), chains=True)
        self.seen: dict[str, int] = {}
        self.person = ""
        self.plan: list[_Act | _Leg] | None = None
        self.chosen: list[_Act | _Leg] = []
        self.attribute = ""
        self.known: dict[str, int] = {}

    def start(self, tag: str, a: dict[str, str], line: int) -> None:
        if tag == "person":
            self.person = a.get("id", "")
            if not self.person or self.person in self.seen:
                what = f"is that of line {self.seen[self.person]} too" if self.person else "is missing"
                raise DemandFileError(f"{self.path}: line {line}: the person's id {self.person[:40]!r} {what}")
            self.seen[self.person] = line
            self.chosen = []
        elif tag == "plan":
            self.plan = []
            self.selected = a.get("selected", "yes") == "yes"
        elif tag in ("activity", "act") and self.plan is not None:
            self.plan.append(
                _Act(
                    a.get("type", ""),
                    seconds(a.get("x", "")),
                    seconds(a.get("y", "")),
                    seconds(a.get("end_time", "")),
                    seconds(first_of(a, "max_dur", "dur")),
                    line,
                )
            )
        elif tag == "leg" and self.plan is not None:
            self.plan.append(
                _Leg(a.get("mode", ""), seconds(a.get("dep_time", "")), seconds(a.get("trav_time", "")), line)
            )
        elif tag == "attribute":
            self.attribute = a.get("name", "")

    def end(self, tag: str, text: str) -> None:
        if tag == "attribute":
            if self.attribute == "coordinateReferenceSystem" and not self.person:
                self.trips.crs = text
            self.attribute = ""
        elif tag == "plan" and self.plan is not None:
            if self.selected:
                self.chosen = self.plan
            self.plan = None
        elif tag == "person":
            self._write(self.chosen)

    def _purpose(self, act: _Act) -> int:
        word = act.kind.strip().lower()
        if word not in self.known:
            plain = {"h": "home", "w": "work"}.get(word, word)
            ours = next((name for begin, name in _WORDS if plain.startswith(begin)), plain)
            try:
                self.known[word] = self.purposes.row(word, "")
            except DemandFileError:
                self.known[word] = self.purposes.row(ours, f"{self.path}: line {act.line}")
        return self.known[word]

    def _write(self, plan: list[_Act | _Leg]) -> None:
        """Trips of one plan: each car leg from the activity before to the one after."""
        clock, last = 0.0, -math.inf
        count = 0
        acts = [k for k, part in enumerate(plan) if isinstance(part, _Act)]
        for k, part in enumerate(plan):
            if isinstance(part, _Act):
                if not math.isnan(part.end_s):
                    clock = part.end_s
                elif not math.isnan(part.stay_s):
                    clock += part.stay_s  # unknown stays unknown
                elif k:
                    clock = math.nan
                continue
            at = part.depart_s if not math.isnan(part.depart_s) else clock
            clock = at + part.travel_s if not math.isnan(part.travel_s) else at
            if part.mode not in CAR_MODES:
                self.trips.ignored += 1
                continue
            before = next((plan[j] for j in reversed(acts) if j < k), None)
            after = next((plan[j] for j in acts if j > k), None)
            if not isinstance(before, _Act) or not isinstance(after, _Act):
                raise DemandFileError(f"{self.path}: line {part.line}: a leg without an activity before and after it")
            if at <= last:
                raise DemandFileError(
                    f"{self.path}: line {part.line}: person {self.person[:40]!r} departs at {at:g} s, not after the "
                    f"departure before ({last:g} s); times must not run backwards"
                )
            if at < 0:
                raise DemandFileError(f"{self.path}: line {part.line}: departs at {at:g} s; valid are 0 s and later")
            last = last if math.isnan(at) else at
            later = [act for act in plan[k:] if isinstance(act, _Act)]
            goal = next((act for act in later if not act.kind.endswith("interaction")), after)
            count += 1
            self.trips.add(
                row=part.line,
                trip=f"{self.person}.{count}",
                car=self.person,
                purpose=self._purpose(goal),
                depart_s=at,
            )
            self.trips.start.add(lon=before.x, lat=before.y)
            self.trips.end.add(lon=after.x, lat=after.y)


def read_matsim(path: Path, *, purposes: Purposes) -> TripList:
    """Car trips of a MATSim population; `crs` is the one the file names, "" when it names none.

    Raises
    ------
    DemandFileError
        When the file is damaged, a person's id is used twice, an activity type is unknown, or times run backwards.
    """
    population = _Population(path, purposes)
    read_xml(path, start=population.start, end=population.end)
    if not len(population.trips):
        raise DemandFileError(f"{path}: no person in it has a leg by car")
    return population.trips
