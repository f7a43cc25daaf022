"""Destination management: ways in closed form and in a whole world, stops on the way; steep links; over the air."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maps.network import ONEWAY, ROAD_CLASSES, CityMap, RoadNetwork
from maps.toy import grid, toy_city
from tests.test_autonomy_propilot import changed, expressway, room, travel
from twin.autonomy.propilot import Autonomy, AutonomyError
from twin.autonomy.rules import DESTINATION, HANDS_OFF, load_rules
from twin.model import Twin
from twin.proposals import Proposals, Ways
from twin.settings import AutonomySettings, DemandSettings, FleetSettings, OtaSettings, TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.route_choice import RouteChoice
from twin.traffic.routing import Router

EXTRA = load_rules()["model"]["proposal"]["extra_time"]


def with_motorway(network: RoadNetwork, links: NDArray[np.bool_]) -> RoadNetwork:
    classes, flags, lanes = network.link_class.copy(), network.link_flags.copy(), network.link_lanes.copy()
    classes[links], lanes[links] = ROAD_CLASSES.index("motorway"), 2
    flags[links] |= ONEWAY
    radius = np.full(network.n_links, np.inf, np.float32)
    return changed(network, link_class=classes, link_flags=flags, link_lanes=lanes, link_radius=radius)


def ways(network: RoadNetwork, start: NDArray[np.int32], goal: NDArray[np.int32], **knobs: object) -> Ways:
    autonomy = room(network, level=DESTINATION, cars=1, **knobs)  # type: ignore[arg-type]
    streets = Streets(network, TrafficSettings(), 1)
    choice = RouteChoice(Router(network, streets.physics.free_ms, kept=2), streets, TrafficSettings())
    n = len(start)
    return Proposals(autonomy, choice).between(start, goal, np.zeros(n, np.int64), np.ones(n, bool), 0)


@pytest.mark.parametrize(("blocks", "follows"), [(21, False), (23, True)])
def test_the_motorway_is_proposed_when_it_costs_less_than_the_extra_time(blocks: int, follows: bool) -> None:
    """Along the street m blocks, by the motorway beside it m + 2, two of them on streets: m + 2 (1+e) < m (1+e)."""
    assert (blocks + 2 * (1 + EXTRA) < blocks * (1 + EXTRA)) == follows
    road = grid(2, blocks + 1, length_m=500, speed_kmh=50)
    upper = (road.node_y[road.link_from] > 0) & (road.node_y[road.link_to] > 0)
    found = ways(with_motorway(road, upper), np.array([0], np.int32), np.array([blocks], np.int32))
    assert found.proposed.all()
    assert len(found.routes.links) == blocks + 2 * follows
    assert found.longer_ms[0] == pytest.approx(2 * 36_000 * follows, abs=1)
    assert found.more_mm[0] == blocks * 500_000 * follows


def test_never_longer_than_allowed_and_never_less_in_the_domain() -> None:
    rng = np.random.default_rng(4)
    road = grid(9, 9, length_m=300)
    start, goal = rng.integers(0, 81, (2, 300)).astype(np.int32)
    network = with_motorway(road, rng.random(road.n_links) < 0.3)
    found, plain = ways(network, start, goal), ways(network, start, goal, extra_time=0.0)
    fastest_ms = plain.routes.totals(network.link_free_s * 1000)
    assert not plain.longer_ms.any() and not plain.more_mm.any()
    assert (found.longer_ms >= -1).all() and (found.longer_ms <= EXTRA * fastest_ms + 2).all()
    assert (found.more_mm >= 0).all()  # all links are as fast, so less time outside is more length inside
    assert np.count_nonzero(found.more_mm) > 30


def test_in_weather_that_closes_the_domain_the_fastest_way_is_proposed() -> None:
    road = grid(2, 31, length_m=500)
    upper = (road.node_y[road.link_from] > 0) & (road.node_y[road.link_to] > 0)
    found = ways(with_motorway(road, upper), np.array([0], np.int32), np.array([30], np.int32), rain=50.0)
    assert len(found.routes.links) == 30 and not found.longer_ms.any()


def test_proposals_go_to_cars_of_the_level_whose_drivers_use_it_on_trips_with_a_destination() -> None:
    autonomy = room(expressway(20), level=DESTINATION, cars=2000, destination_set=0.9)
    autonomy.fleet.propilot[:500] = HANDS_OFF
    everyone, serials = np.arange(2000), np.arange(2000, dtype=np.int64)
    found = autonomy.proposes(everyone, serials, at_ms=5)
    autonomy.begin_trips(everyone, serials, at_ms=5)
    uses = (autonomy.cars["will"] > 0) & (autonomy.cars["bare"] == 0)
    assert np.array_equal(found[500:], uses[500:]) and not found[:500].any()
    assert found[500:].mean() == pytest.approx(0.85 * 0.9, abs=4 * np.sqrt(0.765 * 0.235 / 1500))
    assert autonomy.may_propose() and not room(expressway(2), level=HANDS_OFF).may_propose()
    assert room(expressway(2), level=HANDS_OFF).may_propose(["", "destination"])


def test_extra_time_of_a_rules_file_must_be_a_share(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[model.proposal]\nextra_time = 1.5\n", "utf-8")
    with pytest.raises(AutonomyError, match=r"mine.toml: model.proposal: extra_time is 1.5, must be a share"):
        room(expressway(2), rules=str(path))


# ------------------------------------------------------------------ heights


def test_steep_links_leave_the_domain_where_heights_are_given() -> None:
    road = expressway(10)
    rise = np.zeros(10)
    rise[4], rise[7] = 65.0, -75.0  # m on 1,000 m: 6.5 % is too steep for 2.0, 7.5 % down for every level
    for level, outside in ((1, [7]), (HANDS_OFF, [7])):
        flat = room(road, level=level, use=10)
        steep = Autonomy(
            flat.fleet, road, flat.settings, flat.climate,
            country="JP", model_names=["LEAF"], seed=5, horizon_ms=flat.horizon_ms, rise_m=rise,
        )  # fmt: skip
        assert flat.link_domain[level].all()
        assert np.flatnonzero(~steep.link_domain[level]).tolist() == outside
        assert steep.link_mode[0, HANDS_OFF, 4] == 1  # falls back to 1.0
        rows = travel(steep)
        assert rows.engaged_mm[np.isin(rows.link, outside)].sum() == 0 < rows.engaged_mm.sum()
        assert not any(steep.ledger().values())


# ------------------------------------------------------------------ a whole world


def ringed() -> CityMap:
    """A town of streets with a motorway round it."""
    city = toy_city(9, homes=150, length_m=600.0, rings_km=(2.0,))
    net = city.network
    side = net.node_x[:81].max()
    edge = [
        np.isclose(v[net.link_from], e) & np.isclose(v[net.link_to], e)
        for v in (net.node_x, net.node_y)
        for e in (0, side)
    ]
    round_ = np.any(edge, axis=0)
    speed = net.link_speed.copy()
    speed[round_] = 100 / 3.6
    return replace(city, network=with_motorway(replace(net, link_speed=speed), round_))


@cache
def lived(level: str, *, charge: float = 1.0, **knobs: object) -> Twin:
    twin = Twin(
        ringed(), until_s=10 * 3600, fleet=FleetSettings(cars=120, propilot=1.0, bev=1.0, epower=0.0),
        demand=DemandSettings(other_traffic=0.0, outside=0.0), ota=OtaSettings(enabled=False),
        autonomy=AutonomySettings(level=level, use=10.0, destination_set=1.0, **knobs),
    )  # fmt: skip
    fleet = twin.world.fleet
    if charge < 1:
        fleet.battery_j[:] = (fleet.capacity_j * charge).astype(np.int64)
        twin.world.battery_start_j = fleet.battery_j.copy()
        twin.world._at_socket = np.empty(0, np.int64)
        twin.world.drive.open_books()
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert not any(twin.world.ledger().values())
    return twin


def test_it_takes_cars_to_the_motorway_and_is_counted() -> None:
    plain, led = lived("propilot_2_0"), lived("propilot_destination")
    before, after = (t.world.summary()["autonomy"] for t in (plain, led))
    assert before["destination"] == {
        "ways_proposed": 0, "other_than_fastest": 0, "stops_on_the_way": 0, "extra_min": 0, "more_km_in_domain": 0
    }  # fmt: skip
    said = after["destination"]
    assert 0 < said["other_than_fastest"] < said["ways_proposed"]
    assert said["more_km_in_domain"] > 0 < said["extra_min"]
    assert after["possible_km"] > before["possible_km"] and after["engaged_km"] > before["engaged_km"]


def test_charging_stops_are_those_beside_the_way() -> None:
    twin = lived("propilot_2_0")
    world = twin.world
    choice, net = world.charging.choice, world.city.network
    way = world.router.routes([0], [80], world.route_choice.cost_ms).links
    car = 0
    site = choice.near[choice.inlet_of[world.fleet.model[car]]][0]
    found = choice.beside(way, car, reach_m=1e9, avoid=-1, detour=1.4, k=4)
    nodes = np.append(net.link_from[way[0]], net.link_to[way])
    passed = np.concatenate([[0], np.cumsum(net.link_length[way])])
    x, y = choice.sites.x, choice.sites.y
    off = np.hypot(net.node_x[nodes][:, None] - x[site], net.node_y[nodes][:, None] - y[site])
    assert sorted(found.site.tolist()) == sorted(site.tolist())[:4]
    for k, one in enumerate(found.site):
        column = off[:, site.tolist().index(one)]
        assert found.detour_m[k] == pytest.approx(2 * 1.4 * column.min(), abs=0.5)
        assert found.to_m[k] == pytest.approx(passed[np.argmin(column)] + 1.4 * column.min(), abs=0.5)
    assert (np.diff(found.detour_m) >= 0).all()
    near = choice.beside(way, car, reach_m=float(found.to_m.min()) + 1, avoid=-1, detour=1.4, k=4)
    assert near.site.tolist() == [int(found.site[np.argmin(found.to_m)])]
    assert found.site[0] not in choice.beside(way, car, reach_m=1e9, avoid=int(found.site[0]), detour=1.4, k=4).site
    assert not len(choice.beside(way[:0], car, reach_m=1e9, avoid=-1, detour=1.4, k=4).site)


def test_cars_low_on_charge_stop_where_it_proposes() -> None:
    said = lived("propilot_destination", charge=0.2).world.summary()
    assert 10 < said["autonomy"]["destination"]["stops_on_the_way"] <= said["autonomy"]["destination"]["ways_proposed"]


# ------------------------------------------------------------------ over the air


def test_a_release_over_the_air_changes_level_domain_and_use() -> None:
    """A campaign with a ProPILOT release, end to end; the same world without it is the comparison."""
    found = {}
    for release in ("", "destination"):
        twin = Twin(
            ringed(), until_s=10 * 3600, fleet=FleetSettings(cars=120, propilot=1.0, connected=1.0),
            demand=DemandSettings(other_traffic=0.0, outside=0.0),
            autonomy=AutonomySettings(level="propilot_2_0", destination_set=1.0, weeks=1000.0),
            ota=OtaSettings(
                start_h=0.0, groups=[1.0], package_mb=0.1, consent="none", install_min=1.0, propilot_release=release
            ),
        )  # fmt: skip
        world = twin.world
        before = world.fleet.propilot.copy()
        while not world.done:
            twin.step()
        world.finish()
        assert not any(world.ledger().values())
        done, has = world.updates.campaigns[0].done, before == HANDS_OFF
        assert 0 < np.count_nonzero(done & has) < has.sum()
        found[release] = world
        changed_ = done & has if release else np.zeros(120, bool)
        assert np.array_equal(world.fleet.propilot, np.where(changed_, DESTINATION, before))
        later = world.autonomy.propensity(np.arange(120), 10 * 3_600_000)
        found[release, "use"] = later
    took = found["destination"].fleet.propilot == DESTINATION
    plain, new = found["", "use"], found["destination", "use"]
    assert np.array_equal(plain[~took], new[~took])
    drives = took & (plain > 0)
    assert (new[drives] > plain[drives]).all() and drives.any()
    by_level = [found[r].summary()["autonomy"]["by_level"] for r in ("", "destination")]
    assert "propilot_destination" not in by_level[0] and by_level[1]["propilot_destination"]["engaged_km"] > 0
    assert found["destination"].summary()["autonomy"]["destination"]["ways_proposed"] > 0
