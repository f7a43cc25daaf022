"""Fleets, roads and traversals for the energy tests."""

import os
from pathlib import Path

import numpy as np
import pytest

from maps.toy import corridor
from twin.energy.drive import Drive
from twin.fleet.catalogue import Catalogue, Param
from twin.fleet.fleet import Fleet
from twin.settings import ClimateSettings
from twin.traffic.traversals import Traversals

MODELS = Catalogue.load()
MILD = 20.0  # road loads hold here; neither a cold driveline nor heating


def data_folder():
    """Folder of the shared energy data, or skip."""
    root = Path(os.environ.get("TWIN_DATA") or Path(__file__).resolve().parents[1] / "../shared/data").resolve()
    if not (root / "energy").is_dir():
        pytest.skip(f"needs the shared data folder {root / 'energy'} (set TWIN_DATA)")
    return root / "energy"


def cars(*models, soc=0.5):
    fleet = Fleet(len(models))
    fleet.model[:] = [MODELS.row(name) for name in models]
    fleet.kind[:] = MODELS.kinds[fleet.model]
    fleet.capacity_j[:] = MODELS.matrix[fleet.model, Param.CAPACITY]
    fleet.battery_j[:] = (fleet.capacity_j * soc).astype(np.int64)
    return fleet


def drive(fleet, network, *, celsius=MILD, **more):
    return Drive(fleet, MODELS, network, ClimateSettings(ambient_c=celsius), "japan", **more)


def road(**changes):
    return corridor(**({"links": 4, "length_m": 1000.0, "speed_kmh": 72.0} | changes))


def passed(rows):
    """Traversals from tuples (car, link, enter_ms, exit_ms)."""
    t = Traversals(max(1, len(rows)))
    t.n = len(rows)
    for i, (car, link, enter, leave) in enumerate(rows):
        t.car[i], t.link[i], t.enter_ms[i], t.exit_ms[i] = car, link, enter, leave
    return t
