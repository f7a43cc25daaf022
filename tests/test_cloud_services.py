"""Services both ways, cells from files, other users, Wi-Fi, quotas, auto-scaling, storms, GB/T 32960, cost."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import simpy

from maps.toy import toy_city
from runs.cell_file import CellFileError, with_cells
from runs.scenario import Scenario
from tests.bench.outage import evening
from tests.cloud_cases import DAY, HOUR, MINUTE, Talk
from tests.test_cloud_talk import no_holes
from twin import facts
from twin.cloud import gbt32960
from twin.cloud.cells import Cells, CloudError
from twin.cloud.cost import bill
from twin.cloud.handovers import Handovers
from twin.cloud.ingest import Ingest
from twin.cloud.outages import outages
from twin.cloud.services import Services
from twin.fleet.fleet import State
from twin.settings import ServiceSettings


def drive(talk: Talk, minutes: int, *, engaged_mm: int = 0) -> None:
    cars = range(talk.fleet.size)
    talk.fleet.state[:] = State.DRIVING
    talk.fleet.link[:] = 0
    for _ in range(minutes):
        rows = [(car, 0, talk.now, talk.now + MINUTE) for car in cars]
        talk.tick(talk.now + MINUTE, rows=rows, driven_mm=1_000_000, engaged_mm=engaged_mm)


# ------------------------------------------------------------------ services


def test_navigation_comes_down_once_per_five_minutes_of_driving() -> None:
    talk = no_holes(Talk(40, more_services=["navigation"], cell_downlink_mbit_s=1e4))
    drive(talk, 60)
    talk.cloud.finish(HOUR)
    down = talk.cloud.summary()["downlink"]
    assert down["messages"] == 40 * 12
    assert down["generated_bytes"] == down["delivered_bytes"] == 40 * 12 * (80_000 + 80)
    assert talk.cloud.down.books.delivered_b.sum() == down["delivered_bytes"]
    assert talk.closed()


def test_the_downlink_ledger_notices_a_lost_byte() -> None:
    talk = no_holes(Talk(5, more_services=["navigation"]))
    drive(talk, 10)
    assert talk.closed()
    talk.cloud.down.books.delivered_b[1] -= 1
    assert talk.cloud.ledger()["downlink"] != 0


def test_a_full_cell_downlink_delays_and_the_cloud_keeps_what_waits() -> None:
    talk = no_holes(Talk(40, more_services=["navigation"], cell_downlink_mbit_s=0.05, cell_share=1.0))
    drive(talk, 30)
    waiting = talk.cloud.down.books.buffered_b.sum()
    assert waiting > 0
    # 0.05 Mbit/s in the one cell of link 0 for half an hour
    assert talk.cloud.down.books.delivered_b.sum() <= 50_000 * 1800 // 8
    assert talk.closed()


@pytest.mark.parametrize(
    ("trigger", "knobs", "expected"),
    [
        ("driving", {"period_s": 60.0}, 20 * 60),
        ("any_time", {"period_s": 1800.0}, 20 * 2),
        ("trip", {}, 0),
    ],
)
def test_a_service_of_the_scenario_speaks_at_its_own_trigger(trigger: str, knobs: dict, expected: int) -> None:
    own = ServiceSettings(name="mine", trigger=trigger, bytes=500, **knobs)  # type: ignore[arg-type]
    talk = no_holes(Talk(20, services=[own], more_services=[]))
    drive(talk, 60)
    talk.cloud.finish(HOUR)
    assert talk.column("messages", "mine") == expected
    assert talk.column("generated_bytes", "mine") == expected * 580
    assert talk.closed()


def test_events_by_distance_are_poisson() -> None:
    own = ServiceSettings(name="brake", trigger="distance", bytes=900, per_1000_km=100.0)
    talk = no_holes(Talk(200, services=[own], more_services=[], worker_messages_per_s=1e6))
    drive(talk, 100)
    talk.cloud.finish(talk.now)
    expected = 200 * 100 * 1.0 * 100 / 1000
    assert abs(talk.column("messages", "brake") - expected) < 4 * np.sqrt(expected)


def test_probe_data_needs_consent_and_the_camera() -> None:
    talk = Talk(2000, more_services=["probe"])
    talk.fleet.propilot[:1000] = 1
    may = talk.cloud._may["probe"]
    assert not may[1000:].any()
    share = facts.load("connectivity")["consent"]["japan"]
    assert may[:1000].mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1000))


def test_services_that_do_not_fit_are_named() -> None:
    with pytest.raises(CloudError, match=r"unknown service 'telepathy'; valid: app_poll, hand"):
        Services.of("bev", more=["telepathy"])
    with pytest.raises(CloudError, match="'trip' is there already"):
        Services.of("bev", own=[ServiceSettings(name="trip", trigger="trip", bytes=1)])
    with pytest.raises(CloudError, match="trigger driving needs period_s"):
        Services.of("bev", own=[ServiceSettings(name="x", trigger="driving", bytes=1)])


def test_another_rate_of_telemetry_counts_from_then_on() -> None:
    talk = no_holes(Talk(10, more_services=[]))
    drive(talk, 30)
    talk.cloud.set_period(np.arange(5), 10.0)
    drive(talk, 30)
    talk.cloud.finish(talk.now)
    assert talk.column("messages", "driving") == 10 * 60 + 5 * 180 + 5 * 60
    assert talk.closed()


def test_dealers_read_out_cars_without_a_unit() -> None:
    talk = Talk(1000)
    talk.fleet.connected[:800] = 0
    talk.idle(DAY, tick_ms=HOUR)
    uploads = talk.cloud.dealer_uploads
    assert uploads == np.count_nonzero((talk.cloud._dealer_ms < DAY) & (talk.fleet.connected == 0))
    assert 0 < uploads < 12
    assert talk.cloud.dealer_b == uploads * 2_000_000


# ------------------------------------------------------------------ the message log


def test_the_log_holds_every_message_at_its_own_moment() -> None:
    talk = no_holes(Talk(8))
    drive(talk, 30)
    talk.idle(3 * HOUR)
    talk.cloud.finish(talk.now)
    log = talk.cloud.log
    assert log is not None
    assert log.messages == talk.column("messages")
    table = log.table.arrays()
    mine = (table["service"] == 2) & (table["car_id"] == 3)
    moments = sorted(
        float(t) - k * float(p)
        for t, n, p in zip(table["time_s"][mine], table["messages"][mine], table["period_s"][mine], strict=True)
        for k in range(int(n))
    )
    assert len(moments) == 60
    assert np.diff(moments) == pytest.approx(30.0, abs=1e-6)
    assert 0 <= moments[0] < 30
    log.messages -= 1
    assert talk.cloud.ledger()["log"] == 1


def test_no_log_for_a_large_fleet() -> None:
    assert Talk(11, message_log_cars=10).cloud.log is None


# ------------------------------------------------------------------ radio


def test_home_wifi_takes_what_waits_past_the_cell() -> None:
    talk = no_holes(Talk(100, home_wifi=0.5, cell_uplink_mbit_s=1e-6))
    talk.tick(MINUTE, started=range(100))
    wifi = talk.cloud.wifi > 0
    assert 30 < wifi.sum() < 70
    assert (talk.fleet.buffered_b[wifi] == 0).all()
    assert (talk.fleet.buffered_b[~wifi] > 0).all()
    talk.cloud.finish(MINUTE)
    table = talk.cloud.table.arrays()
    assert table["delivered_bytes"][table["cell_id"] == -1].sum() == talk.fleet.delivered_b[wifi].sum()
    assert talk.closed()


def test_holes_hold_and_garages_below_ground_hold_in_their_share_of_hours() -> None:
    city = toy_city(5, homes=20)
    x, y = float(city.network.node_x[0]), float(city.network.node_y[0])
    meta = {**city.meta, "holes": [[x, y, 1.0]]}
    talk = no_holes(Talk(25, city=type(city)(**{**vars(city), "meta": meta})))
    talk.tick(MINUTE, started=range(25))
    assert (np.flatnonzero(talk.fleet.buffered_b) == np.flatnonzero(talk.fleet.node == 0)).all()
    deep = no_holes(Talk(2000, underground=1.0, cell_uplink_mbit_s=1e4))
    deep.tick(MINUTE, started=range(2000))
    held = np.count_nonzero(deep.fleet.buffered_b) / 2000
    assert held == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / 2000))


def test_other_users_leave_cars_less_in_their_busy_hours() -> None:
    city = toy_city(5, homes=20)
    cells = Cells.of(city, other_users=0.95)
    room = np.array([cells.bytes_for_cars(cells.up_mbit_s, 16.0, 0.2, h, 60_000) for h in range(24)])
    quiet, busy = cells.others[0].argmin(), cells.others[0].argmax()
    assert room[quiet, 0] == 16e6 * 0.2 * 60 / 8
    assert room[busy, 0] == pytest.approx(16e6 * (1 - cells.others[0, busy]) * 60 / 8, abs=1)
    assert 0.3 < cells.others.max() <= 0.95


def test_handovers_are_counted_where_cells_change() -> None:
    talk = Talk(1)
    cells = talk.cloud.cells
    there = int(np.flatnonzero(cells.link_cell != cells.link_cell[0])[0])
    talk.tick(MINUTE, rows=[(0, link, k * 1000, (k + 1) * 1000) for k, link in enumerate([0, there, there, 0])])
    assert talk.cloud._handovers.count.sum() == 2


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_cells_come_from_a_table_or_from_opencellid(tmp_path: Path) -> None:
    city = toy_city(5, homes=20)
    own = with_cells(city, write(tmp_path / "a.csv", "x_m,y_m,uplink_mbit_s\n0,0,5\n400,0,7\n"))
    cells = Cells.of(own)
    assert (cells.n, cells.up_mbit_s.tolist(), cells.down_mbit_s.tolist()) == (2, [5.0, 7.0], [35.0, 35.0])
    lon0, lat0 = (float(city.meta.get(name, 0.0)) for name in ("lon0", "lat0"))
    row = "LTE,244,91,1,{},0,{},{},1000,10,1,1459692342,1488347104,0\n"
    text = row.format(7, lon0, lat0) + row.format(8, lon0, lat0) + row.format(9, lon0 + 0.004, lat0)
    masts = Cells.of(with_cells(city, write(tmp_path / "b.csv", text)))
    assert sorted(masts.up_mbit_s.tolist()) == [16.0, 32.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x_m,y_m,uplink_mbit_s\n0,0,0\n", "line 2: uplink_mbit_s is 0, the cell has no capacity"),
        ("lon,lat\n200,0\n", "line 2: lon is '200'; must be a number"),
        ("place,name\n1,2\n", "needs columns lon,lat or x_m,y_m"),
        ("x_m,y_m\n", "holds no cell"),
        ("", "is empty"),
        ("radio,lon,lat\n6G,0,0\n", "unknown radio '6G'; valid: GSM"),
        ("x_m,y_m\n9e6,0\n", "none of its 1 cells lies within 5 km"),
    ],
)
def test_bad_cells_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CellFileError, match=words.replace("(", r"\(")):
        with_cells(toy_city(5, homes=20), write(tmp_path / "c.csv", text))
    with pytest.raises(CellFileError, match="cannot be read"):
        with_cells(toy_city(5, homes=20), str(tmp_path / "none.csv"))


def test_cells_without_capacity_on_the_map_are_refused() -> None:
    city = toy_city(5, homes=20)
    meta = {**city.meta, "cell_down_mbit_s": [0.0] * len(city.cell_x)}
    with pytest.raises(CloudError, match="cell 0 has no downlink capacity"):
        Cells.of(type(city)(**{**vars(city), "meta": meta}))


# ------------------------------------------------------------------ cloud


def test_auto_scaling_orders_workers_that_begin_after_the_delay() -> None:
    env = simpy.Environment()
    ingest = Ingest(env, workers=1, messages_per_s=10, most_workers=5, scale_up_s=30.0, scale_delay_ms=120_000)
    on = []
    for minute in range(30):
        env.run(until=(minute + 1) * MINUTE)
        load = np.array([1800 if minute < 5 else 0])  # 30 a second
        ingest.receive(load, minute * MINUTE, (minute + 1) * MINUTE)
        on.append(ingest.on)
    # ordered at the second tick, for the work of the first; ready two minutes later
    assert on[:4] == [1, 1, 1, 5]
    assert max(on) == 5
    assert on[-1] == 1
    assert ingest.taken == ingest.received == 9000
    assert ingest.held == 0


def test_a_quota_holds_the_rate_and_cars_come_back() -> None:
    talk = no_holes(Talk(600, quota_messages_per_s=4.0))
    talk.tick(MINUTE, started=range(600))
    taken = []
    while talk.now < 3 * HOUR:
        before = talk.cloud.up.delivered_messages
        talk.tick(talk.now + MINUTE)
        taken.append(talk.cloud.up.delivered_messages - before)
    talk.cloud.finish(talk.now)
    assert talk.fleet.buffered_b.sum() == 0
    assert talk.column("resent_bytes") > 0
    # the quota lets a tick overrun once and makes up for it
    assert np.cumsum(taken)[9] <= 4 * 600 + 1200
    assert talk.closed()


def test_regions_share_the_cells_from_west_to_east() -> None:
    talk = Talk(200, regions=2, city=toy_city(12, length_m=900.0, homes=20))
    assert talk.cloud.cells.n > 3
    talk.tick(MINUTE, started=range(200))
    talk.idle(10 * MINUTE)
    west, east = talk.cloud.regions
    assert west.received > 0
    assert east.received > 0
    assert west.received + east.received == talk.cloud.up.delivered_messages
    assert talk.closed()


def test_the_outage_fills_stores_loses_nothing_and_ends() -> None:
    cloud, summary = evening(2000, workers=1, worker_messages_per_s=60.0, most_workers=6)
    found = summary["outages"][0]
    assert (found["from_h"], found["to_h"]) == (0.5, 1.0)
    # 200 cars on the road send a message of 1,280 B every 10 s for half an hour, and trips and connections
    assert found["waiting_bytes"] >= 200 * 180 * 1280
    assert found["storm_messages_per_s"] > 2 * found["normal_messages_per_s"]
    assert 0 < found["recovery_s"] <= 1.5 * 900 + 60  # the longest back-off of the facts, spread
    assert summary["dropped_bytes"] == 0
    assert summary["buffered_bytes"] < 0.001 * found["waiting_bytes"]
    assert summary["ingest"]["most_workers"] > 1
    assert not any(cloud.ledger().values())


def test_small_stores_drop_what_the_rule_says_and_it_is_counted() -> None:
    cloud, summary = evening(2000, store_b=100_000)
    # one shift drives 20 minutes of the outage: 120 messages of 1,280 B a car, and what is above 100 kB goes
    total = cloud.up.total[:, :, 2].sum(axis=0)
    assert summary["dropped_bytes"] == total.sum() > 200 * (120 * 1280 - 100_000)
    assert total[cloud.services.names.index("dtc")] == 0
    assert not any(cloud.ledger().values())


def test_an_outage_that_the_run_does_not_survive_has_no_recovery() -> None:
    track = [(60_000, 0, 0, 10, 60_000), (120_000, 50, 0, 0, 60_000), (180_000, 50, 0, 0, 60_000)]
    assert outages([(60_000, 120_000)], track)[0]["recovery_s"] is None
    assert outages([], []) == []


def test_the_bill_in_closed_form() -> None:
    found = bill(
        messages={"a": 3_000_000}, message_b={"a": 5000}, delivered_b=15 * 10**9, down_b=10**9, roaming_b=10**9,
        wifi_b=10**9, peak_b_s=2.5e6, peak_messages_s=2000.0, cars=1000, days=1.0, hot_days=30.4375,
    )  # fmt: skip
    assert found["billed_messages_per_day"] == 6_000_000  # two blocks of 4 kB each
    assert found["hub_units"] == {"s1": 167, "s2": 17, "s3": 1}
    assert found["partitions"] == 3
    usd = found["usd_per_day"]
    assert usd["air"] == pytest.approx(14_000 * 0.005 + 1000 * 0.02)
    assert usd["lines"] == pytest.approx(600 / 30.4375)
    assert usd["hub"] == pytest.approx(2500 / 30.4375)
    assert usd["storage_first_year"] == pytest.approx(15 * 0.018 + 15 * 11 * 0.010)
    assert usd["total"] == pytest.approx(sum(v for k, v in usd.items() if k != "total"))


def test_tenants_include_cars_without_a_unit() -> None:
    talk = Talk(10)
    talk.fleet.connected[:4] = 0
    talk.cloud.brands = ("Nissan",)
    talk.tick(MINUTE, started=range(10))
    assert talk.cloud.summary()["tenants"]["Nissan"] == {
        "cars": 10, "connected": 6, "generated_bytes": int(talk.fleet.generated_b.sum()), "downlink_bytes": 0,
        "dealer_bytes": 0,
    }  # fmt: skip


def test_companies_add_up_their_brands() -> None:
    talk = Talk(10)
    talk.fleet.model[6:] = 1
    talk.fleet.connected[0] = 0
    talk.cloud.brands, talk.cloud.brand_dealer_b = ("Nissan", "INFINITI"), np.zeros(2, np.int64)
    talk.tick(MINUTE, started=range(10))
    said = talk.cloud.summary()
    assert {name: part["cars"] for name, part in said["tenants"].items()} == {"INFINITI": 4, "Nissan": 6}
    assert said["companies"]["Nissan"]["cars"] == 10 and said["companies"]["Nissan"]["connected"] == 9
    assert said["companies"]["Nissan"]["generated_bytes"] == talk.fleet.generated_b.sum() > 0


def test_hand_overs_take_their_bytes_once_and_before_data() -> None:
    found = Handovers(2)
    room = np.array([100_000, 20_000])
    found.count[:] = [0, 30]
    assert found.leave(room).tolist() == [100_000, 20_000 - 30 * 600]
    assert found.leave(room).tolist() == room.tolist()
    found.count[1] += 100
    assert found.leave(room).tolist() == [100_000, 0]
    assert found.summary() == {"handovers": 130, "handover_signalling_bytes": 78_000, "handover_gap_s": 6.5}


def test_a_cell_full_of_hand_overs_carries_no_data() -> None:
    talk = no_holes(Talk(30))
    cells = talk.cloud.cells
    first, then = (int(np.flatnonzero(cells.link_cell == k)[0]) for k in np.unique(cells.link_cell)[:2])
    talk.cloud._handovers.size_b = 10**9
    done = []
    for link in (first, then, then):
        talk.fleet.state[:], talk.fleet.link[:] = State.DRIVING, link
        talk.tick(talk.now + MINUTE, rows=[(car, link, talk.now, talk.now + MINUTE) for car in range(30)])
        done.append(int(talk.fleet.delivered_b.sum()))
    assert 0 < done[0] == done[1] < done[2]
    assert talk.closed()


def test_thresholds_of_scaling_that_contradict_are_named() -> None:
    with pytest.raises(CloudError, match=r"most_workers: 2 is below cloud.workers \(4\)"):
        Talk(1, workers=4, most_workers=2).cloud


# ------------------------------------------------------------------ GB/T 32960


def test_v22_a_real_time_message_has_the_length_of_the_standard() -> None:
    """Validation target V22, byte for byte: 96 cells and 4 probes."""
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V22")
    message = gbt32960.frame("TWN00000000000017", gbt32960.Reading(datetime(2022, 10, 12, 7, 30, 15)))
    assert len(message) == target["value"][0]
    size = facts.load("connectivity")["gbt32960"]
    block = size["block_bytes"]
    parts = [
        size["header_bytes"], size["timestamp_bytes"], block["whole_vehicle"],
        block["drive_motor_fixed"] + block["drive_motor_each"], block["position"], block["extremes"],
        block["alarm_empty"], block["voltage_fixed"] + block["voltage_per_pack"] + 96 * block["voltage_per_cell"],
        block["temperature_fixed"] + block["temperature_per_pack"] + 4 * block["temperature_per_probe"],
        size["checksum_bytes"],
    ]  # fmt: skip
    assert sum(parts) == len(message)
    # every block begins where the lengths before it say, with its type
    at = np.cumsum(parts)[1:-2]
    assert [message[i] for i in at] == [0x01, 0x02, 0x05, 0x06, 0x07, 0x08, 0x09]
    assert message[:4] == b"##\x02\xfe"
    assert message[24:30] == bytes((22, 10, 12, 7, 30, 15))


def test_a_message_reads_back_and_any_flipped_bit_is_noticed() -> None:
    reading = gbt32960.Reading(
        datetime(2022, 10, 12, 7, 30, 15), speed_kmh=53.2, odometer_km=1234.5, soc=0.63, longitude=-8.61,
        latitude=41.15, charging=True, current_a=-20.0, cells=48, probes=7,
    )  # fmt: skip
    message = gbt32960.frame("TWN00000000000017", reading)
    vin, back = gbt32960.read(message)
    assert vin == "TWN00000000000017"
    assert back == reading
    for at in range(2, len(message)):
        with pytest.raises(gbt32960.FrameError):
            gbt32960.read(message[:at] + bytes((message[at] ^ 0x10,)) + message[at + 1 :])
    with pytest.raises(gbt32960.FrameError, match="17 ASCII"):
        gbt32960.frame("SHORT", reading)


# ------------------------------------------------------------------ scenarios


@pytest.mark.parametrize("name", ["outage", "ota-cell-aware"])
def test_the_scenarios_that_ship_are_valid_and_say_so_again(name: str, tmp_path: Path) -> None:
    scenario = Scenario.load(name)
    (tmp_path / "again.toml").write_text(scenario.to_toml())
    assert Scenario.load(tmp_path / "again.toml") == scenario
