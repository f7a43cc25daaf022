"""Put another source into a module that is already imported, kernels uncompiled."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORDS = {
    "twin/autonomy/kernels.py", "twin/traffic/kernels.py", "twin/traffic/junction_kernels.py",
    "twin/traffic/waiting_kernels.py", "twin/traffic/calendar_kernels.py", "twin/traffic/snapshot_kernels.py",
    "twin/traffic/slot_kernels.py",
}  # fmt: skip
"""Kernels that read the fields of records as attributes, which only the compiler does."""
MARKS = ("njit", "compiled", "_compiled", "inlined", "pasted")
OF_ARRAYS = ("shape", "size", "dtype", "ndim", "T")


class _Uncompiled(ast.NodeTransformer):
    """Drops the compiler's marks, and turns `record.field` into `record["field"]`."""

    def __init__(self, *, records: bool) -> None:
        self.records = records
        self.inside = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        marks = [ast.unparse(mark).split("(")[0].split(".")[-1] for mark in node.decorator_list]
        ours = [mark for mark, name in zip(node.decorator_list, marks, strict=True) if name in MARKS]
        node.decorator_list = [mark for mark in node.decorator_list if mark not in ours]
        self.inside = bool(ours) and self.records
        self.generic_visit(node)
        self.inside = False
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute):  # a method, or a function of a module
            node.args = [self.visit(arg) for arg in node.args]
            return node
        self.generic_visit(node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        root = node.value
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        module = isinstance(root, ast.Name) and root.id in {"np", "math", "numba"}
        if not self.inside or module or node.attr in OF_ARRAYS:
            return node
        return ast.copy_location(ast.Subscript(node.value, ast.Constant(node.attr), node.ctx), node)


def _lowest_bit(word: Any) -> int:
    """What the processor's instruction counts."""
    whole = int(word)
    return (whole & -whole).bit_length() - 1


INSTRUCTIONS = {"prefetch": lambda array, index: None, "lowest_bit": _lowest_bit}


def code_of(file: str, tree: ast.Module) -> CodeType:
    """Code of a file's tree; of kernels without the compiler, so that it runs at once."""
    if file.endswith("kernels.py"):
        tree = ast.fix_missing_locations(_Uncompiled(records=file in RECORDS).visit(tree))
    return compile(tree, str(ROOT / file), "exec")


def module_of(file: str) -> ModuleType:
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def plant(file: str, tree: ast.Module) -> None:
    """Run a tree in the module of a file, and let all that imported from it see the new functions and classes."""
    module = module_of(file)
    before = dict(vars(module))
    exec(code_of(file, tree), vars(module))
    if file.endswith("kernels.py"):
        vars(module).update({name: new for name, new in INSTRUCTIONS.items() if name in before})
    new = {
        id(old): vars(module)[name]
        for name, old in before.items()
        if not isinstance(old, int | float | str | tuple | ModuleType | None) and vars(module).get(name) is not old
    }
    for other in [m for n, m in sys.modules.items() if n.split(".")[0] in ("twin", "runs", "tests") or "test_" in n]:
        for name, value in list(vars(other).items()):
            if other is not module and id(value) in new:
                setattr(other, name, new[id(value)])


def with_callers(file: str) -> list[str]:
    """A file and the kernels that call it, the called first: compiled code cannot call what is not."""
    kernels = sorted(ROOT.glob("twin/*/*kernels.py"))
    imports = {
        str(path.relative_to(ROOT)): {
            f"{node.module.replace('.', '/')}.py"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        for path in kernels
    }
    found = [file]
    for called in found:
        found += [name for name, wanted in imports.items() if called in wanted and name not in found]
    return found
