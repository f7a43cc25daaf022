"""The cars of one city, drawn car by car from a market's sales.

Every property is its own stream of `chance` keyed by the car's row, so raising a
share converts cars and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from twin.chance import Stream, chance
from twin.facts import load
from twin.fleet import sales
from twin.fleet.cases import Case, load_case
from twin.fleet.catalogue import Catalogue, Param
from twin.fleet.fleet import Fleet, Kind, State
from twin.fleet.places import PopulationError, draw_homes, draw_work
from twin.settings import FleetSettings

DRIVERS = ("never", "occasional", "regular")
"""How drivers use assistance; the index is `Fleet.driver`."""

_SMALL_BATTERY_J = 32 * 3_600_000  # up to here the 24 kWh cars' habits hold, above the 40 kWh cars'


def populate(city: CityMap, catalogue: Catalogue, settings: FleetSettings, *, outside_share: float, seed: int) -> Fleet:
    """Draw the fleet of a city.

    Parameters
    ----------
    city : CityMap
        Where they live and work.
    catalogue : Catalogue
        Models to draw from.
    settings : FleetSettings
        Size, market, year, shares.
    outside_share : float
        Share that works beyond the map; half of it lives there.
    seed : int
        The run's seed.

    Returns
    -------
    Fleet
        Everything constant is set except `home_site` and `work_site`; cars are parked
        at home with their first state of charge.

    Raises
    ------
    PopulationError
        When shares add up to more than 1, the map has no homes, or no model of a
        wanted kind existed by that year.
    """
    case = load_case(settings.case, catalogue)
    stock = sales.on_road(case, settings.market, settings.year)
    bev, epower = _shares(settings, stock)
    fleet = Fleet(settings.cars)
    car = np.arange(fleet.size)
    u = chance(seed, Stream.KIND, car)
    fleet.kind[:] = np.where(u < bev, Kind.ELECTRIC, np.where(u < bev + epower, Kind.EPOWER, Kind.COMBUSTION))
    _draw_models(fleet, stock, settings, seed)
    _draw_equipment(fleet, case, settings, seed)
    homes = draw_homes(city, fleet.size, outside_share=outside_share, seed=seed)
    work = draw_work(city, homes, market=settings.market, outside_share=outside_share, seed=seed)
    fleet.home_place[:], fleet.home_node[:] = homes
    fleet.work_place[:], fleet.work_node[:] = work
    fleet.capacity_j[:] = np.rint(catalogue.matrix[fleet.model, Param.CAPACITY]).astype(np.int64)
    fleet.battery_j[:] = np.rint(fleet.capacity_j * first_soc(fleet, seed)).astype(np.int64)
    fleet.state[:] = State.PARKED
    fleet.node[:] = fleet.home_node
    return fleet


def first_soc(fleet: Fleet, seed: int) -> NDArray[np.float64]:
    """State of charge at the run's start, 0 to 1.

    Battery cars as home charges start (`charging.plug_in.start_soc`, bands of 10 %,
    even within a band); e-POWER cars even between the engine's start and stop points.
    """
    bands = load("charging")["plug_in"]["start_soc"]
    control = load("vehicles")["physics"]["series_hybrid"]["control"]
    u = chance(seed, Stream.SOC, np.arange(fleet.size))
    soc = np.zeros(fleet.size)
    small = fleet.capacity_j <= _SMALL_BATTERY_J
    electric = fleet.kind == Kind.ELECTRIC
    edges = np.linspace(0.0, 1.0, 11)
    for name, rows in (("leaf24", electric & small), ("leaf40_plus", electric & ~small)):
        running = np.concatenate([[0.0], np.cumsum(bands[name])])
        soc[rows] = np.interp(u[rows], running / running[-1], edges)
    hybrid = fleet.kind == Kind.EPOWER
    low, high = control["soc_low_start_engine"], control["soc_high_stop_engine"]
    soc[hybrid] = low + (high - low) * u[hybrid]
    return soc


def _shares(settings: FleetSettings, stock: Mapping[Kind, sales.Sales]) -> tuple[float, float]:
    """Shares of battery electric and of e-POWER cars."""
    if settings.mix == "on_road":
        units = {kind: float(cars.units.sum()) if cars.here else 0.0 for kind, cars in stock.items()}
        total = sum(units.values())
        return units.get(Kind.ELECTRIC, 0.0) / total, units.get(Kind.EPOWER, 0.0) / total
    if settings.bev + settings.epower > 1 + 1e-12:
        total_text = f"{settings.bev:g} + {settings.epower:g}"
        raise PopulationError(f"fleet.bev + fleet.epower = {total_text}; valid: at most 1 (the rest burns fuel)")
    return settings.bev, settings.epower


def _draw_models(fleet: Fleet, stock: Mapping[Kind, sales.Sales], settings: FleetSettings, seed: int) -> None:
    """Model and model year together, by cars on the road."""
    u = chance(seed, Stream.MODEL, np.arange(fleet.size))
    for kind in Kind:
        rows = np.flatnonzero(fleet.kind == kind)
        if not len(rows):
            continue
        if kind not in stock:
            word = {Kind.ELECTRIC: "electric", Kind.EPOWER: "e-POWER", Kind.COMBUSTION: "combustion"}[kind]
            raise PopulationError(f"no {word} model of the catalogue was sold by {settings.year}: set its share to 0")
        running = np.cumsum(stock[kind].units)
        picked = np.minimum(np.searchsorted(running, u[rows] * running[-1], side="right"), len(running) - 1)
        fleet.model[rows] = stock[kind].model[picked]
        fleet.year[rows] = stock[kind].year[picked]


def _draw_equipment(fleet: Fleet, case: Case, settings: FleetSettings, seed: int) -> None:
    """ProPILOT, modem, over-the-air ability, driver type."""
    years = sales.years_to(case, settings.year)
    column = fleet.year.astype(np.int64) - case.first_year
    car = np.arange(fleet.size)

    offered = sales.propilot_offered(case, years)[fleet.model, column]
    share = sales.fitment(case, settings.market, settings.year)[column]
    if settings.propilot is not None:
        share = np.full(fleet.size, settings.propilot)
    fitted = offered & (chance(seed, Stream.EQUIPMENT, car) < share)
    fleet.propilot[:] = np.where(fitted, case.propilot[fleet.model], 0)

    modem = sales.generation(case, settings.market, years)[fleet.model, column]
    u = chance(seed, Stream.CONNECTED, car)
    if settings.connected is None:
        dead = np.isin(modem, sales.switched_off(settings.market, settings.year))
        active = sales.activation(case, settings.market, settings.year)[column]
        fleet.connected[:] = (modem > 0) & ~dead & (u < active)
    else:
        # a scenario's share is of all cars: whoever has no live modem is given the plan's, LTE
        fleet.connected[:] = u < settings.connected
        dead = (modem == 0) | np.isin(modem, sales.switched_off(settings.market, settings.year))
        modem = np.where((fleet.connected == 1) & dead, 4, modem).astype(np.uint8)
    fleet.network_generation[:] = modem
    fleet.ota[:] = (fleet.connected == 1) & case.catalogue.ota[fleet.model]

    types = load("autonomy")["model"]["user_types"]
    running = np.cumsum([types[name] for name in DRIVERS])
    draw = chance(seed, Stream.DRIVER_TYPE, car) * running[-1]
    fleet.driver[:] = np.minimum(np.searchsorted(running, draw, side="right"), len(DRIVERS) - 1)
