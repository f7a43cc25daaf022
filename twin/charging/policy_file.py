"""Policies of one's own: a function in a Python file that the scenario names, `my_policy.py:smooth`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from twin.charging.policies import POLICIES, Policy, PolicyError
from twin.settings import ChargingSettings


def policy_of(settings: ChargingSettings) -> Policy:
    """The policy that the settings name, one of ours or one from a file.

    Raises
    ------
    PolicyError
        When the file cannot be read or run, or has no such function; one line.
    """
    if settings.policy in POLICIES:
        return POLICIES[settings.policy](settings)
    file, _, name = settings.policy.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise PolicyError(f"charging.policy: no file {file}; valid: FILE.py:FUNCTION or {', '.join(POLICIES)}")
    spec = importlib.util.spec_from_file_location(f"policy_{path.stem}", path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        why = " ".join(str(error).split())
        raise PolicyError(f"charging.policy: {file} cannot be run: {type(error).__name__}: {why}") from error
    found = getattr(module, name, None)
    if not callable(found):
        there = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise PolicyError(f"charging.policy: {file} has no function {name}; it has {there or 'none'}")
    policy: Policy = found
    return policy
