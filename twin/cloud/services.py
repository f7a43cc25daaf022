"""What a connected car sends: message classes of the facts, with their size on the wire.

Source: facts `connectivity.telemetry_model` (assumptions: no maker publishes them).
Navigation and map data are downlink and not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from twin import facts
from twin.cloud.cells import CloudError

SERVICES = ("connection", "trip", "driving", "charging", "heartbeat", "dtc", "adas")
"""Uplink services; the value of `service` indexes this tuple.

`connection`: handshake of a unit that wakes (trip start, heartbeat) · `trip`: summary at start
and end · `driving`, `charging`: periodic · `heartbeat`: parked · `dtc`: diagnostic trouble code
with snapshot · `adas`: metadata of a driver assistance event.
"""

CONNECTION, TRIP, DRIVING, CHARGING, HEARTBEAT, DTC, ADAS = range(7)
ALARM = DTC
"""The service that the drop rule keeps (facts `store_and_forward.drop_policy`)."""


@dataclass(frozen=True)
class Services:
    """Sizes, periods and distances of one service class.

    Attributes
    ----------
    message_b : tuple of int
        Bytes on the wire of one message per service: application bytes plus TLS, TCP and IP.
    driving_ms, charging_ms, heartbeat_ms : int
        Periods.
    dtc_mm, adas_mm : float
        Mean distance between trouble codes (driven) and between assistance events (engaged), mm.
    """

    message_b: tuple[int, ...]
    driving_ms: int
    charging_ms: int
    heartbeat_ms: int
    dtc_mm: float
    adas_mm: float

    @classmethod
    def of(cls, service_class: str) -> Services:
        """Read the facts for one class of periodic telemetry: basic, bev or rich."""
        model = facts.load("connectivity")["telemetry_model"]
        name = f"driving_periodic_{service_class}"
        if name not in model:
            valid = sorted(
                key.removeprefix("driving_periodic_") for key in model if key.startswith("driving_periodic_")
            )
            raise CloudError(f"unknown service class {service_class!r}; valid: {', '.join(valid)}")
        over = int(model["tls_tcp_overhead_bytes_per_message"])
        application = [
            model["trip_start_end"],
            model[name],
            model["charging_periodic"],
            model["parked_heartbeat"],
            model["dtc_snapshot"],
            model["adas_event_clip_metadata"],
        ]
        return cls(
            message_b=(int(model["tls_handshake_bytes"]), *(int(m["bytes"]) + over for m in application)),
            driving_ms=int(1000 * model[name]["period_s"]),
            charging_ms=int(1000 * model["charging_periodic"]["period_s"]),
            heartbeat_ms=int(1000 * model["parked_heartbeat"]["period_s"]),
            dtc_mm=1e9 / float(model["dtc_snapshot"]["per_1000_km"]),
            adas_mm=1e8 / float(model["adas_event_clip_metadata"]["per_100_engaged_km"]),
        )
