"""`.ci/setup` with a stand-in interpreter: which Python it takes, what it says, and when it installs again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Answers what setup asks of a Python: the probe, its version, a new venv (with itself as interpreter), pip.
STAND_IN = """#!/bin/bash
case "$*" in
  "-I -") cat >/dev/null; echo "{answer}" ;;
  "-I --version") echo "Python {name}" ;;
  "-I -m venv .venv") mkdir -p .venv/bin; touch .venv/pyvenv.cfg
    cp "$0" .venv/bin/python; echo "venv {name}" >>calls ;;
  "-m pip install"*) echo "pip ${{*:3}}" >>calls
    exit $(cat pip_fails 2>/dev/null || echo 0) ;;
  "-I -S -c "*|"-I -m pip --version"|"-I -c "*) ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
TOOLS = (
    "bash",
    "sh",
    "cat",
    "cksum",
    "cp",
    "dirname",
    "flock",
    "getent",
    "id",
    "cut",
    "mkdir",
    "rm",
    "timeout",
    "touch",
)
SHIM = "#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n"


class Checkout:
    """A copy of what setup reads, and a PATH of our own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a check out"
        self.bin = folder / "bin"
        self.home = folder / "home"
        for new in (self.root / ".ci", self.bin, self.home):
            new.mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "setup", self.root / ".ci" / "setup")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)

    def python(self, path: Path, answer: str | None = None) -> Path:
        """Put a stand-in at `path`; None: a good one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN.format(answer=path if answer is None else answer, name=path.name))
        path.chmod(0o755)
        return path

    def setup(self, which: str = "core", **env: str) -> subprocess.CompletedProcess[str]:
        """Run setup from another folder."""
        env = {"HOME": str(self.home), "PATH": str(self.bin), **env}
        command = [str(self.root / ".ci" / "setup"), which]
        return subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=60, check=False)

    def calls(self) -> list[str]:
        """What was asked of the stand-ins since the last time."""
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if os.path.exists("/usr/local/bin/python3.13") or os.path.exists("/usr/local/bin/python3.12"):  # noqa: PTH110
        pytest.skip("a Python in /usr/local/bin would be found")
    return Checkout(tmp_path)


def test_installs_once_with_the_pins(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.12")
    assert checkout.setup().returncode == 0
    calls = checkout.calls()
    assert [c.split(" -qq")[0] for c in calls] == ["venv python3.12", "pip install"]
    assert calls[1].endswith("-c constraints.txt -e .")
    assert checkout.setup().returncode == 0
    assert checkout.calls() == []


def test_a_larger_set_holds_the_smaller(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    checkout.setup("core")
    checkout.calls()
    checkout.setup("test")
    assert [c.split()[-1] for c in checkout.calls()] == [".[test]"]
    checkout.setup("core")
    assert checkout.calls() == []


def test_a_failing_shim_is_passed_over(checkout: Checkout) -> None:
    shims = checkout.home / "elsewhere" / "shims"
    shims.mkdir(parents=True)
    (shims / "python3.13").write_text(SHIM)
    (shims / "python3.13").chmod(0o755)
    checkout.python(checkout.bin / "python3", answer="")  # too old
    checkout.python(shims.parent / "versions" / "3.13.0" / "bin" / "python3.13")
    done = checkout.setup(PATH=f"{shims}:{checkout.bin}")
    assert done.returncode == 0, done.stderr
    assert checkout.calls()[0] == "venv python3.13"


@pytest.mark.parametrize(
    "where",
    [".pyenv/versions/3.12.1/bin/python3.12", ".local/share/uv/python/cpython-3.13.2-linux-x86_64-gnu/bin/python3.13"],
)
def test_finds_pythons_that_are_not_on_the_path(checkout: Checkout, where: str) -> None:
    checkout.python(checkout.home / where)
    assert checkout.setup().returncode == 0
    assert checkout.calls()[0] == f"venv {Path(where).name}"


@pytest.mark.parametrize(
    ("answer", "advice"),
    [("", "Python 3.12 or 3.13 is needed"), ("venv 3.12", "sudo apt install python3.12-venv")],
)
def test_says_in_one_line_what_to_install(checkout: Checkout, answer: str, advice: str) -> None:
    checkout.python(checkout.bin / "python3", answer=answer)
    done = checkout.setup()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert advice in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_python_can_be_chosen(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    mine = checkout.python(checkout.home / "my python" / "python3.12")
    assert checkout.setup(PYTHON=str(mine)).returncode == 0
    assert checkout.calls()[0] == "venv python3.12"


def test_a_wrong_choice_is_refused_and_not_replaced(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    done = checkout.setup(PYTHON="/nowhere/python3.13")
    assert done.returncode == 2
    assert "PYTHON=/nowhere/python3.13" in done.stderr
    assert checkout.calls() == []


def test_a_cut_short_installation_is_done_again(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    (checkout.root / "pip_fails").write_text("1")
    done = checkout.setup()
    assert done.returncode == 2
    assert "setup: pip could not install" in done.stderr
    checkout.calls()
    (checkout.root / "pip_fails").unlink()
    assert checkout.setup().returncode == 0
    assert [c.split(" -qq")[0] for c in checkout.calls()] == ["venv python3.13", "pip install"]


def test_new_requirements_are_installed_into_what_is_there(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    checkout.setup()
    checkout.calls()
    with (checkout.root / "constraints.txt").open("a") as file:
        file.write("something==1\n")
    (checkout.root / ".venv" / "bin" / "python").write_text(
        STAND_IN.format(answer=checkout.root / ".venv/bin/python", name="venv")
    )
    assert checkout.setup().returncode == 0
    assert [c.split(" -qq")[0] for c in checkout.calls()] == ["pip install"]


def test_a_moved_checkout_starts_over(checkout: Checkout, tmp_path: Path) -> None:
    checkout.python(checkout.bin / "python3.13")
    checkout.setup()
    checkout.calls()
    checkout.root = checkout.root.rename(tmp_path / "moved")
    assert checkout.setup().returncode == 0
    assert checkout.calls()[0] == "venv python3.13"


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    keep = checkout.root / ".venv" / "precious"
    keep.parent.mkdir()
    keep.touch()
    done = checkout.setup()
    assert done.returncode == 2
    assert "move it away" in done.stderr
    assert keep.exists()


def test_no_home_and_another_environment_active(checkout: Checkout) -> None:
    checkout.python(checkout.bin / "python3.13")
    done = checkout.setup(HOME="", VIRTUAL_ENV="/elsewhere", PYTHONHOME="/elsewhere", PIP_USER="1")
    assert done.returncode == 0, done.stderr
