"""Charging: cars arrive at sites, queue for sockets, take power, leave. SimPy runs the queues, a kernel the power.

One tick of the world calls, in this order: `depart` and `arrive` for what its cars do in the tick, `flow`, then
`sessions.env.run(until=t1)`, then `released`. Current that begins inside the tick (a handshake ends, a socket gets
free) is counted from its exact millisecond: the process that finds it calls the same kernel for the rest of the tick.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

from maps.network import CityMap
from twin import facts
from twin.charging import kernels
from twin.charging.access import build_sites
from twin.charging.breakdowns import Breakdowns
from twin.charging.choice import Choice
from twin.charging.decisions import Decisions
from twin.charging.full_power import FullPower
from twin.charging.models import Models, accepted_share, read_models
from twin.charging.operation import Operation
from twin.charging.policies import Policy
from twin.charging.queues import Queues
from twin.charging.record import Record
from twin.charging.reservations import Reservations
from twin.charging.site import DC_SOCKETS, SITE_KINDS, ChargingError, SiteKind
from twin.charging.visitors import Visitors
from twin.charging.visits import Outcome, Phase, Visits
from twin.energy.climate import hour_of_day, hourly_c
from twin.events import Table
from twin.fleet.fleet import Fleet, State
from twin.grid.base_load import read_base_load
from twin.grid.feeders import build_feeders
from twin.grid.load import GridLoad
from twin.sessions import Sessions, Step, Work
from twin.settings import ChargingSettings, ClimateSettings, GridSettings

_DAY_MS = 86_400_000
WARM_C = 25.0
"""Temperature at which charge curves are published."""


class Released(NamedTuple):
    """Visits that ended by themselves: cars that are free to drive on, when, and Outcome of the visit."""

    cars: NDArray[np.int32]
    at_ms: NDArray[np.int64]
    outcome: NDArray[np.uint8]


class Charging:
    """All charging of a city.

    Parameters
    ----------
    city : CityMap
    fleet : Fleet
        `home_site` and `work_site` are set here; `state`, `battery_j`, `charged_j` and `meter_j` change later.
    catalogue : Models
        `ac_kw`, `dc_socket` (index into SOCKET_KINDS, -1 none) and `curve_kw`, shape (n_models, 101).
    charging, grid : ChargingSettings, GridSettings
    market : {"japan", "europe", "us"}
    seed : int
    start_s_of_day : int
        Local time of the scenario's start, seconds since midnight.
    start_weekday : int
        Its day, Monday 0.
    sessions : Sessions
    policy : Policy, optional
        A policy of one's own instead of the one that the settings name.
    climate : ClimateSettings, optional
        How warm batteries are; a warm 25 °C when left out.

    Raises
    ------
    ChargingError
        When a site or a model of the catalogue cannot be (no socket, no power, a curve that touches zero).
    """

    def __init__(
        self,
        city: CityMap,
        fleet: Fleet,
        catalogue: Models,
        charging: ChargingSettings,
        grid: GridSettings,
        *,
        market: str,
        seed: int,
        start_s_of_day: int,
        start_weekday: int = 0,
        sessions: Sessions,
        policy: Policy | None = None,
        climate: ClimateSettings | None = None,
    ) -> None:
        self.fleet, self.settings, self.sessions = fleet, charging, sessions
        known = facts.load("vehicles")["physics"]["charge_efficiency"]
        self.efficiency = (known["overhead_kw"] * 1000.0, float(known["conv"]), float(known["dc_eta"]))
        self.feeders, self.base_load = build_feeders(city, grid, market), read_base_load(grid, market)
        self.sites = build_sites(city, fleet, self.feeders, charging, market=market, seed=seed, dc_eta=known["dc_eta"])
        kinds = [SITE_KINDS[k] for k in self.sites.site_kind]
        self.load = GridLoad(kinds, self.sites.site_feeder, interval_ms=grid.interval_min * 60_000)
        self.start_ms_of_day = start_s_of_day * 1000
        self.fits, self.ac_w, self.warm_curve_w, active = read_models(catalogue, market)
        self._accepted = accepted_share(hourly_c(climate or ClimateSettings(ambient_c=WARM_C)), active)
        self.curve_w = self.warm_curve_w.copy()
        self._feel_weather(0)
        self.visits = Visits()
        self.decisions = Decisions(
            fleet, self.sites, sessions, self.visits, catalogue, charging, policy,
            market=market, seed=seed, start_ms_of_day=self.start_ms_of_day, efficiency=self.efficiency,
        )  # fmt: skip
        self.timer_user, self.give_eta = self.decisions.timer_user, self.decisions.give_eta
        full_power = FullPower(
            fleet, sessions, self.visits, self.warm_curve_w, self._accepted, start_ms_of_day=self.start_ms_of_day,
            handshake_ms=round(charging.handshake_s * 1000), efficiency=self.efficiency,
        )  # fmt: skip
        self.record = Record(fleet, self.sites, sessions, self.visits, full_power)
        self.table = self.record.table
        self.car_session = np.full(len(fleet), -1, np.int64)
        self.rated_w = np.zeros(len(fleet))
        self.until_ms = 0
        self.left_w = np.zeros(len(self.sites))
        self._gone_w = np.zeros(len(self.sites))
        lines = len(self.load.feeder_peak_j)
        self.feeder_cap_w = np.full(lines, np.inf)
        if charging.feeder_cap_kw is not None:  # lines of their own on medium voltage have no such limit
            self.feeder_cap_w[: len(self.feeders.x)] = charging.feeder_cap_kw * 1000.0
        self.feeder_left_w = np.zeros(lines)
        self.asked = 0
        self._ended_rows: list[int] = []
        self._released: list[tuple[int, int, int]] = []
        self._charged_before_j = int(fleet.charged_j.sum())
        self._meter_before_j = int(fleet.meter_j.sum())
        self._finished = False
        self.queues = Queues(self.sites, charging, sessions)
        self.operation = Operation(self.sites, self.queues, self.decisions.prices, start_ms_of_day=self.start_ms_of_day)
        self.choice = Choice(
            city.network, fleet, self.sites, self.queues, self.fits, self.ac_w, self.curve_w,
            start_ms_of_week=start_weekday * _DAY_MS + self.start_ms_of_day,
        )  # fmt: skip
        self.reservations = Reservations(
            self.queues, self.choice, sessions, cars=len(fleet), hold_min=charging.reserve_min
        )
        self._steps: dict[int, Step] = {
            Phase.COMING: self._ask,
            Phase.QUEUED: self._turn,
            Phase.STARTING: self._begin,
            Phase.ENDING: self._end,
            Phase.LEAVING: self._leave,
        }
        sessions.room(Work.CHARGE, self._step, self.visits)
        self.visitors = Visitors(
            self.sites, self.queues, sessions, charging, market=market, seed=seed,
            start_ms_of_day=self.start_ms_of_day, start_ms_of_week=self.choice.start_ms_of_week,
        )  # fmt: skip
        self.breakdowns = Breakdowns(self.sites, self.queues, sessions, charging, seed=seed, cut=self._cut)

    # ---------------------------------------------------------------- what the world asks

    def candidates(
        self, nodes: ArrayLike, cars: ArrayLike, k: int = 4
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Public and fast sites near each car's node that fit its connectors; see `Choice.candidates`."""
        return self.choice.candidates(nodes, cars, k)

    def arrive(
        self, cars: ArrayLike, sites: ArrayLike, at_ms: ArrayLike, leave_ms: ArrayLike, target_j: ArrayLike
    ) -> None:
        """Cars reach a site and ask for a socket at `at_ms`.

        Parameters
        ----------
        cars, sites : array_like of int, shape (n,)
        at_ms : array_like of int
            Not before the queue clock. Cars that come in the same millisecond ask in the order given.
        leave_ms : array_like of int
            Planned departure; -1: drives on as soon as it is done, then it shows up in `released`. A car with a plan
            stays until `depart`: on its socket at home, at work and at slow public ones, beside it at fast ones.
        target_j : array_like of int
            Energy the battery shall hold in the end, J; at or above the capacity: full.

        Raises
        ------
        ChargingError
            When a car is at a site already, has no battery, or no socket there fits it.
        """
        given = np.broadcast_arrays(np.atleast_1d(cars), sites, at_ms, leave_ms, target_j)
        s, rows = self.sessions, list[int]()
        for car, site, at in zip(*(a.tolist() for a in given[:3]), strict=True):
            try:
                self._may_come(car, site, at)
            except ChargingError:
                self._enter(rows, *given)
                raise
            row = s.open(Work.CHARGE, car=car, site=site, phase=Phase.COMING, due=at, asked=at)
            self.car_session[car] = row
            rows.append(row)
        self._enter(rows, *given)

    def _may_come(self, car: int, site: int, at: int) -> None:
        fleet = self.fleet
        if self.car_session[car] >= 0:
            raise ChargingError(f"car {car} is at site {self.sessions.site[self.car_session[car]]} already")
        if fleet.capacity_j[car] <= 0 or not 0 <= site < len(self.sites):
            raise ChargingError(f"car {car} cannot charge at site {site}: no battery or no such site")
        if not self.choice.sockets(car, site):
            raise ChargingError(f"car {car}: no socket of site {site} ({self.sites.name[site]}) fits it")
        if at < self.sessions.now_ms:
            raise ChargingError(f"car {car} arrives at {at} ms, but the queue clock is at {self.sessions.now_ms} ms")

    def _enter(
        self,
        rows: list[int],
        cars: ArrayLike,
        _sites: ArrayLike,
        _at: ArrayLike,
        leave_ms: ArrayLike,
        target_j: ArrayLike,
    ) -> None:
        """Fill the visits of the first `len(rows)` cars."""
        n, at = len(rows), np.array(rows, np.int64)
        fleet, v = self.fleet, self.visits
        car = np.asarray(cars)[:n]
        v.clear(at)
        v.session_id[at] = self.asked + np.arange(n)
        v.leave_ms[at] = np.asarray(leave_ms)[:n]
        v.target_j[at] = np.minimum(np.asarray(target_j)[:n], fleet.capacity_j[car])
        v.soc_in_j[at] = fleet.battery_j[car]
        fleet.state[car] = State.QUEUED
        self.asked += n

    def depart(self, cars: ArrayLike, at_ms: ArrayLike) -> None:
        """The world takes these cars away at `at_ms`, wherever they stand; cars that are at no site are skipped.

        Call it before `flow` of the tick that `at_ms` lies in. Energy is counted up to `at_ms`; the socket gets free
        at `at_ms` on the queue clock. The car is PARKED on return.

        Raises
        ------
        ChargingError
            When energy has been counted beyond `at_ms`, or the car has not arrived yet.
        """
        given = np.broadcast_arrays(np.atleast_1d(cars), at_ms)
        for car, at in zip(*(a.tolist() for a in given), strict=True):
            row = int(self.car_session[car])
            if row >= 0:
                self._take(row, car, at)

    def flow(self, t0_ms: int, t1_ms: int) -> None:
        """Power and energy of the tick [t0, t1) for everybody who charges at t0; ends are armed to their millisecond.

        Each site's cap is shared equally (see `kernels.share`) anew in every tick; who begins inside a tick takes what
        is left until the next one.
        """
        self.load.cover(t0_ms, t1_ms)
        self.until_ms = t1_ms
        self.visitors.plan(t1_ms)
        self._feel_weather(t0_ms)
        self.decisions.again(t0_ms)
        rows = np.flatnonzero((self.sessions.phase == Phase.CHARGING) & (self.sessions.kind == Work.CHARGE))
        status = np.zeros(len(rows), np.int64)
        v, feeder = self.visits, self.sites.site_feeder
        cap_w = np.maximum(
            self.sites.cap_kw * self.operation.cap_part * 1000.0 - self._gone_w - self.visitors.drawn_w(t0_ms), 0.0
        )
        feeder_cap_w = self.feeder_cap_w
        if self._gone_w.any():
            gone = np.bincount(feeder, self._gone_w, len(feeder_cap_w))
            feeder_cap_w = np.maximum(feeder_cap_w - gone, 0.0)
        rule, rank = self._order(rows, t0_ms)
        kernels.flow(
            rows, t0_ms, t1_ms, cap_w, self.left_w, feeder, feeder_cap_w, self.feeder_left_w, rule, rank,
            v.want_w, v.socket_w, v.fraction, status, *self._arrays(),
        )  # fmt: skip
        self._gone_w[:] = 0.0
        for i in np.flatnonzero(status).tolist():
            self._settle(int(rows[i]), int(status[i]))

    def _order(self, rows: NDArray[np.int64], t0_ms: int) -> tuple[int, NDArray[np.float64]]:
        """The kernel's rule for sharing, and who comes first: least rank."""
        if self.settings.sharing == "equal":
            return kernels.EQUAL, np.empty(0)
        if self.settings.sharing == "first":
            return kernels.IN_ORDER, self.visits.plugged_ms[rows].astype(float)
        question = self.decisions.question(rows, t0_ms)
        return kernels.IN_ORDER, question.left_h - question.full_power_h

    def released(self) -> Released:
        """Visits that ended by themselves since the last call, in order of time; also writes the ended sessions."""
        self.record.write(self._ended_rows)
        for row in self._ended_rows:
            self.sessions.recycle(row)
        self._ended_rows = []
        self.reservations.recycle()
        self.visitors.recycle()
        out = np.array(self._released, np.int64).reshape(-1, 3)
        self._released = []
        return Released(out[:, 0].astype(np.int32), out[:, 1], out[:, 2].astype(np.uint8))

    def _feel_weather(self, t_ms: int) -> None:
        """Cold and hot batteries accept less: the curves of this hour of the day."""
        share = self._accepted[hour_of_day(t_ms, self.start_ms_of_day // 1000)]
        np.multiply(self.warm_curve_w, share[:, None], out=self.curve_w)

    # ---------------------------------------------------------------- steps of a session

    def _step(self, row: int) -> None:
        self._steps[int(self.sessions.phase[row])](row)

    def _ask(self, row: int) -> None:
        """The car is there: take a free socket, join the shortest wait, or drive on."""
        s, v = self.sessions, self.visits
        car, site, now = int(s.car[row]), int(s.site[row]), s.now_ms
        public = self.sites.site_kind[site] >= SiteKind.PUBLIC
        closed = public and not self.choice.open_now()[site]
        held = -1 if closed else self.reservations.take(car, site, row)
        socket, wait_ms = (held, 0.0) if held >= 0 else self.choice.best_socket(car, site)
        shut = Outcome.BROKEN if wait_ms == np.inf else Outcome.NONE
        if closed:
            shut = Outcome.CLOSED
        if public and shut:
            self._done_with(row, shut)
            self._finish_row(row)
            return
        if public and wait_ms > self.settings.balk_min * 60_000:
            self._done_with(row, Outcome.BALKED)
            self._finish_row(row)
            return
        kw = float(self.sites.socket_kw[socket])
        dc = int(self.sites.socket_kind[socket]) in DC_SOCKETS
        model = int(self.fleet.model[car])
        v.socket[row], v.dc[row] = socket, dc
        v.socket_w[row] = kw * 1000.0 if dc else min(kw * 1000.0, self.ac_w[model])
        if held >= 0 or self.queues.request(row, socket):
            self._plug(row)
            return
        self.queues.join(row, site)
        s.arm(row, Phase.QUEUED, now + round(self.settings.patience_min * 60_000) if public else -1)

    def _turn(self, row: int) -> None:
        """A socket is free for the car, or its patience is over; in the same millisecond, what was armed first."""
        site = int(self.sessions.site[row])
        self.visits.wait_ms[row] = self.sessions.now_ms - int(self.sessions.asked[row])
        granted = self.queues.granted(row)
        self.queues.leave(row, site, int(self.visits.wait_ms[row]))
        if granted:
            self._plug(row)
        else:
            self._done_with(row, Outcome.RENEGED)
            self._finish_row(row)

    def _plug(self, row: int) -> None:
        s, v, fleet = self.sessions, self.visits, self.fleet
        car, now = int(s.car[row]), s.now_ms
        v.plugged_ms[row] = now
        if self.sites.site_kind[s.site[row]] >= SiteKind.PUBLIC:
            v.price[row] = self.operation.price(now, int(s.site[row]))
        fleet.state[car] = State.PLUGGED
        watts = float(v.socket_w[row])
        if v.dc[row]:
            watts = min(watts, float(self.curve_w[fleet.model[car]].max())) / self.efficiency[2]
        self.rated_w[car] = max(self.rated_w[car], watts)
        start = max(self.decisions.plug(row), now + round(self.settings.handshake_s * 1000))
        s.arm(row, Phase.STARTING, start)

    def _begin(self, row: int) -> None:
        """First current, here and now, inside the tick."""
        s, v = self.sessions, self.visits
        now = s.now_ms
        v.from_ms[row] = now
        if self.sites.site_kind[s.site[row]] == SiteKind.FAST:
            v.stop_ms[row] = now + round(self.settings.fast_limit_min * 60_000)
        s.arm(row, Phase.CHARGING, -1)
        if self.until_ms > now:
            feeder = self.sites.site_feeder
            args = (
                self.until_ms, self.left_w, feeder, self.feeder_left_w, v.want_w, v.socket_w, v.fraction,
                *self._arrays(),
            )  # fmt: skip
            self._settle(row, kernels.begin(row, *args))

    def _settle(self, row: int, status: int) -> None:
        """Act on what the kernel says about a charging session."""
        if status == kernels.TROUBLE:
            raise ChargingError(f"car {self.sessions.car[row]}: charging power is not finite")
        if status != kernels.GOES_ON:
            self._judge(row, status)
            self.sessions.arm(row, Phase.ENDING, int(self.visits.from_ms[row]))

    def _judge(self, row: int, status: int) -> None:
        full = self.visits.target_j[row] >= self.fleet.capacity_j[self.sessions.car[row]]
        reached = Outcome.FULL if full else Outcome.DONE
        self.visits.outcome[row] = reached if status == kernels.REACHED else Outcome.LIMIT
        self.visits.done_ms[row] = self.visits.from_ms[row]

    def _end(self, row: int) -> None:
        """The last joule is in: leave, or stay on the socket until the world takes the car."""
        site = int(self.sessions.site[row])
        self.left_w[site] += self.visits.grant_w[row]
        self.feeder_left_w[self.sites.site_feeder[site]] += self.visits.grant_w[row]
        self.visits.grant_w[row] = 0.0
        broken = self.visits.outcome[row] == Outcome.BROKEN
        if self.visits.leave_ms[row] < 0 or broken or self.sites.site_kind[site] == SiteKind.FAST:
            self._done_with(row, Outcome(self.visits.outcome[row]))
            self._leave(row)
        else:
            self.sessions.arm(row, Phase.IDLE, -1)

    def _leave(self, row: int) -> None:
        """The car is gone (now on the queue clock): its socket or queue place is free."""
        s, v = self.sessions, self.visits
        if v.plugged_ms[row] >= 0:
            v.unplugged_ms[row] = s.now_ms
            self.queues.free(row, int(v.socket[row]), s.now_ms - int(v.plugged_ms[row]))
        elif v.outcome[row] == Outcome.LEFT_QUEUE:
            self.queues.leave(row, int(s.site[row]), int(v.wait_ms[row]))
        self._finish_row(row)

    def _cut(self, socket: int) -> None:
        """A socket of a group has broken: who plugged in last there goes, when current that is counted has flowed."""
        s, v = self.sessions, self.visits
        on = (v.socket == socket) & (s.kind == Work.CHARGE)
        on &= np.isin(s.phase, (Phase.STARTING, Phase.CHARGING, Phase.ENDING, Phase.IDLE))
        rows = np.flatnonzero(on)
        staying = rows[v.outcome[rows] != Outcome.BROKEN]
        too_many = len(staying) + self.visitors.on(socket) > max(self.queues.working(socket), 0)
        if not too_many or self.visitors.cut(socket) or not len(staying):
            return
        row = int(staying[np.argmax(v.session_id[staying])])
        if s.phase[row] == Phase.ENDING:  # it leaves by itself
            return
        at = max(int(v.from_ms[row]), s.now_ms) if s.phase[row] == Phase.CHARGING else s.now_ms
        v.outcome[row] = Outcome.BROKEN
        if v.done_ms[row] < 0:
            v.done_ms[row] = at
        s.arm(row, Phase.ENDING, at)

    def _take(self, row: int, car: int, at: int) -> None:
        """The world takes a car away (see `depart`)."""
        s, v = self.sessions, self.visits
        phase, site = int(s.phase[row]), int(s.site[row])
        if phase == Phase.COMING or at < s.now_ms or (phase in (Phase.CHARGING, Phase.ENDING) and at < v.from_ms[row]):
            raise ChargingError(f"car {car} cannot leave site {site} at {at} ms: not there yet, or the moment is past")
        if phase == Phase.QUEUED:
            v.outcome[row] = Outcome.LEFT_QUEUE
            v.wait_ms[row] = at - int(s.asked[row])
            self.queues.give_up(row)
        elif phase == Phase.STARTING:
            v.outcome[row] = Outcome.LEFT
        elif phase == Phase.CHARGING:
            if at > s.now_ms:
                self._gone_w[site] += max(float(v.grant_w[row]), 0.0)
            self.load.cover(s.now_ms, at)
            status = kernels.charge(row, at, *self._arrays())
            if status == kernels.GOES_ON:
                v.outcome[row] = Outcome.LEFT
            else:
                self._judge(row, status)
            v.grant_w[row] = 0.0
        self._free_car(row)
        s.arm(row, Phase.LEAVING, at)

    def _done_with(self, row: int, outcome: Outcome) -> None:
        """The visit ends by itself: the car is free, and told so when it wanted to drive on."""
        self.visits.outcome[row] = outcome
        self._free_car(row)
        if self.visits.leave_ms[row] < 0:
            self._released.append((int(self.sessions.car[row]), self.sessions.now_ms, outcome))

    def _free_car(self, row: int) -> None:
        car = self.sessions.car[row]
        self.visits.soc_out_j[row] = self.fleet.battery_j[car]
        self.car_session[car] = -1
        self.fleet.state[car] = State.PARKED

    def _finish_row(self, row: int) -> None:
        self.sessions.close(row)
        self._ended_rows.append(row)

    def _arrays(self) -> tuple[Any, ...]:
        """Arrays and scalars that every charging kernel takes last, in their order."""
        s, v, f, load = self.sessions, self.visits, self.fleet, self.load
        return (
            s.car, s.site, v.dc, v.grant_w, v.target_j, v.floor_j, v.stop_ms, v.from_ms, v.energy_j, v.meter_j,
            v.loss_j, v.given_j, v.part_j, v.meter_part_j, f.model, f.capacity_j, f.battery_j, f.charged_j, f.meter_j,
            self.curve_w, load.open_j, load.first, load.interval_ms, *self.efficiency, self.give_eta,
        )  # fmt: skip

    # ---------------------------------------------------------------- tables, sums, restore

    def finish(self, end_ms: int) -> None:
        """Write the sessions that are still live and the open intervals; call once, when the queue clock is at the end.

        Live sessions get the outcome "open", but who was taken away in the last moment keeps its own.
        """
        if self._finished:
            return
        self.released()
        self._finished = True
        s, v = self.sessions, self.visits
        rows = s.live(Work.CHARGE)
        rows = rows[np.argsort(v.session_id[rows])]
        waiting = rows[s.phase[rows] == Phase.QUEUED]
        v.wait_ms[waiting] = end_ms - s.asked[waiting]
        stay = rows[s.phase[rows] != Phase.LEAVING]
        v.outcome[stay] = Outcome.OPEN
        v.soc_out_j[stay] = self.fleet.battery_j[s.car[stay]]
        gone = rows[(s.phase[rows] == Phase.LEAVING) & (v.plugged_ms[rows] >= 0)]
        v.unplugged_ms[gone] = s.due[gone]
        queued = self._in_queue()
        self.queues.close(end_ms, s.site[queued], s.asked[queued])
        self.visitors.finish(end_ms)
        self.record.write(rows.tolist())
        self.load.finish()

    def ledger(self) -> dict[str, int]:
        """What must add up, as residuals that are all 0 (J, ms or rows); complete after `finish`, valid at any time."""
        fleet, v = self.fleet, self.visits
        rows = np.empty(0, np.int64) if self._finished else np.append(self.sessions.live(Work.CHARGE), self._ended_rows)
        rows = rows.astype(np.int64)
        sums = self.record.sums
        energy, meter, loss = (sums[n] + int(getattr(v, n)[rows].sum()) for n in ("energy_j", "meter_j", "loss_j"))
        queued = np.empty(0, np.int64) if self._finished else self._in_queue()
        at_site = np.isin(fleet.state, (State.QUEUED, State.PLUGGED))
        return {
            "cars_minus_sessions_j": int(fleet.charged_j.sum()) - self._charged_before_j - energy,
            "car_meters_minus_sessions_j": int(fleet.meter_j.sum()) - self._meter_before_j - meter,
            "meter_minus_battery_and_loss_j": meter - energy - loss,
            "grid_minus_sessions_j": self.load.metered_j - meter,
            "sessions_without_outcome": self.record.unfinished(self.asked, len(rows)),
            "reservations_without_end": self.reservations.residual(),
            "visitors_without_outcome": self.visitors.residual(),
            "cars_at_sites_without_session": int((at_site != (self.car_session >= 0)).sum()),
            "littles_law_ms": self.queues.residual_ms(
                self.sessions.now_ms, self.sessions.site[queued], self.sessions.asked[queued]
            ),
        }

    def queue_summary(self) -> dict[str, float]:
        """Sessions asked, waited, mean wait, balked and reneged (see `Record.queue_summary`); reservations."""
        r = self.reservations
        kept = {"reserved": r.made, "reservations_used": r.used, "reservations_refused": r.refused}
        others = self.visitors.summary() if self.settings.visitors else {}
        return {"sessions": self.asked, **self.record.queue_summary(), **(kept if r.hold_ms else {}), **others}

    def tables(self) -> list[Table]:
        """`sessions` and `grid_load`; complete after `finish`."""
        return [self.table, self.load.table, *([self.visitors.table] if self.settings.visitors else [])]

    def grid_summary(self) -> dict[str, float]:
        """Load (`GridLoad.summary`), and what cars got and gave (`Record.given`)."""
        live = np.append(self.sessions.live(Work.CHARGE), self._ended_rows).astype(np.int64)
        open_rows = live[:0] if self._finished else live
        return {**self.load.summary(self.rated_w), **self.record.given(open_rows, give_eta=self.give_eta)}

    def revive(self, env: simpy.Environment) -> None:
        """Go on in a new SimPy environment from the tables alone, between two ticks.

        Held sockets are asked for again, then queue places in the order asked, then processes start in serial order.
        """
        s = self.sessions
        rows = s.live(Work.CHARGE)
        rows = rows[np.argsort(s.serial[rows])]
        socket = self.visits.socket
        held, queued = rows[self.visits.plugged_ms[rows] >= 0], rows[s.phase[rows] == Phase.QUEUED]
        on, waiting = self.visitors.places()
        turns = self.queues.restart(
            env,
            [*zip(held.tolist(), socket[held].tolist(), strict=True), *self.reservations.holds(), *on],
            sorted(
                [*zip(queued.tolist(), socket[queued].tolist(), strict=True), *waiting],
                key=lambda place: s.serial[place[0]],
            ),
        )
        s.revive(env, turns)

    def _in_queue(self) -> NDArray[np.int64]:
        """Rows that count as waiting: in the queue, or leaving it within the tick."""
        s = self.sessions
        rows = s.live(Work.CHARGE)
        leaving = (s.phase[rows] == Phase.LEAVING) & (self.visits.plugged_ms[rows] < 0)
        return np.append(rows[(s.phase[rows] == Phase.QUEUED) | leaving], self.visitors.queued())
