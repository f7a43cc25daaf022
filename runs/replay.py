"""The messages of a run, in order of time, as a real fleet would send them.

Reads `messages.parquet`, `cars.parquet` and `map.parquet` of a results folder. Names follow the
COVESA Vehicle Signal Specification; electric cars can speak GB/T 32960 instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runs.results import RunResult
from twin.cloud import gbt32960
from twin.cloud.services import CHARGING, DRIVING, Services

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("vss", "gbt32960")
BATCH = 50_000
_COLUMNS = (
    "time_s",
    "car_id",
    "service",
    "messages",
    "period_s",
    "link_id",
    "speed_kmh",
    "soc",
    "odometer_km",
    "engaged",
)


class ReplayError(ValueError):
    """A run cannot be replayed; the message is one line for the user."""


@dataclass(frozen=True)
class Message:
    """One message on its way to a broker."""

    at_s: float
    topic: str
    payload: bytes


class Replay:
    """A run's messages, sorted by time; `len` says how many.

    Parameters
    ----------
    result : RunResult
    form : str
        vss: every message as JSON · gbt32960: real-time frames, from electric cars that drive or charge.
    first_s, until_s : float
        Part of the run to replay.
    copies : int
        Every car speaks for so many, each with its own VIN: a small run loads a large system.

    Raises
    ------
    ReplayError
        When the run kept no messages, or none is left.
    """

    def __init__(
        self,
        result: RunResult,
        *,
        form: str = "vss",
        first_s: float = 0.0,
        until_s: float = float("inf"),
        copies: int = 1,
    ) -> None:
        if form not in FORMATS:
            raise ReplayError(f"unknown format {form!r}; valid: {', '.join(FORMATS)}")
        if copies < 1:
            raise ReplayError(f"copies {copies}: must be at least 1")
        if "messages" not in result.tables:
            raise ReplayError(
                f"{result.path}: the run kept no messages; run it again with --set cloud.message_log_cars=N, "
                "N at least its number of cars"
            )
        cloud = result.scenario.cloud
        self.services = Services.of(cloud.service_class, more=cloud.more_services, own=cloud.services).names
        self.form, self.copies, self.path = form, copies, result.path
        self.start = datetime.fromisoformat(result.manifest["start"])
        table = result.table("messages", list(_COLUMNS))
        self._column = {name: table[name].to_numpy(zero_copy_only=False) for name in _COLUMNS}
        self._soc = np.nan_to_num(self._column["soc"].astype(float), nan=-1.0)
        cars = result.table("cars", ["model", "brand", "battery_kwh", "powertrain"])
        self._model, self._brand = (cars[name].to_pylist() for name in ("model", "brand"))
        electric = np.array([kind == "bev" for kind in cars["powertrain"].to_pylist()], bool)
        self._lon, self._lat = _middle(result)

        count = self._column["messages"].astype(np.int64)
        if form == "gbt32960":
            speaks = electric[self._column["car_id"]] & np.isin(self._column["service"], (DRIVING, CHARGING))
            count = np.where(speaks, count, 0)
        row = np.repeat(np.arange(len(count), dtype=np.int32), count)
        back = np.repeat(np.cumsum(count), count) - 1 - np.arange(len(row))  # messages of the row still to come
        time = self._column["time_s"][row] - back * self._column["period_s"][row].astype(float)
        within = (time >= first_s) & (time < until_s)
        row, time = row[within], time[within]
        order = np.argsort(time, kind="stable")
        self._row, self._time = row[order], time[order]
        if not len(self._row):
            span = "" if first_s == 0 and until_s == float("inf") else f" from {first_s:g} s to {until_s:g} s"
            raise ReplayError(f"{result.path}: no messages to replay{span} in format {form}")

    def __len__(self) -> int:
        return len(self._row) * self.copies

    @property
    def span_s(self) -> float:
        """Time from the first message to the last."""
        return float(self._time[-1] - self._time[0])

    def messages(self, *, skip: int = 0) -> Iterator[Message]:
        """All messages in order of time, but for the first `skip`; `at_s` counts from the first of all."""
        begin = float(self._time[0])
        first, rest = divmod(skip, self.copies)
        for low in range(first, len(self._row), BATCH):
            rows = self._row[low : low + BATCH]
            times = self._time[low : low + BATCH].tolist()
            column = {name: values[rows].tolist() for name, values in self._column.items()}
            soc = self._soc[rows].tolist()
            links = np.asarray(column["link_id"])
            lon, lat = self._lon[links].tolist(), self._lat[links].tolist()
            for i, at_s in enumerate(times):
                car, service = column["car_id"][i], column["service"][i]
                stamp = self.start + timedelta(seconds=at_s)
                name = self.services[service]
                for copy in range(rest, self.copies):
                    vin = f"TWN{copy:05d}{car:09d}"
                    speed, km = column["speed_kmh"][i], column["odometer_km"][i]
                    if self.form == "vss":
                        payload = _vss(
                            vin, stamp, (low + i) * self.copies + copy, name, self._brand[car], self._model[car],
                            speed, km, soc[i], lon[i], lat[i], column["engaged"][i],
                        )  # fmt: skip
                    else:
                        payload = gbt32960.frame(
                            vin,
                            gbt32960.Reading(
                                stamp, speed_kmh=speed, odometer_km=km, soc=max(soc[i], 0.0), longitude=lon[i],
                                latitude=lat[i], charging=service == CHARGING,
                            ),
                        )  # fmt: skip
                    yield Message(at_s - begin, f"fleet/{vin}/{name}", payload)
                rest = 0


def _vss(
    vin: str, at: datetime, serial: int, service: str, brand: str, model: str, speed: float, km: float, soc: float,
    lon: float, lat: float, engaged: int,
) -> bytes:  # fmt: skip
    battery = f',"Vehicle.Powertrain.TractionBattery.StateOfCharge.Current":{100 * soc:.2f}' if soc >= 0 else ""
    return (
        f'{{"timestamp":"{at.isoformat(timespec="milliseconds")}","serial":{serial},"service":"{service}",'
        f'"Vehicle.VehicleIdentification.VIN":"{vin}","Vehicle.VehicleIdentification.Brand":{json.dumps(brand)},'
        f'"Vehicle.VehicleIdentification.Model":{json.dumps(model)},"Vehicle.Speed":{speed:.1f},'
        f'"Vehicle.TraveledDistance":{km:.3f},"Vehicle.CurrentLocation.Longitude":{lon:.6f},'
        f'"Vehicle.CurrentLocation.Latitude":{lat:.6f},"Vehicle.ADAS.ActiveAutonomyLevel":'
        f'"{"SAE_2" if engaged else "SAE_0"}"{battery}}}'
    ).encode()


def _middle(result: RunResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the middle of every link."""
    import shapely

    shapes = shapely.from_wkb(result.table("map", ["geometry"])["geometry"].to_pylist())
    middle = shapely.line_interpolate_point(shapes, 0.5, normalized=True)
    return shapely.get_x(middle), shapely.get_y(middle)


def write(replay: Replay, target: Path) -> int:
    """Write the stream to a file: JSON lines, or Parquet with topic, key, time_s and value (for a Kafka loader).

    Returns how many messages it holds.

    Raises
    ------
    ReplayError
        When the ending says neither, or JSON lines are asked for binary payloads.
    """
    if target.suffix == ".parquet":
        return _write_parquet(replay, target)
    if target.suffix != ".jsonl":
        raise ReplayError(f"{target}: must end in .parquet or .jsonl")
    if replay.form != "vss":
        raise ReplayError(f"{target}: binary payloads go to .parquet")
    part = target.with_name(target.name + ".part")
    count = 0
    with part.open("wb") as file:
        for message in replay.messages():
            file.write(message.payload + b"\n")
            count += 1
    part.replace(target)
    return count


def _write_parquet(replay: Replay, target: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("topic", pa.string()), ("key", pa.string()), ("time_s", pa.float64()), ("value", pa.binary())])
    part = target.with_name(target.name + ".part")
    count = 0
    with pq.ParquetWriter(part, schema, write_page_checksum=True) as writer:
        batch: list[Message] = []

        def table() -> pa.Table:
            topics = [m.topic for m in batch]
            columns = [topics, [t.split("/")[1] for t in topics], [m.at_s for m in batch], [m.payload for m in batch]]
            return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)

        for message in replay.messages():
            batch.append(message)
            if len(batch) == BATCH:
                writer.write_table(table())
                count += len(batch)
                batch = []
        writer.write_table(table())
        count += len(batch)
    part.replace(target)
    return count
