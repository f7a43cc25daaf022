"""Connected cars talk: messages, stores in the cars, radio cells, the cloud's ingest.

Telemetry is a flow per tick, counted in whole bytes; only the ingest queue is SimPy. The
number of messages does not depend on the tick: a car's periodic messages come at its own
moments of the clock, its events after distances of its own. Work per tick is done for cars
that drove, are plugged in or have something waiting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from maps.network import CityMap
from twin import facts
from twin.chance import Stream, chance
from twin.cloud import kernels
from twin.cloud.cells import HOLE_MS, Cells, CloudError
from twin.cloud.ingest import Ingest
from twin.cloud.services import ADAS, CHARGING, CONNECTION, DRIVING, DTC, HEARTBEAT, SERVICES, TRIP, Services
from twin.cloud.store import Records, Store
from twin.events import Column, Table
from twin.fleet.fleet import Fleet, State
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

INTERVAL_MS = 900_000
"""Interval of the table, 15 min."""

_HOUR_MS = 3_600_000
_BYTES = "i8"
COLUMNS: dict[str, Column] = {
    "time_s": Column("f8", "s", "start of the interval"),
    "cell_id": Column("i4", "", "row of the cell in cells.parquet"),
    "service": Column("str", "", "message class"),
    "generated_bytes": Column(_BYTES, "B", "produced by cars in the cell"),
    "delivered_bytes": Column(_BYTES, "B", "carried by the cell to the cloud"),
    "buffered_bytes": Column(_BYTES, "B", "waiting in cars that are in the cell, at the interval's end"),
    "dropped_bytes": Column(_BYTES, "B", "pushed out of full stores"),
    "resent_bytes": Column(_BYTES, "B", "sent in vain, sent again later; part of no sum"),
    "messages": Column(_BYTES, "", "messages produced"),
    "moved_bytes": Column(_BYTES, "B", "brought into the cell, less taken away, in the stores of moving cars"),
}


class Cloud:
    """Telemetry of one fleet.

    Parameters
    ----------
    city : CityMap
        Its cells serve the nearest nodes and links.
    fleet : Fleet
        Reads `connected`, `network_generation`, `state`, `link`, `node`; writes
        `generated_b`, `delivered_b`, `buffered_b`, `dropped_b`.
    settings : CloudSettings
    env : simpy.Environment
        The run's environment, integer ms.
    seed, horizon_ms : int

    Attributes
    ----------
    cells : Cells
    table : Table
        `cloud`, one row per interval, cell and service with traffic or waiting bytes.

    Notes
    -----
    Sizes, rates, buffers, back-off: `facts/connectivity.toml`. Stores keep the order of
    messages; what does not fit pushes out the oldest, trouble codes last. A moving car has
    no signal in tunnels and, at random, in the facts' share of its minutes. A cell gives
    equal shares (max-min) when asked for more than `cell_uplink_mbit_s * cell_share`.
    Tables count a tick in the interval in which it starts.
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
    ) -> None:
        for start, stop in settings.outage:
            if not start < stop:
                raise CloudError(
                    f"cloud.outage: from hour {start:g} to hour {stop:g} is not a span; the end must come later"
                )
        table = facts.load("connectivity")
        self.fleet = fleet
        self.settings = settings
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.cells = Cells.of(city)
        self.services = Services.of(settings.service_class)
        self.ingest = Ingest(env, workers=settings.workers, messages_per_s=settings.worker_messages_per_s)
        self.table = Table("cloud", COLUMNS)

        store, radio = table["store_and_forward"], table["cellular"]
        self._message_b = np.array(self.services.message_b, np.int64)
        names = {2: "g2", 3: "g3", 4: "lte"}
        unknown = np.setdiff1d(fleet.network_generation[fleet.connected > 0], [0, *names])
        if len(unknown):
            raise CloudError(f"fleet.network_generation holds {int(unknown[0])}; valid: 2, 3, 4, or 0 without a unit")
        limit_b = np.zeros(5, np.int64)
        self._rate_bit_ms = np.zeros(5)
        for generation, name in names.items():
            limit_b[generation] = round(1e6 * store["buffer_mb"][name])
        self._rate_bit_ms[2] = float(radio["g2_uplink_kbit_s"])
        self._rate_bit_ms[3] = float(radio["g3_uplink_kbit_s"])
        self._rate_bit_ms[4] = 1000 * float(radio["user_uplink_mbit_s_japan_4g_mean"])
        self._batch_b = round(1000 * store["reconnect_batch_kb"])
        self._backoff_ms = np.array([1000 * s for s in store["retry_backoff_s"]], np.int64)
        self._outage_ms = [(round(a * _HOUR_MS), round(b * _HOUR_MS)) for a, b in settings.outage]

        size = fleet.size
        everyone = np.arange(size)
        self.online = ((fleet.connected > 0) & (fleet.network_generation > 0)).astype(np.uint8)
        self.n_online = int(np.count_nonzero(self.online))
        self._phase_u = chance(seed, Stream.TELEMETRY_PHASE, everyone)
        units = np.flatnonzero(self.online)
        beat = (self._phase_u[units] * self.services.heartbeat_ms).astype(np.int64)
        order = np.argsort(beat, kind="stable")
        self._beat_ms, self._beat_car = beat[order], units[order].astype(np.int32)

        # events by driven (row 0) and engaged (row 1) distance: the first comes after an exponential distance too
        self._mean_mm = np.array([self.services.dtc_mm, self.services.adas_mm])
        first = np.stack([chance(seed, Stream.TELEMETRY_EVENT, everyone, row) for row in range(2)])
        self._next_mm = 1 + (-self._mean_mm[:, None] * np.log1p(-first)).astype(np.int64)
        self._gone_mm = np.zeros((2, size), np.int64)
        self._event = np.zeros((2, size), np.int64)

        self.store = Store(fleet, limit_b=limit_b, message_b=self._message_b)
        self._tries = np.zeros(size, np.uint8)
        self._attempts = np.zeros(size, np.int32)
        self._next_try_ms = np.zeros(size, np.int64)
        self._want = np.zeros(0, np.int64)
        self._give = np.zeros(0, np.int64)
        self._order = np.zeros(0, np.int64)
        self._where = np.zeros(0, np.int32)
        self._fails = np.zeros(0, np.uint8)
        self._records = Records()

        self._air = np.zeros((self.cells.n, len(SERVICES), kernels.AIR_FIELDS), np.int64)
        self._cell_want = np.zeros(self.cells.n, np.int64)
        self._cell_messages = np.zeros(self.cells.n, np.int64)
        self._start = np.zeros(self.cells.n + 1, np.int64)
        self._total = np.zeros((self.cells.n, len(SERVICES), kernels.AIR_FIELDS), np.int64)
        self._interval = 0
        self._delivered_messages = 0
        self._peak_interval_b = 0
        self._peak_tick_b_s = 0.0
        self._end_ms = 0
        self._books_start = [
            column.copy() for column in (fleet.generated_b, fleet.delivered_b, fleet.buffered_b, fleet.dropped_b)
        ]

    # -------------------------------------------------------------- one tick

    def talk(
        self,
        t0_ms: int,
        t1_ms: int,
        traversals: Traversals,
        trips_started: NDArray[np.integer],
        trips_ended: NDArray[np.integer],
        driving_cars: NDArray[np.integer],
        plugged_cars: NDArray[np.integer],
    ) -> None:
        """Messages of [t0, t1) come up, wait, and go through the cells to the cloud.

        Parameters
        ----------
        traversals : Traversals
            Links left in this tick, with `driven_mm` and `engaged_mm` filled. A link counts
            for telemetry when it is left.
        trips_started, trips_ended : ndarray of int32
            Cars whose trips began or ended in this tick, one entry per trip.
        driving_cars, plugged_cars : ndarray of int32
            Cars that drive, or are on a socket, at t1. (Driving messages come from the
            traversals, so `driving_cars` costs nothing.)
        """
        del driving_cars
        if not t0_ms < t1_ms:
            raise CloudError(f"a tick from {t0_ms} to {t1_ms} ms is empty")
        if self._interval > t0_ms // INTERVAL_MS:
            raise CloudError(f"tick at {t0_ms} ms comes before the interval at {self._interval * INTERVAL_MS} ms")
        while t0_ms // INTERVAL_MS > self._interval:
            self._flush()
        trips_started, trips_ended, plugged_cars = (
            np.asarray(a, np.int32) for a in (trips_started, trips_ended, plugged_cars)
        )
        self._end_ms = max(self._end_ms, t1_ms)
        self._produce(t0_ms, t1_ms, traversals, trips_started, trips_ended, plugged_cars)
        self.store.keep(self._records.sent, self._records.out, self._air)
        self._uplink(t0_ms, t1_ms)

    def _here(self, cars: NDArray[np.integer]) -> NDArray[np.int32]:
        link, node = self.fleet.link[cars], self.fleet.node[cars]
        here: NDArray[np.int32] = np.where(link >= 0, self.cells.link_cell[link], self.cells.node_cell[node])
        return here

    def _produce(
        self,
        t0_ms: int,
        t1_ms: int,
        traversals: Traversals,
        trips_started: NDArray[np.integer],
        trips_ended: NDArray[np.integer],
        plugged_cars: NDArray[np.integer],
    ) -> None:
        fleet, cells, services, records = self.fleet, self.cells, self.services, self._records
        records.sent = 0
        started, ended = (cars[self.online[cars] > 0] for cars in (trips_started, trips_ended))
        records.add(started, self._here(started), CONNECTION)
        records.add(started, self._here(started), TRIP)
        records.room(3 * traversals.n)
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
            services.driving_ms,
            self._gone_mm,
            self._next_mm,
            self._mean_mm,
            self._event,
            records.sent,
            np.array([DRIVING, DTC, ADAS], np.uint8),
            self.seed,
            int(Stream.TELEMETRY_EVENT),
            *records.out,
        )
        records.add(ended, self._here(ended), TRIP)
        for cars, period_ms, service in (
            (plugged_cars, services.charging_ms, CHARGING),
            (self._beating(t0_ms, t1_ms), services.heartbeat_ms, HEARTBEAT),
        ):
            records.room(len(cars))
            before = records.sent
            records.sent = kernels.periodic_messages(
                cars,
                self.online,
                self._phase_u,
                fleet.link,
                fleet.node,
                cells.link_cell,
                cells.node_cell,
                period_ms,
                t0_ms,
                t1_ms,
                service,
                records.sent,
                *records.out,
            )
            if service == HEARTBEAT:
                # a parked unit wakes, connects, reports
                part = slice(before, records.sent)
                records.add(records.car[part].copy(), records.cell[part].copy(), CONNECTION)

    def _beating(self, t0_ms: int, t1_ms: int) -> NDArray[np.int32]:
        """Parked connected cars with a heartbeat in [t0, t1)."""
        period = self.services.heartbeat_ms
        if t1_ms - t0_ms >= period:
            rows = self._beat_car
        else:
            low, high = t0_ms % period, (t1_ms - 1) % period + 1
            first, last = np.searchsorted(self._beat_ms, [low, high])
            rows = (
                self._beat_car[first:last]
                if low < high
                else np.concatenate([self._beat_car[first:], self._beat_car[:last]])
            )
        return np.sort(rows[self.fleet.state[rows] == State.PARKED])

    def _uplink(self, t0_ms: int, t1_ms: int) -> None:
        fleet, cells = self.fleet, self.cells
        store = self.store
        n = store.n_pending
        if n == 0:
            return
        if n > len(self._want):
            size = max(n, 2 * len(self._want))
            self._want, self._give, self._order = (np.zeros(size, np.int64) for _ in range(3))
            self._where, self._fails = np.zeros(size, np.int32), np.zeros(size, np.uint8)
        up_ms = (t1_ms - t0_ms) - self._down_ms(t0_ms, t1_ms)
        # the radio carries attempts while the cloud is down; deliveries fit into the time it is up
        air_ms = up_ms or t1_ms - t0_ms
        capacity = int(self.settings.cell_uplink_mbit_s * 1000 * self.settings.cell_share * air_ms / 8)
        kernels.ask(
            t0_ms,
            t1_ms,
            store.pending,
            n,
            fleet.buffered_b,
            self._batch_b,
            fleet.link,
            fleet.node,
            cells.link_cell,
            cells.node_cell,
            cells.link_dead,
            cells.outage,
            HOLE_MS,
            self._next_try_ms,
            np.floor(self._rate_bit_ms * air_ms / 8).astype(np.int64),
            fleet.network_generation,
            store.head,
            store.at_cell,
            store.run_next,
            store.run_service,
            store.run_bytes,
            self._air,
            self.seed,
            int(Stream.OUTAGE),
            up_ms > 0,
            self._want,
            self._fails,
            self._cell_want,
        )
        kernels.where(store.pending, n, store.at_cell, self._where)
        kernels.share_out(
            self._where,
            self._want,
            n,
            self._cell_want,
            np.full(cells.n, capacity, np.int64),
            self._give,
            self._order,
            self._start,
        )
        before = int(self._air[:, :, kernels.DELIVERED].sum())
        self._cell_messages[:] = 0
        kernels.send(
            store.pending,
            n,
            self._give,
            self._fails,
            t1_ms,
            self._message_b,
            self._backoff_ms,
            store.head,
            store.tail,
            store.at_cell,
            store.listed,
            store.run_next,
            store.run_service,
            store.run_bytes,
            store.book,
            fleet.buffered_b,
            fleet.delivered_b,
            self._air,
            self._tries,
            self._attempts,
            self._next_try_ms,
            self.seed,
            int(Stream.RETRY),
            self._cell_messages,
        )
        gone = int(self._air[:, :, kernels.DELIVERED].sum()) - before
        self._peak_tick_b_s = max(self._peak_tick_b_s, gone / (t1_ms - t0_ms) * 1000)
        self._delivered_messages += int(self._cell_messages.sum())
        self.ingest.receive(self._cell_messages, t0_ms, t1_ms)

    def _down_ms(self, t0_ms: int, t1_ms: int) -> int:
        """Milliseconds of [t0, t1) in which the cloud is down; windows may overlap."""
        down, upto = 0, t0_ms
        for start, stop in sorted(self._outage_ms):
            first, last = max(start, upto), min(stop, t1_ms)
            if first < last:
                down += last - first
                upto = last
        return down

    # -------------------------------------------------------------- results

    def finish(self, end_ms: int) -> None:
        """Write the interval that is still open; `end_ms` is where the run ended."""
        self._end_ms = max(self._end_ms, end_ms)
        self._flush()

    def _flush(self) -> None:
        """Close the interval: one row per cell and service with traffic or waiting bytes."""
        cell, service = np.nonzero(self._air.any(axis=2))
        air = self._air[cell, service]
        self.table.append(
            time_s=np.full(len(cell), self._interval * INTERVAL_MS / 1000),
            cell_id=cell,
            service=np.array(SERVICES, object)[service],
            generated_bytes=air[:, kernels.GENERATED],
            delivered_bytes=air[:, kernels.DELIVERED],
            buffered_bytes=air[:, kernels.HELD],
            dropped_bytes=air[:, kernels.DROPPED],
            resent_bytes=air[:, kernels.RESENT],
            messages=air[:, kernels.MESSAGES],
            moved_bytes=air[:, kernels.MOVED],
        )
        self._peak_interval_b = max(self._peak_interval_b, int(self._air[:, :, kernels.DELIVERED].sum()))
        self._total += self._air
        self._air[:, :, : kernels.HELD] = 0
        self._interval += 1

    def ledger(self) -> dict[str, int]:
        """Residuals in bytes or messages, all 0 when the books close.

        `cars`: cars where generated is not delivered + buffered + dropped, or whose store
        does not hold what is booked · `cells`: the same per cell and service, with
        `moved_bytes` · `fleet`: cells against cars · `moved`: what leaves one cell
        comes into another · `table`: table against cars · `ingest`: messages
        delivered against messages received, taken or inside.
        """
        fleet = self.fleet
        generated, delivered, buffered, dropped = (
            getattr(fleet, name) - start
            for name, start in zip(
                ("generated_b", "delivered_b", "buffered_b", "dropped_b"), self._books_start, strict=True
            )
        )
        per_car, per_cell = self.store.waiting(self.cells.n)
        wrong = (generated != delivered + buffered + dropped) | (per_car != buffered)
        total = self._total.copy()
        total[:, :, : kernels.HELD] += self._air[:, :, : kernels.HELD]
        in_, out, lost, moved = (
            total[:, :, k] for k in (kernels.GENERATED, kernels.DELIVERED, kernels.DROPPED, kernels.MOVED)
        )
        held = self._air[:, :, kernels.HELD]
        open_ = self._air[:, :, kernels.GENERATED].sum() + self.table["generated_bytes"].astype(np.int64).sum()
        return {
            "cars": int(np.count_nonzero(wrong)),
            "cells": int(np.abs(in_ + moved - out - lost - held).sum() + np.abs(held - per_cell).sum()),
            "fleet": int(
                abs(in_.sum() - generated.sum()) + abs(out.sum() - delivered.sum()) + abs(lost.sum() - dropped.sum())
            ),
            "moved": int(moved.sum()),
            "table": int(open_ - generated.sum()),
            "ingest": abs(self._delivered_messages - self.ingest.received)
            + abs(self.ingest.received - self.ingest.taken - self.ingest.inside),
        }

    def summary(self) -> dict[str, Any]:
        """The `cloud` part of summary.json; call after `finish`.

        `peak_bytes_per_s` is the busiest 15 min interval's mean of delivered bytes,
        `peak_tick_bytes_per_s` the busiest tick's. `mb_per_connected_car_day` counts
        generated bytes (10^6).
        """
        total = self._total.sum(axis=0)
        days = self._end_ms / (24 * _HOUR_MS)
        generated = int(total[:, kernels.GENERATED].sum())
        car_days = self.n_online * days
        return {
            "generated_bytes": generated,
            "delivered_bytes": int(total[:, kernels.DELIVERED].sum()),
            "buffered_bytes": int(self._air[:, :, kernels.HELD].sum()),
            "dropped_bytes": int(total[:, kernels.DROPPED].sum()),
            "resent_bytes": int(total[:, kernels.RESENT].sum()),
            "messages": int(total[:, kernels.MESSAGES].sum()),
            "peak_bytes_per_s": self._peak_interval_b / (INTERVAL_MS / 1000),
            "peak_tick_bytes_per_s": self._peak_tick_b_s,
            "mb_per_connected_car_day": generated / 1e6 / car_days if car_days else 0.0,
            "connected_cars": self.n_online,
            "by_service": {name: int(total[row, kernels.GENERATED]) for row, name in enumerate(SERVICES)},
            "ingest": self.ingest.summary(),
        }
