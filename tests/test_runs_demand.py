"""Demand that a user brings: every format gives the same trips, and nothing is lost in silence."""

from __future__ import annotations

import dataclasses
import gzip
import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maps.toy import toy_city
from runs.demand.given import read_given
from runs.demand.od_matrix import read_matrix
from runs.demand.sumo import SumoEdges, read_sumo
from runs.demand.trip_list import DemandFileError, seconds
from runs.demand.xml_stream import read_xml
from twin.demand.given import GivenDays, GivenTraffic
from twin.fleet.fleet import Fleet
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings

CITY = toy_city(8)
NET = CITY.network
OSM = NET.node_osm
START = datetime(2022, 10, 12)
HOUR_MS = 3_600_000


def given(cars=20, start=START, **knobs):
    return read_given(CITY, DemandSettings(**knobs), cars=cars, start=start, seed=1)


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


# two cars that go to work and home again, and one trip of nobody in the fleet
CHAIN = [("a", 7.0, 3, 40, "work"), ("b", 7.5, 10, 41, "work"), ("a", 17.0, 40, 3, "home"), ("b", 18.0, 41, 10, "home")]
LOOSE = ("", 8.0, 5, 50, "shop")


def as_csv(trips, where="node"):
    def place(node):
        return f"{OSM[node]}" if where == "node" else f"{float(NET.node_lon[node])!r},{float(NET.node_lat[node])!r}"

    ends = "from_node,to_node" if where == "node" else "from_lon,from_lat,to_lon,to_lat"
    rows = [f"car_id,depart_s,{ends},purpose"]
    rows += [f"{car},{hour * 3600},{place(a)},{place(b)},{what}" for car, hour, a, b, what in trips]
    return "\n".join(rows) + "\n"


def placed(found, part="fleet"):
    trips = getattr(found, part)
    names = [found.names[c] if c >= 0 else "" for c in trips.car]
    both = zip(names, trips.depart_ms.tolist(), trips.from_node.tolist(), trips.to_node.tolist(), strict=True)
    return sorted(both)


EXPECTED = sorted((car, int(hour * HOUR_MS), a, b) for car, hour, a, b, _ in CHAIN)


def test_a_table_by_node_and_by_degrees_and_in_parquet_gives_the_same_trips(tmp_path):
    for where in ("node", "degrees"):
        found = given(trips=write(tmp_path, f"{where}.csv", as_csv([*CHAIN, LOOSE], where)))
        assert placed(found) == EXPECTED
        assert placed(found, "others") == [("", 8 * HOUR_MS, 5, 50)]
        assert found.residual() == 0 and found.read == 5 and len(found.unplaced) == 0
    table = pa.table(
        {
            "car_id": [t[0] for t in CHAIN],
            "depart": [f"{int(t[1])}:{int(t[1] % 1 * 60):02d}:00" for t in CHAIN],
            "from_node": OSM[[t[2] for t in CHAIN]],
            "to_node": OSM[[t[3] for t in CHAIN]],
            "purpose": [t[4] for t in CHAIN],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert placed(given(trips=str(tmp_path / "t.parquet"))) == EXPECTED


def matsim(trips, extra=""):
    """A population of the newer format, coordinates in degrees."""
    people = {}
    for car, hour, a, b, what in trips:
        people.setdefault(car, []).append((hour, a, b, what))
    text = ['<?xml version="1.0"?><!DOCTYPE population SYSTEM "http://www.matsim.org/files/dtd/population_v6.dtd">']
    text.append("<population>" + extra)
    for name, legs in people.items():
        text.append(f'<person id="{name}"><plan selected="no"/><plan selected="yes">')
        kind = "home_3600"
        for hour, a, b, what in legs:
            at = f'x="{float(NET.node_lon[a])!r}" y="{float(NET.node_lat[a])!r}"'
            text.append(f'<activity type="{kind}" {at} end_time="{int(hour):02d}:{int(hour % 1 * 60):02d}:00"/>')
            text.append('<leg mode="car"/>')
            kind, last = what, b
        text.append(f'<activity type="{kind}" x="{float(NET.node_lon[last])!r}" y="{float(NET.node_lat[last])!r}"/>')
        text.append("</plan></person>")
    return "".join(text) + "</population>"


def test_matsim_plans_give_the_same_trips(tmp_path):
    found = given(trips=write(tmp_path, "plans.xml.gz", matsim(CHAIN)))
    assert placed(found) == EXPECTED
    assert found.fleet.purpose.tolist() == [1, 0, 1, 0]


def test_matsim_legs_by_other_modes_interactions_and_unknown_times(tmp_path):
    def act(kind, node, end=""):
        return f'<act type="{kind}" x="{float(NET.node_lon[node])!r}" y="{float(NET.node_lat[node])!r}" {end}/>'

    text = (
        '<plans><person id="p"><plan>'
        + act("h", 3, 'end_time="07:00:00"')
        + '<leg mode="walk" trav_time="00:05:00"/>'
        + act("car interaction", 4, 'max_dur="0"')
        + '<leg mode="car" trav_time="00:10:00"/>'
        + act("w", 40, 'dur="08:00:00"')
        + '<leg mode="car"/>'
        + act("h", 4)
        + '<leg mode="car"/>'
        + act("shop", 9)
        + "</plan></person></plans>"
    )
    found = given(trips=write(tmp_path, "old.xml", text))
    # 7:00 + 5 min walk; then + 10 min drive + 8 h; the last activity before the third leg has no end
    assert placed(found) == [("p", 25_500_000, 4, 40), ("p", 25_500_000 + 600_000 + 8 * HOUR_MS, 40, 4)]
    assert found.ignored == 1
    assert found.unplaced["reason"].tolist() == ["no_departure"] and found.residual() == 0


def test_matsim_coordinates_of_another_system(tmp_path):
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(NET.node_lon, NET.node_lat)
    text = matsim(CHAIN, '<attributes><attribute name="coordinateReferenceSystem">EPSG:3857</attribute></attributes>')
    for node in {n for t in CHAIN for n in t[2:4]}:
        old = f'x="{float(NET.node_lon[node])!r}" y="{float(NET.node_lat[node])!r}"'
        text = text.replace(old, f'x="{float(x[node])!r}" y="{float(y[node])!r}"')
    assert placed(given(trips=write(tmp_path, "p.xml", text))) == EXPECTED


SUMO_NET = (
    """<net><location netOffset="-500.0,-200.0" projParameter="+proj=merc +ellps=WGS84 +units=m"/>{edges}</net>"""
)


def sumo_net(folder, nodes):
    from pyproj import Proj

    to = Proj("+proj=merc +ellps=WGS84 +units=m")
    edges = []
    for node in nodes:
        x, y = to(NET.node_lon[node], NET.node_lat[node])
        shape = f"{x - 540},{y - 200} {x - 460},{y - 200}"  # its middle is the node
        edges.append(f'<edge id="e{node}"><lane id="e{node}_0" shape="{shape}"/></edge>')
    edges.append('<edge id=":j_0" function="internal"><lane id=":j_0_0" shape="0,0 1,1"/></edge>')
    return write(folder, "n.net.xml", SUMO_NET.format(edges="".join(edges)))


def test_sumo_vehicles_trips_and_flows(tmp_path):
    at = f"{float(NET.node_lon[6])!r},{float(NET.node_lat[6])!r}"
    text = f"""<routes>
      <vType id="bus" vClass="bus"/><vType id="mine" vClass="passenger"/>
      <route id="r" edges="e3 e9 e40"/>
      <vehicle id="v1" depart="60" route="r" type="mine"/>
      <vehicle id="v2" depart="7:30:00"><route edges="e10 e41"/></vehicle>
      <trip id="t1" depart="30.5" from="e5" to="e50"/>
      <trip id="t2" depart="90" fromLonLat="{at}" toJunction="{OSM[20]}"/>
      <vehicle id="b" depart="0" type="bus" route="r"/>
      <vehicle id="w" depart="triggered" route="r"/>
      <trip id="t3" depart="9" from="e5" to="nowhere"/>
      <flow id="f" begin="0" end="100" number="4" from="e3" to="e9"/>
    </routes>"""
    net = sumo_net(tmp_path, [3, 5, 9, 10, 40, 41, 50])
    found = given(trips=write(tmp_path, "d.rou.xml", text), sumo_net=net)
    assert not found.has_days
    expected = [("", 60_000, 3, 40), ("", 27_000_000, 10, 41), ("", 30_500, 5, 50), ("", 90_000, 6, 20)]
    expected += [("", k * 25_000, 3, 9) for k in range(4)]
    assert placed(found, "others") == sorted(expected)
    assert sorted(found.unplaced["reason"].tolist()) == ["no_departure", "not_a_car", "unknown_edge"]
    assert found.read == 11 and found.residual() == 0


def test_sumo_edges_named_after_ways(tmp_path):
    ways = dataclasses.replace(CITY, network=dataclasses.replace(NET, link_way=1000 + np.arange(NET.n_links)))
    text = (
        '<routes><trip id="t" depart="1" from="1002#1" to="-1090"/><trip id="u" depart="1" from="7" to="x"/></routes>'
    )
    path = write(tmp_path, "t.trips.xml", text)
    found = read_given(ways, DemandSettings(trips=path), cars=1, start=START, seed=1)
    assert placed(found, "others") == [("", 1000, int(NET.link_from[2]), int(NET.link_from[90]))]
    assert found.unplaced["reason"].tolist() == ["unknown_edge"]


def zones_file(folder):
    """Two zones that split the toy into west and east, and one beyond it."""
    west, east = NET.node_lon[:64].min(), NET.node_lon[:64].max()
    south, north = NET.node_lat[:64].min(), NET.node_lat[:64].max()
    middle, pad = (west + east) / 2, (east - west) / 100

    def box(name, a, b):
        ring = [[a, south - pad], [b, south - pad], [b, north + pad], [a, north + pad], [a, south - pad]]
        return {"type": "Feature", "properties": {"zone": name},
                "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip

    boxes = [box("W", west - pad, middle), box("E", middle, east + pad), box("far", east + 1, east + 2)]
    return write(folder, "z.geojson", json.dumps({"type": "FeatureCollection", "features": boxes}))


LONG = "from,to,trips,hour\nW,E,120.5,7\nE,W,40,17\nW,far,10,7\nW,moon,3,7\nE,E,6,12\n"


def test_matrix_places_its_trips_in_zones_and_hours(tmp_path):
    found = given(od=write(tmp_path, "od.csv", LONG), zones=zones_file(tmp_path))
    assert found.unplaced["reason"].tolist() == ["zone_off_map", "unknown_zone"]
    assert found.unplaced["trips"].sum() == 13
    traffic = GivenTraffic(found, DemandSettings(), market="japan", seed=4, start=START)
    day = traffic.trips(0, 24 * HOUR_MS)
    hours = np.bincount(day.depart_ms // HOUR_MS, minlength=24)
    assert hours[17] == 40 and hours[12] == 6 and hours[7] in (120, 121) and hours.sum() == hours[[7, 12, 17]].sum()
    x = NET.node_x
    middle = (x[:64].min() + x[:64].max()) / 2
    morning = day.pair[day.depart_ms // HOUR_MS == 7]
    assert (x[traffic.pair_from[morning]] < middle + 1).all() and (x[traffic.pair_to[morning]] > middle - 1).all()
    # half a trip more on half of the days
    many = [len(traffic.trips(d * 24 * HOUR_MS, (d + 1) * 24 * HOUR_MS).pair) for d in range(300)]
    assert set(many) == {166, 167} and abs(np.mean(many) - 166.5) < 0.1


def test_windows_cut_anywhere_give_the_same_trips(tmp_path):
    found = given(od=write(tmp_path, "od.csv", LONG), zones=zones_file(tmp_path))
    traffic = GivenTraffic(found, DemandSettings(), market="us", seed=4, start=START)
    whole = traffic.trips(0, 50 * HOUR_MS)
    cuts = [0, 17, 7 * HOUR_MS + 123_456, 24 * HOUR_MS, 31 * HOUR_MS, 50 * HOUR_MS]
    parts = [traffic.trips(a, b) for a, b in pairwise(cuts)]
    assert np.concatenate([p.depart_ms for p in parts]).tolist() == whole.depart_ms.tolist()
    assert np.concatenate([p.pair for p in parts]).tolist() == whole.pair.tolist()
    assert (np.diff(whole.depart_ms) >= 0).all()


def test_market_hours_hold_for_a_matrix_without_hours(tmp_path):
    found = given(od=write(tmp_path, "od.csv", "from,to,trips\nW,E,3000\nE,W,3000\n"), zones=zones_file(tmp_path))
    traffic = GivenTraffic(found, DemandSettings(other_traffic=2.0), market="us", seed=4, start=START)
    hours = np.bincount(traffic.trips(0, 24 * HOUR_MS).depart_ms // HOUR_MS, minlength=24)
    assert hours.sum() == 12_000
    assert abs(hours[17] / 12_000 - 0.0864) < 0.001 and abs(hours[3] / 12_000 - 0.0007) < 0.001


def test_square_matrix_zones_by_node_table_and_omx(tmp_path):
    a, b = OSM[3], OSM[40]
    square = write(tmp_path, "sq.csv", f"zone,{a},{b}\n{a},0,5\n{b},2.5,0\n")
    cells = given(od=square).flows
    assert cells.trips.tolist() == [5, 2.5] and cells.from_node.tolist() == [3, 40] and cells.hour.tolist() == [-1, -1]
    table = write(tmp_path, "z.csv", f"zone,node\nx,{OSM[3]}\nx,{OSM[4]}\ny,{OSM[40]}\n")
    flows = given(od=write(tmp_path, "l.csv", "origin,destination,trips\nx,y,4\n"), zones=table).flows
    assert sorted(zip(flows.from_node.tolist(), flows.to_node.tolist(), strict=True)) == [(3, 40), (4, 40)]
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "m.omx", "w") as file:
        file["data/am"] = np.array([[0.0, 5.0], [2.5, 0.0]])
        file["data/pm"] = np.array([[0.0, 1.0], [0.0, 0.0]])
        file["lookup/zone"] = np.array([a, b])
    with pytest.raises(DemandFileError, match=r"demand.matrix is ''; the file holds am, pm"):
        given(od=str(tmp_path / "m.omx"))
    cells = given(od=str(tmp_path / "m.omx"), matrix="am").flows
    assert cells.trips.tolist() == [5, 2.5] and cells.to_node.tolist() == [40, 3]


def test_a_run_drives_what_was_brought_and_its_books_close(tmp_path):
    off_map = f"a,82800,139.0,35.0,{NET.node_lon[3]},{NET.node_lat[3]},home\n"
    text = as_csv([*CHAIN, LOOSE], "degrees") + off_map
    found = given(trips=write(tmp_path, "t.csv", text), cars=5)
    rooms = {"fleet": FleetSettings(cars=5), "demand": DemandSettings(trips="t.csv")}
    twin = Twin(CITY, given=found, until_s=86_400, start=START, **rooms)
    assert twin.world.fleet.home_node[:2].tolist() == [3, 10] and twin.world.fleet.work_node[:2].tolist() == [40, 41]
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert not any(twin.world.ledger().values())
    table = twin.world.trips.table.arrays()
    done = table["status"] == "arrived"
    assert done.sum() == 4 and set(table["car_id"][done]) == {0, 1}
    assert sorted(table["depart_s"][done]) == [25_200, 27_000, 61_200, 64_800]
    assert table["reason"][~done].tolist() == ["off_map"] and table["status"][~done].tolist() == ["refused"]
    summary = twin.world.summary()
    assert summary["traffic"]["other_trips"] == 1  # the model's own other traffic has made room
    own = summary["own_demand"]
    assert own["read"] == 6 and own["placed"] == 5 and own["unplaced_by_reason"] == {"off_map": 1}
    assert twin.world.fleet.node[:2].tolist() == [3, 10]


def test_a_start_at_noon_finds_cars_where_the_morning_left_them(tmp_path):
    path = write(tmp_path, "t.csv", as_csv(CHAIN))
    found = given(trips=path, start=datetime(2022, 10, 12, 12), cars=3)
    assert placed(found) == [("a", 5 * HOUR_MS, 40, 3), ("b", 6 * HOUR_MS, 41, 10)]
    assert found.unplaced["reason"].tolist() == ["before_start"] * 2 and found.residual() == 0
    twin = Twin(CITY, given=found, fleet=FleetSettings(cars=3), start=datetime(2022, 10, 12, 12), until_s=600)
    assert twin.world.fleet.home_node[:2].tolist() == [3, 10]
    assert twin.world.fleet.node[:2].tolist() == [40, 41]


def test_days_repeat_when_asked(tmp_path):
    found = given(trips=write(tmp_path, "t.csv", as_csv(CHAIN)))
    fleet = Fleet(20)
    found.settle(CITY, fleet)
    for repeat, many in ((False, 0), (True, 4)):
        days = GivenDays(CITY, found, DemandSettings(repeat_day=repeat), fleet, start=START, seed=1)
        assert len(days.plan_day(0)) == 4 and len(days.plan_day(1)) == many
        assert len(days.usual_day(5)) == 4  # the week before always looks like the list
    assert (days.plan_day(1).depart_ms - days.plan_day(0).depart_ms == 24 * HOUR_MS).all()


def test_of_more_cars_than_the_fleet_has_the_rest_is_other_traffic(tmp_path):
    found = given(trips=write(tmp_path, "t.csv", as_csv(CHAIN)), cars=1)
    assert len(found.names) == 1 and len(found.fleet.car) == 2 and len(found.others.car) == 2
    everybody = given(trips=write(tmp_path, "t.csv", as_csv(CHAIN)), trips_of="others")
    assert not everybody.has_days and len(everybody.others.car) == 4


def test_a_car_that_is_elsewhere_is_refused_and_counted(tmp_path):
    trips = [("a", 7.0, 3, 40, "work"), ("a", 12.0, 9, 10, "shop"), ("a", 17.0, 40, 3, "home")]
    found = given(trips=write(tmp_path, "t.csv", as_csv(trips)), snap_m=50)
    assert found.unplaced["reason"].tolist() == ["car_elsewhere"]
    assert placed(found) == [("a", 7 * HOUR_MS, 3, 40), ("a", 17 * HOUR_MS, 40, 3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (as_csv([("a", 7.0, 3, 4, "wrok")]), r"row 1: unknown purpose 'wrok' \(did you mean work\?\); valid are home"),
        (as_csv([CHAIN[2], CHAIN[0]]), "row 2: car 'a' departs earlier than in the row before"),
        (as_csv([CHAIN[0], CHAIN[0]]), "row 2: car 'a' departs twice at the same time"),
        ("depart_s,from_node\n1,2\n", "do not say where and when; valid: depart_s or depart"),
        (f"depart_s,from_node,to_node\n-5,{OSM[1]},{OSM[2]}\n", "row 1: depart_s is '-5'; valid are seconds"),
        (f"depart_s,arrive_s,from_node,to_node\n50,40,{OSM[1]},{OSM[2]}\n", "row 1: arrives before it departs"),
        (
            f"trip_id,depart_s,from_node,to_node\nx,5,{OSM[1]},{OSM[2]}\nx,6,1,2\n",
            "row 2: trip_id 'x' is that of row 1",
        ),
        ("depart_s,from_lon,from_lat,to_lon,to_lat\n5,inf,3,4,5\n", "row 1: from_lon is 'inf', not a finite number"),
        ("depart_s,from_node,to_node\n5,7,8\n", "nothing could be placed on the map: 1 unknown_node"),
        ("depart_s,from_zone,to_zone\n5,7,8\n", "demand.zones must be a file"),
        ("", "cannot be read as a table"),
    ],
)
def test_wrong_tables_are_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(DemandFileError, match=says) as error:
        given(trips=write(tmp_path, "t.csv", text))
    assert "\n" not in str(error.value) and str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("from,to,trips\nW,E,-1\n", "row 1: from W to E: -1 trips; valid are 0 and more"),
        ("from,to,trips\nW,E,nan\n", "row 1: from W to E: nan trips"),
        ("from,to,trips\nW,E,1\nW,E,2\n", "row 2: the cell from W to E is that of row 1 too"),
        ("from,to,trips,hour\nW,E,1,24\n", "row 1: hour is 24; valid are 0 to 23"),
        ("from,to,trips\nW,E,many\n", "row 1: 'many' is not a number"),
        ("from,to,trips\nW,E,0\n", "no cell holds a trip"),
        ("a,b\n1,2\n", "valid: from, to, trips and perhaps hour"),
    ],
)
def test_wrong_matrices_are_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(DemandFileError, match=says):
        read_matrix(Path(write(tmp_path, "m.csv", text)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '<routes><vehicle id="a" depart="1"/><vehicle id="a" depart="2"/></routes>',
            "the id 'a' is that of line 1 too",
        ),
        ('<routes><vehicle id="a" depart="-1"/></routes>', "departs at -1 s"),
        ('<routes><flow id="a" begin="5" end="1" number="2"/></routes>', "flow 'a' needs 0 <= begin <= end"),
        ("<routes/>", "no vehicle, trip or flow"),
        ("<routes><vehicle", "not well-formed XML"),
        ("<html/>", "its root element is 'html'; valid are routes"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><routes>&a;</routes>', "declares entities, which are refused"),
        ('<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><routes>&a;</routes>', "declares entities"),
        ("<routes>" + "<a>" * 100, "nested too deeply"),
        ('<population><person id="p"/><person id="p"/></population>', "person's id 'p' is that of line 1 too"),
        ('<population><person id="p"><plan/></person></population>', "no person in it has a leg by car"),
    ],
)
def test_wrong_xml_is_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(DemandFileError, match=says):
        given(trips=write(tmp_path, "t.xml", text))


def test_matsim_times_that_run_backwards_and_unknown_activities(tmp_path):
    back = [("a", 9.0, 3, 40, "work"), ("a", 8.0, 40, 3, "home")]
    with pytest.raises(DemandFileError, match="'a' departs at 28800 s, not after the departure before"):
        given(trips=write(tmp_path, "b.xml", matsim(back)))
    odd = matsim([("a", 9.0, 3, 40, "quest")])
    with pytest.raises(DemandFileError, match=r"unknown purpose 'quest'.*demand.purposes"):
        given(trips=write(tmp_path, "o.xml", odd))
    found = given(trips=write(tmp_path, "o.xml", odd), purposes=["quest=leisure"])
    assert found.fleet.purpose.tolist() == [3]


def test_zones_are_checked(tmp_path):
    od = write(tmp_path, "od.csv", "from,to,trips\nW,E,1\n")
    good = json.loads(Path(zones_file(tmp_path)).read_text())
    twice = {**good, "features": [good["features"][0]] * 2}
    line = {**good, "features": [{**good["features"][0], "geometry": {"type": "Point", "coordinates": [0, 0]}}]}
    for content, says in ((twice, "two zones are named 'W'"), (line, "is a Point"), ({}, "no features")):
        with pytest.raises(DemandFileError, match=says):
            given(od=od, zones=write(tmp_path, "bad.geojson", json.dumps(content)))
    with pytest.raises(DemandFileError, match=r"demand.zones is given without"):
        given(zones=od)
    with pytest.raises(DemandFileError, match=r"demand.trips: none.csv is not a file"):
        given(trips="none.csv")


def test_a_large_route_file_is_read_in_little_memory(tmp_path):
    import tracemalloc

    rows = "".join(f'<trip id="t{k}" depart="{k % 3600}" from="a" to="b"/>\n' for k in range(20_000))
    path = Path(write(tmp_path, "big.trips.xml.gz", "<routes>" + rows + "</routes>"))
    tracemalloc.start()
    read_xml(path, start=lambda *_: None, end=lambda *_: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6  # blocks of 1 MB, not the file's elements
    assert len(read_sumo(path)) == 20_000


def test_clock_times():
    assert [seconds(t) for t in ("90", "7:30", "25:00:01", "1:01:00:00.5")] == [90, 27_000, 90_001, 90_000.5]
    assert np.isnan([seconds(t) for t in ("", "soon", "nan", "1:2:3:4:5", "7:61")]).all()


def test_a_network_without_projection_is_refused(tmp_path):
    text = '<net><location netOffset="0,0" projParameter="!"/><edge id="a"><lane shape="0,0 1,1"/></edge></net>'
    with pytest.raises(DemandFileError, match="projection"):
        SumoEdges(Path(write(tmp_path, "n.net.xml", text)))
