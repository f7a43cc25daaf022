"""Real LEAF trips (Vehicle Energy Dataset): measured battery energy against both modes.

Nothing was fitted to the energy of these trips, see `facts/energy.toml`; the winter load was
read off standing seconds, the link profile was fitted to speeds, these among others.
"""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from runs.trip_data import TripDataError, read_trips
from tests.energy_cases import MODELS, data_folder
from twin.energy.powertrain import on_the_road
from twin.energy.real_trips import (
    MODEL,
    bias,
    cold_ratio,
    links_j,
    predict,
    weighted_error,
)

MEASURED_COLD_RATIO = 1.77
"""Wh/km below 0 over 10 to 20 degrees (data/README.md, suggested check 3)."""


@pytest.fixture(scope="module")
def found():
    return predict(read_trips(data_folder()), MODELS)


def halves(found):
    """Every second week of each car, and the others."""
    chosen = np.zeros(len(found.week), bool)
    for car in np.unique(found.vehicle):
        weeks = np.unique(found.week[found.vehicle == car])
        chosen |= (found.vehicle == car) & np.isin(found.week, weeks[::2])
    return chosen, ~chosen


@pytest.mark.data
def test_trace_mode(found):
    """A constant per km has 0.26."""
    assert len(found.km) == 192
    assert weighted_error(found.trace_wh, found.measured_wh) <= 0.16
    assert abs(bias(found.trace_wh, found.measured_wh)) <= 0.03
    assert cold_ratio(found.trace_wh, found.km, found.outside_c) == pytest.approx(MEASURED_COLD_RATIO, rel=0.1)


@pytest.mark.data
def test_link_mode_from_mean_speeds(found):
    assert weighted_error(found.link_wh, found.measured_wh) <= 0.22
    assert abs(bias(found.link_wh, found.measured_wh)) <= 0.03
    assert cold_ratio(found.link_wh, found.km, found.outside_c) == pytest.approx(MEASURED_COLD_RATIO, rel=0.1)


@pytest.mark.data
def test_each_half_of_the_weeks_holds_by_itself(found):
    for half in halves(found):
        assert 90 < half.sum() < 100
        assert weighted_error(found.trace_wh[half], found.measured_wh[half]) <= 0.16
        assert weighted_error(found.link_wh[half], found.measured_wh[half]) <= 0.22
        assert abs(bias(found.trace_wh[half], found.measured_wh[half])) <= 0.03
        assert abs(bias(found.link_wh[half], found.measured_wh[half])) <= 0.04


def write(folder, *, trips=((10, 7, 1),), part="a", speed=36.0):
    """A folder in the data's layout with one steady trip of 100 s per row (vehicle, trip, quality)."""
    seconds = np.arange(0, 101.0)
    n = len(seconds)
    rows = {
        "veh_id": np.concatenate([np.full(n, float(v)) for v, _, _ in trips]),
        "trip": np.concatenate([np.full(n, float(t)) for _, t, _ in trips]),
        "t_ms": np.tile(seconds[::-1] * 1000, len(trips)),  # in no order
        "speed_kmh": np.full(n * len(trips), speed),
    }
    (folder / "energy").mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pa.table(rows), folder / "energy" / f"ved_leaf2013_signals_{part}.parquet")
    lines = ["veh_id,trip,week,distance_km,oat_mean_c,hvac_kwh,battery_net_kwh,quality_ok"]
    lines += [f"{v},{t},171101,1.0,20,0.05,0.2,{quality}" for v, t, quality in trips]
    (folder / "energy" / f"ved_leaf2013_trips_{part}.csv").write_text("\n".join(lines))


def test_any_folder_of_the_layout_is_read(tmp_path):
    write(tmp_path, trips=((10, 7, 1), (10, 8, 0)))
    write(tmp_path, trips=((455, 7, 1),), part="b", speed=72.0)
    trips = read_trips(tmp_path)
    assert [(t.vehicle, t.trip) for t in trips] == [(10, 7), (455, 7)]
    assert trips[1].speed_mps == pytest.approx(np.full(101, 20.0))
    assert read_trips(tmp_path / "energy")[0].battery_wh == 200.0
    found = predict(trips, MODELS)
    p = on_the_road(MODELS)[MODELS.row(MODEL)]
    road_load = p[3] + p[4] * 20 + p[5] * 400
    assert found.trace_wh[1] == pytest.approx(50 + (road_load * 2000 / 0.94 + 400 * 100) / 3600)
    assert found.link_wh[1] == pytest.approx(50 + links_j(p, np.full(101, 20.0)) / 3600)
    assert weighted_error(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0.5
    assert bias(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0.0


def test_a_folder_without_them_is_refused(tmp_path):
    with pytest.raises(TripDataError, match="has no file ved_leaf2013_signals"):
        read_trips(tmp_path)
    write(tmp_path, trips=((10, 7, 1),))
    (tmp_path / "energy" / "ved_leaf2013_trips_b.csv").write_text(
        "veh_id,trip,week,distance_km,oat_mean_c,hvac_kwh,battery_net_kwh,quality_ok\n10,99,1,1,1,1,1,1"
    )
    with pytest.raises(TripDataError, match="vehicle 10, trip 99 has no signals"):
        read_trips(tmp_path)
    (tmp_path / "energy" / "ved_leaf2013_trips_b.csv").write_text("veh_id,trip\n10,7")
    with pytest.raises(TripDataError, match="quality_ok"):
        read_trips(tmp_path)
