"""Calendar of events and queues for links, against plain lists and heaps, uncompiled."""

from __future__ import annotations

import heapq
import random

import numpy as np
import pytest

from tests.kernels.uncompiled import plain, rows
from tests.mutation.planting import INSTRUCTIONS
from twin.traffic import calendar_kernels as calendar
from twin.traffic import heap_kernels
from twin.traffic import waiting_kernels as waiting
from twin.traffic.records import LINK, MERGE, WAITER

NOBODY, IDLE = int(calendar.NOBODY), int(calendar.IDLE)


@pytest.mark.parametrize(("us", "ms"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (-1, 0), (-1000, -1)])
def test_whole_milliseconds(us: int, ms: int) -> None:
    assert plain(calendar.ceil_ms)(us) == ms


def test_far_events_come_in_order_of_time_then_ident() -> None:
    push, pop = plain(calendar.push_far), plain(heap_kernels.heap_pop)
    rng = random.Random(1)
    far, clock, model = np.zeros(500, np.int64), np.zeros(calendar.CLOCK_SIZE, np.int64), []
    for _ in range(1500):
        if model and rng.random() < 0.45:
            assert int(far[0]) == heapq.heappop(model)
            clock[calendar.FAR_SIZE] = pop(far, clock[calendar.FAR_SIZE])
        else:
            time, ident = rng.randrange(200), rng.randrange(40)
            push(far, clock, time, ident)
            heapq.heappush(model, time << calendar.ID_BITS | ident)
        assert clock[calendar.FAR_SIZE] == len(model)
        for child in range(1, len(model)):  # no child before its parent of four
            assert far[(child - 1) // 4] <= far[child]
    while model:
        assert int(far[0]) == heapq.heappop(model)
        clock[calendar.FAR_SIZE] = pop(far, clock[calendar.FAR_SIZE])


class Near:
    """The calendar of the next half minute."""

    def __init__(self, cursor: int) -> None:
        self.near = np.full(calendar.NEAR_MS, calendar.NOBODY)
        self.due = np.zeros(calendar.NEAR_MS // 64, np.uint64)
        self.queue = np.full(300, calendar.IDLE)
        self.far = np.zeros(100, np.int64)
        self.clock = np.zeros(calendar.CLOCK_SIZE, np.int64)
        self.clock[calendar.CURSOR] = cursor

    def push(self, time: int, ident: int) -> None:
        plain(calendar.push)(self.near, self.due, self.queue, self.far, self.clock, time, ident)

    def chain(self, time: int) -> list[int]:
        found, ident = [], int(self.near[time % calendar.NEAR_MS])
        while ident != NOBODY:
            found.append(ident)
            ident = int(self.queue[ident])
        return found


def test_near_events_are_chained_in_order_of_ident_with_a_bit_each() -> None:
    cursor, rng = 70_000, random.Random(2)
    calendar_ = Near(cursor)
    times = {ident: cursor + rng.choice([0, 1, 63, 64, 700, calendar.NEAR_MS - 1]) for ident in range(120)}
    for ident in rng.sample(sorted(times), len(times)):
        calendar_.push(times[ident], ident)
    for time in set(times.values()):
        assert calendar_.chain(time) == sorted(i for i, t in times.items() if t == time)
    bits = {
        64 * word + bit
        for word in range(len(calendar_.due))
        for bit in range(64)
        if int(calendar_.due[word]) >> bit & 1
    }
    assert bits == {time % calendar.NEAR_MS for time in times.values()}
    assert calendar_.clock[calendar.FAR_SIZE] == 0


def test_what_is_not_near_goes_to_the_heap() -> None:
    cursor = 70_000
    calendar_ = Near(cursor)
    for time, ident in ((cursor + calendar.NEAR_MS, 3), (cursor - 1, 4), (cursor + 10**9, 5)):
        calendar_.push(time, ident)
        assert calendar_.queue[ident] == calendar.FAR_AWAY
    assert calendar_.clock[calendar.FAR_SIZE] == 3
    assert calendar_.far[0] == (cursor - 1) << calendar.ID_BITS | 4
    assert not calendar_.due.any()


def test_next_due_is_the_first_bit_from_a_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "lowest_bit", INSTRUCTIONS["lowest_bit"])  # an instruction that only the compiler has
    cursor = 5 * calendar.NEAR_MS - 300  # round the end of the ring
    calendar_, rng = Near(cursor), random.Random(3)
    times = sorted(rng.sample(range(cursor, cursor + 2000), 12))
    for ident, time in enumerate(times):
        calendar_.push(time, ident)
    stop = cursor + 2100
    for time in range(cursor, cursor + 2050):
        first = min([t for t in times if t >= time], default=stop)
        assert plain(calendar.next_due)(calendar_.due, time, stop) == first
    for time in (times[3], times[3] - 1):
        assert plain(calendar.next_due)(calendar_.due, time, times[3]) == times[3]
    assert plain(calendar.next_due)(calendar_.due, times[2] + 1, times[3] - 1) == times[3] - 1
    assert plain(calendar.next_due)(calendar_.due, stop, stop - 5) == stop


def _queues(n: int) -> tuple[np.recarray, np.recarray, np.recarray]:
    return rows(LINK, n, first_waiter=NOBODY), rows(MERGE, n), rows(WAITER, 2 * n, target=NOBODY, last=NOBODY)


def test_waiters_stand_in_one_queue_and_leave_it_from_anywhere() -> None:
    links, merges, waiters = _queues(6)
    rng, model = random.Random(4), {0: [], 1: []}
    for _ in range(300):
        target = rng.randrange(2)
        free = [w for w in range(2, 12) if w not in model[0] + model[1]]
        if free and rng.random() < 0.6:
            waiter = rng.choice(free)
            plain(waiting.enlist)(links, merges, waiters, target, waiter)
            model[target].insert(0, waiter)
        elif model[target]:
            waiter = rng.choice(model[target])
            plain(waiting.delist)(links, waiters, waiter)
            model[target].remove(waiter)
            assert waiters[waiter].target == NOBODY
        for link, queue in model.items():
            found, other = [], int(links[link].first_waiter)
            while other != NOBODY:
                found.append(other)
                assert waiters[other].target == link
                other = int(waiters[other].next)
            assert found == queue


def test_turns_that_were_not_used_are_not_saved_up() -> None:
    links, merges, waiters = _queues(3)
    merges[1].virtual = 500
    for tag, last, then in ((700, 1, 700), (300, 1, 500), (500, 1, 500), (700, 2, 500), (300, 2, 500)):
        waiters[2].tag, waiters[2].last = tag, last
        plain(waiting.enlist)(links, merges, waiters, 1, 2)
        assert (waiters[2].tag, waiters[2].last, waiters[2].target) == (then, 1, 1)
        plain(waiting.delist)(links, waiters, 2)


def test_the_turn_is_of_the_least_tag_then_of_the_lowest_row() -> None:
    rng = random.Random(5)
    for _ in range(60):
        links, merges, waiters = _queues(6)
        standing = rng.sample(range(12), rng.randrange(1, 7))
        for waiter in standing:
            plain(waiting.enlist)(links, merges, waiters, 0, waiter)
            waiters[waiter].tag = rng.randrange(3)
        best = min(standing, key=lambda waiter: (waiters[waiter].tag, waiter))
        assert plain(waiting.whose_turn)(links, waiters, 0) == best


def _ring(target: dict[int, int], n: int = 40) -> tuple[np.recarray, np.ndarray]:
    waiters, queue = rows(WAITER, 2 * n, target=NOBODY), np.full(3 * n, IDLE)
    for link, onto in target.items():
        waiters[link].target = onto
    return waiters, queue


def test_a_ring_is_found_by_who_is_in_it_and_by_nobody_else() -> None:
    through = plain(waiting.ring_through)
    for size in (1, 2, 3, 5, 8, 13):
        members = [7 + 2 * k for k in range(size)]
        waiters, queue = _ring(
            dict(zip(members, members[1:] + members[:1], strict=True)) | {0: 1, 1: 2, 2: members[0], 3: 4}
        )
        for link in members:
            assert through(waiters, queue, link, 40) == (size, 7)
        for link in (0, 1, 2, 3, 4):  # runs into the ring, or to a link that moves
            assert through(waiters, queue, link, 40) == (0, link)
        queue[40 + members[-1]] = 5  # its gate is about to open
        for link in members:
            assert through(waiters, queue, link, 40) == (0, link)


def test_a_ring_is_watched_once_until_one_of_it_has_moved() -> None:
    n = 40
    waiters, queue = _ring({5: 6, 6: 9, 9: 5}, n)
    links, merges = rows(LINK, n, count_out=3), rows(MERGE, n, ring_seen_ms=-1)
    far, clock = np.zeros(50, np.int64), np.zeros(calendar.CLOCK_SIZE, np.int64)

    def watch(link: int, now: int) -> int:
        plain(waiting.watch_ring)(links, merges, waiters, queue, far, clock, link, now, 200, n)
        return int(clock[calendar.FAR_SIZE])

    assert watch(1, 1000) == 0
    assert watch(9, 1000) == 1
    assert far[0] == (1200 << calendar.ID_BITS) | (2 * n + 5)
    assert (merges[5].ring_seen_ms, merges[5].ring_seen_out) == (1200, 3)
    assert watch(6, 1200) == 1  # its event is still to come
    links[5].count_out = 4
    assert watch(6, 1200) == 2
    assert watch(6, 1401) == 3  # its event has passed
    assert merges[5].ring_seen_ms == 1601
