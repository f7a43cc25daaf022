"""The whole twin on a toy city: books close, minds can be exchanged, nobody vanishes."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

import numpy as np
import pytest

from maps.toy import toy_city
from twin.agents import STAY, CombustionCar, ElectricCar, EPowerCar, Operator, PlugInQuestion, TripQuestion
from twin.fleet.fleet import Kind, Reason, State
from twin.model import Twin
from twin.settings import (
    AutonomySettings,
    ChargingSettings,
    ClimateSettings,
    CloudSettings,
    DemandSettings,
    FleetSettings,
    OtaSettings,
    TrafficSettings,
)

CITY = toy_city(7, homes=200)
HOUR = 3600


def run(until_h: float = 24, **rooms) -> Twin:  # type: ignore[no-untyped-def]
    rooms.setdefault("fleet", FleetSettings(cars=120))
    rooms.setdefault("demand", DemandSettings(other_traffic=0.2))
    twin = Twin(rooms.pop("city", CITY), until_s=round(until_h * HOUR), **rooms)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    return twin


@pytest.fixture(scope="module")
def day() -> Twin:
    return run()


def open_books(twin: Twin) -> dict[str, int]:
    return {name: residual for name, residual in twin.world.ledger().items() if residual}


def test_all_books_close(day: Twin) -> None:
    assert len(day.world.ledger()) > 30
    assert open_books(day) == {}


def test_cars_that_leave_at_once_are_not_on_their_sockets_any_more() -> None:
    """Who drives off in a morning's first tick was on a socket overnight, and nobody can plug in before that."""
    rooms = {
        "start": datetime(2022, 10, 12, 7),
        "fleet": FleetSettings(cars=1000, bev=1.0, epower=0.0),
        "demand": DemandSettings(other_traffic=0.0, moving=1.0),
        "charging": ChargingSettings(home_access=1.0, home_kw=1.0),  # so slow that many are not full in the morning
        "traffic": TrafficSettings(tick_s=900),
    }
    twin = Twin(CITY, until_s=900, **rooms)  # type: ignore[arg-type]
    twin.step()
    at_socket, state = twin.world._at_socket, twin.world.fleet.state
    begun = twin.world.trips.depart_ms >= 0
    assert begun[at_socket].any()  # else nothing was tried
    assert (state[at_socket] == State.PLUGGED).sum() > 3
    twin.world.finish()
    assert open_books(twin) == {}


def test_a_day_has_all_three_answers(day: Twin) -> None:
    key = day.world.summary()
    # what 46 electric cars drive away that day is about 45 kWh; who plugs in that very evening is a matter of few
    assert key["grid"]["energy_kwh"] > 40 and key["grid"]["peak_kw"] > 5
    assert 0 < key["autonomy"]["share"] < 0.2
    assert key["cloud"]["delivered_bytes"] > 1e6
    assert key["ota"]["installed"] > 0
    assert key["fuel"]["litres"] > 10
    assert key["queue"]["sessions"] > 5


def test_trips_and_cars_are_all_there(day: Twin) -> None:
    world = day.world
    trips = world.trips.table
    assert len(np.unique(trips["trip_id"])) == len(trips) == world.trips.planned
    arrived = trips["status"] == "arrived"
    assert arrived.mean() > 0.9
    assert np.all(trips["arrive_s"][arrived] >= trips["enter_s"][arrived])
    assert np.all(trips["enter_s"][arrived] >= trips["depart_s"][arrived])
    assert np.all(trips["depart_s"][arrived] >= trips["planned_s"][arrived])
    took = (trips["arrive_s"] - trips["depart_s"])[arrived]
    assert np.all(took >= trips["free_s"][arrived] - 1e-3)
    # what the cars drove is what their trips drove
    assert trips["km"].sum() == pytest.approx(world.fleet.driven_mm.sum() / 1e6, abs=1e-6)
    assert trips["energy_kwh"].sum() == pytest.approx(world.fleet.traction_j.sum() / 3.6e6, abs=1e-6)
    assert trips["fuel_l"].sum() == pytest.approx(world.fleet.fuel_ul.sum() / 1e6, abs=1e-6)
    assert trips["engaged_km"].sum() == pytest.approx(world.fleet.engaged_mm.sum() / 1e6, abs=1e-6)


def test_no_output_holds_an_infinity_and_no_kind_does_what_it_cannot(day: Twin) -> None:
    fleet = day.world.fleet
    for table in day.world.tables():
        for name, values in table.arrays().items():
            if values.dtype.kind == "f":
                assert not np.isinf(values).any(), (table.name, name)
    assert fleet.charged_j[fleet.kind != Kind.ELECTRIC].sum() == 0
    assert fleet.fuel_ul[fleet.kind == Kind.ELECTRIC].sum() == 0
    assert fleet.engine_j[fleet.kind != Kind.EPOWER].sum() == 0
    assert np.all((fleet.battery_j >= 0) & (fleet.battery_j <= fleet.capacity_j))


def test_same_seed_same_tables_and_another_seed_another_day(day: Twin) -> None:
    again, other = run(), run(seed=2)
    for a, b in zip(day.world.tables(), again.world.tables(), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{a.name}.{name}")
    assert other.world.fleet.driven_mm.sum() != day.world.fleet.driven_mm.sum()


def test_mesa_sees_every_car_as_an_agent_of_its_kind(day: Twin) -> None:
    kinds = day.world.fleet.kind
    by_type = day.agents_by_type
    for kind, cls in ((Kind.ELECTRIC, ElectricCar), (Kind.EPOWER, EPowerCar), (Kind.COMBUSTION, CombustionCar)):
        assert len(by_type[cls]) == (kinds == kind).sum()
    assert len(by_type[Operator]) == 1
    car = next(iter(by_type[ElectricCar]))
    assert car.soc == pytest.approx(day.world.fleet.soc[car.row])
    assert day.agents.select(lambda a: isinstance(a, ElectricCar)).agg("km", sum) == pytest.approx(
        day.world.fleet.driven_mm[kinds == Kind.ELECTRIC].sum() / 1e6
    )
    frame = day.datacollector.get_model_vars_dataframe()
    assert len(frame) == 1440 and frame["charging_kw"].max() > 5
    assert day.time == 1440


def test_a_driver_of_ones_own_changes_the_day() -> None:
    class NeverPlugs(ElectricCar):
        asked: ClassVar[list[int]] = []

        @classmethod
        def decide(cls, question):  # type: ignore[no-untyped-def]
            if isinstance(question, PlugInQuestion):
                cls.asked.append(len(question.rows))
                return np.zeros(len(question.rows), bool)
            return super().decide(question)

    twin = run(agents={Kind.ELECTRIC: NeverPlugs})
    assert NeverPlugs.asked
    kinds = twin.world.charging.table["kind"]
    assert not np.isin(kinds, ["home", "work"]).any()
    assert twin.world.tables()[0]["agent"][twin.world.fleet.kind == Kind.ELECTRIC][0] == "NeverPlugs"
    assert open_books(twin) == {}


def test_a_wrong_answer_is_refused() -> None:
    class Confused(ElectricCar):
        @classmethod
        def decide(cls, question):  # type: ignore[no-untyped-def]
            if isinstance(question, TripQuestion):
                return np.full(len(question.rows), 99)
            return super().decide(question)

    with pytest.raises(ValueError, match="none of its options"):
        run(agents={Kind.ELECTRIC: Confused})


def test_who_stays_is_refused_and_counted() -> None:
    class HomeLover(ElectricCar):
        @classmethod
        def decide(cls, question):  # type: ignore[no-untyped-def]
            if isinstance(question, TripQuestion):
                return np.full(len(question.rows), STAY)
            return super().decide(question)

    twin = run(agents={Kind.ELECTRIC: HomeLover})
    electric = twin.world.fleet.kind == Kind.ELECTRIC
    assert twin.world.fleet.driven_mm[electric].sum() == 0
    trips = twin.world.trips.table
    mine = electric[trips["car_id"].astype(int)]
    ended = np.unique(trips["status"][mine]).tolist()
    assert set(ended) <= {"refused", "planned", "already_there"}
    assert set(trips["reason"][mine & (trips["status"] == "refused")]) == {"out_of_range"}
    assert open_books(twin) == {}


class Reckless(ElectricCar):
    """Drives on whatever the battery says."""

    @classmethod
    def decide(cls, question):  # type: ignore[no-untyped-def]
        if isinstance(question, TripQuestion):
            return np.full(len(question.rows), -1)
        return np.zeros(len(question.rows), bool)


def test_an_empty_battery_ends_the_trip_and_the_car_is_towed() -> None:
    twin = Twin(
        CITY,
        fleet=FleetSettings(cars=120, bev=1.0, epower=0.0),
        demand=DemandSettings(other_traffic=0.0),
        until_s=40 * HOUR,
        agents={Kind.ELECTRIC: Reckless},
    )
    fleet = twin.world.fleet
    fleet.battery_j[:] = 1_000_000
    twin.world.battery_start_j = fleet.battery_j.copy()
    twin.world.drive.open_books()
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    stuck = fleet.state == State.STUCK
    assert stuck.sum() > 20
    assert np.all(fleet.reason[stuck] == Reason.BATTERY_EMPTY)
    assert np.all(fleet.battery_j[stuck] == 0)
    assert fleet.towed_mm[stuck].min() >= 0 and fleet.towed_mm.sum() > 0
    trips = twin.world.trips.table
    assert (trips["status"] == "stuck").sum() == stuck.sum()
    assert (trips["status"] == "cancelled").sum() > 0
    assert open_books(twin) == {}


def test_cars_without_sockets_charge_on_the_way() -> None:
    twin = run(
        fleet=FleetSettings(cars=150, bev=1.0, epower=0.0),
        charging=ChargingSettings(home_access=0.0, work_access=0.0, extra_fast_sites=2),
        climate=ClimateSettings(ambient_c=-10.0),
        until_h=48,
    )
    table = twin.world.charging.table
    assert set(table["kind"]) <= {"public", "fast"} and len(table) > 5
    assert twin.world.trips.table["charging_stops"].sum() > 5
    assert open_books(twin) == {}


def test_several_days_and_a_start_at_noon() -> None:
    twin = run(until_h=60, start=datetime(2022, 10, 14, 12), fleet=FleetSettings(cars=60))
    trips = twin.world.trips.table
    days = np.unique((trips["planned_s"] / 3600 + 12) // 24)
    assert days.tolist()[:3] == [0.0, 1.0, 2.0]
    assert trips["planned_s"].min() >= 0
    assert open_books(twin) == {}


def test_link_hours_are_hours_whatever_the_tick() -> None:
    for tick in (7, 60, 900):
        twin = run(until_h=9.5, fleet=FleetSettings(cars=30), traffic=TrafficSettings(tick_s=tick))
        links = twin.world.links.table
        assert np.unique(links["hour"]).tolist() == list(range(10))
        assert links["vehicles"].sum() == twin.world.streets.moves


def test_extremes_run_and_close_their_books() -> None:
    for rooms in (
        {"fleet": FleetSettings(cars=1)},
        {"fleet": FleetSettings(cars=50, bev=0.0, epower=0.0)},
        {"fleet": FleetSettings(cars=50, propilot=1.0, connected=1.0)},
        {"autonomy": AutonomySettings(enabled=False), "ota": OtaSettings(enabled=False)},
        {"cloud": CloudSettings(outage=[(0.0, 24.0)])},
        {"demand": DemandSettings(other_traffic=0.0, moving=0.0)},
        {"traffic": TrafficSettings(tick_s=7)},
    ):
        twin = run(until_h=9, **rooms)
        assert open_books(twin) == {}, rooms


def test_what_is_switched_off_stays_off() -> None:
    off = run(until_h=12, autonomy=AutonomySettings(enabled=False), ota=OtaSettings(enabled=False))
    key = off.world.summary()
    assert key["autonomy"]["engaged_km"] == 0 and key["ota"]["bytes"] == 0
    dark = run(until_h=12, cloud=CloudSettings(outage=[(0.0, 12.0)]))
    cloud = dark.world.summary()["cloud"]
    assert cloud["delivered_bytes"] == 0 and cloud["buffered_bytes"] > 0


def test_cold_costs_energy() -> None:
    mild, cold = (run(until_h=12, climate=ClimateSettings(ambient_c=c)).world.fleet for c in (20.0, -10.0))
    electric = mild.kind == Kind.ELECTRIC
    per_km = [f.traction_j[electric].sum() / f.driven_mm[electric].sum() for f in (mild, cold)]
    assert per_km[1] > 1.3 * per_km[0]


def test_a_dropped_twin_is_freed() -> None:
    twin = Twin(CITY, fleet=FleetSettings(cars=20), until_s=600)
    twin.step()
    gone = weakref.ref(twin.world)
    del twin
    gc.collect()
    assert gone() is None


def test_a_map_without_motorways_has_no_assistance() -> None:
    network = CITY.network
    slow = replace(CITY, network=replace(network, link_class=np.maximum(network.link_class, 6)))
    twin = run(until_h=10, city=slow, fleet=FleetSettings(cars=60, propilot=1.0))
    assert twin.world.summary()["autonomy"]["engaged_km"] == 0
