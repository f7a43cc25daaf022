"""Power flow of a run on a network: solved with and without charging, written as a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runs.powerflow.export import exports
from runs.powerflow.networks import load_network
from runs.powerflow.place import Placed, place
from runs.powerflow.series import Flow, solve, with_charging
from twin import facts
from twin.events import Column, Table

if TYPE_CHECKING:
    from runs.results import RunResult

VOLTAGE = {
    "time_s": Column("f8", "s", "start of the interval, since the scenario's start"),
    "bus": Column("i4", "", "index of the bus in the network"),
    "vm_pu": Column("f8", "", "voltage over nominal, with charging; null where the step did not converge"),
    "vm_base_pu": Column("f8", "", "the same without charging"),
}
LOADING = {
    "time_s": Column("f8", "s", "start of the interval, since the scenario's start"),
    "element": Column("str", "", "line or trafo"),
    "index": Column("i4", "", "its index in the network"),
    "loading_percent": Column("f8", "%", "current over rating, with charging; null where the step did not converge"),
    "loading_base_percent": Column("f8", "%", "the same without charging"),
}
PLACEMENT = {
    "load": Column("i4", "", "index of the load in the network"),
    "bus": Column("i4", "", "its bus"),
    "households": Column("i8", "", "households placed there"),
    "cars": Column("i8", "", "cars that charged there"),
    "base_peak_kw": Column("f8", "kW", "highest interval mean of the households or of the network's own load"),
    "charging_peak_kw": Column("f8", "kW", "highest interval mean of charging"),
}


@dataclass(frozen=True, eq=False)
class Study:
    """A run on a network, solved.

    Attributes
    ----------
    network : str
    net : pandapowerNet
    placed : Placed
    base, flow : Flow
        Without and with charging.
    summary : dict
        As in `powerflow.json`.
    """

    network: str
    net: Any
    placed: Placed
    base: Flow
    flow: Flow
    summary: dict[str, Any]


def power_flow(
    run: RunResult, network: str | Any = "kerber-vorstadtnetz-kabel-1", *, scale: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> Study:  # fmt: skip
    """Put a run on a network and solve every interval.

    Parameters
    ----------
    run : RunResult
    network : str or pandapowerNet
        A name (see `runs.powerflow.networks.NETWORKS`), a SimBench code, or a net of one's own.
    scale : float
        Multiplies charging.
    say : callable, optional
        Told what goes on.

    Raises
    ------
    GridError
        Unknown network, a net without loads, or no step that converges.
    """
    net = load_network(network) if isinstance(network, str) else network
    placed = place(net, run, scale=scale)
    ready = with_charging(net)
    if say is not None:
        say(f"solving {len(placed.time_s):,} steps twice on {len(ready.bus):,} buses")
    base, flow = solve(ready, placed, charging=False), solve(ready, placed)
    name = network if isinstance(network, str) else str(getattr(net, "name", "") or "own network")
    return Study(name, ready, placed, base, flow, _summary(name, run, ready, placed, base, flow, scale=scale))


def _summary(
    name: str, run: RunResult, net: Any, placed: Placed, base: Flow, flow: Flow, *, scale: float
) -> dict[str, Any]:
    interval_s = run.scenario.grid.interval_min * 60.0
    hours = interval_s / 3600
    band = facts.load("grid")["utility_needs"]["voltage_limits_europe_pct"] / 100
    start = run.scenario.start

    def when(step: int) -> str:
        return (start + timedelta(seconds=float(placed.time_s[step]))).isoformat()

    def of(found: Flow) -> dict[str, Any]:
        low, bus = np.unravel_index(int(np.nanargmin(found.vm_pu)), found.vm_pu.shape)
        outside = (np.abs(found.vm_pu - 1) > band).any(axis=1)
        over = (found.line_percent > 100).any(axis=1) | (found.trafo_percent > 100).any(axis=1)
        return {
            "lowest_voltage_pu": float(found.vm_pu[low, bus]),
            "at": when(int(low)),
            "bus": int(net.bus.index[bus]),
            "highest_line_percent": _highest(found.line_percent),
            "highest_trafo_percent": _highest(found.trafo_percent),
            "hours_outside_band": float(outside.sum() * hours),
            "hours_over_rating": float(over.sum() * hours),
            "loss_kwh": float(np.nansum(found.loss_kw) * hours),
            "converged": int(found.converged.sum()),
            "failed_at": [when(int(k)) for k in np.flatnonzero(~found.converged)],
        }

    return {
        "network": name,
        "run": str(run.path),
        "steps": len(placed.time_s),
        "band": band,
        "scale": scale,
        "low_voltage": placed.low_voltage,
        "households": int(placed.households.sum()),
        "cars": int(placed.cars.sum()),
        "charging_kwh": float(placed.charging_kw.sum() * hours),
        "left_kwh": placed.left_kwh,
        "base": of(base),
        "charging": of(flow),
    }


def _highest(percent: NDArray[np.float64]) -> float:
    return float(np.nanmax(percent)) if percent.size else 0.0


def write(study: Study, run: RunResult, target: Path, *, export: bool = True) -> Path:
    """Write tables, `powerflow.json` and the exports into a results folder and return it.

    Raises
    ------
    GridError
        When the network cannot be exported.
    ResultsError, DiskError
        When the folder is something else, or cannot be written.
    """
    from runs.columns import to_arrow
    from runs.folder import ResultsFolder

    start = run.scenario.start.isoformat()
    texts = exports(study.net, study.placed, start=start) if export else {}
    about = {"kind": "powerflow", "network": study.network, "of": str(run.path), "start": start}
    failed = study.summary["charging"]["failed_at"]
    with ResultsFolder(target, about) as folder:
        folder.write_json("powerflow.json", study.summary)
        for table in _tables(study):
            folder.write_table(table.name, to_arrow(table))
        for name, text in texts.items():
            (folder.part / name).parent.mkdir(exist_ok=True)
            folder.write_text(name, text)
        why = f"{len(failed)} steps did not converge" if failed else ""
        return folder.publish({"status": "degraded" if failed else "done", "why": why})


def _tables(study: Study) -> Iterator[Table]:
    net, placed = study.net, study.placed
    steps, buses = study.flow.vm_pu.shape
    voltage = Table("voltage", VOLTAGE)
    voltage.append(
        time_s=np.repeat(placed.time_s, buses),
        bus=np.tile(net.bus.index.to_numpy(), steps),
        vm_pu=study.flow.vm_pu.ravel(),
        vm_base_pu=study.base.vm_pu.ravel(),
    )
    yield voltage
    loading = Table("loading", LOADING)
    for element, with_cars, without in (
        ("line", study.flow.line_percent, study.base.line_percent),
        ("trafo", study.flow.trafo_percent, study.base.trafo_percent),
    ):
        loading.append(
            time_s=np.repeat(placed.time_s, with_cars.shape[1]),
            element=np.full(with_cars.size, element, object),
            index=np.tile(net[element].index.to_numpy(), steps),
            loading_percent=with_cars.ravel(),
            loading_base_percent=without.ravel(),
        )
    yield loading
    placement, own = Table("placement", PLACEMENT), len(placed.households)
    placement.append(
        load=net.load.index.to_numpy()[:own],
        bus=net.load.bus.to_numpy()[:own],
        households=placed.households,
        cars=placed.cars,
        base_peak_kw=placed.base_kw.max(axis=0),
        charging_peak_kw=placed.charging_kw.max(axis=0),
    )
    yield placement


def lines(study: Study) -> Iterator[str]:
    """The study in words."""
    s = study.summary
    yield f"{s['network']}: {s['steps']:,} steps, {s['households']:,} households and {s['cars']:,} charging cars placed"
    yield f"charging {s['charging_kwh']:,.0f} kWh on this network, {s['left_kwh']:,.0f} kWh of the run elsewhere"
    yield ""
    yield f"  {'':32}{'households':>12}{'and cars':>12}"
    rows = (
        ("lowest voltage, per unit", "lowest_voltage_pu", ".4f"),
        ("highest line loading, %", "highest_line_percent", ".1f"),
        ("highest transformer loading, %", "highest_trafo_percent", ".1f"),
        (f"hours outside ±{s['band']:.0%} of voltage", "hours_outside_band", ".2f"),
        ("hours over a rating", "hours_over_rating", ".2f"),
        ("losses, kWh", "loss_kwh", ".1f"),
    )
    for label, key, form in rows:
        yield f"  {label:<32}{s['base'][key]:>12{form}}{s['charging'][key]:>12{form}}"
    yield f"  lowest at {s['charging']['at'].replace('T', ' ')}, bus {s['charging']['bus']}"
    if failed := s["charging"]["failed_at"]:
        named = ", ".join(t.replace("T", " ") for t in failed[:3]) + (" …" if len(failed) > 3 else "")
        yield f"NOT CONVERGED: {len(failed)} of {s['steps']:,} steps, {named}: more load than the network takes"
