"""How drivers use assistance: on which trips, where, for how long, and why they take over.

Use grows with the weeks that a driver has the function (`learned`); trust is the driver's
type (never, occasional, regular) and this growth. A bad take-over does not lower it, so one
car never engages less because it could engage more.

Parameters are `facts/autonomy.toml`, table `model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.autonomy import kernels
from twin.autonomy.domain import Rule
from twin.autonomy.rules import LEVELS, RulesError

MOTORWAY_KMH = 100.0
"""Speed at which the facts' engaged share is taken: free flow on Japanese expressways."""

USER_TYPES = ("never", "occasional", "regular")
"""Values of `fleet.driver`."""

_WEEK_MS = 7 * 86_400_000


class UseError(RulesError):
    """The numbers of the engagement process contradict each other; one line."""


def here_share(table: Mapping[str, Any], level: str, *, speed_kmh: float = MOTORWAY_KMH) -> float:
    """Share of long stretches on which an engaging driver switches the system on.

    On a long stretch where it is switched on, distance D between take-overs and delay d
    at speed v leave D / (D + v d) of the km engaged; the facts ask for `s` of all
    eligible km, so the share of stretches is s (D + v d) / D.

    Source: facts `autonomy.model`.

    Examples
    --------
    >>> from twin import facts
    >>> round(here_share(facts.load("autonomy")["model"], "propilot_1_0"), 2)
    0.78
    """
    mean_km = float(table["engaged_segment_km_mean"][level])
    gap_km = float(table["reengage_delay_s_mean"]) / 3600 * speed_kmh
    share = float(table["share_of_eligible_km_when_engaged"][level]) * (mean_km + gap_km) / mean_km
    if not 0 <= share <= 1:
        raise UseError(
            f"facts autonomy.model: {level} cannot reach its share of eligible km (needs {share:.2f} of all stretches)"
        )
    return share


def cause_shares(events: Mapping[str, Any]) -> dict[str, float]:
    """Shares of take-overs by cause on real roads (facts `autonomy.events.aaa`).

    Cut-ins and lane-keeping faults come at their measured rate times the share that needs
    the driver; what is left of the rate of interventions is the driver's own choice. The
    measured split of the hands-on systems is used for all levels.
    """
    every = 1 / float(events["hands_on_system_miles_between_interventions"])
    cut_in = float(events["cut_in_needs_intervention_share"]) / float(events["cut_in_miles_between"]) / every
    sensor = (
        float(events["lane_centering_needs_intervention_share"]) / float(events["lane_centering_miles_between"]) / every
    )
    if cut_in + sensor > 1:
        raise UseError("facts autonomy.events.aaa: cut-ins and lane faults exceed all interventions")
    return {"driver": 1 - cut_in - sensor, "cut_in": cut_in, "sensor": sensor}


def learned(weeks: ArrayLike, learning: Mapping[str, Any]) -> NDArray[np.float64]:
    """Use after some weeks as a share of what it becomes: 1 - (1 - first) exp(-weeks / weeks_to_learn).

    Source: facts `autonomy.model.learning`.

    Examples
    --------
    >>> learned([0, 3, 1000], {"first": 0.7, "weeks_to_learn": 3.0}).round(3).tolist()
    [0.7, 0.89, 1.0]
    """
    passed = np.maximum(np.asarray(weeks, float), 0.0) / float(learning["weeks_to_learn"])
    share: NDArray[np.float64] = 1 - (1 - float(learning["first"])) * np.exp(-passed)
    return share


def weeks_between(since_ms: NDArray[np.int64], now_ms: ArrayLike) -> NDArray[np.float64]:
    """Weeks from `since_ms` to `now_ms`."""
    return (np.asarray(now_ms, np.int64) - since_ms) / _WEEK_MS


def mode_records(table: Mapping[str, Any], made: Sequence[Rule | None]) -> NDArray[np.void]:
    """Parameters of each mode for the kernel, shape (len(LEVELS),).

    A stop is too long with probability exp(-limit / mean) (exponential stops), and a car that
    crawls stops once in `cycle_s`.
    """
    model, stops, lanes = table["model"], table["model"]["stops"], table["model"]["lane_changes"]
    causes = cause_shares(table["events"]["aaa"])
    out = np.zeros(len(LEVELS), kernels.MODE)
    for row, (name, rule) in enumerate(zip(LEVELS, made, strict=True)):
        mode = out[row]
        mode["mean_mm"] = 1
        if rule is None:
            continue
        mode["mean_mm"] = round(1e6 * float(model["engaged_segment_km_mean"][name]))
        mode["here"] = here_share(model, name)
        mode["delay_ms"] = 1000 * float(model["reengage_delay_s_mean"])
        mode["min_mm_ms"], mode["max_mm_ms"] = (float(v) / 3.6 for v in rule.speed_kmh)
        limit_s, mean_s = float(stops["resumes_within_s"][name]), float(stops["mean_s"])
        mode["stop_per_ms"] = np.exp(-limit_s / mean_s) / (1000 * float(stops["cycle_s"]))
        mode["resume_ms"] = 1000 * float(stops["resume_delay_s_mean"])
        mode["lane_mm"] = 1e6 / float(lanes["per_km"])
        mode["hands_off"] = name in lanes["hands_off"]
        mode["to_driver"] = causes["driver"]
        mode["to_cut_in"] = causes["driver"] + causes["cut_in"]
    return out
