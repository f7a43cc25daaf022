"""The page in a real headless Chromium, with nothing but this machine to talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser_page import PageServer, alive, chromium, lacking, leave, open_live, toy_scenario
from tests.viz_fixture import write_results

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"browser page: {lacking()}")
COLOURED = """() => { const c = window.__twin.live.city, d = c.below.getContext('2d')
    .getImageData(0, 0, c.below.width, c.below.height).data; const at = [];
    for (let i = 0; i < d.length; i += 4) if (d[i] === 0 && d[i + 1] === 0x72 && d[i + 2] === 0xB2) at.push(i / 4);
    return at; }"""
PICTURE = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
    const c = window.__twin.live.city; done(c.below.toDataURL() + c.above.toDataURL()); })))"""
ON_THE_ROAD = """() => { const c = window.__twin.live.city, b = c.below.getBoundingClientRect();
    for (let i = 0; i < c.x.length; i++) if (((c.word[i] >> 2) & 7) === 2 && c.x[i] === c.x[i]) {
      const x = c.sx(c.x[i]) / c.ratio, y = c.sy(c.y[i]) / c.ratio;
      if (x > 260 && x < b.width - 60 && y > 20 && y < b.height - 20) return [i, b.left + x, b.top + y]; }
    return null; }"""
OFF_STREETS = """() => { const p = window.__twin.live, c = p.city, a = p.about; let worst = 0, n = 0;
    for (let i = 0; i < c.x.length; i++) { if (((c.word[i] >> 2) & 7) !== 2 || c.x[i] !== c.x[i]) continue;
      let best = 1e9; n++;
      for (let l = 0; l < a.ptr.length - 1; l++) for (let k = a.ptr[l]; k < a.ptr[l + 1] - 1; k++) {
        const x0 = a.xy[2*k], y0 = a.xy[2*k+1], dx = a.xy[2*k+2] - x0, dy = a.xy[2*k+3] - y0, q = dx*dx + dy*dy;
        const t = Math.max(0, Math.min(1, q ? ((c.x[i]-x0)*dx + (c.y[i]-y0)*dy) / q : 0));
        best = Math.min(best, Math.hypot(c.x[i]-x0-t*dx, c.y[i]-y0-t*dy)); }
      worst = Math.max(worst, best); }
    return [n, worst]; }"""


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium() as context:
        yield context


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("page")
    made = PageServer(toy_scenario(folder), log=folder / "server.log", env={"HOST": "0.0.0.0"})
    yield made
    made.close()


def clock(page: Any) -> str:
    return str(page.get_by_test_id("clock").inner_text())


def test_a_twin_runs_in_the_page(server: PageServer, context: Any) -> None:
    page = open_live(context, server.url)
    page.get_by_role("button", name="Step").wait_for()
    assert clock(page) == "Wed 12 Oct 07:30"
    assert page.locator("figure canvas").count() == 6, "six charts"

    before = page.evaluate(COLOURED)
    page.get_by_role("button", name="▶").click()
    page.wait_for_function("() => window.__twin.live.frame && window.__twin.live.frame.t1_s >= 600")
    page.get_by_role("button", name="❚❚").click()
    page.wait_for_function(
        "() => { const p = window.__twin.live, t = p.frame.t1_s;"
        " if (p.__t !== t) { p.__t = t; p.__at = performance.now(); } return performance.now() - p.__at > 900; }"
    )
    after = page.evaluate(COLOURED)
    assert len(after) > len(before) and set(after) - set(before), "driving cars are drawn and have moved"
    driving, off = page.evaluate(OFF_STREETS)
    assert driving > 0 and off < 1.0, f"{driving} cars, the worst {off} m from a street"
    seen = page.evaluate("() => window.__twin.live.frame.t1_s")
    [state] = [m for m in server.count()["models"] if m[2] == round(seen * 1000)]
    assert state[1] == 600, "the page shows the moment at which the model stands: play did not run away"

    at = page.evaluate(ON_THE_ROAD)
    if at is None:  # nobody drives where nothing lies above the map
        at = [0, None, None]
        page.get_by_role("button", name="Show", exact=True).click()
    else:
        page.mouse.click(at[1], at[2])
    story = page.get_by_test_id("story")
    story.get_by_role("heading", name="Car ").wait_for()
    assert {"powertrain", "driven", "ProPILOT"} <= set(story.locator("dt").all_inner_texts())

    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => window.__twin.live.frame.t1_s === 0")
    assert clock(page) == "Wed 12 Oct 07:30"
    leave(page)
    assert context.faults == [] and context.elsewhere == []


def test_layers_colours_and_keys_change_the_picture(server: PageServer, context: Any) -> None:
    page = open_live(context, server.url)
    for minutes in range(1, 13):
        page.get_by_role("button", name="Step").click()
        page.wait_for_function(f"() => window.__twin.live.frame.t1_s === {60 * minutes}")
    page.wait_for_timeout(1500)  # what was under way has arrived

    def picture() -> str:
        found: str = page.evaluate(PICTURE)
        return found

    whole = picture()
    assert picture() == whole, "nothing moves while the twin stands"
    for layer in ("cars", "parked cars", "other traffic", "charging sites", "radio cells"):
        box = page.get_by_role("checkbox", name=layer, exact=True)
        box.click()
        assert picture() != whole, f"layer {layer}"
        box.click()
        assert picture() == whole, f"layer {layer} and back"
    seen = {whole}
    select = page.get_by_test_id("colour")
    for mode in select.locator("option").all_inner_texts():
        select.select_option(mode)
        seen.add(picture())
    assert len(seen) == 5, "five ways to colour cars"
    select.select_option("what it does")

    page.get_by_role("button", name="Show", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.dataset.testid") == "city":
            break
    assert page.evaluate("() => document.activeElement.dataset.testid") == "city", "the map is reached by keyboard"
    for key in ("+", "ArrowLeft", "ArrowUp", "-"):
        before = picture()
        page.keyboard.press(key)
        assert picture() != before, key
    page.keyboard.press("0")
    assert picture() == whole

    car = page.evaluate(
        "() => { const x = window.__twin.live.city.x; let best = -1;"
        " for (let i = 0; i < x.length; i++) if (x[i] === x[i] && !(x[i] < x[best])) best = i; return best; }"
    )  # the easternmost: there the story opens
    page.get_by_label("Number of the car or site").fill(str(car))
    page.keyboard.press("Enter")
    story = page.get_by_test_id("story")
    story.get_by_role("heading", name=f"Car {car}:").wait_for()
    at = page.evaluate(
        "() => { const c = window.__twin.live.city, p = c.where(c.selected), b = c.below.getBoundingClientRect();"
        " return [b.left + p[0] / c.ratio, b.top + p[1] / c.ratio]; }"
    )
    box = story.bounding_box()
    assert not (box["x"] < at[0] < box["x"] + box["width"] and box["y"] < at[1] < box["y"] + box["height"]), (
        "the story does not cover its car"
    )
    page.get_by_test_id("city").focus()
    page.keyboard.press("Escape")
    story.wait_for(state="hidden")
    leave(page)
    assert context.faults == [] and context.elsewhere == []


def test_every_slider_and_select_changes_the_model(server: PageServer, context: Any) -> None:
    from viz.browser.live import KNOBS, choices_of

    assert alive(server, 0) == 0, "the page before is gone"
    page = open_live(context, server.url)
    said = "() => document.querySelector('[data-testid=command]').innerText"
    [before] = [m[3] for m in server.count()["models"]]
    sliders = page.locator(".v-navigation-drawer [role=slider]")
    knobs = [k for k in KNOBS if not choices_of(k)]
    sliders.nth(len(knobs) + 1).wait_for(state="attached")  # the panel may come after the picture
    first = sliders.count() - len(knobs)
    assert first == 2, "Mesa's two sliders of speed come before"
    for number in range(len(knobs)):
        sliders.nth(first + number).focus()
        page.keyboard.press("ArrowRight")
    for knob in KNOBS:
        for choice in choices_of(knob)[1:2]:
            page.get_by_role("button", name=knob.label).first.click()
            page.get_by_role("option", name=choice, exact=True).click()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(said.replace("() => ", "() => (") + ").includes('--set')")
    command = page.evaluate(said)
    [after] = [m[3] for m in server.count()["models"]]
    for knob in KNOBS:
        assert after[knob.key] != before[knob.key], f"the page did not change {knob.key}"
        assert knob.key == "seed" or f"{knob.key}={after[knob.key]}" in command
    assert {key for key in after if after[key] != before[key]} == {k.key for k in KNOBS}, "and nothing else"
    leave(page)
    assert context.faults == []


def test_sessions_have_models_of_their_own_and_leave_none_behind(server: PageServer, context: Any) -> None:
    assert alive(server, 0) == 0, "the pages before are gone"
    one, two = open_live(context, server.url), open_live(context, server.url)
    one.get_by_role("button", name="Step").click()
    one.wait_for_function("() => window.__twin.live.frame.t1_s === 60")
    assert two.evaluate("() => window.__twin.live.frame.t1_s") == 0
    assert sorted(m[2] for m in server.count()["models"])[-2:] == [0, 60_000]
    for _ in range(3):
        two.get_by_role("button", name="Step").click()
        two.wait_for_function("() => window.__twin.live.frame.t1_s > 0")
        two.get_by_role("button", name="Reset").click()
        two.wait_for_function("() => window.__twin.live.frame.t1_s === 0")
    assert alive(server, 2) == 2, "a reset leaves nothing of the model before"
    leave(one)
    leave(two)
    assert alive(server, 0) == 0


def test_two_finished_runs_side_by_side(tmp_path: Path, context: Any) -> None:
    folders = [write_results(tmp_path / name, blocks=6, seed=3) for name in ("a", "b")]
    server = PageServer(*folders, log=tmp_path / "server.log")
    try:
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_function("() => document.querySelectorAll('[data-testid=hour]').length === 2")
        hours, clocks = page.get_by_test_id("hour"), page.get_by_test_id("clock")
        hours.first.fill(str(8 * 3600))
        assert clocks.all_inner_texts() == ["Wed 12 Oct 08:00"] * 2, "both show the same moment"
        drawn = "() => document.querySelector('canvas.below').toDataURL()"
        page.wait_for_timeout(200)
        before = page.evaluate(drawn)
        hours.first.fill(str(3 * 3600))
        other = "was => document.querySelector('canvas.below').toDataURL() !== was"
        page.wait_for_function(other, arg=before)  # links differ by the hour
        leave(page)
    finally:
        server.close()
    assert context.faults == [] and context.elsewhere == []
