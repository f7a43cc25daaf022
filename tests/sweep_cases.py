"""Small sweeps on a toy city, for tests of what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maps.toy import toy_city
from runs.sweeping.sweep_file import Sweep


def toy_map(folder: Path) -> Path:
    path = folder / "toy.map.npz"
    if not path.exists():
        toy_city().save(path)
    return path


def toy_sweep(folder: Path, **more: Any) -> Sweep:
    """Two levels of share of electric cars by two of temperature on a toy city, `more` on top."""
    scenario = folder / "toy.toml"
    if not scenario.exists():
        scenario.write_text(f'name = "toy"\nmap = "{toy_map(folder)}"\nuntil = "2h"\n[fleet]\ncars = 40\n', "utf-8")
    raw: dict[str, Any] = {
        "name": "toy",
        "scenario": str(scenario),
        "base": {"start": "2022-10-12T07:00:00"},
        "factor": [
            {"key": "fleet.bev", "values": [0.3, 0.6]},
            {"key": "climate.ambient_c", "values": [-5.0, 20.0]},
        ],
        "design": {"kind": "grid", "replications": 2},
        "answers": {"figures": ["fleet.driving_km", "grid.energy_kwh"]},
    }
    return Sweep.check({**raw, **more})
