"""What a connected car and its cloud say to each other: services with their own triggers and sizes.

Source: facts `connectivity.telemetry_model` (assumptions: no maker publishes them) and
`connectivity.services`. A scenario names more of the facts' services, or brings its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twin import facts
from twin.cloud.cells import CloudError
from twin.settings import ServiceSettings

SERVICES = ("connection", "trip", "driving", "charging", "heartbeat", "dtc", "adas")
"""Services of every telematics unit; a value of `service` below 7 indexes this tuple.

`connection`: handshake of a unit that wakes (trip start, heartbeat) · `trip`: summary at start
and end · `driving`, `charging`: periodic · `heartbeat`: parked · `dtc`: diagnostic trouble code
with snapshot · `adas`: metadata of a driver assistance event.
"""

CONNECTION, TRIP, DRIVING, CHARGING, HEARTBEAT, DTC, ADAS = range(7)
ALARM = DTC
"""The service that the drop rule keeps (facts `store_and_forward.drop_policy`)."""

_MM_PER_KM = 1_000_000


@dataclass(frozen=True)
class Service:
    """One further service.

    Attributes
    ----------
    name : str
    trigger : str
        driving, charging, parked, any_time: once per `period_ms` in that state · trip: at start and
        end · distance, engaged: after exponential distances of mean `mean_mm`, driven or assisted.
    bytes : int
        On the wire, overhead included.
    down : bool
        From the cloud to the car.
    consent : bool
        Only from cars whose owner agreed to share more than the contract needs.
    propilot : int
        Lowest ProPILOT level of the cars that have it, 0 for all.
    """

    name: str
    trigger: str
    bytes: int
    period_ms: int = 0
    mean_mm: float = 0.0
    down: bool = False
    consent: bool = False
    propilot: int = 0


@dataclass(frozen=True)
class Services:
    """Sizes, periods and distances of one service class, and what a scenario adds.

    Attributes
    ----------
    names : tuple of str
        SERVICES, then the further ones from car to cloud.
    message_b : tuple of int
        Bytes on the wire of one message per name: application bytes plus TLS, TCP and IP.
    driving_ms, charging_ms, heartbeat_ms : int
        Periods.
    dtc_mm, adas_mm : float
        Mean distance between trouble codes (driven) and between assistance events (engaged), mm.
    up, down : tuple of Service
        Further services, by direction.
    """

    names: tuple[str, ...]
    message_b: tuple[int, ...]
    driving_ms: int
    charging_ms: int
    heartbeat_ms: int
    dtc_mm: float
    adas_mm: float
    up: tuple[Service, ...] = ()
    down: tuple[Service, ...] = ()

    @classmethod
    def of(cls, service_class: str, *, more: Sequence[str] = (), own: Sequence[ServiceSettings] = ()) -> Services:
        """Read the facts for one class of periodic telemetry: basic, bev or rich.

        Parameters
        ----------
        more : sequence of str
            Names in facts `connectivity.services`.
        own : sequence of ServiceSettings
            Services of the scenario.

        Raises
        ------
        CloudError
            For a name that no facts hold, or two services of one name.
        """
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
        further = [*_of_facts(more, over), *(_own(s, over) for s in own)]
        taken = list(SERVICES)
        for service in further:
            if service.name in taken:
                raise CloudError(f"cloud.services: {service.name!r} is there already; names must differ")
            taken.append(service.name)
        up, down = (tuple(s for s in further if s.down is way) for way in (False, True))
        return cls(
            names=(*SERVICES, *(s.name for s in up)),
            message_b=(
                int(model["tls_handshake_bytes"]),
                *(int(m["bytes"]) + over for m in application),
                *(s.bytes for s in up),
            ),
            driving_ms=int(1000 * model[name]["period_s"]),
            charging_ms=int(1000 * model["charging_periodic"]["period_s"]),
            heartbeat_ms=int(1000 * model["parked_heartbeat"]["period_s"]),
            dtc_mm=1e9 / float(model["dtc_snapshot"]["per_1000_km"]),
            adas_mm=1e8 / float(model["adas_event_clip_metadata"]["per_100_engaged_km"]),
            up=up,
            down=down,
        )


def _of_facts(names: Sequence[str], over: int) -> list[Service]:
    known = facts.load("connectivity")["services"]
    known = {name: table for name, table in known.items() if isinstance(table, dict)}
    found = []
    for name in names:
        if name not in known:
            raise CloudError(f"cloud.more_services: unknown service {name!r}; valid: {', '.join(sorted(known))}")
        found.append(_service(name, known[name], over))
    return found


def _own(settings: ServiceSettings, over: int) -> Service:
    table = settings.model_dump(exclude_none=True)
    return _service(settings.name, table, over)


def _service(name: str, table: dict[str, Any], over: int) -> Service:
    trigger = str(table["trigger"])
    period_s, per_1000_km = table.get("period_s"), table.get("per_1000_km")
    if trigger in {"driving", "charging", "parked", "any_time"} and not period_s:
        raise CloudError(f"service {name!r}: trigger {trigger} needs period_s")
    if trigger in {"distance", "engaged"} and not per_1000_km:
        raise CloudError(f"service {name!r}: trigger {trigger} needs per_1000_km")
    return Service(
        name=name,
        trigger=trigger,
        bytes=int(table["bytes"]) + over,
        period_ms=round(1000 * period_s) if period_s else 0,
        mean_mm=1000 * _MM_PER_KM / float(per_1000_km) if per_1000_km else 0.0,
        down=table.get("direction", "up") == "down",
        consent=bool(table.get("consent", False)),
        propilot=int(table.get("propilot", 0)),
    )
