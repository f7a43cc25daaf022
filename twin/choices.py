"""The questions that are put to drivers, built from what they can know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.agents import PlugInQuestion, TripQuestion
from twin.chance import Stream, chance
from twin.charging.charging import Charging
from twin.energy.drive import Drive
from twin.fleet.fleet import Fleet
from twin.traffic.routing import Routes

PLANNING_MARGIN = 1.15
"""Drivers plan with this much more energy than the mean prediction says."""
DETOUR = 1.4
"""Road distance over crow-fly distance, for sites whose route is not searched."""
SEARCH_MPS = 8.0
"""Speed on the way to a site."""
SITES = 4
"""Charging sites a driver weighs."""
WITHIN = 0.95
"""Share of the battery within which destination management proposes a site."""
LOOK_BELOW = 0.5
"""Drivers look at sites only when the trip would leave less than this share of the battery."""


def plug_in_question(
    fleet: Fleet,
    rows: NDArray[np.int64],
    stay_ms: NDArray[np.int64],
    at_home: NDArray[np.bool_],
    moment: NDArray[np.int64],
    *,
    seed: int,
) -> PlugInQuestion:
    """Cars that have parked by a socket of their own for `stay_ms`."""
    return PlugInQuestion(
        rows=rows,
        soc=fleet.soc[rows],
        capacity_kwh=fleet.capacity_j[rows] / 3.6e6,
        stay_h=stay_ms / 3.6e6,
        at_home=at_home,
        u=chance(seed, Stream.PLUG_IN, rows, moment),
    )


def trip_question(
    fleet: Fleet,
    network: RoadNetwork,
    charging: Charging,
    drive: Drive,
    rows: NDArray[np.int64],
    goal: NDArray[np.int32],
    *,
    metres: NDArray[np.float64],
    seconds: NDArray[np.float64],
    rise_m: NDArray[np.float64],
    avoid: NDArray[np.int32],
    tired: NDArray[np.bool_],
    now_ms: int,
    seed: int,
    routes: Routes | None = None,
    led: NDArray[np.bool_] | None = None,
) -> TripQuestion:
    """Electric cars with a trip of `metres` and `seconds` before them, which ends `rise_m` above where they are.

    `avoid` is the site each car has just left, -1 none; `tired` drivers stop at no more sites.
    `led` cars, whose ways are `routes`, propose sites beside the way, as far as the battery reaches, before near ones.
    """
    shape = (len(rows), SITES)
    need = np.rint(drive.predict_j(rows, metres, seconds, rise_m=rise_m, at_ms=now_ms) * PLANNING_MARGIN).astype(
        np.int64
    )
    socket = ((goal == fleet.home_node[rows]) & (fleet.home_site[rows] >= 0)) | (
        (goal == fleet.work_node[rows]) & (fleet.work_site[rows] >= 0)
    )
    site = np.full(shape, -1, np.int32)
    crow, kw, wait = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    usable = drive.usable_j(rows, at_ms=now_ms)
    low = np.flatnonzero((usable - need < LOOK_BELOW * fleet.capacity_j[rows]) & ~tired)
    if len(low):
        site[low], crow[low], kw[low], wait[low] = charging.candidates(fleet.node[rows[low]], rows[low], k=SITES)
    x, y = network.node_x, network.node_y
    here, there = fleet.node[rows], charging.sites.site_node[np.maximum(site, 0)]
    beyond = np.hypot(x[there] - x[goal][:, None], y[there] - y[goal][:, None])
    straight = np.hypot(x[here] - x[goal], y[here] - y[goal])[:, None]
    to_site = np.where(site >= 0, DETOUR * crow, 0.0)
    detour = np.maximum(0.0, to_site + DETOUR * (beyond - straight))
    on_way = np.zeros(shape, bool)
    if routes is not None and led is not None:
        reach_m = metres * (WITHIN * usable) / np.maximum(need, 1)
        for row in low[led[low]]:
            way = routes.links[routes.ptr[row] : routes.ptr[row + 1]]
            beside = charging.choice.beside(
                way, int(rows[row]), reach_m=float(reach_m[row]), avoid=int(avoid[row]), detour=DETOUR, k=SITES
            )
            n = len(beside.site)
            if n:
                site[row], kw[row], wait[row], to_site[row], detour[row] = -1, 0.0, 0.0, 0.0, 0.0
                site[row, :n], kw[row, :n], wait[row, :n] = beside.site, beside.kw, beside.wait_s
                to_site[row, :n], detour[row, :n], on_way[row, :n] = beside.to_m, beside.detour_m, True
    site[site == avoid[:, None]] = -1
    reach = drive.predict_j(np.repeat(rows, SITES), to_site.ravel(), to_site.ravel() / SEARCH_MPS, at_ms=now_ms)
    reach = np.rint(reach.reshape(shape) * PLANNING_MARGIN)
    # on the way as much is spent as on the rest of it
    reach = np.where(on_way, np.rint(to_site / np.maximum(metres, 1.0)[:, None] * need[:, None]), reach)
    return TripQuestion(
        rows=rows,
        battery_j=usable,
        capacity_j=fleet.capacity_j[rows],
        need_j=need,
        charges_at_goal=socket,
        site=site,
        reach_j=reach.astype(np.int64),
        kw=kw,
        wait_s=wait,
        detour_m=detour,
        on_way=on_way,
        u=chance(seed, Stream.SITE_CHOICE, rows, now_ms),
        price=np.where(site >= 0, charging.operation.price(now_ms, np.maximum(site, 0)), 0.0),
        value_of_time=np.full(len(rows), charging.settings.value_of_time or np.inf),
    )
