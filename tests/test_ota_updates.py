"""Several campaigns: filters, approval, thresholds, trickle, deltas, policies, Wi-Fi, dealers, and what they change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simpy

from maps.toy import toy_city
from runs.scenario import Scenario, ScenarioError
from tests.cloud_cases import DAY, HOUR, MINUTE, connected_fleet
from tests.test_ota_campaign import Rollout
from twin.cloud.cells import Cells
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Kind, State
from twin.model import Twin
from twin.ota.campaign import Campaign, CampaignError
from twin.ota.outcome import NEVER, dealer_delay_ms
from twin.ota.schedule import POLICIES, Limits, Moment
from twin.ota.states import Step
from twin.ota.targets import TargetError, matching
from twin.ota.updates import Updates
from twin.settings import CloudSettings, DemandSettings, FleetSettings, OtaSettings, TargetSettings


class Maker:
    """Several campaigns, their fleet and a clock."""

    def __init__(
        self, cars: int, *campaigns: dict[str, Any], wifi: bool = False, other_users: float = 0.0, **knobs: Any
    ) -> None:
        city = toy_city(5, homes=20)
        self.env = simpy.Environment()
        self.fleet = connected_fleet(city, cars)
        cells = Cells.of(city, other_users=other_users)
        cells.outage[:] = 0
        given = {"start_h": 0.0, "groups": [1.0], "cell_downlink_mbit_s": 1e6, "consent": "none"} | knobs
        settings = OtaSettings.model_validate({**given, "campaigns": list(campaigns)})
        self.updates = Updates(
            city, self.fleet, settings, self.env,
            cells=cells, seed=3, horizon_ms=100 * DAY, wifi=np.full(cars, wifi, np.uint8),
        )  # fmt: skip
        for campaign in self.updates.campaigns:
            campaign._download_fails, campaign._install_works = 0.0, (1.0, 1.0)
        self.now = 0

    def run(self, until: int, *, tick_ms: int = MINUTE) -> None:
        while self.now < until:
            then = min(until, self.now + tick_ms)
            self.env.run(until=then)
            self.updates.advance(self.now, then)
            self.now = then

    def put(self, state: State) -> None:
        self.fleet.state[:] = state

    def closed(self) -> bool:
        return not any(self.updates.ledger().values())


# ------------------------------------------------------------------ several


def test_two_campaigns_share_a_car_one_download_and_one_install_at_a_time() -> None:
    maker = Maker(30, {"name": "a", "package_mb": 300.0}, {"name": "b", "package_mb": 150.0}, car_downlink_mbit_s=20.0)
    maker.put(State.DRIVING)
    maker.run(3 * MINUTE)
    # 300 MB at 20 Mbit/s are two minutes; then the second has one of three
    assert maker.fleet.downlink_b.tolist() == [450_000_000] * 30
    assert maker.updates["a"].count(Step.CONSENTED) == maker.updates["b"].count(Step.CONSENTED) == 30
    maker.put(State.PARKED)
    maker.run(10 * MINUTE)
    assert (maker.updates["a"].count(Step.INSTALLING), maker.updates["b"].count(Step.INSTALLING)) == (30, 0)
    maker.run(2 * HOUR)
    assert maker.updates.summary()["installed"] == 60
    assert not maker.updates.installing.any()
    assert maker.closed()
    maker.fleet.downlink_b[4] -= 1
    assert maker.updates.ledger()["received"] == 1


def test_a_campaign_after_another_takes_its_cars_as_they_finish() -> None:
    maker = Maker(40, {"name": "a", "package_mb": 1.0}, {"name": "b", "after": "a", "package_mb": 1.0})
    assert len(maker.updates["b"].car) == 0
    maker.put(State.DRIVING)
    maker.run(MINUTE)
    maker.fleet.state[:25] = State.PARKED
    maker.run(2 * HOUR)
    assert sorted(maker.updates["b"].car.tolist()) == list(range(25))
    maker.put(State.PARKED)
    maker.run(4 * HOUR)
    assert sorted(maker.updates["b"].car.tolist()) == list(range(40))
    assert maker.closed()


def test_cars_that_begin_to_match_join_late() -> None:
    for late in (True, False):
        maker = Maker(20, {"name": "a", "package_mb": 1.0, "join_late": late, "target": {"generations": [4]}})
        campaign = maker.updates["a"]
        # as if the first half had had no unit when the campaign was made
        gone = Maker(20, {"name": "a", "package_mb": 1.0, "join_late": late})
        gone.fleet.connected[:10] = 0
        first = Updates(
            toy_city(5, homes=20), gone.fleet, OtaSettings(start_h=0.0, groups=[1.0], join_late=late), gone.env,
            cells=gone.updates.air.cells, seed=3, horizon_ms=DAY,
        ).campaigns[0]  # fmt: skip
        assert len(campaign.car) == 20
        assert first.car.tolist() == list(range(10, 20))
        gone.fleet.connected[:] = 1
        for minute in range(0, 150, 10):
            first.advance(minute * MINUTE, (minute + 10) * MINUTE)
        assert sorted(first.car.tolist()) == (list(range(20)) if late else list(range(10, 20)))
        assert first.ledger()["moves"] == 0


# ------------------------------------------------------------------ whom


def test_filters() -> None:
    fleet = connected_fleet(toy_city(5, homes=20), 8)
    fleet.kind[:4] = Kind.EPOWER
    fleet.year[:] = 2015 + np.arange(8)
    fleet.propilot[5:] = 1

    def rows(**given: Any) -> list[int]:
        return np.flatnonzero(matching(fleet, TargetSettings(**given), Catalogue.load(market="japan"))).tolist()

    assert rows() == list(range(8))
    assert rows(powertrains=["epower"]) == [0, 1, 2, 3]
    assert rows(first_year=2017, last_year=2019) == [2, 3, 4]
    assert rows(propilot=[1], first_year=2021) == [6, 7]
    assert rows(generations=[3]) == []
    models = Catalogue.load(market="japan")
    fleet.model[:2] = models.ids.index("ariya_87_2wd")
    assert rows(models=["ariya_87_2wd"]) == [0, 1]
    with pytest.raises(TargetError, match=r"target\.models: unknown model 'beetle'; valid: "):
        rows(models=["beetle"])


def test_campaigns_that_cannot_be_are_named() -> None:
    with pytest.raises(CampaignError, match="is for no car of this fleet"):
        Maker(5, {"name": "a", "target": {"first_year": 2050}})
    with pytest.raises(CampaignError, match="two are called 'a'"):
        Maker(5, {"name": "a"}, {"name": "a"})
    with pytest.raises(CampaignError, match="after 'x' is no campaign above it"):
        Maker(5, {"name": "a", "after": "x"})
    with pytest.raises(CampaignError, match=r"abort_threshold 0.1 is below error_threshold 0.2"):
        Maker(5, {"name": "a", "abort_threshold": 0.1})
    with pytest.raises(CampaignError, match="delta_mb 200 is above package_mb"):
        Maker(5, {"name": "a", "delta_mb": 200.0})


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("ota.error_threshold=1.5", "ota.error_threshold: must be less than or equal to 1"),
        (
            'ota.campaigns=[{ name = "a", success_threshold = 2.0 }]',
            "ota.campaigns.0.success_threshold: must be less than or equal to 1",
        ),
        ("ota.campaigns=[{ package_mb = 2.0 }]", "must give each campaign a name"),
        ('ota.policy="sometimes"', "must be 'now', 'night', 'cell_aware' or 'wifi_first'"),
        ('ota.target={ colours = ["red"] }', "ota.target.colours: unknown key"),
    ],
)
def test_bad_settings_are_named_in_one_line(assignment: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.load("demo").set(assignment)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_campaigns_of_a_scenario_take_what_they_leave_out_from_the_table_above(tmp_path: Any) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        'map = "helsinki"\n[ota]\npackage_mb = 50\ngroup_gap_h = 1\n[[ota.campaigns]]\nname = "a"\n'
        '[[ota.campaigns]]\nname = "b"\npackage_mb = 7\ntarget = { powertrains = ["bev"] }\n'
    )
    scenario = Scenario.load(path)
    first, second = scenario.ota.campaigns
    assert (first.package_mb, second.package_mb, second.group_gap_h) == (50, 7, 1)
    again = tmp_path / "again.toml"
    again.write_text(scenario.to_toml())
    assert Scenario.load(again).ota == scenario.ota


# ------------------------------------------------------------------ when


def test_nothing_opens_without_approval() -> None:
    maker = Maker(
        10,
        {"name": "a", "needs_approval": True, "package_mb": 1.0},
        {"name": "b", "needs_approval": True, "approved_h": 2.0},
    )
    maker.put(State.DRIVING)
    maker.run(2 * HOUR)
    assert maker.updates["a"].count(Step.SCHEDULED) == maker.updates["b"].count(Step.SCHEDULED) == 10
    maker.updates["a"].approve()
    maker.run(3 * HOUR)
    assert maker.updates["a"].count(Step.CONSENTED) == maker.updates["b"].count(Step.CONSENTED) == 10
    assert maker.closed()


def test_the_next_group_waits_for_success_of_the_first() -> None:
    maker = Maker(
        200, {"name": "a", "groups": [0.3, 1.0], "group_gap_h": 1.0, "success_threshold": 0.9, "package_mb": 1.0}
    )
    campaign = maker.updates["a"]
    maker.put(State.DRIVING)
    maker.run(5 * HOUR)
    first = int((campaign.group == 0).sum())
    assert campaign.count(Step.CONSENTED) == first
    assert campaign.count(Step.SCHEDULED) == 200 - first
    maker.put(State.PARKED)
    maker.run(6 * HOUR)
    assert campaign.count(Step.INSTALLED) == first
    maker.put(State.DRIVING)
    maker.run(7 * HOUR)
    assert campaign.count(Step.CONSENTED) == 200 - first
    assert maker.closed()


def test_above_the_abort_threshold_all_is_cancelled_and_a_pause_can_be_resumed() -> None:
    for abort, end in ((0.3, "cancelled"), (1.0, "paused")):
        maker = Maker(
            100, {"name": "a", "error_threshold": 0.2, "abort_threshold": abort, "package_mb": 9000.0, "tries": 1}
        )
        campaign = maker.updates["a"]
        maker.put(State.DRIVING)
        maker.run(2 * MINUTE)
        campaign.state[:40], campaign.got_b[:40] = Step.FAILED, campaign.size_b[:40]
        maker.run(3 * MINUTE)
        assert campaign.summary()["by_state"][end] == 60
        if end == "paused":
            campaign.resume(maker.now)
            maker.run(4 * MINUTE)
            assert campaign.count(Step.DOWNLOADING) == 60


def test_trickle_offers_so_many_cars_per_hour() -> None:
    maker = Maker(500, {"name": "a", "trickle_per_h": 30.0, "package_mb": 1.0})
    maker.put(State.DRIVING)
    maker.run(5 * HOUR)
    assert maker.updates["a"].count(Step.SCHEDULED) == 500 - 150
    assert maker.closed()


def test_policies_on_questions_answered_by_hand() -> None:
    limits = Limits(patience_h=10.0, busy_load=0.7, night=(22.0, 6.0))
    load, waited = np.array([0.2, 0.7, 0.9, 0.9]), np.array([0.0, 9.9, 10.0, 1.0])
    wifi, owns = np.array([False, False, False, True]), np.array([False, True, True, True])

    def ask(name: str, hour: float) -> list[bool]:
        return POLICIES[name](Moment(hour, load, waited, wifi, owns), limits).tolist()

    assert ask("now", 12) == [True] * 4
    assert ask("night", 23.5) == ask("night", 0) == ask("night", 5.9) == [True] * 4
    assert ask("night", 6.0) == ask("night", 21.9) == [False, False, True, False]
    assert ask("cell_aware", 12) == [True, False, True, True]
    assert ask("wifi_first", 12) == [True, False, True, True]


@pytest.mark.parametrize(("when", "state"), [("driving", State.DRIVING), ("parked", State.PARKED)])
def test_download_only_in_the_state_that_is_wanted(when: str, state: State) -> None:
    maker = Maker(10, {"name": "a", "download_when": when, "package_mb": 9000.0})
    maker.put(State.DRIVING)
    maker.run(MINUTE)
    got = maker.fleet.downlink_b.sum()
    other = State.PARKED if state == State.DRIVING else State.DRIVING
    maker.put(other)
    maker.run(2 * MINUTE)
    before = maker.fleet.downlink_b.sum()
    assert before == (got if when == "driving" else 0)
    maker.put(state)
    maker.run(3 * MINUTE)
    assert maker.fleet.downlink_b.sum() > before


def test_wifi_only_waits_for_home_and_loads_no_cell() -> None:
    maker = Maker(10, {"name": "a", "wifi_only": True, "package_mb": 10.0}, wifi=True)
    maker.fleet.link[:] = 0
    maker.put(State.DRIVING)
    maker.run(10 * MINUTE)
    assert maker.fleet.downlink_b.sum() == 0
    maker.fleet.link[:] = -1
    maker.put(State.PARKED)
    maker.run(11 * MINUTE)
    summary = maker.updates.summary()
    assert summary["wifi_bytes"] == summary["bytes"] == 10 * 10_000_000
    assert maker.closed()


def test_what_others_leave_is_what_the_campaign_gets_and_busy_bytes_are_counted() -> None:
    maker = Maker(10, {"name": "a", "package_mb": 9000.0, "busy_load": 0.9}, other_users=1.0, cell_downlink_mbit_s=1.0)
    maker.put(State.DRIVING)
    maker.fleet.node[:] = 0
    cell = int(maker.updates.air.cells.node_cell[0])
    maker.run(DAY, tick_ms=HOUR)
    load = maker.updates.air.cells.others[cell]
    room = [int(1e6 * min(0.2, 1 - x) * 3600 / 8) for x in load]
    campaign = maker.updates["a"]
    assert campaign.cell_b == pytest.approx(sum(room), abs=24)
    assert campaign.busy_b == pytest.approx(sum(r for r, x in zip(room, load, strict=True) if x >= 0.9), abs=24)
    assert 0 < campaign.busy_b < campaign.cell_b


# ------------------------------------------------------------------ what


def test_delta_for_those_on_the_previous_release() -> None:
    maker = Maker(2000, {"name": "a", "package_mb": 100.0, "delta_mb": 5.0, "on_previous": 0.7})
    maker.put(State.DRIVING)
    maker.run(10 * MINUTE)
    got = maker.fleet.downlink_b
    assert set(got.tolist()) == {5_000_000, 100_000_000}
    assert np.mean(got == 5_000_000) == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 2000))
    assert maker.closed()


def test_without_resume_a_cut_starts_again_and_the_bytes_are_spoilt() -> None:
    for resumable in (True, False):
        maker = Maker(5, {"name": "a", "package_mb": 300.0, "resumable": resumable})
        maker.put(State.DRIVING)
        maker.run(MINUTE)
        maker.put(State.STUCK)
        maker.run(2 * MINUTE)
        maker.put(State.DRIVING)
        maker.run(3 * MINUTE)
        campaign = maker.updates["a"]
        assert campaign.count(Step.CONSENTED) == (5 if resumable else 0)
        assert campaign.spoilt_b.sum() == (0 if resumable else 5 * 150_000_000)
        assert maker.closed()


def test_weak_and_long_parked_12_volt_batteries_do_not_install() -> None:
    maker = Maker(3000, {"name": "a", "package_mb": 1.0, "twelve_volt_min": 0.6, "download_when": "any"})
    maker.put(State.DRIVING)
    maker.run(MINUTE)
    campaign = maker.updates["a"]
    maker.put(State.PARKED)
    rows = np.arange(3000)
    assert campaign.ready_to_install(rows, MINUTE).all()
    # 0.62 of a weak battery falls below 0.60 after 40 hours, 0.95 of a good one after 29 days
    weak = ~campaign.ready_to_install(rows, 42 * HOUR)
    assert weak.mean() == pytest.approx(0.06, abs=4 * np.sqrt(0.06 * 0.94 / 3000))
    assert not campaign.ready_to_install(rows, 30 * DAY).any()


@pytest.mark.parametrize(("rule", "home", "away"), [("no", False, False), ("home", True, False), ("yes", True, True)])
def test_installing_on_a_socket_as_the_rule_says(rule: str, home: bool, away: bool) -> None:
    maker = Maker(2, {"name": "a", "while_charging": rule})
    maker.put(State.PLUGGED)
    maker.fleet.home_node[1] = maker.fleet.node[1] + 1
    assert maker.updates["a"].ready_to_install(np.arange(2)).tolist() == [home, away]


def test_a_single_bank_cannot_roll_back_and_goes_to_the_dealer() -> None:
    maker = Maker(50, {"name": "a", "package_mb": 1.0, "slots": "single", "dealer": True, "error_threshold": 1.0})
    campaign = maker.updates["a"]
    campaign._install_works = (0.0, 0.0)
    maker.put(State.DRIVING)
    maker.run(MINUTE)
    maker.put(State.PARKED)
    maker.run(HOUR)
    assert campaign.count(Step.DEALER) == 50
    assert campaign.count(Step.ROLLED_BACK) == 0
    campaign.due[:] = maker.now + HOUR
    maker.run(3 * HOUR)
    assert campaign.count(Step.INSTALLED) == 50
    # the package was in the car already
    assert campaign.dealer_b.sum() == 0
    assert maker.closed()


def test_dealers_bring_the_package_to_cars_that_cannot_take_it_on_air() -> None:
    rollout = Rollout(400, package_mb=3.0, dealer=True, target={"first_year": 0})
    rollout.fleet.connected[:] = 0
    campaign = Campaign(
        rollout.city, rollout.fleet, OtaSettings(start_h=0.0, groups=[1.0], package_mb=3.0, dealer=True), rollout.env,
        cells=Cells.of(rollout.city), seed=3, horizon_ms=DAY, year=0,
    )  # fmt: skip
    for day in range(560):
        campaign.advance(day * DAY, (day + 1) * DAY)
    share = campaign.count(Step.INSTALLED) / 400
    assert share == pytest.approx(0.70, abs=4 * np.sqrt(0.21 / 400))
    assert campaign.dealer_b.sum() == campaign.count(Step.INSTALLED) * 3_000_000
    assert campaign.summary()["bytes"] == rollout.fleet.downlink_b.sum() == 0
    assert not any(campaign.ledger().values())


def test_visits_to_the_dealer_follow_the_facts() -> None:
    u = (np.arange(10_000) + 0.5) / 10_000
    for age, share in ((1, 0.70), (9, 0.50)):
        delay = dealer_delay_ms(u, age)
        assert np.mean(delay < NEVER) == pytest.approx(share, abs=1e-3)
        assert delay[delay < NEVER].max() / DAY == pytest.approx(548, abs=1)
        assert np.median(delay[delay < NEVER]) / DAY == pytest.approx(274, abs=1)


# ------------------------------------------------------------------ restore and change


def test_running_installs_of_all_campaigns_can_be_started_anew() -> None:
    maker = Maker(6, {"name": "a", "package_mb": 1.0}, {"name": "b", "package_mb": 1.0})
    maker.put(State.DRIVING)
    maker.run(2 * MINUTE)
    maker.put(State.PARKED)
    maker.run(10 * MINUTE)
    assert maker.updates["a"].count(Step.INSTALLING) == 6
    maker.env = simpy.Environment(maker.now)
    maker.updates.revive(maker.env)
    maker.run(2 * HOUR)
    assert maker.updates.summary()["installed"] == 12
    assert maker.closed()


def test_a_finished_install_changes_the_car() -> None:
    """In a whole world: the updated cars report at another rate from then on, and charge by timer."""
    knobs = {"start_h": 0.0, "groups": [1.0], "package_mb": 0.1, "consent": "none", "install_min": 1.0}
    twin = Twin(
        toy_city(8, homes=40), until_s=12 * 3600, fleet=FleetSettings(cars=60, connected=1.0),
        demand=DemandSettings(other_traffic=0.0), cloud=CloudSettings(message_log_cars=0),
        ota=OtaSettings(**knobs, telemetry_period_s=2.0, charging_timer=True),  # type: ignore[arg-type]
    )  # fmt: skip
    world = twin.world
    world.charging.timer_user[:] = False
    while not world.done:
        twin.step()
    world.finish()
    done = world.updates.campaigns[0].done
    assert 0 < done.sum() < 60
    assert (world.cloud.driving_ms[done] == 2000).all()
    assert (world.cloud.driving_ms[~done] == 10_000).all()
    assert np.array_equal(world.charging.timer_user, done)
    assert not any(world.ledger().values())


# ------------------------------------------------------------------ busy cells


def test_cell_aware_scheduling_relieves_busy_cells() -> None:
    """Direction of Andrade et al., CarSys 2017; its size on a real map is the scenario `ota-cell-aware`."""
    city = toy_city(5, homes=60)
    found = {}
    for policy in ("now", "cell_aware"):
        twin = Twin(
            city, until_s=30 * 3600, fleet=FleetSettings(cars=30, connected=1.0),
            demand=DemandSettings(other_traffic=0.0, outside=0.0),
            cloud=CloudSettings(message_log_cars=0, more_services=[], other_users=0.9),
            ota=OtaSettings(start_h=18.0, package_mb=100, groups=[1.0], policy=policy, busy_load=0.5, patience_h=14),
        )  # fmt: skip
        while not twin.world.done:
            twin.step()
        twin.world.finish()
        assert not any(twin.world.ledger().values())
        found[policy] = twin.world.updates.summary()
    now, aware = found["now"], found["cell_aware"]
    # as many bytes reach the cars, but after the evening's peak
    assert aware["bytes"] > 0.9 * now["bytes"] > 0
    assert aware["busy_cell_bytes"] < 0.7 * now["busy_cell_bytes"], found
