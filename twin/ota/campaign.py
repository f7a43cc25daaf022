"""One over-the-air campaign: rollout groups, downloads through the cells, consent, installation.

Follows Nissan's Remote Software Upgrade (facts `ota.nissan`): the car asks for new software
when it is switched on, downloads in the background while driving or parked, keeps two memory
banks, and installs after the driver's consent when it stands. A car that installs cannot
drive (`Campaign.installing`). Probabilities and the consent delay: `facts/ota.toml`.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import Any

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

from maps.network import CityMap
from twin import facts
from twin.chance import Stream, chance
from twin.cloud.cells import HOLE_MS, Cells
from twin.cloud.kernels import share_out
from twin.events import Column, Table
from twin.fleet.fleet import Fleet, Kind, State
from twin.ota import kernels
from twin.ota.outcome import NEVER, consent_delay_ms, failure_reasons
from twin.ota.states import NAMES, OVER, Step, legal
from twin.settings import OtaSettings

THREE_G_DOWN_MBIT_S = 1.9
"""Downlink of a 3G unit; facts `ota.download_time_examples`, note."""

RETRY_MS = 3_600_000
"""A rolled-back car tries again after an hour at the earliest (assumption; Polestar: "user may retry later")."""

TRIES = 2
"""Installations per car before it counts as failed: the facts know a first try and a retry."""

_HOUR_MS = 3_600_000
COLUMNS: dict[str, Column] = {
    "car_id": Column("i4", "", "row of the car"),
    "campaign": Column("str", "", "name of the campaign"),
    "state": Column("str", "", "state the car came into"),
    "time_s": Column("f8", "s", "when"),
    "bytes": Column("i8", "B", "bytes of the package in the car then"),
    "reason": Column("str", "", "why, where the state does not say it"),
}


class CampaignError(ValueError):
    """A campaign cannot be set up; the message is one line."""


class Campaign:
    """A campaign over the connected cars that can be updated.

    Parameters
    ----------
    city : CityMap
    fleet : Fleet
        Reads who and where the cars are; writes `downlink_b`.
    settings : OtaSettings
        Groups are cumulative shares of the targets, ascending to 1.
    env : simpy.Environment
        Installations are its processes; integer ms.
    cells : Cells
        Who serves whom (`Cloud.cells`).
    seed, horizon_ms : int
    cell_share : float, optional
        Share of a cell's downlink that cars may use; facts `cell_share_usable_by_cars` when left out.

    Attributes
    ----------
    installing : ndarray of bool, shape (n_cars,)
        Cars that cannot drive now. The world delays their departures.
    state : ndarray of uint8, shape (n_targets,)
        `Step` of each target; `car` holds its row in the fleet.
    table : Table
        `ota`, one row per move.

    Raises
    ------
    CampaignError
        When groups do not ascend to 1.
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
        cell_share: float | None = None,
    ) -> None:
        groups = list(settings.groups)
        if not groups or groups[-1] != 1 or any(a >= b for a, b in pairwise(groups)) or groups[0] <= 0:
            raise CampaignError(
                f"ota.groups: {groups} are not cumulative shares that ascend to 1, such as [0.05, 0.25, 1.0]"
            )
        if len(cells.node_cell) != city.network.n_nodes:
            raise CampaignError("the cells belong to another map")
        radio, outcome = facts.load("connectivity")["cellular"], facts.load("ota")["outcome"]
        self.fleet = fleet
        self.settings = settings
        self.env = env
        self.cells = cells
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.name = settings.name
        self.package_b = round(1e6 * settings.package_mb)
        self.table = Table("ota", COLUMNS)
        self.paused = False
        self._late: list[tuple[int, int, int, int, str]] = []

        # maps and infotainment go to every unit on air; control units only where the model takes them that way
        able = (fleet.connected > 0) & (fleet.network_generation > 0) & settings.enabled
        if settings.kind == "firmware":
            able &= fleet.ota > 0
        self.car = np.flatnonzero(able).astype(np.int32)
        size = len(self.car)
        self.group = np.searchsorted(groups, chance(seed, Stream.CAMPAIGN_GROUP, self.car), side="right").astype(
            np.int16
        )
        self._group_size = np.bincount(self.group, minlength=len(groups))
        gap_ms, start_ms = round(settings.group_gap_h * _HOUR_MS), round(settings.start_h * _HOUR_MS)
        self._open_ms = [start_ms + k * gap_ms for k in range(len(groups))]
        self._opened = -1

        self.state = np.zeros(size, np.uint8)
        self.due = np.full(size, NEVER, np.int64)
        self.serial = np.zeros(size, np.int64)
        self.got_b = np.zeros(size, np.int64)
        self.spoilt_b = np.zeros(size, np.int64)
        self._downloads = np.zeros(size, np.int32)
        self._installs = np.zeros(size, np.int32)
        self._serials = 0
        self.installing = np.zeros(fleet.size, bool)
        self._downlink_start = fleet.downlink_b.copy()

        self._legal = legal()
        self._install_ms = max(1, round(settings.install_min * 60_000))
        self._soc_min = float(facts.load("ota")["preconditions"]["traction_soc_min"])
        self._download_fails = float(outcome["download_failure_per_attempt"])
        self._install_works = (float(outcome["install_success_first_try"]), float(outcome["retry_success"]))
        self._cell_bit_ms = settings.cell_downlink_mbit_s * 1000
        self._cell_bit_ms *= float(radio["cell_share_usable_by_cars"]) if cell_share is None else cell_share
        slow = {2: float(radio["g2_uplink_kbit_s"]) / 1000, 3: THREE_G_DOWN_MBIT_S}
        self._car_bit_ms = np.array([1000 * min(settings.car_downlink_mbit_s, slow.get(g, np.inf)) for g in range(5)])
        # a car that waits, queues or is plugged in can receive; one that is stuck cannot
        self._reachable = np.ones(len(State), np.uint8)
        self._reachable[State.STUCK] = 0

    # -------------------------------------------------------------- one tick

    def advance(self, t0_ms: int, t1_ms: int) -> None:
        """Carry the campaign through [t0, t1): groups, downloads, consent, starts of installations.

        Called when the environment stands at t1, with the fleet's `state`, `link` and `node` of t1.
        Installations end in the SimPy run of later ticks, at their exact millisecond.
        """
        if not len(self.car) or t1_ms <= self._open_ms[0]:
            return
        self._write_late()
        self._open_groups(t0_ms)
        self._watch_errors(t0_ms)
        if not self.paused:
            self._check_in(t0_ms)
            self._download(t0_ms, t1_ms)
        self._consent(t1_ms)
        if not self.paused:
            self._start_installs(t1_ms)

    def _open_groups(self, t0_ms: int) -> None:
        self._begin(t0_ms)
        while self._opened < len(self._open_ms) and self._open_ms[self._opened] <= t0_ms and not self.paused:
            mine = np.flatnonzero((self.group == self._opened) & (self.state == Step.SCHEDULED))
            self._move(mine, Step.AVAILABLE, t0_ms)
            self._opened += 1

    def _begin(self, at_ms: int) -> None:
        """Write the first row of every target, once."""
        if self._opened < 0:
            self._opened = 0
            if len(self.car):
                self._record(np.arange(len(self.car)), NAMES[Step.SCHEDULED], at_ms, 0, "")

    def _watch_errors(self, t0_ms: int) -> None:
        """Pause when more than the threshold of a group's cars have failed."""
        if self.paused:
            return
        failed = np.bincount(self.group[self.state == Step.FAILED], minlength=len(self._group_size))
        if np.any(failed > self.settings.error_threshold * self._group_size):
            self.paused = True
            self._move(np.flatnonzero(self.state == Step.DOWNLOADING), Step.PAUSED, t0_ms, "error threshold")

    def _check_in(self, t0_ms: int) -> None:
        """Cars that are switched on, or plugged in, ask and begin to download."""
        rows = np.flatnonzero(self.state == Step.AVAILABLE)
        state = self.fleet.state[self.car[rows]]
        rows = rows[(state == State.DRIVING) | (state == State.PLUGGED)]
        self._downloads[rows] += 1
        self._move(rows, Step.DOWNLOADING, t0_ms)

    def _download(self, t0_ms: int, t1_ms: int) -> None:
        rows = np.flatnonzero(self.state == Step.DOWNLOADING)
        if not len(rows):
            return
        fleet, cells, n = self.fleet, self.cells, len(rows)
        most_b = np.maximum(1, np.floor(self._car_bit_ms * (t1_ms - t0_ms) / 8)).astype(np.int64)
        want, give, order, done_ms = (np.zeros(n, np.int64) for _ in range(4))
        cell_of = np.zeros(n, np.int32)
        cell_want = np.zeros(cells.n, np.int64)
        kernels.ask(
            rows,
            self.car,
            self.got_b,
            self.package_b,
            most_b,
            fleet.network_generation,
            self._reachable,
            fleet.state,
            fleet.link,
            fleet.node,
            cells.link_cell,
            cells.node_cell,
            cells.link_dead,
            cells.outage,
            t0_ms // HOLE_MS,
            self.seed,
            int(Stream.OUTAGE),
            want,
            cell_of,
            cell_want,
        )
        capacity = np.full(cells.n, int(self._cell_bit_ms * (t1_ms - t0_ms) / 8), np.int64)
        share_out(cell_of, want, n, cell_want, capacity, give, order, np.zeros(cells.n + 1, np.int64))
        kernels.take(
            rows,
            self.car,
            give,
            t0_ms,
            t1_ms,
            most_b,
            fleet.network_generation,
            self.got_b,
            self.package_b,
            fleet.downlink_b,
            done_ms,
        )
        done = done_ms >= 0
        whole, at_ms = rows[done], done_ms[done]
        bad = chance(self.seed, Stream.DOWNLOAD, self.car[whole], self._downloads[whole]) < self._download_fails
        good = whole[~bad]
        self._move(good, Step.DOWNLOADED, at_ms[~bad])
        u = chance(self.seed, Stream.CONSENT, self.car[good])
        self.due[good] = np.minimum(at_ms[~bad] + consent_delay_ms(u), NEVER) if len(good) else self.due[good]
        spoilt = whole[bad]
        self.spoilt_b[spoilt] += self.got_b[spoilt]
        self.got_b[spoilt] = 0
        self._move(spoilt, Step.AVAILABLE, at_ms[bad], "verification failed")

    def _consent(self, t1_ms: int) -> None:
        said = np.flatnonzero((self.state == Step.DOWNLOADED) & (self.due <= t1_ms))
        self._move(said, Step.CONSENTED, self.due[said])
        again = np.flatnonzero((self.state == Step.ROLLED_BACK) & (self.due <= t1_ms))
        self._move(again, Step.CONSENTED, self.due[again], "retry")

    def ready_to_install(self, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the cars of these targets meet the conditions (facts `ota.preconditions`).

        Parked, or on the AC socket at home (not on DC), with at least 20 % in the traction
        battery of an electric car. The 12 V battery is not modelled and counts as good.
        """
        fleet = self.fleet
        cars = self.car[targets]
        stands = fleet.state[cars] == State.PARKED
        stands |= (fleet.state[cars] == State.PLUGGED) & (fleet.node[cars] == fleet.home_node[cars])
        charged = (fleet.kind[cars] != Kind.ELECTRIC) | (
            fleet.battery_j[cars] >= self._soc_min * fleet.capacity_j[cars]
        )
        ready: NDArray[np.bool_] = stands & charged
        return ready

    def _start_installs(self, t1_ms: int) -> None:
        rows = np.flatnonzero(self.state == Step.CONSENTED)
        rows = rows[self.ready_to_install(rows)]
        self.due[rows] = t1_ms + self._install_ms
        self._move(rows, Step.INSTALLING, t1_ms)
        for target in rows.tolist():
            self.env.process(self._install(target))

    def _install(self, target: int) -> Generator[simpy.Event, Any, None]:
        # holds no state: the row says what is going on and until when, so it may be entered again after a restore
        serial = self.serial[target]
        yield self.env.timeout(max(0, int(self.due[target]) - int(self.env.now)))
        if self.serial[target] != serial:
            return
        car = int(self.car[target])
        tries = int(self._installs[target])
        works = self._install_works[min(tries, TRIES) - 1]
        if chance(self.seed, Stream.INSTALL, car, tries)[0] < works:
            self.arm(target, Step.INSTALLED, NEVER)
        elif tries < TRIES:
            self.arm(target, Step.ROLLED_BACK, int(self.env.now) + RETRY_MS, "installation failed")
        else:
            names, upto = failure_reasons()
            u = chance(self.seed, Stream.INSTALL, car, 1000 + tries)[0]
            self.arm(target, Step.FAILED, NEVER, names[int(np.searchsorted(upto, u, side="right"))])

    def revive(self, env: simpy.Environment) -> None:
        """Go on in a new environment from the arrays alone: installations end when they are due, in serial order."""
        self.env = env
        rows = np.flatnonzero(self.state == Step.INSTALLING)
        for target in rows[np.argsort(self.serial[rows])].tolist():
            env.process(self._install(target))

    def arm(self, target: int, step: Step, due: int, reason: str = "") -> None:
        """Move one target now, to a state that lasts until `due`, ms; stamps a serial that outdates older processes."""
        self._check(np.array([target]), step)
        self._serials += 1
        self.state[target], self.due[target], self.serial[target] = step, due, self._serials
        self.installing[self.car[target]] = step == Step.INSTALLING
        self._late.append((target, int(step), int(self.env.now), int(self.got_b[target]), reason))

    def cancel(self, at_ms: int, *, reason: str = "operator") -> None:
        """Stop the campaign: all targets but those that install, or are over, are cancelled."""
        self._begin(at_ms)
        ends = [*OVER, Step.INSTALLING]
        self._move(np.flatnonzero(~np.isin(self.state, ends)), Step.CANCELLED, at_ms, reason)
        self.paused = True

    def _check(self, targets: NDArray[np.int64], step: Step) -> None:
        wrong = ~self._legal[self.state[targets], step]
        if wrong.any():
            at = int(targets[np.argmax(wrong)])
            raise CampaignError(
                f"{self.name}: car {self.car[at]} cannot go from {NAMES[self.state[at]]} to {NAMES[step]}"
            )

    def _move(self, targets: NDArray[np.int64], step: Step, at_ms: ArrayLike, reason: str = "") -> None:
        """Move many targets, each at its own moment."""
        if not len(targets):
            return
        self._check(targets, step)
        self.state[targets] = step
        self.serial[targets] = self._serials + 1 + np.arange(len(targets))
        self._serials += len(targets)
        self.installing[self.car[targets]] = step == Step.INSTALLING
        if step == Step.INSTALLING:
            self._installs[targets] += 1
        self._record(targets, np.array(NAMES, object)[self.state[targets]], at_ms, self.got_b[targets], reason)

    def _record(
        self, targets: NDArray[np.int64], names: ArrayLike, at_ms: ArrayLike, got_b: ArrayLike, reason: ArrayLike
    ) -> None:
        self._write_late()
        self.table.append(
            car_id=self.car[targets],
            campaign=self.name,
            state=names,
            time_s=np.asarray(at_ms, np.int64) / 1000,
            bytes=got_b,
            reason=reason,
        )

    def _write_late(self) -> None:
        """Write the moves that single processes made since the last batch."""
        if not self._late:
            return
        late, self._late = self._late, []
        targets, steps, at_ms, got_b, reasons = zip(*late, strict=True)
        names = [NAMES[step] for step in steps]
        self._record(np.array(targets), names, at_ms, got_b, np.array(reasons, object))

    # -------------------------------------------------------------- results

    def finish(self, end_ms: int) -> None:
        """Write the last moves; the last row of every car says where it stands."""
        del end_ms
        self._write_late()

    def count(self, *steps: Step) -> int:
        """Targets in these states."""
        return int(np.isin(self.state, steps).sum())

    def ledger(self) -> dict[str, int]:
        """Residuals, all 0 when the books close.

        `moves`: rows of the table that are no legal move, or do not lead to the state held ·
        `bytes`: received in the car against the campaign's books ·
        `short`: cars beyond the download without the whole package ·
        `installing`: cars barred from driving against targets that install.
        """
        self._write_late()
        whole = np.isin(
            self.state,
            [Step.DOWNLOADED, Step.CONSENTED, Step.INSTALLING, Step.ROLLED_BACK, Step.INSTALLED, Step.FAILED],
        )
        received = (self.fleet.downlink_b - self._downlink_start)[self.car]
        barred = np.zeros(self.fleet.size, bool)
        barred[self.car[self.state == Step.INSTALLING]] = True
        return {
            "moves": self._illegal_rows(),
            "bytes": int(np.abs(received - self.got_b - self.spoilt_b).sum()),
            "short": int(np.count_nonzero(self.got_b[whole] != self.package_b)),
            "installing": int(np.count_nonzero(barred != self.installing)),
        }

    def _illegal_rows(self) -> int:
        """Replay the table: every target starts as scheduled, moves legally, and ends where it is."""
        code = {name: number for number, name in enumerate(NAMES)}
        car = self.table["car_id"].astype(np.int64)
        step = np.array([code[str(name)] for name in self.table["state"]], np.int64)
        order = np.argsort(car, kind="stable")
        car, step = car[order], step[order]
        if not len(car):
            return int(np.count_nonzero(self.state != Step.SCHEDULED))
        first = np.concatenate([[True], car[1:] != car[:-1]])
        last = np.concatenate([first[1:], [True]])
        wrong = np.count_nonzero(step[first] != Step.SCHEDULED)
        inner = np.flatnonzero(~first)
        wrong += np.count_nonzero(~self._legal[step[inner - 1], step[inner]])
        if not np.array_equal(car[last], self.car):
            return int(wrong) + abs(int(last.sum()) - len(self.car)) + 1
        return int(wrong + np.count_nonzero(step[last] != self.state))

    def summary(self) -> dict[str, Any]:
        """The `ota` part of summary.json; `bytes` counts spoilt downloads too."""
        return {
            "campaigns": int(self.settings.enabled),
            "targets": len(self.car),
            "installed": self.count(Step.INSTALLED),
            "failed": self.count(Step.FAILED),
            "bytes": int(self.got_b.sum() + self.spoilt_b.sum()),
            "paused": self.paused,
            "by_state": {NAMES[step]: self.count(step) for step in Step},
        }
