"""Key figures of a run, read from the columns: summary, the table of cars, link figures by hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.energy.drive import co2_kg
from twin.events import Column, Table
from twin.fleet.fleet import Kind, Reason, State

if TYPE_CHECKING:
    from twin.world import World

J_PER_KWH = 3_600_000

LINKS = {
    "link_id": Column("i4", "", "row of the link in map.parquet"),
    "hour": Column("i4", "", "hour of the run, 0 is the first"),
    "vehicles": Column("i8", "", "vehicles that left the link in that hour, fleet and others"),
    "mean_speed_kmh": Column("f8", "km/h", "link length over mean travel time; null when none left"),
    "travel_time_s": Column("f8", "s", "mean travel time; null when none left"),
    "queue": Column("i4", "", "vehicles on the link at the end of the hour"),
}

CARS = {
    "car_id": Column("i4", "", "row of the car"),
    "agent": Column("str", "", "class of the agent"),
    "model": Column("str", "", "model name"),
    "brand": Column("str", "", "brand"),
    "year": Column("i2", "", "model year"),
    "market": Column("str", "", "market of the fleet"),
    "powertrain": Column("str", "", "bev, epower or combustion"),
    "battery_kwh": Column("f8", "kWh", "usable battery; null without one"),
    "propilot_level": Column("str", "", "driver assistance fitted"),
    "connected": Column("bool", "", "active telematics unit"),
    "home_node": Column("i4", "", "node of the home"),
    "work_node": Column("i4", "", "node of the workplace, -1 none"),
    "home_place": Column("i4", "", "row of the home among the map's places, -1 lives outside the map"),
    "work_place": Column("i4", "", "row of the workplace among the map's places, -1 none or outside"),
    "home_socket": Column("bool", "", "can charge at home"),
    "work_socket": Column("bool", "", "can charge at work"),
    "soc_start": Column("f8", "", "state of charge at the start, 0 to 1; null without battery"),
    "soc_end": Column("f8", "", "state of charge at the end"),
    "km": Column("f8", "km", "driven"),
    "towed_km": Column("f8", "km", "moved after the battery ran out"),
    "drive_s": Column("f8", "s", "time on the road"),
    "kwh": Column("f8", "kWh", "drawn from the battery bus for driving, net of braking"),
    "charged_kwh": Column("f8", "kWh", "taken into the battery from the grid"),
    "meter_kwh": Column("f8", "kWh", "drawn at the meter"),
    "litres": Column("f8", "L", "fuel burnt"),
    "engaged_km": Column("f8", "km", "with driver assistance engaged"),
    "generated_bytes": Column("i8", "B", "telemetry produced"),
    "delivered_bytes": Column("i8", "B", "telemetry that reached the cloud"),
    "downlink_bytes": Column("i8", "B", "over-the-air bytes received"),
    "state": Column("str", "", "what it does at the end"),
    "reason": Column("str", "", "why it is stuck; empty otherwise"),
}

PROPILOT = ("none", "1.0", "1.0 navi", "2.0", "destination")
POWERTRAIN = {Kind.ELECTRIC: "bev", Kind.EPOWER: "epower", Kind.COMBUSTION: "combustion"}


class LinkMeter:
    """Hourly traffic of every link that carried some."""

    def __init__(self, network: RoadNetwork) -> None:
        self.table = Table("links", LINKS)
        self._length = network.link_length
        self._before = np.zeros((network.n_links, 2), np.int64)

    def hour(self, hour: int, sums: NDArray[np.int64], on_link: NDArray[np.int64]) -> None:
        """Close an hour: `sums` are running totals (count, ms) per link, `on_link` vehicles there now."""
        count, spent = (sums - self._before).T
        self._before = sums.copy()
        rows = np.flatnonzero((count > 0) | (on_link > 0))
        mean = np.where(count[rows] > 0, spent[rows] / np.maximum(count[rows], 1) / 1000, np.nan)
        self.table.append(
            link_id=rows,
            hour=hour,
            vehicles=count[rows],
            mean_speed_kmh=self._length[rows] / mean * 3.6,
            travel_time_s=mean,
            queue=on_link[rows],
        )


def cars_table(world: World) -> Table:
    """One row per fleet car, as the run stands."""
    fleet, catalogue = world.fleet, world.catalogue
    table = Table("cars", CARS)
    model = fleet.model.astype(int)
    powered = fleet.capacity_j > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        start = np.where(powered, world.battery_start_j / fleet.capacity_j, np.nan)
    table.append(
        car_id=np.arange(len(fleet)),
        agent=_named(world.agent_names, fleet.kind),
        model=_named(catalogue.names, model),
        brand=_named(catalogue.brands, model),
        year=fleet.year,
        market=world.settings.fleet.market,
        powertrain=_named([POWERTRAIN[k] for k in Kind], fleet.kind),
        battery_kwh=np.where(powered, fleet.capacity_j / J_PER_KWH, np.nan),
        propilot_level=_named(PROPILOT, fleet.propilot),
        connected=fleet.connected.astype(bool),
        home_node=fleet.home_node,
        work_node=fleet.work_node,
        home_place=fleet.home_place,
        work_place=fleet.work_place,
        home_socket=fleet.home_site >= 0,
        work_socket=fleet.work_site >= 0,
        soc_start=start,
        soc_end=fleet.soc,
        km=fleet.driven_mm / 1e6,
        towed_km=fleet.towed_mm / 1e6,
        drive_s=fleet.drive_ms / 1000,
        kwh=fleet.traction_j / J_PER_KWH,
        charged_kwh=fleet.charged_j / J_PER_KWH,
        meter_kwh=fleet.meter_j / J_PER_KWH,
        litres=fleet.fuel_ul / 1e6,
        engaged_km=fleet.engaged_mm / 1e6,
        generated_bytes=fleet.generated_b,
        delivered_bytes=fleet.delivered_b,
        downlink_bytes=fleet.downlink_b,
        state=_named([s.name.lower() for s in State], fleet.state),
        reason=_named(["" if r == Reason.NONE else r.name.lower() for r in Reason], fleet.reason),
    )
    return table


def _named(names: Sequence[str], rows: NDArray[Any]) -> NDArray[np.object_]:
    return np.asarray(np.array(list(names), object)[rows])


def summary(world: World) -> dict[str, Any]:
    """Key figures of a finished run, as in `summary.json`."""
    fleet = world.fleet
    status = world.trips.table["status"]
    litres = float(fleet.fuel_ul.sum() / 1e6)
    rings, ring_vehicles = world.streets.rings_turned
    learned = world.route_choice.learned
    return {
        "fleet": {
            "cars": len(fleet),
            "electric": int((fleet.kind == Kind.ELECTRIC).sum()),
            "epower": int((fleet.kind == Kind.EPOWER).sum()),
            "combustion": int((fleet.kind == Kind.COMBUSTION).sum()),
            "trips": len(status),
            **{name: int((status == name).sum()) for name in STATUSES},
            "waiting": world.streets.in_source,
            "driving_km": float(fleet.driven_mm.sum() / 1e6),
            "driving_hours": float(fleet.drive_ms.sum() / 3.6e6),
        },
        "traffic": {
            "other_trips": world.others.planned,
            "other_arrived": world.others.arrived,
            "other_unroutable": world.others.unroutable,
            "link_traversals": world.streets.moves,
            "gridlock_rings_turned": rings,
            "gridlock_vehicles_moved": ring_vehicles,
            "gridlock_links": gridlock_links(world),
            "sample": world.settings.traffic.sample,
            "informed_comparisons": world.informed.compared,
            "informed_switches": world.informed.switched,
            "informed_hours_promised": world.informed.saved_ms / 3.6e6,
            "learning": [day._asdict() for day in learned.days] if learned is not None else [],
        },
        **({} if world.given is None else {"own_demand": world.given.summary()}),
        **({} if world.count_fit is None else {"counts": world.count_fit.summary(world.links.table)}),
        "grid": world.charging.grid_summary(),
        "autonomy": {**world.autonomy.summary(), "destination": world.proposals.summary()},
        "cloud": world.cloud.summary(),
        "ota": world.updates.summary(),
        "fuel": {"litres": litres, "co2_kg": co2_kg(int(fleet.fuel_ul.sum()))},
        "queue": {**world.charging.queue_summary(), "diverted": world.stops.diverted},
    }


def gridlock_links(world: World, *, most: int = 10) -> list[dict[str, int]]:
    """Links that stood in turned rings most often (ties: lowest row): row, OSM way, turns."""
    turns = world.streets.link_ring_turns
    rows = np.argsort(-turns, kind="stable")[:most]
    ways = world.streets.network.link_way
    return [{"link": int(row), "way": int(ways[row]), "turns": int(turns[row])} for row in rows if turns[row]]


STATUSES = ("arrived", "en_route", "planned", "already_there", "refused", "stuck", "cancelled")
