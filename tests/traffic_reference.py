"""The rules of `twin/traffic/kernels.py` once more, as plainly as Python allows: slow, whole histories, no buffers.

Written to be compared with, exit time by exit time. Nothing is shared with the kernel but the rules: every exit of
every link is kept, events are tuples in one heap, who waits is a set.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

HEAD, GATE, RING = range(3)
LONG_AGO = -(10**15)


def up_to_ms(us: int) -> int:
    return -(-us // 1000)


@dataclass
class Car:
    route: list[int]
    depart_ms: int
    gap_permille: int = 1000
    pace_permille: int = 1000
    at: int = 0
    times: list[int] = field(default_factory=list)
    """When it entered its first link, then when it left each."""


@dataclass
class Link:
    free_ms: int
    headway_us: int
    whole: int
    permille: int
    wave_ms: int
    green: tuple[int, int]
    queue: deque[tuple[int, int]] = field(default_factory=deque)
    """(car, when it can be at the end)"""
    entered: int = 0
    exits: list[int] = field(default_factory=list)
    next_in_us: int = LONG_AGO
    next_out_us: int = LONG_AGO
    head_due: bool = False
    gate_due: bool = False
    source: deque[int] = field(default_factory=deque)
    waiters: set[int] = field(default_factory=set)
    virtual: int = 0
    ring_seen: tuple[int, int] = (-1, -1)

    def room_at(self) -> int | None:
        """When the next vehicle fits; None while that depends on one that has not left."""
        back = self.entered - self.whole
        if back >= len(self.exits):
            return None
        newer = self.exits[back] + self.wave_ms if back >= 0 else LONG_AGO
        older = self.exits[back - 1] + self.wave_ms if back >= 1 else LONG_AGO
        space = newer - self.permille * (newer - older) // 1000
        return max(space, up_to_ms(self.next_in_us))


class Reference:
    """Drive cars until nothing happens any more, or for `steps` events."""

    def __init__(self, links: list[Link], weight: list[int], cars: list[Car], *, cycle_ms: int, ring_ms: int) -> None:
        self.links, self.cars, self.weight = links, cars, weight
        self.cycle_ms, self.ring_ms = cycle_ms, ring_ms
        self.n = len(links)
        self.heap: list[tuple[int, int, int]] = []
        self.target: list[int | None] = [None] * (2 * self.n)
        self.last = [-1] * (2 * self.n)
        self.tag = [0] * (2 * self.n)
        self.rings = 0

    def run(self, steps: int = 10**9) -> None:
        departures = deque(sorted(range(len(self.cars)), key=lambda i: (self.cars[i].depart_ms, i)))
        for _ in range(steps):
            if departures and (not self.heap or self.cars[departures[0]].depart_ms <= self.heap[0][0]):
                self.depart(departures.popleft())
            elif self.heap:
                now, kind, link = heapq.heappop(self.heap)
                (self.head, self.gate, self.ring)[kind](link, now)
            else:
                return

    def depart(self, car: int) -> None:
        link = self.cars[car].route[0]
        self.links[link].source.append(car)
        if len(self.links[link].source) == 1:
            self.wait(self.n + link, link)
            self.open_gate(link, self.cars[car].depart_ms)

    # ------------------------------------------------------------------ events

    def head(self, link: int, now: int) -> None:
        here = self.links[link]
        here.head_due = False
        car = self.cars[here.queue[0][0]]
        if car.at + 1 < len(car.route):
            target = car.route[car.at + 1]
            room = self.links[target].room_at()
            if self.links[target].waiters or room is None or room > now:
                self.wait(link, target)
                self.open_gate(target, now)
                if not self.links[target].gate_due:
                    self.watch_ring(link, now)
                return
            who = self.leave(link, now)
            self.enter(target, who, now)
        else:
            self.leave(link, now)
        self.lost_its_head(link, now)

    def gate(self, target: int, now: int) -> None:
        there = self.links[target]
        there.gate_due = False
        left = None
        while there.waiters:
            waiter = min(there.waiters, key=lambda w: (self.tag[w], w))
            there.waiters.remove(waiter)
            self.target[waiter] = None
            if waiter < self.n:
                shows = self.shows_green(waiter, now)
                if shows > now:
                    self.links[waiter].head_due = True
                    heapq.heappush(self.heap, (shows, HEAD, waiter))
                    continue
                who = self.leave(waiter, now)
                left = waiter
            else:
                who = there.source.popleft()
                self.cars[who].times.append(now)
            there.virtual = self.tag[waiter]
            self.tag[waiter] += self.weight[waiter]
            self.enter(target, who, now)
            if waiter >= self.n and there.source:
                self.wait(waiter, target)
            break
        if there.waiters:
            self.open_gate(target, now)
            if not there.gate_due:
                for waiter in there.waiters:
                    if waiter < self.n:
                        self.watch_ring(waiter, now)
        if left is not None:
            self.lost_its_head(left, now)

    def ring(self, link: int, now: int) -> None:
        ring = self.ring_through(link)
        if not ring or self.links[link].ring_seen != (now, len(self.links[link].exits)):
            return
        self.rings += 1
        # everyone leaves, then everyone enters: all at the same moment
        moves = []
        for other in ring:
            target = self.target[other]
            assert target is not None
            self.links[target].waiters.remove(other)
            moves.append((self.leave(other, now), target))
        for who, target in moves:
            self.enter(target, who, now)
        for other in ring:
            self.target[other] = None
            if not self.links[other].head_due:
                self.schedule_head(other)

    # ------------------------------------------------------------------ what happens in them

    def lost_its_head(self, link: int, now: int) -> None:
        if self.links[link].waiters:
            self.open_gate(link, now)
        if self.links[link].queue:
            self.schedule_head(link)

    def leave(self, link: int, now: int) -> int:
        here = self.links[link]
        who, _ = here.queue.popleft()
        car = self.cars[who]
        here.exits.append(now)
        here.next_out_us = self.paced(here.next_out_us, now, here.headway_us * car.gap_permille // 1000)
        car.times.append(now)
        car.at += 1
        return who

    def enter(self, link: int, who: int, now: int) -> None:
        here, car = self.links[link], self.cars[who]
        assert car.route[car.at] == link
        here.entered += 1
        here.queue.append((who, now + here.free_ms * car.pace_permille // 1000))
        here.next_in_us = self.paced(here.next_in_us, now, here.headway_us * car.gap_permille // 1000)
        if len(here.queue) == 1:
            self.schedule_head(link)

    @staticmethod
    def paced(allowed_us: int, now: int, headway_us: int) -> int:
        return (allowed_us if now * 1000 - allowed_us < 1000 else now * 1000) + headway_us

    def schedule_head(self, link: int) -> None:
        here = self.links[link]
        ready = max(here.queue[0][1], up_to_ms(here.next_out_us))
        here.head_due = True
        heapq.heappush(self.heap, (self.shows_green(link, ready), HEAD, link))

    def open_gate(self, link: int, now: int) -> None:
        room = self.links[link].room_at()
        if not self.links[link].gate_due and room is not None:
            self.links[link].gate_due = True
            heapq.heappush(self.heap, (max(now, room), GATE, link))

    def shows_green(self, link: int, time: int) -> int:
        start, stop = self.links[link].green
        if stop <= start:
            return time
        # the window may span the end of the cycle; the first green that ends after `time`
        begin = time // self.cycle_ms * self.cycle_ms + start - self.cycle_ms
        while begin + stop - start <= time:
            begin += self.cycle_ms
        return max(time, begin)

    def wait(self, waiter: int, target: int) -> None:
        if self.last[waiter] != target or self.tag[waiter] < self.links[target].virtual:
            self.tag[waiter] = self.links[target].virtual
        self.last[waiter] = target
        self.target[waiter] = target
        self.links[target].waiters.add(waiter)

    def ring_through(self, link: int) -> list[int]:
        ring, other = [link], link
        while True:
            target = self.target[other]
            if target is None or self.links[target].gate_due:
                return []
            if target == link:
                return ring
            if target in ring:
                return []
            ring.append(target)
            other = target

    def watch_ring(self, link: int, now: int) -> None:
        ring = self.ring_through(link)
        if ring:
            lowest = self.links[min(ring)]
            if lowest.ring_seen[0] < now or lowest.ring_seen[1] != len(lowest.exits):
                lowest.ring_seen = (now + self.ring_ms, len(lowest.exits))
                heapq.heappush(self.heap, (now + self.ring_ms, RING, min(ring)))

    def in_order(self) -> bool:
        """Whether the times of every car rise."""
        return all(a <= b for car in self.cars for a, b in pairwise(car.times))
