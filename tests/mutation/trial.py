"""Try the mutants of one file: each in a child of this process, with the tests that reach its line, until one fails."""

from __future__ import annotations

import ast
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.forked import in_a_child
from tests.mutation.mutants import Mutant, mutated
from tests.mutation.planting import ROOT, plant, with_callers

MOST_TEST_S = 8.0
"""Tests that take more uncompiled are left out."""
MOST_FIRST_S = 180.0
"""The first test of a file waits for kernels to be compiled and for what its file builds once."""
MOST_MUTANT_S = 12.0
"""So are the dearest tests of a line beyond this."""
TOOL = 4


class TooLong(BaseException):
    """Not an Exception: no test may catch it."""


@dataclass
class Tried:
    """What came of the mutants of a file: by which test each was killed, "" when it was not."""

    file: str
    tests: int = 0
    left_out: list[str] = field(default_factory=list)
    killed_by: dict[str, str] = field(default_factory=dict)


class Hunt:
    """A pytest plugin that runs the collected tests once as they are, then against every mutant."""

    def __init__(self, file: str, chosen: list[Mutant], say: Any) -> None:
        self.file, self.chosen, self.say = file, chosen, say
        self.found = Tried(file)
        self.reached: dict[str, set[int]] = {}
        self.took: dict[str, float] = {}

    def pytest_configure(self) -> None:
        import hypothesis

        hypothesis.settings.register_profile(
            "mutation",
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=20,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError(f"{session.testsfailed} files of tests cannot be read")
        for file in with_callers(self.file):
            plant(file, ast.parse((ROOT / file).read_text("utf-8")))
        items = self._as_it_is(session.items)
        source = (ROOT / self.file).read_text("utf-8")
        for mutant in self.chosen:
            tests = self._of(mutant, items)
            began = time.monotonic()
            by = self._apart(source, mutant, tests) if tests else ""
            self.found.killed_by[mutant.ident] = by
            verdict = f"killed by {by}" if by else f"SURVIVED {len(tests)} tests"
            self.say(f"{mutant}\n    {verdict} ({time.monotonic() - began:.1f} s)")
        return True

    def _as_it_is(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Tests that hold without a mutant, the cheapest first, with the lines that each reaches."""
        watch = _Watch(str(ROOT / self.file))
        kept, met = [], set()
        for i, item in enumerate(items):
            following = items[i + 1] if i + 1 < len(items) else None
            began = time.process_time()
            with watch:
                right = _passes(item, following, MOST_TEST_S if item.path in met else MOST_FIRST_S)
            met.add(item.path)
            self.took[item.nodeid] = time.process_time() - began
            self.reached[item.nodeid] = watch.lines
            if right and watch.lines:
                kept.append(item)
            elif not right:
                self.found.left_out.append(item.nodeid)
        self.found.tests = len(kept)
        return sorted(kept, key=lambda item: self.took[item.nodeid])

    def _of(self, mutant: Mutant, items: list[pytest.Item]) -> list[pytest.Item]:
        first, last = mutant.lines
        chosen, seconds = [], 0.0
        for item in items:
            if self.reached[item.nodeid].isdisjoint(range(first, last + 1)):
                continue
            seconds += self.took[item.nodeid]
            if chosen and seconds > MOST_MUTANT_S:
                break
            chosen.append(item)
        return chosen

    def _apart(self, source: str, mutant: Mutant, tests: list[pytest.Item]) -> str:
        """Name of the test that fails in a child with the mutant; a child that does not end is killed as well."""

        def by() -> str:
            _limit(4 + int(4 * sum(self.took[item.nodeid] for item in tests)))
            try:
                plant(self.file, mutated(source, mutant))
                for i, item in enumerate(tests):
                    if not _passes(item, tests[i + 1] if i + 1 < len(tests) else None, 3 * MOST_TEST_S):
                        return item.nodeid
            except BaseException as error:
                return f"planting: {error!r}"
            return ""

        found = in_a_child(by)
        return "time or memory" if found is None else str(found)


class _Watch:
    """Lines of a file that run."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: set[int] = set()

    def __enter__(self) -> None:
        self.lines = set()
        tool = sys.monitoring
        tool.use_tool_id(TOOL, "mutation")
        tool.register_callback(TOOL, tool.events.LINE, self._line)
        tool.set_events(TOOL, tool.events.LINE)
        tool.restart_events()

    def __exit__(self, *_: object) -> None:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.free_tool_id(TOOL)

    def _line(self, code: CodeType, line: int) -> object:
        if code.co_filename == self.file:
            self.lines.add(line)
        return sys.monitoring.DISABLE


def _passes(item: pytest.Item, following: pytest.Item | None, most_s: float) -> bool:
    def late(_signum: int, _frame: object) -> None:
        raise TooLong

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, most_s)
    try:
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, nextitem=following, log=False)
    except TooLong:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return not any(report.failed for report in reports)


def _limit(seconds: int) -> None:
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, used + seconds + 1))
    taken = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + (4 << 30), taken + (4 << 30)))
    signal.alarm(20 * seconds)  # for one that waits


def hunt(file: str, chosen: list[Mutant], tests: list[str], say: Any = print) -> Tried:
    """Try mutants of a file with tests named as pytest names them."""
    plugin = Hunt(file, chosen, say)
    off = [word for name in ("xdist", "cacheprovider", "terminal") for word in ("-p", f"no:{name}")]
    plain = ["--capture=sys", "-o", "addopts=--import-mode=importlib --strict-markers", "-W", "ignore::RuntimeWarning"]
    plain += ["-W", "ignore::DeprecationWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    code = pytest.main([*off, *plain, "--rootdir", str(ROOT), *tests], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) or not plugin.found.tests:
        raise SystemExit(f"{file}: the tests did not start ({code}); {len(plugin.found.left_out)} fail as it is")
    return plugin.found


def lines_by(found: Tried) -> dict[str, int]:
    """How many mutants each file of tests has killed."""
    count: dict[str, int] = defaultdict(int)
    for by in found.killed_by.values():
        if by:
            count[by.split("::")[0]] += 1
    return dict(count)
