"""The charging site as a queue: Erlang, Pollaczek and Khinchine, Kiefer and Wolfowitz.

Two steps, so that theory is met closely in seconds: the real site (SimPy process, power kernel, ledgers) gives the
same wait as an exact recursion for every single car, to the millisecond; and the recursion, fed millions of
arrivals, gives the closed forms inside narrow 99 % intervals. A 2 % slower server fails both.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from tests.theory.socket_queue import fifo_waits_ms, serve, station

MEAN_MS = 600_000
BATCHES = 30
T99 = 2.756  # Student's t, 29 degrees of freedom, two-sided 99 %


def exponential(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return np.maximum(1, np.rint(rng.exponential(MEAN_MS, n))).astype(np.int64)


def constant(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return np.full(n, MEAN_MS)


def two_phase(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """A few long stays among short ones: squared coefficient of variation 2.2."""
    long = rng.random(n) < 0.2
    return np.maximum(1, np.rint(rng.exponential(np.where(long, 3.0, 0.5) * MEAN_MS))).astype(np.int64)


SECOND_MOMENT = {exponential: 2.0, constant: 1.0, two_phase: 2 * (0.2 * 9 + 0.8 * 0.25)}  # E[S^2] / MEAN_MS^2


def arrivals(rng: np.random.Generator, n: int, load: float) -> NDArray[np.int64]:
    return np.cumsum(np.rint(rng.exponential(MEAN_MS / load, n)).astype(np.int64))


def erlang_c(sockets: int, load: float) -> float:
    """P(wait) of M/M/c; load = c rho (Erlang 1917)."""
    top = load**sockets / math.factorial(sockets) * sockets / (sockets - load)
    return top / (sum(load**k / math.factorial(k) for k in range(sockets)) + top)


def erlang_b(sockets: int, load: float) -> float:
    top = load**sockets / math.factorial(sockets)
    return top / sum(load**k / math.factorial(k) for k in range(sockets + 1))


@njit
def fifo(gap, service, sockets, warm):  # type: ignore[no-untyped-def]
    """Mean wait and share that waits, past `warm` arrivals (the recursion of `fifo_waits_ms`, compiled)."""
    free = np.zeros(sockets)
    at, total, waited = 0.0, 0.0, 0
    for i in range(len(gap)):
        at += gap[i]
        k = free.argmin()
        begin = max(at, free[k])
        free[k] = begin + service[i]
        if i >= warm:
            total += begin - at
            waited += begin > at
    n = len(gap) - warm
    return total / n, waited / n


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and 99 % half-width over independent batches."""
    return float(values.mean()), float(T99 * values.std(ddof=1) / math.sqrt(len(values)))


def batches(sockets: int, rho: float, law: str, *, n: int, slower: float = 1.0) -> NDArray[np.float64]:
    """Mean wait (in mean services) and share that waits, per batch, shape (BATCHES, 2)."""
    rng = np.random.default_rng([sockets, round(100 * rho), 11])
    out = np.empty((BATCHES, 2))
    for b in range(BATCHES):
        gap = rng.exponential(1 / (sockets * rho), n)
        if law == "exponential":
            service = rng.exponential(1.0, n)
        elif law == "constant":
            service = np.ones(n)
        else:
            service = rng.exponential(np.where(rng.random(n) < 0.2, 3.0, 0.5))
        out[b] = fifo(gap, service * slower, sockets, n // 20)
    return out


@pytest.mark.parametrize("law", [exponential, constant, two_phase])
@pytest.mark.parametrize(("sockets", "rho", "tick_ms"), [(1, 0.9, 60_000), (2, 0.8, 420_000), (5, 0.95, 3_600_000)])
def test_site_waits_equal_the_exact_recursion_to_the_millisecond(law, sockets, rho, tick_ms):
    rng = np.random.default_rng(3)
    arrive, service = arrivals(rng, 700, sockets * rho), law(rng, 700)
    charging, site = station(sockets, 700)
    table = serve(charging, site, arrive, service, tick_ms=tick_ms)
    expected = fifo_waits_ms(arrive, service, sockets)
    assert (expected > 0).sum() > 100
    assert np.array_equal(np.rint(table["wait_s"] * 1000), expected)
    assert np.array_equal(np.rint((table["done_s"] - table["plugged_s"]) * 1000), service)
    assert charging.ledger() == dict.fromkeys(charging.ledger(), 0)
    assert int(charging.queues.wait_ms[site]) == int(charging.queues.area_ms[site]) == int(expected.sum())


def test_a_two_percent_slower_socket_is_noticed():
    rng = np.random.default_rng(3)
    arrive, service = arrivals(rng, 700, 0.9), exponential(rng, 700)
    charging, site = station(1, 700)
    charging.sites.socket_kw[charging.sites.socket_site == site] = 50 / 1.02
    table = serve(charging, site, arrive, service)
    assert table["wait_s"].mean() * 1000 > 1.05 * fifo_waits_ms(arrive, service, 1).mean()


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("sockets", [1, 2, 4, 8])
def test_mmc_mean_wait_and_share_waiting(sockets, rho):
    p_wait = erlang_c(sockets, sockets * rho)
    mean_wait = p_wait / (sockets * (1 - rho))
    n = 300_000 if rho == 0.9 else 200_000
    seen = batches(sockets, rho, "exponential", n=n)
    for column, expected in enumerate((mean_wait, p_wait)):
        mean, half = interval(seen[:, column])
        assert half < 0.03 * expected
        assert abs(mean - expected) < half
    slow, half = interval(batches(sockets, rho, "exponential", n=n, slower=1.02)[:, 0])
    assert abs(slow - mean_wait) > half


@pytest.mark.parametrize("law", [exponential, constant, two_phase])
@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_mg1_mean_wait_of_pollaczek_and_khinchine(law, rho):
    expected = rho * SECOND_MOMENT[law] / (2 * (1 - rho))
    mean, half = interval(batches(1, rho, law.__name__, n=120_000)[:, 0])
    assert half < 0.03 * expected
    assert abs(mean - expected) < half
    slow, half = interval(batches(1, rho, law.__name__, n=120_000, slower=1.02)[:, 0])
    assert abs(slow - expected) > half


def test_turned_away_cars_follow_erlang_b():
    """With no patience for any expected wait the site is a loss system: each car balks or charges, as in Erlang's B."""
    rng = np.random.default_rng(5)
    n, sockets, load = 12_000, 3, 2.0
    arrive, service = arrivals(rng, n, load), exponential(rng, n)
    charging, site = station(sockets, n, balk_min=1e-9)
    table = serve(charging, site, arrive, service, tick_ms=3_600_000)
    balked = table["outcome"] == "balked"
    free = np.zeros(sockets, np.int64)
    for i in range(n):  # exact: who finds all sockets taken is lost (a socket freed in the same ms may go either way)
        k = int(free.argmin())
        if free[k] != arrive[i]:
            assert balked[i] == (free[k] > arrive[i])
        if not balked[i]:
            free[k] = arrive[i] + service[i]
    mean, half = interval(balked[: n // BATCHES * BATCHES].reshape(BATCHES, -1).mean(1))
    assert half < 0.08 * mean
    assert abs(mean - erlang_b(sockets, load)) < half
    assert set(table["outcome"]) == {"balked", "done"}


def test_home_is_an_infinite_server():
    """M/G/inf: with a socket for everybody the number charging is Poisson; nobody waits (Takacs 1962)."""
    rng = np.random.default_rng(6)
    n, load = 8000, 12.0
    arrive, service = arrivals(rng, n, load), two_phase(rng, n)
    charging, site = station(n, n)
    table = serve(charging, site, arrive, service)
    assert (table["wait_s"] == 0).all()
    look = np.arange(20 * MEAN_MS, arrive[-1], 2 * MEAN_MS) / 1000
    there = np.searchsorted(np.sort(table["plugged_s"]), look) - np.searchsorted(np.sort(table["done_s"]), look)
    part = there[: len(there) // BATCHES * BATCHES].reshape(BATCHES, -1).astype(float)
    mean, half = interval(part.mean(1))
    assert abs(mean - load) < half < 0.09 * load
    spread, half = interval(part.var(1))
    assert abs(spread - load) < half + 0.1 * load  # batches of few looks see a little less than the whole spread
