"""`twin validate`: the targets of `facts/validation.toml` against what the twin computes now.

Targets, tolerances and the way to compare are the file's; values come from `runs.measures`.
A target without a measure is shown as not covered, a measure without its data as needing it;
neither is a pass.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runs.folder import disk_errors
from runs.measures import MEASURES, Measure
from runs.measures_charging import NeedsDataError
from twin import facts

PASS, FAIL, NOT_COVERED, NEEDS_DATA = "pass", "fail", "not covered", "needs data"
REPORT = Path("results") / "validation.json"


class ValidationError(ValueError):
    """The data folder or the table of targets cannot be used; the message is one line."""


class Check(NamedTuple):
    """One quantity held against its target.

    Attributes
    ----------
    id, part, quantity : which target, which of its values, what it is
    value : what the twin computes, None when it does not
    target : number, or (low, high) of a range; None where another value is the measure
    tolerance : in words
    verdict : PASS, FAIL, NOT_COVERED or NEEDS_DATA
    source : ids of `facts/sources.toml`
    note : why there is no value, or what is known about the difference
    """

    id: str
    part: str
    quantity: str
    value: float | None
    target: float | tuple[float, float] | None
    tolerance: str
    verdict: str
    source: str
    note: str = ""


def validate(
    data: Path | None = None,
    *,
    say: Callable[[str], None] | None = None,
    targets: Sequence[Mapping[str, Any]] | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> list[Check]:
    """Check every target.

    Parameters
    ----------
    data : Path, optional
        Folder of real data; targets that need it say so when it is left out.
    say : function of a line, for progress
    targets, measures : the file's and the twin's own when left out

    Raises
    ------
    ValidationError
        When the folder is not one, or a target and its measure do not fit each other.
    """
    if data is not None and not data.is_dir():
        raise ValidationError(f"{data}: not a folder; --data takes the folder that holds energy/ and networks/")
    checks: list[Check] = []
    for target in facts.load("validation")["target"] if targets is None else targets:
        if target["id"] in measures and say:
            say(f"{target['id']} {target['what']}")
        checks += _check(target, measures.get(target["id"]), data)
    return checks


def _check(target: Mapping[str, Any], measure: Measure | None, data: Path | None) -> Iterator[Check]:
    compare = target.get("compare", "near")
    given = target["value"]
    if compare == "between":
        goals: list[Any] = [tuple(given)]
        ways = ["between"]
    else:
        goals = list(given) if isinstance(given, list) else [given]
        ways = list(compare) if isinstance(compare, list) else [compare] * len(goals)
    parts = target.get("parts", [""] * len(goals))
    if not len(parts) == len(goals) == len(ways):
        raise ValidationError(f"validation.toml: {target['id']}: parts, value and compare differ in number")
    found: Sequence[float | None]
    missing, note = NOT_COVERED, str(target.get("note", ""))
    if measure is None:
        found = [None] * len(goals)
    else:
        try:
            values = measure(data)
            # what a measure leaves out at the end is not covered yet
            found = [*values, *[None] * (len(goals) - len(values))]
        except NeedsDataError as error:
            found, missing, note = [None] * len(goals), NEEDS_DATA, str(error)
    if len(found) != len(goals):
        raise ValidationError(f"{target['id']}: {len(found)} values were measured for {len(goals)} targets")
    for part, value, goal, way in zip(parts, found, goals, ways, strict=True):
        slack = _slack(target, way)
        verdict = missing if value is None else PASS if _holds(value, goal, way, target) else FAIL
        yield Check(target["id"], part, target["what"], value, goal, slack, verdict, target["source"], note)
    if best := target.get("best"):
        yield _best(target, best, dict(zip(parts, found, strict=True)), missing, note)


def _best(target: Mapping[str, Any], best: str, found: Mapping[str, float | None], missing: str, note: str) -> Check:
    value = found[best]
    others = [v for name, v in found.items() if name != best and v is not None]
    verdict = missing if value is None or not others else PASS if value > max(others) else FAIL
    part = f"{best} is the best"
    return Check(target["id"], part, target["what"], value, None, "the largest", verdict, target["source"], note)


def _holds(value: float, goal: Any, way: str, target: Mapping[str, Any]) -> bool:
    if not math.isfinite(value):
        return False
    share, span = target.get("tolerance_pct", 0) / 100, target.get("tolerance_abs", 0)
    if way == "near":
        return bool(abs(value - goal) <= abs(goal) * share + span)
    if way == "at least":
        return bool(value >= goal)
    if way == "at most":
        return bool(value <= goal)
    if way == "between":
        low, high = goal
        return bool(low - abs(low) * share - span <= value <= high + abs(high) * share + span)
    raise ValidationError(
        f"validation.toml: {target['id']}: compare = {way!r}; valid: near, at least, at most, between"
    )


def _slack(target: Mapping[str, Any], way: str) -> str:
    if way in {"at least", "at most"}:
        return way
    if "tolerance_pct" in target:
        return f"±{target['tolerance_pct']:g} %"
    return f"±{target['tolerance_abs']:g}" if "tolerance_abs" in target else target.get("rule", "")


def failed(checks: Sequence[Check]) -> bool:
    """Whether any check fails."""
    return any(check.verdict == FAIL for check in checks)


def to_dict(checks: Sequence[Check], *, data: Path | None) -> dict[str, Any]:
    """The report: counts by verdict, and every check as a row; no number that JSON does not know."""
    rows = [check._asdict() for check in checks]
    for row in rows:
        if row["value"] is not None and not math.isfinite(row["value"]):
            row["value"] = None
    return {"data": str(data) if data else None, "verdicts": dict(Counter(c.verdict for c in checks)), "checks": rows}


def write(report: Mapping[str, Any], path: Path = REPORT) -> Path:
    """Write the report as JSON, whole or not at all.

    Raises
    ------
    runs.folder.DiskError
        When it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    return path


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """The table, quantity by quantity; targets that are not covered are one line each at the end."""
    shown, last = [c for c in checks if c.verdict in {PASS, FAIL}], ""
    for check in shown:
        if check.id != last:
            yield f"{check.id}  {check.quantity}  [{check.source}]"
            last = check.id
            bad = [c for c in shown if c.id == check.id and c.verdict == FAIL]
            if bad and check.note:
                yield f"  note: {check.note}"
        name = check.part or "value"
        yield f"  {check.verdict.upper() if check.verdict == FAIL else check.verdict:<5} {name:<28} {_text(check)}"
    for verdict in (NEEDS_DATA, NOT_COVERED):
        names = dict.fromkeys(f"{c.id} {c.part}".strip() for c in checks if c.verdict == verdict)
        if names:
            yield f"{verdict}: {', '.join(names)}"
    yield from dict.fromkeys(c.note for c in checks if c.verdict == NEEDS_DATA)
    counts = Counter(c.verdict for c in checks)
    yield ", ".join(f"{counts[v]} {v}" for v in (PASS, FAIL, NEEDS_DATA, NOT_COVERED) if counts[v])


def write_page(checks: Sequence[Check], page: Path) -> Path:
    """Put the table into a Markdown page, between its lines `<!-- checks -->` and `<!-- end of checks -->`.

    Raises
    ------
    ValidationError
        When the page has no such lines.
    runs.folder.DiskError
        When it cannot be read or written.
    """
    begin, end = "<!-- checks -->", "<!-- end of checks -->"
    with disk_errors(page):
        text = page.read_text(encoding="utf-8")
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValidationError(f"{page}: has no lines {begin} and {end} for the table to stand between")
        before, after = text.split(begin)[0], text.split(end)[1]
        part = page.with_name(page.name + ".part")
        part.write_text("\n".join([before + begin, *_page_rows(checks), end]) + after, encoding="utf-8")
        part.replace(page)
    return page


def _page_rows(checks: Sequence[Check]) -> Iterator[str]:
    yield "| target | quantity | part | twin | target value | verdict | source |"
    yield "|---|---|---|---|---|---|---|"
    for c in checks:
        if c.verdict in {PASS, FAIL}:
            goal = c.target if c.target is None or not isinstance(c.target, tuple) else None
            stated = f"{c.target[0]:g} to {c.target[1]:g}" if isinstance(c.target, tuple) else ""
            target = f"{goal:g} {c.tolerance}" if goal is not None else f"{stated} {c.tolerance}"
            value = f"{c.value:.4g}" if c.value is not None else ""
            verdict = "**fail**" if c.verdict == FAIL else c.verdict
            yield f"| {c.id} | {c.quantity} | {c.part} | {value} | {target.strip()} | {verdict} | {c.source} |"
    yield ""
    rest = list(dict.fromkeys(f"{c.id} {c.part}".strip() for c in checks if c.verdict not in {PASS, FAIL}))
    yield f"Not covered: {', '.join(rest)}." if rest else "Every target is covered."


def _text(check: Check) -> str:
    value = f"{check.value:>9.4g}" if check.value is not None else f"{'':>9}"
    if check.target is None:
        return f"{value}   {check.tolerance}"
    goal = f"{check.target[0]:g} to {check.target[1]:g}" if isinstance(check.target, tuple) else f"{check.target:g}"
    return f"{value}   target {goal} {check.tolerance}"
