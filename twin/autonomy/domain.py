"""Where each ProPILOT level may be engaged: the operating domain, link by link.

The rules are data (`facts/autonomy.toml`, tables `domain` and `domain_case`): road classes,
ramps, lanes, curve radius, gradient, tunnels, country and age of the high-definition map,
rain, snow, light, speed window. ProPILOT 2.0 falls back to 1.0 where only 1.0 may drive, so a
link has a *mode* per level: which level's function would be at work there, 0 when none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maps.network import MOTORROAD, ONEWAY, RAMP, ROAD_CLASSES, TOLL_BOOTH, TUNNEL, RoadNetwork
from twin.autonomy.rules import LEVELS, RulesError, known_level, load_rules

_ABOUT = {"source", "confidence", "note", "jp_mapped_expressway_km"}
_LIGHT = ("any", "day")


class DomainError(RulesError):
    """A rule of the operating domain makes no sense; the message names it and says what is valid."""


class Conditions(NamedTuple):
    """Weather and light at a moment."""

    precipitation_mm_h: float = 0.0
    snow: bool = False
    dark: bool = False


FAIR = Conditions()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Where one level may be engaged.

    Attributes
    ----------
    roads : sequence of str
        Road classes, or `<class>_motorroad` for roads of that class signed for motor vehicles only.
    ramps : bool
        Whether ramps of those classes belong to it.
    min_lanes : int
        Fewest lanes in the direction of travel.
    divided : bool
        Whether the road must be one-way, as carriageways of divided roads are.
    min_radius_m : float
        Smallest curve radius, m.
    max_grade : float
        Steepest gradient, rise over run; applied where heights are given.
    tunnels : bool
        Whether tunnels belong to it.
    light : str
        "any", or "day": not between sunset and sunrise.
    max_precipitation_mm_h, max_snow_mm_h : float
        Heaviest rain and snow, mm/h of water.
    speed_kmh : sequence of float
        Slowest and fastest speed at which it holds the car, km/h.
    max_speed_kmh_by_year : mapping
        By country: fastest speed from a model year on, in ascending years.
    countries : sequence of str or None
        ISO codes where its map exists; None when it needs no map.
    max_map_age_days : float or None
        Age at which the car's map is too old.
    needs_destination : bool
        Whether it works only on trips with a destination set.
    falls_back_to : str or None
        Level whose function works where this one's does not.
    """

    roads: Sequence[str]
    ramps: bool = False
    min_lanes: int = 1
    divided: bool = False
    min_radius_m: float = 0.0
    max_grade: float = float("inf")
    tunnels: bool = True
    light: str = "any"
    max_precipitation_mm_h: float = float("inf")
    max_snow_mm_h: float = float("inf")
    speed_kmh: Sequence[float] = (0.0, float("inf"))
    max_speed_kmh_by_year: Mapping[str, Any] | None = None
    countries: Sequence[str] | None = None
    max_map_age_days: float | None = None
    needs_destination: bool = False
    falls_back_to: str | None = None

    def __post_init__(self) -> None:
        for road in self.roads:
            if str(road).removesuffix("_motorroad") not in ROAD_CLASSES:
                raise DomainError(f"unknown road {road!r}; valid: {', '.join(ROAD_CLASSES)}, or with _motorroad")
        for name in ("min_lanes", "min_radius_m", "max_grade", "max_precipitation_mm_h", "max_snow_mm_h"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise DomainError(f"{name} is {value!r}, must be a number of 0 or more")
        for name in ("ramps", "divided", "tunnels", "needs_destination"):
            if not isinstance(getattr(self, name), bool):
                raise DomainError(f"{name} is {getattr(self, name)!r}, must be true or false")
        if self.light not in _LIGHT:
            raise DomainError(f"light is {self.light!r}; valid: {', '.join(_LIGHT)}")
        if not isinstance(self.speed_kmh, Sequence) or len(self.speed_kmh) != 2 or not self.speed_kmh[0] >= 0:
            raise DomainError(f"speed_kmh is {self.speed_kmh!r}, must be [slowest, fastest] in km/h")
        for fastest in (self.speed_kmh[1], *(v for k in (self.max_speed_kmh_by_year or {}).values() for _, v in k)):
            if not fastest > self.speed_kmh[0]:
                raise DomainError(f"the speed window is empty ({self.speed_kmh[0]:g} to {fastest:g} km/h)")
        for country, steps in (self.max_speed_kmh_by_year or {}).items():
            years = [year for year, _ in steps]
            if years != sorted(set(years)):
                raise DomainError(f"max_speed_kmh_by_year: years of {country} are out of order: {years}")
        if self.falls_back_to is not None:
            known_level(self.falls_back_to, "falls_back_to")

    def fastest_mps(self, country: str, year: NDArray[np.integer]) -> NDArray[np.float64]:
        """Fastest speed of cars of these model years, m/s."""
        out = np.full(len(year), float(self.speed_kmh[1]))
        for first, kmh in (self.max_speed_kmh_by_year or {}).get(country, ()):
            out[year >= first] = kmh
        steps = (self.max_speed_kmh_by_year or {}).get(country, ())
        if steps:  # older than the first known: as the first
            out[year < steps[0][0]] = steps[0][1]
        return out / 3.6

    def closed(self, now: Conditions) -> bool:
        """Whether weather or darkness closes the domain as a whole."""
        heaviest = self.max_snow_mm_h if now.snow else self.max_precipitation_mm_h
        return now.precipitation_mm_h > heaviest or (now.dark and self.light == "day")

    def covers(self, country: str) -> bool:
        """Whether a country has the map that the rule needs, if it needs one."""
        return self.countries is None or country in self.countries


def rules(
    *,
    table: Mapping[str, Any] | None = None,
    case: str = "facts",
    map_countries: Sequence[str] | None = None,
    place: str = "facts/autonomy.toml",
) -> tuple[Rule | None, ...]:
    """Rules of all levels, in the order of LEVELS; None for cars without assistance.

    Parameters
    ----------
    table : mapping, optional
        As `load_rules` gives it.
    case : str
        Name of a table of `domain_case`.
    map_countries : sequence of str, optional
        Countries with a high-definition map, instead of those in the data.
    place : str
        Begins error lines.

    Raises
    ------
    DomainError, RulesError
        Unknown case, level, road or key; empty speed window; a number out of range.
    """
    table = load_rules() if table is None else table
    if case not in table["domain_case"]:
        raise DomainError(f"autonomy.domain: unknown case {case!r}; valid: {', '.join(table['domain_case'])}")
    changes = table["domain_case"][case]
    for level in set(changes) - _ABOUT - {"every"}:
        known_level(level, f"{place}: domain_case.{case}")
    for level in table["domain"]:
        known_level(level, f"{place}: domain")
    made: list[Rule | None] = [None]
    for name in LEVELS[1:]:
        where = f"{place}: domain.{name}"
        fields = _fields(table["domain"], name, changes, where)
        if map_countries is not None and "countries" in fields:
            fields["countries"] = tuple(map_countries)
        unknown = sorted(set(fields) - set(Rule.__dataclass_fields__))
        if unknown:
            raise DomainError(f"{where}: unknown key {unknown[0]!r}; valid: {', '.join(Rule.__dataclass_fields__)}")
        try:
            made.append(Rule(**fields))
        except RulesError as error:
            raise DomainError(f"{where}: {error}") from None
    return tuple(made)


def _fields(domain: Mapping[str, Any], name: str, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Keys of one level: those of the level it is like, its own, then what the case changes."""
    if name not in domain:
        raise DomainError(f"{where}: is missing")
    own = {k: v for k, v in domain[name].items() if k not in _ABOUT}
    base: dict[str, Any] = {}
    like = own.pop("like", None)
    if like is not None:
        known_level(like, f"{where}: like")
        if LEVELS.index(like) >= LEVELS.index(name):
            raise DomainError(f"{where}: like must name a level before it, is {like!r}")
        base = _fields(domain, like, changes, where)
    return {**base, **own, **changes.get("every", {}), **changes.get(name, {})}


def closed(made: Sequence[Rule | None], now: Conditions) -> tuple[bool, ...]:
    """Levels whose domain weather or darkness closes as a whole."""
    return tuple(rule is not None and rule.closed(now) for rule in made)


def allowed(
    network: RoadNetwork,
    rule: Rule,
    *,
    country: str,
    conditions: Conditions = FAIR,
    grade: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Links where one rule lets the driver engage, shape (n_links,).

    Parameters
    ----------
    network : RoadNetwork
    rule : Rule
    country : str
        ISO 3166 alpha-2 code of the map.
    conditions : Conditions
        Weather and light.
    grade : ndarray, shape (n_links,), optional
        Gradient of each link, rise over run; maps hold no heights, so it is flat when left out.
    """
    if rule.closed(conditions) or not rule.covers(country):
        return np.zeros(network.n_links, bool)
    road = np.zeros(network.n_links, bool)
    for name in rule.roads:
        same = network.link_class == ROAD_CLASSES.index(name.removesuffix("_motorroad"))
        road |= same & network.has(MOTORROAD) if name.endswith("_motorroad") else same
    road &= network.link_radius >= rule.min_radius_m
    # a ramp and a toll lane have one lane each; lanes and separation are asked of the road itself
    main = ~network.has(RAMP)
    road &= ~main | (network.link_lanes >= rule.min_lanes)
    if rule.divided:
        road &= ~main | network.has(ONEWAY)
    if not rule.ramps:
        road &= main
    if not rule.tunnels:
        road &= ~network.has(TUNNEL)
    if grade is not None:
        road &= np.abs(grade) <= rule.max_grade
    return road


def modes(
    network: RoadNetwork,
    made: Sequence[Rule | None],
    *,
    country: str,
    conditions: Conditions = FAIR,
    grade: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Which function may be at work for a car of each level on each link.

    Returns
    -------
    ndarray of uint8, shape (2, len(LEVELS), n_links)
        First index: 0 with everything the level may need, 1 without destination or with a map
        that is too old. Second: the car's level. The value indexes LEVELS, 0 outside the domain.
    """
    inside = [
        np.zeros(network.n_links, bool)
        if rule is None
        else allowed(network, rule, country=country, conditions=conditions, grade=grade)
        for rule in made
    ]
    mode = np.zeros((2, len(LEVELS), network.n_links), np.uint8)
    for level, rule in enumerate(made):
        if rule is None:
            continue
        below = LEVELS.index(rule.falls_back_to) if rule.falls_back_to else 0
        fallback = np.where(inside[below], below, 0) if below else 0
        mode[0, level] = np.where(inside[level], level, fallback)
        bare = rule.needs_destination or rule.max_map_age_days is not None
        mode[1, level] = fallback if bare else mode[0, level]
    return mode


def stretch_m(network: RoadNetwork, inside: NDArray[np.bool_], *, enough_m: float) -> NDArray[np.float64]:
    """Length of the longest unbroken stretch of `inside` links that leads through each link.

    Stretches end where the next link is outside the domain, at a toll booth, at a forbidden
    turn, and never turn back on the spot. A link gets `enough_m` or more when a stretch of
    that length exists; below it the value is exact.

    Parameters
    ----------
    inside : ndarray of bool, shape (n_links,)
    enough_m : float
        No need to measure stretches longer than this, m.

    Returns
    -------
    ndarray of float64, shape (n_links,)
        Metres; 0 outside.
    """
    length = np.where(inside, network.link_length, 0.0)
    before, after = _joins(network, inside)
    ahead = _longest(length, before, after, enough_m)
    behind = _longest(length, after, before, enough_m)
    return np.where(inside, ahead + behind - length, 0.0)


def _longest(
    length: NDArray[np.float64], link: NDArray[np.int64], following: NDArray[np.int64], enough_m: float
) -> NDArray[np.float64]:
    reach = np.minimum(length, enough_m)
    while len(link):
        best = np.zeros_like(reach)
        np.maximum.at(best, link, reach[following])
        longer = np.minimum(length + best, enough_m)
        if np.array_equal(longer, reach):
            break
        reach = longer
    return np.maximum(reach, length)


def _joins(network: RoadNetwork, inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of inside links that can be driven one after the other."""
    first = np.flatnonzero(inside)
    node = network.link_to[first]
    start, stop = network.out_ptr[node], network.out_ptr[node + 1]
    count = stop - start
    before = np.repeat(first, count)
    after = np.repeat(start, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    keep = inside[after] & (network.link_to[after] != network.link_from[before])
    keep &= network.node_control[network.link_to[before]] != TOLL_BOOTH
    links = np.int64(network.n_links)
    banned = network.ban_from.astype(np.int64) * links + network.ban_to
    keep &= ~np.isin(before * links + after, banned)
    return before[keep], after[keep]
