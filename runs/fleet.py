"""The fleet of a case in tables: sales by fiscal year, cars on the road, new models, published counts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twin.facts import load
from twin.fleet import cohorts as c
from twin.fleet.cases import MARKETS, Case, CaseError, load_case, project_models
from twin.fleet.catalogue import Param
from twin.fleet.fleet import Kind
from twin.fleet.model_file import PROPILOT_LEVELS

if TYPE_CHECKING:
    import pandas as pd

FIRST_YEAR = 2016
"""Fiscal years before it are in the files, not in the printed table: there was no e-POWER and no ProPILOT."""

_MOST_MODELS = 14
_J_PER_KWH = 3_600_000.0


@dataclass(frozen=True)
class FleetReport:
    """What `twin fleet` prints and writes.

    Attributes
    ----------
    case, title : str
    markets : tuple of str
    year : int
        The cars on the road are those at the end of this calendar year.
    sales : DataFrame
        By fiscal year: cars, bev, e_power, propilot, connected, and the shares of new cars.
    cohorts : DataFrame
        See `cohort_table`.
    new_models : DataFrame
        month, name, kind, markets, parameters_of (the catalogue's model).
    milestones : DataFrame
        what, when, stated, found, source, confidence; empty unless all markets are asked for.
    goals : DataFrame
        The plan's goals beside the case: what, goal, found.
    """

    case: str
    title: str
    markets: tuple[str, ...]
    year: int
    sales: pd.DataFrame
    cohorts: pd.DataFrame
    new_models: pd.DataFrame
    milestones: pd.DataFrame
    goals: pd.DataFrame


def fleet_report(case_name: str, *, year: int, market: str | None = None) -> FleetReport:
    """Build the report of a case.

    Parameters
    ----------
    case_name : str
        actual, plan, plan-within, or a TOML file in the layout of `twin/facts/plan.toml`.
    year : int
        Cars on the road at the end of this calendar year.
    market : str, optional
        Only this market.

    Raises
    ------
    CaseError
        No such case, market or year.
    """
    import pandas as pd

    span = load("population")["years"]
    if not span["first"] <= year <= span["last"]:
        raise CaseError(f"year {year}; valid: {span['first']} to {span['last']}")
    case = load_case(case_name, project_models())
    markets = MARKETS if market is None else (market,)
    if market is not None:
        case.of(market)
    new = [
        (
            f"{model.month // 12}-{model.month % 12 + 1:02d}",
            model.name,
            c.KIND_WORDS[model.kind],
            ", ".join(m for m in model.markets if m in markets),
            model.stands_in,
        )
        for model in case.new_models
        if set(model.markets) & set(markets)
    ]
    sold = pd.DataFrame(c.fiscal_years(case, markets=markets))
    for share, counted in (
        ("electrified_share", sold.bev + sold.e_power),
        ("propilot_share", sold.propilot),
        ("connected_share", sold.connected),
    ):
        sold[share] = counted / sold.cars
    return FleetReport(
        case=case.name,
        title=case.title,
        markets=markets,
        year=year,
        sales=sold,
        cohorts=cohort_table(case, year, markets=markets),
        new_models=pd.DataFrame(new, columns=["month", "name", "kind", "markets", "parameters_of"]),
        milestones=pd.DataFrame(c.milestones(case) if market is None else [], columns=list(c.Milestone._fields)),
        goals=pd.DataFrame(c.goals(case) if market is None else [], columns=list(c.Goal._fields)),
    )


def cohort_table(case: Case, year: int, *, markets: tuple[str, ...] = MARKETS) -> pd.DataFrame:
    """Cohorts in words: market, model, name, brand, kind, year, battery_kwh, propilot, connected, sold, on_road."""
    import pandas as pd

    found, models = c.cohorts(case, year, markets=markets), case.catalogue
    table = pd.DataFrame(
        {
            "market": np.array(MARKETS)[found.market],
            "model": np.array(models.ids)[found.model],
            "name": np.array(models.names)[found.model],
            "brand": np.array(models.brands)[found.model],
            "kind": [c.KIND_WORDS[Kind(kind)] for kind in models.kinds[found.model]],
            "year": found.year,
            "battery_kwh": models.matrix[found.model, Param.CAPACITY] / _J_PER_KWH,
            "propilot": np.array(PROPILOT_LEVELS)[found.level],
            "connected": found.connected,
            "sold": found.sold,
            "on_road": found.on_road,
        }
    )
    return table.sort_values(["market", "kind", "model", "year", "propilot", "connected"], ignore_index=True)


def as_dict(report: FleetReport) -> dict[str, Any]:
    """Everything but the single cohorts, as plain values."""
    road = report.cohorts
    return {
        "case": report.case,
        "title": report.title,
        "markets": list(report.markets),
        "year": report.year,
        "on_road": float(road.on_road.sum()),
        **{
            f"on_road_by_{key}": {str(k): float(v) for k, v in road.groupby(key).on_road.sum().items()}
            for key in ("market", "kind", "brand", "model", "propilot", "connected")
        },
        **{key: getattr(report, key).to_dict("records") for key in ("sales", "new_models", "milestones", "goals")},
    }


def lines(report: FleetReport) -> Iterator[str]:
    """The report in words."""
    where = "all markets" if len(report.markets) > 1 else report.markets[0]
    yield f"{report.title} ({report.case}), {where}; thousand cars"
    yield ""
    yield "sold by fiscal year (1 April to 31 March)"
    yield f"  {'':6}{'cars':>9}{'BEV':>8}{'e-POWER':>9}{'electrified':>13}{'ProPILOT':>16}{'connected':>17}"
    for row in report.sales.itertuples():
        if row.fiscal_year >= FIRST_YEAR:
            yield (
                f"  {row.fiscal_year:<6}{row.cars / 1e3:9,.0f}{row.bev / 1e3:8,.0f}{row.e_power / 1e3:9,.0f}"
                f"{row.electrified_share:13.1%}{row.propilot / 1e3:9,.0f}{row.propilot_share:7.1%}"
                f"{row.connected / 1e3:10,.0f}{row.connected_share:7.1%}"
            )
    yield ""
    road = report.cohorts
    total = road.on_road.sum()
    yield f"on the road at the end of {report.year}: {total / 1e3:,.0f} (sold from 2010 on, of which 3 % a year leave)"
    for key, label in (("market", "market"), ("kind", "kind"), ("propilot", "ProPILOT"), ("connected", "connected")):
        parts = road.groupby(key).on_road.sum().sort_values(ascending=False)
        words = {True: "yes", False: "no"}
        shown = ", ".join(f"{words.get(k, k)} {v / 1e3:,.0f} ({v / total:.1%})" for k, v in parts.items())
        yield f"  {label:<10} {shown}"
    electrified = road[road.kind != "combustion"].groupby("name").on_road.sum().sort_values(ascending=False)
    if len(electrified):
        yield ""
        yield "electrified models on the road"
        for name, units in electrified.head(_MOST_MODELS).items():
            yield f"  {name:<44}{units / 1e3:9,.1f}"
        rest = electrified.iloc[_MOST_MODELS:]
        if len(rest):
            yield f"  {f'{len(rest)} more models':<44}{rest.sum() / 1e3:9,.1f}"
    new = report.new_models[report.new_models.kind != "combustion"]
    if len(new):
        yield ""
        yield "new electrified models (month of the first sale)"
        for row in new.itertuples():
            yield f"  {row.month}  {row.name:<40} {row.kind:<8} {row.markets}"
    if len(report.goals):
        yield ""
        yield "goals of the plan for fiscal 2022"
        for row in report.goals.itertuples():
            yield f"  {row.what:<52}{_amount(row.goal):>12}{_amount(row.found):>12}  {row.note}"
    if len(report.milestones):
        yield ""
        yield "published counts beside this case (cars)"
        for row in report.milestones.itertuples():
            off = f"{row.found / row.stated - 1:+.1%}" if row.stated else ""
            yield f"  {row.what:<58} {row.when}{row.stated:12,.0f}{row.found:12,.0f}{off:>8}  {row.confidence}"


def write(report: FleetReport, target: Path) -> Path:
    """Write tables into a results folder and return it.

    Raises
    ------
    ResultsError, DiskError
        When the folder is something else, or cannot be written.
    """
    import pyarrow as pa

    from runs.folder import ResultsFolder

    about = {"kind": "fleet", "case": report.case, "markets": list(report.markets), "year": report.year}
    with ResultsFolder(target, about) as folder:
        folder.write_json("fleet.json", as_dict(report))
        for name in ("sales", "cohorts", "new_models", "milestones", "goals"):
            frame = getattr(report, name)
            if not len(frame):  # goals and counts are of all markets together
                continue
            folder.write_table(name, pa.Table.from_pandas(frame, preserve_index=False))
            folder.write_text(f"{name}.csv", frame.to_csv(index=False))
        return folder.publish({"status": "done"})


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value > 1.5 else f"{value:.0%}" if 0 < value <= 1 else f"{value:g}"
