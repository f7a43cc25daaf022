"""Charging on a real map with real models: Bad Hersfeld with its seven stations, 22 and 11 kW type 2."""

from __future__ import annotations

import numpy as np
import pytest

from maps.build import build_map
from maps.get import data_folder
from tests.charging_cases import closed, make, run
from twin.charging.site import SiteKind
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import Kind
from twin.fleet.population import populate
from twin.settings import FleetSettings


@pytest.mark.data
def test_a_town_charges_at_its_own_stations(tmp_path):
    folder = data_folder()
    source = None if folder is None else folder / "osm" / "bad_hersfeld_2021.osm.pbf"
    if source is None or not source.exists():
        pytest.skip(f"no shared data in {folder}: set TWIN_DATA to the folder that holds osm/bad_hersfeld_2021.osm.pbf")
    city = build_map(str(source), cache=tmp_path, country="DE")
    models = Catalogue.load(market="europe")
    fleet = populate(city, models, FleetSettings(cars=1500, market="europe"), outside_share=0.25, seed=1)
    charging = make(fleet, city=city, models=models, market="europe")
    sites = charging.sites
    public = sites.rows(SiteKind.PUBLIC)
    assert len(public) == len(city.charger_osm) == 7
    assert set(np.round(sites.socket_kw[np.isin(sites.socket_site, public)])) <= {11.0, 22.0}
    assert len(charging.feeders.x) == -(-len(city.places("home")) // 40)
    electric = np.flatnonzero(fleet.kind == Kind.ELECTRIC)
    home = fleet.home_site[electric] >= 0
    assert home.mean() == pytest.approx(0.89, abs=4 * np.sqrt(0.89 * 0.11 / len(electric)))
    shown, crow_m, kw, _ = charging.candidates(fleet.home_node[electric], electric)
    assert np.isin(shown, public).all()
    assert (np.diff(crow_m, axis=1) >= 0).all()
    assert np.array_equal(
        kw[:, 0], np.minimum(models.ac_kw[fleet.model[electric]], sites.socket_kw[sites.socket_ptr[shown[:, 0]]])
    )
    rng = np.random.default_rng(1)
    at = np.sort(rng.integers(0, 4 * 3_600_000, len(electric)))
    cars_home = electric[home]
    charging.arrive(cars_home, fleet.home_site[cars_home], at[: len(cars_home)], 10**8, fleet.capacity_j[cars_home])
    street = electric[~home]
    charging.arrive(street, shown[~home, 0], at[: len(street)], -1, fleet.capacity_j[street])
    run(charging, 12 * 3_600_000, tick_ms=300_000)
    charging.finish(12 * 3_600_000)
    assert closed(charging)
    queue, grid = charging.queue_summary(), charging.grid_summary()
    assert queue["sessions"] == len(electric)
    assert queue["balked"] > 0  # a dozen sockets for everybody without one at home
    stored = (fleet.battery_j / np.maximum(fleet.capacity_j, 1))[cars_home]
    assert (stored == 1.0).mean() > 0.7
    assert 0.8 < fleet.charged_j.sum() / fleet.meter_j.sum() < 0.93
    assert 0 < grid["coincidence"] < 1
