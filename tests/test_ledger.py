"""Every ledger sees what it is there for, by the amount that is wrong, on either side, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.checkpoint_cases import city, crowded
from twin.autonomy import kernels as assistance
from twin.cloud import kernels as talk
from twin.energy import kernels as driving
from twin.fleet.fleet import Reason, State
from twin.model import Twin
from twin.ota.states import Step
from twin.traffic import calendar_kernels as calendar
from twin.world import World


@pytest.fixture(scope="module")
def twin() -> Twin:
    """In the middle of a morning: cars drive, queue and charge, updates are installed, cars use assistance."""
    model = crowded(city(), bev=0.6, epower=0.4)
    while model.world.now_ms < 9.5 * 3_600_000:
        model.step()
    assert model.world.ledger() == dict.fromkeys(model.world.ledger(), 0)
    fleet, others = model.world.fleet, model.world.others
    assert {State.PARKED, State.DRIVING, State.QUEUED, State.PLUGGED} <= set(fleet.state.tolist())
    assert fleet.engine_j.any() and others.under_way and len(model.world.autonomy.table) and fleet.engaged_mm.any()
    return model


def seen(twin: Twin) -> dict[str, int]:
    return {name: value for name, value in twin.world.ledger().items() if value}


@contextmanager
def added(owner: Any, name: str, amount: int, at: Any = None) -> Iterator[None]:
    """An attribute, or one entry of an array, that is wrong by an amount."""
    column = getattr(owner, name)
    was = column if at is None else int(column[at])
    if at is None:
        setattr(owner, name, column + amount)
    else:
        column[at] = was + amount
    try:
        yield
    finally:
        if at is None:
            setattr(owner, name, was)
        else:
            column[at] = was


def car_in(world: World, state: State) -> int:
    """A car in a state whose battery is neither empty nor full."""
    fleet = world.fleet
    middle = (fleet.battery_j > 10) & (fleet.battery_j < fleet.capacity_j - 10)
    return int(np.flatnonzero((fleet.state == state) & middle)[0])


BALANCE = ("battery_j", "energy.battery_j")
SUMS: list[tuple[str, tuple[str, ...]]] = [  # a column of the fleet, and the ledgers that must say so
    ("battery_j", BALANCE),
    ("engine_j", (*BALANCE, "energy.traversal_energy_j")),
    ("traction_j", (*BALANCE, "energy.traversal_energy_j")),
    ("charged_j", (*BALANCE, "charging.cars_minus_sessions_j")),
    ("meter_j", ("charging.car_meters_minus_sessions_j",)),
    ("fuel_ul", ("energy.traversal_fuel_ul",)),
]


@pytest.mark.parametrize(("column", "ledgers"), SUMS)
@pytest.mark.parametrize("amount", [7, -7])
def test_a_joule_or_a_drop_of_one_car(twin: Twin, column: str, ledgers: tuple[str, ...], amount: int) -> None:
    """Sums over cars have a sign; balances car by car are added up without, so that two errors never cancel."""
    fleet, car = twin.world.fleet, car_in(twin.world, State.PARKED)
    other = int(np.flatnonzero((fleet.state == State.PARKED) & (fleet.battery_j > 10) & (fleet.capacity_j > 0))[-1])
    assert car != other
    with added(fleet, column, amount, car):
        found = seen(twin)
        assert found.keys() == set(ledgers), found
        assert all(abs(value) == 7 for value in found.values())
        with added(fleet, column, -amount, other):
            assert seen(twin) == {name: 14 for name in ledgers if name in BALANCE}
    assert seen(twin) == {}


def test_a_battery_is_neither_below_empty_nor_above_full(twin: Twin) -> None:
    fleet, car = twin.world.fleet, car_in(twin.world, State.PARKED)
    for level, below, above in (
        (0, 0, 0),
        (-1, 1, 0),
        (int(fleet.capacity_j[car]), 0, 0),
        (int(fleet.capacity_j[car]) + 1, 0, 1),
    ):
        with added(fleet, "battery_j", level - int(fleet.battery_j[car]), car):
            found = twin.world.ledger()
            assert found["battery_out_of_range"] == below + above
            assert (found["energy.battery_below_empty"], found["energy.battery_above_full"]) == (below, above)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("traversal_energy_j", driving.ROWS_ENERGY_J), ("traversal_fuel_ul", driving.ROWS_FUEL_UL),
        ("traversal_driven_mm", driving.ROWS_DRIVEN_MM), ("traversal_length_mm", driving.ROWS_LENGTH_MM),
    ],
)  # fmt: skip
def test_what_links_took_is_what_cars_gave(twin: Twin, name: str, entry: int) -> None:
    for amount in (3, -3):
        with added(twin.world.drive, "total", amount, entry):
            assert seen(twin) == {f"energy.{name}": -amount}


STATES: list[tuple[State, State, dict[str, int]]] = [
    (State.PARKED, State.DRIVING, {"cars_state": 1, "vehicles_on_streets": -1}),
    (State.PARKED, State.WAITING, {"cars_state": 1, "vehicles_on_streets": -1}),
    (State.PARKED, State.QUEUED, {"cars_state": 1, "charging.cars_at_sites_without_session": 1}),
    (State.PARKED, State.PLUGGED, {"cars_state": 1, "charging.cars_at_sites_without_session": 1}),
    (State.PARKED, State.STUCK, {"cars_state": 1}),
    (State.DRIVING, State.PARKED, {"cars_state": 1, "vehicles_on_streets": 1}),
    (State.DRIVING, State.WAITING, {}),  # both are on the streets
    (State.QUEUED, State.PARKED, {"cars_state": 1, "charging.cars_at_sites_without_session": 1}),
    (State.PLUGGED, State.DRIVING, {"cars_state": 1, "charging.cars_at_sites_without_session": 1, "vehicles_on_streets": -1}),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("was", "now", "expected"), STATES)
def test_a_car_in_another_state(twin: Twin, was: State, now: State, expected: dict[str, int]) -> None:
    fleet = twin.world.fleet
    car = int(np.flatnonzero(fleet.state == was)[0])
    with added(fleet, "state", int(now) - int(was), car):
        assert seen(twin) == expected


def test_a_car_that_is_not_stuck_has_no_reason(twin: Twin) -> None:
    fleet = twin.world.fleet
    reason = next(reason for reason in Reason if reason != Reason.NONE)
    with added(fleet, "reason", int(reason) - int(Reason.NONE), car_in(twin.world, State.PARKED)):
        assert seen(twin) == {"cars_state": 1}


def _owners(world: World) -> dict[str, tuple[Any, str, Any, dict[str, int]]]:
    """Counters that must agree with others, and what one more of each is."""
    charging, cloud, ota, assist = world.charging, world.cloud, world.updates.campaigns[0], world.autonomy
    row = int(charging.car_session[np.flatnonzero(charging.car_session >= 0)[0]])
    site = int(np.flatnonzero(charging.queues.queue)[0])
    sent = int(np.argmax(world.fleet.delivered_b))
    held = int(np.flatnonzero(ota.got_b == ota.size_b)[0])
    started = int(np.flatnonzero(ota.state < Step.DOWNLOADED)[0])
    books = "charging.cars_minus_sessions_j", "charging.meter_minus_battery_and_loss_j"
    meters = "charging.car_meters_minus_sessions_j", "charging.grid_minus_sessions_j"
    return {
        "trips planned": (world.trips, "planned", None, {"trips": 1}),
        "a trip under way": (world.trips, "under_way", car_in(world, State.PARKED), {"trips": -1}),
        "others planned": (world.others, "planned", None, {"vehicles_on_streets": -1}),
        "energy of a session": (charging.visits, "energy_j", row, {books[0]: -1, books[1]: -1}),
        "loss of a session": (charging.visits, "loss_j", row, {books[1]: -1}),
        "meter of a session": (charging.visits, "meter_j", row, {meters[0]: -1, meters[1]: -1, books[1]: 1}),
        "meter of the grid": (charging.load, "total_j", None, {meters[1]: 1}),
        "sessions asked": (charging, "asked", None, {"charging.sessions_without_outcome": 1}),
        "sessions ended": (charging.record, "ended", 1, {"charging.sessions_without_outcome": 1}),
        "no outcome": (charging.record, "ended", 0, {"charging.sessions_without_outcome": 1}),
        "reservations made": (charging.reservations, "made", None, {"charging.reservations_without_end": 1}),
        "reservations used": (charging.reservations, "used", None, {"charging.reservations_without_end": 1}),
        "reservations expired": (charging.reservations, "expired", None, {"charging.reservations_without_end": 1}),
        "reservations given up": (charging.reservations, "given_up", None, {"charging.reservations_without_end": 1}),
        "waits": (charging.queues, "wait_ms", site, {"charging.littles_law_ms": 1}),
        "queue": (charging.queues, "area_ms", site, {"charging.littles_law_ms": 1}),
        "breaches": (assist, "_breaches", None, {"autonomy.breach_mm": 1}),
        "driven": (assist, "_tally", (0, assistance.DRIVEN_MM), {"autonomy.table_driven_mm": 1}),
        "engaged": (assist, "_tally", (0, assistance.ENGAGED_MM), {"autonomy.table_engaged_mm": 1}),
        "possible": (assist, "_tally", (0, assistance.POSSIBLE_MM), {"autonomy.table_possible_mm": 1}),
        "engagements": (assist, "_tally", (0, assistance.ENGAGEMENTS), {"autonomy.events": 1}),
        "first cause": (assist, "_tally", (0, assistance.FIRST_CAUSE), {"autonomy.events": -1}),
        "last cause": (assist, "_tally", (0, -1), {"autonomy.events": -1}),
        "delivered": (world.fleet, "delivered_b", sent, {"cloud.cars": 1, "cloud.fleet": 1}),
        "generated": (world.fleet, "generated_b", sent, {"cloud.cars": 1, "cloud.fleet": 1, "cloud.table": -1}),
        "buffered": (world.fleet, "buffered_b", sent, {"cloud.cars": 1}),
        "dropped": (world.fleet, "dropped_b", sent, {"cloud.cars": 1, "cloud.fleet": 1}),
        "cell in": (cloud.up, "air", (0, 0, talk.GENERATED), {"cloud.cells": 1, "cloud.fleet": 1, "cloud.table": 1}),
        "cell out": (cloud.up, "air", (0, 0, talk.DELIVERED), {"cloud.cells": 1, "cloud.fleet": 1}),
        "cell lost": (cloud.up, "air", (0, 0, talk.DROPPED), {"cloud.cells": 1, "cloud.fleet": 1}),
        "cell moved": (cloud.up, "air", (0, 0, talk.MOVED), {"cloud.cells": 1, "cloud.moved": 1}),
        "cell held": (cloud.up, "air", (0, 0, talk.HELD), {"cloud.cells": 2}),
        "received": (cloud.regions[0], "received", None, {"cloud.ingest": 2}),
        "taken": (cloud.regions[0], "taken", None, {"cloud.ingest": 1}),
        "message of a cell": (cloud.up, "air", (0, 0, talk.MESSAGES), {"cloud.log": 1}),
        "message logged": (cloud.log, "messages", None, {"cloud.log": -1}),
        "down": (cloud.down, "air", (0, 0, talk.DELIVERED), {"cloud.downlink": 2}),
        "package": (ota, "got_b", held, {"ota.bytes": 1, "ota.short": 1, "ota.received": 1}),
        "part of a package": (ota, "got_b", started, {"ota.bytes": 1, "ota.received": 1}),
        "spoilt": (ota, "spoilt_b", held, {"ota.bytes": 1, "ota.received": 1}),
        "dealer": (ota, "dealer_b", held, {"ota.bytes": 1, "ota.received": 1}),
        "by cells": (ota, "cell_b", None, {"ota.bytes": 1}),
        "by wifi": (ota, "wifi_b", None, {"ota.bytes": 1}),
        "downlink": (world.fleet, "downlink_b", sent, {"ota.received": 1}),
        "cars charged before": (charging, "_charged_before_j", None, {books[0]: -1}),
        "cars metered before": (charging, "_meter_before_j", None, {meters[0]: -1}),
        "links before": (world.drive, "_rows_start", 0, {"energy.traversal_energy_j": -1}),
        "engaged before": (SimpleNamespace(column=assist._start[1]), "column", sent, {"autonomy.table_engaged_mm": 1}),
        "downlink before": (world.updates, "_downlink_start", sent, {"ota.received": 1}),
        "source queue": (
            world.streets, "_clock", calendar.IN_SOURCE, {"vehicles_on_streets": 1, "vehicles_counted": -1}
        ),
        "barred": (world.updates, "installing", sent, {"ota.barred": 1}),
    }  # fmt: skip


NAMES = (
    """
cars charged before|cars metered before|links before|engaged before|downlink before|source queue|trips planned
a trip under way|others planned|energy of a session|loss of a session|meter of a session|meter of the grid
sessions asked|sessions ended|no outcome|reservations made|reservations used|reservations expired
reservations given up|waits|queue|breaches|driven|engaged|possible|engagements|first cause|last cause|delivered
generated|buffered|dropped|cell in|cell out|cell lost|cell moved|cell held|received|taken|message of a cell
message logged|down|package|part of a package|spoilt|dealer|by cells|by wifi|downlink|barred
""".strip()
    .replace("\n", "|")
    .split("|")
)


def test_every_counter_is_tried(twin: Twin) -> None:
    assert sorted(NAMES) == sorted(_owners(twin.world))


@pytest.mark.parametrize("name", NAMES)
def test_one_more_of(twin: Twin, name: str) -> None:
    owner, attribute, at, expected = _owners(twin.world)[name]
    with added(owner, attribute, 1, at):
        assert seen(twin) == expected
    assert seen(twin) == {}


def test_a_vehicle_taken_off_its_link(twin: Twin) -> None:
    streets = twin.world.streets
    counted = streets._links["count_out"]
    link = int(np.argmax(streets.link_vehicles))
    counted[link] += 1
    try:
        assert seen(twin) == {"vehicles_counted": -1}
    finally:
        counted[link] -= 1


def test_engaged_beyond_the_domain_or_the_way(twin: Twin) -> None:
    """Equal is in order; a millimetre more is not, of either."""
    fleet, start = twin.world.fleet, twin.world.autonomy._start
    driven, engaged, inside = (
        getattr(fleet, n) - s for n, s in zip(("driven_mm", "engaged_mm", "domain_mm"), start, strict=True)
    )
    car = int(np.argmax(driven))

    def order(with_mm: int, inside_mm: int) -> int:
        with (
            added(fleet, "engaged_mm", with_mm - int(engaged[car]), car),
            added(fleet, "domain_mm", inside_mm - int(inside[car]), car),
        ):
            return twin.world.ledger()["autonomy.order_cars"]

    whole = int(driven[car])
    assert whole > 0
    assert [order(0, whole), order(whole, whole), order(whole, whole - 1), order(0, whole + 1)] == [0, 0, 1, 1]


def test_a_car_that_uses_assistance_has_engaged_it(twin: Twin) -> None:
    cars = twin.world.autonomy.cars["will"]
    car = int(np.flatnonzero(cars != assistance.ENGAGED)[0])
    with added(SimpleNamespace(will=cars), "will", assistance.ENGAGED - int(cars[car]), car):
        assert seen(twin) == {"autonomy.events": -1}


def test_reservations_end_in_one_way(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    reservations = twin.world.charging.reservations
    for end in ("used", "expired", "given_up"):
        with added(reservations, "made", 2), added(reservations, end, 2):
            assert reservations.residual() == 0
    monkeypatch.setattr(reservations, "holds", lambda: [(4, 2), (7, 2)])
    assert reservations.residual() == 2
    with added(reservations, "made", 2):
        assert reservations.residual() == 0


def test_own_demand_is_one_of_them(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin.world, "given", SimpleNamespace(residual=lambda: 5))
    assert seen(twin) == {"own_demand": 5}


def test_books_are_closed_after_the_end() -> None:
    """Nobody stands in a queue and no session is open; what was charged before the run is not of the run."""
    model = crowded(city(), until_s=4 * 3600, bev=0.6, epower=0.4)
    world = model.world
    while not world.done:
        model.step()
    world.finish()
    assert world.ledger() == dict.fromkeys(world.ledger(), 0)
    assert world.charging.asked > 5


def test_all_ledgers_are_there(twin: Twin) -> None:
    rooms: dict[str, Callable[[], dict[str, int]]] = {
        "energy": twin.world.drive.ledger,
        "charging": twin.world.charging.ledger,
        "autonomy": twin.world.autonomy.ledger,
        "cloud": twin.world.cloud.ledger,
        "ota": twin.world.updates.ledger,
    }
    names = [f"{room}.{name}" for room, ledger in rooms.items() for name in ledger()]
    own = {"cars_state", "vehicles_on_streets", "vehicles_counted", "trips", "battery_j", "battery_out_of_range"}
    assert twin.world.ledger().keys() == own | set(names)
