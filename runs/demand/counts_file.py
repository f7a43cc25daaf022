"""Files of traffic counts: counter, hour and vehicles, on links or at points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import OUTSIDE, CityMap
from maps.project import to_metres
from runs.demand.trip_list import DemandFileError, read_table
from twin.demand.counts import HOURS, Counts

_OFF_DEG = 60.0
"""Farthest a street may turn away from a counter's bearing."""


def read_counts(path: Path, city: CityMap, *, snap_m: float) -> Counts:
    """Read counts (CSV or Parquet).

    Columns: `hour` (clock hour, 0 to 23), `count` (vehicles in that hour), and where: `link` (row of map.parquet), or
    `lon`, `lat` and perhaps `bearing` (degrees from north, the way counted vehicles go; without it both
    directions of the street are counted together). `counter` names a counter; without it each link or point is one.

    Raises
    ------
    DemandFileError
        One line: file, row, what is wrong, what is valid. A point farther than `snap_m` from any street is refused.
    """
    if not path.is_file():
        raise DemandFileError(f"demand.counts: {path} is not a file")
    table = read_table(path)
    have = table.column_names
    where = ("link",) if "link" in have else ("lon", "lat")
    missing = [name for name in ("hour", "count", *where) if name not in have]
    if missing:
        raise DemandFileError(
            f"{path}: no column {missing[0]}; valid: hour, count, link or lon, lat [bearing], [counter]"
        )
    column = {name: table[name].to_pylist() for name in have}
    places: dict[str, tuple[float, ...]] = {}
    hourly: dict[str, NDArray[np.float64]] = {}
    for k in range(table.num_rows):
        spot = tuple(_number(column[name][k], f"{path}: row {k + 1}: {name}") for name in where)
        if "bearing" in have and where != ("link",) and column["bearing"][k] is not None:
            spot = (*spot, _number(column["bearing"][k], f"{path}: row {k + 1}: bearing"))
        name = str(column["counter"][k]) if "counter" in have else " ".join(f"{part:g}" for part in spot)
        if places.setdefault(name, spot) != spot:
            raise DemandFileError(f"{path}: row {k + 1}: counter {name[:40]!r} is in two places")
        hour = _number(column["hour"][k], f"{path}: row {k + 1}: hour")
        count = _number(column["count"][k], f"{path}: row {k + 1}: count")
        if hour not in range(HOURS) or count < 0:
            raise DemandFileError(
                f"{path}: row {k + 1}: hour {hour:g}, count {count:g}; valid are 0 to 23 and 0 or more"
            )
        series = hourly.setdefault(name, np.full(HOURS, np.nan))
        if not np.isnan(series[int(hour)]):
            raise DemandFileError(f"{path}: row {k + 1}: counter {name[:40]!r} has hour {hour:g} twice")
        series[int(hour)] = count
    if not places:
        raise DemandFileError(f"{path}: no count in it")
    names = list(places)
    if where == ("link",):
        links = [_link(places[name][0], city, f"{path}: counter {name[:40]!r}") for name in names]
    else:
        links = _at_points([places[name] for name in names], names, city, snap_m, path)
    ptr = np.concatenate([[0], np.cumsum([len(own) for own in links])]).astype(np.int64)
    flat = np.concatenate(links).astype(np.int32)
    used, how_often = np.unique(flat, return_counts=True)
    if (how_often > 1).any():
        link = int(used[how_often > 1][0])
        two = [name for name, own in zip(names, links, strict=True) if link in own]
        raise DemandFileError(f"{path}: counters {two[0][:40]!r} and {two[1][:40]!r} are on the same link {link}")
    return Counts(names, ptr, flat, np.array([hourly[name] for name in names]))


def _link(value: float, city: CityMap, where: str) -> NDArray[np.int64]:
    if not (value.is_integer() and 0 <= value < city.network.n_links):
        raise DemandFileError(f"{where}: link {value:g}; valid are 0 to {city.network.n_links - 1}")
    return np.array([int(value)])


def _at_points(
    spots: list[tuple[float, ...]], names: list[str], city: CityMap, snap_m: float, path: Path
) -> list[NDArray[np.int64]]:
    """Links of the street nearest to each point: the direction of its bearing, or both."""
    from shapely import STRtree, linestrings, points

    network = city.network
    streets = np.flatnonzero(~network.has(OUTSIDE))
    shapes = [
        linestrings(np.column_stack([network.geom_x[a:b], network.geom_y[a:b]]))
        for a, b in zip(network.geom_ptr[streets], network.geom_ptr[streets + 1], strict=True)
    ]
    lon0, lat0 = float(city.meta["lon0"]), float(city.meta["lat0"])
    x, y = to_metres([s[0] for s in spots], [s[1] for s in spots], lon0=lon0, lat0=lat0)
    tree = STRtree(shapes)
    out = []
    for k, point in enumerate(points(x, y)):
        if not (np.isfinite(x[k]) and np.isfinite(y[k])):
            raise DemandFileError(f"{path}: counter {names[k][:40]!r} lies off the globe")
        near = int(tree.nearest(point))
        gap = shapes[near].distance(point)
        if gap > snap_m:
            raise DemandFileError(
                f"{path}: counter {names[k][:40]!r} is {gap:,.0f} m from any street (demand.snap_m {snap_m:g})"
            )
        link = int(streets[near])
        back = np.flatnonzero(
            (network.link_from == network.link_to[link]) & (network.link_to == network.link_from[link])
        )
        both = np.array([link, *back[:1]])
        if len(spots[k]) == 3:
            heading = [_bearing(network, int(one)) for one in both]
            off = np.abs((np.array(heading) - spots[k][2] + 180.0) % 360.0 - 180.0)
            if off.min() > _OFF_DEG:
                raise DemandFileError(
                    f"{path}: counter {names[k][:40]!r}: the nearest street goes {heading[0]:.0f}, not {spots[k][2]:g}"
                )
            both = both[[int(off.argmin())]]
        out.append(both)
    return out


def _bearing(network: Any, link: int) -> float:
    """Direction of a link from its start to its end, degrees from north."""
    a, b = network.link_from[link], network.link_to[link]
    return float(
        np.degrees(np.arctan2(network.node_x[b] - network.node_x[a], network.node_y[b] - network.node_y[a])) % 360
    )


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise DemandFileError(f"{where} is {str(value)[:40]!r}, not a finite number")
    return number
