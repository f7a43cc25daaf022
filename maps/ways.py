"""Ways of a source become directed links between junctions, with speed, lanes and turn bans."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from maps.draft import CLASS, Draft, take_ragged
from maps.network import (
    BRIDGE,
    GIVE_WAY,
    MOTORROAD,
    ONEWAY,
    RAMP,
    ROUNDABOUT,
    SIGNALS,
    STOP,
    TOLL,
    TOLL_BOOTH,
    TUNNEL,
    MapError,
)
from maps.project import to_metres
from maps.raw import Raw, Restriction
from maps.tags import barrier_blocks, cars_allowed, default_kmh, default_lanes, direction, way_lanes, way_speed

URBAN_KM_PER_KM2 = 6.0
"""Streets denser than this, averaged over 1.5 km squares, count as built-up for default speeds."""

_CONTROL = {"traffic_signals": SIGNALS, "stop": STOP, "give_way": GIVE_WAY, "toll_booth": TOLL_BOOTH}


def cut(raw: Raw, country: str) -> tuple[Draft, dict[str, int | float]]:
    """Cut ways at junctions into directed links.

    Parameters
    ----------
    raw
        What the source holds.
    country
        ISO 3166 code, for speed words and default speeds.

    Returns
    -------
    Draft (not yet cleaned) and counts for the quality table: `defaults_speed` and
    `defaults_lanes` (share of links), `restrictions_used`, `restrictions_skipped`, …

    Raises
    ------
    MapError
        When no way is open to cars.
    """
    usable = np.array([cars_allowed(tags) for tags in raw.way_tags], bool)
    pieces = np.flatnonzero(usable[raw.piece_way]) if len(raw.piece_way) else np.zeros(0, np.int64)
    if not len(pieces):
        raise MapError("no drivable road: every way is closed to cars")
    ptr, points = take_ragged(raw.piece_ptr, pieces)
    osm, lon, lat = raw.point_osm[points], raw.point_lon[points], raw.point_lat[points]
    piece_way = raw.piece_way[pieces]
    osm, lon, lat, ptr, piece_way, blocked = _cut_at_barriers(raw, osm, lon, lat, ptr, piece_way)
    lon0, lat0 = round(float((lon.min() + lon.max()) / 2), 6), round(float((lat.min() + lat.max()) / 2), 6)
    x, y = to_metres(lon, lat, lon0=lon0, lat0=lat0)

    ids, first, node = np.unique(osm, return_index=True, return_inverse=True)
    first_point, last_point = np.zeros(len(osm), bool), np.zeros(len(osm), bool)
    first_point[ptr[:-1]] = True
    last_point[ptr[1:] - 1] = True
    keep = [*(k for k, tags in raw.control_tags.items() if _control(tags)), *(r.via_node for r in raw.restrictions)]
    is_node = (np.bincount(node) > 1) | np.isin(ids, keep)
    is_node[node[first_point | last_point]] = True
    split = is_node[node]
    while True:
        start, end = np.flatnonzero(split & ~last_point), np.flatnonzero(split & ~first_point)
        loop = (node[start] == node[end]) & (end - start >= 2)
        if not loop.any():
            break
        # a street that returns to its own start needs a node on the way
        split = split | np.isin(np.arange(len(node)), (start[loop] + end[loop]) // 2)
    real = node[start] != node[end]
    start, end = start[real], end[real]
    way = np.repeat(piece_way, np.diff(ptr))[start]
    step = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y))])
    along = np.cumsum(step)
    length = np.maximum(along[end] - along[start], 0.1)

    urban = _urban(x[start], y[start], length)
    table = _WayTable(raw, country, way)
    forward, backward = np.flatnonzero(table.direction >= 0), np.flatnonzero(table.direction <= 0)
    segment = np.concatenate([forward, backward])
    is_back = np.concatenate([np.zeros(len(forward), bool), np.ones(len(backward), bool)])
    size = (end - start + 1)[segment]
    geom_ptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    offset = np.arange(geom_ptr[-1]) - np.repeat(geom_ptr[:-1], size)
    back = np.repeat(is_back, size)
    position = np.where(back, np.repeat(end[segment], size) - offset, np.repeat(start[segment], size) + offset)

    used, place = np.unique(np.concatenate([node[start], node[end]]), return_inverse=True)
    a, b = place[: len(start)][segment], place[len(start) :][segment]
    default = np.where(urban[segment], table.default_urban[segment], table.default_rural[segment])
    tagged = np.where(is_back, table.speed_back[segment], table.speed[segment])
    speed = np.where(np.isnan(tagged), default, tagged)
    draft = Draft(
        lon0=lon0,
        lat0=lat0,
        node_osm=ids[used],
        node_x=x[first[used]],
        node_y=y[first[used]],
        node_control=np.array([_control(raw.control_tags.get(int(k), {})) for k in ids[used]], np.uint8),
        link_from=np.where(is_back, b, a),
        link_to=np.where(is_back, a, b),
        link_length=length[segment],
        link_speed=speed / 3.6,
        link_lanes=np.where(is_back, table.lanes_back[segment], table.lanes[segment]),
        link_class=table.road_class[segment],
        link_flags=table.flags[segment],
        link_way=np.asarray(raw.way_osm, np.int64)[way[segment]],
        geom_ptr=geom_ptr,
        geom_x=x[position],
        geom_y=y[position],
    )
    bans, skipped = _bans(draft, raw.restrictions)
    draft = replace(draft, ban_from=bans[:, 0], ban_to=bans[:, 1])
    counts: dict[str, int | float] = {
        "ways": int(usable.sum()),
        "ways_closed_to_cars": int((~usable).sum()),
        "missing_nodes": raw.counts.get("missing_nodes", 0),
        "barriers_closed": blocked,
        "defaults_speed": round(float(np.isnan(tagged).mean()), 4),
        "defaults_lanes": round(float(table.lanes_filled[segment].mean()), 4),
        "restrictions": len(raw.restrictions) + raw.counts.get("restrictions_skipped", 0),
        "restrictions_used": len(raw.restrictions) - skipped,
        "restrictions_skipped": skipped + raw.counts.get("restrictions_skipped", 0),
    }
    return draft, counts


def _control(tags: dict[str, str]) -> int:
    return TOLL_BOOTH if tags.get("barrier") == "toll_booth" else _CONTROL.get(tags.get("highway", ""), 0)


class _WayTable:
    """Numbers of each way, spread over its segments; names ending in _back are for the opposite direction."""

    def __init__(self, raw: Raw, country: str, way: NDArray[np.int64]) -> None:
        city, land = default_kmh(country, urban=True), default_kmh(country, urban=False)
        rows, place = np.unique(way, return_inverse=True)
        values = np.array([self._row(raw.way_tags[row], country, city, land) for row in rows])[place]
        self.direction, self.road_class, self.flags, self.lanes, self.lanes_back = values[:, :5].T.astype(np.int64)
        self.lanes_filled = values[:, 5] > 0
        self.speed, self.speed_back, self.default_urban, self.default_rural = values[:, 6:].T

    @staticmethod
    def _row(tags: dict[str, str], country: str, city: tuple[float, ...], land: tuple[float, ...]) -> tuple[float, ...]:
        name = tags["highway"]
        row, way = CLASS[name], direction(tags)
        oneway = way != 0
        flags = (ONEWAY if oneway else 0) | (RAMP if name.endswith("_link") else 0)
        flags |= MOTORROAD if tags.get("motorroad") == "yes" or name == "motorway" else 0
        flags |= TUNNEL if tags.get("tunnel", "no") not in ("no", "culvert") else 0
        flags |= BRIDGE if tags.get("bridge", "no") != "no" else 0
        flags |= ROUNDABOUT if tags.get("junction") in ("roundabout", "circular") else 0
        flags |= TOLL if tags.get("toll", "no") != "no" else 0
        ahead, back = (way_lanes(tags, oneway=oneway, forward=side) for side in (True, False))
        fill = default_lanes(name, oneway=oneway)
        speeds = [way_speed(tags, country, forward=side) for side in (True, False)]
        ahead_kmh, back_kmh = (np.nan if speed is None else speed for speed in speeds)
        return (
            *(way, row, flags, ahead or fill, back or fill, float(ahead is None)),
            *(ahead_kmh, back_kmh, city[row], land[row]),
        )


def _cut_at_barriers(
    raw: Raw,
    osm: NDArray[np.int64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    ptr: NDArray[np.int64],
    piece_way: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int]:
    """End a road on both sides of a closed barrier: the far side gets a node of its own."""
    closed = [k for k, tags in raw.control_tags.items() if "barrier" in tags and barrier_blocks(tags)]
    inner = np.ones(len(osm), bool)
    inner[ptr[:-1]] = False
    inner[ptr[1:] - 1] = False
    at = np.flatnonzero(np.isin(osm, closed) & inner)
    if not len(at):
        return osm, lon, lat, ptr, piece_way, 0
    ids, counts = np.unique(osm, return_counts=True)
    at = at[counts[np.searchsorted(ids, osm[at])] == 1]  # at a crossing of ways other roads go on
    owner = np.searchsorted(ptr, at, side="right") - 1
    new_osm = np.insert(osm, at + 1, -1 - np.arange(len(at)))
    new_ptr = np.sort(np.concatenate([ptr + np.searchsorted(at, ptr), at + np.arange(len(at)) + 1]))
    new_way = np.insert(piece_way, owner + 1, piece_way[owner])
    return new_osm, np.insert(lon, at + 1, lon[at]), np.insert(lat, at + 1, lat[at]), new_ptr, new_way, len(at)


def _urban(x: NDArray[np.float64], y: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each segment lies where streets are dense (500 m cells averaged over 3 × 3)."""
    from scipy.ndimage import uniform_filter

    cell = 500.0
    column, row = ((v - v.min()) // cell for v in (x, y))
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    flat = (row * shape[1] + column).astype(np.int64)
    metres = np.bincount(flat, weights=length, minlength=shape[0] * shape[1]).reshape(shape)
    # mirror the edge: an extract cut through a town does not end in open country
    dense = uniform_filter(metres, 3, mode="nearest") / 1000 / (cell / 1000) ** 2
    return np.asarray(dense.ravel()[flat] >= URBAN_KM_PER_KM2, bool)


def _bans(draft: Draft, restrictions: list[Restriction]) -> tuple[NDArray[np.int64], int]:
    """Forbidden pairs of links of all restrictions, shape (k, 2), and how many found no links."""
    ways = {way for r in restrictions for way in (r.from_way, r.to_way)}
    arriving: dict[tuple[int, int], list[int]] = defaultdict(list)
    leaving: dict[tuple[int, int], list[int]] = defaultdict(list)
    leaving_any: dict[int, list[int]] = defaultdict(list)
    vias = {r.via_node for r in restrictions}
    at_to, at_from = draft.node_osm[draft.link_to], draft.node_osm[draft.link_from]
    near = np.isin(at_to, list(vias)) | np.isin(at_from, list(vias))
    for link in np.flatnonzero(near).tolist():
        way, tail, head = int(draft.link_way[link]), int(at_from[link]), int(at_to[link])
        leaving_any[tail].append(link)
        if way in ways:
            arriving[way, head].append(link)
            leaving[way, tail].append(link)
    allowed: dict[int, set[int]] = defaultdict(set)
    found: list[tuple[int, int]] = []
    skipped = 0
    for rule in restrictions:
        sources, targets = arriving[rule.from_way, rule.via_node], leaving[rule.to_way, rule.via_node]
        u_turn = "u_turn" in rule.kind and rule.from_way == rule.to_way
        if not sources or not targets or (len(sources) > 1 and not u_turn):
            skipped += 1  # outside the extract, closed to cars, or the way runs through the junction: ambiguous
            continue
        for source in sources:
            turns = targets
            if u_turn:
                turns = [t for t in targets if draft.link_to[t] == draft.link_from[source]]
            elif rule.from_way != rule.to_way:
                turns = [t for t in targets if draft.link_to[t] != draft.link_from[source]]
            if rule.kind.startswith("no_"):
                found += [(source, turn) for turn in turns]
            else:
                allowed[source].update(turns)
    for source, turns_kept in allowed.items():
        others = leaving_any[int(at_to[source])]
        found += [(source, turn) for turn in others if turn not in turns_kept]
    return np.array(sorted(set(found)), np.int64).reshape(-1, 2), skipped
