"""The table of charging sessions that ended, and what they add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.network import SOCKET_KINDS
from twin import facts
from twin.charging.full_power import FullPower
from twin.charging.site import SITE_KINDS, Sites
from twin.charging.visits import OUTCOMES, Outcome, Visits
from twin.events import Column, Table
from twin.fleet.fleet import Fleet
from twin.sessions import Sessions

SESSIONS = {
    "session_id": Column("i8", "", "serial, in the order asked"),
    "car_id": Column("i4", "", "fleet car"),
    "site_id": Column("i4", "", "charging site"),
    "connector": Column("str", "", "socket used or queued for; empty when it balked"),
    "kind": Column("str", "", "home, work, public or fast"),
    "asked_s": Column("f8", "s", "car asks for a socket"),
    "plugged_s": Column("f8", "s", "plugged in; null when it never was"),
    "done_s": Column("f8", "s", "last current; null when charging did not come to its end"),
    "unplugged_s": Column("f8", "s", "socket free again; null when still plugged or never plugged"),
    "energy_kwh": Column("f8", "kWh", "into the battery"),
    "meter_kwh": Column("f8", "kWh", "drawn at the meter, less what was given back"),
    "given_kwh": Column("f8", "kWh", "given back to house or grid, at the meter"),
    "soc_in": Column("f8", "", "state of charge when it asked, 0 to 1"),
    "soc_out": Column("f8", "", "state of charge when it left, 0 to 1"),
    "soc_full_power": Column(
        "f8", "", "state of charge it would have left with at full power all the time; null when never or still plugged"
    ),
    "wait_s": Column("f8", "s", "time in the queue"),
    "price": Column(
        "f8", "", "per kWh when it plugged in, in the tariff's currency; null at homes, workplaces, unplugged"
    ),
    "outcome": Column("str", "", "full, done, limit, left, balked, reneged, left_queue, open, closed or broken"),
}

NEARLY = 0.99
"""Share of its target with which a car counts as charged."""
_CONNECTORS = np.array((*SOCKET_KINDS, ""), object)


class Record:
    """Writes sessions once, when they have ended or the run has, and keeps the sums that ledgers need.

    Attributes
    ----------
    table : Table
        Columns of SESSIONS, in the order in which sessions ended.
    ended : ndarray of int64, shape (n_outcomes,)
        Sessions by Outcome.
    sums : dict
        energy_j, meter_j, loss_j, given_j, wait_ms and waited (sessions that waited longer than 0) of what is written;
        short_j (energy that full power would have given beyond), could_fill (sessions that reach their target at full
        power), missed (those among them that left with less than 99 % of it) and wanted_j (what cars on sockets at the
        end of the run had not got yet).
    """

    def __init__(self, fleet: Fleet, sites: Sites, sessions: Sessions, visits: Visits, full_power: FullPower) -> None:
        self.fleet, self.sites, self.sessions, self.visits = fleet, sites, sessions, visits
        self.full_power = full_power
        self.table = Table("sessions", SESSIONS)
        self.ended = np.zeros(len(OUTCOMES), np.int64)
        sums = (
            "energy_j",
            "meter_j",
            "loss_j",
            "given_j",
            "wait_ms",
            "waited",
            "short_j",
            "could_fill",
            "missed",
            "wanted_j",
        )
        self.sums = dict.fromkeys(sums, 0)

    def write(self, rows: list[int]) -> None:
        """Append sessions to the table and add them up."""
        if not rows:
            return
        at = np.array(rows)
        s, v, sites = self.sessions, self.visits, self.sites
        car, site, socket = s.car[at], s.site[at], v.socket[at]
        capacity = self.fleet.capacity_j[car]
        possible, held, target = self.full_power.held_j(at), v.soc_out_j[at], v.target_j[at]
        self.table.append(
            session_id=v.session_id[at],
            car_id=car,
            site_id=site,
            connector=_CONNECTORS[np.where(socket >= 0, sites.socket_kind[socket], len(SOCKET_KINDS))],
            kind=np.array(SITE_KINDS, object)[sites.site_kind[site]],
            asked_s=s.asked[at] / 1000,
            plugged_s=_seconds(v.plugged_ms[at]),
            done_s=_seconds(v.done_ms[at]),
            unplugged_s=_seconds(v.unplugged_ms[at]),
            energy_kwh=v.energy_j[at] / 3.6e6,
            meter_kwh=v.meter_j[at] / 3.6e6,
            given_kwh=v.given_j[at] / 3.6e6,
            soc_in=v.soc_in_j[at] / capacity,
            soc_out=v.soc_out_j[at] / capacity,
            soc_full_power=np.where(possible >= 0, possible / capacity, np.nan),
            wait_s=v.wait_ms[at] / 1000,
            price=v.price[at],
            outcome=np.array(OUTCOMES, object)[v.outcome[at]],
        )
        self.ended += np.bincount(v.outcome[at], minlength=len(OUTCOMES))
        for name in ("energy_j", "meter_j", "loss_j", "given_j", "wait_ms"):
            self.sums[name] += int(getattr(v, name)[at].sum())
        still = (v.outcome[at] == Outcome.OPEN) & (v.plugged_ms[at] >= 0)
        self.sums["wanted_j"] += int(np.maximum(target - held, 0)[still].sum())
        could = possible >= target
        self.sums["short_j"] += int(np.maximum(possible - held, 0).sum())
        self.sums["could_fill"] += int(could.sum())
        self.sums["missed"] += int((could & (held < NEARLY * target)).sum())
        self.sums["waited"] += int((v.wait_ms[at] > 0).sum())

    def unfinished(self, asked: int, live: int) -> int:
        """Sessions asked that are neither live nor written with an outcome; 0 when nothing is lost."""
        return abs(asked - live - int(self.ended[1:].sum())) + int(self.ended[Outcome.NONE])

    def given(self, live: NDArray[np.int64], *, give_eta: float) -> dict[str, float]:
        """What cars got and gave, of all sessions; `live` are rows that are not written yet.

        given_kwh, battery_wear_kwh: energy given back at the meter, and the battery capacity that all cars together
        lost by it (facts charging: v2h). battery_kwh: into batteries, less what they gave; wanted_kwh: what cars on
        sockets at the end had not got yet. could_fill: ended sessions that full power all the time would have brought
        to their target; missed: those among them that did not get there; short_kwh: what full power would have given
        more.
        """
        given_kwh = (self.sums["given_j"] + int(self.visits.given_j[live].sum())) / 3.6e6
        return {
            "given_kwh": given_kwh,
            "battery_wear_kwh": given_kwh / give_eta * facts.load("charging")["v2h"]["capacity_lost_per_full_cycle"],
            "battery_kwh": (self.sums["energy_j"] + int(self.visits.energy_j[live].sum())) / 3.6e6,
            "wanted_kwh": self.sums["wanted_j"] / 3.6e6,
            "could_fill": self.sums["could_fill"],
            "missed": self.sums["missed"],
            "short_kwh": self.sums["short_j"] / 3.6e6,
        }

    def queue_summary(self) -> dict[str, float]:
        """Waited (longer than 0), mean wait over all who stayed and over those who waited, and counts by outcome.

        Who balked or came to a closed site did not stay.
        """
        balked, closed = int(self.ended[Outcome.BALKED]), int(self.ended[Outcome.CLOSED])
        stayed = int(self.ended.sum()) - balked - closed
        wait_s, waited = self.sums["wait_ms"] / 1000, self.sums["waited"]
        return {
            "waited": waited,
            "mean_wait_s": wait_s / stayed if stayed else 0.0,
            "mean_wait_of_waiting_s": wait_s / waited if waited else 0.0,
            "balked": balked,
            "reneged": int(self.ended[Outcome.RENEGED]),
            "closed": closed,
            "broken": int(self.ended[Outcome.BROKEN]),
        }


def _seconds(ms: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(ms >= 0, ms / 1000, np.nan)
