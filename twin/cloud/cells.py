"""Radio cells: which one serves a car, and where there is no signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maps.network import TUNNEL, CityMap
from twin import facts

DENSE_M = 1500.0
"""Cells whose nearest neighbour is closer than this stand in town; it parts the map's 800 m
grid of towns from its 3 km grid elsewhere."""

HOLE_MS = 60_000
"""A coverage hole lasts a minute of driving: one draw per car and minute."""


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
    link_dead : ndarray of bool
        Links without signal (tunnels).
    outage : ndarray of float64, shape (n,)
        Share of time that a moving car has no signal; by town and country
        (facts `connectivity.cellular.outage_share_of_driving_time`).
    """

    n: int
    node_cell: NDArray[np.int32]
    link_cell: NDArray[np.int32]
    link_dead: NDArray[np.bool_]
    outage: NDArray[np.float64]

    @classmethod
    def of(cls, city: CityMap) -> Cells:
        """Serve a map by its nearest cells.

        Raises
        ------
        CloudError
            When the map has no radio cells.
        """
        network = city.network
        sites = np.column_stack([city.cell_x, city.cell_y]).astype(np.float64)
        if not len(sites):
            raise CloudError("the map has no radio cells; build it again with twin map")
        tree = cKDTree(sites)
        nodes = np.column_stack([network.node_x, network.node_y])
        middle = (nodes[network.link_from] + nodes[network.link_to]) / 2
        shares = facts.load("connectivity")["cellular"]["outage_share_of_driving_time"]
        outage = np.full(len(sites), float(shares["urban"]))
        if len(sites) > 1:
            apart = tree.query(sites, k=2)[0][:, 1]
            outage[apart >= DENSE_M] = float(shares["rural"])
        return cls(
            n=len(sites),
            node_cell=tree.query(nodes)[1].astype(np.int32),
            link_cell=tree.query(middle)[1].astype(np.int32),
            link_dead=network.has(TUNNEL),
            outage=outage,
        )
