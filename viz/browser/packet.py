"""Named arrays as one block of bytes, for the page: a JSON head, then the arrays, each on a 4-byte boundary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SORTS = {"u1": "u1", "u2": "<u2", "u4": "<u4", "i4": "<i4", "f4": "<f4"}
"""Element types that the page reads (see `unpack` in packet.js)."""


def pack(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write `meta` and `arrays` as one block.

    Parameters
    ----------
    meta : mapping
        Plain values for the head; what is not finite must have been replaced.
    arrays : mapping of str to ndarray
        Of dtype u1, u2, u4, i4 or f4, any shape; written in row order.

    Raises
    ------
    ValueError
        For an array of another type, or a head that is not JSON.

    Examples
    --------
    >>> block = pack({"t_s": 60}, {"soc": np.array([1, 2, 3], np.uint8)})
    >>> len(block) % 4, unpack(block)[1]["soc"].tolist()
    (0, [1, 2, 3])
    """
    parts, listed, at = [], [], 0
    for name, array in arrays.items():
        sort = array.dtype.kind + str(array.dtype.itemsize)
        if sort not in SORTS:
            raise ValueError(f"packet: array {name} is {array.dtype}; valid: {', '.join(SORTS)}")
        body = np.ascontiguousarray(array, SORTS[sort]).tobytes()
        listed.append([name, sort, at, array.size])
        parts += [body, b"\0" * (-len(body) % 4)]
        at += len(body) + -len(body) % 4
    head = json.dumps({**meta, "arrays": listed}, ensure_ascii=False, allow_nan=False).encode()
    head += b" " * (-len(head) % 4)
    return b"".join([len(head).to_bytes(4, "little"), head, *parts])


def unpack(block: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `pack` wrote: the head and the arrays (flat)."""
    size = int.from_bytes(block[:4], "little")
    head = json.loads(block[4 : 4 + size])
    arrays = {
        name: np.frombuffer(block, SORTS[sort], count, 4 + size + at) for name, sort, at, count in head.pop("arrays")
    }
    return head, arrays
