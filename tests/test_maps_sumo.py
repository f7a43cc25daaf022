"""SUMO networks: a junction by hand, signals on a common cycle, shared lanes, files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from maps.lane_use import lanes_worth
from maps.network import SIGNALS, MapError
from maps.sumo import SumoNetwork, read_sumo
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets, TrafficError

NET = """<net version="1.20">
<location netOffset="-683542.41,-4928877.56" convBoundary="0,0,400,200" origBoundary="0,0,1,1"
          projParameter="+proj=utm +zone=32 +ellps=WGS84 +datum=WGS84 +units=m +no_defs"/>
<edge id=":J_0" function="internal"><lane id=":J_0_0" index="0" speed="13.89" length="10" shape="200,0 210,0"/></edge>
<edge id=":J_1" function="internal"><lane id=":J_1_0" index="0" speed="13.89" length="10" shape="200,3 210,3"/></edge>
<edge id=":J_2" function="internal"><lane id=":J_2_0" index="0" speed="5" length="8" shape="200,3 205,8"/></edge>
<edge id=":J_3" function="internal"><lane id=":J_3_0" index="0" speed="5" length="4" shape="205,8 205,12"/></edge>
<edge id="in" from="A" to="J">
  <lane id="in_0" index="0" speed="13.89" length="200" shape="0,0 200,0"/>
  <lane id="in_1" index="1" speed="13.89" length="200" shape="0,3 200,3"/>
  <lane id="in_2" index="2" speed="13.89" length="200" shape="0,6 200,6" allow="bus"/>
</edge>
<edge id="out" from="J" to="B"><lane id="out_0" index="0" speed="13.89" length="190" shape="210,0 400,0"/></edge>
<edge id="left" from="J" to="C"><lane id="left_0" index="0" speed="8" length="100" shape="205,12 205,112"/></edge>
<edge id="bus" from="J" to="D">
  <lane id="bus_0" index="0" speed="13.89" length="0.2" shape="210,6 211,6" allow="bus"/></edge>
<tlLogic id="J" type="static" programID="0" offset="0">
  <phase duration="30" state="GGr"/><phase duration="3" state="yyr"/><phase duration="24" state="rrG"/>
  <phase duration="3" state="rry"/>
</tlLogic>
<connection from="in" to="out" fromLane="0" toLane="0" via=":J_0_0" tl="J" linkIndex="0" dir="s" state="O"/>
<connection from="in" to="out" fromLane="1" toLane="0" via=":J_1_0" tl="J" linkIndex="1" dir="s" state="O"/>
<connection from="in" to="left" fromLane="1" toLane="0" via=":J_2_0" tl="J" linkIndex="2" dir="l" state="o"/>
<connection from="in" to="bus" fromLane="2" toLane="0" dir="s" state="m"/>
<connection from=":J_2" to="left" fromLane="0" toLane="0" via=":J_3_0" dir="l" state="m"/>
</net>
"""
EXTRA = """<add><tlLogic id="J" type="static" programID="mine" offset="10">
<phase duration="20" state="GGr"/><phase duration="10" state="rrG"/><phase duration="20" state="GGr"/>
<phase duration="30" state="rrr"/></tlLogic></add>
"""


def read(folder: Path, *, net: str = NET, extra: str | None = None, pocket_m: float = 60.0) -> SumoNetwork:
    (folder / "a.net.xml").write_text(net, "utf-8")
    if extra is not None:
        (folder / "tls.add.xml").write_text(extra, "utf-8")
    return read_sumo(
        folder / "a.net.xml", programs=None if extra is None else folder / "tls.add.xml", pocket_m=pocket_m
    )


def test_edges_and_movements_are_links(tmp_path: Path) -> None:
    sumo = read(tmp_path)
    net = sumo.network
    assert net.n_links == 4 + 3
    straight, left = sumo.movement_link["in", "out"], sumo.movement_link["in", "left"]
    body = sumo.edge_link["in"]
    # 60 m before the stop line lanes part; the turn has two internal lanes at 5 m/s
    assert net.link_length[[body, straight, left]] == pytest.approx([140, 70, 72])
    assert net.link_free_s[left] == pytest.approx(60 / 13.89 + 12 / 5)
    assert net.link_free_s[straight] == pytest.approx(70 / 13.89)
    # the bus lane is not the cars', the bus road is closed to them and at least 8 m long
    assert net.link_lanes[[body, straight, left]].tolist() == [2, 2, 1]
    bus = sumo.edge_link["bus"]
    assert np.flatnonzero(sumo.closed).tolist() == sorted([bus, sumo.movement_link["in", "bus"]])
    assert net.link_length[bus] == 8.0
    assert sumo.yields.sum() == 1
    assert set(net.link_to[[straight, left]]) == set(np.flatnonzero(net.node_control == SIGNALS))
    assert sumo.route(["in", "left"]).tolist() == [body, left, sumo.edge_link["left"]]
    assert net.node_lat.mean() == pytest.approx(44.49, abs=0.02)
    assert net.node_lon.mean() == pytest.approx(11.31, abs=0.02)


def test_gzip_reads_the_same(tmp_path: Path) -> None:
    plain = read(tmp_path).network
    (tmp_path / "b.net.xml.gz").write_bytes(gzip.compress(NET.encode()))
    packed = read_sumo(tmp_path / "b.net.xml.gz", pocket_m=60.0).network
    assert np.array_equal(plain.link_length, packed.link_length)
    assert np.array_equal(plain.geom_x, packed.geom_x)


@pytest.mark.parametrize("edges", [[], ["nowhere"], ["in", "in"], ["left", "out"]])
def test_routes_with_a_gap_are_refused(tmp_path: Path, edges: list[str]) -> None:
    with pytest.raises(MapError, match=r"unknown edge|no movement joins"):
        read(tmp_path).route(edges)


def test_greens_keep_their_share_on_the_common_cycle(tmp_path: Path) -> None:
    sumo = read(tmp_path)
    greens = sumo.greens(cycle_s=90, lost_s=2.0)
    straight, left = sumo.movement_link["in", "out"], sumo.movement_link["in", "left"]
    # 60 s cycle: straight 30 + 3 s, left 24 + 3 s from 33 s on; 2 s lost each; all by 90 / 60
    assert (greens.start_ms[straight], greens.stop_ms[straight]) == (3000, 3000 + 46_500)
    assert (greens.start_ms[left], greens.stop_ms[left]) == (52_500, 52_500 + 37_500)
    assert np.count_nonzero(greens.stop_ms) == 2
    assert (greens.joined, greens.never, greens.cycles_s) == (0, 0, (60.0,))


def test_programs_of_their_own_file_replace_those_of_the_net(tmp_path: Path) -> None:
    sumo = read(tmp_path, extra=EXTRA)
    greens = sumo.greens(cycle_s=80, lost_s=0.0)
    straight = sumo.movement_link["in", "out"]
    # two greens of 20 s joined at the first, shifted by the offset of 10 s
    assert greens.joined == 1
    assert (greens.start_ms[straight], greens.stop_ms[straight]) == (70_000, 110_000)
    never = read(tmp_path, extra=EXTRA.replace("rrG", "rrr")).greens(cycle_s=80)
    assert never.never == 1


def test_lanes_are_shared_by_load() -> None:
    assert lanes_worth([{0}, {0}], [30, 10]) == pytest.approx([0.75, 0.25])
    assert lanes_worth([{0, 1}, {1, 2}], [200, 100]) == pytest.approx([2, 1])
    # no turning lane is left: straight fits into what the left turn leaves of lane 1
    assert lanes_worth([{0, 1}, {1}], [100, 300]) == pytest.approx([1, 1])
    assert lanes_worth([{0, 1}, {1}], [100, 0]) == pytest.approx([2, 1])


def test_shared_lanes_never_exceed_the_lanes_there_are() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        lanes = int(rng.integers(1, 5))
        moves = [set(range(a, int(rng.integers(a, lanes)) + 1)) for a in rng.integers(0, lanes, 4).tolist()]
        load = rng.uniform(1, 500, 4)
        worth = lanes_worth(moves, load.tolist())
        assert (worth > 0).all()
        assert all(w <= len(m) + 1e-9 for w, m in zip(worth, moves, strict=True))
        assert worth.sum() <= len(set().union(*moves)) + 1e-6


def test_saturation_lanes_of_a_junction(tmp_path: Path) -> None:
    sumo = read(tmp_path)
    straight, left = sumo.movement_link["in", "out"], sumo.movement_link["in", "left"]
    use = np.zeros(sumo.network.n_links)
    use[straight], use[left] = 465.0, 125.0
    greens = sumo.greens(cycle_s=90)
    worth = sumo.saturation_lanes(use, greens, cycle_s=90)
    # loads 465 / (46.5 / 90) = 900 and 125 / (37.5 / 90) = 300: 600 on each of two lanes
    assert worth[[straight, left]] == pytest.approx([1.5, 0.5])
    settings = TrafficSettings(signal_cycle_s=90)
    plain = Streets(sumo.network, settings, 1).physics.headway_us
    shared = Streets(sumo.network, settings, 1, saturation_lanes=worth).physics.headway_us
    assert shared[straight] / plain[straight] == pytest.approx(2 / 1.5, rel=1e-5)
    assert shared[left] / plain[left] == pytest.approx(2, rel=1e-5)


def test_the_streets_refuse_windows_and_lanes_that_do_not_fit(tmp_path: Path) -> None:
    network, settings = read(tmp_path).network, TrafficSettings(signal_cycle_s=90)
    none = np.zeros(network.n_links, np.int64)
    for start, stop, words in (
        (none[1:], none, "one start and one end"),
        (none, none + 91_000, "does not fit the cycle"),
        (none + 90_000, none + 95_000, "link 0 does not fit"),
        (none + 5, none, "does not fit"),
    ):
        with pytest.raises(TrafficError, match=words):
            Streets(network, settings, 1, signals=(start, stop))
    for worth in (np.ones(3), np.zeros(network.n_links), np.full(network.n_links, np.nan)):
        with pytest.raises(TrafficError, match="saturation lanes"):
            Streets(network, settings, 1, saturation_lanes=worth)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not XML"),
        ("<net>", "not XML"),
        ("<osm/>", "its root is <osm>"),
        ("<net/>", "no edges"),
        ('<!DOCTYPE net [<!ENTITY a "b">]><net/>', "declares entities"),
        (NET.replace('length="200"', 'length="nan"'), "above 0"),
        (NET.replace('speed="8"', 'speed="fast"'), "not a number"),
        (NET.replace('length="190"', 'length="-1"'), "above 0"),
        (NET.replace('shape="0,3 200,3"', 'shape="0,3"'), "two or more points"),
        (NET.replace('via=":J_0_0"', 'via=":K_0_0"'), "':K_0_0' is missing"),
        (NET.replace('<tlLogic id="J"', '<tlLogic id="K"'), "signal 'J' has no program"),
    ],
)
def test_bad_files_end_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(MapError, match=words) as caught:
        read(tmp_path, net=text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_too_few_states_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="fewer states"):
        read(tmp_path, net=NET.replace('"GGr"', '"GG"')).greens(cycle_s=90)
