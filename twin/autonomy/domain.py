"""Where each ProPILOT level may be engaged: the operating domain, link by link.

The rules are data (`facts/autonomy.toml`, table `odd`): road classes, curve radius,
rain, country of the high-definition map, fastest speed. ProPILOT 2.0 falls back to 1.0
where only 1.0 may drive (`levels.propilot_2_0.falls_back_to`), so a link has a *mode*
per level: which function would be at work there, 0 when none.

Gradient is a rule of the facts too, but the map has no heights yet; it is not applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import MOTORROAD, RAMP, ROAD_CLASSES, TOLL_BOOTH, TUNNEL, RoadNetwork
from twin import facts

LEVELS = ("none", "propilot_1_0", "propilot_1_0_navi", "propilot_2_0")
"""Values of `fleet.propilot`, by name."""

NONE, SINGLE_LANE, NAVI_LINK, HANDS_OFF = range(4)


class DomainError(ValueError):
    """A rule of the operating domain makes no sense; the message names it and says what is valid."""


@dataclass(frozen=True)
class Rule:
    """Where one level may be engaged.

    Attributes
    ----------
    roads : tuple of str
        Road classes, or `<class>_motorroad` for roads of that class signed for motor vehicles only.
    countries : tuple of str or None
        ISO codes where its map exists; None when it needs no map.
    min_radius_m : float
        Smallest curve radius, m.
    max_precipitation_mm_h : float
        Heaviest rain or snow, mm/h.
    tunnels : bool
        Whether tunnels belong to the domain.
    max_speed_kmh : float
        Fastest speed at which it holds the car, km/h.
    """

    roads: tuple[str, ...]
    countries: tuple[str, ...] | None
    min_radius_m: float
    max_precipitation_mm_h: float
    tunnels: bool
    max_speed_kmh: float

    def __post_init__(self) -> None:
        for road in self.roads:
            if road.removesuffix("_motorroad") not in ROAD_CLASSES:
                raise DomainError(
                    f"operating domain: unknown road {road!r}; valid: {', '.join(ROAD_CLASSES)}, or with _motorroad"
                )
        for name in ("min_radius_m", "max_precipitation_mm_h", "max_speed_kmh"):
            value = getattr(self, name)
            if not value >= 0:
                raise DomainError(f"operating domain: {name} is {value}, must be 0 or more")
        if self.max_speed_kmh == 0:
            raise DomainError("operating domain: the speed window is empty (max_speed_kmh is 0)")


def rules(country: str, *, table: Mapping[str, Any] | None = None) -> tuple[Rule | None, ...]:
    """Rules of all levels in one country, in the order of LEVELS.

    Parameters
    ----------
    country : str
        ISO 3166 alpha-2 code of the map.
    table : mapping, optional
        Replaces `facts/autonomy.toml`.

    Notes
    -----
    Source: facts `autonomy.odd` and `autonomy.levels`. Navi-link adds functions, not roads, so
    it has the rule of 1.0. Speeds of the 2021 cars in Japan, of European and US cars elsewhere.
    """
    table = facts.load("autonomy") if table is None else table
    levels = table["levels"]["propilot_1_0"]
    fastest = float(levels["speed_max_kmh_2021_jp" if country == "JP" else "speed_max_kmh_eu_us"])

    def rule(odd: Mapping[str, Any]) -> Rule:
        # "<class>_excluded" in the facts says in words that ramps are out; ramps are never in the domain
        roads = tuple(road for road in odd["highway"] if not road.endswith("_excluded"))
        return Rule(
            roads=roads,
            countries=tuple(odd["country"]) if "country" in odd else None,
            min_radius_m=float(odd["min_curve_radius_m"]),
            max_precipitation_mm_h=float(odd["max_precip_mm_h"]),
            tunnels=bool(odd.get("tunnels", True)),
            max_speed_kmh=fastest,
        )

    single = rule(table["odd"]["propilot_1_0"])
    return None, single, single, rule(table["odd"]["propilot_2_0"])


def allowed(network: RoadNetwork, rule: Rule, *, country: str, precipitation_mm_h: float) -> NDArray[np.bool_]:
    """Links where one rule lets the driver engage, shape (n_links,)."""
    if rule.countries is not None and country not in rule.countries:
        return np.zeros(network.n_links, bool)
    if precipitation_mm_h > rule.max_precipitation_mm_h:
        return np.zeros(network.n_links, bool)
    road = np.zeros(network.n_links, bool)
    for name in rule.roads:
        same = network.link_class == ROAD_CLASSES.index(name.removesuffix("_motorroad"))
        road |= same & network.has(MOTORROAD) if name.endswith("_motorroad") else same
    road &= ~network.has(RAMP) & (network.link_radius >= rule.min_radius_m)
    if not rule.tunnels:
        road &= ~network.has(TUNNEL)
    return road


def modes(
    network: RoadNetwork, *, country: str, precipitation_mm_h: float = 0.0, table: Mapping[str, Any] | None = None
) -> NDArray[np.uint8]:
    """Which function may be at work for a car of each level on each link.

    Returns
    -------
    ndarray of uint8, shape (4, n_links)
        Row is the car's level; the value indexes LEVELS and is 0 outside the domain.
    """
    mode = np.zeros((len(LEVELS), network.n_links), np.uint8)
    for level, rule in enumerate(rules(country, table=table)):
        if rule is not None:
            mode[level, allowed(network, rule, country=country, precipitation_mm_h=precipitation_mm_h)] = level
    fallback = mode[HANDS_OFF] == NONE
    mode[HANDS_OFF, fallback] = mode[SINGLE_LANE, fallback]
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
