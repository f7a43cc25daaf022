"""Routes: cheapest, legal, and nothing is lost in silence."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.network import RoadNetwork
from maps.toy import corridor, grid, toy_city
from twin.traffic.routing import Router, turns
from twin.traffic.routing_kernels import NO_ROUTE, SAME_NODE


def free_ms(network: RoadNetwork) -> np.ndarray:
    return np.maximum(1, np.rint(network.link_free_s * 1000)).astype(np.int64)


def by_links(network: RoadNetwork, cost: np.ndarray) -> nx.DiGraph:
    """The reference: a plain graph whose nodes are links and whose arcs are the allowed turns."""
    ptr, onto = turns(network)
    graph = nx.DiGraph()
    for a in range(network.n_links):
        for b in onto[ptr[a] : ptr[a + 1]]:
            graph.add_edge(a, int(b), weight=int(cost[b]))
    for link in range(network.n_links):
        graph.add_edge(("from", int(network.link_from[link])), link, weight=int(cost[link]))
        graph.add_edge(link, ("to", int(network.link_to[link])), weight=0)
    return graph


def with_bans(network: RoadNetwork, rng: np.random.Generator, count: int) -> RoadNetwork:
    first = rng.integers(network.n_links, size=count)
    node = network.link_to[first]
    then = network.out_ptr[node] + rng.integers(0, network.out_ptr[node + 1] - network.out_ptr[node])
    return replace(network, ban_from=first.astype(np.int32), ban_to=then.astype(np.int32))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), bans=st.integers(0, 30))
def test_same_cost_as_a_plain_search_over_links(seed: int, bans: int) -> None:
    rng = np.random.default_rng(seed)
    town = with_bans(grid(4, 5, length_m=100.0), rng, bans)
    free = free_ms(town)
    cost = free + rng.integers(0, 20_000, town.n_links)
    start, goal = rng.integers(town.n_nodes, size=(2, 12))
    routes = Router(town, free).routes(start, goal, cost)
    graph = by_links(town, cost)
    for i, (a, b) in enumerate(zip(start.tolist(), goal.tolist(), strict=True)):
        links = routes.links[routes.ptr[i] : routes.ptr[i + 1]]
        if a == b:
            assert routes.status[i] == SAME_NODE and len(links) == 0
            continue
        try:
            expected = nx.dijkstra_path_length(graph, ("from", a), ("to", b))
        except nx.NetworkXNoPath:
            assert routes.status[i] == NO_ROUTE
            continue
        assert routes.found[i] and cost[links].sum() == expected
        assert town.link_from[links[0]] == a and town.link_to[links[-1]] == b
        ptr, onto = turns(town)
        for x, y in zip(links[:-1], links[1:], strict=True):
            assert y in onto[ptr[x] : ptr[x + 1]]


def test_a_forbidden_turn_is_driven_round() -> None:
    town = grid(3, 3, length_m=100.0)
    free = free_ms(town)
    straight = Router(town, free).routes([0], [2], free)
    assert len(straight.links) == 2
    a, b = straight.links
    around = Router(replace(town, ban_from=np.array([a]), ban_to=np.array([b])), free).routes([0], [2], free)
    assert len(around.links) == 4


def test_nobody_turns_round_on_a_through_road_but_may_at_a_dead_end() -> None:
    road = corridor(3, both_ways=True)
    ptr, onto = turns(road)
    for link in range(road.n_links):
        after = onto[ptr[link] : ptr[link + 1]]
        back = road.link_to[after] == road.link_from[link]
        assert back.all() if road.link_to[link] in (0, 3) else not back.any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), bans=st.integers(0, 30))
def test_a_way_on_from_a_link_begins_with_an_allowed_turn(seed: int, bans: int) -> None:
    """What a driver on the road asks for, against a plain search that starts at that link."""
    rng = np.random.default_rng(seed)
    town = with_bans(grid(4, 5, length_m=100.0), rng, bans)
    free = free_ms(town)
    cost = free + rng.integers(0, 20_000, town.n_links)
    here = rng.integers(town.n_links, size=12)
    goal = rng.integers(town.n_nodes, size=12)
    routes = Router(town, free).routes(town.link_to[here], goal, cost, after=here)
    graph = by_links(town, cost)
    ptr, onto = turns(town)
    for i, (link, b) in enumerate(zip(here.tolist(), goal.tolist(), strict=True)):
        links = routes.links[routes.ptr[i] : routes.ptr[i + 1]]
        if town.link_to[link] == b:
            assert routes.status[i] == SAME_NODE
            continue
        try:
            expected = nx.dijkstra_path_length(graph, link, ("to", b))
        except nx.NetworkXNoPath:
            assert routes.status[i] == NO_ROUTE
            continue
        assert routes.found[i] and cost[links].sum() == expected
        for x, y in zip([link, *links[:-1]], links, strict=True):
            assert y in onto[ptr[x] : ptr[x + 1]]


def test_a_way_on_begins_where_its_link_ends() -> None:
    town = grid(3, 3)
    with pytest.raises(ValueError, match="does not lead to its origin"):
        Router(town, free_ms(town)).routes([0], [8], free_ms(town), after=[int(np.argmax(town.link_to != 0))])


def test_costs_that_come_again_need_not_be_weighed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    town = grid(6, 6)
    free = free_ms(town)
    rng = np.random.default_rng(3)
    costs = [free + rng.integers(0, 60_000, town.n_links) for _ in range(4)]
    start, goal = rng.integers(town.n_nodes, size=(2, 40))
    expected = [Router(town, free).routes(start, goal, cost).links.tolist() for cost in costs]
    assert len({tuple(links) for links in expected}) == 4
    router, weighed = Router(town, free, kept=3), []
    customise = router._hierarchy.customise
    monkeypatch.setattr(router._hierarchy, "customise", lambda *a: (weighed.append(1), customise(*a)))
    for turn in (0, 1, 2, 0, 2, 1, 3, 1, 0):  # 3 takes the place of 0, the one not asked for longest
        assert router.routes(start, goal, costs[turn]).links.tolist() == expected[turn]
    assert len(weighed) == 5


def test_costs_below_the_bound_are_refused() -> None:
    town = grid(3, 3)
    free = free_ms(town)
    with pytest.raises(ValueError, match="below the free-flow"):
        Router(town, free).routes([0], [1], free - 1)


def test_long_batches_grow_their_buffers_and_totals_add_up() -> None:
    town = grid(12, 12)
    free = free_ms(town)
    rng = np.random.default_rng(2)
    start, goal = rng.integers(town.n_nodes, size=(2, 300))
    router = Router(town, free)
    together = router.routes(start, goal, free)
    one_by_one = [router.routes([a], [b], free) for a, b in zip(start, goal, strict=True)]
    assert np.array_equal(together.links, np.concatenate([r.links for r in one_by_one]))
    lengths = together.totals(town.link_length)
    assert lengths[5] == pytest.approx(town.link_length[one_by_one[5].links].sum())
    some = together.only(together.found & (lengths > 1000))
    assert len(some.status) == int((lengths > 1000).sum()) and some.ptr[-1] == len(some.links)


def test_some_routes_of_a_batch_can_be_replaced() -> None:
    town = grid(6, 6)
    free = free_ms(town)
    router = Router(town, free)
    before = router.routes([0, 5, 7, 3], [30, 5, 12, 20], free)
    other = router.routes([1, 2], [1, 35], free)
    mixed = before.replaced(np.array([False, True, False, True]), other)
    assert mixed.status.tolist() == [before.status[0], other.status[0], before.status[2], other.status[1]]
    for i, (routes, at) in enumerate([(before, 0), (other, 0), (before, 2), (other, 1)]):
        expected = routes.links[routes.ptr[at] : routes.ptr[at + 1]]
        assert mixed.links[mixed.ptr[i] : mixed.ptr[i + 1]].tolist() == expected.tolist()
    turned = mixed.take(np.array([3, 0, 0]))
    assert turned.status.tolist() == [mixed.status[3], mixed.status[0], mixed.status[0]]
    assert (
        turned.links.tolist() == np.concatenate([np.split(mixed.links, mixed.ptr[1:-1])[i] for i in (3, 0, 0)]).tolist()
    )
    both = before.joined([before, other])
    assert both.ptr[-1] == len(both.links) == len(before.links) + len(other.links) and len(both.status) == 6
    assert before.joined([]).ptr.tolist() == [0]


def test_every_place_of_the_toy_city_can_be_reached() -> None:
    city = toy_city(6)
    free = free_ms(city.network)
    nodes = np.unique(np.concatenate([city.place_node, city.outside_node, city.gate_node]))
    start, goal = (part.ravel() for part in np.meshgrid(nodes[:20], nodes[-20:]))
    routes = Router(city.network, free).routes(start, goal, free)
    assert not (routes.status == NO_ROUTE).any()
