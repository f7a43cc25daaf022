"""Lorries and buses: who is one, and what a run with them does."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from maps.toy import toy_city
from twin.model import Twin
from twin.settings import DemandSettings, FleetSettings, TrafficSettings
from twin.traffic.engine import Streets, TrafficError
from twin.traffic.heavy import counts_for

DRIVER, DEPART = np.arange(20_000), np.arange(20_000) * 4000


def heavy(share: float) -> np.ndarray:
    return counts_for(TrafficSettings(heavy_share=share, heavy_cars=2.5), 1, DRIVER, DEPART)


def test_a_larger_share_only_turns_cars_into_lorries() -> None:
    few, many = heavy(0.1), heavy(0.3)
    assert set(few.tolist()) == {1.0, 2.5}
    assert (few > 1).mean() == pytest.approx(0.1, abs=0.01)
    assert (many > 1).mean() == pytest.approx(0.3, abs=0.01)
    assert np.all(many >= few)
    assert np.all(heavy(0.0) == 1)


def twin_with(share: float) -> Twin:
    traffic = TrafficSettings(heavy_share=share, heavy_cars=4.0)
    twin = Twin(
        toy_city(4, homes=40),
        until_s=3 * 3600,
        start=datetime(2022, 10, 12, 7),
        fleet=FleetSettings(cars=20),
        traffic=traffic,
        demand=DemandSettings(other_traffic=1.0),
    )
    while twin.running:
        twin.step()
    return twin


def test_lorries_are_in_the_run_and_the_books_close() -> None:
    with_them, without = twin_with(0.5), twin_with(0.0)
    sizes = with_them.world.streets._vehicles["size_permille"]
    assert {1000, 4000} == set(sizes.tolist())
    assert set(without.world.streets._vehicles["size_permille"].tolist()) == {1000}
    assert sizes[: with_them.world.streets.fleet_size].max() == 1000
    for twin in (with_them, without):
        assert twin.world.streets.census() == twin.world.streets.on_road + twin.world.streets.in_source
    assert with_them.world.others.planned == without.world.others.planned > 500
    # the same trips take longer among them
    spent = [int(twin.world.streets.link_sums[:, 1].sum()) for twin in (with_them, without)]
    assert spent[0] > spent[1]


@pytest.mark.parametrize("size", [0.9, 0.0, -1.0, 33.0, np.nan])
def test_impossible_sizes_are_refused(size: float) -> None:
    streets = Streets(toy_city(4).network, TrafficSettings(), 1)
    with pytest.raises(TrafficError, match="size is from 1 to 32"):
        streets.depart([0], [0], np.array([0, 1]), np.array([0], np.int32), size=size)
    assert streets.census() == 0
