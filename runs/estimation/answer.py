"""The answers for a fleet: each figure of each market and of all covered ones, with interval and what makes it wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runs.estimates import Estimate
from runs.estimation.between import Spread, factors, normal, pooled
from runs.estimation.records import LEVELS, Floats, Records
from runs.estimation.scaling import (
    DRAWS,
    FIGURES,
    Means,
    Weights,
    autonomy_share,
    by_class,
    engaged_million_km,
    load_gw,
    means_of,
    million_km_per_day,
    weights_of,
)
from twin.facts import load
from twin.fleet.cases import MARKETS, Case, CaseError, load_case, project_models
from twin.fleet.cohorts import cohorts

SIGMAS = {"measured": 2.6, "official": 2.6, "press": 2.0, "derived": 1.64, "recalled": 1.28, "assumption": 1.0}
"""How many standard deviations the stated low and high of an assumption are away: the less it is known, the fewer."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the runs say, before any case.

    Attributes
    ----------
    means : dict of market to Means
    spread : dict of figure to Spread
        Log standard deviation between cities of a market, of the figure of one and the same fleet.
    cities : dict of market to list of (title or name, weight)
    effects : dict of assumption to (confidence, dict of figure to (log ratio low, log ratio high))
    draws : int
    seed : int
    """

    means: dict[str, Means]
    spread: dict[str, Spread]
    cities: dict[str, list[tuple[str, float]]]
    effects: dict[str, tuple[str, dict[str, tuple[float, float]]]]
    draws: int
    seed: int


@dataclass(frozen=True, eq=False)
class FleetAnswer:
    """The estimates for one case and year.

    Attributes
    ----------
    case, year
    figures : dict of scope (a market, or "covered") to dict of figure to Estimate
    draws : dict of scope to dict of figure to float64 (draws,), for paired differences
    load_gw : dict of scope to float64 (24,), the mean day; by the markets' own clocks
    classes : dict of scope to dict of road class to (million km, engaged million km) a day
    levels : dict of scope to dict of ProPILOT level to share of km engaged
    cars : dict of market to cars on the road
    not_covered : dict of market to (cars, why)
    moves : dict of figure to list of (what, share), most first, of "covered"
        Squared width of the interval that each source alone makes, over the sum of these.
    """

    case: str
    year: int
    figures: dict[str, dict[str, Estimate]]
    draws: dict[str, dict[str, Floats]]
    load_gw: dict[str, Floats]
    classes: dict[str, dict[str, tuple[float, float]]]
    levels: dict[str, dict[str, float]]
    cars: dict[str, dict[str, float]]
    not_covered: dict[str, tuple[float, str]]
    moves: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


def evidence_of(
    records: Sequence[tuple[Records, float]],
    varied: Sequence[tuple[str, str, str, Records, Records]] = (),
    *,
    seed: int = 1,
    draws: int = DRAWS,
    city_weight: Mapping[str, float] | None = None,
) -> Evidence:
    """Means, spread and effects from records.

    Parameters
    ----------
    records : sequence of (Records, weight)
        Runs of the answers; weights matter within a market.
    varied : sequence of (assumption, confidence, side, moved run, its base run)
    """
    markets = [m for m in MARKETS if any(r.market == m for r, _ in records)]
    means, cities = {}, {}
    for number, market in enumerate(markets):
        mine = [(r, w) for r, w in records if r.market == market]
        means[market] = means_of(mine, seed=seed + 1000 * number, draws=draws)
        weight: dict[str, float] = {}
        for r, w in mine:
            weight[r.city] = weight.get(r.city, 0.0) + w
        total = sum(weight.values())
        cities[market] = [(city, w / total) for city, w in weight.items()]
    return Evidence(
        means=means,
        spread=_spread(records, seed=seed),
        cities=cities,
        effects=_effects(varied, seed=seed),
        draws=draws,
        seed=seed,
    )


_ONE_OF_EACH = Weights(np.ones((4, len(LEVELS), 2)))
"""A fleet of equal parts, in which cities are compared whatever their market sold."""


def _spread(records: Sequence[tuple[Records, float]], *, seed: int) -> dict[str, Spread]:
    """Log spread between cities of a market, of each figure of one and the same fleet."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in FIGURES}
    for market, city in dict.fromkeys((r.market, r.city) for r, _ in records):
        mine = [(r, w) for r, w in records if (r.market, r.city) == (market, city)]
        m = means_of(mine, seed=seed, draws=1)
        for name, (_, _, figure) in FIGURES.items():
            value = float(figure(m, _ONE_OF_EACH)[0])
            if value > 0:
                found[name].setdefault(market, []).append(float(np.log(value)))
    return {name: pooled(values) for name, values in found.items()}


def _effects(
    varied: Sequence[tuple[str, str, str, Records, Records]], *, seed: int
) -> dict[str, tuple[str, dict[str, tuple[float, float]]]]:
    """Log ratios of each figure under each assumption, meaned over the markets in which it was moved."""
    sides: dict[tuple[str, str], dict[str, list[float]]] = {}
    confidence: dict[str, str] = {}
    for name, known, side, moved, base in varied:
        confidence[name] = known
        a, b = means_of([(base, 1.0)], seed=seed, draws=1), means_of([(moved, 1.0)], seed=seed, draws=1)
        for figure_name, (_, _, figure) in FIGURES.items():
            before, after = float(figure(a, _ONE_OF_EACH)[0]), float(figure(b, _ONE_OF_EACH)[0])
            if before > 0 and after > 0:
                sides.setdefault((name, side), {}).setdefault(figure_name, []).append(np.log(after / before))
    result = {}
    for name, known in confidence.items():
        ratio = {
            f: tuple(float(np.mean(sides.get((name, side), {}).get(f, [0.0]))) for side in ("low", "high"))
            for f in FIGURES
        }
        result[name] = (known, ratio)
    return result  # type: ignore[return-value]


def answer(
    evidence: Evidence,
    case_name: str,
    year: int,
    *,
    markets: Sequence[str] = MARKETS,
    cohort_assumptions: Sequence[Mapping[str, Any]] = (),
) -> FleetAnswer:
    """Estimates for the fleet of a case at the end of a year.

    Parameters
    ----------
    evidence : Evidence
    case_name : str
        As `twin.fleet.cases.load_case` takes it.
    markets : sequence of str
        Which; those without runs are listed as not covered.
    cohort_assumptions : sequence of tables
        `[[cohort_assumption]]` of the design.

    Raises
    ------
    CaseError
        No such case or year.
    """
    models = project_models()
    case = load_case(case_name, models)
    span = load("population")["years"]
    if not span["first"] <= year <= span["last"]:
        raise CaseError(f"year {year}; valid: {span['first']} to {span['last']}")

    def weigh(which: Case, market: str, survival: float | None = None) -> Weights:
        found = cohorts(which, year, markets=(market,))
        if survival is not None:
            known = load("population")["survival"]["per_year"]
            found = found._replace(on_road=found.on_road * (survival / known) ** (year - found.year))
        return weights_of(found, models.matrix, models.kinds)

    covered = [m for m in markets if m in evidence.means]
    base = {m: weigh(case, m) for m in markets}
    moved = {
        a["name"]: (
            a["confidence"],
            {
                side: {m: _reweighed(case, a, _of_market(a[side], m), m, weigh) for m in covered}
                for side in ("low", "high")
            },
        )
        for a in cohort_assumptions
    }
    figures: dict[str, dict[str, Estimate]] = {}
    drawn: dict[str, dict[str, Floats]] = {}
    parts = {name: _Parts(evidence, name, moved, base, covered) for name in FIGURES}
    for scope in [*covered, "covered"]:
        which = covered if scope == "covered" else [scope]
        figures[scope], drawn[scope] = {}, {}
        for name, (unit, _, _) in FIGURES.items():
            mean, draws = parts[name].total(which)
            low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (mean, mean)
            n = sum(evidence.means[m].cars for m in which)
            scaled = f"cohorts of {', '.join(which)}, {case.name} {year}"
            figures[scope][name] = Estimate(
                mean,
                min(float(low), mean),
                max(float(high), mean),
                n,
                unit,
                f"{scaled}; cars of runs by type and equipment",
            )
            drawn[scope][name] = draws
    return FleetAnswer(
        case=case.name,
        year=year,
        figures=figures,
        draws=drawn,
        load_gw=_profiles(evidence, base, covered),
        classes={m: by_class(evidence.means[m], base[m]) for m in covered},
        levels={m: _levels(evidence.means[m], base[m]) for m in covered},
        cars={
            m: {
                "all": float(w.cars.sum()),
                "bev": float(w.by_type[:2].sum()),
                "e_power": float(w.by_type[2]),
                "propilot": float(w.by_level[:, 1:].sum()),
                "connected": float(w.connected.sum()),
            }
            for m, w in base.items()
        },
        not_covered={m: (float(base[m].cars.sum()), _why(m)) for m in markets if m not in covered},
        moves={name: parts[name].moves(covered) for name in FIGURES},
    )


class _Parts:
    """One figure, with the sources of its uncertainty apart."""

    def __init__(
        self,
        evidence: Evidence,
        name: str,
        moved: Mapping[str, tuple[str, Mapping[str, Mapping[str, Weights]]]],
        base: Mapping[str, Weights],
        covered: Sequence[str],
    ) -> None:
        self.evidence, self.name = evidence, name
        _, self.adds, self.figure = FIGURES[name]
        self.value = {m: self.figure(evidence.means[m], base[m]) for m in covered}
        # a ratio of several markets is weighed by what it is a share of
        self.part = {m: np.ones(1 + evidence.draws) for m in covered}
        if not self.adds:
            self.part = {m: million_km_per_day(evidence.means[m], base[m]) for m in covered}
        # no load curve peaks below its own mean
        energy = FIGURES["grid_gwh_per_day"][2]
        self.least = {m: float(energy(evidence.means[m], base[m])[0]) / 24 for m in covered}
        n = evidence.draws
        self.factors: dict[str, dict[str, Floats]] = {}
        for row, (what, (known, ratio)) in enumerate(evidence.effects.items()):
            low, high = ratio[name]
            self.factors[what] = dict.fromkeys(covered, _factor(low, high, known, normal(evidence.seed, 100 + row, n)))
        for row, (what, (known, sides)) in enumerate(moved.items()):
            z = normal(evidence.seed, 200 + row, n)
            self.factors[what] = {
                m: _factor(
                    self._ratio(m, base[m], sides["low"][m]), self._ratio(m, base[m], sides["high"][m]), known, z
                )
                for m in covered
            }
        shares = {m: [w for _, w in evidence.cities[m]] for m in covered}
        self.between = factors(evidence.spread[name], shares, seed=evidence.seed, draws=n)

    def _ratio(self, market: str, before: Weights, after: Weights) -> float:
        a = float(self.figure(self.evidence.means[market], before)[0])
        b = float(self.figure(self.evidence.means[market], after)[0])
        return float(np.log(b / a)) if a > 0 and b > 0 else 0.0

    def _sampling(self, market: str) -> Floats:
        """Draws of the runs' own figure, reflected.

        A peak is reflected about itself, since the largest of noisy sums is biased upwards. All else is reflected as
        a logarithm: means of skewed amounts miss low more often than high, and what other cars would have been less
        than these ones is what the truth may be more.
        """
        value = self.value[market]
        own, draws = float(value[0]), value[1:]
        if self.name == "grid_peak_gw":
            return np.maximum(2 * own - draws, self.least[market])
        if not (draws > 0).any():
            return np.full_like(draws, own)
        return np.asarray(own * own / np.where(draws > 0, draws, draws[draws > 0].min()))

    def total(self, which: Sequence[str]) -> tuple[float, Floats]:
        """Figure and draws of several markets together."""
        draws, weight = np.zeros(self.evidence.draws), np.zeros(self.evidence.draws)
        mean = over = 0.0
        for m in which:
            value = self._sampling(m) * self.between[m]
            for factor in self.factors.values():
                value = value * factor[m]
            draws += value * self.part[m][1:]
            weight += self.part[m][1:]
            mean += float(self.value[m][0] * self.part[m][0])
            over += float(self.part[m][0])
        if self.adds:
            return mean, draws
        return (mean / over if over else 0.0), np.divide(draws, weight, out=np.zeros_like(draws), where=weight > 0)

    def moves(self, which: Sequence[str]) -> list[tuple[str, float]]:
        """How wide each source alone makes the interval: shares of the sum of squared widths, most first."""
        if not which:
            return []
        alone: dict[str, Floats] = {}
        size = {m: float(self.value[m][0] * self.part[m][0]) for m in which}
        if sum(size.values()) <= 0:
            return []
        alone["which cars were simulated"] = sum(
            (self._sampling(m) * self.part[m][0] for m in which), np.zeros(self.evidence.draws)
        )
        alone["which cities were simulated"] = sum(
            (size[m] * self.between[m] for m in which), np.zeros(self.evidence.draws)
        )
        for what, factor in self.factors.items():
            alone[what] = sum((size[m] * factor[m] for m in which), np.zeros(self.evidence.draws))
        # not the variance of draws, since that of the exponential of Student's t does not exist
        squared = {what: float(np.ptp(np.quantile(draws, [0.025, 0.975]))) ** 2 for what, draws in alone.items()}
        total = sum(squared.values())
        found = [(what, v / total if total > 0 else 0.0) for what, v in squared.items()]
        return sorted(found, key=lambda item: -item[1])


def _reweighed(case: Case, assumption: Mapping[str, Any], value: float, market: str, weigh: Any) -> Weights:
    """Cars of a market with one assumption on the cohorts moved."""
    from dataclasses import replace

    of = assumption["of"]
    if of == "survival":
        return weigh(case, market, value)  # type: ignore[no-any-return]
    if of in ("fitted", "connected"):
        moved = replace(case, **{of: np.minimum(1.0, getattr(case, of) * value)})
        return weigh(moved, market)  # type: ignore[no-any-return]
    if of == "distance":
        # all that adds up is in proportion to the distance, as it is to the cars
        return Weights(weigh(case, market).cars * value)
    if of == "bev":
        electric = case.catalogue.kinds == 0
        units = case.units * np.where(electric, value, 1.0)[None, :, None]
        return weigh(replace(case, units=units), market)  # type: ignore[no-any-return]
    raise CaseError(f"cohort_assumption of {of!r}; valid: survival, fitted, connected, bev, distance")


def _of_market(value: float | Mapping[str, float], market: str) -> float:
    """A bound that is one for all markets, or one for each; a market without one is not moved."""
    return float(value.get(market, 1.0)) if isinstance(value, Mapping) else float(value)


def _factor(low: float, high: float, confidence: str, z: Floats) -> Floats:
    """Draws of the factor on a figure when an assumption lies `z` standard deviations off."""
    x = z / SIGMAS[confidence]
    # beyond the stated low and high nobody has looked
    x = np.clip(x, -1.5, 1.5)
    return np.exp(np.where(x < 0, -x * low, x * high))


def _profiles(evidence: Evidence, base: Mapping[str, Weights], covered: Sequence[str]) -> dict[str, Floats]:
    found = {}
    for m in covered:
        means = evidence.means[m]
        found[m] = np.asarray(means.load_share @ load_gw(means, base[m])[0])
    return {**found, "covered": np.asarray(sum(found.values(), np.zeros(24)))}


def _levels(m: Means, w: Weights) -> dict[str, float]:
    """Share of the kilometres of cars of each level with ProPILOT engaged."""
    km = (m.km[0][:, None] * w.by_level).sum(axis=0)
    engaged = (m.engaged_km[0] * w.by_level).sum(axis=0)
    return {name: float(engaged[k] / km[k]) if km[k] > 0 else 0.0 for k, name in enumerate(LEVELS) if k}


def _why(market: str) -> str:
    if market in ("japan", "europe", "us"):
        return "no city of this market was run"
    return "no archetype city and no facts on habits"


def difference(plan: FleetAnswer, actual: FleetAnswer, *, scope: str = "covered") -> dict[str, Estimate]:
    """Figures of one answer less another's, draw by draw."""
    result = {}
    for name, a in plan.figures[scope].items():
        b = actual.figures[scope][name]
        mean = a.mean - b.mean
        draws = plan.draws[scope][name] - actual.draws[scope][name]
        low, high = np.quantile(draws, [0.025, 0.975])
        unit = "share, difference" if a.unit == "share" else a.unit
        said = f"{plan.case} less {actual.case}, paired"
        result[name] = Estimate(mean, min(float(low), mean), max(float(high), mean), a.n, unit, said)
    return result


def share_of_equipped(evidence: Evidence, case: Case, market: str, year: int) -> float:
    """Engaged share of the kilometres of equipped cars only."""
    models = project_models()
    w = weights_of(cohorts(case, year, markets=(market,)), models.matrix, models.kinds)
    m = evidence.means[market]
    km = (m.km[0][:, None] * w.by_level[:, 1:]).sum() / 1e6
    return float(engaged_million_km(m, w)[0] / km) if km > 0 else 0.0


__all__ = ["Evidence", "FleetAnswer", "answer", "autonomy_share", "difference", "evidence_of", "share_of_equipped"]
