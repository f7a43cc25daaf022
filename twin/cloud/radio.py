"""One direction of the radio: what waits, what a cell carries in a tick, and its books.

The same code carries telemetry from the cars (stores in the cars) and services to them (queues
per car in the cloud).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.chance import Stream
from twin.cloud import kernels
from twin.cloud.cells import HOLE_MS, Cells
from twin.cloud.store import Books, Records, Store
from twin.fleet.fleet import Fleet

WIFI_MBIT_S = 1e6
"""Capacity of all homes' Wi-Fi together: each home has its own line, so nothing is shared."""


class Radio:
    """Stores, cells and books of one direction.

    Parameters
    ----------
    fleet : Fleet
        Where the cars are.
    books : Books
        Byte accounts that this direction writes.
    cells : Cells
    names : tuple of str
        Services, in the order of their numbers.
    message_b : tuple of int
        Bytes of one message per service.
    limit_b, rate_bit_ms : ndarray, shape (5,)
        Size of a store, and rate of a unit, by network generation.
    batch_b : int
        Bytes that an attempt risks at most.
    backoff_ms : ndarray of int64
        Waiting times after one, two, ... failed attempts.
    alarm : int
        Service that is dropped last, -1 for none.
    wifi, underground : ndarray of uint8, shape (n_cars,)
    wifi_bit_ms, underground_share : float
    seed : int

    Attributes
    ----------
    air, total : ndarray of int64, shape (n_cells + 1, n_services, fields)
        The open interval and all closed ones; the last row is the Wi-Fi of homes.
    """

    def __init__(
        self,
        fleet: Fleet,
        books: Books,
        cells: Cells,
        *,
        names: tuple[str, ...],
        message_b: tuple[int, ...],
        limit_b: NDArray[np.int64],
        rate_bit_ms: NDArray[np.float64],
        batch_b: int,
        backoff_ms: NDArray[np.int64],
        alarm: int,
        wifi: NDArray[np.uint8],
        underground: NDArray[np.uint8],
        wifi_bit_ms: float,
        underground_share: float,
        seed: int,
    ) -> None:
        size, rows = fleet.size, cells.n + 1
        self.fleet, self.books, self.cells, self.names, self.seed = fleet, books, cells, names, seed
        self._message_b = np.array(message_b, np.int64)
        self._rate_bit_ms, self._batch_b, self._backoff_ms = rate_bit_ms, batch_b, backoff_ms
        self._wifi, self._wifi_bit_ms = wifi, wifi_bit_ms
        self._underground, self._underground_share = underground, underground_share
        self.store = Store(books, limit_b=limit_b, message_b=self._message_b, alarm=alarm)
        self.records = Records()
        self._tries = np.zeros(size, np.uint8)
        self._attempts = np.zeros(size, np.int32)
        self.next_try_ms = np.zeros(size, np.int64)
        self._want = np.zeros(0, np.int64)
        self._give = np.zeros(0, np.int64)
        self._order = np.zeros(0, np.int64)
        self._where = np.zeros(0, np.int32)
        self._fails = np.zeros(0, np.uint8)
        self.air = np.zeros((rows, len(names), kernels.AIR_FIELDS), np.int64)
        self.total = np.zeros_like(self.air)
        self._cell_want = np.zeros(rows, np.int64)
        self.cell_messages = np.zeros(rows, np.int64)
        self._start = np.zeros(rows + 1, np.int64)
        self.delivered_messages = 0
        self.peak_interval_b = 0
        self.peak_tick_b_s = 0.0
        self._books_start = self._books()

    def _books(self) -> list[NDArray[np.int64]]:
        b = self.books
        return [column.copy() for column in (b.generated_b, b.delivered_b, b.buffered_b, b.dropped_b)]

    def keep(self) -> None:
        """Put the tick's records into the stores."""
        self.store.keep(self.records.sent, self.records.out, self.air)

    def carry(
        self, t0_ms: int, t1_ms: int, *, room_b: NDArray[np.int64], air_ms: int, hour: int, takes: NDArray[np.bool_]
    ) -> None:
        """Send what waits in [t0, t1) through the cells.

        Parameters
        ----------
        room_b : ndarray of int64, shape (n_cells,)
            Bytes that cars may send per cell.
        air_ms : int
            Time in which they may.
        hour : int
            Of the run.
        takes : ndarray of bool, shape (n_cells + 1,)
            Cells behind which somebody answers; elsewhere attempts break off.
        """
        cells, store = self.cells, self.store
        self.cell_messages[:] = 0
        n = store.n_pending
        if n == 0:
            return
        if n > len(self._want):
            size = max(n, 2 * len(self._want))
            self._want, self._give, self._order = (np.zeros(size, np.int64) for _ in range(3))
            self._where, self._fails = np.zeros(size, np.int32), np.zeros(size, np.uint8)
        kernels.ask(
            t0_ms,
            t1_ms,
            store.pending,
            n,
            self.books.buffered_b,
            self._batch_b,
            self.fleet.link,
            self.fleet.node,
            self.fleet.home_node,
            cells.link_cell,
            cells.node_cell,
            cells.link_dead,
            cells.node_dead,
            cells.outage,
            HOLE_MS,
            self._wifi,
            cells.n,
            int(self._wifi_bit_ms * air_ms / 8),
            self._underground,
            self._underground_share,
            hour,
            self.next_try_ms,
            np.floor(self._rate_bit_ms * air_ms / 8).astype(np.int64),
            self.books.network_generation,
            store.head,
            store.at_cell,
            store.run_next,
            store.run_service,
            store.run_bytes,
            self.air,
            self.seed,
            int(Stream.OUTAGE),
            takes,
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
            np.append(room_b, int(WIFI_MBIT_S * 1000 * air_ms / 8)),
            self._give,
            self._order,
            self._start,
        )
        before = int(self.air[:, :, kernels.DELIVERED].sum())
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
            self.books.buffered_b,
            self.books.delivered_b,
            self.air,
            self._tries,
            self._attempts,
            self.next_try_ms,
            self.seed,
            int(Stream.RETRY),
            self.cell_messages,
        )
        gone = int(self.air[:, :, kernels.DELIVERED].sum()) - before
        self.peak_tick_b_s = max(self.peak_tick_b_s, gone / (t1_ms - t0_ms) * 1000)
        self.delivered_messages += int(self.cell_messages.sum())

    def used_b(self) -> NDArray[np.int64]:
        """Bytes delivered per cell in the open interval so far."""
        used: NDArray[np.int64] = self.air[:-1, :, kernels.DELIVERED].sum(axis=1)
        return used

    def close_interval(self) -> dict[str, NDArray[np.generic]]:
        """Columns of the interval's rows (cell, service, bytes); the counters start anew."""
        cell, service = np.nonzero(self.air.any(axis=2))
        air = self.air[cell, service]
        self.peak_interval_b = max(self.peak_interval_b, int(self.air[:, :, kernels.DELIVERED].sum()))
        self.total += self.air
        self.air[:, :, : kernels.HELD] = 0
        return {
            "cell_id": np.where(cell == self.cells.n, -1, cell).astype(np.int32),
            "service": np.array(self.names, object)[service],
            "generated_bytes": air[:, kernels.GENERATED],
            "delivered_bytes": air[:, kernels.DELIVERED],
            "buffered_bytes": air[:, kernels.HELD],
            "dropped_bytes": air[:, kernels.DROPPED],
            "resent_bytes": air[:, kernels.RESENT],
            "messages": air[:, kernels.MESSAGES],
            "moved_bytes": air[:, kernels.MOVED],
        }

    def ledger(self, table_bytes: int) -> dict[str, int]:
        """Residuals in bytes, all 0 when the books close (see `Cloud.ledger`)."""
        generated, delivered, buffered, dropped = (
            now - then for now, then in zip(self._books(), self._books_start, strict=True)
        )
        per_car, per_cell = self.store.waiting(self.cells.n + 1)
        wrong = (generated != delivered + buffered + dropped) | (per_car != buffered)
        total = self.total.copy()
        total[:, :, : kernels.HELD] += self.air[:, :, : kernels.HELD]
        in_, out, lost, moved = (
            total[:, :, k] for k in (kernels.GENERATED, kernels.DELIVERED, kernels.DROPPED, kernels.MOVED)
        )
        held = self.air[:, :, kernels.HELD]
        open_ = int(self.air[:, :, kernels.GENERATED].sum()) + table_bytes
        return {
            "cars": int(np.count_nonzero(wrong)),
            "cells": int(np.abs(in_ + moved - out - lost - held).sum() + np.abs(held - per_cell).sum()),
            "fleet": int(
                abs(in_.sum() - generated.sum()) + abs(out.sum() - delivered.sum()) + abs(lost.sum() - dropped.sum())
            ),
            "moved": int(moved.sum()),
            "table": int(open_ - generated.sum()),
        }

    def summary(self) -> dict[str, int]:
        """Bytes of all closed intervals, and what waits."""
        total = self.total.sum(axis=(0, 1))
        return {
            "generated_bytes": int(total[kernels.GENERATED]),
            "delivered_bytes": int(total[kernels.DELIVERED]),
            "buffered_bytes": int(self.air[:, :, kernels.HELD].sum()),
            "dropped_bytes": int(total[kernels.DROPPED]),
            "resent_bytes": int(total[kernels.RESENT]),
            "messages": int(total[kernels.MESSAGES]),
        }

    def by_service(self) -> dict[str, int]:
        """Generated bytes per service."""
        total = self.total.sum(axis=0)
        return {name: int(total[row, kernels.GENERATED]) for row, name in enumerate(self.names)}
