"""Real charging sessions: read by pattern, predicted better than by their mean, tables that hold for other halves."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from runs.measures_charging import Distance, distances, epfl, fast_charge, leaf_half_hour, station_sessions
from runs.session_data import HOME, SETS, RealSessions, SessionDataError, read_sessions, tabulate
from tests.energy_cases import data_folder
from twin import facts
from twin.charging.stays import LEVELS, StayError, draw, kinds


def sessions(folder: Path, name: str = "boulder_public_sessions_other.csv.gz", rows: str = "") -> Path:
    (folder / "charging").mkdir(exist_ok=True)
    head = "station,port_type,start,end,charging_h,energy_kwh\n"
    with gzip.open(folder / "charging" / name, "wt") as file:
        file.write(head + (rows or "A,Level 2,2020-01-01T08:30:00,2020-01-01T10:00:00,1.0,6.5\n"))
    return folder


def test_files_are_found_by_their_beginning(tmp_path):
    sessions(tmp_path)
    sessions(tmp_path, "boulder_public_sessions_third.csv.gz")
    found = read_sessions(tmp_path, "boulder")
    assert found.hour.tolist() == [8.5, 8.5]
    assert found.stay_h.tolist() == [1.5, 1.5]
    assert found.kind.tolist() == ["us_level2"] * 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("A,Level 2,2020-01-01T08:30:00,2020-01-01T08:00:00,1.0,6.5\n", "row 2: must end after it begins"),
        ("A,Level 2,2020-01-01T08:30:00,2020-01-01T09:00:00,1.0,-1\n", "energy of 0 or more"),
        ("A,Level 2,yesterday,2020-01-01T09:00:00,1.0,1\n", "cannot be read as charging sessions"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, rows, words):
    sessions(tmp_path, rows=rows)
    with pytest.raises(SessionDataError, match=f"boulder_public_sessions_other.csv.gz.*{words}"):
        read_sessions(tmp_path, "boulder")
    with pytest.raises(SessionDataError, match="has no file charging/epfl"):
        read_sessions(tmp_path, "epfl")


def test_tables_give_back_what_they_are_made_of():
    """Hours, stays and energies drawn from a table of made-up sessions have their distribution."""
    rng = np.random.default_rng(3)
    n = 20_000
    hour = rng.uniform(6.0, 20.0, n)
    stay = rng.lognormal(0.0, 0.8, n)
    energy = stay * rng.uniform(2.0, 6.0, n)
    table = tabulate([RealSessions(hour, stay, energy, np.full(n, "us_level2"), None)])["us_level2"]  # type: ignore[arg-type]
    assert table["sessions"] == n
    assert sum(table["hour_share"]) == pytest.approx(1.0, abs=1e-3)
    assert all(len(row) == len(LEVELS) for row in (*table["stay_h"], *table["energy_kwh"]))
    assert table["stay_h"][1][LEVELS.index(0.5)] == pytest.approx(1.0, rel=0.05)


def test_draws_are_a_function_of_their_row():
    one, other = draw("uk_rapid", np.arange(50), seed=2), draw("uk_rapid", [7], seed=2)
    assert other.stay_h[0] == one.stay_h[7]
    assert set(kinds()) == {
        "ch_fast150", "fr_22kw", "fr_domestic", "fr_fast", "uk_22kw", "uk_rapid", "uk_slow", "us_level2"
    }  # fmt: skip
    with pytest.raises(StayError, match="there are ch_fast150"):
        draw("home", [1], seed=1)


def test_the_half_hour_of_the_leaf_lies_between_the_measured_ones():
    (kwh,) = leaf_half_hour(None)
    low, high = facts.load("charging")["japan"]["quick_charger_yield"], 28.7
    assert low["leaf62_90kw_post_30min_kwh_worst"] * 0.92 < kwh < high * 1.08
    warm, cold = (
        fast_charge("leaf_ze1_62", market="japan", first=0.2, last=1.0, post_kw=90.0, limit_s=1800.0, ambient_c=c)[0]
        for c in (25.0, 0.0)
    )
    assert cold / warm == pytest.approx(0.68, abs=0.06)  # 36 % less at the same charge; here the battery fills less


# ------------------------------------------------------------------ with the folder of real data


@pytest.fixture(scope="module")
def data() -> Path:
    return data_folder().parent


@pytest.mark.data
def test_the_station_is_met_within_a_tenth(data):
    assert all(abs(value - 1) < 0.1 for value in epfl(data))
    found = station_sessions(read_sessions(data, "epfl"))
    error = np.abs(found.kwh - found.real_kwh).sum() / found.real_kwh.sum()
    naive = np.abs(found.real_kwh - found.real_kwh.mean()).sum() / found.real_kwh.sum()
    assert error < 0.35 * naive  # also session by session


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_distributions_are_nearer_than_the_mean(data, name):
    found = distances(read_sessions(data, name))
    assert all(d.twin < 0.85 * d.naive for d in found.values()), found
    assert all(isinstance(d, Distance) and d.twin > 0 for d in found.values())


@pytest.mark.data
@pytest.mark.parametrize("name", ["dundee", "perth", "boulder", "belib", "epfl"])
def test_tables_of_one_half_hold_for_the_other(data, name, monkeypatch):
    """What `stays.toml` promises of sessions that it has not seen: fitted on half of the days, judged on the rest."""
    real = read_sessions(data, name)
    assert HOME not in real.kind
    seen = np.arange(len(real.hour)) % 2 == 0
    half = [RealSessions(*(column[part] for column in real[:4]), None) for part in (seen, ~seen)]  # type: ignore[arg-type]
    tables = tabulate(half[:1])
    monkeypatch.setattr("twin.charging.stays.facts.load", lambda _name: tables)
    for kind in tables:
        theirs = half[1].kind == kind
        ours = draw(kind, np.arange(theirs.sum()), seed=4)
        for values, column in zip(ours, half[1][:3], strict=True):
            measured = column[theirs]
            naive = wasserstein_distance(measured, [measured.mean()])
            assert wasserstein_distance(values, measured) < 0.5 * naive, kind
