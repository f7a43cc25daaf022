"""What a stay on a socket would have given at full power from the start: what policies and caps have cost a car."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.charging import kernels
from twin.charging.visits import Outcome, Visits
from twin.fleet.fleet import Fleet
from twin.sessions import Sessions

_CUT_SHORT = (Outcome.LEFT, Outcome.LIMIT, Outcome.BROKEN)


class FullPower:
    """The same stays without policy, without caps of site and feeder, and without giving energy back.

    Parameters
    ----------
    fleet, sessions, visits : Fleet, Sessions, Visits
    warm_curve_w : ndarray of float64, shape (n_models, 101)
        Power that warm batteries accept.
    accepted : ndarray of float64, shape (24, n_models)
        Share of it by hour of the day.
    start_ms_of_day, handshake_ms : int
    efficiency : tuple of float
        Overhead (W) and factor of onboard chargers, efficiency of direct current.
    """

    def __init__(
        self,
        fleet: Fleet,
        sessions: Sessions,
        visits: Visits,
        warm_curve_w: NDArray[np.float64],
        accepted: NDArray[np.float64],
        *,
        start_ms_of_day: int,
        handshake_ms: int,
        efficiency: tuple[float, float, float],
    ) -> None:
        self.fleet, self.sessions, self.visits = fleet, sessions, visits
        self.warm_curve_w, self.accepted = warm_curve_w, accepted
        self.start_ms_of_day, self.handshake_ms, self.efficiency = start_ms_of_day, handshake_ms, efficiency

    def held_j(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Energy that the cars of ended sessions would have left with; -1 where the car was never plugged in or stays.

        Where charging came to its end by itself that is what they left with.
        """
        v, fleet = self.visits, self.fleet
        outcome, ended = v.outcome[rows], v.unplugged_ms[rows]
        plugged = (v.plugged_ms[rows] >= 0) & (outcome != Outcome.OPEN) & (ended >= 0)
        out = np.where(plugged, v.soc_out_j[rows], -1)
        cut = np.flatnonzero(plugged & np.isin(outcome, _CUT_SHORT))
        if not len(cut):
            return out
        mine, car = rows[cut], self.sessions.car[rows[cut]]
        stop = v.stop_ms[mine]
        until = np.where(stop >= 0, np.minimum(stop, ended[cut]), ended[cut])
        out[cut] = kernels.at_full_power(
            fleet.model[car], v.dc[mine], v.socket_w[mine], v.soc_in_j[mine], v.target_j[mine], fleet.capacity_j[car],
            v.plugged_ms[mine] + self.handshake_ms, until, self.warm_curve_w, self.accepted, self.start_ms_of_day,
            *self.efficiency,
        )  # fmt: skip
        return out
