"""Where journeys end: attraction by weight and distance, rings beyond the map, distance curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maps.network import PLACE_KINDS
from maps.toy import corridor, grid, toy_city
from twin.demand import kernels
from twin.demand.distance import calibrate, fastest
from twin.demand.places import attraction, rings


def test_places_are_drawn_by_weight_within_the_band() -> None:
    # spots 100 m away weigh 1 and 3, one of weight 50 is too far
    spots = np.array([[100.0, 0, 1, 10], [0, 100, 3, 11], [500, 0, 50, 12]])
    cells = np.array([[50.0, 50.0, 80.0], [500, 0, 0]])
    ptr = np.array([0, 2, 3])
    us = (np.arange(400) + 0.5) / 400
    nodes = [kernels.in_band(0.0, 0.0, 90.0, 110.0, -1, -1, -1, spots, cells, ptr, u) for u in us]
    assert [nodes.count(n) for n in (10, 11, 12)] == [100, 300, 0]
    assert kernels.in_band(0.0, 0.0, 90.0, 110.0, 11, -1, -1, spots, cells, ptr, 0.99) == 10
    assert kernels.in_band(0.0, 0.0, 200.0, 300.0, -1, -1, -1, spots, cells, ptr, 0.5) == -1


def test_between_two_rings_the_mean_is_what_was_wanted() -> None:
    city = toy_city(5, rings_km=(2.0, 5.0, 10.0))
    d = calibrate(city, city.gate_node, city.place_node)
    r = rings(city, d)
    lie, beyond = (d.x, d.y, d.beyond_m, d.gate, d.crow_m, d.road_m), (r.gate_cum, r.ptr, r.node)
    anchor = int(city.gate_node[0])
    us = (np.arange(500) + 0.5) / 500
    metres = np.array([kernels.outside_at(anchor, 7000.0, 0.0, u, lie, beyond)[1] for u in us])
    # the approach road has nodes at most 2 km apart: the wanted distance lies between two of them
    below, above = d.beyond_m[r.node[r.ptr[0] : r.ptr[1]]][[3, 4]]
    assert below < 7000 < above
    assert set(metres) == {below, above}
    assert metres.mean() == pytest.approx(7000, rel=0.01)
    assert kernels.outside_at(anchor, 99_000.0, 0.0, 0.5, lie, beyond)[1] == 10_000


def test_along_an_approach_road_the_mean_is_what_was_wanted() -> None:
    row = np.arange(6)
    beyond_m = np.array([2000.0, 4000, 6000, 8000, 10_000, 12_000])
    us = (np.arange(200) + 0.5) / 200
    found = [kernels.along(2, 3000.0, 0.2, u, beyond_m, row) for u in us]  # up the road: 8 or 10 km out
    assert {node for node, _ in found} == {3, 4}
    assert np.mean([metres for _, metres in found]) == pytest.approx(3000, rel=0.01)
    assert kernels.along(2, 4000.0, 0.9, 0.5, beyond_m, row) == (0, 4000.0)  # down the road
    assert kernels.along(2, 5000.0, 0.9, 0.1, beyond_m, row)[0] in (4, 5)  # only up is long enough
    assert kernels.along(2, 50_000.0, 0.5, 0.5, beyond_m, row) == (5, 6000.0)  # to the farther end
    assert kernels.along(2, 500.0, 0.1, 0.5, beyond_m, row) == (3, 2000.0)  # the next one, not itself
    assert kernels.along(0, 500.0, 0.5, 0.5, beyond_m[:1], row[:1]) == (-1, -1.0)


def test_fastest_paths_on_a_corridor_are_exact() -> None:
    length_m, seconds = fastest(corridor(6, length_m=500, speed_kmh=36), np.array([0, 3]))
    assert length_m[0].tolist() == [500.0 * k for k in range(7)]
    assert seconds[0] == pytest.approx(np.arange(7) * 50.0)
    assert np.isinf(length_m[1, :3]).all()  # one way


def test_length_is_along_the_fastest_path_not_the_shortest() -> None:
    city = toy_city(9)  # primary roads are faster than the streets beside them
    length_m, seconds = fastest(city.network, np.array([0]))
    shortest = np.abs(city.network.node_x[:81]) + np.abs(city.network.node_y[:81])
    assert (length_m[0, :81] >= shortest - 1e-6).all()
    assert seconds[0, 80] < 3200 / (30 / 3.6)  # corner to corner, 3.2 km, partly at 50 km/h


def test_parallel_links_count_once() -> None:
    net = corridor(2, length_m=100)
    names = [f for f in net.__dataclass_fields__ if f.startswith("link_")]
    again = {f: np.append(getattr(net, f)[:1], getattr(net, f)) for f in names}
    again["geom_ptr"] = np.append(net.geom_ptr, net.geom_ptr[-1] + 2)
    again["geom_x"], again["geom_y"] = np.append(net.geom_x, [0, 1]), np.append(net.geom_y, [0, 0])
    assert fastest(replace(net, **again), np.array([0]))[0][0].tolist() == [0, 100, 200]


def test_curve_of_a_square_grid_has_its_mean_detour() -> None:
    """Over all directions a rectangular grid is 4 / pi times the crow's distance."""
    net = grid(31, 31, length_m=100)
    city = replace(toy_city(5, rings_km=()), network=net, gate_node=np.zeros(0, np.int32))
    middle = np.array([15 * 31 + 15])
    within = np.hypot(net.node_x - 1500, net.node_y - 1500) < 1500
    d = calibrate(city, middle, np.flatnonzero(within))
    assert d.road_m[-4:] / d.crow_m[-4:] == pytest.approx([4 / np.pi] * 4, rel=0.04)
    assert d.inside_mps == pytest.approx(50 / 3.6)
    assert (np.diff(d.road_m) > 0).all()


def test_outside_nodes_count_from_their_gate() -> None:
    city = toy_city(6)
    d = calibrate(city, city.place_node, city.place_node)
    west = city.outside_node[city.outside_gate == 0]
    near, far = d.between(west[:1], west[2:3])
    assert (near[0], far[0]) == (0, 8000)  # same road: 2 km to 10 km
    east = city.outside_node[city.outside_gate == 1]
    near, far = d.between(west[:1], east[:1])
    assert far[0] == 4000
    real = fastest(city.network, west[:1])[0][0, east[0]]
    assert near[0] + far[0] == pytest.approx(real, rel=0.1)


def test_map_without_shops_sends_shoppers_elsewhere() -> None:
    city = toy_city(6)
    bare = replace(city, place_kind=np.zeros(len(city.place_kind), np.uint8))  # homes only
    places = attraction(bare)
    assert np.diff(places.group_spot).min() > 1
    weightless = replace(city, place_weight=np.zeros(len(city.place_weight), np.float32))
    assert np.diff(attraction(weightless).group_spot).tolist() == [36] * 4  # every crossing


def test_shop_weights_survive_grouping() -> None:
    city = toy_city(6)
    places = attraction(city)
    shops = places.spots[places.group_spot[0] : places.group_spot[1]]
    mine = city.place_kind == PLACE_KINDS.index("shop")
    assert shops[:, 2].sum() == pytest.approx(city.place_weight[mine].sum())
    assert set(shops[:, 3].astype(int)) == set(city.place_node[mine].tolist())
