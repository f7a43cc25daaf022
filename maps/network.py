"""The road network as frozen arrays, and the places, chargers and cells that lie on it.

`RoadNetwork` is what everything else drives on: compressed sparse rows of directed
links in metres and metres per second. `CityMap` is what a map file holds: one network
plus homes, workplaces, shops, charging sites, radio cells and approach roads.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROAD_CLASSES = (
    "motorway",
    "motorway_link",
    "trunk",
    "trunk_link",
    "primary",
    "primary_link",
    "secondary",
    "secondary_link",
    "tertiary",
    "tertiary_link",
    "unclassified",
    "residential",
    "living_street",
    "service",
    "road",
)
"""OSM `highway` values that cars drive on; `link_class` indexes this tuple."""

PLACE_KINDS = ("home", "work", "shop", "leisure", "school")
"""What people do at a place; `place_kind` indexes this tuple."""

SOCKET_KINDS = ("chademo", "ccs", "type2", "type1", "schuko")
"""Connectors of charging sites; `socket_kind` indexes this tuple."""

# bits of link_flags
ONEWAY, MOTORROAD, TUNNEL, BRIDGE, ROUNDABOUT, TOLL, OUTSIDE, RAMP = (1 << b for b in range(8))

# values of node_control
NO_CONTROL, SIGNALS, STOP, GIVE_WAY, TOLL_BOOTH = range(5)

FORMAT = 1


class MapError(ValueError):
    """A map source or map file cannot be used; the message is one line for the user."""


class Column(NamedTuple):
    """One array of a map file: its dtype, the group whose rows it has, unit and meaning."""

    dtype: str
    rows: str
    unit: str
    doc: str


NETWORK_COLUMNS: dict[str, Column] = {
    "node_osm": Column("i8", "node", "", "OSM id; negative for nodes that the build made"),
    "node_lon": Column("f8", "node", "deg", "longitude, WGS 84"),
    "node_lat": Column("f8", "node", "deg", "latitude, WGS 84"),
    "node_x": Column("f8", "node", "m", "east of the map's origin"),
    "node_y": Column("f8", "node", "m", "north of the map's origin"),
    "node_control": Column("u1", "node", "", "0 none, 1 signals, 2 stop, 3 give way, 4 toll booth"),
    "link_from": Column("i4", "link", "", "start node; links are sorted by it"),
    "link_to": Column("i4", "link", "", "end node"),
    "link_length": Column("f8", "link", "m", "driving length along the true geometry"),
    "link_speed": Column("f8", "link", "m/s", "free speed: the limit, or the national default"),
    "link_lanes": Column("u1", "link", "", "lanes in this direction, at least 1"),
    "link_class": Column("u1", "link", "", "index into ROAD_CLASSES"),
    "link_flags": Column("u2", "link", "", "bits ONEWAY MOTORROAD TUNNEL BRIDGE ROUNDABOUT TOLL OUTSIDE RAMP"),
    "link_radius": Column("f4", "link", "m", "smallest curve radius of the geometry, inf when straight"),
    "link_way": Column("i8", "link", "", "OSM way id of the first piece; negative when made by the build"),
    "geom_ptr": Column("i8", "link+1", "", "shape of link i is geom_x[geom_ptr[i]:geom_ptr[i+1]]"),
    "geom_x": Column("f4", "shape", "m", "shape points, east of the origin"),
    "geom_y": Column("f4", "shape", "m", "shape points, north of the origin"),
    "ban_from": Column("i4", "ban", "", "turns that are forbidden: link ban_from[k] into link ban_to[k]"),
    "ban_to": Column("i4", "ban", "", "see ban_from"),
}

PLACE_COLUMNS: dict[str, Column] = {
    "place_kind": Column("u1", "place", "", "index into PLACE_KINDS"),
    "place_x": Column("f4", "place", "m", "east of the origin"),
    "place_y": Column("f4", "place", "m", "north of the origin"),
    "place_node": Column("i4", "place", "", "network node where cars of this place enter and leave the streets"),
    "place_weight": Column("f4", "place", "", "relative number of people drawn to it (floor area in m2 where known)"),
    "charger_osm": Column("i8", "charger", "", "OSM id of the charging station"),
    "charger_x": Column("f4", "charger", "m", "east of the origin"),
    "charger_y": Column("f4", "charger", "m", "north of the origin"),
    "charger_node": Column("i4", "charger", "", "network node of the site"),
    "charger_public": Column("u1", "charger", "", "1 open to the public, 0 customers or private"),
    "charger_fee": Column("i1", "charger", "", "1 fee, 0 free, -1 unknown"),
    "socket_charger": Column("i4", "socket", "", "row of the charger it belongs to; rows are sorted by it"),
    "socket_kind": Column("u1", "socket", "", "index into SOCKET_KINDS"),
    "socket_count": Column("i4", "socket", "", "how many of this kind and power, at least 1"),
    "socket_kw": Column("f4", "socket", "kW", "rated power of each, above 0"),
    "socket_assumed": Column("u1", "socket", "", "bits: 1 kind, 2 count, 4 power filled by a documented default"),
    "cell_x": Column("f4", "cell", "m", "radio cell site, east of the origin"),
    "cell_y": Column("f4", "cell", "m", "radio cell site, north of the origin"),
    "gate_node": Column("i4", "gate", "", "node inside the extract where an approach road begins"),
    "outside_node": Column("i4", "outside", "", "node on an approach road, beyond the extract"),
    "outside_gate": Column("i4", "outside", "", "row of the gate its road starts from"),
    "outside_km": Column("f4", "outside", "km", "road distance from the gate"),
}


@dataclass(frozen=True, eq=False)
class RoadNetwork:
    """Directed road network as frozen arrays (see NETWORK_COLUMNS for units).

    Raises
    ------
    MapError
        When arrays disagree in length, refer to rows that do not exist, hold
        non-finite numbers, or `link_from` is not sorted.
    """

    node_osm: NDArray[np.int64]
    node_lon: NDArray[np.float64]
    node_lat: NDArray[np.float64]
    node_x: NDArray[np.float64]
    node_y: NDArray[np.float64]
    node_control: NDArray[np.uint8]
    link_from: NDArray[np.int32]
    link_to: NDArray[np.int32]
    link_length: NDArray[np.float64]
    link_speed: NDArray[np.float64]
    link_lanes: NDArray[np.uint8]
    link_class: NDArray[np.uint8]
    link_flags: NDArray[np.uint16]
    link_radius: NDArray[np.float32]
    link_way: NDArray[np.int64]
    geom_ptr: NDArray[np.int64]
    geom_x: NDArray[np.float32]
    geom_y: NDArray[np.float32]
    ban_from: NDArray[np.int32]
    ban_to: NDArray[np.int32]

    def __post_init__(self) -> None:
        _freeze(self, NETWORK_COLUMNS)
        self.validate()

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_x)

    @property
    def n_links(self) -> int:
        """Number of directed links."""
        return len(self.link_from)

    @cached_property
    def out_ptr(self) -> NDArray[np.int64]:
        """Links leaving node i are rows `out_ptr[i]:out_ptr[i+1]`, shape (n_nodes + 1,)."""
        ptr = np.searchsorted(self.link_from, np.arange(self.n_nodes + 1)).astype(np.int64)
        ptr.flags.writeable = False
        return ptr

    @cached_property
    def link_free_s(self) -> NDArray[np.float64]:
        """Free-flow time of each link, s."""
        seconds = self.link_length / self.link_speed
        seconds.flags.writeable = False
        return seconds

    def has(self, flag: int) -> NDArray[np.bool_]:
        """Links that carry `flag` (ONEWAY, MOTORROAD, …)."""
        return np.asarray((self.link_flags & flag) != 0)

    def shape(self, link: int) -> NDArray[np.float32]:
        """Points of one link, shape (k, 2), metres."""
        part = slice(self.geom_ptr[link], self.geom_ptr[link + 1])
        return np.column_stack([self.geom_x[part], self.geom_y[part]])

    def validate(self) -> None:
        """Check shapes, ranges and references; raise `MapError` with the first fault."""
        sizes = _sizes(self, NETWORK_COLUMNS)
        nodes, links, shape = sizes["node"], sizes["link"], sizes["shape"]
        if not nodes or not links:
            raise MapError("the road network is empty: no drivable road")
        _refer(self, ("link_from", "link_to"), nodes, "node")
        _refer(self, ("ban_from", "ban_to"), links, "link")
        if np.any(np.diff(self.link_from) < 0):
            raise MapError("link_from is not sorted")
        if np.any(self.link_from == self.link_to):
            raise MapError(f"link {int(np.argmax(self.link_from == self.link_to))} is a self-loop")
        if np.any(self.link_to[self.ban_from] != self.link_from[self.ban_to]):
            raise MapError("a forbidden turn joins links that do not meet")
        for name, low in (("link_length", 0.0), ("link_speed", 0.0), ("link_lanes", 0)):
            values = getattr(self, name)
            if np.any(values <= low):
                raise MapError(f"{name} of link {int(np.argmax(values <= low))} is not above {low}")
        if np.any(self.link_class >= len(ROAD_CLASSES)):
            raise MapError("link_class holds an unknown road class")
        steps = np.diff(self.geom_ptr)
        if self.geom_ptr[0] != 0 or self.geom_ptr[-1] != shape or np.any(steps < 2):
            raise MapError("geom_ptr does not cut the shape points into links of two or more points")

    def _repr_html_(self) -> str:
        """Size by road class and the streets as a small drawing, for a notebook."""
        km = np.bincount(self.link_class, self.link_length, len(ROAD_CLASSES)) / 1000
        links = np.bincount(self.link_class, minlength=len(ROAD_CLASSES))
        rows = "".join(
            f"<tr><td>{name}</td><td>{n:,}</td><td>{length:,.1f} km</td></tr>"
            for name, n, length in zip(ROAD_CLASSES, links, km, strict=True)
            if n
        )
        head = f"<b>RoadNetwork</b>: {self.n_nodes:,} nodes, {self.n_links:,} directed links, {km.sum():,.1f} km"
        table = f"<table><tr><th>class</th><th>links</th><th>length</th></tr>{rows}</table>"
        return f'{head}<div style="display:flex;gap:24px;align-items:flex-start">{table}{self._drawing()}</div>'

    def _drawing(self, size: int = 260, most: int = 4000) -> str:
        """At most `most` links inside the extract as SVG, straight from end to end."""
        inside = np.flatnonzero(~self.has(OUTSIDE))
        rows = inside[:: max(1, len(inside) // most)]
        if not len(rows):
            return ""
        x, y = (np.stack([v[self.link_from[rows]], v[self.link_to[rows]]]) for v in (self.node_x, self.node_y))
        scale = (size - 4) / max(np.ptp(x), np.ptp(y), 1.0)
        px, py = 2 + (x - x.min()) * scale, 2 + (y.max() - y) * scale
        path = "".join(f"M{a:.0f} {b:.0f}L{c:.0f} {d:.0f}" for a, c, b, d in zip(*px, *py, strict=True))
        return (
            f'<svg width="{px.max() + 2:.0f}" height="{py.max() + 2:.0f}" role="img" aria-label="street map">'
            f'<path d="{path}" stroke="#00568a" stroke-width="0.7" fill="none"/></svg>'
        )

    def to_networkx(self) -> Any:
        """Convert to an OSMnx-style `networkx.MultiDiGraph` (see `maps.graph`)."""
        from maps.graph import to_networkx

        return to_networkx(self)


@dataclass(frozen=True, eq=False)
class CityMap:
    """A road network with what lies on it; the content of one map file.

    `meta` holds name, source, source_sha256, country (ISO 3166 alpha-2), timezone,
    left_hand, lon0 and lat0 of the origin, attribution, and `quality` (the counts
    that `twin map` prints). `charger_names` has one label per charger.
    """

    network: RoadNetwork
    place_kind: NDArray[np.uint8]
    place_x: NDArray[np.float32]
    place_y: NDArray[np.float32]
    place_node: NDArray[np.int32]
    place_weight: NDArray[np.float32]
    charger_osm: NDArray[np.int64]
    charger_x: NDArray[np.float32]
    charger_y: NDArray[np.float32]
    charger_node: NDArray[np.int32]
    charger_public: NDArray[np.uint8]
    charger_fee: NDArray[np.int8]
    socket_charger: NDArray[np.int32]
    socket_kind: NDArray[np.uint8]
    socket_count: NDArray[np.int32]
    socket_kw: NDArray[np.float32]
    socket_assumed: NDArray[np.uint8]
    cell_x: NDArray[np.float32]
    cell_y: NDArray[np.float32]
    gate_node: NDArray[np.int32]
    outside_node: NDArray[np.int32]
    outside_gate: NDArray[np.int32]
    outside_km: NDArray[np.float32]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _freeze(self, PLACE_COLUMNS)
        self.validate()

    def validate(self) -> None:
        """Check shapes, ranges and references; raise `MapError` with the first fault."""
        sizes = _sizes(self, PLACE_COLUMNS)
        _refer(self, ("place_node", "charger_node", "gate_node", "outside_node"), self.network.n_nodes, "node")
        _refer(self, ("socket_charger",), sizes["charger"], "charger")
        _refer(self, ("outside_gate",), sizes["gate"], "gate")
        if np.any(self.place_kind >= len(PLACE_KINDS)) or np.any(self.socket_kind >= len(SOCKET_KINDS)):
            raise MapError("a place or socket is of an unknown kind")
        if np.any(self.socket_kw <= 0) or np.any(self.socket_count < 1):
            raise MapError("a socket has no power or a count below 1")
        if np.any(self.place_weight < 0):
            raise MapError("a place has a negative weight")

    def places(self, kind: str) -> NDArray[np.int64]:
        """Rows of the places of one kind (see PLACE_KINDS)."""
        return np.flatnonzero(self.place_kind == PLACE_KINDS.index(kind))

    @property
    def charger_names(self) -> list[str]:
        """A label for each charger, empty when the map names none."""
        names = list(self.meta.get("charger_names", []))
        return names + [""] * (len(self.charger_osm) - len(names))

    def said_of_charger(self, row: int) -> tuple[str, list[list[int]] | None, float | None]:
        """Operator, opening hours and price per kWh that the tags of a charger say.

        Hours are spans [from, to) in quarters of an hour since Monday 0:00, None where nothing (readable) is said;
        the price is None where nothing is said.
        """
        said = [self.meta.get(f"charger_{what}", []) for what in ("operators", "open", "prices")]
        operator, hours, price = (column[row] if row < len(column) else None for column in said)
        return operator or "", hours, price

    def save(self, path: Path | str) -> Path:
        """Write one `.npz` map file (plain arrays and JSON, nothing that can run).

        Written beside the target and renamed, so a reader never sees half a file.
        Equal maps give equal bytes.
        """
        path = Path(path)
        arrays = {name: getattr(self.network, name) for name in NETWORK_COLUMNS}
        arrays |= {name: getattr(self, name) for name in PLACE_COLUMNS}
        meta = json.dumps({"format": FORMAT, **self.meta}, sort_keys=True, ensure_ascii=False)
        arrays["meta_json"] = np.frombuffer(meta.encode(), np.uint8)
        part = path.with_name(path.name + ".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(name + ".npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 1)
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: Path | str) -> CityMap:
        """Read a map file; raise `MapError` when it is not one or is damaged."""
        path = Path(path)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
            meta = json.loads(found.pop("meta_json").tobytes())
            version = meta.pop("format", None)
            if version != FORMAT:
                raise MapError(
                    f"{path}: map format {version}, this version reads {FORMAT}; build it again with twin map"
                )
            network = RoadNetwork(**{name: found[name] for name in NETWORK_COLUMNS})
            return cls(network=network, **{name: found[name] for name in PLACE_COLUMNS}, meta=meta)
        except FileNotFoundError:
            raise
        except MapError as error:
            text = str(error)
            raise MapError(text if text.startswith(str(path)) else f"{path}: {text}") from None
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, RecursionError) as error:
            raise MapError(f"{path}: not a map file of this program ({error})") from None


def _freeze(owner: object, columns: Mapping[str, Column]) -> None:
    for name, column in columns.items():
        array = np.ascontiguousarray(getattr(owner, name), dtype=column.dtype)
        if array.ndim != 1:
            raise MapError(f"{name} must have one dimension, has {array.ndim}")
        if array.base is not None or array.flags.writeable:
            array = array.copy()
        array.flags.writeable = False
        object.__setattr__(owner, name, array)


def _sizes(owner: object, columns: Mapping[str, Column]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, column in columns.items():
        rows, extra = column.rows.removesuffix("+1"), int(column.rows.endswith("+1"))
        size = len(getattr(owner, name)) - extra
        if sizes.setdefault(rows, size) != size:
            raise MapError(f"{name} has {size} rows, other {rows} arrays have {sizes[rows]}")
        array = getattr(owner, name)
        if array.dtype.kind == "f" and name != "link_radius" and not np.isfinite(array).all():
            raise MapError(f"{name} holds a number that is not finite")
    return sizes


def _refer(owner: object, names: tuple[str, ...], size: int, what: str) -> None:
    for name in names:
        rows = getattr(owner, name)
        if len(rows) and (rows.min() < 0 or rows.max() >= size):
            raise MapError(f"{name} refers to a {what} that does not exist")


assert {f.name for f in fields(RoadNetwork)} == set(NETWORK_COLUMNS)  # declared once, checked at import
assert {f.name for f in fields(CityMap)} == {"network", "meta", *PLACE_COLUMNS}
