"""Static user equilibrium: flows at which no driver gains by taking another route (Wardrop 1952).

Bi-conjugate Frank-Wolfe (Mitradjieva and Lindberg, "The stiff is moving", Transportation Science
47, 2013): each search direction is an all-or-nothing loading, mixed with the last two aims so
that it is conjugate to both under the cost slopes; the step minimises Beckmann's objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maps.network import RoadNetwork
from twin.traffic.routing import Router

_FULL = 0.999
_BISECTIONS = 40
_MS = 1000.0


class AssignmentError(ValueError):
    """Demand or costs that cannot be assigned."""


class Demand(Protocol):
    """Trips between nodes: arrays of one length."""

    @property
    def origin(self) -> NDArray[np.int32]:
        """Node where trips begin."""

    @property
    def target(self) -> NDArray[np.int32]:
        """Node where trips end."""

    @property
    def vehicles(self) -> NDArray[np.float64]:
        """How many."""


@dataclass(frozen=True)
class Bpr:
    """Link cost of the Bureau of Public Roads (Traffic Assignment Manual, 1964).

    Attributes
    ----------
    free_s : float64, shape (n_links,)
        Time of an empty link, s.
    capacity : float64, shape (n_links,)
        Vehicles per period.
    b, power : float64, shape (n_links,)

    Examples
    --------
    >>> cost = Bpr(np.array([100.0]), np.array([50.0]), np.array([0.15]), np.array([4.0]))
    >>> cost.seconds(np.array([50.0])).round(6).tolist()
    [115.0]
    """

    free_s: NDArray[np.float64]
    capacity: NDArray[np.float64]
    b: NDArray[np.float64]
    power: NDArray[np.float64]

    def seconds(self, flows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Travel time of each link, s."""
        return np.asarray(self.free_s * (1 + self.b * (flows / self.capacity) ** self.power))

    def slope(self, flows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivative of the time by the flow, s per vehicle."""
        return np.asarray(
            self.free_s * self.b * self.power / self.capacity * (flows / self.capacity) ** (self.power - 1)
        )


class Assignment(NamedTuple):
    """What `assign` found.

    Attributes
    ----------
    flows : float64, shape (n_links,)
        Vehicles per period.
    gap : float
        Relative gap: what drivers would save on the cheapest routes, as a share of what they spend.
    iterations : int
    """

    flows: NDArray[np.float64]
    gap: float
    iterations: int


def assign(network: RoadNetwork, demand: Demand, cost: Bpr, *, gap: float = 1e-4, iterations: int = 1000) -> Assignment:
    """User equilibrium of fixed demand under static link costs.

    Parameters
    ----------
    network : RoadNetwork
    demand : Demand
        Such as `maps.tntp.TripTable`.
    cost : Bpr
        Rising with the flow.
    gap : float
        Stop when the relative gap is at most this.
    iterations : int
        Stop after so many loadings, whatever the gap.

    Raises
    ------
    AssignmentError
        For negative or non-finite demand, a cost that is not positive, or a pair without a route.
    """
    if np.any(~np.isfinite(demand.vehicles)) or np.any(demand.vehicles < 0):
        raise AssignmentError("demand is negative or not finite")
    if np.any(~np.isfinite(cost.free_s)) or np.any(cost.free_s <= 0) or np.any(cost.capacity <= 0):
        raise AssignmentError("a link has a free time or capacity that is not above 0")
    # a pair from a node to itself uses no street
    moving = (demand.origin != demand.target) & (demand.vehicles > 0)
    origin, target, volume = demand.origin[moving], demand.target[moving], demand.vehicles[moving]
    router = Router(network, np.floor(cost.free_s * _MS).astype(np.int64))

    def load(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        routes = router.routes(origin, target, np.rint(seconds * _MS).astype(np.int64))
        if not routes.found.all():
            lost = int(np.argmin(routes.found))
            raise AssignmentError(f"no route from node {origin[lost]} to node {target[lost]}")
        return np.bincount(routes.links, np.repeat(volume, np.diff(routes.ptr)), network.n_links).astype(np.float64)

    flows = load(cost.seconds(np.zeros(network.n_links)))
    aims: list[NDArray[np.float64]] = []
    step, found = 1.0, np.inf
    for turn in range(1, iterations + 1):
        seconds = cost.seconds(flows)
        cheapest = load(seconds)
        spent = float(seconds @ flows)
        found = (spent - float(seconds @ cheapest)) / spent if spent else 0.0
        if found <= gap:
            return Assignment(flows, max(found, 0.0), turn)
        aim = _conjugate(flows, cheapest, aims, step, cost.slope(flows))
        if seconds @ (aim - flows) >= 0:
            aim, aims = cheapest, []
        step = _step(flows, aim, cost)
        flows = flows + step * (aim - flows)
        # a full step lands on the aim: its direction has no length left to be conjugate to
        aims = [aim, *aims[:1]] if step < _FULL else []
    return Assignment(flows, found, iterations)


def _conjugate(
    flows: NDArray[np.float64],
    cheapest: NDArray[np.float64],
    aims: list[NDArray[np.float64]],
    step: float,
    slope: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mix of the new loading and the last two aims that is conjugate to both last directions.

    `aims` are the last ones, newest first, and `step` is what was walked towards the newest.
    """
    if not aims:
        return cheapest
    new, last = cheapest - flows, aims[0] - flows
    along = float(last @ (slope * last))
    if along <= 0:
        return cheapest
    older = 0.0
    if len(aims) > 1:
        before = step * aims[0] + (1 - step) * aims[1] - flows
        apart = float(before @ (slope * (aims[1] - aims[0])))
        older = max(0.0, -float(before @ (slope * new)) / apart) if apart else 0.0
    newer = max(0.0, -float(last @ (slope * new)) / along + older * step / (1 - step))
    total = cheapest + newer * aims[0] + (older * aims[1] if older else 0.0)
    return np.asarray(total / (1 + newer + older))


def _step(flows: NDArray[np.float64], aim: NDArray[np.float64], cost: Bpr) -> float:
    """Step in [0, 1] where Beckmann's objective is least: its slope along the line is zero."""
    way = aim - flows
    if cost.seconds(aim) @ way <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if cost.seconds(flows + middle * way) @ way > 0:
            high = middle
        else:
            low = middle
    return low
