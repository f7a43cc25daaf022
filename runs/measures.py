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

from maps.network import CityMap
from maps.toy import toy_city
from runs import measures_charging
from runs.cohort import drivers
from runs.fleet_use import km_per_litre
from runs.measures_autonomy import km_between_take_overs, share_on_freeways, transfers_per_trip, with_data
from runs.measures_charging import NeedsDataError
from runs.trip_data import read_trips
from twin import facts
from twin.cloud import gbt32960
from twin.cloud.cells import Cells
from twin.demand.days import Demand
from twin.energy.climate import cabin_w, driveline_loss
from twin.energy.powertrain import litres_per_100km, params_of, trace_energy, wh_per_km
from twin.energy.real_trips import Prediction, bias, cold_ratio, predict, weighted_error
from twin.fleet import sales
from twin.fleet.cases import Case, actual, load_case, project_models
from twin.fleet.catalogue import HVAC_PROFILES, Catalogue, Param
from twin.fleet.cohorts import sold_between
from twin.fleet.fleet import Fleet, Kind, State
from twin.model import Twin
from twin.ota.campaign import Campaign
from twin.settings import CloudSettings, DemandSettings, FleetSettings, OtaSettings

SEED = 5
EPA_ROTATING = 1.015
"""Rotating mass factor with which the constants were fitted (facts `vehicles.physics.bev.note`)."""
_COLD_C = -7.0
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_DAY_MS = 24 * _HOUR_MS
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


# ------------------------------------------------------------------ over the air


class _Rollout:
    """A campaign, its connected cars and a clock."""

    def __init__(self, cars: int, **knobs: Any) -> None:
        self.city = city = toy_city(5, homes=20)
        self.fleet = fleet = Fleet(cars)
        fleet.connected[:] = fleet.ota[:] = 1
        fleet.network_generation[:] = 4
        fleet.node[:] = fleet.home_node[:] = np.arange(cars) % city.network.n_nodes
        self.cells = cells = Cells.of(city)
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
    """Share installed: after 90 days of parking with one drive a day, and through dealers alone.

    Dealers have the time in which the completion of recalls is counted (facts `ota.dealer`); the cars are as old as
    those on the road in Japan at the end of 2022.
    """
    rollout = _Rollout(2000, groups=[0.01, 0.1, 1.0], group_gap_h=48.0, package_mb=150.0, error_threshold=0.5)
    step = 6 * _HOUR_MS
    for quarter in range(4 * 90):
        state = State.DRIVING if quarter % 4 == 1 else State.PARKED
        rollout.run((quarter + 1) * step, tick_ms=step, state=state)
    stock = sales.on_road(load_case("actual", _models()), "japan", 2022).values()
    years, units = (np.concatenate([getattr(kind, name) for kind in stock]) for name in ("year", "units"))
    upto = np.cumsum(units) / units.sum()
    fleet = rollout.fleet
    fleet.connected[:] = 0
    fleet.year[:] = years[np.searchsorted(upto, (np.arange(fleet.size) + 0.5) / fleet.size)]
    shop = Campaign(
        rollout.city, fleet, OtaSettings(start_h=0.0, groups=[1.0], dealer=True), rollout.env, cells=rollout.cells,
        seed=SEED, horizon_ms=100 * _DAY_MS, year=2022,
    )  # fmt: skip
    for day in range(round(facts.load("ota")["dealer"]["within_days"]) + 1):
        shop.advance(day * _DAY_MS, (day + 1) * _DAY_MS)
    return [rollout.campaign.summary()["installed"] / 2000, shop.summary()["installed"] / 2000]


def _gbt_message(_data: Path | None) -> list[float]:
    message = gbt32960.frame("TWN00000000000017", gbt32960.Reading(_WEDNESDAY, cells=96, probes=4))
    return [float(len(message)), 120 * (len(message) + gbt32960.OVERHEAD_B) / 1000]


def _cloud_traffic(_data: Path | None) -> list[float]:
    """A Wednesday of 150 cars in a toy town with approach roads, both directions, without updates."""
    city = toy_city(12, length_m=300, homes=150, rings_km=(2.0, 5.0, 10.0, 20.0))
    twin = Twin(
        city, seed=SEED, start=_WEDNESDAY, fleet=FleetSettings(cars=150), demand=DemandSettings(other_traffic=0.0),
        ota=OtaSettings(enabled=False), cloud=CloudSettings(message_log_cars=0),
    )  # fmt: skip
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    return [float(twin.world.cloud.summary()["mb_both_ways_per_connected_car_day"])]


# ------------------------------------------------------------------ demand and sales


@cache
def _town() -> CityMap:
    return toy_city(24, length_m=300, homes=1500, rings_km=(2.0, 5.0, 10.0, 20.0, 40.0))


@cache
def _demand(market: str) -> Demand:
    """Days of 30,000 cars of a market."""
    return drivers(market, _DRIVERS, seed=SEED, start=_WEDNESDAY)[2]


def _leaf_days(_data: Path | None) -> list[float]:
    plan = _demand("us").plan_day(_THURSDAY)
    return [float(plan.km.mean()), float(plan.km.sum() / len(np.unique(plan.car)))]


def _serena(_data: Path | None) -> list[float]:
    demand = _demand("japan")
    return [km_per_litre(_town(), _models(), "serena_c27_epower", demand.plan_day(_THURSDAY), market="japan")]


def _month(_data: Path | None) -> list[float]:
    """245 weekdays and 120 other days a year."""
    weekday, weekend = (_demand("japan").plan_day(day).km.sum() / _DRIVERS for day in (_THURSDAY, _SATURDAY))
    return [float(245 * weekday + 120 * weekend) / 12]


def _start_hours(_data: Path | None) -> list[float]:
    hour = _demand("us").plan_day(_THURSDAY).depart_ms // _HOUR_MS % 24
    share = np.bincount(hour, minlength=24) / len(hour)
    return [float(share[h]) for h in (7, 8, 16, 17, 18)]


def _in_use(_data: Path | None) -> list[float]:
    """Minutes on the road per car and day over a week; mean hours from the last arrival to the next day's start."""
    demand = _demand("europe")
    plans = [demand.plan_day(day) for day in range(_THURSDAY, _THURSDAY + 7)]
    minutes = sum(int(plan.travel_ms.sum()) for plan in plans) / 60_000 / 7 / _DRIVERS
    last, first = np.full((7, _DRIVERS), -1, np.int64), np.full((7, _DRIVERS), np.iinfo(np.int64).max)
    for day, plan in enumerate(plans):
        np.maximum.at(last[day], plan.car, plan.depart_ms + plan.travel_ms)
        np.minimum.at(first[day], plan.car, plan.depart_ms)
    # cars that drive on both of two days: those that rest longer would only raise the mean
    both = (last[:-1] >= 0) & (last[1:] >= 0)
    return [minutes, float((first[1:] - last[:-1])[both].mean() / _HOUR_MS)]


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
    "V05": _serena,
    "V06": _cold,
    "V07": _rogue,
    "V08": _leaf_days,
    "V10": _month,
    "V11": _start_hours,
    "V12": _in_use,
    "V19": with_data(share_on_freeways, _file),
    "V20": with_data(km_between_take_overs, _file),
    "V21": with_data(transfers_per_trip, _file),
    "V22": _gbt_message,
    "V23": _cloud_traffic,
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
