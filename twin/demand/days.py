"""The days of the fleet's cars: who drives, where to, when; chains of activities that begin and end at home.

A day of habits runs from 3 o'clock to 3 o'clock, when few drive, so that a late return belongs to
the evening it came from and the chains of successive days never overlap. Everything is a
function of (seed, car, date): no day has to be planned for another to be known.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from twin.chance import Stream, chance
from twin.demand import kernels
from twin.demand.calendar import DAY_MS, Calendar
from twin.demand.distance import calibrate
from twin.demand.market import WEEKDAY, WEEKEND, DemandError, Habits, habits, speed_shares
from twin.demand.places import GROUP_OF, attraction, rings
from twin.fleet.fleet import Fleet
from twin.settings import DemandSettings

PURPOSES = ("home", "work", "shop", "leisure", "errand", "business")
"""What a trip is for; `DayPlan.purpose` indexes this tuple."""

BINS = 48  # half hours in which tours start
SAMPLE = 12_000  # car days that the fit looks at
SAMPLE_DAY = 4_000_000  # dates of the fit's own draws, beyond year 9999
FIT_ROUNDS = 16
SCALES = (0.2, 5.0)


@dataclass(frozen=True, eq=False)
class DayPlan:
    """Trips in order of car and departure; all arrays have one row per trip.

    Attributes
    ----------
    car : int32
        Row of the fleet.
    depart_ms : int64
        Planned departure since the start of the scenario. Increases along a car's chain.
    from_node, to_node : int32
        A chain goes on where it stopped; from and to always differ.
    purpose : uint8
        Row of PURPOSES: what the car goes to `to_node` for.
    stay_ms : int64
        Planned stay there, -1 after the last trip of the chain.
    travel_ms : int64
        Estimated time on the road.
    km : float32
        Estimated road distance.
    wanted_km : float32
        Distance from home (for business: from work) at which the destination was looked for; NaN for home and work.
    """

    car: NDArray[np.int32]
    depart_ms: NDArray[np.int64]
    from_node: NDArray[np.int32]
    to_node: NDArray[np.int32]
    purpose: NDArray[np.uint8]
    stay_ms: NDArray[np.int64]
    travel_ms: NDArray[np.int64]
    km: NDArray[np.float32]
    wanted_km: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.car)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> DayPlan:
        """The plan's trips at `rows`."""
        return DayPlan(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class DayFit:
    """What makes one kind of day agree with the market's statistics.

    Attributes
    ----------
    scale : float
        Multiplies the wanted distances of stops so that a driving car covers the market's kilometres a day.
    start_cum : ndarray of float64, shape (BINS,)
        Cumulative distribution, from 3 o'clock on, of when a free car sets out.
    start_share : ndarray of float64, shape (24,)
        Share of trips that start in each clock hour, as fitted.
    day_km, trips : float
        Means per driving car as fitted.
    missed : float
        Share of stops for which the map had nothing within half of the wanted distance.
    """

    scale: float
    start_cum: NDArray[np.float64]
    start_share: NDArray[np.float64]
    day_km: float
    trips: float
    missed: float


@dataclass(eq=False)
class _Chains:
    """Legs of car days, arrays of shape (n, MAX_LEGS), as the kernels write them."""

    cars: NDArray[np.int64]
    days: NDArray[np.int64]
    homes: NDArray[np.int64]
    workplaces: NDArray[np.int64]
    kinds: NDArray[np.int64]
    works: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = (len(self.cars), kernels.MAX_LEGS)
        self.purposes, self.anchors, self.stays, self.tours, self.nodes, self.travel_ms, self.bins = (
            np.zeros(shape, np.int64) for _ in range(7)
        )
        self.depart_ms = np.full(shape, -1, np.int64)
        self.want_m, self.inside_m, self.outside_m = (np.zeros(shape) for _ in range(3))
        self.n_legs = np.zeros(len(self.cars), np.int64)


class Demand:
    """Plans the days of every fleet car.

    The date decides between weekday and weekend habits. Without a date (`start=None`) all
    days are of the kind that `demand.weekday` names, and the scenario starts at midnight.

    Parameters
    ----------
    city : CityMap
        Streets, places, outside nodes.
    fleet : Fleet
        `home_node` and `work_node` are read.
    demand : DemandSettings
        `moving` replaces the market's share of cars that drive on a day. `outside` is the share of
        longer journeys (over half of the map's reach) that leave the map by choice; journeys
        longer than the map offers always leave it, unless `outside` is 0.
    market : {"japan", "europe", "us"}
        Whose habits.
    seed : int
        The run's seed.
    start : datetime or None
        Civil time at which the scenario starts, local to the city.

    Raises
    ------
    DemandError
        For an unknown market or a fleet that lives at nodes the map does not have.

    Notes
    -----
    A chain's structure is the facts' archetypes; extra stops and tours bring trips per driving car to the
    market's figure. Distances of stops are lognormal about the facts' medians and scaled so that the mean
    day has the market's kilometres on this map with these workplaces. When free cars set out is fitted by
    multiplicative updates (Richardson 1972, Lucy 1974) to the market's starts by hour.
    """

    def __init__(
        self,
        city: CityMap,
        fleet: Fleet,
        demand: DemandSettings,
        *,
        market: str,
        seed: int,
        start: datetime | None,
    ) -> None:
        self.settings = demand
        self.seed = seed
        self.calendar = Calendar(start, demand.weekday)
        self.size = len(fleet)
        self.habits: tuple[Habits, Habits] = (habits(market), habits(market, day_kind=WEEKEND))
        self._home = fleet.home_node.astype(np.int64)
        self._work = fleet.work_node.astype(np.int64)
        for name, nodes in (("home_node", self._home), ("work_node", self._work)):
            if nodes.max() >= city.network.n_nodes or nodes.min() < (0 if name == "home_node" else -1):
                raise DemandError(f"fleet.{name}: valid are nodes 0 to {city.network.n_nodes - 1} of the map")
        self.archetype = self._archetypes()
        self.distances = calibrate(city, self._home, city.place_node, seed=seed)
        self._places, self._rings = attraction(city), rings(city, self.distances)
        town, express = speed_shares(self.habits[WEEKDAY].start_share)
        self._inside_mps, self._outside_mps = town * self.distances.inside_mps, express * self.distances.outside_mps
        self.longer_m = self._reach() / 2
        self._moves = [self._moving(h) for h in self.habits]
        self._numbers = [self._structure(kind) for kind in (WEEKDAY, WEEKEND)]
        self._fits: dict[int, DayFit] = {}

    # -- the calendar

    def midnight_ms(self, day: int) -> int:
        """Time of the midnight that begins a day, ms since the start; day 0 is the date of the start."""
        return self.calendar.midnight_ms(day)

    def day_of(self, t_ms: int) -> int:
        """Day in which a moment lies."""
        return self.calendar.day_of(t_ms)

    def day_kind(self, day: int) -> int:
        """WEEKDAY or WEEKEND."""
        return self.calendar.kind(day)

    # -- plans

    def plan_day(self, day: int) -> DayPlan:
        """Trips of the chains that begin on a day, from 3 o'clock to 3 o'clock of the next.

        Day 0 holds only what departs at or after the start of the scenario, and also what is left of the
        chains of the day before; see `nodes_at_start` for where the cars then are.

        Parameters
        ----------
        day : int
            0 is the date of the scenario's start. Ask not later than `midnight_ms(day)`.
        """
        if day < 0:
            raise DemandError(f"day {day} is before the scenario; valid are 0 and later")
        if day > 0:
            return self._plan(day)
        before, today = self._plan(-1), self._plan(0)
        both = DayPlan(*(np.concatenate([getattr(before, f.name), getattr(today, f.name)]) for f in fields(DayPlan)))
        later = np.flatnonzero(both.depart_ms >= 0)
        return both.take(later[np.lexsort((both.depart_ms[later], both.car[later]))])

    def usual_day(self, day: int) -> DayPlan:
        """A day's trips, for what is made of habits alone (the week before the run)."""
        return self._plan(day)

    def nodes_at_start(self) -> NDArray[np.int32]:
        """Node at which each car is (or is about to arrive) when the scenario starts, shape (cars,)."""
        at: NDArray[np.int32] = self._home.astype(np.int32)
        for plan in (self._plan(-1), self._plan(0)):
            gone = np.flatnonzero(plan.depart_ms < 0)
            at[plan.car[gone]] = plan.to_node[gone]  # rows ascend in time within a car: the last one stays
        return at

    def moves(self, day: int) -> NDArray[np.bool_]:
        """Cars that drive on a day, shape (cars,)."""
        u = chance(self.seed, Stream.MOVES_TODAY, np.arange(self.size), self.calendar.number(day))
        return u < self._moves[self.day_kind(day)][self.archetype]

    def fit(self, day_kind: int) -> DayFit:
        """Fit of one kind of day to the market; made when first asked."""
        if day_kind not in self._fits:
            self._fits[day_kind] = self._fitted(day_kind)
        return self._fits[day_kind]

    # -- inside

    def _archetypes(self) -> NDArray[np.uint8]:
        share = self.habits[WEEKDAY].archetype_share
        u = chance(self.seed, Stream.ARCHETYPE, np.arange(self.size))
        able = (self._work >= 0) & (self._work != self._home)
        commute = min(1.0, float(share[0]) / max(float(able.mean()), 1e-9))
        goes = able & (u < commute)
        rest = np.where(able, (u - commute) / max(1.0 - commute, 1e-9), u)
        errand = rest < share[1] / (share[1] + share[2])
        return np.where(goes, 0, np.where(errand, 1, 2)).astype(np.uint8)

    def _present(self) -> NDArray[np.float64]:
        return np.bincount(self.archetype, minlength=3) / self.size

    def _moving(self, day: Habits) -> NDArray[np.float64]:
        wanted = self.settings.moving
        if wanted is None:
            return day.moving_by_archetype(self._present())
        scaled = day.moving_by_archetype(self._present())
        mean = float(scaled @ self._present())
        if wanted <= mean:
            return scaled * (wanted / mean)
        return 1.0 - (1.0 - scaled) * ((1.0 - wanted) / max(1.0 - mean, 1e-9))  # towards all cars

    def _structure(self, kind: int) -> NDArray[np.float64]:
        """Numbers of `kernels.lay_out` by archetype, so that trips per driving car are the market's."""
        day, facts = self.habits[kind], self.habits[kind].activity
        moving = day.moving_by_archetype(self._present()) * self._present()
        commuting, roaming, leisure = moving / max(moving.sum(), 1e-9)
        if kind == WEEKEND:
            roaming, commuting = roaming + commuting, 0.0
        second_most = float(day.archetype["errand"]["tours_per_day"]) - 1.0
        least = 2.0 * (commuting + roaming + leisure)
        second = min(second_most, max(0.0, (day.trips - least) / max(2.0 * roaming, 1e-9)))
        extra = max(0.0, day.trips - least - 2.0 * second * roaming)
        as_tours = float(facts["extra_trips_as_tours_share"])
        share = facts["weekday_share" if kind == WEEKDAY else "weekend_share"]
        row = np.zeros(kernels.N_NUMBERS)
        row[kernels.SECOND_TOUR] = second
        row[kernels.EXTRA_TOUR] = min(1.0, extra * as_tours / 4)  # two draws of two trips
        row[kernels.EXTRA_STOP] = min(1.0, extra * (1 - as_tours) / 4)  # four draws of one trip
        row[kernels.FROM_WORK] = facts["excursion_from_work_share"]
        row[kernels.BEFORE_WORK] = facts["stop_before_work_share"]
        row[kernels.SIGMA] = day.trip_sigma
        row[kernels.STAY_SIGMA] = facts["stay_sigma"]
        row[kernels.STAY_MOST_MS] = facts["stay_longest_h"] * kernels.HOUR_MS
        row[kernels.DROP_OFF_MS] = facts["drop_off_min"] * kernels.MINUTE_MS
        row[kernels.WORK_MS] = day.archetype["commuter"]["work_h"] * kernels.HOUR_MS
        row[kernels.WORK_SD_MS] = facts["work_h_sd"] * kernels.HOUR_MS
        row[kernels.ODD_SHARE] = day.odd_share
        row[kernels.ODD_WORK_MS] = day.odd_work_h * kernels.HOUR_MS
        row[kernels.SHOP_UP_TO] = share["shop"]
        row[kernels.LEISURE_UP_TO] = share["shop"] + share["leisure"]
        numbers = np.tile(row, (3, 1))
        numbers[2, kernels.SECOND_TOUR] = 0.0
        numbers[2, kernels.LEISURE_CAR_KM] = day.archetype["leisure"]["tour_km_median"] / 2
        return numbers

    def _reach(self) -> float:
        """Road distance within which nine of ten pairs of a home and a place lie, m."""
        spots = self._places.spots
        n = 2000
        a = self._home[(chance(self.seed, Stream.DISTANCE, np.arange(n), 2) * self.size).astype(np.int64)]
        b = spots[(chance(self.seed, Stream.DISTANCE, np.arange(n), 3) * len(spots)).astype(np.int64), 3]
        near, _ = self.distances.between(a, b.astype(np.int64))
        return max(float(np.quantile(near, 0.9)), 1.0)

    def _chains(self, cars: NDArray[np.int64], days: NDArray[np.int64], kind: int) -> _Chains:
        """Lay out car days; destinations and times follow."""
        archetype = self.archetype[cars].astype(np.int64)
        works = ((archetype == 0) & (kind == WEEKDAY)).astype(np.int64)
        chains = _Chains(cars, days, self._home[cars], self._work[cars], archetype, works)
        day = self.habits[kind]
        short = day.archetype["errand"]["tour_km_median"] / 2
        stops = np.array([0, 0, short, short * day.activity["leisure_stop_km_factor"], short, short])
        stays = day.activity["stay_median_min"]
        stay_ms = np.array([0, 0, *(stays[name] for name in PURPOSES[2:])]) * float(kernels.MINUTE_MS)
        c = chains
        kernels.lay_out(
            self.seed, cars, days, archetype, works, stops, stay_ms, self._numbers[kind],
            c.purposes, c.anchors, c.want_m, c.stays, c.tours, c.n_legs,
        )  # fmt: skip
        return chains

    def _choose(self, c: _Chains, scale: float) -> int:
        d, p, r = self.distances, self._places, self._rings
        missed = kernels.choose(
            self.seed, c.cars, c.days, c.homes, c.workplaces, c.purposes, c.anchors, c.want_m * scale, c.n_legs,
            (d.x, d.y, d.beyond_m, d.gate, d.crow_m, d.road_m),
            (GROUP_OF, p.group_cell, p.group_spot, p.spots, p.cells, p.ptr), (r.gate_cum, r.ptr, r.node),
            float(self.settings.outside), self.longer_m, self._inside_mps, self._outside_mps,
            c.nodes, c.inside_m, c.outside_m, c.travel_ms,
        )  # fmt: skip
        return int(missed)

    def _set_clock(self, c: _Chains, kind: int, start_cum: NDArray[np.float64]) -> None:
        day = self.habits[kind]
        commuter = day.archetype["commuter"]
        kernels.set_clock(
            self.seed, c.cars, c.days, c.homes, c.kinds, c.works, c.stays, c.tours, c.nodes, c.travel_ms, c.n_legs,
            start_cum, commuter["depart_mean_h"] * kernels.HOUR_MS, commuter["depart_sd_h"] * kernels.HOUR_MS,
            day.odd_share, day.odd_cum,
            day.activity["home_between_tours_median_min"] * float(kernels.MINUTE_MS), day.activity["stay_sigma"],
            c.depart_ms, c.bins,
        )  # fmt: skip

    def _fitted(self, kind: int) -> DayFit:
        day = self.habits[kind]
        cars, days = self._sample(kind)
        chains = self._chains(cars, days, kind)
        scale, missed = self._scale(chains, day.day_km)
        hours = np.arange(kernels.DAY_STARTS_MS, kernels.DAY_ENDS_MS, DAY_MS // BINS) // kernels.HOUR_MS % 24
        start = np.maximum(day.start_share[hours], 1e-6)
        share = day.start_share
        for turn in range(FIT_ROUNDS + 1):
            start = start / start.sum()
            self._set_clock(chains, kind, np.cumsum(start))
            goes = chains.depart_ms >= 0
            hour = chains.depart_ms[goes] // kernels.HOUR_MS % 24
            share = np.bincount(hour, minlength=24) / max(1, len(hour))
            if turn == FIT_ROUNDS:
                break
            free = chains.bins[goes] >= 0
            table = np.zeros((BINS, 24))
            np.add.at(table, (chains.bins[goes][free], hour[free]), 1.0)
            ratio = day.start_share / np.maximum(share, 1e-6)
            many = table.sum(axis=1)
            pull = np.divide(table @ ratio, many, out=np.ones(BINS), where=many > 0)
            start = start * np.clip(pull, 0.2, 5.0)
        km = float((chains.inside_m + chains.outside_m)[goes].sum() / 1000 / len(cars))
        return DayFit(scale, np.cumsum(start), share, km, float(goes.sum() / len(cars)), missed)

    def _sample(self, kind: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Car days to fit on: cars of this fleet in their shares, on days of their own."""
        chances = self._moves[kind][self.archetype]
        if not chances.any():
            chances = np.ones(self.size)
        rows = np.arange(int(min(40 * SAMPLE, SAMPLE * 1.2 / chances.mean())))
        cars = rows % self.size if self.size < len(rows) else rows * self.size // len(rows)
        days = SAMPLE_DAY + rows // self.size
        moves = chance(self.seed, Stream.MOVES_TODAY, cars, days) < chances[cars]
        return cars[moves][:SAMPLE].astype(np.int64), days[moves][:SAMPLE].astype(np.int64)

    def _scale(self, c: _Chains, day_km: float) -> tuple[float, float]:
        """Scale of wanted distances at which the sample covers `day_km` a day, by fixed point."""
        leg = np.arange(kernels.MAX_LEGS)[None, :] < c.n_legs[:, None]
        stop = leg & (c.purposes >= kernels.SHOP)
        reached = np.column_stack([np.zeros(len(stop), bool), stop[:, :-1]])
        scale, missed = 1.0, 0
        for _ in range(8):
            missed = self._choose(c, scale)
            metres = np.where(leg, c.inside_m + c.outside_m, 0.0)
            fixed = metres[leg & ~stop & ~reached].sum() / len(metres)
            free = metres.sum() / len(metres) - fixed
            if free <= 0 or abs(fixed + free - 1000 * day_km) < 5 * day_km:
                break
            better = float(np.clip(scale * (1000 * day_km - fixed) / free, *SCALES))
            if better == scale:
                break
            scale = better
        self._choose(c, scale)
        return scale, missed / max(1, int(stop.sum()))

    def _plan(self, day: int) -> DayPlan:
        kind = self.day_kind(day)
        cars = np.flatnonzero(self.moves(day)).astype(np.int64)
        fit = self.fit(kind)
        c = self._chains(cars, np.full(len(cars), self.calendar.number(day), np.int64), kind)
        self._choose(c, fit.scale)
        self._set_clock(c, kind, fit.start_cum)
        row, leg = np.nonzero(c.depart_ms >= 0)
        depart = c.depart_ms[row, leg]
        order = np.lexsort((depart, row))
        row, leg, depart = row[order], leg[order], depart[order]
        previous = np.where(leg > 0, c.nodes[row, leg - 1], c.homes[row])
        last = np.append(row[1:] != row[:-1], True)[: len(row)]
        arrive = depart + c.travel_ms[row, leg]
        stay = np.append(depart[1:], 0)[: len(row)] - arrive
        wanted = np.where(c.purposes[row, leg] >= kernels.SHOP, c.want_m[row, leg] * fit.scale / 1000, np.nan)
        return DayPlan(
            car=cars[row].astype(np.int32),
            depart_ms=depart + self.midnight_ms(day),
            from_node=previous.astype(np.int32),
            to_node=c.nodes[row, leg].astype(np.int32),
            purpose=c.purposes[row, leg].astype(np.uint8),
            stay_ms=np.where(last, -1, stay),
            travel_ms=c.travel_ms[row, leg],
            km=((c.inside_m[row, leg] + c.outside_m[row, leg]) / 1000).astype(np.float32),
            wanted_km=wanted.astype(np.float32),
        )
