"""Toy networks are what their arguments say; map files come back as they were saved."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from maps.approach import Gate, attach
from maps.draft import draft_of
from maps.network import NETWORK_COLUMNS, OUTSIDE, PLACE_COLUMNS, ROAD_CLASSES, SIGNALS, CityMap, MapError
from maps.toy import corridor, grid, merge, ring, toy_city


def test_corridor() -> None:
    road = corridor(7, length_m=250.0, speed_kmh=72.0, lanes=2)
    assert (road.n_nodes, road.n_links) == (8, 7)
    assert (road.link_length == 250.0).all()
    assert road.link_free_s == pytest.approx(250 / 20)
    assert road.link_from.tolist() == list(range(7))
    assert (road.link_to - road.link_from == 1).all()
    both = corridor(7, both_ways=True)
    assert both.n_links == 14
    assert np.isinf(both.link_radius).all()


def test_ring_is_a_circle_of_the_right_radius() -> None:
    road = ring(12, length_m=100.0)
    assert road.link_length.sum() == 1200.0
    assert road.link_radius == pytest.approx(1200 / (2 * np.pi), rel=1e-3)
    here, seen = 0, []
    for _ in range(12):
        seen.append(here)
        here = int(road.link_to[road.out_ptr[here]])
    assert here == 0
    assert sorted(seen) == list(range(12))


def test_grid_and_merge() -> None:
    town = grid(3, 4, length_m=100, signals=True)
    assert (town.n_nodes, town.n_links) == (12, 2 * (3 * 3 + 2 * 4))
    assert (town.node_control == SIGNALS).all()
    assert (town.node_x[7], town.node_y[7]) == (300, 100)
    ramp = merge(main_lanes=3, ramp_lanes=1, down_lanes=2)
    assert ramp.link_lanes.tolist() == [3, 1, 2]
    assert [ROAD_CLASSES[k] for k in ramp.link_class] == ["motorway", "motorway_link", "motorway"]


def test_toy_city_has_one_of_everything_and_is_strongly_connected() -> None:
    city = toy_city(8, seed=3)
    network = city.network
    shape = (network.n_nodes, network.n_nodes)
    graph = coo_matrix((np.ones(network.n_links), (network.link_from, network.link_to)), shape=shape)
    assert connected_components(graph, connection="strong")[0] == 1
    assert all(len(city.places(kind)) for kind in ("home", "work", "shop", "leisure", "school"))
    assert city.charger_names == ["corner", "centre", "far corner"]
    assert set(city.socket_charger) == {0, 1, 2}
    assert {ROAD_CLASSES[k] for k in network.link_class[network.has(OUTSIDE)]} == {"secondary", "primary", "motorway"}
    assert not network.has(OUTSIDE)[network.node_control[network.link_to] == SIGNALS].any()


def test_toy_city_depends_on_its_seed_only() -> None:
    a, b, c = toy_city(6, seed=1), toy_city(6, seed=1), toy_city(6, seed=2)
    assert (a.place_x == b.place_x).all()
    assert (a.place_x != c.place_x).any()
    with pytest.raises(ValueError, match="3 or more"):
        toy_city(2)


def test_approach_roads_lie_straight_outwards_in_links_of_two_kilometres_at_most() -> None:
    square = draft_of(x=[0, 100], y=[0, 0], link_from=[0, 1], link_to=[1, 0])
    draft, rows = attach(
        square, [Gate(1, 1, 1.0, 0.0)], speeds_mps=[20.0, 30.0], rings_km=[3.0, 10.0], classes=["primary", "motorway"]
    )
    outside = (draft.link_flags & OUTSIDE) > 0
    assert draft.link_length[outside].max() <= 2000
    assert draft.link_length[outside].sum() == pytest.approx(2 * 10_000)
    assert rows.outside_km.tolist() == [3.0, 10.0]
    assert draft.node_x[rows.outside_node].tolist() == [3100.0, 10_100.0]
    assert set(draft.link_lanes[outside]) == {1, 2}
    assert (draft.link_speed[outside] == np.where(draft.link_lanes[outside] == 2, 30.0, 20.0)).all()


def test_a_dual_carriageway_gate_leaves_by_one_node_and_enters_by_the_other() -> None:
    cut = draft_of(x=[0, 100, 100], y=[0, 0, 20], link_from=[0, 2], link_to=[1, 0])
    draft, rows = attach(cut, [Gate(1, 2, 1.0, 0.0)], speeds_mps=[30.0], rings_km=[2.0], classes=["motorway"])
    pairs = set(zip(draft.link_from.tolist(), draft.link_to.tolist(), strict=True))
    far = int(rows.outside_node[0])
    assert {(1, far), (far, 2)} <= pairs
    assert (far, 1) not in pairs


def test_map_file_comes_back_equal_and_loads_fast(tmp_path: Path) -> None:
    city = toy_city(30)
    path = city.save(tmp_path / "toy.npz")
    first = path.read_bytes()
    start = time.perf_counter()
    back = CityMap.load(path)
    assert time.perf_counter() - start < 1.0
    for name in NETWORK_COLUMNS:
        assert (getattr(back.network, name) == getattr(city.network, name)).all(), name
    for name in PLACE_COLUMNS:
        assert (getattr(back, name) == getattr(city, name)).all(), name
    assert dict(back.meta) == dict(city.meta)
    assert back.save(tmp_path / "again.npz").read_bytes() == first
    with pytest.raises(ValueError, match="read-only"):
        back.network.link_length[0] = 1.0


@pytest.mark.parametrize("damage", ["cut", "text", "flip", "empty"])
def test_damaged_map_files_are_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = toy_city(5).save(tmp_path / "toy.npz")
    whole = path.read_bytes()
    broken = {
        "cut": whole[: len(whole) // 2],
        "text": b"not a map",
        "flip": whole[:5000] + bytes(b ^ 255 for b in whole[5000:5100]) + whole[5100:],
        "empty": b"",
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(MapError) as error:
        CityMap.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
