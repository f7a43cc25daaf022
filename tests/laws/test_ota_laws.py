"""Laws of a campaign: legal moves and whole packages, whatever the cars do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cloud_cases import MINUTE
from tests.test_ota_campaign import Rollout
from twin.fleet.fleet import State


@settings(max_examples=25, deadline=None)
@given(
    ticks=st.lists(st.tuples(st.integers(1, 600 * MINUTE), st.integers(0, 2**32)), min_size=1, max_size=25),
    package_mb=st.sampled_from([0.001, 3.0, 150.0]),
    downlink=st.sampled_from([0.01, 1.0, 1000.0]),
    works=st.sampled_from([0.0, 0.5, 1.0]),
    spoils=st.sampled_from([0.0, 0.5]),
    install_min=st.sampled_from([0.01, 20.0, 300.0]),
    threshold=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 2**63 - 1),
)
def test_books_close_after_every_tick(ticks, package_mb, downlink, works, spoils, install_min, threshold, seed) -> None:  # type: ignore[no-untyped-def]
    rollout = Rollout(
        30,
        seed=seed,
        package_mb=package_mb,
        cell_downlink_mbit_s=downlink,
        install_min=install_min,
        error_threshold=threshold,
        groups=[0.2, 1.0],
        group_gap_h=0.5,
    )
    campaign = rollout.campaign
    campaign._install_works = (works, works)
    campaign._download_fails = spoils
    campaign.air.cells.outage[:] = 0.2
    for length, place in ticks:
        state = np.array([State.PARKED, State.DRIVING, State.PLUGGED, State.QUEUED, State.STUCK])[
            (place + np.arange(30)) % 5
        ]
        rollout.fleet.state[:] = np.where(campaign.installing, State.PARKED, state)
        rollout.fleet.link[:] = np.where(rollout.fleet.state == State.DRIVING, place % rollout.city.network.n_links, -1)
        barred = campaign.installing.copy()
        rollout.run(rollout.now + length, tick_ms=length)
        assert rollout.closed()
        # whoever was barred either still installs or has ended; nobody drives while installing
        assert not (campaign.installing & (rollout.fleet.state == State.DRIVING)).any()
        assert set(campaign.state[np.isin(campaign.car, np.flatnonzero(barred))].tolist()) <= {5, 6, 7, 8, 9}
    assert campaign.summary()["bytes"] == rollout.fleet.downlink_b.sum()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_two_campaigns_with_other_groups_share_their_luck(seed: int) -> None:
    """Who consents when, and whose installation fails, does not depend on the rollout plan."""
    one, two = (
        Rollout(60, seed=seed, package_mb=1.0, install_min=5.0, groups=groups) for groups in ([1.0], [0.5, 1.0])
    )
    for rollout in (one, two):
        rollout.drive()
        rollout.run(4 * 60 * MINUTE)
        rollout.park()
        rollout.run(30 * 60 * MINUTE, tick_ms=10 * MINUTE)
    waits = []
    for rollout in (one, two):
        done, said = rollout.rows("downloaded"), rollout.rows("consented")
        # a car whose installation failed is asked again, which is not its own moment
        first = said["reason"] == ""
        at = dict(zip(done["car_id"].tolist(), done["time_s"].tolist(), strict=True))
        waits.append(
            {
                c: round(t - at[c], 3)
                for c, t in zip(said["car_id"][first].tolist(), said["time_s"][first].tolist(), strict=True)
            }
        )
    for car in waits[0].keys() & waits[1].keys():
        assert waits[0][car] == waits[1][car]
