"""Demand files of SUMO: `.rou.xml` and `.trips.xml` with vehicles, trips and flows, plain or gzipped.

A vehicle's own route is not kept: it drives from its first to its last edge as travel times have it.
The format: https://sumo.dlr.de/docs/Definition_of_Vehicles,_Vehicle_Types,_and_Routes.html
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runs.demand.trip_list import NO_NODE, DemandFileError, TripList, first_of, seconds
from runs.demand.xml_stream import read_xml
from twin.demand.days import PURPOSES

CARS = {
    "",
    "passenger",
    "private",
    "taxi",
    "evehicle",
    "hov",
    "vip",
    "authority",
    "army",
    "custom1",
    "custom2",
    "e-car",
}
"""Vehicle classes that are driven as cars."""

_OTHER = PURPOSES.index("errand")
_MOST_OF_A_FLOW = 1_000_000


class _Routes:
    """What the elements of a route file say, as they come by."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trips = TripList(str(path), names_are="edge")
        self.routes: dict[str, tuple[str, str]] = {}
        self.choices: dict[str, str] = {}  # route distribution to its likeliest route
        self.distribution: tuple[str, float] | None = None
        self.classes: dict[str, str] = {"DEFAULT_BIKETYPE": "bicycle", "DEFAULT_PEDTYPE": "pedestrian"}
        self.seen: dict[str, int] = {}
        self.open: tuple[str, dict[str, str], int] | None = None
        self.own_route: tuple[str, str] | None = None

    def start(self, tag: str, a: dict[str, str], line: int) -> None:
        if tag == "vType":
            self.classes[a.get("id", "")] = a.get("vClass", "passenger")
        elif tag == "routeDistribution":
            self.distribution = (a.get("id", ""), -1.0)
        elif tag == "route":
            self._route(a)
        elif tag in ("vehicle", "trip", "flow"):
            name = a.get("id", "")
            if not name:
                raise DemandFileError(f"{self.path}: line {line}: a {tag} has no id")
            if name in self.seen:
                raise DemandFileError(
                    f"{self.path}: line {line}: the id {name[:40]!r} is that of line {self.seen[name]} too"
                )
            self.seen[name] = line
            self.open, self.own_route = (tag, a, line), None
        elif tag in ("person", "personFlow", "container"):
            self.trips.ignored += 1

    def end(self, tag: str, _text: str) -> None:
        if tag == "routeDistribution":
            self.distribution = None
        elif tag in ("vehicle", "trip", "flow") and self.open is not None:
            self._close(*self.open)
            self.open = None

    def _route(self, a: dict[str, str]) -> None:
        edges = a.get("edges", "").split()
        ends = (edges[0], edges[-1]) if edges else ("", "")
        if self.open is not None:
            self.own_route = ends
            return
        self.routes[a.get("id", "")] = ends
        if self.distribution is not None:
            share = seconds(a.get("probability", "1"))
            if share > self.distribution[1]:
                self.distribution = (self.distribution[0], share)
                self.routes[self.distribution[0]] = ends

    def _close(self, tag: str, a: dict[str, str], line: int) -> None:
        name = a["id"]
        route = self.own_route or self.routes.get(a.get("route", ""), ("", ""))
        times = [seconds(a["depart"]) if a.get("depart") else math.nan]
        if tag == "flow":
            times = self._flow(a, line)
        known = self.classes.get(a.get("type", ""), "")
        fault = "" if known in CARS else "not_a_car"
        for k, at in enumerate(times):
            if at < 0:
                raise DemandFileError(f"{self.path}: line {line}: departs at {at:g} s; valid are 0 s and later")
            self.trips.add(
                row=line,
                trip=f"{name}.{k}" if tag == "flow" else name,
                car="",
                purpose=_OTHER,
                depart_s=at,
                fault=fault,
            )
            for ends, side, edge in ((self.trips.start, "from", route[0]), (self.trips.end, "to", route[1])):
                lonlat = a.get(f"{side}LonLat", "").split(",")
                junction = a.get(f"{side}Junction", "")
                if len(lonlat) == 2:
                    ends.add(lon=seconds(lonlat[0]), lat=seconds(lonlat[1]))
                elif junction.lstrip("-").isdigit():  # netconvert keeps the OpenStreetMap id of a junction
                    ends.add(node=int(junction))
                else:
                    ends.add(node=NO_NODE, name=edge or a.get(side, ""))

    def _flow(self, a: dict[str, str], line: int) -> list[float]:
        """Departure times of a flow, evenly spread as SUMO does."""
        begin, end = seconds(a.get("begin", "0")), seconds(a.get("end", "86400"))
        count = seconds(a["number"]) if "number" in a else math.nan
        if math.isnan(count):
            per_hour = first_of(a, "vehsPerHour", "perHour")
            every = seconds(a["period"]) if "period" in a else 3600.0 / seconds(per_hour) if per_hour else math.nan
            if "probability" in a:
                every = 1.0 / seconds(a["probability"])
            count = math.floor((end - begin) / every + 1e-9)
        if not (0 <= begin <= end and 0 <= count <= _MOST_OF_A_FLOW):
            raise DemandFileError(
                f"{self.path}: line {line}: flow {a['id'][:40]!r} needs 0 <= begin <= end and a number, period, "
                f"vehsPerHour or probability that makes 0 to {_MOST_OF_A_FLOW:,} vehicles"
            )
        step = (end - begin) / max(count, 1)
        return [begin + k * step for k in range(int(count))]


def read_sumo(path: Path) -> TripList:
    """Vehicles of a SUMO route or trip file; each is one trip of traffic outside the fleet.

    Raises
    ------
    DemandFileError
        When the file is damaged, ids are used twice, or a departure is negative. Departures that are no times
        (triggered vehicles) are counted refusals.
    """
    routes = _Routes(path)
    read_xml(path, start=routes.start, end=routes.end)
    if not len(routes.trips):
        raise DemandFileError(f"{path}: no vehicle, trip or flow in it")
    return routes.trips


class SumoEdges:
    """Where the edges of a SUMO network lie, in degrees: middles of their shapes.

    Raises
    ------
    DemandFileError
        When the network has no geographic projection.
    """

    def __init__(self, path: Path) -> None:
        self._at: dict[str, tuple[float, float]] = {}
        where: dict[str, str] = {}
        edge = ""

        def start(tag: str, a: dict[str, str], _line: int) -> None:
            nonlocal edge
            if tag == "location":
                where.update(a)
            elif tag == "edge":
                edge = "" if a.get("function") == "internal" else a.get("id", "")
            elif tag == "lane" and edge and edge not in self._at:
                points = [tuple(map(float, p.split(",")[:2])) for p in a.get("shape", "").split()]
                if points:
                    self._at[edge] = _middle(np.array(points))

        read_xml(path, start=start, end=lambda _tag, _text: None)
        projection = where.get("projParameter", "!")
        if not self._at or projection in ("!", ""):
            raise DemandFileError(f"{path}: a SUMO network with edges and a projection (projParameter) is needed")
        self._to_degrees(projection, where.get("netOffset", "0,0"), path)

    def _to_degrees(self, projection: str, offset: str, path: Path) -> None:
        from pyproj import Proj
        from pyproj.exceptions import CRSError

        names = list(self._at)
        x, y = np.array([self._at[name] for name in names]).T
        try:
            dx, dy = (float(part) for part in offset.split(",")[:2])
            if projection == "-":
                lon, lat = x - dx, y - dy
            else:
                lon, lat = Proj(projection)(x - dx, y - dy, inverse=True)
        except (CRSError, ValueError) as error:
            raise DemandFileError(
                f"{path}: its projection cannot be used ({' '.join(str(error).split())[:120]})"
            ) from None
        self._at = {name: (float(a), float(b)) for name, a, b in zip(names, lon, lat, strict=True)}

    def find(self, edge: str) -> tuple[float, float] | None:
        """Longitude and latitude of an edge, None when there is no such edge."""
        return self._at.get(edge)


def _middle(points: NDArray[np.float64]) -> tuple[float, float]:
    step = np.hypot(*np.diff(points, axis=0).T) if len(points) > 1 else np.zeros(0)
    if not step.sum() > 0:
        return float(points[0, 0]), float(points[0, 1])
    along = np.concatenate([[0.0], np.cumsum(step)])
    half = along[-1] / 2
    return float(np.interp(half, along, points[:, 0])), float(np.interp(half, along, points[:, 1]))
