"""The page says what the run says, and needs nothing but itself."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.results import ResultsError
from tests.viz_fixture import write_results, write_table
from viz import series, style
from viz.answers import answers
from viz.folder import Folder, ReportError
from viz.report import after_run, write_report


class Page(HTMLParser):
    """Tags with attributes, and every `<data>` with the text inside it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.figures: list[tuple[str, Any, str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        assert self._open == [], "tags that are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in {"meta", "img", "link", "br"}:
            self._open.append(tag)
        if tag == "data":
            found = dict(attrs)
            self.figures.append((str(found["data-key"]), json.loads(str(found["value"])), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "data":
            key, value, text = self.figures[-1]
            self.figures[-1] = key, value, text + data
        if self._open and self._open[-1] != "style":
            self.words += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("run"), blocks=6)
    after_run(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def changed(folder: Path, name: str, **entries: Any) -> Path:
    """Entries by dotted path with `__` for the dot."""
    content = json.loads((folder / name).read_text())
    for path, value in entries.items():
        *way, last = path.split("__")
        here = content
        for step in way:
            here = here[step]
        here[last] = value
    (folder / name).write_text(json.dumps(content))
    return folder


def lookup(summary: Any, key: str) -> Any:
    for step in key.split("."):
        summary = summary[step]
    return summary


UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "%": 0.01, "min": 60.0}


def test_after_run_names_what_it_wrote(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "run", blocks=2)
    before = {p.name for p in folder.iterdir()}
    made = after_run(folder)
    assert made == [folder / "overview.png", folder / "report.html"]
    assert {p.name for p in folder.iterdir()} == before | {"overview.png", "report.html"}  # no half files left


def test_every_figure_of_the_page_is_that_of_the_summary(page: Page, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert len(page.figures) > 40
    for key, value, text in page.figures:
        assert value == lookup(summary, key), key
        number, _, unit = text.replace("\u00a0", " ").partition(" ")
        scale = UNITS.get(unit.removesuffix("/s"), 1.0) if key != "cloud.mb_per_connected_car_day" else 1.0
        if key.startswith("estimates.cloud_mb"):
            scale = 1.0
        assert float(number.replace(",", "")) * scale == pytest.approx(value, rel=0.006, abs=1e-12), (key, text)


def test_the_three_answers_come_first_with_their_intervals(page: Page) -> None:
    keys = [key for key, *_ in page.figures]
    heads = ["estimates.grid_peak_kw", "estimates.autonomy_share", "estimates.cloud_mb_per_connected_car_day"]
    expected = [
        *[f"{heads[0]}.{end}" for end in ("mean", "low", "high")], "grid.energy_kwh", "grid.coincidence",
        *[f"{heads[1]}.{end}" for end in ("mean", "low", "high")], "autonomy.engaged_km", "autonomy.equipped_share",
        "autonomy.share_of_equipped_km", "autonomy.possible_share",
        *[f"{heads[2]}.{end}" for end in ("mean", "low", "high")], "cloud.generated_bytes", "cloud.peak_bytes_per_s",
    ]  # fmt: skip
    assert keys[: len(expected)] == expected
    heads = page.words[: page.words.index("The city")]
    assert heads.count("95 % interval") == 3
    assert [n for n in ("(n = 522)", "(n = 1,500)", "(n = 640)") if n in heads] == [
        "(n = 522)",
        "(n = 1,500)",
        "(n = 640)",
    ]


def test_without_estimates_the_summary_answers_and_no_interval_is_claimed(tmp_path: Path) -> None:
    folder = changed(write_results(tmp_path, blocks=1), "summary.json", estimates=None)
    assert [a.main.key for a in answers(Folder.open(folder))] == [
        "grid.peak_kw",
        "autonomy.share",
        "cloud.mb_per_connected_car_day",
    ]
    page = Page(write_report(folder))
    assert "95 % interval" not in page.words
    assert "This run gives no intervals." in page.words


def test_the_page_needs_no_network_and_runs_nothing(page: Page, folder: Path) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name)
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base"}
        assert not [a for a in attributes if a.startswith("on")]
    text = (folder / "report.html").read_text()
    styles = "".join(re.findall(r"<style>.*?</style>", text, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert (folder / "report.html").stat().st_size < 5_000_000


def test_the_page_can_be_read_without_seeing_it_and_without_a_mouse(page: Page) -> None:
    assert page.of("html")[0]["lang"] == "en"
    assert len(page.of("h1")) == 1
    assert len(page.of("img")) == 15
    assert all(len(img["alt"]) > 40 for img in page.of("img"))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["href"][1:] for a in page.of("a") if a["href"].startswith("#")} <= ids
    assert page.of("a")[0]["class"] == "skip"
    assert all(t["scope"] == "col" for t in page.of("th"))
    scrolled = [a for _, a in page.tags if a.get("class") == "scroll"]
    assert len(scrolled) == len(page.of("table")) > 8
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)


def test_the_words_under_the_map_count_what_it_shows(page: Page, folder: Path) -> None:
    _, vehicles = series.link_vehicles(Folder.open(folder))
    inside = vehicles[:-2]  # the last two links are the road outside
    assert f"{(inside > 0).sum():,} links were used, the busiest by {inside.max():,.0f} vehicles" in page.words
    assert "56 charging sites delivered energy" in page.words


def test_pictures_in_the_page_are_whole(page: Page) -> None:
    kinds = []
    for image in page.of("img"):
        kind, _, content = image["src"].removeprefix("data:").partition(";base64,")
        held = base64.b64decode(content, validate=True)
        kinds.append(kind)
        assert held.endswith(b"IEND\xaeB`\x82") if kind == "image/png" else held.rstrip().endswith(b"</svg>")
    assert kinds.count("image/png") == 1
    assert kinds.count("image/svg+xml") == len(kinds) - 1 == 14


def test_the_saved_numbers_are_those_of_the_chart(page: Page, folder: Path) -> None:
    links = {a["download"]: a["href"] for a in page.of("a") if "download" in a}
    assert set(links) == {f"{n}.csv" for n in ("feeders_by_hour", "cells_by_hour",
        "grid_load_by_kind", "feeder_load", "grid_admd", "grid_hosting",
            "autonomy_by_road", "cloud_by_service", "autonomy_by_hour", "cloud_backlog")}  # fmt: skip
    text = base64.b64decode(links["grid_load_by_kind.csv"].partition(";base64,")[2]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    load = series.grid_load(Folder.open(folder))
    for name, values in zip(load.names, load.values, strict=True):
        assert [float(r[f"{name}_kw"]) for r in rows] == values.tolist()  # read back the same, to the bit
    text = base64.b64decode(links["cloud_by_service.csv"].partition(";base64,")[2]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    said = Folder.open(folder).summary["cloud"]
    assert sum(float(r["generated_bytes"]) for r in rows) == said["generated_bytes"]


def test_text_of_a_run_is_text_and_not_html(tmp_path: Path) -> None:
    folder = write_results(tmp_path, blocks=1, name="<b>$title</b> & \"co\" 'x'")
    changed(folder, "manifest.json", cpu="<script>alert(1)</script>", ledger={"<i>cars</i>": 3})
    page = Page(write_report(folder))
    assert {"b", "i", "script"}.isdisjoint(t for t, _ in page.tags)
    assert page.words.count("<b>$title</b> & \"co\" 'x'") >= 2
    assert "<script>alert(1)</script>" in page.words


def test_an_honest_run_has_no_warning(page: Page) -> None:
    assert not [a for a in page.of("p") if a.get("class") == "warn"]


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("summary.json", {"grid__peak_kw": 999.0}, "summary.json says 999.0\u00a0kW (grid.peak_kw)"),
        ("summary.json", {"cloud__generated_bytes": 7}, "summary.json says 7\u00a0B (cloud.generated_bytes)"),
        ("manifest.json", {"ledger__joules": -4}, "Ledger joules does not close: residual -4."),
        ("manifest.json", {"status": "degraded"}, "This run is degraded"),
        ("manifest.json", {"status": "stopped"}, "This run was stopped before its end"),
    ],
)
def test_a_run_that_is_not_right_says_so_on_the_first_screen(
    file: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    page = Page(write_report(changed(write_results(tmp_path, blocks=1), file, **change)))
    assert len([a for a in page.of("p") if a.get("class") == "warn"]) == 1
    assert page.words.index(words) < page.words.index("of fleet distance")


def test_a_run_in_which_nothing_happens_still_has_a_page(tmp_path: Path) -> None:
    folder = write_results(tmp_path, blocks=2, motorway=False, connected=False, charging=False)
    page = Page(after_run(folder)[1])
    assert not [a for a in page.of("p") if a.get("class") == "warn"]
    assert "no car charged" in page.words
    assert "Feeders with most energy" not in page.words


def test_equal_runs_give_equal_pages(folder: Path, tmp_path: Path) -> None:
    first = write_report(folder, tmp_path / "a.html").read_bytes()
    assert write_report(folder, tmp_path / "b.html").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_bad_folders_are_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good"
    cases: list[tuple[str, str]] = []

    def fresh() -> Path:
        return write_results(good, blocks=1)

    def refused(folder: Path, pattern: str) -> None:
        with pytest.raises(ResultsError, match=pattern) as caught:
            write_report(folder, tmp_path / "out.html")
        cases.append((pattern, str(caught.value)))
        assert not (tmp_path / "out.html").exists()

    refused(tmp_path / "nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "not a results folder")
    refused(changed(fresh(), "manifest.json", status="running"), "has not ended")
    refused(changed(fresh(), "manifest.json", format=99), "format 99")
    (fresh() / "summary.json").write_text("{")
    refused(good, "summary.json")
    (fresh() / "scenario.toml").write_text("name = \nx")
    refused(good, "scenario.toml: cannot be read")
    (fresh() / "grid_load.parquet").write_bytes(b"PAR1 nothing PAR1")
    refused(good, "grid_load.parquet: damaged or not Parquet")
    write_table(fresh(), "cloud", time_s=[1])
    refused(good, "cloud.parquet: no column service")
    flipped = bytearray((fresh() / "autonomy.parquet").read_bytes())
    flipped[200] ^= 0xFF
    (good / "autonomy.parquet").write_bytes(flipped)
    refused(good, "autonomy.parquet: damaged or not Parquet")
    assert all("\n" not in message for _, message in cases)


def test_the_rooms_error_is_a_results_error() -> None:
    assert issubclass(ReportError, ResultsError)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1e15) | st.integers(1, 10**15), st.sampled_from(["kW", "share", "bytes", "s", ""]))
def test_a_shown_amount_reads_back_within_its_digits(value: float, unit: str) -> None:
    number, _, shown = style.amount(value, unit).partition("\u00a0")
    scale = {"PB": 1e15, "B": 1.0, **UNITS}.get(shown, 1.0)
    assert float(number.replace(",", "")) * scale == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize("value", [None, "text", True, float("nan"), float("inf")])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    assert style.amount(value, "kW") == "–"


def test_fonts_draw_what_they_are_given() -> None:
    assert style.drawable("Kyōto, Ærø → 京都\n€") == "Kyōto, Ærø → ···€"


def test_a_table_without_rows_is_an_empty_series(tmp_path: Path) -> None:
    write_results(tmp_path, blocks=1, charging=False)
    assert Folder.open(tmp_path).columns("grid_load")
    assert np.array_equal(series.grid_load(Folder.open(tmp_path)).total, np.zeros(96))
