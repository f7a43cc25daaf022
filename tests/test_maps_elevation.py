"""Heights from every kind of file, and the rise of links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from maps.elevation import STEEPEST, link_rise, read_elevation
from maps.network import OUTSIDE, MapError
from maps.toy import toy_city
from runs.scenario import Scenario

NET = toy_city(5).network
STREET = ~NET.has(OUTSIDE)


def plane(lon, lat):
    """A tilted plane, metres: linear reading must return it exactly."""
    return 40.0 + 3000.0 * lon + 1000.0 * lat


def ascii_grid(folder: Path, *, values=None, nodata=-9999, step=0.001, corner="xllcorner") -> Path:
    half = step / 2 if corner == "xllcorner" else 0.0
    west, south, many = -0.002, -0.002, 16
    lat = south + step * np.arange(many)[::-1]
    lon = west + step * np.arange(many)
    grid = plane(lon[None, :], lat[:, None]) if values is None else values
    y = corner.replace("x", "y", 1)
    head = [f"ncols {many}", f"nrows {many}", f"{corner} {west - half}", f"{y} {south - half}", f"cellsize {step}"]
    rows = [" ".join(f"{v:.9f}" for v in row) for row in grid]
    path = folder / "dem.asc"
    path.write_text("\n".join([*head, f"NODATA_value {nodata}", *rows]) + "\n")
    return path


@pytest.mark.parametrize("corner", ["xllcorner", "xllcenter"])
def test_an_ascii_grid_gives_a_plane_back(tmp_path, corner):
    grid = read_elevation(ascii_grid(tmp_path, corner=corner))
    assert grid.at(NET.node_lon, NET.node_lat)[: 5 * 5] == pytest.approx(
        plane(NET.node_lon, NET.node_lat)[:25], abs=1e-6
    )
    assert np.isnan(grid.at(np.array([5.0]), np.array([0.0]))).all()


def test_rise_is_the_difference_of_the_ends_and_approach_roads_are_level(tmp_path):
    rise, counts = link_rise(NET, read_elevation(ascii_grid(tmp_path)), place="x")
    height = plane(NET.node_lon, NET.node_lat)
    assert rise[STREET] == pytest.approx((height[NET.link_to] - height[NET.link_from])[STREET], abs=1e-6)
    assert np.abs(rise[STREET]).max() > 1.0 and not rise[~STREET].any()
    assert counts == {"level_links": 0, "too_steep_links": 0}


def test_unknown_cells_and_cliffs_are_counted(tmp_path):
    grid = read_elevation(ascii_grid(tmp_path))
    steep, counts = link_rise(NET, replace(grid, value=grid.value * 100), place="x")
    assert counts["too_steep_links"] > 0 and (np.abs(steep) <= STEEPEST * NET.link_length + 1e-9).all()
    hole = grid.value.copy()
    hole[2:4, 2:4] = np.nan
    rise, counts = link_rise(NET, replace(grid, value=hole), place="x")
    assert counts["level_links"] > 0 and np.isfinite(rise).all()


def test_points_and_graphml_give_the_height_of_their_nodes(tmp_path):
    height = plane(NET.node_lon, NET.node_lat)
    table = tmp_path / "p.csv"
    rows = zip(NET.node_lon[:25].tolist(), NET.node_lat[:25].tolist(), height[:25].tolist(), strict=True)
    table.write_text("lon,lat,elevation_m\n" + "\n".join(",".join(map(repr, row)) for row in rows))
    graph = nx.MultiDiGraph(crs="epsg:4326")
    for node in range(25):
        graph.add_node(node, x=float(NET.node_lon[node]), y=float(NET.node_lat[node]), elevation=float(height[node]))
    graph.add_edge(0, 1, length=10.0)
    nx.write_graphml(graph, tmp_path / "g.graphml")
    for path in (table, tmp_path / "g.graphml"):
        assert read_elevation(path).at(NET.node_lon[:25], NET.node_lat[:25]) == pytest.approx(height[:25], abs=0.01)


def test_a_geotiff_gives_a_plane_back(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin

    step, many = 0.001, 16
    lon, lat = -0.002 + step * np.arange(many), 0.013 - step * np.arange(many)
    about = {"driver": "GTiff", "width": many, "height": many, "count": 1, "dtype": "float64", "crs": "EPSG:4326"}
    with rasterio.open(
        tmp_path / "d.tif", "w", transform=from_origin(lon[0] - step / 2, lat[0] + step / 2, step, step), **about
    ) as out:
        out.write(plane(lon[None, :], lat[:, None]), 1)
    grid = read_elevation(tmp_path / "d.tif")
    assert grid.at(NET.node_lon[:25], NET.node_lat[:25]) == pytest.approx(
        plane(NET.node_lon, NET.node_lat)[:25], abs=1e-6
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("d.xyz", "", "heights cannot be read from .xyz; valid are .asc"),
        (
            "d.asc",
            "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value -9\n1 2 3\n",
            "3 values, the header",
        ),
        ("d.asc", "1 2\n3 4\n", "no ncols in the header"),
        ("d.asc", "ncols 1\nnrows 1\nxllcorner 500000\nyllcorner 0\ncellsize 1\n5\n", "must be in degrees"),
        ("d.asc", "ncols 1\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value -9\n-9\n", "holds no height"),
        ("d.csv", "lon,lat\n1,2\n", "no column elevation_m"),
        ("d.csv", "lon,lat,elevation_m\n1,2,high\n", "'high' is not a finite number"),
        ("d.graphml", "<graphml/>", "no node has x, y and elevation"),
        ("d.graphml", '<!DOCTYPE g [<!ENTITY a "b">]><graphml>&a;</graphml>', "declares entities"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(MapError, match=says):
        read_elevation(path)


def test_a_file_of_another_city_is_refused(tmp_path):
    far = tmp_path / "far.csv"
    far.write_text("lon,lat,elevation_m\n50,50,1\n")
    with pytest.raises(MapError, match="covers 0% of the map's nodes"):
        link_rise(NET, read_elevation(far), place="far.csv")


def test_a_scenario_with_hills_spends_more(tmp_path):
    city = toy_city(5)
    path = tmp_path / "toy.map.npz"
    city.save(path)
    hills = ascii_grid(tmp_path, values=60.0 * np.random.default_rng(1).random((16, 16)))
    base = Scenario(map=str(path), until="9h").but(fleet__cars=30, demand__other_traffic=0.0)
    spent = []
    for scenario in (base, base.but(terrain__elevation=str(hills))):
        twin = scenario.build()
        while not twin.world.done:
            twin.step()
        assert not any(twin.world.ledger().values())
        spent.append(int(twin.world.fleet.traction_j.sum()))
    assert spent[1] > 1.02 * spent[0]
