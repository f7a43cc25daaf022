"""What the page's server lets in, how frames reach a page, and what a page's twin is. No browser."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maps.toy import toy_city
from runs.cli import main
from runs.scenario import Scenario
from tests.browser_page import free_port, lacking
from tests.viz_fixture import write_results
from twin.fleet.fleet import State
from viz.browser.guard import Guard
from viz.browser.packet import pack, unpack
from viz.browser.picture import OFF_MAP, Cameras, Extent
from viz.browser.serve import PageError, check_runs, listen, stored_asset
from viz.streets import Streets

PORT = 8765
HERE = f"127.0.0.1:{PORT}"


def ask(path: str = "/", *, kind: str = "http", method: str = "GET", **headers: str) -> tuple[bool, dict[str, Any]]:
    """Whether the application behind the guard was reached, and the first message that came back."""
    reached, answers = [], []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        reached.append(True)
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, str]:
        return {"type": f"{kind}.connect"}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in ({"host": HERE} | headers).items()]
    scope = {"type": kind, "path": path, "method": method, "headers": named}
    asyncio.run(Guard(app, port=PORT)(scope, receive, send))  # type: ignore[arg-type]
    return bool(reached), answers[0] if answers else {}


def test_this_machine_is_let_in() -> None:
    for host in (HERE, f"localhost:{PORT}"):
        assert ask(host=host, origin=f"http://{host}")[0]
    assert ask("/static/main.js")[0]
    assert ask("/_solara/cdn/@widgetti/solara-vuetify-app@10.1.1/dist/main8.css")[0]
    assert ask("/jupyter/api/kernels/ab-12/channels", kind="websocket", origin=f"http://{HERE}")[0]
    reached, answer = ask()
    assert reached and (b"x-frame-options", b"DENY") in answer["headers"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": f"evil.example:{PORT}"},
        {"host": "127.0.0.1:9999"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HERE}"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_another_page_or_name_is_refused(kind: str, wrong: dict[str, str]) -> None:
    reached, answer = ask("/jupyter/api/kernels/ab/channels" if kind == "websocket" else "/", kind=kind, **wrong)
    assert not reached
    assert answer.get("status") == 403 or answer.get("code") == 1008


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/static/public/x",
        "/static/../../x",
        "/resourcez",
        "/jupyter/nbextensions/other/x.js",
        "/static/%2e%2e/x\\y",
    ],
)
def test_what_is_not_of_the_page_is_not_there(path: str) -> None:
    reached, answer = ask(path)
    assert not reached and answer["status"] == 404


def test_only_stored_assets_are_served(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "b.js").write_text("x")
    (tmp_path / "secret").write_text("x")
    assert stored_asset(tmp_path / "in", "a/b.js").read_text() == "x"
    for path in ("../secret", "a/../../secret", "a/none.js", "a"):
        with pytest.raises(FileNotFoundError):
            stored_asset(tmp_path / "in", path)


def test_a_taken_port_is_named_and_the_next_offered() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=rf"--port {port}: is in use; free is --port \d+$"):
            listen(port)
    with pytest.raises(PageError, match="from 1 to 65535"):
        listen(70_000)


def test_the_page_listens_on_loopback_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    with listen(free_port()) as made:
        assert made.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ui", "/no/such/run"], "/no/such/run: no such folder"),
        (["ui", "demo", "kyoto"], "one scenario at a time"),
        (["ui", "demo", "--port", "0"], "--port 0: must be from 1 to 65535"),
        (["ui", "nosuchcity"], "nosuchcity"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if lacking():
        pytest.skip(lacking())
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert line in said and "\n" not in said


def test_folders_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    run = write_results(tmp_path / "run", blocks=4)
    check_runs([run])
    with pytest.raises(PageError, match="one, or two side by side"):
        check_runs([run, run, run])
    (run / "map.parquet").unlink()
    with pytest.raises(PageError, match="nothing to draw"):
        check_runs([run])
    manifest = (run / "manifest.json").read_text()
    for wrong, line in (('"status": "running"', "has not ended"), ('"format": 99', "this version reads")):
        key = wrong.split(":")[0]
        changed = "\n".join(f" {wrong}," if part.strip().startswith(key) else part for part in manifest.splitlines())
        (run / "manifest.json").write_text(changed)
        with pytest.raises(ValueError, match=line):
            check_runs([run])


@given(
    st.lists(st.integers(0, 65_535), max_size=50),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9)),
)
def test_a_packet_reads_back(numbers: list[int], meta: dict[str, Any]) -> None:
    meta.pop("arrays", None)
    arrays = {"a": np.array(numbers, np.uint8 if not numbers else np.uint16), "b": np.array([0.5], np.float32)}
    head, found = unpack(pack(meta, arrays))
    assert head == meta
    assert all(np.array_equal(found[k], arrays[k]) for k in arrays)


def test_a_packet_takes_no_other_numbers() -> None:
    with pytest.raises(ValueError, match="array x is int64"):
        pack({}, {"x": np.arange(3)})


def test_positions_come_back_to_a_step() -> None:
    extent = Extent(0.0, 0.0, 1000.0)
    x = np.array([0.0, 500.0, 1000.0, 1001.0, -1.0])
    steps = extent.steps(x, x)
    assert np.allclose(steps[:3, 0] * (1000 / (OFF_MAP - 1)), x[:3], atol=0.01)
    assert (steps[3:] == OFF_MAP).all()


def test_cars_are_drawn_on_streets_at_every_moment_of_a_tick() -> None:
    import shapely

    city = toy_city(6)
    twin = (
        Scenario(map="toy", start="2022-10-12T07:30:00").but(fleet__cars=400, demand__other_traffic=0.1).build_on(city)
    )
    streets = Streets.of_city(city)
    extent = Extent.of(streets)
    cameras = Cameras(twin.world, extent)
    net = city.network
    lines = shapely.from_ragged_array(
        shapely.GeometryType.LINESTRING, np.column_stack([net.geom_x, net.geom_y]).astype(float), (net.geom_ptr,)
    )
    ways = shapely.unary_union(lines)
    seen = moving = 0
    words = cameras.everyone()["word"].copy()
    for _ in range(40):
        before = twin.world.now_ms
        twin.step()
        drawn = cameras.tick(before, np.empty(0, np.int64))
        assert len(drawn["word"]) < len(words), "only what changed is told"
        words[drawn["word_id"]] = drawn["word"]
        assert np.array_equal(words, cameras.words()), "and all of it"
        driving = twin.world.fleet.state[drawn["id"]] == State.DRIVING
        at = drawn["at"][1:, driving].reshape(-1, 2).astype(float)
        at = at[(at != OFF_MAP).any(axis=1)]
        metres = at * extent.size_m / (OFF_MAP - 1) + [extent.west, extent.south]
        # a car that has just left its parking place still stands there at the tick's first moments
        off = shapely.distance(shapely.points(metres), ways)
        seen += len(off)
        moving += int((off < 1.0).sum())
    assert seen > 100, "cars drove"
    assert moving >= 0.9 * seen


def test_the_page_runs_the_same_twin() -> None:
    if lacking():
        pytest.skip(lacking())
    from viz.browser.layer import Layer
    from viz.browser.live import KNOBS, PageModel, Setup, View, shown_value

    base = Scenario(map="toy", start="2022-10-12T07:00:00", until="1h").but(fleet__cars=80, demand__other_traffic=0.1)
    city = toy_city(6)
    setup = Setup(base, city)
    view = View(setup, Layer())
    view.feed.hold = lambda: None  # type: ignore[method-assign]
    model = PageModel(setup=setup, **{k.name: shown_value(base, k) for k in KNOBS})
    plain = base.build_on(city)
    while model.running:
        model.step()
        plain.step()
        view.widget.ack = view.feed.sent  # a page that keeps up
    assert plain.world.done and setup.changed == {}
    assert model.world.summary() == plain.world.summary()
    assert np.array_equal(model.world.fleet.battery_j, plain.world.fleet.battery_j)


def test_every_knob_becomes_a_control_of_the_page(tmp_path: Path) -> None:
    if lacking():
        pytest.skip(lacking())
    from viz.browser.live import KNOBS, Setup, choices_of, model_params

    base = Scenario(map="toy")
    own = base.but(charging__policy="mine.py:decide")
    made = {name: model_params(b, Setup(b, toy_city(4))) for name, b in (("base", base), ("own", own))}
    for knob in KNOBS:
        control = made["base"][knob.name]
        if choices_of(knob):
            assert control["type"] == "Select" and control["values"] == list(choices_of(knob))
        else:
            assert control.min <= control.value <= control.max
    assert {k.name for k in KNOBS if choices_of(k)} == {"policy", "service_class"}
    assert made["own"]["policy"]["value"] in made["own"]["policy"]["values"], "a policy of one's own can be chosen"


def test_folders_that_lack_tables_are_shown_without_them(tmp_path: Path) -> None:
    if lacking():
        pytest.skip(lacking())
    from viz.browser.replay import Replay

    one = Replay(write_results(tmp_path / "a", blocks=6))
    other = Replay(write_results(tmp_path / "b", blocks=6), beside=one)
    assert "no table &#x27;cars&#x27;" in one.difference(other)
    assert "no table 'cars'" in one.story({"kind": "car", "id": 3})["facts"][0][1]


def test_the_panel_is_drawn_at_once_then_rarely_and_the_last_time_for_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking():
        pytest.skip(lacking())
    from mesa.visualization import solara_viz
    from solara.server import kernel_context

    from viz.browser import panel

    session = SimpleNamespace(id="one", closed_event=threading.Event())
    monkeypatch.setattr(kernel_context, "get_current_context", lambda: session)
    drawn: list[float] = []
    done = threading.Event()
    rarely = panel.Rarely(lambda: drawn.append(time.monotonic()) or (len(drawn) > 1 and done.set()), 0.2)  # type: ignore[func-returns-value]
    for _ in range(50):
        rarely()
    assert len(drawn) == 1, "49 steps later"
    assert done.wait(5) and len(drawn) == 2, "the last step is shown"
    assert drawn[1] - drawn[0] >= 0.19
    session.closed_event.set()
    rarely()
    time.sleep(0.3)
    assert len(drawn) == 2, "a page that is gone is not drawn"

    before = solara_viz.force_update
    monkeypatch.setattr(solara_viz, "force_update", before)
    panel.calm()
    panel.calm()
    assert isinstance(solara_viz.force_update, panel.Rarely)
    assert not isinstance(solara_viz.force_update.draw, panel.Rarely), "once per process"


def test_a_slow_page_costs_frames_and_no_ticks() -> None:
    if lacking():
        pytest.skip(lacking())
    from viz.browser.layer import UNDERWAY, Feed, Layer

    made: list[int] = []
    widget = Layer()
    feed = Feed(widget, lambda serial: made.append(serial) or pack({"seq": serial}, {}))  # type: ignore[func-returns-value]
    for _ in range(UNDERWAY + 3):
        feed.offer()
    sent = list(range(1, UNDERWAY + 1))
    assert made == sent and feed.dropped == 2
    widget.ack = 1
    sent.append(UNDERWAY + 1)
    assert made == sent, "the newest goes out when the page has drawn one"
    widget.ack = UNDERWAY + 1
    assert made == sent, "nothing new, nothing sent"
    feed.close()
    feed.offer()
    assert made == sent
