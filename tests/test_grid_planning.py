"""Feeders with ratings, household profiles, diversity and hosting capacity: closed forms, then bad input."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from maps.toy import toy_city
from tests.charging_cases import electric_fleet, make
from twin import facts
from twin.charging.access import build_sites
from twin.charging.site import ChargingError
from twin.events import Table
from twin.grid.base_load import GridError, read_base_load
from twin.grid.diversity import diversity, spread_of_load
from twin.grid.feeders import build_feeders, lay_feeders, own_feeders, size_kva
from twin.grid.hosting import MOST_CARS, SHARES, hosting
from twin.grid.peaks import GRID_PEAKS, add_peaks, deal_profiles
from twin.settings import ChargingSettings, GridSettings

WEDNESDAY = datetime(2022, 10, 12)


def profile_file(tmp_path, rows, head="time,a,b"):
    path = tmp_path / "base.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def hours(first, count, kw=lambda i: f"{i % 24},{2 * (i % 24)}"):
    begin = datetime.fromisoformat(first)
    return [f"{(begin + timedelta(hours=i)).isoformat()},{kw(i)}" for i in range(count)]


# ------------------------------------------------------------------ households


@pytest.mark.parametrize(("market", "kwh"), [("europe", 3500), ("us", 10_600), ("japan", 4200)])
def test_standard_households_use_what_the_market_says(market, kwh):
    base = read_base_load(GridSettings(), market)
    year = base.over(datetime(2022, 1, 1), 365 * 24, 3600.0)
    # Japan's shapes say nothing of the size of a season; the others' weights do
    assert year.sum() == pytest.approx(kwh, rel=1e-9 if market == "japan" else 0.02)
    assert (
        base.over(datetime(2022, 1, 12, 18), 1, 3600.0)[0, 0]
        > 1.5 * base.over(datetime(2022, 1, 12, 3), 1, 3600.0)[0, 0]
    )


def test_energy_of_a_profile_is_kept_for_any_interval(tmp_path):
    base = read_base_load(GridSettings(base_load=str(profile_file(tmp_path, hours("2022-10-12", 24)))), "japan")
    fine, odd = base.over(WEDNESDAY, 96, 900.0), base.over(WEDNESDAY, 206, 420.0)  # 206 * 7 min cover a day and more
    assert fine.sum(axis=1) / 4 == pytest.approx([276.0, 552.0])
    assert fine[0, 4:8].tolist() == [1.0] * 4
    assert (odd[0] * 420).sum() == pytest.approx(276 * 3600 + 120 * 0.0)
    late = base.over(WEDNESDAY + timedelta(minutes=90), 1, 3600.0)
    assert late[0, 0] == pytest.approx(1.5)


def test_a_day_a_week_and_a_year_stand_for_other_dates(tmp_path):
    day = lambda i: f"{i // 24},0"
    week = read_base_load(GridSettings(base_load=str(profile_file(tmp_path, hours("2022-10-10", 168, day)))), "japan")
    assert [week.over(datetime(2023, 3, 1), 24, 3600.0)[0, 0], week.over(datetime(2023, 3, 5), 24, 3600.0)[0, 0]] == [
        2,
        6,
    ]
    year = read_base_load(
        GridSettings(base_load=str(profile_file(tmp_path, hours("2016-01-01", 366 * 24, day)))), "japan"
    )
    for when in (datetime(2022, 1, 1), datetime(2022, 10, 12), datetime(2022, 12, 31)):
        row = int(year.over(when, 1, 3600.0)[0, 0])
        said = datetime(2016, 1, 1) + timedelta(days=row)
        assert said.weekday() == when.weekday()
        apart = abs(row + 1 - when.timetuple().tm_yday)
        assert min(apart, 366 - apart) <= 7
    three = read_base_load(GridSettings(base_load=str(profile_file(tmp_path, hours("2022-10-12", 72)))), "japan")
    assert three.over(WEDNESDAY, 72, 3600.0).shape == (2, 72)
    with pytest.raises(GridError, match="2022-10-12 to 2022-10-14 does not cover 2022-10-15"):
        three.over(WEDNESDAY, 73, 3600.0)


def test_profiles_are_scaled_and_dealt(tmp_path):
    path = str(profile_file(tmp_path, hours("2022-10-12", 24)))
    base = read_base_load(GridSettings(base_load=path, household_kwh_year=8760.0), "japan")
    assert base.kw.mean(axis=(0, 2)) == pytest.approx([1.0, 1.0])
    only = read_base_load(GridSettings(base_load=path, base_columns=["b"]), "japan")
    assert only.names == ["b"] and only.kw.max() == 46
    assert read_base_load(GridSettings(base_load="none"), "us").kw.sum() == 0
    dealt = deal_profiles(np.array([3000, 0, 5000]), 4, seed=3)
    assert dealt.sum(axis=1).tolist() == [3000, 0, 5000]
    assert np.abs(dealt[0] / 3000 - 0.25).max() < 0.04  # 5 sigma


GOOD = hours("2022-10-12", 24)


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        (GOOD[:5] + GOOD[6:], "time,a,b", "line 7: a gap, 7200 s"),
        ([*GOOD[:5], GOOD[4], *GOOD[5:]], "time,a,b", "line 7: not in order"),
        ([*GOOD[:3], GOOD[3].replace(",6", ",-6"), *GOOD[4:]], "time,a,b", "line 5: b must be a power"),
        ([*GOOD[:3], GOOD[3].replace(",6", ","), *GOOD[4:]], "time,a,b", "line 5: b must be a power"),
        ([*GOOD[:3], GOOD[3].replace(",6", ",nan"), *GOOD[4:]], "time,a,b", "line 5: b must be a power"),
        (GOOD[:20], "time,a,b", "20 rows from 00:00; must be whole days of 24"),
        (GOOD[1:], "time,a,b", "from 01:00"),
        ([*GOOD[:3], "now,1,2"], "time,a,b", "line 5: time must be like"),
        ([*GOOD[:3], GOOD[3] + ",1"], "time,a,b", "line 5: 4 cells"),
        (GOOD, "when,a,b", "line 1: must be time and"),
        (GOOD[:1], "time,a,b", "1 rows; give at least one day"),
    ],
)  # fmt: skip
def test_bad_profiles_are_named(tmp_path, rows, head, said):
    path = profile_file(tmp_path, rows, head)
    with pytest.raises(GridError, match=said) as found:
        read_base_load(GridSettings(base_load=str(path)), "japan")
    assert str(path) in str(found.value) and "\n" not in str(found.value)


def test_unknown_profile_and_missing_file(tmp_path):
    path = profile_file(tmp_path, GOOD)
    with pytest.raises(GridError, match="no profile 'c'; it has a, b"):
        read_base_load(GridSettings(base_load=str(path), base_columns=["c"]), "japan")
    with pytest.raises(GridError, match="cannot be read"):
        read_base_load(GridSettings(base_load=str(tmp_path / "none.csv")), "japan")


# ------------------------------------------------------------------ feeders


def test_generated_feeders_carry_what_the_facts_say():
    city = toy_city(4, homes=333)
    factor = facts.load("grid")["feeder_rating"]["power_factor"]
    europe = build_feeders(city, GridSettings(), "europe")
    assert set(europe.homes.tolist()) == {37}
    assert (europe.rated_kw / factor).tolist() == [111.0] * 9
    assert len(europe.transformer_kw) == 3 and (np.bincount(europe.transformer) == 3).all()
    assert (europe.transformer_kw / factor).tolist() == [400.0] * 3
    japan = lay_feeders(city, 10, market="japan")
    assert (japan.rated_kw / factor).tolist() == [30.0] * 34
    assert np.array_equal(japan.transformer_kw, japan.rated_kw)
    assert size_kva(np.array([0.0, 101.0, 250.0]), [50, 100]).tolist() == [50.0, 200.0, 300.0]


def town(homes):
    """A toy city with degrees, 111,320 m each."""
    city = toy_city(4, homes=homes)
    net = city.network
    return replace(city, network=replace(net, node_lon=net.node_x / 111_320.0, node_lat=net.node_y / 111_320.0))


def own(tmp_path, city, *rows, head="name,rated_kva,lat,lon,homes,transformer,transformer_kva,sites"):
    path = tmp_path / "feeders.csv"
    net = city.network
    last = int(np.argmax(net.node_x + net.node_y))
    path.write_text(
        "\n".join([head, *rows]).replace("THERE", f"{net.node_lat[last]},{net.node_lon[last]}")
        .replace("HERE", f"{net.node_lat[0]},{net.node_lon[0]}") + "\n"
    )  # fmt: skip
    return path


def test_own_feeders_take_the_nearest_homes(tmp_path):
    city = town(100)
    path = own(tmp_path, city, "west,100,HERE,,T,250,", "east,50,THERE,7,T,250,")
    found = own_feeders(city, path)
    homes = city.places("home")
    x, y = city.place_x[homes], city.place_y[homes]
    near = np.argmin([np.hypot(x - found.x[k], y - found.y[k]) for k in (0, 1)], axis=0)
    assert np.array_equal(found.home_feeder[homes], near)
    assert found.homes.tolist() == [int((near == 0).sum()), 7]
    assert found.x[0] == pytest.approx(city.network.node_x[0], abs=0.5)
    assert found.rated_kw == pytest.approx([97.0, 48.5]) and found.transformer_kw == pytest.approx([242.5])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,,HERE,,,,", "line 2: feeder a: rated_kva must be a number above 0, is ''"),
        ("a,0,HERE,,,,", "rated_kva must be a number above 0, is '0'"),
        ("a,nan,HERE,,,,", "rated_kva must be a number above 0"),
        ("a,10,95,1,,,,", "lat must be a number at least -90 and at most 90"),
        ("a,10,60.0,60.0,,,,", "km from the nearest street"),
        ("a,10,HERE,2.5,,,", "homes must be a whole number"),
        ("a,10,HERE,,T,,", "transformer T has no transformer_kva"),
        (",10,HERE,,,,", "name is empty"),
        ("a,10,HERE,,,", "more or fewer cells"),
        ("a,10,HERE,,,,\na,10,HERE,,,,", "line 3: a is on line 2 already"),
    ],
)
def test_bad_feeders_are_named(tmp_path, row, said):
    city = town(20)
    path = own(tmp_path, city, row)
    with pytest.raises(GridError, match=said) as found:
        own_feeders(city, path)
    assert "\n" not in str(found.value)


def test_a_feeder_file_without_ratings_or_with_a_lost_site(tmp_path):
    city = town(20)
    with pytest.raises(GridError, match="line 1: no column 'rated_kva'"):
        own_feeders(city, own(tmp_path, city, "a,HERE", head="name,lat,lon"))
    path = own(tmp_path, city, "a,10,HERE,,,,Nowhere")
    feeders, fleet = own_feeders(city, path), electric_fleet(4, city=city)
    with pytest.raises(ChargingError, match="no charging site is called 'Nowhere'"):
        build_sites(city, fleet, feeders, ChargingSettings(), market="japan", seed=1, dc_eta=0.95)
    assert make(electric_fleet(4, city=city)).feeders.sites == {}


# ------------------------------------------------------------------ peaks


def test_peaks_by_hand():
    """Two places, three hours; rating 5 kW and none; a cap met to the joule is not passed."""
    table = Table("grid_peaks", GRID_PEAKS)
    add_peaks(
        table, "feeder", ids=np.arange(2), names=["a", "b"], households=np.array([3, 0]), cars=np.array([2, 1]),
        cars_peak_kw=np.array([6.0, 0.0]), load_kw=np.array([[0.0, 3.0, 2.0], [0.0, 0.0, 0.0]]),
        base_kw=np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]), rated_kw=np.array([5.0, np.nan]), interval_s=3600.0,
    )  # fmt: skip
    row = {name: table[name][0] for name in table}
    assert (row["energy_kwh"], row["peak_kw"], row["peak_time_s"], row["coincidence"]) == (5.0, 3.0, 3600.0, 0.5)
    assert (row["total_peak_kw"], row["total_peak_time_s"], row["loading"]) == (6.0, 7200.0, 1.2)
    assert (row["hours_over"], row["base_hours_over"], row["base_peak_kw"]) == (1.0, 0.0, 4.0)
    assert np.isnan(table["loading"][1]) and np.isnan(table["coincidence"][1]) and table["hours_over"][1] == 0


def test_diversity_against_the_binomial():
    """Cars at full power in one interval with probability 0.3: the peak of n is binomial."""
    load = np.zeros((1000, 3))
    load[:300, 1] = 6.0
    found = diversity(load, seed=4, sizes=(1, 20, 500, 5000))
    assert found.n.tolist() == [1, 20, 500]
    for n, mean, low, high in zip(found.n, found.admd_kw, found.low_kw, found.high_kw, strict=True):
        sigma = 6 * np.sqrt(0.3 * 0.7 / n)
        assert abs(mean - 1.8) < 4 * sigma / np.sqrt(200)
        if n > 1:
            assert (high - low) / (2 * 1.96 * sigma) == pytest.approx(1.0, abs=0.25)
    assert found.coincidence[-1] == pytest.approx(1.0)  # all at once
    spread = diversity(np.eye(96) * 6.0, seed=4, sizes=(96,))
    assert spread.coincidence[0] < 0.08 and spread.admd_kw[0] < 0.4


def test_the_spread_of_a_load_against_the_binomial():
    """Half of the pool draws 2 kW: n cars draw 2 k kW with k binomial; 95 % of it are within its quantiles."""
    from scipy import stats

    pool = np.repeat([[2.0], [0.0]], 500, axis=0)
    low, high = spread_of_load(pool, 40, seed=3, groups=4000)
    expected = 2.0 * stats.binom(40, 0.5).ppf([0.025, 0.975])
    assert [float(low[0]), float(high[0])] == pytest.approx(expected.tolist(), abs=2.0)
    wide = [np.subtract(*[float(v[0]) for v in spread_of_load(pool, n, seed=3)][::-1]) / n for n in (4, 100)]
    assert wide[1] < 0.35 * wide[0]  # the more cars, the surer the load of each


def test_hosting_capacity_closed_form():
    """Equal cars of 2 kW on 10 houses with 10 kW to spare: the sixth of 20 cars is one too many, its time is a beta."""
    n = 400
    found = hosting(
        np.full((n, 2), 5.0), np.full(n, 10), np.full(n, 15.0), np.full((7, 2), 2.0), over_share=0.5, seed=2
    )  # fmt: skip
    from scipy.stats import beta

    law = beta(6, 15)  # sixth smallest of 20 uniforms
    assert found.cars_per_household == pytest.approx(MOST_CARS * law.ppf(0.5), abs=0.01)
    assert found.share == pytest.approx(law.cdf(SHARES / MOST_CARS), abs=0.02)
    assert found.least < found.cars_per_household < found.most and found.reached == 1.0
    sigma = np.sqrt(0.25 / 200) / law.pdf(law.ppf(0.5)) * MOST_CARS  # of a sample median, 200 feeders a repeat
    assert (found.most - found.least) / (2 * 1.96 * sigma) == pytest.approx(1.0, abs=0.35)


def test_hosting_at_the_ends():
    loads = np.full((3, 2), 2.0)
    never = hosting(np.zeros((4, 2)), np.full(4, 5), np.full(4, 1e3), loads, over_share=0.05, seed=1)
    assert never.reached == 0.0 and never.share.max() == 0.0 and never.cars_per_household == MOST_CARS
    at_once = hosting(np.full((4, 2), 9.0), np.full(4, 5), np.full(4, 8.0), loads, over_share=0.05, seed=1)
    assert at_once.cars_per_household == 0.0 and at_once.share.min() == 1.0
