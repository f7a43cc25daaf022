"""Destination management: the car proposes a way on roads where it drives by itself, and the driver follows.

Time on other roads counts (1 + e) times. A way that is cheapest then takes T_in + T_out <=
T_in + (1 + e) T_out <= F_in + (1 + e) F_out <= (1 + e) F, with F the fastest way: it is never more
than the share e longer (`facts/autonomy.toml`, `model.proposal.extra_time`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.autonomy.propilot import Autonomy
from twin.autonomy.rules import DESTINATION
from twin.fleet.fleet import Fleet
from twin.traffic.route_choice import RouteChoice
from twin.traffic.routing import Routes
from twin.trips import Trips


class Ways(NamedTuple):
    """Routes that drivers take, and what was proposed to them; arrays of shape (n,).

    Attributes
    ----------
    routes : Routes
    proposed : bool
        The car proposed the way.
    longer_ms : int64
        Expected time beyond the fastest way.
    more_mm : int64
        Length in the domain beyond that of the fastest way; 0 with `longer_ms` 0 where both are the same.
    """

    routes: Routes
    proposed: NDArray[np.bool_]
    longer_ms: NDArray[np.int64]
    more_mm: NDArray[np.int64]

    def replaced(self, chosen: NDArray[np.bool_], other: Ways) -> Ways:
        """Put the ways of `other`, in order, in the place of the chosen ones."""
        proposed, longer, more = self.proposed.copy(), self.longer_ms.copy(), self.more_mm.copy()
        proposed[chosen], longer[chosen], more[chosen] = other.proposed, other.longer_ms, other.more_mm
        return Ways(self.routes.replaced(chosen, other.routes), proposed, longer, more)


class Proposals:
    """Ways as destination management proposes them, and how many were driven.

    Parameters
    ----------
    autonomy : Autonomy
    route_choice : RouteChoice

    Attributes
    ----------
    ways, other_ways, stops : int
        Ways driven on a proposal, those among them that were not the fastest, and charging stops proposed on the way.
    longer_ms, more_mm : int
        Sums over them, as expected when they set out.
    """

    def __init__(self, autonomy: Autonomy, route_choice: RouteChoice) -> None:
        self._autonomy = autonomy
        self._route_choice = route_choice
        self.ways = self.other_ways = self.stops = self.longer_ms = self.more_mm = 0

    def ways_of(
        self,
        fleet: Fleet,
        trips: Trips,
        cars: NDArray[np.int64],
        goal: NDArray[np.int32],
        now_ms: int,
        until_ms: int,
    ) -> Ways:
        """Ways of these cars to `goal`, whose trips or next parts are due in [now, until)."""
        at = trips.leaving_ms(cars, now_ms, until_ms)
        proposes = self._autonomy.proposes(cars, trips.trip_id[cars], at_ms=at)
        return self.between(fleet.node[cars], goal, self._route_choice.known(cars), proposes, now_ms)

    def between(
        self,
        start: NDArray[np.int32],
        goal: NDArray[np.int32],
        known: NDArray[np.int64],
        proposes: NDArray[np.bool_],
        now_ms: int,
    ) -> Ways:
        """The fastest ways that drivers know, or those that their cars propose.

        Parameters
        ----------
        start, goal : ndarray of int32, shape (n,)
        known : ndarray of int64, shape (n,)
            Travel times of each driver, as `RouteChoice.known`.
        proposes : ndarray of bool, shape (n,)
        now_ms : int
        """
        fastest = self._route_choice.routes(start, goal, known, now_ms)
        n = len(start)
        proposed = proposes & fastest.found
        longer, more = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if not proposed.any():
            return Ways(fastest, proposed, longer, more)
        inside = self._autonomy.domain_at(now_ms, DESTINATION)
        dearer = np.where(inside, 0.0, self._autonomy.extra_time)
        mine, old = known[proposed], fastest.only(proposed)
        new = self._route_choice.routes(start[proposed], goal[proposed], mine, now_ms, dearer=dearer)
        before, after = (self._route_choice.expected_ms(routes, mine, now_ms) for routes in (old, new))
        metres = np.where(inside, self._autonomy.network.link_length, 0.0)
        # a way as long in time and as short in the domain is the same for every purpose
        longer[proposed] = np.rint(after - before)
        more[proposed] = np.rint(1000 * (new.totals(metres) - old.totals(metres)))
        return Ways(fastest.replaced(proposed, new), proposed, longer, more)

    def driven(self, ways: Ways, chosen: NDArray[np.bool_], *, stops: NDArray[np.bool_]) -> None:
        """Count the ways of a mask, on which cars have set out; `stops` are those to a proposed charging stop."""
        mine = chosen & ways.proposed
        self.ways += int(mine.sum())
        self.other_ways += int(np.count_nonzero(mine & ((ways.longer_ms != 0) | (ways.more_mm != 0))))
        self.longer_ms += int(ways.longer_ms[mine].sum())
        self.more_mm += int(ways.more_mm[mine].sum())
        self.stops += int(np.count_nonzero(mine & stops))

    def summary(self) -> dict[str, float | int]:
        """Part `destination` of the key figures of assistance."""
        return {
            "ways_proposed": self.ways,
            "other_than_fastest": self.other_ways,
            "stops_on_the_way": self.stops,
            "extra_min": self.longer_ms / 60_000,
            "more_km_in_domain": self.more_mm / 1e6,
        }
