"""The load that charging puts on the grid: metered joules per interval and site, and their peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.events import Column, Table

GRID_LOAD = {
    "time_s": Column("f8", "s", "start of the interval, since the scenario's start"),
    "site_id": Column("i4", "", "charging site"),
    "feeder_id": Column("i4", "", "feeder the site hangs on"),
    "kind": Column("str", "", "home, work, public or fast"),
    "power_kw": Column("f8", "kW", "mean power at the meter over the whole interval, charging only; absent rows are 0"),
}


class GridLoad:
    """Adds up metered energy per interval and site, and keeps the peaks.

    Parameters
    ----------
    site_kind : sequence of str, shape (n_sites,)
        Written to the table.
    site_feeder : ndarray of int, shape (n_sites,)
        Feeder of each site.
    interval_ms : int
        Averaging interval.

    Notes
    -----
    Joules are integers. `power_kw * interval_s` gives them back exactly (rounded to the joule), also for a last
    interval cut short by the end of the run, because the mean is always over the whole interval.
    """

    def __init__(self, site_kind: list[str], site_feeder: NDArray[np.int32], *, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.table = Table("grid_load", GRID_LOAD)
        self.site_feeder = np.asarray(site_feeder, np.int32)
        self._kind = np.array(site_kind, object)
        self._sites = len(self._kind)
        self.first = 0
        """Interval that row 0 of `open_j` stands for."""
        self.open_j = np.zeros((2, self._sites), np.int64)
        """Metered joules of intervals not yet written, shape (intervals, n_sites); kernels add to it."""
        self.total_j = 0
        self.peak_j, self.peak_interval = 0, 0
        self.site_peak_j = np.zeros(self._sites, np.int64)
        self.feeder_peak_j = np.zeros(int(self.site_feeder.max(initial=-1)) + 1, np.int64)

    def cover(self, t0_ms: int, t1_ms: int) -> None:
        """Write what ended by `t0_ms` and have room for energy metered before `t1_ms`."""
        self.write(t0_ms // self.interval_ms)
        need = -(-t1_ms // self.interval_ms) - self.first
        if need > len(self.open_j):
            more = np.zeros((need - len(self.open_j), self._sites), np.int64)
            self.open_j = np.concatenate([self.open_j, more])

    def write(self, before: int) -> None:
        """Write all intervals below `before` to the table and their peaks."""
        for k in range(min(before - self.first, len(self.open_j))):
            self._write_one(self.first + k, self.open_j[k])
        shift = before - self.first
        if shift > 0:
            keep = self.open_j[shift:].copy()
            self.open_j[:] = 0
            self.open_j[: len(keep)] = keep
            self.first = before

    def finish(self) -> None:
        """Write everything that is still open."""
        self.write(self.first + len(self.open_j))

    @property
    def metered_j(self) -> int:
        """All energy so far, written or still open, J."""
        return self.total_j + int(self.open_j.sum())

    def _write_one(self, interval: int, joules: NDArray[np.int64]) -> None:
        sites = np.flatnonzero(joules)
        if not len(sites):
            return
        part = joules[sites]
        total = int(part.sum())
        self.total_j += total
        if total > self.peak_j:
            self.peak_j, self.peak_interval = total, interval
        np.maximum(self.site_peak_j, joules, out=self.site_peak_j)
        by_feeder = np.zeros_like(self.feeder_peak_j)
        np.add.at(by_feeder, self.site_feeder[sites], part)
        np.maximum(self.feeder_peak_j, by_feeder, out=self.feeder_peak_j)
        self.table.append(
            time_s=np.full(len(sites), interval * self.interval_ms / 1000),
            site_id=sites,
            feeder_id=self.site_feeder[sites],
            kind=self._kind[sites],
            power_kw=part / self.interval_ms,
        )

    def summary(self, rated_w: NDArray[np.float64]) -> dict[str, float]:
        """Energy, peak and coincidence of the run so far, as far as written.

        Parameters
        ----------
        rated_w : ndarray of float64, shape (n_cars,)
            Power at the meter that each car could draw at most where it has plugged in; 0 for cars that never did.

        Returns
        -------
        dict
            energy_kwh, peak_kw and peak_time_s of the highest interval mean, and coincidence: that peak over the sum
            of the rated powers of all cars that plugged in at least once (0 when none did).
        """
        rated_kw = float(rated_w.sum()) / 1000
        peak_kw = self.peak_j / self.interval_ms
        return {
            "energy_kwh": self.total_j / 3.6e6,
            "peak_kw": peak_kw,
            "peak_time_s": self.peak_interval * self.interval_ms / 1000,
            "coincidence": peak_kw / rated_kw if rated_kw > 0 else 0.0,
        }

    def peaks_kw(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Highest interval mean of every site and of every feeder, kW, shapes (n_sites,) and (n_feeders,)."""
        return self.site_peak_j / self.interval_ms, self.feeder_peak_j / self.interval_ms
