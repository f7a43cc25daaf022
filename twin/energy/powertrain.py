"""Energy of a car on a speed trace: the reference that the link model is held against.

Backward road-load model of `facts/vehicles.toml` [physics.model]: force at the wheel
from road load and acceleration, second by second, then through the drive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.facts import load
from twin.fleet.catalogue import Catalogue, Param

J_PER_WH = 3600.0


class TraceEnergy(NamedTuple):
    """Totals over a trace."""

    metres: float
    seconds: float
    moving_s: float
    wheel_j: float  # traction at the wheel
    braked_j: float  # taken from the wheel by motor and brakes, above 0
    bus_j: float  # net energy out of the battery (or of the e-POWER bus)
    fuel_j: float  # fuel energy; e-POWER: with the battery at the end as full as at the start


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
            fuel = max(bus, 0.0) / p[Param.ETA_FUEL_BUS]
    else:
        fuel = wheel * loss * p[Param.FUEL_PER_WHEEL] + (p[Param.FUEL_IDLE] + p[Param.FUEL_PER_AUX] * cabin_w) * seconds
    return TraceEnergy(float(mid.sum()) * step_s, seconds, moving_s, wheel, braked, float(bus), float(fuel))


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
    what drivers brake away (fact energy.road_regen_share).
    """
    matrix = catalogue.matrix.copy()
    facts = load("energy")["road_regen_share"]
    for name in facts["models"]:
        matrix[catalogue.row(name), Param.REGEN_SHARE] = facts["share"]
    return matrix
