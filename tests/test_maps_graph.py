"""NetworkX both ways, and graphs as OSMnx writes them."""

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from maps.build import build_map
from maps.graph import from_networkx, read_graphml, to_networkx
from maps.network import NETWORK_COLUMNS, OUTSIDE, ROAD_CLASSES, MapError
from maps.toy import ring, toy_city


@pytest.mark.parametrize("network", [toy_city(6).network, ring(9)], ids=["city", "ring"])
def test_to_networkx_and_back_is_the_same_network(network) -> None:  # type: ignore[no-untyped-def]
    graph = to_networkx(network)
    assert isinstance(graph, nx.MultiDiGraph)
    assert graph.number_of_edges() == network.n_links
    back = from_networkx(graph)
    for name in NETWORK_COLUMNS:
        tolerance = 0.01 if name.startswith("geom_") or name == "link_radius" else 1e-9
        assert getattr(back, name) == pytest.approx(getattr(network, name), abs=tolerance, rel=1e-3), name


@pytest.mark.parametrize("turns", [0, 2])
def test_our_graph_survives_the_graphml_of_osmnx(tmp_path: Path, turns: int) -> None:
    ox = pytest.importorskip("osmnx")
    network = toy_city(4).network
    after = [int(np.flatnonzero(network.link_from == network.link_to[k])[0]) for k in range(turns)]
    network = replace(network, ban_from=np.arange(turns, dtype=np.int32), ban_to=np.array(after, np.int32))
    path = tmp_path / "town.graphml"
    ox.save_graphml(to_networkx(network), path)  # writes every value as text, an empty list as "[]"
    back = read_graphml(path).finish()
    for name in NETWORK_COLUMNS:
        tolerance = 0.01 if name.startswith("geom_") or name == "link_radius" else 1e-9
        assert getattr(back, name) == pytest.approx(getattr(network, name), abs=tolerance, rel=1e-3), name
    if turns:
        path.write_text(path.read_text().replace(f"(1, {after[1]})", "(1, 999)"), "utf-8")
        with pytest.raises(
            MapError, match=r"town\.graphml: a forbidden turn names a link that is not there; valid are"
        ):
            read_graphml(path)


def test_shortest_paths_agree_with_networkx() -> None:
    network = toy_city(5).network
    graph = to_networkx(network)
    length = nx.shortest_path_length(graph, 0, 24, weight="length")
    assert length == pytest.approx(8 * 200)
    times = nx.shortest_path_length(graph, 0, 24, weight="travel_time")
    assert times == pytest.approx((8 * 200) / (30 / 3.6), rel=0.4)
    assert times < 8 * 200 / (30 / 3.6)  # over the 50 km/h cross


def test_osmnx_can_work_with_our_graph() -> None:
    ox = pytest.importorskip("osmnx")
    network = toy_city(5).network
    graph = to_networkx(network)
    stats = ox.basic_stats(graph)
    assert stats["edge_length_total"] == pytest.approx(network.link_length.sum())
    assert stats["n"] == network.n_nodes
    route = ox.shortest_path(graph, 0, 24, weight="length")
    assert route[0] == 0
    assert route[-1] == 24


def osmnx_graph() -> nx.MultiDiGraph:
    """What `osmnx.graph_from_place(…)` gives: ids as nodes, tags as text, lists where ways were joined."""
    graph = nx.MultiDiGraph(crs="epsg:4326", simplified=True)
    graph.add_node(101, x=9.70, y=50.87, street_count=1)
    graph.add_node(102, x=9.71, y=50.87, street_count=3, highway="traffic_signals")
    graph.add_node(103, x=9.71, y=50.88, street_count=1)
    two_way = {
        "osmid": [5, 6],
        "highway": ["residential", "service"],
        "maxspeed": ["50", "30"],
        "lanes": "2",
        "oneway": False,
    }
    graph.add_edge(101, 102, **two_way, length=702.0)
    graph.add_edge(102, 101, **two_way, length=702.0)
    graph.add_edge(102, 103, osmid=7, highway="motorway", oneway=True, maxspeed="65 mph", lanes="3", length=1112.0)
    graph.add_edge(103, 102, osmid=8, highway="unknown_kind", oneway=True, length=1112.0, bridge="yes")
    return graph


def test_tags_as_osmnx_carries_them() -> None:
    network = from_networkx(osmnx_graph(), country="US")
    by_pair = {(int(network.node_osm[a]), int(network.node_osm[b])): k
               for k, (a, b) in enumerate(zip(network.link_from, network.link_to, strict=True))}  # fmt: skip
    street, motorway, odd = by_pair[101, 102], by_pair[102, 103], by_pair[103, 102]
    assert network.link_speed[street] * 3.6 == pytest.approx(30)  # the lowest of a joined edge
    assert network.link_lanes[street] == 1  # two lanes of a two-way street
    assert network.link_lanes[motorway] == 3
    assert network.link_speed[motorway] * 3.6 == pytest.approx(65 * 1.609344)
    assert ROAD_CLASSES[network.link_class[odd]] == "road"
    assert network.node_control.sum() == 1
    assert network.link_length[motorway] == 1112


def test_graphml_of_osmnx_becomes_a_whole_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_CACHE", str(tmp_path / "cache"))
    graph = nx.MultiDiGraph(osmnx_graph())
    for _, _, data in graph.edges(data=True):
        data.update({k: str(v) for k, v in data.items()})  # osmnx.save_graphml writes text
    path = tmp_path / "town.graphml"
    nx.write_graphml(graph, path)
    assert read_graphml(path).n_links == 4
    city = build_map(str(path), country="DE")
    inside = ~city.network.has(OUTSIDE)
    assert inside.sum() == 4
    assert city.meta["quality"]["places_by_fallback"]["home"] > 0
    assert city.meta["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a readable"),
        ("<graphml></graphml>", "GraphML"),
        ("hello", "not a readable"),
        ('<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="directed"/></graphml>', "no edge"),
    ],
)
def test_bad_graphml(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.graphml"
    path.write_text(text)
    with pytest.raises(MapError, match=words) as error:
        read_graphml(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", [{"x": 9.7}, {"x": 400.0, "y": 1.0}, {"x": float("nan"), "y": 1.0}])
def test_bad_nodes_of_a_graph(place: dict[str, float]) -> None:
    graph = osmnx_graph()
    graph.nodes[101].clear()
    graph.nodes[101].update(place)
    with pytest.raises(MapError):
        from_networkx(graph)


def test_projected_graphs_are_understood() -> None:
    from pyproj import Transformer

    graph = osmnx_graph()
    forward = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    for _, data in graph.nodes(data=True):
        data["x"], data["y"] = forward.transform(data["x"], data["y"])
    graph.graph["crs"] = "EPSG:32632"
    assert from_networkx(graph).node_lon == pytest.approx(from_networkx(osmnx_graph()).node_lon, abs=1e-7)
    assert np.isfinite(from_networkx(graph).node_x).all()
