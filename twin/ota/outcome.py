"""What drivers and installations do, by the shares of `facts/ota.toml`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin import facts

NEVER = 2**62
"""A moment that does not come, ms."""

_DAY_MS = 86_400_000


@cache
def _table(name: str) -> dict[str, Any]:
    """A table of facts `ota`, read once: these functions are asked in every tick, and only read it."""
    table: dict[str, Any] = facts.load("ota")[name]
    return table


def consent_delay_ms(u: ArrayLike) -> NDArray[np.int64]:
    """Time from "ready" to the driver's consent for uniform numbers u; never is 2**62.

    Straight lines between the shares of facts `ota.consent_delay`: within a day, 7, 30 and 90 days.

    Examples
    --------
    >>> (consent_delay_ms([0.0, 0.175, 0.35, 0.95]) / 3_600_000)[:3].tolist()
    [0.0, 12.0, 24.0]
    """
    table = _table("consent_delay")
    share = [0.0] + [float(table[k]) for k in ("same_day_share", "within_7_days_share", "within_30_days_share")]
    share.append(1 - float(table["never_within_90_days_share"]))
    drawn = np.atleast_1d(np.asarray(u, np.float64))
    delay = np.interp(drawn, share, np.array([0, 1, 7, 30, 90]) * float(_DAY_MS))
    return np.where(drawn < share[-1], delay, float(NEVER)).astype(np.int64)


def failure_reasons() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Why an update finally failed: words, and their cumulated shares (facts `ota.outcome`)."""
    outcome = _table("outcome")
    names = ("old software kept", "dealer visit", "bricked")
    share = np.array([float(outcome[f"{k}_share"]) for k in ("rollback", "dealer_visit_needed", "bricked")])
    return names, np.cumsum(share) / share.sum()


def dealer_delay_ms(u: ArrayLike, age_years: ArrayLike) -> NDArray[np.int64]:
    """Time until the owner brings the car to the dealer; never is 2**62.

    Facts `ota.dealer`: so many owners come at all, spread evenly over the time in which the
    completion of recalls is counted.

    Examples
    --------
    >>> (dealer_delay_ms([0.0, 0.35, 0.69, 0.71], 1) < 2**62).tolist()
    [True, True, True, False]
    """
    table = _table("dealer")
    new = np.asarray(age_years) < float(table["new_until_years"])
    share = np.where(new, float(table["visit_share_new"]), float(table["visit_share_older"]))
    drawn = np.atleast_1d(np.asarray(u, np.float64))
    delay = drawn / share * float(table["within_days"]) * _DAY_MS
    return np.where(drawn < share, delay, float(NEVER)).astype(np.int64)


def twelve_volt_soc(u: ArrayLike, parked_ms: ArrayLike) -> NDArray[np.float64]:
    """State of charge of the 12 V battery, 0 to 1, after standing for so long.

    Full after a drive, less by the quiescent current of the control units; a share of batteries is
    weak with age (facts `ota.twelve_volt`, assumptions).

    Examples
    --------
    >>> twelve_volt_soc([0.5, 0.5], [0, 10 * 86_400_000]).round(3).tolist()
    [0.95, 0.83]
    """
    table = _table("twelve_volt")
    weak = np.asarray(u, np.float64) < float(table["weak_share"])
    full = np.where(weak, float(table["weak_full"]), float(table["full"]))
    left: NDArray[np.float64] = full - float(table["loss_per_day"]) * np.asarray(parked_ms, np.float64) / _DAY_MS
    return np.maximum(left, 0.0)
