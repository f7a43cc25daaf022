"""Random toy cities with faults: one seed is one city, one scenario and everything that goes wrong in it.

    python -m tests.faults --seeds 2000          # from 0 on
    python -m tests.faults --seed 17             # one seed again, with what it is

Cars break down on the road, sockets break, the cloud is down, places lose their signal, installs fail, and the run is
killed at a random tick and goes on from a checkpoint file. What must hold: every ledger is 0 at every check, and the
laws of `problems`. A failure prints the command that replays it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maps.network import CityMap
from maps.toy import toy_city
from runs.columns import to_arrow
from runs.scenario import Scenario
from twin import checkpoint_file
from twin.checkpoint import Snapshot, capture, restore
from twin.fleet.fleet import State
from twin.model import Twin
from twin.ota.states import Step


@dataclass(frozen=True)
class Fate:
    """What goes wrong outside the scenario: cars by tick, the share of installs that fail, the tick of the kill."""

    breakdowns: dict[int, list[int]] = field(default_factory=dict)
    kill_tick: int = -1
    failing: float = 0.0


def draw_case(seed: int) -> tuple[CityMap, Scenario, Fate]:
    """City, scenario and fate of a seed."""
    rng = np.random.default_rng(seed)
    city = toy_city(
        int(rng.integers(3, 6)),
        seed=seed,
        length_m=float(rng.uniform(60, 400)),
        homes=int(rng.integers(5, 90)),
        rings_km=((2.0, 5.0), (2.0, 5.0, 10.0, 20.0), (3.0, 40.0))[int(rng.integers(3))],
        country=("JP", "DE", "US")[int(rng.integers(3))],
    )
    hours = int(rng.integers(6, 25))
    tick_s = int(rng.choice([60, 300, 600, 900, 47]) if hours < 9 else rng.choice([300, 600, 900]))
    bev = float(rng.choice([0.0, 0.3, 0.7, 1.0]))
    down = sorted(rng.uniform(0, hours, 4).round(2).tolist())
    cars = int(rng.choice([1, 3, 12, 30]))
    changes: dict[str, Any] = {
        "seed": seed,
        "until": f"{hours}h",
        "start": f"2022-10-{int(rng.integers(10, 17))}T{int(rng.integers(0, 24)):02d}:30:00",
        "fleet.cars": cars,
        "fleet.market": str(rng.choice(["japan", "europe", "us"])),
        "fleet.bev": bev,
        "fleet.epower": round((1 - bev) * float(rng.uniform(0, 1)), 3),
        "fleet.connected": float(rng.choice([0.0, 0.5, 1.0])),
        "fleet.propilot": float(rng.choice([0.0, 0.5, 1.0])),
        "demand.moving": float(rng.choice([0.5, 1.0])),
        "demand.other_traffic": float(rng.choice([0.0, 0.5, 2.0])),
        "demand.outside": float(rng.choice([0.0, 0.25, 1.0])),
        "traffic.tick_s": tick_s,
        "traffic.junctions": str(rng.choice(["capacity", "priority"])),
        "traffic.informed": float(rng.choice([0.0, 0.5])),
        "climate.ambient_c": float(rng.uniform(-30, 40)),
        "climate.precipitation_mm_h": float(rng.choice([0.0, 3.0])),
        "charging.policy": str(rng.choice(["uncontrolled", "timer", "spread", "price", "v2h", "v2g"])),
        "charging.sharing": str(rng.choice(["equal", "first", "laxity"])),
        "charging.feeder_cap_kw": float(rng.choice([2.0, 10.0, 1000.0])),
        "charging.home_access": float(rng.choice([0.0, 0.5, 1.0])),
        "charging.work_access": float(rng.choice([0.0, 1.0])),
        "charging.failures_per_1000_h": float(rng.choice([0.0, 300.0, 3000.0])),
        "charging.repair_h": float(rng.choice([0.1, 2.0])),
        "charging.patience_min": float(rng.choice([1.0, 45.0])),
        "cloud.outage": [[a, b] for a, b in (down[:2], down[2:]) if b > a] if rng.random() < 0.6 else [],
        "cloud.holes": [[float(rng.uniform(-0.01, 0.01)), float(rng.uniform(-0.01, 0.01)), 900.0]],
        "cloud.other_users": float(rng.choice([0.0, 0.95, 1.0])),
        "cloud.cell_uplink_mbit_s": float(rng.choice([0.001, 16.0])),
        "cloud.workers": int(rng.integers(1, 3)),
        "cloud.worker_messages_per_s": float(rng.choice([0.05, 1000.0])),
        "ota.start_h": 0.0,
        "ota.group_gap_h": 0.5,
        "ota.package_mb": float(rng.choice([0.001, 20.0, 2000.0])),
        "ota.consent": str(rng.choice(["driver", "none"])),
        "ota.slots": str(rng.choice(["dual", "single"])),
        "ota.resumable": bool(rng.random() < 0.5),
        "ota.dealer": bool(rng.random() < 0.3),
        "ota.install_min": float(rng.choice([1.0, 40.0])),
        "ota.error_threshold": float(rng.choice([0.1, 1.0])),
    }
    ticks = hours * 3600 // tick_s
    broken = {int(t): rng.integers(0, cars, 2).tolist() for t in rng.integers(0, ticks, int(rng.integers(0, 60)))}
    fate = Fate(
        breakdowns=broken,
        kill_tick=int(rng.integers(1, ticks)) if rng.random() < 0.5 else -1,
        failing=float(rng.choice([0.0, 0.5, 1.0])),
    )
    return city, Scenario(name=f"seed-{seed}", map="toy").changed(changes), fate


def run_seed(seed: int, *, check_every: int = 24) -> list[str]:
    """Everything that is wrong with the run of a seed."""
    city, scenario, fate = draw_case(seed)
    twin = _built(city, scenario, fate)
    found: list[str] = []
    while not twin.world.done and not found:
        if twin.steps == fate.kill_tick:
            twin = _killed(twin, _built(city, scenario, fate))
        break_down(twin, fate.breakdowns.get(twin.steps, []))
        twin.step()
        if twin.steps % check_every == 0:
            found = [f"{line} after tick {twin.steps}" for line in open_ledgers(twin)]
    twin.world.finish()
    return found or open_ledgers(twin) + problems(twin)


def _built(city: CityMap, scenario: Scenario, fate: Fate) -> Twin:
    twin = scenario.build_on(city)
    if fate.failing:
        for campaign in twin.world.updates.campaigns:
            campaign._install_works = (1 - fate.failing, 1 - fate.failing)
    return twin


def _killed(twin: Twin, other: Twin) -> Twin:
    """The state in a file, and another twin with it."""
    state = capture(twin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        with path.open("wb") as file:
            checkpoint_file.write(file, {"tree": state.tree, "unsaved": state.unsaved}, state.arrays)
        content, arrays = checkpoint_file.read(path)
    rows = {place: {n: v.copy() for n, v in t.arrays().items()} for place, t in state.tables.items()}
    restore(other, Snapshot(content["tree"], arrays, unsaved=content["unsaved"]), rows)
    return other


def break_down(twin: Twin, cars: list[int]) -> None:
    """Cars that are on the road, counted round from these numbers, stop for good and are towed."""
    world = twin.world
    for number in cars:
        driving = np.flatnonzero((world.fleet.state == State.DRIVING) & ~world._towed)
        if len(driving):
            car = int(driving[number % len(driving)])
            world._towed[car] = True
            world.streets.cut_short(car, world.now_ms)


def open_ledgers(twin: Twin) -> list[str]:
    return [f"ledger {name} {value:+,}" for name, value in twin.world.ledger().items() if value]


def problems(twin: Twin) -> list[str]:
    """Laws of a finished run, read from its tables and not from the ledgers."""
    world, fleet = twin.world, twin.world.fleet
    tables = {table.name: to_arrow(table).to_pandas() for table in world.tables()}  # infinite numbers are refused
    cars, trips, sessions = tables["cars"], tables["trips"], tables["sessions"]
    charged = sessions.groupby("car_id")["energy_kwh"].sum().reindex(range(len(fleet)), fill_value=0.0)
    laws = {
        "a car is in two states or none": int(cars["state"].isin([s.name.lower() for s in State]).sum()) != len(fleet),
        "a state of charge is not in 0 to 1": bool(((cars["soc_end"] < 0) | (cars["soc_end"] > 1)).any()),
        "engaged farther than driven": bool((cars["engaged_km"] > cars["km"] + 1e-9).any()),
        "battery and sessions differ": not np.allclose(charged, cars["charged_kwh"], atol=1e-6),
        "trips run backwards": bool(
            ((trips["arrive_s"] < trips["enter_s"]) | (trips["enter_s"] < trips["depart_s"])).any()
        ),
        "sessions run backwards": bool(
            ((sessions["plugged_s"] < sessions["asked_s"]) | (sessions["unplugged_s"] < sessions["plugged_s"])).any()
        ),
        "a stuck car has no reason": bool(((cars["state"] == "stuck") != (cars["reason"] != "")).any()),
        "trips of cars do not add up": not np.allclose(
            trips.groupby("car_id")["km"].sum().reindex(range(len(fleet)), fill_value=0.0), cars["km"], atol=1e-5
        ),
        "fuel in a battery car": bool((cars.loc[cars["powertrain"] == "bev", "litres"] != 0).any()),
        "more delivered than generated": bool((cars["delivered_bytes"] > cars["generated_bytes"]).any()),
        "bytes of a car that is not connected": bool((cars.loc[~cars["connected"], "generated_bytes"] != 0).any()),
        "an update is installed without its bytes": any(
            bool((c.got_b[c.state == Step.INSTALLED] < c.size_b[c.state == Step.INSTALLED]).any())
            for c in world.updates.campaigns
        ),
    }
    return [name for name, broken in laws.items() if broken]


def replay(seed: int) -> str:
    return f"python -m tests.faults --seed {seed}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=200)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--seed", type=int)
    given = options.parse_args()
    if given.seed is not None:
        city, scenario, fate = draw_case(given.seed)
        print(scenario.to_toml(), f"{city.network.n_nodes} nodes; {fate}", sep="\n")
        found = run_seed(given.seed, check_every=1)
        print("\n".join(found) or "nothing is wrong")
        return 1 if found else 0
    began, failed = time.process_time(), 0
    for seed in range(given.first, given.first + given.seeds):
        try:
            found = run_seed(seed)
        except Exception:
            found = [traceback.format_exc()]
        if found:
            failed += 1
            print(f"{replay(seed)}\n  " + "\n  ".join(found), flush=True)
    print(f"{given.seeds} seeds, {failed} failed, {time.process_time() - began:.0f} s of one core")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
