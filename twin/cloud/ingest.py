"""The cloud's front door: delivered messages wait for ingest workers (SimPy), whose number follows the load."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

COMING, QUEUED, SERVED, DONE = range(4)
"""Phases of a batch."""

PARTITIONS = 20
"""Batches per tick at most: cells are spread over so many partitions of the message broker,
whose batches come one after the other over the tick."""


class Ingest:
    """Workers that take batches of messages in order of arrival.

    A batch is a row: phase, due, serial. The SimPy processes hold no state; each can be
    entered at any phase, and a batch changes only through `arm`. `revive` starts them all
    again from the rows.

    Parameters
    ----------
    env : simpy.Environment
        Integer milliseconds.
    workers : int
        At least so many.
    messages_per_s : float
        Messages that one worker takes per second.
    most_workers : int, optional
        Auto-scaling up to so many; `workers` when left out, so that their number is fixed.
    scale_up_s : float
        Work waiting per worker, s, that asks for more of them.
    scale_delay_ms : int
        From the decision to a new worker's first message. Fewer are needed: at once.

    Attributes
    ----------
    on : int
        Workers running now; `coming_ms` holds the moments at which ordered ones begin.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        workers: int,
        messages_per_s: float,
        most_workers: int | None = None,
        scale_up_s: float = 30.0,
        scale_delay_ms: int = 0,
    ) -> None:
        self.env = env
        self.least, self.most = workers, max(workers, most_workers or workers)
        self.on = workers
        self.coming_ms: list[int] = []
        self.scale_up_s, self.scale_delay_ms = scale_up_s, scale_delay_ms
        self.idle = simpy.Container(env, init=workers)
        self.messages_per_s = messages_per_s
        self._asked: dict[int, simpy.resources.container.ContainerGet] = {}
        self.phase: list[int] = []
        self.due: list[int] = []
        self.serial: list[int] = []
        self.came: list[int] = []
        self.messages: list[int] = []
        self._free: list[int] = []
        self._serials = 0
        self.received = 0
        self.taken = 0
        self.longest_queue = 0
        self.most_inside = 0
        self.most_on = workers
        self._latency_ms: list[int] = []
        self._latency_messages: list[int] = []

    def arm(self, row: int, phase: int, due: int) -> None:
        """Move one batch to a phase that ends at `due`, ms; the only way a batch changes."""
        self._serials += 1
        self.phase[row], self.due[row], self.serial[row] = phase, due, self._serials
        if phase == DONE:
            self.taken += self.messages[row]
            self._latency_ms.append(due - self.came[row])
            self._latency_messages.append(self.messages[row])
            self._free.append(row)

    def receive(self, messages: NDArray[np.int64], t0_ms: int, t1_ms: int) -> None:
        """Messages that cells delivered in [t0, t1) arrive over the next tick, a batch per partition.

        Parameters
        ----------
        messages : ndarray of int64, shape (n_cells,)
        t0_ms, t1_ms : int
            The tick; the environment stands at t1.
        """
        self._scale(t1_ms)
        parts = min(PARTITIONS, len(messages))
        load = np.bincount(np.arange(len(messages)) % parts, weights=messages, minlength=parts).astype(np.int64)
        for part in np.flatnonzero(load).tolist():
            count = int(load[part])
            came = t1_ms + part * (t1_ms - t0_ms) // parts
            row = self._row()
            self.messages[row], self.came[row] = count, came
            self.received += count
            self.arm(row, COMING, came)
            self.env.process(self._work(row))
        self.most_inside = max(self.most_inside, self.inside)

    def _scale(self, now_ms: int) -> None:
        """Ordered workers begin; more are ordered, or spare ones end, by the work that waits."""
        ready = sum(moment <= now_ms for moment in self.coming_ms)
        if ready:
            self.coming_ms = [moment for moment in self.coming_ms if moment > now_ms]
            self.on += ready
            self.idle.put(ready)
        self.most_on = max(self.most_on, self.on)
        if self.most == self.least:
            return
        waiting = self.inside
        needed = int(np.ceil(waiting / (self.messages_per_s * self.scale_up_s)))
        short = min(needed, self.most) - self.on - len(self.coming_ms)
        if short > 0:
            self.coming_ms += [now_ms + self.scale_delay_ms] * short
        elif waiting == 0 and self.on > self.least and not self.coming_ms and self.idle.level > 0:
            self.idle.get(1)
            self.on -= 1

    def _row(self) -> int:
        if self._free:
            return self._free.pop()
        for column in (self.phase, self.due, self.serial, self.came, self.messages):
            column.append(0)
        return len(self.phase) - 1

    def _work(self, row: int) -> Generator[simpy.Event, Any, None]:
        env = self.env
        if self.phase[row] == COMING:
            yield env.timeout(self.due[row] - int(env.now))
            self.arm(row, QUEUED, int(env.now))
            self._asked[row] = self.idle.get(1)
            self.longest_queue = max(self.longest_queue, len(self.idle.get_queue))
        if self.phase[row] == QUEUED:
            yield self._asked[row]
            service_ms = max(1, round(1000 * self.messages[row] / self.messages_per_s))
            self.arm(row, SERVED, int(env.now) + service_ms)
        yield env.timeout(self.due[row] - int(env.now))
        del self._asked[row]
        self.idle.put(1)
        self.arm(row, DONE, int(env.now))

    def revive(self, env: simpy.Environment) -> None:
        """Go on in a new environment from the rows alone, between two ticks.

        Batches at a worker ask for it first, then those in the queue in the order they came to it; then all processes
        start in order of their serials.
        """
        self.env = env
        self.idle = simpy.Container(env, init=self.on)
        live = sorted((row for row, phase in enumerate(self.phase) if phase != DONE), key=self.serial.__getitem__)
        asked = [row for phase in (SERVED, QUEUED) for row in live if self.phase[row] == phase]
        self._asked = {row: self.idle.get(1) for row in asked}
        for row in live:
            env.process(self._work(row))

    @property
    def inside(self) -> int:
        """Messages that came and are not yet taken."""
        return self.received - self.taken

    @property
    def held(self) -> int:
        """Messages in the rows of batches that are not done; equals `inside` when the books close."""
        free = set(self._free)
        return sum(count for row, count in enumerate(self.messages) if row not in free)

    def latency_s(self, shares: ArrayLike = (0.5, 0.95)) -> tuple[float, NDArray[np.float64]]:
        """Mean and quantiles of the time from arrival to taken, s, weighted by messages; NaN without any."""
        return latency_s([self], shares)

    def summary(self) -> dict[str, Any]:
        """Messages received and taken, latency, longest queue of batches."""
        return summary([self])


def latency_s(regions: list[Ingest], shares: ArrayLike = (0.5, 0.95)) -> tuple[float, NDArray[np.float64]]:
    """Mean and quantiles of the latency of several ingests together, s, weighted by messages; NaN without any."""
    waits = np.concatenate([np.array(r._latency_ms, np.int64) for r in regions])
    weight = np.concatenate([np.array(r._latency_messages, np.int64) for r in regions])
    at = np.atleast_1d(np.asarray(shares, np.float64))
    if not len(waits):
        return float("nan"), np.full(len(at), np.nan)
    order = np.argsort(waits, kind="stable")
    upto = np.cumsum(weight[order])
    row = np.searchsorted(upto, at * upto[-1])
    return float((waits * weight).sum() / weight.sum() / 1000), waits[order][np.minimum(row, len(waits) - 1)] / 1000


def summary(regions: list[Ingest]) -> dict[str, Any]:
    """Messages received and taken by all regions, latency, longest queue of batches, workers."""
    mean, quantiles = latency_s(regions, (0.5, 0.95, 0.99))
    median, high, highest = (None if np.isnan(q) else float(q) for q in quantiles)
    return {
        "messages_received": sum(r.received for r in regions),
        "messages_taken": sum(r.taken for r in regions),
        "messages_inside": sum(r.inside for r in regions),
        "most_messages_inside": max(r.most_inside for r in regions),
        "mean_latency_s": None if np.isnan(mean) else mean,
        "median_latency_s": median,
        "p95_latency_s": high,
        "p99_latency_s": highest,
        "longest_queue": max(r.longest_queue for r in regions),
        "most_workers": max(r.most_on for r in regions),
    }
