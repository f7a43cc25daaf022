"""Every message of a run with its moment: what `twin replay` sends to a real broker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.cloud.services import DRIVING
from twin.cloud.store import Records
from twin.events import Column, Table
from twin.fleet.fleet import Fleet
from twin.traffic.traversals import Traversals

COLUMNS: dict[str, Column] = {
    "time_s": Column("f8", "s", "moment of the last message of the row"),
    "car_id": Column("i4", "", "row of the car"),
    "service": Column(
        "u1", "", "number of the service: connection, trip, driving, charging, heartbeat, dtc, adas, more"
    ),
    "messages": Column("i4", "", "messages of the row"),
    "period_s": Column("f4", "s", "time between them, 0 for one moment"),
    "link_id": Column("i4", "", "link it is on, or a link that begins where it stands"),
    "speed_kmh": Column("f4", "km/h", "mean on the link, 0 when it stands"),
    "soc": Column("f4", "", "state of charge, 0 to 1; null without a traction battery"),
    "odometer_km": Column("f4", "km", "driven in the run"),
    "engaged": Column("u1", "", "1 with driver assistance engaged on the link"),
}


class MessageLog:
    """Rows of messages as they are produced.

    Parameters
    ----------
    network : RoadNetwork
    fleet : Fleet
    period_ms : ndarray of int64, shape (n_services,)
        0 for services without a clock.
    phase_u : ndarray of float64, shape (n_cars,)
        Where in a period a car's own moment lies, 0 to 1.

    Attributes
    ----------
    table : Table
        `messages`.
    messages : int
        Logged so far.
    """

    def __init__(
        self, network: RoadNetwork, fleet: Fleet, *, period_ms: NDArray[np.int64], phase_u: NDArray[np.float64]
    ) -> None:
        self.fleet, self._period_ms, self._phase_u = fleet, period_ms, phase_u
        self._length_m = network.link_length
        self._out_link = np.zeros(network.n_nodes, np.int32)
        self._out_link[network.link_from[::-1]] = np.arange(network.n_links, dtype=np.int32)[::-1]
        self.table = Table("messages", COLUMNS)
        self.messages = 0

    def keep(
        self, records: Records, driving_ms: NDArray[np.int64], traversals: Traversals, t0_ms: int, t1_ms: int
    ) -> None:
        """Log the records of the tick [t0, t1); `driving_ms` is the period of every car's driving telemetry."""
        del t0_ms
        part = slice(records.sent)
        car, service, count, row = (
            column[part] for column in (records.car, records.service, records.count, records.row)
        )
        fleet = self.fleet
        moving = row >= 0
        stop_ms = np.where(moving, traversals.exit_ms[row], t1_ms)
        period = np.where(service == DRIVING, driving_ms[car], self._period_ms[service])
        clock = np.maximum(period, 1)
        phase = (self._phase_u[car] * clock).astype(np.int64)
        last_ms = np.where(period > 0, phase + (stop_ms - 1 - phase) // clock * clock, stop_ms - 1)
        link = np.where(moving, traversals.link[row], fleet.link[car])
        link = np.where(link >= 0, link, self._out_link[fleet.node[car]])
        ms = np.maximum(stop_ms - traversals.enter_ms[row], 1)
        speed = np.where(moving, self._length_m[link] / ms * 3600, 0)
        self.table.append(
            time_s=last_ms / 1000,
            car_id=car,
            service=service,
            messages=count,
            period_s=np.where(count > 1, period, 0) / 1000,
            link_id=link,
            speed_kmh=speed,
            soc=fleet.soc[car],
            odometer_km=fleet.driven_mm[car] / 1e6,
            engaged=moving & (traversals.engaged_mm[row] > 0),
        )
        self.messages += int(count.sum())
