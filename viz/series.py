"""What the charts draw, counted from a run's tables. Numbers only, no drawing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES
from viz.folder import Floats, Folder, Names, Rows

SITE_KINDS = ("home", "work", "public", "fast")

ROAD_GROUPS = ("motorway", "trunk", "primary", "secondary", "tertiary", "ramps", "local streets")
"""Road classes as charts show them: links between roads together, and everything below tertiary."""

DEFAULT_INTERVAL_S = 900.0


class Stack(NamedTuple):
    """Several series over the same intervals.

    `edges_s` has shape (n + 1,), seconds since the start; `values` shape (len(names), n).
    """

    edges_s: Floats
    names: tuple[str, ...]
    values: Floats

    @property
    def total(self) -> Floats:
        """Sum over the series, shape (n,)."""
        summed: Floats = np.add.reduce(self.values, axis=0, dtype=np.float64)
        return summed


class Engagement(NamedTuple):
    """Kilometres of fleet cars and those with ProPILOT engaged; keys, km, engaged km have equal length."""

    keys: tuple[str, ...]
    km: Floats
    engaged_km: Floats

    @property
    def share(self) -> Floats:
        """Engaged share of the kilometres, NaN where nobody drove."""
        nobody = np.full(len(self.km), np.nan)
        share: Floats = np.divide(self.engaged_km, self.km, out=nobody, where=self.km > 0)
        return share


class CloudDay(NamedTuple):
    """Bytes per interval by service, and what happened to them.

    `delivered` is a Stack of bytes; `generated`, `dropped`, `resent` are bytes per
    interval and `buffered` bytes at each interval's end, all of shape (n,).
    """

    delivered: Stack
    generated: Floats
    buffered: Floats
    dropped: Floats
    resent: Floats


class SiteEnergy(NamedTuple):
    """Energy at the meter per charging site: ids, kWh and highest mean power, shape (n_sites,)."""

    site_id: Rows
    energy_kwh: Floats
    peak_kw: Floats


def horizon_s(folder: Folder) -> float:
    """End of the run in seconds since its start, from the manifest, else the last row of its tables."""
    return folder.once("horizon_s", lambda: _horizon_s(folder))


def _horizon_s(folder: Folder) -> float:
    for key in ("simulated_s", "until_s"):
        said = folder.manifest.get(key)
        if isinstance(said, int | float) and said > 0:
            return float(said)
    series = [np.asarray(folder.table(name, ("time_s",))["time_s"], float) for name in ("grid_load", "cloud")]
    ends = [float(times.max()) + _interval(times) for times in series if len(times)]
    return max(ends, default=86_400.0)


def grid_load(folder: Folder) -> Stack:
    """Mean charging power at the meter per interval and kind of site, kW."""
    return folder.once("grid_load", lambda: _grid_load(folder))


def _grid_load(folder: Folder) -> Stack:
    found = folder.table("grid_load", ("time_s", "kind", "power_kw"))
    minutes = folder.scenario.get("grid", {}).get("interval_min")
    interval = 60.0 * minutes if isinstance(minutes, int) and minutes > 0 else None
    return _stack(folder, found["time_s"], found["kind"], found["power_kw"], interval_s=interval, first=SITE_KINDS)


def site_energy(folder: Folder) -> SiteEnergy:
    """Energy and highest mean power of every site that delivered some, most energy first."""
    return _per_place(folder, "site_id")


def feeder_energy(folder: Folder) -> SiteEnergy:
    """The same per feeder: its sites' powers are added interval by interval."""
    return _per_place(folder, "feeder_id")


def _per_place(folder: Folder, key: str) -> SiteEnergy:
    found = folder.table("grid_load", ("time_s", key, "power_kw"))
    ids, row = np.unique(np.asarray(found[key]).astype(np.int64), return_inverse=True)
    if not len(ids):
        return SiteEnergy(ids, np.empty(0), np.empty(0))
    time_s, power_kw = np.asarray(found["time_s"], float), np.asarray(found["power_kw"], float)
    edges_s = grid_load(folder).edges_s
    energy = _sums(row, power_kw, len(ids)) * (edges_s[1] - edges_s[0]) / 3600
    cell, where = np.unique(np.stack([row, time_s.astype(np.int64)]), axis=1, return_inverse=True)
    summed = _sums(where.ravel(), power_kw, cell.shape[1])
    peak = np.zeros(len(ids))
    np.maximum.at(peak, cell[0], summed)
    order = np.lexsort((ids, -energy))
    return SiteEnergy(ids[order], energy[order], peak[order])


def road_group(road_class: str) -> str:
    """The row of the chart that a road class belongs to.

    Examples
    --------
    >>> road_group("motorway"), road_group("trunk_link"), road_group("residential")
    ('motorway', 'ramps', 'local streets')
    """
    if road_class.endswith("_link"):
        return "ramps"
    return road_class if road_class in ROAD_GROUPS else "local streets"


def engagement_by_road(folder: Folder) -> Engagement:
    """Driven and engaged km per group of road classes; groups nobody drove on are left out."""
    found = folder.table("autonomy", ("road_class", "km", "engaged_km"))
    groups = _names(found["road_class"])
    of_label = np.array([ROAD_GROUPS.index(road_group(label)) for label in groups.labels], np.int64)
    code = of_label[groups.codes] if len(groups.codes) else np.empty(0, np.int64)
    km, engaged = (_sums(code, found[c], len(ROAD_GROUPS)) for c in ("km", "engaged_km"))
    kept = np.flatnonzero(km > 0)
    return Engagement(tuple(ROAD_GROUPS[k] for k in kept), km[kept], engaged[kept])


def engagement_by_class(folder: Folder) -> Engagement:
    """Driven and engaged km per OSM road class, in the order of `ROAD_CLASSES`."""
    found = folder.table("autonomy", ("road_class", "km", "engaged_km"))
    groups = _names(found["road_class"])
    km, engaged = (_sums(groups.codes, found[c], len(groups.labels)) for c in ("km", "engaged_km"))
    order = sorted(range(len(groups.labels)), key=lambda k: (_class_rank(groups.labels[k]), groups.labels[k]))
    kept = [k for k in order if km[k] > 0]
    return Engagement(tuple(groups.labels[k] for k in kept), km[kept], engaged[kept])


def engagement_by_hour(folder: Folder) -> Engagement:
    """Driven and engaged km per hour since the start, one row for every hour of the run."""
    found = folder.table("autonomy", ("hour", "km", "engaged_km"))
    hour = np.asarray(found["hour"]).astype(np.int64)
    size = max(int(hour.max()) + 1 if len(hour) else 0, int(np.ceil(horizon_s(folder) / 3600)))
    km, engaged = (_sums(hour, found[c], size) for c in ("km", "engaged_km"))
    return Engagement(tuple(str(h) for h in range(size)), km, engaged)


def cloud_day(folder: Folder) -> CloudDay:
    """Bytes per interval: delivered by service, generated, dropped, resent, and the backlog."""
    return folder.once("cloud_day", lambda: _cloud_day(folder))


def _cloud_day(folder: Folder) -> CloudDay:
    columns = ("generated_bytes", "delivered_bytes", "buffered_bytes", "dropped_bytes", "resent_bytes")
    found = folder.table("cloud", ("time_s", "service", *columns))
    parts = {c: _stack(folder, found["time_s"], found["service"], found[c]) for c in columns}
    delivered = parts["delivered_bytes"]
    used = np.flatnonzero(delivered.values.sum(axis=1) > 0) if len(delivered.names) else np.empty(0, np.int64)
    used = used[np.argsort(-delivered.values[used].sum(axis=1), kind="stable")]
    kept = Stack(delivered.edges_s, tuple(delivered.names[k] for k in used), delivered.values[used])
    return CloudDay(kept, *(parts[c].total for c in columns if c != "delivered_bytes"))


def link_vehicles(folder: Folder) -> tuple[Rows, Floats]:
    """Link ids and the vehicles that used each over the whole run, shapes (n,)."""
    return folder.once("link_vehicles", lambda: _link_vehicles(folder))


def _link_vehicles(folder: Folder) -> tuple[Rows, Floats]:
    found = folder.table("links", ("link_id", "vehicles"))
    link = np.asarray(found["link_id"]).astype(np.int64)
    if len(link) and link.min() >= 0 and link.max() < 4 * len(link):  # row numbers of the map: no sorting
        ids = np.flatnonzero(np.bincount(link)).astype(np.int64)
        return ids, _sums(link, found["vehicles"], int(link.max()) + 1)[ids]
    ids, row = np.unique(link, return_inverse=True)
    return ids, _sums(row, found["vehicles"], len(ids))


def _class_rank(road_class: str) -> int:
    return ROAD_CLASSES.index(road_class) if road_class in ROAD_CLASSES else len(ROAD_CLASSES)


def _names(column: NDArray[np.generic] | Names) -> Names:
    return column if isinstance(column, Names) else Names(np.empty(0, np.int64), ())


def _interval(time_s: Floats) -> float:
    steps = np.diff(np.unique(time_s))
    return float(steps.min()) if len(steps) else DEFAULT_INTERVAL_S


def _stack(
    folder: Folder,
    time_s: NDArray[np.generic] | Names,
    kind: NDArray[np.generic] | Names,
    amount: NDArray[np.generic] | Names,
    *,
    interval_s: float | None = None,
    first: tuple[str, ...] = (),
) -> Stack:
    """Sum `amount` by interval and kind; an interval without rows is zero, not a gap."""
    times, values, kinds = np.asarray(time_s, float), np.nan_to_num(np.asarray(amount, float)), _names(kind)
    step = interval_s or _interval(times)
    end = max(horizon_s(folder), float(times.max()) + step if len(times) else 0.0)
    n = int(np.ceil(end / step - 1e-9))
    order = sorted(range(len(kinds.labels)), key=lambda k: (_place(kinds.labels[k], first), kinds.labels[k]))
    rank = np.argsort(np.array(order, np.int64)).astype(np.int64)
    names = tuple(kinds.labels[k] for k in order)
    interval = np.floor(times / step + 1e-9).astype(np.int64)
    cell = rank[kinds.codes] * n + interval if names else interval
    return Stack(
        np.arange(n + 1, dtype=float) * step, names, _sums(cell, values, len(names) * n).reshape(len(names), n)
    )


def _sums(row: NDArray[np.generic], amount: NDArray[np.generic] | Names, size: int) -> Floats:
    """Sum of `amount` by row, shape (size,)."""
    return np.bincount(row, np.asarray(amount, float), size).astype(float)


def _place(label: str, first: tuple[str, ...]) -> int:
    return first.index(label) if label in first else len(first)
