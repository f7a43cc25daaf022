"""The numbers behind the charts are those of the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maps.network import ROAD_CLASSES
from tests.viz_fixture import write_results, write_table
from viz import series
from viz.checks import cross_checks
from viz.folder import Folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder.open(write_results(tmp_path_factory.mktemp("run"), blocks=6))


def with_grid(folder: Path, rows: list[tuple[int, int, str, float]], *, hours: int = 24) -> Folder:
    """A run whose grid_load has exactly these rows: interval, site, kind, kW; feeder = site // 2."""
    write_results(folder, blocks=1, hours=hours)
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    write_table(
        folder,
        "grid_load",
        time_s=pa.array([float(i * 900) for i in columns[0]], pa.float64()),
        site_id=pa.array(columns[1], pa.int32()),
        feeder_id=pa.array([s // 2 for s in columns[1]], pa.int32()),
        kind=pa.array(columns[2], pa.string()),
        power_kw=pa.array(columns[3], pa.float64()),
    )
    return Folder.open(folder)


def test_missing_intervals_are_zero_and_kinds_keep_their_order(tmp_path: Path) -> None:
    run = with_grid(tmp_path, [(5, 1, "public", 22.0), (5, 0, "home", 3.0), (90, 0, "home", 6.0)])
    load = series.grid_load(run)
    assert load.names == ("home", "public")
    assert load.edges_s[0] == 0
    assert load.edges_s[-1] == 86_400
    expected = np.zeros((2, 96))
    expected[0, 5], expected[0, 90], expected[1, 5] = 3.0, 6.0, 22.0
    np.testing.assert_array_equal(load.values, expected)


def test_feeder_peak_is_of_simultaneous_power_not_the_sum_of_site_peaks(tmp_path: Path) -> None:
    run = with_grid(tmp_path, [(0, 0, "home", 5.0), (1, 1, "home", 4.0), (1, 0, "home", 2.0), (3, 2, "fast", 50.0)])
    feeders = series.feeder_energy(run)
    assert feeders.site_id.tolist() == [1, 0]
    assert feeders.peak_kw.tolist() == [50.0, 6.0]
    assert feeders.energy_kwh.tolist() == [12.5, 2.75]
    assert series.site_energy(run).peak_kw.tolist() == [50.0, 5.0, 4.0]


rows = st.lists(
    st.tuples(st.integers(0, 95), st.integers(0, 7), st.sampled_from(["home", "work", "fast", "?"]), st.floats(0, 1e4)),
    max_size=30,
    unique_by=lambda r: r[:2],
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows)
def test_no_row_is_lost_or_counted_twice(tmp_path: Path, rows: list[tuple[int, int, str, float]]) -> None:
    run = with_grid(tmp_path, rows)
    load = series.grid_load(run)
    for interval, kind in {(i, k) for i, _, k, _ in rows}:
        expected = sum(p for i, _, k, p in rows if (i, k) == (interval, kind))
        assert load.values[load.names.index(kind), interval] == pytest.approx(expected)
    assert load.total.sum() == pytest.approx(sum(p for *_, p in rows))
    assert series.site_energy(run).energy_kwh.sum() == pytest.approx(sum(p for *_, p in rows) / 4)
    assert series.feeder_energy(run).energy_kwh.sum() == pytest.approx(sum(p for *_, p in rows) / 4)


def test_series_add_up_to_the_summary(run: Folder) -> None:
    load, day, said = series.grid_load(run), series.cloud_day(run), run.summary
    assert load.total.max() == pytest.approx(said["grid"]["peak_kw"], rel=1e-12)
    assert load.edges_s[np.argmax(load.total)] == said["grid"]["peak_time_s"]
    assert load.total.sum() / 4 == pytest.approx(said["grid"]["energy_kwh"], rel=1e-12)
    assert day.generated.sum() == said["cloud"]["generated_bytes"]
    assert day.delivered.values.sum() == said["cloud"]["delivered_bytes"]
    assert day.dropped.sum() == said["cloud"]["dropped_bytes"]
    assert day.buffered[-1] == said["cloud"]["buffered_bytes"]
    assert day.buffered.max() > 0  # the outage of the made-up run is there
    for found in (series.engagement_by_road(run), series.engagement_by_class(run), series.engagement_by_hour(run)):
        assert found.engaged_km.sum() == pytest.approx(said["autonomy"]["engaged_km"], rel=1e-12)
        assert found.km.sum() == pytest.approx(said["fleet"]["driving_km"], rel=1e-12)
    shares = dict(
        zip(series.engagement_by_class(run).keys, series.engagement_by_class(run).share.tolist(), strict=True)
    )
    assert shares == pytest.approx(said["autonomy"]["by_road_class"])


def test_every_road_class_has_a_row_in_the_chart() -> None:
    assert {series.road_group(c) for c in ROAD_CLASSES} == set(series.ROAD_GROUPS)
    assert {c for c in ROAD_CLASSES if series.road_group(c) == "ramps"} == {
        c for c in ROAD_CLASSES if c.endswith("_link")
    }
    assert series.road_group("unheard_of") == "local streets"


@pytest.mark.parametrize("scale", [1, 10**9])  # row numbers, and ids far apart
def test_vehicles_per_link(tmp_path: Path, scale: int) -> None:
    write_results(tmp_path, blocks=1)
    link, count = [7, 2, 7, 0, 7], [1, 5, 2, 0, 4]
    write_table(tmp_path, "links", link_id=[k * scale for k in link], vehicles=count)
    ids, vehicles = series.link_vehicles(Folder.open(tmp_path))
    assert dict(zip(ids.tolist(), vehicles.tolist(), strict=True)) == {0: 0, 2 * scale: 5, 7 * scale: 7}


def test_a_run_without_the_table_has_an_empty_series(tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1, charging=False, connected=False)
    for name in ("grid_load", "cloud", "autonomy", "links"):
        (tmp_path / f"{name}.parquet").unlink()
    run = Folder.open(tmp_path)
    assert series.grid_load(run).total.tolist() == [0.0] * 96
    assert series.cloud_day(run).generated.tolist() == [0.0] * 96
    assert series.engagement_by_hour(run).km.tolist() == [0.0] * 24
    assert series.engagement_by_road(run).keys == ()
    assert len(series.link_vehicles(run)[0]) == 0
    assert cross_checks(run) == []


def test_checks_agree_on_an_honest_run_and_name_the_figure_that_lies(run: Folder, tmp_path: Path) -> None:
    assert len(cross_checks(run)) == 7
    assert all(c.agrees for c in cross_checks(run))
    write_results(tmp_path, blocks=6)
    summary = json.loads((tmp_path / "summary.json").read_text())
    summary["grid"]["energy_kwh"] *= 1.0001
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert [c.key for c in cross_checks(Folder.open(tmp_path)) if not c.agrees] == ["grid.energy_kwh"]


def test_text_columns_come_back_as_written(tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1)
    words = ["b", None, "a", "b"]
    pq.write_table(
        pa.table({"x": pa.array(words), "y": pa.array(words).dictionary_encode()}), tmp_path / "words.parquet"
    )
    found = Folder.open(tmp_path).table("words", ("x", "y"))
    for column in found.values():
        assert [column.labels[c] for c in column.codes] == ["b", "", "a", "b"]
