"""Mutation testing itself: every kernel has its tests, every change is one, and the list of exceptions is not stale."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.__main__ import equivalent, of, targets
from tests.mutation.mutants import mutants, mutated, sample
from tests.mutation.planting import RECORDS, ROOT, code_of

INSTRUCTIONS_ONLY = {"twin/traffic/processor_kernels.py"}  # two instructions in words of the compiler
SOURCE = """
import numpy as np

@njit(cache=True)
def f(a: int, b: int = 1) -> int:
    \"\"\"Not this 1.\"\"\"
    total = 0
    for i in range(a):
        if i < b and a:
            total += i * 2
    return max(total, b)
"""


def test_every_kernel_has_a_target_and_every_target_its_files() -> None:
    kernels = {str(path.relative_to(ROOT)) for path in ROOT.glob("twin/*/*kernels.py")}
    assert kernels - INSTRUCTIONS_ONLY <= targets().keys()
    for file, about in targets().items():
        assert (ROOT / file).is_file()
        for name in about["tests"]:
            path, _, test = name.partition("::")
            assert f"def {test}" in (ROOT / path).read_text("utf-8")
        if only := about.get("only"):
            assert f"def {only}(" in (ROOT / file).read_text("utf-8")
    assert kernels >= RECORDS


@pytest.mark.parametrize("file", sorted(equivalent()))
def test_exceptions_name_mutants_that_there_are(file: str) -> None:
    assert equivalent()[file].keys() <= {mutant.ident for mutant in of(file)}


def test_mutants_are_single_changes_of_bodies() -> None:
    found = mutants("x_kernels.py", SOURCE)
    said = {(mutant.was.split("  in  ")[0], mutant.now) for mutant in found}
    assert said == {
        ("0", "1"), ("0", "-1"), ("i < b and a", "i < b or a"), ("i < b", "i <= b"),
        ("total += i * 2", "total -= i * 2"), ("total += i * 2", "pass"), ("i * 2", "i + 2"), ("2", "3"),
        ("2", "1"), ("max", "min"),
        ("i < b and a", "not (i < b and a)"),
    }  # fmt: skip
    assert len({mutant.ident for mutant in found}) == len(found)
    whole = ast.unparse(ast.parse(SOURCE))
    for mutant in found:
        other = ast.unparse(mutated(SOURCE, mutant))
        assert sum(a != b for a, b in zip(whole.splitlines(), other.splitlines(), strict=True)) == 1
    moved = mutants("x_kernels.py", SOURCE.replace("import numpy as np", "import numpy as np\n\n"))
    assert [m.ident for m in moved] == [m.ident for m in found]
    assert sample(found, 4, 0) == sample(found, 9, 0)[:4] != found[:4]


def test_a_mutant_runs_uncompiled_and_differs() -> None:
    def result(tree: ast.Module) -> int:
        space: dict[str, object] = {}
        exec(code_of("x_kernels.py", tree), space)  # the mark of the compiler is gone, its name unknown
        return space["f"](5, 3)  # type: ignore[operator,no-any-return]

    assert result(ast.parse(SOURCE)) == 6
    results = [result(mutated(SOURCE, mutant)) for mutant in mutants("x_kernels.py", SOURCE)]
    assert 6 not in results
