"""Which models of which year are on a market's roads: sales by family and year, times survival.

Facts: `population.toml` (sales), `adoption.toml` (share of new cars with ProPILOT and
with a modem). Every function is of a catalogue, a market and a year; nothing is drawn here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.facts import load
from twin.fleet.catalogue import REGION_OF_MARKET, Catalogue
from twin.fleet.fleet import Kind


class Sales(NamedTuple):
    """Cars of one kind still on the road, by model and year of sale.

    model, year : int64 (n,), row of the catalogue and calendar year
    units : float64 (n,), cars (or, where no sales are known, months on sale) that survive
    """

    model: NDArray[np.int64]
    year: NDArray[np.int64]
    units: NDArray[np.float64]


def months_on_sale(catalogue: Catalogue, years: NDArray[np.int64]) -> NDArray[np.int64]:
    """Months that each model was on sale in each calendar year, shape (n_models, n_years)."""
    first = np.maximum(catalogue.launch[:, None], 12 * years[None, :])
    last = np.minimum(catalogue.end[:, None], 12 * years[None, :] + 12)
    months: NDArray[np.int64] = np.maximum(0, last - first)
    return months


def sold(catalogue: Catalogue, market: str, year: int) -> NDArray[np.float64]:
    """Cars sold in a market by model and calendar year up to `year`, shape (n_models, n_years).

    Years run from the first of `population.toml`. Families with known sales share
    them by months on sale. A model of the market that no family holds (a user's own)
    counts as sold like the median model of its kind there, month by month.
    """
    facts = load("population")
    years = np.arange(facts["years"]["first"], year + 1)
    months = months_on_sale(catalogue, years).astype(float)
    units = np.zeros_like(months)
    known = np.zeros(len(catalogue), np.bool_)
    for family in facts["family"]:
        if family["market"] != market:
            continue
        rows = np.array([catalogue.row(name) for name in family["models"]])
        known[rows] = True
        thousand = np.zeros(len(years))
        given = np.array(family["thousand"][: len(years)], float)
        thousand[: len(given)] = given
        total = months[rows].sum(axis=0)
        # a year of sales without a model on sale would be lost; a test watches the table for it
        share = np.divide(months[rows], total, out=np.zeros_like(months[rows]), where=total > 0)
        units[rows] += 1000.0 * thousand * share
    own = catalogue.sold_in(REGION_OF_MARKET[market]) & ~known
    for kind in Kind:
        alike = known & (catalogue.kinds == kind) & (units.sum(axis=1) > 0)
        pace = np.median(units[alike].sum(axis=1) / months[alike].sum(axis=1)) if alike.any() else 1.0
        rows = own & (catalogue.kinds == kind)
        units[rows] = pace * months[rows]
    return units


def on_road(catalogue: Catalogue, market: str, year: int) -> dict[Kind, Sales]:
    """Cars on the road at the end of `year` by kind.

    Where a market never had a kind by then (e-POWER in the United States), the models
    on sale anywhere else stand in, by months on sale: a scenario may ask for what the
    market did not get. A kind that existed nowhere is left out.
    """
    facts = load("population")
    first = facts["years"]["first"]
    years = np.arange(first, year + 1)
    survival = facts["survival"]["per_year"] ** (year - years)
    here = sold(catalogue, market, year) * survival
    anywhere = months_on_sale(catalogue, years) * survival
    result = {}
    for kind in Kind:
        units = np.where((catalogue.kinds == kind)[:, None], here, 0.0)
        if not units.any():
            units = np.where((catalogue.kinds == kind)[:, None], anywhere, 0.0)
        model, column = np.nonzero(units)
        if len(model):
            result[kind] = Sales(model, years[column], units[model, column])
    return result


def _among_able(
    new_share: NDArray[np.float64], able: NDArray[np.bool_], units: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A share of all new cars as a share of those that are able to have it, by year, at most 1."""
    total = units.sum(axis=0)
    share = np.divide(np.where(able, units, 0.0).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    result: NDArray[np.float64] = np.divide(new_share, share, out=np.ones_like(share), where=share > 0)
    return np.minimum(1.0, result, out=result)


def propilot_offered(catalogue: Catalogue, years: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a car of a model and year can have ProPILOT, shape (n_models, n_years)."""
    return (catalogue.propilot[:, None] > 0) & (catalogue.propilot_since[:, None] < 12 * years[None, :] + 12)


def fitment(catalogue: Catalogue, market: str, year: int) -> NDArray[np.float64]:
    """Share with ProPILOT among the cars of each year whose model offers it, shape (n_years,).

    `adoption.toml` knows the share of all new cars; divided by the share of new cars
    whose model offers it in that market and year, at most 1.
    """
    facts = load("adoption")["propilot_fitment_new_sales"]
    years = np.arange(load("population")["years"]["first"], year + 1)
    # no car before the first year of the table
    fitted = np.interp(years, [facts["years"][0] - 1, *facts["years"]], [0.0, *facts[market]])
    return _among_able(fitted, propilot_offered(catalogue, years), sold(catalogue, market, year))


def generation(catalogue: Catalogue, market: str, years: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Modem generation by model and year of sale (0 none), shape (n_models, n_years)."""
    table = np.repeat(catalogue.generation[:, None], len(years), axis=1)
    modems = [m for m in load("population")["modem"] if m.get("market", market) == market]
    for modem in sorted(modems, key=lambda m: m["from_year"]):
        table[catalogue.row(modem["model"]), years >= modem["from_year"]] = modem["generation"]
    return np.where(catalogue.tcu_since[:, None] < 12 * years[None, :] + 12, table, 0).astype(np.uint8)


def switched_off(market: str, year: int) -> tuple[int, ...]:
    """Modem generations without a network at the end of `year`."""
    return tuple(s["generation"] for s in load("population")["sunset"] if s["market"] == market and s["year"] <= year)


def activation(catalogue: Catalogue, market: str, year: int) -> NDArray[np.float64]:
    """Share with an active modem among the cars of each year whose model has one, shape (n_years,).

    Built like `fitment`, from the share of all new cars with an active modem.
    """
    facts = load("adoption")["connected_share_new_sales"]
    years = np.arange(load("population")["years"]["first"], year + 1)
    active = np.interp(years, facts["years"], facts[market])  # before the table as in its first year
    return _among_able(active, generation(catalogue, market, years) > 0, sold(catalogue, market, year))
