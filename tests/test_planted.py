"""Planted bugs are caught: one of each room here, all fifty by `python -m tests.planted`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.planted import BUGS, ROOT, source_with

ROOM = "twin/ota"


def test_fifty_bugs_have_their_lines() -> None:
    assert len(BUGS) == len(set(BUGS)) >= 50
    for bug in BUGS:
        assert source_with(bug) != (ROOT / bug.file).read_text("utf-8")
    assert {bug.file.split("/")[1] for bug in BUGS} >= {"charging", "grid", "energy", "autonomy", "cloud", "ota"}


def test_bugs_of_a_room_are_caught() -> None:
    """In a process of its own, since planting changes modules."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.planted", "--only", ROOM],
        cwd=Path(ROOT),
        capture_output=True,
        text=True,
        check=False,
    )
    count = sum(ROOM in bug.file for bug in BUGS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} of {count} caught" in done.stdout
    assert len(re.findall("^caught", done.stdout, re.MULTILINE)) == count >= 3
