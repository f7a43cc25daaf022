"""The week before the run: what batteries hold, and who is still plugged in, when the clock starts.

Without it a run would begin with batteries that no driver left behind, and its first
evening would not be a usual one. Days are the car's own habit days; roads are free.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twin.demand.days import Demand
from twin.demand.given import GivenDays
from twin.energy.drive import Drive
from twin.fleet.fleet import Fleet, Kind

DAYS = 7
DAY_MS = 86_400_000
MEAN_MPS = 10.0
"""Speed for the week's energy; the run itself uses the streets."""
SITE_FROM, SITE_TO = 0.10, 0.80
"""A battery with less than the first to drive on goes to a public site, which fills it to the second."""

PlugIn = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


def live_week(
    fleet: Fleet,
    demand: Demand | GivenDays,
    drive: Drive,
    *,
    plug_in: PlugIn,
    charge_from_ms: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]],
    home_w: float,
    start_ms_of_day: int,
) -> NDArray[np.int64]:
    """Set `fleet.battery_j` to what a week of driving and home charging leaves.

    Parameters
    ----------
    plug_in : callable (rows, evening) -> bool
        The drivers' answers when they come home.
    charge_from_ms : callable (rows, arrival_ms) -> int
        When current flows for cars plugged in at `arrival_ms` of the day (timers wait).
    home_w : float
        Power into the battery at home, W.
    start_ms_of_day : int
        Civil time of the run's start, ms since midnight.

    Returns
    -------
    int64 array
        Cars on their home socket and not yet full when the run starts.
    """
    rows = np.flatnonzero(fleet.kind == Kind.ELECTRIC)
    still = np.empty(0, np.int64)
    if not len(rows):
        return still
    capacity = fleet.capacity_j[rows]
    battery = capacity.copy()
    for day in range(DAYS):
        # the days to come stand in for the days that were: same car, same habits
        plan = demand.usual_day(day + 1)
        metres = np.bincount(plan.car, plan.km * 1000.0, len(fleet))[rows]
        last = np.full(len(fleet), -1, np.int64)
        np.maximum.at(last, plan.car, plan.depart_ms + np.rint(plan.km / MEAN_MPS * 1e6).astype(np.int64))
        home_ms = last[rows] - demand.midnight_ms(day + 1)
        battery -= drive.predict_j(rows, metres, metres / MEAN_MPS)
        fleet.battery_j[rows] = np.maximum(battery, 0)
        low = drive.usable_j(rows) < SITE_FROM * capacity
        battery[low] = (SITE_TO * capacity[low]).astype(np.int64)
        fleet.battery_j[rows] = battery
        came = np.flatnonzero((last[rows] >= 0) & (fleet.home_site[rows] >= 0))
        yes = came[plug_in(rows[came], np.full(len(came), day, np.int64))]
        if day < DAYS - 1:
            battery[yes] = capacity[yes]
            continue
        begins = charge_from_ms(rows[yes], home_ms[yes])
        taken = (np.maximum(DAY_MS + start_ms_of_day - begins, 0) * (home_w / 1000)).astype(np.int64)
        battery[yes] = np.minimum(battery[yes] + taken, capacity[yes])
        fleet.battery_j[rows] = battery
        partly = yes[(battery[yes] < capacity[yes]) & (fleet.node[rows[yes]] == fleet.home_node[rows[yes]])]
        still = rows[partly]
    return still
