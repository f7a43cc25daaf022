"""Laws of the talk phase: every byte is somewhere, whatever happens."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cloud_cases import MINUTE, Talk
from twin.cloud import kernels
from twin.fleet.fleet import State

steps = st.lists(
    st.tuples(
        st.sets(st.integers(0, 11), max_size=12),
        st.sets(st.integers(0, 11), max_size=12),
        st.integers(1, 20 * MINUTE),
        st.integers(0, 10**9),
        st.integers(0, 2**32),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(
    steps=steps,
    uplink=st.sampled_from([1e-5, 1e-3, 1.0, 100.0]),
    generation=st.sampled_from([2, 3, 4]),
    hole=st.sampled_from([0.0, 0.3, 1.0]),
    outage=st.sampled_from([[], [(0.1, 0.2)], [(0.0, 24.0)]]),
    limit=st.sampled_from([400, 30_000, 10**6]),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_byte_is_delivered_waiting_or_dropped(steps, uplink, generation, hole, outage, limit, seed) -> None:  # type: ignore[no-untyped-def]
    talk = Talk(12, generation=generation, cell_uplink_mbit_s=uplink, outage=outage, seed=seed)
    talk.cloud.cells.outage[:] = hole
    talk.cloud.up.store.limit_b[:] = limit
    links = talk.city.network.n_links
    for moving, plugged, length, driven, place in steps:
        talk.fleet.state[:] = State.PARKED
        talk.fleet.link[:] = -1
        cars = sorted(moving)
        talk.fleet.state[cars] = State.DRIVING
        talk.fleet.link[cars] = (place + np.array(cars, np.int64)) % links
        talk.fleet.node[:] = (place + np.arange(12)) % talk.city.network.n_nodes
        until = talk.now + length
        rows = [(car, int(talk.fleet.link[car]), talk.now, until) for car in cars]
        talk.tick(
            until,
            rows=rows,
            started=cars,
            ended=cars[::2],
            plugged=sorted(plugged - moving),
            driven_mm=driven,
            engaged_mm=driven // 3,
        )
        assert talk.closed()
        assert (talk.fleet.buffered_b <= limit).all()
    talk.cloud.finish(talk.now)
    assert talk.closed()
    assert talk.column("generated_bytes") == talk.fleet.generated_b.sum()
    assert talk.column("moved_bytes") == 0


@settings(max_examples=60, deadline=None)
@given(
    asks=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), min_size=1, max_size=60),
    caps=st.lists(st.integers(0, 5000), min_size=4, max_size=4),
)
def test_shares_are_max_min_fair(asks, caps) -> None:  # type: ignore[no-untyped-def]
    cell = np.array([a for a, _ in asks], np.int32)
    want = np.array([b for _, b in asks], np.int64)
    cap = np.array(caps, np.int64)
    asked = np.bincount(cell, want, minlength=4).astype(np.int64)
    give, order, start = np.zeros(len(asks), np.int64), np.zeros(len(asks), np.int64), np.zeros(5, np.int64)
    kernels.share_out(cell, want, len(asks), asked, cap, give, order, start)
    assert (give >= 0).all()
    assert (give <= want).all()
    got = np.bincount(cell, give, minlength=4).astype(np.int64)
    assert np.array_equal(got, np.minimum(asked, cap))
    for k in range(4):
        here = cell == k
        short = here & (give < want)
        if short.any():
            # nobody who was cut gets less than what anybody else got, up to the byte that does not divide
            assert give[here].max() - give[short].min() <= 1
