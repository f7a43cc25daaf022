"""SUMO networks: a junction by hand, its signals and rights of way, shared lanes, files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from maps.lane_use import lanes_worth
from maps.network import SIGNALS, MapError
from maps.sumo import SumoNetwork, read_sumo
from tests.traffic_runs import drive
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets, TrafficError
from twin.traffic.right_of_way import RightOfWay
from twin.traffic.signals import SignalPlan

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
    assert sumo.minor.sum() == 1
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


def test_greens_are_those_of_the_program(tmp_path: Path) -> None:
    sumo = read(tmp_path)
    greens = sumo.greens(lost_s=2.0)
    straight, left = sumo.movement_link["in", "out"], sumo.movement_link["in", "left"]
    # 60 s cycle: straight 30 + 3 s, left 24 + 3 s from 33 s on; 2 s lost each
    rows = {link: row for link, *row in zip(*(part.tolist() for part in greens[:4]), strict=True)}
    assert rows == {straight: [60_000, 2000, 33_000], left: [60_000, 35_000, 60_000]}
    assert greens.never == 0


def test_programs_of_their_own_file_replace_those_of_the_net(tmp_path: Path) -> None:
    sumo = read(tmp_path, extra=EXTRA)
    greens = sumo.greens(lost_s=0.0)
    mine = greens.link == sumo.movement_link["in", "out"]
    # two greens of 20 s, delayed by the offset of 10 s as SUMO does it
    assert greens.cycle_ms[mine].tolist() == [80_000, 80_000]
    assert greens.start_ms[mine].tolist() == [10_000, 40_000]
    assert greens.stop_ms[mine].tolist() == [30_000, 60_000]
    never = read(tmp_path, extra=EXTRA.replace("rrG", "rrr")).greens()
    assert never.never == 1 and sumo.movement_link["in", "left"] not in never.link


def test_signals_of_a_file_hold_cars_at_red(tmp_path: Path) -> None:
    sumo = read(tmp_path, extra=EXTRA)
    plan = SignalPlan(*sumo.greens(lost_s=0.0)[:4])
    assert plan.green_share(sumo.network.n_links)[sumo.movement_link["in", "out"]] == 0.5
    record = drive(sumo.network, [sumo.route(["in", "out"])] * 160, np.arange(160) * 0.5, until_s=4000, signals=plan)
    phase = record.exits(sumo.movement_link["in", "out"]) % 80_000
    assert len(phase) == 160 and phase.min() == 10_000
    assert np.all((phase < 30_000) | (phase >= 40_000)) and phase.max() < 60_000
    assert set(phase // 10_000) == {1, 2, 4, 5}


CROSSING = """<net version="1.20">
<edge id=":J_0" function="internal"><lane id=":J_0_0" index="0" speed="13.89" length="11" shape="200,0 210,0"/></edge>
<edge id=":J_1" function="internal"><lane id=":J_1_0" index="0" speed="5" length="11" shape="205,-5 205,5"/></edge>
<edge id=":J_2" function="internal"><lane id=":J_2_0" index="0" speed="5" length="4" shape="205,5 205,9"/></edge>
<edge id="main" from="A" to="J"><lane id="main_0" index="0" speed="13.89" length="200" shape="0,0 200,0"/></edge>
<edge id="side" from="C" to="J"><lane id="side_0" index="0" speed="13.89" length="100" shape="205,-105 205,-5"/></edge>
<edge id="on" from="J" to="B"><lane id="on_0" index="0" speed="13.89" length="190" shape="210,0 400,0"/></edge>
<edge id="up" from="J" to="D"><lane id="up_0" index="0" speed="13.89" length="90" shape="205,9 205,99"/></edge>
<junction id="J" type="priority" intLanes=":J_0_0 :J_2_0">
  <request index="0" response="00" foes="10" cont="0"/><request index="1" response="01" foes="01" cont="1"/>
</junction>
<connection from="main" to="on" fromLane="0" toLane="0" via=":J_0_0" dir="s" state="M"/>
<connection from="side" to="up" fromLane="0" toLane="0" via=":J_1_0" dir="s" state="m"/>
<connection from=":J_1" to="up" fromLane="0" toLane="0" via=":J_2_0" dir="s" state="m"/>
</net>
"""


def test_the_side_road_gives_way(tmp_path: Path) -> None:
    sumo = read(tmp_path, net=CROSSING)
    side, main = sumo.movement_link["side", "up"], sumo.movement_link["main", "on"]
    rows = sumo.yields()
    # 15 m of junction and 5 m of car at 2.6 m/s2, and a second; the main road's movement is shorter than that
    gap = np.sqrt(2 * 20 / 2.6) + 1
    assert rows.link.tolist() == [side, side]
    assert rows.foe.tolist() == [main, sumo.edge_link["main"]]
    assert rows.onto.tolist() == [-1, main]
    assert rows.lag_s == pytest.approx([0, 11 / 13.89])
    assert rows.gap_s == pytest.approx([gap, gap])
    rule = RightOfWay(rows.link, np.full(2, -1), rows.foe, rows.onto, rows.lag_s, rows.gap_s)
    free = sumo.network.link_free_s
    ahead = free[[sumo.edge_link["main"], main]].sum() - free[[sumo.edge_link["side"], side]].sum()
    # the main road's car is at the junction 1 s after the side road's, then just outside its gap
    for later, waits in ((1.0, 1.0), (gap - 0.1, gap - 0.1), (gap + 0.1, 0.0)):
        record = drive(
            sumo.network, [sumo.route(["main", "on"]), sumo.route(["side", "up"])], [20.0, 20 + ahead - later],
            until_s=200, priority=rule,
        )  # fmt: skip
        late = record.arrive_ms[1] / 1000 - (20 + ahead - later) - free[sumo.route(["side", "up"])].sum()
        assert late == pytest.approx(waits, abs=0.006)


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
    worth = sumo.saturation_lanes(use, sumo.greens())
    # loads 465 / (31 / 60) = 900 and 125 / (25 / 60) = 300: 600 on each of two lanes
    assert worth[[straight, left]] == pytest.approx([1.5, 0.5])
    settings = TrafficSettings()
    plain = Streets(sumo.network, settings, 1).physics.headway_us
    shared = Streets(sumo.network, settings, 1, saturation_lanes=worth).physics.headway_us
    assert shared[straight] / plain[straight] == pytest.approx(2 / 1.5, rel=1e-5)
    assert shared[left] / plain[left] == pytest.approx(2, rel=1e-5)


def test_the_streets_refuse_windows_and_lanes_that_do_not_fit(tmp_path: Path) -> None:
    network, settings = read(tmp_path).network, TrafficSettings()
    for windows, words in (
        ([(0, 90_000, 0, 91_000)], "link 0, 0 to 91000 ms, does not fit its cycle of 90000 ms"),
        ([(1, 90_000, 90_000, 95_000)], "link 1, .* does not fit"),
        ([(1, 90_000, 5, 5)], "does not fit"),
        ([(99, 90_000, 0, 5)], "belongs to link 99"),
        ([(0, 90_000, 0, 50), (0, 80_000, 60, 70)], "different cycles"),
        ([(0, 90_000, 0, 50), (0, 90_000, 49, 70)], "overlap"),
        ([(0, 90_000, 40, 50), (0, 90_000, 60_000, 90_041)], "overlap"),
    ):
        with pytest.raises(TrafficError, match=words):
            Streets(network, settings, 1, signals=SignalPlan(*np.array(windows).T))
    with pytest.raises(TrafficError, match="for each green window"):
        Streets(network, settings, 1, signals=SignalPlan(*np.zeros((3, 1), int), np.zeros(2, int)))


def test_the_streets_refuse_rights_of_way_that_do_not_fit(tmp_path: Path) -> None:
    network, settings = read(tmp_path).network, TrafficSettings()
    one, n = np.array([1]), network.n_links
    for rule, words in (
        (RightOfWay(one, -one, one + 98, -one, one * 0.0, one * 1.0), "not one of 7"),
        (RightOfWay(one, -one, one, -one, one * 0.0, -one * 1.0), "0 to 3600 s"),
        (RightOfWay(one, -one, one, -one, one * 0.0, one * np.nan), "0 to 3600 s"),
        (RightOfWay(one, -one, one, -one, np.zeros(2), one * 1.0), "for each conflict"),
        (RightOfWay(one, -one, one, -one, one * 0.0, one * 1.0, patience_s=0.0), "patience"),
        (RightOfWay(one, -one, one, -one, one * 0.0, one * 1.0, follow_up_s=np.zeros(2)), "follow-up"),
        (RightOfWay.none(merge_weight=np.zeros(n)), "merge weights"),
    ):
        with pytest.raises(TrafficError, match=words):
            Streets(network, settings, 1, priority=rule)
    for worth in (np.ones(3), np.zeros(n), np.full(n, np.nan)):
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
        read(tmp_path, net=NET.replace('"GGr"', '"GG"')).greens()
