"""The cars of one city: one row per car, columns declared once with dtype, unit and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.events import Column


class State(IntEnum):
    """Where a car is in its life; every car is in exactly one state at any moment."""

    PARKED = 0
    WAITING = 1  # asked to enter the streets, no room yet
    DRIVING = 2
    QUEUED = 3  # at a charging site, waiting for a socket
    PLUGGED = 4  # on a socket, charging or idle
    STUCK = 5  # out of the game, with a reason


class Reason(IntEnum):
    """Why a car or trip could not go on."""

    NONE = 0
    NO_ROUTE = 1
    BATTERY_EMPTY = 2
    NO_CHARGER = 3
    OUT_OF_RANGE = 4


class Kind(IntEnum):
    """Powertrain family; decides the agent class."""

    ELECTRIC = 0
    EPOWER = 1
    COMBUSTION = 2


COLUMNS: dict[str, Column] = {
    # who it is: set by population, constant during a run
    "kind": Column("u1", "", "Kind: 0 electric, 1 e-POWER, 2 combustion"),
    "model": Column("i2", "", "row in the catalogue"),
    "year": Column("i2", "", "model year"),
    "propilot": Column("u1", "", "0 none, 1 ProPILOT 1.0, 2 1.0 with Navi-link, 3 2.0, 4 destination management"),
    "connected": Column("u1", "", "1 has an active telematics unit"),
    "network_generation": Column("u1", "", "2, 3 or 4 for 2G, 3G, LTE; 0 none"),
    "ota": Column("u1", "", "1 firmware can be updated over the air"),
    "capacity_j": Column("i8", "J", "usable battery energy when full; 0 without traction battery"),
    "home_node": Column("i4", "", "node of the home"),
    "work_node": Column("i4", "", "node of the workplace, -1 none"),
    "home_place": Column("i4", "", "row of the home among the map's places, -1 lives outside"),
    "work_place": Column("i4", "", "row of the workplace, -1 none"),
    "home_site": Column("i4", "", "charging site at home, -1 no socket"),
    "work_site": Column("i4", "", "charging site at work, -1 none"),
    "driver": Column("u1", "", "driver assistance user type: 0 never, 1 occasional, 2 regular"),
    # how it is: the world's kernels write these
    "state": Column("u1", "", "State"),
    "reason": Column("u1", "", "Reason when stuck"),
    "node": Column("i4", "", "node where it is parked, or the last one passed"),
    "link": Column("i4", "", "link it drives on, -1 when parked"),
    "battery_j": Column("i8", "J", "energy in the battery, 0 to capacity_j"),
    "charged_j": Column("i8", "J", "energy taken into the battery so far"),
    "meter_j": Column("i8", "J", "energy drawn at the meter so far"),
    "traction_j": Column(
        "i8", "J", "battery energy spent on driving so far, auxiliaries and heating included, net of braking"
    ),
    "engine_j": Column("i8", "J", "e-POWER: bus energy from the engine generator so far"),
    "fuel_ul": Column("i8", "uL", "fuel burnt so far, microlitres"),
    "driven_mm": Column("i8", "mm", "driven so far"),
    "towed_mm": Column("i8", "mm", "moved without own energy after the battery ran out"),
    "drive_ms": Column("i8", "ms", "time on the road so far"),
    "engaged_mm": Column("i8", "mm", "driven with assistance engaged so far"),
    "engaged_ms": Column("i8", "ms", "time with assistance engaged so far"),
    "domain_mm": Column("i8", "mm", "driven where its assistance may be engaged"),
    "generated_b": Column("i8", "B", "telemetry produced so far"),
    "delivered_b": Column("i8", "B", "telemetry that reached the cloud"),
    "buffered_b": Column("i8", "B", "telemetry waiting in the car"),
    "dropped_b": Column("i8", "B", "telemetry dropped by the buffer's rule"),
    "downlink_b": Column("i8", "B", "over-the-air bytes received"),
}


class Fleet:
    """Struct of arrays over COLUMNS; `fleet.soc`, `fleet[17]` are views.

    Parameters
    ----------
    size : int
        Number of cars, at least 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a fleet needs at least one car")
        self.size = size
        for name, column in COLUMNS.items():
            setattr(self, name, np.zeros(size, column.dtype))
        for name in ("work_node", "home_place", "work_place", "home_site", "work_site", "link"):
            getattr(self, name)[:] = -1

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the fleet has no column {name!r}; it has {', '.join(COLUMNS)}")

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return (self[i] for i in range(self.size))

    def __getitem__(self, row: int) -> SimpleNamespace:
        """A read-only snapshot of one car."""
        if not -self.size <= row < self.size:
            raise IndexError(f"car {row} of {self.size}")
        return SimpleNamespace(**{name: getattr(self, name)[row].item() for name in COLUMNS})

    @property
    def soc(self) -> NDArray[np.float64]:
        """State of charge, 0 to 1; NaN for cars without a traction battery."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.capacity_j > 0, self.battery_j / self.capacity_j, np.nan)
