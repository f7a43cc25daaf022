"""Green windows, gaps in streams with right of way and places of vehicles, by hand, uncompiled."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.uncompiled import plain, rows
from twin.traffic import calendar_kernels as calendar
from twin.traffic import junction_kernels as junction
from twin.traffic.records import END, FOE, LINK, SLOT, VEHICLE
from twin.traffic.snapshot_kernels import snapshot

NOBODY = int(calendar.NOBODY)


@pytest.mark.parametrize("windows", [[(0, 20)], [(10, 35)], [(80, 120)], [(5, 10), (40, 60)], [(90, 105), (30, 31)]])
def test_green_and_its_end_as_a_clock_says(windows: list[tuple[int, int]]) -> None:
    """A cycle of 100 ms; a window may lie across its end."""
    ends = rows(END, 3, next_window=NOBODY)
    places = [0, 2][: len(windows)]
    for row, (start, stop) in zip(places, windows, strict=True):
        ends[row].cycle_ms, ends[row].start_ms, ends[row].stop_ms = 100, start, stop
    ends[0].next_window = 2 if len(windows) == 2 else NOBODY

    def on(time: int, window: tuple[int, int]) -> bool:
        return any(window[0] <= time % 100 + shift < window[1] for shift in (0, 100))

    for time in range(1000, 1210):
        first = next(t for t in range(time, time + 200) if any(on(t, w) for w in windows))
        assert plain(junction.green)(ends, 0, time) == first
        own = next((w for w in windows if on(time, w)), None)
        last = time if own is None else next(t for t in range(time, time + 200) if not on(t + 1, own))
        assert plain(junction.last_green)(ends, 0, time) == last


class Crossing:
    """Link 0 gives way to link 1; each has its head vehicle. Vehicle 0 goes on to link 5, vehicle 1 to link 6."""

    def __init__(self) -> None:
        self.links = rows(
            LINK, 2, storage=4, count_in=3, count_out=2, head=2, slots=[0, 4], control=[junction.YIELDS, 0]
        )
        self.slots = rows(SLOT, 8, vehicle=[9, 9, 0, 9, 9, 9, 1, 9], ms=0)
        self.vehicles = rows(VEHICLE, 10, next_link=[5, 6, *[7] * 8])
        self.ends = rows(
            END, 2, patience_ms=10_000, first_foe=0, foes=[1, 0], cycle_ms=100, stop_ms=50, next_window=NOBODY
        )
        self.foes = rows(FOE, 1, mine=NOBODY, link=1, onto=NOBODY, lag_ms=500, gap_ms=4000)
        self.slots[2].ms = 20_000  # arrived at the line at 20 s
        self.slots[6].ms = 22_000  # the other is at its line at 22 s

    def at(self, now: int) -> int:
        return int(plain(junction.gap_at)(self.links, self.slots, self.vehicles, self.ends, self.foes, 0, now))

    def goes(self, now: int) -> int:
        return int(plain(junction.may_go_at)(self.links, self.slots, self.vehicles, self.ends, self.foes, 0, now))


def test_who_comes_within_the_gap_goes_first() -> None:
    """Waited 0 s of 10 s: the gap is 4 s; the other gets to the conflict at 22.5 s."""
    cross = Crossing()
    assert cross.at(20_000) == 22_501
    cross.slots[6].ms = 23_500  # at the conflict at 24 s, 4 s ahead
    assert cross.at(20_000) == 20_000
    cross.slots[6].ms = 23_499
    assert cross.at(20_000) == 24_000
    cross.slots[6].ms = 19_500  # at the conflict this very moment
    assert cross.at(20_000) == 20_001
    cross.slots[6].ms = 19_499  # stands at its line already
    assert cross.at(20_000) == 20_000


def test_a_gap_shrinks_with_the_wait_and_ends_with_the_patience() -> None:
    """After 2 s the gap is 4 s · 8/10 = 3.2 s; after 10 s it is none."""
    cross = Crossing()
    cross.slots[6].ms = 22_000 + 3200 - 500
    assert cross.at(22_000) == 22_000
    cross.slots[6].ms -= 1
    assert cross.at(22_000) == 25_200
    cross.slots[6].ms = 30_100
    assert cross.at(29_999) == 29_999  # 1 ms of patience is a gap of 0.4 ms, in whole ones 0
    assert cross.at(31_000) == 31_000
    cross.links[0].next_out_us = 24_000_000  # the headway counts as arrival: no wait yet at 24 s
    cross.slots[6].ms = 27_499
    assert cross.at(24_000) == 28_000
    assert cross.at(23_000) == 23_000  # before the headway the wait is none, not less: 4 s ahead, 27.999 s
    cross.slots[6].ms = 26_499
    assert cross.at(23_000) == 27_000


def test_a_gap_longer_than_the_patience() -> None:
    """20 s for who is ready to wait 10 s: a millisecond of wait is two of gap."""
    cross = Crossing()
    cross.foes[0].gap_ms = 20_000
    for now, due, then in (
        (20_000, 39_999, 40_000),
        (20_000, 40_000, 20_000),
        (20_001, 39_998, 39_999),
        (20_001, 39_999, 20_001),
        (19_000, 38_999, 39_000),  # before it has arrived the gap is whole
        (19_000, 39_000, 19_000),
        (29_999, 30_000, 30_001),
        (30_000, 30_000, 30_000),
        (31_000, 31_001, 31_000),
    ):
        cross.slots[6].ms = due - 500
        assert cross.at(now) == then


def test_only_streams_in_conflict_count() -> None:
    for mine, onto, waits in (
        (NOBODY, NOBODY, True),
        (5, NOBODY, True),
        (4, NOBODY, False),
        (5, 6, True),
        (5, 7, False),
    ):
        cross = Crossing()
        cross.foes[0].mine, cross.foes[0].onto = mine, onto
        assert (cross.at(20_000) > 20_000) is waits
    cross = Crossing()
    cross.links[1].count_out = 3  # nobody there
    assert cross.at(20_000) == 20_000
    cross = Crossing()
    cross.ends[0].foes = 0
    assert cross.at(20_000) == 20_000


def test_the_other_comes_after_its_headway_and_its_signal() -> None:
    cross = Crossing()
    cross.links[1].next_out_us = 22_700_001
    assert cross.at(20_000) == 22_701 + 500 + 1
    cross.links[1].control = junction.SIGNAL
    cross.ends[1].start_ms, cross.ends[1].stop_ms = 10, 30  # red at 22.701 s until 22.710 s
    assert cross.at(20_000) == 22_710 + 500 + 1


def test_the_last_of_several_streams_decides() -> None:
    cross = Crossing()
    cross.links = rows(LINK, 3, storage=4, count_in=3, head=2, count_out=2, slots=[0, 4, 4])
    cross.links[0].control = junction.YIELDS
    cross.ends = rows(END, 3, patience_ms=10_000, first_foe=1, foes=[2, 0, 0], next_window=NOBODY)
    cross.foes = rows(FOE, 3, mine=NOBODY, link=[0, 1, 2], onto=NOBODY, lag_ms=[0, 900, 500], gap_ms=4000)
    assert cross.at(20_000) == 22_901
    cross.foes[1].onto = 7  # not in conflict; the next one still is
    assert cross.at(20_000) == 22_501
    cross.links[1].count_out = 3  # nobody there; the next one still is
    assert cross.at(20_000) == 22_501


def test_signal_and_gap_together() -> None:
    cross = Crossing()
    assert cross.goes(20_000) == cross.goes(20_070) == 22_501  # what would be red does not count
    cross.links[0].control = 0
    assert cross.goes(20_000) == 20_000
    cross.links[0].control = junction.SIGNAL
    assert cross.goes(20_070) == 20_100  # red
    assert cross.goes(20_020) == 20_020
    cross.links[0].control = junction.SIGNAL | junction.YIELDS
    assert cross.goes(20_070) == 20_100
    assert cross.goes(20_020) == 20_049  # clears the junction at the end of its green
    cross.slots[6].ms = 19_530  # passes before the green ends
    assert cross.goes(20_020) == 20_031
    cross.links[0].control = junction.YIELDS | junction.METERED
    assert cross.goes(20_020) == 20_031


def test_places_of_vehicles() -> None:
    """100 m driven in 10 s; queued vehicles stand 8 m behind each other; the ring of slots wraps round."""
    links = rows(LINK, 3, storage=3, count_in=[0, 5, 7], count_out=[0, 2, 7], head=[0, 2, 1], slots=[0, 3, 6])
    slots = rows(SLOT, 9, vehicle=[9, 9, 9, 4, 5, 3, 9, 9, 9], ms=[0, 0, 0, 14_000, 21_000, 12_000, 0, 0, 0])
    vehicles = rows(VEHICLE, 10, enter_ms=[0, 0, 0, 2000, 4000, 11_000, 0, 0, 0, 0], taken_permille=1000)
    length, spacing = np.array([50.0, 100.0, 10.0]), np.array([8.0, 8.0, 8.0])
    who, on, metres = np.zeros(5, np.int64), np.zeros(5, np.int64), np.zeros(5)

    def seen(now: int) -> list[tuple[int, int, float]]:
        n = plain(snapshot)(now, links, length, spacing, slots, vehicles, who, on, metres)
        return list(zip(who[:n].tolist(), on[:n].tolist(), metres[:n].tolist(), strict=True))

    # from the head on, slots 5, 3, 4: vehicles 3, 4, 5
    assert seen(12_000) == [(3, 1, 100.0), (4, 1, 80.0), (5, 1, 10.0)]
    assert seen(30_000) == [(3, 1, 100.0), (4, 1, 92.0), (5, 1, 84.0)]
    assert seen(1000) == [(3, 1, 0.0), (4, 1, 0.0), (5, 1, 0.0)]
    vehicles[3].taken_permille = 2500  # a lorry: who comes next stands 20 m behind its front
    assert seen(30_000) == [(3, 1, 100.0), (4, 1, 80.0), (5, 1, 72.0)]
    spacing[:] = 60.0
    assert seen(30_000)[2] == (5, 1, 0.0)
    slots[5].ms = 2000  # no time at all: at the end at once
    assert seen(2001)[0] == (3, 1, 100.0)
    assert seen(2000)[0] == (3, 1, 0.0)
