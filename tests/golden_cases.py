"""A dozen small runs whose every table is known by digest.

python -m tests.golden_cases                 # compare with tests/golden
python -m tests.golden_cases --write         # make them anew (make golden); the changelog says why
python -m tests.golden_cases --cold          # compare runs of a process that compiles every kernel anew
python -m tests.golden_cases --digests NAME… # print digests as JSON; what the tests run in other processes
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from maps.toy import toy_city
from runs.columns import table_digest, to_arrow
from runs.scenario import Scenario
from twin.agents import Question, part
from twin.model import Twin
from twin.settings import Settings

FOLDER = Path(__file__).parent / "golden"
HOUR_RAIN = [float(h % 12) for h in range(24)]


@dataclass(frozen=True)
class Case:
    """A toy city and a scenario on it."""

    scenario: Scenario
    crossings: int = 5
    homes: int = 120
    country: str = "JP"

    def city(self) -> CityMap:
        return _city(self.crossings, self.homes, self.country)


@cache
def _city(crossings: int, homes: int, country: str) -> CityMap:
    return toy_city(crossings, homes=homes, country=country)


def _of(name: str, *, crossings: int = 5, homes: int = 120, country: str = "JP", **changes: Any) -> Case:
    plain = Scenario(name=name, map="toy").but(fleet__cars=60, fleet__connected=1.0, traffic__tick_s=300, until="12h")
    return Case(plain.but(**changes), crossings, homes, country)


CASES = {
    case.scenario.name: case
    for case in (
        _of("plain", traffic__tick_s=60),
        _of("seed-2", traffic__tick_s=60, seed=2),
        _of("weekend-europe", country="DE", fleet__market="europe", start="2022-10-15T00:00:00"),
        _of("electric-cold", fleet__bev=1.0, fleet__epower=0.0, climate__ambient_c=-10.0, until="24h"),
        _of("no-home-sockets", fleet__bev=0.9, fleet__epower=0.1, charging__home_access=0.0, until="24h"),
        _of("timer", fleet__bev=0.9, fleet__epower=0.1, charging__policy="timer", start="2022-10-12T15:00:00"),
        _of("assisted-in-rain", fleet__propilot=1.0, autonomy__use=1.5, climate__precipitation_mm_h=1.0),
        _of("cloud-down", cloud__outage=[[2.0, 5.0], [7.0, 7.5]], cloud__workers=1, cloud__worker_messages_per_s=0.2),
        _of("updates", ota__package_mb=20.0, ota__start_h=0.0, ota__group_gap_h=1.0, until="30h"),
        _of("dense", crossings=4, fleet__cars=100, demand__other_traffic=3.0, traffic__junctions="priority"),
        _of("informed", traffic__informed=0.5, traffic__days_of_learning=2, demand__other_traffic=2.0),
        _of("coarse", traffic__tick_s=600, grid__interval_min=30, climate__ambient_c=HOUR_RAIN),
    )
}


class Piecewise(Twin):
    """Asks its minds in pieces of seven rows."""

    def ask(self, rows: NDArray[np.int64], question: Question) -> NDArray[Any]:
        pieces = []
        for first in range(0, max(len(rows), 1), 7):
            chosen = np.zeros(len(rows), bool)
            chosen[first : first + 7] = True
            pieces.append(super().ask(rows[chosen], part(question, chosen)))
        return np.concatenate(pieces)


def live(case: Case, *, kind: type[Twin] = Twin) -> Twin:
    """Run a case to its end."""
    twin = _built(case, kind)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    return twin


def _built(case: Case, kind: type[Twin]) -> Twin:
    s = case.scenario
    rooms = {name: getattr(s, name) for name in type(s).model_fields if isinstance(getattr(s, name), Settings)}
    return kind(case.city(), seed=s.seed, start=s.start, until_s=s.until_s, **rooms)


def digests(twin: Twin) -> dict[str, str]:
    """Digest of every table, of the summary and of the ledgers."""
    found = {table.name: table_digest(to_arrow(table)) for table in twin.world.tables()}
    summary = json.dumps(twin.world.summary(), sort_keys=True, default=float)
    return found | {"summary": hashlib.sha256(summary.encode()).hexdigest()}


def figures(twin: Twin) -> dict[str, float]:
    """A few figures that tell a reader how far a result has moved; the digests are what is compared."""
    summary = twin.world.summary()
    return {
        "trips_arrived": summary["fleet"]["arrived"],
        "driving_km": round(summary["fleet"]["driving_km"], 3),
        "grid_energy_kwh": round(summary["grid"]["energy_kwh"], 3),
        "engaged_km": round(summary["autonomy"]["engaged_km"], 3),
        "generated_bytes": summary["cloud"]["generated_bytes"],
        "ota_installed": summary["ota"]["installed"],
    }


def recorded(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def record(name: str) -> dict[str, Any]:
    twin = live(CASES[name])
    broken = {key: value for key, value in twin.world.ledger().items() if value}
    if broken:
        raise AssertionError(f"{name}: ledgers do not close: {broken}")
    return {"figures": figures(twin), "digests": digests(twin)}


def differences(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line per table that changed, and the figures that moved."""
    keys = sorted(old["digests"].keys() | new["digests"].keys())
    said = [f"{name}: {key} differs" for key in keys if old["digests"].get(key) != new["digests"].get(key)]
    said += [
        f"{name}: {key} was {old['figures'].get(key)}, is {new['figures'].get(key)}"
        for key in sorted(old["figures"].keys() | new["figures"].keys())
        if old["figures"].get(key) != new["figures"].get(key)
    ]
    return said


def elsewhere(names: Iterable[str], folder: Path, **environment: str) -> dict[str, dict[str, str]]:
    """Digests of cases as another process finds them, run from another folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden_cases", "--digests", *names],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def _cold() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = elsewhere(CASES, Path(folder), NUMBA_CACHE_DIR=f"{folder}/kernels")
        compiled = len(list(Path(folder).rglob("*.nbc")))
    wrong = [name for name in CASES if found[name] != recorded(name)["digests"]]
    print(f"{compiled} kernels compiled, {len(CASES) - len(wrong)} of {len(CASES)} runs as recorded {wrong or ''}")
    return 1 if wrong or not compiled else 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true")
    options.add_argument("--digests", nargs="+", metavar="NAME", choices=sorted(CASES))
    options.add_argument("--cold", action="store_true")
    given = options.parse_args()
    if given.cold:
        return _cold()
    if given.digests:
        print(json.dumps({name: digests(live(CASES[name])) for name in given.digests}))
        return 0
    said: list[str] = []
    for name in CASES:
        new = record(name)
        path = FOLDER / f"{name}.json"
        said += differences(name, recorded(name), new) if path.exists() else [f"{name}: is new"]
        if given.write:
            path.write_text(json.dumps(new, indent=1) + "\n", "utf-8")
    if given.write:
        for path in sorted(FOLDER.glob("*.json")):
            if path.stem not in CASES:
                path.unlink()
                said.append(f"{path.stem}: is gone")
    print("\n".join(said) or f"{len(CASES)} runs as recorded")
    if said and given.write:
        print("say in CHANGELOG.md why")
    return 1 if said and not given.write else 0


if __name__ == "__main__":
    sys.exit(main())
