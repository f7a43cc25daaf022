"""A results folder, read: summary, manifest, scenario and tables of one run."""

from __future__ import annotations

import html
import json
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from runs.scenario import Scenario

PROGRAM = "fleet-twin"
FORMAT = 1


class ResultsError(ValueError):
    """A results folder cannot be used; the message is one line for the user."""


class Manifest(dict[str, Any]):
    """Content of a manifest; a key that is not there is a fault of the file, named by its path."""

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise ResultsError(f"{self.path}: damaged: {key} is missing")


class RunResult:
    """One run's results folder; files are read when asked for.

    Parameters
    ----------
    path : Path or str
        The folder.

    Raises
    ------
    ResultsError
        When it is missing, not one of ours, unfinished, damaged or of another format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise ResultsError(f"{path}: no such folder; give a results folder, as twin run prints in its last line")
        path_of_it = self.path / "manifest.json"
        self.manifest = Manifest(_json(path_of_it, "not a results folder"), path_of_it)
        if self.manifest.get("program") != PROGRAM:
            raise ResultsError(f"{path}: not a results folder of {PROGRAM}")
        if self.manifest.get("format") != FORMAT:
            raise ResultsError(
                f"{path}: results format {self.manifest.get('format')!r}, this version reads {FORMAT}; run it again"
            )
        if self.status == "running":
            raise ResultsError(f"{path}: the run has not ended")
        _check(self.manifest)

    @classmethod
    def open(cls, path: Path | str) -> RunResult:
        """Open a results folder (same as the constructor)."""
        return cls(path)

    @property
    def status(self) -> str:
        """One of running, done, degraded, stopped, failed."""
        return str(self.manifest.get("status", ""))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Content of `summary.json`."""
        return _json(self.path / "summary.json", f"the run {self.status} before there was a summary")

    @cached_property
    def scenario(self) -> Scenario:
        """The resolved scenario."""
        from runs.scenario import Scenario

        return Scenario.load(self.path / "scenario.toml")

    @property
    def tables(self) -> list[str]:
        """Names of the tables that `table` reads."""
        return sorted(p.stem for p in self.path.glob("*.parquet"))

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One table as `pyarrow.Table`; `.to_pandas()` makes a data frame.

        Page checksums are verified: a damaged file is refused, never read as other data.

        Raises
        ------
        ResultsError
            When there is no such table or it is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path / f"{name}.parquet"
        if name not in self.tables:
            raise ResultsError(f"{self.path}: no table {name!r}; it has {', '.join(self.tables)}")
        try:
            return pq.read_table(path, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise ResultsError(f"{path}: damaged or not Parquet ({' '.join(str(error).split())})") from None

    def verify(self) -> list[str]:
        """Names of files whose bytes are not those of the manifest; empty when all is well."""
        from runs.folder import file_sha256

        wrong = []
        for name, about in self.manifest.get("files", {}).items():
            path = self.path / name
            if not path.is_file() or file_sha256(path) != about["sha256"]:
                wrong.append(name)
        return wrong

    def __repr__(self) -> str:
        fleet = self.summary.get("fleet", {}) if (self.path / "summary.json").is_file() else {}
        counts = ", ".join(f"{fleet.get(name, '?')} {name}" for name in ("cars", "trips"))
        return f"RunResult({str(self.path)!r}, {self.status}, {counts})"

    def _repr_html_(self) -> str:
        """The estimates with their intervals, and what the run was, for a notebook."""
        from runs.estimates import Estimate, show_html

        if not (self.path / "summary.json").is_file():
            return f"<b>{html.escape(self.path.name)}</b> ({html.escape(self.status)}, no summary)"
        found = {name: Estimate(**value) for name, value in self.summary.get("estimates", {}).items()}
        fleet, why = self.summary.get("fleet", {}), str(self.manifest.get("why") or "")
        said = [f"{fleet[k]:,} {k}" for k in ("cars", "trips", "arrived") if isinstance(fleet.get(k), int)]
        said += [f"seed {self.manifest.get('seed')}", f"status {self.status}" + (f": {why}" if why else "")]
        head = f"<b>{html.escape(self.path.name)}</b> · {html.escape(', '.join(said))}"
        return f"{head}{show_html(found)}<small>intervals: sampling of cars in this run only</small>"


_KEYS: dict[str, type | tuple[type, ...]] = {
    "scenario": str,
    "hash": str,
    "seed": int,
    "start": str,
    "status": str,
    "files": dict,
    "ledger": dict,
    "seconds": dict,
    "phase_s": dict,
    "simulated_s": (int, float),
    "peak_memory_mb": (int, float),
}
"""What readers of a manifest rely on, and of which kind it is."""


def _check(manifest: Manifest) -> None:
    path = manifest.path
    for key in sorted(_KEYS.keys() & manifest.keys()):
        if not isinstance(manifest[key], _KEYS[key]):
            raise ResultsError(f"{path}: damaged: {key} is of another kind")
    manifest["seconds"] = Manifest(manifest.get("seconds", {}), path)
    numbers = [value for key in ("seconds", "phase_s", "ledger") for value in manifest.get(key, {}).values()]
    if not all(isinstance(value, int | float) for value in numbers):
        raise ResultsError(f"{path}: damaged: a ledger or a time is no number")
    try:
        datetime.fromisoformat(manifest.get("start", "2022-10-12"))
    except ValueError:
        raise ResultsError(f"{path}: damaged: start is no time") from None
    for name, about in manifest.get("files", {}).items():
        if not isinstance(about, dict) or not isinstance(about.get("sha256"), str):
            raise ResultsError(f"{path}: damaged: file {name!r} has no hash")
        if not isinstance(about.get("rows", 0), int) or not _inside(name):
            raise ResultsError(f"{path}: damaged: file {name!r} is not one of a results folder")


def _inside(name: str) -> bool:
    """Whether a name is that of a file in the folder or below it, written as the manifest writes it."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not set("\\:") & set(name)


def is_ours(folder: Path) -> bool:
    """Whether a folder holds results of this program, of any status and format."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("program") == PROGRAM


def _json(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path.parent}: no {path.name}: {otherwise}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: holds no JSON object")
    return content
