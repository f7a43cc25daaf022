"""The name of a run by content: what it is run from decides it, so what is done is known whoever did it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from runs.scenario import Scenario

PACKAGES = ("mesa", "simpy", "numpy", "numba", "llvmlite", "scipy")


@cache
def program() -> str:
    """Hash of the program: its code, facts and the packages that count."""
    from runs.machine import code_sha256, versions

    known = versions()
    said = [code_sha256(), *(f"{name} {known[name]}" for name in PACKAGES)]
    return hashlib.sha256("|".join(said).encode()).hexdigest()


class Keys:
    """Keys of runs; each map and file is read once.

    Parameters
    ----------
    say : callable
        Told when a map has to be built.
    """

    def __init__(self, say: Callable[[str], None] = lambda _text: None) -> None:
        self._say = say
        self._maps: dict[str, str] = {}
        self._files: dict[str, str] = {}

    def of(self, scenario: Scenario) -> str:
        """24 hex digits over scenario, seed, map, files it names, and program.

        Raises
        ------
        MapError
            When the map cannot be built.
        """
        files = [self._file(path) for path in sorted(_files(scenario.model_dump(mode="json")))]
        said = [scenario.sha256, scenario.seed, self.map(scenario.map), files, program()]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]

    def map(self, source: str) -> str:
        """Hash of a built map; builds it, so that workers find it in the cache."""
        if source not in self._maps:
            from maps.build import build_map
            from runs.checkpoints import map_digest

            self._maps[source] = map_digest(build_map(source, progress=self._say))
        return self._maps[source]

    def all(self, scenarios: Iterable[Scenario]) -> list[str]:
        """Keys of many."""
        return [self.of(scenario) for scenario in scenarios]

    def _file(self, path: str) -> str:
        if path not in self._files:
            self._files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return self._files[path]


def _files(said: Any) -> Iterator[str]:
    """Files that a scenario names, as FILE or FILE:FUNCTION; the map is told by its arrays."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            if key != "map":
                yield from _files(value)
    elif isinstance(said, list):
        for value in said:
            yield from _files(value)
    elif isinstance(said, str) and "." in said and len(said) < 4096:
        yield from (path for path in {said, said.rpartition(":")[0]} - {""} if Path(path).is_file())
