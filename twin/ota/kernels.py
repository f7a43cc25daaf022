"""Compiled downloads: what each car asks of its cell, and what it takes."""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.chance import draw


@njit(cache=True)
def ask(  # type: ignore[no-untyped-def]
    rows,
    car,
    may,
    cell_of,
    wifi_cell,
    got_b,
    size_b,
    most_b,
    reachable,
    state,
    car_link,
    link_dead,
    node_dead,
    car_node,
    outage,
    minute,
    seed,
    stream,
    want,
    cell_want,
):
    """Bytes that downloading cars ask for in this tick; 0 without signal, leave, or a state that can receive."""
    for i in range(len(rows)):
        target = rows[i]
        c = car[target]
        want[i] = 0
        if not may[i] or reachable[state[c]] == 0:
            continue
        cell = cell_of[i]
        if cell != wifi_cell:
            if car_link[c] >= 0:
                if link_dead[car_link[c]] or draw(seed, stream, c, minute) < outage[cell]:
                    continue
            elif node_dead[car_node[c]]:
                continue
        want[i] = min(size_b[target] - got_b[target], most_b[i])
        cell_want[cell] += want[i]


@njit(cache=True)
def take(rows, car, give, start_ms, stop_ms, most_b, got_b, size_b, downlink_b, done_ms):  # type: ignore[no-untyped-def]
    """Book what the cells gave; `done_ms[i]` is the moment of the last byte, -1 while some are missing.

    A car that gets all it still needs at once takes it at its own fastest rate.
    """
    for i in range(len(rows)):
        target = rows[i]
        c = car[target]
        got_b[target] += give[i]
        downlink_b[c] += give[i]
        done_ms[i] = -1
        if got_b[target] == size_b[target]:
            span = stop_ms - start_ms
            done_ms[i] = min(stop_ms, start_ms + np.int64(-((-span * give[i]) // most_b[i])))
