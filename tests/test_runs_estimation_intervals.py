"""Intervals of a fleet's estimate where the truth is known: a town all of whose cars are simulated, and many cities."""

from dataclasses import replace

import numpy as np
import pytest

from maps.toy import toy_city
from runs import run
from runs.estimation import answer as a
from runs.estimation.between import ASSUMED_SPREAD, LEAST_FREEDOM, Spread, factors, pooled
from runs.estimation.records import LEVELS, TYPES, Records, records_of
from runs.estimation.scaling import FIGURES, Weights
from runs.scenario import Scenario
from tests.test_runs_estimation import counted, some, truth, world

ANSWERS = ("grid_gwh_per_day", "grid_peak_gw", "autonomy_share", "cloud_pb_per_month")
CARS = 8000
REPLICATIONS = 200


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Every car of a town, driven and charged for a day."""
    town = toy_city(12, length_m=300, homes=1500, rings_km=(2.0, 5.0, 10.0, 20.0, 40.0), country="DE")
    scenario = Scenario(name="whole", map="toy").changed(
        {
            "until": "24h",
            "fleet.cars": CARS,
            "fleet.market": "europe",
            "fleet.bev": 0.45,
            "fleet.epower": 0.2,
            "fleet.propilot": 0.6,
            "fleet.connected": 0.7,
            "traffic.tick_s": 300,
            "demand.other_traffic": 0.0,
        }
    )
    found = run(scenario, out=tmp_path_factory.mktemp("whole") / "run", city=town, checkpoint_s=None)
    assert found.status == "done"
    return records_of(found)


def estimates(part: Records, w: Weights, *, seed: int) -> dict[str, tuple[float, np.ndarray]]:
    """Figures and draws from some of a town's cars; the town is the whole world, so no other city could be."""
    evidence = a.evidence_of([(part, 1.0)], seed=seed, draws=300)
    evidence.spread.update(dict.fromkeys(FIGURES, Spread(0.0, LEAST_FREEDOM, assumed=False)))
    return {name: a._Parts(evidence, name, {}, {"europe": w}, ["europe"]).total(["europe"]) for name in ANSWERS}


def test_a_census_is_the_truth(whole):
    w, true = counted(whole), truth(whole)
    evidence = a.evidence_of([(whole, 1.0)], draws=2)
    for name, value in true.items():
        assert value > 0, name
        assert FIGURES[name][2](evidence.means["europe"], w)[0] == pytest.approx(value, rel=1e-9), name


def test_intervals_from_a_twentieth_of_the_simulated_cars_hold_the_truth(whole):
    """95 % intervals cover in 90 to 99 % of 200 replications, for each of the three answers and the peak."""
    rng = np.random.default_rng(7)
    w, true = counted(whole), truth(whole)
    held = dict.fromkeys(ANSWERS, 0)
    for replication in range(REPLICATIONS):
        part = some(whole, rng.choice(CARS, CARS // 20, replace=False))
        for name, (_, draws) in estimates(part, w, seed=replication).items():
            low, high = np.quantile(draws, [0.025, 0.975])
            held[name] += low <= true[name] <= high
    for name, count in held.items():
        assert 0.90 <= count / REPLICATIONS <= 0.99, (name, count / REPLICATIONS)


def test_half_samples_agree_with_the_whole_one(whole):
    rng = np.random.default_rng(3)
    w, order = counted(whole), rng.permutation(CARS)[:2000]
    full, *halves = (estimates(some(whole, rows), w, seed=5) for rows in (order, order[:1000], order[1000:]))
    for name in ANSWERS:
        both = []
        for half in halves:
            low, high = np.quantile(half[name][1], [0.005, 0.995])
            assert low <= full[name][0] <= high, name
            both.append(high - low)
        # and twice the cars tell more
        assert np.subtract(*np.quantile(full[name][1], [0.995, 0.005])) < 0.9 * np.mean(both), name


def test_intervals_hold_over_cities_of_markets_that_are_unlike():
    """One city of two markets and six of a third, whose market means are 1 to 7.5: intervals hold mean over cities."""
    rng, sd = np.random.default_rng(5), 0.3
    level = {"japan": 0.4, "europe": 1.0, "us": 3.0}
    cities = {"japan": 1, "europe": 6, "us": 1}
    drawn = world(rng, 20_000)
    alike = some(drawn, np.flatnonzero((drawn.type == 1) & (drawn.level == 1) & drawn.connected))
    n = len(alike)
    noise = rng.lognormal(-0.02, 0.2, (n, 1))  # cars differ by a fifth, cities by far more
    alike = replace(
        alike,
        load_kw=alike.load_kw.mean(axis=0) * noise,
        km=np.full(n, 30.0),
        engaged_km=3.0 * noise[:, 0],
        bytes=1e7 * noise[:, 0],
    )
    cell = np.zeros((len(TYPES), len(LEVELS), 2))
    cell[1, 1, 1] = 1e6
    w = {market: Weights(cell * size) for market, size in zip(level, (2.0, 1.0, 0.5), strict=True)}
    cars = {market: w[market].cars.sum() for market in level}
    per_car = {
        "grid_gwh_per_day": float(alike.load_kw.sum(axis=1).mean()) / 1e6,
        "autonomy_share": float(alike.engaged_km.mean()) / 30,
        "cloud_pb_per_month": float(alike.bytes.mean()) * 365 / 12 / 1e15,
    }
    mean_city = np.exp(sd**2 / 2)  # of a lognormal spread with median 1
    held: dict[tuple[str, str], int] = {}
    for replication in range(REPLICATIONS):
        records = []
        for market, count in cities.items():
            for city in range(count):
                r, by = some(alike, rng.choice(n, 60)), level[market] * np.exp(sd * rng.normal())
                moved = {name: getattr(r, name) * by for name in ("load_kw", "engaged_km", "bytes")}
                records.append((replace(r, city=f"{market}{city}", market=market, **moved), 1.0))
        evidence = a.evidence_of(records, seed=replication, draws=200)
        for name, of_car in per_car.items():
            parts = a._Parts(evidence, name, {}, w, list(level))
            true = {m: of_car * level[m] * mean_city * (cars[m] if name != "autonomy_share" else 1.0) for m in level}
            by_cars = np.average(list(true.values()), weights=list(cars.values()))
            true["all"] = float(by_cars) if name == "autonomy_share" else sum(true.values())
            for scope, value in true.items():
                _, draws = parts.total(list(level) if scope == "all" else [scope])
                low, high = np.quantile(draws, [0.025, 0.975])
                assert low > 0
                held[name, scope] = held.get((name, scope), 0) + (low <= value <= high)
    assert len(held) == 12
    for of, count in held.items():
        assert 0.90 <= count / REPLICATIONS <= 0.99, (of, count / REPLICATIONS)


def test_what_sets_markets_apart_is_no_spread_between_cities():
    found = pooled({"japan": [0.0, 0.1, 0.2], "us": [7.0, 7.1, 7.2]})
    assert found.freedom == 4
    assert found.sd == pytest.approx(0.1)
    assert pooled({"japan": [1.0], "europe": [0.0, 0.1], "us": [9.0]}) == (ASSUMED_SPREAD, LEAST_FREEDOM, True)
    far = pooled({"japan": [0.0, 2.0]})
    assert far.sd == pytest.approx(np.sqrt(2.0))
    assert far.assumed
    assert pooled({}).assumed


def test_more_cities_narrow_and_few_widen():
    spread = Spread(0.2, 5, assumed=False)
    found = factors(spread, {"one": [1.0], "four": [0.25] * 4}, seed=3, draws=20_000)
    logs = {name: np.log(values) for name, values in found.items()}
    ends = {name: np.quantile(values, [0.025, 0.5, 0.975]) for name, values in logs.items()}
    # Student's t of 5 degrees of freedom is 2.571 at 97.5 %
    assert ends["one"] == pytest.approx([-0.2 * 2.571, 0.0, 0.2 * 2.571], abs=0.02)
    assert ends["four"] == pytest.approx([-0.1 * 2.571, 0.0, 0.1 * 2.571], abs=0.01)
    assert abs(np.corrcoef(logs["one"], logs["four"])[0, 1]) < 0.05
    # one standard deviation for both: where one market is far off, the other tends to be
    assert np.corrcoef(np.abs(logs["one"]), np.abs(logs["four"]))[0, 1] > 0.1
