"""Scenario files: finding, reading and writing TOML, with one line for everything that is wrong with a file."""

from __future__ import annotations

import difflib
import json
import math
import stat
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

LARGEST_FILE_B = 1_000_000


class ScenarioError(ValueError):
    """A scenario cannot be used; the message is one line naming file, key and what is valid."""


def built_in() -> list[str]:
    """Names of the scenarios that come with the program, sorted."""
    return sorted(
        p.name.removesuffix(".toml") for p in files("runs").joinpath("scenarios").iterdir() if p.name.endswith(".toml")
    )


def find(name_or_path: str | Path) -> tuple[Path, str]:
    """Path and text of a built-in scenario (by name) or a file; refuses all but regular UTF-8 files up to 1 MB."""
    text = str(name_or_path)
    if not text or "\0" in text:
        raise ScenarioError(f"scenario {text!r}: give a name ({', '.join(built_in())}) or a TOML file")
    path = Path(text)
    if path.name == text and not text.endswith(".toml") and text in built_in():
        resource = files("runs").joinpath("scenarios", f"{text}.toml")
        return Path(str(resource)), resource.read_text(encoding="utf-8")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        near = difflib.get_close_matches(path.stem, built_in(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        why = "no scenario of that name and no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ScenarioError(f"{text}: {why}{hint} (built in: {', '.join(built_in())})") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise ScenarioError(f"{text}: is {what}; a scenario is a TOML file or one of {', '.join(built_in())}")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_B + 1)
    except OSError as error:
        raise ScenarioError(f"{text}: cannot be read ({error.strerror})") from None
    if len(data) > LARGEST_FILE_B:
        raise ScenarioError(f"{text}: larger than 1 MB, not a scenario file")
    if b"\0" in data:
        raise ScenarioError(f"{text}: holds NUL bytes; a scenario is a TOML file in UTF-8 (UTF-16 is not read)")
    try:
        return path, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{text}: byte {error.start} is not UTF-8; a scenario is a TOML file in UTF-8") from None


def beside(scenario: Path, name: Any) -> Any:
    """A file that lies beside the scenario file, by its path; any other value as it is."""
    if isinstance(name, str) and "\0" not in name and Path(name).suffix and (scenario.parent / name).is_file():
        return str(scenario.parent / name)
    return name


def parse(text: str, place: str) -> dict[str, Any]:
    """Tables of a TOML text; `place` begins the error line."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ScenarioError(f"{place}: nested too deeply to be a scenario") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{place}: not valid TOML: {one_line(error)}") from None
    except ValueError:
        raise ScenarioError(f"{place}: holds an integer of thousands of digits") from None


def value_of(text: str) -> Any:
    """A value as TOML reads it; the text itself when TOML does not."""
    try:
        parsed = tomllib.loads(f"v = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["v"] if parsed.keys() == {"v"} else text


class NotPlainError(Exception):
    """Key path and fault of a value that no scenario can hold."""


def plain(value: Any, path: str, depth: int = 0) -> Any:
    """Values as JSON can hold them; refuses infinite numbers, NUL, and types that no scenario has."""
    if depth > 8:
        raise NotPlainError(f"{path}: nested too deeply")
    if hasattr(value, "item") and not isinstance(value, str) and getattr(value, "ndim", 0) == 0:
        value = value.item()  # NumPy scalars
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= 2**64:
            raise NotPlainError(f"{path}: number too large")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlainError(f"{path}: must be a finite number, is {value}")
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotPlainError(f"{path}: text that is not UTF-8") from None
        if "\0" in value:
            raise NotPlainError(f"{path}: text with a NUL character")
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{path}.{k}" if path else str(k), depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{path}.{i}", depth + 1) for i, v in enumerate(value)]
    raise NotPlainError(f"{path}: {type(value).__name__} is not a value of a scenario")


def line_of(key: str, value: Any, meaning: str | None) -> str:
    """One line of a scenario file, its meaning as comment."""
    note = f"  # {one_line(meaning)}" if meaning else ""
    return f"# {key} = (none){note}" if value is None else f"{key} = {toml(value)}{note}"


def toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items() if v is not None) + " }"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


LONGEST_LINE = 1500
"""Characters of a message; a file can hold words of megabytes, which a message must not repeat."""


def one_line(text: object) -> str:
    """Text without line breaks or control characters, for one-line messages; of a long one the middle is left out.

    Examples
    --------
    >>> one_line(("two", "  lines"))
    "('two', ' lines')"
    >>> len(one_line("x" * 70_000))
    1500
    """
    whole = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(whole) <= LONGEST_LINE:
        return whole
    last = LONGEST_LINE // 3
    return f"{whole[: LONGEST_LINE - last - 3]} … {whole[-last:]}"
