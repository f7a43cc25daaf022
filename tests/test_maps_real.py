"""The eight shared extracts, against the figures of their README and against themselves before cleaning."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from maps.build import build_map
from maps.clean import free_traps, keep_nodes, place_controls, simplify, strong_component, turns
from maps.draft import Draft
from maps.gates import PAIR_M
from maps.get import data_folder, find_recipe, find_source
from maps.junctions import merge_short
from maps.network import OUTSIDE, ROAD_CLASSES, SIGNALS, SOCKET_KINDS, CityMap
from maps.raw import read_osm
from maps.ways import cut

# README of the data: nodes, directed edges and largest strong component's share of nodes; None where it gives none
README = {
    "kyoto": (2587, 6616, 0.94),
    "hersfeld": (2565, 5536, 0.935),
    "adlershof": (1485, 3286, 0.90),
    "wildau": (None, None, 0.74),
    "porto": (62892, 146521, 0.990),
    "columbus": (20941, 56865, 0.976),
    "helsinki": (987, 1674, None),
    "monaco": (574, 1065, None),
}
SMALL = ["helsinki", "kyoto", "hersfeld", "adlershof", "wildau", "monaco"]

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        data_folder() is None or not (data_folder() / "osm").is_dir(),  # type: ignore[operator]
        reason="needs the shared real-world data: set TWIN_DATA to its folder (default ../shared/data)",
    ),
]


@pytest.fixture(scope="module")
def porto_import(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float, Path]:
    """CPU seconds and bytes of memory that a new process takes to build Porto, and its cache."""
    cache = tmp_path_factory.mktemp("maps")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = (
        "import resource\nfrom maps.build import build_map\nbuild_map('porto')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    environment = {**os.environ, "TWIN_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(done.stdout) * 1024, cache


@pytest.fixture(scope="module")
def built(porto_import: tuple[float, float, Path]) -> dict[str, CityMap]:
    return {name: build_map(name, cache=porto_import[2]) for name in README}


@pytest.mark.parametrize("name", README)
def test_kept_share_is_that_of_the_readme(built: dict[str, CityMap], name: str) -> None:
    quality = built[name].meta["quality"]
    nodes, edges, share = README[name]
    if nodes is not None and edges is not None:
        assert quality["nodes_before"] == pytest.approx(nodes, rel=0.05)
        assert quality["links_before"] == pytest.approx(edges, rel=0.03)
    if share is not None:
        assert quality["kept_share"] == pytest.approx(share, abs=0.02)
    assert quality["kept_share_joined"] >= quality["kept_share"] - 1e-9
    assert quality["kept_share"] > 0.7


@pytest.mark.parametrize("name", README)
def test_every_link_leads_to_every_other_and_numbers_are_plausible(built: dict[str, CityMap], name: str) -> None:
    network, quality = built[name].network, built[name].meta["quality"]
    shape = (network.n_nodes, network.n_nodes)
    graph = coo_matrix((np.ones(network.n_links), (network.link_from, network.link_to)), shape=shape)
    assert connected_components(graph, connection="strong")[0] == 1
    crow = np.hypot(
        network.node_x[network.link_from] - network.node_x[network.link_to],
        network.node_y[network.link_from] - network.node_y[network.link_to],
    )
    assert (network.link_length >= crow - 0.05).all()
    assert network.link_speed.min() >= 3 / 3.6
    assert network.link_speed.max() <= 200 / 3.6
    assert network.link_lanes.max() <= 12
    assert (network.link_length < 12.0).mean() < 1e-4
    inside = ~network.has(OUTSIDE)
    assert quality["links"] == inside.sum()
    assert sum(quality["km_by_class"].values()) == pytest.approx(quality["km"], abs=0.1)
    assert sum(quality["places"].values()) == len(built[name].place_kind)
    assert all(count > 0 for count in quality["places"].values())


@pytest.mark.parametrize("name", README)
def test_approach_roads_lead_out_of_every_gate(built: dict[str, CityMap], name: str) -> None:
    city = built[name]
    network, recipe = city.network, find_recipe(name)
    outside = network.has(OUTSIDE)
    assert 2 <= len(city.gate_node) <= recipe.gates
    assert len(city.outside_node) == len(city.gate_node) * len(recipe.rings_km)
    assert network.link_length[outside].max() <= 2000 + PAIR_M
    inner = np.zeros(network.n_nodes, bool)
    inner[network.link_from[~outside]] = inner[network.link_to[~outside]] = True
    assert inner[city.gate_node].all()
    assert not inner[city.outside_node].any()
    shape = (network.n_nodes, network.n_nodes)
    graph = coo_matrix((network.link_length, (network.link_from, network.link_to)), shape=shape).tocsr()
    for gate, node in enumerate(city.gate_node[:3]):
        mine = city.outside_gate == gate
        away = dijkstra(graph, indices=int(node))[city.outside_node[mine]] / 1000
        assert away == pytest.approx(city.outside_km[mine], abs=0.05)
    motorway = network.link_class[outside] == ROAD_CLASSES.index("motorway")
    assert network.link_length[outside][motorway].sum() > 0
    assert (network.link_lanes[outside][motorway] == 2).all()


def test_no_road_leads_out_into_the_sea(built: dict[str, CityMap]) -> None:
    # Porto lies on a coast; its extract is cut by a box, and only roads cut by that box lead on
    city = built["porto"]
    network = city.network
    inside = np.unique(network.link_from[~network.has(OUTSIDE)])
    margins = []
    for values in (network.node_x, network.node_y):
        low, high = values[inside].min(), values[inside].max()
        margins.append(np.minimum(values[city.gate_node] - low, high - values[city.gate_node]) / (high - low))
    assert np.minimum(*margins).max() < 0.03
    classes = {ROAD_CLASSES[k] for k in network.link_class[np.isin(network.link_to, city.gate_node)]}
    assert "motorway" in classes


def turn_distances(draft: Draft, sources: np.ndarray) -> np.ndarray:
    """Shortest distances between nodes that keep every turn ban, m."""
    a, b = turns(draft)
    graph = coo_matrix((draft.link_length[b], (a, b)), shape=(draft.n_links, draft.n_links)).tocsr()
    rows = []
    for source in sources:
        start = np.flatnonzero(draft.link_from == source)
        best = (dijkstra(graph, indices=start) + draft.link_length[start][:, None]).min(axis=0)
        row = np.full(draft.n_nodes, np.inf)
        np.minimum.at(row, draft.link_to, best)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", ["helsinki", "kyoto", "hersfeld"])
def test_cleaning_keeps_driving_distances(name: str) -> None:
    found = find_source(name)
    raw_draft, _ = cut(read_osm(found.path), found.recipe.country)
    before, _ = free_traps(keep_nodes(raw_draft, strong_component(raw_draft)))
    after = simplify(place_controls(before))
    after, gone = merge_short(after)
    after, _ = free_traps(simplify(after))
    assert gone > 0
    rng = np.random.default_rng(5)
    both = np.intersect1d(before.node_osm, after.node_osm)
    chosen = rng.choice(both, 40, replace=False)
    old, new = (
        np.array([int(np.flatnonzero(draft.node_osm == osm)[0]) for osm in chosen]) for draft in (before, after)
    )
    expected, got = turn_distances(before, old)[:, old], turn_distances(after, new)[:, new]
    far = expected > 500
    change = got[far] / expected[far] - 1
    assert np.isfinite(change).all()
    assert abs(np.median(change)) < 0.005
    low, high = np.percentile(change, [5, 95])
    assert low > -0.03
    assert high < 0.05


def test_chargers_of_hersfeld_adlershof_and_wildau(built: dict[str, CityMap]) -> None:
    hersfeld = built["hersfeld"]
    assert len(hersfeld.charger_osm) == 7
    sure = (hersfeld.socket_assumed & 4) == 0
    assert sorted(hersfeld.socket_kw[sure].tolist()) == [11, 11, 22, 22, 22, 22]
    assert hersfeld.charger_public.sum() == 6  # one is for customers
    assert len(built["adlershof"].charger_osm) == 13  # the fourteenth is private
    assert built["adlershof"].meta["quality"]["chargers_skipped"] == 1
    wildau = built["wildau"]
    assert {SOCKET_KINDS[k] for k in wildau.socket_kind} == {"chademo", "ccs", "type2"}
    assert len(built["helsinki"].charger_osm) == 4
    assert len(built["kyoto"].charger_osm) == 1


def test_what_each_city_is_known_for(built: dict[str, CityMap]) -> None:
    assert built["kyoto"].meta["left_hand"]
    assert not built["porto"].meta["left_hand"]
    assert built["kyoto"].meta["quality"]["defaults_speed"] > 0.95  # 44 of 1,536 ways have a limit
    assert built["columbus"].network.link_speed.max() == pytest.approx(65 * 1.609344 / 3.6, rel=0.01)
    hersfeld = built["hersfeld"].network
    fast = hersfeld.link_speed[(hersfeld.link_class == 0) & ~hersfeld.has(OUTSIDE)]
    assert fast.max() == pytest.approx(130 / 3.6)  # an Autobahn without a limit
    assert built["hersfeld"].meta["quality"]["km_by_class"]["motorway"] > 20  # cut at the edge, joined outside
    assert 90 <= int((built["kyoto"].network.node_control == SIGNALS).sum()) <= 162
    porto = built["porto"].meta["quality"]
    assert porto["km"] == pytest.approx(9354, rel=0.02)
    assert porto["restrictions_used"] > 300
    assert porto["places_by_fallback"]["home"] > 100_000  # roads only
    kyoto = built["kyoto"].meta["quality"]
    assert kyoto["places_by_fallback"]["home"] == 0
    assert 10_000 < kyoto["places"]["home"] < 15_851
    assert built["hersfeld"].meta["timezone"] == "Europe/Berlin"


def test_cells_are_dense_in_town_and_reach_every_road(built: dict[str, CityMap]) -> None:
    for name in SMALL:
        city = built[name]
        sites = np.column_stack([city.cell_x, city.cell_y])
        nodes = np.column_stack([city.network.node_x, city.network.node_y])
        away = np.hypot(nodes[:, None, 0] - sites[None, :, 0], nodes[:, None, 1] - sites[None, :, 1]).min(axis=1)
        assert away.max() < 3000, name
    kyoto = built["kyoto"]
    homes = kyoto.places("home")
    to_site = np.hypot(
        kyoto.place_x[homes][:, None] - kyoto.cell_x[None, :], kyoto.place_y[homes][:, None] - kyoto.cell_y[None, :]
    ).min(axis=1)
    assert np.median(to_site) < 500


def test_porto_imports_within_its_budget(porto_import: tuple[float, float, Path]) -> None:
    cpu_s, memory, _ = porto_import
    assert cpu_s < 25
    assert memory < 1e9


def test_city_scale_map_file_loads_within_a_second(built: dict[str, CityMap], tmp_path: Path) -> None:
    path = built["porto"].save(tmp_path / "porto.npz")
    start = time.process_time()
    CityMap.load(path)
    assert time.process_time() - start < 1.0
