"""What public and fast sites ask for a kilowatt-hour and may draw now: given, or set by their operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.charging.queues import Queues
from twin.charging.site import ChargingError, SiteKind, Sites
from twin.charging.tariff import SLOT_MS, SLOTS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SiteQuestion:
    """What the sites shall ask and may draw in the coming quarter of an hour; all arrays have shape (n,).

    Attributes
    ----------
    site : ndarray of int64
        Public and fast sites.
    utilisation : ndarray of float64
        Sockets in use over sockets that work, 0 to 1; 1 where none works.
    waiting : ndarray of int64
        Cars in the queue.
    price : ndarray of float64
        Usual price per kWh: the site's own, else the tariff's at this time of day.
    cap_kw : ndarray of float64
        Most the site may ever draw at the meter.
    """

    site: NDArray[np.int64]
    utilisation: Floats
    waiting: NDArray[np.int64]
    price: Floats
    cap_kw: Floats


@dataclass(frozen=True)
class SiteAnswer:
    """Price per kWh, and most that each site may draw now, kW."""

    price: Floats
    cap_kw: Floats


class Operation:
    """Prices and caps of the moment.

    Parameters
    ----------
    sites : Sites
    queues : Queues
    prices : ndarray of float64, shape (96,)
        The tariff by quarter of an hour of the day.
    start_ms_of_day : int

    Attributes
    ----------
    cap_part : ndarray of float64, shape (n_sites,)
        Share of its cap that each site may draw now.
    """

    def __init__(self, sites: Sites, queues: Queues, prices: Floats, *, start_ms_of_day: int) -> None:
        self.sites, self.queues, self.prices, self.start_ms_of_day = sites, queues, prices, start_ms_of_day
        self.cap_part = np.ones(len(sites))
        self._said = np.full(len(sites), np.nan)
        self._asked_slot = -1

    def price(self, now_ms: int, site: ArrayLike) -> Floats:
        """What a kilowatt-hour costs now at sites, in their shape."""
        tariff = self.prices[(now_ms + self.start_ms_of_day) // SLOT_MS % SLOTS]
        rows = np.asarray(site, np.int64)
        said, own = self._said[rows], self.sites.price[rows]
        return np.where(~np.isnan(said), said, np.where(np.isnan(own), tariff, own))

    def again(self, now_ms: int, decide: Callable[[SiteQuestion], SiteAnswer | None]) -> None:
        """Ask the operator when a new quarter of an hour has begun; None leaves everything as it is.

        Raises
        ------
        ChargingError
            When a price is negative or no number, or a cap is not above 0 and at most the site's own.
        """
        slot = (now_ms + self.start_ms_of_day) // SLOT_MS
        if slot == self._asked_slot:
            return
        self._asked_slot = slot
        rows = np.flatnonzero(self.sites.site_kind >= SiteKind.PUBLIC)
        question = self._question(rows, slot % SLOTS)
        answer = decide(question) if len(rows) else None
        if answer is None:
            return
        for name, low, high in (("price", 0.0, np.full(len(rows), np.inf)), ("cap_kw", 1e-9, question.cap_kw)):
            values = np.asarray(getattr(answer, name), float)
            if values.shape != rows.shape:
                raise ChargingError(f"the operator gave {values.size} values of {name} for {len(rows)} sites")
            wrong = ~(np.isfinite(values) & (values >= low) & (values <= high * (1 + 1e-12)))
            if wrong.any():
                i = int(np.argmax(wrong))
                place = f"site {rows[i]} ({self.sites.name[rows[i]]})"
                valid = "at least 0" if name == "price" else f"above 0 and at most {question.cap_kw[i]:g}"
                raise ChargingError(f"the operator gave {place} a {name} of {values[i]:g}; it must be {valid}")
        self._said[rows] = answer.price
        self.cap_part[rows] = np.minimum(answer.cap_kw / question.cap_kw, 1.0)

    def _question(self, rows: NDArray[np.int64], slot: int) -> SiteQuestion:
        sites, queues = self.sites, self.queues
        taken = np.bincount(sites.socket_site, queues.taken, len(sites))[rows]
        working = np.bincount(sites.socket_site, sites.socket_count - queues.broken, len(sites))[rows]
        return SiteQuestion(
            site=rows,
            utilisation=np.where(working > 0, np.minimum(taken / np.maximum(working, 1), 1.0), 1.0),
            waiting=queues.queue[rows].copy(),
            price=np.where(np.isnan(sites.price[rows]), self.prices[slot], sites.price[rows]),
            cap_kw=sites.cap_kw[rows].copy(),
        )
