"""One over-the-air campaign: rollout groups, downloads, consent, installation.

Follows Nissan's Remote Software Upgrade (facts `ota.nissan`): the car asks for new software
when it is switched on, downloads in the background while driving or parked, keeps two memory
banks, and installs after the driver's consent when it stands. A car that installs cannot
drive (`Campaign.installing`). Groups, thresholds and approval are those of Eclipse hawkBit.
Probabilities and the consent delay: `facts/ota.toml`.
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
from twin.cloud.cells import Cells
from twin.events import Table
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Fleet, Kind, State
from twin.ota import kernels
from twin.ota.air import Air, advance
from twin.ota.moves import COLUMNS, illegal_rows
from twin.ota.outcome import NEVER, consent_delay_ms, dealer_delay_ms, failure_reasons, twelve_volt_soc
from twin.ota.states import NAMES, OVER, Step, legal
from twin.ota.targets import matching
from twin.settings import CampaignSettings, OtaSettings

JOIN_MS = 3_600_000
"""How often cars that begin to match are looked for."""

_HOUR_MS = 3_600_000
_WORKSHOP = ("dealer visit", "bricked")
"""Failures that only a dealer mends."""


class CampaignError(ValueError):
    """A campaign cannot be set up; the message is one line."""


class Campaign:
    """A campaign over the connected cars that can be updated.

    Parameters
    ----------
    city : CityMap
    fleet : Fleet
        Reads who and where the cars are; writes `downlink_b`.
    settings : CampaignSettings
        Groups are cumulative shares of the targets, ascending to 1. An `OtaSettings` does, too.
    env : simpy.Environment
        Installations are its processes; integer ms.
    cells : Cells
        Who serves whom (`Cloud.cells`).
    seed, horizon_ms : int
    cell_share : float, optional
        Share of a cell's downlink that cars may use; facts `cell_share_usable_by_cars` when left out.
    catalogue : Catalogue, optional
        For filters by model and brand.
    year : int
        Now, for the age of cars.
    after : Campaign, optional
        Its installed cars are the ones that can join.
    air : Air, optional
        What several campaigns share; its own when left out.
    installing : ndarray of bool, optional
        The same for all campaigns of a fleet.
    number : int
        Place among the campaigns, for their luck.

    Attributes
    ----------
    installing : ndarray of bool, shape (n_cars,)
        Cars that cannot drive now. The world delays their departures.
    state : ndarray of uint8, shape (n_targets,)
        `Step` of each target; `car` holds its row in the fleet.
    size_b, got_b, spoilt_b, dealer_b : ndarray of int64
        Bytes of the car's package, received and kept, received in vain, put in at the dealer's.
    table : Table
        `ota`, one row per move.

    Raises
    ------
    CampaignError
        When groups do not ascend to 1, thresholds contradict or the campaign is for no car at all.
    """

    def __init__(
        self,
        city: CityMap,
        fleet: Fleet,
        settings: CampaignSettings,
        env: simpy.Environment,
        *,
        cells: Cells,
        seed: int,
        horizon_ms: int,
        cell_share: float | None = None,
        catalogue: Catalogue | None = None,
        year: int = 2022,
        after: Campaign | None = None,
        air: Air | None = None,
        installing: NDArray[np.bool_] | None = None,
        table: Table | None = None,
        number: int = 0,
    ) -> None:
        groups = list(settings.groups)
        if not groups or groups[-1] != 1 or any(a >= b for a, b in pairwise(groups)) or groups[0] <= 0:
            raise CampaignError(
                f"ota.groups: {groups} are not cumulative shares that ascend to 1, such as [0.05, 0.25, 1.0]"
            )
        if settings.abort_threshold < settings.error_threshold:
            raise CampaignError(
                f"{settings.name}: abort_threshold {settings.abort_threshold:g} is below error_threshold "
                f"{settings.error_threshold:g}; valid: at least that"
            )
        if settings.delta_mb is not None and settings.delta_mb > settings.package_mb:
            raise CampaignError(f"{settings.name}: delta_mb {settings.delta_mb:g} is above package_mb")
        if len(cells.node_cell) != city.network.n_nodes:
            raise CampaignError("the cells belong to another map")
        outcome = facts.load("ota")["outcome"]
        self.fleet = fleet
        self.settings = settings
        self.env = env
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.name = settings.name
        self.package_b = round(1e6 * settings.package_mb)
        self.table = Table("ota", COLUMNS) if table is None else table
        self.paused = False
        self.approved = not settings.needs_approval
        self._late: list[tuple[int, int, int, int, str]] = []
        self._groups = groups
        self._number = number
        self._year = year
        self._after = after
        enabled = settings.enabled if isinstance(settings, OtaSettings) else True
        self._match = matching(fleet, settings.target, catalogue) & enabled
        if enabled and not self._match.any():
            raise CampaignError(f"{settings.name}: the campaign is for no car of this fleet; widen its target")
        if air is None:
            radio = facts.load("connectivity")["cellular"]
            ota = settings if isinstance(settings, OtaSettings) else OtaSettings()
            air = Air(
                fleet, cells, cell_mbit_s=ota.cell_downlink_mbit_s, car_mbit_s=ota.car_downlink_mbit_s,
                cell_share=float(radio["cell_share_usable_by_cars"]) if cell_share is None else cell_share,
                wifi=np.zeros(fleet.size, np.uint8), start_s_of_day=0, seed=seed,
            )  # fmt: skip
        self.air = air

        self.car = np.zeros(0, np.int32)
        self.group = np.zeros(0, np.int16)
        self.on_air = np.zeros(0, bool)
        self.state = np.zeros(0, np.uint8)
        self.due, self.serial, self.offered_ms = (np.zeros(0, np.int64) for _ in range(3))
        self.size_b, self.got_b, self.spoilt_b, self.dealer_b = (np.zeros(0, np.int64) for _ in range(4))
        self._downloads, self._installs = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._serials = 0
        self._is_target = np.zeros(fleet.size, bool)
        self._shares = installing is not None
        self.installing = np.zeros(fleet.size, bool) if installing is None else installing
        self.done = np.zeros(fleet.size, bool)
        self._fresh: list[int] = []
        self.cell_b, self.wifi_b, self.busy_b = 0, 0, 0
        self._parked_ms = np.zeros(fleet.size, np.int64)
        self._credit = 0.0
        gap_ms, start_ms = round(settings.group_gap_h * _HOUR_MS), round(settings.start_h * _HOUR_MS)
        self._open_ms = [start_ms + k * gap_ms for k in range(len(groups))]
        self._opened = -1
        self._joined_ms = 0

        self._legal = legal()
        self._install_ms = max(1, round(settings.install_min * 60_000))
        known = facts.load("ota")["preconditions"]
        self._soc_min = float(known["traction_soc_min"] if settings.soc_min is None else settings.soc_min)
        self._download_fails = float(outcome["download_failure_per_attempt"])
        self._install_works = (float(outcome["install_success_first_try"]), float(outcome["retry_success"]))
        self._join(0)
        self._group_size = np.bincount(self.group, minlength=len(groups))

    def _able(self) -> NDArray[np.bool_]:
        """Cars that can take the package on air now."""
        # maps and infotainment go to every unit on air; control units only where the model takes them that way
        able: NDArray[np.bool_] = self._match & (self.fleet.connected > 0) & (self.fleet.network_generation > 0)
        if self.settings.kind == "firmware":
            able = able & (self.fleet.ota > 0)
        return able

    def _join(self, at_ms: int) -> None:
        """Make targets of the cars that match and are none yet; without an air link when a dealer may do it."""
        able = self._able()
        wanted = self._match if self.settings.dealer else able
        if self._after is not None:
            wanted = wanted & self._after.done
        cars = np.flatnonzero(wanted & ~self._is_target).astype(np.int32)
        self._joined_ms = at_ms
        if not len(cars):
            return
        self._is_target[cars] = True
        seed, settings, salt = self.seed, self.settings, self._number << 32
        full = chance(seed, Stream.ON_PREVIOUS, cars, salt) >= settings.on_previous
        small = self.package_b if settings.delta_mb is None else round(1e6 * settings.delta_mb)
        group = np.searchsorted(self._groups, chance(seed, Stream.CAMPAIGN_GROUP, cars, salt), side="right")
        zeros = np.zeros(len(cars), np.int64)
        for name, new in {
            "car": cars, "group": group.astype(np.int16), "on_air": able[cars], "state": zeros.astype(np.uint8),
            "due": np.full(len(cars), NEVER), "serial": zeros, "offered_ms": zeros,
            "size_b": np.where(full, self.package_b, small), "got_b": zeros, "spoilt_b": zeros, "dealer_b": zeros,
            "_downloads": zeros.astype(np.int32), "_installs": zeros.astype(np.int32),
        }.items():  # fmt: skip
            setattr(self, name, np.concatenate([getattr(self, name), new]))
        self._group_size = np.bincount(self.group, minlength=len(self._groups))
        if self._opened >= 0:
            self._record(np.arange(len(self.car) - len(cars), len(self.car)), NAMES[Step.SCHEDULED], at_ms, 0, "late")

    # -------------------------------------------------------------- one tick

    def advance(self, t0_ms: int, t1_ms: int) -> None:
        """Carry the campaign through [t0, t1): groups, downloads, consent, starts of installations.

        Called when the environment stands at t1, with the fleet's `state`, `link` and `node` of t1.
        Installations end in the SimPy run of later ticks, at their exact millisecond.
        """
        advance([self], self.air, t0_ms, t1_ms)

    def before_downloads(self, t0_ms: int, t1_ms: int) -> bool:
        """Groups open, thresholds are looked at, cars ask; whether the campaign has begun."""
        drives = self.fleet.state == State.DRIVING
        self._parked_ms[drives] = t1_ms
        if t1_ms <= self._open_ms[0]:
            return False
        settings = self.settings
        if (settings.join_late or self._after is not None) and t0_ms - self._joined_ms >= JOIN_MS:
            self._join(t0_ms)
        if not len(self.car):
            return False
        self._write_late()
        if settings.approved_h is not None and t0_ms >= settings.approved_h * _HOUR_MS:
            self.approved = True
        self._open_groups(t0_ms)
        if not self.paused:
            self._offer(t0_ms, t1_ms)
        self._watch_errors(t0_ms)
        if not self.paused:
            self._check_in(t0_ms)
        return True

    def after_downloads(self, t1_ms: int) -> None:
        """Drivers consent, dealers install, and parked cars begin to install."""
        self._consent(t1_ms)
        self._dealer(t1_ms)
        if not self.paused:
            self._start_installs(t1_ms)

    def approve(self) -> None:
        """The operator lets the campaign begin."""
        self.approved = True

    def resume(self, at_ms: int) -> None:
        """The operator lets a paused campaign go on; failures so far are accepted."""
        self.paused = False
        self._forgiven = self._failed()
        self._move(np.flatnonzero(self.state == Step.PAUSED), Step.DOWNLOADING, at_ms, "resumed")

    _forgiven: NDArray[np.int64] | int = 0

    def _open_groups(self, t0_ms: int) -> None:
        self._begin(t0_ms)
        while (
            self._opened < len(self._open_ms)
            and self._open_ms[self._opened] <= t0_ms
            and self.approved
            and not self.paused
            and self._succeeded()
        ):
            self._opened += 1

    def _succeeded(self) -> bool:
        """Whether enough of the groups that are open have installed for the next to open."""
        mine = self.group < self._opened
        count = int(np.count_nonzero(mine))
        if not count or self.settings.success_threshold == 0:
            return True
        return int(np.count_nonzero(self.state[mine] == Step.INSTALLED)) >= self.settings.success_threshold * count

    def _offer(self, t0_ms: int, t1_ms: int) -> None:
        """Cars of open groups get the package offered, all at once or by a trickle."""
        rows = np.flatnonzero((self.state == Step.SCHEDULED) & (self.group < self._opened))
        air = rows[self.on_air[rows]]
        if self.settings.trickle_per_h is not None:
            self._credit = min(self._credit + self.settings.trickle_per_h * (t1_ms - t0_ms) / _HOUR_MS, 1e9)
            air = air[: int(self._credit)]
            self._credit = self._credit - len(air) if len(air) else min(self._credit, 1.0)
        self.offered_ms[air] = t0_ms
        self._move(air, Step.AVAILABLE, t0_ms)
        shop = rows[~self.on_air[rows]]
        self._move(shop, Step.DEALER, t0_ms, "no update on air")
        self._await_dealer(shop, t0_ms)

    def _await_dealer(self, rows: NDArray[np.int64], at_ms: int) -> None:
        cars = self.car[rows]
        u = chance(self.seed, Stream.DEALER_VISIT, cars, 1 + self._number)
        wait = dealer_delay_ms(u, self._year - self.fleet.year[cars])
        self.due[rows] = np.minimum(at_ms + wait, NEVER)

    def _begin(self, at_ms: int) -> None:
        """Write the first row of every target, once."""
        if self._opened < 0:
            self._opened = 0
            if len(self.car):
                self._record(np.arange(len(self.car)), NAMES[Step.SCHEDULED], at_ms, 0, "")

    def _failed(self) -> NDArray[np.int64]:
        """Failed cars per group; a car sent to the dealer after a failure is one."""
        failed = (self.state == Step.FAILED) | ((self.state == Step.DEALER) & self.on_air)
        return np.bincount(self.group[failed], minlength=len(self._group_size))

    def _watch_errors(self, t0_ms: int) -> None:
        """Pause, or cancel, when more than the threshold of a group's cars have failed."""
        if self.paused:
            return
        failed = self._failed() - self._forgiven
        if np.any(failed > self.settings.abort_threshold * self._group_size):
            self.cancel(t0_ms, reason="abort threshold")
        elif np.any(failed > self.settings.error_threshold * self._group_size):
            self.paused = True
            self._move(np.flatnonzero(self.state == Step.DOWNLOADING), Step.PAUSED, t0_ms, "error threshold")

    def _check_in(self, t0_ms: int) -> None:
        """Cars that are switched on, or plugged in, ask and begin to download."""
        rows = np.flatnonzero(self.state == Step.AVAILABLE)
        state = self.fleet.state[self.car[rows]]
        rows = rows[(state == State.DRIVING) | (state == State.PLUGGED)]
        self._downloads[rows] += 1
        self._move(rows, Step.DOWNLOADING, t0_ms)

    def downloading(self) -> NDArray[np.int64]:
        """Targets that want bytes now."""
        return np.flatnonzero(self.state == Step.DOWNLOADING) if not self.paused else np.zeros(0, np.int64)

    def receive(
        self,
        rows: NDArray[np.int64],
        give: NDArray[np.int64],
        most_b: NDArray[np.int64],
        cell_of: NDArray[np.int32],
        t0_ms: int,
        t1_ms: int,
        *,
        busy: NDArray[np.float64],
    ) -> None:
        """Book what the cells gave to these targets; packages that are whole are checked."""
        if not len(rows):
            return
        wifi = cell_of == len(busy) - 1
        on_wifi = int(give[wifi].sum())
        self.wifi_b += on_wifi
        self.cell_b += int(give.sum()) - on_wifi
        self.busy_b += int(give[busy[cell_of] >= self.settings.busy_load].sum())
        done_ms = np.zeros(len(rows), np.int64)
        kernels.take(
            rows, self.car, give, t0_ms, t1_ms, most_b, self.got_b, self.size_b, self.fleet.downlink_b, done_ms
        )
        if not self.settings.resumable:
            cut = rows[(give == 0) & (self.got_b[rows] > 0)]
            self.spoilt_b[cut] += self.got_b[cut]
            self.got_b[cut] = 0
        done = done_ms >= 0
        whole, at_ms = rows[done], done_ms[done]
        tick = self._downloads[whole].astype(np.int64) + (self._number << 32)
        bad = chance(self.seed, Stream.DOWNLOAD, self.car[whole], tick) < self._download_fails
        good = whole[~bad]
        self._move(good, Step.DOWNLOADED, at_ms[~bad])
        if len(good):
            u = chance(self.seed, Stream.CONSENT, self.car[good], self._number)
            wait = consent_delay_ms(u) if self.settings.consent == "driver" else 0
            self.due[good] = np.minimum(at_ms[~bad] + wait, NEVER)
        spoilt = whole[bad]
        self.spoilt_b[spoilt] += self.got_b[spoilt]
        self.got_b[spoilt] = 0
        self._move(spoilt, Step.AVAILABLE, at_ms[bad], "verification failed")

    def _consent(self, t1_ms: int) -> None:
        said = np.flatnonzero((self.state == Step.DOWNLOADED) & (self.due <= t1_ms))
        self._move(said, Step.CONSENTED, self.due[said])
        again = np.flatnonzero((self.state == Step.ROLLED_BACK) & (self.due <= t1_ms))
        self._move(again, Step.CONSENTED, self.due[again], "retry")

    def _dealer(self, t1_ms: int) -> None:
        """Owners come; the workshop's own line brings what the car lacks."""
        came = np.flatnonzero((self.state == Step.DEALER) & (self.due <= t1_ms))
        if not len(came):
            return
        lacks = self.size_b[came] - self.got_b[came]
        self.dealer_b[came] += lacks
        self.got_b[came] += lacks
        self._move(came, Step.INSTALLED, self.due[came], "dealer")
        self._installed(came)

    def ready_to_install(self, targets: NDArray[np.int64], at_ms: int = 0) -> NDArray[np.bool_]:
        """Whether the cars of these targets meet the conditions (facts `ota.preconditions`).

        Parked, or on a socket where the campaign allows it (by default the AC socket at home, not
        DC), with the least charge in the traction battery of an electric car and, where asked, in
        the 12 V battery.
        """
        fleet, settings = self.fleet, self.settings
        cars = self.car[targets]
        stands = fleet.state[cars] == State.PARKED
        if settings.while_charging != "no":
            plugged = fleet.state[cars] == State.PLUGGED
            if settings.while_charging == "home":
                plugged &= fleet.node[cars] == fleet.home_node[cars]
            stands |= plugged
        charged = (fleet.kind[cars] != Kind.ELECTRIC) | (
            fleet.battery_j[cars] >= self._soc_min * fleet.capacity_j[cars]
        )
        ready: NDArray[np.bool_] = stands & charged & ~self.installing[cars]
        if settings.twelve_volt_min is not None:
            u = chance(self.seed, Stream.TWELVE_VOLT, cars)
            ready &= twelve_volt_soc(u, at_ms - self._parked_ms[cars]) >= settings.twelve_volt_min
        return ready

    def _start_installs(self, t1_ms: int) -> None:
        rows = np.flatnonzero(self.state == Step.CONSENTED)
        rows = rows[self.ready_to_install(rows, t1_ms)]
        self.due[rows] = t1_ms + self._install_ms
        self._move(rows, Step.INSTALLING, t1_ms)
        for target in rows.tolist():
            self.env.process(self._install(target))

    def revive(self, env: simpy.Environment) -> None:
        """Start running installations anew in another environment, from the rows alone."""
        self.env = env
        rows = np.flatnonzero(self.state == Step.INSTALLING)
        for target in rows[np.argsort(self.serial[rows])].tolist():
            env.process(self._install(target))

    def _install(self, target: int) -> Generator[simpy.Event, Any, None]:
        # holds no state: the row says what is going on and until when, so it may be entered again after a restore
        serial = self.serial[target]
        yield self.env.timeout(max(0, int(self.due[target]) - int(self.env.now)))
        if self.serial[target] != serial:
            return
        car, now = int(self.car[target]), int(self.env.now)
        tries, salt = int(self._installs[target]), self._number << 32
        works = self._install_works[min(tries, 2) - 1]
        most = self.settings.tries if self.settings.slots == "dual" else 1
        if chance(self.seed, Stream.INSTALL, car, tries + salt)[0] < works:
            self.arm(target, Step.INSTALLED, NEVER)
            self._installed(np.array([target]))
        elif tries < most:
            self.arm(target, Step.ROLLED_BACK, now + round(self.settings.retry_h * _HOUR_MS), "installation failed")
        else:
            names, upto = failure_reasons()
            u = chance(self.seed, Stream.INSTALL, car, 1000 + tries + salt)[0]
            # a single bank holds no old software to keep
            why = names[int(np.searchsorted(upto, u, side="right"))] if self.settings.slots == "dual" else _WORKSHOP[0]
            if self.settings.dealer and why in _WORKSHOP:
                self.arm(target, Step.DEALER, NEVER, why)
                self._await_dealer(np.array([target]), now)
            else:
                self.arm(target, Step.FAILED, NEVER, why)

    def _installed(self, rows: NDArray[np.int64]) -> None:
        cars = self.car[rows]
        self.done[cars] = True
        self._fresh += cars.tolist()

    def take_finished(self) -> NDArray[np.int64]:
        """Cars that installed since the last call: what the campaign changes in them takes effect now."""
        fresh, self._fresh = np.array(self._fresh, np.int64), []
        return fresh

    def arm(self, target: int, step: Step, due: int, reason: str = "") -> None:
        """Move one target now, to a state that lasts until `due`, ms; stamps a serial that outdates older processes."""
        self._check(np.array([target]), step)
        before = self.state[[target]]
        self._serials += 1
        self.state[target], self.due[target], self.serial[target] = step, due, self._serials
        self._bar(np.array([target]), before, step)
        self._late.append((target, int(step), int(self.env.now), int(self.got_b[target]), reason))

    def _bar(self, targets: NDArray[np.int64], before: NDArray[np.uint8], step: Step) -> None:
        """Cars that begin to install cannot drive; those that end it can."""
        if step == Step.INSTALLING:
            self.installing[self.car[targets]] = True
        else:
            self.installing[self.car[targets[before == Step.INSTALLING]]] = False

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
        before = self.state[targets]
        self.state[targets] = step
        self.serial[targets] = self._serials + 1 + np.arange(len(targets))
        self._serials += len(targets)
        self._bar(targets, before, step)
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
        `bytes`: kept and spoilt against what cells, Wi-Fi and dealers brought ·
        `short`: cars beyond the download without the whole package ·
        `installing`: cars barred from driving against targets that install.
        """
        self._write_late()
        whole = np.isin(
            self.state,
            [Step.DOWNLOADED, Step.CONSENTED, Step.INSTALLING, Step.ROLLED_BACK, Step.INSTALLED, Step.FAILED],
        )
        mine = (self.got_b + self.spoilt_b - self.dealer_b).sum() - self.cell_b - self.wifi_b
        barred = np.zeros(self.fleet.size, bool)
        barred[self.car[self.state == Step.INSTALLING]] = True
        # other campaigns may bar cars too
        wrong = barred & ~self.installing if self._shares else barred != self.installing
        return {
            "moves": illegal_rows(self.table, self.name, self.car, self.state),
            "bytes": abs(int(mine)),
            "short": int(np.count_nonzero(self.got_b[whole] != self.size_b[whole])),
            "installing": int(np.count_nonzero(wrong)),
        }

    def summary(self) -> dict[str, Any]:
        """Counts of one campaign; `bytes` are those that went through the air, spoilt downloads included."""
        enabled = self.settings.enabled if isinstance(self.settings, OtaSettings) else True
        return {
            "campaigns": int(enabled),
            "targets": len(self.car),
            "installed": self.count(Step.INSTALLED),
            "failed": self.count(Step.FAILED),
            "bytes": self.cell_b + self.wifi_b,
            "wifi_bytes": self.wifi_b,
            "busy_cell_bytes": self.busy_b,
            "spoilt_bytes": int(self.spoilt_b.sum()),
            "dealer_bytes": int(self.dealer_b.sum()),
            "paused": self.paused,
            "by_state": {NAMES[step]: self.count(step) for step in Step},
        }
