"""The contraction hierarchy: a good order, exact weights, the same routes whatever the threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from maps.build import build_map
from maps.draft import CLASS, draft_of
from maps.get import data_folder
from maps.network import RoadNetwork
from maps.toy import corridor, grid
from twin.traffic import hierarchy
from twin.traffic.hierarchy import Arcs, Hierarchy
from twin.traffic.hierarchy_kernels import CLOSED
from twin.traffic.routing import Router, Routes, turns
from twin.traffic.routing_kernels import NO_ROUTE, SAME_NODE


def free_ms(network: RoadNetwork) -> np.ndarray:
    return np.maximum(1, np.rint(network.link_free_s * 1000)).astype(np.int64)


def any_town(rng: np.random.Generator, nodes: int, links: int, bans: int) -> RoadNetwork:
    """Random links, half of them both ways: parallel ones, dead ends, parts that do not hang together."""
    tail = rng.integers(nodes, size=links)
    head = (tail + rng.integers(1, nodes, size=links)) % nodes
    back = rng.random(links) < 0.5
    town = draft_of(
        x=rng.random(nodes) * 1000, y=rng.random(nodes) * 1000,
        link_from=np.concatenate([tail, head[back]]), link_to=np.concatenate([head, tail[back]]),
        length_m=100.0, speed_mps=10.0, lanes=1, road_class=CLASS["residential"], flags=0,
    ).finish()  # fmt: skip
    first = rng.integers(town.n_links, size=bans)
    first = first[np.diff(town.out_ptr)[town.link_to[first]] > 0]
    ways = town.out_ptr[town.link_to[first]]
    then = ways + rng.integers(0, town.out_ptr[town.link_to[first] + 1] - ways)
    return replace(town, ban_from=first.astype(np.int32), ban_to=then.astype(np.int32))


def cheapest(network: RoadNetwork, cost: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """The reference: Dijkstra over links joined by the allowed turns; shape (origins, nodes), inf for none."""
    ptr, onto = turns(network)
    m, n = network.n_links, network.n_nodes
    link = np.arange(m)
    tail = np.concatenate([np.repeat(link, np.diff(ptr)), m + network.link_from, link])
    head = np.concatenate([onto, link, m + n + network.link_to])
    # links may be entered at their cost; a target costs 1 more, because a zero is no arc to SciPy
    weight = np.concatenate([cost[onto], cost, np.ones(m)])
    graph = csr_matrix((weight.astype(float), (tail, head)), shape=(m + 2 * n, m + 2 * n))
    return np.asarray(dijkstra(graph, indices=m + origins)[:, m + n :] - 1)


def check(network: RoadNetwork, cost: np.ndarray, start: np.ndarray, goal: np.ndarray, routes: Routes) -> None:
    """Every route is legal, joins what it should and costs what the reference costs."""
    origins, which = np.unique(start, return_inverse=True)
    expected = cheapest(network, cost, origins)[which, goal]
    same = start == goal
    assert np.array_equal(routes.status == SAME_NODE, same)
    assert np.array_equal(routes.status == NO_ROUTE, ~same & np.isinf(expected))
    there = routes.found
    assert np.array_equal(routes.totals(cost)[there], expected[there])
    assert np.array_equal(network.link_from[routes.links[routes.ptr[:-1][there]]], start[there])
    assert np.array_equal(network.link_to[routes.links[routes.ptr[1:][there] - 1]], goal[there])
    ptr, onto = turns(network)
    allowed = np.repeat(np.arange(network.n_links), np.diff(ptr)) * network.n_links + onto
    within = np.ones(max(len(routes.links) - 1, 0), bool)
    ends = routes.ptr[1:-1]
    within[ends[(ends > 0) & (ends < len(routes.links))] - 1] = False
    driven = routes.links[:-1].astype(np.int64) * network.n_links + routes.links[1:]
    assert np.isin(driven[within], allowed).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), nodes=st.integers(2, 25), links=st.integers(1, 60), bans=st.integers(0, 20))
def test_exact_on_any_network_and_after_every_change_of_costs(seed: int, nodes: int, links: int, bans: int) -> None:
    rng = np.random.default_rng(seed)
    town = any_town(rng, nodes, links, bans)
    free = free_ms(town)
    router = Router(town, free)
    start, goal = (part.ravel() for part in np.meshgrid(np.arange(nodes), np.arange(nodes)))
    cost = free.copy()
    for _ in range(3):
        check(town, cost, start, goal, router.routes(start, goal, cost))
        # in place: the router has to notice; small steps, so that routes are apart by one or by nothing
        cost += rng.integers(0, rng.choice([3, 20_000]), town.n_links)


def test_a_route_that_would_turn_round_is_searched_again() -> None:
    # where a turn is forbidden it is often cheapest to turn round at the next node, which nobody may
    rng = np.random.default_rng(3)
    town = grid(6, 6, length_m=100.0)
    first = rng.integers(town.n_links, size=60)
    then = town.out_ptr[town.link_to[first]] + rng.integers(0, np.diff(town.out_ptr)[town.link_to[first]])
    town = replace(town, ban_from=first.astype(np.int32), ban_to=then.astype(np.int32))
    free = free_ms(town)
    cost = free + rng.integers(0, 90_000, town.n_links)
    router = Router(town, free)
    start, goal = (part.ravel() for part in np.meshgrid(np.arange(36), np.arange(36)))
    check(town, cost, start, goal, router.routes(start, goal, cost))
    assert router.searched_again > 10


def test_same_routes_for_any_number_of_threads_and_any_batch() -> None:
    town = grid(15, 15, length_m=100.0)  # equal lengths: ties everywhere
    free = free_ms(town)
    start, goal = np.random.default_rng(1).integers(town.n_nodes, size=(2, 500))
    one = Router(town, free).routes(start, goal, free)
    for threads in (2, 3, 4):
        more = Router(town, free, threads=threads).routes(start, goal, free)
        assert all(np.array_equal(a, b) for a, b in zip(one, more, strict=True))
    router = Router(town, free, threads=2)
    backwards = [router.routes([a], [b], free).links for a, b in zip(start[::-1], goal[::-1], strict=True)]
    assert np.array_equal(one.links, np.concatenate(backwards[::-1]))
    assert len(router.routes([], [], free).status) == 0


def test_of_parallel_links_the_cheapest_now() -> None:
    two = draft_of(
        x=np.array([0.0, 100.0]), y=np.zeros(2), link_from=np.array([0, 0]), link_to=np.array([1, 1]),
        length_m=100.0, speed_mps=10.0, lanes=1, road_class=CLASS["residential"], flags=0,
    ).finish()  # fmt: skip
    router = Router(two, free_ms(two))
    assert router.routes([0], [1], np.array([20_000, 30_000])).links.tolist() == [0]
    assert router.routes([0], [1], np.array([30_000, 20_000])).links.tolist() == [1]
    assert router.routes([0], [1], np.array([20_000, 20_000])).links.tolist() == [0]


def test_a_closed_link_is_driven_round_or_there_is_no_route() -> None:
    road = corridor(3)
    free = free_ms(road)
    router = Router(road, free)
    assert router.routes([0], [3], np.array([free[0], CLOSED - 1 - free[0] - free[2], free[2]])).found.all()
    for ms in (CLOSED - free[0] - free[2], CLOSED, 2**50):
        assert router.routes([0], [3], np.array([free[0], ms, free[2]])).status.tolist() == [NO_ROUTE]


def built(network: RoadNetwork, cost: np.ndarray) -> tuple[Hierarchy, Arcs]:
    made = Hierarchy(network, *turns(network), careful=np.unique(network.ban_from).astype(np.int64))
    made.customise(cost)
    return made, made.arcs


def test_upper_neighbours_are_ancestors_and_weights_are_what_they_stand_for() -> None:
    town = any_town(np.random.default_rng(8), 60, 110, 15)
    cost = free_ms(town) + np.random.default_rng(9).integers(0, 9_000, town.n_links)
    _, arcs = built(town, cost)
    n = len(arcs.parent)
    for v in range(n):
        up = arcs.up_head[arcs.up_ptr[v] : arcs.up_ptr[v + 1]].tolist()
        assert up == sorted(set(up)) and all(u > v for u in up)
        assert arcs.parent[v] == (up[0] if up else n)
        if up:
            assert set(up[1:]) <= set(arcs.up_head[arcs.up_ptr[up[0]] : arcs.up_ptr[up[0] + 1]].tolist())
    used = np.argwhere(arcs.weight < CLOSED)
    assert (arcs.first >= 0).any()
    for way, a in used:
        down, up = arcs.first[way, a], arcs.second[way, a]
        whole = arcs.weight[1, down] + arcs.weight[0, up] if down >= 0 else (cost[up] if up >= 0 else 0)
        assert arcs.weight[way, a] == whole


def climbs(arcs: Arcs) -> np.ndarray:
    """Arcs that a search from each node looks at."""
    n = len(arcs.parent)
    count = np.zeros(n + 1, np.int64)
    for v in range(n - 1, -1, -1):
        count[v] = count[arcs.parent[v]] + arcs.up_ptr[v + 1] - arcs.up_ptr[v]
    return count[:n]


def test_separators_of_a_grid_are_about_as_long_as_its_side() -> None:
    # 11,446 arcs, of which a search sees 1,611; line by line it would be 32 arcs per node and 16,000 to see
    town = grid(32, 32)
    _, arcs = built(town, free_ms(town))
    assert np.sort(arcs.enter).tolist() == list(range(1024))
    assert len(arcs.up_head) < 12 * 1024
    depth = np.zeros(1025, np.int64)
    for v in range(1023, -1, -1):
        depth[v] = depth[arcs.parent[v]] + 1
    assert depth.max() <= 4 * 32
    assert climbs(arcs).mean() < 1800


def test_dead_ends_are_contracted_first_and_add_no_arc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "LEAF", 10**6)  # so that nothing but the dead ends is put into order
    road = corridor(50, both_ways=True)
    _, arcs = built(road, free_ms(road))
    assert len(arcs.up_head) == 50


@pytest.mark.data
@pytest.mark.skipif(
    data_folder() is None or not (data_folder() / "osm").is_dir(),  # type: ignore[operator]
    reason="needs the shared real-world data: set TWIN_DATA to its folder (default ../shared/data)",
)
def test_exact_on_a_real_city(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_CACHE", str(tmp_path_factory.mktemp("maps")))
    city = build_map("kyoto").network
    rng = np.random.default_rng(4)
    free = free_ms(city)
    router = Router(city, free)
    some = rng.integers(city.n_nodes, size=12)
    start, goal = (part.ravel() for part in np.meshgrid(some, np.arange(city.n_nodes), indexing="ij"))
    for cost in (free, free + (free * rng.exponential(0.8, city.n_links)).astype(np.int64)):
        check(city, cost, start, goal, router.routes(start, goal, cost))
    # forbidden turns are in the hierarchy: without them 4.7 % of routes had to be searched again, with them 0.7 %
    assert 0 < router.searched_again < 0.02 * 2 * len(start)
    assert len(city.ban_from) and climbs(router._hierarchy.arcs).mean() < 500
