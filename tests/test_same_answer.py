"""Same seed, same answer: recorded runs, and other threads, hash seeds, folders and batch sizes.

The digests were made on one kind of processor; on another the last digit of a float may differ and the test says where.
A checkout with changed kernels has an empty kernel cache, so continuous integration compares cold runs with these too;
`python -m tests.golden_cases --cold` does so on purpose.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden_cases import CASES, FOLDER, Piecewise, differences, digests, elsewhere, live, record, recorded
from tests.lasting import slope_a_day

ELSEWHERE = ["cloud-down", "no-home-sockets", "dense"]
WAYS = [  # threads, hash seed
    ("1", "0"),
    ("2", "1"),
    ("4", "4294967295"),
]


def test_every_case_is_recorded_and_none_is_left_over() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(CASES)
    assert len(CASES) >= 12


def test_the_cases_are_different_runs() -> None:
    seen = {name: recorded(name)["digests"]["trips"] for name in CASES}
    assert len({recorded(name)["digests"]["summary"] for name in CASES}) == len(CASES), seen


@pytest.mark.parametrize("name", CASES)
def test_run_is_as_recorded(name: str) -> None:
    """A difference is a change of results: explain it in CHANGELOG.md and run `make golden`."""
    assert differences(name, recorded(name), record(name)) == []


@pytest.mark.parametrize("name", ["no-home-sockets", "electric-cold"])
def test_batch_size_of_questions_changes_nothing(name: str) -> None:
    assert digests(live(CASES[name], kind=Piecewise)) == recorded(name)["digests"]


@pytest.mark.parametrize(("threads", "hash_seed"), WAYS)
def test_other_process_same_answer(threads: str, hash_seed: str, tmp_path: Path) -> None:
    said = elsewhere(ELSEWHERE, tmp_path, NUMBA_NUM_THREADS=threads, OMP_NUM_THREADS=threads, PYTHONHASHSEED=hash_seed)
    assert said == {name: recorded(name)["digests"] for name in ELSEWHERE}


def test_a_digest_sees_one_wrong_bit() -> None:
    twin = live(CASES["coarse"])
    before = digests(twin)
    assert before == recorded("coarse")["digests"]
    twin.world.fleet.driven_mm[3] += 1
    changed = {name for name, value in digests(twin).items() if value != before[name]}
    assert changed >= {"cars", "summary"}


def test_another_seed_is_another_run() -> None:
    assert CASES["plain"].scenario.but(seed=2, name="seed-2") == CASES["seed-2"].scenario
    assert recorded("plain")["digests"]["trips"] != recorded("seed-2")["digests"]["trips"]


def test_memory_slope_is_that_of_a_line() -> None:
    assert slope_a_day([500.0, 100.0, 101.0, 102.0]) == pytest.approx(1 / 101)
    assert slope_a_day([100.0, 200.0, 200.0, 200.0]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="three days"):
        slope_a_day([1.0, 2.0])
