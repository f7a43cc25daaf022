"""A run as one HTML file to send to a colleague, and what is drawn at the end of every run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from runs.comparison import compare
from runs.results import RunResult
from runs.words import ANSWERS
from viz import charts, heat, page, series
from viz.answers import Fact, answers, fact
from viz.checks import cross_checks
from viz.folder import Folder, Names, ReportError
from viz.grid import FEEDER_SERIES, draw_admd, draw_feeder, draw_hosting, loaded_feeder
from viz.map import attribution, draw_load
from viz.overview import draw_overview, title
from viz.streets import streets_of
from viz.style import amount, figures

TOP_ROWS = 10
STATUS = {
    "stopped": "This run was stopped before its end; figures cover the time it ran.",
    "degraded": "This run is degraded: its figures are not to be relied on.",
    "failed": "This run failed before its end; figures cover what it wrote.",
}


def after_run(folder: Path) -> list[Path]:
    """Draw what every run leaves behind: `overview.png` and `report.html`.

    Raises
    ------
    runs.results.ResultsError
        When the folder is not a results folder or a file in it is damaged.
    """
    run = Folder.open(folder)
    return [draw_overview(run, run.path / "overview.png"), write_report(run, run.path / "report.html")]


def write_report(
    folder: Folder | Path | str,
    out: Path | str | None = None,
    *,
    against: Sequence[Path] = (),
    validation: Path | None = None,
) -> Path:
    """Write a run as one HTML page that needs no network.

    Parameters
    ----------
    folder : Folder or path
        A results folder.
    out : path, optional
        Default: `report.html` in that folder.
    against : sequence of Path
        Results folders to compare with: the same fleet under other policies.
    validation : Path, optional
        Report of `twin validate`; by default `validation.json` in or beside the results folder, where there is one.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    runs.results.ResultsError
        When the folder is not a results folder or a file in it is damaged.
    """
    run = folder if isinstance(folder, Folder) else Folder.open(folder)
    out = Path(out) if out is not None else run.path / "report.html"
    template = Template(files("viz").joinpath("report.html").read_text("utf-8"))
    text = template.substitute(
        title=escape(title(run)),
        subtitle=escape(_subtitle(run)),
        warnings="".join(f'<p class="warn" role="note">{escape(w)}</p>' for w in _warnings(run)),
        answers="\n".join(_answers(run)),
        interval_note=escape(_interval_note(run)),
        city=page.drawing(draw_load, run, alt=_map_alt(run), size_in=(6.4, 6.0), dpi=190),
        hours="\n".join(_hours(run)),
        feeders="\n".join(_feeders(run)),
        differ="\n".join(_distributions(run)),
        policies="\n".join(_policies(run, against)),
        tables="\n".join(_tables(run)),
        provenance="\n".join([*_provenance(run), *_validation(run, validation)]),
        attribution=escape(_credit(run)),
    )
    part = out.with_name(out.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(out)
    return out


def _subtitle(run: Folder) -> str:
    start = run.start
    seed = run.manifest.get("seed", run.scenario.get("seed"))
    said = [
        f"from {start:%A} {start.day} {start:%B %Y, %H:%M}" if start else "",
        f"seed {seed}" if seed is not None else "",
    ]
    return ", ".join(s for s in said if s)


def _warnings(run: Folder) -> Iterator[str]:
    if said := STATUS.get(str(run.manifest.get("status"))):
        why = run.manifest.get("why")
        yield f"{said} ({why})" if why else said
    for name, residual in _ledger(run).items():
        if residual != 0:
            yield f"Ledger {name} does not close: residual {residual}."
    for check in cross_checks(run):
        if not check.agrees:
            yield (
                f"{check.label}: the table says {amount(check.from_table, check.unit)}, "
                f"summary.json says {amount(check.from_summary, check.unit)} ({check.key})."
            )


def _interval_note(run: Folder) -> str:
    bases = [a.scaled_by for a in answers(run) if a.scaled_by]
    scaled = f" Basis: {'; '.join(dict.fromkeys(bases))}." if bases else ""
    if not any(a.low for a in answers(run)):
        return "This run gives no intervals." + scaled
    return "Intervals: sampling error of the cars in this one run, not of the assumptions." + scaled


def _answers(run: Folder) -> Iterator[str]:
    grid, autonomy, cloud = answers(run)
    load, road, day = series.grid_load(run), series.engagement_by_road(run), series.cloud_day(run)
    start_s = load.edges_s[:-1].tolist()
    peak_s = run.value("grid", "peak_time_s")
    at = f" at {charts.clock(run.start, float(peak_s))}" if isinstance(peak_s, int | float) and load.total.any() else ""
    yield page.article(
        grid,
        page.chart(
            charts.draw_grid_load,
            run,
            alt=f"Charging power over the day, stacked by {', '.join(load.names) or 'kind of site'}. "
            f"Peak {grid.shown}{at}.",
            data=page.csv(["time_s", *(f"{n}_kw" for n in load.names)], [start_s, *(v.tolist() for v in load.values)]),
            name="grid_load_by_kind",
        ),
    )
    by_road = ", ".join(f"{k} {amount(float(s), 'share')}" for k, s in zip(road.keys, road.share, strict=True))
    yield page.article(
        autonomy,
        page.chart(
            charts.draw_engagement_by_road,
            run,
            alt=f"Distance by road class and the share of it with ProPILOT engaged: {by_road or 'no car drove'}.",
            data=page.csv(["road", "km", "engaged_km"], [road.keys, road.km.tolist(), road.engaged_km.tolist()]),
            name="autonomy_by_road",
        ),
    )
    head = [
        "time_s",
        *(f"{n}_delivered_bytes" for n in day.delivered.names),
        "generated_bytes",
        "buffered_bytes",
        "dropped_bytes",
    ]
    rows = [*day.delivered.values, day.generated, day.buffered, day.dropped]
    yield page.article(
        cloud,
        page.chart(
            charts.draw_cloud,
            run,
            alt=f"Rate of telemetry reaching the cloud, stacked by {', '.join(day.delivered.names) or 'service'}, "
            "and the rate at which cars generated it. "
            f"Delivered in all {amount(run.value('cloud', 'delivered_bytes'), 'bytes')}.",
            data=page.csv(head, [day.delivered.edges_s[:-1].tolist(), *(r.tolist() for r in rows)]),
            name="cloud_by_service",
        ),
    )


def _hours(run: Folder) -> Iterator[str]:
    hour, day = series.engagement_by_hour(run), series.cloud_day(run)
    best = f" Highest share {amount(float(np.nanmax(hour.share)), 'share')}." if hour.km.any() else ""
    yield page.chart(
        charts.draw_engagement_by_hour,
        run,
        alt=f"Share of each hour's distance with ProPILOT engaged.{best}",
        data=page.csv(["hour", "km", "engaged_km"], [hour.keys, hour.km.tolist(), hour.engaged_km.tolist()]),
        name="autonomy_by_hour",
    )
    yield page.chart(
        charts.draw_backlog,
        run,
        alt=f"Telemetry waiting in cars, at most {amount(float(day.buffered.max(initial=0)), 'bytes')}, "
        f"and dropped in all {amount(run.value('cloud', 'dropped_bytes'), 'bytes')}.",
        data=page.csv(
            ["time_s", "buffered_bytes", "dropped_bytes", "resent_bytes"],
            [day.delivered.edges_s[:-1].tolist(), *(v.tolist() for v in (day.buffered, day.dropped, day.resent))],
        ),
        name="cloud_backlog",
    )

    for draw, found, what, unit, name in (
        (heat.draw_feeders, heat.feeders_by_hour(run), "mean charging power by feeder", "kW", "feeders_by_hour"),
        (heat.draw_cells, heat.cells_by_hour(run), "telemetry generated by radio cell", "MB", "cells_by_hour"),
    ):
        rows, hours = found.values.shape if found.values.size else (0, 0)
        most = f"{figures(float(found.values.max(initial=0)))} {unit}"
        yield page.chart(
            draw,
            run,
            alt=f"Heat map: {what} and hour, {rows} rows, highest {most}.",
            data=page.csv(
                ["place", *(f"hour_{h}_{unit.lower()}" for h in range(hours))], [found.names, *found.values.T.tolist()]
            ),
            name=name,
        )


def _feeders(run: Folder) -> Iterator[str]:
    """ADMD and hosting capacity, and the feeders of highest loading."""
    feeder = loaded_feeder(run)
    most = float((feeder.series[1] + feeder.series[2]).max(initial=0.0)) if feeder else 0.0
    yield page.chart(
        draw_feeder,
        run,
        alt="Mean power of households and charging on the most loaded feeder, the range of charging were other cars at "
        f"home there, and its rating; at most {figures(most)} kW.",
        data=page.csv(FEEDER_SERIES, [of.tolist() for of in feeder.series] if feeder else [[]] * len(FEEDER_SERIES)),
        name="feeder_load",
    )
    plots: tuple[tuple[charts.Chart, str, tuple[str, ...], str], ...] = (
        (draw_admd, "grid_admd", ("n", "admd_kw", "low_kw", "high_kw"), "Highest load per car at home by group size"),
        (
            draw_hosting,
            "grid_hosting",
            ("cars_per_household", "over_share", "low", "high"),
            "Share of feeders above their rating by electric cars per household",
        ),
    )
    for draw, name, keys, what in plots:
        found = run.table(name, keys)
        columns = [np.asarray(found[key], float).tolist() for key in keys]
        last = f"; in the last row {figures(columns[1][-1])}" if columns[0] else "; nothing to show"
        yield page.chart(draw, run, alt=f"{what}, mean and 95 % range{last}.", data=page.csv(keys, columns), name=name)
    peaks = run.table("grid_peaks", ("level", "name", *(key for key, _ in FEEDER_COLUMNS)))
    level, label = peaks["level"], peaks["name"]
    if not isinstance(level, Names) or not isinstance(label, Names) or "feeder" not in level.labels:
        return
    number = {key: np.asarray(peaks[key], float) for key, _ in FEEDER_COLUMNS}
    known = (level.codes == level.labels.index("feeder")) & ~np.isnan(number["loading"])
    order = np.flatnonzero(known)[np.argsort(-number["loading"][known], kind="stable")][:TOP_ROWS]
    yield page.table(
        f"Feeders of highest loading ({len(order)} of {int(known.sum()):,})",
        ("feeder", "households", "cars", "peak with households", "rating", "loading", "above rating"),
        [
            (label.labels[label.codes[i]], *(_counted(number[key][i], unit) for key, unit in FEEDER_COLUMNS))
            for i in order.tolist()
        ],
        empty="No feeder has a rating.",
    )


FEEDER_COLUMNS = (
    ("households", ""), ("cars", ""), ("total_peak_kw", "kW"), ("rated_kw", "kW"), ("loading", "share"),
    ("hours_over", "h"),
)  # fmt: skip


def _distributions(run: Folder) -> Iterator[str]:
    for draw, what in (
        (heat.draw_distances, "kilometres per car"),
        (heat.draw_charge, "state of charge of electric cars at start and end"),
        (heat.draw_sessions, "energy per charging session"),
        (heat.draw_lateness, "travel time of trips over free flow"),
    ):
        yield page.chart(draw, run, alt=f"Histogram of the cars and trips of this run: {what}.", data="", name="")


def _policies(run: Folder, against: Sequence[Path]) -> Iterator[str]:
    """The compared runs: three answers each, and paired differences from this run."""
    if not against:
        return
    others = [Folder.open(path) for path in against]
    rows: list[tuple[page.Cell, ...]] = [
        (
            name,
            *(Fact(a.label, "", a.main.value, a.main.unit) for a in answers(other)),
            *(a.interval.removeprefix("95 % interval ") for a in answers(other)[:1]),
        )
        for name, other in ((f"{run.path.name} (this run)", run), *((o.path.name, o) for o in others))
    ]
    yield "<h2>Policies compared</h2>"
    head = ("run", "grid peak", "ProPILOT share of km", "MB per connected car and day", "interval of the peak")
    yield page.table("The answers of each run", head, rows)
    this = RunResult(run.path)
    for other in others:
        found = compare(this, RunResult(other.path))
        differences = [
            (ANSWERS.get(name, "cloud bytes generated"), str(getattr(found, name)))
            for name in ("grid_peak_kw", "grid_energy_kwh", "autonomy_share", "cloud_bytes")
        ]
        yield page.table(f"{other.path.name} less this run, paired by car", ("figure", "difference"), differences)


def _validation(run: Folder, path: Path | None) -> Iterator[str]:
    beside = (run.path / "validation.json", run.path.parent / "validation.json")
    chosen = path or next((p for p in beside if p.is_file()), None)
    if chosen is None:
        text = "No report of twin validate lies beside this run; docs/validation.md has the table of this version."
        yield page.table("Validation", (), (), empty=text)
        return
    try:
        checks = json.loads(chosen.read_text("utf-8"))["checks"]
        rows = [
            (str(c["quantity"]), _said(c["target"]), str(c["tolerance"]), _said(c["value"]), str(c["verdict"]))
            for c in checks
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{chosen}: not a report of twin validate ({type(error).__name__})") from None
    yield page.table(f"Validation ({chosen.name})", ("figure", "target", "tolerance", "found", "verdict"), rows)


def _said(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(_said(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _map_alt(run: Folder) -> str:
    ids, vehicles = series.link_vehicles(run)
    known = run.once("streets", lambda: streets_of(run))
    if known is not None:  # the map shows the extract without the roads outside
        streets, _ = known
        vehicles = vehicles[np.isin(ids, streets.link_id[streets.inside])]
    energy = series.site_energy(run)
    traffic = f"{int((vehicles > 0).sum()):,} links were used, the busiest by {int(vehicles.max(initial=0)):,} vehicles"
    most = amount(float(energy.energy_kwh.max(initial=0)), "kWh")
    sites = (
        f"{len(energy.site_id):,} charging sites delivered energy, the largest {most}"
        if len(energy.site_id)
        else "no car charged"
    )
    return f"Map of the city: {traffic}; {sites}."


def _tables(run: Folder) -> Iterator[str]:
    yield page.table(
        "Fleet and queue", ("figure", "value"), _facts(run, FIGURES), empty="The summary names no figures."
    )
    estimates = run.value("estimates")
    if isinstance(estimates, Mapping):
        said = [_estimate(name, item) for name, item in estimates.items() if isinstance(item, Mapping)]
        yield page.table("All estimates, 95 % intervals", ("estimate", "mean", "low", "high", "n"), said)
    road = series.engagement_by_class(run)
    yield page.table(
        "ProPILOT by road class",
        ("road class", "driven", "engaged", "share"),
        [
            (name, _counted(km, "km"), _counted(engaged, "km"), _counted(share, "share"))
            for name, km, engaged, share in zip(road.keys, road.km, road.engaged_km, road.share, strict=True)
        ],
        empty="No car drove in this run.",
    )
    load = series.grid_load(run)
    hours = (load.edges_s[1] - load.edges_s[0]) / 3600
    yield page.table(
        "Charging by kind of site",
        ("kind", "energy", "own peak"),
        [
            (n, _counted(v.sum() * hours, "kWh"), _counted(v.max(), "kW"))
            for n, v in zip(load.names, load.values, strict=True)
        ],
        empty="No car charged in this run.",
    )
    for caption, what, found in (
        ("Charging sites with most energy", "site", series.site_energy(run)),
        ("Feeders with most energy", "feeder", series.feeder_energy(run)),
    ):
        rows = [
            (str(i), _counted(kwh, "kWh"), _counted(kw, "kW"))
            for i, kwh, kw in zip(found.site_id[:TOP_ROWS], found.energy_kwh, found.peak_kw, strict=False)
        ]
        if rows:
            yield page.table(f"{caption} ({len(rows)} of {len(found.site_id):,})", (what, "energy", "peak"), rows)
    yield page.table(
        "Tables against summary",
        ("figure", "from the table", "summary.json", "agree"),
        [
            (
                c.label,
                _counted(c.from_table, c.unit),
                Fact(c.label, c.key, run.value(*c.key.split(".")), c.unit),
                "yes" if c.agrees else "NO",
            )
            for c in cross_checks(run)
        ],
    )


FIGURES = (
    ("cars", "fleet.cars", ""),
    ("trips", "fleet.trips", ""),
    ("trips that arrived", "fleet.arrived", ""),
    ("trips stuck", "fleet.stuck", ""),
    ("distance driven", "fleet.driving_km", "km"),
    ("charging sessions", "queue.sessions", ""),
    ("sessions that waited", "queue.waited", ""),
    ("mean wait over all sessions", "queue.mean_wait_s", "s"),
    ("drivers who left the queue or did not join", "queue.balked", ""),
    ("fuel", "fuel.litres", "litres"),
    ("CO2 from the tailpipe", "fuel.co2_kg", "kg"),
    ("telemetry delivered", "cloud.delivered_bytes", "bytes"),
    ("telemetry still in cars at the end", "cloud.buffered_bytes", "bytes"),
    ("telemetry dropped", "cloud.dropped_bytes", "bytes"),
    ("update campaigns", "ota.campaigns", ""),
    ("updates installed", "ota.installed", ""),
    ("updates failed", "ota.failed", ""),
    ("update bytes", "ota.bytes", "bytes"),
)


def _facts(run: Folder, plan: tuple[tuple[str, str, str], ...]) -> list[tuple[str, Fact]]:
    found = [fact(run, *item) for item in plan]
    return [(f.label, f) for f in found if f.value is not None]


def _estimate(name: str, item: Mapping[str, object]) -> tuple[str, Fact, Fact, Fact, int]:
    unit, n = str(item.get("unit") or ""), item.get("n")
    low, mean, high = (Fact(end, f"estimates.{name}.{end}", item.get(end), unit) for end in ("low", "mean", "high"))
    return (ANSWERS.get(name, name.replace("_", " ")), mean, low, high, n if isinstance(n, int) else 0)


def _counted(value: float | np.floating, unit: str) -> Fact:
    """A figure counted from a table, so without a place in the summary; what counts things has no decimals."""
    plain = float(value)
    return Fact("", "", int(plain) if not unit and plain.is_integer() else plain, unit)


def _ledger(run: Folder) -> dict[str, float]:
    for key in ("ledger", "ledgers", "residuals", "ledger_residuals"):
        found = run.manifest.get(key)
        if isinstance(found, Mapping):
            return {str(k): v for k, v in found.items() if isinstance(v, int | float)}
    return {}


def _provenance(run: Folder) -> Iterator[str]:
    ledger = _ledger(run)
    yield page.table(
        "Ledgers: what must add up",
        ("ledger", "residual", "state"),
        [(name, _counted(value, ""), "closed" if value == 0 else "OPEN") for name, value in ledger.items()],
        empty="The manifest names no ledgers.",
    )
    plain = {
        k: v
        for k, v in run.manifest.items()
        if k not in {"files", "ledger", "ledgers", "residuals", "ledger_residuals"}
    }
    yield page.table("Manifest", ("entry", "value"), _flat(plain))
    written = run.manifest.get("files")
    if isinstance(written, Mapping):
        rows = [(str(n), _counted(_rows(f), ""), _hash(f)) for n, f in written.items()]
        yield page.table("Files of the results folder", ("file", "rows", "sha256"), rows)
    yield page.table("Scenario", ("entry", "value"), _flat(dict(run.scenario)))


def _flat(entries: Mapping[str, object], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in entries.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}.")
        else:
            shown = (
                f"{value:.6g}"
                if isinstance(value, float)
                else ", ".join(map(str, value))
                if isinstance(value, list) and value
                else str(value)
                if value not in (None, "", [])
                else "–"
            )
            rows.append((f"{before}{key}", shown))
    return rows


def _rows(entry: object) -> float:
    rows = entry.get("rows") if isinstance(entry, Mapping) else None
    return rows if isinstance(rows, int) else float("nan")


def _hash(entry: object) -> str:
    return str(entry.get("sha256", ""))[:16] if isinstance(entry, Mapping) else ""


def _credit(run: Folder) -> str:
    said = attribution(run)
    return f"Map data: {said}. https://www.openstreetmap.org/copyright" if "OpenStreetMap" in said else said
