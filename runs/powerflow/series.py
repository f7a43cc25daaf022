"""Power flow step by step, with and without charging."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runs.powerflow.networks import pandapower
from runs.powerflow.place import Placed
from twin.grid.base_load import GridError

Floats = NDArray[np.float64]

CHARGING = "charging at "
"""Begins the names of the loads that are cars."""


@dataclass(frozen=True, eq=False)
class Flow:
    """Results of a series; rows of steps that did not converge are NaN.

    Attributes
    ----------
    vm_pu : ndarray of float64, shape (steps, buses)
    line_percent : ndarray of float64, shape (steps, lines)
    trafo_percent : ndarray of float64, shape (steps, transformers)
    loss_kw : ndarray of float64, shape (steps,)
    converged : ndarray of bool, shape (steps,)
    """

    vm_pu: Floats
    line_percent: Floats
    trafo_percent: Floats
    loss_kw: Floats
    converged: NDArray[np.bool_]


def with_charging(net: Any) -> Any:
    """Copy of a net with a load for cars beside each of its loads, and without generation that has no series.

    The first half of the loads are the net's own, the second half cars, in the same order.
    """
    pp = pandapower()
    net = deepcopy(net)
    for table in ("sgen", "storage"):
        if len(net[table]):
            net[table]["in_service"] = False
    net.load["scaling"] = 1.0
    for column in ("const_z_percent", "const_i_percent", "const_z_p_percent", "const_i_p_percent",
                   "const_z_q_percent", "const_i_q_percent"):  # fmt: skip
        if column in net.load:
            net.load[column] = 0.0
    own = [(int(index), int(bus)) for index, bus in net.load.bus.items()]
    for index, bus in own:
        pp.create_load(net, bus, p_mw=0.0, q_mvar=0.0, name=f"{CHARGING}{index}")
    return net


def solve(net: Any, placed: Placed, *, charging: bool = True, say: Callable[[int, int], None] | None = None) -> Flow:
    """Solve every step of what is placed.

    Parameters
    ----------
    net : pandapowerNet
        From `with_charging`.
    charging : bool
        False: households alone.
    say : callable, optional
        Told step and number of steps.

    Raises
    ------
    GridError
        When no step converges.
    """
    pp = pandapower()
    steps = len(placed.time_s)
    shape = {"bus": len(net.bus), "line": len(net.line), "trafo": len(net.trafo)}
    vm, line, trafo = (np.full((steps, n), np.nan) for n in shape.values())
    loss, good, warm = np.full(steps, np.nan), np.zeros(steps, bool), False
    own = len(placed.households)
    p, q = np.zeros(2 * own), np.zeros(2 * own)
    for step in range(steps):
        p[:own], q[:own] = placed.base_kw[step] / 1000, placed.base_kvar[step] / 1000
        if charging:
            p[own:] = placed.charging_kw[step] / 1000
        net.load["p_mw"], net.load["q_mvar"] = p, q
        try:
            if warm:
                # only powers change between steps, so the matrices stay
                recycle = {"bus_pq": True, "trafo": False, "gen": False}
                pp.runpp(net, numba=False, init="results", recycle=recycle)
            else:
                pp.runpp(net, numba=False)
        except pp.LoadflowNotConverged:
            warm = False
        else:
            warm = good[step] = True
            vm[step] = net.res_bus.vm_pu
            line[step] = net.res_line.loading_percent
            trafo[step] = net.res_trafo.loading_percent
            lost = sum(float(net[f"res_{t}"].pl_mw.sum()) for t in ("line", "trafo") if len(net[t]))
            loss[step] = 1000 * lost
        if say is not None:
            say(step + 1, steps)
    if not good.any():
        raise GridError("power flow converges in no step: the loads are far more than the network takes")
    return Flow(vm, line, trafo, loss, good)
