"""The charging site as a queue: Erlang, Pollaczek and Khinchine, Kiefer and Wolfowitz.

Two steps, so that theory is met closely in seconds: the real site (SimPy process, power kernel, ledgers) gives the
same wait as an exact recursion for every single car, to the millisecond; and the recursion, fed millions of
arrivals, gives the closed forms inside 99 % intervals of at most 3 % to either side. A 2 % slower server fails both.
`python -m tests.theory.long_queues` does the same with intervals of at most 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray
from scipy import stats

from tests.theory.socket_queue import fifo_waits_ms, serve, station

MEAN_MS = 600_000
BATCHES = 30
T99 = 2.756  # Student's t, 29 degrees of freedom, two-sided 99 %
TOGETHER = 1
"""Intervals that must all hold; `long_queues` counts its own."""


@pytest.fixture
def more() -> int:
    """Factor on the number of arrivals; `long_queues` has a larger one."""
    return 1


@pytest.fixture
def width() -> float:
    """Widest 99 % interval to either side, as part of the closed form."""
    return 0.03


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


def together() -> float:
    """By how much an interval is longer when all `TOGETHER` shall hold in 99 % of cases (Bonferroni)."""
    return float(stats.t.ppf(1 - 0.005 / TOGETHER, BATCHES - 1)) / T99


def holds(seen: Callable[[float], NDArray[np.float64]], expected: float, *, width: float) -> None:
    """The 99 % interval is narrow and holds the closed form; that of a server slower by 2 % does not.

    Where `TOGETHER` intervals are judged at once, each is stretched (`together`).
    """
    stretch = together()
    mean, half = interval(seen(1.0))
    assert half <= width * expected
    assert abs(mean - expected) < half * stretch, f"{(mean / expected - 1) * 100:.3f} % off"
    slow, half = interval(seen(1.02))
    assert abs(slow - expected) > half * stretch


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("sockets", [1, 2, 4, 8])
def test_mmc_mean_wait_and_share_waiting(sockets, rho, more, width):
    p_wait = erlang_c(sockets, sockets * rho)
    mean_wait = p_wait / (sockets * (1 - rho))
    n = (300_000 if rho == 0.9 else 200_000) * more
    at = {slower: batches(sockets, rho, "exponential", n=n, slower=slower) for slower in (1.0, 1.02)}
    for column, expected in enumerate((mean_wait, p_wait)):
        holds(lambda slower, column=column: at[slower][:, column], expected, width=width)


@pytest.mark.parametrize("law", [exponential, constant, two_phase])
@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_mg1_mean_wait_of_pollaczek_and_khinchine(law, rho, more, width):
    expected = rho * SECOND_MOMENT[law] / (2 * (1 - rho))
    holds(lambda slower: batches(1, rho, law.__name__, n=120_000 * more, slower=slower)[:, 0], expected, width=width)


def mdc_wait(sockets: int, rho: float) -> float:
    """Mean wait of M/D/c in services, from the number in the system at moments one service apart (Crommelin 1932).

    Whoever is in service at a moment is gone one service later: X' = max(X - c, 0) + Poisson(c rho).
    """
    size = 600
    coming = stats.poisson.pmf(np.arange(size), sockets * rho)
    step = np.zeros((size, size))
    for x in range(size):
        left = max(x - sockets, 0)
        step[x, left:] = coming[: size - left]
        step[x, -1] += 1 - step[x].sum()
    share = np.linalg.matrix_power(step, 4096)[0]
    return float(np.maximum(np.arange(size) - sockets, 0) @ share / (sockets * rho))


@pytest.mark.parametrize(("sockets", "rho"), [(1, 0.8), (2, 0.8), (4, 0.9), (8, 0.9)])
def test_mdc_mean_wait_of_crommelin(sockets, rho, more, width):
    expected = mdc_wait(sockets, rho)
    if sockets == 1:
        assert expected == pytest.approx(rho / (2 * (1 - rho)), rel=1e-6)
    holds(
        lambda slower: batches(sockets, rho, "constant", n=200_000 * more, slower=slower)[:, 0], expected, width=width
    )


@njit
def lost(gap, service, sockets):  # type: ignore[no-untyped-def]
    """Share of arrivals that find all sockets taken and go (the rule of a site at which nobody waits)."""
    free = np.zeros(sockets)
    at, gone = 0.0, 0
    for i in range(len(gap)):
        at += gap[i]
        k = free.argmin()
        if free[k] > at:
            gone += 1
        else:
            free[k] = at + service[i]
    return gone / len(gap)


@pytest.mark.parametrize(("sockets", "load"), [(3, 2.0), (8, 6.0)])
def test_erlang_b(sockets, load, more, width):
    def seen(slower: float) -> NDArray[np.float64]:
        rng = np.random.default_rng([sockets, 12])
        n = 120_000 * more
        draws = ((rng.exponential(1 / load, n), rng.exponential(slower, n)) for _ in range(BATCHES))
        return np.array([lost(gap, service, sockets) for gap, service in draws])

    holds(seen, erlang_b(sockets, load), width=width)


def test_number_charging_in_an_infinite_server_is_poisson(more, width):
    """M/G/inf: mean and variance of the number at even moments are the load (Takacs 1962)."""
    load, every = 12.0, 4.0

    def seen(slower: float, what: Callable[[NDArray[np.int64]], float]) -> NDArray[np.float64]:
        rng, out = np.random.default_rng(17), np.empty(BATCHES)
        for b in range(BATCHES):
            n = 120_000 * more
            come = np.cumsum(rng.exponential(1 / load, n))
            go = come + rng.exponential(np.where(rng.random(n) < 0.2, 3.0, 0.5)) * slower
            look = np.arange(40.0, come[-1], every)
            out[b] = what(np.searchsorted(come, look) - np.searchsorted(np.sort(go), look))
        return out

    holds(lambda slower: seen(slower, np.mean), load, width=width)
    spread, half = interval(seen(1.0, np.var))
    assert half <= width * load
    assert abs(spread - load) < half * together()


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
