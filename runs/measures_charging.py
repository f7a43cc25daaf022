"""What the twin makes of charging: cohorts against published trials, sessions against real ones.

Functions as in `runs.measures`: a data folder to one number per part of a target, none of which they know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from runs.cohort import Weeks, weeks
from runs.session_data import HOME, SETS, RealSessions, SessionDataError, files_of, read_sessions
from twin import facts
from twin.chance import Stream, chance
from twin.charging import kernels
from twin.charging.models import accepted_share, read_models
from twin.charging.stays import draw
from twin.fleet.catalogue import Catalogue, Param
from twin.settings import ChargingSettings, ClimateSettings

SEED = 5
PHASES = 3
QUARTER_S = 900.0


class NeedsDataError(ValueError):
    """A measure needs real data that is not there; the message names it."""


# ------------------------------------------------------------------ cohorts


def _leaf_days() -> float:
    """Share of days on which LEAF drivers drive, the only such cohort measured (facts behaviour: us)."""
    known = facts.load("behaviour")["us"]
    return float(known["annual"]["leaf_km"] / 365 / known["leaf_ev_project_2011"]["day_km_mean"])


def ev_project(_data: Path | None) -> list[float]:
    """Everybody got a charger at home; workplaces as in the market."""
    w = weeks("us", ("leaf_ze0_24",), home_access=1.0)
    plugged = np.isfinite(w.sessions["plugged_s"])
    home, charges = int((w.at("home") & plugged).sum()), int(plugged.sum()) + w.elsewhere
    return [charges / w.driven, home / charges]


def electric_nation(_data: Path | None) -> list[float]:
    """European habits on the days that LEAF drivers drive; one size of battery stands for a mixed fleet."""
    w = weeks("europe", ("leaf_ze1_40",), home_access=1.0, moving=_leaf_days(), ambient_c=10.0)
    home = w.at("home")
    stay_h = w.sessions["stay_s"][home] / 3600
    return [
        float(home.sum() / w.cars / w.days * 7), float(w.sessions["soc_in"][home].mean()), float(np.nanmean(stay_h))
    ]  # fmt: skip


def my_electric_avenue(_data: Path | None) -> list[float]:
    """The days are those of the US LEAF cohort: nobody published the trips of European LEAF drivers."""
    w = weeks("us", ("leaf_ze0_24",), home_access=1.0, home_kw=3.5, ambient_c=10.0)
    home = w.at("home")
    day = w.sessions["car_id"][home].astype(np.int64) * 1000 + (w.sessions["asked_s"][home] // 86_400).astype(np.int64)
    a_day = np.unique(day, return_counts=True)[1]
    return [float((a_day == 1).mean()), float((w.sessions["outcome"][home] == "full").mean())]


def _cold_weeks(home_kw: float, *, cars: int) -> Weeks:
    return weeks("us", ("leaf_ze0_24",), cars=cars, home_access=1.0, home_kw=home_kw, ambient_c=5.0)


def diversified_peak(_data: Path | None) -> list[float]:
    """Highest quarter of an hour of a winter fortnight, mean over groups of 100 cars, kW per car."""
    w = _cold_weeks(3.3, cars=800)
    groups = _group_load_kw(w, size=100)
    return [float(groups.max(axis=1).mean() / 100)]


def spare_capacity(_data: Path | None) -> list[float | None]:
    """Spare capacity per customer below which a feeder is overloaded by cars at 3.5 kW, at the trial's penetrations.

    Feeders of the market's size, customers dealt to three phases in turn, as British homes have one phase each; who of
    them has a car is drawn. Of each feeder the highest quarter of an hour of a winter fortnight on the phase that needs
    most, per customer of that phase; what is enough for 95 % of feeders, at the penetration that needs most. The share
    of feeders that have less is not computed: the facts have no distribution of spare capacity.
    """
    grid = facts.load("grid")
    low, high = grid["ev_impact"]["my_electric_avenue"]["ev_penetration_trigger"]
    customers = grid["europe"]["network"]["customers_per_lv_feeder"]
    w = _cold_weeks(grid["ev_impact"]["my_electric_avenue"]["charger_kw"], cars=1200)
    by_car = _group_load_kw(w, size=1)
    phase = np.arange(customers) % PHASES
    found = []
    for share in (low, (low + high) / 2, high):
        owners, needed = round(customers * share), []
        for feeder in range(w.cars // owners):
            drawn = np.argsort(chance(SEED, Stream.HOUSEHOLD, np.arange(customers), feeder))[:owners]
            cars_kw = by_car[feeder * owners : (feeder + 1) * owners]
            by_phase = [cars_kw[phase[drawn] == p].sum(axis=0).max() / (phase == p).sum() for p in range(PHASES)]
            needed.append(max(by_phase))
        found.append(np.percentile(needed, 95))
    return [None, float(max(found))]


def _group_load_kw(w: Weeks, *, size: int) -> NDArray[np.float64]:
    """Power of groups of `size` cars at home by quarter of an hour, kW, shape (groups, days * 96).

    Cars that charge uncontrolled take even power until they are done; energy goes to the quarters in between.
    """
    s, home = w.sessions, w.at("home")
    first = s["plugged_s"][home]
    last = np.where(np.isfinite(s["done_s"][home]), s["done_s"][home], s["unplugged_s"][home])
    use = np.isfinite(last) & (last > first)
    group = s["car_id"][home][use] // size
    groups = w.cars // size
    out = np.zeros((groups + 1, w.days * 96 + 1))
    first, last, kwh = first[use], last[use], s["meter_kwh"][home][use]
    kw = kwh / (last - first) * 3600
    begin, end = (first // QUARTER_S).astype(int), (last // QUARTER_S).astype(int)
    for k in range(int((end - begin).max()) + 1):
        q = begin + k
        part = np.clip(np.minimum(last, (q + 1) * QUARTER_S) - np.maximum(first, q * QUARTER_S), 0, None) / QUARTER_S
        np.add.at(out, (group, np.minimum(q, w.days * 96)), kw * part)
    return out[:groups, :-1]


def million_cars(_data: Path | None) -> list[float]:
    """Kilometres of Japanese cars times the facts' scale for electric ones; GWh and GW of a million cars."""
    scale = facts.load("behaviour")["japan"]["leaf"]["scale"]
    w = weeks("japan", ("leaf_ze1_40",), cars=2000, km_scale=scale)
    eta = facts.load("vehicles")["physics"]["charge_efficiency"]["dc_eta"]
    kwh = w.load_kw.sum() / 4 + w.elsewhere_kwh / eta
    return [float(kwh / w.cars / w.days), float(w.load_kw.max() / w.cars)]


# ------------------------------------------------------------------ fast charging


def fast_charge(
    model: str, *, market: str, first: float, last: float, post_kw: float, limit_s: float = 1e6, ambient_c: float = 25.0
) -> tuple[float, float]:
    """(kWh into the battery, minutes) of a fast charge between two states of charge."""
    models = Catalogue.load(market=market)
    row = models.row(model)
    plugs = read_models(models, market)
    known = facts.load("vehicles")["physics"]["charge_efficiency"]
    capacity = float(models.matrix[row, Param.CAPACITY])
    curve = plugs.curve_w[row] * accepted_share(np.array([ambient_c]), plugs.active[row : row + 1])[0, 0]
    energy, _, seconds, _ = kernels.stretch(
        first * capacity, last * capacity, limit_s, post_kw * 1000.0, curve,
        capacity, True, known["overhead_kw"] * 1000.0, float(known["conv"]), float(known["dc_eta"]),
    )  # fmt: skip
    return (energy - first * capacity) / 3.6e6, seconds / 60


def leaf_half_hour(_data: Path | None) -> list[float]:
    """Mean over where fast charges begin (facts charging: plug_in.start_soc), at the default weather."""
    share = np.array(facts.load("charging")["plug_in"]["start_soc"]["quick_charge"])
    ambient = float(np.mean(ClimateSettings().ambient_c))
    kwh = [
        fast_charge(
            "leaf_ze1_62", market="japan", first=0.05 + 0.1 * band, last=1.0, post_kw=90.0, limit_s=1800.0,
            ambient_c=ambient,
        )[0]
        for band in range(10)
    ]  # fmt: skip
    return [float(np.dot(share, kwh) / share.sum())]


def dc_minutes(_data: Path | None) -> list[float]:
    """Warm batteries."""
    # Sakura takes 30 kW at most; the Ariya test was at a 150 kW post, above what the car takes
    return [
        fast_charge("sakura_20", market="japan", first=0.0, last=0.8, post_kw=30.0)[1],
        fast_charge("ariya_87_2wd", market="europe", first=0.2, last=0.8, post_kw=150.0)[1],
        fast_charge("ariya_87_2wd", market="europe", first=0.1, last=0.8, post_kw=150.0)[1],
    ]


def _real(data: Path | None, name: str) -> RealSessions:
    if data is None or not files_of(data, name):
        raise NeedsDataError(f"needs charging/{SETS[name]}_sessions_*.csv.gz in the folder of real data")
    return _sessions(data, name)


@cache
def _sessions(data: Path, name: str) -> RealSessions:
    return read_sessions(data, name)


class Predicted(NamedTuple):
    """Sessions at a station beside what was measured; arrays have one entry per session."""

    minutes: NDArray[np.float64]
    kwh: NDArray[np.float64]
    real_minutes: NDArray[np.float64]
    real_kwh: NDArray[np.float64]


def station_sessions(real: RealSessions) -> Predicted:
    """Sessions of the two-plug station at EPFL, with a typical car's curve.

    Known of each: capacity, charge on arrival and (for the minutes) on departure or (for the energy) the time it
    stayed, the power it asked for, and the power to which the station held it. The curve, per capacity, is that of a
    typical car with a CCS inlet; the weather is the month's mean.
    """
    station, typical = (facts.load("charging")[name] for name in ("epfl_station", "ccs_typical"))
    physics = facts.load("vehicles")["physics"]["charge_efficiency"]
    shape = np.interp(np.arange(101), typical["soc_pct"], typical["c_rate"]) / 3600.0  # W per J
    handshake_s = ChargingSettings().handshake_s
    table = {name: real.columns[name].to_numpy() for name in real.columns.column_names if name not in ("plug", "start")}
    month = np.array([int(str(t)[5:7]) for t in real.columns["start"].to_pylist()])
    accepted = accepted_share(np.array(station["monthly_mean_c"]), np.array([True]))[:, 0]
    capacity = table["est_capacity_kwh"] * 3.6e6
    limited = table["power_limited"].astype(bool)
    kw = np.minimum(np.where(limited, table["p_max_kw"], table["p_req_max_kw"]), station["power_kw"])
    eta = float(station["dc_eta"])
    args = (True, physics["overhead_kw"] * 1000.0, float(physics["conv"]), eta)
    n = len(capacity)
    minutes, kwh = np.zeros(n), np.zeros(n)
    for i in range(n):
        curve = shape * capacity[i] * accepted[month[i] - 1]
        begin, end = (table[name][i] / 100 * capacity[i] for name in ("soc_arrival_pct", "soc_departure_pct"))
        limit_w = kw[i] * 1000.0 * eta
        seconds = kernels.stretch(begin, end, 1e6, limit_w, curve, capacity[i], *args)[2]
        minutes[i] = (seconds + handshake_s) / 60
        there = max(real.stay_h[i] * 3600 - handshake_s, 0.0)
        kwh[i] = kernels.stretch(begin, capacity[i], there, limit_w, curve, capacity[i], *args)[1] / 3.6e6
    return Predicted(minutes, kwh, real.stay_h * 60, real.energy_kwh)


def epfl(data: Path | None) -> list[float]:
    """Means over measured means."""
    found = station_sessions(_real(data, "epfl"))
    return [
        float(found.minutes.mean() / found.real_minutes.mean()), float(found.kwh.mean() / found.real_kwh.mean())
    ]  # fmt: skip


# ------------------------------------------------------------------ distributions


@cache
def _home_sessions() -> tuple[NDArray[np.float64], ...]:
    """Sessions of European drivers at home: hour, stay, energy; cold as in Norway, all batteries on sale by 2021."""
    models = ("leaf_aze0_24", "leaf_aze0_30", "leaf_ze1_40", "leaf_ze1_62")
    w = weeks("europe", models, home_access=1.0, moving=_leaf_days(), ambient_c=5.0)
    s = w.sessions
    use = w.at("home") & np.isfinite(s["stay_s"])
    return s["plugged_s"][use] / 3600 % 24, s["stay_s"][use] / 3600, s["meter_kwh"][use]


def twin_sessions(real: RealSessions) -> tuple[NDArray[np.float64], ...]:
    """The twin's sessions (hour, stay, energy) for as many sessions of each kind of site as the real ones have."""
    parts: list[tuple[NDArray[np.float64], ...]] = []
    for kind in sorted(set(real.kind.tolist())):
        n = int((real.kind == kind).sum())
        parts.append(_home_sessions() if kind == HOME else draw(kind, np.arange(n), seed=SEED))
    return tuple(np.concatenate([p[i] for p in parts]) for i in range(3))


class Distance(NamedTuple):
    """Wasserstein distance to real sessions, of the twin and of everybody at the real mean."""

    twin: float
    naive: float


def distances(real: RealSessions) -> dict[str, Distance]:
    """Of the hour of arrival, the time connected (both h) and the energy (kWh)."""
    out = {}
    names = ("hour", "stay_h", "energy_kwh")
    for name, ours, theirs in zip(names, twin_sessions(real), (real.hour, real.stay_h, real.energy_kwh), strict=True):
        naive = wasserstein_distance(theirs, [float(theirs.mean())])
        out[name] = Distance(float(wasserstein_distance(ours, theirs)), float(naive))
    return out


def _over_naive(quantity: str) -> Callable[[Path | None], Sequence[float | None]]:
    def values(data: Path | None) -> list[float | None]:
        if data is None or not any(files_of(data, name) for name in SETS):
            raise NeedsDataError("needs charging/*_sessions_*.csv.gz in the folder of real data (--data or TWIN_DATA)")
        found: list[float | None] = []
        for name in SETS:
            try:
                d = distances(_sessions(data, name))[quantity]
                found.append(d.twin / d.naive)
            except SessionDataError:
                found.append(None)  # a set that this folder does not have
        return found

    return values


MEASURES: Mapping[str, Callable[[Path | None], Sequence[float | None]]] = {
    "V09": ev_project,
    "V13": electric_nation,
    "V14": my_electric_avenue,
    "V15": leaf_half_hour,
    "V16": dc_minutes,
    "V17": spare_capacity,
    "V18": diversified_peak,
    "V30": million_cars,
    "V41": epfl,
    "V42": _over_naive("hour"),
    "V43": _over_naive("stay_h"),
    "V44": _over_naive("energy_kwh"),
}
"""How the charging targets' quantities are found."""
