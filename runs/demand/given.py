"""From the files that a scenario's `[demand]` names to demand on its map."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from runs.demand.locate import Found, Locator
from runs.demand.matsim import read_matsim
from runs.demand.od_matrix import Matrix, read_matrix
from runs.demand.sumo import SumoEdges, read_sumo
from runs.demand.trip_list import NO_NODE, DemandFileError, Ends, Purposes, TripList, read_trip_table
from runs.demand.xml_stream import root_of
from runs.demand.zones import Zones
from twin.chance import Stream, chance
from twin.demand.given import REASONS, UNPLACED, Flows, Given, ListedTrips, no_flows
from twin.events import Table
from twin.settings import DemandSettings

FILES = ("trips", "od", "zones", "sumo_net", "counts")
"""Keys of `[demand]` that name files."""


def read_given(city: CityMap, demand: DemandSettings, *, cars: int, start: datetime, seed: int) -> Given | None:
    """Read and place what the scenario brings; None when it brings no demand.

    Parameters
    ----------
    city : CityMap
    demand : DemandSettings
    cars : int
        Size of the fleet. Of more named cars as many are drawn; the others are traffic outside the fleet.
    start : datetime
        When the scenario starts; times in files count from midnight of that day.
    seed : int
        Draws the fleet's cars among the named ones.

    Raises
    ------
    DemandFileError
        One line: file, place, what is wrong, what is valid. Also when nothing at all could be placed.
    """
    if not demand.trips and not demand.od:
        for key in ("zones", "sumo_net", "matrix"):
            if getattr(demand, key):
                raise DemandFileError(f"demand.{key} is given without demand.trips or demand.od")
        return None
    edges = SumoEdges(_file(demand.sumo_net, "sumo_net")) if demand.sumo_net else None
    locator = Locator(city, snap_m=demand.snap_m, edges=edges)
    zones = Zones.read(_file(demand.zones, "zones"), city, locator) if demand.zones else None
    unplaced = Table("unplaced", UNPLACED)
    weight = np.bincount(city.place_node, city.place_weight, city.network.n_nodes).astype(float)
    placed = _Placed(cars, seed, (start.hour * 60 + start.minute) * 60 + start.second)
    trips = _read_trips(_file(demand.trips, "trips"), demand) if demand.trips else TripList("")
    placed.take(trips, locator, zones, weight, demand, unplaced)
    flows = no_flows()
    listed = len(unplaced)
    if demand.od:
        matrix = read_matrix(_file(demand.od, "od"), name=demand.matrix)
        flows = _flows(matrix, demand.od, locator, zones, weight, unplaced)
    found = Given(
        fleet=placed.fleet,
        others=placed.others,
        earlier=placed.earlier,
        refused=placed.refused,
        refused_why=placed.refused_why,
        flows=flows,
        source=trips.source,
        names=placed.names,
        read=len(trips),
        ignored=trips.ignored,
        unplaced=unplaced,
        unplaced_listed=listed,
    )
    found.notes.extend(_notes(found, demand))
    return found


def _file(name: str, key: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise DemandFileError(f"demand.{key}: {name} is not a file")
    return path


def _read_trips(path: Path, demand: DemandSettings) -> TripList:
    purposes = Purposes(demand.purposes)
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    if plain.suffix.lower() != ".xml":
        return read_trip_table(path, purposes=purposes)
    root = root_of(path)
    if root in ("routes", "additional", "trips"):
        return read_sumo(path)
    if root in ("population", "plans"):
        return read_matsim(path, purposes=purposes)
    raise DemandFileError(
        f"{path}: its root element is {root[:40]!r}; valid are routes (SUMO) and population or plans (MATSim)"
    )


class _Placed:
    """Sorts listed trips into those of the fleet, of others, and those that cannot be placed."""

    def __init__(self, cars: int, seed: int, start_s: int) -> None:
        self.cars, self.seed, self.start_s = cars, seed, start_s
        self.names: list[str] = []
        nothing = _listed(TripList(""), [], [], np.zeros(0, np.int32), [], 0)
        self.fleet = self.others = self.earlier = self.refused = nothing
        self.refused_why: NDArray[np.object_] = np.zeros(0, object)

    def take(
        self,
        trips: TripList,
        locator: Locator,
        zones: Zones | None,
        weight: NDArray[np.float64],
        demand: DemandSettings,
        unplaced: Table,
    ) -> None:
        if not len(trips):
            return
        crs = demand.crs or trips.crs
        turn = np.arange(len(trips))
        start, why_start = _nodes(trips.start, trips, crs, locator, zones, weight, turn)
        end, why_end = _nodes(trips.end, trips, crs, locator, zones, weight, turn + 1)
        why = np.array(trips.fault, object)
        for reason in (why_start, why_end):
            why = np.where(why == "", reason, why)
        why[(why == "") & (start == end)] = "same_place"
        depart = np.array(trips.depart_s) - self.start_s
        early = (why == "") & (depart < 0)
        car = self._cars(trips, demand)
        _chains(car, depart, start, end, why, trips, locator)
        early &= why == ""
        why[early] = "before_start"
        good = why == ""
        rows = np.flatnonzero(good & (car >= 0))
        self.fleet = _listed(trips, start, end, car, rows, self.start_s)
        self.others = _listed(trips, start, end, car, np.flatnonzero(good & (car < 0)), self.start_s)
        self.earlier = _listed(trips, start, end, car, np.flatnonzero(early & (car >= 0)), self.start_s)
        lost = np.flatnonzero(~good)
        self.refused = _listed(trips, start, end, car, lost[car[lost] >= 0], self.start_s)
        self.refused_why = why[lost[car[lost] >= 0]]
        unplaced.append(
            source=trips.source,
            row=np.array(trips.row, np.int64)[lost],
            trip=np.array(trips.trip, object)[lost],
            car=np.array(trips.car, object)[lost],
            trips=np.ones(len(lost)),
            reason=why[lost],
        )

    def _cars(self, trips: TripList, demand: DemandSettings) -> NDArray[np.int32]:
        """Row of the fleet of each trip, -1 outside it."""
        out = np.full(len(trips), -1, np.int32)
        if not trips.chains or demand.trips_of == "others":
            return out
        known = list(dict.fromkeys(name for name in trips.car if name))
        if len(known) > self.cars:
            luck = chance(self.seed, Stream.HOUSEHOLD, np.arange(len(known)))
            drawn = set(np.argsort(luck, kind="stable")[: self.cars].tolist())
            known = [name for k, name in enumerate(known) if k in drawn]
        self.names = known
        row = {name: k for k, name in enumerate(known)}
        out[:] = [row.get(name, -1) for name in trips.car]
        return out


def _listed(trips: TripList, start: Any, end: Any, car: NDArray[np.int32], rows: Any, start_s: int) -> ListedTrips:
    rows = np.asarray(rows, np.int64)
    start, end = np.asarray(start, np.int32), np.asarray(end, np.int32)
    seconds = np.nan_to_num(np.array(trips.depart_s, float)[rows]) - start_s
    return ListedTrips(
        car=car[rows],
        depart_ms=np.rint(seconds * 1000).astype(np.int64),
        from_node=start[rows],
        to_node=end[rows],
        purpose=np.array(trips.purpose, np.uint8)[rows],
        row=np.array(trips.row, np.int64)[rows],
        trip=np.array(trips.trip, object)[rows],
        name=np.array(trips.car, object)[rows],
    )


def _nodes(
    ends: Ends,
    trips: TripList,
    crs: str,
    locator: Locator,
    zones: Zones | None,
    weight: NDArray[np.float64],
    turn: NDArray[np.int64],
) -> Found:
    """Nodes of one end of each trip."""
    lon, lat = np.array(ends.lon, float), np.array(ends.lat, float)
    osm = np.array(ends.node, np.int64)
    if crs and np.isfinite(lon).any():
        lon, lat = _to_degrees(lon, lat, crs, trips.source)
    node, why = locator.of_degrees(lon, lat)
    by_id = osm != NO_NODE
    if by_id.any():
        node[by_id], why[by_id] = locator.of_osm(osm[by_id])
    named = np.array([bool(name) for name in ends.name], bool)
    if named.any():
        names = [name for name in ends.name if name]
        found, reason = locator.of_edges(names) if trips.names_are == "edge" else _in_zones(names, zones, weight, turn)
        node[named], why[named] = found, reason
    return node, why


def _in_zones(names: Sequence[str], zones: Zones | None, weight: NDArray[np.float64], turn: NDArray[np.int64]) -> Found:
    """A connector of each named zone; trips of a zone take turns."""
    if zones is None:
        raise DemandFileError("the trips name zones: demand.zones must be a file of them")
    spots = {name: zones.connectors(name, weight) for name in dict.fromkeys(names) if name in zones.nodes}
    node, why = np.full(len(names), -1, np.int32), np.full(len(names), "", object)
    for k, name in enumerate(names):
        if name not in spots:
            why[k] = "unknown_zone"
        elif not len(spots[name]):
            why[k] = "zone_off_map"
        else:
            node[k] = spots[name][turn[k] % len(spots[name])]
    return node, why


def _to_degrees(x: Any, y: Any, crs: str, source: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        known = CRS.from_user_input(crs)
    except CRSError:
        raise DemandFileError(
            f"{source}: the coordinate system {crs[:60]!r} is unknown; valid is EPSG:4326 and so on"
        ) from None
    lon, lat = Transformer.from_crs(known, "EPSG:4326", always_xy=True).transform(x, y)
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    return np.where(np.isfinite(lon), lon, np.nan), np.where(np.isfinite(lat), lat, np.nan)


def _chains(
    car: NDArray[np.int32],
    depart: NDArray[np.float64],
    start: NDArray[np.int32],
    end: NDArray[np.int32],
    why: NDArray[np.object_],
    trips: TripList,
    locator: Locator,
) -> None:
    """Mark trips of the fleet that do not start where their car is; nearer than `snap_m` counts as there."""
    x, y = locator.network.node_x, locator.network.node_y
    rows = np.flatnonzero(car >= 0)
    rows = rows[np.lexsort((np.array(trips.depart_s)[rows], car[rows]))]
    at: dict[int, int] = {}
    for k in rows.tolist():
        if why[k]:
            continue
        here = at.get(int(car[k]))
        if here is not None and here != start[k]:
            if np.hypot(x[here] - x[start[k]], y[here] - y[start[k]]) > locator.snap_m:
                why[k] = "car_elsewhere"
                continue
            start[k] = here
            if here == end[k]:
                why[k] = "same_place"
                continue
        at[int(car[k])] = int(end[k])


def _flows(
    matrix: Matrix,
    source: str,
    locator: Locator,
    zones: Zones | None,
    weight: NDArray[np.float64],
    unplaced: Table,
) -> Flows:
    """Flows between the connectors of two zones; without zones the matrix names OpenStreetMap nodes."""
    names = list(dict.fromkeys([*matrix.origin.tolist(), *matrix.destination.tolist()]))
    spots: dict[str, NDArray[np.int32]] = {}
    reason: dict[str, str] = {}
    if zones is None:
        wrong = [name for name in names if not name.lstrip("-").isdigit()]
        if wrong:
            raise DemandFileError(
                f"{source}: {wrong[0][:40]!r} is no OpenStreetMap node; demand.zones must name a file of zones"
            )
        node, why = locator.of_osm(np.array([int(name) for name in names], np.int64))
        spots = {name: np.array([row], np.int32) for name, row in zip(names, node.tolist(), strict=True) if row >= 0}
        reason = {name: str(word) for name, word in zip(names, why.tolist(), strict=True) if word}
    else:
        for name in names:
            if name not in zones.nodes:
                reason[name] = "unknown_zone"
            elif not len(zones.nodes[name]):
                reason[name] = "zone_off_map"
            else:
                spots[name] = zones.connectors(name, weight)
    keep, pairs, left = [], [], []
    for k, (a, b) in enumerate(zip(matrix.origin.tolist(), matrix.destination.tolist(), strict=True)):
        word = reason.get(a) or reason.get(b) or ""
        if not word:
            starts, goals = spots[a], spots[b]
            size = max(len(starts), len(goals))
            # every connector of either zone once or more often
            both = [(int(starts[i % len(starts)]), int(goals[(i + (a == b)) % len(goals)])) for i in range(size)]
            both = [pair for pair in both if pair[0] != pair[1]]
            if both:
                keep.append(k)
                pairs.append(both)
                continue
            word = "same_zone"
        left.append((int(matrix.row[k]), f"{a} to {b}", float(matrix.trips[k]), word))
    if left:
        rows, cells, trips, words = zip(*left, strict=True)
        unplaced.append(source=source, row=rows, trip=np.array(cells, object), car="", trips=trips,
                        reason=np.array(words, object))  # fmt: skip
    width = [len(both) for both in pairs]
    flat = np.array([pair for both in pairs for pair in both], np.int32).reshape(-1, 2)
    return Flows(
        trips=matrix.trips[keep],
        hour=matrix.hour[keep],
        ptr=np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
        from_node=flat[:, 0],
        to_node=flat[:, 1],
    )


def _notes(given: Given, demand: DemandSettings) -> list[str]:
    """What was left out, in words; demand of which nothing is left is refused."""
    counts = given.summary()
    left = counts["unplaced_by_reason"]
    assert isinstance(left, dict)
    said = ", ".join(f"{count:,} {name} ({REASONS[name]})" for name, count in sorted(left.items()))
    files = ", ".join(name for name in (demand.trips, demand.od) if name)
    if not given.has_days and not given.has_traffic:
        raise DemandFileError(f"{files}: nothing could be placed on the map: {said}")
    notes = [f"demand from {files}: not placed: {said}"] if said else []
    if given.ignored:
        notes.append(f"demand from {files}: {given.ignored:,} legs by other modes are left aside")
    return notes
