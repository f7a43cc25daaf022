"""A finished run for the page: links by hour, sites and cells by quarter of an hour, stories from the tables."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runs.comparison import CompareError, compare
from runs.results import ResultsError, RunResult
from twin.charging.site import SITE_KINDS
from viz import series
from viz.answers import answers
from viz.browser.layer import Layer
from viz.browser.packet import pack
from viz.browser.picture import Extent, city_packet
from viz.charts import clock
from viz.folder import Floats, Folder, Names
from viz.map import attribution
from viz.streets import streets_of
from viz.style import amount

STEP_S = 900
LOAD_LEVELS = 6
QUIET = 255


class Replay:
    """One results folder as the page shows it.

    Parameters
    ----------
    path : Path
    beside : Replay, optional
        Another run shown next to it, whose scale of charging power and first moment it takes.

    Raises
    ------
    ResultsError
        When the folder is no results folder of this version, or wrote no map.
    """

    def __init__(self, path: Path, *, beside: Replay | None = None) -> None:
        self.beside = beside
        self.top_kw = self.begin_s = 0.0
        self.folder = Folder.open(path)
        known = streets_of(self.folder)
        assert known is not None  # checked before the page was opened
        self.streets, self.origin = known
        self.span_s = series.horizon_s(self.folder)
        self.steps = max(1, int(np.ceil(self.span_s / STEP_S - 1e-9)))
        self.hours = max(1, int(np.ceil(self.span_s / 3600 - 1e-9)))
        start = self.folder.start
        self.widget = Layer(kind="replay")
        self._marks = self._places()
        self.widget.city = city_packet(
            self.streets, Extent.of(self.streets),
            title=self.folder.name, attribution=attribution(self.folder),
            start=start.isoformat() if start else "2000-01-01T00:00:00",
            zone=str(self.folder.manifest.get("timezone", "")), marks=self._marks,
        )  # fmt: skip
        self.widget.day = self.day()
        self.widget.observe(self._on_pick, "pick")

    def close(self) -> None:
        """The page is gone."""
        self.widget.unobserve_all()

    def headline(self) -> str:
        """The three answers with their intervals, as HTML."""
        said = [
            f"<span style='display:inline-block;margin-right:20px'><b>{html.escape(a.title)}</b> {html.escape(a.shown)}"
            f" <small style='color:#595959'>{html.escape(a.interval.replace('95 % interval', '95 %:'))}</small></span>"
            for a in answers(self.folder)
        ]
        name = f"<b style='font-size:16px'>{html.escape(self.folder.path.name)}</b>"
        return f"<div style='font-size:13.5px;line-height:1.4'>{name}<br>{' '.join(said)}</div>"

    def difference(self, other: Replay) -> str:
        """Paired differences other − self with intervals, as HTML; the reason when there are none."""
        try:
            found = compare(RunResult(self.folder.path), RunResult(other.folder.path))
        except (CompareError, ResultsError) as error:  # a folder may lack tables
            return f"<p>{html.escape(str(error))}</p>"
        return (
            f"<h3>Second run less first, paired by car</h3><pre style='overflow-x:auto'>{html.escape(str(found))}</pre>"
        )

    # ---------------------------------------------------------------- arrays

    def day(self) -> bytes:
        """Everything that changes over the day, as one packet."""
        folder = self.folder
        speed, load, keys = self._links()
        level, cells = self._site_levels(), self._cells()
        grid, cloud = series.grid_load(folder), series.cloud_day(folder)
        autonomy = series.engagement_by_hour(folder)
        share = np.full(self.hours, np.nan)
        share[: len(autonomy.km)] = 100 * autonomy.share[: self.hours]
        kw = np.array([self._even(grid.edges_s, v) for v in grid.values]).reshape(len(grid.names), self.steps)
        made = self._even(cloud.delivered.edges_s, cloud.generated)
        gone = self._even(cloud.delivered.edges_s, cloud.delivered.total)
        width = float(np.diff(cloud.delivered.edges_s[:2])[0])
        cars = folder.table("cars", ("connected",))["connected"]
        online = max(int(np.asarray(cars, bool).sum()), 1)
        plugged, queued = self._occupancy()
        arrays = {
            "speed": speed, "load": load, "site_level": level, "cell_bps": cells,
            "kw": kw.astype(np.float32), "kw_total": kw.sum(axis=0).astype(np.float32),
            "autonomy": share.astype(np.float32),
            "mb": (np.cumsum(made * STEP_S / width) / online / 1e6).astype(np.float32),
            "made": (made / width / 1000).astype(np.float32), "delivered": (gone / width / 1000).astype(np.float32),
            "plugged": plugged, "queued": queued,
        }  # fmt: skip
        busiest = float(np.argmax(kw.sum(axis=0))) * STEP_S if kw.any() else 0.0
        self.begin_s = min(self.beside.begin_s, self.span_s) if self.beside is not None else busiest
        head = {
            "span_s": self.steps * STEP_S, "step_s": STEP_S, "steps": self.steps, "hours": self.hours,
            "begin_s": self.begin_s,
            "kinds_kw": list(grid.names), "load_keys": keys,
        }  # fmt: skip
        return pack(head, arrays)

    def _even(self, edges_s: Floats, values: Floats) -> Floats:
        """Means over the page's steps of values that hold between edges; sums are kept."""
        total = np.concatenate([[0.0], np.cumsum(values * np.diff(edges_s))])
        ends = np.arange(self.steps + 1) * STEP_S
        return np.asarray(np.diff(np.interp(ends, edges_s, total)) / STEP_S)

    def _links(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[str]]:
        """Speed over the free speed and vehicles in steps, both (hours, links) in the order of the map."""
        n = len(self.streets.link_id)
        speed = np.full((self.hours, n), QUIET, np.uint8)
        load = np.zeros((self.hours, n), np.uint8)
        names = self.folder.columns("map")
        if not self.folder.columns("links"):
            return speed, load, [""] * LOAD_LEVELS
        found = self.folder.table("links", ("link_id", "hour", "vehicles", "mean_speed_kmh"))
        order = np.argsort(self.streets.link_id, kind="stable")
        ids = np.asarray(found["link_id"]).astype(np.int64)
        at = np.minimum(np.searchsorted(self.streets.link_id, ids, sorter=order), n - 1)
        row, hour = order[at], np.asarray(found["hour"]).astype(np.int64)
        known = (self.streets.link_id[row] == ids) & (hour < self.hours)
        row, hour = row[known], hour[known]
        vehicles = np.asarray(found["vehicles"], float)[known]
        free = np.full(n, np.inf)  # a map without free speeds: the link's fastest hour stands for it
        if "free_speed_kmh" in names:
            free = np.asarray(self.folder.table("map", ("free_speed_kmh",))["free_speed_kmh"], float)
        went = np.asarray(found["mean_speed_kmh"], float)[known]
        # empty streets are driven at a share of the limit: the fastest hour of the link is its free speed
        best = np.zeros(n)
        np.maximum.at(best, row, np.nan_to_num(went))
        best = np.where(best > 0, np.minimum(best, free), free)
        with np.errstate(invalid="ignore"):  # links that nobody drove have no ratio
            ratio = np.rint(200 * went / best[row])
        speed[hour, row] = np.where(np.isfinite(ratio), np.clip(np.nan_to_num(ratio), 0, 200), QUIET).astype(np.uint8)
        used = vehicles[vehicles > 0]
        if not len(used):
            return speed, load, [""] * LOAD_LEVELS
        cuts = load_cuts(float(used.max()))
        load[hour, row] = np.where(vehicles > 0, 1 + np.searchsorted(cuts, vehicles, side="right"), 0).astype(np.uint8)
        ends = ["1", *(f"{c:,.0f}" for c in cuts)]
        keys = [f"{a} to {b}" for a, b in zip(ends, [f"{c - 1:,.0f}" for c in cuts], strict=False)]
        return speed, load, [*keys, f"{ends[-1]} and more"]

    def _places(self) -> dict[str, Any]:
        import shapely

        none = np.empty(0)
        marks: dict[str, Any] = dict.fromkeys(
            ("site_x", "site_y", "site_kind", "site_sockets", "site_id", "cell_x", "cell_y"), none
        )
        if self.folder.columns("sites"):
            found = self.folder.table("sites", ("site_id", "kind", "geometry"))
            kinds = found["kind"]
            assert isinstance(kinds, Names)
            metres = self.origin.metres(shapely.get_coordinates(shapely.from_wkb(found["geometry"])))
            of_kind = np.array([SITE_KINDS.index(k) if k in SITE_KINDS else 2 for k in kinds.labels], np.uint8)
            used = np.isin(np.asarray(found["site_id"]), series.site_energy(self.folder).site_id)
            shared = of_kind[kinds.codes] != SITE_KINDS.index("home")
            keep = np.flatnonzero(used | shared)
            marks |= {
                "site_x": metres[keep, 0], "site_y": metres[keep, 1], "site_kind": of_kind[kinds.codes][keep],
                "site_sockets": np.ones(len(keep)),  # occupancy is not drawn here
                "site_id": np.asarray(found["site_id"])[keep],
            }  # fmt: skip
        if self.folder.columns("cells"):
            found = self.folder.table("cells", ("cell_id", "geometry"))
            metres = self.origin.metres(shapely.get_coordinates(shapely.from_wkb(found["geometry"])))
            marks |= {"cell_x": metres[:, 0], "cell_y": metres[:, 1]}
        return marks

    def _site_levels(self) -> NDArray[np.uint8]:
        """Mean power of each site per step over the highest of all, 0 to 255, shape (steps, sites)."""
        ids = np.asarray(self._marks["site_id"]).astype(np.int64)
        kw = np.zeros((self.steps, len(ids)))
        found = self.folder.table("grid_load", ("time_s", "site_id", "power_kw"))
        if len(ids) and len(np.asarray(found["site_id"])):
            order = np.argsort(ids, kind="stable")
            of_row = np.asarray(found["site_id"]).astype(np.int64)
            at = order[np.minimum(np.searchsorted(ids, of_row, sorter=order), len(ids) - 1)]
            power = np.where(ids[at] == of_row, np.asarray(found["power_kw"], float), 0.0)
            edges = series.grid_load(self.folder).edges_s
            width = float(edges[1] - edges[0])
            first = (np.asarray(found["time_s"], float) // STEP_S).astype(np.int64)
            for k in range(max(1, round(width / STEP_S))):
                step = np.minimum(first + k, self.steps - 1)
                np.add.at(kw, (step, at), power * min(1.0, width / STEP_S))
        self.top_kw = self.beside.top_kw if self.beside is not None else float(kw.max(initial=0))
        return np.asarray(
            np.ceil(np.minimum(255 * kw / self.top_kw, 255)) if self.top_kw else np.zeros_like(kw), np.uint8
        )

    def _cells(self) -> NDArray[np.float32]:
        """Telemetry delivered by each radio cell, bytes per second, shape (steps, cells)."""
        n = len(self._marks["cell_x"])
        rate = np.zeros((self.steps, n), np.float32)
        found = self.folder.table("cloud", ("time_s", "cell_id", "delivered_bytes"))
        cell = np.asarray(found["cell_id"]).astype(np.int64)
        step = np.minimum((np.asarray(found["time_s"], float) // STEP_S).astype(np.int64), self.steps - 1)
        inside = cell < n
        np.add.at(rate, (step[inside], cell[inside]), np.asarray(found["delivered_bytes"], float)[inside] / STEP_S)
        return rate

    def _occupancy(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cars on sockets and cars waiting for one, at the middle of every step."""
        found = self.folder.table("sessions", ("asked_s", "plugged_s", "unplugged_s", "wait_s"))
        asked, plugged, out, wait = (
            np.asarray(found[c], float) for c in ("asked_s", "plugged_s", "unplugged_s", "wait_s")
        )
        middle = (np.arange(self.steps, dtype=np.float64) + 0.5) * STEP_S
        on = np.isfinite(plugged)
        still = np.where(np.isfinite(out), out, np.inf)
        return _present(plugged[on], still[on], middle), _present(asked, asked + np.nan_to_num(wait), middle)

    # ---------------------------------------------------------------- stories

    def _on_pick(self, change: Any) -> None:
        if change["new"]:
            self.widget.story = {**self.story(change["new"]), "n": change["new"].get("n")}

    def story(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """One car or one site, from the tables of the run."""
        kind, number = str(chosen.get("kind")), chosen.get("id")
        if kind not in {"car", "site"} or not isinstance(number, int) or isinstance(number, bool):
            return {"title": "Nothing there", "facts": [], "tables": []}
        try:
            return self._car(number) if kind == "car" else self._site(number)
        except ResultsError as error:
            return {"title": "Not in these results", "facts": [["why", str(error)]], "tables": []}

    def _car(self, car: int) -> dict[str, Any]:
        cars = RunResult(self.folder.path).table("cars")
        ids = np.asarray(cars["car_id"])
        if car not in ids:
            return {"title": "No such car", "facts": [["valid numbers", f"0 to {ids.max():,}"]], "tables": []}
        one = cars.slice(int(np.flatnonzero(ids == car)[0]), 1).to_pylist()[0]
        facts = [
            [c.replace("_", " "), _text(v, c)] for c, v in one.items() if v not in (None, "", False) and c != "car_id"
        ]
        return {
            "title": f"Car {car}: {one.get('model', '')}",
            "facts": facts,
            "tables": [self._trips(car), self._sessions("car_id", car)],
        }

    def _site(self, site: int) -> dict[str, Any]:
        sites = (
            RunResult(self.folder.path)
            .table("sites", ["site_id", "kind", "name", "feeder_id", "sockets", "kw"])
            .to_pylist()
        )
        one = next((s for s in sites if s["site_id"] == site), None)
        if one is None:
            return {"title": "No such site", "facts": [["valid numbers", f"0 to {len(sites) - 1:,}"]], "tables": []}
        energy = series.site_energy(self.folder)
        at = np.flatnonzero(energy.site_id == site)
        facts = [
            ["kind", one["kind"]],
            ["feeder", str(one["feeder_id"])],
            ["sockets", str(one["sockets"])],
            ["strongest socket", amount(one["kw"], "kW")],
        ]
        facts.append(["energy at the meter", amount(float(energy.energy_kwh[at[0]]) if len(at) else 0.0, "kWh")])
        facts.append(["highest mean power", amount(float(energy.peak_kw[at[0]]) if len(at) else 0.0, "kW")])
        title = f"Site {site}" + (f": {one['name']}" if one["name"] else "")
        return {"title": title, "facts": facts, "tables": [self._sessions("site_id", site)]}

    def _trips(self, car: int) -> dict[str, Any]:
        columns = ["purpose", "depart_s", "arrive_s", "km", "status", "car_id"]
        rows = [r for r in RunResult(self.folder.path).table("trips", columns).to_pylist() if r["car_id"] == car]
        cells = [
            [
                r["purpose"],
                self._time(r["depart_s"]),
                self._time(r["arrive_s"]),
                f"{r['km']:.1f} km",
                r["status"].replace("_", " "),
            ]
            for r in rows[:20]
        ]
        return {"caption": "Trips", "head": ["to", "left", "arrived", "way", "how"], "rows": cells}

    def _sessions(self, column: str, number: int) -> dict[str, Any]:
        columns = ["car_id", "site_id", "plugged_s", "meter_kwh", "wait_s", "outcome"]
        rows = [r for r in RunResult(self.folder.path).table("sessions", columns).to_pylist() if r[column] == number]
        other = "site_id" if column == "car_id" else "car_id"
        cells = [
            [
                str(r[other]),
                self._time(r["plugged_s"]),
                f"{r['meter_kwh']:.1f} kWh",
                f"{(r['wait_s'] or 0) / 60:.0f} min",
                r["outcome"].replace("_", " "),
            ]
            for r in rows[:20]
        ]
        return {
            "caption": f"Charging ({len(rows)})",
            "head": [other.removesuffix("_id"), "plugged", "meter", "wait", "end"],
            "rows": cells,
        }

    def _time(self, seconds: float | None) -> str:
        return "–" if seconds is None or not np.isfinite(seconds) else clock(self.folder.start, seconds)


def load_cuts(most: float) -> list[float]:
    """Five round numbers that part vehicles per hour into six shades, each about twice the one before.

    Examples
    --------
    >>> load_cuts(900.0)
    [20.0, 50.0, 100.0, 200.0, 500.0]
    """
    ladder = [m * 10.0**p for p in range(7) for m in (1, 2, 5)][1:]
    top = max(LOAD_LEVELS - 1, sum(step <= most for step in ladder))
    return ladder[top - LOAD_LEVELS + 1 : top]


def _present(begin: Floats, end: Floats, at: Floats) -> NDArray[np.float32]:
    """How many spans hold each moment.

    Examples
    --------
    >>> _present(np.array([0.0, 5.0]), np.array([10.0, 7.0]), np.array([1.0, 6.0, 8.0])).tolist()
    [1.0, 2.0, 1.0]
    """
    return np.asarray(
        np.searchsorted(np.sort(begin), at, side="right") - np.searchsorted(np.sort(end), at, side="right"), np.float32
    )


UNITS = {"kwh": "kWh", "km": "km", "s": "s", "bytes": "bytes"}


def _text(value: Any, column: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.startswith("soc"):
        return f"{100 * value:.0f} %"
    if isinstance(value, int | float):
        unit = UNITS.get(column.rpartition("_")[2], "")
        return amount(value, unit) if unit or isinstance(value, float) else str(value)
    return str(value)
