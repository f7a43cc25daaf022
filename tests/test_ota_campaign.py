"""Over-the-air campaign: groups, download times in closed form, consent, installs, outcomes, legal moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import simpy

from maps.network import CityMap
from maps.toy import toy_city
from tests.cloud_cases import DAY, HOUR, MINUTE, connected_fleet
from twin import facts
from twin.cloud.cells import Cells
from twin.fleet.fleet import Kind, State
from twin.ota.campaign import Campaign, CampaignError
from twin.ota.outcome import consent_delay_ms, failure_reasons
from twin.ota.states import MOVES, NAMES, Step, legal
from twin.settings import OtaSettings


class Rollout:
    """A campaign, its fleet and a clock, as the world drives them."""

    def __init__(
        self, cars: int = 50, *, seed: int = 3, city: CityMap | None = None, share: float = 1.0, **knobs: object
    ) -> None:
        self.city = city or toy_city(5, homes=20)
        self.env = simpy.Environment()
        self.fleet = connected_fleet(self.city, cars)
        cells = Cells.of(self.city)
        cells.outage[:] = 0
        given = {"start_h": 0.0, "groups": [1.0], "cell_downlink_mbit_s": 1e6} | knobs
        self.campaign = Campaign(
            self.city,
            self.fleet,
            OtaSettings(**given),  # type: ignore[arg-type]
            self.env,
            cells=cells,
            seed=seed,
            horizon_ms=100 * DAY,
            cell_share=share,
        )
        self.now = 0

    def run(self, until: int, *, tick_ms: int = MINUTE) -> None:
        while self.now < until:
            then = min(until, self.now + tick_ms)
            self.env.run(until=then)
            self.campaign.advance(self.now, then)
            self.now = then

    def drive(self) -> None:
        self.fleet.state[:] = State.DRIVING

    def park(self) -> None:
        self.fleet.state[:], self.fleet.link[:] = State.PARKED, -1

    def at_once(self) -> Rollout:
        """Everybody agrees at once and everything works."""
        self.campaign._download_fails = 0.0
        self.campaign._install_works = (1.0, 1.0)
        return self

    def states(self) -> dict[str, int]:
        return {k: v for k, v in self.campaign.summary()["by_state"].items() if v}

    def rows(self, state: str) -> dict[str, np.ndarray]:
        table = self.campaign.table.arrays()
        return {name: values[table["state"] == state] for name, values in table.items()}

    def closed(self) -> bool:
        return all(value == 0 for value in self.campaign.ledger().values())


def agree(rollout: Rollout) -> None:
    """Consent now, whatever the drivers would say."""
    campaign = rollout.campaign
    campaign.due[campaign.state == Step.DOWNLOADED] = rollout.now


# ------------------------------------------------------------------ targets and groups


def test_targets_are_connected_cars_that_can_be_updated() -> None:
    city = toy_city(5, homes=20)
    fleet = connected_fleet(city, 6)
    fleet.connected[0], fleet.ota[1], fleet.network_generation[2] = 0, 0, 0
    firmware, maps = (
        Campaign(city, fleet, OtaSettings(kind=kind), simpy.Environment(), cells=Cells.of(city), seed=1, horizon_ms=DAY)
        for kind in ("firmware", "navigation")
    )
    assert firmware.car.tolist() == [3, 4, 5]
    assert maps.car.tolist() == [1, 3, 4, 5]
    off = Campaign(
        city, fleet, OtaSettings(enabled=False), simpy.Environment(), cells=Cells.of(city), seed=1, horizon_ms=DAY
    )
    off.advance(0, DAY)
    off.finish(DAY)
    assert off.summary()["targets"] == off.summary()["campaigns"] == len(off.table) == 0


def test_groups_have_their_shares_and_open_one_after_the_other() -> None:
    rollout = Rollout(4000, groups=[0.1, 0.4, 1.0], group_gap_h=2.0, start_h=1.0)
    rollout.run(30 * MINUTE)
    assert len(rollout.campaign.table) == 0
    size = np.bincount(rollout.campaign.group)
    for share, got in zip([0.1, 0.3, 0.6], size, strict=True):
        assert got / 4000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000))
    rollout.run(6 * HOUR)
    opened = rollout.rows("available")
    assert sorted(set(opened["time_s"].tolist())) == [3600.0, 3 * 3600.0, 5 * 3600.0]
    for group, at_s in enumerate((3600.0, 10800.0, 18000.0)):
        cars = opened["car_id"][opened["time_s"] == at_s]
        assert cars.tolist() == rollout.campaign.car[rollout.campaign.group == group].tolist()
    assert rollout.closed()


def test_a_car_asks_when_it_is_switched_on() -> None:
    rollout = Rollout(10, package_mb=1e6)
    rollout.run(HOUR)
    assert rollout.states() == {"available": 10}
    rollout.fleet.state[3], rollout.fleet.state[4] = State.DRIVING, State.PLUGGED
    rollout.run(HOUR + MINUTE)
    assert rollout.states() == {"available": 8, "downloading": 2}


# ------------------------------------------------------------------ download


def test_v25_download_time_of_the_volkswagen_package() -> None:
    """Validation target V25: 6.5 GB at 20 Mbit/s takes 43 minutes."""
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V25")
    rollout = Rollout(1, package_mb=6500.0, car_downlink_mbit_s=20.0).at_once()
    rollout.drive()
    rollout.run(2 * HOUR)
    minutes = rollout.rows("downloaded")["time_s"] / 60
    assert minutes == pytest.approx(6500 * 8 / 20 / 60, abs=1e-4)
    assert minutes == pytest.approx(target["value"][0], rel=target["tolerance_pct"] / 100)


def test_a_cell_is_shared_equally_and_never_exceeded() -> None:
    rollout = Rollout(10, package_mb=100.0, cell_downlink_mbit_s=8.0).at_once()
    rollout.drive()
    rollout.fleet.node[:] = 0
    rollout.run(5 * MINUTE)
    got = rollout.fleet.downlink_b
    assert got.sum() == 5 * 60 * 1_000_000
    assert got.max() - got.min() <= 5
    # ten cars, 100 MB each, 1 MB/s for all: 1000 s
    rollout.run(16 * MINUTE)
    assert rollout.states() == {"downloading": 10}
    rollout.run(17 * MINUTE)
    assert rollout.states() == {"downloaded": 10}
    assert rollout.closed()


def test_download_goes_on_where_it_stopped() -> None:
    rollout = Rollout(1, package_mb=300.0, car_downlink_mbit_s=20.0).at_once()
    rollout.drive()
    rollout.run(MINUTE)
    assert rollout.fleet.downlink_b[0] == 150_000_000
    rollout.fleet.state[:] = State.STUCK
    rollout.run(10 * MINUTE)
    assert rollout.fleet.downlink_b[0] == 150_000_000
    rollout.park()
    rollout.run(11 * MINUTE)
    assert rollout.states() == {"downloaded": 1}
    assert rollout.fleet.downlink_b[0] == 300_000_000


@pytest.mark.parametrize(("generation", "mbit_s"), [(2, 0.04), (3, 1.9), (4, 20.0)])
def test_old_units_are_slow(generation: int, mbit_s: float) -> None:
    rollout = Rollout(1, package_mb=1e4).at_once()
    rollout.fleet.network_generation[:] = generation
    rollout.drive()
    rollout.run(10 * MINUTE)
    assert rollout.fleet.downlink_b[0] == pytest.approx(600 * mbit_s * 1e6 / 8, abs=10)


def test_spoilt_downloads_start_again_and_are_counted() -> None:
    rollout = Rollout(4000, package_mb=1.0)
    rollout.drive()
    rollout.run(MINUTE)
    share = facts.load("ota")["outcome"]["download_failure_per_attempt"]
    spoilt = rollout.states()["available"]
    assert spoilt / 4000 == pytest.approx(share, abs=4 * np.sqrt(share / 4000))
    assert set(rollout.rows("available")["reason"].tolist()) == {"", "verification failed"}
    rollout.run(5 * MINUTE)
    assert rollout.campaign.summary()["bytes"] == rollout.fleet.downlink_b.sum() > 4000 * 1_000_000
    assert rollout.closed()


# ------------------------------------------------------------------ consent and installation


def test_consent_follows_the_facts() -> None:
    u = (np.arange(10_000) + 0.5) / 10_000
    days = consent_delay_ms(u) / DAY
    table = facts.load("ota")["consent_delay"]
    for limit, name in ((1, "same_day_share"), (7, "within_7_days_share"), (30, "within_30_days_share")):
        assert np.mean(days <= limit) == pytest.approx(table[name], abs=1e-3)
    assert np.mean(days > 90) == pytest.approx(table["never_within_90_days_share"], abs=1e-3)
    assert (np.diff(days) >= 0).all()


def test_consent_comes_at_its_drawn_moment() -> None:
    rollout = Rollout(200, package_mb=1.0).at_once()
    rollout.drive()
    rollout.run(6 * HOUR)
    done, said = rollout.rows("downloaded"), rollout.rows("consented")
    waited = said["time_s"] - done["time_s"][np.searchsorted(done["car_id"], said["car_id"])]
    assert len(waited) > 0
    # within six hours: a quarter of the same-day share
    share = 0.35 / 4
    assert len(waited) / 200 == pytest.approx(share, abs=4 * np.sqrt(share / 200))
    assert (waited >= 0).all()
    assert waited.max() > HOUR / 1000


def test_installs_only_when_it_stands_with_enough_charge_and_not_on_dc() -> None:
    rollout = Rollout(6, package_mb=1.0, install_min=20.0).at_once()
    fleet, campaign = rollout.fleet, rollout.campaign
    rollout.drive()
    rollout.run(MINUTE)
    agree(rollout)
    rollout.run(2 * MINUTE)
    assert rollout.states() == {"consented": 6}
    rollout.park()
    fleet.state[0] = State.DRIVING
    fleet.kind[1], fleet.capacity_j[1], fleet.battery_j[1] = Kind.ELECTRIC, 1000, 199
    fleet.kind[2], fleet.capacity_j[2], fleet.battery_j[2] = Kind.ELECTRIC, 1000, 200
    fleet.kind[3], fleet.capacity_j[3], fleet.battery_j[3] = Kind.EPOWER, 1000, 10
    fleet.state[4] = State.PLUGGED
    fleet.state[5], fleet.home_node[5] = State.PLUGGED, fleet.node[5] + 1
    rollout.run(3 * MINUTE)
    assert campaign.installing.tolist() == [False, False, True, True, True, False]
    rollout.run(22 * MINUTE)
    assert rollout.states() == {"consented": 3, "installing": 3}
    rollout.run(24 * MINUTE)
    rollout.campaign.finish(rollout.now)
    assert rollout.states() == {"consented": 3, "installed": 3}
    assert rollout.rows("installed")["time_s"].tolist() == [23 * 60.0] * 3
    assert not campaign.installing.any()
    assert rollout.closed()


def test_outcomes_follow_the_facts() -> None:
    outcome = facts.load("ota")["outcome"]
    rollout = Rollout(6000, package_mb=0.1, install_min=1.0, error_threshold=1.0)
    rollout.drive()
    rollout.run(10 * MINUTE)
    agree(rollout)
    rollout.park()
    rollout.run(4 * HOUR)
    rollout.campaign.finish(rollout.now)
    first = len(rollout.rows("rolled_back")["car_id"])
    lost = 1 - outcome["install_success_first_try"]
    assert first / 6000 == pytest.approx(lost, abs=4 * np.sqrt(lost / 6000))
    failed = rollout.states()["failed"]
    again = 1 - outcome["retry_success"]
    assert failed / first == pytest.approx(again, abs=4 * np.sqrt(again / first))
    assert set(rollout.rows("failed")["reason"].tolist()) <= set(failure_reasons()[0])
    assert rollout.states()["installed"] + failed == 6000
    assert rollout.closed()


def test_too_many_failures_pause_the_campaign() -> None:
    rollout = Rollout(300, package_mb=0.1, install_min=1.0, groups=[0.3, 1.0], group_gap_h=4.0, error_threshold=0.1)
    rollout.campaign._install_works = (0.0, 0.0)
    rollout.drive()
    rollout.run(10 * MINUTE)
    # of the first group, some are still on the way
    slow = np.flatnonzero(rollout.campaign.group == 0)[:5]
    assert (rollout.campaign.state[slow] == Step.DOWNLOADED).all()
    agree(rollout)
    rollout.park()
    rollout.run(10 * HOUR, tick_ms=10 * MINUTE)
    assert rollout.campaign.paused
    # the second group was never opened
    assert rollout.states() == {
        "scheduled": int((rollout.campaign.group == 1).sum()),
        "failed": int((rollout.campaign.group == 0).sum()),
    }
    assert rollout.closed()


def test_a_pause_keeps_what_is_there() -> None:
    rollout = Rollout(40, package_mb=1000.0, error_threshold=0.01)
    rollout.drive()
    rollout.run(2 * MINUTE)
    campaign = rollout.campaign
    before = campaign.got_b.copy()
    campaign.state[0], campaign.got_b[0] = Step.FAILED, campaign.package_b
    rollout.run(4 * MINUTE)
    assert rollout.states() == {"paused": 39, "failed": 1}
    assert np.array_equal(campaign.got_b[1:], before[1:])
    assert set(rollout.rows("paused")["reason"].tolist()) == {"error threshold"}


def test_cancel_stops_all_but_running_installs() -> None:
    rollout = Rollout(20, package_mb=1.0, install_min=30.0).at_once()
    rollout.drive()
    rollout.run(MINUTE)
    campaign = rollout.campaign
    campaign.due[:10] = rollout.now
    rollout.park()
    rollout.run(2 * MINUTE)
    campaign.cancel(rollout.now)
    assert rollout.states() == {"installing": 10, "cancelled": 10}
    rollout.run(HOUR)
    assert rollout.states() == {"installed": 10, "cancelled": 10}
    assert rollout.closed()
    early = Rollout(3, start_h=5.0)
    early.campaign.cancel(0)
    assert early.closed()


def test_v24_share_on_current_software_after_90_days() -> None:
    """Validation target V24: 0.87 of an over-the-air fleet, +- 0.05."""
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V24")
    rollout = Rollout(2000, package_mb=150.0, groups=[0.01, 0.1, 1.0], group_gap_h=48.0, error_threshold=0.5)
    step = 6 * HOUR
    for quarter in range(4 * 90):
        rollout.fleet.state[:] = State.DRIVING if quarter % 4 == 1 else State.PARKED
        rollout.run((quarter + 1) * step, tick_ms=step)
    assert rollout.campaign.summary()["installed"] / 2000 == pytest.approx(
        target["value"][0], abs=target["tolerance_abs"]
    )
    assert rollout.closed()


# ------------------------------------------------------------------ moves, books, input


def test_every_state_can_be_reached_and_left_but_the_last_ones() -> None:
    reached, edge = {Step.SCHEDULED}, [Step.SCHEDULED]
    while edge:
        edge = [s for here in edge for s in MOVES[here] if s not in reached]
        reached |= set(edge)
    assert reached == set(Step)
    assert {s for s in Step if not legal()[s].any()} == {Step.INSTALLED, Step.FAILED, Step.CANCELLED}


def test_an_illegal_move_is_refused() -> None:
    rollout = Rollout(2)
    with pytest.raises(CampaignError, match="car 1 cannot go from scheduled to installed"):
        rollout.campaign.arm(1, Step.INSTALLED, 0)


def test_the_ledger_notices_skipped_states_lost_bytes_and_forgotten_cars() -> None:
    rollout = Rollout(5, package_mb=1.0).at_once()
    rollout.drive()
    rollout.run(MINUTE)
    assert rollout.closed()
    rollout.campaign.state[2] = Step.INSTALLED
    assert rollout.campaign.ledger()["moves"] == 1
    rollout.campaign.state[2] = Step.DOWNLOADED
    rollout.campaign.got_b[2] -= 1
    assert rollout.campaign.ledger()["bytes"] == rollout.campaign.ledger()["short"] == 1
    rollout.campaign.installing[0] = True
    assert rollout.campaign.ledger()["installing"] == 1


def test_a_restored_install_goes_on_from_its_row() -> None:
    """The process holds nothing: started anew in a new environment, it ends at the same moment."""
    rollout = Rollout(3, package_mb=1.0, install_min=20.0).at_once()
    rollout.drive()
    rollout.run(MINUTE)
    agree(rollout)
    rollout.park()
    rollout.run(10 * MINUTE)
    campaign = rollout.campaign
    assert rollout.states() == {"installing": 3}
    rollout.env = campaign.env = simpy.Environment(rollout.now)
    for target in np.argsort(campaign.serial).tolist():
        campaign.env.process(campaign._install(target))
    rollout.run(HOUR)
    assert rollout.rows("installed")["time_s"].tolist() == [22 * 60.0] * 3
    assert rollout.closed()


@pytest.mark.parametrize("groups", [[], [0.5], [0.5, 0.3, 1.0], [0.0, 1.0], [1.0, 1.0]])
def test_groups_that_do_not_ascend_to_one_are_refused(groups: list[float]) -> None:
    with pytest.raises(CampaignError, match=r"ota\.groups"):
        Rollout(2, groups=groups)


def test_rows_of_a_car_are_in_order_of_time() -> None:
    rollout = Rollout(300, package_mb=5.0, install_min=3.0)
    rng = np.random.default_rng(1)
    for tick in range(300):
        rollout.fleet.state[:] = np.where(rng.random(300) < 0.3, State.DRIVING, State.PARKED)
        rollout.fleet.state[rollout.campaign.installing] = State.PARKED
        rollout.run((tick + 1) * 5 * MINUTE, tick_ms=5 * MINUTE)
    rollout.campaign.finish(rollout.now)
    table = rollout.campaign.table.arrays()
    order = np.argsort(table["car_id"], kind="stable")
    car, at = table["car_id"][order], table["time_s"][order]
    assert all(a <= b for (c, a), (d, b) in pairwise(zip(car, at, strict=True)) if c == d)
    assert set(table["state"].tolist()) <= set(NAMES)
    assert rollout.states().get("installed", 0) > 20
    assert rollout.closed()
