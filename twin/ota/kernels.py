"""Compiled downloads: what each car asks of its cell, and what it takes."""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.chance import draw


@njit(cache=True)
def ask(  # type: ignore[no-untyped-def]
    rows,
    car,
    got_b,
    package_b,
    most_b,
    generation,
    reachable,
    state,
    car_link,
    car_node,
    link_cell,
    node_cell,
    link_dead,
    outage,
    minute,
    seed,
    stream,
    want,
    cell_of,
    cell_want,
):
    """Bytes that downloading cars ask for in this tick; 0 without signal or in a state that cannot receive."""
    cell_want[:] = 0
    for i in range(len(rows)):
        target = rows[i]
        c = car[target]
        moving = car_link[c] >= 0
        cell = link_cell[car_link[c]] if moving else node_cell[car_node[c]]
        cell_of[i] = cell
        want[i] = 0
        if reachable[state[c]] == 0:
            continue
        if moving and (link_dead[car_link[c]] or draw(seed, stream, c, minute) < outage[cell]):
            continue
        want[i] = min(package_b - got_b[target], most_b[generation[c]])
        cell_want[cell] += want[i]


@njit(cache=True)
def take(rows, car, give, start_ms, stop_ms, most_b, generation, got_b, package_b, downlink_b, done_ms):  # type: ignore[no-untyped-def]
    """Book what the cells gave; `done_ms[i]` is the moment of the last byte, -1 while some are missing.

    A car that gets all it still needs at once takes it at its own fastest rate.
    """
    for i in range(len(rows)):
        target = rows[i]
        c = car[target]
        got_b[target] += give[i]
        downlink_b[c] += give[i]
        done_ms[i] = -1
        if got_b[target] == package_b:
            span = stop_ms - start_ms
            done_ms[i] = min(stop_ms, start_ms + np.int64(-((-span * give[i]) // most_b[generation[c]])))
