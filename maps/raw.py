"""What a map source holds, before any judgement: roads, controls, restrictions, buildings, stations.

`read_osm` reads `.osm.pbf`, `.osm`, `.osm.gz` and `.osm.bz2` in one pass of pyosmium;
tag filters run in its C++ part, so only objects that matter reach Python.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES, MapError

FEATURE_KEYS = ("building", "amenity", "shop", "office", "leisure", "tourism", "craft")
_DRIVABLE = frozenset(ROAD_CLASSES)
_MISSING = 2147483647  # what osmium stores for a node it never met


@dataclass(frozen=True)
class Restriction:
    """A turn restriction: `kind` such as no_left_turn or only_straight_on, and the OSM ids it joins."""

    kind: str
    from_way: int
    via_node: int
    to_way: int


@dataclass
class Raw:
    """Content of one OSM source.

    Roads come in pieces: piece k of way `piece_way[k]` has the points
    `piece_ptr[k]:piece_ptr[k+1]` of `point_osm`, `point_lon`, `point_lat`. A way that
    refers to nodes the file does not hold is cut there.
    """

    way_osm: list[int] = field(default_factory=list)
    way_tags: list[dict[str, str]] = field(default_factory=list)
    piece_way: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    piece_ptr: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    point_osm: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    point_lon: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    point_lat: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    control_tags: dict[int, dict[str, str]] = field(default_factory=dict)
    restrictions: list[Restriction] = field(default_factory=list)
    feature_osm: list[int] = field(default_factory=list)
    feature_tags: list[dict[str, str]] = field(default_factory=list)
    feature_lon: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    feature_lat: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    feature_m2: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    land_use: list[str] = field(default_factory=list)
    land_ring: list[NDArray[np.float64]] = field(default_factory=list)
    country_votes: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)


def read_osm(path: Path) -> Raw:
    """Read an OSM file.

    Raises
    ------
    MapError
        When the file is not OSM, is damaged, has coordinates off the globe, or holds no drivable road.
    """
    import osmium

    try:
        try:
            raw, objects = _read(path, areas=True)
        except RuntimeError as error:
            if "out of order" not in str(error):
                raise
            raw, objects = _read(path, areas=False)  # unsorted files are legal; only multipolygons are lost
    except osmium.InvalidLocationError as error:
        raise MapError(f"{path}: a coordinate is off the globe ({_one_line(error)})") from None
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        valid = "valid are .osm.pbf, .osm, .osm.gz, .osm.bz2"
        raise MapError(f"{path}: not a readable OpenStreetMap file ({_one_line(error)}); {valid}") from None
    if not raw.way_osm:
        lost = raw.counts["missing_nodes"]
        why = f"its roads refer to {lost} nodes that the file does not hold" if lost else "no drivable road"
        raise MapError(f"{path}: {why} ({objects} tagged objects read); cut the extract with complete ways")
    return raw


def _read(path: Path, *, areas: bool) -> tuple[Raw, int]:
    import osmium

    raw = Raw(counts={"missing_nodes": 0, "restrictions_skipped": 0})
    reader = _Reader(raw, areas=areas)
    keys = osmium.filter.KeyFilter(
        "highway", "landuse", "barrier", "restriction", "restriction:motorcar", "ISO3166-1", *FEATURE_KEYS
    )
    source = osmium.FileProcessor(str(path))
    if areas:
        source = source.with_areas(osmium.filter.KeyFilter("landuse", *FEATURE_KEYS))
    else:
        source = source.with_locations()
    objects = 0
    for item in source.with_filter(keys):
        objects += 1
        reader.take(item)
    reader.close()
    return raw, objects


class _Reader:
    """Sorts OSM objects into the columns of a `Raw`."""

    def __init__(self, raw: Raw, *, areas: bool) -> None:
        self.raw = raw
        self.assemble = not areas  # closed ways are taken as areas here when osmium does not build them
        self.piece_way, self.piece_ptr = array("q"), array("q", [0])
        self.osm, self.lon, self.lat = array("q"), array("d"), array("d")
        self.ring_ptr, self.ring_lon, self.ring_lat = array("q", [0]), array("d"), array("d")

    def take(self, item: Any) -> None:
        if item.is_area():
            self._area(item)
        elif item.is_way():
            self._way(item)
        elif item.is_node():
            self._node(item)
        elif item.is_relation():
            self._relation(item)

    def _node(self, item: Any) -> None:
        tags = dict(item.tags)
        if "barrier" in tags or tags.get("highway") in ("traffic_signals", "stop", "give_way", "toll_booth"):
            self.raw.control_tags[item.id] = tags
        if any(key in tags for key in FEATURE_KEYS):
            if not item.location.valid():
                raise ValueError(f"node {item.id} has no valid position")
            self._feature(item.id, tags, [item.location.lon], [item.location.lat])

    def _area(self, item: Any) -> None:
        tags = dict(item.tags)
        for outer in item.outer_rings():
            self._ring(item.orig_id(), tags, [n.lon for n in outer], [n.lat for n in outer])
            break  # one place per object: its first outer ring

    def _ring(self, osm: int, tags: dict[str, str], lon: list[float], lat: list[float]) -> None:
        if "landuse" in tags:
            self.raw.land_use.append(tags["landuse"])
            self.raw.land_ring.append(np.column_stack([lon, lat]))
        if any(key in tags for key in FEATURE_KEYS):
            self._feature(osm, tags, lon, lat)

    def _feature(self, osm: int, tags: dict[str, str], lon: list[float], lat: list[float]) -> None:
        self.raw.feature_osm.append(osm)
        self.raw.feature_tags.append(tags)
        self.ring_lon.extend(lon)
        self.ring_lat.extend(lat)
        self.ring_ptr.append(len(self.ring_lon))
        country = tags.get("addr:country", "")
        if len(country) == 2 and country.isalpha():
            self.raw.country_votes[country.upper()] += 1

    def _way(self, item: Any) -> None:
        if self.assemble and item.is_closed() and "highway" not in item.tags:
            ring = [(n.lon, n.lat) for n in item.nodes if n.location.valid()]
            if len(ring) > 3:
                self._ring(item.id, dict(item.tags), *(list(side) for side in zip(*ring, strict=True)))
        if item.tags.get("highway") not in _DRIVABLE:
            return
        tags = dict(item.tags)
        for key in ("source:maxspeed", "maxspeed:type", "zone:traffic", "maxspeed"):
            value = tags.get(key, "")
            if value[2:3] == ":" and value[:2].isupper():
                self.raw.country_votes[value[:2]] += 1
        row, start = len(self.raw.way_osm), len(self.osm)
        for node in item.nodes:
            where = node.location
            if where.valid():
                if len(self.osm) > start and self.osm[-1] == node.ref:
                    continue
                self.osm.append(node.ref)
                self.lon.append(where.lon)
                self.lat.append(where.lat)
            elif where.x != _MISSING:
                raise ValueError(f"node {node.ref} of way {item.id} lies off the globe")
            else:
                self.raw.counts["missing_nodes"] += 1
                start = self._end_piece(row, start)
        self._end_piece(row, start)
        if self.piece_way and self.piece_way[-1] == row:
            self.raw.way_osm.append(item.id)
            self.raw.way_tags.append(tags)

    def _end_piece(self, row: int, start: int) -> int:
        if len(self.osm) - start < 2:
            del self.osm[start:], self.lon[start:], self.lat[start:]
        else:
            self.piece_way.append(row)
            self.piece_ptr.append(len(self.osm))
        return len(self.osm)

    def _relation(self, item: Any) -> None:
        tags = item.tags
        country = tags.get("ISO3166-1:alpha2") or tags.get("ISO3166-1")
        if country and len(country) == 2:
            self.raw.country_votes[country.upper()] += 1_000_000  # the boundary itself outvotes all hints
        kind = tags.get("restriction:motorcar") or tags.get("restriction")
        if kind is None:
            return
        spared = {word.strip() for word in tags.get("except", "").split(";")}
        members: dict[str, list[tuple[str, int]]] = {}
        for member in item.members:
            members.setdefault(member.role, []).append((member.type, member.ref))
        via = members.get("via", [])
        simple = len(via) == 1 and via[0][0] == "n" and kind.startswith(("no_", "only_"))
        ends = [ref for role in ("from", "to") for type_, ref in members.get(role, []) if type_ == "w"]
        if not simple or len(ends) < 2 or spared & {"motorcar", "motor_vehicle"} or "@" in kind:
            self.raw.counts["restrictions_skipped"] += 1
            return
        for _, source in members.get("from", []):
            for _, target in members.get("to", []):
                self.raw.restrictions.append(Restriction(kind, source, via[0][1], target))

    def close(self) -> None:
        raw = self.raw
        raw.piece_way = np.array(self.piece_way, np.int64)
        raw.piece_ptr = np.array(self.piece_ptr, np.int64)
        raw.point_osm = np.array(self.osm, np.int64)
        raw.point_lon, raw.point_lat = np.array(self.lon), np.array(self.lat)
        ptr = np.array(self.ring_ptr, np.int64)
        raw.feature_lon, raw.feature_lat, raw.feature_m2 = measure_rings(
            ptr, np.array(self.ring_lon), np.array(self.ring_lat)
        )


def measure_rings(
    ptr: NDArray[np.int64], lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre (mean of the corners, degrees) and area (m², 0 for a single point) of each ring."""
    if len(ptr) < 2:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    size = np.diff(ptr)
    # the last point of a closed ring repeats the first and must not count twice
    closed = (size > 1).astype(np.int64)
    mid_lon = (np.add.reduceat(lon, ptr[:-1]) - closed * lon[ptr[1:] - 1]) / (size - closed)
    mid_lat = (np.add.reduceat(lat, ptr[:-1]) - closed * lat[ptr[1:] - 1]) / (size - closed)
    owner = np.repeat(np.arange(len(size)), size)
    x = (lon - mid_lon[owner]) * 111_320.0 * np.cos(np.radians(mid_lat[owner]))
    y = (lat - mid_lat[owner]) * 110_950.0
    cross = np.zeros(len(lon))
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[ptr[1:] - 1] = 0.0
    return mid_lon, mid_lat, np.abs(np.add.reduceat(cross, ptr[:-1])) / 2


def nearest_words(word: str, choices: list[str]) -> str:
    """Phrase for an error line: the nearest of `choices` if there is one, then all of them."""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), choices, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}valid are {', '.join(choices)}"


def votes(counter: Mapping[str, int]) -> str:
    """Country most often named by the tags, empty when none is."""
    return max(counter, key=lambda name: (counter[name], name)) if counter else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
