"""Which sites a city gets, who may plug in, what a driver is shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maps.network import OUTSIDE, ROAD_CLASSES, SOCKET_KINDS
from maps.toy import toy_city
from tests.charging_cases import electric_fleet, make, run, site_of
from twin.charging.access import home_access
from twin.charging.site import SITE_KINDS, ChargingError, SiteKind, Sites, Socket
from twin.fleet.fleet import Kind

CITY = toy_city(5)


def test_map_stations_become_public_and_fast_sites():
    charging = make(electric_fleet(5), city=CITY, home_access=0.0, work_access=0.0)
    sites = charging.sites
    rows = [
        (SITE_KINDS[k], n, c) for k, n, c in zip(sites.site_kind, sites.name, np.diff(sites.socket_ptr), strict=True)
    ]
    assert rows == [
        ("public", "corner", 1),
        ("public", "centre", 1),
        ("fast", "centre", 2),
        ("public", "far corner", 1),
    ]
    assert sites.socket_count.tolist() == [4, 2, 2, 1, 2]
    assert sites.cap_kw.tolist() == pytest.approx([88.0, 22.0, 150.0 / 0.93, 6.6])
    assert sites.site_node.tolist() == [CITY.charger_node[k] for k in (0, 1, 1, 2)]


def test_a_private_station_is_a_site_but_offered_to_nobody():
    city = dataclasses.replace(CITY, charger_public=np.array([1, 0, 1], np.uint8))
    charging = make(electric_fleet(1), city=city, home_access=0.0, work_access=0.0)
    assert "centre" in charging.sites.name
    shown = charging.candidates(0, 0)[0]
    assert "centre" not in [charging.sites.name[s] for s in shown[shown >= 0]]


@pytest.mark.parametrize(("market", "connector"), [("japan", "type1"), ("us", "type1"), ("europe", "type2")])
def test_access_at_home_follows_the_market(market, connector):
    n = 4000
    fleet = electric_fleet(n, city=CITY)
    fleet.kind[n // 2 :] = Kind.EPOWER
    charging = make(fleet, city=CITY, market=market, work_access=0.0)
    share = home_access(market)
    assert {"japan": 0.90, "europe": 0.89, "us": 0.84}[market] == pytest.approx(share, abs=0.01)
    has = fleet.home_site >= 0
    assert not has[n // 2 :].any()
    assert abs(has.sum() - n / 2 * share) < 4 * np.sqrt(n / 2 * share * (1 - share))
    homes = charging.sites.rows(SiteKind.HOME)
    first = charging.sites.socket_ptr[homes]
    assert np.array_equal(charging.sites.socket_count[first], np.bincount(fleet.home_site[has])[homes])  # nobody waits
    assert set(charging.sites.socket_kind[first]) == {SOCKET_KINDS.index(connector)}


def test_more_access_only_adds_cars():
    few, many = electric_fleet(500, city=CITY), electric_fleet(500, city=CITY)
    make(few, city=CITY, home_access=0.3)
    make(many, city=CITY, home_access=0.6)
    assert (many.home_site >= 0)[few.home_site >= 0].all()


def test_homes_of_a_feeder_share_its_site_and_homes_outside_have_their_own():
    fleet = electric_fleet(300, city=CITY)
    fleet.home_place[-2:] = -1
    fleet.home_node[-2:] = CITY.outside_node[[0, 3]]
    charging = make(fleet, city=CITY, home_access=1.0)
    feeder = charging.sites.site_feeder[fleet.home_site]
    assert np.array_equal(feeder[:-2], charging.feeders.home_feeder[fleet.home_place[:-2]])
    assert len(set(feeder[-2:]) | set(feeder[:-2])) == len(set(feeder[:-2])) + 2


def test_workplace_sockets_follow_cars_per_socket():
    fleet = electric_fleet(400, city=CITY)
    charging = make(fleet, city=CITY, work_access=0.5, work_cars_per_socket=4.0)
    works = charging.sites.rows(SiteKind.WORK)
    cars = np.bincount(fleet.work_site[fleet.work_site >= 0], minlength=len(charging.sites))[works]
    sockets = charging.sites.socket_count[charging.sites.socket_ptr[works]]
    assert cars.max() <= 16
    assert np.array_equal(sockets, -(-cars // 4))


def test_scenario_sites_stand_apart_on_main_roads():
    fleet = electric_fleet(5)
    charging = make(fleet, city=CITY, extra_fast_sites=4, home_access=0.0, work_access=0.0)
    rows = np.array([i for i, name in enumerate(charging.sites.name) if name.startswith("scenario")])
    network = CITY.network
    main = np.isin(network.link_class, [ROAD_CLASSES.index(c) for c in ("primary", "secondary")]) & ~network.has(
        OUTSIDE
    )
    assert len(rows) == 4 == len(set(charging.sites.site_node[rows]))
    assert set(charging.sites.site_node[rows]) <= set(network.link_from[main])
    assert (charging.sites.site_kind[rows] == SiteKind.FAST).all()
    assert len(set(charging.sites.site_feeder[rows])) == 4  # 100 kW each: own connection to medium voltage
    assert charging.sites.site_feeder[rows].min() >= len(charging.feeders.x)


def test_candidates_are_the_nearest_that_fit():
    fleet = electric_fleet(4)
    fleet.model[:] = [0, 1, 2, 3]  # CHAdeMO; CCS; type 1 only; nothing
    charging = make(fleet, city=CITY, home_access=0.0, work_access=0.0)
    site, crow_m, kw, wait_s = charging.candidates(np.zeros(4, int), np.arange(4), k=3)
    names = [[charging.sites.name[s] if s >= 0 else "" for s in row] for row in site]
    assert names[0] == names[1] == ["centre", "far corner", ""]
    assert names[2] == ["far corner", "", ""]
    assert names[3] == ["", "", ""]
    x, y = CITY.network.node_x, CITY.network.node_y
    centre = CITY.charger_node[1]
    assert crow_m[0, 0] == pytest.approx(np.hypot(x[centre] - x[0], y[centre] - y[0]))
    assert (crow_m[:2, 0] < crow_m[:2, 1]).all()
    assert np.isinf(crow_m[site < 0]).all()
    assert kw[:, 0].tolist() == pytest.approx([41 + 4 * 50 / 62, 50.0, 3.0, 0.0])
    assert wait_s[:2, 0].tolist() == [0.0, 0.0]
    assert np.isinf(wait_s[3]).all()


def test_europe_uses_type_2():
    charging = make(electric_fleet(1), city=CITY, market="europe", home_access=0.0, work_access=0.0)
    names = [charging.sites.name[s] for s in charging.candidates(0, 0)[0][0] if s >= 0]
    assert names.count("corner") == 1
    assert "far corner" not in names


def test_a_full_site_shows_its_expected_wait():
    """Two CHAdeMO sockets, taken a minute ago, nobody waiting: half of what is left of the mean fast stay of 23 min."""
    fleet = electric_fleet(3, soc=0.2)
    charging = make(fleet, city=CITY)
    fast = site_of(charging, SiteKind.FAST)
    charging.arrive([0, 1], fast, 0, -1, fleet.capacity_j[0])
    run(charging, 60_000)
    site, _, _, wait_s = charging.candidates(0, 2)
    assert wait_s[0, site[0] == fast].tolist() == [(23 - 1) * 60 / 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sockets": []}, "has no socket"),
        ({"sockets": [Socket(0, 0, 50.0)]}, "0 sockets of 50.0 kW"),
        ({"sockets": [Socket(0, 1, 0.0)]}, "must be above 0"),
        ({"sockets": [Socket(0, 1, float("nan"))]}, "must be above 0"),
        ({"sockets": [Socket(9, 1, 50.0)]}, "valid are 0 to 4"),
        ({"cap_kw": 0.0}, "cap of 0.0 kW"),
        ({"cap_kw": float("nan")}, "cap of nan kW"),
    ],
)
def test_impossible_sites_are_named(change, words):
    good = {"node": 0, "feeder": 0, "xy": (0.0, 0.0), "name": "Harbour", "sockets": [Socket(0, 1, 50.0)]}
    with pytest.raises(ChargingError, match=f"Harbour.*{words}"):
        Sites().add(SiteKind.FAST, **(good | change))


def test_a_city_without_homes_or_chargers_is_still_a_city():
    empty = {
        n: getattr(CITY, n)[:0]
        for n in dir(CITY)
        if n.startswith(("place_", "charger_", "socket_")) and n != "charger_names"
    }
    city = dataclasses.replace(CITY, **empty)
    fleet = electric_fleet(3)
    charging = make(fleet, city=city, home_access=1.0, work_access=0.0)
    assert charging.sites.site_kind.tolist() == [SiteKind.HOME]
    assert charging.candidates([0], [0])[0].tolist() == [[-1, -1, -1, -1]]
    charging.arrive([0, 1, 2], fleet.home_site, 0, -1, fleet.capacity_j)
    run(charging, 600_000)
    charging.finish(600_000)
    assert charging.grid_summary()["energy_kwh"] > 0
