"""Telemetry: counts and sizes in closed form, cells, stores, outages, books that close."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

from maps.network import TUNNEL
from maps.toy import toy_city
from tests.cloud_cases import DAY, HOUR, MINUTE, Talk, connected_fleet
from tests.test_autonomy_propilot import changed
from twin import facts
from twin.cloud import kernels
from twin.cloud.cells import Cells, CloudError
from twin.cloud.cloud import Cloud
from twin.cloud.ingest import Ingest
from twin.cloud.services import SERVICES, Services
from twin.fleet.fleet import State
from twin.settings import CloudSettings
from twin.traffic.traversals import Traversals

SIZE = dict(zip(SERVICES, Services.of("bev").message_b, strict=True))


def no_holes(talk: Talk) -> Talk:
    talk.cloud.cells.outage[:] = 0
    return talk


def test_cells_are_the_nearest_and_tunnels_are_dead() -> None:
    city = toy_city(5, homes=20)
    flags = city.network.link_flags.copy()
    flags[3] |= TUNNEL
    cells = Cells.of(type(city)(**{**vars(city), "network": changed(city.network, link_flags=flags)}))
    for node in range(city.network.n_nodes):
        apart = np.hypot(city.cell_x - city.network.node_x[node], city.cell_y - city.network.node_y[node])
        assert apart[cells.node_cell[node]] == apart.min()
    assert np.flatnonzero(cells.link_dead).tolist() == [3]


def test_sizes_come_from_the_facts() -> None:
    model = facts.load("connectivity")["telemetry_model"]
    assert SIZE["driving"] == model["driving_periodic_bev"]["bytes"] + model["tls_tcp_overhead_bytes_per_message"]
    assert Services.of("rich").driving_ms == 10_000
    with pytest.raises(CloudError, match="unknown service class 'gold'; valid: basic, bev, rich"):
        Services.of("gold")


def test_an_hour_of_driving_sends_one_message_per_period() -> None:
    talk = no_holes(Talk(50))
    talk.fleet.state[:] = State.DRIVING
    for minute in range(60):
        talk.tick((minute + 1) * MINUTE, rows=[(car, 0, minute * MINUTE, (minute + 1) * MINUTE) for car in range(50)])
    talk.cloud.finish(HOUR)
    assert talk.column("messages", "driving") == 50 * 120
    assert talk.column("generated_bytes", "driving") == 50 * 120 * SIZE["driving"]
    assert talk.column("delivered_bytes") == talk.column("generated_bytes") > 0
    assert talk.closed()


def test_a_day_parked_sends_four_heartbeats_each_with_a_connection() -> None:
    talk = no_holes(Talk(30))
    talk.idle(DAY, tick_ms=10 * MINUTE)
    talk.cloud.finish(DAY)
    assert talk.column("messages", "heartbeat") == talk.column("messages", "connection") == 30 * 4
    assert talk.cloud.summary()["mb_per_connected_car_day"] == pytest.approx(
        4 * (SIZE["heartbeat"] + SIZE["connection"]) / 1e6
    )
    assert talk.closed()


def test_trips_and_charging() -> None:
    talk = no_holes(Talk(4))
    talk.fleet.state[:] = State.PLUGGED
    talk.tick(MINUTE, started=[0, 1], ended=[1])
    while talk.now < 2 * HOUR:
        talk.tick(talk.now + MINUTE, plugged=[2, 3])
    talk.cloud.finish(2 * HOUR)
    assert talk.column("messages", "trip") == 3
    assert talk.column("messages", "connection") == 2
    # 119 minutes at one per five minutes, at the cars' own moments
    assert talk.column("messages", "charging") in (46, 47, 48)
    assert talk.closed()


def test_events_come_at_their_rate_per_distance() -> None:
    """Trouble codes per driven and assistance events per engaged distance are Poisson."""
    talk = no_holes(Talk(500, worker_messages_per_s=1e6))
    talk.fleet.state[:] = State.DRIVING
    for minute in range(40):
        rows = [(car, 0, minute * MINUTE, minute * MINUTE + 1) for car in range(500)]
        talk.tick((minute + 1) * MINUTE, rows=rows, driven_mm=100_000_000, engaged_mm=20_000_000)
    talk.cloud.finish(40 * MINUTE)
    codes, events = 500 * 40 * 100 * 0.4 / 1000, 500 * 40 * 20 * 0.5 / 100
    assert abs(talk.column("messages", "dtc") - codes) < 4 * np.sqrt(codes)
    assert abs(talk.column("messages", "adas") - events) < 4 * np.sqrt(events)


@pytest.mark.parametrize("tick_ms", [1000, 17_000, 60_000, 900_000])
def test_the_tick_changes_no_message(tick_ms: int) -> None:
    """30 minutes of driving over links of 40 s, cut by ticks of any length."""
    talk = Talk(10)
    rows = [(car, 0, k * 40_000 + car, (k + 1) * 40_000 + car) for k in range(45) for car in range(10)]
    while talk.now < 30 * MINUTE + 20_000:
        until = talk.now + tick_ms
        talk.tick(until, rows=[row for row in rows if talk.now <= row[3] < until], driven_mm=500_000_000)
    talk.cloud.finish(talk.now)
    assert talk.column("messages", "driving") == 600
    reference = Talk(10)
    reference.tick(DAY, rows=rows, driven_mm=500_000_000)
    reference.cloud.finish(DAY)
    assert talk.column("messages", "dtc") == reference.column("messages", "dtc") > 0


def test_cars_without_a_unit_say_nothing() -> None:
    talk = Talk(6)
    talk.fleet.connected[:3] = 0
    talk.fleet.network_generation[3] = 0
    talk.tick(DAY, started=range(6), plugged=range(6))
    assert (talk.fleet.generated_b[:4] == 0).all()
    assert (talk.fleet.generated_b[4:] > 0).all()


def test_a_full_cell_is_shared_fairly_and_never_exceeded() -> None:
    talk = no_holes(Talk(40, cell_uplink_mbit_s=0.01, cell_share=1.0))
    talk.fleet.node[:] = 0
    talk.tick(MINUTE, started=range(40))
    capacity = 10_000 * 60 // 8
    sent = talk.fleet.delivered_b
    assert sent.sum() == capacity
    assert sent.max() - sent.min() <= 1
    talk.idle(10 * MINUTE)
    assert talk.fleet.buffered_b.sum() == 0
    talk.cloud.finish(10 * MINUTE)
    assert talk.cloud.summary()["peak_tick_bytes_per_s"] == pytest.approx(10_000 / 8)
    assert talk.closed()


def test_tunnels_hold_everything_until_the_way_out() -> None:
    city = toy_city(5, homes=20)
    flags = city.network.link_flags.copy()
    flags[0] |= TUNNEL
    talk = no_holes(Talk(5, city=type(city)(**{**vars(city), "network": changed(city.network, link_flags=flags)})))
    talk.fleet.state[:], talk.fleet.link[:] = State.DRIVING, 0
    talk.tick(MINUTE, started=range(5))
    assert (talk.fleet.buffered_b == talk.fleet.generated_b).all()
    assert (talk.fleet.buffered_b > 0).all()
    talk.fleet.link[:] = 1
    talk.tick(2 * MINUTE)
    assert (talk.fleet.buffered_b == 0).all()
    talk.cloud.finish(2 * MINUTE)
    # no signal, no attempt
    assert talk.column("resent_bytes") == 0
    assert talk.closed()


def test_cloud_outage_fills_buffers_then_the_storm_empties_them() -> None:
    talk = no_holes(Talk(200, outage=[(0.5, 1.0)]))
    talk.fleet.state[:], talk.fleet.link[:] = State.DRIVING, 0
    waiting = []
    for minute in range(90):
        talk.tick((minute + 1) * MINUTE, rows=[(car, 0, minute * MINUTE, (minute + 1) * MINUTE) for car in range(200)])
        waiting.append(int(talk.fleet.buffered_b.sum()))
    talk.cloud.finish(90 * MINUTE)
    assert waiting[29] == 0
    assert waiting[59] == 30 * 200 * 2 * SIZE["driving"]
    assert np.all(np.diff(waiting[29:60]) > 0)
    assert waiting[89] == 0
    summary = talk.cloud.summary()
    assert summary["resent_bytes"] > 0
    assert summary["dropped_bytes"] == 0
    # the half hour of waiting bytes arrives in the few minutes after the outage
    assert summary["peak_tick_bytes_per_s"] > 3 * 200 * 2 * SIZE["driving"] / 60
    assert talk.closed()


def test_moving_cars_lose_the_facts_share_of_attempts() -> None:
    talk = Talk(2000, cell_uplink_mbit_s=1000.0)
    talk.cloud.cells.outage[:] = 0.05
    talk.fleet.state[:], talk.fleet.link[:] = State.DRIVING, 0
    talk.tick(MINUTE, started=range(2000))
    cut = np.count_nonzero(talk.fleet.buffered_b)
    assert abs(cut - 100) < 4 * np.sqrt(2000 * 0.05 * 0.95)
    talk.cloud.finish(MINUTE)
    assert talk.column("resent_bytes") == talk.fleet.buffered_b.sum()


def test_a_full_store_drops_the_oldest_and_keeps_trouble_codes() -> None:
    talk = no_holes(Talk(1, generation=2, outage=[(0.0, 24.0)]))
    cloud = talk.cloud
    limit = 1_000_000
    cloud._next_mm[0, 0] = 1
    talk.tick(MINUTE, rows=[(0, 0, 0, 1)], started=[0], driven_mm=1)
    for k in range(1, 40):
        talk.tick((k + 1) * 15 * MINUTE, rows=[(0, 0, k * 10**7, k * 10**7 + 2_000_000)])
    assert talk.fleet.dropped_b[0] > 0
    assert limit - SIZE["driving"] < talk.fleet.buffered_b[0] <= limit
    talk.cloud.finish(talk.now)
    assert talk.column("dropped_bytes", "trip") == SIZE["trip"]
    assert talk.column("dropped_bytes", "dtc") == 0
    assert talk.column("dropped_bytes", "driving") % SIZE["driving"] == 0
    assert talk.closed()


def test_waiting_bytes_travel_with_the_car_from_cell_to_cell() -> None:
    talk = no_holes(Talk(1, outage=[(0.0, 1.0)]))
    cells = talk.cloud.cells
    first = int(cells.node_cell[0])
    other = int(np.flatnonzero(cells.node_cell != first)[0])
    talk.fleet.node[0] = 0
    talk.tick(MINUTE, started=[0])
    talk.fleet.node[0] = other
    talk.idle(90 * MINUTE)
    talk.cloud.finish(90 * MINUTE)
    table = talk.cloud.table.arrays()
    trips = table["service"] == "trip"
    assert table["moved_bytes"][trips & (table["cell_id"] == first)].sum() == -SIZE["trip"]
    assert table["delivered_bytes"][trips & (table["cell_id"] == cells.node_cell[other])].sum() == SIZE["trip"]
    assert talk.closed()


def test_max_min_share_in_closed_form() -> None:
    cell = np.array([0, 0, 0, 0, 1, 1], np.int32)
    want = np.array([5, 100, 40, 100, 7, 8], np.int64)
    give, order, start = np.zeros(6, np.int64), np.zeros(6, np.int64), np.zeros(3, np.int64)
    kernels.share_out(cell, want, 6, np.array([245, 15]), np.array([144, 15]), give, order, start)
    # 5 and 40 are below the level (144 - 5 - 40) / 2 = 49.5; the odd byte goes to the first row
    assert give.tolist() == [5, 50, 40, 49, 7, 8]


def test_ingest_workers_in_closed_form() -> None:
    """20 batches a tick in steps of 3 s; one worker needs 4 s for each: the wait grows by 1 s per batch."""
    env = simpy.Environment()
    ingest = Ingest(env, workers=1, messages_per_s=100)
    env.run(until=60_000)
    ingest.receive(np.full(20, 400), 0, 60_000)
    env.run(until=600_000)
    mean, (half, last) = ingest.latency_s((0.5, 1.0))
    assert (mean, half, last) == (4 + 9.5, 13.0, 23.0)
    assert ingest.taken == ingest.received == 8000
    assert ingest.inside == 0


@pytest.mark.parametrize("cut_ms", [60_000, 60_001, 63_000, 64_000, 75_500, 118_000])
def test_ingest_can_be_cut_anywhere_and_go_on(cut_ms: int) -> None:
    """Processes hold nothing: rebuilt from the rows (held workers first, then in serial order) they end the same."""
    ends = []
    for cut in (cut_ms, None):
        env = simpy.Environment()
        ingest = Ingest(env, workers=2, messages_per_s=100)
        env.run(until=60_000)
        ingest.receive(np.arange(20) * 40, 0, 60_000)
        if cut:
            if cut > 60_000:
                env.run(until=cut)
            env = simpy.Environment(cut)
            ingest.revive(env)
        env.run(until=900_000)
        ends.append((ingest.latency_s((0.25, 0.5, 1.0))[0], ingest._latency_ms, ingest.taken))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("service_class", ["bev", "rich"])
def test_v23_megabytes_per_connected_car_and_day(service_class: str) -> None:
    """Validation target V23, for an electric car: three trips of 15 min and six hours on the socket."""
    target = next(t for t in facts.load("validation")["target"] if t["id"] == "V23")
    talk = Talk(25, service_class=service_class)
    everybody = list(range(25))
    while talk.now < DAY:
        minute = talk.now // MINUTE
        drives = minute % 480 < 15
        talk.fleet.state[:] = State.DRIVING if drives else State.PLUGGED if minute < 375 else State.PARKED
        talk.tick(
            talk.now + MINUTE,
            rows=[(car, 0, talk.now, talk.now + MINUTE) for car in everybody] if drives else [],
            started=everybody if minute % 480 == 0 else [],
            ended=everybody if minute % 480 == 14 else [],
            plugged=everybody if 15 <= minute < 375 else [],
            driven_mm=700_000,
        )
    talk.cloud.finish(DAY)
    assert target["value"][0] < talk.cloud.summary()["mb_per_connected_car_day"] < target["value"][1]
    assert talk.closed()


def test_ingest_queue_is_left_open_and_counted_when_the_run_ends() -> None:
    """400 trip starts are one batch of 800 messages (with connections) that takes 200 s from 60 s on."""
    talk = no_holes(Talk(400, workers=1, worker_messages_per_s=4.0))
    talk.fleet.node[:], talk.fleet.state[:] = 0, State.DRIVING
    talk.tick(MINUTE, started=range(400))
    talk.idle(4 * MINUTE)
    assert talk.cloud.summary()["ingest"]["messages_inside"] == 800
    assert talk.closed()
    talk.idle(5 * MINUTE)
    talk.cloud.finish(5 * MINUTE)
    ingest = talk.cloud.summary()["ingest"]
    assert (ingest["messages_inside"], ingest["messages_taken"], ingest["p95_latency_s"]) == (0, 800, 200.0)
    assert talk.closed()


def test_the_ledger_notices_a_lost_byte() -> None:
    talk = Talk(5, outage=[(0.0, 1.0)])
    talk.tick(MINUTE, started=range(5))
    assert talk.closed()
    talk.fleet.buffered_b[2] -= 1
    assert talk.cloud.ledger()["cars"] == 1
    talk.fleet.buffered_b[2] += 1
    talk.cloud.up.store.run_bytes[talk.cloud.up.store.head[1]] += 1
    ledger = talk.cloud.ledger()
    assert ledger["cars"] == 1
    assert ledger["cells"] == 1


def test_bad_input_is_named() -> None:
    city = toy_city(5, homes=20)
    fleet = connected_fleet(city, 2)
    with pytest.raises(CloudError, match="from hour 5 to hour 3 is not a span"):
        Cloud(city, fleet, CloudSettings(outage=[(5.0, 3.0)]), simpy.Environment(), seed=1, horizon_ms=DAY)
    fleet.network_generation[:] = 5
    with pytest.raises(CloudError, match="holds 5; valid: 2, 3, 4"):
        Cloud(city, fleet, CloudSettings(), simpy.Environment(), seed=1, horizon_ms=DAY)
    bare = type(city)(**{**vars(city), "cell_x": np.zeros(0, np.float32), "cell_y": np.zeros(0, np.float32)})
    with pytest.raises(CloudError, match="no radio cells"):
        Cells.of(bare)
    talk = Talk(1)
    talk.idle(2 * HOUR, tick_ms=HOUR)
    none = np.zeros(0, np.int32)
    with pytest.raises(CloudError, match="comes before the interval"):
        talk.cloud.talk(0, HOUR, Traversals(), none, none, none)
    with pytest.raises(CloudError, match="is empty"):
        talk.cloud.talk(3 * HOUR, 3 * HOUR, Traversals(), none, none, none)
