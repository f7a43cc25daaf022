"""Networks and demand in the TNTP format of the transport assignment literature.

The format is described at https://github.com/bstabler/TransportationNetworks: a table of links
with the coefficients of their BPR cost, a table of nodes, and a trip table by origin.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.draft import CLASS, draft_of
from maps.network import ONEWAY, MapError, RoadNetwork
from maps.project import to_metres

_LINK_FIELDS = 7
_ROAD = "secondary"  # the format has no road classes


class TntpNetwork(NamedTuple):
    """A road network and the BPR coefficients of its links, in the network's link order.

    Attributes
    ----------
    network : RoadNetwork
        `node_osm` holds the numbers of the file.
    capacity : float64, shape (n_links,)
        Vehicles per period of the trip table.
    b, power : float64, shape (n_links,)
        Cost is free time * (1 + b * (flow / capacity) ** power).
    """

    network: RoadNetwork
    capacity: NDArray[np.float64]
    b: NDArray[np.float64]
    power: NDArray[np.float64]


class TripTable(NamedTuple):
    """Demand between nodes of the network: arrays of one length, zero entries left out."""

    origin: NDArray[np.int32]
    target: NDArray[np.int32]
    vehicles: NDArray[np.float64]


def read_tntp(net: Path | str, nodes: Path | str, *, length_m: float = 1000.0, time_s: float = 60.0) -> TntpNetwork:
    """Read a link table and a node table.

    Parameters
    ----------
    net, nodes : path
        `*_net.tntp` and `*_node.tntp`; node positions are degrees, WGS 84.
    length_m, time_s : float
        Metres and seconds of the file's units, which the format does not state.

    Raises
    ------
    MapError
        For a line that is not a row of the table, with file and line number.
    """
    points = _rows(Path(nodes), 3)
    number = points[:, 0].astype(np.int64)
    lon0, lat0 = points[:, 1:].mean(axis=0)
    x, y = to_metres(points[:, 1], points[:, 2], lon0=lon0, lat0=lat0)
    row = {int(n): i for i, n in enumerate(number)}
    links = _rows(Path(net), _LINK_FIELDS)
    unknown = [int(n) for n in links[:, :2].ravel() if int(n) not in row]
    if unknown:
        raise MapError(f"{net}: node {unknown[0]} is not in {nodes}")
    if np.any(links[:, 2:5] <= 0):
        bad = int(np.argmax((links[:, 2:5] <= 0).any(axis=1)))
        raise MapError(f"{net}: link {bad + 1} has a capacity, length or free time that is not above 0")
    tail, head = (np.array([row[int(n)] for n in links[:, end]]) for end in (0, 1))
    order = np.lexsort((np.arange(len(links)), head, tail))  # the order that `finish` gives them
    links, tail, head = links[order], tail[order], head[order]
    metres = links[:, 3] * length_m
    draft = draft_of(
        x=x,
        y=y,
        link_from=tail,
        link_to=head,
        length_m=metres,
        speed_mps=metres / (links[:, 4] * time_s),
        lanes=1,
        road_class=CLASS[_ROAD],
        flags=ONEWAY,
        lon0=float(lon0),
        lat0=float(lat0),
    )
    network = replace(draft, node_osm=number).finish()
    return TntpNetwork(network, links[:, 2].copy(), links[:, 5].copy(), links[:, 6].copy())


def read_trips(path: Path | str, network: RoadNetwork) -> TripTable:
    """Read a `*_trips.tntp` table for a network of the same node numbers.

    Raises
    ------
    MapError
        For an entry that cannot be read, a node that the network does not have, or a total
        that differs from the one the file states.
    """
    text = Path(path).read_text("utf-8")
    row = {int(n): i for i, n in enumerate(network.node_osm)}
    origin, target, vehicles = [], [], []
    body = text.split("<END OF METADATA>")[-1]
    for block in re.split(r"Origin", body)[1:]:
        first, _, entries = block.strip().partition("\n")
        try:
            start = row[int(first)]
            for entry in filter(str.strip, entries.split(";")):
                goal, _, amount = entry.partition(":")
                origin.append(start)
                target.append(row[int(goal)])
                vehicles.append(float(amount))
        except (ValueError, KeyError) as error:
            raise MapError(f"{path}: origin {first.strip()}: {error} is not an entry of the table") from None
    found = np.array(vehicles)
    stated = re.search(r"<TOTAL OD FLOW>\s*([\d.]+)", text)
    if stated and not np.isclose(found.sum(), float(stated.group(1)), rtol=1e-6):
        raise MapError(f"{path}: trips add up to {found.sum():g}, the file says {stated.group(1)}")
    keep = found > 0
    return TripTable(np.array(origin, np.int32)[keep], np.array(target, np.int32)[keep], found[keep])


def _rows(path: Path, fields: int) -> NDArray[np.float64]:
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.strip().rstrip(";").strip()
        if not text or text[0] in "<~" or not text[0].isdigit():
            continue
        try:
            rows.append([float(part) for part in text.split()[:fields]])
        except ValueError:
            raise MapError(f"{path}:{number}: not a row of numbers") from None
        if len(rows[-1]) < fields:
            raise MapError(f"{path}:{number}: {len(rows[-1])} numbers where {fields} belong")
    if not rows:
        raise MapError(f"{path}: no rows")
    return np.array(rows)
