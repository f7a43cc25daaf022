"""The sweep file: one TOML that says which runs, how they are run, and what is asked of them."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runs.scenario import Scenario, keys
from runs.scenario_file import NotPlainError, ScenarioError, find, one_line, parse, plain

KINDS = ("grid", "list", "random", "latin_hypercube", "sobol", "saltelli", "morris")
MOST_RUNS = 1_000_000
FIGURES = ("grid.energy_kwh", "grid.peak_kw", "autonomy.share", "cloud.mb_per_connected_car_day")


class SweepError(ValueError):
    """A sweep cannot be used; the message is one line naming file, place and what is valid."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Factor(_Part):
    """What is varied: a key of the scenario over values or a range, or a name over cases that set several keys."""

    key: str = Field("", description="key of the scenario, such as charging.policy; `scenario` takes cities")
    name: str = Field("", description="name in the tables; the key by default")
    values: list[Any] | None = Field(None, description="levels")
    range: tuple[float, float] | None = Field(None, description="low and high end")
    scale: Literal["linear", "log"] = Field("linear", description="how a range is spread")
    integer: bool = Field(default=False, description="whole numbers of a range only")
    steps: int | None = Field(None, ge=2, le=10_000, description="levels of a range in a grid")
    cases: dict[str, dict[str, Any]] | None = Field(None, description="name of a level to the keys it sets")

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.name or self.key

    @property
    def levels(self) -> list[Any] | None:
        """Levels, None where it is a range."""
        if self.cases is not None:
            return list(self.cases)
        if self.values is not None:
            return self.values
        if self.range is not None and self.steps is not None:
            return [self.at(i / (self.steps - 1)) for i in range(self.steps)]
        return None

    def at(self, u: float) -> Any:
        """The level at a share from 0 to 1 of the way."""
        if self.range is None or (self.values is not None or self.cases is not None):
            levels = self.levels or []
            return levels[min(int(u * len(levels)), len(levels) - 1)]
        low, high = self.range
        if self.integer:
            return min(int(high), int(low) + int(u * (int(high) - int(low) + 1)))
        return float(low * (high / low) ** u) if self.scale == "log" else float(low + u * (high - low))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        given = [n for n in ("values", "range", "cases") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of values, range, cases; has {', '.join(given) or 'none'}")
        if self.cases is not None and not self.name:
            raise ValueError("cases need a name")
        if self.cases is None and not self.key:
            raise ValueError("needs a key of the scenario")
        if self.cases is not None and self.key:
            raise ValueError("cases set their own keys: leave `key` out")
        if self.values is not None or self.cases is not None:
            levels = self.levels or []
            texts = [json.dumps(v, sort_keys=True, default=str) for v in levels]
            if not texts:
                raise ValueError("has no level")
            if len(set(texts)) != len(texts):
                raise ValueError("has a level twice")
        if self.range is not None:
            low, high = self.range
            if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
                raise ValueError(f"range must be two finite numbers, the lower one first, is [{low:g}, {high:g}]")
            if self.scale == "log" and low <= 0:
                raise ValueError("a range on log scale must be above 0")
            if self.integer and (low != int(low) or high != int(high)):
                raise ValueError("a range of whole numbers must have whole ends")
        elif self.integer or self.steps is not None or self.scale != "linear":
            raise ValueError("integer, scale and steps belong to a range")
        return self


class Design(_Part):
    """Which points."""

    kind: Literal["grid", "list", "random", "latin_hypercube", "sobol", "saltelli", "morris"] = "grid"
    points: int | None = Field(
        None, ge=1, le=MOST_RUNS, description="points; of saltelli the base sample, of morris trajectories"
    )
    seed: int = Field(1, ge=0, le=2**31 - 1, description="of the design's own draws")
    replications: int = Field(1, ge=1, le=10_000, description="runs of each point")
    first_seed: int = Field(1, ge=0, le=2**62, description="seed of the first replication")
    common_random_numbers: bool = Field(default=True, description="replication r has the same seed at every point")
    second_order: bool = Field(default=False, description="saltelli: pairs of factors as well, twice the runs")


class Budget(_Part):
    """What a sweep may take; it is refused or ended before it takes more."""

    runs: int | None = Field(None, ge=1)
    hours: float | None = Field(None, gt=0, description="hours of runs, added up over processes")
    disk_gb: float | None = Field(None, gt=0)


class Running(_Part):
    """How each run is run."""

    keep: Literal["tables", "records"] = Field("tables", description="keep results folders, or only figures and series")
    attempts: int = Field(10, ge=1, le=1000, description="times that a run may be lost before it counts as failed")
    timeout: str | None = Field(None, description="a run that takes longer is killed, such as 2h")
    memory_mb: int = Field(0, ge=0, description="most memory of a run, 0 is no limit")
    threads: int = Field(1, ge=1, le=64)
    checkpoint: str = Field("60s", description="wall time between checkpoints of a run")


class Answers(_Part):
    """What the tables and pictures show."""

    figures: list[str] = Field(list(FIGURES), min_length=1, description="paths in summary.json")
    series: list[Literal["grid_load", "autonomy", "cloud"]] = Field([], description="series in series.parquet")


class Adaptive(_Part):
    """Replications are added to a point until the interval of a figure is narrow enough."""

    figure: str
    half_width: float = Field(gt=0, description="half the 95 % interval of the mean, as a share of the mean")
    most: int = Field(50, ge=3, le=10_000, description="replications of a point at most")


class Slurm(_Part):
    """Resources of a job, for `--executor slurm` and the array script."""

    queue: str = ""
    account: str = ""
    memory: str = "2GB"
    walltime: str = Field("01:00:00", pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")
    jobs: int = Field(8, ge=1, le=10_000)
    extra: list[str] = Field([], description="further #SBATCH lines, such as --constraint=avx2")
    prologue: list[str] = Field([], description="shell lines before the program, such as module load python")
    interface: str = Field("", description="network interface of the workers, such as ib0")


class Sweep(_Part):
    """A sweep file, checked."""

    name: str = Field(pattern=r"^\w[\w.-]*$", max_length=48)
    scenario: str = Field("demo", description="built-in scenario or file that everything starts from")
    base: dict[str, Any] = Field({}, description="keys of the scenario that all runs share")
    design: Design = Design()
    factor: list[Factor] = Field([], description="what is varied")
    point: list[dict[str, Any]] = Field([], description="points of a list design: key to value")
    budget: Budget = Budget()
    run: Running = Running()
    answers: Answers = Answers()
    adaptive: Adaptive | None = None
    slurm: Slurm = Slurm()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a shipped sweep by name, or a file.

        Raises
        ------
        SweepError
            One line: file, key, what is wrong, what is valid.
        """
        place, text = _find(path)
        raw = parse(text, str(path))
        raw.setdefault("name", place.stem)
        return cls.check(raw, place=str(path), folder=place.parent)

    @classmethod
    def check(cls, raw: Mapping[str, Any], *, place: str = "sweep", folder: Path = Path()) -> Self:
        """Check plain values as a sweep file has them.

        Raises
        ------
        SweepError
        """
        try:
            values = plain(raw, "")
            if isinstance(scenario := values.get("scenario"), str) and (folder / scenario).is_file():
                values["scenario"] = str(folder / scenario)
            sweep = cls.model_validate(_flat_keys(values))
        except ValidationError as error:
            raise SweepError(f"{place}: {_explain(error)}") from None
        except NotPlainError as error:
            raise SweepError(f"{place}: {error}") from None
        sweep.consistent(place)
        return sweep

    def consistent(self, place: str) -> None:
        """Refuse what each part may say and all together may not."""
        labels = [f.label for f in self.factor]
        for what, names in (("name", labels), ("key", [f.key for f in self.factor if f.key])):
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice:
                raise SweepError(f"{place}: two factors have the {what} {twice!r}")
        known = {*keys(), "scenario"}
        said = [(f"factor {f.label}", key) for f in self.factor for key in _keys_of(f)]
        said += [("base", key) for key in self.base] + [(f"point {i}", k) for i, p in enumerate(self.point) for k in p]
        for where, key in said:
            if key not in known:
                near = difflib.get_close_matches(key, sorted(known), 3, cutoff=0.5)
                hint = f"; nearest: {', '.join(near)}" if near else "; twin run --help names the scenario's keys"
                raise SweepError(f"{place}: {where}: {key!r} is no key of a scenario{hint}")
            if key in ("seed", "name"):
                raise SweepError(f"{place}: {where}: {key} is set by the sweep (design.first_seed, name)")
        shared = {key for f in self.factor for key in _keys_of(f)}
        for key in self.base:
            if key in shared:
                raise SweepError(f"{place}: base: {key} is varied by a factor as well")
        pairs = [key for f in self.factor for key in set(_keys_of(f))]
        twice = next((k for k in pairs if pairs.count(k) > 1), None)
        if twice:
            raise SweepError(f"{place}: {twice} is set by two factors")
        self._design_fits(place)

    def _design_fits(self, place: str) -> None:
        kind = self.design.kind
        if kind == "list":
            if not self.point or self.factor:
                raise SweepError(f"{place}: a list design needs [[point]] tables and no [[factor]]")
            if any(set(p) != set(self.point[0]) for p in self.point):
                raise SweepError(f"{place}: every [[point]] must set the same keys: {', '.join(self.point[0])}")
        elif not self.factor or self.point:
            raise SweepError(f"{place}: a {kind} design needs [[factor]] tables and no [[point]]")
        if kind == "grid":
            for f in self.factor:
                if f.levels is None:
                    raise SweepError(f"{place}: factor {f.label}: a range needs `steps` in a grid")
        elif kind != "list" and self.design.points is None:
            raise SweepError(f"{place}: design.points is missing; a {kind} design needs how many")
        if kind in ("grid", "list") and self.design.points is not None:
            raise SweepError(f"{place}: design.points: the points of a {kind} follow from its levels; leave it out")
        points = self.design.points or 0
        if kind in ("sobol", "saltelli") and points & (points - 1):
            near = 1 << (points.bit_length() - 1)
            raise SweepError(
                f"{place}: design.points must be a power of 2 for {kind}, is {points}; nearest: {near}, {2 * near}"
            )
        if kind in ("saltelli", "morris") and len(self.factor) < 2:
            raise SweepError(f"{place}: a {kind} design needs two factors or more")
        if kind in ("saltelli", "morris") and self.design.replications > 1 and not self.design.common_random_numbers:
            raise SweepError(f"{place}: {kind} compares points: design.common_random_numbers must be true")
        if self.adaptive is not None and kind in ("saltelli", "morris"):
            raise SweepError(f"{place}: adaptive replication belongs to designs other than {kind}")
        if self.adaptive is not None and self.adaptive.most < self.design.replications:
            raise SweepError(f"{place}: adaptive.most is below design.replications ({self.design.replications})")

    @property
    def sha256(self) -> str:
        """Hash over what decides which runs there are: same hash, same folder."""
        said = self.model_dump(mode="json", include={"scenario", "base", "design", "factor", "point"})
        said["design"].pop("replications")  # more of them extend the same sweep
        return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        """Name of its folder."""
        return f"sweep-{self.name}-{self.sha256[:8]}"


def _keys_of(factor: Factor) -> list[str]:
    if factor.cases is None:
        return [factor.key]
    return sorted({key for sets in factor.cases.values() for key in sets})


def _flat_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Key paths in `base`, `point` and `cases` may be written as TOML tables: fleet.cars and [base.fleet] are one."""
    found = dict(values)
    if isinstance(base := found.get("base"), dict):
        found["base"] = _paths(base)
    if isinstance(points := found.get("point"), list):
        found["point"] = [_paths(p) if isinstance(p, dict) else p for p in points]
    if isinstance(factors := found.get("factor"), list):
        found["factor"] = [
            {**f, "cases": {k: _paths(v) if isinstance(v, dict) else v for k, v in f["cases"].items()}}
            if isinstance(f, dict) and isinstance(f.get("cases"), dict)
            else f
            for f in factors
        ]
    return found


def _paths(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and not lead:
            found |= _paths(value, f"{name}.")
        else:
            found[lead + name] = value
    return found


def shipped() -> list[str]:
    """Names of the sweeps that come with the program."""
    return sorted(p.stem for p in (Path(__file__).parents[1] / "sweeps").glob("*.toml"))


def _find(path: str | Path) -> tuple[Path, str]:
    if str(path) in shipped():
        own = Path(__file__).parents[1] / "sweeps" / f"{path}.toml"
        return own, own.read_text("utf-8")
    if not Path(path).exists():
        near = difflib.get_close_matches(Path(path).stem, shipped(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SweepError(f"{path}: no such sweep file{hint} (shipped: {', '.join(shipped())})")
    try:
        return find(path)
    except ScenarioError as error:
        raise SweepError(str(error).replace("a scenario", "a sweep")) from None


def base_scenario(sweep: Sweep, name: str | None = None) -> Scenario:
    """The scenario that everything starts from, with what all runs share."""
    return Scenario.load(name or sweep.scenario)


def _explain(error: ValidationError) -> str:
    fault = error.errors()[0]
    path = ".".join(str(p) for p in fault["loc"])
    if fault["type"] == "extra_forbidden":
        *rooms, last = [p for p in fault["loc"] if isinstance(p, str)]
        part: Any = Sweep
        for room in rooms:
            part = _PARTS.get(room, part)
        valid = list(part.model_fields)
        near = difflib.get_close_matches(str(last), valid, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{path}: unknown key{hint} (valid: {', '.join(valid)})"
    message = one_line(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    given = repr(fault.get("input"))
    said = f", is {given}" if len(given) < 60 and fault["type"] not in ("value_error", "missing") else ""
    return f"{path}: {message}{said}"


_PARTS: dict[str, type[BaseModel]] = {
    "factor": Factor,
    "design": Design,
    "budget": Budget,
    "run": Running,
    "answers": Answers,
    "adaptive": Adaptive,
    "slurm": Slurm,
}
