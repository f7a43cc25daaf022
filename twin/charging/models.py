"""What charging reads from the catalogue: which connectors a model has and what its battery accepts."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin import facts
from twin.charging.access import inlet
from twin.charging.site import CCS, SCHUKO, ChargingError

NO_CURVE_W = 1e12
"""For a model without fast-charge curve: its battery never limits its onboard charger."""


class Models(Protocol):
    """What charging needs to know of the catalogue; one row per model."""

    @property
    def ac_kw(self) -> NDArray[np.float64]:
        """Onboard charger, kW, shape (n_models,)."""
        ...

    @property
    def dc_socket(self) -> NDArray[Any]:
        """Index into SOCKET_KINDS, -1 none."""
        ...

    @property
    def curve_kw(self) -> NDArray[np.float64]:
        """DC power at each whole percent of charge, shape (n_models, 101)."""
        ...


class Plugs(NamedTuple):
    """Connectors and powers of every model.

    Attributes
    ----------
    fits : ndarray of bool, shape (n_models, n_socket_kinds)
        Which sockets a model can use.
    ac_w : ndarray of float64, shape (n_models,)
        Onboard charger, W at the meter.
    curve_w : ndarray of float64, shape (n_models, 101)
        Power the warm battery accepts at each whole percent of charge, W.
    active : ndarray of bool, shape (n_models,)
        Battery kept warm and cool by a liquid; taken to be so for cars with a CCS inlet.
    """

    fits: NDArray[np.bool_]
    ac_w: NDArray[np.float64]
    curve_w: NDArray[np.float64]
    active: NDArray[np.bool_]


def accepted_share(ambient_c: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of a warm battery's charging power that it accepts at outside temperatures.

    Source: facts charging `battery_temperature`.

    Parameters
    ----------
    ambient_c : ndarray of float64, shape (m,)
        °C.
    active : ndarray of bool, shape (n,)
        Whether a battery is cooled and heated by a liquid, which halves the effect.

    Returns
    -------
    ndarray of float64, shape (m, n)

    Examples
    --------
    >>> accepted_share(np.array([0.0, 25.0]), np.array([False, True])).round(2).tolist()
    [[0.64, 0.82], [1.0, 1.0]]
    """
    known = facts.load("charging")["battery_temperature"]
    lost = 1.0 - np.interp(ambient_c, known["ambient_c"], known["accepted"])
    return np.asarray(1.0 - np.outer(lost, np.where(active, known["active_part"], 1.0)))


def read_models(catalogue: Models, market: str) -> Plugs:
    """Connectors and powers from the catalogue; every car with an onboard charger has a cable for household sockets.

    Raises
    ------
    ChargingError
        When a number is missing, negative or not finite, or a fast-charge curve touches zero.
    """
    ac_kw, dc = np.asarray(catalogue.ac_kw, float), np.asarray(catalogue.dc_socket, np.int64)
    curve = np.array(catalogue.curve_kw, float)
    if curve.shape != (len(ac_kw), 101):
        raise ChargingError(f"curve_kw has shape {curve.shape}; valid is ({len(ac_kw)}, 101)")
    if not (np.isfinite(ac_kw).all() and (ac_kw >= 0).all() and np.isfinite(curve).all() and (curve >= 0).all()):
        raise ChargingError("ac_kw and curve_kw must be finite and not negative")
    without = ~np.asarray((curve > 0).any(axis=1))
    holes = np.flatnonzero(~without & (curve <= 0).any(axis=1))
    if len(holes):
        raise ChargingError(f"curve_kw of model {holes[0]} touches zero: it could never be full")
    bare = np.flatnonzero((dc >= 0) & without)
    if len(bare):
        raise ChargingError(f"model {bare[0]} has a direct-current socket but no curve_kw")
    fits = np.zeros((len(ac_kw), len(SOCKET_KINDS)), bool)
    fits[:, [inlet(market), SCHUKO]] = (ac_kw > 0)[:, None]
    for model in np.flatnonzero(dc >= 0):
        fits[model, dc[model]] = True
    curve_w = np.where(without.reshape(-1, 1), NO_CURVE_W, curve * 1000.0)
    return Plugs(fits, ac_kw * 1000.0, np.ascontiguousarray(curve_w), dc == CCS)
