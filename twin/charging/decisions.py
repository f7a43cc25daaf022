"""Where the policy is asked: about a car that plugs in, and every quarter of an hour about all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin import facts
from twin.chance import Stream, chance
from twin.charging.models import Models
from twin.charging.policies import Answer, Policy, PolicyError, Question, ask, uncontrolled
from twin.charging.policy_file import policy_of
from twin.charging.site import CHADEMO, SiteKind, Sites
from twin.charging.tariff import SLOT_MS, coming, day_prices, default_bands, house_kw
from twin.charging.visits import Outcome, Phase, Visits
from twin.fleet.fleet import Fleet
from twin.sessions import Sessions, Work
from twin.settings import ChargingSettings

_DAY_MS = 86_400_000


class Decisions:
    """Puts questions to the charging policy and writes its answers to the visits.

    Parameters
    ----------
    fleet, sites, sessions, visits : Fleet, Sites, Sessions, Visits
    catalogue : Models
    settings : ChargingSettings
    policy : Policy, optional
        Instead of the one that the settings name.
    market : {"japan", "europe", "us"}
    seed : int
    start_ms_of_day : int
    efficiency : tuple of float
        Overhead (W) and factor of onboard chargers, efficiency of direct current.

    Attributes
    ----------
    timer_user, gives_back : ndarray of bool, shape (n_cars,)
        Who charges by timer; who can feed a house.
    give_eta : float
        Energy at the meter over what the battery gives.
    asks_again : bool
        Whether the policy gives powers and is asked every quarter of an hour.
    """

    def __init__(
        self,
        fleet: Fleet,
        sites: Sites,
        sessions: Sessions,
        visits: Visits,
        catalogue: Models,
        settings: ChargingSettings,
        policy: Policy | None,
        *,
        market: str,
        seed: int,
        start_ms_of_day: int,
        efficiency: tuple[float, float, float],
    ) -> None:
        self.fleet, self.sites, self.sessions, self.visits = fleet, sites, sessions, visits
        self.start_ms_of_day, self.efficiency = start_ms_of_day, efficiency
        self.policy = policy_of(settings) if policy is None else policy
        self.prices = day_prices(settings.tariff or default_bands())
        self.asks_again, self.asked_slot = False, -1
        known = facts.load("charging")
        self.timer_user = chance(seed, Stream.TIMER, np.arange(len(fleet))) < float(known["home_timer"][market])
        v2h = known["v2h"]
        self.gives_back = _gives_back(fleet, catalogue, settings, v2h, market=market, seed=seed)
        # what is lost on the way out is the round trip's loss less that of the way in
        box_w = v2h["leaf_to_home_power_kw"] * 1000.0
        self.give_eta = float(v2h["roundtrip_eta"] * box_w / _at_battery(box_w, efficiency))
        self.reserve = float(v2h["min_soc_reserved"])

    def plug(self, row: int) -> int:
        """A car has plugged in: ask, and return when it may start, ms."""
        v, s = self.visits, self.sessions
        if self.policy is uncontrolled:
            return s.now_ms
        car = int(s.car[row])
        v.gives[row] = self.gives_back[car] and self.sites.site_kind[s.site[row]] == SiteKind.HOME
        v.floor_j[row] = round(self.reserve * int(self.fleet.capacity_j[car]))
        question = self.question(np.array([row]), s.now_ms)
        answer = ask(self.policy, question)
        if isinstance(answer, Answer):
            v.fraction[row] = answer.fraction[0]
            return int(answer.start_ms[0])
        v.fraction[row] = answer[0] / question.rated_kw[0]
        self.asks_again = True
        return s.now_ms

    def again(self, t0_ms: int) -> None:
        """In every quarter of an hour, let a policy of powers decide on everybody on a socket.

        Who is full and gives energy back wakes up.
        """
        slot = (t0_ms + self.start_ms_of_day) // SLOT_MS
        if not self.asks_again or slot == self.asked_slot:
            return
        self.asked_slot = slot
        s, v = self.sessions, self.visits
        idle = (s.phase == Phase.IDLE) & v.gives
        rows = np.flatnonzero(((s.phase == Phase.CHARGING) | idle) & (s.kind == Work.CHARGE))
        if not len(rows):
            return
        question = self.question(rows, t0_ms)
        kw = ask(self.policy, question)
        if isinstance(kw, Answer):
            raise PolicyError("a charging policy must return powers always or never")
        v.fraction[rows] = kw / question.rated_kw
        for row in rows[idle[rows] & (kw < 0)].tolist():
            v.from_ms[row], v.done_ms[row], v.outcome[row] = t0_ms, -1, Outcome.NONE
            s.arm(row, Phase.CHARGING, -1)

    def question(self, rows: NDArray[np.int64], now_ms: int) -> Question:
        """What a policy may know about sessions now."""
        s, v, fleet = self.sessions, self.visits, self.fleet
        car, site, dc = s.car[rows], s.site[rows], v.dc[rows]
        battery, watts = fleet.battery_j[car], v.socket_w[rows]
        need_j = np.maximum(v.target_j[rows] - battery, 0)
        of_day = (now_ms + self.start_ms_of_day) % _DAY_MS
        kind = self.sites.site_kind[site]
        n = len(rows)
        return Question(
            now_ms=np.full(n, now_ms),
            of_day_ms=np.full(n, of_day),
            site_kind=kind,
            site=site,
            feeder=self.sites.site_feeder[site],
            car=car,
            soc=battery / fleet.capacity_j[car],
            need_j=need_j,
            rated_kw=np.where(dc, watts / self.efficiency[2], watts) / 1000.0,
            full_power_h=need_j / np.where(dc, watts, _at_battery(watts, self.efficiency)) / 3600.0,
            leave_ms=v.leave_ms[rows],
            timer=self.timer_user[car],
            gives=v.gives[rows],
            spare_j=np.where(v.gives[rows], np.maximum(battery - v.floor_j[rows], 0), 0),
            house_kw=np.where(kind == SiteKind.HOME, house_kw(of_day), 0.0),
            price=coming(self.prices, of_day),
        )


def _at_battery(meter_w: ArrayLike, efficiency: tuple[float, float, float]) -> NDArray[np.float64]:
    """Power that reaches the battery through an onboard charger (as `kernels.battery_power`, for arrays)."""
    watts = np.asarray(meter_w, float)
    return np.asarray(efficiency[1] * watts**2 / np.maximum(watts + efficiency[0], 1e-9))


def _gives_back(
    fleet: Fleet, catalogue: Models, settings: ChargingSettings, v2h: dict[str, float], *, market: str, seed: int
) -> NDArray[np.bool_]:
    """Cars that can feed a house: a CHAdeMO inlet, and the box for it at home (facts charging: v2h)."""
    known = v2h["adoption_share_japan_ev_homes_2022"] if market == "japan" else 0.0
    share = float(known) if settings.v2x_share is None else settings.v2x_share
    lucky = chance(seed, Stream.TIMER, np.arange(len(fleet)), 1) < share
    return np.asarray(lucky & (np.asarray(catalogue.dc_socket)[fleet.model] == CHADEMO))
