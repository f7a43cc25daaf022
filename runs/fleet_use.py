"""What a model uses over a year of a market's days: legs of planned days on their routes, month by month."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maps.network import CityMap
from twin.demand.days import DayPlan
from twin.energy.climate import typical_year_c
from twin.energy.drive import Drive
from twin.energy.kernels import UL_PER_J
from twin.fleet.catalogue import Catalogue, Param
from twin.fleet.fleet import Fleet
from twin.settings import ClimateSettings
from twin.traffic.routing import Router
from twin.traffic.speeds import driven_speed
from twin.traffic.traversals import Traversals

MONTHS = range(1, 13)
LEGS = 1500


def km_per_litre(city: CityMap, catalogue: Catalogue, model: str, plan: DayPlan, *, market: str) -> float:
    """Kilometres per litre of an e-POWER or combustion model over the months of the market's typical year.

    Legs of the plan, spread evenly over its rows, follow their fastest routes at the speeds of empty streets
    (`twin.traffic.speeds`) at the hour when they begin. What the battery of an e-POWER car gains or lacks at the end
    is valued at the engine's mean efficiency.
    """
    network = city.network
    pace = replace(network, link_speed=driven_speed(network))
    free_ms = np.rint(pace.link_length / pace.link_speed * 1000).astype(np.int64)
    some = np.linspace(0, len(plan) - 1, min(LEGS, len(plan))).astype(np.int64)
    routes = Router(network, free_ms).routes(plan.from_node[some], plan.to_node[some], free_ms)
    size = np.diff(routes.ptr)
    leg = np.repeat(np.arange(len(some)), size).astype(np.int32)
    spent = np.concatenate([[0], np.cumsum(free_ms[routes.links])])
    begun = spent[:-1] - spent[routes.ptr[leg]] + plan.depart_ms[some][leg] % 86_400_000
    row = catalogue.row(model)
    metres = litres = 0.0
    for month in MONTHS:
        fleet = Fleet(len(some))
        fleet.model[:] = row
        fleet.kind[:] = catalogue.kinds[row]
        fleet.capacity_j[:] = catalogue.matrix[row, Param.CAPACITY]
        fleet.battery_j[:] = fleet.capacity_j // 2
        celsius = typical_year_c(market, np.full(24, month), np.arange(24)).tolist()
        drive = Drive(fleet, catalogue, network, ClimateSettings(ambient_c=celsius), market)
        rows = Traversals(len(leg))
        rows.n = len(leg)
        rows.car[:], rows.link[:] = leg, routes.links
        rows.enter_ms[:], rows.exit_ms[:] = begun, begun + free_ms[routes.links]
        drive.spend(rows)
        missing = float((fleet.capacity_j // 2 - fleet.battery_j).sum())
        per_j = float(drive.records[0, row, UL_PER_J])
        metres += float(fleet.driven_mm.sum()) / 1000
        litres += (float(fleet.fuel_ul.sum()) + missing * per_j) * 1e-6
    return metres / 1000 / litres
