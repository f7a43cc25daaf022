"""ProPILOT: which kilometres are driven with assistance engaged, by whom, where and why it ended.

Every equipped car runs one process. On each trip the driver does or does not use the
system (`begin_trips`). On each unbroken stretch of its operating domain that is long
enough, such a driver does or does not switch it on, after a delay; it then runs until a
take-over (exponential distance: cut-in, lane keeping, own choice), a stop that is too long,
a speed it does not hold, or until the domain ends. Links are split at these moments to the
millimetre. A release changes a car's level at a moment (`upgrade`).

Parameters are `facts/autonomy.toml`; see docs/autonomy.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import RAMP, ROAD_CLASSES, TOLL_BOOTH, RoadNetwork
from twin.autonomy import domain, kernels, record, use
from twin.autonomy.conditions import Weather
from twin.autonomy.effects import Changed, Effects
from twin.autonomy.releases import Release, ReleaseError, hardware, lacking, releases
from twin.autonomy.rules import DESTINATION, LEVELS, load_rules
from twin.chance import Stream, chance
from twin.events import Table
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings, ClimateSettings
from twin.traffic.traversals import Traversals

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


class AutonomyError(ValueError):
    """Driver assistance cannot be set up; the message is one line."""


class Autonomy:
    """Driver assistance of one fleet on one network.

    Parameters
    ----------
    fleet : Fleet
        Reads `propilot`, `model`, `driver`, `year`; writes `engaged_mm`, `engaged_ms`, `domain_mm`.
        The level is read at every link, so a release may change it during a run.
    network : RoadNetwork
    settings : AutonomySettings
    climate : ClimateSettings
        Rain or snow above a level's limit closes its domain.
    country : str
        ISO 3166 alpha-2; ProPILOT 2.0 needs a mapped country.
    model_names : sequence of str
        Name of each value of `fleet.model`.
    seed : int
    horizon_ms : int
        End of the run, ms; rows more than an hour after it (a tick may overshoot) are refused.
    start : datetime, optional
        Civil time of the first millisecond.
    timezone : str
        IANA name of the map's zone, for sunset.
    layers : dict, optional
        Link arrays by rules and weather, to be shared by several on one network.
    rise_m : float64 (links,), optional
        Height gained on each link; without, no link is too steep.

    Attributes
    ----------
    link_mode : ndarray of uint8, shape (2, len(LEVELS), n_links)
        Function at work in the weather of now, see `domain.modes`.
    link_domain : ndarray of bool, shape (len(LEVELS), n_links)
        Where each level may be engaged now.
    link_long : ndarray of bool, shape as `link_mode`
        Domain that belongs to a stretch long enough to switch on
        (facts `min_eligible_segment_km_to_engage`). The stretch is the longest one that leads
        through the link, since a car is not asked for the rest of its route.
    table : Table
        `autonomy`, one row per hour, road class, model and level with kilometres.
    """

    rebuilt: ClassVar = (
        "rules", "releases", "heard", "_sensors", "_weather", "_fair", "_layers", "_seen_hour",
        "link_mode", "link_long", "link_domain",
    )  # fmt: skip
    """What a fresh one has, or makes from the hour, so that a saved run need not hold it."""

    def __init__(
        self,
        fleet: Fleet,
        network: RoadNetwork,
        settings: AutonomySettings,
        climate: ClimateSettings,
        *,
        country: str,
        model_names: Sequence[str],
        seed: int,
        horizon_ms: int,
        start: datetime | None = None,
        timezone: str = "",
        layers: dict[Any, Any] | None = None,
        rise_m: NDArray[np.float64] | None = None,
    ) -> None:
        place = settings.rules or "facts/autonomy.toml"
        table = load_rules(settings.rules)
        self.fleet = fleet
        self.network = network
        self.settings = settings
        self.climate = climate
        self.country = country
        self.timezone = timezone
        self.rise_m = rise_m
        self.heard: Callable[..., None] | None = None
        """Told of every call that changes anything, see `twin.autonomy.journal`; no part of the state."""
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.start = start or datetime(2022, 10, 12)
        self.model_names = tuple(model_names)
        if fleet.size and int(fleet.model.max()) >= len(self.model_names):
            raise AutonomyError(f"fleet.model holds {int(fleet.model.max())}, model_names has {len(self.model_names)}")
        if int(fleet.propilot.max()) >= len(LEVELS):
            raise AutonomyError(f"fleet.propilot holds {int(fleet.propilot.max())}; valid: 0 to {len(LEVELS) - 1}")
        if settings.level is not None:
            fleet.propilot[fleet.propilot > 0] = LEVELS.index(settings.level)

        self.rules = domain.rules(table=table, case=settings.domain, map_countries=settings.map_countries, place=place)
        self.releases = releases(table, place=place)
        self._sensors = hardware(table)
        self._built_as = np.minimum(fleet.propilot, LEVELS.index("propilot_2_0")).astype(np.uint8)
        self._planned = self._plan(settings)
        self.lacked: dict[str, int] = {}
        """Cars that planned releases were not put on, for want of a sensor or of the step before."""

        self._weather = Weather(
            climate,
            start=self.start,
            timezone=timezone,
            latitude_deg=float(network.node_lat.mean()),
            longitude_deg=float(network.node_lon.mean()),
            snow_at_or_below_c=float(table["weather"]["snow_at_or_below_c"]),
        )
        self._enough_m = 1000 * float(table["model"]["min_eligible_segment_km_to_engage"])
        self._layers: dict[Any, Any] = {} if layers is None else layers
        self._about = repr(self.rules)
        self._fair = self._layer(domain.FAIR)[0][0].copy()
        self._links = np.zeros(network.n_links, kernels.LINK)
        self._links["mm"] = np.rint(network.link_length * 1000)
        self._links["group"] = network.link_class
        self._links["toll"] = network.node_control[network.link_to] == TOLL_BOOTH
        self._links["ramp"] = network.has(RAMP)
        self._links["lanes"] = network.link_lanes
        self._hour = 0
        self._see_weather(0)

        share = table["model"]["engage_prob_per_eligible_trip"]
        propensity = np.array([float(share[name]) for name in use.USER_TYPES]) * settings.use
        self._propensity = propensity * settings.enabled
        self._learning = table["model"]["learning"]
        given, known = settings.destination_set, table["model"]["destination"]
        self._destination = np.array([float(known.get(name, 1.0)) if given is None else given for name in LEVELS])
        allowed = table["model"]["proposal"]["extra_time"] if settings.extra_time is None else settings.extra_time
        self.extra_time = float(allowed)
        if not 0 <= self.extra_time <= 1:
            raise AutonomyError(f"{place}: model.proposal: extra_time is {allowed!r}, must be a share from 0 to 1")
        self.modes = use.mode_records(table, self.rules)
        self._crawl_mm_ms = float(table["model"]["stops"]["crawl_kmh"]) / 3.6
        self.effects = Effects(fleet, settings, table, seed=seed)

        size = fleet.size
        self.cars = np.zeros(size, kernels.CAR)
        self.cars["at_mode"] = 1
        self.cars["serial"] = self.cars["group"] = -1
        first = self.rules[1]
        assert first is not None
        self.cars["max_mm_ms"] = first.fastest_mps(country, fleet.year)
        self._owned_ms = self._since(settings.weeks)
        self._release_ms = np.zeros(size, np.int64)
        self._factor = np.ones(size)
        self._map_ms = np.full(size, -round(settings.map_age_days * _DAY_MS), np.int64)
        self._tally = np.zeros((len(ROAD_CLASSES) * len(self.model_names) * len(LEVELS), kernels.FIELDS), np.int64)
        self._trips = np.zeros(3, np.int64)  # that met the domain, with use, of equipped cars
        self._breaches = 0
        self._start = [column.copy() for column in (fleet.driven_mm, fleet.engaged_mm, fleet.domain_mm)]
        self.table = Table("autonomy", record.COLUMNS)

    # ------------------------------------------------------------------ domain

    def _layer(self, now: domain.Conditions) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Modes and long stretches in this weather; weathers that close the same levels share them."""
        key = (self._about, self._enough_m, domain.closed(self.rules, now))
        if key not in self._layers:
            self._layers[key] = self._new_layer(now)
        found: tuple[NDArray[np.uint8], NDArray[np.bool_]] = self._layers[key]
        return found

    def _new_layer(self, now: domain.Conditions) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        grade = None if self.rise_m is None else self.rise_m / np.maximum(self.network.link_length, 1.0)
        mode = domain.modes(self.network, self.rules, country=self.country, conditions=now, grade=grade)
        long = np.zeros(mode.shape, np.bool_)
        done: dict[bytes, NDArray[np.bool_]] = {}
        for index in np.ndindex(mode.shape[:2]):
            inside = mode[index] > 0
            if inside.any():
                key = inside.tobytes()
                if key not in done:
                    metres = domain.stretch_m(self.network, inside, enough_m=self._enough_m)
                    done[key] = metres >= self._enough_m - 1e-6
                long[index] = done[key]
        return mode, long

    def _see_weather(self, hour: int) -> None:
        self._seen_hour = hour
        self.link_mode, self.link_long = self._layer(self._weather.at(hour))
        self.link_domain = self.link_mode[0] > 0

    def domain_at(self, now_ms: int, level: int) -> NDArray[np.bool_]:
        """Links where a level may be engaged in the weather of a moment, shape (n_links,)."""
        inside: NDArray[np.bool_] = self._layer(self._weather.at(now_ms // _HOUR_MS))[0][0, level] > 0
        return inside

    # ------------------------------------------------------------------ releases

    def _plan(self, settings: AutonomySettings) -> list[tuple[int, str]]:
        planned: list[tuple[int, str]] = []
        for hour, name in settings.releases:
            release = self._named(name)
            at_ms = round(hour * _HOUR_MS)
            if self.start < release.date:
                raise ReleaseError(
                    f"autonomy.releases: {name} is of {release.date:%Y-%m}, the run starts on {self.start:%Y-%m-%d}"
                )
            if planned and at_ms < planned[-1][0]:
                raise ReleaseError(f"autonomy.releases: hours are out of order at {name}")
            planned.append((at_ms, name))
        return planned

    def _named(self, name: str) -> Release:
        if name not in self.releases:
            raise ReleaseError(f"autonomy.releases: no release {name!r}; valid: {', '.join(self.releases)}")
        return self.releases[name]

    def able(self, release: str) -> NDArray[np.bool_]:
        """Cars that a release can be put on: at a step before it, with every sensor; shape (n_cars,)."""
        wanted = self._named(release)
        enough = np.array([not lacking(wanted, sensors) for sensors in self._sensors])
        can: NDArray[np.bool_] = np.isin(self.fleet.propilot, wanted.before) & enough[self._built_as]
        return can

    def upgrade(self, rows: ArrayLike, release: str, *, at_ms: int = 0) -> None:
        """Put a release on cars: their level, and so domain and use, change from this moment.

        Drivers learn the new function as they learned the first: use goes from what it was
        to `use_factor` times that over some weeks.

        Parameters
        ----------
        rows : array of int
            Cars; those of `able` qualify.
        release : str
            Name of a `[[release]]`.
        at_ms : int
            Moment, ms.

        Raises
        ------
        ReleaseError
            Unknown release, or a car that lacks a sensor or the step before it.
        """
        cars = np.atleast_1d(np.asarray(rows, np.int64))
        if self.heard is not None:
            self.heard("upgrade", cars=cars, release=release, at_ms=at_ms)
        self._upgrade(cars, release, at_ms)

    def _upgrade(self, cars: NDArray[np.int64], release: str, at_ms: int) -> None:
        wanted = self._named(release)
        refused = cars[~self.able(release)[cars]]
        if len(refused):
            car = int(refused[0])
            less = lacking(wanted, self._sensors[self._built_as[car]])
            model = self.model_names[int(self.fleet.model[car])]
            why = (
                f"lacks {', '.join(less)}" if less else f"has {LEVELS[self.fleet.propilot[car]]}, not a step before it"
            )
            raise ReleaseError(f"release {release!r}: {model} (car {car}) {why}")
        self.fleet.propilot[cars] = wanted.gives
        self._release_ms[cars] = at_ms
        self._factor[cars] *= wanted.use_factor

    def refresh_maps(self, rows: ArrayLike, *, at_ms: int = 0) -> None:
        """Give cars the map of this moment, as an update of navigation data does."""
        if self.heard is not None:
            self.heard("maps", cars=rows, at_ms=at_ms)
        self._map_ms[np.asarray(rows, np.int64)] = at_ms

    def advance(self, now_ms: int) -> None:
        """Put the scenario's planned releases on the cars when they are due."""
        if self.heard is not None:
            self.heard("advance", now_ms=now_ms)
        while self._planned and self._planned[0][0] <= now_ms:
            at_ms, name = self._planned.pop(0)
            can = self.able(name)
            self.lacked[name] = int(np.count_nonzero((self.fleet.propilot > 0) & ~can))
            self._upgrade(np.flatnonzero(can), name, at_ms)

    # ------------------------------------------------------------------ drivers

    def _since(self, weeks: float | None) -> NDArray[np.int64]:
        """When drivers got their cars, ms from the start: some day of the year of sale, at the latest now."""
        size = self.fleet.size
        if weeks is not None:
            return np.full(size, -round(weeks * 7 * _DAY_MS), np.int64)
        into_year = (self.start - datetime(self.start.year, 1, 1)).total_seconds() * 1000
        u = chance(self.seed, Stream.OWNED_SINCE, np.arange(size))
        years = self.start.year - self.fleet.year.astype(np.float64)
        since = -into_year - years * 365.25 * _DAY_MS + u * 365.25 * _DAY_MS
        moments: NDArray[np.int64] = np.minimum(np.rint(since), 0).astype(np.int64)
        return moments

    def propensity(self, cars: NDArray[np.integer], at_ms: ArrayLike = 0) -> NDArray[np.float64]:
        """Probability that each of these cars' drivers uses assistance on a trip that begins now."""
        owned = use.learned(use.weeks_between(self._owned_ms[cars], at_ms), self._learning)
        newer = use.learned(use.weeks_between(self._release_ms[cars], at_ms), self._learning)
        grown = owned + (self._factor[cars] - 1) * newer
        chosen: NDArray[np.float64] = np.minimum(self._propensity[self.fleet.driver[cars]] * grown, 1.0)
        return chosen

    @property
    def engaged(self) -> NDArray[np.bool_]:
        """Cars with assistance engaged now, shape (n_cars,)."""
        engaged: NDArray[np.bool_] = self.cars["will"] == kernels.ENGAGED
        return engaged

    def begin_trips(self, cars: NDArray[np.integer], trip_serials: NDArray[np.int64], *, at_ms: ArrayLike = 0) -> None:
        """Draw for each starting trip whether its driver will use assistance.

        Parameters
        ----------
        cars, trip_serials : ndarray, shape (n,)
            Rows, and a number that is different for every trip of one car.
        at_ms : int or array
            When the trips begin, ms.
        """
        if not len(cars):
            return
        if self.heard is not None:
            self.heard("begin", cars=cars, serials=trip_serials, at_ms=at_ms)
        own, level = self.cars, self.fleet.propilot[cars]
        u = chance(self.seed, Stream.ENGAGE_TRIP, cars, trip_serials)
        uses = (u < self.propensity(cars, at_ms)) & (level > 0)
        own["will"][cars] = np.where(uses, kernels.NOT_HERE, kernels.NOT_THIS_TRIP)
        own["inside"][cars] = 0
        # the next leg of the same trip (after a charging stop) goes on with the trip's random numbers
        fresh = own["serial"][cars] != trip_serials
        own["count"][cars] = np.where(fresh, 0, own["count"][cars])
        own["seen"][cars] = np.where(fresh, 0, own["seen"][cars])
        own["serial"][cars] = trip_serials
        self._trips[2] += int(np.count_nonzero(fresh & (level > 0)))
        own["bare"][cars] = self._bare(cars, trip_serials, np.broadcast_to(np.asarray(at_ms, np.int64), (len(cars),)))

    def _bare(
        self, cars: NDArray[np.integer], serials: NDArray[np.int64], at_ms: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Trips without a destination set, and cars whose map is too old, for levels that need them."""
        level = self.fleet.propilot[cars]
        out = np.zeros(len(cars), np.bool_)
        age_days = (at_ms - self._map_ms[cars]) / _DAY_MS
        for row, rule in enumerate(self.rules):
            here = np.flatnonzero(level == row)
            if rule is None or not len(here):
                continue
            if rule.needs_destination:
                u = chance(self.seed, Stream.DESTINATION_SET, cars[here], serials[here])
                out[here] |= u >= self._destination[row]
            if rule.max_map_age_days is not None:
                out[here] |= age_days[here] > rule.max_map_age_days
        return out

    def proposes(
        self, cars: NDArray[np.integer], trip_serials: NDArray[np.int64], *, at_ms: ArrayLike = 0
    ) -> NDArray[np.bool_]:
        """Trips on which the car, by destination management, proposes route and charging stop and the driver uses it.

        Parameters as for `begin_trips`, which draws the same numbers; shape (n,).
        """
        out = np.zeros(len(cars), np.bool_)
        able = np.flatnonzero(self.fleet.propilot[cars] == DESTINATION)
        if len(able):
            rows, serials = cars[able], trip_serials[able]
            at = np.broadcast_to(np.asarray(at_ms, np.int64), (len(cars),))[able]
            uses = chance(self.seed, Stream.ENGAGE_TRIP, rows, serials) < self.propensity(rows, at)
            out[able] = uses & ~self._bare(rows, serials, at)
        return out

    def may_propose(self, campaigns: Iterable[str] = ()) -> bool:
        """Whether a car has, or by a planned release or one of these `campaigns` gets, destination management.

        Raises
        ------
        ReleaseError
            A release that nobody knows.
        """
        names = {name for _, name in self._planned} | set(campaigns) - {""}
        gives = {self._named(name).gives for name in names}
        return DESTINATION in gives or bool(np.any(self.fleet.propilot == DESTINATION))

    # ------------------------------------------------------------------ driving

    def drive(self, traversals: Traversals) -> None:
        """Account rows `[:n]`: fills `engaged_mm`, at most `driven_mm`, and the fleet's columns.

        Raises
        ------
        AutonomyError
            When rows are not in order of time or lie beyond the horizon.
        """
        n = traversals.n
        if n == 0:
            return
        if self.heard is not None:
            self.heard("drive", rows=traversals)
        end_ms = traversals.exit_ms[:n]
        if int(end_ms[-1]) > self.horizon_ms + _HOUR_MS:
            raise AutonomyError(f"traversal at {int(end_ms[-1])} ms lies beyond the horizon of {self.horizon_ms} ms")
        if self._seen_hour != self._hour:  # put back from a saved run
            self._see_weather(self._hour)
        first = 0
        while first < n:
            hour = int(end_ms[first]) // _HOUR_MS
            if hour < self._hour:
                raise AutonomyError(f"traversal at {int(end_ms[first])} ms comes after hour {self._hour} has begun")
            if hour > self._hour:
                self._flush(hour)
                self._see_weather(hour)
            last = int(np.searchsorted(end_ms, (hour + 1) * _HOUR_MS))
            self._breaches += self._drive(traversals, first, last)
            first = last

    def _drive(self, t: Traversals, first: int, last: int) -> int:
        fleet = self.fleet
        breach: int = kernels.drive(
            first, last, t.car, t.link, t.enter_ms, t.exit_ms, t.driven_mm, t.engaged_mm,
            self._links, self.link_mode, self._fair, self.link_long, fleet.propilot, fleet.model, len(self.model_names),
            self.cars, self.modes, fleet.engaged_mm, fleet.engaged_ms, fleet.domain_mm, self._tally, self._trips,
            self._crawl_mm_ms, self.seed, int(Stream.ENGAGE_SEGMENT), int(Stream.DISENGAGE),
            int(Stream.DISENGAGE_CAUSE), int(Stream.LANE_CHANGE), int(Stream.LONG_STOP),
        )  # fmt: skip
        # judged apart from the kernel's own count, by the table that a reader would look at
        level = fleet.propilot[t.car[first:last]]
        engaged, driven = t.engaged_mm[first:last], t.driven_mm[first:last]
        outside = ~self.link_domain[level, t.link[first:last]]
        return max(breach, int(engaged[outside].sum() + np.maximum(engaged - driven, 0).sum()))

    def end_trips(self, cars: NDArray[np.integer]) -> None:
        """Tell that these cars' trips are over: assistance that is still engaged ends on arrival."""
        if not len(cars):
            return
        if self.heard is not None:
            self.heard("end", cars=cars)
        still = cars[self.cars["will"][cars] == kernels.ENGAGED]
        np.add.at(self._tally[:, kernels.FIRST_CAUSE + kernels.ARRIVAL], self.cars["group"][still], 1)
        self.cars["will"][cars] = kernels.NOT_THIS_TRIP
        self.cars["inside"][cars] = 0

    def changed(self) -> Changed:
        """Cars that went on or off since the last call, for the traffic engine and the energy room."""
        return self.effects.changed(self.engaged)

    # ------------------------------------------------------------------ results

    def finish(self) -> None:
        """Write the rows of the hour that is still open."""
        self._flush(self._hour)

    def _flush(self, hour: int) -> None:
        record.append_hour(self.table, self._hour, self._tally, self.model_names)
        self._tally[:] = 0
        self._hour = hour

    def ledger(self) -> dict[str, int]:
        """Residuals in millimetres or counts, all 0 when the books close.

        `breach_mm`: engaged outside the domain or beyond what was driven ·
        `order_cars`: cars without engaged <= domain <= driven ·
        `table_*`: table and open hour against the fleet's columns ·
        `events`: engagements that have not ended in exactly one way.
        """
        fleet = self.fleet
        driven, engaged, inside = (
            getattr(fleet, name) - start
            for name, start in zip(("driven_mm", "engaged_mm", "domain_mm"), self._start, strict=True)
        )
        open_ = self._tally.sum(axis=0)

        def written(column: str) -> int:
            return int(np.rint(self.table[column].astype(np.float64) * 1e6).astype(np.int64).sum())

        ends = sum(int(self.table[f"disengagements_{name}"].astype(np.int64).sum()) for name in record.CAUSES)
        ends += int(open_[kernels.FIRST_CAUSE :].sum())
        starts = int(self.table["engagements"].astype(np.int64).sum()) + int(open_[kernels.ENGAGEMENTS])
        return {
            "breach_mm": self._breaches,
            "order_cars": int(np.count_nonzero((engaged > inside) | (inside > driven))),
            "table_driven_mm": written("km") + int(open_[kernels.DRIVEN_MM]) - int(driven.sum()),
            "table_engaged_mm": written("engaged_km") + int(open_[kernels.ENGAGED_MM]) - int(engaged.sum()),
            "table_possible_mm": written("possible_km") + int(open_[kernels.POSSIBLE_MM]) - int(inside.sum()),
            "events": starts - ends - int(np.count_nonzero(self.engaged)),
        }

    def summary(self) -> dict[str, Any]:
        """The `autonomy` part of summary.json, see `record.summary_of`; call after `finish`."""
        with_domain, used, equipped = self._trips.tolist()
        found = record.summary_of(
            self.table,
            equipped=int(np.count_nonzero(self.fleet.propilot)),
            cars=self.fleet.size,
            trips={"equipped_trips": equipped, "trips_in_domain": with_domain, "used_trips": used},
        )
        return {**found, "releases_lacked": dict(self.lacked)}
