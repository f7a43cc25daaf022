"""Kernels as plain Python, to be run without a compiler; records whose fields are attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def plain(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The function before the compiler saw it."""
    return getattr(kernel, "py_func", kernel)


def rows(kind: np.dtype[np.void], n: int, **columns: object) -> np.recarray[Any, Any]:
    """Records of zeros, with columns given by number or list."""
    found = np.zeros(n, kind).view(np.recarray)
    for name, values in columns.items():
        found[name] = values
    return found
