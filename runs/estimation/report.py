"""An estimate in tables and words: every case and year on the same runs, plan against what happened in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runs.estimates import Estimate, figure
from runs.estimation.answer import Evidence, FleetAnswer, answer, difference, evidence_of
from runs.estimation.design import Design, PlannedRun, cannot_run, target_of
from runs.estimation.execute import execute, finished
from runs.estimation.records import RecordError, Records, records_of
from runs.estimation.scaling import FIGURES
from runs.results import RunResult
from twin.fleet.cases import MARKETS, CaseError, load_case, project_models

YEARS = (2018, 2019, 2020, 2021, 2022)
MAIN = ("grid_gwh_per_day", "grid_peak_gw", "autonomy_share", "cloud_pb_per_month", "cloud_peak_gbit_s")
WORDS = {
    "grid_gwh_per_day": "grid energy",
    "grid_peak_gw": "grid peak, markets' own hours",
    "autonomy_share": "km with ProPILOT engaged",
    "cloud_pb_per_month": "cloud uplink",
    "cloud_peak_gbit_s": "cloud uplink, busiest hour",
    "cloud_peak_messages_s": "messages, busiest hour",
    "epower_megalitres_per_day": "fuel of e-POWER cars",
    "driven_million_km_per_day": "distance, all cars",
}


MARKET_WORDS = {
    "japan": "Japan",
    "europe": "Europe",
    "us": "United States",
    "canada_mexico": "Canada and Mexico",
    "china": "China",
    "other": "other markets",
    "covered": "together",
}


@dataclass(frozen=True, eq=False)
class FleetEstimate:
    """The estimates of a case, year by year, beside another case.

    Attributes
    ----------
    case, beside : str
        The case asked for, and the one it is compared with.
    year : int
        The year of the answer.
    path : dict of case to list of FleetAnswer
        One per year of `YEARS` up to `year`.
    against : dict of scope to dict of figure to Estimate
        Case less the other case, in pairs, for the year.
    evidence : Evidence
    ota_pb : dict of case to float
        10^15 bytes of one over-the-air campaign to every connected covered car.
    runs : int
    size : str
    skipped : dict of city to reason
    """

    case: str
    beside: str
    year: int
    path: dict[str, list[FleetAnswer]]
    against: dict[str, dict[str, Estimate]]
    evidence: Evidence
    ota_pb: dict[str, float]
    runs: int
    size: str
    skipped: dict[str, str]

    @property
    def now(self) -> FleetAnswer:
        """The answer of the case and year asked for."""
        return self.path[self.case][-1]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{WORDS[name]}</td><td>{self.now.figures['covered'][name]}</td></tr>" for name in FIGURES
        )
        return f"<table><caption>{self.case}, {self.year}</caption>{rows}</table>"


def estimate(
    *folders: Path | str | RunResult,
    case: str = "actual",
    year: int = 2022,
    quick: bool = False,
    out: Path | str = Path("results") / "estimate",
    workers: int = 2,
    cars: int | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> FleetEstimate:
    """The three estimates for a fleet, with intervals.

    Parameters
    ----------
    *folders : Path, str or RunResult
        Finished runs to scale; without any, the designed set is run (and what is finished
        in `out` is kept).
    case : str
        actual, plan, plan-within, or a file in the layout of `twin/facts/plan.toml`.
    year : int
        The fleet on the road at the end of this year.
    quick : bool
        The small design: wider intervals, minutes instead of an hour.
    out : Path
        Where the designed runs go.
    workers : int
        Processes.
    cars : int, optional
        Cars of a run instead of the design's.

    Raises
    ------
    CaseError, RecordError, ExecutionError
    """
    design = Design.load("quick" if quick else "full")
    if not 2010 <= year <= 2023:
        raise CaseError(f"year {year}; valid: 2010 to 2023")
    beside = "plan" if case == "actual" else "actual"
    for name in (case, beside):  # what is wrong with a case is said before an hour of runs
        load_case(name, project_models())
    skipped: dict[str, str] = {}
    if folders:
        found = [r if isinstance(r, RunResult) else RunResult.open(r) for r in folders]
        evidence = evidence_of(_given(found, design))
        n_runs, size = len(found), "given runs"
    else:
        skipped = cannot_run(design)
        runs = design.runs(cars=cars, skip=skipped)
        if not runs:
            raise RecordError(f"no city of the design can run: {'; '.join(skipped.values())}")
        execute(runs, Path(out), workers=workers, say=say)
        say("reading the runs")
        evidence = _designed(runs, design, Path(out))
        n_runs, size = len(runs), design.size
    assumptions = design.table["cohort_assumption"]
    years = [y for y in YEARS if y < year] + [year]
    path = {name: [answer(evidence, name, y, cohort_assumptions=assumptions) for y in years] for name in (case, beside)}
    last = {name: answers[-1] for name, answers in path.items()}
    return FleetEstimate(
        case=case,
        beside=beside,
        year=year,
        path=path,
        against={scope: difference(last[case], last[beside], scope=scope) for scope in last[case].figures},
        evidence=evidence,
        ota_pb={name: _campaign_pb(a) for name, a in last.items()},
        runs=n_runs,
        size=size,
        skipped=skipped,
    )


def to_do(*, quick: bool, cars: int | None, out: Path) -> Iterator[str]:
    """What `estimate` would run, in words; nothing is run or written."""
    design = Design.load("quick" if quick else "full")
    skipped = cannot_run(design)
    runs = design.runs(cars=cars, skip=skipped)
    done = sum(finished(out, planned) for planned in runs)
    of_each = runs[0].scenario.fleet.cars if runs else 0
    yield f"{len(runs)} runs of {of_each:,} cars, {done} of them done in {out}"
    for market in dict.fromkeys(r.market for r in runs):
        own = [r for r in runs if r.market == market]
        cities = ", ".join(dict.fromkeys(r.city for r in own))
        moved = sum(bool(r.assumption) for r in own)
        yield f"  {MARKET_WORDS[market]}: {len(own)} runs in {cities}; {moved} of them move an assumption"
    yield from (f"not run: {city} ({why})" for city, why in skipped.items())


def _given(results: Sequence[RunResult], design: Design) -> list[tuple[Records, float]]:
    """Runs of the user's choice: cities weighed as in the design where they are of it, all else evenly."""
    weight = {a["scenario"]: a["weight"] for a in design.table["archetype"]}
    records = [records_of(r, season=str(r.scenario.start.date()), day="") for r in results]
    count: dict[str, int] = {}
    for r in records:
        count[r.city] = count.get(r.city, 0) + 1
    return [(r, weight.get(r.city, 1.0) / count[r.city]) for r in records]


def _designed(runs: Sequence[PlannedRun], design: Design, out: Path) -> Evidence:
    """Records of all runs, and the moved ones beside their bases."""
    read: dict[str, Records] = {}

    def of(planned: PlannedRun) -> Records:
        if planned.key not in read:
            result = RunResult.open(target_of(out, planned))
            read[planned.key] = records_of(result, city=planned.city, season=planned.season, day=planned.day)
        return read[planned.key]

    known = {a["name"]: a["confidence"] for a in design.table["assumption"]}
    own = [(of(planned), planned.weight) for planned in runs if not planned.assumption]
    varied = [
        (p.assumption, known[p.assumption], p.side, of(p), of(design.base_of(p, list(runs))))
        for p in runs
        if p.assumption
    ]
    return evidence_of(own, varied)


def _campaign_pb(a: FleetAnswer) -> float:
    """One package of the default campaign to every connected car of the covered markets."""
    from twin.settings import OtaSettings

    connected = sum(cars["connected"] for market, cars in a.cars.items() if market not in a.not_covered)
    return float(connected * OtaSettings().package_mb * 1e6 / 1e15)


def as_dict(e: FleetEstimate) -> dict[str, Any]:
    """Plain values for `estimate.json`."""
    return {
        "case": e.case,
        "beside": e.beside,
        "year": e.year,
        "runs": e.runs,
        "size": e.size,
        "estimates": {scope: {n: v.to_dict() for n, v in f.items()} for scope, f in e.now.figures.items()},
        "difference": {scope: {n: v.to_dict() for n, v in f.items()} for scope, f in e.against.items()},
        "path": {
            case: {a.year: {n: v.to_dict() for n, v in a.figures["covered"].items()} for a in answers}
            for case, answers in e.path.items()
        },
        "load_gw_by_hour": {scope: [float(v) for v in profile] for scope, profile in e.now.load_gw.items()},
        "million_km_by_road_class": {
            market: {name: {"driven": d, "engaged": g} for name, (d, g) in found.items()}
            for market, found in e.now.classes.items()
        },
        "engaged_share_by_level": e.now.levels,
        "cars_on_road": e.now.cars,
        "not_covered": {m: {"cars": n, "why": why} for m, (n, why) in e.now.not_covered.items()},
        "width_share": {name: dict(parts) for name, parts in e.now.moves.items()},
        "spread_between_cities": {name: s._asdict() for name, s in e.evidence.spread.items()},
        "km_per_car_and_year": {m: km_per_year(e.now, m) for m in e.evidence.means},
        "ota_campaign_pb": e.ota_pb,
        "cities": {m: dict(found) for m, found in e.evidence.cities.items()},
        "skipped_cities": e.skipped,
    }


def lines(e: FleetEstimate) -> Iterator[str]:
    """The estimate in words."""
    covered = ", ".join(e.evidence.means)
    now = e.now
    yield f"fleet of {e.year}, {e.case}: covered markets {covered}; {e.runs} runs ({e.size})"
    yield ""
    for name in FIGURES:
        yield f"  {WORDS[name]:<32} {_words(now.figures['covered'][name])}"
    yield f"  {'one update to all connected cars':<32} {figure(e.ota_pb[e.case])} PB"
    yield ""
    yield "by market"
    for market in e.evidence.means:
        cars = now.cars[market]
        cities = ", ".join(f"{city} {weight:.0%}" for city, weight in e.evidence.cities[market])
        bev = f"{cars['bev'] / 1e3:,.0f} thousand battery electric"
        yield f"  {market}: {cars['all'] / 1e6:.2f} million cars, {bev} ({cities})"
        for name in MAIN:
            yield f"    {WORDS[name]:<30} {_words(now.figures[market][name])}"
    yield ""
    yield f"{e.case} less {e.beside}, in pairs"
    for name in MAIN:
        yield f"  {WORDS[name]:<32} {_words(e.against['covered'][name])}"
    yield ""
    yield "what makes the intervals wide (share of the squared widths that each alone would make)"
    for name in ("grid_gwh_per_day", "autonomy_share", "cloud_pb_per_month"):
        top = ", ".join(f"{what} {share:.0%}" for what, share in now.moves[name][:3])
        yield f"  {WORDS[name]:<32} {top}"
    yield ""
    yield from spread_lines(e.evidence)
    for market, (cars_there, why) in now.not_covered.items():
        yield f"not covered: {MARKET_WORDS[market]}, {cars_there / 1e6:.2f} million cars ({why})"
    for city, why in e.skipped.items():
        yield f"not run: {city} ({why})"


def spread_lines(evidence: Evidence) -> Iterator[str]:
    """What is known of the difference between cities of a market, in words."""
    count = {market: len(found) for market, found in evidence.cities.items()}
    several = ", ".join(f"{MARKET_WORDS[market]} ({n} cities)" for market, n in count.items() if n > 1)
    single = " and ".join(MARKET_WORDS[market] for market, n in count.items() if n == 1)
    parts = []
    for name in ("grid_gwh_per_day", "autonomy_share", "cloud_pb_per_month"):
        s = evidence.spread[name]
        parts.append(f"{WORDS[name]} {np.expm1(s.sd):.0%}" + (" (assumed)" if s.assumed else ""))
    known = evidence.spread["grid_gwh_per_day"]
    from_ = f"from {several}, {known.freedom} degrees of freedom" if not known.assumed else "assumed"
    yield f"spread between cities of a market, {from_}: {', '.join(parts)}"
    if single and not known.assumed:
        yield f"it is assumed to be as large in {single}, of which one city was run"


def km_per_year(a: FleetAnswer, market: str) -> float:
    """Kilometres that a car of a market drives in a year."""
    return float(a.figures[market]["driven_million_km_per_day"].mean * 1e6 * 365 / a.cars[market]["all"])


def _words(e: Estimate) -> str:
    return str(e).rpartition(", n ")[0] + ")"


def write(e: FleetEstimate, target: Path) -> Path:
    """Write `estimate.json` and tables into a results folder and return it.

    Raises
    ------
    ResultsError, DiskError
    """
    import pandas as pd
    import pyarrow as pa

    from runs.folder import ResultsFolder

    rows = [
        {"case": case, "year": a.year, "scope": scope, "figure": name, **v.to_dict()}
        for case, answers in e.path.items()
        for a in answers
        for scope, figures in a.figures.items()
        for name, v in figures.items()
    ]
    hours = [
        {"scope": scope, "hour": hour, "gw": float(value)}
        for scope, profile in e.now.load_gw.items()
        for hour, value in enumerate(profile)
    ]
    classes = [
        {"market": market, "road_class": name, "million_km": driven, "engaged_million_km": engaged}
        for market, found in e.now.classes.items()
        for name, (driven, engaged) in found.items()
    ]
    about = {"kind": "estimate", "case": e.case, "year": e.year, "runs": e.runs}
    with ResultsFolder(target, about) as folder:
        folder.write_json("estimate.json", as_dict(e))
        for name, table in (("estimates", rows), ("load_by_hour", hours), ("km_by_road_class", classes)):
            frame = pd.DataFrame(table)
            folder.write_table(name, pa.Table.from_pandas(frame, preserve_index=False))
            folder.write_text(f"{name}.csv", frame.to_csv(index=False))
        return folder.publish({"status": "done"})


__all__ = ["MARKETS", "FleetEstimate", "as_dict", "estimate", "lines", "to_do", "write"]
