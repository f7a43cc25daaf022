"""What must add up: residuals in integers, every one 0 in a run that lost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twin.fleet.fleet import Reason, State

if TYPE_CHECKING:
    from twin.world import World


def residuals(world: World) -> dict[str, int]:
    """Residual of each ledger: the world's own by name, a room's as `<room>.<name>`."""
    fleet, streets = world.fleet, world.streets
    on_streets = int(np.isin(fleet.state, (State.WAITING, State.DRIVING)).sum())
    balance = world.battery_start_j + fleet.charged_j + fleet.engine_j - fleet.traction_j - fleet.battery_j
    own = {
        "cars_state": _state_residual(world),
        "vehicles_on_streets": streets.on_road + streets.in_source - on_streets - world.others.under_way,
        "vehicles_counted": streets.census() - streets.on_road - streets.in_source,
        "trips": world.trips.residual(),
        "battery_j": int(np.abs(balance).sum()),
        "battery_out_of_range": int(((fleet.battery_j < 0) | (fleet.battery_j > fleet.capacity_j)).sum()),
    }
    rooms = {
        "energy": world.drive.ledger(),
        "charging": world.charging.ledger(),
        "autonomy": world.autonomy.ledger(),
        "cloud": world.cloud.ledger(),
        "ota": world.updates.ledger(),
    }
    if world.given is not None:
        own["own_demand"] = world.given.residual()
    return own | {f"{room}.{name}": value for room, part in rooms.items() for name, value in part.items()}


def _state_residual(world: World) -> int:
    """Cars whose state is not the one that streets, sockets and reasons say."""
    fleet = world.fleet
    on_streets = np.isin(fleet.state, (State.WAITING, State.DRIVING))
    at_socket = np.isin(fleet.state, (State.QUEUED, State.PLUGGED))
    wrong = on_streets != world.streets.has_trip(np.arange(len(fleet)))
    wrong |= at_socket != (world.charging.car_session >= 0)
    wrong |= (fleet.state == State.STUCK) != (fleet.reason != Reason.NONE)
    return int(wrong.sum())
