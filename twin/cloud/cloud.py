"""Connected cars talk: messages, stores in the cars, radio cells, the cloud's ingest.

Telemetry is a flow per tick, counted in whole bytes; only the ingest queues are SimPy. The number of messages does not
depend on the tick: periodic ones come at a car's own moments, events after distances of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from maps.network import CityMap
from twin import facts
from twin.chance import Stream, chance
from twin.cloud import ingest, kernels
from twin.cloud.cells import HOUR_MS, Cells, CloudError
from twin.cloud.columns import COLUMNS, DOWN_COLUMNS, INGEST
from twin.cloud.cost import bill
from twin.cloud.handovers import Handovers
from twin.cloud.ingest import Ingest
from twin.cloud.message_log import MessageLog
from twin.cloud.outages import down_ms, outages
from twin.cloud.radio import Radio
from twin.cloud.services import (
    ADAS,
    ALARM,
    CHARGING,
    CONNECTION,
    DRIVING,
    DTC,
    HEARTBEAT,
    SERVICES,
    TRIP,
    Service,
    Services,
)  # fmt: skip
from twin.cloud.store import Accounts, Records
from twin.cloud.tenants import accounts
from twin.events import Table
from twin.fleet.fleet import Fleet, State
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

INTERVAL_MS = 900_000
"""Interval of the tables, 15 min."""

_DAY_MS = 24 * HOUR_MS


class _Tick(NamedTuple):
    """[t0, t1), and who did what in it: links left, trips of connected cars begun and ended, cars on a socket at t1."""

    t0_ms: int
    t1_ms: int
    traversals: Traversals
    started: NDArray[np.int32]
    ended: NDArray[np.int32]
    plugged: NDArray[np.int32]


class Cloud:
    """Telemetry of one fleet, and what comes back to it.

    Parameters
    ----------
    city : CityMap
    fleet : Fleet
        Reads `connected`, `network_generation`, `propilot`, `state`, `link`, `node`; writes
        `generated_b`, `delivered_b`, `buffered_b`, `dropped_b`.
    settings : CloudSettings
    env : simpy.Environment
        The run's environment, integer ms.
    seed, horizon_ms : int
    cells : Cells, optional
    market : str
        Whose share of owners consents to probe data.
    start_s_of_day : int
        Civil time at the clock's 0.
    brands : sequence of str
        Brand of each value of `fleet.model`; tenants of the cloud.

    Attributes
    ----------
    up, down : Radio
        The two directions; `up` is telemetry.
    regions : list of Ingest
    down_used_b : ndarray of int64, shape (n_cells,)
        What services took of each cell's downlink in the last tick.
    table, down_table, ingest_table : Table
        `cloud`, `downlink`: one row per interval, cell and service with traffic or waiting
        bytes. `ingest`: one row per interval and region.
    log : MessageLog or None

    Notes
    -----
    Sizes, rates, buffers, back-off: `facts/connectivity.toml`. Stores keep the order of
    messages; what does not fit pushes out the oldest, trouble codes last. A moving car has
    no signal in tunnels and, at random, in the facts' share of its minutes. A cell gives
    equal shares (max-min) when asked for more than cars may use of it. Tables count a tick
    in the interval in which it starts.
    """

    def __init__(
        self,
        city: CityMap,
        fleet: Fleet,
        settings: CloudSettings,
        env: simpy.Environment,
        *,
        seed: int,
        horizon_ms: int,
        cells: Cells | None = None,
        market: str = "japan",
        start_s_of_day: int = 0,
        brands: Sequence[str] = (),
    ) -> None:
        for start, stop in settings.outage:
            if not start < stop:
                raise CloudError(
                    f"cloud.outage: from hour {start:g} to hour {stop:g} is not a span; the end must come later"
                )
        if settings.most_workers is not None and settings.most_workers < settings.workers:
            raise CloudError(f"cloud.most_workers: {settings.most_workers} is below cloud.workers ({settings.workers})")
        table = facts.load("connectivity")
        self.fleet = fleet
        self.settings = settings
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.brands = tuple(brands)
        self._start_s_of_day = start_s_of_day
        self.cells = cells or Cells.of(city, other_users=settings.other_users)
        self.services = Services.of(settings.service_class, more=settings.more_services, own=settings.services)
        self.table = Table("cloud", COLUMNS)
        self.down_table = Table("downlink", DOWN_COLUMNS)
        self.ingest_table = Table("ingest", INGEST)

        names = {2: "g2", 3: "g3", 4: "lte"}
        unknown = np.setdiff1d(fleet.network_generation[fleet.connected > 0], [0, *names])
        if len(unknown):
            raise CloudError(f"fleet.network_generation holds {int(unknown[0])}; valid: 2, 3, 4, or 0 without a unit")
        self._outage_ms = [(round(a * HOUR_MS), round(b * HOUR_MS)) for a, b in settings.outage]

        size = fleet.size
        everyone = np.arange(size)
        self.online = ((fleet.connected > 0) & (fleet.network_generation > 0)).astype(np.uint8)
        self.n_online = int(np.count_nonzero(self.online))
        self._phase_u = chance(seed, Stream.TELEMETRY_PHASE, everyone)
        self.driving_ms = np.full(size, self.services.driving_ms, np.int64)
        consent = chance(seed, Stream.DATA_CONSENT, everyone) < float(table["consent"][market])
        self._may = {
            s.name: (self.online & (fleet.propilot >= s.propilot) & (consent | (not s.consent))).astype(np.uint8)
            for s in (*self.services.up, *self.services.down)
        }
        heartbeat = Service("heartbeat", "parked", 0, period_ms=self.services.heartbeat_ms)
        self._beats = {"heartbeat": self._beat(heartbeat, self.online)}
        for s in (*self.services.up, *self.services.down):
            if s.trigger in {"parked", "any_time"}:
                self._beats[s.name] = self._beat(s, self._may[s.name])

        # events by driven or engaged distance: the first comes after an exponential distance too
        events = [s for s in self.services.up if s.trigger in {"distance", "engaged"}]
        self._mean_mm = np.array([self.services.dtc_mm, self.services.adas_mm, *(s.mean_mm for s in events)])
        self._by_engaged = np.array([0, 1, *(s.trigger == "engaged" for s in events)], np.uint8)
        first = np.stack(
            [
                chance(seed, Stream.TELEMETRY_EVENT, everyone, row if row < 2 else row << 40)
                for row in range(len(self._mean_mm))
            ]
        )
        self._next_mm = 1 + (-self._mean_mm[:, None] * np.log1p(-first)).astype(np.int64)
        for row, s in enumerate(events, 2):
            self._next_mm[row, self._may[s.name] == 0] = np.iinfo(np.int64).max
        self._event_services = np.array([DRIVING, DTC, ADAS, *(self.services.names.index(s.name) for s in events)])
        self._event_services = self._event_services.astype(np.uint8)
        self._gone_mm, self._event = (np.zeros(first.shape, np.int64) for _ in range(2))
        self._last_cell = np.full(size, -1, np.int32)
        self._handovers = Handovers(self.cells.n)

        store, radio = table["store_and_forward"], table["cellular"]
        limit_b = np.zeros(5, np.int64)
        for generation, name in names.items():
            limit_b[generation] = round(1e6 * store["buffer_mb"][name])
        up_rate, down_rate = np.zeros(5), np.zeros(5)
        up_rate[2] = down_rate[2] = float(radio["g2_uplink_kbit_s"])
        up_rate[3], down_rate[3] = float(radio["g3_uplink_kbit_s"]), 1000 * float(radio["g3_downlink_mbit_s"])
        up_rate[4] = 1000 * float(radio["user_uplink_mbit_s_japan_4g_mean"])
        down_rate[4] = 1000 * float(radio["user_downlink_mbit_s_twin"])
        self.wifi = (chance(seed, Stream.HOME_WIFI, everyone) < settings.home_wifi).astype(np.uint8)
        self.roaming = (chance(seed, Stream.ROAMING, everyone) < settings.roaming).astype(np.uint8)
        common: dict[str, Any] = {
            "batch_b": round(1000 * store["reconnect_batch_kb"]),
            "backoff_ms": np.array([1000 * s for s in store["retry_backoff_s"]], np.int64),
            "wifi": self.wifi,
            "underground": (chance(seed, Stream.UNDERGROUND, everyone) < settings.underground).astype(np.uint8),
            "wifi_bit_ms": 1000 * float(radio["home_wifi_mbit_s"]),
            "underground_share": float(radio["outage_share_of_driving_time"]["underground_parking"]),
        }
        self.up = Radio(
            fleet, fleet, self.cells,
            names=self.services.names, message_b=self.services.message_b, limit_b=limit_b, rate_bit_ms=up_rate,
            alarm=ALARM, seed=seed, **common,
        )  # fmt: skip
        self.down = Radio(
            fleet, Accounts(fleet.network_generation), self.cells,
            names=tuple(s.name for s in self.services.down), message_b=tuple(s.bytes for s in self.services.down),
            limit_b=np.full(5, round(1e6 * store["cloud_to_car_mb"]), np.int64), rate_bit_ms=down_rate,
            alarm=-1, seed=seed, **common,
        )  # fmt: skip
        self.log: MessageLog | None = None
        if size <= settings.message_log_cars:
            own = [0, 0, 0, self.services.charging_ms, self.services.heartbeat_ms, 0, 0]
            own += [s.period_ms for s in self.services.up]
            self.log = MessageLog(city.network, fleet, period_ms=np.array(own, np.int64), phase_u=self._phase_u)

        self.regions = [
            Ingest(
                env, workers=settings.workers, messages_per_s=settings.worker_messages_per_s,
                most_workers=settings.most_workers, scale_up_s=settings.scale_up_queue_s,
                scale_delay_ms=round(1000 * settings.scale_delay_s),
            )
            for _ in range(settings.regions)
        ]  # fmt: skip
        # from west to east; home Wi-Fi goes to the first
        place = np.argsort(np.argsort(self.cells.x, kind="stable"), kind="stable")
        self._region = np.append(place * settings.regions // self.cells.n, 0)
        self._credit = np.zeros(settings.regions)
        self._throttled = np.zeros(settings.regions, np.int64)
        self._seen = np.zeros((2, settings.regions), np.int64)
        self.dealer_uploads, self.dealer_b = 0, 0
        self._dealer_period_ms = round(float(table["dealer_upload"]["days"]) * _DAY_MS)
        self._dealer_size_b = int(table["dealer_upload"]["bytes"])
        self._dealer_ms = (chance(seed, Stream.DEALER_VISIT, everyone) * self._dealer_period_ms).astype(np.int64)
        self.brand_dealer_b = np.zeros(max(1, len(self.brands)), np.int64)
        self.down_used_b = np.zeros(self.cells.n, np.int64)
        self._peak_messages_s = 0.0
        self._track: list[tuple[int, int, int, int, int]] = []
        self._interval, self._end_ms = 0, 0

    def _beat(self, service: Service, may: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Moments within the period at which cars speak, sorted, and whose they are."""
        units = np.flatnonzero(may)
        moment = (self._phase_u[units] * service.period_ms).astype(np.int64)
        order = np.argsort(moment, kind="stable")
        return moment[order], units[order].astype(np.int32)

    # -------------------------------------------------------------- one tick

    def talk(
        self,
        t0_ms: int,
        t1_ms: int,
        traversals: Traversals,
        trips_started: NDArray[np.integer],
        trips_ended: NDArray[np.integer],
        plugged_cars: NDArray[np.integer],
    ) -> None:
        """Messages of [t0, t1) come up, wait, and go through the cells to the cloud, and others down.

        Parameters
        ----------
        traversals : Traversals
            Links left in this tick, with `driven_mm` and `engaged_mm` filled. A link counts
            for telemetry when it is left.
        trips_started, trips_ended : ndarray of int32
            Cars whose trips began or ended in this tick, one entry per trip.
        plugged_cars : ndarray of int32
            Cars on a socket at t1.
        """
        if not t0_ms < t1_ms:
            raise CloudError(f"a tick from {t0_ms} to {t1_ms} ms is empty")
        if self._interval > t0_ms // INTERVAL_MS:
            raise CloudError(f"tick at {t0_ms} ms comes before the interval at {self._interval * INTERVAL_MS} ms")
        while t0_ms // INTERVAL_MS > self._interval:
            self._flush()
        started, ended, plugged = (np.asarray(a, np.int32) for a in (trips_started, trips_ended, plugged_cars))
        started, ended = started[self.online[started] > 0], ended[self.online[ended] > 0]
        tick = _Tick(t0_ms, t1_ms, traversals, started, ended, plugged)
        self._end_ms = max(self._end_ms, t1_ms)
        self._produce(tick)
        if self.log is not None:
            self.log.keep(self.up.records, self.driving_ms, traversals, t0_ms, t1_ms)
        self.up.keep()
        self._answer(tick)
        self.down.keep()
        self._dealers(t0_ms, t1_ms)
        self._carry(t0_ms, t1_ms)

    def _here(self, cars: NDArray[np.integer]) -> NDArray[np.int32]:
        link, node = self.fleet.link[cars], self.fleet.node[cars]
        here: NDArray[np.int32] = np.where(link >= 0, self.cells.link_cell[link], self.cells.node_cell[node])
        return here

    def _produce(self, tick: _Tick) -> None:
        cells, services, records = self.cells, self.services, self.up.records
        traversals = tick.traversals
        records.sent = 0
        records.add(tick.started, self._here(tick.started), CONNECTION)
        records.add(tick.started, self._here(tick.started), TRIP)
        records.room((1 + len(self._mean_mm)) * traversals.n)
        records.sent = kernels.driving_messages(
            traversals.n,
            traversals.car,
            traversals.link,
            traversals.enter_ms,
            traversals.exit_ms,
            traversals.driven_mm,
            traversals.engaged_mm,
            self.online,
            self._phase_u,
            cells.link_cell,
            self.driving_ms,
            self._gone_mm,
            self._next_mm,
            self._mean_mm,
            self._by_engaged,
            self._event,
            self._last_cell,
            self._handovers.count,
            records.sent,
            self._event_services,
            self.seed,
            int(Stream.TELEMETRY_EVENT),
            *records.out,
        )
        records.add(tick.ended, self._here(tick.ended), TRIP)
        self._periodic(records, tick.plugged, self.online, services.charging_ms, CHARGING, tick)
        before = records.sent
        beating = self._beating("heartbeat", services.heartbeat_ms, tick, parked=True)
        self._periodic(records, beating, self.online, services.heartbeat_ms, HEARTBEAT, tick)
        # a parked unit wakes, connects, reports
        part = slice(before, records.sent)
        records.add(records.car[part].copy(), records.cell[part].copy(), CONNECTION)
        for number, service in enumerate(services.up, len(SERVICES)):
            self._further(records, service, number, tick)

    def _answer(self, tick: _Tick) -> None:
        """What the cloud makes ready for cars in this tick."""
        records = self.down.records
        records.sent = 0
        for number, service in enumerate(self.services.down):
            self._further(records, service, number, tick)

    def _further(self, records: Records, service: Service, number: int, tick: _Tick) -> None:
        may, traversals = self._may[service.name], tick.traversals
        if service.trigger == "driving":
            records.room(traversals.n)
            records.sent = kernels.driving_periodic(
                traversals.n,
                traversals.car,
                traversals.link,
                traversals.enter_ms,
                traversals.exit_ms,
                may,
                self._phase_u,
                self.cells.link_cell,
                service.period_ms,
                number,
                records.sent,
                *records.out,
            )
        elif service.trigger == "trip":
            for cars in (tick.started, tick.ended):
                mine = cars[may[cars] > 0].astype(np.int32)
                records.add(mine, self._here(mine), number)
        elif service.trigger == "charging":
            self._periodic(records, tick.plugged, may, service.period_ms, number, tick)
        elif service.trigger in {"parked", "any_time"}:
            parked = service.trigger == "parked"
            cars = self._beating(service.name, service.period_ms, tick, parked=parked)
            self._periodic(records, cars, may, service.period_ms, number, tick)

    def _periodic(
        self,
        records: Records,
        cars: NDArray[np.integer],
        may: NDArray[np.uint8],
        period_ms: int,
        service: int,
        tick: _Tick,
    ) -> None:
        fleet, cells = self.fleet, self.cells
        records.room(len(cars))
        records.sent = kernels.periodic_messages(
            cars,
            may,
            self._phase_u,
            fleet.link,
            fleet.node,
            cells.link_cell,
            cells.node_cell,
            period_ms,
            tick.t0_ms,
            tick.t1_ms,
            service,
            records.sent,
            *records.out,
        )

    def _beating(self, name: str, period: int, tick: _Tick, *, parked: bool) -> NDArray[np.int32]:
        """Cars with a moment of this service in the tick; only parked ones when asked."""
        moment, car = self._beats[name]
        if tick.t1_ms - tick.t0_ms >= period:
            rows = car
        else:
            low, high = tick.t0_ms % period, (tick.t1_ms - 1) % period + 1
            first, last = np.searchsorted(moment, [low, high])
            rows = car[first:last] if low < high else np.concatenate([car[first:], car[:last]])
        found: NDArray[np.int32] = np.sort(rows[self.fleet.state[rows] == State.PARKED] if parked else rows)
        return found

    def _dealers(self, t0_ms: int, t1_ms: int) -> None:
        """Cars without a unit hand over their log when they come to service, by the dealer's own line."""
        low, high = t0_ms % self._dealer_period_ms, t1_ms % self._dealer_period_ms
        moment = self._dealer_ms
        now = (moment >= low) & (moment < high) if low < high else (moment >= low) | (moment < high)
        cars = np.flatnonzero(now & (self.online == 0))
        self.dealer_uploads += len(cars)
        self.dealer_b += len(cars) * self._dealer_size_b
        if self.brands:
            count = np.bincount(self.fleet.model[cars], minlength=len(self.brands))
            self.brand_dealer_b += count * self._dealer_size_b

    def set_period(self, cars: NDArray[np.integer], period_s: float) -> None:
        """Another rate of driving telemetry for these cars, from the next tick on (an update may bring it)."""
        self.driving_ms[cars] = round(1000 * period_s)

    def _carry(self, t0_ms: int, t1_ms: int) -> None:
        settings, cells = self.settings, self.cells
        up_ms = (t1_ms - t0_ms) - down_ms(self._outage_ms, t0_ms, t1_ms)
        # the radio carries attempts while the cloud is down; deliveries fit into the time it is up
        air_ms = up_ms or t1_ms - t0_ms
        hour = (t0_ms + 1000 * self._start_s_of_day) // HOUR_MS  # since midnight of the first day
        room = cells.bytes_for_cars(
            cells.up_mbit_s, settings.cell_uplink_mbit_s, settings.cell_share, hour % 24, air_ms
        )
        room = self._handovers.leave(room)
        takes = self._accepts(t1_ms - t0_ms) & (up_ms > 0)
        self.up.carry(t0_ms, t1_ms, room_b=room, air_ms=air_ms, hour=hour, takes=takes[self._region])
        messages = self.up.cell_messages
        self._peak_messages_s = max(self._peak_messages_s, int(messages.sum()) / (t1_ms - t0_ms) * 1000)
        if settings.quota_messages_per_s is not None:
            self._credit -= np.bincount(self._region, weights=messages, minlength=settings.regions)
        for number, region in enumerate(self.regions):
            region.receive(np.where(self._region == number, messages, 0), t0_ms, t1_ms)
        before = self.down.used_b()
        if up_ms and len(self.down.names):
            mbit_s = float(settings.cell_downlink_mbit_s)
            room = cells.bytes_for_cars(cells.down_mbit_s, mbit_s, settings.cell_share, hour % 24, up_ms)
            everywhere = np.ones(cells.n + 1, bool)
            self.down.carry(t0_ms, t1_ms, room_b=room, air_ms=up_ms, hour=hour, takes=everywhere)
        self.down_used_b = self.down.used_b() - before
        if self._outage_ms:
            waiting = int(self.up.air[:, :, kernels.HELD].sum())
            inside = sum(region.inside for region in self.regions)
            self._track.append((t1_ms, waiting, inside, int(messages.sum()), t1_ms - t0_ms))

    def _accepts(self, span_ms: int) -> NDArray[np.bool_]:
        """Regions whose quota has something left; others answer "too many requests" and cars back off."""
        quota = self.settings.quota_messages_per_s
        if quota is None:
            return np.ones(len(self.regions), bool)
        earned = quota * span_ms / 1000
        self._credit = np.minimum(self._credit + earned, earned)
        full: NDArray[np.bool_] = self._credit <= 0
        self._throttled += full
        return ~full

    # -------------------------------------------------------------- results

    def finish(self, end_ms: int) -> None:
        """Write the interval that is still open; `end_ms` is where the run ended."""
        self._end_ms = max(self._end_ms, end_ms)
        self._flush()

    def revive(self, env: simpy.Environment) -> None:
        """Go on in a new environment from the rows of the ingests alone."""
        for region in self.regions:
            region.revive(env)

    def tables(self) -> list[Table]:
        """The room's tables of the results folder."""
        log = [self.log.table] if self.log is not None else []
        return [self.table, self.down_table, self.ingest_table, *log]

    def _flush(self) -> None:
        """Close the interval: one row per cell and service with traffic or waiting bytes."""
        time_s = self._interval * INTERVAL_MS / 1000
        self.table.append(time_s=time_s, **self.up.close_interval())
        self.down_table.append(time_s=time_s, **self.down.close_interval())
        seen = np.array([[r.received for r in self.regions], [r.taken for r in self.regions]], np.int64)
        waiting = self.up.summary()["buffered_bytes"]
        self.ingest_table.append(
            time_s=time_s,
            region=np.arange(len(self.regions)),
            received=seen[0] - self._seen[0],
            taken=seen[1] - self._seen[1],
            inside=seen[0] - seen[1],
            workers=[r.on for r in self.regions],
            throttled_ticks=self._throttled,
            waiting_bytes=waiting,
        )
        self._seen, self._throttled = seen, np.zeros_like(self._throttled)
        self._interval += 1

    def ledger(self) -> dict[str, int]:
        """Residuals in bytes or messages, all 0 when the books close.

        `cars`: cars where generated is not delivered + buffered + dropped, or whose store
        does not hold what is booked · `cells`: the same per cell and service, with
        `moved_bytes` · `fleet`: cells against cars · `moved`: what leaves one cell
        comes into another · `table`: table against cars · `ingest`: messages
        delivered against messages received, taken or inside · `downlink`: the first five of
        the way down, added up · `log`: messages logged against those generated.
        """
        up, down = (
            radio.ledger(int(table["generated_bytes"].astype(np.int64).sum()))
            for radio, table in ((self.up, self.table), (self.down, self.down_table))
        )
        received = sum(r.received for r in self.regions)
        found = {
            **up,
            "ingest": abs(self.up.delivered_messages - received)
            + sum(abs(r.received - r.taken - r.held) for r in self.regions),
            "downlink": sum(abs(value) for value in down.values()),
        }
        if self.log is not None:
            made = int(self.up.total[:, :, kernels.MESSAGES].sum() + self.up.air[:, :, kernels.MESSAGES].sum())
            found["log"] = made - self.log.messages
        return found

    def summary(self) -> dict[str, Any]:
        """The `cloud` part of summary.json; call after `finish`.

        `peak_bytes_per_s` is the busiest 15 min interval's mean, `peak_tick_bytes_per_s` the busiest tick's.
        `mb_per_connected_car_day` counts generated bytes (10^6), `mb_both_ways_…` the services' downlink too.
        """
        up, down = self.up.summary(), self.down.summary()
        days = self._end_ms / _DAY_MS
        car_days = self.n_online * days
        both = up["generated_bytes"] + down["generated_bytes"]
        return {
            **up,
            "peak_bytes_per_s": self.up.peak_interval_b / (INTERVAL_MS / 1000),
            "peak_tick_bytes_per_s": self.up.peak_tick_b_s,
            "peak_tick_messages_per_s": self._peak_messages_s,
            "mb_per_connected_car_day": up["generated_bytes"] / 1e6 / car_days if car_days else 0.0,
            "mb_both_ways_per_connected_car_day": both / 1e6 / car_days if car_days else 0.0,
            "connected_cars": self.n_online,
            **self._handovers.summary(),
            "by_service": self.up.by_service(),
            "downlink": {**down, "by_service": self.down.by_service()},
            "ingest": ingest.summary(self.regions),
            "dealer": {"uploads": self.dealer_uploads, "bytes": self.dealer_b},
            **accounts(self.brands, self.fleet, self.online, self.down.books.delivered_b, self.brand_dealer_b),
            "capacity": self._bill(days),
            "outages": outages(self._outage_ms, self._track),
        }

    def _bill(self, days: float) -> dict[str, Any]:
        count = self.up.total[:, :, kernels.MESSAGES].sum(axis=0)
        abroad = self.roaming > 0
        sent, got = self.fleet.delivered_b, self.down.books.delivered_b
        wifi = sum(int(r.total[self.cells.n, :, kernels.DELIVERED].sum()) for r in (self.up, self.down))
        return bill(
            messages=dict(zip(self.services.names, count.tolist(), strict=True)),
            message_b=dict(zip(self.services.names, self.services.message_b, strict=True)),
            delivered_b=int(self.up.total[:, :, kernels.DELIVERED].sum()),
            down_b=int(self.down.total[:, :, kernels.DELIVERED].sum()),
            roaming_b=int(sent[abroad].sum() + got[abroad].sum()),
            wifi_b=wifi,
            peak_b_s=self.up.peak_tick_b_s,
            peak_messages_s=self._peak_messages_s,
            cars=self.n_online,
            days=days,
            hot_days=self.settings.hot_days,
        )
