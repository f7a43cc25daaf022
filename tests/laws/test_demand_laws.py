"""Laws of demand that hold for any seed, fleet and window."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.toy import toy_city
from twin.demand import kernels
from twin.demand.days import Demand
from twin.demand.other_traffic import OtherTraffic
from twin.fleet.fleet import Fleet
from twin.settings import DemandSettings

CITY = toy_city(7, homes=120)
NODES = CITY.network.n_nodes
OTHERS = OtherTraffic(
    CITY, DemandSettings(), market="us", seed=9, start=datetime(2022, 10, 14, 5, 17), fleet_cars=0, pool=300
)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    size=st.integers(1, 60),
    market=st.sampled_from(["japan", "europe", "us"]),
    hour=st.integers(0, 23),
    outside=st.sampled_from([0.0, 0.25, 1.0]),
    moving=st.sampled_from([None, 0.0, 1.0]),
    homes=st.integers(0, 2**32 - 1),
)
def test_every_car_has_one_unbroken_life(
    seed: int, size: int, market: str, hour: int, outside: float, moving: float | None, homes: int
) -> None:
    """Any nodes as home and work, also beyond the map or the same: chains are unbroken and end at home."""
    fleet, rng = Fleet(size), np.random.default_rng(homes)
    fleet.home_node[:] = rng.integers(0, NODES, size)
    fleet.work_node[:] = np.where(rng.random(size) < 0.2, fleet.home_node, rng.integers(-1, NODES, size))
    plans = Demand(
        CITY, fleet, DemandSettings(outside=outside, moving=moving), market=market, seed=seed,
        start=datetime(2022, 10, 13) + timedelta(hours=hour),
    )  # fmt: skip
    at, last_ms = plans.nodes_at_start().copy(), np.full(size, -1)
    driven = 0
    for day in range(3):
        plan = plans.plan_day(day)
        for k in range(len(plan)):
            car = plan.car[k]
            assert plan.from_node[k] == at[car] != plan.to_node[k]
            assert plan.depart_ms[k] > last_ms[car]
            assert plan.km[k] >= 0
            at[car], last_ms[car] = plan.to_node[k], plan.depart_ms[k]
        assert len(plan) == 0 or plan.depart_ms.min() >= max(0, plans.midnight_ms(day))
        driven += len(plan)
    assert (at == fleet.home_node).all()
    assert (driven > 0) == (moving != 0.0) or moving is None


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * 86_400_000), min_size=2, max_size=12, unique=True))
def test_any_cut_of_time_gives_the_same_other_traffic(cuts: list[int]) -> None:
    edges = sorted(cuts)
    whole = OTHERS.trips(edges[0], edges[-1])
    parts = [OTHERS.trips(a, b) for a, b in pairwise(edges)]
    assert (np.concatenate([p.depart_ms for p in parts]) == whole.depart_ms).all()
    assert (np.concatenate([p.pair for p in parts]) == whole.pair).all()
    assert len(whole.pair) == 0 or (whole.depart_ms[0] >= edges[0] and whole.depart_ms[-1] < edges[-1])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(0, 500), width=st.floats(0, 400), u=st.floats(0, 1, exclude_max=True))
def test_a_drawn_place_lies_in_the_band_whenever_one_does(seed: int, low: float, width: float, u: float) -> None:
    rng = np.random.default_rng(seed)
    spots = np.column_stack([rng.uniform(-500, 500, (20, 2)), rng.integers(0, 3, 20), np.arange(20)]).astype(float)
    ptr = np.array([0, 8, 20])
    centre = np.array([spots[:8, :2].mean(axis=0), spots[8:, :2].mean(axis=0)])
    radius = [np.hypot(*(spots[a:b, :2] - c).T).max() for (a, b), c in zip([(0, 8), (8, 20)], centre, strict=True)]
    cells = np.column_stack([centre, radius])
    node = kernels.in_band(0.0, 0.0, low, low + width, -1, -1, -1, spots, cells, ptr, u)
    square = (spots[:, :2] ** 2).sum(axis=1)
    fits = np.flatnonzero((square >= low * low) & (square <= (low + width) ** 2) & (spots[:, 2] > 0))
    assert node in fits if len(fits) else node == -1
