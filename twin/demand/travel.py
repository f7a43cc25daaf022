"""Who travels in a run: the fleet and the traffic around it, by the model's own days or by what the user gave."""

from __future__ import annotations

from datetime import datetime

from maps.network import CityMap
from twin.demand.days import Demand
from twin.demand.given import Given, GivenDays, GivenTraffic
from twin.demand.market import DemandError
from twin.demand.other_traffic import OtherTraffic
from twin.fleet.fleet import Fleet
from twin.settings import DemandSettings


def travel(
    city: CityMap,
    fleet: Fleet,
    settings: DemandSettings,
    *,
    given: Given | None,
    market: str,
    seed: int,
    start: datetime,
    sample: float,
) -> tuple[Demand | GivenDays, OtherTraffic | GivenTraffic]:
    """Days of the fleet and traffic of other cars; what is given takes the place of the model's own.

    Parameters
    ----------
    given : Given or None
        Trips and matrices of the user, placed on the map.
    sample : float
        Share of all cars that is simulated.

    Raises
    ------
    DemandError
        When a sample is asked of trips that are given.
    """
    days: Demand | GivenDays
    if given is not None and given.has_days:
        days = GivenDays(city, given, settings, fleet, start=start, seed=seed)
    else:
        days = Demand(city, fleet, settings, market=market, seed=seed, start=start)
    if given is not None and given.has_traffic:
        if sample < 1:
            raise DemandError(f"traffic.sample = {sample:g} with own trips or matrices; valid: traffic.sample = 1")
        return days, GivenTraffic(given, settings, market=market, seed=seed, start=start)
    others = OtherTraffic(
        city, settings,
        market=market, seed=seed, start=start, fleet_cars=len(fleet), distances=days.distances, sample=sample,
    )  # fmt: skip
    return days, others
