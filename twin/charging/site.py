"""Charging sites as arrays: where they are, what they hang on, which sockets they have."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS


class ChargingError(ValueError):
    """A charging site, car or call that cannot be; the message is one line."""


class SiteKind(IntEnum):
    """What a site is for; `SITE_KINDS[kind]` is its name in the tables."""

    HOME = 0
    WORK = 1
    PUBLIC = 2
    FAST = 3


SITE_KINDS = ("home", "work", "public", "fast")
CHADEMO, CCS, TYPE2, TYPE1, SCHUKO = (SOCKET_KINDS.index(k) for k in ("chademo", "ccs", "type2", "type1", "schuko"))
DC_SOCKETS = (CHADEMO, CCS)
FAST_FROM_KW = 20.0
"""A direct-current socket counts as fast from this power on (lowest post of japan.quick_charger_power_mix_2022)."""


ALWAYS = np.ones(7 * 96, bool)
"""Opening hours of a site that never closes, by quarter of an hour of the week from Monday 0:00."""


class Socket(NamedTuple):
    """Sockets of one kind and power at a site that is being built."""

    kind: int
    plugs: int
    kw: float


_SITE_COLUMNS = {
    "site_kind": "u1",
    "site_node": "i4",
    "site_feeder": "i4",
    "x": "f8",
    "y": "f8",
    "open_to_all": "?",
    "cap_kw": "f8",
    "price": "f8",
}
_SOCKET_COLUMNS = {"socket_site": "i4", "socket_kind": "u1", "socket_count": "i4", "socket_kw": "f8"}


class Sites:
    """All charging sites of a city; rows are added while it is built, then `freeze` makes the arrays.

    Attributes
    ----------
    site_kind : ndarray of uint8
        SiteKind.
    site_node, site_feeder : ndarray of int32
        Network node and feeder.
    x, y : ndarray of float64
        Metres from the map's origin.
    name : list of str
    open_to_all : ndarray of bool
        Whether a stranger may charge there.
    price : ndarray of float64
        Per kWh, NaN where only the tariff is known.
    operator : list of str
        Empty where nobody is named.
    open_slots : ndarray of bool, shape (n_sites, 672)
        Quarters of an hour of the week, from Monday 0:00, in which a car may come.
    cap_kw : ndarray of float64
        Most the site may draw at the meter; what its sockets can draw together when nothing smaller is set.
    socket_site, socket_kind, socket_count, socket_kw
        One row per site, connector kind and power, sorted by site; AC power at the meter, DC power at the plug.
    socket_ptr : ndarray of int64, shape (n_sites + 1,)
        Sockets of site i are rows `socket_ptr[i]:socket_ptr[i + 1]`.
    """

    site_kind: NDArray[np.uint8]
    site_node: NDArray[np.int32]
    site_feeder: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    open_to_all: NDArray[np.bool_]
    cap_kw: NDArray[np.float64]
    price: NDArray[np.float64]
    open_slots: NDArray[np.bool_]
    socket_site: NDArray[np.int32]
    socket_kind: NDArray[np.uint8]
    socket_count: NDArray[np.int32]
    socket_kw: NDArray[np.float64]
    socket_ptr: NDArray[np.int64]

    def __init__(self) -> None:
        self.name: list[str] = []
        self.operator: list[str] = []
        self._open: list[NDArray[np.bool_]] = []
        self._rows: list[tuple[int, int, int, float, float, bool, float, float]] = []
        self._sockets: list[tuple[int, int, int, float]] = []

    def __len__(self) -> int:
        return len(self.name)

    def add(
        self,
        kind: SiteKind,
        *,
        node: int,
        feeder: int,
        xy: tuple[float, float],
        name: str,
        sockets: list[Socket],
        open_to_all: bool = False,
        cap_kw: float = np.inf,
        price: float = np.nan,
        operator: str = "",
        open_slots: NDArray[np.bool_] | None = None,
    ) -> int:
        """Add a site and return its row.

        Raises
        ------
        ChargingError
            When it has no socket, a socket without power, or a cap that is not above 0.
        """
        row = len(self.name)
        label = f"charging site {row} ({name})"
        if not sockets:
            raise ChargingError(f"{label} has no socket; give at least one")
        for socket in sockets:
            if not 0 <= socket.kind < len(SOCKET_KINDS):
                raise ChargingError(f"{label}: socket kind {socket.kind}; valid are 0 to {len(SOCKET_KINDS) - 1}")
            if not (socket.kw > 0 and np.isfinite(socket.kw)) or socket.plugs < 1:
                raise ChargingError(f"{label}: {socket.plugs} sockets of {socket.kw} kW; both must be above 0")
        if not cap_kw > 0:
            raise ChargingError(f"{label}: cap of {cap_kw} kW; it must be above 0")
        self.name.append(name)
        self.operator.append(operator)
        self._open.append(ALWAYS if open_slots is None else open_slots)
        self._rows.append((kind, node, feeder, *xy, open_to_all, cap_kw, price))
        self._sockets += [(row, s.kind, s.plugs, s.kw) for s in sockets]
        return row

    def freeze(self, *, dc_eta: float) -> Sites:
        """Make the arrays; `dc_eta` turns DC power at the plug into power at the meter."""
        for columns, rows in ((_SITE_COLUMNS, self._rows), (_SOCKET_COLUMNS, self._sockets)):
            values = zip(*rows, strict=True) if rows else [()] * len(columns)
            for (name, dtype), column in zip(columns.items(), values, strict=True):
                setattr(self, name, np.array(column, dtype))
        self.open_slots = np.array(self._open, bool).reshape(len(self), len(ALWAYS))
        self.socket_ptr = np.searchsorted(self.socket_site, np.arange(len(self) + 1)).astype(np.int64)
        at_meter = self.socket_count * self.socket_kw / np.where(np.isin(self.socket_kind, DC_SOCKETS), dc_eta, 1.0)
        self.cap_kw = np.minimum(self.cap_kw, np.bincount(self.socket_site, at_meter, len(self)))
        return self

    def rows(self, kind: SiteKind) -> NDArray[np.int64]:
        """Sites of one kind."""
        return np.flatnonzero(self.site_kind == kind)
