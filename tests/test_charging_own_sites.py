"""A scenario's own sites: files, opening hours, caps, breakdowns; cars move on when a site is closed or broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import simpy

from maps.network import SOCKET_KINDS
from maps.toy import toy_city
from tests.charging_cases import KWH, closed, electric_fleet, make, run, site_of
from twin.charging.charging import Charging
from twin.charging.site import ChargingError, SiteKind, Socket
from twin.charging.site_file import open_slots, read_own_sites
from twin.charging.visits import Outcome
from twin.sessions import Work

HOUR, MINUTE = 3_600_000, 60_000
CITY = toy_city(5)
HEAD = "name,lat,lon,connector,count,kw,open,operator,price,cap_kw,access\n"
AT = f"{CITY.network.node_lat[7]},{CITY.network.node_lon[7]}"
GOOD = (
    f"Harbour,{AT},ccs,2,150,06:00-22:00,City Power,0.45,200,public\n"
    f"Harbour,{AT},chademo,1,,,,,,\nHarbour,{AT},type2,4,,,,,,\n"
)


def write(folder: Path, rows: str, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_text(HEAD + rows)
    return path


def test_a_csv_file_gives_a_slow_and_a_fast_site(tmp_path):
    path = write(tmp_path, GOOD)
    (site,) = read_own_sites(path)
    kinds = [SOCKET_KINDS.index(k) for k in ("ccs", "chademo", "type2")]
    assert site.sockets == [Socket(kinds[0], 2, 150.0), Socket(kinds[1], 1, 50.0), Socket(kinds[2], 4, 22.0)]
    charging = make(electric_fleet(1), city=CITY, market="europe", home_access=0.0, work_access=0.0, sites=str(path))
    rows = [i for i, name in enumerate(charging.sites.name) if name == "Harbour"]
    sites = charging.sites
    assert [sites.site_kind[r] for r in rows] == [SiteKind.PUBLIC, SiteKind.FAST]
    assert (sites.site_node[rows] == 7).all()
    assert sites.x[rows] == pytest.approx(CITY.network.node_x[7], abs=0.01)
    assert [sites.operator[r] for r in rows] == ["City Power"] * 2
    assert sites.price[rows].tolist() == [0.45, 0.45]
    assert sites.cap_kw[rows].tolist() == pytest.approx([88.0, 200.0])
    assert sites.open_slots[rows[0]].sum() == 7 * 16 * 4


def test_geojson_says_the_same(tmp_path):
    path = tmp_path / "own.geojson"
    lat, lon = (float(v) for v in AT.split(","))
    sockets = [
        {"connector": "ccs", "count": 2, "kw": 150},
        {"connector": "chademo"},
        {"connector": "type2", "count": 4},
    ]
    said = {"name": "Harbour", "sockets": sockets, "open": "06:00-22:00", "operator": "City Power", "price": 0.45}
    point = {"type": "Point", "coordinates": [lon, lat]}
    feature = {"type": "Feature", "geometry": point, "properties": {**said, "cap_kw": 200}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (one,), (other,) = read_own_sites(path), read_own_sites(write(tmp_path, GOOD))
    assert one.sockets == other.sockets
    assert (one.open_slots == other.open_slots).all()
    assert (one.price, one.cap_kw, one.operator) == (0.45, 200.0, "City Power")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (f"Harbour,{AT},,,,,,,,\n", "own.csv, line 2: site Harbour has no socket"),
        (f"Harbour,{AT},ccs,2,0,,,,,\n", "line 2: kw must be a number, above 0"),
        (f"Harbour,{AT},ccs,0,50,,,,,\n", "count must be a number, at least 1"),
        (f"Harbour,{AT},ccs,1.5,50,,,,,\n", "whole number"),
        (f"Harbour,{AT},tesla,1,50,,,,,\n", "connector 'tesla'; valid: chademo, ccs"),
        (f"Harbour,{AT},ccs,1,50,06:00-12:00;11:00-18:00,,,,\n", "overlap"),
        (f"Harbour,{AT},ccs,1,50,dawn-dusk,,,,\n", "valid: 06:00-22:00"),
        (f"Harbour,{AT},ccs,1,50,,,,0,\n", "cap_kw must be a number, above 0"),
        (f"Harbour,{AT},ccs,1,50,,,-1,,\n", "price must be a number"),
        (f"Harbour,{AT},ccs,1,50,,,,,members\n", "valid: public, private"),
        ("Harbour,95,10,ccs,1,50,,,,,\n", "lat must be a number, at least -90, at most 90"),
        (f"Harbour,{AT},ccs,1,nan,,,,,\n", "kw must be a number"),
        (f"Harbour,{AT},ccs,1,50,,,,,\nHarbour,1.0,2.0,ccs,1,50,,,,,\n", "line 3: site Harbour is at two places"),
        ("", "holds no site"),
    ],
)
def test_rows_that_cannot_be_are_named(tmp_path, rows, words):
    with pytest.raises(ChargingError, match=words):
        read_own_sites(write(tmp_path, rows))


def test_files_that_cannot_be_are_named(tmp_path):
    with pytest.raises(ChargingError, match="no file"):
        read_own_sites(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("name,lat,lon,plug\n")
    with pytest.raises(ChargingError, match="unknown column 'plug'; valid: name, lat"):
        read_own_sites(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("name,lat,lon\n")
    with pytest.raises(ChargingError, match="no column connector"):
        read_own_sites(tmp_path / "b.csv")
    (tmp_path / "c.geojson").write_text("{}")
    with pytest.raises(ChargingError, match="not a GeoJSON collection"):
        read_own_sites(tmp_path / "c.geojson")
    far = write(tmp_path, "Moon,80.0,10.0,ccs,1,50,,,,,\n", "far.csv")
    with pytest.raises(ChargingError, match="km from the nearest street"):
        make(electric_fleet(1), city=CITY, sites=str(far))


@pytest.mark.parametrize(("text", "quarters"), [("", 96), ("24/7", 96), ("00:00-24:00", 96), ("22:15-06:00", 31)])
def test_opening_hours(text, quarters):
    assert open_slots(text).sum() == quarters


def test_a_closed_site_is_not_shown_and_turns_cars_away(tmp_path):
    path = write(tmp_path, f"Harbour,{AT},ccs,2,50,06:00-22:00,,,,\n")
    charging = make(
        electric_fleet(3, model=1), city=CITY, home_access=0.0, work_access=0.0, sites=str(path), start_h=21.0
    )
    own = charging.sites.name.index("Harbour")
    assert own in charging.candidates(7, 0)[0]
    charging.arrive([0, 1], own, [10 * MINUTE, 61 * MINUTE], -1, 30 * KWH)
    run(charging, HOUR)
    shown, crow_m, _, _ = charging.candidates(7, 2)
    assert own not in shown
    assert (np.isinf(crow_m) == (shown < 0)).all()
    run(charging, 2 * HOUR)
    outcome = dict(zip(charging.table["car_id"], charging.table["outcome"], strict=True))
    assert outcome == {0: "done", 1: "closed"}
    assert charging.queue_summary()["closed"] == 1
    assert closed(charging)


# ---------------------------------------------------------------- breakdowns


def failing(cars: int, *, sockets: int = 1, **settings: float) -> tuple[Charging, int]:
    charging = make(electric_fleet(cars, model=1, kwh=100.0, soc=0.0), handshake_s=0.0, fast_limit_min=1e6, **settings)
    site = site_of(charging, SiteKind.FAST)
    return charging, site


def test_bays_are_down_as_long_as_rates_and_repairs_say():
    """Share of time out of order: repair over failure plus repair, of exponential times."""
    charging, _ = failing(1, failures_per_1000_h=100.0, repair_h=5.0)
    rows = charging.sessions.live(Work.REPAIR)
    public = charging.sites.site_kind[charging.sites.socket_site] >= SiteKind.PUBLIC
    assert len(rows) == charging.sites.socket_count[public].sum()
    days = 200
    charging.sessions.env.run(until=days * 24 * HOUR)
    share = charging.breakdowns.down_ms / (len(rows) * days * 24 * HOUR)
    n = charging.breakdowns.failures
    assert n == pytest.approx(len(rows) * days * 24 / 15, rel=0.05)
    assert share == pytest.approx(5 / 15, rel=4 / np.sqrt(n))
    assert charging.queues.broken.sum() == (charging.sessions.phase[rows] == 2).sum()


def test_a_car_on_a_broken_socket_is_sent_on_and_the_next_one_is_not_let_in():
    charging, site = failing(2)
    ccs = int(
        np.flatnonzero(charging.choice.usable[charging.choice.inlet_of[1]] & (charging.sites.socket_site == site))[0]
    )
    charging.sites.socket_count[ccs] = 1
    charging.arrive(0, site, 0, -1, 90 * KWH)
    run(charging, 10 * MINUTE)
    charging.queues.resize(ccs, 1)
    charging._cut(ccs)
    charging.arrive(1, site, 11 * MINUTE, -1, 90 * KWH)
    charging.flow(10 * MINUTE, 12 * MINUTE)
    charging.sessions.env.run(until=12 * MINUTE)
    free = charging.released()
    assert free.cars.tolist() == [0, 1]
    assert free.outcome.tolist() == [Outcome.BROKEN] * 2
    assert charging.table["energy_kwh"].tolist() == pytest.approx([50 / 6, 0.0])
    assert site not in charging.candidates(0, 0)[0]
    charging.queues.resize(ccs, -1)
    assert site in charging.candidates(0, 0)[0]
    assert closed(charging)


def test_who_waits_moves_up_when_a_bay_is_repaired():
    charging, site = failing(2, balk_min=1e9, patience_min=1e9)
    ccs = int(
        np.flatnonzero(charging.choice.usable[charging.choice.inlet_of[1]] & (charging.sites.socket_site == site))[0]
    )
    charging.sites.socket_count[ccs] = 2
    charging.queues.resize(ccs, 1)
    charging.arrive([0, 1], site, [0, 1], -1, 90 * KWH)
    run(charging, 5 * MINUTE)
    assert charging.queues.queue[site] == 1
    charging.queues.resize(ccs, -1)
    run(charging, 6 * MINUTE)
    assert charging.queues.queue[site] == 0
    assert closed(charging)


def weeks_of_failures(*, revive: bool) -> Charging:
    rng = np.random.default_rng(8)
    n, until = 60, 12 * HOUR
    charging, site = failing(n, failures_per_1000_h=500.0, repair_h=1.0, balk_min=60.0, patience_min=30.0)
    at = np.sort(rng.integers(0, until - HOUR, n))
    for t0 in range(0, until, 5 * MINUTE):
        if revive:
            charging.revive(simpy.Environment(initial_time=t0))
        now = np.flatnonzero((at >= t0) & (at < t0 + 5 * MINUTE))
        charging.arrive(now, site, at[now], -1, 20 * KWH)
        charging.flow(t0, t0 + 5 * MINUTE)
        charging.sessions.env.run(until=t0 + 5 * MINUTE)
        charging.released()
        assert closed(charging)
    charging.finish(until)
    return charging


def test_breakdowns_survive_a_new_environment_at_every_tick():
    one, other = weeks_of_failures(revive=False), weeks_of_failures(revive=True)
    assert {"done", "broken"} <= set(one.table["outcome"])
    assert one.breakdowns.failures == other.breakdowns.failures > 5
    for name in ("car_id", "plugged_s", "energy_kwh", "outcome"):
        assert (one.table[name] == other.table[name])[~_missing(one.table[name])].all(), name
    assert closed(one)


def _missing(values: np.ndarray) -> np.ndarray:
    return np.zeros(len(values), bool) if values.dtype == object else np.isnan(values.astype(float))
