"""ProPILOT: which kilometres are driven with assistance engaged, by whom, where and why it ended.

Every equipped car runs one process. On each trip the driver does or does not use the
system (`begin_trips`). On each unbroken stretch of its operating domain that is long
enough, such a driver does or does not switch it on, after a delay; it then runs until a
take-over (exponential distance: cut-in, lane keeping, own choice) or until the domain
ends. Links are split at these moments to the millimetre.

Parameters are `facts/autonomy.toml`, table `model`. The facts give the share of eligible
km that an engaging driver covers (0.60 for 1.0), the mean distance between take-overs and
the mean delay; the share of stretches on which such a driver switches on follows from
these three at motorway speed (see `here_share`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES, TOLL_BOOTH, RoadNetwork
from twin import facts
from twin.autonomy import domain, kernels
from twin.autonomy.domain import LEVELS
from twin.chance import Stream, chance
from twin.events import Column, Table
from twin.fleet.fleet import Fleet
from twin.settings import AutonomySettings, ClimateSettings
from twin.traffic.traversals import Traversals

MOTORWAY_KMH = 100.0
"""Speed at which the facts' engaged share is taken: free flow on Japanese expressways."""

USER_TYPES = ("never", "occasional", "regular")
"""Values of `fleet.driver`."""

CAUSES = ("domain", "driver", "cut_in", "lane", "speed", "arrival")
"""Why assistance ended: left the domain, driver's choice, cut-in, lane keeping, too fast, trip over."""

_HOUR_MS = 3_600_000
_COUNT = "i8"
COLUMNS: dict[str, Column] = {
    "hour": Column("i4", "h", "hour of the run in which the link was left, 0 the first"),
    "road_class": Column("str", "", "OSM highway value"),
    "model": Column("str", "", "car model"),
    "propilot_level": Column("str", "", "none, propilot_1_0, propilot_1_0_navi, propilot_2_0"),
    "km": Column("f8", "km", "driven"),
    "engaged_km": Column("f8", "km", "driven with assistance engaged"),
    "possible_km": Column("f8", "km", "driven where the car's level may be engaged"),
    "engagements": Column(_COUNT, "", "times it was switched on"),
    "disengagements_domain": Column(_COUNT, "", "ended because the domain ended (ramp, ordinary road, toll booth)"),
    "disengagements_driver": Column(_COUNT, "", "ended by the driver's choice"),
    "disengagements_cut_in": Column(_COUNT, "", "taken over because another car cut in"),
    "disengagements_lane": Column(_COUNT, "", "taken over because lane keeping failed"),
    "disengagements_speed": Column(_COUNT, "", "ended above the fastest speed the system holds"),
    "disengagements_arrival": Column(_COUNT, "", "still engaged when the trip ended"),
}


class AutonomyError(ValueError):
    """Driver assistance cannot be set up; the message is one line."""


def here_share(table: dict[str, Any], level: str, *, speed_kmh: float = MOTORWAY_KMH) -> float:
    """Share of long stretches on which an engaging driver switches the system on.

    On a long stretch where it is switched on, distance D between take-overs and delay d
    at speed v leave D / (D + v d) of the km engaged; the facts ask for `s` of all
    eligible km, so the share of stretches is s (D + v d) / D.

    Source: facts `autonomy.model`.

    Examples
    --------
    >>> from twin import facts
    >>> round(here_share(facts.load("autonomy")["model"], "propilot_1_0"), 2)
    0.78
    """
    mean_km = float(table["engaged_segment_km_mean"][level])
    gap_km = float(table["reengage_delay_s_mean"]) / 3600 * speed_kmh
    share = float(table["share_of_eligible_km_when_engaged"][level]) * (mean_km + gap_km) / mean_km
    if not 0 <= share <= 1:
        raise AutonomyError(
            f"facts autonomy.model: {level} cannot reach its share of eligible km (needs {share:.2f} of all stretches)"
        )
    return share


def cause_shares(events: dict[str, Any]) -> dict[str, float]:
    """Shares of take-overs by cause on real roads (facts `autonomy.events.aaa`).

    Cut-ins and lane-keeping faults come at their measured rate times the share that needs
    the driver; what is left of the rate of interventions is the driver's own choice. The
    measured split of the hands-on systems is used for all levels.
    """
    every = 1 / float(events["hands_on_system_miles_between_interventions"])
    cut_in = float(events["cut_in_needs_intervention_share"]) / float(events["cut_in_miles_between"]) / every
    lane = (
        float(events["lane_centering_needs_intervention_share"]) / float(events["lane_centering_miles_between"]) / every
    )
    if cut_in + lane > 1:
        raise AutonomyError("facts autonomy.events.aaa: cut-ins and lane faults exceed all interventions")
    return {"driver": 1 - cut_in - lane, "cut_in": cut_in, "lane": lane}


class Autonomy:
    """Driver assistance of one fleet on one network.

    Parameters
    ----------
    fleet : Fleet
        Reads `propilot`, `model`, `driver`; writes `engaged_mm`, `engaged_ms`, `domain_mm`.
        The level is read at every link, so an update may change it during a run.
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

    Attributes
    ----------
    link_mode : ndarray of uint8, shape (4, n_links)
        Function at work per level and link, 0 outside the domain.
    link_domain : ndarray of bool, shape (4, n_links)
    link_long : ndarray of bool, shape (4, n_links)
        Domain that belongs to a stretch long enough to switch on
        (facts `min_eligible_segment_km_to_engage`). The stretch is the longest one that leads
        through the link, since a car is not asked for the rest of its route.
    table : Table
        `autonomy`, one row per hour, road class, model and level with kilometres.
    """

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
    ) -> None:
        table = facts.load("autonomy")
        model = table["model"]
        self.fleet = fleet
        self.network = network
        self.seed = seed
        self.horizon_ms = horizon_ms
        self.model_names = tuple(model_names)
        if fleet.size and int(fleet.model.max()) >= len(self.model_names):
            raise AutonomyError(f"fleet.model holds {int(fleet.model.max())}, model_names has {len(self.model_names)}")
        if int(fleet.propilot.max()) >= len(LEVELS):
            raise AutonomyError(f"fleet.propilot holds {int(fleet.propilot.max())}; valid: 0 to {len(LEVELS) - 1}")

        self.link_mode = domain.modes(network, country=country, precipitation_mm_h=climate.precipitation_mm_h)
        self.link_domain = self.link_mode > 0
        enough_m = 1000 * float(model["min_eligible_segment_km_to_engage"])
        self.link_long = np.array(
            [
                domain.stretch_m(network, row, enough_m=enough_m) >= enough_m - 1e-6 if row.any() else row
                for row in self.link_domain
            ]
        )
        self._link_toll = network.node_control[network.link_to] == TOLL_BOOTH
        self._link_mm = np.rint(network.link_length * 1000).astype(np.int64)
        self._link_group = network.link_class.astype(np.int64)

        share = model["engage_prob_per_eligible_trip"]
        propensity = np.array([float(share[name]) for name in USER_TYPES]) * settings.use
        self._propensity = np.minimum(propensity, 1.0) * settings.enabled
        self._mode_mean_mm = np.ones(len(LEVELS), np.int64)
        self._mode_here = np.zeros(len(LEVELS))
        self._mode_delay_ms = np.full(len(LEVELS), 1000 * float(model["reengage_delay_s_mean"]))
        self._mode_max_mm_ms = np.zeros(len(LEVELS))
        for row, (name, rule) in enumerate(zip(LEVELS, domain.rules(country), strict=True)):
            if rule is not None:
                self._mode_mean_mm[row] = round(1e6 * float(model["engaged_segment_km_mean"][name]))
                self._mode_here[row] = here_share(model, name)
                self._mode_max_mm_ms[row] = rule.max_speed_kmh / 3.6
        causes = cause_shares(table["events"]["aaa"])
        self._mode_cause = np.tile(np.cumsum([causes[name] for name in ("driver", "cut_in", "lane")]), (len(LEVELS), 1))

        size = fleet.size
        self._will = np.full(size, kernels.NOT_THIS_TRIP, np.uint8)
        self._inside = np.zeros(size, np.uint8)
        self._wait_ms = np.zeros(size, np.int64)
        self._left_mm = np.zeros(size, np.int64)
        self._at_mode = np.ones(size, np.uint8)
        self._serial = np.zeros(size, np.int64)
        self._count = np.zeros(size, np.int64)
        self._last_group = np.full(size, -1, np.int64)
        self._hour = 0
        self._tally = np.zeros((len(ROAD_CLASSES) * len(self.model_names) * len(LEVELS), kernels.FIELDS), np.int64)
        self._breaches = 0
        self._start = [column.copy() for column in (fleet.driven_mm, fleet.engaged_mm, fleet.domain_mm)]
        self.table = Table("autonomy", COLUMNS)

    @property
    def engaged(self) -> NDArray[np.bool_]:
        """Cars with assistance engaged now, shape (n_cars,)."""
        engaged: NDArray[np.bool_] = self._will == kernels.ENGAGED
        return engaged

    def begin_trips(self, cars: NDArray[np.integer], trip_serials: NDArray[np.int64]) -> None:
        """Draw for each starting trip whether its driver will use assistance.

        Parameters
        ----------
        cars, trip_serials : ndarray, shape (n,)
            Rows, and a number that is different for every trip of one car.
        """
        if not len(cars):
            return
        u = chance(self.seed, Stream.ENGAGE_TRIP, cars, trip_serials)
        uses = (u < self._propensity[self.fleet.driver[cars]]) & (self.fleet.propilot[cars] > 0)
        self._will[cars] = np.where(uses, kernels.NOT_HERE, kernels.NOT_THIS_TRIP)
        self._inside[cars] = 0
        # the next leg of the same trip (after a charging stop) goes on with the trip's random numbers
        self._count[cars] = np.where(self._serial[cars] == trip_serials, self._count[cars], 0)
        self._serial[cars] = trip_serials

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
        end_ms = traversals.exit_ms[:n]
        if int(end_ms[-1]) > self.horizon_ms + _HOUR_MS:
            raise AutonomyError(f"traversal at {int(end_ms[-1])} ms lies beyond the horizon of {self.horizon_ms} ms")
        first = 0
        while first < n:
            hour = int(end_ms[first]) // _HOUR_MS
            if hour < self._hour:
                raise AutonomyError(f"traversal at {int(end_ms[first])} ms comes after hour {self._hour} has begun")
            if hour > self._hour:
                self._flush(hour)
            last = int(np.searchsorted(end_ms, (hour + 1) * _HOUR_MS))
            self._drive(traversals, first, last)
            first = last
        with_it = np.flatnonzero(traversals.engaged_mm[:n])
        level = self.fleet.propilot[traversals.car[with_it]]
        self._breaches += int(
            traversals.engaged_mm[with_it][~self.link_domain[level, traversals.link[with_it]]].sum()
            + np.maximum(traversals.engaged_mm[with_it] - traversals.driven_mm[with_it], 0).sum()
        )

    def _drive(self, traversals: Traversals, first: int, last: int) -> None:
        fleet = self.fleet
        kernels.drive(
            first,
            last,
            traversals.car,
            traversals.link,
            traversals.enter_ms,
            traversals.exit_ms,
            traversals.driven_mm,
            traversals.engaged_mm,
            self._link_mm,
            self._link_group,
            self.link_mode,
            self.link_long,
            self._link_toll,
            fleet.propilot,
            fleet.model,
            len(self.model_names),
            self._will,
            self._inside,
            self._wait_ms,
            self._left_mm,
            self._at_mode,
            self._serial,
            self._count,
            self._last_group,
            fleet.engaged_mm,
            fleet.engaged_ms,
            fleet.domain_mm,
            self._mode_mean_mm,
            self._mode_here,
            self._mode_delay_ms,
            self._mode_max_mm_ms,
            self._mode_cause,
            self._tally,
            self.seed,
            int(Stream.ENGAGE_SEGMENT),
            int(Stream.DISENGAGE),
            int(Stream.DISENGAGE_CAUSE),
        )

    def end_trips(self, cars: NDArray[np.integer]) -> None:
        """Tell that these cars' trips are over: assistance that is still engaged ends on arrival."""
        if not len(cars):
            return
        still = cars[self._will[cars] == kernels.ENGAGED]
        np.add.at(self._tally[:, kernels.BY_ARRIVAL], self._last_group[still], 1)
        self._will[cars] = kernels.NOT_THIS_TRIP
        self._inside[cars] = 0

    def finish(self) -> None:
        """Write the rows of the hour that is still open."""
        self._flush(self._hour)

    def _flush(self, hour: int) -> None:
        rows = np.flatnonzero(self._tally.any(axis=1))
        tally = self._tally[rows]
        road_and_model, level = np.divmod(rows, len(LEVELS))
        road, model = np.divmod(road_and_model, len(self.model_names))
        counts = {f"disengagements_{name}": tally[:, kernels.BY_DOMAIN + k] for k, name in enumerate(CAUSES)}
        self.table.append(
            hour=np.full(len(rows), self._hour),
            road_class=np.array(ROAD_CLASSES, object)[road],
            model=np.array(self.model_names, object)[model],
            propilot_level=np.array(LEVELS, object)[level],
            km=tally[:, kernels.DRIVEN_MM] / 1e6,
            engaged_km=tally[:, kernels.ENGAGED_MM] / 1e6,
            possible_km=tally[:, kernels.POSSIBLE_MM] / 1e6,
            engagements=tally[:, kernels.ENGAGEMENTS],
            **counts,
        )
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

        ends = sum(int(self.table[f"disengagements_{name}"].astype(np.int64).sum()) for name in CAUSES)
        ends += int(open_[kernels.BY_DOMAIN :].sum())
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
        """The `autonomy` part of summary.json; call after `finish`.

        `share` is engaged km over all km of the fleet, `possible_share` the same for km inside
        the domain; `by_road_class` gives both kilometres per class.
        """
        km = {name: self.table[name].astype(np.float64) for name in ("km", "engaged_km", "possible_km")}
        road = self.table["road_class"]
        equipped = self.table["propilot_level"] != LEVELS[0]
        total = float(km["km"].sum())
        by_class = {}
        for name in ROAD_CLASSES:
            here = road == name
            if here.any():
                driven, engaged = float(km["km"][here].sum()), float(km["engaged_km"][here].sum())
                by_class[name] = {"km": driven, "engaged_km": engaged, "share": engaged / driven if driven else 0.0}
        takeovers = sum(
            int(self.table[f"disengagements_{name}"].astype(np.int64).sum()) for name in ("driver", "cut_in", "lane")
        )
        engaged_km, equipped_km = float(km["engaged_km"].sum()), float(km["km"][equipped].sum())
        return {
            "share": engaged_km / total if total else 0.0,
            "engaged_km": engaged_km,
            "possible_km": float(km["possible_km"].sum()),
            "possible_share": float(km["possible_km"].sum()) / total if total else 0.0,
            "equipped_share": float(np.count_nonzero(self.fleet.propilot) / self.fleet.size),
            "share_of_equipped_km": engaged_km / equipped_km if equipped_km else 0.0,
            "engagements": int(self.table["engagements"].astype(np.int64).sum()),
            "takeovers": takeovers,
            "by_road_class": by_class,
        }
