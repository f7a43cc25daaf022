"""Two real runs of one small fleet: compared in the report, animated, and shown in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maps.toy import toy_city
from runs.comparison import compare
from runs.estimates import Estimate
from runs.results import RunResult
from runs.scenario import Scenario
from runs.single import run
from tests.viz_fixture import write_results
from viz.animation import FRAMES_PER_S, animate
from viz.browser.replay import Replay
from viz.folder import Folder, ReportError
from viz.report import write_report


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, RunResult]:
    folder = tmp_path_factory.mktemp("pair")
    toy_city(4).save(folder / "toy.map.npz")
    base = Scenario(map=str(folder / "toy.map.npz"), start="2022-10-12T17:00:00", until="3h").but(
        fleet__cars=300, fleet__bev=0.8, fleet__epower=0.2, demand__other_traffic=0.0
    )
    later = base.but(charging__policy="timer")
    return run(base, out=folder / "at once"), run(later, out=folder / "by timer")


def test_the_report_compares_policies_with_the_differences_of_compare(
    pair: tuple[RunResult, RunResult], tmp_path: Path
) -> None:
    one, two = pair
    words = write_report(one.path, tmp_path / "r.html", against=[two.path]).read_text("utf-8")
    found = compare(one, two)
    assert found.grid_energy_kwh.mean != 0, "the policies differ"
    assert "by timer less this run, paired by car" in words
    for name in ("grid_peak_kw", "grid_energy_kwh", "autonomy_share", "cloud_bytes"):
        assert str(getattr(found, name)) in words, name
    assert "Policies compared" not in write_report(one.path, tmp_path / "alone.html").read_text("utf-8")


def test_the_report_refuses_a_run_that_is_no_pair(pair: tuple[RunResult, RunResult], tmp_path: Path) -> None:
    other = write_results(tmp_path / "other", blocks=3)
    with pytest.raises(ValueError, match="other"):
        write_report(pair[0].path, tmp_path / "r.html", against=[other])
    assert not (tmp_path / "r.html").exists(), "nothing half-written"


def test_the_report_shows_the_verdicts_it_is_given(pair: tuple[RunResult, RunResult], tmp_path: Path) -> None:
    check = {"quantity": "mean speed", "target": 31.7, "tolerance": "10 %", "value": 44.25, "verdict": "fail"}
    path = tmp_path / "checks.json"
    path.write_text(json.dumps({"checks": [check]}), "utf-8")
    words = write_report(pair[0].path, tmp_path / "r.html", validation=path).read_text("utf-8")
    assert "Validation (checks.json)" in words
    row = next(line for line in words.split("<tr") if "mean speed" in line)
    assert all(part in row for part in ("31.7", "10 %", "44.25", "fail"))
    for wrong in ('{"checks": [{"quantity": "x"}]}', "[]", "{"):
        path.write_text(wrong, "utf-8")
        with pytest.raises(ReportError, match=r"checks\.json: not a report of twin validate"):
            write_report(pair[0].path, tmp_path / "r.html", validation=path)


def test_an_animation_has_a_picture_per_quarter_of_an_hour_and_they_differ(
    pair: tuple[RunResult, RunResult], tmp_path: Path
) -> None:
    made = animate(pair[0].path, tmp_path / "day.gif")
    with Image.open(made) as film:
        pictures = []
        for k in range(film.n_frames):
            film.seek(k)
            pictures.append(np.asarray(film.convert("L")))
        assert len(pictures) == 12, "three hours"
        assert film.info["duration"] == pytest.approx(1000 / FRAMES_PER_S, abs=10)
    assert all(np.any(a != b) for a, b in zip(pictures, pictures[1:], strict=False)), "the clock moves on"
    assert [p.name for p in tmp_path.iterdir()] == ["day.gif"], "no half file left"
    with pytest.raises(ReportError, match=r"ends in \.gif"):
        animate(pair[0].path, tmp_path / "day.avi")


def test_a_notebook_shows_what_the_objects_say(pair: tuple[RunResult, RunResult]) -> None:
    one, _ = pair
    shown = one._repr_html_()
    assert "at once" in shown and "300 cars" in shown and "status done" in shown
    found = Estimate(**one.summary["estimates"]["grid_peak_kw"])
    assert str(found).split(" (")[0] in shown and str(found).split(" (")[0] in found._repr_html_()
    net = toy_city(4).network
    drawn = net._repr_html_()
    assert f"{net.n_nodes:,} nodes, {net.n_links:,} directed links" in drawn and "<svg" in drawn


def test_the_page_shows_two_runs_with_their_difference_and_the_story_of_a_car(
    pair: tuple[RunResult, RunResult],
) -> None:
    one, two = Replay(pair[0].path), Replay(pair[1].path)
    assert str(compare(*pair)).splitlines()[0] in one.difference(two)
    story = one.story({"kind": "car", "id": 7})
    assert story["title"].startswith("Car 7: ") and story["facts"]
    assert one.story({"kind": "car", "id": 300})["title"] == "No such car"
    assert Folder.open(pair[0].path).value("fleet", "cars") == 300
