"""What the pictures show, and that they can be read."""

from __future__ import annotations

import dataclasses
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axis import Tick, XTick
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from maps.toy import toy_city
from tests.viz_fixture import write_results, write_table
from viz import charts, series, style
from viz.domains import BANDS
from viz.folder import Folder
from viz.map import CLASS_COLOUR, draw_load, draw_map, map_figure
from viz.overview import draw_overview, overview_figure
from viz.streets import Origin, Streets, streets_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("run"), blocks=8)


def boxes(figure: Any) -> list[tuple[str, np.ndarray]]:
    """Text and corners (x0, y0, x1, y1) in pixels of everything that is written on a figure."""
    figure.draw_without_rendering()
    undrawn = set()  # Matplotlib keeps labels of ticks outside the view
    for tick in figure.findobj(Tick):
        low, high = sorted(tick.axes.get_xlim() if isinstance(tick, XTick) else tick.axes.get_ylim())
        if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
            undrawn |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in undrawn]
    return [(t.get_text(), t.get_window_extent().extents) for t in texts]


def overlaps(found: list[tuple[str, np.ndarray]]) -> list[tuple[str, str]]:
    return [
        (a, b)
        for (a, p), (b, q) in itertools.combinations(found, 2)
        if min(p[2], q[2]) - max(p[0], q[0]) > 1 and min(p[3], q[3]) - max(p[1], q[1]) > 1
    ]


CASES: dict[str, dict[str, Any]] = {
    "a day": {},
    "nothing happens": {"motorway": False, "connected": False, "charging": False},
    "a week": {"hours": 168, "name": "a-name-of-forty-eight-letters-which-is-the-most"},
    "half an hour": {"hours": 1},
    "a name of signs": {"name": "京都 $x$ \\frac <b> {}"},
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_written_overlaps_or_leaves_the_picture(case: str, tmp_path: Path) -> None:
    run = Folder.open(write_results(tmp_path, blocks=5, **CASES[case]))
    with style.house_style():
        figure = overview_figure(run)
        found = boxes(figure)
        width, height = figure.canvas.get_width_height()
    assert len(found) > 40
    assert overlaps(found) == []
    assert [t for t, b in found if b[0] < 0 or b[1] < 0 or b[2] > width or b[3] > height] == []


def test_the_overlap_check_sees_an_overlap() -> None:
    with style.house_style():
        figure = style.new_figure(4, 3)
        figure.text(0.5, 0.5, "one")
        figure.text(0.51, 0.51, "two")
        assert overlaps(boxes(figure)) == [("one", "two")]


def test_many_services_are_told_apart_and_fit(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1)
    names = [f"service {k}" for k in range(9)]
    n = {"time_s": [0] * 9, "cell_id": [0] * 9, "service": names, "generated_bytes": [900 * (9 - k) for k in range(9)]}
    rest = dict.fromkeys(("buffered_bytes", "dropped_bytes", "resent_bytes", "messages"), [0] * 9)
    write_table(tmp_path, "cloud", **n, delivered_bytes=n["generated_bytes"], **rest)
    with style.house_style():
        figure = style.new_figure(4.7, 2.8)
        ax = figure.subplots()
        charts.draw_cloud(ax, Folder.open(tmp_path))
        found = boxes(figure)
        shown = [t.get_text() for t in ax.get_legend().get_texts()]
    assert shown == [*names[:5], "4 others", "generated"]
    assert overlaps(found) == []
    assert all(b[0] >= 0 and b[2] <= 4.7 * figure.dpi for _, b in found)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (charts.draw_grid_load, "no car charged in this run"),
        (charts.draw_cloud, "no connected car sent data in this run"),
        (charts.draw_backlog, "no connected car sent data in this run"),
    ],
)
def test_an_empty_chart_says_why(draw: charts.Chart, words: str, folder: Path, tmp_path: Path) -> None:
    empty = Folder.open(write_results(tmp_path, blocks=1, connected=False, charging=False))
    with style.house_style():
        for run, said in ((empty, True), (Folder.open(folder), False)):
            figure = style.new_figure(5, 3)
            draw(figure.subplots(), run)
            assert (words in [t for t, _ in boxes(figure)]) is said


@pytest.mark.parametrize(
    "draw", [charts.draw_grid_load, charts.draw_engagement_by_hour, charts.draw_cloud, charts.draw_backlog]
)
def test_axes_carry_units(draw: charts.Chart, folder: Path) -> None:
    with style.house_style():
        ax = style.new_figure(5, 3).subplots()
        draw(ax, Folder.open(folder))
    assert ax.get_ylabel().split(", ")[-1] in {"kW", "%", "kB/s", "MB", "kB"}
    assert ax.get_xlabel() == "local time, Europe/Helsinki"


def test_the_marked_peak_is_that_of_the_summary(folder: Path) -> None:
    run = Folder.open(folder)
    with style.house_style():
        ax = style.new_figure(5, 3).subplots()
        charts.draw_grid_load(ax, run)
    at_s, peak_kw = run.summary["grid"]["peak_time_s"], run.summary["grid"]["peak_kw"]
    marker = ax.lines[0]
    assert marker.get_ydata()[0] == pytest.approx(peak_kw)
    assert marker.get_xdata()[0] * 3600 == pytest.approx(at_s + 450)
    assert ax.texts[0].get_text() == f"peak {peak_kw:.1f} kW, {charts.clock(run.start, at_s)}"


def test_ticks_are_civil_times_when_the_run_starts_at_an_odd_hour(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"start": "2022-10-12T05:30:00"}))
    with style.house_style():
        ax = style.new_figure(5, 3).subplots()
        charts.draw_grid_load(ax, Folder.open(tmp_path))
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert labels[0] == "06:00"
    assert ax.get_xticks()[0] == 0.5
    assert all(label.endswith(":00") for label in labels)


def test_the_map_is_cropped_to_the_extract_and_true_to_scale(folder: Path) -> None:
    streets, _ = streets_of(Folder.open(folder)) or pytest.fail("no map")
    assert streets.outside.sum() == 2
    west, east, south, north = streets.box()
    assert east - west == pytest.approx(8 * 120, rel=0.02)  # its streets are bent by up to 9 m
    assert north - south == pytest.approx(8 * 120, rel=0.02)
    assert np.ptp(streets.x) > 19_000  # the road outside is in the data, not in the picture
    np.testing.assert_allclose(Origin(24.0, 60.0).metres(np.array([[25.0, 61.0]])), [[111_320 / 2, 111_320]])


def test_paths_hold_the_links_whole_and_in_order() -> None:
    n = 1203
    streets = Streets(
        np.arange(n), np.arange(3.0 * n), np.zeros(3 * n), 3 * np.arange(n + 1), np.zeros(n, int), np.zeros(n, bool)
    )
    rows = np.random.default_rng(1).permutation(n)[:1100]
    paths = streets.paths(rows)
    assert len(paths) == 3
    points = np.concatenate([p.vertices[:, 0] for p in paths])
    np.testing.assert_array_equal(points, (3 * rows[:, None] + np.arange(3)).ravel())
    assert all((np.flatnonzero(p.codes == p.MOVETO) == np.arange(0, len(p.codes), 3)).all() for p in paths)


def test_every_used_link_of_the_extract_is_drawn_once_and_busier_is_wider_and_darker(folder: Path) -> None:
    run = Folder.open(folder)
    with style.house_style():
        ax = style.new_figure(6, 6).subplots()
        draw_load(ax, run)
    loads = [c for c in ax.collections if isinstance(c, PathCollection) and c.get_zorder() == 3]
    drawn = sum(int((p.codes == p.MOVETO).sum()) for c in loads for p in c.get_paths())
    ids, vehicles = series.link_vehicles(run)
    assert drawn == int((vehicles[ids < ids.max() - 1] > 0).sum())  # the last two links are outside
    widths = [float(c.get_linewidth()[0]) for c in loads]
    light = [float(np.dot(c.get_edgecolor()[0][:3], (0.2126, 0.7152, 0.0722))) for c in loads]
    assert widths == sorted(widths)
    assert light == sorted(light, reverse=True)
    assert len(loads) > 3


def test_sites_are_sized_by_energy(folder: Path) -> None:
    run = Folder.open(folder)
    with style.house_style():
        ax = style.new_figure(6, 6).subplots()
        draw_load(ax, run)
    sites = next(c for c in ax.collections if c.get_zorder() == 5)
    energy = series.site_energy(run).energy_kwh
    np.testing.assert_allclose(sites.get_sizes() / sites.get_sizes()[0], energy / energy[0])


def test_a_site_without_energy_is_not_drawn(tmp_path: Path) -> None:
    write_results(tmp_path, blocks=4)
    one = {"time_s": [0.0], "site_id": [3], "feeder_id": [0], "kind": ["home"], "power_kw": [4.0]}
    write_table(tmp_path, "grid_load", **one)
    with style.house_style():
        ax = style.new_figure(6, 6).subplots()
        draw_load(ax, Folder.open(tmp_path))
    assert [len(c.get_offsets()) for c in ax.collections if c.get_zorder() == 5] == [1]


def test_draw_map_writes_a_picture_of_a_map_file(tmp_path: Path) -> None:
    city = toy_city(5)
    path = draw_map(city, tmp_path / "toy.png")
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert min(width, height) > 900
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy.png"]
    streets = Streets.of_city(city)
    np.testing.assert_array_equal(streets.ptr, city.network.geom_ptr)
    assert streets.box()[1] - streets.box()[0] <= np.ptp(city.network.geom_x)


@pytest.mark.parametrize("stretch", [(1.0, 1.0), (0.25, 1.0), (1.0, 0.2)])
def test_nothing_written_on_a_map_overlaps_or_is_cut_off(stretch: tuple[float, float]) -> None:
    city = toy_city(6)
    x, y = stretch
    net = dataclasses.replace(
        city.network,
        node_x=city.network.node_x * x, node_y=city.network.node_y * y,
        geom_x=city.network.geom_x * x, geom_y=city.network.geom_y * y,
    )  # fmt: skip
    credit = "© OpenStreetMap contributors, data available under the Open Database License (ODbL) 1.0"
    city = dataclasses.replace(
        city, network=net, charger_x=city.charger_x * x, charger_y=city.charger_y * y,
        meta={**city.meta, "attribution": credit},
    )  # fmt: skip
    with style.house_style():
        figure = map_figure(city)
        found = boxes(figure)
        width, height = figure.canvas.get_width_height()
    assert overlaps(found) == []
    assert [t for t, b in found if b[0] < 0 or b[1] < 0 or b[2] > width or b[3] > height] == []
    words = [t.replace("\n", " ") for t, _ in found]
    assert credit in words
    assert f"gate to roads outside ({len(city.gate_node)})" in words
    keys = figure.legends[0].get_lines()
    assert {line.get_color() for line in keys} <= {*CLASS_COLOUR.values(), "#bdbdbd", *(band[2] for band in BANDS)}
    assert len(keys) >= 1


def test_equal_runs_give_equal_pictures_and_the_users_settings_stay(folder: Path, tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 23, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        first = draw_overview(Folder.open(folder), tmp_path / "a.png").read_bytes()
        assert dict(mpl.rcParams) == before
    assert draw_overview(Folder.open(folder), tmp_path / "b.png").read_bytes() == first


def test_a_damaged_geometry_is_one_line(folder: Path, tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1)
    write_table(tmp_path, "map", link_id=[0], geometry=pa.array([b"no WKB"], pa.binary()))
    with pytest.raises(ValueError, match=r"map\.parquet: geometry is not WKB") as caught:
        streets_of(Folder.open(tmp_path))
    assert "\n" not in str(caught.value)


# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB
CVD = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "normal": np.eye(3).tolist(),
}


def lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1, 1.089] + 1e-6)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", CVD)
def test_kinds_of_sites_are_told_apart_with_any_colour_vision(vision: str) -> None:
    for a, b in itertools.combinations(style.SITE_COLOURS.values(), 2):
        assert np.linalg.norm(lab(a, CVD[vision]) - lab(b, CVD[vision])) > 40, (a, b)
    if vision != "normal":  # the check can fail: red and green do
        assert np.linalg.norm(lab("#b04040", CVD["deutan"]) - lab("#707000", CVD["deutan"])) < 20
