"""A results folder as the contract describes it, from a made-up run, for the tests of pictures and pages.

The figures of `summary.json` are added up here row by row, apart from the code under test.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from runs.results import FORMAT, PROGRAM

SERVICES = ("trip", "driving", "charging", "heartbeat")
CLASSES = ("motorway", "motorway_link", "primary", "secondary", "residential")
OUTSIDE = 1 << 6


def write_results(
    folder: Path,
    *,
    blocks: int = 14,
    hours: int = 24,
    motorway: bool = True,
    connected: bool = True,
    charging: bool = True,
    name: str = "toyville",
    seed: int = 3,
) -> Path:
    """Write every file that pictures and pages read; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    links = _map(folder, blocks, motorway=motorway)
    sites = _sites(folder, random, blocks, charging=charging)
    grid = _grid(folder, random, sites, hours, charging=charging)
    autonomy = _autonomy(folder, random, hours, motorway=motorway)
    cloud = _cloud(folder, random, hours, connected=connected)
    _links(folder, random, links, hours)
    peak = autonomy["engaged_km"] / autonomy["km"]
    summary = {
        "fleet": {"cars": 1500, "trips": 3120, "arrived": 3071, "stuck": 0, "driving_km": autonomy["km"]},
        "grid": grid,
        "autonomy": {
            "share": peak,
            "engaged_km": autonomy["engaged_km"],
            "equipped_share": 0.41,
            "share_of_equipped_km": 0.31,
            "possible_share": 0.4,
            "by_road_class": autonomy["by_road_class"],
        },
        "cloud": cloud,
        "ota": {"campaigns": 1, "installed": 402, "failed": 3, "bytes": 60_300_000_000},
        "fuel": {"litres": 812.25, "co2_kg": 1883.6},
        "queue": {"sessions": 388, "waited": 31, "mean_wait_s": 412.75, "balked": 6},
        "estimates": {
            "grid_peak_kw": _estimate(grid["peak_kw"], 522, "kW", "cars of this run"),
            "grid_energy_kwh": _estimate(grid["energy_kwh"], 522, "kWh", "cars of this run"),
            "autonomy_share": _estimate(peak, 1500, "share", "cars of this run"),
            "cloud_mb_per_connected_car_day": _estimate(
                cloud["mb_per_connected_car_day"], 640, "MB/car/day", "connected cars of this run"
            ),
            "cloud_generated_bytes": _estimate(cloud["generated_bytes"], 640, "bytes", "connected cars of this run"),
        },
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")
    (folder / "scenario.toml").write_text(
        f'name = {json.dumps(name, ensure_ascii=False)}\nseed = {seed}\nstart = "2022-10-12T00:00:00"\n'
        f'until = "{hours}h"\nmap = "helsinki"\n\n[fleet]\ncars = 1500\n\n[grid]\ninterval_min = 15\n',
        "utf-8",
    )
    manifest = {
        "program": PROGRAM,
        "format": FORMAT,
        "status": "done",
        "seed": seed,
        "start": "2022-10-12T00:00:00",
        "timezone": "Europe/Helsinki",
        "until_s": hours * 3600,
        "versions": {"python": "3.13.1", "mesa": "3.5.1", "simpy": "4.1.2"},
        "cpu": "x86-64-v3",
        "inputs": {"map": "9f" * 32},
        "ledger": {"cars": 0, "joules": 0, "bytes": 0, "trips": 0},
        "phase_s": {"move": 9.1, "decide": 1.2},
        "peak_memory_mb": 512.0,
        "attribution": "© OpenStreetMap contributors, data available under the Open Database License (ODbL) 1.0",
        "files": {f.name: {"rows": 1, "sha256": "ab" * 32} for f in sorted(folder.glob("*.parquet"))},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
    return folder


def _estimate(mean: float, n: int, unit: str, scaled_by: str) -> dict[str, object]:
    return {"mean": mean, "low": mean * 0.93, "high": mean * 1.08, "n": n, "unit": unit, "scaled_by": scaled_by}


def write_table(folder: Path, table: str, /, **columns: object) -> None:
    """One Parquet file from plain columns."""
    pq.write_table(pa.table(columns), folder / f"{table}.parquet", write_page_checksum=True, compression="zstd")


def _lonlat(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 24.94 + x / (111_320 * np.cos(np.radians(60.17))), 60.17 + y / 111_320


def _map(folder: Path, blocks: int, *, motorway: bool) -> dict[str, np.ndarray]:
    """A slightly bent grid of streets, 120 m blocks, two links per street, and one road far outside."""
    side = np.arange(blocks + 1)
    across = np.array([(i, j, i + 1, j) for i in side[:-1] for j in side], float)
    along = np.array([(i, j, i, j + 1) for i in side for j in side[:-1]], float)
    ends = np.concatenate([across, along])
    ends = np.concatenate([ends, ends[:, [2, 3, 0, 1]]]) * 120
    centre = blocks * 60
    road = np.where((ends[:, 1] == ends[:, 3]) & (np.abs(ends[:, 1] - centre) < 61), "primary", "residential").astype(
        object
    )
    road[(ends[:, 0] == ends[:, 2]) & (np.abs(ends[:, 0] - centre) < 61)] = "secondary"
    out = np.array([[0, centre, -1, centre], [-1, centre, -1, centre]]) * 1.0
    out[0, 2] = out[1, 0] = -20_000
    out[1, 2] = -40_000
    ends = np.concatenate([ends, out])
    road = np.concatenate([road, np.array(["motorway" if motorway else "primary"] * 2, object)])
    middle = (ends[:, :2] + ends[:, 2:]) / 2 + 9 * np.sin(ends[:, :2] / 200)
    x = np.stack([ends[:, 0], middle[:, 0], ends[:, 2]], 1).ravel()
    y = np.stack([ends[:, 1], middle[:, 1], ends[:, 3]], 1).ravel()
    lon, lat = _lonlat(x, y)
    shapes = shapely.linestrings(np.column_stack([lon, lat]), indices=np.repeat(np.arange(len(ends)), 3))
    flags = np.zeros(len(ends), np.uint16)
    flags[-2:] = OUTSIDE
    ids = np.arange(len(ends))
    length = np.hypot(ends[:, 0] - ends[:, 2], ends[:, 1] - ends[:, 3])
    write_table(
        folder,
        "map",
        link_id=ids,
        **{"class": [str(c) for c in road]},
        flags=flags,
        length_m=length,
        geometry=shapely.to_wkb(shapes).tolist(),
    )
    return {"id": ids, "main": np.isin(road, ["primary", "secondary", "motorway"])}


def _sites(folder: Path, random: np.random.Generator, blocks: int, *, charging: bool) -> dict[str, np.ndarray]:
    kind = np.array(["home"] * 40 + ["work"] * 8 + ["public"] * 6 + ["fast"] * 2) if charging else np.empty(0, "U6")
    x, y = random.uniform(0, blocks * 120, (2, len(kind)))
    lon, lat = _lonlat(x, y)
    write_table(
        folder,
        "sites",
        site_id=np.arange(len(kind)),
        kind=pa.array(kind.tolist(), pa.string()),
        name=pa.array([f"Site <{i}> & Söhne" for i in range(len(kind))], pa.string()),
        kw=np.full(len(kind), 50.0),
        geometry=pa.array(list(shapely.to_wkb(shapely.points(lon, lat))), pa.binary()),
    )
    return {"kind": kind, "feeder": np.arange(len(kind)) // 4}


def _grid(
    folder: Path, random: np.random.Generator, sites: dict[str, np.ndarray], hours: int, *, charging: bool
) -> dict:
    bend = {"home": 20.0, "work": 9.5, "public": 13.0, "fast": 17.0}
    top = {"home": 11.0, "work": 18.0, "public": 20.0, "fast": 85.0}
    rows: list[tuple[int, int, int, str, float]] = []
    for t in range(0, hours * 3600, 900):
        hour = (t / 3600) % 24
        for site, kind in enumerate(sites["kind"]):
            away = min(abs(hour - bend[kind]), 24 - abs(hour - bend[kind]))
            power = top[kind] * np.exp(-((away / 2.2) ** 2)) * random.uniform(0.6, 1)
            if power > 0.2:
                rows.append((t, site, int(sites["feeder"][site]), str(kind), float(power)))
    if not charging:
        rows = []
    time_s, site_id, feeder_id, kinds, power_kw = (list(c) for c in zip(*rows, strict=True)) if rows else ([],) * 5
    write_table(
        folder,
        "grid_load",
        time_s=pa.array(time_s, pa.int64()),
        site_id=pa.array(site_id, pa.int32()),
        feeder_id=pa.array(feeder_id, pa.int32()),
        kind=pa.array(kinds, pa.string()),
        power_kw=pa.array(power_kw, pa.float64()),
    )
    load: dict[int, float] = {}
    for t, *_, power in rows:
        load[t] = load.get(t, 0.0) + power
    peak_at = max(load, key=lambda t: load[t]) if load else 0
    return {
        "energy_kwh": sum(load.values()) / 4,
        "peak_kw": load.get(peak_at, 0.0),
        "peak_time_s": peak_at,
        "coincidence": 0.31,
    }


def _autonomy(folder: Path, random: np.random.Generator, hours: int, *, motorway: bool) -> dict:
    rows = []
    for hour in range(hours):
        busy = 20 + 300 * np.exp(-((((hour % 24) - 8) / 2) ** 2)) + 330 * np.exp(-((((hour % 24) - 17) / 2.5) ** 2))
        for road in CLASSES if motorway else CLASSES[2:]:
            for model, level in (("leaf-40", "1.0"), ("note-epower", "none"), ("skyline", "2.0")):
                km = float(busy * random.uniform(0.5, 1) * {"motorway": 1.4, "motorway_link": 0.1}.get(road, 0.6))
                engaged = km * random.uniform(0.1, 0.3) if road == "motorway" and level != "none" else 0.0
                rows.append((hour, road, model, level, km, engaged, int(engaged / 6)))
    columns = [list(c) for c in zip(*rows, strict=True)]
    names = ("hour", "road_class", "model", "propilot_level", "km", "engaged_km", "engagements")
    write_table(folder, "autonomy", **dict(zip(names, columns, strict=True)))
    km, engaged = sum(r[4] for r in rows), sum(r[5] for r in rows)
    by_class = {
        c: sum(r[5] for r in rows if r[1] == c) / max(sum(r[4] for r in rows if r[1] == c), 1e-9)
        for c in CLASSES
        if any(r[1] == c for r in rows)
    }
    return {"km": km, "engaged_km": engaged, "by_road_class": by_class}


def _cloud(folder: Path, random: np.random.Generator, hours: int, *, connected: bool) -> dict:
    rows, backlog = [], dict.fromkeys(SERVICES, 0)
    for t in range(0, hours * 3600, 900) if connected else ():
        hour = (t / 3600) % 24
        for service in SERVICES:
            base = {"trip": 3e5, "driving": 2e6, "charging": 2e5, "heartbeat": 4e4}[service]
            shape = (
                1
                if service == "heartbeat"
                else 0.05 + np.exp(-(((hour - 8) / 2) ** 2)) + np.exp(-(((hour - 17) / 2.5) ** 2))
            )
            generated = int(base * shape * random.uniform(0.8, 1))
            out = 14 <= hour < 15  # the cloud is down for an hour
            delivered = 0 if out else generated + backlog[service]
            dropped = generated // 5 if out else 0
            backlog[service] += generated - delivered - dropped
            rows.append(
                (t, 0, service, generated, delivered, backlog[service], dropped, generated // 50, generated // 900)
            )
    names = (
        "time_s",
        "cell_id",
        "service",
        "generated_bytes",
        "delivered_bytes",
        "buffered_bytes",
        "dropped_bytes",
        "resent_bytes",
        "messages",
    )
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in names]
    kinds = [pa.string() if n == "service" else pa.int64() for n in names]
    write_table(folder, "cloud", **{n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)})
    total = [sum(r[k] for r in rows) for k in range(3, 7) if k != 5] if rows else [0, 0, 0]
    per_interval: dict[int, int] = {}
    for row in rows:
        per_interval[row[0]] = per_interval.get(row[0], 0) + row[4]
    return {
        "generated_bytes": total[0],
        "delivered_bytes": total[1],
        "buffered_bytes": sum(backlog.values()),
        "dropped_bytes": total[2],
        "peak_bytes_per_s": max(per_interval.values(), default=0) / 900,
        "mb_per_connected_car_day": total[0] / 1e6 / 640,
    }


def _links(folder: Path, random: np.random.Generator, links: dict[str, np.ndarray], hours: int) -> None:
    n = len(links["id"])
    hour = np.repeat(np.arange(hours), n)
    busy = 0.1 + np.exp(-((((hour % 24) - 8) / 2.0) ** 2)) + np.exp(-((((hour % 24) - 17) / 2.5) ** 2))
    vehicles = random.poisson(np.tile(np.where(links["main"], 240, 9), hours) * busy)
    write_table(
        folder,
        "links",
        link_id=np.tile(links["id"], hours),
        hour=hour,
        vehicles=vehicles,
        mean_speed_kmh=np.where(vehicles > 0, 31.5 / (1 + busy), np.nan),  # slow in the rush
        travel_time_s=np.full(n * hours, 14.0),
        queue=np.zeros(n * hours),
    )
