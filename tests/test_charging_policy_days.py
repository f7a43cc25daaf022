"""Every built-in policy on the same days of a small city: peak, energy, and who leaves full."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from maps.toy import toy_city
from twin.charging.site import SiteKind
from twin.model import Twin
from twin.settings import POLICY_NAMES, ChargingSettings, DemandSettings, FleetSettings, TrafficSettings

EVENING_S = 12 * 3600
CITY = toy_city(5, homes=150)


class Day:
    """The sessions that begin between noon and midnight, and the load of 24 hours from noon on."""

    def __init__(self, policy: str) -> None:
        twin = Twin(
            CITY,
            start=datetime(2022, 10, 12, 12),
            until_s=36 * 3600,  # whoever plugs in before midnight has left, or has had all of the next day
            fleet=FleetSettings(cars=400, bev=1.0, epower=0.0, connected=0.0),
            demand=DemandSettings(other_traffic=0.0),
            traffic=TrafficSettings(tick_s=900),
            charging=ChargingSettings(policy=policy, home_access=1.0, v2x_share=0.5),
        )
        while not twin.world.done:
            twin.step()
        twin.world.finish()
        assert not {name: value for name, value in twin.world.ledger().items() if value}
        charging = twin.world.charging
        self.grid = charging.grid_summary()
        table: dict[str, Any] = dict(charging.table.arrays())
        first = table["asked_s"] < EVENING_S
        self.table = {name: values[first] for name, values in table.items()}
        load: dict[str, Any] = dict(charging.load.table.arrays())
        home = charging.sites.site_kind[load["site_id"]] == SiteKind.HOME
        self.home_kw = np.bincount((load["time_s"][home] // 900).astype(int), load["power_kw"][home], 144)[:96]

    @property
    def key(self) -> list[tuple[int, float]]:
        """Car and moment of every session."""
        return sorted(zip(self.table["car_id"].tolist(), self.table["asked_s"].tolist(), strict=True))


@pytest.fixture(scope="module")
def days() -> dict[str, Day]:
    return {policy: Day(policy) for policy in POLICY_NAMES}


def test_energy_is_the_same_and_who_could_leave_full_does(days):
    base = days["uncontrolled"]
    energy = base.table["energy_kwh"].sum()
    assert len(base.table["car_id"]) > 60 and energy > 400
    assert base.grid["short_kwh"] < 1e-3  # nothing is missing at full power: the calculation is the charging itself
    for name, day in days.items():
        assert day.key == base.key, name
        assert day.table["energy_kwh"].sum() == pytest.approx(energy, rel=0.005), name
        could = day.table["soc_full_power"] >= 1.0
        assert could.sum() > 30, name
        assert (day.table["soc_out"][could] >= 0.99).all(), name
        assert day.grid["missed"] == 0, name


def test_the_peak_moves_as_theory_says(days):
    """Of sockets at home; quarters of an hour from noon on."""
    kw = {name: day.home_kw for name, day in days.items()}
    night = slice(11 * 4, 19 * 4)
    evening = slice(4 * 4, 11 * 4)
    peak = {name: load.max() for name, load in kw.items()}
    assert peak["spread"] < 0.6 * peak["uncontrolled"]
    assert kw["uncontrolled"].argmax() / 4 < 11
    for name in ("timer", "tariff", "price", "v2h", "v2g"):
        assert 11 <= kw[name].argmax() / 4 < 12, name  # a peak of its own when the cheap hours begin
        assert peak[name] > peak["uncontrolled"], name
        assert kw[name][night].sum() > kw["uncontrolled"][night].sum(), name
    for name in ("v2h", "v2g"):
        assert kw[name][evening].min() < 0 < days[name].grid["battery_wear_kwh"], name
        assert days[name].table["meter_kwh"].sum() > 1.01 * days["uncontrolled"].table["meter_kwh"].sum(), name
    assert days["v2g"].grid["given_kwh"] > days["v2h"].grid["given_kwh"] > 10
    assert days["tariff"].grid["given_kwh"] == days["tariff"].grid["battery_wear_kwh"] == 0


def test_a_policy_that_leaves_cars_empty_is_noticed():
    """The figures above can fail: nobody charges more than a trickle."""

    def trickle(question):
        return question.rated_kw * 0.02

    twin = Twin(
        CITY,
        start=datetime(2022, 10, 12, 15),
        until_s=24 * 3600,
        fleet=FleetSettings(cars=200, bev=1.0, epower=0.0, connected=0.0),
        demand=DemandSettings(other_traffic=0.0),
        traffic=TrafficSettings(tick_s=900),
        charging=ChargingSettings(home_access=1.0),
    )
    twin.world.charging.decisions.policy = trickle
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    grid = twin.world.charging.grid_summary()
    assert grid["missed"] >= 5 and grid["short_kwh"] > 20
