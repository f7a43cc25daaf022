"""Which cars of which year are on a market's roads: a case's sales by model and year, times survival.

Every function is of a case, a market and a year; nothing is drawn here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.facts import load
from twin.fleet.cases import Case, on_sale
from twin.fleet.fleet import Kind

_LTE = 4


class Sales(NamedTuple):
    """Cars of one kind still on the road, by model and year of sale.

    model, year : int64 (n,), row of the catalogue and calendar year
    units : float64 (n,), cars (or, where none were sold, months on sale anywhere) that survive
    here : whether the market sold any
    """

    model: NDArray[np.int64]
    year: NDArray[np.int64]
    units: NDArray[np.float64]
    here: bool


def years_to(case: Case, year: int) -> NDArray[np.int64]:
    """Calendar years of sale up to `year`."""
    return np.arange(case.first_year, year + 1)


def _yearly(values: NDArray[np.float64], n_years: int) -> NDArray[np.float64]:
    """Sums over calendar years of the last axis, of which the first `n_years` are kept."""
    result: NDArray[np.float64] = values[..., : 12 * n_years].reshape(*values.shape[:-1], n_years, 12).sum(axis=-1)
    return result


def sold(case: Case, market: str, year: int) -> NDArray[np.float64]:
    """Cars sold in a market by model and calendar year up to `year`, shape (n_models, n_years)."""
    return _yearly(case.units[case.of(market)], year + 1 - case.first_year)


def survival(case: Case, year: int) -> NDArray[np.float64]:
    """Share of the cars of each calendar year that is on the road at the end of `year`, shape (n_years,)."""
    result: NDArray[np.float64] = load("population")["survival"]["per_year"] ** (year - years_to(case, year))
    return result


def on_road(case: Case, market: str, year: int) -> dict[Kind, Sales]:
    """Cars on the road at the end of `year` by kind.

    Where a market never had a kind by then (e-POWER in the United States), the models
    on sale anywhere else stand in, by months on sale: a scenario may ask for what the
    market did not get. A kind that existed nowhere is left out.
    """
    years = years_to(case, year)
    alive = survival(case, year)
    here = sold(case, market, year) * alive
    anywhere = _yearly(on_sale(case.catalogue, case.months).astype(float), len(years)) * alive
    result = {}
    for kind in Kind:
        rows = (case.catalogue.kinds == kind)[:, None]
        units = np.where(rows, here, 0.0)
        was_sold = bool(units.any())
        if not was_sold:
            units = np.where(rows, anywhere, 0.0)
        model, column = np.nonzero(units)
        if len(model):
            result[kind] = Sales(model, years[column], units[model, column], was_sold)
    return result


def _among_able(new: NDArray[np.float64], able: NDArray[np.bool_], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """New cars with an equipment as a share of those that are able to have it, by year, at most 1."""
    can = np.where(able, units, 0.0).sum(axis=0)
    result: NDArray[np.float64] = np.divide(new, can, out=np.ones_like(can), where=can > 0)
    return np.minimum(1.0, result, out=result)


def _equipped(case: Case, market: str, year: int, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """New cars of each calendar year with an equipment that `share` (n_markets, n_months) of all new cars has."""
    row = case.of(market)
    return _yearly(case.units[row].sum(axis=0) * share[row], year + 1 - case.first_year)


def propilot_offered(case: Case, years: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a car of a model and year can have ProPILOT, shape (n_models, n_years)."""
    result: NDArray[np.bool_] = case.propilot_since[:, None] < 12 * years[None, :] + 12
    return result


def fitment(case: Case, market: str, year: int) -> NDArray[np.float64]:
    """Share with ProPILOT among the cars of each year whose model offers it, shape (n_years,).

    A case knows the share of all new cars; divided by the share of new cars whose
    model offers it in that market and year, at most 1.
    """
    able = propilot_offered(case, years_to(case, year))
    return _among_able(_equipped(case, market, year, case.fitted), able, sold(case, market, year))


def generation(case: Case, market: str, years: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Modem generation by model and year of sale (0 none), shape (n_models, n_years)."""
    catalogue = case.catalogue
    table = np.repeat(catalogue.generation[:, None], len(years), axis=1)
    modems = [m for m in load("population")["modem"] if m.get("market", market) == market]
    for modem in sorted(modems, key=lambda m: m["from_year"]):
        table[catalogue.row(modem["model"]), years >= modem["from_year"]] = modem["generation"]
    table = np.where(catalogue.tcu_since[:, None] < 12 * years[None, :] + 12, table, 0)
    everyone = years >= case.modem_from[case.of(market)]
    return np.where(everyone[None, :] & (table == 0), _LTE, table).astype(np.uint8)


def switched_off(market: str, year: int) -> tuple[int, ...]:
    """Modem generations without a network at the end of `year`."""
    return tuple(s["generation"] for s in load("population")["sunset"] if s["market"] == market and s["year"] <= year)


def activation(case: Case, market: str, year: int) -> NDArray[np.float64]:
    """Share with an active modem among the cars of each year whose model has one, shape (n_years,).

    Built like `fitment`, from the share of all new cars with an active modem.
    """
    able = generation(case, market, years_to(case, year)) > 0
    return _among_able(_equipped(case, market, year, case.connected), able, sold(case, market, year))
