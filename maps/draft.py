"""A road network under construction: plain arrays that may still change.

`Draft` is what cleaning steps pass to one another; `Draft.finish` sorts the links and
freezes it into a `RoadNetwork`. Shapes of links are kept flat (`geom_ptr`, `geom_x`,
`geom_y`) so that no step loops over points in Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import ROAD_CLASSES, RoadNetwork
from maps.project import to_degrees

CLASS = {name: row for row, name in enumerate(ROAD_CLASSES)}
"""Row of each OSM `highway` value in ROAD_CLASSES."""


@dataclass(frozen=True)
class Draft:
    """Nodes, links and shapes; the names and units are those of NETWORK_COLUMNS."""

    lon0: float
    lat0: float
    node_osm: NDArray[np.int64]
    node_x: NDArray[np.float64]
    node_y: NDArray[np.float64]
    node_control: NDArray[np.uint8]
    link_from: NDArray[np.int64]
    link_to: NDArray[np.int64]
    link_length: NDArray[np.float64]
    link_speed: NDArray[np.float64]
    link_lanes: NDArray[np.int64]
    link_class: NDArray[np.int64]
    link_flags: NDArray[np.int64]
    link_way: NDArray[np.int64]
    geom_ptr: NDArray[np.int64]
    geom_x: NDArray[np.float64]
    geom_y: NDArray[np.float64]
    ban_from: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ban_to: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_x)

    @property
    def n_links(self) -> int:
        """Number of directed links."""
        return len(self.link_from)

    def take_links(self, rows: NDArray[np.int64]) -> Draft:
        """Keep the links `rows`, in that order; bans that lose a link are dropped."""
        place = np.full(self.n_links, -1, np.int64)
        place[rows] = np.arange(len(rows))
        ban_from, ban_to = place[self.ban_from], place[self.ban_to]
        kept = (ban_from >= 0) & (ban_to >= 0)
        ptr, points = take_ragged(self.geom_ptr, rows)
        names = [f"link_{name}" for name in ("from", "to", "length", "speed", "lanes", "class", "flags", "way")]
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in names},
            geom_ptr=ptr,
            geom_x=self.geom_x[points],
            geom_y=self.geom_y[points],
            ban_from=ban_from[kept],
            ban_to=ban_to[kept],
        )

    def take_nodes(self, rows: NDArray[np.int64]) -> Draft:
        """Keep the nodes `rows`, in that order; every link must join kept nodes."""
        place = np.full(self.n_nodes, -1, np.int64)
        place[rows] = np.arange(len(rows))
        return replace(
            self,
            node_osm=self.node_osm[rows],
            node_x=self.node_x[rows],
            node_y=self.node_y[rows],
            node_control=self.node_control[rows],
            link_from=place[self.link_from],
            link_to=place[self.link_to],
        )

    def finish(self) -> RoadNetwork:
        """Sort the links by start node, measure curve radii and freeze the arrays.

        Raises
        ------
        MapError
            When the draft holds no drivable road or its arrays contradict each other.
        """
        order = np.lexsort((np.arange(self.n_links), self.link_to, self.link_from))
        done = self.take_links(order)
        bans = np.unique(np.column_stack([done.ban_from, done.ban_to]), axis=0) if len(done.ban_from) else None
        lon, lat = to_degrees(done.node_x, done.node_y, lon0=self.lon0, lat0=self.lat0)
        return RoadNetwork(
            node_osm=done.node_osm,
            node_lon=lon,
            node_lat=lat,
            node_x=done.node_x,
            node_y=done.node_y,
            node_control=done.node_control,
            link_from=done.link_from.astype(np.int32),
            link_to=done.link_to.astype(np.int32),
            link_length=done.link_length,
            link_speed=done.link_speed,
            link_lanes=np.clip(done.link_lanes, 1, 255).astype(np.uint8),
            link_class=done.link_class.astype(np.uint8),
            link_flags=done.link_flags.astype(np.uint16),
            link_radius=smallest_radius(done.geom_ptr, done.geom_x, done.geom_y),
            link_way=done.link_way,
            geom_ptr=done.geom_ptr,
            geom_x=done.geom_x.astype(np.float32),
            geom_y=done.geom_y.astype(np.float32),
            ban_from=(bans[:, 0] if bans is not None else done.ban_from).astype(np.int32),
            ban_to=(bans[:, 1] if bans is not None else done.ban_to).astype(np.int32),
        )


def draft_of(
    *,
    x: ArrayLike,
    y: ArrayLike,
    link_from: ArrayLike,
    link_to: ArrayLike,
    length_m: ArrayLike | None = None,
    speed_mps: ArrayLike = 50 / 3.6,
    lanes: ArrayLike = 1,
    road_class: ArrayLike | None = None,
    flags: ArrayLike = 0,
    control: ArrayLike = 0,
    shapes: list[NDArray[np.float64]] | None = None,
    lon0: float = 0.0,
    lat0: float = 0.0,
) -> Draft:
    """Draft from node positions (metres) and link ends; scalars are spread over all rows.

    Parameters
    ----------
    x, y
        Node positions, shape (n_nodes,), m.
    link_from, link_to
        Node rows, shape (n_links,).
    length_m
        Driving length of each link; the length of its shape when not given.
    road_class
        Rows of ROAD_CLASSES, default residential.
    shapes
        One array (k, 2) of points per link; straight between its nodes when not given.
    lon0, lat0
        Where (0, 0) lies on the globe, degrees.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    tail, head = np.asarray(link_from, np.int64), np.asarray(link_to, np.int64)
    if shapes is None:
        ptr = np.arange(len(tail) + 1, dtype=np.int64) * 2
        points = np.column_stack([tail, head]).ravel()
        geom_x, geom_y = x[points], y[points]
    else:
        ptr = np.concatenate([[0], np.cumsum([len(s) for s in shapes])]).astype(np.int64)
        geom_x, geom_y = np.concatenate(shapes).T
    length = shape_length(ptr, geom_x, geom_y) if length_m is None else length_m

    def spread(value: ArrayLike, size: int, dtype: type) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(value, dtype), (size,)).copy()

    links = len(tail)
    return Draft(
        lon0=lon0,
        lat0=lat0,
        node_osm=-1 - np.arange(len(x), dtype=np.int64),
        node_x=x,
        node_y=y,
        node_control=spread(control, len(x), np.uint8),
        link_from=tail,
        link_to=head,
        link_length=spread(length, links, np.float64),
        link_speed=spread(speed_mps, links, np.float64),
        link_lanes=spread(lanes, links, np.int64),
        link_class=spread(CLASS["residential"] if road_class is None else road_class, links, np.int64),
        link_flags=spread(flags, links, np.int64),
        link_way=-1 - np.arange(links, dtype=np.int64),
        geom_ptr=ptr,
        geom_x=geom_x,
        geom_y=geom_y,
    )


def take_ragged(ptr: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep segments `rows` in that order: new pointers, and the positions of their points."""
    sizes = ptr[rows + 1] - ptr[rows]
    new = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    points = np.arange(new[-1]) + np.repeat(ptr[rows] - new[:-1], sizes)
    return new, points


def shape_length(ptr: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of each shape, m, shape (len(ptr) - 1,)."""
    if len(ptr) < 2:
        return np.zeros(0)
    steps = np.append(np.hypot(np.diff(x), np.diff(y)), 0.0)
    steps[ptr[1:] - 1] = 0.0  # the jump from one shape to the next is no road
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(total[ptr[1:]] - total[ptr[:-1]], float)


def smallest_radius(ptr: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """Smallest curve radius along each shape, m; inf where it is straight.

    At each inner point it is the radius of the circle through the point and its two
    neighbours (Menger curvature), exact for points on an arc. A bend of more than 90 degrees
    is taken as the corner that fits within half its shorter arm. Points less than 0.25 m off
    the line between their neighbours are drawing noise.
    """
    radius = np.full(len(ptr) - 1, np.inf, np.float32)
    if len(x) < 3:
        return radius
    dx, dy = np.diff(x), np.diff(y)
    step = np.hypot(dx, dy)
    turn = np.abs(np.arctan2(dx[:-1] * dy[1:] - dy[:-1] * dx[1:], dx[:-1] * dx[1:] + dy[:-1] * dy[1:]))
    inner = np.zeros(len(x), bool)
    inner[1:-1] = True
    inner[ptr[:-1]] = False
    inner[ptr[1:] - 1] = False
    chord = np.hypot(x[2:] - x[:-2], y[2:] - y[:-2])
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(turn > np.pi / 2, np.inf, step[:-1] * step[1:] * np.sin(turn) / chord)
        circle = chord / (2 * np.sin(turn))
        corner = np.minimum(step[:-1], step[1:]) / 2 / np.tan(np.minimum(turn, 3.1) / 2)
    here = np.where(turn > np.pi / 2, np.maximum(corner, 1.0), circle)
    here = np.where((offset > 0.25) & (np.minimum(step[:-1], step[1:]) > 0.5), here, np.inf)
    points = np.flatnonzero(inner[1:-1])
    owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))[1:-1]
    np.minimum.at(radius, owner[points], here[points].astype(np.float32))
    return radius
