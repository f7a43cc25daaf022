"""Estimates: means are the run's own figures, intervals cover a truth that is known, pairs cancel what they share."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.estimates import Estimate, EstimateError, Sample, estimate_run, figure, interval, resample, sample_of

DAY = 86_400.0


def tables(rng: np.random.Generator, cars: int, sites: int) -> tuple[pa.Table, pa.Table, pa.Table, np.ndarray]:
    """Cars with constant-power sessions, several per site at once, and the load they make; also load per car, kW."""
    n = rng.integers(0, 2 * cars + 1)
    car, site = rng.integers(0, cars, n), rng.integers(0, sites, n)
    begin = rng.uniform(0, DAY - 1, n)
    end = np.minimum(begin + rng.uniform(60, 30_000, n), DAY)
    kw = rng.choice([3.0, 6.0, 50.0], n)
    edges = np.arange(97) * 900.0
    inside = np.clip(np.minimum(end[:, None], edges[1:]) - np.maximum(begin[:, None], edges[:-1]), 0, None)
    power = kw[:, None] * inside / 900
    load = np.zeros((sites, 96))
    np.add.at(load, site, power)
    by_car = np.zeros((cars, 96))
    np.add.at(by_car, car, power)
    at_site, at = np.nonzero(load)
    return (
        pa.table(
            {
                "car_id": np.arange(cars),
                "km": rng.gamma(2, 10, cars),
                "engaged_km": np.zeros(cars),
                "connected": rng.random(cars) < 0.5,
                "generated_bytes": rng.integers(0, 10**7, cars),
            }
        ),
        pa.table(
            {
                "car_id": car,
                "site_id": site,
                "plugged_s": begin,
                "done_s": pa.array(end, mask=rng.random(n) < 0.1),
                "unplugged_s": end,
                "meter_kwh": kw * (end - begin) / 3600,
            }
        ),
        pa.table({"time_s": at * 900.0, "site_id": at_site, "power_kw": load[at_site, at]}),
        by_car,
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cars=st.integers(1, 60), sites=st.integers(1, 8))
def test_load_of_the_groups_adds_up_to_the_measured_load(seed: int, cars: int, sites: int) -> None:
    cars_, sessions, load, by_car = tables(np.random.default_rng(seed), cars, sites)
    sample = sample_of(cars_, sessions, load, seed=1, simulated_s=DAY, interval_s=900)
    total = by_car.sum(axis=0)
    assert np.allclose(sample.load_kw.sum(axis=0), total, atol=1e-6)
    assert np.abs(sample.fixed_kw).max() < 1e-6
    assert np.isclose(estimate_run(sample)["grid_peak_kw"].mean, total.max(initial=0))
    # each car keeps the energy of its sessions, to the accuracy of the fit
    assert np.allclose(sample.meter_kwh, by_car.sum(axis=1) / 4)


def test_load_alone_at_its_site_is_split_exactly() -> None:
    rng = np.random.default_rng(3)
    cars, sessions, load, by_car = tables(rng, 40, 1)
    # give every session a site of its own: then nothing has to be fitted
    n = sessions.num_rows
    power = sessions["meter_kwh"].to_numpy() * 3600
    begin, end = sessions["plugged_s"].to_numpy(), sessions["unplugged_s"].to_numpy()
    edges = np.arange(97) * 900.0
    inside = np.clip(np.minimum(end[:, None], edges[1:]) - np.maximum(begin[:, None], edges[:-1]), 0, None)
    kw = power[:, None] * inside / (end - begin)[:, None] / 900
    at_site, at = np.nonzero(kw)
    sessions = sessions.set_column(1, "site_id", pa.array(np.arange(n)))
    load = pa.table({"time_s": at * 900.0, "site_id": at_site, "power_kw": kw[at_site, at]})
    sample = sample_of(cars, sessions, load, seed=1, simulated_s=DAY, interval_s=900)
    assert np.allclose(sample.load_kw, by_car)


def test_resamples_are_multinomial_and_depend_on_seed_and_size_only() -> None:
    weights = resample(7, 50, resamples=4000)
    assert (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, resample(7, 50, resamples=4000))
    assert not np.array_equal(weights, resample(8, 50, resamples=4000))
    # each weight has mean 1 and variance 1 - 1/50; standard error of the variance over 200,000 draws is about 0.4 %
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def population(rng: np.random.Generator, n: int) -> Sample:
    """Cars of a synthetic world: half charge, a third are assisted on a share of their km."""
    charges = rng.random(n) < 0.5
    begin = np.where(rng.random(n) < 0.7, rng.normal(19.5, 1.5, n), rng.random(n) * 24) % 24
    kwh, kw = rng.gamma(2, 4, n) * charges, rng.choice([3.0, 6.0], n)
    middle = (np.arange(96) + 0.5) / 4
    load = np.where(((middle[None, :] - begin[:, None]) % 24) < (kwh / kw)[:, None], kw[:, None], 0.0)
    km = rng.lognormal(3, 0.9, n)
    connected = rng.random(n) < 0.6
    return Sample(
        seed=1,
        days=1.0,
        km=km,
        engaged_km=km * rng.beta(1, 3, n) * (rng.random(n) < 0.3),
        connected=connected.astype(float),
        generated_bytes=connected * rng.gamma(2, 2e6, n),
        meter_kwh=kwh,
        load_kw=load,
        fixed_kw=np.zeros(96),
    )


def part(world: Sample, rows: np.ndarray, seed: int) -> Sample:
    per_car = {
        k: getattr(world, k)[rows] for k in ("km", "engaged_km", "connected", "generated_bytes", "meter_kwh", "load_kw")
    }
    return world._replace(seed=seed, **per_car)


@pytest.mark.parametrize("cars", [80, 400])
def test_intervals_cover_a_known_truth(cars: int) -> None:
    rng = np.random.default_rng(cars)
    world = population(rng, 60_000)
    scale = cars / 60_000
    truth = {
        "grid_peak_kw": world.load_kw.sum(axis=0).max() * scale,
        "grid_energy_kwh": world.meter_kwh.sum() * scale,
        "autonomy_share": world.engaged_km.sum() / world.km.sum(),
        "cloud_mb_per_connected_car_day": world.generated_bytes.sum() / 1e6 / world.connected.sum(),
        "cloud_generated_bytes": world.generated_bytes.sum() * scale,
    }
    trials = 200
    covered = dict.fromkeys(truth, 0)
    shrunk = dict.fromkeys(truth, 0)
    for trial in range(trials):
        found = estimate_run(part(world, rng.integers(0, 60_000, cars), trial), resamples=300)
        for name, value in truth.items():
            e = found[name]
            covered[name] += e.low <= value <= e.high
            shrunk[name] += e.mean - (e.mean - e.low) / 2 <= value <= e.mean + (e.high - e.mean) / 2
    for name, hits in covered.items():
        assert 0.89 <= hits / trials <= 0.995, (name, hits / trials)
    # the test has power: intervals of half the width would be caught
    assert max(shrunk[name] for name in truth if name != "grid_peak_kw") / trials < 0.85


def test_groups_of_cars_give_the_interval_of_cars() -> None:
    """Above MOST_GROUPS cars are resampled in groups: the width stays that of the formula for a sum of n cars."""
    rng = np.random.default_rng(5)
    n, groups = 30_000, 2048
    kwh = rng.gamma(2, 4, n)
    world = population(rng, 10)._replace(
        km=np.ones(n),
        engaged_km=np.zeros(n),
        connected=np.ones(n),
        generated_bytes=np.ones(n),
        meter_kwh=kwh,
        load_kw=np.zeros((groups, 1)),
        fixed_kw=np.zeros(1),
    )
    e = estimate_run(world)["grid_energy_kwh"]
    assert (e.high - e.low) / (2 * 1.96 * kwh.std() * math.sqrt(n)) == pytest.approx(1, abs=0.1)


def test_interval_encloses_the_mean_and_reflects_a_bias() -> None:
    even = np.linspace(9, 11, 1001)
    assert interval(10.0, even) == (
        pytest.approx(9.05, abs=1e-3),
        pytest.approx(10.95, abs=1e-3),
    )  # the plain percentiles
    low, high = interval(10.0, even, skew=0.05)
    assert low > 9.05
    assert high > 10.95  # a long tail above: both ends move up
    low, high = interval(9.8, even)  # six of ten resamples above the figure: both ends move down
    assert low < 9.05 - 0.02
    assert high < 10.95 - 0.02
    draws = np.linspace(11, 13, 1001)  # all resamples above the figure: it is biased by 2
    assert interval(10.0, draws)[0] == 10.0
    assert interval(10.0, draws, reflected=True) == (pytest.approx(7.05), 10.0)
    assert interval(1.0, draws - 8, reflected=True)[0] == 0.0
    assert interval(1.0, draws - 8, reflected=True, signed=True)[0] == pytest.approx(-2.95)


def test_nothing_is_zero_and_not_a_nan() -> None:
    none = {
        "car_id": [0, 1],
        "km": [0.0, 0.0],
        "engaged_km": [0.0, 0.0],
        "connected": [False, False],
        "generated_bytes": [0, 0],
    }
    empty = {
        k: pa.array([], pa.float64()) for k in ("car_id", "site_id", "plugged_s", "done_s", "unplugged_s", "meter_kwh")
    }
    load = {k: pa.array([], pa.float64()) for k in ("time_s", "site_id", "power_kw")}
    found = estimate_run(
        sample_of(pa.table(none), pa.table(empty), pa.table(load), seed=1, simulated_s=60, interval_s=900)
    )
    for e in found.values():
        assert (e.mean, e.low, e.high) == (0, 0, 0)
    with pytest.raises(EstimateError, match="lack the column km"):
        sample_of(
            pa.table(none).drop_columns("km"), pa.table(empty), pa.table(load), seed=1, simulated_s=60, interval_s=900
        )
    with pytest.raises(EstimateError, match="not finite"):
        Estimate(math.nan, 0, 0, 1)


def test_words() -> None:
    assert str(Estimate(0.25, 0.2, 0.3, 1500, "share")) == "25.0 % (95 %: 20.0 to 30.0 %, n 1,500)"
    assert str(Estimate(2.5e9, 2e9, 3e9, 7, "bytes")) == "2.50 GB (95 %: 2.00 to 3.00, n 7)"
    assert [figure(v) for v in (0, 1, 9.995, 999.6, 1e6, -0.5)] == ["0", "1.00", "9.99", "1,000", "1,000,000", "-0.500"]


def test_a_peak_is_never_below_the_mean_power() -> None:
    """Few cars that hardly ever charge together: the reflected interval alone would reach far below."""
    rng = np.random.default_rng(11)
    load = np.zeros((30, 96))
    load[np.arange(30), rng.integers(0, 96, 30)] = 50.0
    nothing = np.zeros(30)
    sample = Sample(
        seed=1, days=1.0, km=nothing + 1, engaged_km=nothing, connected=nothing, generated_bytes=nothing,
        meter_kwh=load.sum(axis=1) / 4, load_kw=load, fixed_kw=np.zeros(96),
    )  # fmt: skip
    found = estimate_run(sample)
    reflected = interval(found["grid_peak_kw"].mean, (resample(1, 30) @ load).max(axis=1), reflected=True)
    mean_kw = found["grid_energy_kwh"].low / 24
    assert reflected[0] < mean_kw == found["grid_peak_kw"].low < found["grid_peak_kw"].mean
