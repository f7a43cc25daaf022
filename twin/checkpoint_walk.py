"""A graph of objects as plain values and arrays, and back: the walk that `twin.checkpoint` takes.

`Capture` follows every attribute and refuses by name what it does not know. `Restore` walks the saved form beside a
freshly built twin and fills what is there: arrays in place, so that whoever holds one goes on holding the right one.
A value is itself when it is plain, else a list that begins with its kind and, for what can be shared, its number.
"""

from __future__ import annotations

import enum
import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import mesa
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.spatial import cKDTree

from maps.network import CityMap, RoadNetwork
from twin.checkpoint_file import CheckpointError
from twin.events import Table
from twin.fleet.catalogue import Catalogue

INPUTS = (CityMap, RoadNetwork, BaseModel, Catalogue, cKDTree)
"""Types that a run does not change."""
SMALL_B = 512
"""Arrays up to this size are saved without asking whether they have changed."""
ROOT = 0
_PLAIN = (type(None), bool, int, float, str)


class _Missing:
    """Stands where a fresh twin has nothing."""


MISSING = _Missing()


class Capture:
    """Takes values out.

    Parameters
    ----------
    root : object
        Number 0: what the restored graph hangs on, never walked into.
    fresh : mapping
        Digests of arrays by place that need not be saved as long as they are the same.

    Attributes
    ----------
    arrays, tables, digests
        What was met: arrays to save, tables by place, digests of arrays by place.
    simpy : list
        Place and object of everything of SimPy's.
    """

    def __init__(self, root: object, fresh: Mapping[str, bytes]) -> None:
        self.fresh = fresh
        self.arrays: list[NDArray[Any]] = []
        self.tables: dict[str, Table] = {}
        self.digests: dict[str, bytes] = {}
        self.simpy: list[tuple[str, Any]] = []
        self._number: dict[int, int] = {id(root): ROOT}
        self._alive: list[Any] = [root]  # ids are of living objects only
        self._seen: list[tuple[str, NDArray[Any]]] = []
        self._left: list[str] = []

    def value(self, thing: Any, place: str) -> Any:
        """Plain form of one value: itself, or a list that begins with its kind."""
        if type(thing) in _PLAIN:
            return thing
        if isinstance(thing, enum.Enum):
            return ["enum", _name(type(thing)), thing.value]
        if isinstance(thing, np.generic):
            if isinstance(thing, np.void | np.object_ | np.datetime64 | np.timedelta64):
                raise _unknown(thing, place)
            return ["number", thing.dtype.str, thing.item()]
        if isinstance(thing, datetime):
            return ["moment", thing.isoformat()]
        if isinstance(thing, mesa.Agent):
            return ["agent", thing.unique_id]
        if id(thing) in self._number:
            return ["same", self._number[id(thing)]]
        number = self._number[id(thing)] = len(self._alive)
        self._alive.append(thing)
        return self._new(thing, number, place)

    def _new(self, thing: Any, number: int, place: str) -> list[Any]:
        kind = type(thing)
        if isinstance(thing, np.ndarray):
            return self._array(thing, number, place)
        if _of_simpy(thing):
            self.simpy.append((place, thing))
            return ["fresh", number]
        if isinstance(thing, (*INPUTS, type, BuiltinFunctionType)) or kind.__module__.startswith("numba."):
            return ["fresh", number]
        if isinstance(thing, Table):
            self.tables[place] = thing
            return ["table", number, place, len(thing)]
        if kind in (list, deque):
            return self._list(thing, number, place)
        if kind is frozenset:
            return ["set", number, [self.value(v, f"{place}[…]") for v in sorted(thing)]]
        if isinstance(thing, tuple):
            inner = [self.value(v, f"{place}[{i}]") for i, v in enumerate(thing)]
            return ["tuple", number, _name(kind) if kind is not tuple else "", inner]
        if isinstance(thing, dict):
            return self._dict(thing, number, place)
        if isinstance(thing, MethodType):
            return ["method", number, thing.__name__, self.value(thing.__self__, f"{place}.__self__")]
        if isinstance(thing, FunctionType):
            cells = [self.value(c.cell_contents, f"{place}<{i}>") for i, c in enumerate(thing.__closure__ or ())]
            return ["function", number, _name(thing), cells]
        if kind.__module__.startswith("twin.") or is_dataclass(kind) or kind is mesa.DataCollector:
            mine = {n: self.value(v, f"{place}.{n}") for n, v in _attributes(thing)}
            return ["object", number, _name(kind), mine]
        raise _unknown(thing, place)

    def _array(self, thing: NDArray[Any], number: int, place: str) -> list[Any]:
        if thing.dtype.hasobject:
            return ["texts", number, list(thing.shape), [self.value(v, f"{place}[…]") for v in thing.ravel().tolist()]]
        if thing.size:
            self._seen.append((place, thing))
        if thing.nbytes > SMALL_B:
            digest = self.digests[place] = _digest(thing)
            if self.fresh.get(place) == digest:
                self._left.append(place)
                return ["fresh", number, 1]
        self.arrays.append(thing)
        return ["array", number, len(self.arrays) - 1]

    def _list(self, thing: Any, number: int, place: str) -> list[Any]:
        most = thing.maxlen if isinstance(thing, deque) else None
        kinds = set(map(type, thing)) if len(thing) > 8 else set()
        if kinds == {float} or (kinds == {int} and min(thing) >= -(2**63) and max(thing) < 2**63):
            self.arrays.append(np.array(thing, np.float64 if float in kinds else np.int64))
            inner: Any = len(self.arrays) - 1
        else:
            if any(map(_of_simpy, thing)):
                raise _unknown(next(filter(_of_simpy, thing)), place)
            inner = [self.value(v, f"{place}[{i}]") for i, v in enumerate(thing)]
        return ["list" if type(thing) is list else "deque", number, inner, most]

    def _dict(self, thing: dict[Any, Any], number: int, place: str) -> list[Any]:
        if type(thing) is not dict:
            raise _unknown(thing, place)
        pairs = []
        for key, value in thing.items():
            at = _inner(place, key)
            if _of_simpy(value):  # a process or a place in a queue: asked for again by World.revive
                self.simpy.append((at, value))
            else:
                pairs.append([_key_out(key, at), self.value(value, at)])
        return ["dict", number, pairs]

    def left_out(self) -> str:
        """Digest over the arrays that are as built, with their places."""
        return _digest_of((place, self.digests[place]) for place in self._left)

    def check_views(self) -> None:
        """Refuse two arrays over the same memory: put back, they would be two."""
        spans = [(*np.lib.array_utils.byte_bounds(array), place, array) for place, array in self._seen]
        spans.sort(key=lambda span: span[:3])
        far = spans[0] if spans else None
        for span in spans[1:]:
            if far is not None and span[0] < far[1] and np.shares_memory(span[3], far[3]):
                raise CheckpointError(f"{span[2]} is a view of {far[2]}: it would be a copy after a resume")
            far = span if far is None or span[1] > far[1] else far


class Restore:
    """Puts values back.

    Parameters
    ----------
    root : object
    agents : mapping
        Agents by id.
    arrays, rows
        Saved arrays by number; columns of tables by place.
    """

    def __init__(
        self,
        root: object,
        agents: Mapping[int, Any],
        arrays: list[NDArray[Any]],
        rows: Mapping[str, Mapping[str, NDArray[Any]]],
    ) -> None:
        self.agents, self.arrays, self.rows = agents, arrays, rows
        self._made: dict[int, Any] = {ROOT: root}
        self._taken: set[int] = {id(root)}
        self._left: list[tuple[str, bytes]] = []

    def claim(self, node: Any, fresh: Any, place: str) -> None:
        """Find what stays as the fresh twin has it, so that nothing else is put in its place."""
        if not isinstance(node, list):
            return
        kind = node[0]
        if kind == "fresh":
            if fresh is MISSING or (len(node) > 2 and not isinstance(fresh, np.ndarray)):
                raise CheckpointError(f"{place}: the twin as built has nothing there")
            if len(node) > 2:
                self._left.append((place, _digest(fresh)))
            self._made[node[1]] = fresh
            self._taken.add(id(fresh))
            return
        for inner, old, at in _inside(node, fresh, place):
            self.claim(inner, old, at)

    def left_out(self) -> str:
        """Digest over the arrays that the fresh twin keeps."""
        return _digest_of(self._left)

    def value(self, node: Any, fresh: Any, place: str) -> Any:
        """The saved value, in the place of `fresh` where that can be filled."""
        if not isinstance(node, list):
            return node
        kind = node[0]
        if kind == "enum":
            return _class(node[1], enum.Enum, place)(node[2])
        if kind == "number":
            return np.dtype(node[1]).type(node[2])
        if kind == "moment":
            return datetime.fromisoformat(node[1])
        if kind == "agent":
            return self.agents[node[1]]
        if kind in {"same", "fresh"}:
            if node[1] not in self._made:
                raise CheckpointError(f"{place}: the twin as built has nothing there")
            return self._made[node[1]]
        made = self._build(node, fresh, place)
        self._made[node[1]] = made
        return made

    def _build(self, node: list[Any], fresh: Any, place: str) -> Any:
        kind, number = node[0], node[1]
        if kind == "array":
            return self._filled(self.arrays[node[2]], fresh)
        inner = [self.value(n, old, at) for n, old, at in _inside(node, fresh, place)] if kind in _VALUES else []
        if kind == "texts":
            texts = np.empty(node[2], object)
            texts.ravel()[:] = inner
            return texts
        if kind == "set":
            return frozenset(inner)
        if kind == "tuple":
            return _class(node[2], tuple, place)(*inner) if node[2] else tuple(inner)
        if kind == "method":
            return getattr(inner[0], node[2])
        if kind == "function":
            if not isinstance(fresh, FunctionType) or _name(fresh) != node[2]:
                fresh = None if node[3] else _ours(node[2])
            if not isinstance(fresh, FunctionType):
                raise CheckpointError(f"{place}: the function {node[2]} is not there")
            for cell, content in zip(fresh.__closure__ or (), inner, strict=True):
                cell.cell_contents = content
            return fresh
        # what may contain itself is known by number before its inside is made
        made = self._made[number] = self._empty(node, fresh, place)
        if kind == "table":
            made.refill(self.rows.get(node[2], {}))
            if len(made) != node[3]:
                raise CheckpointError(f"{place}: {len(made)} rows at hand, {node[3]} needed")
        elif kind in {"list", "deque"}:
            values = self.arrays[node[2]].tolist() if isinstance(node[2], int) else None
            if values is None:
                values = [self.value(n, old, at) for n, old, at in _inside(node, fresh, place)]
            made.clear()
            made.extend(values)
        elif kind == "dict":
            values = [self.value(n, old, at) for n, old, at in _inside(node, fresh, place)]
            made.clear()
            made.update(zip([_key(key, place) for key, _ in node[2]], values, strict=True))
        else:
            self._fill_object(made, node, fresh, place)
        return made

    def _fill_object(self, made: Any, node: list[Any], fresh: Any, place: str) -> None:
        values = [self.value(n, old, at) for n, old, at in _inside(node, fresh, place)]
        for name in [name for name, _ in _attributes(made) if name not in node[3]]:
            object.__delattr__(made, name)
        for name, value in zip(node[3], values, strict=True):
            object.__setattr__(made, name, value)

    def _empty(self, node: list[Any], fresh: Any, place: str) -> Any:
        """The fresh object, when it is of this kind and not yet somebody else's, or a new one."""
        kind = node[0]
        if kind == "table" and not isinstance(fresh, Table):
            raise CheckpointError(f"{place}: the twin as built has no table there")
        wanted = {"list": list, "deque": deque, "dict": dict, "table": Table}.get(kind)
        same = type(fresh) is wanted if wanted else _name(type(fresh)) == node[2]
        if kind == "deque" and same:
            same = fresh.maxlen == node[3]
        if same and id(fresh) not in self._taken:
            self._taken.add(id(fresh))
            return fresh
        if kind == "deque":
            return deque(maxlen=node[3])
        if wanted is not None:
            return wanted()
        cls = _class(node[2], object, place)
        return object.__new__(cls)

    def _filled(self, data: NDArray[Any], fresh: Any) -> NDArray[Any]:
        fits = isinstance(fresh, np.ndarray) and fresh.shape == data.shape and fresh.dtype == data.dtype
        if not fits or not fresh.flags.writeable or id(fresh) in self._taken:
            return data.copy()
        self._taken.add(id(fresh))
        fresh[...] = data
        return fresh  # type: ignore[no-any-return]


_VALUES = frozenset({"texts", "set", "tuple", "method", "function"})
"""Kinds that are made from their inside."""


def _inside(node: list[Any], fresh: Any, place: str) -> Iterator[tuple[Any, Any, str]]:
    """Saved values inside one, each with what the fresh twin has there."""
    kind = node[0]
    if kind in {"list", "deque", "set", "tuple", "texts"}:
        inner = node[2] if kind in {"list", "deque", "set"} else node[3]
        if isinstance(inner, int):  # numbers, saved as an array
            return
        old = list(fresh) if isinstance(fresh, list | deque | tuple) else []
        for i, value in enumerate(inner):
            yield value, old[i] if i < len(old) else MISSING, f"{place}[{i}]"
    elif kind == "dict":
        had = fresh if isinstance(fresh, dict) else {}
        for key, value in node[2]:
            known = _key(key, place)
            yield value, had.get(known, MISSING), _inner(place, known)
    elif kind == "object":
        mine = dict(_attributes(fresh)) if fresh is not MISSING and _name(type(fresh)) == node[2] else {}
        for name, value in node[3].items():
            yield value, mine.get(name, MISSING), f"{place}.{name}"
    elif kind == "method":
        yield node[3], getattr(fresh, "__self__", MISSING), f"{place}.__self__"
    elif kind == "function":
        cells = (getattr(fresh, "__closure__", None) or ()) if fresh is not MISSING else ()
        for i, value in enumerate(node[3]):
            yield value, cells[i].cell_contents if i < len(cells) else MISSING, f"{place}<{i}>"


def _inner(place: str, key: Any) -> str:
    return f"{place}.{key}" if isinstance(key, str) and key.isidentifier() else f"{place}[{key!r}]"


def _key_out(key: Any, place: str) -> Any:
    """Plain form of a key of a dict: plain, a number, an enum's member or a tuple of these."""
    if type(key) in _PLAIN:
        return key
    if isinstance(key, enum.Enum):
        return ["enum", _name(type(key)), key.value]
    if isinstance(key, np.integer | np.str_ | np.bool):
        return ["number", key.dtype.str, key.item()]
    if type(key) is tuple:
        return ["tuple", -1, "", [_key_out(part, place) for part in key]]
    raise _unknown(key, place)


def _key(node: Any, place: str) -> Any:
    """The key of a dict again."""
    if isinstance(node, list) and node[0] == "tuple":
        return tuple(_key(part, place) for part in node[3])
    if not isinstance(node, list):
        return node
    if node[0] == "enum":
        return _class(node[1], enum.Enum, place)(node[2])
    return np.dtype(node[1]).type(node[2])


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    """Attributes that are state: all but those that the class says are rebuilt."""
    rebuilt = getattr(type(thing), "rebuilt", ())
    mine = dict(vars(thing)) if hasattr(thing, "__dict__") else {}
    for cls in type(thing).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name) and name not in {"__dict__", "__weakref__"}:
                mine[name] = getattr(thing, name)
    return [(name, value) for name, value in mine.items() if name not in rebuilt]


def _of_simpy(thing: Any) -> bool:
    return type(thing).__module__.split(".")[0] == "simpy"


def _name(thing: Any) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


def _ours(name: str) -> Any:
    """What has this name in the twin; nothing is imported for it."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module) if module.startswith("twin.") else None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _class(name: str, base: type, place: str) -> type:
    """A class of ours by name."""
    found = _ours(name)
    if not isinstance(found, type) or not issubclass(found, base):
        raise CheckpointError(f"{place}: {name} is no class of the twin")
    return found


def _unknown(thing: Any, place: str) -> CheckpointError:
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    return CheckpointError(
        f"{place}: a {kind} cannot be saved; valid: arrays, numbers, texts, lists, dicts, tuples, dataclasses, "
        "or a name in the class's `rebuilt`"
    )


def _digest(array: NDArray[Any]) -> bytes:
    data = np.ascontiguousarray(array)
    digest = hashlib.blake2b(f"{data.dtype.str}{data.shape}".encode(), digest_size=16)
    digest.update(memoryview(data.reshape(-1).view(np.uint8)))
    return digest.digest()


def _digest_of(parts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for place, content in parts:
        digest.update(place.encode() + b"\0" + content)
    return digest.hexdigest()
