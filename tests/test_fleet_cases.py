"""Cases and cohorts against the facts that they are built from, and cases of one's own."""

import json
import shutil
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from maps.toy import toy_city
from runs.fleet import as_dict, cohort_table, fleet_report, lines, write
from twin import facts
from twin.fleet import sales
from twin.fleet.cases import CASES, MARKETS, CaseError, family_name, load_case, project_models
from twin.fleet.cohorts import equipped_between, fiscal_years, goals, milestones, sold_between
from twin.fleet.fleet import Kind
from twin.fleet.population import populate
from twin.settings import FleetSettings

MODELS = project_models()
BY_NAME = {name: load_case(name, MODELS) for name in CASES}
FY2022 = (12 * 2022 + 3, 12 * 2022 + 15)
ELECTRIFIED = (Kind.ELECTRIC, Kind.EPOWER)


def test_the_plan_adds_up_to_its_goals_exactly():
    plan, stated = BY_NAME["plan"], facts.load("adoption")["plan_2018"]
    target = stated["electrified_sales_per_year_target_fy2022"]
    assert sold_between(plan, *FY2022, kinds=ELECTRIFIED) == pytest.approx(target, rel=1e-12)
    assert equipped_between(plan, *FY2022, what="propilot") == pytest.approx(stated["propilot_cars_target"], rel=1e-12)
    by_name = {g.what: g for g in goals(plan)}
    assert by_name["models with ProPILOT"].found == stated["propilot_models"] == 20
    assert by_name["new battery electric models since the plan"].found == stated["new_bev_models"] == 8
    connected = by_name["connected share of new cars, key markets"]
    assert connected.found == pytest.approx(stated["connected_share_new_cars_end_of_plan"], rel=1e-12)


def test_a_new_electric_model_comes_every_half_year():
    months = sorted(m.month for m in BY_NAME["plan"].new_models if m.kind == Kind.ELECTRIC and m.month >= 12 * 2018 + 3)
    assert set(np.diff(months)) == {6}
    first = next(m for m in BY_NAME["plan"].new_models if m.month == months[0])
    assert (first.name, first.markets) == ("Sylphy Zero Emission", ("china",))
    five = [name for name, month in BY_NAME["plan"].propilot_models if month <= 12 * 2018 + 3]
    assert len(five) == facts.load("adoption")["plan_2018"]["propilot_models_at_announcement"]


def test_electrified_shares_of_the_plan_are_those_announced():
    shares = facts.load("adoption")["plan_2018"]["electrified_share"]
    for market in ("japan", "europe"):
        (last,) = (y for y in fiscal_years(BY_NAME["plan"], markets=(market,)) if y.fiscal_year == 2022)
        assert (last.bev + last.e_power) / last.cars == pytest.approx(shares[f"{market}_2022"], rel=1e-9)
    infiniti = [m for m in BY_NAME["plan"].new_models if m.name.startswith("INFINITI") and m.kind != Kind.COMBUSTION]
    since = facts.load("adoption")["plan_2018"]["infiniti_electrified_from_fy"]
    assert min(m.month for m in infiniti) == 12 * since + 3


def test_the_other_reading_is_a_million_within_the_plan():
    start = 12 * 2010
    within = BY_NAME["plan-within"]
    assert equipped_between(within, start, FY2022[1], what="propilot") == pytest.approx(1_000_000, rel=1e-9)
    assert np.array_equal(within.units, BY_NAME["plan"].units)


def test_before_the_plan_all_cases_are_what_happened():
    before = BY_NAME["actual"].between(12 * 2010, 12 * 2018 + 3)
    for case in BY_NAME.values():
        assert np.array_equal(case.units[..., before], BY_NAME["actual"].units[..., before])
        assert np.array_equal(case.fitted[..., before], BY_NAME["actual"].fitted[..., before])


def test_what_happened_meets_every_official_count():
    found = milestones(BY_NAME["actual"])
    assert len(found) > 20
    off = {f"{m.what} {m.when}": m.found / m.stated - 1 for m in found if m.confidence == "official"}
    assert {name for name, value in off.items() if abs(value) > 0.05} == {"Nissan battery EV Japan 2019-12"}
    assert all(abs(value) < 0.09 for value in off.values())


def test_sales_by_fiscal_year_meet_the_official_totals():
    table = {year.fiscal_year: year for year in fiscal_years(BY_NAME["actual"])}
    for entry in facts.load("adoption")["sales_by_region"]:
        if "fiscal_year" in entry:
            assert table[entry["fiscal_year"]].cars == pytest.approx(1000 * entry["global"], rel=0.02)
    check = facts.load("adoption")["fy2022_reality_check"]
    electrified = (table[2022].bev + table[2022].e_power) / 1000
    assert check["global_electrified_low"] < electrified < check["global_electrified_high"]
    # shares of new cars times sales: the count that adoption.toml worked out from the same shares
    counted = facts.load("adoption")["propilot_fitment_new_sales"]
    for year, implied in zip(counted["years"], counted["implied_cumulative_thousand_at_fy_end"], strict=True):
        if year <= 2022:
            sold = equipped_between(BY_NAME["actual"], 12 * 2010, 12 * year + 15, what="propilot") / 1000
            assert sold == pytest.approx(implied, rel=0.12), year


def test_cohorts_add_up_to_sales_and_survival():
    for name, case in BY_NAME.items():
        table = cohort_table(case, 2022)
        assert (table.on_road > 0).all()
        for market in MARKETS:
            mine = table[table.market == market]
            units = sales.sold(case, market, 2022)
            assert mine.sold.sum() == pytest.approx(units.sum(), rel=1e-12)
            assert mine.on_road.sum() == pytest.approx((units * sales.survival(case, 2022)).sum(), rel=1e-12)
            fitted = sales.fitment(case, market, 2022)
            offered = sales.propilot_offered(case, sales.years_to(case, 2022))
            assert mine[mine.propilot != "none"].sold.sum() == pytest.approx((units * offered * fitted).sum(), abs=1e-6)
        key = ["market", "model", "year", "propilot", "connected"]
        assert not table.duplicated(key).any(), name
        if name != "actual":  # nothing of the plan's equipment is lost to models that cannot have it
            sold = table[(table.propilot != "none")].sold.sum()
            assert sold == pytest.approx(equipped_between(case, 12 * 2010, 12 * 2023, what="propilot"), rel=1e-9)


def test_the_japanese_stock_is_that_of_the_facts():
    stock = facts.load("adoption")["stock_japan_2023_03"]
    table = cohort_table(BY_NAME["actual"], 2022, markets=("japan",))
    by_kind = table.groupby("kind").on_road.sum() / 1000
    assert by_kind["e-power"] == pytest.approx(stock["epower"], rel=0.15)
    leaf = table[table.model.str.contains("leaf|env200")].on_road.sum() / 1000
    assert leaf == pytest.approx(stock["bev_leaf_family"], rel=0.1)


def test_a_citys_fleet_is_drawn_from_the_case():
    city, n = toy_city(), 20_000
    for name in ("actual", "plan"):
        settings = FleetSettings(cars=n, market="europe", year=2022, case=name, mix="on_road")
        fleet = populate(city, MODELS, settings, outside_share=0.0, seed=4)
        table = cohort_table(BY_NAME[name], 2022, markets=("europe",))
        total = table.on_road.sum()
        for kind, word in ((Kind.ELECTRIC, "bev"), (Kind.EPOWER, "e-power")):
            share = table[table.kind == word].on_road.sum() / total
            assert abs((fleet.kind == kind).mean() - share) < 4.5 * np.sqrt(share / n) + 1e-9, (name, word)
        with_propilot = table[table.propilot != "none"].on_road.sum() / total
        assert abs((fleet.propilot > 0).mean() - with_propilot) < 4.5 * np.sqrt(with_propilot / n), name
        connected = table[table.connected].on_road.sum() / total
        assert abs(fleet.connected.mean() - connected) < 4.5 * np.sqrt(connected / n), name
    us = FleetSettings(cars=500, market="us", year=2022, mix="on_road")
    assert not (populate(city, MODELS, us, outside_share=0.0, seed=4).kind == Kind.EPOWER).any()  # none was sold there


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.toml"
    shutil.copy(str(files("twin.facts") / "plan.toml"), path)

    def change(old, new):
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")
        return str(path)

    return change


def test_a_case_of_ones_own(own):
    case = load_case(
        own("electrified_thousand = [135, 158, 182, 210, 240]", "electrified_thousand = [135, 158, 182, 210, 440]"),
        MODELS,
    )
    assert sold_between(case, *FY2022, kinds=ELECTRIFIED) == pytest.approx(1_200_000)
    assert case.name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("propilot_thousand = [95,", "propilot_thousand = [-95,", "market.japan: propilot_thousand must be 5 numbers"),
        ("propilot_thousand = [95, 140, 190, 235, 280]", "propilot_thousand = [95, 140, 190, 235, 590]", "offer it"),
        ("total_thousand = [595, 600,", "total_thousand = [0, 600,", "electrified_thousand is above total_thousand"),
        ("total_thousand = [595, 600,", "total_thousand = [inf, 600,", "5 numbers of 0 or more"),
        ("connected_share = [0.20,", "connected_share = [1.20,", "share above 1"),
        ("[market.japan]", "[market.nippon]", "market 'nippon'; valid: japan"),
        ('stands_in = "sakura_20"', 'stands_in = "sakura"', "no model 'sakura'"),
        ('stands_in = "sakura_20"', 'stands_in = "dayz_b40_kei"', "is no bev car"),
        ('from = "2020-03"', 'from = "March"', "not a month"),
        ("fiscal_years = [2018,", "fiscal_years = [2017,", "years in a row"),
        ("fiscal_years = [2018, 2019, 2020, 2021, 2022]", "fiscal_years = [2030, 2031]", "valid: 2010 to 2023"),
        ("bev_share_of_electrified = [1.00, 0.80,", "bev_share_of_electrified = [0.90, 0.80,", "no model of that kind"),
        ("[case]", "[cases]", "'cases'; valid"),
    ],
)
def test_a_case_that_cannot_be_is_one_line(own, old, new, words):
    with pytest.raises(CaseError) as refused:
        load_case(own(old, new), MODELS)
    text = str(refused.value)
    assert words in text
    assert "mine.toml" in text
    assert "\n" not in text


def test_no_such_case_market_or_year(tmp_path):
    with pytest.raises(CaseError, match="valid: actual, plan, plan-within"):
        load_case("pland", MODELS)
    with pytest.raises(CaseError, match="No such file"):
        load_case(str(tmp_path / "none.toml"), MODELS)
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(CaseError, match=r"bad\.toml"):
        load_case(str(tmp_path / "bad.toml"), MODELS)
    with pytest.raises(CaseError, match="valid: japan"):
        fleet_report("actual", year=2022, market="mars")
    with pytest.raises(CaseError, match="valid: 2010 to 2023"):
        fleet_report("actual", year=2024)


def test_variants_are_one_model():
    assert family_name("Nissan LEAF e+ 62 kWh (ZE1)") == family_name("Nissan LEAF 24 kWh (AZE0)") == "Nissan LEAF"
    assert family_name("INFINITI QX50 2.0 VC-Turbo") == "INFINITI QX50"


def test_the_report_says_what_its_files_hold(tmp_path):
    report = fleet_report("plan", year=2022, market="japan")
    text = "\n".join(lines(report))
    assert "240" not in text.splitlines()[0]
    assert "40.0%" in text
    folder = write(report, tmp_path / "fleet")
    stored = json.loads((folder / "fleet.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(as_dict(report)))
    assert stored["on_road"] == pytest.approx(sum(stored["on_road_by_kind"].values()))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["files"]["cohorts.parquet"]["rows"] == len(report.cohorts)
    write(report, tmp_path / "fleet")  # again, over itself


def test_the_plan_file_names_known_sources():
    known = set(facts.load("sources")["source"])
    with (files("twin.facts") / "plan.toml").open("rb") as file:
        table = tomllib.load(file)
    parts = [table["case"], *table["market"].values(), *table["new_model"], *table["propilot_model"]]
    for part in parts:
        assert set(part["source"].split("+")) <= known
        assert part["confidence"] in facts.CONFIDENCE
