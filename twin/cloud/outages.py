"""What an outage of the cloud left behind: what waited, the storm when it came back, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twin.cloud.cells import HOUR_MS

RECOVERED = 0.01
"""Recovered: no more than this share of the most that waited is left, in the cars and in the ingest;
an ingest that holds less than it delivers in two ticks is not waited for."""


def outages(
    spans_ms: Sequence[tuple[int, int]], track: Sequence[tuple[int, int, int, int, int]]
) -> list[dict[str, Any]]:
    """Figures of each outage.

    Parameters
    ----------
    spans_ms : sequence of (start, stop)
    track : sequence of (end of tick in ms, bytes waiting in cars, messages inside the ingest, messages delivered, ms)
        One entry per tick.

    Returns
    -------
    list of dict
        `waiting_bytes` and `normal_messages_per_s` are those of the outage's end and of the hour
        before; `recovery_s` counts from the outage's end, None when the run ends before.

    Examples
    --------
    >>> track = [(60_000, 0, 5, 60, 60_000), (120_000, 900, 0, 0, 60_000), (180_000, 0, 800, 300, 60_000),
    ...          (240_000, 0, 0, 60, 60_000)]
    >>> found = outages([(60_000, 120_000)], track)[0]
    >>> found["waiting_bytes"], found["storm_messages_per_s"], found["recovery_s"]
    (900, 5.0, 120.0)
    """
    if not track:
        return []
    end, waiting, inside, messages, span = (np.array(column, np.int64) for column in zip(*track, strict=True))
    rate = messages / span * 1000
    found = []
    for number, (start, stop) in enumerate(sorted(spans_ms)):
        later = sorted(spans_ms)[number + 1][0] if number + 1 < len(spans_ms) else np.iinfo(np.int64).max
        after = (end > stop) & (end <= later)
        during = (end > start) & (end <= stop)
        before = (end <= start) & (end > start - HOUR_MS)
        if not during.any():
            continue
        most = int(waiting[during].max())
        queue = int(inside[after].max(initial=0))
        left = (waiting > RECOVERED * most) | (inside > np.maximum(RECOVERED * queue, 2 * messages))
        calm = np.flatnonzero(after & ~left)
        first = calm[calm > np.flatnonzero(after & left)[-1]] if (after & left).any() else calm
        found.append(
            {
                "from_h": start / HOUR_MS,
                "to_h": stop / HOUR_MS,
                "waiting_bytes": most,
                "normal_messages_per_s": float(messages[before].sum() / span[before].sum() * 1000)
                if before.any()
                else None,
                "storm_messages_per_s": float(rate[after].max(initial=0.0)),
                "most_messages_inside": queue,
                "recovery_s": float(end[first[0]] - stop) / 1000 if len(first) else None,
            }
        )
    return found


def down_ms(spans_ms: Sequence[tuple[int, int]], t0_ms: int, t1_ms: int) -> int:
    """Milliseconds of [t0, t1) in which the cloud is down; spans may overlap.

    Examples
    --------
    >>> down_ms([(5, 20), (0, 10)], 8, 100)
    12
    """
    down, upto = 0, t0_ms
    for start, stop in sorted(spans_ms):
        first, last = max(start, upto), min(stop, t1_ms)
        if first < last:
            down += last - first
            upto = last
    return down
