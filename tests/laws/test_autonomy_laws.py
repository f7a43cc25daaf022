"""Laws of driver assistance for any mix of roads, speeds, levels and tick lengths."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.network import ROAD_CLASSES
from maps.toy import corridor
from tests.test_autonomy_propilot import changed, closed, room, travel

CLASSES = [ROAD_CLASSES.index(name) for name in ("motorway", "trunk", "primary", "residential")]


@settings(max_examples=25, deadline=None)
@given(
    classes=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=12),
    length_m=st.floats(5, 4000),
    speed_kmh=st.floats(3, 200),
    use=st.floats(0, 5),
    seed=st.integers(0, 2**63 - 1),
)
def test_engaged_within_domain_within_driven(
    classes: list[int], length_m: float, speed_kmh: float, use: float, seed: int
) -> None:
    road = corridor(len(classes), length_m=length_m)
    road = changed(road, link_class=np.array(classes, np.uint8))
    autonomy = room(road, cars=40, use=use, seed=seed, hours=10_000)
    autonomy.fleet.propilot[:] = np.arange(40) % 4
    rows = travel(autonomy, speed_kmh=speed_kmh, tick_ms=900_000)
    level = autonomy.fleet.propilot[rows.car]
    assert (rows.engaged_mm <= rows.driven_mm).all()
    assert not rows.engaged_mm[~autonomy.link_domain[level, rows.link]].any()
    autonomy.finish()
    assert closed(autonomy)


@settings(max_examples=10, deadline=None)
@given(low=st.floats(0, 2), more=st.floats(0, 2), seed=st.integers(0, 2**32))
def test_more_propensity_never_takes_kilometres_away_from_a_car(low: float, more: float, seed: int) -> None:
    few, many = (
        room(corridor(20, length_m=1000, road_class="motorway"), use=use, seed=seed) for use in (low, low + more)
    )
    travel(few)
    travel(many)
    assert (few.fleet.engaged_mm <= many.fleet.engaged_mm).all()


@settings(max_examples=8, deadline=None)
@given(tick_ms=st.sampled_from([1000, 7000, 60_000, 900_000]), seed=st.integers(0, 2**32))
def test_the_tick_changes_nothing(tick_ms: int, seed: int) -> None:
    one, other = (room(corridor(10, length_m=800, road_class="motorway"), cars=30, seed=seed) for _ in range(2))
    a, b = travel(one, tick_ms=60_000), travel(other, tick_ms=tick_ms)
    assert np.array_equal(a.engaged_mm, b.engaged_mm)
    assert np.array_equal(one.fleet.engaged_ms, other.fleet.engaged_ms)


@settings(max_examples=8, deadline=None)
@given(cars=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_other_cars_change_nothing(cars: int, seed: int) -> None:
    some, all_ = (room(corridor(10, length_m=800, road_class="motorway"), cars=n, seed=seed) for n in (cars, 60))
    travel(some)
    travel(all_)
    assert np.array_equal(some.fleet.engaged_mm, all_.fleet.engaged_mm[:cars])
