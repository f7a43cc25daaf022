"""Route choice at departure: by current travel times, or by what drivers have learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.learning import PERIOD_MS, Learned
from twin.traffic.routing import Router, Routes


class RouteChoice:
    """Finds the routes that drivers take when they set out.

    Without learning everybody knows the travel times as seen every `settings.reroute_s`; with
    it, those of the hour on the day the driver has learned from.

    Parameters
    ----------
    router : Router
    streets : Streets
    settings : TrafficSettings
    learned : Learned, optional

    Attributes
    ----------
    cost_ms : int64, shape (n_links,)
        Current travel times.
    """

    def __init__(
        self, router: Router, streets: Streets, settings: TrafficSettings, *, learned: Learned | None = None
    ) -> None:
        self.learned = learned
        self._router = router
        self._streets = streets
        self._every_ms = settings.reroute_s * 1000
        self.cost_ms = streets.physics.free_ms.copy()
        self._sums = streets.link_sums

    def look(self, now_ms: int, tick_ms: int) -> bool:
        """See the travel times of a tick's beginning; whether routes chosen now may differ from those before."""
        if self.learned is not None:
            return now_ms % PERIOD_MS < tick_ms
        if not now_ms or now_ms % self._every_ms >= tick_ms:
            return False
        sums = self._streets.link_sums
        self.cost_ms = self._streets.current_ms(sums - self._sums, now_ms)
        self._sums = sums
        return True

    def known(self, driver: ArrayLike, moment: ArrayLike = 0) -> NDArray[np.int64]:
        """Which set of travel times each driver goes by; all the same without learning."""
        return np.zeros(np.shape(driver), np.int64) if self.learned is None else self.learned.day_of(driver, moment)

    def times(self, known: int, at_ms: int) -> NDArray[np.int64]:
        """Travel times of a set of `known`, ms."""
        return self.cost_ms if self.learned is None else self.learned.times(known, at_ms)

    def routes(
        self,
        origins: ArrayLike,
        targets: ArrayLike,
        known: NDArray[np.int64],
        at_ms: int,
        *,
        dearer: NDArray[np.float64] | None = None,
        after: ArrayLike | None = None,
    ) -> Routes:
        """Cheapest routes by the travel times that each driver knows, in the order asked.

        `dearer`, shape (n_links,), is a share that each link's time counts more than it takes; `after`, shape (n,), the
        links by which drivers come to their origins, as `Router.routes` takes them.
        """

        def cost_ms(day: int) -> NDArray[np.int64]:
            times = self.times(day, at_ms)
            return times if dearer is None else times + np.rint(times * dearer).astype(np.int64)

        start, goal = np.asarray(origins, np.int32), np.asarray(targets, np.int32)
        if self.learned is None or not len(start):
            return self._router.routes(start, goal, cost_ms(0), after=after)
        links = np.full(len(start), -1, np.int32) if after is None else np.asarray(after, np.int32)
        order = np.argsort(known, kind="stable")
        sets, first = np.unique(known[order], return_index=True)
        parts = [
            self._router.routes(start[rows], goal[rows], cost_ms(int(day)), after=links[rows])
            for day, rows in zip(sets, np.split(order, first[1:]), strict=True)
        ]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return Routes.joined(parts).take(back)

    def expected_ms(self, routes: Routes, known: NDArray[np.int64], at_ms: int) -> NDArray[np.float64]:
        """How long drivers think that these routes take, ms."""
        if self.learned is None:
            return routes.totals(self.cost_ms)
        total = np.zeros(len(known))
        for day in np.unique(known):
            mine = known == day
            total[mine] = routes.only(mine).totals(self.times(int(day), at_ms))
        return total
