"""Real-time messages of new-energy vehicles as GB/T 32960.3-2016 lays them out, byte by byte.

Lengths of all blocks: facts `connectivity.gbt32960`. Multi-byte values are big-endian; the
checksum is the exclusive or of everything between the start mark and itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import xor

START = b"##"
REAL_TIME = 0x02
COMMAND = 0xFE
"""Answer flag of a message that is no answer."""
PLAIN = 0x01
"""Not encrypted."""
HEADER_B = 24
OVERHEAD_B = 80
"""TLS, TCP and IP around a message on the wire (facts: example_bytes_on_wire)."""

_PLUGGED, _IDLE = 0x01, 0x03  # charging states: 1 parked and charging, 3 not charging


class FrameError(ValueError):
    """Bytes that are no GB/T 32960 message, or values that none can hold."""


@dataclass(frozen=True)
class Reading:
    """What a car says of itself; voltages per cell, temperatures per probe."""

    at: datetime
    speed_kmh: float = 0.0
    odometer_km: float = 0.0
    soc: float = 0.0
    longitude: float = 0.0
    latitude: float = 0.0
    charging: bool = False
    pack_v: float = 355.0
    current_a: float = 0.0
    cell_v: float = 3.7
    temperature_c: float = 20.0
    cells: int = 96
    probes: int = 4


def frame(vin: str, reading: Reading) -> bytes:
    """One real-time message (command 0x02).

    Parameters
    ----------
    vin : str
        17 characters.
    reading : Reading
        At most 200 cells (one frame) and 65,535 probes.

    Raises
    ------
    FrameError

    Examples
    --------
    >>> len(frame("TWN00000000000017", Reading(datetime(2022, 10, 12, 7))))
    314
    """
    if len(vin) != 17 or not vin.isascii():
        raise FrameError(f"VIN {vin!r}: must be 17 ASCII characters")
    if not 1 <= reading.cells <= 200 or not 1 <= reading.probes <= 65_535:
        raise FrameError(f"{reading.cells} cells, {reading.probes} probes: one frame holds 1 to 200 cells and a probe")
    at = reading.at
    body = bytes((at.year - 2000, at.month, at.day, at.hour, at.minute, at.second)) + b"".join(
        (_vehicle(reading), _motor(reading), _position(reading), _extremes(reading), _alarm(), _cells(reading))
    )
    head = struct.pack(">BB17sBH", REAL_TIME, COMMAND, vin.encode("ascii"), PLAIN, len(body))
    return START + head + body + bytes((reduce(xor, head + body, 0),))


def _clip(value: float, top: int) -> int:
    return min(max(round(value), 0), top)


def _vehicle(r: Reading) -> bytes:
    return struct.pack(
        ">BBBBHIHHBBBHBB",
        0x01,
        0x01 if not r.charging else 0x02,  # started, or off
        _PLUGGED if r.charging else _IDLE,
        0x01,  # purely electric
        _clip(10 * r.speed_kmh, 2200),
        _clip(10 * r.odometer_km, 9_999_999),
        _clip(10 * r.pack_v, 10_000),
        _clip(10 * (r.current_a + 1000), 20_000),
        _clip(100 * r.soc, 100),
        0x01,  # DC-DC works
        0x0E if not r.charging else 0x0F,  # D, P
        1000,  # insulation, kOhm
        0,
        0,
    )


def _motor(r: Reading) -> bytes:
    warm = _clip(r.temperature_c + 40, 250)
    state = 0x04 if r.speed_kmh == 0 else 0x01  # ready, or drawing power
    rpm = _clip(r.speed_kmh * 80 + 20_000, 65_531)
    current = _clip(10 * (r.current_a + 1000), 20_000)
    return struct.pack(">BBBBBHHBHH", 0x02, 1, 1, state, warm, rpm, 20_000, warm, _clip(10 * r.pack_v, 60_000), current)


def _position(r: Reading) -> bytes:
    flags = (r.latitude < 0) << 1 | (r.longitude < 0) << 2  # bit 0: 0 valid
    return struct.pack(">BBII", 0x05, flags, round(abs(r.longitude) * 1e6), round(abs(r.latitude) * 1e6))


def _extremes(r: Reading) -> bytes:
    cell, warm = _clip(1000 * r.cell_v, 15_000), _clip(r.temperature_c + 40, 250)
    return struct.pack(">BBBHBBHBBBBBB", 0x06, 1, 1, cell, 1, 1, cell, 1, 1, warm, 1, 1, warm)


def _alarm() -> bytes:
    return struct.pack(">BBIBBBB", 0x07, 0, 0, 0, 0, 0, 0)


def _cells(r: Reading) -> bytes:
    voltage = struct.pack(
        ">BBBHHHHB", 0x08, 1, 1, _clip(10 * r.pack_v, 10_000), _clip(10 * (r.current_a + 1000), 20_000),
        r.cells, 1, r.cells,
    ) + struct.pack(">H", _clip(1000 * r.cell_v, 60_000)) * r.cells  # fmt: skip
    probes = struct.pack(">BBBH", 0x09, 1, 1, r.probes) + bytes((_clip(r.temperature_c + 40, 250),)) * r.probes
    return voltage + probes


def read(message: bytes) -> tuple[str, Reading]:
    """VIN and reading of a real-time message; checks mark, length and checksum.

    Raises
    ------
    FrameError
    """
    if len(message) < HEADER_B + 1 or message[:2] != START:
        raise FrameError("not a GB/T 32960 message: no start mark '##'")
    command, _, vin, _, size = struct.unpack(">BB17sBH", message[2:HEADER_B])
    if len(message) != HEADER_B + size + 1:
        raise FrameError(f"length field says {HEADER_B + size + 1} bytes, there are {len(message)}")
    if reduce(xor, message[2:-1], 0) != message[-1]:
        raise FrameError("checksum does not fit")
    if command != REAL_TIME:
        raise FrameError(f"command 0x{command:02x} is not a real-time message (0x02)")
    body = message[HEADER_B:-1]
    year, month, day, hour, minute, second = body[:6]
    (_, _, charging, _, speed, odometer, volt, ampere, soc, *_) = struct.unpack(">BBBBHIHHBBBHBB", body[6:27])
    _, flags, lon, lat = struct.unpack(">BBII", body[41:51])
    cells, start = struct.unpack(">HH", body[83:87]) if len(body) >= 87 else (0, 0)
    del start
    cell = struct.unpack(">H", body[88:90])[0]
    after = 88 + 2 * cells
    probes, warm = struct.unpack(">HB", body[after + 3 : after + 6])
    return vin.decode("ascii"), Reading(
        at=datetime(2000 + year, month, day, hour, minute, second),
        speed_kmh=speed / 10,
        odometer_km=odometer / 10,
        soc=soc / 100,
        longitude=(-1 if flags & 4 else 1) * lon / 1e6,
        latitude=(-1 if flags & 2 else 1) * lat / 1e6,
        charging=charging == _PLUGGED,
        pack_v=volt / 10,
        current_a=ampere / 10 - 1000,
        cell_v=cell / 1000,
        temperature_c=warm - 40,
        cells=cells,
        probes=probes,
    )
