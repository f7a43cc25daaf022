"""Where maps come from, and what a user reads when a source is bad."""

import gzip
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maps.get
from maps.build import build_map
from maps.get import check_file, data_folder, download_place, find_recipe, find_source, overpass_query, recipe_names
from maps.network import OUTSIDE, CityMap, MapError
from tests.osm_text import osm_text, write_osm

STREET = {"highway": "residential"}
CROSS = {1: (-300, 0), 2: (0, 0), 3: (300, 0), 4: (0, 300), 5: (0, -300)}
WAYS = [([1, 2, 3], STREET), ([4, 2, 5], {"highway": "tertiary", "maxspeed": "50"})]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def one_line(source: str) -> str:
    with pytest.raises(MapError) as error:
        build_map(source)
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert source in text
    return text


def test_every_recipe_reads_and_says_where_it_is() -> None:
    assert set(recipe_names()) >= {
        "helsinki", "kyoto", "hersfeld", "adlershof", "wildau", "porto", "columbus", "monaco",
    }  # fmt: skip
    for name in recipe_names():
        recipe = find_recipe(name)
        assert len(recipe.country) == 2
        assert "/" in recipe.timezone
        assert recipe.gates > 0
        assert len(recipe.rings_km) == len(recipe.classes)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(MapError, match="did you mean kyoto"):
        find_recipe("kioto")


def test_data_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("TWIN_DATA", str(tmp_path / "nothing"))
    assert data_folder() is None
    assert "TWIN_DATA" in one_line("kyoto")


def test_bad_paths(tmp_path: Path) -> None:
    assert "no such file" in one_line(str(tmp_path / "gone.osm.pbf"))
    assert "valid are" in one_line(str(tmp_path / "gone.osm.pbf"))
    folder = tmp_path / "folder.osm"
    folder.mkdir()
    assert "is a folder" in one_line(str(folder))
    fifo = tmp_path / "pipe.osm"
    os.mkfifo(fifo)
    assert "not a regular file" in one_line(str(fifo))
    empty = tmp_path / "empty.osm"
    empty.touch()
    assert "empty" in one_line(str(empty))
    other = tmp_path / "notes.md"
    other.write_text("x")
    assert "valid endings" in one_line(str(other))
    with pytest.raises(MapError, match="valid are a file"):
        build_map(" ")
    with pytest.raises(MapError):
        check_file(Path("nul\0byte.osm"))


LOST = b"""<osm version="0.6"><way id="1" version="1"><nd ref="1"/><nd ref="2"/>
<tag k="highway" v="primary"/></way></osm>"""
NO_ROADS = '<osm version="0.6"><node id="1" version="1" lat="1" lon="1"/></osm>'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("words.osm", b"hello", "not a readable"),
        ("page.osm", b"<html></html>", "not a readable"),
        ("words.osm.pbf", b"hello, this is no protobuf at all", "not a readable"),
        ("cut.osm.gz", gzip.compress(osm_text(CROSS, WAYS).encode() * 50)[:300], "not a readable"),
        ("none.osm", NO_ROADS.encode(), "no drivable road"),
        ("far.osm", osm_text(CROSS, WAYS).replace('lat="50.87', 'lat="999.87', 1).encode(), "off the globe"),
        ("north.osm", osm_text(CROSS, WAYS).replace('lat="50.87', 'lat="95.87', 1).encode(), "off the globe"),
        ("lost.osm", LOST, "nodes that the file does not hold"),
        ("paths.osm", osm_text(CROSS, [([1, 2], {"highway": "footway"})]).encode(), "no drivable road"),
        ("closed.osm", osm_text(CROSS, [([1, 2], {**STREET, "access": "no"})]).encode(), "closed to cars"),
        ("map.npz", b"PK\x05\x06" + bytes(18), "not a map file"),
        ("graph.graphml", b"<graphml/>", "GraphML"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert words in one_line(str(path))


def test_header_only_pbf_and_truncated_pbf(tmp_path: Path) -> None:
    import osmium

    path = tmp_path / "header.osm.pbf"
    osmium.SimpleWriter(str(path)).close()
    assert "no drivable road" in one_line(str(path))
    whole = tmp_path / "whole.osm"
    whole.write_text(osm_text(CROSS, WAYS))
    pbf = tmp_path / "whole.osm.pbf"
    with osmium.SimpleWriter(str(pbf)) as writer:
        for item in osmium.FileProcessor(str(whole)):
            writer.add(item)
    assert build_map(str(pbf)).network.n_links == build_map(str(whole)).network.n_links
    pbf.write_bytes(pbf.read_bytes()[:-40])
    assert "not a readable" in one_line(str(pbf))


@pytest.mark.parametrize("ending", ["osm", "osm.gz", "osm.bz2"])
def test_all_text_forms_give_the_same_map(tmp_path: Path, ending: str) -> None:
    import bz2

    text = osm_text(CROSS, WAYS).encode()
    packed = {"osm": text, "osm.gz": gzip.compress(text), "osm.bz2": bz2.compress(text)}[ending]
    path = tmp_path / f"town.{ending}"
    path.write_bytes(packed)
    city = build_map(str(path), country="DE")
    inside = ~city.network.has(OUTSIDE)
    assert inside.sum() == 8
    assert city.meta["name"] == "town"
    assert not city.meta["left_hand"]
    assert "OpenStreetMap contributors" in city.meta["attribution"]
    assert all(len(city.places(kind)) for kind in ("home", "work", "shop", "leisure", "school"))


def test_buildings_become_places_and_stations_become_sockets(tmp_path: Path) -> None:
    corner = {20: (20, 20), 21: (40, 20), 22: (40, 30), 23: (20, 30), 30: (10, 5), 31: (12, 5), 32: (15, -5)}
    node_tags = {
        30: {"amenity": "charging_station", "socket:chademo": "2", "socket:chademo:output": "50 kW", "name": "Mitte"},
        31: {"amenity": "charging_station", "bicycle": "yes"},
        32: {"shop": "bakery"},
    }
    house = {"building": "house", "building:levels": "2", "addr:country": "DE"}
    path = write_osm(tmp_path, {**CROSS, **corner}, [*WAYS, ([20, 21, 22, 23, 20], house)], node_tags=node_tags)
    city = build_map(str(path))
    assert city.meta["country"] == "DE"
    home = city.places("home")[0]
    assert city.place_weight[home] == pytest.approx(20 * 10 * 2, rel=0.01)
    assert (city.place_x[home] - city.network.node_x.min()) > 0
    assert city.charger_names == ["Mitte"]
    assert city.socket_kw.tolist() == [50.0]
    assert city.socket_count.tolist() == [2]
    assert city.socket_assumed.tolist() == [0]
    assert city.meta["quality"]["chargers_skipped"] == 1


def test_built_maps_are_kept_and_a_damaged_or_unwritable_cache_is_no_error(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_osm(tmp_path, CROSS, WAYS)
    lines: list[str] = []
    first = build_map(str(path), progress=lines.append)
    assert any("reading" in line for line in lines)
    (kept,) = (own_cache / "maps").glob("*.npz")
    lines.clear()
    again = build_map(str(path), progress=lines.append)
    assert lines == []
    assert again.meta == first.meta
    kept.write_bytes(b"rubbish")
    build_map(str(path), progress=lines.append)
    assert any("damaged" in line for line in lines)
    assert CityMap.load(kept).meta == first.meta
    path.write_text(path.read_text().replace('v="50"', 'v="60"'))
    changed = build_map(str(path))
    assert changed.meta["source_sha256"] != first.meta["source_sha256"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWIN_CACHE", str(tmp_path / "file"))
    lines.clear()
    assert build_map(str(path), progress=lines.append).network.n_links == first.network.n_links
    assert any("cannot be written" in line for line in lines)


def test_equal_sources_give_equal_bytes(tmp_path: Path) -> None:
    path = write_osm(tmp_path, CROSS, WAYS)
    a = build_map(str(path), cache=tmp_path / "a").save(tmp_path / "a.npz")
    b = build_map(str(path), cache=tmp_path / "b").save(tmp_path / "b.npz")
    assert a.read_bytes() == b.read_bytes()


class Servers(http.server.BaseHTTPRequestHandler):
    """Nominatim and Overpass in one, on the loopback address; `busy` answers 429 that many times first."""

    busy = 0
    asked: list[str] = []
    text = ""

    def do_GET(self) -> None:
        found = [] if "nowhere" in self.path.lower() else [boundary()]
        self.answer(json.dumps(found).encode(), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        Servers.asked.append(body)
        if Servers.busy > 0:
            Servers.busy -= 1
            self.send_response(429)
            self.end_headers()
            return
        self.answer(Servers.text.encode(), "application/xml")

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def boundary() -> dict[str, object]:
    ring = [[9.69, 50.86], [9.71, 50.86], [9.71, 50.88], [9.69, 50.88], [9.69, 50.86]]
    return {
        "place_id": 1, "osm_type": "relation", "osm_id": 7, "lat": "50.87", "lon": "9.7", "class": "boundary",
        "type": "administrative", "place_rank": 16, "importance": 0.5, "addresstype": "town", "name": "Testtown",
        "display_name": "Testtown", "boundingbox": ["50.86", "50.88", "9.69", "9.71"],
        "geojson": {"type": "Polygon", "coordinates": [ring]},
    }  # fmt: skip


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Servers]]:
    ox = pytest.importorskip("osmnx")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Servers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(ox.settings, "nominatim_url", url + "/")
    monkeypatch.setattr(ox.settings, "overpass_url", url + "/api")
    monkeypatch.setattr(maps.get, "RETRY_S", (0.01, 0.01, 0.01))
    # OSMnx waits a second before each lookup, out of courtesy to the public server
    monkeypatch.setattr("osmnx._nominatim.time.sleep", lambda seconds: None, raising=False)
    Servers.busy, Servers.asked = 0, []
    land = '<relation id="9" version="1"><tag k="ISO3166-1" v="DE"/></relation>'
    Servers.text = osm_text(CROSS, WAYS, extra=land)
    yield Servers
    server.shutdown()
    server.server_close()
    thread.join()


def test_place_by_name_with_a_busy_server_and_a_cache(servers: type[Servers], own_cache: Path) -> None:
    servers.busy = 2
    lines: list[str] = []
    city = build_map("Testtown, Germany", progress=lines.append)
    assert len(servers.asked) == 3
    assert any("HTTP 429" in line for line in lines)
    assert "poly" in servers.asked[0]
    assert city.meta["country"] == "DE"
    assert city.meta["title"] == "Testtown, Germany"
    assert (~city.network.has(OUTSIDE)).sum() == 8
    find_source("Testtown, Germany")
    assert len(servers.asked) == 3  # from the file kept
    assert not list(own_cache.rglob("*.part"))


def test_place_that_cannot_be_had(servers: type[Servers], own_cache: Path) -> None:
    assert "not found" in one_line("Nowhere at all")
    servers.busy = 99
    assert "HTTP 429" in one_line("Testtown")
    servers.busy, servers.text = 0, "<osm>half"
    assert "incomplete" in one_line("Testtown")
    assert not list((own_cache / "places").glob("*"))


def test_offline_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ox = pytest.importorskip("osmnx")
    monkeypatch.setattr(ox.settings, "nominatim_url", "http://127.0.0.1:9/")
    monkeypatch.setattr("osmnx._nominatim.time.sleep", lambda seconds: None, raising=False)
    with pytest.raises(MapError, match=r"internet cannot be reached.*did you mean kyoto\? valid are") as error:
        download_place("kyotto", cache=tmp_path)
    assert "\n" not in str(error.value)


def test_areas_too_large_or_no_area_are_refused() -> None:
    import shapely

    with pytest.raises(MapError, match="too large"):
        overpass_query(shapely.box(5, 47, 15, 55), "Germany")
    with pytest.raises(MapError, match="is a point"):
        overpass_query(shapely.Point(5, 47), "A bench")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["flip", "cut", "swap", "digits"]))
def test_mutilated_osm_files_build_or_say_why(tmp_path: Path, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    body = bytearray(osm_text(CROSS, WAYS).encode())
    if kind == "flip":
        for at in rng.integers(0, len(body), 3):
            body[at] = rng.integers(0, 256)
    elif kind == "cut":
        del body[rng.integers(0, len(body)) :]
    elif kind == "swap":
        a, b = sorted(rng.integers(0, len(body), 2))
        del body[a : min(b, a + 40)]
    else:
        digits = [k for k, byte in enumerate(body) if chr(byte).isdigit()]
        for at in rng.choice(digits, 5):
            body[at] = ord(str(rng.integers(0, 10)))
    path = tmp_path / "mutilated.osm"
    path.write_bytes(bytes(body) or b"x")
    said = ""
    try:
        links = build_map(str(path), cache=tmp_path / f"cache{seed}").network.n_links
    except MapError as error:
        said, links = str(error), 0
    assert links > 0 or (str(path) in said and "\n" not in said)
