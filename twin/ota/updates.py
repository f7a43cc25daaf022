"""All over-the-air campaigns of a run: several at once, one download and one install per car."""

from __future__ import annotations

from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from maps.network import CityMap
from twin import facts
from twin.cloud.cells import Cells
from twin.events import Table
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Fleet
from twin.ota.air import Air, advance
from twin.ota.campaign import Campaign, CampaignError
from twin.ota.moves import COLUMNS
from twin.ota.states import NAMES, Step
from twin.settings import CampaignSettings, OtaSettings

_COUNTS = ("targets", "installed", "failed", "bytes", "wifi_bytes", "busy_cell_bytes", "spoilt_bytes", "dealer_bytes")


class Updates:
    """The maker's campaigns over one fleet.

    Parameters
    ----------
    city : CityMap
    fleet : Fleet
    settings : OtaSettings
        Its own campaign, or those it lists.
    env : simpy.Environment
    cells : Cells
    wifi : ndarray of uint8, shape (n_cars,)
        Cars with a Wi-Fi at home.
    catalogue : Catalogue, optional
    year, start_s_of_day, seed, horizon_ms : int

    Attributes
    ----------
    campaigns : list of Campaign
        In order of the file; an earlier one goes first in a car that is in two.
    installing : ndarray of bool, shape (n_cars,)
        Cars that cannot drive now.
    table : Table
        `ota`, one row per move.

    Raises
    ------
    CampaignError
        For two campaigns of one name, or one that comes after a campaign which is not above it.
    """

    def __init__(
        self,
        city: CityMap,
        fleet: Fleet,
        settings: OtaSettings,
        env: simpy.Environment,
        *,
        cells: Cells,
        seed: int,
        horizon_ms: int,
        wifi: NDArray[np.uint8] | None = None,
        catalogue: Catalogue | None = None,
        year: int = 2022,
        start_s_of_day: int = 0,
    ) -> None:
        self.fleet = fleet
        self.installing = np.zeros(fleet.size, bool)
        self.table = Table("ota", COLUMNS)
        self._downlink_start = fleet.downlink_b.copy()
        share = float(facts.load("connectivity")["cellular"]["cell_share_usable_by_cars"])
        self.air = Air(
            fleet, cells, cell_mbit_s=settings.cell_downlink_mbit_s, car_mbit_s=settings.car_downlink_mbit_s,
            cell_share=share, wifi=np.zeros(fleet.size, np.uint8) if wifi is None else wifi,
            start_s_of_day=start_s_of_day, seed=seed,
        )  # fmt: skip
        self.campaigns: list[Campaign] = []
        by_name: dict[str, Campaign] = {}
        listed: list[CampaignSettings] = list(settings.campaigns) or [settings]
        for number, one in enumerate(listed if settings.enabled else []):
            if one.name in by_name:
                raise CampaignError(f"ota.campaigns: two are called {one.name!r}; names must differ")
            if one.after and one.after not in by_name:
                valid = f"valid: {', '.join(by_name)}" if by_name else "the first one can come after none"
                raise CampaignError(f"{one.name}: after {one.after!r} is no campaign above it; {valid}")
            campaign = Campaign(
                city, fleet, one, env,
                cells=cells, seed=seed, horizon_ms=horizon_ms, catalogue=catalogue, year=year,
                after=by_name.get(one.after), air=self.air, installing=self.installing, table=self.table,
                number=number,
            )  # fmt: skip
            self.campaigns.append(campaign)
            by_name[one.name] = campaign

    def __getitem__(self, name: str) -> Campaign:
        """A campaign by name."""
        for campaign in self.campaigns:
            if campaign.name == name:
                return campaign
        raise KeyError(f"no campaign {name!r}; there are {', '.join(c.name for c in self.campaigns) or 'none'}")

    def advance(self, t0_ms: int, t1_ms: int, used_b: NDArray[np.int64] | None = None) -> None:
        """Carry all campaigns through [t0, t1); `used_b` is what services took of each cell's downlink."""
        if self.campaigns:
            advance(self.campaigns, self.air, t0_ms, t1_ms, used_b)

    def finished(self) -> list[tuple[CampaignSettings, NDArray[np.int64]]]:
        """Campaigns and the cars that they updated since the last call."""
        found = [(campaign.settings, campaign.take_finished()) for campaign in self.campaigns]
        return [(settings, cars) for settings, cars in found if len(cars)]

    def revive(self, env: simpy.Environment) -> None:
        """Start running installations anew in another environment."""
        for campaign in self.campaigns:
            campaign.revive(env)

    def finish(self, end_ms: int) -> None:
        """Write the last moves; the last row of every car and campaign says where it stands."""
        for campaign in self.campaigns:
            campaign.finish(end_ms)

    def ledger(self) -> dict[str, int]:
        """Residuals, all 0 when the books close (see `Campaign.ledger`).

        `received`: bytes that cars received against the books of all campaigns, car by car ·
        `barred`: cars that cannot drive against cars that install.
        """
        found: dict[str, int] = dict.fromkeys(("moves", "bytes", "short", "installing"), 0)
        booked = self._downlink_start.copy()
        barred = np.zeros(self.fleet.size, bool)
        for campaign in self.campaigns:
            for name, value in campaign.ledger().items():
                found[name] += value
            booked[campaign.car] += campaign.got_b + campaign.spoilt_b - campaign.dealer_b
            barred[campaign.car[campaign.state == Step.INSTALLING]] = True
        found["received"] = int(np.abs(self.fleet.downlink_b - booked).sum())
        found["barred"] = int(np.count_nonzero(barred != self.installing))
        return found

    def summary(self) -> dict[str, Any]:
        """The `ota` part of summary.json; `bytes` went through the air, spoilt downloads included."""
        each = {c.name: c.summary() for c in self.campaigns}
        total: dict[str, Any] = {"campaigns": len(each)}
        total |= {key: sum(s[key] for s in each.values()) for key in _COUNTS}
        total["paused"] = any(s["paused"] for s in each.values())
        total["by_state"] = {name: sum(s["by_state"][name] for s in each.values()) for name in NAMES}
        return {**total, "by_campaign": each}
