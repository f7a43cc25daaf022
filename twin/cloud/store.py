"""Messages on their way: those of a tick, and what waits in the cars."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twin.cloud import kernels

Columns = NDArray[Any]


class Books(Protocol):
    """Byte accounts per car, and the generation of its unit; a fleet is one."""

    size: int
    network_generation: NDArray[np.uint8]
    generated_b: NDArray[np.int64]
    delivered_b: NDArray[np.int64]
    buffered_b: NDArray[np.int64]
    dropped_b: NDArray[np.int64]


class Accounts:
    """Books of the way from the cloud to the cars."""

    def __init__(self, generation: NDArray[np.uint8]) -> None:
        self.size = len(generation)
        self.network_generation = generation
        for name in ("generated_b", "delivered_b", "buffered_b", "dropped_b"):
            setattr(self, name, np.zeros(self.size, np.int64))

    generated_b: NDArray[np.int64]
    delivered_b: NDArray[np.int64]
    buffered_b: NDArray[np.int64]
    dropped_b: NDArray[np.int64]


class Records:
    """The tick's messages: car, cell, service and how many; the first `sent` rows hold something.

    `row` is the traversal that a message belongs to, -1 for standing cars.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.car = np.zeros(0, np.int32)
        self.cell = np.zeros(0, np.int32)
        self.service = np.zeros(0, np.uint8)
        self.count = np.zeros(0, np.int64)
        self.row = np.zeros(0, np.int32)

    def room(self, rows: int) -> None:
        """Make room for so many more."""
        if self.sent + rows > len(self.car):
            size = max(self.sent + rows, 2 * len(self.car), 1024)
            for name in ("car", "cell", "service", "count", "row"):
                setattr(self, name, np.resize(getattr(self, name), size))

    @property
    def out(self) -> tuple[NDArray[Any], ...]:
        """Columns in the order that kernels take them."""
        return self.car, self.cell, self.service, self.count, self.row

    def add(self, cars: NDArray[np.int32], cells: NDArray[np.int32], service: int) -> None:
        """One message of a service from each of these cars."""
        self.room(len(cars))
        part = slice(self.sent, self.sent + len(cars))
        self.car[part], self.cell[part], self.service[part], self.count[part] = cars, cells, service, 1
        self.row[part] = -1
        self.sent += len(cars)


class Store:
    """What waits in every car, in the order it came: chains of runs in one pool.

    Parameters
    ----------
    books : Books
        Writes `generated_b`, `buffered_b`, `dropped_b`.
    limit_b : ndarray of int64, shape (5,)
        Size of the store by network generation, bytes.
    message_b : ndarray of int64
        Size of one message by service, bytes.
    alarm : int
        Service that is dropped last, -1 for none.

    Attributes
    ----------
    pending : ndarray of int32
        The first `n_pending` entries are the cars with something to send.
    """

    def __init__(self, books: Books, *, limit_b: NDArray[np.int64], message_b: NDArray[np.int64], alarm: int) -> None:
        size = books.size
        self.books = books
        self.alarm = alarm
        self.limit_b = limit_b
        self.message_b = message_b
        self.head = np.full(size, -1, np.int32)
        self.tail = np.full(size, -1, np.int32)
        self.at_cell = np.zeros(size, np.int32)
        self.listed = np.zeros(size, np.uint8)
        self.pending = np.zeros(size, np.int32)
        self.run_next = np.zeros(0, np.int32)
        self.run_service = np.zeros(0, np.uint8)
        self.run_bytes = np.zeros(0, np.int64)
        self.book = np.zeros(3, np.int64)
        self.book[kernels.FREE] = -1

    @property
    def n_pending(self) -> int:
        """Cars with something to send."""
        return int(self.book[kernels.PENDING])

    def keep(self, rows: int, records: tuple[NDArray[Any], ...], air: NDArray[np.int64]) -> None:
        """Put the first `rows` messages (car, cell, service, count) into the cars' stores; counts in `air`."""
        self._grow(rows)
        kernels.store(
            rows,
            *records[:4],
            self.message_b,
            self.limit_b,
            self.books.network_generation,
            self.alarm,
            self.head,
            self.tail,
            self.at_cell,
            self.listed,
            self.pending,
            self.run_next,
            self.run_service,
            self.run_bytes,
            self.book,
            self.books.generated_b,
            self.books.buffered_b,
            self.books.dropped_b,
            air,
        )

    def _grow(self, runs: int) -> None:
        """Make room for so many more runs."""
        short = runs - int(self.book[kernels.FREE_RUNS])
        if short <= 0:
            return
        old = len(self.run_next)
        new = old + max(short, old, 1024)
        following = np.arange(old + 1, new + 1, dtype=np.int32)
        following[-1] = self.book[kernels.FREE]
        self.run_next = np.concatenate([self.run_next, following])
        self.run_service = np.concatenate([self.run_service, np.zeros(new - old, np.uint8)])
        self.run_bytes = np.concatenate([self.run_bytes, np.zeros(new - old, np.int64)])
        self.book[kernels.FREE] = old
        self.book[kernels.FREE_RUNS] += new - old

    def waiting(self, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bytes that the chains really hold: per car, and per cell and service."""
        per_car = np.zeros(self.books.size, np.int64)
        per_cell = np.zeros((cells, len(self.message_b)), np.int64)
        kernels.waiting(self.head, self.run_next, self.run_service, self.run_bytes, per_car, per_cell, self.at_cell)
        return per_car, per_cell
