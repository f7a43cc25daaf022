"""Feeders and the load series: sizes, exact energy, peaks and coincidence by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.toy import toy_city
from tests.charging_cases import electric_fleet, make, run
from twin.grid.feeders import cluster, homes_per_feeder, lay_feeders, split
from twin.grid.load import GridLoad


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_clusters_are_as_few_and_as_equal_as_can_be(n, limit, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 8, (2, n)) * 10.0  # many points in one place: ties
    group = cluster(x, y, limit)
    sizes = np.bincount(group)
    assert len(sizes) == -(-n // limit)
    assert sizes.max() <= limit
    assert sizes.min() >= n // len(sizes) - np.ceil(np.log2(len(sizes) + 1))
    assert np.array_equal(group, cluster(x, y, limit))


def test_clusters_are_compact():
    """Four villages far apart: nobody shares a feeder with another village."""
    rng = np.random.default_rng(1)
    village = np.repeat(np.arange(4), 25)
    x = 10_000.0 * (village % 2) + rng.random(100)
    y = 10_000.0 * (village // 2) + rng.random(100)
    group = cluster(x, y, 25)
    assert all(len(set(group[village == v])) == 1 for v in range(4))


def test_more_groups_than_points():
    assert len(set(split([0.0, 1.0], [0.0, 0.0], 5).tolist())) == 2
    assert cluster([], [], 10).tolist() == []
    with pytest.raises(ValueError, match="1 or more"):
        cluster([0.0], [0.0], 0)


@pytest.mark.parametrize(("market", "homes"), [("japan", 10), ("europe", 40), ("us", 6)])
def test_feeders_by_market(market, homes):
    city = toy_city(4, homes=333)
    assert homes_per_feeder(market) == homes
    feeders = lay_feeders(city, homes_per_feeder(market))
    assert len(feeders.x) == -(-333 // homes)
    assert feeders.homes.sum() == 333
    assert (feeders.home_feeder[city.places("home")] >= 0).all()
    assert (feeders.home_feeder[city.places("work")] == -1).all()


def test_load_by_hand():
    """Two sites on one feeder, one on another; 15 min: 900 J are 1 W; the peak is that of the sum."""
    load = GridLoad(["home", "fast", "work"], np.array([4, 4, 1], np.int32), interval_ms=900_000)
    load.cover(0, 60_000)
    load.open_j[0] = [900_000, 1_800_000, 0]
    load.cover(900_000, 960_000)
    load.open_j[0] = [2_700_000, 0, 900_000]
    load.cover(5 * 900_000, 5 * 900_000 + 60_000)
    load.open_j[0] = [450_000, 0, 0]
    load.finish()
    table = load.table
    assert table["time_s"].tolist() == [0, 0, 900, 900, 4500]
    assert table["site_id"].tolist() == [0, 1, 0, 2, 0]
    assert table["feeder_id"].tolist() == [4, 4, 4, 1, 4]
    assert table["kind"].tolist() == ["home", "fast", "home", "work", "home"]
    assert table["power_kw"].tolist() == [1.0, 2.0, 3.0, 1.0, 0.5]
    summary = load.summary(np.array([3000.0, 0.0, 5000.0]))
    assert summary == {"energy_kwh": 7.5 * 0.25, "peak_kw": 4.0, "peak_time_s": 900.0, "coincidence": 0.5}
    site_kw, feeder_kw = load.peaks_kw()
    assert site_kw.tolist() == [3.0, 2.0, 1.0]
    assert feeder_kw.tolist() == [0.0, 1.0, 0.0, 0.0, 3.0]
    assert load.summary(np.zeros(2))["coincidence"] == 0.0


def test_nothing_charged_nothing_written():
    charging = make(electric_fleet(2))
    run(charging, 3_600_000)
    charging.finish(3_600_000)
    assert [(table.name, len(table)) for table in charging.tables()] == [("sessions", 0), ("grid_load", 0)]
    assert set(charging.grid_summary().values()) == {0.0}
    assert {"energy_kwh", "peak_kw", "peak_time_s", "coincidence", "given_kwh"} <= charging.grid_summary().keys()


@pytest.mark.parametrize(("interval_min", "tick_ms"), [(15, 60_000), (1, 900_000), (7, 420_000), (30, 61_000)])
def test_the_series_gives_back_every_joule(interval_min, tick_ms):
    """Also when ticks straddle intervals and the run ends inside one: sum of power times interval = meters."""
    fleet = electric_fleet(40, city=toy_city(5))
    charging = make(fleet, home_access=1.0, interval_min=interval_min)
    charging.arrive(np.arange(40), fleet.home_site, np.arange(40) * 77_777, -1, fleet.capacity_j)
    run(charging, 3_333_333, tick_ms=tick_ms)
    charging.finish(3_333_333)
    joules = np.rint(charging.load.table["power_kw"] * interval_min * 60_000).astype(np.int64)
    assert joules.sum() == fleet.meter_j.sum() > 0
    assert np.rint(charging.table["meter_kwh"] * 3.6e6).astype(np.int64).sum() == fleet.meter_j.sum()
