"""What the page says of one car or one charging site: facts as texts, with units."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin.charging.site import SITE_KINDS
from twin.charging.visits import Phase
from twin.fleet.fleet import Reason, State
from twin.meters import PROPILOT
from twin.sessions import Work
from twin.trips import NEVER
from viz.charts import clock
from viz.style import amount

if TYPE_CHECKING:
    from twin.world import World

LAST = 6
"""Trips or sessions that a story lists."""

STATES = {
    State.PARKED: "parked",
    State.WAITING: "waiting to enter the street",
    State.DRIVING: "driving",
    State.QUEUED: "queueing at a charging site",
    State.PLUGGED: "on a socket",
    State.STUCK: "stuck",
}
PHASES = {
    Phase.COMING: "arriving",
    Phase.QUEUED: "queueing",
    Phase.STARTING: "plugged, not yet charging",
    Phase.CHARGING: "charging",
    Phase.ENDING: "charging",
    Phase.IDLE: "full or done, still plugged",
    Phase.LEAVING: "leaving",
}
KINDS = ("electric", "e-POWER", "combustion")


def car_story(world: World, car: int) -> dict[str, Any]:
    """Who a car is, what it does now, what it has done: `title`, `facts`, `tables`."""
    fleet, catalogue, trips = world.fleet, world.catalogue, world.trips
    one = fleet[car]
    facts = [
        ["powertrain", KINDS[one.kind]],
        ["model year", str(one.year)],
        ["ProPILOT", PROPILOT[one.propilot]],
        ["connected", "yes" if one.connected else "no"],
        [
            "now",
            STATES[State(one.state)]
            + (f" ({Reason(one.reason).name.lower().replace('_', ' ')})" if one.reason else ""),
        ],
    ]
    if one.state == State.DRIVING:
        facts.append(["assistance", "engaged" if world.autonomy.engaged[car] else "not engaged"])
    if one.capacity_j:
        facts.append(
            ["charge", f"{100 * one.battery_j / one.capacity_j:.0f} % of {amount(one.capacity_j / 3.6e6, 'kWh')}"]
        )
    row = int(world.charging.car_session[car])
    if row >= 0:
        phase = Phase(int(world.sessions.phase[row])) if world.sessions.phase[row] else None
        site = int(world.sessions.site[row])
        kind, doing = SITE_KINDS[world.charging.sites.site_kind[site]], PHASES[phase] if phase else "leaving"
        facts.append(["at", f"{kind} site {site}, {doing}"])
        facts.append(["power", amount(float(world.charging.visits.grant_w[row]) / 1000, "kW")])
    facts += [
        ["driven", amount(one.driven_mm / 1e6, "km")],
        ["with ProPILOT", amount(one.engaged_mm / 1e6, "km")],
    ]
    if one.capacity_j:
        facts.append(["used for driving", amount(one.traction_j / 3.6e6, "kWh")])
    if one.meter_j:
        facts.append(["drawn at the meter", amount(one.meter_j / 3.6e6, "kWh")])
    if one.fuel_ul:
        facts.append(["fuel", amount(one.fuel_ul / 1e6, "litres")])
    if one.connected:
        facts.append(["telemetry", f"{amount(one.generated_b, 'bytes')}, {amount(one.delivered_b, 'bytes')} delivered"])
    if one.downlink_b:
        facts.append(["updates received", amount(one.downlink_b, "bytes")])
    due = int(trips.due_ms[car])
    if trips.under_way[car]:
        facts.append(["trip under way since", clock(world.start, int(max(trips.depart_ms[car], 0)) / 1000)])
    elif due < NEVER:
        facts.append(["next trip at", clock(world.start, due / 1000)])
    return {
        "title": f"Car {car}: {catalogue.names[one.model]}",
        "facts": facts,
        "tables": [_trips(world, car), _sessions(world, "car_id", car)],
    }


def site_story(world: World, site: int) -> dict[str, Any]:
    """What a charging site has, who is there, what it has delivered."""
    sites, sessions, visits = world.charging.sites, world.sessions, world.charging.visits
    sockets = range(int(sites.socket_ptr[site]), int(sites.socket_ptr[site + 1]))
    rows = sessions.live(Work.CHARGE)
    rows = rows[sessions.site[rows] == site]
    waiting = int((sessions.phase[rows] == Phase.QUEUED).sum())
    power = float(visits.grant_w[rows[sessions.phase[rows] == Phase.CHARGING]].sum()) / 1000
    done = world.charging.table
    mine = np.flatnonzero(np.asarray(done["site_id"]) == site)
    metered = float(np.asarray(done["meter_kwh"], float)[mine].sum()) + float(visits.meter_j[rows].sum()) / 3.6e6
    facts = [
        ["kind", SITE_KINDS[sites.site_kind[site]]],
        [
            "sockets",
            ", ".join(
                f"{sites.socket_count[s]} × {SOCKET_KINDS[sites.socket_kind[s]]} {sites.socket_kw[s]:g} kW"
                for s in sockets
            ),
        ],
        ["feeder", str(int(sites.site_feeder[site]))],
        ["most it may draw", amount(float(sites.cap_kw[site]), "kW")],
        ["power now", amount(power, "kW")],
        ["cars on sockets", str(len(rows) - waiting)],
        ["cars waiting", str(waiting)],
        ["sessions ended", f"{len(mine):,}"],
        ["delivered so far, at the meter", amount(metered, "kWh")],
    ]
    now = [
        [str(int(sessions.car[r])), PHASES.get(Phase(int(sessions.phase[r])), ""), _soc(world, int(sessions.car[r]))]
        for r in rows[:20]
    ]
    name = sites.name[site]
    return {
        "title": f"Site {site}" + (f": {name}" if name else ""),
        "facts": facts,
        "tables": [
            {"caption": "There now", "head": ["car", "doing", "charge"], "rows": now},
            _sessions(world, "site_id", site),
        ],
    }


def _soc(world: World, car: int) -> str:
    return f"{100 * world.fleet.soc[car]:.0f} %"


def _trips(world: World, car: int) -> dict[str, Any]:
    table = world.trips.table
    rows = _last(np.asarray(table["car_id"]), car)
    cells = [
        [
            str(table["purpose"][r]),
            _time(world.start, table["depart_s"][r]),
            _time(world.start, table["arrive_s"][r]),
            f"{float(table['km'][r]):.1f} km",
            str(table["status"][r]).replace("_", " "),
        ]
        for r in rows
    ]
    return {"caption": "Trips ended", "head": ["to", "left", "arrived", "way", "how"], "rows": cells}


def _sessions(world: World, column: str, number: int) -> dict[str, Any]:
    table = world.charging.table
    rows = _last(np.asarray(table[column]), number)
    other = "site_id" if column == "car_id" else "car_id"
    cells = [
        [
            str(int(table[other][r])),
            _time(world.start, table["plugged_s"][r]),
            f"{float(table['meter_kwh'][r]):.1f} kWh",
            f"{float(table['wait_s'][r]) / 60:.0f} min",
            str(table["outcome"][r]).replace("_", " "),
        ]
        for r in rows
    ]
    return {
        "caption": "Charging ended",
        "head": [other.removesuffix("_id"), "plugged", "meter", "wait", "end"],
        "rows": cells,
    }


def _last(column: NDArray[Any], number: int) -> list[int]:
    return [int(r) for r in np.flatnonzero(column == number)[-LAST:]]


def _time(start: datetime, seconds: Any) -> str:
    value = float(seconds)
    return f"{start + timedelta(seconds=value):%H:%M}" if np.isfinite(value) else "–"
