"""What was sold where: the actual course, the plan's, or a user's own, month by month.

`actual` is `facts/population.toml` and `facts/adoption.toml`. Any other case is a
file in the layout of `facts/plan.toml`: from its first fiscal year on it says what
each market sells, and what it leaves out is as it really was.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.facts import load
from twin.fleet.catalogue import REGION_OF_MARKET, Catalogue
from twin.fleet.fleet import Kind
from twin.fleet.model_file import CatalogueError, month

MARKETS = ("japan", "europe", "us", "canada_mexico", "china", "other")
"""Markets whose sales are known; the habits of people are known for the first three."""

CASES = ("actual", "plan", "plan-within")
"""Cases that come with the project; `plan-within` reads the goal of a million ProPILOT cars as one within the plan."""

NEVER = 12 * 9999
_VARIANTS = ("e+", "Aura", "e-POWER", "S-Hybrid", "Hybrid", "Sport", "kei", "Zero")
_LTE = 4
_KINDS = {"bev": Kind.ELECTRIC, "e-power": Kind.EPOWER}
_REGION = {**REGION_OF_MARKET, "canada_mexico": "CA", "china": "CN", "other": "OTHER"}
_MARKET_KEYS = ("total_thousand", "electrified_thousand", "bev_share_of_electrified", "propilot_thousand")
_OPTIONAL = ("connected_share",)
_ABOUT = ("source", "confidence", "note")


class NewModel(NamedTuple):
    """A model's first sale: month since year 0, name, kind, markets, and the catalogue's car that stands in for it."""

    month: int
    name: str
    kind: Kind
    markets: tuple[str, ...]
    stands_in: str


class CaseError(ValueError):
    """A case cannot be read or asks for what its models cannot be; one line with file, place and what is valid."""


@dataclass(frozen=True, eq=False)
class Case:
    """Sales and equipment of new cars, by market and month.

    Attributes
    ----------
    name, title : str
    catalogue : Catalogue
        Rows of `units`.
    units : float64 (n_markets, n_models, n_months)
        New cars; months run from January of `first_year`.
    first_year : int
    propilot : uint8 (n_models,)
        Highest level that a model offers.
    propilot_since : int64 (n_models,)
        Months since year 0.
    fitted, connected : float64 (n_markets, n_months)
        Share of all new cars with ProPILOT, and with an active modem.
    modem_from : int64 (n_markets,)
        Year from which cars without a modem of their own come with an LTE one; `NEVER` when not.
    new_models : tuple of NewModel
        In order of their first sale.
    propilot_models : tuple of (str, int)
        Names with ProPILOT as a buyer counts them (all LEAFs are one), and the month of the first.
    """

    name: str
    title: str
    catalogue: Catalogue
    units: NDArray[np.float64]
    first_year: int
    propilot: NDArray[np.uint8]
    propilot_since: NDArray[np.int64]
    fitted: NDArray[np.float64]
    connected: NDArray[np.float64]
    modem_from: NDArray[np.int64]
    new_models: tuple[NewModel, ...]
    propilot_models: tuple[tuple[str, int], ...]

    @property
    def months(self) -> NDArray[np.int64]:
        """Months since year 0, of the last axis of `units`."""
        return 12 * self.first_year + np.arange(self.units.shape[2])

    def of(self, market: str) -> int:
        """Row of a market.

        Raises
        ------
        CaseError
            When its sales are not known.
        """
        if market not in MARKETS:
            raise CaseError(f"no sales of market {market!r}; valid: {', '.join(MARKETS)}")
        return MARKETS.index(market)

    def between(self, first: int, stop: int) -> slice:
        """Months `first` to before `stop` (months since year 0) of the last axis.

        Raises
        ------
        CaseError
            When they lie outside the data.
        """
        start = 12 * self.first_year
        if not start <= first <= stop <= start + self.units.shape[2]:
            last = self.first_year + self.units.shape[2] // 12 - 1
            raise CaseError(f"months {_text(first)} to {_text(stop - 1)}; valid: {self.first_year}-01 to {last}-12")
        return slice(first - start, stop - start)


def load_case(case: str, catalogue: Catalogue) -> Case:
    """A case by name, or from a user's file.

    Parameters
    ----------
    case : str
        One of `CASES`, or the path of a TOML file in the layout of `facts/plan.toml`.
    catalogue : Catalogue
        The models.

    Raises
    ------
    CaseError
        When there is no such case or file, or the file cannot be.
    """
    if case == "actual":
        return actual(catalogue)
    if case in CASES:
        facts = load("plan")
        alternative = None if case == "plan" else facts["alternative"][case]
        return _later(facts, "facts/plan.toml", catalogue, name=case, alternative=alternative)
    path = Path(case)
    if not path.suffix:
        raise CaseError(
            f"no case {case!r}; valid: {', '.join(CASES)}, or a .toml file in the layout of facts/plan.toml"
        )
    return _later(_read(path), str(path), catalogue, name=path.stem, alternative=None)


def actual(catalogue: Catalogue) -> Case:
    """What happened, from the facts."""
    facts, adoption = load("population"), load("adoption")
    first, horizon = facts["years"]["first"], facts["years"]["horizon"]
    n_months = 12 * (horizon - first + 1)
    months = 12 * first + np.arange(n_months)
    fitted, connected = np.zeros((len(MARKETS), n_months)), np.zeros((len(MARKETS), n_months))
    fiscal, calendar = (months - 3) // 12, months // 12
    for row, market in enumerate(MARKETS):
        like = facts["adoption_as"].get(market, market)
        table = adoption["propilot_fitment_new_sales"]
        if like in table:
            held = np.interp(fiscal, table["years"], table[like])  # the last year's share goes on
            fitted[row] = np.where(fiscal < table["years"][0], 0.0, held)
        table = adoption["connected_share_new_sales"]
        connected[row] = np.interp(calendar, table["years"], table[like])
    units = np.stack([_sold(catalogue, market, months) for market in MARKETS])
    since = np.where(catalogue.propilot > 0, catalogue.propilot_since, NEVER)
    return Case(
        name="actual",
        title="what happened",
        catalogue=catalogue,
        units=units,
        first_year=first,
        propilot=catalogue.propilot,
        propilot_since=since,
        fitted=fitted,
        connected=connected,
        modem_from=np.full(len(MARKETS), NEVER),
        new_models=_first_sales(catalogue, units, months),
        propilot_models=_by_family(catalogue, units, since),
    )


def _first_sales(catalogue: Catalogue, units: NDArray[np.float64], months: NDArray[np.int64]) -> tuple[NewModel, ...]:
    """Models first sold after the first month of the data."""
    found = []
    for row, name in enumerate(catalogue.names):
        by_month = units[:, row].sum(axis=0) > 0
        if by_month.any() and not by_month[0]:
            where = tuple(m for m, sold in zip(MARKETS, units[:, row].sum(axis=1), strict=True) if sold > 0)
            kind = Kind(catalogue.kinds[row])
            found.append(NewModel(int(months[by_month.argmax()]), name, kind, where, catalogue.ids[row]))
    return tuple(sorted(found, key=lambda new: new[:2]))


def _by_family(
    catalogue: Catalogue, units: NDArray[np.float64], since: NDArray[np.int64]
) -> tuple[tuple[str, int], ...]:
    first: dict[str, int] = {}
    for row in np.flatnonzero((since < NEVER) & (units.sum(axis=(0, 2)) > 0)):
        name = family_name(catalogue.names[row])
        first[name] = min(first.get(name, NEVER), int(since[row]))
    return tuple(sorted(first.items(), key=lambda item: (item[1], item[0])))


def family_name(name: str) -> str:
    """What a buyer calls one model, whatever its battery or generation: "Nissan LEAF e+ 62 kWh (ZE1)" is a LEAF."""
    words: list[str] = []
    for word in name.replace(" / ", " ").split():
        brand_only = len(words) < 2
        if not brand_only and (word.startswith("(") or any(ch.isdigit() for ch in word) or word in _VARIANTS):
            break
        words.append(word)
    return " ".join(words)


def on_sale(catalogue: Catalogue, months: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each model was on sale in each month (since year 0), shape (n_models, n_months)."""
    result: NDArray[np.bool_] = (catalogue.launch[:, None] <= months) & (months < catalogue.end[:, None])
    return result


def _sold(catalogue: Catalogue, market: str, months: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cars sold by model and month: a family's year is shared evenly by the months its models were on sale in it.

    A model of the market that no family holds (a user's own) counts as sold like the
    median model of its kind there, month by month.
    """
    facts = load("population")
    on = on_sale(catalogue, months).astype(float)
    units = np.zeros_like(on)
    known = np.zeros(len(catalogue), np.bool_)
    for family in facts["family"]:
        if family["market"] != market:
            continue
        rows = np.array([catalogue.row(name) for name in family["models"]])
        known[rows] = True
        if "units" in family:  # counted by month
            start = month(family["months_from"], "facts/population.toml") - months[0]
            counted = np.array(family["units"], float)
            units[rows, start : start + len(counted)] += counted / len(rows)
            continue
        yearly = np.zeros(len(months) // 12)
        yearly[: len(family["thousand"])] = family["thousand"]
        # a year of sales without a model on sale would be lost; a test watches the table for it
        total = on[rows].sum(axis=0).reshape(-1, 12).sum(axis=1)
        pace = np.divide(1000.0 * yearly, total, out=np.zeros_like(total), where=total > 0)
        units[rows] += on[rows] * np.repeat(pace, 12)
    own = catalogue.sold_in(_REGION[market]) & ~known
    for kind in Kind:
        alike = known & (catalogue.kinds == kind) & (units.sum(axis=1) > 0)
        pace = np.median(units[alike].sum(axis=1) / on[alike].sum(axis=1)) if alike.any() else 1.0 / 12
        rows = own & (catalogue.kinds == kind)
        units[rows] = pace * on[rows]
    return units


# ------------------------------------------------------------------ cases from a file


def _later(
    table: dict[str, Any], where: str, catalogue: Catalogue, *, name: str, alternative: dict[str, Any] | None
) -> Case:
    """A case that leaves the actual course with its first fiscal year."""
    base = actual(catalogue)
    years = _years(table, where, base)
    units, fitted, connected = base.units.copy(), base.fitted.copy(), base.connected.copy()
    modem_from = base.modem_from.copy()
    months, start = base.months, 12 * years[0] + 3
    # what lies beyond the last fiscal year goes on as in that year, to the last year that a fleet can be of
    later = (months >= start) & (months < 12 * load("population")["years"]["last"] + 12)
    column = np.minimum((months - 3) // 12 - years[0], len(years) - 1)[later]
    extra, new = _new_models(table, where, base, later)
    weight = float(table["case"].get("existing_weight", 1.0))
    scale = _propilot_scale(table, years, base, alternative)
    for market, given in table["market"].items():
        row = base.of(market) if market in MARKETS else -1
        if row < 0:
            raise CaseError(f"{where}: market {market!r}; valid: {', '.join(MARKETS)}")
        values = _market(given, f"{where}: market.{market}", len(years))
        total, electrified = values["total_thousand"], values["electrified_thousand"]
        bev = electrified * values["bev_share_of_electrified"]
        for kind, thousand in (
            (Kind.ELECTRIC, bev),
            (Kind.EPOWER, electrified - bev),
            (Kind.COMBUSTION, total - electrified),
        ):
            monthly = 1000.0 * thousand[column] / 12
            models = catalogue.kinds == kind
            share = _composition(base.units[row][models][:, later], extra[row][models][:, later], weight)
            missing = (share.sum(axis=0) == 0) & (monthly > 0)
            if missing.any():
                first = _text(int(months[later][missing.argmax()]))
                word = {Kind.ELECTRIC: "bev", Kind.EPOWER: "e-power", Kind.COMBUSTION: "combustion"}[kind]
                raise CaseError(
                    f"{where}: market.{market} sells {word} cars in {first} but no model of that kind is on sale"
                )
            units[row][np.ix_(models, later)] = share * monthly
        thousand = scale * values["propilot_thousand"]
        fitted[row, later] = np.divide(thousand, total, out=np.zeros_like(total), where=total > 0)[column]
        if "connected_share" in values:
            connected[row, later] = values["connected_share"][column]
            modem_from[row] = years[0]
    propilot, since, names = _propilot(table, where, base)
    case = replace(
        base,
        name=name,
        title=str(table["case"].get("title", name)),
        units=units,
        propilot=propilot,
        propilot_since=since,
        fitted=fitted,
        connected=connected,
        modem_from=modem_from,
        new_models=tuple(n for n in base.new_models if n.month < start) + new,
        propilot_models=names,
    )
    _check_equipment(case, where, tuple(table["market"]), years)
    return case


def _composition(
    existing: NDArray[np.float64], new: NDArray[np.float64], existing_weight: float
) -> NDArray[np.float64]:
    """Shares of models by month: those that really sold as they did, the new ones by weight."""
    total = existing.sum(axis=0)
    old = existing_weight * np.divide(existing, total, out=np.zeros_like(existing), where=total > 0)
    both = old + new
    whole = both.sum(axis=0)
    result: NDArray[np.float64] = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return result


def _new_models(
    table: dict[str, Any], where: str, base: Case, later: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], tuple[NewModel, ...]]:
    """The case's new models: their weight by market, catalogue row and month, and the models themselves."""
    extra = np.zeros_like(base.units)
    found = []
    for number, new in enumerate(table.get("new_model", []), 1):
        place = f"{where}: new_model {number}"
        for field in ("name", "from", "kind", "markets", "stands_in"):
            if field not in new:
                raise CaseError(f"{place}: {field} is missing")
        if new["kind"] not in _KINDS:
            raise CaseError(f"{place}: kind {new['kind']!r}; valid: {', '.join(_KINDS)}")
        row = _row(base.catalogue, new["stands_in"], place)
        if base.catalogue.kinds[row] != _KINDS[new["kind"]]:
            raise CaseError(f"{place}: {new['stands_in']} is no {new['kind']} car")
        weight = float(new.get("weight", 1.0))
        if not (np.isfinite(weight) and weight > 0):
            raise CaseError(f"{place}: weight {weight:g}; valid: above 0")
        first = _month(new["from"], place)
        for market in new["markets"]:
            if market not in MARKETS:
                raise CaseError(f"{place}: market {market!r}; valid: {', '.join(MARKETS)}")
            extra[MARKETS.index(market), row] += weight * (later & (base.months >= first))
        kind = Kind(base.catalogue.kinds[row])
        found.append(NewModel(first, str(new["name"]), kind, tuple(new["markets"]), new["stands_in"]))
    return extra, tuple(sorted(found, key=lambda model: model[:2]))


def _propilot(
    table: dict[str, Any], where: str, base: Case
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[tuple[str, int], ...]]:
    """Level and first month by catalogue row (the actual ones, earlier or added where the case says so), and names."""
    level, since = base.propilot.copy(), base.propilot_since.copy()
    names = []
    for number, model in enumerate(table.get("propilot_model", []), 1):
        place = f"{where}: propilot_model {number}"
        first = _month(model.get("from"), place)
        for name in model.get("rows", []):
            row = _row(base.catalogue, name, place)
            level[row] = max(1, level[row])
            since[row] = min(since[row], first)
        names.append((str(model.get("name", number)), first))
    return level, since, tuple(names) or base.propilot_models


def _propilot_scale(table: dict[str, Any], years: list[int], base: Case, alternative: dict[str, Any] | None) -> float:
    """Factor on the case's ProPILOT cars that makes them, with those sold before, the alternative's total."""
    if alternative is None:
        return 1.0
    before = base.between(12 * base.first_year, 12 * years[0] + 3)
    sold = float((base.units.sum(axis=1) * base.fitted)[:, before].sum()) / 1000
    planned = sum(float(np.sum(given["propilot_thousand"])) for given in table["market"].values())
    goal = float(alternative["propilot_cumulative_thousand"])
    return max(0.0, (goal - sold) / planned)


def _check_equipment(case: Case, where: str, markets: tuple[str, ...], years: list[int]) -> None:
    """No market may sell more cars with ProPILOT than cars that can have it."""
    offered = case.propilot_since[:, None] < 12 * (case.months // 12) + 12
    for market in markets:
        row = case.of(market)
        able = np.where(offered, case.units[row], 0.0).sum(axis=0).reshape(-1, 12).sum(axis=1)
        want = (case.units[row].sum(axis=0) * case.fitted[row]).reshape(-1, 12).sum(axis=1)
        over = want > able * (1 + 1e-9)
        over[: years[0] - case.first_year] = False
        if over.any():
            year = int(over.argmax())
            raise CaseError(
                f"{where}: market.{market} fits {want[year] / 1000:.0f} thousand cars with ProPILOT in "
                f"{case.first_year + year}, but only {able[year] / 1000:.0f} thousand are of models that offer it"
            )


# ------------------------------------------------------------------ reading a file


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: {error}") from None
    valid = ("schema_version", "case", "market", "new_model", "propilot_model", "alternative")
    for key in table:
        if key not in valid:
            raise CaseError(f"{path}: {key!r}; valid: {', '.join(valid)}")
    for key in ("case", "market"):
        if not isinstance(table.get(key), dict) or not table[key]:
            raise CaseError(f"{path}: [{key}] is missing; facts/plan.toml shows the layout")
    return table


def _years(table: dict[str, Any], where: str, base: Case) -> list[int]:
    years = table["case"].get("fiscal_years")
    last = base.first_year + base.units.shape[2] // 12 - 1
    whole = isinstance(years, list) and years and all(isinstance(y, int) for y in years)
    if not whole or years != list(range(years[0], years[0] + len(years))):
        raise CaseError(f"{where}: case.fiscal_years must be years in a row, such as [2018, 2019, 2020]")
    if years[0] < base.first_year or years[-1] >= last:
        raise CaseError(f"{where}: case.fiscal_years {years[0]} to {years[-1]}; valid: {base.first_year} to {last - 1}")
    result: list[int] = years
    return result


def _market(given: dict[str, Any], where: str, n_years: int) -> dict[str, NDArray[np.float64]]:
    valid = (*_MARKET_KEYS, *_OPTIONAL)
    for key in given:
        if key not in (*valid, *_ABOUT):
            raise CaseError(f"{where}: {key!r}; valid: {', '.join(valid)}")
    values = {}
    for key in valid:
        if key not in given and key in _OPTIONAL:
            continue
        try:
            array = np.array(given.get(key), float)
        except (TypeError, ValueError):
            array = np.zeros(0)
        if array.shape != (n_years,) or not np.isfinite(array).all() or (array < 0).any():
            raise CaseError(f"{where}: {key} must be {n_years} numbers of 0 or more, one per fiscal year")
        if "share" in key and (array > 1).any():
            raise CaseError(f"{where}: {key} holds a share above 1")
        values[key] = array
    for small in ("electrified_thousand", "propilot_thousand"):
        if (values[small] > values["total_thousand"]).any():
            raise CaseError(f"{where}: {small} is above total_thousand")
    if values["total_thousand"].sum() == 0:
        raise CaseError(f"{where}: total_thousand sums to nothing")
    return values


def _row(catalogue: Catalogue, name: object, place: str) -> int:
    try:
        return catalogue.row(str(name))
    except CatalogueError as error:
        raise CaseError(f"{place}: {error}") from None


def _month(text: object, place: str) -> int:
    try:
        return month(text, place)
    except CatalogueError as error:
        raise CaseError(str(error)) from None


def _text(months: int) -> str:
    return f"{months // 12}-{months % 12 + 1:02d}"


@cache
def project_models() -> Catalogue:
    """The project's own models, with which cohorts of the world are built."""
    return Catalogue.load()
