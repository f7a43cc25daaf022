"""One checkpoint file: a header of plain JSON, arrays as raw bytes, a checksum over all of it. No code in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"fleet-twin checkpoint\n"
FORMAT = 1
CHUNK_B = 1 << 18
"""Pieces of a file up to this size are written together."""
_LENGTH = 8
_CHECKSUM = 32


class CheckpointError(ValueError):
    """A state cannot be saved, or a checkpoint cannot be used; the message is one line."""


def write(file: IO[bytes], content: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> None:
    """Write one file.

    Parameters
    ----------
    file : binary file, open for writing
    content : mapping
        Plain values (JSON; infinite numbers are allowed).
    arrays : sequence of ndarray
        Of any shape and any dtype without Python objects; the reader gets them by number.
    """
    shapes: list[list[Any]] = []
    parts: list[NDArray[Any]] = []
    at = 0
    for array in arrays:
        if array.dtype.hasobject:
            raise CheckpointError(f"an array of {array.dtype} holds Python objects and cannot be saved")
        parts.append(np.ascontiguousarray(array))
        shapes.append([np.lib.format.dtype_to_descr(array.dtype), list(array.shape), at, array.nbytes])
        at += array.nbytes
    header = json.dumps({"format": FORMAT, **content, "arrays": shapes}, separators=(",", ":")).encode()
    digest = hashlib.blake2b(digest_size=_CHECKSUM)
    lead: list[bytes | memoryview] = [MAGIC, len(header).to_bytes(_LENGTH, "little"), header]
    for piece in _joined(lead + [_bytes(part) for part in parts]):
        digest.update(piece)
        file.write(piece)
    file.write(digest.digest())


def read(path: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read one file: its content, and its arrays (read-only).

    Raises
    ------
    CheckpointError
        When it is missing, damaged, of another format or no checkpoint; the message names it.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: the checkpoint cannot be read (no regular file)")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({error.strerror or error})") from None
    if not raw.startswith(MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of fleet-twin")
    view, first = memoryview(raw), len(MAGIC) + _LENGTH
    if hashlib.blake2b(view[:-_CHECKSUM], digest_size=_CHECKSUM).digest() != raw[-_CHECKSUM:]:
        raise CheckpointError(f"{path}: damaged: its checksum is not that of its content")
    size = int.from_bytes(raw[len(MAGIC) : first], "little")
    try:
        content: dict[str, Any] = json.loads(raw[first : first + size])
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: checkpoint format {content['format']!r}, this version reads {FORMAT}; run without --resume"
            )
        body = view[first + size : len(raw) - _CHECKSUM]
        return content, [_array(body, *about) for about in content.pop("arrays")]
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise CheckpointError(f"{path}: no valid checkpoint ({type(error).__name__})") from None


def _joined(pieces: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Small pieces put together, large ones as they are."""
    small: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > CHUNK_B:
            yield b"".join(small)
            small, size = [], 0
        if len(piece) > CHUNK_B:
            yield piece
        else:
            small.append(piece)
            size += len(piece)
    yield b"".join(small)


def _bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")


def _array(body: memoryview, kind: Any, shape: list[int], at: int, size: int) -> NDArray[Any]:
    if isinstance(kind, list):  # JSON knows no tuples
        kind = [tuple(tuple(p) if isinstance(p, list) else p for p in field) for field in kind]
    dtype = np.lib.format.descr_to_dtype(kind)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject or at < 0 or count < 0 or count * dtype.itemsize != size or at + size > len(body):
        raise ValueError("an array outside the file")
    return np.frombuffer(body[at : at + size], dtype, count).reshape(shape)
