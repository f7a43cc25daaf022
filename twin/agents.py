"""Minds: every fleet car is a Mesa agent; decisions are asked once per class and tick, in a batch.

To change behaviour, subclass a kind and override `decide`; hand the class to
`Twin(..., agents={Kind.ELECTRIC: MyCar})`. A question holds arrays about the asked rows
and nothing of the world, so an answer cannot reach into it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar

import mesa
import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.charging.operation import SiteAnswer, SiteQuestion
from twin.fleet.fleet import Kind

Floats = NDArray[np.float64]

DIRECT, STAY = -1, -2
"""Answers to a `TripQuestion` besides an option's number."""
USUAL_KWH = 15.0
"""Energy of a stop that drivers reckon with when they compare sites."""


@dataclass(frozen=True)
class PlugInQuestion:
    """Whether to plug in: an electric car has parked where it has a socket.

    All arrays have shape (n,). The answer is a bool array.
    """

    rows: NDArray[np.int64]
    soc: Floats
    capacity_kwh: Floats
    stay_h: Floats
    at_home: NDArray[np.bool_]
    u: Floats


@dataclass(frozen=True)
class TripQuestion:
    """Whether to go straight, by a charging site, or to stay: a trip is due, or (`driving`) the battery will hardly do.

    Arrays of shape (n,), options of shape (n, k). `need_j` is the energy expected for the
    trip, `reach_j` for the way to each site; site -1 is no option. `detour_m` and `detour_s` are what the trip gets
    longer by way of the site. `on_way`: beside the way that destination management proposes, the detour then leads
    there and back to it. Who drives cannot stay; that goes on as it was. `price` is asked per kWh; `value_of_time`,
    shape (n,), is money per hour in the same currency, inf for drivers who weigh no prices.
    The answer is an option's number, `DIRECT` or `STAY`.
    """

    rows: NDArray[np.int64]
    battery_j: NDArray[np.int64]
    capacity_j: NDArray[np.int64]
    need_j: NDArray[np.int64]
    charges_at_goal: NDArray[np.bool_]
    site: NDArray[np.int32]
    reach_j: NDArray[np.int64]
    kw: Floats
    wait_s: Floats
    detour_m: Floats
    detour_s: Floats
    on_way: NDArray[np.bool_]
    driving: NDArray[np.bool_]
    u: Floats
    price: Floats
    value_of_time: Floats


Question = PlugInQuestion | TripQuestion


def part(question: Question, chosen: NDArray[np.bool_]) -> Question:
    """Keep those rows of a question that a mask selects."""
    return replace(question, **{f.name: getattr(question, f.name)[chosen] for f in fields(question)})


@cache
def _plug_in_habit() -> dict[str, float]:
    return dict(facts.load("charging")["plug_in"]["model"])


class Car(mesa.Agent[Any]):
    """One car of the fleet: a view on its row of the world, and the mind of its kind."""

    kind: ClassVar[Kind]

    def __init__(self, model: Any, row: int) -> None:
        super().__init__(model)
        self.row = row

    @property
    def state(self) -> SimpleNamespace:
        """Snapshot of all columns of this car."""
        return self.model.world.fleet[self.row]  # type: ignore[no-any-return]

    @property
    def soc(self) -> float:
        """State of charge, 0 to 1; NaN without a traction battery."""
        fleet = self.model.world.fleet
        capacity = fleet.capacity_j[self.row]
        return float(fleet.battery_j[self.row] / capacity) if capacity else float("nan")

    @property
    def km(self) -> float:
        """Kilometres driven so far."""
        return float(self.model.world.fleet.driven_mm[self.row] / 1e6)

    @classmethod
    def decide(cls, question: Question) -> NDArray[Any]:
        """Answer a question for all rows in it. Base cars go straight and never plug in."""
        if isinstance(question, TripQuestion):
            return np.full(len(question.rows), DIRECT, np.int64)
        return np.zeros(len(question.rows), bool)


class CombustionCar(Car):
    """Burns fuel; refuelling is quick and outside the model."""

    kind = Kind.COMBUSTION


class EPowerCar(Car):
    """Series hybrid: the motor drives the wheels, an engine feeds the motor; it never plugs in."""

    kind = Kind.EPOWER


class ElectricCar(Car):
    """Battery electric car: plugs in by habit and state of charge, plans charging stops."""

    kind = Kind.ELECTRIC
    reserve: ClassVar[float] = 0.10
    """Share of the battery a driver wants left on arrival."""
    reserve_without_plug: ClassVar[float] = 0.25
    """The same where no socket waits at the goal."""

    @classmethod
    def decide(cls, question: Question) -> NDArray[Any]:
        """Plug in by `plug_in.model` of facts/charging.toml; stop at a site when the reserve would be touched."""
        if isinstance(question, PlugInQuestion):
            return cls._plug_in(question)
        return cls._trip(question)

    @classmethod
    def _plug_in(cls, q: PlugInQuestion) -> NDArray[np.bool_]:
        habit = _plug_in_habit()
        middle = np.select(
            [q.capacity_kwh < 32, q.capacity_kwh < 50],
            [habit["soc50_small_battery"], habit["soc50_40kwh"]],
            habit["soc50_62kwh_plus"],
        )
        likely = 1 / (1 + np.exp((q.soc - middle) / habit["width"]))
        return np.asarray((q.u < np.maximum(likely, habit["p_min"])) & (q.soc < 0.995))

    @classmethod
    def _trip(cls, q: TripQuestion) -> NDArray[np.int64]:
        reserve = np.where(q.charges_at_goal, cls.reserve, cls.reserve_without_plug)
        enough = q.battery_j - q.need_j >= reserve * q.capacity_j
        usable = (q.site >= 0) & (q.reach_j <= (q.battery_j * 0.97)[:, None])
        # expected minutes lost at each site: detour, wait, 15 kWh at its power, their price as time
        lost_min = q.detour_s / 60 + q.wait_s / 60 + USUAL_KWH / np.maximum(q.kw, 0.1) * 60
        lost_min = lost_min + USUAL_KWH * q.price / q.value_of_time[:, None] * 60
        lost_min = np.where(usable, lost_min, np.inf)
        best = np.argmin(lost_min, axis=1)
        some = usable.any(axis=1)
        just = q.need_j <= q.battery_j * 0.9
        return np.where(enough, DIRECT, np.where(some, best, np.where(just, DIRECT, STAY))).astype(np.int64)


class Operator(mesa.Agent[Any]):
    """Runs the public and fast charging sites: sets their prices and caps every quarter of an hour.

    With `charging.operator = "utilisation"` prices rise and fall with the share of sockets in use, by `price_swing` at
    most, and a site where nobody waits draws at most `quiet_cap` of its cap. Override `decide` for another rule and
    hand the class to `Twin(..., operator=MyOperator)`.
    """

    @property
    def sites(self) -> Any:
        """Charging sites of the world."""
        return self.model.world.charging.sites

    def decide(self, question: SiteQuestion) -> SiteAnswer | None:
        """Prices and caps of the coming quarter of an hour; None leaves them as they are."""
        settings = self.model.world.charging.settings
        if settings.operator == "fixed":
            return None
        swing = 1 + settings.price_swing * (2 * question.utilisation - 1)
        part = np.where(question.waiting > 0, 1.0, settings.quiet_cap)
        return SiteAnswer(price=question.price * swing, cap_kw=question.cap_kw * part)

    def step(self) -> None:
        """Ask `decide` when a quarter of an hour has begun; the model calls it before each tick."""
        world = self.model.world
        world.charging.operation.again(world.now_ms, self.decide)


class Maker(mesa.Agent[Any]):
    """The manufacturer: owns the over-the-air campaigns; `approve`, `resume`, `cancel` them."""

    @property
    def campaigns(self) -> Any:
        """Campaigns of the scenario, in order."""
        return self.model.world.updates.campaigns

    @property
    def campaign(self) -> Any:
        """First campaign, None when the scenario has none."""
        return self.campaigns[0] if self.campaigns else None


CARS: dict[Kind, type[Car]] = {
    Kind.ELECTRIC: ElectricCar,
    Kind.EPOWER: EPowerCar,
    Kind.COMBUSTION: CombustionCar,
}
"""Default class of each kind."""
