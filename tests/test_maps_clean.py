"""Cutting, joining and merging: small streets drawn for one hard case each, and laws on random grids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from maps.clean import free_traps, keep_nodes, place_controls, simplify, strong_component, turns
from maps.draft import Draft, draft_of, shape_length, smallest_radius
from maps.junctions import merge_short
from maps.network import NO_CONTROL, SIGNALS, TUNNEL, MapError
from maps.raw import read_osm
from maps.ways import cut
from tests.osm_text import write_osm

STREET = {"highway": "residential"}


def read(path: Path, country: str = "DE") -> Draft:
    return cut(read_osm(path), country)[0]


def links_of(draft: Draft) -> set[tuple[int, int]]:
    ids = draft.node_osm
    return set(zip(ids[draft.link_from].tolist(), ids[draft.link_to].tolist(), strict=True))


def distances(draft: Draft, sources: np.ndarray) -> np.ndarray:
    order = np.lexsort((draft.link_length, draft.link_to, draft.link_from))
    pair = draft.link_from[order] * draft.n_nodes + draft.link_to[order]
    best = order[np.unique(pair, return_index=True)[1]]  # the shortest of parallel links
    shape = (draft.n_nodes, draft.n_nodes)
    graph = coo_matrix((draft.link_length[best], (draft.link_from[best], draft.link_to[best])), shape=shape).tocsr()
    return dijkstra(graph, indices=sources)


def turn_graph_is_strong(draft: Draft) -> bool:
    a, b = turns(draft)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(draft.n_links, draft.n_links))
    return connected_components(graph, connection="strong")[0] == 1


def test_one_way_backwards_and_both_ways(tmp_path: Path) -> None:
    points = {1: (0, 0), 2: (100, 0), 3: (200, 0)}
    path = write_osm(tmp_path, points, [([1, 2], {**STREET, "oneway": "-1"}), ([2, 3], STREET)])
    assert links_of(read(path)) == {(2, 1), (2, 3), (3, 2)}


def test_limit_and_lanes_of_each_direction(tmp_path: Path) -> None:
    tags = {"highway": "primary", "maxspeed": "70", "maxspeed:backward": "50", "lanes": "3", "lanes:forward": "2"}
    draft = read(write_osm(tmp_path, {1: (0, 0), 2: (100, 0)}, [([1, 2], tags)]))
    ahead = int(np.flatnonzero(draft.node_osm[draft.link_from] == 1)[0])
    back = 1 - ahead
    assert draft.link_speed[ahead] * 3.6 == pytest.approx(70)
    assert draft.link_speed[back] * 3.6 == pytest.approx(50)
    assert (draft.link_lanes[ahead], draft.link_lanes[back]) == (2, 1)


def test_crossing_ways_share_a_node_and_a_curve_keeps_its_length(tmp_path: Path) -> None:
    angle = np.linspace(0, np.pi / 2, 10)
    arc = {10 + k: (200 * np.sin(a), 200 - 200 * np.cos(a)) for k, a in enumerate(angle)}
    points = {1: (-100, 0), 2: (0, -100), **arc}
    draft = read(write_osm(tmp_path, points, [([1, 10], STREET), ([2, 10], STREET), ([*arc], STREET)]))
    assert draft.n_nodes == 4
    curve = np.flatnonzero(np.diff(draft.geom_ptr) == 10)
    assert len(curve) == 2
    assert draft.link_length[curve] == pytest.approx(200 * np.pi / 2, rel=0.005)
    network = draft.finish()
    assert np.sort(network.link_radius)[:2] == pytest.approx(200, rel=0.01)
    assert np.isinf(np.sort(network.link_radius)[2:]).all()


def test_nodes_that_only_bend_disappear_and_nodes_that_decide_stay(tmp_path: Path) -> None:
    points = {k: (100 * k, 20 * (k % 2)) for k in range(1, 8)}
    ways = [
        ([1, 2, 3], {**STREET, "maxspeed": "30"}),
        ([3, 4], {**STREET, "maxspeed": "30"}),
        ([4, 5], {**STREET, "maxspeed": "50"}),
        ([5, 6], {**STREET, "maxspeed": "50", "tunnel": "yes"}),
        ([6, 7], {**STREET, "maxspeed": "50"}),
    ]
    before = read(write_osm(tmp_path, points, ways))
    after = simplify(before)
    assert sorted(after.node_osm.tolist()) == [
        1,
        4,
        5,
        6,
        7,
    ]  # 3 decides nothing; the speed changes at 4, a tunnel at 5 and 6
    assert after.link_length.sum() == pytest.approx(before.link_length.sum())
    assert shape_length(after.geom_ptr, after.geom_x, after.geom_y) == pytest.approx(after.link_length, abs=0.2)
    assert int(((after.link_flags & TUNNEL) > 0).sum()) == 2


def test_a_street_that_returns_to_its_start_keeps_a_node_half_way(tmp_path: Path) -> None:
    points = {1: (0, 0), 2: (100, 0), 3: (200, 100), 4: (300, 0), 5: (200, -100)}
    after = simplify(read(write_osm(tmp_path, points, [([1, 2], STREET), ([2, 3, 4, 5, 2], STREET)])))
    assert (after.link_from != after.link_to).all()
    assert after.n_nodes == 3
    assert after.link_length.sum() == pytest.approx(2 * (100 + 4 * np.hypot(100, 100)), rel=1e-3)


def test_a_ring_road_without_any_junction_is_kept() -> None:
    n = 12
    angle = 2 * np.pi * np.arange(n) / n
    ring = draft_of(
        x=500 * np.cos(angle), y=500 * np.sin(angle), link_from=np.arange(n), link_to=(np.arange(n) + 1) % n
    )
    after = simplify(ring)
    assert after.n_nodes >= 2
    assert after.link_length.sum() == pytest.approx(ring.link_length.sum())
    assert after.finish().n_links == after.n_nodes


def test_roundabout_is_one_way_and_small_ones_become_a_node(tmp_path: Path) -> None:
    rim = {10 + k: (12 * np.cos(np.pi / 2 * k), 12 * np.sin(np.pi / 2 * k)) for k in range(4)}
    arms = {20 + k: (150 * np.cos(np.pi / 2 * k), 150 * np.sin(np.pi / 2 * k)) for k in range(4)}
    ways = [([10, 11, 12, 13, 10], {**STREET, "junction": "roundabout"})]
    ways += [([10 + k, 20 + k], STREET) for k in range(4)]
    draft = read(write_osm(tmp_path, {**rim, **arms}, ways))
    assert (10, 11) in links_of(draft)
    assert (11, 10) not in links_of(draft)
    merged, gone = merge_short(draft, shortest_m=20)
    assert gone == 4
    assert merged.n_nodes == 5
    assert merged.link_length == pytest.approx(np.full(8, 150.0), rel=0.01)
    # every arm leads to every other and, round the island, back to itself
    assert len(merged.ban_from) == 0


def test_merging_forbids_what_could_not_be_driven() -> None:
    # one-way 0 → 1 → 2 with a side street (3) leaving node 1 and one (4) entering node 2, ten metres on
    draft = draft_of(
        x=[-100, 0, 10, 0, 10, 110], y=[0, 0, 0, -100, 100, 0], link_from=[0, 1, 1, 4, 2], link_to=[1, 2, 3, 2, 5]
    )
    merged, gone = merge_short(draft)
    assert gone == 1
    allowed = {(int(merged.link_length[a]), int(merged.link_length[b])) for a, b in zip(*turns(merged), strict=True)}
    # the side street that enters behind the exit cannot turn into it: its link is the fourth, the exit the third
    rows = {(round(merged.node_x[merged.link_from[k]]), round(merged.node_y[merged.link_from[k]])): k for k in range(4)}
    entering = rows[10, 100]
    leaving = int(np.flatnonzero(np.round(merged.node_y[merged.link_to]) == -100)[0])
    assert (entering, leaving) in set(zip(merged.ban_from.tolist(), merged.ban_to.tolist(), strict=True))
    assert len(merged.ban_from) == 1
    assert allowed


def test_merging_keeps_the_distance_through_a_crossing_of_two_dual_carriageways() -> None:
    # four nodes 10 m apart; driving straight through takes 100 + 10 + 100
    x = [0, 10, 10, 0, -100, 110, -100, 110, 0, 0, 10, 10]
    y = [0, 0, 10, 10, 0, 0, 10, 10, -100, 110, -100, 110]
    tail, head = [4, 0, 1, 7, 2, 3, 9, 3, 0, 10, 1, 2], [0, 1, 5, 2, 3, 6, 3, 0, 8, 1, 2, 11]
    merged, gone = merge_short(draft_of(x=x, y=y, link_from=tail, link_to=head))
    assert gone == 4
    assert merged.n_nodes == 9
    through = 2 * merged.link_length.mean()
    assert through == pytest.approx(210, abs=1.5)


def test_clusters_stay_small() -> None:
    n = 30  # a row of nodes 8 m apart must not collapse into one
    chain = draft_of(
        x=np.arange(n) * 8.0,
        y=np.zeros(n),
        link_from=np.r_[np.arange(n - 1), np.arange(1, n)],
        link_to=np.r_[np.arange(1, n), np.arange(n - 1)],
        control=np.ones(n),
    )
    merged, _ = merge_short(chain, cluster_m=35)
    assert merged.n_nodes >= 230 / 35 - 1
    assert merged.node_x.max() - merged.node_x.min() > 150
    assert (merged.node_control == SIGNALS).all()


def test_turn_restrictions_of_both_sorts(tmp_path: Path) -> None:
    points = {1: (-100, 0), 2: (0, 0), 3: (100, 0), 4: (0, 100), 5: (0, -100)}
    ways = [([1, 2], STREET), ([2, 3], STREET), ([2, 4], STREET), ([2, 5], STREET)]
    no_left = read(write_osm(tmp_path, points, ways, restrictions=[("no_left_turn", 1, 2, 3)]))
    assert named_bans(no_left) == {(1, 2, 4)}
    only = read(write_osm(tmp_path, points, ways, restrictions=[("only_straight_on", 1, 2, 2)]))
    assert named_bans(only) == {(1, 2, 1), (1, 2, 4), (1, 2, 5)}
    u_turn = read(write_osm(tmp_path, points, ways, restrictions=[("no_u_turn", 1, 2, 1)]))
    assert named_bans(u_turn) == {(1, 2, 1)}
    counts = cut(read_osm(write_osm(tmp_path, points, ways, restrictions=[("no_left_turn", 1, 2, 99)])), "DE")[1]
    assert (counts["restrictions_used"], counts["restrictions_skipped"]) == (0, 1)


def named_bans(draft: Draft) -> set[tuple[int, int, int]]:
    ids = draft.node_osm
    return {
        (int(ids[draft.link_from[a]]), int(ids[draft.link_to[a]]), int(ids[draft.link_to[b]]))
        for a, b in zip(draft.ban_from, draft.ban_to, strict=True)
    }


def test_bans_survive_simplification(tmp_path: Path) -> None:
    points = {1: (-200, 0), 6: (-100, 0), 2: (0, 0), 3: (100, 0), 4: (0, 100), 5: (0, -100)}
    ways = [([6, 2], STREET), ([2, 3], STREET), ([2, 4], STREET), ([2, 5], STREET), ([1, 6], STREET)]
    after = simplify(read(write_osm(tmp_path, points, ways, restrictions=[("no_left_turn", 1, 2, 3)])))
    assert 6 not in after.node_osm
    assert named_bans(after) == {(1, 2, 4)}


def test_bans_that_trap_a_car_are_lifted(tmp_path: Path) -> None:
    # whoever drives 1 → 2 may go nowhere at all
    points = {1: (-100, 0), 2: (0, 0), 3: (100, 0), 4: (0, 100)}
    ways = [([1, 2], STREET), ([2, 3], STREET), ([2, 4], STREET)]
    rules = [("no_straight_on", 1, 2, 2), ("no_left_turn", 1, 2, 3), ("no_u_turn", 1, 2, 1)]
    draft = read(write_osm(tmp_path, points, ways, restrictions=rules))
    assert len(draft.ban_from) == 3
    assert not turn_graph_is_strong(draft)
    freed, lifted = free_traps(draft)
    assert lifted > 0
    assert turn_graph_is_strong(freed)


def test_signals_move_to_the_junction_ahead_and_mid_block_signals_stay(tmp_path: Path) -> None:
    points = {1: (-200, 0), 2: (-15, 0), 3: (0, 0), 4: (300, 0), 5: (600, 0), 6: (0, 100), 7: (0, -100)}
    ways = [([1, 2, 3, 4, 5], STREET), ([6, 3, 7], STREET)]
    signal = {"highway": "traffic_signals"}
    node_tags = {2: signal, 4: signal}
    draft = place_controls(read(write_osm(tmp_path, points, ways, node_tags=node_tags)))
    after = simplify(draft)
    control = dict(zip(after.node_osm.tolist(), after.node_control.tolist(), strict=True))
    assert control == {1: NO_CONTROL, 3: SIGNALS, 4: SIGNALS, 5: NO_CONTROL, 6: NO_CONTROL, 7: NO_CONTROL}


def test_bollard_ends_the_road_on_both_sides(tmp_path: Path) -> None:
    points = {1: (0, 0), 2: (100, 0), 3: (200, 0)}
    bollard = {2: {"barrier": "bollard"}}
    draft = read(write_osm(tmp_path, points, [([1, 2, 3], STREET)], node_tags=bollard))
    assert draft.n_nodes == 4
    assert not np.isfinite(distances(draft, np.flatnonzero(draft.node_osm == 1))[0, draft.node_osm == 3]).any()


def test_missing_nodes_cut_a_way(tmp_path: Path) -> None:
    points = {1: (0, 0), 2: (100, 0), 5: (400, 0), 6: (500, 0)}
    raw = read_osm(write_osm(tmp_path, points, [([1, 2, 3, 4, 5, 6], STREET)]))
    draft, counts = cut(raw, "DE")
    assert counts["missing_nodes"] == 2
    assert links_of(draft) == {(1, 2), (2, 1), (5, 6), (6, 5)}


def test_all_roads_closed_is_one_clear_line(tmp_path: Path) -> None:
    path = write_osm(tmp_path, {1: (0, 0), 2: (100, 0)}, [([1, 2], {**STREET, "access": "private"})])
    with pytest.raises(MapError, match="closed to cars"):
        read(path)


def test_radius_of_corners_and_noise() -> None:
    ptr = np.array([0, 3])
    corner = smallest_radius(ptr, np.array([0.0, 50, 50]), np.array([0.0, 0, 50]))
    assert corner[0] == pytest.approx(50 / np.sqrt(2), rel=1e-3)  # circle through the three points
    noise = smallest_radius(ptr, np.array([0.0, 50, 100]), np.array([0.0, 0.2, 0]))
    assert np.isinf(noise[0])


@st.composite
def street_nets(draw: st.DrawFn) -> Draft:
    """A jittered grid with some streets removed, some one-way, some nodes a few metres apart."""
    rows, columns = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number = np.arange(rows * columns).reshape(rows, columns)
    tail = np.r_[number[:, :-1].ravel(), number[:-1].ravel()]
    head = np.r_[number[:, 1:].ravel(), number[1:].ravel()]
    keep = rng.random(len(tail)) < 0.85
    two_way = rng.random(len(tail)) < 0.7
    row, column = np.divmod(np.arange(rows * columns), columns)
    x = np.cumsum(rng.choice([9.0, 60.0, 120.0], columns))[column] + rng.uniform(-2, 2, rows * columns)
    y = np.cumsum(rng.choice([9.0, 60.0, 120.0], rows))[row] + rng.uniform(-2, 2, rows * columns)
    draft = draft_of(
        x=x,
        y=y,
        link_from=np.r_[tail[keep], head[keep & two_way]],
        link_to=np.r_[head[keep], tail[keep & two_way]],
        speed_mps=10.0,
    )
    return keep_nodes(draft, strong_component(draft))


@settings(max_examples=60, deadline=None)
@given(street_nets())
def test_simplification_changes_no_distance(draft: Draft) -> None:
    if draft.n_links < 4:
        return
    after = simplify(draft)
    before_rows = np.array([int(np.flatnonzero(draft.node_osm == k)[0]) for k in after.node_osm])
    expected = distances(draft, before_rows)[:, before_rows]
    assert distances(after, np.arange(after.n_nodes)) == pytest.approx(expected, abs=1e-6)
    assert (after.link_from != after.link_to).all()


@settings(max_examples=60, deadline=None)
@given(street_nets())
def test_cleaning_leaves_a_network_where_every_link_leads_to_every_other(draft: Draft) -> None:
    if draft.n_links < 8:
        return
    merged, gone = merge_short(simplify(draft))
    assert gone >= 0
    if not merged.n_links:
        return
    freed, _ = free_traps(simplify(merged))
    network = freed.finish()
    assert turn_graph_is_strong(freed)
    crow = np.hypot(
        network.node_x[network.link_from] - network.node_x[network.link_to],
        network.node_y[network.link_from] - network.node_y[network.link_to],
    )
    assert (network.link_length >= crow - 1e-6).all()
    ends = network.geom_ptr[1:] - 1
    assert network.geom_x[network.geom_ptr[:-1]] == pytest.approx(network.node_x[network.link_from], abs=0.02)
    assert network.geom_x[ends] == pytest.approx(network.node_x[network.link_to], abs=0.02)


@settings(max_examples=30, deadline=None)
@given(street_nets(), st.integers(0, 10_000))
def test_link_order_of_the_source_does_not_matter(draft: Draft, seed: int) -> None:
    if draft.n_links < 8:
        return
    shuffled = draft.take_links(np.random.default_rng(seed).permutation(draft.n_links))
    a, b = simplify(draft).finish(), simplify(replace(shuffled)).finish()
    assert sorted(a.link_length.round(6)) == sorted(b.link_length.round(6))
    assert a.n_nodes == b.n_nodes
