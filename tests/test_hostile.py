"""Damaged files and files made to harm: 50 of each format and all named ones; more by `python -m tests.hostile`."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import FORMATS, judge, mutate

ROOT = Path(__file__).resolve().parents[1]


class OursError(ValueError):
    """What a room raises."""


OursError.__module__ = "maps.network"


@pytest.mark.slow
def test_fifty_of_each_format_and_all_named_files(tmp_path: Path) -> None:
    """In a process of its own, with an address space of 512 MiB more than the program takes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile", "--n", "50", "all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = re.findall(r"^(\w+): (\d+) files, (\d+) refused .* 0 wrong$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in lines] == [*FORMATS, "named"]
    assert all(int(files) >= 50 and int(refused) >= 10 for _, files, refused in lines), done.stdout


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (OursError("a.osm: line 3: no way; valid is one"), True),
        (OursError("line 3: no way"), False),  # names no file
        (KeyError("a.osm"), False),
        (ValueError("a.osm: not one of ours"), False),
        (MemoryError(), False),
        (RecursionError("a.osm"), False),
    ],
)
def test_only_one_line_of_ours_with_the_file_is_right(error: Exception, right: bool, tmp_path: Path) -> None:
    def read(path: Path) -> None:
        raise error

    assert judge(read, tmp_path / "a.osm", names="a.osm")[1] is right


def test_mutations_change_files_and_can_be_repeated() -> None:
    data = b"name = 'x'\n[fleet]\ncars = 12\n" * 5
    for text in (True, False):
        made = [mutate(data, random.Random(seed), text=text) for seed in range(200)]
        assert made == [mutate(data, random.Random(seed), text=text) for seed in range(200)]
        assert len(set(made)) > 100
        assert sum(m == data for m in made) < 20
