"""Temperatures of a run: tables, typical years, gaps; and what the cold keeps in the battery."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from runs.scenario import Scenario
from runs.weather import WeatherError, resolved
from tests import energy_cases
from twin.energy.climate import hourly_c, out_of_reach, typical_year_c
from twin.settings import ClimateSettings

START = datetime(2022, 1, 30, 22, 30)


def table(folder, hours, values=None):
    path = folder / "t.csv"
    values = [float(k) for k in range(len(hours))] if values is None else values
    path.write_text(
        "time,temperature_c\n" + "".join(f"{at.isoformat()},{v}\n" for at, v in zip(hours, values, strict=True))
    )
    return str(path)


def test_a_table_is_read_by_the_hour_over_midnight(tmp_path):
    hours = [datetime(2022, 1, 30, 22) + timedelta(hours=k) for k in range(6)]
    climate = resolved(ClimateSettings(table=table(tmp_path, hours)), market="japan", start=START, until_s=5 * 3600)
    series = hourly_c(climate)
    assert len(series) == 48 and series[22:28].tolist() == [0, 1, 2, 3, 4, 5]


def test_gaps_inside_the_run_are_refused(tmp_path):
    hours = [datetime(2022, 1, 30, 22) + timedelta(hours=k) for k in (0, 1, 3, 5)]
    with pytest.raises(WeatherError, match=r"no temperature for 2022-01-31 00:00:00 and 1 more; every hour"):
        resolved(ClimateSettings(table=table(tmp_path, hours)), market="us", start=START, until_s=5 * 3600)
    with pytest.raises(WeatherError, match="exclude each other"):
        resolved(ClimateSettings(table="a", year="typical"), market="us", start=START, until_s=60)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,temperature_c\nsoon,3\n", "row 1: time is 'soon'; valid is local time"),
        ("time,temperature_c\n2022-01-30T22:00,warm\n", "row 1: temperature_c is 'warm'"),
        ("time,temperature_c\n2022-01-30T22:00,99\n", "row 1: temperature_c is '99'; valid are -50 to 60"),
        (
            "time,temperature_c\n2022-01-30T22:00,1\n2022-01-30T22:10,1\n",
            "row 2: the hour 2022-01-30 22:00:00 is there twice",
        ),
        ("time,c\n1,2\n", "valid: time, temperature_c"),
    ],
)
def test_wrong_tables_are_refused_in_one_line(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(WeatherError, match=says):
        resolved(ClimateSettings(table=str(path)), market="us", start=START, until_s=60)


def test_the_typical_year_has_its_months_means_and_its_afternoons():
    for market, month, mean in (("japan", 8, 26.9), ("europe", 1, 0.9), ("us", 1, -3.6)):
        day = typical_year_c(market, np.full(24, month), np.arange(24))
        assert day.mean() == pytest.approx(mean) and day.argmax() == 15
    climate = resolved(ClimateSettings(year="typical"), market="us", start=START, until_s=36 * 3600)
    series = hourly_c(climate)
    assert (
        len(series) == 72 and series[24:48].mean() == pytest.approx(-3.6) and series[48:].mean() == pytest.approx(-2.4)
    )


def test_a_car_feels_the_hour_of_a_long_series():
    network, series = energy_cases.road(), [20.0] * 24 + [-20.0] * 24
    fleet = energy_cases.cars("leaf_ze1_40", "leaf_ze1_40")
    engine = energy_cases.drive(fleet, network, celsius=series)
    day = 86_400_000
    rows = energy_cases.passed([(0, 0, 1000, 51_000), (1, 0, day + 1000, day + 51_000)])
    engine.spend(rows)
    assert rows.energy_j[1] > 1.5 * rows.energy_j[0]


def test_the_cold_keeps_energy_in_the_battery_and_warmth_gives_it_back():
    network = energy_cases.road()
    fleet = energy_cases.cars("leaf_ze1_40", soc=0.12)
    full = int(fleet.capacity_j[0])
    cold = energy_cases.drive(fleet, network, celsius=-10.0)
    share = float(out_of_reach(-10.0)[0])
    assert share == pytest.approx(0.11)
    assert cold.usable_j([0])[0] == fleet.battery_j[0] - int(share * full)
    rows = [(0, k % 4, k * 50_000, (k + 1) * 50_000) for k in range(12)]
    empty = cold.spend(energy_cases.passed(rows))
    assert empty.tolist() == [0]
    assert fleet.battery_j[0] == int(share * full)  # not a joule below what is out of reach, none lost
    assert fleet.towed_mm[0] > 0 and not any(cold.ledger().values())
    warm = energy_cases.drive(fleet, network, celsius=20.0)
    assert warm.usable_j([0])[0] == fleet.battery_j[0]
    assert not len(warm.spend(energy_cases.passed([(0, 0, 0, 50_000)])))
    assert fleet.battery_j[0] < int(share * full)


def test_a_battery_colder_than_its_charge_cannot_leave():
    fleet = energy_cases.cars("leaf_ze1_40", soc=0.05)
    cold = energy_cases.drive(fleet, energy_cases.road(), celsius=-20.0)
    before = int(fleet.battery_j[0])
    assert cold.usable_j([0])[0] == 0
    assert cold.spend(energy_cases.passed([(0, 0, 0, 50_000)])).tolist() == [0]
    assert fleet.battery_j[0] == before and fleet.driven_mm[0] == 0 and fleet.towed_mm[0] == 1_000_000


def test_a_scenario_hashes_and_runs_with_a_typical_year():
    base = Scenario(map="helsinki")
    assert base.but(climate__year="typical").hash8 != base.hash8
