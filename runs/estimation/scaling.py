"""Cars of runs, weighed by cohorts: what a market's fleet does on a day, with draws for its uncertainty.

Post-stratification (Holt & Smith 1979): the mean of each type of car in the runs, times
the cars of that type in the market. Every mean comes with bootstrap draws over cars, and
everything after it is linear in the means, so a case or a year is another set of weights
on the same draws, and two cases are compared pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runs.estimates import resample
from runs.estimation.records import LEVELS, TYPES, Floats, Records, type_of
from twin.fleet.catalogue import Param
from twin.fleet.cohorts import KIND_WORDS, Cohorts
from twin.fleet.fleet import Kind

DRAWS = 400
ENOUGH = 20
"""Cars that a mean of its own needs; fewer are put together with the other types of car."""

_J_PER_KWH = 3_600_000.0


@dataclass(frozen=True, eq=False)
class Means:
    """Daily means per car of one market; the first axis is the run's own figure and then DRAWS resamples.

    Attributes
    ----------
    load_kw : float64 (1 + DRAWS, seasons x days, n_types, 24)
    load_share : float64 (seasons x days,), how much of the year each is
    km, litres : float64 (1 + DRAWS, n_types)
    engaged_km : float64 (1 + DRAWS, n_types, n_levels), per car of that level
    bytes, messages : float64 (1 + DRAWS, n_types), per connected car
    bytes_by_hour : float64 (24,)
    class_km, class_engaged : dict of str to float64 (n_types, n_levels), share of that cell's kilometres
    cars : int, records behind the means
    """

    load_kw: Floats
    load_share: Floats
    km: Floats
    litres: Floats
    engaged_km: Floats
    bytes: Floats
    messages: Floats
    bytes_by_hour: Floats
    class_km: dict[str, Floats]
    class_engaged: dict[str, Floats]
    cars: int


@dataclass(frozen=True, eq=False)
class Weights:
    """Cars of a market, float64 (n_types, n_levels, 2); the last axis is connected or not."""

    cars: Floats

    @property
    def by_type(self) -> Floats:
        """Cars by type."""
        result: Floats = self.cars.sum(axis=(1, 2))
        return result

    @property
    def by_level(self) -> Floats:
        """Cars by type and ProPILOT level."""
        result: Floats = self.cars.sum(axis=2)
        return result

    @property
    def connected(self) -> Floats:
        """Connected cars by type."""
        result: Floats = self.cars[:, :, 1].sum(axis=1)
        return result


def weights_of(cohorts: Cohorts, matrix: Floats, kinds: NDArray[np.uint8]) -> Weights:
    """Cars on the road by type, level and connection.

    Parameters
    ----------
    cohorts : Cohorts
        Of one market.
    matrix, kinds : arrays
        Of the catalogue that the cohorts' models are rows of.
    """
    kind = np.array([KIND_WORDS[Kind(k)] for k in kinds[cohorts.model]])
    types = type_of(kind, matrix[cohorts.model, Param.CAPACITY] / _J_PER_KWH)
    cars = np.zeros((len(TYPES), len(LEVELS), 2))
    np.add.at(cars, (types, cohorts.level.astype(np.int64), cohorts.connected.astype(np.int64)), cohorts.on_road)
    return Weights(cars)


def means_of(records: Sequence[tuple[Records, float]], *, seed: int, draws: int = DRAWS) -> Means:
    """Means of one market over its runs.

    Parameters
    ----------
    records : sequence of (Records, weight)
        A run and its share of the market and of the year; weights are normed to 1.
    seed : int
        Of the resamples.
    draws : int
        How many.
    """
    total = sum(weight for _, weight in records)
    periods = list(dict.fromkeys((r.season, r.day) for r, _ in records))
    shape = (1 + draws, len(TYPES))
    load = np.zeros((1 + draws, len(periods), len(TYPES), 24))
    load_weight = np.zeros(len(periods))
    km, litres, sent, messages = (np.zeros(shape) for _ in range(4))
    engaged = np.zeros((*shape, len(LEVELS)))
    by_hour = np.zeros(24)
    class_km: dict[str, Floats] = {}
    class_engaged: dict[str, Floats] = {}
    for number, (r, weight) in enumerate(records):
        share = weight / total
        w = np.vstack([np.ones((1, len(r))), resample(seed + number, len(r), resamples=draws)])
        period = periods.index((r.season, r.day))
        load_weight[period] += share
        electric = r.type < 2
        load[:, period] += share * _mean(w, r.load_kw, r.type, electric)
        km += share * _mean(w, r.km[:, None], r.type, np.ones(len(r), np.bool_))[..., 0]
        litres += share * _mean(w, r.litres[:, None], r.type, np.ones(len(r), np.bool_))[..., 0]
        both = np.stack([r.bytes, r.messages], axis=1)
        online = _mean(w, both, r.type, r.connected)
        sent += share * online[..., 0]
        messages += share * online[..., 1]
        for level in range(1, len(LEVELS)):
            rows = r.level == level
            if rows.sum() < ENOUGH:  # few cars have it: the other levels of the run stand in
                rows = r.level > 0
            engaged[..., level] += share * _mean(w, r.engaged_km[:, None], r.type, rows)[..., 0]
        by_hour += share * r.bytes_by_hour
        for into, found in ((class_km, r.class_km), (class_engaged, r.class_engaged_km)):
            for name, values in found.items():
                into.setdefault(name, np.zeros_like(values))
                into[name] += share * values
    load /= np.where(load_weight > 0, load_weight, 1.0)[None, :, None, None]
    return Means(
        load_kw=load,
        load_share=load_weight,
        km=km,
        litres=litres,
        engaged_km=engaged,
        bytes=sent,
        messages=messages,
        bytes_by_hour=by_hour,
        class_km=class_km,
        class_engaged=class_engaged,
        cars=sum(len(r) for r, _ in records),
    )


def _mean(w: Floats, values: Floats, types: NDArray[np.int64], rows: NDArray[np.bool_]) -> Floats:
    """Weighted means by type of the cars in `rows`, shape (len(w), n_types, k).

    A type with fewer than ENOUGH cars has the mean of all of `rows`, and of none 0. A
    battery type never lends to one without a battery: callers choose `rows` so.
    """
    result = np.zeros((len(w), len(TYPES), values.shape[1]))

    def mean_over(mask: NDArray[np.bool_]) -> Floats:
        picked = np.flatnonzero(mask)
        count = w[:, picked].sum(axis=1)
        found: Floats = (w[:, picked] @ values[picked]) / np.where(count > 0, count, 1.0)[:, None]
        return found

    for kind in range(len(TYPES)):
        mask = rows & (types == kind)
        if mask.sum() < ENOUGH:
            mask = rows & ((types < 2) == (kind < 2)) if (rows & ((types < 2) == (kind < 2))).sum() >= ENOUGH else rows
            if kind >= 2 and not (rows & (types >= 2)).any() and values.shape[1] == 24:
                continue  # load: only battery cars charge
        if mask.any():
            result[:, kind] = mean_over(mask)
    return result


Figure = Callable[[Means, Weights], Floats]


def load_gw(m: Means, w: Weights) -> Floats:
    """Power at the meter by period and hour, GW; shape (1 + draws, periods, 24)."""
    result: Floats = np.einsum("bpth,t->bph", m.load_kw, w.by_type) / 1e6
    return result


def gwh_per_day(m: Means, w: Weights) -> Floats:
    """Energy at the meter on the mean day of the year, GWh."""
    return np.asarray(load_gw(m, w).sum(axis=2) @ m.load_share)


def peak_gw(m: Means, w: Weights) -> Floats:
    """Highest hourly mean of the mean day of any season and kind of day, GW."""
    return np.asarray(load_gw(m, w).max(axis=(1, 2)))


def _km(m: Means, w: Weights) -> Floats:
    return np.asarray(m.km @ w.by_type)


def _engaged(m: Means, w: Weights) -> Floats:
    return np.asarray(np.einsum("btl,tl->b", m.engaged_km, w.by_level))


def autonomy_share(m: Means, w: Weights) -> Floats:
    """Share of all kilometres with ProPILOT engaged."""
    km = _km(m, w)
    return np.divide(_engaged(m, w), km, out=np.zeros_like(km), where=km > 0)


def pb_per_month(m: Means, w: Weights) -> Floats:
    """Uplink of all connected cars, 10^15 bytes per month of 365/12 days."""
    return np.asarray(m.bytes @ w.connected) * (365 / 12) / 1e15


def peak_gbit_s(m: Means, w: Weights) -> Floats:
    """Uplink of the busiest hour, Gbit/s, on the mean day (markets' own clocks)."""
    return np.asarray(m.bytes @ w.connected) * float(m.bytes_by_hour.max()) * 8 / 3600 / 1e9


def peak_messages_s(m: Means, w: Weights) -> Floats:
    """Messages per second in the busiest hour."""
    return np.asarray(m.messages @ w.connected) * float(m.bytes_by_hour.max()) / 3600


def megalitres_per_day(m: Means, w: Weights) -> Floats:
    """Fuel of e-POWER cars, million litres a day."""
    epower = TYPES.index("e-power")
    return np.asarray(m.litres[:, epower] * w.by_type[epower]) / 1e6


def million_km_per_day(m: Means, w: Weights) -> Floats:
    """Distance of all cars, million km a day."""
    return _km(m, w) / 1e6


FIGURES: Mapping[str, tuple[str, bool, Figure]] = {
    # name: unit, whether markets add up, how. The share of several markets is weighed by kilometres.
    "grid_gwh_per_day": ("GWh/day", True, gwh_per_day),
    "grid_peak_gw": ("GW", True, peak_gw),
    "autonomy_share": ("share", False, autonomy_share),
    "cloud_pb_per_month": ("PB/month", True, pb_per_month),
    "cloud_peak_gbit_s": ("Gbit/s", True, peak_gbit_s),
    "cloud_peak_messages_s": ("messages/s", True, peak_messages_s),
    "epower_megalitres_per_day": ("million l/day", True, megalitres_per_day),
    "driven_million_km_per_day": ("million km/day", True, million_km_per_day),
}
"""What is estimated for a market."""


def engaged_million_km(m: Means, w: Weights) -> Floats:
    """Distance with ProPILOT engaged, million km a day."""
    return _engaged(m, w) / 1e6


def by_class(m: Means, w: Weights) -> dict[str, tuple[float, float]]:
    """Million km a day by road class, driven and with ProPILOT engaged, scaled so that they add up to the totals."""
    n_driven: dict[str, float] = {}
    n_engaged: dict[str, float] = {}
    all_km = sum(m.class_km.values())
    all_engaged = sum(m.class_engaged.values())
    km = m.km[0][:, None] * w.by_level
    engaged = m.engaged_km[0] * w.by_level
    for name in m.class_km:
        part = np.divide(m.class_km[name], all_km, out=np.zeros_like(km), where=np.asarray(all_km) > 0)
        n_driven[name] = float((part * km).sum()) / 1e6
        part = np.divide(m.class_engaged[name], all_engaged, out=np.zeros_like(km), where=np.asarray(all_engaged) > 0)
        n_engaged[name] = float((part * engaged).sum()) / 1e6
    return {name: (n_driven[name], n_engaged[name]) for name in n_driven}
