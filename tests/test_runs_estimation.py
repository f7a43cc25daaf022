"""Estimates of a fleet from drawn cars: scaling, cases, assumptions, the design, what is refused."""

import re
import signal

import numpy as np
import pytest

from runs.cli import main
from runs.estimates import Estimate
from runs.estimation import answer as a
from runs.estimation import report
from runs.estimation.design import Design, DesignError, cannot_run
from runs.estimation.records import LEVELS, TYPES, Records, type_of
from runs.estimation.scaling import FIGURES, Weights, means_of, weights_of
from runs.sweeping.local import Stopped
from twin.fleet.cases import CaseError, load_case, project_models
from twin.fleet.cohorts import Cohorts, cohorts

CARS = 30_000


def world(rng: np.random.Generator, n: int = CARS, *, city: str = "town", market: str = "japan") -> Records:
    """Every car of a market, as skewed and unlike as real ones: most do not charge today, few drive far."""
    types = rng.choice(4, n, p=[0.2, 0.25, 0.2, 0.35])
    level = rng.choice(len(LEVELS), n, p=[0.6, 0.25, 0.1, 0.05, *[0.0] * (len(LEVELS) - 4)])
    connected = rng.random(n) < 0.6
    moves = rng.random(n) < 0.65
    km = np.where(moves, rng.lognormal(2.7, 0.9, n) * (1 + 0.2 * (types == 1)), 0.0)
    engaged = km * np.where(level > 0, np.clip(rng.beta(0.4, 4.0, n) * (1 + 0.5 * (level == 3)), 0, 1), 0.0)
    load = np.zeros((n, 24))
    plugs = (types < 2) & (rng.random(n) < 0.3)
    start = np.clip(rng.normal(18.5, 2.5, n), 0, 23).astype(int)
    hours = np.ceil(rng.lognormal(0.5, 0.6, n)).astype(int)
    power = np.where(types == 0, 3.0, 6.0)
    for row in np.flatnonzero(plugs):
        load[row, start[row] : start[row] + hours[row]] = power[row]
    sent = np.where(connected, 1e6 * km * rng.lognormal(0, 0.5, n), 0.0)
    cell = types * len(LEVELS) + level
    size = len(TYPES) * len(LEVELS)
    by_class = {"motorway": np.bincount(cell, km, size).reshape(len(TYPES), len(LEVELS)).astype(float)}
    return Records(
        run="synthetic",
        city=city,
        market=market,
        season="mild",
        day="weekday",
        days=1.0,
        type=types,
        level=level,
        connected=connected,
        load_kw=load,
        km=km,
        engaged_km=engaged,
        litres=np.where(types == 2, km * 0.05, 0.0),
        bytes=sent,
        messages=sent / 500,
        ota_bytes=np.zeros(n),
        bytes_by_hour=np.full(24, 1 / 24),
        class_km=by_class,
        class_engaged_km={"motorway": np.bincount(cell, engaged, size).reshape(len(TYPES), len(LEVELS)).astype(float)},
    )


def some(r: Records, rows: np.ndarray) -> Records:
    from dataclasses import replace

    per_car = ("type", "level", "connected", "load_kw", "km", "engaged_km", "litres", "bytes", "messages", "ota_bytes")
    return replace(r, **{name: getattr(r, name)[rows] for name in per_car})


def counted(r: Records) -> Weights:
    cars = np.zeros((len(TYPES), len(LEVELS), 2))
    np.add.at(cars, (r.type, r.level, r.connected.astype(int)), 1.0)
    return Weights(cars)


def truth(r: Records) -> dict[str, float]:
    return {
        "grid_gwh_per_day": r.load_kw.sum() / 1e6,
        "grid_peak_gw": r.load_kw.sum(axis=0).max() / 1e6,
        "autonomy_share": r.engaged_km.sum() / r.km.sum(),
        "cloud_pb_per_month": r.bytes.sum() * (365 / 12) / 1e15,
        "epower_megalitres_per_day": r.litres[r.type == TYPES.index("e-power")].sum() / 1e6,
        "driven_million_km_per_day": r.km.sum() / 1e6,
    }


def test_all_cars_simulated_give_the_truth():
    r = world(np.random.default_rng(1), 5000)
    m, w = means_of([(r, 1.0)], seed=1, draws=2), counted(r)
    for name, value in truth(r).items():
        # engagement is kept by type and level, whose cars drive alike only in the mean
        tolerance = 0.06 if name == "autonomy_share" else 1e-9
        assert FIGURES[name][2](m, w)[0] == pytest.approx(value, rel=tolerance), name


def test_a_cohort_split_in_two_changes_nothing():
    models = project_models()
    table = cohorts(load_case("actual", models), 2022, markets=("japan",))
    whole = weights_of(table, models.matrix, models.kinds)
    twice = Cohorts(*(np.concatenate([column, column]) for column in table))
    split = twice._replace(on_road=np.concatenate([0.3 * table.on_road, 0.7 * table.on_road]))
    assert np.allclose(weights_of(split, models.matrix, models.kinds).cars, whole.cars, rtol=1e-12)
    assert whole.cars.sum() == pytest.approx(table.on_road.sum())


@pytest.fixture(scope="module")
def evidence():
    rng = np.random.default_rng(11)
    places = [("kyoto", "japan", 1.0), ("demo", "europe", 0.4), ("hersfeld", "europe", 0.6)]
    records = [(world(rng, 1500, city=city, market=market), weight) for city, market, weight in places]
    base = records[1][0]
    more = some(base, np.arange(len(base)))
    more.load_kw[:] *= 1.5
    less = some(base, np.arange(len(base)))
    less.load_kw[:] *= 0.8
    varied = [("charging", "assumption", "high", more, base), ("charging", "assumption", "low", less, base)]
    return a.evidence_of(records, varied, seed=2, draws=200)


def test_an_assumption_moves_only_what_it_moved(evidence):
    known, effects = evidence.effects["charging"]
    assert known == "assumption"
    assert effects["grid_gwh_per_day"] == pytest.approx((np.log(0.8), np.log(1.5)))
    assert effects["autonomy_share"] == (0.0, 0.0)
    found = a.answer(evidence, "actual", 2022)
    share = dict(found.moves["grid_gwh_per_day"])
    assert share["charging"] > 0.1
    assert dict(found.moves["autonomy_share"])["charging"] < 1e-12
    assert sum(share.values()) == pytest.approx(1.0)


def test_distance_moves_all_that_adds_up_where_it_is_moved(evidence):
    bounds = {"name": "km", "of": "distance", "low": {"europe": 0.5}, "high": {"europe": 2.0}}
    moved = a.answer(evidence, "actual", 2022, cohort_assumptions=[{**bounds, "confidence": "assumption"}])
    still = a.answer(evidence, "actual", 2022)

    def ends(found, market, name):
        v = found.figures[market][name]
        return v.low, v.mean, v.high

    for name in FIGURES:
        assert ends(moved, "japan", name) == pytest.approx(ends(still, "japan", name))
        before, after = (ends(found, "europe", name) for found in (still, moved))
        assert after[1] == pytest.approx(before[1])
        if name == "autonomy_share":
            assert after == pytest.approx(before)
        else:
            assert after[2] / before[2] > 1.2, name
            assert after[0] / before[0] < 0.9, name


def test_less_known_is_wider():
    z = a.normal(1, 0, 4000)
    spread = [
        a._factor(np.log(0.8), np.log(1.25), known, z).std()
        for known in ("measured", "derived", "recalled", "assumption")
    ]
    assert spread == sorted(spread)
    assert spread[0] < 0.7 * spread[-1]


def test_markets_without_a_city_are_not_scaled(evidence):
    found = a.answer(evidence, "actual", 2022)
    assert set(found.not_covered) == {"us", "canada_mexico", "china", "other"}
    assert found.not_covered["china"][0] > 1e7
    total = sum(found.figures[m]["grid_gwh_per_day"].mean for m in ("japan", "europe"))
    assert found.figures["covered"]["grid_gwh_per_day"].mean == pytest.approx(total)
    share = found.figures["covered"]["autonomy_share"]
    ends = [found.figures[m]["autonomy_share"].mean for m in ("japan", "europe")]
    assert min(ends) <= share.mean <= max(ends)
    assert "japan, europe" in share.scaled_by
    for figures in found.figures.values():
        for value in figures.values():
            assert isinstance(value, Estimate)
            assert value.low <= value.mean <= value.high


def test_plan_against_actual_is_paired(evidence):
    plan, actual = (a.answer(evidence, case, 2022) for case in ("plan", "actual"))
    apart = a.difference(plan, actual)["grid_gwh_per_day"]
    assert apart.mean > 0
    alone = plan.figures["covered"]["grid_gwh_per_day"]
    before = actual.figures["covered"]["grid_gwh_per_day"]
    # what both cases share cancels: narrower than two unpaired intervals would leave it
    assert apart.high - apart.low < np.hypot(alone.high - alone.low, before.high - before.low)


def test_before_the_plan_the_cases_agree(evidence):
    first, second = (a.answer(evidence, case, 2017) for case in ("plan", "actual"))
    for name in FIGURES:
        assert first.figures["covered"][name].mean == pytest.approx(second.figures["covered"][name].mean)


def test_bad_input(evidence):
    with pytest.raises(CaseError, match="valid: 2010 to 2023"):
        a.answer(evidence, "actual", 2030)
    with pytest.raises(CaseError, match="no case"):
        a.answer(evidence, "dream", 2022)
    with pytest.raises(DesignError, match="valid: full, quick"):
        Design.load("tiny")
    for cars in (0, -5, 99, 20_000):
        with pytest.raises(DesignError, match="valid: 100 to 16,384"):
            Design.load("quick").runs(cars=cars)
    with pytest.raises(CaseError, match="valid: survival"):
        a.answer(
            evidence,
            "actual",
            2022,
            cohort_assumptions=[{"name": "x", "of": "y", "low": 0, "high": 1, "confidence": "assumption"}],
        )


def test_a_bad_case_is_refused_before_any_run(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "execute", lambda *_a, **_k: pytest.fail("runs were begun"))
    for case, year, words in (("pland", 2022, "no case 'pland'"), ("actual", 2030, "valid: 2010 to 2023")):
        with pytest.raises(CaseError, match=words):
            report.estimate(case=case, year=year, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_there_is_to_do(capfd, tmp_path):
    assert main(["estimate", "--quick", "--dry-run", "--out", str(tmp_path / "new")]) == 0
    said = capfd.readouterr().out
    design = Design.load("quick")
    runs = design.runs(skip=cannot_run(design))
    assert said.startswith(f"{len(runs)} runs of 1,500 cars, 0 of them done in ")
    assert sum(int(n) for n in re.findall(r": (\d+) runs", said)) == len(runs)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_says_that_the_same_command_goes_on(monkeypatch, capfd, tmp_path, signum, code):
    def stopped(*_a, **_k):
        raise Stopped(signum)

    monkeypatch.setattr(report, "execute", stopped)
    assert main(["estimate", "--quick", "--out", str(tmp_path)]) == code
    said = capfd.readouterr()
    assert said.err.splitlines() == [f"twin: stopped by {signum.name}; the same command goes on"]
    assert said.out == ""


def test_the_design_covers_the_year():
    for size in ("full", "quick"):
        design = Design.load(size)
        runs = design.runs()
        own = [r for r in runs if not r.assumption]
        for market in ("japan", "europe", "us"):
            assert sum(r.weight for r in own if r.market == market) == pytest.approx(1.0, abs=1e-4)
        assert len({r.key for r in runs}) == len(runs)
        # intervals take runs of the answers for independent: no two have the same cars
        assert len({r.scenario.seed for r in own}) == len(own)
        left_out = {r.key for r in design.runs(skip={"kyoto": "no map"})}
        assert left_out < {r.key for r in runs}
        moved = [r for r in runs if r.assumption]
        assert moved
        for r in moved:
            base = design.base_of(r, runs)
            changed = {
                k
                for k, v in r.scenario.model_dump(mode="json").items()
                if v != base.scenario.model_dump(mode="json")[k]
            }
            assert len(changed) == 1, (r.assumption, changed)
        assert not [r for r in design.runs(skip={"kyoto": "no map"}) if r.city == "kyoto"]


def test_types():
    kinds = np.array(["bev", "bev", "e-power", "combustion"])
    assert type_of(kinds, np.array([24.0, 40.0, 1.5, 0.0])).tolist() == [0, 1, 2, 3]
