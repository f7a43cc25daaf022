"""Informed drivers: on the way they compare what is left of their route with the best one, and switch when it pays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.chance import Stream, chance
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.routing import Router


class Switch(NamedTuple):
    """Vehicles that took another way, and how much longer it takes on empty streets; arrays of one length."""

    vehicle: NDArray[np.int64]
    longer_ms: NDArray[np.int64]


class InformedDrivers:
    """Drivers who see current travel times, `settings.informed` of all.

    A time is the mean of the traversals since they looked last, and at least what the car in
    front of a link has spent there already (`Streets.current_ms`), plus what cars wait to enter
    the link (`Streets.entry_wait_ms`): a queue stands on the link before its cause, and who stands
    in it must see the cause. Who is informed is a matter of the driver's own draw: a larger
    share only adds drivers.

    Parameters
    ----------
    streets : Streets
    router : Router
    settings : TrafficSettings
    seed : int

    Attributes
    ----------
    compared, switched : int
        Comparisons with a choice left so far, and those that ended in another way.
    saved_ms : int
        What the switches promised to save.
    """

    def __init__(self, streets: Streets, router: Router, settings: TrafficSettings, *, seed: int) -> None:
        self._streets = streets
        self._router = router
        self._settings = settings
        self._seed = seed
        self._is_informed = np.zeros(streets.rows, bool)
        self._sums = streets.link_sums
        self.compared = self.switched = self.saved_ms = 0

    def begin(self, vehicles: ArrayLike, driver: ArrayLike, moment: ArrayLike = 0) -> None:
        """Vehicles start a trip with these drivers; `moment` tells the trips of one `driver` number apart."""
        if not self._settings.informed:
            return
        if len(self._is_informed) < self._streets.rows:
            more = np.zeros(self._streets.rows - len(self._is_informed), bool)
            self._is_informed = np.concatenate([self._is_informed, more])
        drawn = chance(self._seed, Stream.INFORMED, driver, moment)
        self._is_informed[np.asarray(vehicles)] = drawn < self._settings.informed

    def look(self, now_ms: int) -> Switch:
        """Let every informed driver on the road compare, on travel times since the last call."""
        nobody = np.empty(0, np.int64)
        if not self._settings.informed:
            return Switch(nobody, nobody)
        streets = self._streets
        sums = streets.link_sums
        cost_ms = streets.current_ms(sums - self._sums, now_ms) + streets.entry_wait_ms(now_ms)
        self._sums = sums
        rows = np.flatnonzero(self._is_informed)
        rows = rows[streets.departed(rows, now_ms)]
        ptr, links = streets.remaining(rows)
        choice = np.diff(ptr) > 1
        rows, here, last = rows[choice], links[ptr[:-1][choice]], links[ptr[1:][choice] - 1]
        if not len(rows):
            return Switch(nobody, nobody)
        self.compared += len(rows)
        network = streets.network
        left_ms = _sums_of(ptr, links, cost_ms)[choice] - cost_ms[here]
        best = self._router.routes(network.link_to[here], network.link_to[last], cost_ms, after=here)
        found_ms = _sums_of(best.ptr, best.links, cost_ms)
        # where a route passes its own goal on the way there is none shorter to speak of
        better = best.found & (found_ms < left_ms * (1 - self._settings.switch_gain))
        new = best.only(better)
        lengths = np.diff(new.ptr)
        ptr_new = np.concatenate([[0], np.cumsum(lengths + 1)]).astype(np.int64)
        whole = np.insert(new.links, new.ptr[:-1], here[better])
        streets.divert(rows[better], now_ms, ptr_new, whole)
        self.switched += int(better.sum())
        self.saved_ms += int((left_ms - found_ms)[better].sum())
        free_ms = streets.physics.free_ms
        before = (_sums_of(ptr, links, free_ms)[choice] - free_ms[here])[better]
        return Switch(rows[better], _sums_of(new.ptr, new.links, free_ms) - before)


def _sums_of(ptr: NDArray[np.int64], links: NDArray[np.int32], per_link: NDArray[np.int64]) -> NDArray[np.int64]:
    run = np.concatenate([[0], np.cumsum(per_link[links])])
    return np.asarray(run[ptr[1:]] - run[ptr[:-1]], np.int64)
