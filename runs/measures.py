"""What the twin makes of the quantities in `facts/validation.toml`, measured on its own rooms.

Each function returns one number per part of its target. They know no target: judging is
`runs.validate`'s. Seeds are fixed, so a measure is the same number every time.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from maps.toy import corridor, toy_city
from runs import measures_charging
from runs.cohort import drivers
from runs.measures_charging import NeedsDataError
from runs.trip_data import read_trips
from twin import facts
from twin.autonomy.propilot import Autonomy
from twin.cloud.cells import Cells
from twin.demand.days import Demand
from twin.energy.climate import cabin_w, driveline_loss
from twin.energy.powertrain import litres_per_100km, params_of, trace_energy, wh_per_km
from twin.energy.real_trips import Prediction, bias, cold_ratio, predict, weighted_error
from twin.fleet.cases import Case, actual, load_case, project_models
from twin.fleet.catalogue import HVAC_PROFILES, Catalogue, Param
from twin.fleet.cohorts import sold_between
from twin.fleet.fleet import Fleet, Kind, State
from twin.ota.campaign import Campaign
from twin.settings import AutonomySettings, ClimateSettings, OtaSettings
from twin.traffic.traversals import Traversals

SEED = 5
EPA_ROTATING = 1.015
"""Rotating mass factor with which the constants were fitted (facts `vehicles.physics.bev.note`)."""
_COLD_C = -7.0
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MOTORWAY_KMH = 100.0
_DRIVERS = 30_000
_WEDNESDAY = datetime(2022, 10, 12)
_THURSDAY, _SATURDAY = 1, 3  # days of a plan that starts on that Wednesday; its first day has no evening before


Measure = Callable[[Path | None], Sequence[float | None]]
"""A function of the data folder (None: there is none) to one number per part of a target, None where there is none."""


def _cycle(data: Path | None, name: str) -> NDArray[np.float64]:
    return _cycles(_file(data, "energy/drive_cycles.csv"))[name]


@cache
def _cycles(path: Path) -> Mapping[str, NDArray[np.float64]]:
    found: dict[str, list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["cycle"], []).append(float(row["speed_mps"]))
    return {name: np.array(speeds) for name, speeds in found.items()}


def _file(data: Path | None, name: str) -> Path:
    if data is None or not (data / name).is_file():
        raise NeedsDataError(f"needs {name} in the folder of real data (--data or TWIN_DATA)")
    return data / name


@cache
def _models(market: str = "japan") -> Catalogue:
    return Catalogue.load(market=market)


# ------------------------------------------------------------------ energy


def _wall_wh_per_km(model: str) -> Measure:
    def values(data: Path | None) -> list[float]:
        eta = facts.load("vehicles")["physics"]["bev"]["eta_charge_ac_6kw"]
        p = params_of(_models(), model)
        return [
            wh_per_km(trace_energy(p, _cycle(data, name), rotating=EPA_ROTATING)) / eta for name in ("UDDS", "HWFET")
        ]

    return values


def _wltp(data: Path | None) -> list[float]:
    models = ("leaf_ze1_40", "leaf_ze1_62", "ariya_63_2wd", "ariya_87_2wd")
    return [wh_per_km(trace_energy(params_of(_models(), name), _cycle(data, "WLTC_3b"))) for name in models]


def _kicks(data: Path | None) -> list[float]:
    p = params_of(_models(), "kicks_p15_epower_g1")
    runs = [trace_energy(p, _cycle(data, name)) for name in ("WLTC_3_low", "WLTC_3b_medium", "WLTC_3b_high")]
    combined = sum(r.metres for r in runs) / 1000 / (sum(r.fuel_j for r in runs) / p[Param.LHV])
    return [*(100 / litres_per_100km(run, p) for run in runs), float(combined)]


def _cold(data: Path | None) -> list[float]:
    p = params_of(_models(), "leaf_ze0_24")
    heater = float(cabin_w(HVAC_PROFILES.index("ptc"), _COLD_C)[0])
    loss = float(driveline_loss(_COLD_C)[0])
    speeds = [_cycle(data, name) for name in ("UDDS", "HWFET", "US06")]
    return [trace_energy(p, v, cabin_w=heater, loss=loss).bus_j / trace_energy(p, v).bus_j for v in speeds]


def _rogue(data: Path | None) -> list[float]:
    p = params_of(_models(), "rogue_t33_15vct")
    cycles = (_cycle(data, name) for name in ("UDDS", "HWFET"))
    return [litres_per_100km(trace_energy(p, v, rotating=EPA_ROTATING), p) for v in cycles]


@cache
def _trips(data: Path) -> Prediction:
    return predict(read_trips(data), _models())


def _real_trips(data: Path | None) -> Prediction:
    """Logged LEAF trips, predicted; any folder of the layout `energy/ved_leaf2013_{signals_*.parquet,trips_*.csv}`."""
    if data is None or not any((data / "energy").glob("ved_leaf2013_*")):
        raise NeedsDataError("needs energy/ved_leaf2013_* in the folder of real data (--data or TWIN_DATA)")
    return _trips(data)


def _real_energy(data: Path | None) -> list[float]:
    found = _real_trips(data)
    return [
        weighted_error(found.trace_wh, found.measured_wh),
        weighted_error(found.link_wh, found.measured_wh),
        1 + bias(found.trace_wh, found.measured_wh),
        1 + bias(found.link_wh, found.measured_wh),
    ]


def _real_cold(data: Path | None) -> list[float]:
    found = _real_trips(data)
    return [cold_ratio(wh, found.km, found.outside_c) for wh in (found.trace_wh, found.link_wh)]


# ------------------------------------------------------------------ driver assistance


def _motorway(level: int, *, cars: int, links: int, link_m: float, mixed_drivers: bool) -> dict[str, Any]:
    """Summary of equipped cars that each drive one straight motorway once at an even speed."""
    road = corridor(links, length_m=link_m, road_class="motorway")
    fleet = Fleet(cars)
    fleet.propilot[:] = level
    mix = list(facts.load("autonomy")["model"]["user_types"].values())
    fleet.driver[:] = (
        np.searchsorted(np.cumsum(mix)[:-1], np.linspace(0, 1, cars), side="right") if mixed_drivers else 2
    )
    autonomy = Autonomy(
        fleet, road, AutonomySettings(), ClimateSettings(), country="JP", model_names=["LEAF"], seed=SEED,
        horizon_ms=48 * _HOUR_MS,
    )  # fmt: skip
    everyone = np.arange(cars, dtype=np.int32)
    autonomy.begin_trips(everyone, np.zeros(cars, np.int64))
    at = np.concatenate([[0], np.rint(np.cumsum(road.link_length) / (_MOTORWAY_KMH / 3.6) * 1000)]).astype(np.int64)
    for link in range(links):
        rows = Traversals(cars)
        rows.n = cars
        rows.car[:], rows.link[:] = everyone, link
        rows.enter_ms[:], rows.exit_ms[:] = at[link], at[link + 1]
        rows.driven_mm[:] = round(link_m * 1000)
        fleet.driven_mm[:] += round(link_m * 1000)
        autonomy.drive(rows)
    autonomy.end_trips(everyone)
    autonomy.finish()
    return autonomy.summary()


def _share_on_freeways(_data: Path | None) -> list[float]:
    return [float(_motorway(1, cars=4000, links=12, link_m=2000.0, mixed_drivers=True)["share"])]


def _km_between_take_overs(_data: Path | None) -> list[float]:
    found = [_motorway(level, cars=1500, links=100, link_m=1000.0, mixed_drivers=False) for level in (1, 3)]
    return [float(summary["engaged_km"] / summary["takeovers"]) for summary in found]


# ------------------------------------------------------------------ over the air


class _Rollout:
    """A campaign, its connected cars and a clock."""

    def __init__(self, cars: int, **knobs: Any) -> None:
        city = toy_city(5, homes=20)
        self.fleet = fleet = Fleet(cars)
        fleet.connected[:] = fleet.ota[:] = 1
        fleet.network_generation[:] = 4
        fleet.node[:] = fleet.home_node[:] = np.arange(cars) % city.network.n_nodes
        cells = Cells.of(city)
        cells.outage[:] = 0
        self.env = simpy.Environment()
        self.campaign = Campaign(
            city, fleet, OtaSettings(start_h=0.0, cell_downlink_mbit_s=1e6, **knobs), self.env, cells=cells, seed=SEED,
            horizon_ms=100 * _DAY_MS,
        )  # fmt: skip
        self.now = 0

    def run(self, until: int, *, tick_ms: int, state: State) -> None:
        self.fleet.state[:] = state
        while self.now < until:
            then = min(until, self.now + tick_ms)
            self.env.run(until=then)
            self.campaign.advance(self.now, then)
            self.now = then


def _large_package(_data: Path | None) -> list[float]:
    """One car on the move with 6.5 GB to fetch; the whole drive, and drives of 45 minutes a day."""
    rollout = _Rollout(1, groups=[1.0], package_mb=6500.0, car_downlink_mbit_s=20.0)
    rollout.run(2 * _HOUR_MS, tick_ms=_MINUTE_MS, state=State.DRIVING)
    table = rollout.campaign.table.arrays()
    done = table["time_s"][table["state"] == "downloaded"]
    if not len(done):
        return [float("nan"), float("nan")]
    minutes = float(done[0]) / 60
    return [minutes, float(np.ceil(minutes / 45.0))]


def _current_software(_data: Path | None) -> list[float]:
    """Share installed after 90 days of parking with one drive a day; no dealer visits in the twin."""
    rollout = _Rollout(2000, groups=[0.01, 0.1, 1.0], group_gap_h=48.0, package_mb=150.0, error_threshold=0.5)
    step = 6 * _HOUR_MS
    for quarter in range(4 * 90):
        state = State.DRIVING if quarter % 4 == 1 else State.PARKED
        rollout.run((quarter + 1) * step, tick_ms=step, state=state)
    return [rollout.campaign.summary()["installed"] / 2000]


# ------------------------------------------------------------------ demand and sales


@cache
def _demand(market: str) -> Demand:
    """Days of 30,000 cars of a market."""
    return drivers(market, _DRIVERS, seed=SEED, start=_WEDNESDAY)[2]


def _leaf_days(_data: Path | None) -> list[float]:
    plan = _demand("us").plan_day(_THURSDAY)
    return [float(plan.km.mean()), float(plan.km.sum() / len(np.unique(plan.car)))]


def _month(_data: Path | None) -> list[float]:
    """245 weekdays and 120 other days a year."""
    weekday, weekend = (_demand("japan").plan_day(day).km.sum() / _DRIVERS for day in (_THURSDAY, _SATURDAY))
    return [float(245 * weekday + 120 * weekend) / 12]


def _start_hours(_data: Path | None) -> list[float]:
    hour = _demand("us").plan_day(_THURSDAY).depart_ms // _HOUR_MS % 24
    share = np.bincount(hour, minlength=24) / len(hour)
    return [float(share[h]) for h in (7, 8, 16, 17, 18)]


@cache
def _course() -> Case:
    """What happened, of the project's models."""
    return actual(project_models())


def _electric_sold(_data: Path | None) -> list[float]:
    regions = (("japan",), ("us", "canada_mexico"), ("europe",), ("china",))
    until = (12 * 2010, 12 * 2023 + 6)
    return [sold_between(_course(), *until, markets=m, kinds=(Kind.ELECTRIC,)) / 1000 for m in regions]


def _epower_sold(_data: Path | None) -> list[float]:
    ends = (12 * 2018 + 3, 12 * 2021 + 3, 12 * 2024 + 10)
    japan, epower = ("japan",), (Kind.EPOWER,)
    return [sold_between(_course(), 12 * 2010, end, markets=japan, kinds=epower) / 1000 for end in ends]


def _electrified_sold(_data: Path | None) -> list[float]:
    """Calendar 2017 as it was, fiscal 2022 as planned and as it was."""
    electrified = (Kind.ELECTRIC, Kind.EPOWER)
    year = (12 * 2022 + 3, 12 * 2022 + 15)
    plan = load_case("plan", project_models())
    cases = ((_course(), 12 * 2017, 12 * 2018), (plan, *year), (_course(), *year))
    return [sold_between(case, first, stop, kinds=electrified) / 1000 for case, first, stop in cases]


def _sakura_sold(_data: Path | None) -> list[float]:
    years = ((12 * y + 3, 12 * y + 15) for y in (2022, 2023))
    return [sold_between(_course(), *year, markets=("japan",), family="sakura") for year in years]


MEASURES: Mapping[str, Measure] = {
    "V01": _wall_wh_per_km("leaf_ze1_40"),
    "V02": _wall_wh_per_km("leaf_ze1_62"),
    "V03": _wltp,
    "V04": _kicks,
    "V06": _cold,
    "V07": _rogue,
    "V08": _leaf_days,
    "V10": _month,
    "V11": _start_hours,
    "V19": _share_on_freeways,
    "V20": _km_between_take_overs,
    "V24": _current_software,
    "V25": _large_package,
    "V26": _electric_sold,
    "V27": _epower_sold,
    "V28": _electrified_sold,
    "V29": _sakura_sold,
    "V31": _real_energy,
    "V32": _real_cold,
    **measures_charging.MEASURES,
}
"""How each target's quantities are found; a target that is not here is not covered yet."""
