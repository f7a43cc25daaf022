"""Cohorts: cars of one model, year, market, ProPILOT level and connectivity, sold and still on the road.

A cohort's cars are alike in all that the three estimates depend on. Sums over cohorts
are sums over sales: splitting one changes no total.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.facts import load
from twin.fleet import sales
from twin.fleet.cases import MARKETS, Case, family_name
from twin.fleet.fleet import Kind

KIND_WORDS = {Kind.ELECTRIC: "bev", Kind.EPOWER: "e-power", Kind.COMBUSTION: "combustion"}
"""Kinds as they are called in tables."""


class Cohorts(NamedTuple):
    """Cohorts with a car on the road at the end of a year; arrays have one entry per cohort.

    market : int64, index into MARKETS
    model : int64, row of the case's catalogue
    year : int64, calendar year of sale
    level : uint8, index into PROPILOT_LEVELS
    connected : bool, with an active modem that has a network
    sold, on_road : float64, cars
    """

    market: NDArray[np.int64]
    model: NDArray[np.int64]
    year: NDArray[np.int64]
    level: NDArray[np.uint8]
    connected: NDArray[np.bool_]
    sold: NDArray[np.float64]
    on_road: NDArray[np.float64]


def cohorts(case: Case, year: int, *, markets: tuple[str, ...] = MARKETS) -> Cohorts:
    """Every cohort with a car on the road at the end of a calendar year, market by market.

    Parameters
    ----------
    case : Case
        Whose sales.
    year : int
        Calendar year, up to the last of `facts/population.toml`.
    markets : tuple of str
        Which markets.

    Raises
    ------
    CaseError
        When a market or the year is outside the data.
    """
    case.between(12 * case.first_year, 12 * year + 12)
    years = sales.years_to(case, year)
    alive = sales.survival(case, year)
    parts = []
    for market in markets:
        units = sales.sold(case, market, year)
        fitted = np.where(sales.propilot_offered(case, years), sales.fitment(case, market, year), 0.0)
        generation = sales.generation(case, market, years)
        active = np.where(generation > 0, sales.activation(case, market, year), 0.0)
        dead = np.isin(generation, sales.switched_off(market, year))
        model, column = np.nonzero(units)
        sold, p, q = (x[model, column] for x in (units, fitted, np.where(dead, 0.0, active)))
        for with_propilot in (False, True):
            for connected in (False, True):
                share = (p if with_propilot else 1 - p) * (q if connected else 1 - q)
                keep = share > 0
                level = case.propilot[model] if with_propilot else np.zeros(len(model), np.uint8)
                parts.append(
                    Cohorts(
                        np.full(keep.sum(), case.of(market)),
                        model[keep],
                        years[column[keep]],
                        level[keep],
                        np.full(keep.sum(), connected),
                        (sold * share)[keep],
                        (sold * share * alive[column])[keep],
                    )
                )
    return Cohorts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Milestone(NamedTuple):
    """A published count beside the case's own.

    what, when, source, confidence : text
    stated, found : cars
    """

    what: str
    when: str
    stated: float
    found: float
    source: str
    confidence: str


def sold_between(
    case: Case,
    first: int,
    stop: int,
    *,
    markets: tuple[str, ...] = MARKETS,
    kinds: tuple[Kind, ...] = tuple(Kind),
    family: str = "",
) -> float:
    """Cars sold from month `first` to before `stop` (months since year 0).

    Parameters
    ----------
    family : str
        Only models whose id begins so.

    Raises
    ------
    CaseError
        When the months lie outside the data.
    """
    models = case.catalogue
    rows = np.isin(models.kinds, kinds) & np.array([name.startswith(family) for name in models.ids])
    where = [case.of(market) for market in markets]
    return float(case.units[where][:, rows, case.between(first, stop)].sum())


def equipped_between(case: Case, first: int, stop: int, *, what: str, markets: tuple[str, ...] = MARKETS) -> float:
    """New cars with `what` ("propilot" or "connected") sold from month `first` to before `stop`."""
    share = {"propilot": case.fitted, "connected": case.connected}[what]
    where = [case.of(market) for market in markets]
    months = case.between(first, stop)
    return float((case.units[where].sum(axis=1) * share[where])[:, months].sum())


class FiscalYear(NamedTuple):
    """New cars of one fiscal year (1 April to 31 March)."""

    fiscal_year: int
    cars: float
    bev: float
    e_power: float
    propilot: float
    connected: float


def fiscal_years(case: Case, *, markets: tuple[str, ...] = MARKETS) -> list[FiscalYear]:
    """Sales by fiscal year, to the last whole one before the facts end."""
    result = []
    for year in range(case.first_year, load("population")["years"]["last"]):
        span = (12 * year + 3, 12 * year + 15)
        counted = [sold_between(case, *span, markets=markets, kinds=kinds) for kinds in _COUNTED]
        equipped = [equipped_between(case, *span, what=what, markets=markets) for what in ("propilot", "connected")]
        result.append(FiscalYear(year, *counted, *equipped))
    return result


_COUNTED: tuple[tuple[Kind, ...], ...] = (tuple(Kind), (Kind.ELECTRIC,), (Kind.EPOWER,))
_MILESTONES: dict[str, tuple[tuple[str, ...], tuple[Kind, ...], str]] = {
    "LEAF worldwide": (MARKETS, (Kind.ELECTRIC,), "leaf"),
    "LEAF Europe": (("europe",), (Kind.ELECTRIC,), "leaf"),
    "Nissan battery EV Japan": (("japan",), (Kind.ELECTRIC,), ""),
    "e-NV200 Europe": (("europe",), (Kind.ELECTRIC,), "env200"),
    "e-POWER Japan sales": (("japan",), (Kind.EPOWER,), ""),
    "e-POWER Europe sales": (("europe",), (Kind.EPOWER,), ""),
}
_BY_REGION = {
    "Japan": ("japan",),
    "North America": ("us", "canada_mexico"),
    "Europe": ("europe",),
    "China": ("china",),
    "Total": MARKETS,
}


def milestones(case: Case) -> list[Milestone]:
    """Every cumulative count of `adoption.toml` that the cohorts can answer, with what they say.

    Counts are to the end of the month; the ledger of "Other" regions is inside the totals.
    """
    start = 12 * case.first_year
    end = start + case.units.shape[2]
    result = []
    for entry in load("adoption")["cumulative"]:
        about = (entry["source"], entry["confidence"])
        what = entry["what"]
        by_region = "2023-06-30" in what or "2024-10-31" in what
        for label, stated in entry["points"]:
            if by_region:
                if label not in _BY_REGION:
                    continue
                stop = 12 * 2023 + 6 if "2023" in what else 12 * 2024 + 10
                kinds: tuple[Kind, ...] = (Kind.ELECTRIC,) if "battery" in what else (Kind.EPOWER,)
                if stop > 12 * (load("population")["years"]["last"] + 1) and label != "Japan":
                    continue  # sales beyond the last full year are known for Japan's e-POWER cars only
                found = sold_between(case, start, stop, markets=_BY_REGION[label], kinds=kinds)
                result.append(Milestone(f"{what}: {label}", f"{stop // 12}-{stop % 12:02d}", stated, found, *about))
                continue
            year, month = (int(part) for part in label.split("-"))
            stop = 12 * year + month
            if stop > end or not stated:  # a stated 0 marks the month of the first sale
                continue
            if what == "ProPILOT-equipped cars worldwide":
                found = equipped_between(case, start, stop, what="propilot")
            elif what in _MILESTONES:
                markets, kinds, family = _MILESTONES[what]
                found = sold_between(case, start, stop, markets=markets, kinds=kinds, family=family)
            else:
                continue
            result.append(Milestone(what, label, stated, found, *about))
    return result


class Goal(NamedTuple):
    """A goal of the plan for its last fiscal year beside a case's figure."""

    what: str
    goal: float
    found: float
    note: str


def goals(case: Case) -> list[Goal]:
    """The plan's goals (`plan_2018` of `adoption.toml`) beside what a case sells in fiscal 2022.

    Both readings of the ProPILOT goal are listed: a million a year, and a million within
    the plan (fiscal 2018 to 2022).
    """
    plan = load("adoption")["plan_2018"]
    keys = tuple(load("plan")["case"]["goals"]["key_markets"])
    span = (12 * 2022 + 3, 12 * 2022 + 15)
    electrified = sold_between(case, *span, kinds=(Kind.ELECTRIC, Kind.EPOWER))
    yearly = equipped_between(case, *span, what="propilot")
    within = equipped_between(case, 12 * 2018 + 3, span[1], what="propilot")
    connected = equipped_between(case, *span, what="connected", markets=keys)
    since = [n for n in case.new_models if n.kind == Kind.ELECTRIC and 12 * 2018 + 3 <= n.month < span[1]]
    # a case's own names are models; the catalogue's are variants of models
    bev_models = len({family_name(n.name) if n.name in case.catalogue.names else n.name for n in since})
    offered = sum(month < span[1] for _, month in case.propilot_models)
    return [
        Goal("electrified cars sold in the year", plan["electrified_sales_per_year_target_fy2022"], electrified, ""),
        Goal("new battery electric models since the plan", plan["new_bev_models"], bev_models, ""),
        Goal("models with ProPILOT", plan["propilot_models"], offered, ""),
        Goal("ProPILOT cars, read as a year's", plan["propilot_cars_target"], yearly, "one reading of the press"),
        Goal("ProPILOT cars, read as the plan's", plan["propilot_cars_target"], within, "the other reading"),
        Goal(
            "connected share of new cars, key markets",
            plan["connected_share_new_cars_end_of_plan"],
            connected / sold_between(case, *span, markets=keys),
            ", ".join(keys),
        ),
    ]
