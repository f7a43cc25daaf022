"""The rules of `twin/traffic/kernels.py` once more, as plainly as Python allows: slow, whole histories, no buffers.

Written to be compared with, exit time by exit time. Nothing is shared with the kernel but the rules: every exit of
every link is kept, events are tuples in one heap, who waits is a set.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
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
    size_permille: int = 1000
    at: int = 0
    got: int = 0
    """Of its link's space, less than its size where there was no more."""
    times: list[int] = field(default_factory=list)
    """When it entered its first link, then when it left each."""


@dataclass
class Link:
    free_ms: int
    headway_us: int
    whole: int
    permille: int
    wave_ms: int
    cycle_ms: int = 1
    greens: list[tuple[int, int]] = field(default_factory=list)
    """Windows within the cycle; none without a signal."""
    stretch_permille: int = 1000
    foes: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """(mine or -1, foe, onto or -1, lag, gap)"""
    patience_ms: int = 1
    queue: deque[tuple[int, int]] = field(default_factory=deque)
    """(car, when it can be at the end)"""
    used: int = 0
    """Space taken by all that ever entered, permille of a car's."""
    exits: list[int] = field(default_factory=list)
    freed: list[int] = field(default_factory=list)
    """Space left by all up to each exit."""
    next_in_us: int = LONG_AGO
    next_out_us: int = LONG_AGO
    head_due: bool = False
    gate_due: bool = False
    source: deque[int] = field(default_factory=deque)
    waiters: set[int] = field(default_factory=set)
    virtual: int = 0
    ring_seen: tuple[int, int] = (-1, -1)

    def room_at(self, size: int = 1000) -> int | None:
        """When a vehicle of this size fits; None while that depends on one that has not left."""
        missing = self.used + min(size, 1000 * self.whole) - 1000 * self.whole
        back = bisect_left(self.freed, missing) if missing > 0 else -1
        if back >= len(self.exits):
            return None
        newer = self.exits[back] + self.wave_ms if back >= 0 else LONG_AGO
        older = self.exits[back - 1] + self.wave_ms if back >= 1 else LONG_AGO
        left = self.freed[back] - (self.freed[back - 1] if back >= 1 else 0) if back >= 0 else 1
        space = newer - self.permille * (newer - older) // left
        return max(space, up_to_ms(self.next_in_us))

    def free(self) -> int:
        """Space nobody has taken, counting what is still on its way to the start."""
        return 1000 * self.whole + (self.freed[-1] if self.freed else 0) - self.used


class Reference:
    """Drive cars until nothing happens any more, or for `steps` events."""

    def __init__(self, links: list[Link], weight: list[int], cars: list[Car], *, ring_ms: int) -> None:
        self.links, self.cars, self.weight = links, cars, weight
        self.ring_ms = ring_ms
        self.n = len(links)
        self.heap: list[tuple[int, int, int]] = []
        self.target: list[int | None] = [None] * (2 * self.n)
        self.last = [-1] * (2 * self.n)
        self.tag = [0] * (2 * self.n)
        self.rings = self.gave_way = 0

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
        goes = self.may_go(link, now)
        if goes > now:
            here.head_due = True
            heapq.heappush(self.heap, (goes, HEAD, link))
            return
        if car.at + 1 < len(car.route):
            target = car.route[car.at + 1]
            room = self.links[target].room_at(car.size_permille)
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
        left, held = None, False
        while there.waiters:
            waiter = min(there.waiters, key=lambda w: (self.tag[w], w))
            first = self.links[waiter].queue[0][0] if waiter < self.n else there.source[0]
            room = there.room_at(self.cars[first].size_permille)
            if room is None or room > now:
                # too long for the space there is: it has its turn all the same
                held = True
                if room is not None:
                    there.gate_due = True
                    heapq.heappush(self.heap, (room, GATE, target))
                break
            there.waiters.remove(waiter)
            self.target[waiter] = None
            if waiter < self.n:
                goes = self.may_go(waiter, now)
                if goes > now:
                    self.links[waiter].head_due = True
                    heapq.heappush(self.heap, (goes, HEAD, waiter))
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
            if not held:
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
        here.freed.append((here.freed[-1] if here.freed else 0) + car.got)
        headway = here.headway_us * car.gap_permille // 1000 * here.stretch_permille // 1000
        here.next_out_us = self.paced(here.next_out_us, now, headway)
        car.times.append(now)
        car.at += 1
        return who

    def enter(self, link: int, who: int, now: int) -> None:
        here, car = self.links[link], self.cars[who]
        assert car.route[car.at] == link
        car.got = min(car.size_permille, 1000 * here.whole, here.free())
        here.used += car.got
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
        here = self.links[link]
        if not here.greens:
            return time
        # every window of a cycle before and two after; the first green that ends after `time`
        begin = time // here.cycle_ms * here.cycle_ms
        turns = range(begin - here.cycle_ms, begin + 2 * here.cycle_ms, here.cycle_ms)
        return min(max(time, t + start) for t in turns for start, stop in here.greens if t + stop > time)

    def may_go(self, link: int, now: int) -> int:
        """When the head may try to leave: at green, and when nobody with right of way comes within its gap."""
        shows = self.shows_green(link, now)
        if shows > now:
            return shows
        here = self.links[link]
        who, there = here.queue[0]
        route, at = self.cars[who].route, self.cars[who].at
        mine = route[at + 1] if at + 1 < len(route) else -1
        waited = max(0, now - max(there, up_to_ms(here.next_out_us)))
        left = max(0, here.patience_ms - waited)
        goes = now
        for for_onto, foe, onto, lag, gap in here.foes:
            if not self.links[foe].queue or for_onto not in (-1, mine):
                continue
            other, arrives = self.links[foe].queue[0]
            route, at = self.cars[other].route, self.cars[other].at
            if onto not in (-1, route[at + 1] if at + 1 < len(route) else -2):
                continue
            due = self.shows_green(foe, max(arrives, up_to_ms(self.links[foe].next_out_us))) + lag
            if now <= due < now + gap * left // here.patience_ms:
                goes = max(goes, due + 1)
        self.gave_way += goes > now
        if goes > now and here.greens:
            last = now
            while last < goes and self.shows_green(link, last + 1) == last + 1 and self.same_window(link, last):
                last += 1
            goes = last
        return goes

    def same_window(self, link: int, time: int) -> bool:
        """Whether the green at `time` is that of the millisecond after it, and not the next window's."""
        here = self.links[link]
        return any((time - start) % here.cycle_ms + 1 < stop - start for start, stop in here.greens)

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
