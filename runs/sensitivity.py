"""How the autonomy share depends on propensity, operating domain and equipment, in one run.

The city is simulated once; driver assistance is run again over the same trips for every
combination, with the same random numbers, so rows differ by what was changed and by nothing
else. Intervals are those of `runs.estimates`: sampling of cars, paired against the base.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runs.estimates import FIGURES, MOST_GROUPS, Estimate, Sample, interval, resample, skew_of

if TYPE_CHECKING:
    from runs.scenario import Scenario

MARKET = "market"
"""Equipment as the scenario has it."""

USE, DOMAIN, EQUIPPED = (0.5, 1.0, 1.5), ("narrow", "facts", "wide"), (MARKET, 0.5, 1.0)
MOST_ROWS = 2000

_COLUMNS = (
    "use", "domain", "equipped", "equipped_share", "possible_share",
    "share", "share_low", "share_high", "of_equipped", "of_equipped_low", "of_equipped_high",
    "change", "change_low", "change_high",
)  # fmt: skip


class SensitivityError(ValueError):
    """Values that cannot be varied; the message is one line for the user."""


@dataclass(frozen=True)
class Row:
    """One combination.

    Attributes
    ----------
    use : float
        Factor on the drivers' probability to use assistance on a trip.
    domain : str
        Case of the operating domain.
    equipped : float or "market"
        Share equipped among cars of models that offer it.
    equipped_share : float
        Share of all cars that this came to.
    possible_share : float
        Km inside the domain over all km.
    share, of_equipped : Estimate
        Engaged km over all km, and over km of equipped cars.
    change : Estimate
        Difference of `share` to the scenario itself, paired by car.
    """

    use: float
    domain: str
    equipped: float | str
    equipped_share: float
    possible_share: float
    share: Estimate
    of_equipped: Estimate
    change: Estimate


@dataclass(frozen=True)
class Sensitivity:
    """The scenario's own share, and one row per combination."""

    base: Estimate
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [dict(zip(_COLUMNS, _plain(row), strict=True)) for row in self.rows]
        return {"base": self.base.to_dict(), "rows": rows}

    def lines(self) -> list[str]:
        """A table for people; shares in per cent."""
        head = f"{'use':>6}  {'domain':<8}{'equipped':>9}{'cars':>7}{'possible':>10}   {'share of all km':<26}"
        out = [head + f"{'of equipped km':<26}change to the scenario, points"]
        for row in self.rows:
            said = row.equipped if isinstance(row.equipped, str) else f"{row.equipped:g}"
            first = f"{row.use:>6g}  {row.domain:<8}{said:>9}{row.equipped_share:>7.1%}{row.possible_share:>10.2%}   "
            out.append(first + f"{_percent(row.share):<26}{_percent(row.of_equipped):<26}{_percent(row.change)}")
        return out

    def write(self, path: Path) -> None:
        """Write the rows as CSV."""
        from runs.folder import disk_errors, write_atomically

        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(_plain(row) for row in self.rows)

        def fill(file: IO[bytes]) -> None:
            file.write(text.getvalue().encode())

        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, fill)


def sensitivity(
    scenario: Scenario,
    *,
    use: Sequence[float] = USE,
    domain: Sequence[str] = DOMAIN,
    equipped: Sequence[float | str] = EQUIPPED,
    say: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Vary propensity, domain and equipment of a scenario.

    Parameters
    ----------
    scenario : Scenario
    use : sequence of float
        Values of `autonomy.use`.
    domain : sequence of str
        Values of `autonomy.domain`.
    equipped : sequence of float or "market"
        Values of `fleet.propilot`; "market" is the scenario's own.
    say : callable, optional
        Told what is going on.

    Raises
    ------
    SensitivityError
        Nothing to vary, or too much.
    """
    from twin.autonomy.journal import Journal
    from twin.fleet.population import populate

    _check(use, domain, equipped)
    tell = say or (lambda _: None)
    shares = {MARKET: scenario.fleet.propilot} | {e: float(e) for e in equipped if e != MARKET}
    # scenarios refuse what is out of range before anything is simulated
    changed = {
        (u, d): scenario.but(autonomy__use=u, autonomy__domain=d).autonomy for d in dict.fromkeys(domain) for u in use
    }
    fleets = {name: scenario.but(fleet__propilot=share).fleet for name, share in shares.items()}
    _known_domains(scenario, domain)
    city = scenario.city(say=say)
    twin = scenario.build_on(city)
    journal = Journal(twin.world.autonomy)
    tell(f"simulating {scenario.fleet.cars:,} cars once")
    while not twin.world.done:
        twin.step()
    outside = scenario.demand.outside
    level = {
        name: populate(city, twin.world.catalogue, fleet, outside_share=outside, seed=scenario.seed).propilot
        for name, fleet in fleets.items()
    }
    tell(f"{len(changed) * len(equipped)} combinations over {journal.rows:,} links driven")
    weights = resample(scenario.seed, min(twin.world.fleet.size, MOST_GROUPS))
    base, _ = _replayed(journal, scenario.autonomy, level[MARKET], scenario.seed)
    rows = []
    for (u, d), settings in changed.items():
        for e in equipped:
            sample, summary = _replayed(journal, settings, level[e], scenario.seed)
            has = level[e] > 0
            of_equipped = sample._replace(km=np.where(has, sample.km, 0.0))
            rows.append(
                Row(
                    u, d, e, summary["equipped_share"], summary["possible_share"],
                    _estimate(sample, weights), _estimate(of_equipped, weights), _change(base, sample, weights),
                )
            )  # fmt: skip
    return Sensitivity(_estimate(base, weights), tuple(rows))


_share = FIGURES["autonomy_share"][3]
_NOTE = "cars of this run, not scaled"


def _replayed(journal: Any, settings: Any, level: NDArray[np.uint8], seed: int) -> tuple[Sample, dict[str, Any]]:
    made = journal.again(settings, propilot=level)
    broken = {name: value for name, value in made.ledger().items() if value}
    if broken:
        raise ArithmeticError(f"ledgers of driver assistance do not close: {broken}")
    n = made.fleet.size
    none = np.zeros(n)
    groups = np.zeros((min(n, MOST_GROUPS), 0))
    km, engaged = made.fleet.driven_mm / 1e6, made.fleet.engaged_mm / 1e6
    return Sample(seed, 1.0, km, engaged, none, none, none, groups, np.zeros(0)), made.summary()


def _estimate(sample: Sample, weights: NDArray[np.float64]) -> Estimate:
    mean = float(_share(sample, np.ones((1, sample.n_groups)))[0])
    low, high = interval(mean, _share(sample, weights), skew=skew_of(_share, sample))
    return Estimate(mean, low, high, len(sample.km), "share", _NOTE)


def _change(base: Sample, other: Sample, weights: NDArray[np.float64]) -> Estimate:
    alone = np.ones((1, base.n_groups))
    mean = float(_share(other, alone)[0] - _share(base, alone)[0])
    draws = _share(other, weights) - _share(base, weights)
    low, high = interval(mean, draws, skew=skew_of(_share, base, other), signed=True)
    return Estimate(mean, low, high, len(base.km), "share difference", "paired by car, not scaled")


def _check(use: Sequence[float], domain: Sequence[str], equipped: Sequence[float | str]) -> None:
    count = len(use) * len(domain) * len(equipped)
    if not count:
        raise SensitivityError("give at least one value each for use, domain and equipped")
    if count > MOST_ROWS:
        raise SensitivityError(f"{count:,} combinations; at most {MOST_ROWS:,}")
    for name, values in (("use", use), ("domain", domain), ("equipped", equipped)):
        if len(set(values)) != len(values):
            raise SensitivityError(f"{name}: a value is given twice")


def _known_domains(scenario: Scenario, domain: Sequence[str]) -> None:
    from twin.autonomy.domain import rules
    from twin.autonomy.rules import load_rules

    table = load_rules(scenario.autonomy.rules)
    for case in domain:
        rules(table=table, case=case)


def _plain(row: Row) -> tuple[Any, ...]:
    estimates = (row.share, row.of_equipped, row.change)
    figures = tuple(value for e in estimates for value in (e.mean, e.low, e.high))
    return (row.use, row.domain, row.equipped, row.equipped_share, row.possible_share, *figures)


def _percent(e: Estimate) -> str:
    return f"{100 * e.mean:.2f} ({100 * e.low:.2f} to {100 * e.high:.2f})"
