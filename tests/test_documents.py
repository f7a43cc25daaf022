"""Documents are true where a program can tell: commands and keys exist, code parses, submodels have code and tests."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer.main

from runs.cli import app
from runs.scenario import Scenario, keys
from twin.charging.policies import Question

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def faults_of(text: str) -> list[str]:
    """What is wrong with the code blocks of a document."""
    found = []
    for language, block in BLOCK.findall(text):
        if language == "python":
            try:
                ast.parse(block)
            except SyntaxError as error:
                found.append(f"python: {error}")
        elif language == "toml":
            try:
                tomllib.loads(block)
            except tomllib.TOMLDecodeError as error:
                found.append(f"toml: {error}")
        elif language == "sh":
            found += [fault for line in block.splitlines() for fault in _command(line)]
    return found


def _command(line: str) -> list[str]:
    words = line.split("#", maxsplit=1)[0].split()
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if not words:
        return []
    if words[0] == "make":
        return [f"no target {w}" for w in words[1:] if re.fullmatch(r"[a-z-]+", w) and w not in TARGETS]
    if words[0].endswith("python") and words[1:2] == ["-m"] and words[2].startswith("tests."):
        path = ROOT / words[2].replace(".", "/")
        return [] if path.with_suffix(".py").exists() or (path / "__main__.py").exists() else [f"no module {words[2]}"]
    if not re.search(r"(^|/)twin$", words[0]) or len(words) < 2:
        return []
    if words[1] not in COMMANDS:
        return [f"no command twin {words[1]}"] if not words[1].startswith("-") else []
    known = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts} | {"--help"}
    wrong = [f"twin {words[1]} has no {w}" for w in words if w.startswith("--") and w.split("=")[0] not in known]
    sets = [words[i + 1].split("=")[0] for i, word in enumerate(words[:-1]) if word == "--set"]
    return wrong + [f"no key {key}" for key in sets if key != "KEY" and key not in set(keys()) and key.count(".") == 1]


def test_the_check_sees_faults() -> None:
    for bad in (
        "```python\nx = (\n```",
        "```toml\na = \n```",
        "```sh\ntwin rum kyoto\n```",
        "```sh\ntwin run kyoto --carz 5\n```",
        "```sh\n.venv/bin/twin run --set charging.polcy=timer\n```",
        "```sh\nmake tset\n```",
        "```sh\npython -m tests.no_such\n```",
    ):
        assert len(faults_of(bad)) == 1, bad


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_blocks_are_right(document: Path) -> None:
    assert faults_of(document.read_text()) == []


def test_scenarios_in_the_guides_are_valid() -> None:
    blocks = [
        block for language, block in BLOCK.findall((ROOT / "docs" / "howto.md").read_text()) if language == "toml"
    ]
    assert blocks
    for block in blocks:
        assert Scenario.check(tomllib.loads(block)).fleet.cars == 800


def test_the_policy_in_the_guides_answers_a_question() -> None:
    block = next(b for language, b in BLOCK.findall((ROOT / "docs" / "howto.md").read_text()) if "def late" in b)
    space: dict[str, Any] = {}
    exec(block, space)
    question = SimpleNamespace(left_h=np.array([1.0, 9.0]), rated_kw=np.array([6.0, 3.0]))
    assert space["late"](question).tolist() == [6.0, 0.0]
    assert {"left_h", "rated_kw"} <= {*dir(Question), *(field.name for field in fields(Question))}


def test_every_submodel_names_code_and_tests_that_exist() -> None:
    rows = _submodels((ROOT / "docs" / "odd.md").read_text())
    assert len(rows) >= 20
    for name, code, tests in rows:
        for cell, start in ((code, ("twin/", "runs/")), (tests, ("tests/",))):
            files = re.findall(r"`([^`]+)`", cell)
            assert files, f"{name} names nothing in {cell!r}"
            for file in files:
                assert file.startswith(start), f"{name}: {file}"
                assert (ROOT / file).is_file(), f"{name}: no {file}"
    for file in {file for _, _, tests in rows for file in re.findall(r"`([^`]+)`", tests)}:
        assert "def test_" in (ROOT / file).read_text(), f"{file} holds no test"


def test_every_room_is_a_submodel() -> None:
    said = (ROOT / "docs" / "odd.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "twin").glob("*/__init__.py")} - {"facts"}
    assert {room for room in rooms if f"`twin/{room}/" not in said.split("## 7 Submodels")[1]} == set()


def _submodels(text: str) -> list[list[str]]:
    lines = text.split("## 7 Submodels")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return cells[2:]
