"""The three answers of one run (grid load, autonomy share, cloud traffic) with 95 % intervals.

The intervals say how far the answers would move with another draw of as many cars from
the same population (bootstrap over cars, Efron 1979). They cover sampling error only: not
the error of the model, of its facts, or of the choice of city and day. Cars that meet in
a queue or a jam are not independent; that is left out too.

Totals and ratios use bias-corrected accelerated intervals (Efron 1987). A peak is the
largest of many noisy sums, which biases it upwards and its resamples once more; there the
basic (reflected) interval is used, which takes the bias out. On a synthetic fleet whose
truth is known these covered it in 90 to 99 % of 100 to 300 replications with 40 to 1,500
cars (plain percentile intervals of the peak: 68 to 93 %); tests/test_runs_estimates.py.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from twin.chance import Stream, chance

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]

RESAMPLES = 1000
MOST_GROUPS = 2048
MOST_INTERVALS = 512


class EstimateError(ValueError):
    """Results that no estimate can be made of; the message is one line for the user."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes
    ----------
    mean : float
        The run's own figure (of a comparison: the difference).
    low, high : float
        Ends of the interval; they enclose `mean`.
    n : int
        Cars it comes from.
    unit : str
    scaled_by : str
        What it was scaled by; of a single run nothing is.

    Examples
    --------
    >>> print(Estimate(412.3, 380.12, 451.0, 1500, "kW"))
    412 kW (95 %: 380 to 451, n 1,500)
    """

    mean: float
    low: float
    high: float
    n: int
    unit: str = ""
    scaled_by: str = ""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.mean, self.low, self.high))):
            raise EstimateError(
                f"an estimate in {self.unit or 'no unit'} is not finite: {self.mean} ({self.low}, {self.high})"
            )

    def __str__(self) -> str:
        mean, low, high, unit = _scaled(self)
        return (
            f"{figure(mean)}{unit} (95 %: {figure(low)} to {figure(high)}{'' if unit != ' %' else unit}, n {self.n:,})"
        )

    def _repr_html_(self) -> str:
        """Figure and interval, drawn as a bar on a line, for a notebook."""
        return show_html({"": self})

    def to_dict(self) -> dict[str, Any]:
        """As in `summary.json`."""
        return asdict(self)


def show_html(found: Mapping[str, Estimate]) -> str:
    """Estimates as an HTML table; the bar of each interval goes from 0 (or its low end) to its high end."""
    rows = []
    for name, e in found.items():
        low, high = min(e.low, 0.0), max(e.high, 0.0)
        span = (high - low) or 1.0
        left, right, mark = (130 * (v - low) / span for v in (e.low, e.high, e.mean))
        picture = (
            '<svg width="140" height="14" role="img" aria-hidden="true">'
            '<line x1="3" x2="137" y1="7" y2="7" stroke="#bbb"/>'
            f'<rect x="{3 + left:.1f}" width="{max(right - left, 1):.1f}" y="3" height="8" fill="#56B4E9"/>'
            f'<circle cx="{3 + mark:.1f}" cy="7" r="3" fill="#00568a"/></svg>'
        )
        label = html.escape(name.replace("_", " "))
        rows.append(
            f'<tr><th style="text-align:left">{label}</th><td>{html.escape(str(e))}</td><td>{picture}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


class Sample(NamedTuple):
    """What each car of one run contributed; rows are cars.

    `load_kw` holds mean power per group of cars and interval: cars are dealt to groups by
    row number, which is unrelated to what they do, so resampling groups is resampling cars.
    """

    seed: int
    days: float
    km: Floats
    engaged_km: Floats
    connected: Floats
    generated_bytes: Floats
    meter_kwh: Floats
    load_kw: Floats  # (groups, intervals)
    fixed_kw: Floats  # (intervals,) power that belongs to no session; 0 unless a ledger is open

    @property
    def n_groups(self) -> int:
        """Groups of cars that are resampled; as many as cars in a small fleet."""
        return len(self.load_kw)


_Figure = Callable[[Sample, Floats], Floats]


def sample_of(
    cars: pa.Table, sessions: pa.Table, grid_load: pa.Table, *, seed: int, simulated_s: float, interval_s: float
) -> Sample:
    """Per-car contributions from three tables of a run."""
    n = cars.num_rows
    if not n or simulated_s <= 0:
        raise EstimateError("there is nothing to estimate from: no cars or no simulated time")
    order = np.argsort(column(cars, "car_id"))
    car = column(sessions, "car_id").astype(np.int64)
    meter = column(sessions, "meter_kwh")
    groups = min(n, MOST_GROUPS)
    load, fixed = load_by_group(sessions, grid_load, groups, simulated_s=simulated_s, interval_s=interval_s)
    return Sample(
        seed=seed,
        days=simulated_s / 86_400,
        km=column(cars, "km")[order],
        engaged_km=column(cars, "engaged_km")[order],
        connected=column(cars, "connected")[order].astype(np.float64),
        generated_bytes=column(cars, "generated_bytes")[order],
        meter_kwh=_added(car, meter, n),
        load_kw=load,
        fixed_kw=fixed,
    )


def estimate_run(sample: Sample, *, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """The three answers, five figures: see `FIGURES` for what each is.

    Returns
    -------
    dict of str to Estimate
        grid_peak_kw, grid_energy_kwh, autonomy_share, cloud_mb_per_connected_car_day, cloud_generated_bytes.
    """
    weights = resample(sample.seed, sample.n_groups, resamples=resamples)
    n, connected = len(sample.km), int(sample.connected.sum())
    found = {}
    for name, (unit, of_connected, reflected, figure_of) in FIGURES.items():
        mean, draws = float(figure_of(sample, np.ones((1, sample.n_groups)))[0]), figure_of(sample, weights)
        low, high = interval(mean, draws, skew=0.0 if reflected else skew_of(figure_of, sample), reflected=reflected)
        found[name] = Estimate(mean, low, high, connected if of_connected else n, unit, "cars of this run, not scaled")
    # no load curve peaks below its own mean
    peak, mean_kw = found["grid_peak_kw"], found["grid_energy_kwh"].low / (24 * sample.days)
    found["grid_peak_kw"] = replace(peak, low=min(max(peak.low, mean_kw), peak.mean))
    return found


def interval(
    mean: float, draws: Floats, *, skew: float = 0.0, reflected: bool = False, signed: bool = False
) -> tuple[float, float]:
    """Ends of the 95 % interval from bootstrap draws; encloses `mean`, stays at or above 0 unless `signed`.

    Parameters
    ----------
    mean : float
        The figure itself.
    draws : ndarray
        The figure of each resample.
    skew : float
        Acceleration of the bias-corrected interval, from `skew_of`.
    reflected : bool
        Basic interval instead, for peaks.
    signed : bool
        The figure may be negative.
    """
    if reflected:
        low, high = 2 * mean - np.quantile(draws, [0.975, 0.025])
    else:
        below = float(np.mean(draws < mean) + np.mean(draws == mean) / 2)
        edge = 0.5 / len(draws)
        bias = float(ndtri(min(max(below, edge), 1 - edge)))
        z = bias + np.array([-1.959964, 1.959964])
        low, high = np.quantile(draws, ndtr(bias + z / np.maximum(1 - skew * z, 0.1)))
    if not signed:
        low = max(low, 0.0)
    return min(float(low), mean), max(float(high), mean)


def skew_of(figure_of: _Figure, *samples: Sample) -> float:
    """Acceleration of a figure (of one sample, or of the difference second less first) by the jackknife over groups.

    Efron, "Better bootstrap confidence intervals", JASA 82 (1987), equation 6.6 with the
    jackknife's influence values.
    """
    groups = samples[0].n_groups
    without = np.ones((groups, groups)) - np.eye(groups)
    values = figure_of(samples[-1], without)
    if len(samples) == 2:
        values = values - figure_of(samples[0], without)
    apart = values.mean() - values
    spread = float((apart**2).sum())
    return float((apart**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def resample(seed: int, groups: int, *, resamples: int = RESAMPLES) -> Floats:
    """How often each group is in each resample, shape (resamples, groups): multinomial, rows sum to `groups`.

    A function of (seed, groups) only, so two runs of one fleet are resampled alike.
    """
    u = chance(seed, Stream.BOOTSTRAP, np.arange(groups)[None, :], np.arange(resamples)[:, None])
    picked = (u * groups).astype(np.int64) + groups * np.arange(resamples)[:, None]
    return np.bincount(picked.ravel(), minlength=resamples * groups).reshape(resamples, groups).astype(np.float64)


def _sum(values: Floats, weights: Floats) -> Floats:
    groups = weights.shape[1]
    return np.asarray(weights @ _added(np.arange(len(values)) % groups, values, groups))


def _added(row: NDArray[np.int64], values: Floats, size: int) -> Floats:
    """Sums of values by row; float64 also when there is none."""
    return np.bincount(row, values, size).astype(np.float64)


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def _peak_kw(s: Sample, weights: Floats) -> Floats:
    if not s.load_kw.shape[1]:
        return np.zeros(len(weights))
    return np.asarray((weights @ s.load_kw + s.fixed_kw).max(axis=1))


FIGURES: dict[str, tuple[str, bool, bool, _Figure]] = {
    # unit, of connected cars only, peak (reflected interval), how
    "grid_peak_kw": ("kW", False, True, _peak_kw),
    "grid_energy_kwh": ("kWh", False, False, lambda s, w: _sum(s.meter_kwh, w)),
    "autonomy_share": ("share", False, False, lambda s, w: _ratio(_sum(s.engaged_km, w), _sum(s.km, w))),
    "cloud_mb_per_connected_car_day": (
        "MB/car/day",
        True,
        False,
        lambda s, w: _ratio(_sum(s.generated_bytes, w) / 1e6 / s.days, _sum(s.connected, w)),
    ),
    "cloud_generated_bytes": ("bytes", True, False, lambda s, w: _sum(s.generated_bytes, w)),
}


class SessionLoad(NamedTuple):
    """Power of single sessions: session `row[i]` drew `kw[i]` in interval `at[i]`; `total_kw` is that of all sites."""

    row: NDArray[np.int64]
    at: NDArray[np.int64]
    kw: Floats
    total_kw: Floats  # (intervals,)


def load_by_session(sessions: pa.Table, grid_load: pa.Table, *, simulated_s: float, interval_s: float) -> SessionLoad:
    """Split the measured load of each site and interval over the sessions that were there.

    A session's energy is spread over the intervals between plug and last current, in
    proportion to its share of the interval and the site's power then; the shares of each
    site and interval are fitted so that they sum to the measured load (iterative
    proportional fitting, Deming & Stephan 1940, ending on the load).
    """
    n_bins = max(1, math.ceil(simulated_s / interval_s - 1e-9))
    n_sites = 1 + int(max(column(t, "site_id").max(initial=-1) for t in (sessions, grid_load)))
    load = np.zeros((max(n_sites, 1), n_bins))
    bins = np.minimum((column(grid_load, "time_s") / interval_s).astype(np.int64), n_bins - 1)
    np.add.at(load, (column(grid_load, "site_id").astype(np.int64), bins), column(grid_load, "power_kw"))

    begin, meter = column(sessions, "plugged_s"), column(sessions, "meter_kwh")
    end = column(sessions, "done_s")
    for otherwise in (column(sessions, "unplugged_s"), simulated_s):
        end = np.where(np.isnan(end), otherwise, end)
    used = np.flatnonzero((meter > 0) & ~np.isnan(begin))
    begin, end, meter = begin[used], np.maximum(end[used], begin[used] + 1e-3), meter[used]
    first = np.clip((begin / interval_s).astype(np.int64), 0, n_bins - 1)
    count = np.clip(np.ceil(end / interval_s).astype(np.int64), first + 1, n_bins) - first
    row = np.repeat(np.arange(len(used)), count)
    at = (
        np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
        if len(used)
        else row
    )
    site = column(sessions, "site_id").astype(np.int64)[used][row]
    cell = site * n_bins + at
    overlap = np.minimum(end[row], (at + 1) * interval_s) - np.maximum(begin[row], at * interval_s)
    share = np.maximum(overlap, 1e-3) * load.ravel()[cell]
    flat = load.ravel()
    for _ in range(20):
        share *= _ratio(meter * 3600 / interval_s, _added(row, share, len(used)))[row]
        share *= _ratio(flat, _added(cell, share, flat.size))[cell]
    return SessionLoad(used[row], at, share, load.sum(axis=0))


def load_by_group(
    sessions: pa.Table,
    grid_load: pa.Table,
    groups: int,
    *,
    simulated_s: float,
    interval_s: float,
    most: int | None = MOST_INTERVALS,
) -> tuple[Floats, Floats]:
    """Load of groups of cars, `load_by_session` added up. Of more than `most` intervals only the heaviest are kept.

    Returns
    -------
    load : ndarray, shape (groups, intervals), kW
    fixed : ndarray, shape (intervals,), kW
        Load at sites and times without a session; 0 when the ledgers are closed.
    """
    found = load_by_session(sessions, grid_load, simulated_s=simulated_s, interval_s=interval_s)
    n_bins = len(found.total_kw)
    car = column(sessions, "car_id").astype(np.int64)[found.row]
    by_group = _added((car % groups) * n_bins + found.at, found.kw, groups * n_bins).reshape(groups, n_bins)
    fixed = found.total_kw - by_group.sum(axis=0)
    if most is not None and n_bins > most:  # only the heaviest can become the peak of a resample
        kept = np.sort(np.argsort(found.total_kw)[-most:])
        by_group, fixed = by_group[:, kept], fixed[kept]
    return by_group, fixed


def column(table: pa.Table, name: str) -> Floats:
    """One numeric column as float64, nulls as NaN.

    Raises
    ------
    EstimateError
        When the table lacks it.
    """
    if name not in table.column_names:
        raise EstimateError(f"the results lack the column {name}; there are {', '.join(table.column_names)}")
    return np.asarray(table.column(name).cast("float64").to_numpy(), np.float64)


def figure(value: float) -> str:
    """A number for people: three significant digits, thousands separated.

    Examples
    --------
    >>> figure(0.0123456), figure(1234567.8), figure(12.0)
    ('0.0123', '1,234,568', '12.0')
    """
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, 2 - size)}f}" if size > -6 else f"{value:.2e}"


def _scaled(e: Estimate) -> tuple[float, float, float, str]:
    if e.unit.startswith("share"):
        return e.mean * 100, e.low * 100, e.high * 100, " %" if e.unit == "share" else " points"
    if e.unit == "bytes":
        top = max(abs(e.mean), abs(e.low), abs(e.high))
        for size, unit in ((1e15, " PB"), (1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB")):
            if top >= size:
                return e.mean / size, e.low / size, e.high / size, unit
        return e.mean, e.low, e.high, " bytes"
    return e.mean, e.low, e.high, f" {e.unit}" if e.unit else ""
