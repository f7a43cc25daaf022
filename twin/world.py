"""The world: bodies, one integer clock, and one tick on one page.

wake → decide → apply → move → spend → assist → park → queue → talk → measure. The world knows no Mesa:
it hands questions to `ask` and gets arrays of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from maps.network import CityMap
from twin.agents import CARS, STAY, Question, TripQuestion
from twin.autonomy.propilot import Autonomy
from twin.charging.charging import Charging
from twin.charging.site import SITE_KINDS
from twin.choices import plug_in_question
from twin.cloud.cloud import Cloud
from twin.demand.counts import CountFit, Counts
from twin.demand.given import Given
from twin.demand.market import DemandError
from twin.demand.travel import travel
from twin.energy.drive import Drive
from twin.events import Table
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Kind, Reason, State
from twin.fleet.population import populate
from twin.history import live_week
from twin.ledger import residuals
from twin.meters import LinkMeter, cars_table, summary
from twin.ota.updates import Updates
from twin.proposals import Proposals
from twin.sessions import Sessions
from twin.settings import CampaignSettings, TwinSettings
from twin.stops import Stops
from twin.traffic.engine import Positions, Streets
from twin.traffic.informed import InformedDrivers
from twin.traffic.learning import DayTrips, learn
from twin.traffic.other_drivers import OtherDrivers
from twin.traffic.right_of_way import right_of_way
from twin.traffic.route_choice import RouteChoice
from twin.traffic.routing import Router
from twin.traffic.speeds import driven_speed
from twin.traffic.traversals import Traversals
from twin.trips import NEVER, Status, Trips

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SHORTEST_STAY_MS = 10 * 60_000
"""Nobody plugs in for less."""
HOME_EFFICIENCY = 0.89
"""Battery energy per metered energy at home (facts: physics.bev.eta_charge_ac_6kw), for the evening before only."""
MOST_WEIGHED = 16
"""Sets of learned travel times that stay weighed; with more days of learning the others are weighed when asked for."""

Ask = Callable[[NDArray[np.int64], Question], NDArray[Any]]


class World:
    """All mutable state of a run.

    Parameters
    ----------
    city : CityMap
    settings : TwinSettings
    seed : int
    start : datetime
        Local civil time at which the clock shows 0.
    until_s : int
        Length of the run.
    given : Given, optional
        Demand that the user brings (`runs.demand` reads its files); it takes the place of the model's.
    counts : Counts, optional
        Traffic counts that the traffic outside the fleet is fitted to.
    rise_m : float64 (links,), optional
        Height gained on each link; the ground is level without.
    """

    def __init__(
        self,
        city: CityMap,
        settings: TwinSettings,
        *,
        seed: int,
        start: datetime,
        until_s: int,
        given: Given | None = None,
        counts: Counts | None = None,
        rise_m: NDArray[np.float64] | None = None,
    ) -> None:
        self.city = city
        self.settings = settings
        self.seed = seed
        self.start = start
        self.until_ms = until_s * 1000
        self.tick_ms = settings.traffic.tick_s * 1000
        self.now_ms = 0
        self._day_start_ms = (start.hour * 3600 + start.minute * 60 + start.second) * 1000
        self._planned_days = 0
        network, market = city.network, settings.fleet.market

        self.catalogue = Catalogue.load(Path(settings.fleet.models) if settings.fleet.models else None, market=market)
        self.fleet = populate(city, self.catalogue, settings.fleet, outside_share=settings.demand.outside, seed=seed)
        self.given = given
        if given is not None and given.has_days:
            given.settle(city, self.fleet)
        self.sessions = Sessions()
        driven = replace(network, link_speed=driven_speed(network))
        priority = right_of_way(driven, settings.traffic, left_hand=bool(city.meta.get("left_hand")))
        self.streets = Streets(driven, settings.traffic, len(self.fleet), priority=priority)
        learning, informed = settings.traffic.days_of_learning, settings.traffic.informed
        # as many weighed hierarchies as drivers know sets of travel times at one moment
        kept = min(learning, MOST_WEIGHED) + 1 + (informed > 0)
        self._rise_m = np.zeros(network.n_links) if rise_m is None else rise_m
        self.drive = Drive(
            self.fleet, self.catalogue, network, settings.climate, market,
            start_s_of_day=self._day_start_ms // 1000, rise_m=self._rise_m,
        )  # fmt: skip
        self.charging = Charging(
            city, self.fleet, self.catalogue, settings.charging, settings.grid,
            market=market, seed=seed, start_s_of_day=self._day_start_ms // 1000, start_weekday=start.weekday(),
            sessions=self.sessions, climate=settings.climate,
        )  # fmt: skip
        self.autonomy = Autonomy(
            self.fleet, network, settings.autonomy, settings.climate,
            country=city.meta.get("country", ""), model_names=self.catalogue.names, seed=seed, horizon_ms=self.until_ms,
            start=start, timezone=str(city.meta.get("timezone", "")), rise_m=rise_m,
        )  # fmt: skip
        self.drive.steadied(self.autonomy.effects.steady, saving=self.autonomy.effects.saving)
        self.cloud = Cloud(
            city, self.fleet, settings.cloud, self.sessions.env,
            seed=seed, horizon_ms=self.until_ms, market=market, start_s_of_day=self._day_start_ms // 1000,
            brands=self.catalogue.brands,
        )  # fmt: skip
        self.updates = Updates(
            city, self.fleet, settings.ota, self.sessions.env,
            cells=self.cloud.cells, seed=seed, horizon_ms=self.until_ms, wifi=self.cloud.wifi,
            catalogue=self.catalogue, year=start.year, start_s_of_day=self._day_start_ms // 1000,
        )  # fmt: skip
        led = self.autonomy.may_propose(c.settings.propilot_release for c in self.updates.campaigns)  # or refuses one
        self.router = Router(network, self.streets.physics.free_ms, kept=kept * (1 + led))
        if settings.traffic.sample < 1 and counts is not None:
            raise DemandError(f"traffic.sample = {settings.traffic.sample:g} with counts; valid: traffic.sample = 1")
        self.demand, other_demand = travel(
            city, self.fleet, settings.demand,
            given=given, market=market, seed=seed, start=start, sample=settings.traffic.sample,
        )  # fmt: skip
        self.count_fit: CountFit | None = None
        if counts is not None:
            plan = self.demand.plan_day(0)
            hour = (plan.depart_ms + self._day_start_ms) // HOUR_MS % 24
            self.count_fit = CountFit(
                counts, other_demand, self.router, self.streets.physics.free_ms,
                fleet=(plan.from_node, plan.to_node, hour), into_day_h=self._day_start_ms / HOUR_MS,
            )  # fmt: skip
        learned = None
        if learning:
            day, n = DayTrips.of(self.demand, other_demand, self.until_ms, cars=len(self.fleet)), len(self.fleet)
            learned = learn(
                driven, settings.traffic, self.router, day, days=learning, seed=seed, cars=n, priority=priority
            )
        self.route_choice = RouteChoice(self.router, self.streets, settings.traffic, learned=learned)
        self.proposals = Proposals(self.autonomy, self.route_choice)
        self.informed = InformedDrivers(self.streets, self.router, settings.traffic, seed=seed)
        self.others = OtherDrivers(other_demand, self.route_choice, self.streets, self.informed, seed=seed)
        self.fleet.node[:] = self.demand.nodes_at_start()
        self.trips = Trips(self.fleet)
        if given is not None and len(given.refused.car):
            left = given.refused
            self.trips.refuse(left.car, left.purpose, np.nan_to_num(left.depart_ms), given.refused_why)
        self.links = LinkMeter(network)
        rooms = (self.charging, self.drive, self.trips, self.streets, self.route_choice)
        self.stops = Stops(self.fleet, network, *rooms, rise_m=self._rise_m, seed=seed)

        n = len(self.fleet)
        self._traversals = Traversals(max(1024, n))
        self._via_site, self._tried_site = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
        self._towed = np.zeros(n, bool)
        self._metered_j, self.charging_kw = 0, 0.0
        self._at_socket = np.empty(0, np.int64)
        self.battery_start_j = self.fleet.battery_j.copy()

        self.phases: list[tuple[str, Callable[[], None]]] = [
            ("wake", self._wake),
            ("decide", self._decide),
            ("apply", self._apply),
            ("move", self._move),
            ("spend", self._spend),
            ("assist", self._assist),
            ("park", self._park),
            ("queue", self._queue),
            ("talk", self._talk),
            ("measure", self._measure),
        ]
        self.phase_s = {name: 0.0 for name, _ in self.phases}
        self._ask: Ask = _nobody
        self.agent_names = [CARS[kind].__name__ for kind in Kind]

    # ------------------------------------------------------------------ the clock

    @property
    def done(self) -> bool:
        """Whether the run has reached its end."""
        return self.now_ms >= self.until_ms

    def tick(self, ask: Ask) -> None:
        """Advance by one tick. `ask(rows, question)` returns the minds' answers."""
        self._ask = ask
        # no tick reaches over an hour, so hourly figures are exact for any tick length
        hour_ends = (self.now_ms // HOUR_MS + 1) * HOUR_MS
        self._until = min(self.now_ms + self.tick_ms, hour_ends, self.until_ms)
        for name, phase in self.phases:
            began = perf_counter()
            phase()
            self.phase_s[name] += perf_counter() - began
        self.now_ms = self._until

    # ------------------------------------------------------------------ phases

    def _wake(self) -> None:
        """Plan new days, see new travel times, find the cars whose next trip is due."""
        while self._planned_days * DAY_MS - self._day_start_ms < self._until:
            self.trips.plan(self.demand.plan_day(self._planned_days))
            self._planned_days += 1
            tomorrow_ends = (self._planned_days + 1) * DAY_MS - self._day_start_ms
            self.trips.foresee(self.demand.plan_day(self._planned_days), until_ms=tomorrow_ends)
            # a car that is stuck has no more days
            self.trips.cancel(np.flatnonzero(self.fleet.state == State.STUCK))
        if self.now_ms == 0:
            self._stay_plugged()
        if self.route_choice.look(self.now_ms, self.tick_ms):
            self.others.forget_routes()
        if self.now_ms % (self.settings.traffic.inform_s * 1000) < self.tick_ms:
            self._look_on_the_way()
        cars = self.trips.due(self._until)
        cars = cars[~self.updates.installing[cars]]
        # a charging stop may have been at the goal itself
        done = cars[self.trips.under_way[cars] & (self.trips.goal[cars] == self.fleet.node[cars])]
        self.trips.close(done, Status.ARRIVED, at_ms=np.maximum(self.trips.due_ms[done], self.now_ms))
        cars = np.setdiff1d(cars, done)
        fresh = cars[~self.trips.under_way[cars]]
        self.trips.take(fresh)
        there = self.trips.goal[fresh] == self.fleet.node[fresh]
        self.trips.close(fresh[there], Status.ALREADY_THERE)
        self._woken = cars[self.trips.under_way[cars]]

    def _look_on_the_way(self) -> None:
        """Informed drivers take another way where that pays; who will hardly get there looks for a charging site."""
        turned = self.informed.look(self.now_ms)
        fleet = turned.vehicle < len(self.fleet)
        self.trips.free_ms[turned.vehicle[fleet]] += turned.longer_ms[fleet]
        self.stops.seek(self._asked, self._via_site, self._tried_site, self.now_ms)

    def _decide(self) -> None:
        """Find routes, and ask electric cars whether to stop at a charging site."""
        cars = self._woken
        self._goal = self.trips.goal[cars].copy()
        self._via = np.full(len(cars), -1, np.int32)
        self._stay, self._on_way = np.zeros((2, len(cars)), bool)
        self._ways = self.proposals.ways_of(self.fleet, self.trips, cars, self._goal, self.now_ms, self._until)
        electric = np.flatnonzero((self.fleet.kind[cars] == Kind.ELECTRIC) & self._ways.routes.found)
        if not len(electric):
            return
        rows = cars[electric]
        routes = self._ways.routes.only(np.isin(np.arange(len(cars)), electric))
        question = self.stops.question(
            rows, self._goal[electric], routes,
            avoid=self._tried_site[rows], led=self._ways.proposed[electric], now_ms=self.now_ms,
        )  # fmt: skip
        answer = self._asked(rows, question)
        via = answer >= 0
        self._via[electric[via]] = question.site[np.flatnonzero(via), answer[via]]
        self._on_way[electric[via]] = question.on_way[np.flatnonzero(via), answer[via]]
        self._stay[electric[answer == STAY]] = True

    def _asked(self, rows: NDArray[np.int64], question: TripQuestion) -> NDArray[Any]:
        answer = self._ask(rows, question)
        if len(answer) != len(rows) or np.any((answer < STAY) | (answer >= question.site.shape[1])):
            raise ValueError("a car's answer to a trip question is none of its options")
        return answer

    def _apply(self) -> None:
        """Send cars on their way; count those that cannot go."""
        cars = self._woken
        if not len(cars):
            self._started = cars
            return
        go_by = self._via >= 0
        if go_by.any():
            # the stop comes first: routes of these cars lead to the site
            sites = self.charging.sites.site_node[self._via[go_by]]
            self._goal[go_by] = sites
            by_site = self.proposals.ways_of(self.fleet, self.trips, cars[go_by], sites, self.now_ms, self._until)
            self._ways = self._ways.replaced(go_by, by_site)
        lost = ~self._ways.routes.found & (self._goal != self.fleet.node[cars])
        self._give_up(cars[lost], Reason.NO_ROUTE)
        self._give_up(cars[self._stay & ~lost], Reason.OUT_OF_RANGE)
        leaving = ~lost & ~self._stay
        self._leave_socket(cars[leaving])
        # a site at the very node where the car stands needs no drive
        at_site = leaving & go_by & (self._goal == self.fleet.node[cars])
        self._via_site[cars[leaving]] = self._via[leaving]
        self._begin(cars[leaving & ~at_site], leaving & ~at_site)
        if self.settings.charging.reserve_min:
            self.charging.reservations.ask(*(of[leaving & go_by & ~at_site] for of in (cars, self._via)))
        rows = cars[at_site]
        self.trips.due_ms[rows] = NEVER
        self._visit(rows, np.full(len(rows), self.now_ms, np.int64))

    def _begin(self, cars: NDArray[np.int64], chosen: NDArray[np.bool_]) -> None:
        trips, fleet = self.trips, self.fleet
        routes = self._ways.routes.only(chosen)
        self.proposals.driven(self._ways, chosen, stops=self._on_way)
        at = trips.set_out(cars, self.now_ms, self._until)
        trips.free_ms[cars] += routes.totals(self.streets.physics.free_ms).astype(np.int64)
        self.streets.depart(cars, at, routes.ptr, routes.links)
        self.informed.begin(cars, cars)
        fleet.state[cars] = State.WAITING
        self.autonomy.begin_trips(cars, trips.trip_id[cars], at_ms=at)
        self._started = cars

    def _move(self) -> None:
        """Other traffic joins, everything moves, the fleet's arrivals are noted."""
        self.others.depart(self.now_ms, self._until)
        self._arrivals = self.streets.advance(self._until, self._traversals)
        rows = np.flatnonzero(self.fleet.state == State.WAITING)
        entered = rows[self.streets.entered(rows)]
        self.fleet.state[entered] = State.DRIVING
        unset = entered[self.trips.enter_ms[entered] < 0]
        self.trips.enter_ms[unset] = self.streets.first_ms(unset)
        moving = np.flatnonzero(self.fleet.state == State.DRIVING)
        link = self.streets.current_link(moving)
        self.fleet.link[moving] = link
        self.fleet.node[moving] = self.city.network.link_from[link]

    def _spend(self) -> None:
        """Energy of the links that were left."""
        self._empty = self.drive.spend(self._traversals)

    def _assist(self) -> None:
        """Driver assistance on those links, and how engaged cars will follow from now on."""
        self.autonomy.advance(self.now_ms)
        self.autonomy.drive(self._traversals)
        cars, gap, pace = self.autonomy.changed()
        self.streets.follow(cars, gap=gap, pace=pace)

    def _park(self) -> None:
        """Those who have arrived, and those who ran empty."""
        arrived = self._arrivals.vehicle < len(self.fleet)
        cars = self._arrivals.vehicle[arrived].astype(np.int64)
        at = self._arrivals.at_ms[arrived]
        self.others.arrived += int((~arrived).sum())
        for car in self._empty:
            self._towed[car] = True
            if car not in cars:
                self.streets.cut_short(int(car), self._until)
        self._arrive(cars, at)

    def _queue(self) -> None:
        """Power flows, queues move on; cars done at a public site are free to go."""
        self.charging.flow(self.now_ms, self._until)
        self.sessions.env.run(until=self._until)
        free = self.charging.released()
        self._tried_site[free.cars] = self._via_site[free.cars]
        self._via_site[free.cars] = -1
        self.trips.due_ms[free.cars] = free.at_ms

    def _talk(self) -> None:
        """Telemetry up, updates down."""
        fleet = self.fleet
        self.cloud.talk(
            self.now_ms, self._until, self._traversals, self._started, self._ended,
            np.flatnonzero(fleet.state == State.PLUGGED),
        )  # fmt: skip
        self.updates.advance(self.now_ms, self._until, self.cloud.down_used_b)
        for campaign, cars in self.updates.finished():
            self._change(campaign, cars)

    def _change(self, campaign: CampaignSettings, cars: NDArray[np.int64]) -> None:
        """What a finished installation changes in the cars."""
        if campaign.telemetry_period_s is not None:
            self.cloud.set_period(cars, campaign.telemetry_period_s)
        if campaign.charging_timer:
            self.charging.timer_user[cars] = True
        if campaign.propilot_release:
            able = cars[self.autonomy.able(campaign.propilot_release)[cars]]
            self.autonomy.upgrade(able, campaign.propilot_release, at_ms=self._until)
        if campaign.kind == "navigation":
            self.autonomy.refresh_maps(cars, at_ms=self._until)

    def _measure(self) -> None:
        """Power at the meters in this tick; hourly link figures."""
        metered = int(self.fleet.meter_j.sum())
        self.charging_kw = (metered - self._metered_j) / (self._until - self.now_ms)
        self._metered_j = metered
        if self._until % HOUR_MS == 0 or self._until == self.until_ms:
            self.links.hour((self._until - 1) // HOUR_MS, self.streets.link_sums, self.streets.link_vehicles)

    # ------------------------------------------------------------------ trips and stops

    def _give_up(self, cars: NDArray[np.int64], reason: Reason) -> None:
        """End trips that cannot begin; a car that is already on its way is stuck for good."""
        if not len(cars):
            return
        begun = self.trips.depart_ms[cars] >= 0
        self._leave_socket(cars[begun])
        self.trips.close(cars[~begun], Status.REFUSED, reason=reason)
        why = Reason.NO_CHARGER if reason == Reason.OUT_OF_RANGE else reason
        self._strand(cars[begun], why)

    def _strand(self, cars: NDArray[np.int64], reason: Reason) -> None:
        if not len(cars):
            return
        self.fleet.state[cars] = State.STUCK
        self.fleet.reason[cars] = reason
        self.fleet.link[cars] = -1
        self.trips.close(cars, Status.STUCK, reason=reason)
        self.trips.cancel(cars)

    def _leave_socket(self, cars: NDArray[np.int64]) -> None:
        held = cars[np.isin(self.fleet.state[cars], (State.PLUGGED, State.QUEUED))]
        if len(held):
            self.charging.depart(held, np.maximum(self.trips.due_ms[held], self.now_ms).clip(max=self._until - 1))

    def _arrive(self, cars: NDArray[np.int64], at_ms: NDArray[np.int64]) -> None:
        """Cars whose route ended: at a charging stop, at their goal, or on the hook."""
        fleet, trips = self.fleet, self.trips
        last = self._goal_of(cars)
        fleet.node[cars] = last
        fleet.link[cars] = -1
        unset = cars[trips.enter_ms[cars] < 0]
        trips.enter_ms[unset] = self.streets.first_ms(unset)
        self.autonomy.end_trips(cars)
        hook = self._towed[cars]
        self._strand(cars[hook], Reason.BATTERY_EMPTY)
        stop = ~hook & (self._via_site[cars] >= 0)
        self._visit(cars[stop], at_ms[stop])
        home = ~hook & ~stop
        rows, at = cars[home], at_ms[home]
        fleet.state[rows] = State.PARKED
        self._tried_site[rows] = -1
        trips.close(rows, Status.ARRIVED, at_ms=at)
        self._ended = rows
        self._plug_in(rows, at)

    def _goal_of(self, cars: NDArray[np.int64]) -> NDArray[np.int32]:
        """Where the streets let these cars off: the end of the last link they drove."""
        t = self._traversals
        last = np.full(len(self.fleet), -1, np.int32)
        last[t.car[: t.n]] = self.city.network.link_to[t.link[: t.n]]
        return last[cars]

    def _visit(self, cars: NDArray[np.int64], at_ms: NDArray[np.int64]) -> None:
        """Arrive at a charging site on the way; charge for the rest of the trip and some more."""
        if not len(cars):
            return
        fleet = self.fleet
        self.trips.stops[cars] += 1
        fleet.state[cars] = State.PARKED
        target = np.maximum(fleet.battery_j[cars], fleet.capacity_j[cars] * 4 // 5)
        sites = self._via_site[cars]
        self.charging.arrive(cars, sites, at_ms, np.full(len(cars), -1, np.int64), target)

    def _plug_in(self, cars: NDArray[np.int64], at_ms: NDArray[np.int64]) -> None:
        """Ask cars that parked where they have a socket whether they plug in."""
        fleet = self.fleet
        at_home = (fleet.node[cars] == fleet.home_node[cars]) & (fleet.home_site[cars] >= 0)
        at_work = ~at_home & (fleet.node[cars] == fleet.work_node[cars]) & (fleet.work_site[cars] >= 0)
        leave = self.trips.next_due_ms(cars)
        some = (fleet.kind[cars] == Kind.ELECTRIC) & (at_home | at_work) & (leave - at_ms >= SHORTEST_STAY_MS)
        rows, at, home, leave = cars[some], at_ms[some], at_home[some], leave[some]
        if not len(rows):
            return
        answer = self._ask(rows, plug_in_question(self.fleet, rows, leave - at, home, at, seed=self.seed))
        yes = answer.astype(bool)
        sites = np.where(home, fleet.home_site[rows], fleet.work_site[rows])
        self.charging.arrive(rows[yes], sites[yes], at[yes], leave[yes], fleet.capacity_j[rows[yes]])

    def live_week(self, ask: Ask) -> None:
        """Let the week before leave its mark on the batteries. Call once, before the first tick."""
        charging, settings = self.charging, self.settings.charging
        timer_ms = round(settings.timer_start_h * HOUR_MS)
        timed = charging.timer_user & (settings.policy == "timer")

        def plug_in(rows: NDArray[np.int64], evening: NDArray[np.int64]) -> NDArray[np.bool_]:
            stay, home = np.full(len(rows), DAY_MS // 2, np.int64), np.ones(len(rows), bool)
            return np.asarray(ask(rows, plug_in_question(self.fleet, rows, stay, home, evening, seed=self.seed)), bool)

        self._at_socket = live_week(
            self.fleet, self.demand, self.drive,
            plug_in=plug_in,
            charge_from_ms=lambda rows, at: np.where(timed[rows], np.maximum(at, timer_ms), at),
            home_w=settings.home_kw * 1000 * HOME_EFFICIENCY,
            start_ms_of_day=self._day_start_ms,
        )  # fmt: skip
        self.battery_start_j = self.fleet.battery_j.copy()
        self.drive.open_books()

    def _stay_plugged(self) -> None:
        """Cars that the evening before left on their home sockets, not yet full, go on charging."""
        cars = self._at_socket
        leave = self.trips.next_due_ms(cars)
        stay = leave >= self._until  # who leaves in the first tick is gone before the queue clock lets anybody plug in
        cars, leave = cars[stay], leave[stay]
        self.charging.arrive(cars, self.fleet.home_site[cars], 0, leave, self.fleet.capacity_j[cars])

    def revive(self) -> None:
        """Start everything that waits anew from the tables, in a new SimPy environment: after a restore, between ticks.

        Held places are asked for first, then queue places in order, then each process takes its first step.
        """
        env = simpy.Environment(initial_time=self.now_ms)
        self.charging.revive(env)
        self.cloud.revive(env)
        self.updates.revive(env)
        while env.peek() == self.now_ms and isinstance(env._queue[0][3], simpy.events.Initialize):
            env.step()

    # ------------------------------------------------------------------ what others see

    def status(self) -> dict[str, int]:
        """Counts for progress lines."""
        counts = np.bincount(self.fleet.state, minlength=len(State))
        return {
            "driving": int(counts[State.DRIVING]),
            "waiting": int(counts[State.WAITING]),
            "charging": int(counts[State.PLUGGED]),
            "queued": int(counts[State.QUEUED]),
            "stuck": int(counts[State.STUCK]),
            "on_road": self.streets.on_road,
            "trips": len(self.trips.table),
        }

    @property
    def traversals(self) -> Traversals:
        """Links that fleet cars left in the last tick; overwritten by the next."""
        return self._traversals

    def positions(self) -> Positions:
        """Every vehicle on the road now, for drawing."""
        return self.streets.positions(self.now_ms)

    def sites(self) -> dict[str, Any]:
        """Charging sites as arrays of one length: id, kind, name, metres, feeder, sockets, kW of the strongest."""
        sites = self.charging.sites
        strongest = np.zeros(len(sites))
        np.maximum.at(strongest, sites.socket_site, sites.socket_kw)
        return {
            "site_id": np.arange(len(sites)),
            "kind": [SITE_KINDS[kind] for kind in sites.site_kind],
            "name": sites.name,
            "x": sites.x,
            "y": sites.y,
            "feeder_id": sites.site_feeder,
            "sockets": np.bincount(sites.socket_site, sites.socket_count, len(sites)).astype(np.int64),
            "kw": strongest,
        }

    def finish(self) -> None:
        """Close open rows when the run ends or is stopped. Call once."""
        self.trips.finish()
        self.charging.finish(self.now_ms)
        self.autonomy.finish()
        self.cloud.finish(self.now_ms)
        self.updates.finish(self.now_ms)

    def tables(self) -> list[Table]:
        """The tables of the results folder."""
        return [
            cars_table(self),
            self.trips.table,
            *self.charging.tables(),
            self.autonomy.table,
            *self.cloud.tables(),
            self.updates.table,
            self.links.table,
            *([] if self.given is None else [self.given.unplaced]),
            *([] if self.count_fit is None else [self.count_fit.table(self.links.table)]),
        ]

    def summary(self) -> dict[str, Any]:
        """Key figures, as in `summary.json`."""
        return summary(self)

    def ledger(self) -> dict[str, int]:
        """What must add up: residuals in integers, all 0."""
        return residuals(self)


def _nobody(rows: NDArray[np.int64], question: Question) -> NDArray[Any]:
    raise RuntimeError("the world was asked to decide outside a tick")
