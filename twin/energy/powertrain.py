"""Energy of a car on a speed trace: the reference that the link model is held against.

Backward road-load model of `facts/vehicles.toml` [physics.model]: force at the wheel
from road load and acceleration, second by second, then through the drive.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.energy import kernels
from twin.facts import load
from twin.fleet.catalogue import Catalogue, Param

J_PER_WH = 3600.0
ENGINE_WATCHED_S = 7200.0
"""An engine's fuel is the mean over at least this time: a battery of half a kWh cycles in minutes."""


class TraceEnergy(NamedTuple):
    """Totals over a trace."""

    metres: float
    seconds: float
    moving_s: float
    wheel_j: float  # traction at the wheel
    braked_j: float  # taken from the wheel by motor and brakes, above 0
    bus_j: float  # net energy out of the battery (or of the e-POWER bus)
    fuel_j: float  # fuel energy; e-POWER: with the battery at the end as full as at the start (`epower_fuel`)


def trace_energy(
    params: NDArray[np.float64],
    speed_mps: ArrayLike,
    *,
    step_s: float = 1.0,
    cabin_w: float = 0.0,
    loss: float = 1.0,
    rolling: float = 1.0,
    drag: float = 1.0,
    rotating: float | None = None,
    slope: ArrayLike = 0.0,
) -> TraceEnergy:
    """Energy over a trace of speeds at even steps.

    Parameters
    ----------
    params : float64 (len(Param),)
        A row of `Catalogue.matrix`.
    speed_mps : array (n,), m/s, at least two values
    step_s : seconds between two values
    cabin_w : electric power of heating or cooling, W
    loss : factor on traction energy (cold driveline, `climate.driveline_loss`)
    rolling, drag : factors on the constant and linear, and on the square term of the road
        load (`climate.road_weather`)
    rotating : rotating mass factor; the catalogue's when left out. The EPA fit of the
        constants used 1.015.
    slope : rise over run of each step, scalar or (n - 1,)

    Raises
    ------
    ValueError
        When the trace is shorter than two values or holds a negative or non-finite speed.
    """
    v = np.asarray(speed_mps, float)
    if v.ndim != 1 or len(v) < 2 or not np.isfinite(v).all() or v.min() < 0 or step_s <= 0:
        raise ValueError("a speed trace needs two or more finite speeds of at least 0 m/s and a step above 0 s")
    p = params
    mid = 0.5 * (v[1:] + v[:-1])
    inertia = p[Param.INERTIA] if rotating is None else rotating * p[Param.MASS]
    force = rolling * (p[Param.A] + p[Param.B] * mid) + drag * p[Param.C] * mid * mid + inertia * np.diff(v) / step_s
    force = force + p[Param.MASS] * 9.81 * np.asarray(slope, float)
    power = force * mid
    seconds = step_s * (len(v) - 1)
    moving_s = step_s * float(np.count_nonzero(mid > 0))
    wheel = float(np.maximum(power, 0.0).sum()) * step_s
    braked = float(np.maximum(-power, 0.0).sum()) * step_s
    bus, fuel = 0.0, 0.0
    if p[Param.CAPACITY] > 0:
        bus = wheel * loss / p[Param.ETA_DRIVE] - braked * p[Param.REGEN_SHARE] * p[Param.ETA_REGEN]
        bus += p[Param.P_CONST] * moving_s + (p[Param.AUX] + cabin_w) * seconds
        if p[Param.ETA_FUEL_BUS] > 0:
            bus_w = np.where(power > 0, power * loss / p[Param.ETA_DRIVE], 0.0)
            bus_w += np.minimum(power, 0.0) * p[Param.REGEN_SHARE] * p[Param.ETA_REGEN]
            bus_w += np.where(mid > 0, p[Param.P_CONST], 0.0) + p[Param.AUX] + cabin_w
            fuel = epower_fuel(p, bus_w, mid, step_s=step_s).fuel_j
    else:
        fuel = wheel * loss * p[Param.FUEL_PER_WHEEL] + (p[Param.FUEL_IDLE] + p[Param.FUEL_PER_AUX] * cabin_w) * seconds
    return TraceEnergy(float(mid.sum()) * step_s, seconds, moving_s, wheel, braked, float(bus), float(fuel))


class EngineRun(NamedTuple):
    """What an e-POWER engine did over one passage of a trace, battery level at the end as at the start."""

    fuel_j: float
    made_j: float  # at the bus
    starts: float
    on_s: float


@cache
def _engine_facts() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    physics, own = load("vehicles")["physics"], load("energy")["epower"]["engine"]
    series, c = physics["series_hybrid"], physics["series_hybrid"]["control"]
    habit = np.array(
        [
            c["ev_speed_limit_kmh"] / 3.6,
            c["soc_target"],
            c["min_engine_on_s"],
            c["min_engine_off_s"],
            own["start_j"],
            series["battery_roundtrip_eta"],
        ]
    )
    shares = np.array(physics["engine_map"]["load_share"], float)
    etas = series["generator_eta"] * np.array(physics["engine_map"]["eta_si"], float)
    return engine_control(), habit, shares, etas / own["map_mean_eff"], series["generator_eta"]


def engine_control() -> NDArray[np.float64]:
    """Thresholds and set-points in the kernels' order (fact vehicles.physics.series_hybrid.control)."""
    facts = load("vehicles")["physics"]["series_hybrid"]["control"]
    first = [facts["soc_low_start_engine"], facts["soc_high_stop_engine"], 1000.0 * facts["ev_power_limit_kw"]]
    return np.array(first + [1000.0 * kw for kw in facts["generator_setpoints_kw"]])


def epower_fuel(
    params: NDArray[np.float64], bus_w: NDArray[np.float64], speed_mps: NDArray[np.float64], *, step_s: float = 1.0
) -> EngineRun:
    """Fuel of an e-POWER car: an engine that starts, runs at its set-points and rests.

    It runs when the battery is low, when more is asked than the battery likes to give, and
    early at speeds that drown its noise; once started or stopped it stays so for a while
    (`physics.series_hybrid.control`). Its efficiency follows the map `physics.engine_map`;
    the level is the model's own (Param.ETA_FUEL_BUS, solved from its official cycle).

    Parameters
    ----------
    params : float64 (len(Param),)
    bus_w : float64 (n,), power that drive and auxiliaries ask, W; negative when braking
    speed_mps : float64 (n,)

    Returns
    -------
    EngineRun
        Mean over two hours or more of the trace again and again. The battery's gain over
        all of them is valued at the engine's own mean efficiency.
    """
    control, habit, shares, relative, generator_eta = _engine_facts()
    laps = 2 + int(ENGINE_WATCHED_S / (step_s * len(bus_w)))
    fuel, made, starts, on_s, gained = kernels.generator(
        bus_w, speed_mps, step_s, laps, params[Param.CAPACITY], control, habit, params[Param.GENERATOR],
        generator_eta * params[Param.ENGINE], shares, params[Param.ETA_FUEL_BUS] * relative,
    )  # fmt: skip
    counted = laps - 1
    if made > 0.0:
        fuel -= gained / habit[kernels.STORE_ETA] * fuel / made
    return EngineRun(fuel / counted, made / counted, starts / counted, on_s / counted)


def wh_per_km(energy: TraceEnergy) -> float:
    """Battery consumption, Wh/km."""
    return energy.bus_j / J_PER_WH / (energy.metres / 1000.0)


def litres_per_100km(energy: TraceEnergy, params: NDArray[np.float64]) -> float:
    """Fuel consumption, L/100 km."""
    return float(energy.fuel_j / params[Param.LHV] / energy.metres * 1e5)


def charge_efficiency(ac_kw: float, facts: Mapping[str, Any]) -> float:
    """Battery energy per meter energy on alternating current, from `physics.charge_efficiency`.

    eta(P) = conv P / (P + overhead): a fixed loss weighs more at low power.
    """
    return float(facts["conv"] * ac_kw / (ac_kw + facts["overhead_kw"]))


def params_of(catalogue: Catalogue, name: str) -> NDArray[np.float64]:
    """Row of the matrix of a model by its id."""
    params: NDArray[np.float64] = catalogue.matrix[catalogue.row(name)]
    return params


def on_the_road(catalogue: Catalogue) -> NDArray[np.float64]:
    """Parameters of all models in daily driving, float64 (n_models, len(Param)).

    The catalogue's hold on a test stand. Cars without one-pedal driving recover less of
    what drivers brake away (fact energy.road_regen_share); an e-POWER engine's efficiency
    is its mean over starts, set-points and rests (fact energy.epower.cycle_mean_eff).
    """
    matrix = catalogue.matrix.copy()
    braking, engines = load("energy")["road_regen_share"], load("energy")["epower"]["cycle_mean_eff"]
    for row, name in enumerate(catalogue.ids):
        if name in braking["models"]:
            matrix[row, Param.REGEN_SHARE] = braking["share"]
        if name in engines and matrix[row, Param.ETA_FUEL_BUS] > 0:
            matrix[row, Param.ETA_FUEL_BUS] = engines[name]
    return matrix
