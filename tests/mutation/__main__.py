"""Mutation testing: small changes of kernels, ledgers and checkpoints, each of which some test must notice.

    python -m tests.mutation                          # 40 mutants of every file, drawn with seed 0
    python -m tests.mutation --n 100 charging         # of the files whose name holds this text
    python -m tests.mutation --ident 1a2b3c4d         # one again

Kernels run uncompiled, so that a mutant takes seconds; only tests that reach the changed line are run, cheapest
first. A mutant is killed when a test fails, or when it takes three times as long and more; an index out of range, which
the compiler does not notice, is a failure here. Mutants that change nothing that anyone can see are listed with a
reason in tests/mutation/equivalent.toml and do not count. Exit code 1 below 85 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants, sample, wilson
from tests.mutation.planting import ROOT

LEAST = 0.85
HERE = Path(__file__).parent


def targets() -> dict[str, dict[str, str | list[str]]]:
    """Files to change, with the tests that are tried; `only` names a function."""
    return tomllib.loads((HERE / "targets.toml").read_text("utf-8"))


def equivalent() -> dict[str, dict[str, str]]:
    """Mutants that do not count, by file, with the reason."""
    return tomllib.loads((HERE / "equivalent.toml").read_text("utf-8"))


def of(file: str) -> list[Mutant]:
    """All mutants of a file."""
    only = str(targets()[file].get("only", ""))
    return mutants(file, (ROOT / file).read_text("utf-8"), only=only)


def one_file(file: str, n: int, seed: int, ident: str) -> int:
    from tests.mutation.trial import hunt

    every = of(file)
    chosen = [m for m in every if m.ident == ident] if ident else sample(every, n, seed)
    same = equivalent().get(file, {})
    tried = [m for m in chosen if m.ident not in same or ident]
    found = hunt(file, tried, list(targets()[file]["tests"]), lambda text: print(text, flush=True))
    print(
        json.dumps(
            {
                "file": file,
                "all": len(every),
                "tried": len(tried),
                "killed": sum(map(bool, found.killed_by.values())),
                "equivalent": len(chosen) - len(tried),
                "tests": found.tests,
                "left_out": found.left_out,
            }
        )
    )
    return 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", help="parts of the names of files")
    options.add_argument("--n", type=int, default=40, help="mutants of each file")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--ident", default="")
    options.add_argument("--only-file", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.only_file:
        return one_file(given.only_file, given.n, given.seed, given.ident)
    files = [file for file in targets() if not given.files or any(part in file for part in given.files)]
    if given.ident:
        files = [file for file in files if any(m.ident == given.ident for m in of(file))]
    rows = []
    for file in files:
        command = [sys.executable, "-m", "tests.mutation", "--only-file", file, "--n", str(given.n)]
        command += ["--seed", str(given.seed), "--ident", given.ident]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ) as child:
            last = ""
            for line in child.stdout or ():
                if last:
                    print(last, end="", flush=True)
                last = line
        if child.returncode:
            print(f"{last}{file}: ended with {child.returncode}")
            return 1
        rows.append(json.loads(last))
        print(_row(rows[-1]), flush=True)
    killed, tried = sum(row["killed"] for row in rows), sum(row["tried"] for row in rows)
    print("\n" + "\n".join(map(_row, rows)))
    low, high = wilson(killed, tried)
    print(f"{killed} of {tried} killed, {killed / max(tried, 1):.1%} (95 %: {low:.1%} to {high:.1%})")
    return 0 if killed >= LEAST * tried and tried else 1


def _row(row: dict[str, object]) -> str:
    low, high = wilson(int(str(row["killed"])), int(str(row["tried"])))
    left = len(list(row["left_out"]))  # type: ignore[call-overload]
    return (
        f"{row['file']}: {row['killed']} of {row['tried']} killed ({low:.0%} to {high:.0%}), {row['equivalent']} "
        f"equivalent, {row['all']} in all; {row['tests']} tests, {left} left out"
    )


if __name__ == "__main__":
    sys.exit(main())
