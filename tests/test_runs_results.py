"""Results folders: whole or not at all, older ones safe, damage found, schemas explicit."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from runs.columns import NotFiniteError, schema_of, table_digest, to_arrow
from runs.folder import DiskError, ResultsFolder
from runs.geometry import cells, sites, streets
from runs.results import ResultsError, RunResult
from tests.runs_fake import city
from twin.events import Column, Table

COLUMNS = {
    "car_id": Column("i4", "", "row of the car"),
    "km": Column("f8", "km", "driven"),
    "on": Column("bool", "", "connected"),
    "model": Column("str", "", "name"),
}


def a_table(km: list[float], **more: Any) -> Table:
    table = Table("cars", COLUMNS)
    if km:
        table.append(
            car_id=np.arange(len(km)),
            km=km,
            on=[i % 2 == 0 for i in range(len(km))],
            model=["Note é"] * len(km),
            **more,
        )
    return table


def finished(path: Path, km: list[float], *, status: str = "done", seed: int = 1) -> Path:
    with ResultsFolder(path, {"seed": seed}) as folder:
        folder.write_table("cars", to_arrow(a_table(km)))
        folder.write_json("summary.json", {"fleet": {"cars": len(km), "trips": 0}})
        return folder.publish({"status": status})


def inside(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_schema_has_units_and_does_not_depend_on_the_rows() -> None:
    empty, null, full = (to_arrow(a_table(km)).schema for km in ([], [float("nan")], [1.0]))
    assert empty.equals(null, check_metadata=True)
    assert empty.equals(full, check_metadata=True)
    assert full.equals(schema_of("cars", COLUMNS), check_metadata=True)
    assert full.field("km").metadata == {b"unit": b"km", b"doc": b"driven"}
    assert full.field("on").type == pa.bool_()


def test_no_nan_and_no_infinity_is_written() -> None:
    table = to_arrow(a_table([1.0, float("nan"), 3.0]))
    assert table["km"].to_pylist() == [1.0, None, 3.0]
    with pytest.raises(NotFiniteError, match=r"cars\.km of row 1 is infinite"):
        to_arrow(a_table([1.0, -float("inf")]))


def test_digest_sees_every_change_of_content_and_no_change_of_layout(tmp_path: Path) -> None:
    base = to_arrow(a_table([1.0, 2.0, float("nan"), 0.0]))
    digest = table_digest(base)
    pq.write_table(base, tmp_path / "a.parquet", row_group_size=1, use_dictionary=["model"])
    assert table_digest(pq.read_table(tmp_path / "a.parquet")) == digest
    assert table_digest(pa.concat_tables([base.slice(0, 1), base.slice(1)])) == digest
    others = [
        base.slice(0, 3),
        base.slice(0, 3).append_column("x", pa.array([1, 2, 3])),
        base.take([1, 0, 2, 3]),
        base.rename_columns(["car_id", "km2", "on", "model"]),
        base.set_column(1, "km", pa.array([1.0, 2.0, 0.0, None])),
        base.set_column(1, "km", pa.array([1.0, np.nextafter(2.0, 3.0), None, 0.0])),
        base.set_column(1, "km", pa.array([1.0, 2.0, None, 0.0], pa.float32())),
        base.set_column(3, "model", pa.array(["Note é", "Note é", "Note éN", "ote é"])),
        base.set_column(2, "on", pa.array([True, False, True, True])),
    ]
    assert len({digest, *map(table_digest, others)}) == 1 + len(others)


def test_a_folder_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "results" / "demo"
    with ResultsFolder(target, {"seed": 3}) as folder:
        during = json.loads((folder.part / "manifest.json").read_text("utf-8"))
        assert (during["status"], during["seed"]) == ("running", 3)
        folder.write_table("cars", to_arrow(a_table([1.0, float("nan")])))
        folder.write_json("summary.json", {"n": np.int64(3), "a": np.arange(2)})
        assert not target.exists()
        assert folder.publish({"status": "done"}) == target
    result = RunResult(target)
    assert (result.status, result.manifest["seed"]) == ("done", 3)
    assert result.manifest["files"]["cars.parquet"]["rows"] == 2
    assert result.manifest["files"]["cars.parquet"]["nulls"] == {"km": 1}
    assert result.summary == {"n": 3, "a": [0, 1]}
    assert result.verify() == []
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "cars.parquet",
        "demo",
        "manifest.json",
        "results",
        "summary.json",
    ]


def test_writing_twice_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = finished(tmp_path / "a", [1.0, 2.0]), finished(tmp_path / "b", [1.0, 2.0])
    assert inside(one) == inside(two)


def test_discarding_leaves_nothing_not_even_parents_it_made(tmp_path: Path) -> None:
    def fail() -> None:
        with ResultsFolder(tmp_path / "results" / "x" / "demo", {}) as folder:
            folder.write_json("summary.json", {})
            raise KeyError("model")

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_finished_results_are_replaced_by_finished_ones_only(tmp_path: Path) -> None:
    target = finished(tmp_path / "demo", [1.0])
    before = inside(target)
    beside = finished(target, [1.0, 2.0], status="stopped")
    assert beside == tmp_path / "demo.stopped"
    assert inside(target) == before
    assert finished(target, [1.0, 2.0, 3.0]) == target
    assert RunResult(target).table("cars").num_rows == 3
    # an unfinished one makes way for any
    assert finished(beside, [5.0], status="stopped") == beside
    assert finished(beside, [6.0]) == beside
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo", "demo.stopped"]


def test_notes_of_a_person_survive_and_old_pictures_do_not(tmp_path: Path) -> None:
    target = finished(tmp_path / "demo", [1.0])
    (target / "notes.md").write_text("mine", "utf-8")
    (target / "overview.png").write_bytes(b"old")
    finished(target, [2.0])
    assert (target / "notes.md").read_text("utf-8") == "mine"
    assert not (target / "overview.png").exists()


def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("x", "utf-8")
    (foreign / "manifest.json").write_text("{}", "utf-8")
    file = tmp_path / "file"
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(finished(tmp_path / "real", [1.0]))
    before = inside(tmp_path)
    for target in (foreign, file, link):
        with pytest.raises(ResultsError):
            ResultsFolder(target, {})
    assert inside(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert finished(tmp_path / "empty", [1.0]).is_dir()


def test_two_runs_into_one_folder_at_once(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "demo", {}) as first:
        with pytest.raises(ResultsError, match="another run is writing there"):
            ResultsFolder(tmp_path / "demo", {})
        first.write_json("summary.json", {})
        first.publish({"status": "done"})
    finished(tmp_path / "demo", [1.0])


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    part = tmp_path / ".demo.part"
    part.mkdir()
    (part / ".cars.parquet.part").write_bytes(b"half")
    (part / "trips.parquet").write_bytes(b"old")
    finished(tmp_path / "demo", [1.0])
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["cars.parquet", "demo", "manifest.json", "summary.json"]
    # killed between the two renames: the older result comes back
    (tmp_path / "demo").rename(tmp_path / ".demo.old")
    with ResultsFolder(tmp_path / "demo", {}):
        pass
    assert RunResult(tmp_path / "demo").table("cars").num_rows == 1


def test_every_point_where_the_disk_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th fsync or rename fails, n = 1, 2, 3 … until a run passes: one line, older results as they were."""
    target = finished(tmp_path / "demo", [1.0])
    before = inside(tmp_path)
    said: list[str] = []
    for n in range(1, 200):
        left = [n]

        def failing(real: Any, left: list[int] = left) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(Path, "rename", failing(Path.rename))
            patch.setattr(Path, "replace", failing(Path.replace))
            try:
                finished(target, [1.0, 2.0])
            except DiskError as error:
                said.append(str(error))
            else:
                break
        rows = RunResult(target).table("cars").num_rows
        if rows == 1:
            assert inside(tmp_path) == before
        else:  # only making the last rename durable failed: the new result is whole
            assert rows == 2
            assert RunResult(target).verify() == []
            finished(target, [1.0])
    assert len(said) >= 8
    assert all(line.isprintable() and "free some space" in line and str(target) in line for line in said)
    assert RunResult(target).table("cars").num_rows == 2
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError) as caught:
        ResultsFolder(tmp_path / "file" / "demo", {})
    assert "cannot be written" in str(caught.value)
    assert "--out" in str(caught.value)


def test_damage_is_refused(tmp_path: Path) -> None:
    target = finished(tmp_path / "demo", list(np.random.default_rng(1).random(3000)))
    path = target / "cars.parquet"
    good = path.read_bytes()
    truth = table_digest(RunResult(target).table("cars"))
    rng = np.random.default_rng(2)
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        result = RunResult(target)
        assert result.verify() == ["cars.parquet"]
        try:  # page checksums: a flip in the data is never read as other data
            table = result.table("cars", ["car_id", "km", "on"])
        except ResultsError:
            continue
        assert table["km"].equals(pq.read_table(pa.BufferReader(good))["km"])
    path.write_bytes(good)
    assert table_digest(RunResult(target).table("cars")) == truth


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "no such folder"),
        ("empty", "not a results folder"),
        ('{"program": "other"}', "not a results folder of"),
        ('{"program": "fleet-twin", "format": 99}', "format 99"),
        ('{"program": "fleet-twin", "format": 1, "status": "running"}', "has not ended"),
        ("[1]", "no JSON object"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_opening_what_is_no_result(tmp_path: Path, change: str | None, says: str) -> None:
    folder = tmp_path / "demo"
    if change is not None:
        folder.mkdir()
    if change not in {None, "empty"}:
        (folder / "manifest.json").write_text(str(change), "utf-8")
    with pytest.raises(ResultsError) as caught:
        RunResult(folder)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_geometry_lies_where_the_streets_are() -> None:
    toy = city()
    table = streets(toy)
    geo = json.loads(table.schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"], geo["columns"]["geometry"]["encoding"]) == (
        "1.1.0",
        "geometry",
        "WKB",
    )
    lines = shapely.from_wkb(table["geometry"].to_pylist())
    net = toy.network
    assert table.num_rows == net.n_links
    for end, node in ((0, net.link_from), (-1, net.link_to)):
        points = shapely.get_point(lines, end)
        error_deg = np.hypot(shapely.get_x(points) - net.node_lon[node], shapely.get_y(points) - net.node_lat[node])
        assert error_deg.max() < 1e-5  # a metre
    box = geo["columns"]["geometry"]["bbox"]
    assert box == pytest.approx(shapely.total_bounds(lines))
    assert table["class"][0].as_py() in {"residential", "primary", "secondary", "motorway"}
    assert cells(toy).num_rows == len(toy.cell_x)
    none: dict[str, list[Any]] = {k: [] for k in ("site_id", "kind", "name", "x", "y", "feeder_id", "sockets", "kw")}
    assert sites(toy, none).num_rows == 0
    assert sites(toy, none).schema.field("kind").type == pa.string()


def test_geometry_opens_in_geopandas(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    pq.write_table(streets(city()), tmp_path / "map.parquet")
    frame = geopandas.read_parquet(tmp_path / "map.parquet")
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_authority() == ("OGC", "CRS84")
    assert set(frame.geom_type) == {"LineString"}
