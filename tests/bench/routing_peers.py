"""The same origin-destination pairs for us and for others: `python -m tests.bench.routing_peers porto`.

Others know no forbidden turns, so they are also the check of our unrestricted costs, pair
by pair. Runs alternate, the figure is the median; a library that is not installed is named
and left out (`pip install routingkit-cch rustworkx`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from time import process_time

import numpy as np
from numpy.typing import NDArray

from maps.build import build_map
from maps.network import RoadNetwork
from twin.traffic import routing
from twin.traffic.routing import Router

Costs = NDArray[np.float64]
Answer = Callable[[NDArray[np.int64], NDArray[np.int64]], Costs]
ROUNDS = 5


def every_turn(network: RoadNetwork) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """As `turns`, with nothing forbidden: what the others compute."""
    heads = network.link_to
    counts = network.out_ptr[heads + 1] - network.out_ptr[heads]
    ptr = np.concatenate([[0], np.cumsum(counts)])
    onward = np.repeat(network.out_ptr[heads] - ptr[:-1], counts) + np.arange(ptr[-1])
    return ptr, onward.astype(np.int32)


def ours(network: RoadNetwork, free_ms: NDArray[np.int64], cost_ms: NDArray[np.int64]) -> Answer:
    router = Router(network, free_ms)
    return lambda a, b: router.routes(a, b, cost_ms).totals(cost_ms)


def routingkit(network: RoadNetwork, cost_ms: NDArray[np.int64]) -> Answer:
    import routingkit_cch as rk

    ends = network.link_from.tolist(), network.link_to.tolist()
    order = rk.compute_order_inertial(network.n_nodes, *ends, network.node_lat.tolist(), network.node_lon.tolist())
    metric = rk.CCHMetric(rk.CCH(order, *ends, False), cost_ms.tolist())
    weights = cost_ms.tolist()
    seconds = []
    for _ in range(ROUNDS):
        start = process_time()
        metric.reset(weights)
        seconds.append(process_time() - start)
    print(f"routingkit-cch weighs again in {1000 * statistics.median(seconds):.1f} ms")
    query = rk.CCHQuery(metric)

    def one(a: int, b: int) -> float:
        found = query.run(a, b)
        found.arc_path  # the path is what is asked for
        return np.inf if found.distance is None else float(found.distance)

    return lambda a, b: np.array([one(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def scipy(network: RoadNetwork, cost_ms: NDArray[np.int64]) -> Answer:
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    order = np.lexsort((cost_ms, network.link_to, network.link_from))
    pair = np.column_stack([network.link_from, network.link_to])[order]
    order = order[
        np.concatenate([[True], np.any(np.diff(pair, axis=0) != 0, axis=1)])
    ]  # the cheapest of parallel links
    ends = network.link_from[order], network.link_to[order]
    graph = csr_matrix((cost_ms[order].astype(float), ends), shape=(network.n_nodes, network.n_nodes))

    def one(a: int, b: int) -> float:
        cost, before = dijkstra(graph, indices=a, return_predecessors=True)
        node = b
        while node != a and node >= 0:
            node = before[node]
        return float(cost[b])

    return lambda a, b: np.array([one(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def networkx(network: RoadNetwork, cost_ms: NDArray[np.int64]) -> Answer:
    import networkx as nx

    graph = nx.DiGraph()
    for a, b, ms in zip(network.link_from.tolist(), network.link_to.tolist(), cost_ms.tolist(), strict=True):
        if not graph.has_edge(a, b) or graph[a][b]["ms"] > ms:
            graph.add_edge(a, b, ms=ms)

    def one(a: int, b: int) -> float:
        try:
            return float(nx.bidirectional_dijkstra(graph, a, b, weight="ms")[0])
        except nx.NetworkXNoPath:
            return np.inf

    return lambda a, b: np.array([one(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def rustworkx(network: RoadNetwork, cost_ms: NDArray[np.int64]) -> Answer:
    import rustworkx as rx

    graph = rx.PyDiGraph()
    graph.add_nodes_from(range(network.n_nodes))
    graph.add_edges_from(list(zip(network.link_from.tolist(), network.link_to.tolist(), cost_ms.tolist(), strict=True)))

    def one(a: int, b: int) -> float:
        found = rx.dijkstra_shortest_paths(graph, a, b, weight_fn=float)
        if b not in found:
            return np.inf
        nodes = list(found[b])
        return float(sum(min(graph.get_all_edge_data(x, y)) for x, y in zip(nodes[:-1], nodes[1:], strict=True)))

    return lambda a, b: np.array([one(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.routing_peers", description=__doc__)
    parser.add_argument("city", nargs="?", default="porto")
    parser.add_argument("--pairs", type=int, default=5000, help="for us and routingkit-cch")
    options = parser.parse_args()
    network = build_map(options.city).network
    free_ms = np.maximum(1, np.rint(network.link_free_s * 1000)).astype(np.int64)
    rng = np.random.default_rng(5)
    pairs = rng.integers(network.n_nodes, size=(2, options.pairs))
    for name, cost_ms in (
        ("free flow", free_ms),
        ("busy", free_ms + (free_ms * rng.exponential(0.8, network.n_links)).astype(np.int64)),
    ):
        print(f"\n{options.city}, {network.n_nodes:,} nodes, {network.n_links:,} links, {name}")
        engines: dict[str, tuple[Answer, int]] = {
            "ours, turns respected": (ours(network, free_ms, cost_ms), options.pairs)
        }
        turns = routing.turns
        routing.turns = every_turn
        try:
            free = replace(network, ban_from=np.empty(0, np.int32), ban_to=np.empty(0, np.int32))
            engines["ours, every turn"] = ours(free, free_ms, cost_ms), options.pairs
        finally:
            routing.turns = turns
        few = max(10, 100_000 // network.n_nodes)
        for peer, count in ((routingkit, options.pairs), (scipy, few), (rustworkx, few), (networkx, few)):
            try:
                engines[peer.__name__] = peer(network, cost_ms), count
            except ImportError as error:
                print(f"left out: {error}")
        seconds: dict[str, list[float]] = {engine: [] for engine in engines}
        costs: dict[str, Costs] = {}
        for answer, _ in engines.values():
            answer(*pairs[:, :2])  # compiled before the clock starts
        for _ in range(ROUNDS):
            for engine, (answer, count) in engines.items():
                start = process_time()
                costs[engine] = answer(*pairs[:, :count])
                seconds[engine].append((process_time() - start) / count)
        plain = costs["ours, every turn"]
        for engine, (_, count) in engines.items():
            apart = int((costs[engine][np.isfinite(costs[engine])] != plain[:count][np.isfinite(costs[engine])]).sum())
            rate = 1 / statistics.median(seconds[engine])
            note = "dearer because of turns" if engine == "ours, turns respected" else "differ in cost"
            print(f"{engine:24}{rate:>12,.0f} paths/s   {apart:,} of {count:,} {note}")


if __name__ == "__main__":
    main()
