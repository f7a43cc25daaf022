"""Traffic fitted to counts: closed form first, then a city whose truth is known."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from maps.toy import toy_city
from runs.demand.counts_file import read_counts
from runs.demand.trip_list import DemandFileError
from twin.demand.counts import CountFit, Counts, _visits, fit, geh
from twin.demand.other_traffic import OtherTraffic
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.routing import Router

CITY = toy_city(8)
START = datetime(2022, 10, 12)


def test_two_journeys_and_two_counters_have_one_solution():
    # counter 0 sees journey 0, counter 1 sees both; 60 of fleet cars pass counter 1 in hour 5
    visits = csr_array(np.array([[1.0, 0.0], [1.0, 1.0]]))
    base = np.zeros((2, 24))
    base[:, 5] = 100.0
    counted = np.full((2, 24), np.nan)
    counted[:, 5] = [150.0, 260.0]
    fixed = np.zeros((2, 24))
    fixed[1, 5] = 60.0
    found = fit(visits, base, np.array([0, 1]), counted, fixed, rounds=400)
    trips = found.journey[:, None] * found.hour * base
    assert trips[:, 5] == pytest.approx([150, 50], rel=1e-3)
    assert found.before[:, 5].tolist() == [100, 260]
    assert found.after[:, 5] == pytest.approx([150, 260], rel=1e-3)
    assert (found.journey * base.sum(axis=1)).sum() == pytest.approx(200)  # the mean factor is 1


def test_hours_follow_their_counts_and_dark_hours_the_others():
    base = np.ones((3, 24))
    counted = np.full((1, 24), np.nan)
    counted[0, 6:10] = 3 * np.array([2.0, 4.0, 2.0, 0.0])
    found = fit(csr_array(np.ones((1, 3))), base, np.arange(3), counted, np.zeros((1, 24)))
    assert found.hour[6:10] == pytest.approx([2, 4, 2, 0]) and found.hour[:6] == pytest.approx([2.0] * 6)


def test_journeys_past_no_counter_keep_their_share():
    base = np.ones((2, 24))
    counted = np.full((1, 24), 2.0)
    found = fit(csr_array(np.array([[1.0, 0.0]])), base, np.array([0, 1]), counted, np.zeros((1, 24)))
    trips = found.journey[:, None] * found.hour * base
    assert trips[0] == pytest.approx([2.0] * 24)


def test_geh_by_hand():
    assert geh(np.array([1000.0]), np.array([1150.0]))[0] == pytest.approx((2 * 150**2 / 2150) ** 0.5)


def city_of_known_truth(level=1.0):
    """Counts on the 40 busiest links when gates carry three times as much, and the evening half as much again."""
    settings = DemandSettings(other_traffic=level)
    truth = OtherTraffic(CITY, settings, market="japan", seed=9, start=START, fleet_cars=0)
    half = len(truth.pair_from) // 2
    weight = np.where(truth.pair_kind[:half] > 0, 3.0, 1.0)
    weight /= weight.mean()
    hour = np.where(np.arange(24) >= 16, 1.5, 1.0)
    truth.adjust(weight, hour)
    streets = Streets(CITY.network, TrafficSettings(), 1)
    router = Router(CITY.network, streets.physics.free_ms)
    every = np.arange(CITY.network.n_links, dtype=np.int32)
    all_links = Counts([str(k) for k in every], np.arange(len(every) + 1), every, np.zeros((len(every), 24)))
    flow = _visits(all_links, router, streets.physics.free_ms, truth.pair_from, truth.pair_to) @ truth.expected(0)[0]
    busy = np.sort(np.argsort(-flow.sum(axis=1))[:40]).astype(np.int32)
    counts = Counts([f"c{k}" for k in busy], np.arange(41), busy, flow[busy])
    return counts, truth, router, streets.physics.free_ms


def test_a_known_truth_is_found_again():
    counts, truth, router, free_ms = city_of_known_truth()
    model = OtherTraffic(CITY, DemandSettings(), market="japan", seed=9, start=START, fleet_cars=0)
    none = np.zeros(0, np.int32)
    found = CountFit(counts, model, router, free_ms, fleet=(none, none, none.astype(np.int64)), into_day_h=0.0).found
    assert (geh(found.before, counts.hourly) < 5).mean() < 0.9
    assert (geh(found.after, counts.hourly) < 5).mean() == 1.0
    assert found.after.sum() == pytest.approx(counts.hourly.sum(), rel=0.002)
    # the hours and the level are the truth's, and what is drawn follows what is expected
    wanted, drawn = truth.expected(0)[0].sum(axis=0), model.expected(0)[0].sum(axis=0)
    assert drawn == pytest.approx(wanted, rel=0.12)
    hours = np.bincount(model.trips(0, 86_400_000).depart_ms // 3_600_000, minlength=24)
    assert hours.sum() == pytest.approx(drawn.sum(), abs=4 * drawn.sum() ** 0.5)


def test_draws_follow_the_weights_of_journeys():
    model = OtherTraffic(CITY, DemandSettings(), market="japan", seed=9, start=START, fleet_cars=0, pool=50)
    before = model.trips(0, 86_400_000)
    weight = np.zeros(50)
    weight[[3, 7]] = [25.0, 75.0]
    model.adjust(weight / weight.mean(), np.ones(24))
    after = model.trips(0, 86_400_000)
    share = np.bincount(after.pair % 50, minlength=50) / len(after.pair)
    assert share[3] == pytest.approx(0.25, abs=0.03) and share[3] + share[7] == 1.0
    assert len(after.pair) == len(before.pair)


def test_a_run_reports_how_counts_and_driven_vehicles_agree():
    counts, _, _, _ = city_of_known_truth(level=0.5)
    twin = Twin(
        CITY,
        counts=counts,
        fleet=FleetSettings(cars=20),
        demand=DemandSettings(other_traffic=0.5),
        until_s=10 * 3600,
        start=START,
    )
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert not any(twin.world.ledger().values())
    summary = twin.world.summary()["counts"]
    table = {t.name: t for t in twin.world.tables()}["counts"].arrays()
    assert len(table["geh"]) == 40 * 10 and summary["geh_under_5"] == (table["geh"] < 5).mean()
    assert summary["geh_under_5"] > 0.9 and 0.93 < summary["driven_over_counted"] < 1.07


def write(folder: Path, text: str) -> Path:
    path = folder / "c.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_points_find_their_street_and_direction(tmp_path):
    net = CITY.network
    link = 20
    a, b = net.link_from[link], net.link_to[link]
    lon, lat = (float((axis[a] + axis[b]) / 2) for axis in (net.node_lon, net.node_lat))
    bearing = np.degrees(np.arctan2(net.node_x[b] - net.node_x[a], net.node_y[b] - net.node_y[a]))
    found = read_counts(write(tmp_path, f"hour,count,lon,lat,bearing\n7,5,{lon},{lat},{bearing}\n"), CITY, snap_m=50)
    assert found.link.tolist() == [link] and found.hourly[0, 7] == 5 and np.isnan(found.hourly[0, 8])
    both = read_counts(write(tmp_path, f"hour,count,lon,lat\n7,5,{lon},{lat}\n"), CITY, snap_m=50)
    assert sorted(net.link_from[both.link]) == sorted([a, b]) and link in both.link


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hour,count\n1,2\n", "no column lon; valid: hour, count, link"),
        ("hour,count,link\n24,2,0\n", "row 1: hour 24, count 2; valid are 0 to 23"),
        ("hour,count,link\n1,-2,0\n", "row 1: hour 1, count -2"),
        ("hour,count,link\n1,2,999999\n", "link 999999; valid are 0 to"),
        ("hour,count,link\n1,2,0\n1,3,0\n", "has hour 1 twice"),
        ("hour,count,link,counter\n1,2,0,a\n2,3,1,a\n", "counter 'a' is in two places"),
        ("hour,count,link,counter\n1,2,0,a\n2,3,0,b\n", "'a' and 'b' are on the same link 0"),
        ("hour,count,lon,lat\n1,2,20,20\n", "m from any street"),
        ("hour,count,link\n1,many,0\n", "count is 'many', not a finite number"),
    ],
)
def test_wrong_counts_are_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(DemandFileError, match=says):
        read_counts(write(tmp_path, text), CITY, snap_m=500)
