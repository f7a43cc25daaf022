"""What drivers and installations do, by the shares of `facts/ota.toml`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin import facts

NEVER = 2**62
"""A moment that does not come, ms."""

_DAY_MS = 86_400_000


def consent_delay_ms(u: ArrayLike) -> NDArray[np.int64]:
    """Time from "ready" to the driver's consent for uniform numbers u; never is 2**62.

    Straight lines between the shares of facts `ota.consent_delay`: within a day, 7, 30 and 90 days.

    Examples
    --------
    >>> (consent_delay_ms([0.0, 0.175, 0.35, 0.95]) / 3_600_000)[:3].tolist()
    [0.0, 12.0, 24.0]
    """
    table = facts.load("ota")["consent_delay"]
    share = [0.0] + [float(table[k]) for k in ("same_day_share", "within_7_days_share", "within_30_days_share")]
    share.append(1 - float(table["never_within_90_days_share"]))
    drawn = np.atleast_1d(np.asarray(u, np.float64))
    delay = np.interp(drawn, share, np.array([0, 1, 7, 30, 90]) * float(_DAY_MS))
    return np.where(drawn < share[-1], delay, float(NEVER)).astype(np.int64)


def failure_reasons() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Why an update finally failed: words, and their cumulated shares (facts `ota.outcome`)."""
    outcome = facts.load("ota")["outcome"]
    names = ("old software kept", "dealer visit", "bricked")
    share = np.array([float(outcome[f"{k}_share"]) for k in ("rollback", "dealer_visit_needed", "bricked")])
    return names, np.cumsum(share) / share.sum()
