"""The whole state of a twin, taken out and put back: `capture` and `restore`.

Nobody lists what is state. The walk (`twin/checkpoint_walk.py`) starts at the model and follows every attribute; what
it knows is saved, what it does not know is refused by name, so that a room cannot lose anything in silence. Saved are
arrays, numbers, texts, lists, dicts, tuples and objects of the twin's classes. Not saved, because a fresh twin of the
same scenario has it:

- inputs: map, settings, catalogue, functions;
- what a class names in `rebuilt` (caches that are a function of other state);
- arrays that are as they were right after building (`fingerprint`);
- SimPy's environment and processes: `World.revive` starts them from the tables.

Tables of events only grow, so a chain of checkpoints writes each row once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import mesa
from numpy.typing import NDArray

from twin.checkpoint_file import CheckpointError
from twin.checkpoint_walk import MISSING, Capture, Restore
from twin.events import Table

__all__ = ["CheckpointError", "Snapshot", "capture", "fingerprint", "restore"]

_AGENT = frozenset({"model", "unique_id", "pos", "row"})


@dataclass
class Snapshot:
    """State of a twin between two ticks.

    Attributes
    ----------
    tree : dict
        Plain values; arrays are numbers of entries in `arrays`.
    arrays : list of ndarray
        Views of the live state: write them before the next tick.
    tables : dict of str to Table
        Event tables by their place in the twin; `tree` holds only how many rows they have.
    unsaved : str
        Digest over the arrays left out because they are as built; a fresh twin must have the same.
    """

    tree: dict[str, Any]
    arrays: list[NDArray[Any]] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    unsaved: str = ""


def fingerprint(twin: mesa.Model[Any, Any]) -> dict[str, bytes]:
    """Digest of every array of a twin that has just been built, by place."""
    walk = Capture(twin, {})
    walk.value(_parts(twin), "twin")
    return walk.digests


def capture(twin: mesa.Model[Any, Any], fresh: Mapping[str, bytes] | None = None) -> Snapshot:
    """Take the state of a twin between two ticks.

    Parameters
    ----------
    twin : Twin
    fresh : mapping, optional
        `fingerprint` of the twin right after it was built; without it every array is saved.

    Raises
    ------
    CheckpointError
        When some attribute is of a kind that cannot be saved; the message names it.
    """
    if len(twin._event_list) > 1:
        raise CheckpointError("Mesa events scheduled on the model are functions and cannot be saved; keep a table row")
    walk = Capture(twin, fresh or {})
    tree = {
        "parts": walk.value(_parts(twin), "twin"),
        "agents": walk.value(_own_attributes(twin), "agents"),
        "n_agents": len(twin.agents),
    }
    walk.check_views()
    return Snapshot(tree, walk.arrays, walk.tables, walk.left_out())


def restore(twin: mesa.Model[Any, Any], snapshot: Snapshot, rows: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """Put a saved state into a twin that was just built from the same scenario, map and program.

    Parameters
    ----------
    twin : Twin
        Its arrays are filled in place where their shape is the same.
    snapshot : Snapshot
        `tree`, `arrays` and `unsaved` count.
    rows : mapping
        Columns of every event table by its place.

    Raises
    ------
    CheckpointError
        When the twin is another one than the state was taken from.
    """
    tree = snapshot.tree
    if tree["n_agents"] != len(twin.agents):
        raise CheckpointError(f"the checkpoint has {tree['n_agents']} agents, the model {len(twin.agents)}")
    agents = {agent.unique_id: agent for agent in twin.agents}
    walk = Restore(twin, agents, snapshot.arrays, rows)
    fresh = _parts(twin)
    walk.claim(tree["parts"], fresh, "twin")
    if walk.left_out() != snapshot.unsaved:
        raise CheckpointError("the twin as built is not the one the checkpoint was made with (map, facts or program)")
    saved = walk.value(tree["parts"], fresh, "twin")
    for uid, had in _own_attributes(twin).items():
        for name in had:
            delattr(agents[uid], name)
        agents[uid].pos = None
    for uid, own in walk.value(tree["agents"], MISSING, "agents").items():
        vars(agents[uid]).update(own)
    _put_mesa(twin, saved)
    world = saved["world"]
    world.revive()
    _refuse_old_processes(twin, world)


# ---------------------------------------------------------------- the model


@cache
def _mesa_names() -> frozenset[str]:
    return frozenset({*vars(mesa.Model(rng=0)), "time"})


def _parts(twin: mesa.Model[Any, Any]) -> dict[str, Any]:
    """State of a model: its own attributes, Mesa's clock and Mesa's random numbers."""
    own = {name: value for name, value in vars(twin).items() if name not in _mesa_names()}
    return own | {
        "steps": twin.steps,
        "time": twin.time,
        "running": twin.running,
        "random": twin.random.getstate(),
        "rng": twin.rng.bit_generator.state,
    }


def _put_mesa(twin: mesa.Model[Any, Any], saved: Mapping[str, Any]) -> None:
    vars(twin).update({name: value for name, value in saved.items() if name not in _mesa_names()})
    twin._default_schedule.pause()  # its next step is due one unit after the time it is resumed at
    twin.time, twin.steps, twin.running = saved["time"], saved["steps"], saved["running"]
    twin._default_schedule.resume()
    twin.random.setstate(saved["random"])
    twin.rng.bit_generator.state = saved["rng"]


def _own_attributes(twin: mesa.Model[Any, Any]) -> dict[int, dict[str, Any]]:
    """What agents carry themselves, by id: nothing, unless someone has subclassed them so."""
    found = {}
    for agent in twin.agents:
        mine = vars(agent)
        if len(mine) > len(_AGENT) or mine["pos"] is not None or not mine.keys() <= _AGENT:
            found[agent.unique_id] = {k: v for k, v in mine.items() if k not in {"model", "unique_id", "row"}}
    return found


def _refuse_old_processes(twin: mesa.Model[Any, Any], world: Any) -> None:
    """After a restore every SimPy object must live in the new environment: a forgotten room is an error."""
    env, walk = world.sessions.env, Capture(twin, {})
    walk.value(_parts(twin), "twin")
    for place, thing in walk.simpy:
        own = thing if hasattr(thing, "run") and hasattr(thing, "peek") else getattr(thing, "_env", None) or thing.env
        if own is not env:
            raise CheckpointError(f"{place}: still in the environment of before; World.revive must start it again")
