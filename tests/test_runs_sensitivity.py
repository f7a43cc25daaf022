"""Sensitivity in one command: the same trips again, the base as in the run itself, order in every direction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from runs import Scenario, cli
from runs.sensitivity import Sensitivity, SensitivityError, sensitivity
from twin.autonomy.journal import Journal

DEMO = Scenario.load("demo").but(fleet__cars=250, demand__other_traffic=0.0, until="10h")


@pytest.fixture(scope="module")
def found() -> Sensitivity:
    return sensitivity(DEMO, use=(0.0, 1.0, 1e6), domain=("narrow", "facts", "wide"), equipped=("market", 0.0, 1.0))


def test_the_same_settings_give_the_runs_own_cars_to_the_millimetre() -> None:
    twin = DEMO.build()
    journal = Journal(twin.world.autonomy)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    again = journal.again(DEMO.autonomy)
    for column in ("driven_mm", "engaged_mm", "engaged_ms", "domain_mm"):
        assert np.array_equal(getattr(again.fleet, column), getattr(twin.world.fleet, column)), column
    said = twin.world.summary()["autonomy"]
    assert said.pop("destination")["ways_proposed"] == 0
    assert again.summary() == said
    assert not any(again.ledger().values())
    assert journal.rows > 3_000


def test_rows_are_ordered_by_what_is_varied(found: Sensitivity) -> None:
    share = {(r.use, r.domain, r.equipped): r.share.mean for r in found.rows}
    assert len(share) == 27
    for (use, domain, equipped), value in share.items():
        if use == 0.0 or equipped == 0.0:
            assert value == 0.0
        if use == 1.0:
            assert value <= share[1e6, domain, equipped]
        if domain == "facts":
            assert share[use, "narrow", equipped] <= value <= share[use, "wide", equipped]
        if equipped == "market":
            assert value <= share[use, domain, 1.0]
    assert share[1.0, "facts", "market"] == found.base.mean > 0
    for row in found.rows:
        assert row.share.low <= row.share.mean <= row.share.high
        assert row.share.mean <= row.possible_share + 1e-12
        assert row.share.mean <= row.of_equipped.mean + 1e-12
        assert row.change.mean == pytest.approx(row.share.mean - found.base.mean)


def test_pairing_makes_the_change_tighter_than_two_intervals(found: Sensitivity) -> None:
    base = next(r for r in found.rows if (r.use, r.domain, r.equipped) == (1.0, "facts", "market"))
    assert (base.change.mean, base.change.low, base.change.high) == (0.0, 0.0, 0.0)


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.csv"
    options = ["--cars", "30", "--until", "8h", "--use", "1", "--domain", "facts", "--equipped", "1", "--out", str(out)]
    assert cli.main(["sensitivity", "monaco", *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with out.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert said["path"] == str(out)
    assert {k: str(v) for k, v in said["rows"][0].items()} == row
    assert cli.main(["sensitivity", "monaco", *options, "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--use", "often"], "--use: 'often' is not a number"),
        (["--use", "1,,2"], "must be values with commas between"),
        (["--use", "-1"], "autonomy.use: must be greater than or equal to 0, is -1.0"),
        (["--equipped", "2"], "fleet.propilot: must be less than or equal to 1, is 2.0"),
        (["--domain", "all"], "autonomy.domain: unknown case 'all'; valid: narrow, facts, wide"),
        (["--use", "1,1"], "use: a value is given twice"),
    ],
)
def test_bad_values_are_named_before_anything_runs(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sensitivity", "demo", "--cars", "50", *options, "--out", str(tmp_path / "x.csv")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_too_many_combinations_are_refused() -> None:
    with pytest.raises(SensitivityError, match="at most 2,000"):
        sensitivity(DEMO, use=[float(k) for k in range(3000)], domain=["facts"], equipped=["market"])
