"""The networks and trips that engines are compared on, as the two files that `against.py` reads.

    python -m tests.bench.cases porto FOLDER [--trips 50000]

Cities: any recipe of `maps/recipes`; origins and destinations are uniform over the nodes inside the extract, departures
uniform over two hours, routes the fastest on empty streets, forbidden turns respected. No signals: not every engine
could take ours. `sioux_falls`: the network and 13 % of the trip table of the folder of real data, over two hours; its
busiest link is then used to 82 % of its capacity.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, RoadNetwork
from twin.settings import TrafficSettings
from twin.traffic.engine import LinkPhysics
from twin.traffic.routing import Router, Routes

HOURS = 2
SIOUX_FALLS = "sioux_falls"
SIOUX_FALLS_SHARE = 0.13


class Case(NamedTuple):
    """A network and its trips: departures in whole seconds, ascending."""

    network: RoadNetwork
    settings: TrafficSettings
    depart_s: NDArray[np.int64]
    routes: Routes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Both files; what is there already is kept."""
        net, trips = folder / f"{name}.net.npz", folder / f"{name}{len(self.depart_s)}.trips.npz"
        n = self.network
        np.savez(
            net, node_osm=n.node_osm, node_lon=n.node_lon, node_lat=n.node_lat, node_x=n.node_x, node_y=n.node_y,
            link_from=n.link_from, link_to=n.link_to, link_len=n.link_length, link_speed=n.link_speed,
            link_lanes=n.link_lanes.astype(np.int32), link_class=n.link_class.astype(np.int32),
            ban_from=n.ban_from, ban_to=n.ban_to, tau=self.settings.tau_s, spacing=self.settings.spacing_m,
        )  # fmt: skip
        np.savez(trips, depart=self.depart_s, route_ptr=self.routes.ptr, route_links=self.routes.links)
        return net, trips


def city(recipe: str, count: int, *, seed: int = 1) -> Case:
    """Random journeys in a city."""
    from maps.build import build_map

    network = build_map(recipe).network
    network = replace(network, node_control=np.zeros_like(network.node_control))
    settings = TrafficSettings()
    free_ms = LinkPhysics.of(network, settings).free_ms
    inside = np.unique(network.link_from[~network.has(OUTSIDE)])
    rng = np.random.default_rng(seed)
    # the few pairs that are the same node or cut off by forbidden turns are replaced by others
    pairs = inside[rng.integers(len(inside), size=(2, count + count // 10 + 10))]
    routes = Router(network, free_ms).routes(*pairs, free_ms)
    kept = routes.take(np.flatnonzero(routes.found)[:count])
    if len(kept.status) < count:
        raise ValueError(f"{recipe} has too few pairs of nodes with a route")
    depart = np.sort(rng.integers(0, HOURS * 3600, count))
    return Case(network, settings, depart, kept)


def sioux_falls(folder: Path, *, share: float = SIOUX_FALLS_SHARE) -> Case:
    """Sioux Falls on the fastest routes of empty streets.

    The table's trips times `share`, each pair's rounded by chance, depart uniformly over two hours; links are as
    long and as fast as the file says (a kilometre and a minute to its units) and have one lane.
    """
    from maps.tntp import read_tntp, read_trips

    place = folder / "networks" / "tntp_siouxfalls"
    town = read_tntp(place / "SiouxFalls_net.tntp", place / "SiouxFalls_node.tntp")
    table = read_trips(place / "SiouxFalls_trips.tntp", town.network)
    rng = np.random.default_rng(1)
    count = np.floor(table.vehicles * share + rng.random(len(table.vehicles))).astype(np.int64)
    depart = np.sort(rng.integers(0, HOURS * 3600, count.sum()))
    order = rng.permutation(len(depart))
    origin, target = np.repeat(table.origin, count)[order], np.repeat(table.target, count)[order]
    settings = TrafficSettings()
    free_ms = LinkPhysics.of(town.network, settings).free_ms
    return Case(town.network, settings, depart, Router(town.network, free_ms).routes(origin, target, free_ms))


def data_folder() -> Path:
    """The folder of real data: TWIN_DATA, else `../shared/data`."""
    return Path(os.environ.get("TWIN_DATA") or Path(__file__).resolve().parents[2] / "../shared/data").resolve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="cases", description=__doc__)
    parser.add_argument("case")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trips", type=int, default=10_000)
    a = parser.parse_args()
    case = sioux_falls(data_folder()) if a.case == SIOUX_FALLS else city(a.case, a.trips)
    a.folder.mkdir(parents=True, exist_ok=True)
    for path in case.write(a.folder, a.case):
        print(path)


if __name__ == "__main__":
    main()
