"""The fleet's trips: what each car means to do today, what it is doing, and how it ended.

Every planned trip ends in exactly one status; `Trips.residual` proves it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from twin.demand.days import PURPOSES, DayPlan
from twin.events import Column, Table
from twin.fleet.fleet import Fleet, Reason

NEVER = np.int64(2**62)


class Status(IntEnum):
    """How a trip ended, or stands when the run ends."""

    ARRIVED = 0
    EN_ROUTE = 1  # on the road, waiting to enter it or at a charging stop when the run ended
    PLANNED = 2  # its departure lies beyond the end of the run
    ALREADY_THERE = 3  # the car stood at the destination: nothing to drive
    REFUSED = 4  # the driver stayed: no route, or out of range
    STUCK = 5  # begun, but never finished
    CANCELLED = 6  # the car was stuck before it could begin


TRIPS = {
    "trip_id": Column("i8", "", "serial number in order of planning"),
    "car_id": Column("i4", "", "row of the car"),
    "purpose": Column("str", "", "what the driver goes to do"),
    "depart_s": Column("f8", "s", "departure from the parking place; null when it never left"),
    "enter_s": Column("f8", "s", "when it found room on its first link"),
    "arrive_s": Column("f8", "s", "arrival; null when it did not arrive"),
    "planned_s": Column("f8", "s", "departure as planned"),
    "km": Column("f8", "km", "driven, detours to chargers included"),
    "free_s": Column("f8", "s", "time the same route takes on empty streets"),
    "energy_kwh": Column("f8", "kWh", "drawn from the battery, braking energy given back"),
    "fuel_l": Column("f8", "L", "fuel burnt"),
    "engaged_km": Column("f8", "km", "with driver assistance engaged"),
    "charging_stops": Column("i4", "", "public charging visits on the way"),
    "status": Column("str", "", "arrived, en_route, planned, already_there, refused, stuck or cancelled"),
    "reason": Column("str", "", "why it did not go on; empty otherwise"),
}

_NOT_DRIVEN: dict[str, float] = {
    **dict.fromkeys(("depart_s", "enter_s", "arrive_s"), np.nan),
    **dict.fromkeys(("km", "free_s", "energy_kwh", "fuel_l", "engaged_km", "charging_stops"), 0),
}


class Trips:
    """Plans, trips under way, and the table of ended ones.

    Columns of a car's running trip are arrays over cars; `due_ms` is when the next one
    begins (or goes on after a charging stop), NEVER when none is planned.
    """

    def __init__(self, fleet: Fleet) -> None:
        n = len(fleet)
        self.fleet = fleet
        self.table = Table("trips", TRIPS)
        self.due_ms = np.full(n, NEVER, np.int64)
        self.tomorrow_ms = np.full(n, NEVER, np.int64)
        self.under_way = np.zeros(n, bool)
        self.trip_id = np.full(n, -1, np.int64)
        self.goal = np.full(n, -1, np.int32)
        self.purpose = np.zeros(n, np.uint8)
        self.planned_ms = np.zeros(n, np.int64)
        self.depart_ms = np.full(n, -1, np.int64)
        self.enter_ms = np.full(n, -1, np.int64)
        self.free_ms = np.zeros(n, np.int64)
        self.stops = np.zeros(n, np.int32)
        self._energy_j = np.zeros(n, np.int64)
        self._fuel_ul = np.zeros(n, np.int64)
        self._driven_mm = np.zeros(n, np.int64)
        self._engaged_mm = np.zeros(n, np.int64)
        self.planned = 0
        self.begun = 0
        self._car = np.empty(0, np.int32)
        self._at = np.empty(0, np.int64)
        self._to = np.empty(0, np.int32)
        self._what = np.empty(0, np.uint8)
        self._id = np.empty(0, np.int64)
        self._next = np.zeros(n, np.int64)
        self._last = np.zeros(n, np.int64)

    def plan(self, day: DayPlan) -> None:
        """Add a day's trips behind what is still to do; times never run backwards along a car's chain."""
        size = len(day.car)
        pending = self._pending()
        ids = self.planned + np.arange(size)
        self.planned += size
        car = np.concatenate([self._car[pending], day.car])
        order = np.argsort(car, kind="stable")
        self._car = car[order]
        self._at = np.concatenate([self._at[pending], day.depart_ms])[order]
        self._to = np.concatenate([self._to[pending], day.to_node])[order]
        self._what = np.concatenate([self._what[pending], day.purpose])[order]
        self._id = np.concatenate([self._id[pending], ids])[order]
        cars = np.arange(len(self.fleet))
        self._next = np.searchsorted(self._car, cars)
        self._last = np.searchsorted(self._car, cars, side="right")
        idle = np.flatnonzero(~self.under_way)
        self._look_ahead(idle)

    def refuse(
        self,
        cars: NDArray[np.int32],
        purpose: NDArray[np.uint8],
        planned_ms: NDArray[np.int64],
        reason: NDArray[np.object_],
    ) -> None:
        """Write rows for trips that nobody could plan: they never become a car's."""
        size = len(cars)
        self.table.append(
            trip_id=self.planned + np.arange(size),
            car_id=cars,
            purpose=np.array(PURPOSES, object)[purpose],
            planned_s=planned_ms / 1000,
            status=Status.REFUSED.name.lower(),
            reason=reason,
            **_NOT_DRIVEN,
        )
        self.planned += size

    def _pending(self) -> NDArray[np.int64]:
        rows = np.arange(len(self._car))
        return np.flatnonzero(rows >= self._next[self._car])

    def _look_ahead(self, cars: NDArray[np.int64]) -> None:
        more = self._next[cars] < self._last[cars]
        self.due_ms[cars] = NEVER
        self.due_ms[cars[more]] = self._at[self._next[cars[more]]]

    def due(self, until_ms: int) -> NDArray[np.int64]:
        """Cars whose next trip (or its next part) is due before `until_ms`."""
        return np.flatnonzero(self.due_ms < until_ms)

    def foresee(self, tomorrow: DayPlan, *, until_ms: int) -> None:
        """Tell drivers their first departure of the day that is not planned yet, and when that day ends."""
        self.tomorrow_ms[:] = until_ms
        self.tomorrow_ms[tomorrow.car[::-1]] = tomorrow.depart_ms[::-1]  # rows ascend in time within a car

    def next_due_ms(self, cars: NDArray[np.int64]) -> NDArray[np.int64]:
        """When cars mean to leave again: today, tomorrow, or not before the end of tomorrow."""
        return np.minimum(self.due_ms[cars], self.tomorrow_ms[cars])

    def take(self, cars: NDArray[np.int64]) -> None:
        """Make the next planned trip of these cars their running one."""
        at = self._next[cars]
        self._next[cars] += 1
        self.under_way[cars] = True
        self.due_ms[cars] = NEVER
        self.trip_id[cars] = self._id[at]
        self.goal[cars] = self._to[at]
        self.purpose[cars] = self._what[at]
        self.planned_ms[cars] = self._at[at]
        self.depart_ms[cars] = -1
        self.enter_ms[cars] = -1
        self.free_ms[cars] = 0
        self.stops[cars] = 0
        fleet = self.fleet
        self._energy_j[cars] = fleet.traction_j[cars]
        self._fuel_ul[cars] = fleet.fuel_ul[cars]
        self._driven_mm[cars] = fleet.driven_mm[cars]
        self._engaged_mm[cars] = fleet.engaged_mm[cars]
        self.begun += len(cars)

    def leaving_ms(self, cars: NDArray[np.int64], now_ms: int, until_ms: int) -> NDArray[np.int64]:
        """When cars whose trip, or next part of it, is due in [now, until) set out."""
        again = np.minimum(np.maximum(self.due_ms[cars], now_ms), until_ms - 1)
        return np.where(self.depart_ms[cars] < 0, np.maximum(self.planned_ms[cars], now_ms), again)

    def set_out(self, cars: NDArray[np.int64], now_ms: int, until_ms: int) -> NDArray[np.int64]:
        """Let these cars leave; returns when, ms."""
        at = self.leaving_ms(cars, now_ms, until_ms)
        first = self.depart_ms[cars] < 0
        self.depart_ms[cars[first]] = at[first]
        self.due_ms[cars] = NEVER
        return at

    def close(
        self,
        cars: NDArray[np.int64],
        status: Status,
        *,
        at_ms: NDArray[np.int64] | None = None,
        reason: NDArray[np.uint8] | Reason = Reason.NONE,
    ) -> None:
        """End the running trips of these cars and write their rows."""
        if not len(cars):
            return
        fleet = self.fleet
        never = np.full(len(cars), np.nan)
        reasons = np.broadcast_to(np.asarray(reason), cars.shape)
        names = np.array(["" if r == Reason.NONE else r.name.lower() for r in Reason], object)
        self.table.append(
            trip_id=self.trip_id[cars],
            car_id=cars,
            purpose=np.array(PURPOSES, object)[self.purpose[cars]],
            depart_s=_seconds(self.depart_ms[cars]),
            enter_s=_seconds(self.enter_ms[cars]),
            arrive_s=never if at_ms is None else at_ms / 1000,
            planned_s=self.planned_ms[cars] / 1000,
            km=(fleet.driven_mm[cars] - self._driven_mm[cars]) / 1e6,
            free_s=self.free_ms[cars] / 1000,
            energy_kwh=(fleet.traction_j[cars] - self._energy_j[cars]) / 3.6e6,
            fuel_l=(fleet.fuel_ul[cars] - self._fuel_ul[cars]) / 1e6,
            engaged_km=(fleet.engaged_mm[cars] - self._engaged_mm[cars]) / 1e6,
            charging_stops=self.stops[cars],
            status=status.name.lower(),
            reason=names[reasons],
        )
        self.under_way[cars] = False
        self._look_ahead(cars)

    def cancel(self, cars: NDArray[np.int64]) -> None:
        """Write off what these cars still had planned: they are stuck."""
        for car in cars:
            self._write_planned(np.arange(self._next[car], self._last[car]), Status.CANCELLED, self.fleet.reason[car])
            self._next[car] = self._last[car]
        self.due_ms[cars] = NEVER

    def finish(self) -> None:
        """Write rows for what is under way or still planned when the run ends."""
        self.close(np.flatnonzero(self.under_way), Status.EN_ROUTE)
        self._write_planned(self._pending(), Status.PLANNED, Reason.NONE)
        self._next[:] = self._last
        self.due_ms[:] = NEVER

    def _write_planned(self, at: NDArray[np.int64], status: Status, reason: int) -> None:
        if not len(at):
            return
        self.table.append(
            trip_id=self._id[at],
            car_id=self._car[at],
            purpose=np.array(PURPOSES, object)[self._what[at]],
            planned_s=self._at[at] / 1000,
            status=status.name.lower(),
            reason="" if reason == Reason.NONE else Reason(int(reason)).name.lower(),
            **_NOT_DRIVEN,
        )

    def residual(self) -> int:
        """Trips planned that are neither ended, under way nor still planned: 0."""
        pending = int((self._last - self._next).sum())
        return self.planned - len(self.table) - int(self.under_way.sum()) - pending


def _seconds(ms: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(ms >= 0, ms / 1000, np.nan)
