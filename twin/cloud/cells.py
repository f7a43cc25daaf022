"""Radio cells: which one serves a car, what it carries, and where there is no signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from maps.network import PLACE_KINDS, TUNNEL, CityMap
from twin import facts

DENSE_M = 1500.0
"""Cells whose nearest neighbour is closer than this stand in town; it parts the map's 800 m
grid of towns from its 3 km grid elsewhere."""

HOLE_MS = 60_000
"""A coverage hole lasts a minute of driving: one draw per car and minute."""

HOUR_MS = 3_600_000


class CloudError(ValueError):
    """The cloud, its cells or its services cannot be set up; the message is one line."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Serving cell of every node and link.

    Attributes
    ----------
    n : int
        Number of cells.
    node_cell, link_cell : ndarray of int32
        Nearest cell of the node, and of the middle between a link's ends.
    link_dead, node_dead : ndarray of bool
        Links without signal (tunnels, holes of the scenario), and nodes in holes.
    outage : ndarray of float64, shape (n,)
        Share of time that a moving car has no signal; by town and country
        (facts `connectivity.cellular.outage_share_of_driving_time`).
    up_mbit_s, down_mbit_s : ndarray of float64, shape (n,)
        Mean capacity, all users together; NaN where the scenario's number holds.
    others : ndarray of float64, shape (n, 24)
        Load by other people per hour of the day, 0 to 1.
    x : ndarray of float64, shape (n,)
        East, m; regions of the cloud are cut by it.
    """

    n: int
    node_cell: NDArray[np.int32]
    link_cell: NDArray[np.int32]
    link_dead: NDArray[np.bool_]
    node_dead: NDArray[np.bool_]
    outage: NDArray[np.float64]
    up_mbit_s: NDArray[np.float64]
    down_mbit_s: NDArray[np.float64]
    others: NDArray[np.float64]
    x: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        city: CityMap,
        *,
        other_users: float = 0.0,
    ) -> Cells:
        """Serve a map by its nearest cells.

        Parameters
        ----------
        other_users : float
            Load by other people in the busiest hour of a cell in town.

        Notes
        -----
        The map's `meta` may hold `holes` (places without signal: x, y and radius, m) and a capacity
        per cell, `cell_up_mbit_s` and `cell_down_mbit_s` (`runs.cell_file` puts them there).

        Raises
        ------
        CloudError
            When the map has no radio cells, or one has no capacity.
        """
        network, holes = city.network, city.meta.get("holes", ())
        sites = np.column_stack([city.cell_x, city.cell_y]).astype(np.float64)
        if not len(sites):
            raise CloudError("the map has no radio cells; build it again with twin map")
        tree = cKDTree(sites)
        nodes = np.column_stack([network.node_x, network.node_y])
        middle = (nodes[network.link_from] + nodes[network.link_to]) / 2
        shares = facts.load("connectivity")["cellular"]["outage_share_of_driving_time"]
        outage = np.full(len(sites), float(shares["urban"]))
        country = np.zeros(len(sites), bool)
        if len(sites) > 1:
            country = tree.query(sites, k=2)[0][:, 1] >= DENSE_M
            outage[country] = float(shares["rural"])
        return cls(
            n=len(sites),
            node_cell=tree.query(nodes)[1].astype(np.int32),
            link_cell=tree.query(middle)[1].astype(np.int32),
            link_dead=network.has(TUNNEL) | _inside(middle, holes),
            node_dead=_inside(nodes, holes),
            outage=outage,
            up_mbit_s=_capacity(city.meta.get("cell_up_mbit_s"), len(sites), "uplink"),
            down_mbit_s=_capacity(city.meta.get("cell_down_mbit_s"), len(sites), "downlink"),
            others=_others(city, tree, country, other_users),
            x=sites[:, 0],
        )

    def bytes_for_cars(
        self, given_mbit_s: NDArray[np.float64], mbit_s: float, share: float, hour_of_day: int, span_ms: int
    ) -> NDArray[np.int64]:
        """Bytes that cars may move per cell in `span_ms`: their share, but no more than other people leave.

        Parameters
        ----------
        given_mbit_s : ndarray of float64, shape (n,)
            `up_mbit_s` or `down_mbit_s`.
        mbit_s : float
            Capacity where the cell names none.
        """
        whole = np.where(np.isnan(given_mbit_s), mbit_s, given_mbit_s)
        usable = np.minimum(share, 1 - self.others[:, hour_of_day])
        room: NDArray[np.int64] = (whole * 1000 * usable * span_ms / 8).astype(np.int64)
        return room


def _inside(points: NDArray[np.float64], holes: ArrayLike) -> NDArray[np.bool_]:
    found = np.zeros(len(points), bool)
    for x, y, radius in np.asarray(holes, np.float64).reshape(-1, 3):
        found |= np.hypot(points[:, 0] - x, points[:, 1] - y) <= radius
    return found


def _capacity(given: ArrayLike | None, cells: int, way: str) -> NDArray[np.float64]:
    values = np.full(cells, np.nan) if given is None else np.asarray(given, np.float64)
    if np.any(values <= 0):
        raise CloudError(f"cell {int(np.argmax(values <= 0))} has no {way} capacity; valid: above 0 Mbit/s")
    return values


def _others(city: CityMap, tree: cKDTree, country: NDArray[np.bool_], peak: float) -> NDArray[np.float64]:
    """Load by other people: the day's shape of homes, workplaces and roads, mixed by the places around a cell."""
    table = facts.load("connectivity")["cell_load"]
    shapes = np.array([table["home"], table["work"], table["road"]], np.float64)
    shapes /= shapes.max(axis=1, keepdims=True)
    near = tree.query(np.column_stack([city.place_x, city.place_y]))[1] if len(city.place_x) else np.zeros(0, np.int64)
    cells = len(country)
    homes = city.place_kind == PLACE_KINDS.index("home")
    weight = np.stack(
        [np.bincount(near[kind], minlength=cells).astype(np.float64) for kind in (homes, ~homes)]
        + [np.ones(cells)]  # every cell has a road
    )
    day: NDArray[np.float64] = (weight / weight.sum(axis=0)).T @ shapes
    day /= day.max(axis=1, keepdims=True)
    return day * peak * np.where(country, float(table["country_share"]), 1.0)[:, None]
