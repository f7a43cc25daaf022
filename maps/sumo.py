"""SUMO networks (`.net.xml`, `.net.xml.gz`) as road networks, with their turns and signal programs.

Every edge becomes a link, and so does every movement from one edge to another, because lanes
and signals belong to movements. A movement's link begins where its lanes part from the others
of the edge, `pocket_m` before the stop line or less, and ends behind the junction: its length
holds SUMO's internal lane, so routes are as long as SUMO's. Where all movements use the same
lanes it begins at the stop line. Movements that the file does not connect do not exist, which
is all there is to turn restrictions. Lanes that no passenger car may use are left out unless a
whole edge is closed; such links stay, marked in `SumoNetwork.closed`.

The format: https://sumo.dlr.de/docs/Networks/SUMO_Road_Networks.html
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from maps.draft import CLASS, draft_of
from maps.lane_use import lanes_worth
from maps.network import ONEWAY, SIGNALS, MapError, RoadNetwork

_SHORTEST_M = 8.0
"""Edges are split only as far as this; shorter ones (netconvert makes some of 0.2 m) are taken as long as this."""

_CLASSES = (
    (25.0, "motorway"),
    (16.0, "primary"),
    (13.0, "secondary"),
    (0.0, "residential"),
)
"""Class by speed limit, m/s: the format's own edge types are free text."""


class SignalProgram(NamedTuple):
    """One program: phases in order, each with its length in s and one state letter per movement and lane."""

    seconds: tuple[float, ...]
    states: tuple[str, ...]
    offset_s: float

    @property
    def cycle_s(self) -> float:
        """Length of one turn through all phases, s."""
        return sum(self.seconds)


class Greens(NamedTuple):
    """Green windows of all programs, one row each, sorted by link; columns as in `twin.traffic.signals.SignalPlan`.

    Attributes
    ----------
    link, cycle_ms, start_ms, stop_ms : int64, shape (n_windows,)
        Window from `start_ms` (within the cycle, offset included) to `stop_ms` of a movement's link.
    never : int
        Movements that no phase lets go; they are treated as having no signal.
    """

    link: NDArray[np.int64]
    cycle_ms: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    stop_ms: NDArray[np.int64]
    never: int


class Yields(NamedTuple):
    """Who gives way to whom, one row for each pair of movements; columns as in `twin.traffic.right_of_way`.

    Attributes
    ----------
    link, foe : int64, shape (n_pairs,)
        Links of the movement that gives way and of the one that goes first.
    onto : int64, shape (n_pairs,)
        -1, or for an edge before a short movement: that movement, as vehicles still on the edge count too.
    lag_s, gap_s : float64, shape (n_pairs,)
        Time from the end of `foe` to the junction, and the gap that is needed.
    """

    link: NDArray[np.int64]
    foe: NDArray[np.int64]
    onto: NDArray[np.int64]
    lag_s: NDArray[np.float64]
    gap_s: NDArray[np.float64]


@dataclass(frozen=True)
class SumoNetwork:
    """A network and where SUMO's edges and movements are in it.

    Attributes
    ----------
    network : RoadNetwork
    edge_link : link of each edge
    movement_link : link of each movement (from edge, to edge)
    closed : bool, shape (n_links,)
        Links that no passenger car may use (bus roads).
    minor : bool, shape (n_links,)
        Movements that give way by the sign (state "m" of the network).
    heads : signal and positions in its state strings, by movement link
    programs : the program of each signal
    movement_lanes : lanes of its edge that each movement leaves from, by movement link
    responses : movements that go first where they meet, by movement link (the network's `request` rows)
    crossing_m : metres inside the junction, by movement link
    edge_before : link of the edge that a movement leaves, by movement link
    """

    network: RoadNetwork
    edge_link: Mapping[str, int]
    movement_link: Mapping[tuple[str, str], int]
    closed: NDArray[np.bool_]
    minor: NDArray[np.bool_]
    heads: Mapping[int, tuple[str, tuple[int, ...]]]
    programs: Mapping[str, SignalProgram]
    movement_lanes: Mapping[int, frozenset[int]]
    responses: Mapping[int, frozenset[int]]
    crossing_m: Mapping[int, float]
    edge_before: Mapping[int, int]

    def route(self, edges: Iterable[str]) -> NDArray[np.int32]:
        """Links of a route given as SUMO edges: edge, movement, edge and so on.

        Raises
        ------
        MapError
            For an unknown edge or two edges that no movement joins.
        """
        names = list(edges)
        if not names or names[0] not in self.edge_link:
            raise MapError(f"a route begins with an unknown edge: {' '.join(names[:1])!r}")
        links = [self.edge_link[names[0]]]
        for before, after in pairwise(names):
            if (before, after) not in self.movement_link:
                raise MapError(f"no movement joins edge {before!r} to edge {after!r}")
            links += [self.movement_link[before, after], self.edge_link[after]]
        return np.array(links, np.int32)

    def greens(self, *, lost_s: float = 2.0) -> Greens:
        """Green windows of all movements, each signal on its own cycle and offset.

        An offset delays a program. A window is green and the amber after it, less `lost_s` at its start: the
        start-up loss of each green, less the amber that is driven through (HCM 2010, ch. 18: 2 s).
        """
        rows = []
        never = 0
        for link, (signal, places) in sorted(self.heads.items()):
            program = self.programs[signal]
            runs = _green_runs(program, places)
            never += not runs
            own = round(program.cycle_s * 1000)
            for begin, length in runs:
                if length < program.cycle_s and length > lost_s:
                    first = round((begin + lost_s + program.offset_s) * 1000) % own
                    rows.append((link, own, first, first + round((length - lost_s) * 1000)))
        columns = np.array(rows, np.int64).reshape(-1, 4).T
        return Greens(columns[0], columns[1], columns[2], columns[3], never)

    def yields(self, *, accel_mps2: float = 2.6, clearance_s: float = 1.0, car_m: float = 5.0) -> Yields:
        """Pairs of movements of which one gives way, by signs ("m") or at a signal's minor green ("g").

        The gap is that of SUMO's junction model: the time a car needs from standing to clear the
        junction with its whole length, and a clearance (`jmTimegapMinor`; defaults of SUMO's vehicle type).
        """
        rows = []
        for link, foes in self.responses.items():
            if link in self.heads:
                signal, places = self.heads[link]
                if not any(state[p] == "g" for state in self.programs[signal].states for p in places):
                    continue
            elif not self.minor[link]:
                continue
            gap = float(np.sqrt(2 * (self.crossing_m[link] + car_m) / accel_mps2)) + clearance_s
            for foe in sorted(foes):
                lag = float(self.network.link_free_s[foe])
                rows.append((link, foe, -1, 0.0, gap))
                if lag < gap:
                    before = self.edge_before[foe]
                    rows.append((link, before, foe, lag, gap))
        columns = np.array(rows, float).reshape(-1, 5).T
        named = columns[:3].astype(np.int64)
        return Yields(named[0], named[1], named[2], columns[3], columns[4])

    def saturation_lanes(self, vehicles: NDArray[np.float64], greens: Greens) -> NDArray[np.float64]:
        """Lanes' worth of saturation flow per link when lanes are shared by movements.

        Parameters
        ----------
        vehicles : float64, shape (n_links,)
            Vehicles that use each link, any period: drivers choose lanes by it.
        greens : Greens
        """
        worth = self.network.link_lanes.astype(float)
        share = np.ones(self.network.n_links)
        share[greens.link] = 0.0
        np.add.at(share, greens.link, (greens.stop_ms - greens.start_ms) / greens.cycle_ms)
        approaches: dict[int, list[int]] = {}
        for link in self.movement_link.values():
            approaches.setdefault(int(self.network.link_from[link]), []).append(link)
        for links in approaches.values():
            load = [float(vehicles[link] / share[link]) for link in links]
            worth[links] = lanes_worth([self.movement_lanes[link] for link in links], load)
        return worth


def read_sumo(path: Path | str, *, programs: Path | str | None = None, pocket_m: float = 200.0) -> SumoNetwork:
    """Read a SUMO network.

    Parameters
    ----------
    path : path
        `.net.xml` or `.net.xml.gz`.
    programs : path, optional
        Additional file with signal programs; they replace those of the network, as in SUMO.
    pocket_m : float
        Length before the stop line over which lanes of different movements are separate.

    Raises
    ------
    MapError
        When the file is not such a network; one line with the place.
    """
    root = _parse(Path(path))
    if root.tag != "net":
        raise MapError(f"{path}: not a SUMO network: its root is <{root.tag}>, not <net>")
    try:
        return _build(root, None if programs is None else _parse(Path(programs)), pocket_m)
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, MapError):
            raise MapError(f"{path}: {error}") from None
        raise MapError(f"{path}: an element lacks something or holds what is not a number ({error})") from None


class _Edge(NamedTuple):
    length: float
    speed: float
    lanes: tuple[int, ...]  # open to cars, or all of a closed edge
    closed: bool
    shape: NDArray[np.float64]


class _Movement(NamedTuple):
    lanes: set[int]
    places: set[int]
    vias: list[str]
    states: set[str]
    signal: list[str]


def _build(root: Element, extra: Element | None, pocket_m: float) -> SumoNetwork:
    edges: dict[str, _Edge] = {}
    inside: dict[str, tuple[float, float]] = {}
    for item in root.iter("edge"):
        lanes = item.findall("lane")
        if item.get("function") == "internal":
            inside |= {lane.attrib["id"]: (_number(lane, "length"), _number(lane, "speed")) for lane in lanes}
        elif item.get("function") in {None, "normal"} and lanes:
            edges[item.attrib["id"]] = _edge(lanes)
    if not edges:
        raise MapError("no edges")
    movements, onward = _movements(root, edges)
    names = list(edges)
    row = {name: i for i, name in enumerate(names)}
    tail, head, length, speed, count, shapes = [], [], [], [], [], []
    crossings: dict[tuple[str, str], float] = {}
    # node 2 i begins edge i, node 2 i + 1 is where its movements part
    ends = np.empty((2 * len(names), 2))
    pockets = {name: _pocket(name, edges[name], movements, pocket_m) for name in names}
    for i, name in enumerate(names):
        edge = edges[name]
        body, rest = _cut(edge.shape, max(0.0, 1.0 - pockets[name] / edge.length))
        ends[2 * i], ends[2 * i + 1] = body[0], rest[0]
        tail.append(2 * i)
        head.append(2 * i + 1)
        length.append(max(edge.length - pockets[name], _SHORTEST_M))
        speed.append(edge.speed)
        count.append(len(edge.lanes))
        shapes.append(body)
    for (before, after), move in movements.items():
        through = [_through(via, inside, onward) for via in move.vias]
        crossing = float(np.mean([metres for metres, _ in through])) if through else 0.0
        crossings[before, after] = crossing
        slowest = min([v for _, v in through] or [edges[before].speed])
        rest = _cut(edges[before].shape, max(0.0, 1.0 - pockets[before] / edges[before].length))[1]
        metres = max(pockets[before] + crossing, 0.1)
        # the pocket at the edge's speed, the junction at its own: turns are slow
        seconds = pockets[before] / edges[before].speed + crossing / slowest
        tail.append(2 * row[before] + 1)
        head.append(2 * row[after])
        length.append(metres)
        speed.append(metres / seconds if seconds else edges[before].speed)
        count.append(len(move.lanes))
        shapes.append(np.vstack([rest, edges[after].shape[:1]]))
    limits = np.array([edges[name].speed for name in names] + [edges[before].speed for before, _ in movements])
    classes = np.array([CLASS[next(kind for low, kind in _CLASSES if v >= low)] for v in limits])
    signalled = np.array([2 * row[after] for (_, after), move in movements.items() if move.signal], int)
    control = np.zeros(len(ends), np.uint8)
    control[signalled] = SIGNALS
    order = np.lexsort((np.arange(len(tail)), np.array(head), np.array(tail)))  # the order that `finish` gives them
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    lon0, lat0, east, north = _origin(root)
    network = draft_of(
        x=ends[:, 0] - east,
        y=ends[:, 1] - north,
        link_from=tail,
        link_to=head,
        length_m=np.array(length),
        speed_mps=np.array(speed),
        lanes=np.array(count),
        road_class=classes,
        flags=ONEWAY,
        control=control,
        shapes=[shape - [east, north] for shape in shapes],
        lon0=lon0,
        lat0=lat0,
    ).finish()
    edge_link = {name: int(place[i]) for i, name in enumerate(names)}
    movement_link = {pair: int(place[len(names) + i]) for i, pair in enumerate(movements)}
    closed, minor = np.zeros(len(tail), bool), np.zeros(len(tail), bool)
    for name, edge in edges.items():
        closed[edge_link[name]] = edge.closed
    for (before, after), link in movement_link.items():
        closed[link] = edges[before].closed or edges[after].closed
        minor[link] = "m" in movements[before, after].states
    programs = _programs(root) | (_programs(extra) if extra is not None else {})
    heads = {}
    for pair, move in movements.items():
        if move.signal:
            if move.signal[0] not in programs:
                raise MapError(f"signal {move.signal[0]!r} has no program")
            heads[movement_link[pair]] = (move.signal[0], tuple(sorted(move.places)))
    used = {movement_link[pair]: frozenset(move.lanes) for pair, move in movements.items()}
    responses = {
        movement_link[pair]: frozenset(movement_link[foe] for foe in foes)
        for pair, foes in _responses(root, movements, onward).items()
    }
    inner = {movement_link[pair]: metres for pair, metres in crossings.items()}
    before_link = {link: edge_link[before] for (before, _), link in movement_link.items()}
    return SumoNetwork(
        network, edge_link, movement_link, closed, minor, heads, programs, used, responses, inner, before_link
    )


def _edge(lanes: list[Element]) -> _Edge:
    free = tuple(i for i, lane in enumerate(lanes) if _for_cars(lane))
    middle = lanes[len(lanes) // 2]
    points = [[float(v) for v in point.split(",")[:2]] for point in middle.attrib["shape"].split()]
    if len(points) < 2:
        raise MapError(f"the shape of lane {middle.get('id')!r} needs two or more points")
    length = float(np.mean([_number(lane, "length") for lane in lanes]))
    speed = max(_number(lane, "speed") for lane in lanes)
    if not (0 < length < np.inf and 0 < speed < np.inf):
        raise MapError(f"lane {middle.get('id')!r} has a length or speed that is not above 0")
    return _Edge(length, speed, free or tuple(range(len(lanes))), not free, np.array(points))


def _for_cars(lane: Element) -> bool:
    allow, disallow = lane.get("allow"), lane.get("disallow", "")
    return (
        {"passenger", "all"} & set(allow.split()) != set()
        if allow
        else not {"passenger", "all"} & set(disallow.split())
    )


def _movements(root: Element, edges: Mapping[str, _Edge]) -> tuple[dict[tuple[str, str], _Movement], dict[str, str]]:
    """Movements between edges, and the internal lane that follows each internal lane."""
    found: dict[tuple[str, str], _Movement] = {}
    closed_too: dict[tuple[str, str], _Movement] = {}
    onward: dict[str, str] = {}
    for item in root.iter("connection"):
        before, after = item.attrib["from"], item.attrib["to"]
        lane = int(item.attrib["fromLane"])
        if before.startswith(":"):
            if item.get("via"):
                onward[f"{before}_{lane}"] = item.attrib["via"]
            continue
        if before not in edges or after not in edges:
            continue
        # a connection from or to a bus lane counts only where cars have none
        for_cars = lane in edges[before].lanes and int(item.attrib["toLane"]) in edges[after].lanes
        move = (found if for_cars else closed_too).setdefault((before, after), _Movement(set(), set(), [], set(), []))
        move.lanes.add(lane)
        move.states.add(item.get("state", ""))
        if item.get("via"):
            move.vias.append(item.attrib["via"])
        if item.get("tl"):
            move.places.add(int(item.attrib["linkIndex"]))
            move.signal.append(item.attrib["tl"])
    return closed_too | found, onward


def _responses(
    root: Element, movements: Mapping[tuple[str, str], _Movement], onward: Mapping[str, str]
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Movements to which each movement has to give way when both may go.

    A junction's internal lanes are numbered; a `request` row holds a bit for each, the last
    character for number 0. A lane that is cut at an internal junction has the number of its second part.
    """
    of_lane: dict[str, tuple[str, str]] = {}
    for pair, move in movements.items():
        for via in move.vias:
            of_lane[via] = pair
            if via in onward:
                of_lane[onward[via]] = pair
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for item in root.iter("junction"):
        inside = item.get("intLanes", "").split()
        for request in item.findall("request"):
            row, bits = int(request.attrib["index"]), request.attrib["response"][::-1]
            if row >= len(inside) or len(bits) > len(inside):
                raise MapError(f"junction {item.get('id')!r} has a request for a lane that it does not have")
            mine = of_lane.get(inside[row])
            if mine is None:
                continue
            first = {of_lane[lane] for lane, bit in zip(inside, bits, strict=False) if bit == "1" and lane in of_lane}
            found.setdefault(mine, set()).update(first - {mine})
    return found


def _pocket(name: str, edge: _Edge, movements: Mapping[tuple[str, str], _Movement], pocket_m: float) -> float:
    """Metres over which the lanes of an edge's movements are separate."""
    lanes = [frozenset(move.lanes) for (before, _), move in movements.items() if before == name]
    if len(set(lanes)) < 2:
        return 0.0
    return max(0.0, min(pocket_m, edge.length - _SHORTEST_M))


def _through(via: str, inside: Mapping[str, tuple[float, float]], onward: Mapping[str, str]) -> tuple[float, float]:
    """Metres and lowest speed of the internal lanes of one connection."""
    metres, slowest = 0.0, np.inf
    for _ in range(8):  # a junction holds one or two in a row
        if via not in inside:
            raise MapError(f"internal lane {via!r} is missing")
        metres += inside[via][0]
        slowest = min(slowest, inside[via][1])
        if via not in onward:
            break
        via = onward[via]
    return metres, float(slowest)


def _green_runs(program: SignalProgram, places: tuple[int, ...]) -> list[tuple[float, float]]:
    """Start and length of each time in a cycle when any of `places` shows green or amber after green, s."""
    if any(max(places) >= len(state) for state in program.states):
        raise MapError("a signal program has fewer states than the signal has heads")
    shows = [any(state[p] in "GgyY" for p in places) for state in program.states]
    goes = [any(state[p] in "Gg" for p in places) for state in program.states]
    starts = np.concatenate([[0.0], np.cumsum(program.seconds)])
    runs: list[tuple[float, float, bool]] = []
    for i, on in enumerate(shows):
        if not on:
            continue
        if runs and i and shows[i - 1]:
            begin, length, went = runs[-1]
            runs[-1] = (begin, length + program.seconds[i], went or goes[i])
        else:
            runs.append((float(starts[i]), program.seconds[i], goes[i]))
    if len(runs) > 1 and shows[0] and shows[-1]:
        begin, length, went = runs.pop()
        runs[0] = (begin, length + runs[0][1], went or runs[0][2])
    return [(begin, length) for begin, length, went in runs if went]


def _programs(root: Element) -> dict[str, SignalProgram]:
    found = {}
    for item in root.iter("tlLogic"):
        phases = item.findall("phase")
        seconds = tuple(_number(phase, "duration") for phase in phases)
        if not phases or sum(seconds) <= 0:
            raise MapError(f"signal {item.get('id')!r} has a program without time")
        states = tuple(phase.attrib["state"] for phase in phases)
        found[item.attrib["id"]] = SignalProgram(seconds, states, float(item.get("offset", 0)))
    return found


def _origin(root: Element) -> tuple[float, float, float, float]:
    """Longitude and latitude of the network's centre, and its own coordinates of that point.

    The grid of the file's projection is turned against the plane's by the meridian convergence
    (under 2 degrees), which only drawing would notice.
    """
    place = root.find("location")
    if place is None:
        return 0.0, 0.0, 0.0, 0.0
    west, south, east, north = (float(v) for v in place.attrib["convBoundary"].split(","))
    x, y = 0.5 * (west + east), 0.5 * (south + north)
    text = place.get("projParameter", "!")
    if not re.match(r"\+proj=\w+", text):
        return 0.0, 0.0, x, y
    from pyproj import Proj

    dx, dy = (float(v) for v in place.attrib["netOffset"].split(","))
    lon, lat = Proj(text)(x - dx, y - dy, inverse=True)
    return float(lon), float(lat), x, y


def _cut(shape: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split a line at a share of its length; both parts have two points or more."""
    run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(shape, axis=0).T))])
    at = run[-1] * min(share, 1.0)
    point = np.array([np.interp(at, run, shape[:, 0]), np.interp(at, run, shape[:, 1])])
    return np.vstack([shape[run < at], point]) if at > 0 else np.vstack([shape[:1], point]), np.vstack(
        [point, shape[run > at]]
    ) if at < run[-1] else np.vstack([point, shape[-1:]])


def _number(item: Element, name: str) -> float:
    return float(item.attrib[name])


def _parse(path: Path) -> Element:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        if b"<!ENTITY" in raw:
            raise MapError(f"{path}: declares entities, which no SUMO file needs")
        return ET.fromstring(raw)
    except (ET.ParseError, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise MapError(f"{path}: not XML ({error})") from None
