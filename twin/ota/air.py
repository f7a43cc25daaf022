"""Downloads of all campaigns through the cells they share, and the Wi-Fi of homes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.chance import Stream
from twin.cloud.cells import HOLE_MS, HOUR_MS, Cells
from twin.cloud.kernels import share_out
from twin.fleet.fleet import Fleet, State
from twin.ota import kernels
from twin.ota.schedule import POLICIES, Limits, Moment

if TYPE_CHECKING:
    from twin.ota.campaign import Campaign

_WIFI_ROOM_B = 2**61
"""What all homes' lines together can take: each home has its own."""


class Air:
    """Cells, rates and Wi-Fi as downloads see them.

    Parameters
    ----------
    fleet : Fleet
    cells : Cells
    cell_mbit_s, car_mbit_s : float
        Downlink of a cell that names none, and most that one car takes.
    cell_share : float
        Share of a cell that cars may use.
    wifi : ndarray of uint8, shape (n_cars,)
        Cars with a Wi-Fi at home.
    start_s_of_day : int
    seed : int
    """

    def __init__(
        self,
        fleet: Fleet,
        cells: Cells,
        *,
        cell_mbit_s: float,
        car_mbit_s: float,
        cell_share: float,
        wifi: NDArray[np.uint8],
        start_s_of_day: int,
        seed: int,
    ) -> None:
        radio = facts.load("connectivity")["cellular"]
        self.fleet, self.cells, self.seed = fleet, cells, seed
        self._cell_mbit_s, self._cell_share = cell_mbit_s, cell_share
        self.wifi, self._start_ms = wifi, 1000 * start_s_of_day
        slow = {2: float(radio["g2_uplink_kbit_s"]) / 1000, 3: float(radio["g3_downlink_mbit_s"])}
        self._car_bit_ms = np.array([1000 * min(car_mbit_s, slow.get(g, np.inf)) for g in range(5)])
        self._wifi_bit_ms = 1000 * float(radio["home_wifi_mbit_s"])
        # a car that waits, queues or is plugged in can receive; one that is stuck cannot
        self._reachable = np.ones(len(State), np.uint8)
        self._reachable[State.STUCK] = 0

    def download(
        self, campaigns: Sequence[Campaign], t0_ms: int, t1_ms: int, used_b: NDArray[np.int64] | None = None
    ) -> None:
        """Let all downloading cars take their shares in [t0, t1); `used_b` of each cell is gone already.

        A car downloads one package at a time: that of the first campaign it is in.
        """
        cells, span = self.cells, t1_ms - t0_ms
        rows = [c.downloading() for c in campaigns]
        if not any(map(len, rows)):
            return
        hour = ((t0_ms + self._start_ms) / HOUR_MS) % 24
        room = cells.bytes_for_cars(cells.down_mbit_s, self._cell_mbit_s, self._cell_share, int(hour), span)
        if used_b is not None:
            room = np.maximum(room - used_b, 0)
        cell_want = np.zeros(cells.n + 1, np.int64)
        taken = np.zeros(self.fleet.size, bool)
        asked = [
            self._ask(c, mine, hour, t0_ms, t1_ms, taken, cell_want) for c, mine in zip(campaigns, rows, strict=True)
        ]
        want, cell_of, most = (np.concatenate([a[k] for a in asked]) for k in range(3))
        give, order = np.zeros(len(want), np.int64), np.zeros(len(want), np.int64)
        start = np.zeros(cells.n + 2, np.int64)
        share_out(cell_of, want, len(want), cell_want, np.append(room, _WIFI_ROOM_B), give, order, start)
        first = 0
        for campaign, mine in zip(campaigns, rows, strict=True):
            part = slice(first, first + len(mine))
            first += len(mine)
            campaign.receive(mine, give[part], most[part], cell_of[part], t0_ms, t1_ms, busy=self.load(int(hour)))

    def load(self, hour_of_day: int) -> NDArray[np.float64]:
        """Load of every cell by other people; the Wi-Fi of homes, last, has none."""
        return np.append(self.cells.others[:, hour_of_day], 0.0)

    def _ask(
        self,
        campaign: Campaign,
        rows: NDArray[np.int64],
        hour: float,
        t0_ms: int,
        t1_ms: int,
        taken: NDArray[np.bool_],
        cell_want: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        fleet, cells, settings = self.fleet, self.cells, campaign.settings
        cars = campaign.car[rows]
        link, node = fleet.link[cars], fleet.node[cars]
        moving = link >= 0
        has_wifi = self.wifi[cars] > 0
        on_wifi = has_wifi & ~moving & (node == fleet.home_node[cars])
        cell_of = np.where(moving, cells.link_cell[link], cells.node_cell[node])
        cell_of = np.where(on_wifi, cells.n, cell_of).astype(np.int32)
        waited_h = (t0_ms - campaign.offered_ms[rows]) / HOUR_MS
        limits = Limits(settings.patience_h, settings.busy_load, settings.night)
        moment = Moment(hour, self.load(int(hour))[cell_of], waited_h, on_wifi, has_wifi)
        may = POLICIES[settings.policy](moment, limits) & ~taken[cars]
        if settings.wifi_only:
            may &= on_wifi
        if settings.download_when != "any":
            drives = fleet.state[cars] == State.DRIVING
            may &= drives if settings.download_when == "driving" else ~drives
        rate = np.where(on_wifi, self._wifi_bit_ms, self._car_bit_ms[fleet.network_generation[cars]])
        most = np.maximum(1, np.floor(rate * (t1_ms - t0_ms) / 8)).astype(np.int64)
        want = np.zeros(len(rows), np.int64)
        kernels.ask(
            rows,
            campaign.car,
            may,
            cell_of,
            cells.n,
            campaign.got_b,
            campaign.size_b,
            most,
            self._reachable,
            fleet.state,
            fleet.link,
            cells.link_dead,
            cells.node_dead,
            fleet.node,
            cells.outage,
            t0_ms // HOLE_MS,
            self.seed,
            int(Stream.OUTAGE),
            want,
            cell_want,
        )
        taken[cars[want > 0]] = True
        return want, cell_of, most


def advance(
    campaigns: Sequence[Campaign], air: Air, t0_ms: int, t1_ms: int, used_b: NDArray[np.int64] | None = None
) -> None:
    """Carry campaigns that share the air through [t0, t1)."""
    begun = [campaign for campaign in campaigns if campaign.before_downloads(t0_ms, t1_ms)]
    air.download(begun, t0_ms, t1_ms, used_b)
    for campaign in begun:
        campaign.after_downloads(t1_ms)
