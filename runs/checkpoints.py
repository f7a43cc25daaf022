"""The chain of checkpoints of one run: what it needs to go on after a stop, a kill or a full disk.

A checkpoint is a file of state and the event rows since the one before; rows already written are named by hash and not
written again. The last two states are kept, each file written under a temporary name, fsynced and renamed.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import NETWORK_COLUMNS, PLACE_COLUMNS, CityMap
from runs.folder import disk_errors, file_sha256, write_atomically
from runs.machine import code_sha256, cpu_target, versions
from runs.scenario import Scenario
from twin import checkpoint_file
from twin.checkpoint import Snapshot, capture, restore
from twin.checkpoint_file import CheckpointError
from twin.events import Table
from twin.model import Twin

KEPT = 2
"""States kept: the last one, and the one before in case it is damaged."""
PACKAGES = ("python", "numpy", "numba", "scipy", "simpy", "mesa")
"""Whose version must be the same for a run to go on bit by bit."""


class ForeignError(CheckpointError):
    """A checkpoint of another scenario, seed or program."""


@dataclass
class Saved:
    """One checkpoint that was read.

    Attributes
    ----------
    number : int
    simulated_s : float
    content : dict
        Header of the file, see `Chain.write`.
    arrays : list of ndarray
    notes : list of str
        What had to be passed over to find it.
    """

    path: Path
    content: dict[str, Any]
    arrays: list[NDArray[Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Place in the chain."""
        return int(self.content["number"])

    @property
    def simulated_s(self) -> float:
        """Simulated time it was taken at."""
        return float(self.content["simulated_s"])


class Chain:
    """Writes the checkpoints of a running twin.

    Parameters
    ----------
    folder : Path
        Made when the first checkpoint is written.
    twin : Twin
        As built, or as restored from `after`.
    identity : mapping
        `identity_of` the run.
    fresh : mapping
        `twin.checkpoint.fingerprint` of the twin as built.
    after : Saved, optional
        The checkpoint that the twin was restored from.
    """

    def __init__(
        self,
        folder: Path,
        twin: Twin,
        identity: Mapping[str, Any],
        fresh: Mapping[str, bytes],
        *,
        after: Saved | None = None,
    ) -> None:
        self.folder, self.twin, self.identity, self._fresh = folder, twin, dict(identity), fresh
        self.number = after.number if after else 0
        self._segments: list[dict[str, str]] = list(after.content["segments"]) if after else []
        self._rows = dict(after.content["rows"]) if after else {}
        self.resumed_s: list[float] = [*after.content["resumed_s"], after.simulated_s] if after else []
        self.earlier_s = float(after.content["wall_s"]) if after else 0.0
        self.written, self.seconds, self.bytes = 0, 0.0, 0
        self._at_ms = round(after.simulated_s * 1000) if after else -1
        self._began = time.monotonic()
        self._map = map_digest(twin.world.city)

    def write(self) -> None:
        """Save the twin as it is between two ticks; nothing to do when it has not moved since.

        Raises
        ------
        CheckpointError
            When its state cannot be saved.
        DiskError
            When the disk refuses; the checkpoints before are as they were.
        """
        if self.twin.world.now_ms == self._at_ms:
            return
        began, number = time.perf_counter(), self.number + 1
        state = capture(self.twin, self._fresh)
        segments, size = list(self._segments), 0
        with disk_errors(self.folder.parent, hint="the run goes on from its last checkpoint with --resume"):
            self.folder.mkdir(exist_ok=True)
            content, arrays = _rows_since(state.tables, self._rows)
            if content:
                rows = self.folder / f"rows-{number:06}.ckpt"
                sha256 = write_atomically(rows, lambda file: checkpoint_file.write(file, {"tables": content}, arrays))
                segments.append({"file": rows.name, "sha256": sha256})
                size += rows.stat().st_size
            count = {place: len(table) for place, table in state.tables.items()}
            header = {
                "number": number,
                "simulated_s": self.twin.world.now_ms / 1000,
                "wall_s": self.earlier_s + time.monotonic() - self._began,
                "resumed_s": self.resumed_s,
                "run": self.identity,
                "map": self._map,
                "segments": segments,
                "rows": count,
                "unsaved": state.unsaved,
                "tree": state.tree,
            }
            path = self.folder / f"state-{number:06}.ckpt"
            write_atomically(path, lambda file: checkpoint_file.write(file, header, state.arrays))
            size += path.stat().st_size
            self.number, self._segments, self._rows = number, segments, count
            self._at_ms = self.twin.world.now_ms
            for old in _states(self.folder)[KEPT:]:
                old.unlink()
        self.written, self.bytes = self.written + 1, size
        self.seconds += time.perf_counter() - began


def identity_of(scenario: Scenario) -> dict[str, Any]:
    """What must be the same for a run to go on: scenario, seed, program and packages."""
    known = versions()
    return {
        "scenario": scenario.sha256,
        "name": scenario.name,
        "seed": scenario.seed,
        "program": code_sha256(),
        "cpu": cpu_target(),
        "packages": {name: known[name] for name in PACKAGES},
    }


def find(folders: Sequence[Path], identity: Mapping[str, Any]) -> Saved | None:
    """The checkpoint to go on from: the latest in simulated time that is whole; None where there is none.

    Parameters
    ----------
    folders : sequence of Path
        Where chains may be; missing ones are passed over.
    identity : mapping
        `identity_of` the run that wants to go on.

    Raises
    ------
    CheckpointError
        When there are checkpoints and none can be used: all damaged, or of another run or program.
    """
    found: list[Saved] = []
    refusals: list[CheckpointError] = []
    for folder in folders:
        try:
            saved = _newest(folder, identity)
        except CheckpointError as error:
            refusals.append(error)
        else:
            found += [saved] if saved is not None else []
    if not found and refusals:
        raise refusals[0]
    return max(found, key=lambda saved: saved.simulated_s) if found else None


def resume(twin: Twin, saved: Saved) -> None:
    """Put a checkpoint into a twin that was just built.

    Raises
    ------
    CheckpointError
        When rows that it names are missing or damaged, or the twin is another one.
    """
    try:
        if saved.content["map"] != map_digest(twin.world.city):
            raise CheckpointError("made on another map")
        rows = _rows_of(saved)
        restore(twin, Snapshot(saved.content["tree"], saved.arrays, unsaved=saved.content["unsaved"]), rows)
    except CheckpointError as error:
        raise CheckpointError(f"{saved.path}: {error}; run without --resume to start over") from None


def take_over(saved: Saved, folder: Path) -> Saved:
    """Move a chain to where the run writes now, and drop what lies beyond the checkpoint."""
    here = saved.path.parent
    with disk_errors(folder.parent):
        if here != folder:
            shutil.rmtree(folder, ignore_errors=True)
            here.rename(folder)
        saved.path = folder / saved.path.name
        for path in folder.iterdir():
            number = path.stem.partition("-")[2]
            if path.suffix != ".ckpt" or not number.isdigit() or int(number) > saved.number:
                path.unlink()
    return saved


def _newest(folder: Path, identity: Mapping[str, Any]) -> Saved | None:
    from twin import checkpoint_file

    first: CheckpointError | None = None
    notes: list[str] = []
    for path in _states(folder):
        try:
            saved = Saved(path, *checkpoint_file.read(path), notes)
            _check(saved, identity)
            _check_rows(saved)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if not isinstance(error, CheckpointError):
                error = CheckpointError(f"{path}: no valid checkpoint ({type(error).__name__})")
            if isinstance(error, ForeignError):
                raise
            first = first or error
            notes.append(f"passed over: {error}")
        else:
            return saved
    if first is not None:
        raise first
    return None


def _check(saved: Saved, identity: Mapping[str, Any]) -> None:
    made, here = saved.content["run"], identity
    if (made["scenario"], made["seed"]) != (here["scenario"], here["seed"]):
        raise _foreign(saved.path, *(f"{i['name']}-{i['scenario'][:8]} with seed {i['seed']}" for i in (made, here)))
    if made["program"] != here["program"]:
        raise _foreign(saved.path, *(f"program {i['program'][:8]}" for i in (made, here)))
    for name, version in here["packages"].items():
        if made["packages"][name] != version:
            raise _foreign(saved.path, f"{name} {made['packages'][name]}", f"{name} {version}")
    if made["cpu"] != here["cpu"]:
        saved.notes.append(
            f"the checkpoint is from another processor ({made['cpu']}, here {here['cpu']}): last digits may differ"
        )


def _check_rows(saved: Saved) -> None:
    for segment in saved.content["segments"]:
        path = saved.path.parent / Path(segment["file"]).name
        try:
            same = file_sha256(path) == segment["sha256"]
        except OSError as error:
            raise CheckpointError(f"{path}: rows of a checkpoint cannot be read ({error.strerror or error})") from None
        if not same:
            raise CheckpointError(f"{path}: damaged: its hash is not the one that {saved.path.name} names")


def _foreign(path: Path, made: str, here: str) -> ForeignError:
    return ForeignError(f"{path}: a checkpoint of {made}, not of {here}; run without --resume to start over")


def map_digest(city: CityMap) -> str:
    """Hash over the arrays of a built map: streets, places, chargers, cells."""
    digest = hashlib.blake2b(digest_size=16)
    for owner, columns in ((city.network, NETWORK_COLUMNS), (city, PLACE_COLUMNS)):
        for name in columns:
            digest.update(name.encode() + np.ascontiguousarray(getattr(owner, name)).tobytes())
    return digest.hexdigest()


def _states(folder: Path) -> list[Path]:
    """State files, the newest first; none where there is no folder."""
    return sorted(folder.glob("state-*.ckpt"), reverse=True) if folder.is_dir() else []


def _rows_since(
    tables: Mapping[str, Table], known: Mapping[str, int]
) -> tuple[dict[str, dict[str, Any]], list[NDArray[Any]]]:
    """Columns of the rows that are not yet in a file: numbers as arrays, texts as a list of them and an array."""
    arrays: list[NDArray[Any]] = []
    content: dict[str, dict[str, Any]] = {}
    for place, table in tables.items():
        first = known.get(place, 0)
        if len(table) == first:
            continue
        content[place] = {}
        for name, values in table.rows_since(first).items():
            texts: dict[str, int] = {}
            if values.dtype.hasobject:
                values = np.array([texts.setdefault(str(v), len(texts)) for v in values.tolist()], np.int32)
            arrays.append(values)
            content[place][name] = [len(arrays) - 1, list(texts)]
    return content, arrays


def _rows_of(saved: Saved) -> dict[str, dict[str, NDArray[Any]]]:
    """All rows of all tables, from the files of the chain."""
    parts: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for segment in saved.content["segments"]:
        content, arrays = checkpoint_file.read(saved.path.parent / Path(segment["file"]).name)
        for place, columns in content["tables"].items():
            table = parts.setdefault(place, {})
            for name, (number, texts) in columns.items():
                values = np.array(texts, object)[arrays[number]] if texts else arrays[number]
                table.setdefault(name, []).append(values)
    rows = {place: {name: np.concatenate(p) for name, p in columns.items()} for place, columns in parts.items()}
    for place, count in saved.content["rows"].items():
        if any(len(column) != count for column in rows.get(place, {}).values()) or (count and place not in rows):
            raise CheckpointError(f"{place}: the files hold other than {count} rows")
    return rows
