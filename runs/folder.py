"""Writing a results folder so that no reader, kill or full disk ever leaves half of one.

A run writes into a hidden folder beside its target, file by file (temporary name, fsync,
rename), with a manifest of status "running" first and the final manifest last; then the
folder takes the target's place. A finished older result stays until that moment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from runs.results import FORMAT, PROGRAM, ResultsError, is_ours

if TYPE_CHECKING:
    import pyarrow as pa

UNFINISHED = ("stopped", "failed")
KEEP_STATUS = ("done", "degraded")
"""Status of a result that only another finished run may replace."""
CHECKPOINT = "checkpoint"
"""Folder inside a results folder that holds what `--resume` needs; gone when the run has finished."""
LOG = "log.jsonl"
DRAWN = ("overview.png", "report.html")
"""Made from the tables after a run, so replaced with them."""


class DiskError(OSError):
    """A results folder cannot be written; the message is one line for the user."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "the disk cannot be written"


class ResultsFolder:
    """A results folder in the making; use as a context manager.

    Parameters
    ----------
    target : Path
        Where the folder will be. It may be missing, empty, or an older results folder.
    manifest : mapping
        What is known at the start; written at once with status "running".
    resume : bool
        Keep the log of an unfinished run. Its checkpoints stay until `drop_checkpoints`.

    Raises
    ------
    ResultsError
        When the target exists and is something else, or another run writes to it now.
    DiskError
        When it cannot be written.
    """

    def __init__(self, target: Path, manifest: Mapping[str, Any], *, resume: bool = False) -> None:
        self.target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link away from the place asked for
        self.part = self.target.with_name(f".{self.target.name}.part")
        self.files: dict[str, dict[str, Any]] = {}
        self._made: list[Path] = []
        self._kept = {"lock", CHECKPOINT, *([LOG] if resume else [])}
        self._lock: IO[bytes] | None = None
        self._manifest = {"program": PROGRAM, "format": FORMAT, "status": "running", **manifest}
        _check_target(target)
        try:
            self._open()
        except BaseException:
            self.discard()
            raise

    def _open(self) -> None:
        with disk_errors(self.target):
            for parent in reversed([p for p in self.part.parents if not p.exists()]):
                parent.mkdir()
                self._made.append(parent)
            self._recover()
            self._lock = self._locked()
            for old in list(self.part.iterdir()):
                if old.name not in self._kept:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.write_json("manifest.json", self._manifest, listed=False)

    @property
    def checkpoints(self) -> Path:
        """Where this run keeps its checkpoints."""
        return self.part / CHECKPOINT

    @property
    def chains(self) -> list[Path]:
        """Where checkpoints of this run may be: of one that was killed, stopped, or has failed."""
        places = [self.part, self.target, *(self.target.with_name(f"{self.target.name}.{s}") for s in UNFINISHED)]
        return [place / CHECKPOINT for place in places]

    @property
    def resumable(self) -> bool:
        """Whether an unfinished run has left a checkpoint."""
        return any(any(chain.glob("state-*.ckpt")) for chain in self.chains)

    def drop_checkpoints(self) -> None:
        """Forget the checkpoints of a killed run: this one starts over."""
        with disk_errors(self.target):
            if self.checkpoints.exists():
                shutil.rmtree(self.checkpoints)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write_json(self, name: str, content: Mapping[str, Any], *, listed: bool = True) -> None:
        """Write one JSON file; numbers that are not finite are refused with `ValueError`."""
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
        self.write_text(name, text + "\n", listed=listed)

    def write_text(self, name: str, text: str, *, listed: bool = True) -> None:
        """Write one UTF-8 text file."""
        self._write(name, lambda file: file.write(text.encode()), {} if listed else None)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one Parquet file: zstd, page checksums, content digest into the manifest."""
        import pyarrow.parquet as pq

        from runs.columns import table_digest

        nulls = {c: table.column(c).null_count for c in table.column_names if table.column(c).null_count}
        about = {"rows": table.num_rows, "digest": table_digest(table), "nulls": nulls}
        self._write(
            f"{name}.parquet",
            lambda file: pq.write_table(table, file, compression="zstd", write_page_checksum=True),
            about,
        )

    def list_file(self, name: str) -> None:
        """Take a file that something else wrote into the manifest (the log)."""
        with disk_errors(self.target):
            self.files[name] = {"sha256": file_sha256(self.part / name), "bytes": (self.part / name).stat().st_size}

    def bring_log(self, place: Path) -> None:
        """Go on with the log of an unfinished run, up to its last whole line."""
        old = place / LOG
        with disk_errors(self.target):
            if old.is_file():
                text = old.read_bytes()
                (self.part / LOG).write_bytes(text[: text.rfind(b"\n") + 1])

    def publish(self, manifest: Mapping[str, Any]) -> Path:
        """Write the final manifest and take the target's place.

        A run that did not finish never replaces one that did: it goes to
        `<target>.<status>` instead.

        Returns
        -------
        Path
            Where the results are now.
        """
        status = str(manifest["status"])
        target = self.target
        if status not in KEEP_STATUS and _manifest(target).get("status") in KEEP_STATUS:
            target = target.with_name(f"{target.name}.{status}")
            _check_target(target)
        with disk_errors(self.target):
            self.write_json("manifest.json", {**self._manifest, **manifest, "files": self.files}, listed=False)
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            try:
                self.part.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
            (target / "lock").unlink(missing_ok=True)  # held until here: no other run could enter meanwhile
            if status in KEEP_STATUS:
                shutil.rmtree(target / CHECKPOINT, ignore_errors=True)
            _carry_over(old, target)
            sync_folder(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        self._made.clear()
        self._release()
        return target

    def discard(self) -> None:
        """Leave nothing behind but checkpoints, unless `publish` was called."""
        if self._lock is not None:
            if any(self.checkpoints.glob("state-*.ckpt")):
                for item in self.part.iterdir():
                    if item.name not in {CHECKPOINT, LOG}:
                        with contextlib.suppress(OSError):
                            item.unlink()
                self._made.clear()
            else:
                shutil.rmtree(self.part, ignore_errors=True)
        for parent in reversed(self._made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        self._made.clear()
        self._release()

    def _write(self, name: str, fill: Callable[[IO[bytes]], Any], about: Mapping[str, Any] | None) -> None:
        path = self.part / name
        with disk_errors(self.target):
            sha256 = write_atomically(path, fill)
            if about is not None:
                self.files[name] = {"sha256": sha256, "bytes": path.stat().st_size, **about}

    def _recover(self) -> None:
        """Finish an exchange of folders that a kill cut in two."""
        old = self.target.with_name(f".{self.target.name}.old")
        if old.exists() and not self.target.exists():
            old.rename(self.target)

    def _locked(self) -> IO[bytes] | None:
        self.part.mkdir(exist_ok=True)
        lock = (self.part / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise ResultsError(f"{self.target}: another run is writing there now; wait, or choose --out") from None
            raise
        return lock

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def write_atomically(path: Path, fill: Callable[[IO[bytes]], Any]) -> str:
    """Write a file under a temporary name, fsync, rename, fsync the folder; return its SHA-256."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        sha256 = file_sha256(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return sha256


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(target: Path, *, hint: str = "") -> Iterator[None]:
    """Turn an `OSError` inside into a one-line `DiskError` that names the target; `hint` ends the line."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        way = "free some space" if full else "give --out a folder you may write to"
        lines = "; ".join(part for part in (way, hint) if part)
        raise DiskError(f"{target}: cannot be written ({error.strerror or error}); {lines}") from error


def _carry_over(old: Path, target: Path) -> None:
    """Keep what a person put into the older results folder (notes, notebooks)."""
    if not old.is_dir():
        return
    ours = {"manifest.json", "lock", CHECKPOINT, *DRAWN, *_manifest(old).get("files", {})}
    for item in old.iterdir():
        if item.name not in ours and not (target / item.name).exists():
            item.rename(target / item.name)


def _check_target(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise ResultsError(f"{target}: exists and is not a folder; give --out a new or empty folder")
    with disk_errors(target):
        empty = not any(target.iterdir())
    if not empty and not is_ours(target):
        raise ResultsError(f"{target}: exists and holds other files than results; give --out a new or empty folder")
    if target.is_symlink():
        raise ResultsError(f"{target}: is a link; give --out the folder itself")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _plain(value: object) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a value of JSON")
