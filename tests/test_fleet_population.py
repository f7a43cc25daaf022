"""The drawn fleet against the shares, sales and places it is drawn from."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from maps.toy import toy_city
from twin import facts
from twin.fleet import sales
from twin.fleet.cases import actual, on_sale
from twin.fleet.catalogue import Catalogue
from twin.fleet.fleet import COLUMNS, Kind, State
from twin.fleet.places import PopulationError, crow_scale_m, draw_homes, draw_work
from twin.fleet.population import populate
from twin.settings import FleetSettings

CITY = toy_city()
MODELS = Catalogue.load()
ACTUAL = actual(MODELS)


def people(*, outside_share=0.25, seed=1, **settings):
    return populate(CITY, MODELS, FleetSettings(**settings), outside_share=outside_share, seed=seed)


def within(found, expected, n, *, sigmas=4.5):
    """Binomial share inside `sigmas` standard errors."""
    return abs(found - expected) <= sigmas * np.sqrt(max(expected * (1 - expected), 1e-4) / n)


def test_shares_of_kinds_and_models_are_those_asked_for():
    n = 40_000
    fleet = people(cars=n, bev=0.3, epower=0.5)
    assert within((fleet.kind == Kind.ELECTRIC).mean(), 0.3, n)
    assert within((fleet.kind == Kind.EPOWER).mean(), 0.5, n)
    assert (MODELS.kinds[fleet.model] == fleet.kind).all()
    stock = sales.on_road(ACTUAL, "japan", 2022)[Kind.ELECTRIC]
    electric = fleet.kind == Kind.ELECTRIC
    for model in np.unique(stock.model):
        expected = stock.units[stock.model == model].sum() / stock.units.sum()
        assert within((fleet.model[electric] == model).mean(), expected, electric.sum()), MODELS.ids[model]


def test_every_year_lies_in_the_models_time_of_sale():
    fleet = people(cars=20_000, year=2021)
    assert fleet.year.max() == 2021
    assert (12 * fleet.year.astype(int) + 12 > MODELS.launch[fleet.model]).all()
    assert (12 * fleet.year.astype(int) < MODELS.end[fleet.model]).all()


def test_the_japanese_stock_meets_the_official_counts():
    """adoption.cumulative: battery EVs 130 thousand by 2019, e-POWER 504 thousand by 2021-03."""
    units = sales.sold(ACTUAL, "japan", 2022)
    electric = units[MODELS.kinds == Kind.ELECTRIC]
    assert electric[:, :10].sum() == pytest.approx(130_000, rel=0.1)  # 2010 to 2019
    epower = units[MODELS.kinds == Kind.EPOWER]
    assert epower[:, :11].sum() + epower[:, 11].sum() / 4 == pytest.approx(503_787, rel=0.05)  # to March 2021
    assert epower[:, :8].sum() + epower[:, 8].sum() / 4 == pytest.approx(129_000, rel=0.1)  # to March 2018


@pytest.mark.parametrize(("market", "total"), [("europe", 263_000), ("us", 185_000)])
def test_leafs_sold_elsewhere(market, total):
    leaf = [i for i, name in enumerate(MODELS.ids) if name.startswith("leaf")]
    assert sales.sold(ACTUAL, market, 2023)[leaf].sum() == pytest.approx(total, rel=0.05)


def test_every_family_of_sales_names_models_and_all_years():
    table = facts.load("population")
    span = table["years"]["last"] - table["years"]["first"] + 1
    for family in table["family"]:
        rows = [MODELS.row(name) for name in family["models"]]
        if "units" in family:
            assert family["months_from"] >= "2010"
            continue
        assert len(family["thousand"]) in (span, span + 1), family["name"]
        months = on_sale(MODELS, ACTUAL.months)[rows].any(axis=0).reshape(-1, 12).sum(axis=1)[: len(family["thousand"])]
        # sales in a year in which no model of the family was on sale would be lost
        lost = (np.array(family["thousand"]) > 0.5) & (months == 0)
        assert not lost.any(), family["name"]
    for modem in table["modem"]:
        MODELS.row(modem["model"])


def test_raising_a_share_only_converts_cars():
    few, more = people(cars=5000, bev=0.2, epower=0.3), people(cars=5000, bev=0.4, epower=0.3)
    assert (more.kind[few.kind == Kind.ELECTRIC] == Kind.ELECTRIC).all()
    same = few.kind == more.kind
    for name in COLUMNS:
        assert (getattr(few, name)[same] == getattr(more, name)[same]).all(), name
    assert (few.home_node == more.home_node).all()
    assert (few.work_place == more.work_place).all()


def test_more_cars_leave_the_first_ones_as_they_were():
    few, many = people(cars=500), people(cars=2000)
    for name in COLUMNS:
        assert (getattr(few, name) == getattr(many, name)[:500]).all(), name
    other = people(cars=500, seed=2)
    assert (other.model != few.model).mean() > 0.3


def test_propilot_by_market_matches_adoption_over_all_new_cars():
    """Fitted share of the new cars of a calendar year, at the market's own mix, is that of its two fiscal years."""
    table = facts.load("adoption")["propilot_fitment_new_sales"]
    for market in ("japan", "europe", "us"):
        years = np.arange(2010, 2023)
        units = sales.sold(ACTUAL, market, 2022)
        offered = np.where(sales.propilot_offered(ACTUAL, years), units, 0.0).sum(axis=0)
        fitted = sales.fitment(ACTUAL, market, 2022) * offered / units.sum(axis=0)
        for before, here, year in zip(table[market], table[market][1:], table["years"][1:], strict=False):
            if year <= 2022:  # months differ in sales, so the weight of the first quarter is near a quarter
                low, high = sorted((0.15 * before + 0.85 * here, 0.35 * before + 0.65 * here))
                assert low - 1e-9 <= fitted[year - 2010] <= high + 1e-9, (market, year)


def test_propilot_override_is_among_cars_that_offer_it():
    fleet = people(cars=20_000, propilot=0.7)
    offered = sales.propilot_offered(ACTUAL, np.arange(2010, 2023))[fleet.model, fleet.year - 2010]
    assert (fleet.propilot[~offered] == 0).all()
    assert within((fleet.propilot[offered] > 0).mean(), 0.7, offered.sum())
    assert (people(cars=2000, propilot=0.0).propilot == 0).all()
    aura, leaf24 = MODELS.row("aura_fe13_epower"), MODELS.row("leaf_aze0_24")
    assert set(fleet.propilot[fleet.model == aura]) == {0, 2}
    assert set(fleet.propilot[fleet.model == leaf24]) == {0}


def test_connected_override_is_of_all_cars_and_brings_a_modem():
    fleet = people(cars=20_000, connected=0.6)
    assert within(fleet.connected.mean(), 0.6, 20_000)
    assert (fleet.network_generation[fleet.connected == 1] > 0).all()
    assert (people(cars=2000, connected=0.0).connected == 0).all()
    assert ((fleet.ota == 0) | (fleet.connected == 1)).all()


def test_switched_off_networks_disconnect():
    us = Catalogue.load(market="us")
    for year, dead in ((2015, ()), (2016, (2,)), (2022, (2, 3))):
        fleet = populate(
            CITY, us, FleetSettings(cars=20_000, market="us", year=year, bev=1, epower=0), outside_share=0, seed=3
        )
        assert sales.switched_off("us", year) == dead
        for generation in (2, 3):
            alive = fleet.connected[fleet.network_generation == generation].sum()
            assert (alive == 0) == (generation in dead or not (fleet.network_generation == generation).any())


def test_modems_change_with_the_year_and_market():
    years = np.arange(2010, 2023)
    table = sales.generation(ACTUAL, "us", years)
    row = MODELS.row("leaf_aze0_24")
    assert table[row, 2014 - 2010] == 2
    assert table[row, 2016 - 2010] == 3
    assert sales.generation(ACTUAL, "japan", years)[row, 2014 - 2010] == 3
    assert table[MODELS.row("leaf_ze1_40"), 2021 - 2010] == 4


def test_homes_and_work_follow_weights_and_the_outside_share():
    n = 60_000
    fleet = people(cars=n, outside_share=0.4)
    homes = CITY.places("home")
    inside = fleet.home_place >= 0
    assert within((~inside).mean(), 0.2, n)
    assert np.isin(fleet.home_node[~inside], CITY.outside_node).all()
    weight = CITY.place_weight[homes] / CITY.place_weight[homes].sum()
    found = np.bincount(fleet.home_place[inside], minlength=len(CITY.place_kind))[homes] / inside.sum()
    assert np.abs(found - weight).max() < 5 * np.sqrt(weight.max() / inside.sum())
    assert (fleet.home_node[inside] == CITY.place_node[fleet.home_place[inside]]).all()
    works = fleet.work_place >= 0
    assert np.isin(fleet.work_place[works], CITY.places("work")).all()
    assert (fleet.work_node[works] == CITY.place_node[fleet.work_place[works]]).all()
    away = ~works
    assert np.isin(fleet.work_node[away], CITY.outside_node).all()
    assert 0.3 < away.mean() < 0.41  # less the draws that hit the home's own node
    assert (fleet.home_node != fleet.work_node)[away].all()


def test_a_closed_city_keeps_everyone_inside():
    fleet = people(cars=3000, outside_share=0.0)
    assert (fleet.home_place >= 0).all()
    assert (fleet.work_place >= 0).all()


def test_work_by_gravity_meets_the_law_between_cells():
    """Two cells of equal weight at distances d1, d2 are chosen in the ratio exp((d2-d1)/D)."""
    far = toy_city()
    n = 200_000
    work = far.places("work")
    homes = draw_homes(far, n, outside_share=0.0, seed=5)
    picked = draw_work(far, homes, market="japan", outside_share=0.0, seed=5).place
    x, y = far.network.node_x[homes.node], far.network.node_y[homes.node]
    distance = np.hypot(x[:, None] - far.place_x[work], y[:, None] - far.place_y[work])
    pull = far.place_weight[work] * np.exp(-distance / crow_scale_m("japan"))
    expected = (pull / pull.sum(axis=1, keepdims=True)).mean(axis=0)
    found = np.bincount(picked, minlength=len(far.place_kind))[work] / n
    # cells of 150 m stand for their workplaces: shares within a few per cent
    assert np.abs(found / expected - 1).max() < 0.06 + 5 / np.sqrt(n * expected.min())


def test_first_charge_follows_the_bands():
    fleet = people(cars=60_000, bev=1.0, epower=0.0)
    small = fleet.capacity_j < 32 * 3.6e6
    bands = facts.load("charging")["plug_in"]["start_soc"]
    for name, rows in (("leaf24", small), ("leaf40_plus", ~small)):
        found = np.histogram(fleet.soc[rows], np.linspace(0, 1, 11))[0] / rows.sum()
        expected = np.array(bands[name]) / sum(bands[name])
        assert np.abs(found - expected).max() < 0.01
    hybrid = people(cars=2000, bev=0.0, epower=1.0)
    assert hybrid.soc.min() >= 0.399
    assert hybrid.soc.max() <= 0.621
    burning = people(cars=100, bev=0.0, epower=0.0)
    assert (burning.capacity_j == 0).all()
    assert (burning.battery_j == 0).all()


def test_everyone_starts_parked_at_home():
    fleet = people(cars=1000)
    assert (fleet.state == State.PARKED).all()
    assert (fleet.node == fleet.home_node).all()
    assert (fleet.link == -1).all()
    types = facts.load("autonomy")["model"]["user_types"]
    assert within((fleet.driver == 0).mean(), types["never"], 1000)
    assert within((fleet.driver == 2).mean(), types["regular"], 1000)


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(PopulationError, match=r"0\.7 \+ 0\.6; valid: at most 1"):
        people(cars=10, bev=0.7, epower=0.6)
    with pytest.raises(PopulationError, match="no e-POWER model of the catalogue was sold by 2014"):
        people(cars=10, year=2014)
    empty = dataclasses.replace(CITY, place_weight=np.where(CITY.place_kind == 0, 0, CITY.place_weight))
    with pytest.raises(PopulationError, match="no homes"):
        populate(empty, MODELS, FleetSettings(cars=10), outside_share=0, seed=1)


def test_a_market_that_never_got_a_kind_borrows_it():
    us = Catalogue.load(market="us")
    fleet = populate(CITY, us, FleetSettings(cars=2000, market="us", bev=0, epower=1), outside_share=0, seed=1)
    assert set(us.kinds[fleet.model]) == {Kind.EPOWER}
    assert not us.sold_in("US")[fleet.model].any()


def test_the_fleet_grows_older_as_survival_says():
    units = sales.sold(ACTUAL, "japan", 2022)
    stock = sales.on_road(ACTUAL, "japan", 2022)[Kind.ELECTRIC]
    row = MODELS.row("leaf_aze0_24")
    for year, later in pairwise(range(2013, 2017)):
        ratio = [stock.units[(stock.model == row) & (stock.year == y)][0] / units[row, y - 2010] for y in (year, later)]
        assert ratio[0] / ratio[1] == pytest.approx(0.97)
