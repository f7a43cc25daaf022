"""Which site and which socket: what fits a car, what lies near, how fast it is and how long one would wait."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from maps.network import RoadNetwork
from twin.charging.kernels import curve_at
from twin.charging.queues import Queues
from twin.charging.site import DC_SOCKETS, SiteKind, Sites
from twin.fleet.fleet import Fleet


class Beside(NamedTuple):
    """Sites beside a route: arrays of one length.

    Attributes
    ----------
    site : int32
    kw, wait_s : float64
        As `Choice.candidates`.
    to_m, detour_m : float64
        Road distance to the site along the route, and there and back to it.
    """

    site: NDArray[np.int32]
    kw: NDArray[np.float64]
    wait_s: NDArray[np.float64]
    to_m: NDArray[np.float64]
    detour_m: NDArray[np.float64]


class Choice:
    """Sites and sockets as a driver's app shows them.

    Parameters
    ----------
    network : RoadNetwork
    fleet : Fleet
    sites : Sites
    queues : Queues
    fits : ndarray of bool, shape (n_models, n_socket_kinds)
        Which connectors a model can use.
    ac_w : ndarray of float64, shape (n_models,)
        Onboard charger, W at the meter.
    curve_w : ndarray of float64, shape (n_models, 101)
        Power the battery accepts at each whole percent, W.
    start_ms_of_week : int
        Local time of the clock's 0 since Monday 0:00, for opening hours.
    """

    def __init__(
        self,
        network: RoadNetwork,
        fleet: Fleet,
        sites: Sites,
        queues: Queues,
        fits: NDArray[np.bool_],
        ac_w: NDArray[np.float64],
        curve_w: NDArray[np.float64],
        *,
        start_ms_of_week: int = 0,
    ) -> None:
        self.start_ms_of_week = start_ms_of_week
        self.network, self.fleet, self.sites, self.queues = network, fleet, sites, queues
        self.fits, self.ac_w, self.curve_w = fits, ac_w, curve_w
        # models with the same connectors see the same sites
        self.inlets, self.inlet_of = np.unique(fits, axis=0, return_inverse=True)
        self.inlet_of = self.inlet_of.reshape(-1)
        self._fitting: dict[tuple[int, int], list[int]] = {}
        dc = np.isin(sites.socket_kind, DC_SOCKETS)
        offered = sites.open_to_all & (sites.site_kind >= SiteKind.PUBLIC)
        self.usable = self.inlets[:, sites.socket_kind]
        self.ac_kw = np.zeros((len(self.inlets), len(sites)))
        self.dc_kw = np.zeros((len(self.inlets), len(sites)))
        self.near: list[tuple[NDArray[np.int64], cKDTree | None]] = []
        for i, usable in enumerate(self.usable):
            np.maximum.at(self.ac_kw[i], sites.socket_site[usable & ~dc], sites.socket_kw[usable & ~dc])
            np.maximum.at(self.dc_kw[i], sites.socket_site[usable & dc], sites.socket_kw[usable & dc])
            rows = np.flatnonzero(offered & ((self.ac_kw[i] > 0) | (self.dc_kw[i] > 0)))
            tree = cKDTree(np.column_stack([sites.x[rows], sites.y[rows]])) if len(rows) else None
            self.near.append((rows, tree))

    def open_now(self) -> NDArray[np.bool_]:
        """Which sites let cars in now, shape (n_sites,)."""
        slot = (self.queues.sessions.now_ms + self.start_ms_of_week) // 900_000 % 672
        return self.sites.open_slots[:, slot]

    def sockets(self, car: int, site: int) -> list[int]:
        """Groups of sockets of a site that fit a car."""
        known = (int(self.inlet_of[self.fleet.model[car]]), site)
        if known not in self._fitting:
            fits = self.inlets[known[0]]
            first, end = self.sites.socket_ptr[site : site + 2].tolist()
            self._fitting[known] = [k for k in range(first, end) if fits[self.sites.socket_kind[k]]]
        return self._fitting[known]

    def best_socket(self, car: int, site: int) -> tuple[int, float]:
        """The fitting group with the shortest expected wait, among equals the fastest; and that wait, ms."""
        fitting = self.sockets(car, site)
        if len(fitting) == 1:
            return fitting[0], self.queues.expected_wait_ms(fitting[0])
        waits = [self.queues.expected_wait_ms(k) for k in fitting]
        powers = [self.power_w(car, k) for k in fitting]
        best = min(range(len(fitting)), key=lambda i: (waits[i], -powers[i], fitting[i]))
        return fitting[best], waits[best]

    def power_w(self, car: int, socket: int) -> float:
        """Power that a car would take at a socket at its present charge, W (AC at the meter, DC at the plug)."""
        rated = float(self.sites.socket_kw[socket]) * 1000.0
        model = int(self.fleet.model[car])
        if int(self.sites.socket_kind[socket]) not in DC_SOCKETS:
            return min(rated, float(self.ac_w[model]))
        return min(rated, float(curve_at(self.curve_w[model], self.fleet.battery_j[car], self.fleet.capacity_j[car])))

    def candidates(
        self, nodes: ArrayLike, cars: ArrayLike, k: int = 4
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The k nearest public or fast sites, as the crow flies, with a socket that fits.

        Parameters
        ----------
        nodes, cars : array_like of int, shape (n,)
            Where each car looks from, and the car.
        k : int
            How many at most.

        Returns
        -------
        sites : ndarray of int32, shape (n, k)
            Nearest first; -1 where there are no more.
        crow_m : ndarray of float64, shape (n, k)
            Distance, inf where there is no site.
        kw : ndarray of float64, shape (n, k)
            Power at the car's present charge on its fastest fitting socket, 0 where there is no site.
        wait_s : ndarray of float64, shape (n, k)
            Expected wait for the first fitting socket, inf where there is no site.
        """
        nodes, cars = np.atleast_1d(np.asarray(nodes, np.int64)), np.atleast_1d(np.asarray(cars, np.int64))
        n = len(cars)
        site = np.full((n, k), -1, np.int32)
        crow_m, wait_s, kw = np.full((n, k), np.inf), np.full((n, k), np.inf), np.zeros((n, k))
        model = self.fleet.model[cars].astype(np.int64)
        waits_ms = self.queues.expected_waits_ms()
        for i in np.unique(self.inlet_of[model]):
            rows, tree = self.near[i]
            mine = np.flatnonzero(self.inlet_of[model] == i)
            if tree is None:
                continue
            here = np.column_stack([self.network.node_x[nodes[mine]], self.network.node_y[nodes[mine]]])
            wait_ms = np.full(len(self.sites), np.inf)
            usable = self.usable[i]
            np.minimum.at(wait_ms, self.sites.socket_site[usable], waits_ms[usable])
            shut = ~self.open_now()[rows] | np.isinf(wait_ms[rows])  # an app shows no closed or broken site
            near = min(k + int(shut.sum()), len(rows))
            distance, nearest = (a.reshape(-1, near) for a in tree.query(here, near))
            distance = np.where(shut[nearest], np.inf, distance)
            found = min(k, near)
            order = np.argsort(distance, axis=1, kind="stable")[:, :found]
            distance, nearest = np.take_along_axis(distance, order, 1), np.take_along_axis(nearest, order, 1)
            picked = rows[nearest]
            site[mine, :found], crow_m[mine, :found] = picked, distance
            wait_s[mine, :found] = wait_ms[picked] / 1000
            ac_kw = np.minimum(self.ac_kw[i][picked], self.ac_w[model[mine], None] / 1000)
            dc_kw = np.minimum(self.dc_kw[i][picked], self._accepted_kw(cars[mine])[:, None])
            kw[mine, :found] = np.maximum(ac_kw, dc_kw)
        gone = np.isinf(crow_m)
        site[gone], kw[gone], wait_s[gone] = -1, 0.0, np.inf
        return site, crow_m, kw, wait_s

    def beside(self, way: NDArray[np.int32], car: int, *, reach_m: float, avoid: int, detour: float, k: int) -> Beside:
        """Public and fast sites beside a route with a socket that fits, those least off it first.

        Parameters
        ----------
        way : ndarray of int32
            Links of the route.
        car : int
        reach_m : float
            How far the car gets; sites beyond are left out.
        avoid : int
            A site that is left out too, -1 none.
        detour : float
            Road distance over crow-fly distance between route and site.
        k : int
            How many at most.
        """
        i = int(self.inlet_of[self.fleet.model[car]])
        rows, tree = self.near[i]
        usable = self.usable[i]
        wait_ms = np.full(len(self.sites), np.inf)
        np.minimum.at(wait_ms, self.sites.socket_site[usable], self.queues.expected_waits_ms()[usable])
        offered = self.open_now()[rows] & np.isfinite(wait_ms[rows])
        if tree is None or not len(way) or not offered.any():
            nothing = np.empty(0)
            return Beside(nothing.astype(np.int32), nothing, nothing, nothing, nothing)
        network = self.network
        nodes = np.append(network.link_from[way[:1]], network.link_to[way])
        passed_m = np.concatenate([[0.0], np.cumsum(network.link_length[way])])
        here = np.column_stack([network.node_x[nodes], network.node_y[nodes]])
        among = min(k + int(np.count_nonzero(~offered)), len(rows))
        off, near = (a.ravel() for a in tree.query(here, [*range(1, among + 1)]))
        at = np.repeat(passed_m, among)
        able = offered[near] & (at + detour * off <= reach_m) & (rows[near] != avoid)
        order = np.lexsort((at[able], off[able], near[able]))
        near, off, at = near[able][order], off[able][order], at[able][order]
        first = np.flatnonzero(np.diff(near, prepend=-1))  # of each site the point of the route next to it
        first = first[np.argsort(off[first], kind="stable")][:k]
        picked = rows[near[first]]
        ac_kw = np.minimum(self.ac_kw[i][picked], self.ac_w[self.fleet.model[car]] / 1000)
        dc_kw = np.minimum(self.dc_kw[i][picked], self._accepted_kw(np.array([car]))[0])
        return Beside(
            picked.astype(np.int32), np.maximum(ac_kw, dc_kw), wait_ms[picked] / 1000,
            at[first] + detour * off[first], 2 * detour * off[first],
        )  # fmt: skip

    def _accepted_kw(self, cars: NDArray[np.int64]) -> NDArray[np.float64]:
        """Fast-charge power that the batteries accept at their present charge, kW."""
        percent = 100.0 * self.fleet.battery_j[cars] / np.maximum(self.fleet.capacity_j[cars], 1)
        low = np.clip(percent.astype(np.int64), 0, 99)
        model = self.fleet.model[cars]
        below, above = self.curve_w[model, low], self.curve_w[model, low + 1]
        return np.asarray((below + (above - below) * (percent - low)) / 1000.0)
