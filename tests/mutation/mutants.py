"""Mutants of a source file: one small change each, in the body of a function."""

from __future__ import annotations

import ast
import copy
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = tuple[str, Callable[[ast.AST], ast.AST]]

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}
NAMES |= {"any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change of a file.

    `ident` follows from what is changed and where, not from the number of the line. `lines` are those of the
    statement, or of its head when it has a body.
    """

    ident: str
    file: str
    function: str
    was: str
    now: str
    lines: tuple[int, int]
    node: int
    change: int

    def __str__(self) -> str:
        return f"{self.ident} {self.file}:{self.lines[0]} {self.function}: {self.was}  ->  {self.now}"


def _changes(node: ast.AST) -> Iterator[Change]:
    """What can be done to one node: a word for it, and the function that makes the other node."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in OPERATORS:
            yield "operator", lambda n: _with(n, op=OPERATORS[type(op)]())
        case ast.Compare(ops=ops):
            for i, one in enumerate(ops):
                if type(one) in OPERATORS:
                    yield (
                        "comparison",
                        lambda n, i=i: _with(  # type: ignore[misc]
                            n, ops=[OPERATORS[type(o)]() if i == j else o for j, o in enumerate(n.ops)]
                        ),
                    )
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield "sign", lambda n: n.operand  # type: ignore[attr-defined]
        case ast.Constant(value=bool(value)):
            yield "constant", lambda n: ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "constant", lambda n: ast.Constant(value + 1)
            yield "constant", lambda n: ast.Constant(value - 1)
        case ast.Constant(value=float(value)):
            yield "constant", lambda n: ast.Constant(value * 2 if value else 1.0)
        case ast.Constant(value=str(value)):
            yield "constant", lambda n: ast.Constant(value + "X")
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield "name", lambda n: ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in NAMES:
            yield "name", lambda n: _with(n, attr=NAMES[name])
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not (isinstance(test, ast.Constant) or (isinstance(test, ast.Compare) and len(test.ops) == 1)) or (
                isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
            ):
                yield "negated", lambda n: _with(n, test=ast.UnaryOp(ast.Not(), n.test))  # type: ignore[attr-defined]
        case ast.AugAssign() | ast.Raise() | ast.Expr(value=ast.Call()):
            yield "dropped", lambda n: ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield "dropped", lambda n: ast.Pass()
        case ast.Break():
            yield "loop", lambda n: ast.Continue()
        case ast.Continue():
            yield "loop", lambda n: ast.Break()


def _with(node: ast.AST, **changed: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


def _places(tree: ast.Module) -> Iterator[tuple[int, ast.AST, str, ast.stmt]]:
    """Number, node, qualified name of the function and statement of everything that may be changed."""
    number = {id(node): i for i, node in enumerate(ast.walk(tree))}

    def inside(node: ast.AST, name: str, statement: ast.stmt | None) -> Iterator[tuple[int, ast.AST, str, ast.stmt]]:
        for field, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            if field in {"annotation", "returns", "decorator_list", "args", "type_params"} and not isinstance(
                node, ast.Call
            ):
                continue
            for i, child in enumerate(children):
                if not isinstance(child, ast.AST) or _is_text(node, i, child, field):
                    continue
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    yield from inside(child, f"{name}.{child.name}".lstrip("."), None)
                    continue
                here = child if isinstance(child, ast.stmt) else statement
                in_function = name and here is not None and not isinstance(node, ast.ClassDef | ast.Module)
                if in_function and here is not None:
                    yield number[id(child)], child, name, here
                if not isinstance(child, ast.Raise | ast.JoinedStr | ast.Assert):
                    yield from inside(child, name, here if in_function else None)

    yield from inside(tree, "", None)


def _is_text(parent: ast.AST, i: int, child: ast.AST, field: str) -> bool:
    docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
    return isinstance(child, ast.Import | ast.ImportFrom) or (docstring and field == "body")


def _head(statement: ast.stmt) -> tuple[int, int]:
    body = getattr(statement, "body", None)
    end = body[0].lineno - 1 if body else statement.end_lineno
    return statement.lineno, max(statement.lineno, end or 0)


def mutants(file: str, source: str, *, only: str = "") -> list[Mutant]:
    """Every mutant of a source, in order; `only` keeps functions whose name ends so."""
    found: list[Mutant] = []
    met: Counter[str] = Counter()
    for number, node, function, statement in _places(ast.parse(source)):
        if only and function.split(".")[-1] != only:
            continue
        for i, (kind, make) in enumerate(_changes(node)):
            was = " ".join(ast.unparse(node).split())
            now = " ".join(ast.unparse(ast.fix_missing_locations(make(node))).split())
            text = f"{file} {function} {kind} {_first_line(statement)} {was} {now}"
            met[text] += 1
            ident = hashlib.blake2b(f"{text} {met[text]}".encode(), digest_size=4).hexdigest()
            short = tuple(t if len(t) < 90 else t[:87] + "…" for t in (was, now))
            if kind == "negated":
                test = ast.unparse(node.test)  # type: ignore[attr-defined]
                short = (test[:80], f"not ({test[:80]})")
            elif not isinstance(node, ast.stmt):
                short = (f"{short[0]}  in  {_first_line(statement)[:100]}", short[1])
            found.append(Mutant(ident, file, function, *short, _head(statement), number, i))
    return found


def _first_line(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0]


def sample(found: list[Mutant], n: int, seed: int) -> list[Mutant]:
    """At most n of them, drawn without replacement; a larger n goes on with the same ones first."""
    order = list(range(len(found)))
    random.Random(seed).shuffle(order)
    return [found[i] for i in order[:n]]


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The tree of the source with the change in it."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    node = nodes[mutant.node]
    make = [change for _, change in _changes(node)][mutant.change]
    new = ast.copy_location(make(node), node)
    for parent in nodes:
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if item is node else item for item in value]
    return ast.fix_missing_locations(tree)


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of 95 % for a share (Wilson 1927).

    >>> wilson(9, 10)
    (0.596, 0.982)
    """
    if not n:
        return 0.0, 1.0
    p, w = hits / n, z * z / n
    middle, half = p + w / 2, z * (p * (1 - p) / n + w / (4 * n)) ** 0.5
    return round((middle - half) / (1 + w), 3), round((middle + half) / (1 + w), 3)
