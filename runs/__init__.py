"""Scenarios, runs and their results: `from runs import Scenario, run, compare`.

Nothing heavy is imported before it is used, so that `twin --help` answers at once.
Modules here are named so that none hides a function of the same name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runs.comparison import Comparison, compare
    from runs.estimates import Estimate
    from runs.estimation.report import FleetEstimate, estimate
    from runs.results import RunResult
    from runs.scenario import Scenario, ScenarioError
    from runs.single import run
    from runs.sweeping.sweep import SweepResult, sweep
    from runs.sweeping.sweep_file import Sweep

_HOME = {
    "Scenario": "scenario",
    "ScenarioError": "scenario",
    "RunResult": "results",
    "run": "single",
    "Estimate": "estimates",
    "Comparison": "comparison",
    "compare": "comparison",
    "estimate": "estimation.report",
    "FleetEstimate": "estimation.report",
    "sweep": "sweeping.sweep",
    "Sweep": "sweeping.sweep_file",
    "SweepResult": "sweeping.sweep",
}

__all__ = [
    "Scenario",
    "ScenarioError",
    "RunResult",
    "run",
    "Estimate",
    "Comparison",
    "compare",
    "FleetEstimate",
    "estimate",
    "Sweep",
    "SweepResult",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"runs has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"runs.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
