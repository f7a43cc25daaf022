"""Capture and restore: every cut point of a toy day, what cannot be saved, damaged files."""

from __future__ import annotations

import enum
import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy

from maps.network import CityMap
from runs.columns import table_digest, to_arrow
from runs.scenario import Scenario
from tests.checkpoint_cases import city, crowded, digest, forget_timing
from twin import checkpoint_file
from twin.checkpoint import CheckpointError, Snapshot, capture, fingerprint, restore
from twin.checkpoint_walk import MISSING, SMALL_B, Capture, Restore
from twin.events import Column, Table
from twin.model import Twin
from twin.settings import TwinSettings

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def town() -> CityMap:
    return city()


def results(twin: Twin) -> dict[str, Any]:
    twin.world.finish()
    assert {name: value for name, value in twin.world.ledger().items() if value} == {}
    found: dict[str, Any] = {table.name: table_digest(to_arrow(table)) for table in twin.world.tables()}
    return found | {"summary": twin.world.summary(), "time": twin.time, "steps": twin.steps, "diary": twin.diary}


@pytest.fixture(scope="module")
def small(town: CityMap) -> Twin:
    return crowded(town)


class Day:
    """A day run without a stop, its state before every tick in a file."""

    def __init__(self, town: CityMap, folder: Path) -> None:
        twin = crowded(town)
        self.files: list[Path] = []
        self.digests: list[str] = []
        self.counts: list[dict[str, int]] = []
        while True:
            forget_timing(twin)
            state = capture(twin)
            self.digests.append(digest(state))
            self.counts.append({place: len(table) for place, table in state.tables.items()})
            path = folder / f"{len(self.files)}.ckpt"
            with path.open("wb") as file:
                checkpoint_file.write(file, {"tree": state.tree, "unsaved": state.unsaved}, state.arrays)
            self.files.append(path)
            if twin.world.done:
                break
            twin.step()
        self.tables = {place: table.arrays() for place, table in state.tables.items()}
        self.longest = twin.world.cloud.summary()["ingest"]["longest_queue"]
        self.results = results(twin)

    def put(self, cut: int, twin: Twin) -> None:
        content, arrays = checkpoint_file.read(self.files[cut])
        rows = {
            place: {name: values[: self.counts[cut][place]] for name, values in columns.items()}
            for place, columns in self.tables.items()
        }
        restore(twin, Snapshot(content["tree"], arrays, unsaved=content["unsaved"]), rows)


@pytest.fixture(scope="module")
def day(town: CityMap, tmp_path_factory: pytest.TempPathFactory) -> Day:
    return Day(town, tmp_path_factory.mktemp("day"))


def test_the_day_has_what_is_hard_to_resume(day: Day) -> None:
    queue, cloud, ota = (day.results["summary"][room] for room in ("queue", "cloud", "ota"))
    assert len(day.files) == 145
    assert queue["waited"] >= 10
    assert queue["reneged"] >= 3
    assert day.longest >= 3
    assert cloud["resent_bytes"] > 0
    assert ota["installed"] >= 3


def test_every_tick_is_a_cut_point(day: Day, town: CityMap) -> None:
    """Restored and advanced by one tick, the state is that of the day without a stop; in a shuffled order of cuts, so
    that what a restore forgets to put back is wrong."""
    twin = crowded(town)
    last = len(day.files) - 1
    for i in range(last):
        cut = i * 61 % last
        day.put(cut, twin)
        if i % 4 == 0:
            forget_timing(twin)
            assert digest(capture(twin)) == day.digests[cut], f"restored at tick {cut}"
        twin.step()
        forget_timing(twin)
        assert digest(capture(twin)) == day.digests[cut + 1], f"one tick after tick {cut}"


@pytest.mark.parametrize("cut", [0, 37, 97])
def test_a_resumed_run_ends_like_the_other(day: Day, town: CityMap, cut: int) -> None:
    twin = crowded(town)
    day.put(cut, twin)
    assert (twin.steps, twin.time, twin.world.now_ms) == (cut, float(cut), cut * 600_000)
    assert getattr(twin.operator, "seen", 0) >= (9 if cut else 0)
    while not twin.world.done:
        twin.step()
    assert results(twin) == day.results


def test_a_chain_of_five_cuts(day: Day, town: CityMap) -> None:
    """Each link of the chain starts from what the one before saved, with only what has changed since building."""
    twin = crowded(town)
    fresh = fingerprint(twin)
    for _ in range(5):
        for _ in range(24):
            twin.step()
        state = capture(twin, fresh)
        file = io.BytesIO()
        checkpoint_file.write(file, {"tree": state.tree}, state.arrays)
        arrays = [array.copy() for array in state.arrays]
        rows = {place: {n: v.copy() for n, v in t.arrays().items()} for place, t in state.tables.items()}
        twin = crowded(town)
        assert fingerprint(twin) == fresh
        restore(twin, Snapshot(json.loads(json.dumps(state.tree)), arrays, unsaved=state.unsaved), rows)
    while not twin.world.done:
        twin.step()
    assert results(twin) == day.results


@pytest.mark.data
def test_a_city_at_three_cut_points() -> None:
    """Kyoto's morning: resumed in the first quarter of an hour, in the rush, and near the end."""
    folder = Path(os.environ.get("TWIN_DATA") or Path(__file__).resolve().parents[1] / "../shared/data")
    if not (folder / "osm/kyoto_fushimi_2021.osm.pbf").is_file():
        pytest.skip(f"needs osm/kyoto_fushimi_2021.osm.pbf in the data folder (TWIN_DATA), looked in {folder}")
    scenario = Scenario.load("kyoto").but(fleet__cars=600, start=datetime(2022, 10, 12, 7), until="2h")
    on = scenario.city()

    def ended(twin: Any) -> dict[str, Any]:
        while not twin.world.done:
            twin.step()
        twin.diary = []
        return results(twin)

    whole = ended(scenario.build_on(on))
    assert whole["summary"]["fleet"]["arrived"] > 50
    for cut in (11, 47, 113):
        twin = scenario.build_on(on)
        fresh = fingerprint(twin)
        for _ in range(cut):
            twin.step()
        state = capture(twin, fresh)
        again = scenario.build_on(on)
        restore(again, state, {place: table.arrays() for place, table in state.tables.items()})
        assert ended(again) == whole


def test_one_cut_in_a_morning_with_queues(town: CityMap) -> None:
    """What the day above holds at every tick, at one of them: cheap enough to be tried on every mutant."""
    one, other = crowded(town), crowded(town)
    fresh = fingerprint(one)
    assert fresh == fingerprint(other)
    assert all(len(digest_of) == 16 for digest_of in fresh.values())
    while one.world.now_ms < 3.5 * 3_600_000:
        one.step()
    for agent in list(one.agents)[:2]:
        agent.seen = 5
    other_agent = list(other.agents)[3]
    other_agent.seen = 9
    forget_timing(one)
    state = capture(one, fresh)
    assert state.unsaved and len(state.arrays) < len(capture(one).arrays)
    whole = digest(state)
    arrays = [array.copy() for array in state.arrays]
    rows = {place: {n: v.copy() for n, v in t.arrays().items()} for place, t in state.tables.items()}
    with pytest.raises(CheckpointError, match=r"^twin\.world\.\S+: 0 rows at hand, \d+ needed"):
        restore(other, Snapshot(json.loads(json.dumps(state.tree)), arrays, unsaved=state.unsaved), {})
    restore(other, Snapshot(json.loads(json.dumps(state.tree)), arrays, unsaved=state.unsaved), rows)
    assert not hasattr(other_agent, "seen")
    assert [agent.seen for agent in list(other.agents)[:2]] == [5, 5]
    assert digest(capture(other, fresh)) == whole
    assert (other.time, other.steps, other.running) == (one.time, one.steps, one.running)
    for twin in (one, other):
        for _ in range(3):
            twin.step()
        forget_timing(twin)
    assert digest(capture(other, fresh)) == digest(capture(one, fresh)) != whole
    assert other.time == one.time == other.steps


def test_another_twin_is_refused(town: CityMap) -> None:
    twin = crowded(town)
    fresh = fingerprint(twin)
    twin.step()
    state = capture(twin, fresh)
    other = crowded(town)
    other.world.charging.curve_w *= 1.01  # as another facts file would
    with pytest.raises(CheckpointError, match="not the one the checkpoint was made with"):
        restore(other, state, {place: table.arrays() for place, table in state.tables.items()})
    other = crowded(town)
    next(iter(other.agents)).remove()
    with pytest.raises(CheckpointError, match="42 agents, the model 41"):
        restore(other, state, {})


class Opaque:
    pass


def _generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (_generator(), "a builtins.generator cannot be saved"),
        (io.StringIO(), "a _io.StringIO cannot be saved"),
        (Opaque(), "Opaque cannot be saved"),
        ({1, 2}, "a builtins.set cannot be saved"),
        (np.random.default_rng(1), "Generator cannot be saved"),
        ([simpy.Environment()], "Environment cannot be saved"),
        (np.array(["2022-10-12"], "M8[D]")[0], "datetime64 cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named(small: Twin, thing: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small.world.drive, "odd", [thing] if not isinstance(thing, list) else thing, raising=False)
    with pytest.raises(CheckpointError, match=r"twin\.world\.drive\.odd") as caught:
        capture(small)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_an_agent_carries_is_named_too(small: Twin) -> None:
    agent = next(iter(small.agents))
    agent.odd = Opaque()
    try:
        with pytest.raises(CheckpointError, match=r"^agents\[1\]\.odd: .*Opaque cannot be saved"):
            capture(small)
    finally:
        del agent.odd


def test_views_and_events_of_mesa_are_refused(small: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(small.world.drive, "odd", small.world.fleet.battery_j[3:], raising=False)
        with pytest.raises(CheckpointError, match="is a view of"):
            capture(small)
    event = small.schedule_event(small.step, at=5.0)
    with pytest.raises(CheckpointError, match="Mesa events"):
        capture(small)
    event.cancel()


def test_a_room_that_forgets_to_revive_is_named(town: CityMap) -> None:
    twin = crowded(town)
    twin.world.cloud.gate = simpy.Resource(twin.world.sessions.env, 1)
    state = capture(twin)
    with pytest.raises(CheckpointError, match=r"twin\.world\.cloud\.gate: still in the environment of before"):
        restore(twin, state, {place: table.arrays() for place, table in state.tables.items()})


def test_a_process_of_before_in_a_room_is_named(town: CityMap, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = crowded(town)
    old, revive = simpy.Resource(twin.world.sessions.env, 1), type(twin.world).revive
    twin.world.cloud.gates = {}
    state = capture(twin)
    monkeypatch.setattr(type(twin.world), "revive", lambda world: (revive(world), world.cloud.gates.update(x=old)))
    with pytest.raises(CheckpointError, match=r"twin\.world\.cloud\.gates\.x: still in the environment of before"):
        restore(twin, state, {place: table.arrays() for place, table in state.tables.items()})


# ---------------------------------------------------------------- values


class Colour(enum.IntEnum):
    RED = 1


def back(thing: Any, fresh: Any = MISSING) -> Any:
    out = Capture(object(), {})
    node = json.loads(json.dumps(out.value(thing, "x")))
    rows = {place: table.arrays() for place, table in out.tables.items()}
    walk = Restore(object(), {}, out.arrays, rows)
    walk.claim(node, fresh, "x")
    return walk.value(node, fresh, "x")


def test_values_come_back_as_they_were() -> None:
    shared = [1.5]
    thing = {
        "numbers": [True, 2**70, -0.0, 1e-310, float("inf"), None, "é\0"],
        "many": list(range(-5, 20)),
        "reals": [i / 7 for i in range(20)],
        "mixed": [1, 2.0] * 8,
        "huge": [2**63 + i for i in range(10)],
        "deep": [-(2**63) - i for i in range(10)],
        "largest": [2**63 - 1 - i for i in range(10)] + [-(2**63)],
        ("key", 3): np.int32(7),
        np.int64(4): np.float32(0.1),
        "moment": datetime(2022, 10, 12, 1, 2, 3),
        "queue": deque([1, 2], maxlen=2),
        "shared": [shared, shared],
        "texts": np.array([["a", ""], ["é", "b"]], object),
        "empty": np.zeros((0, 3), np.uint8),
        "records": np.array([(1, 2.5)], np.dtype([("a", "<i4"), ("b", "<f8", (2,))])),
        "strided": np.arange(12).reshape(3, 4)[:, 1],
        "scalar": np.array(3.0),
    }
    found = back(thing)
    assert list(found) == list(thing)
    assert [type(k) for k in found] == [type(k) for k in thing]
    assert found["shared"][0] is found["shared"][1]
    assert (found["queue"].maxlen, type(found[np.int64(4)])) == (2, np.float32)
    for key, value in thing.items():
        if isinstance(value, np.ndarray):
            assert found[key].dtype == value.dtype
            assert found[key].flags.writeable
            np.testing.assert_array_equal(found[key], value)
        else:
            assert found[key] == value
            assert type(found[key]) is type(value)
    assert str(found["numbers"][2]) == "-0.0"
    assert np.isnan(back([float("nan")])[0])


def test_arrays_are_filled_in_place_and_never_twice() -> None:
    a, b = np.zeros(3), np.ones(3)
    fresh = {"one": a, "two": a, "list": [b, b]}
    saved = {"one": np.full(3, 5.0), "two": np.full(3, 6.0), "list": [np.full(3, 7.0), np.full(3, 8.0)]}
    found = back(saved, fresh)
    assert found is fresh
    assert found["one"] is a
    assert [part.tolist()[0] for part in (found["one"], found["two"], *found["list"])] == [5, 6, 7, 8]
    both = [1, 2]
    found = back({"first": [3], "second": [4]}, {"first": both, "second": both})
    assert (found["first"], found["second"]) == ([3], [4])
    assert found["first"] is both
    grown = back({"one": np.arange(9)}, {"one": np.zeros(3, int)})
    assert grown["one"].tolist() == list(range(9))


def test_long_lists_of_numbers_are_arrays_and_small_arrays_are_always_saved() -> None:
    for numbers in ([0.5], [1], [10**18], [-(10**18)]):
        for length, arrays in ((8, 0), (9, 1)):
            out = Capture(object(), {})
            out.value(numbers * length, "x")
            assert len(out.arrays) == arrays
    for size, digests in ((SMALL_B, 0), (SMALL_B + 1, 1)):
        out = Capture(object(), {})
        out.value(np.zeros(size, np.uint8), "x")
        assert len(out.digests) == digests


def _counter(counts: np.ndarray) -> Any:
    def count() -> int:
        counts[0] += 1
        return int(counts[0])

    return count


def test_what_a_function_holds_is_put_back_into_the_fresh_one() -> None:
    theirs, mine = np.array([41]), np.array([0])
    fresh = _counter(mine)
    found = back({"count": _counter(theirs)}, {"count": fresh})
    assert found["count"] is fresh
    assert fresh() == 42
    assert mine[0] == 42  # filled in place: whoever holds it sees it
    with pytest.raises(CheckpointError, match=r"x\.count: the function .*_counter.* is not there"):
        back({"count": _counter(theirs)}, {})
    with pytest.raises(CheckpointError, match="is not there"):
        back({"count": _counter(theirs)}, {"count": _digest_of})


def test_what_stays_as_built_is_not_overwritten_by_something_else() -> None:
    """An array of the fresh twin that is kept in one place is not the room for other values in another."""
    kept = np.arange(1000.0)
    out = Capture(object(), {"x.later": _digest_of(kept)})
    node = out.value({"first": [np.zeros(1000)], "later": kept}, "x")
    assert len(out.arrays) == 1
    fresh_kept = np.arange(1000.0)
    fresh = {"first": [fresh_kept], "later": fresh_kept}
    walk = Restore(object(), {}, out.arrays, {})
    walk.claim(node, fresh, "x")
    assert walk.left_out() == out.left_out() != ""
    found = walk.value(node, fresh, "x")
    assert found["later"] is fresh_kept
    assert found["later"][999] == 999
    assert found["first"][0][999] == 0


def _digest_of(array: np.ndarray) -> bytes:
    out = Capture(object(), {})
    out.value(array, "x")
    return out.digests["x"]


def test_settings_and_classes_are_of_the_fresh_twin() -> None:
    settings = TwinSettings()
    assert back({"s": settings}, {"s": settings})["s"] is settings
    with pytest.raises(CheckpointError, match=r"x\.s: the twin as built has nothing there"):
        back({"s": settings}, {})
    with pytest.raises(CheckpointError, match="is no class of the twin"):
        back(Colour.RED)  # a class of these tests: nothing is looked up outside the twin


def test_a_table_goes_on_with_the_rows_it_had() -> None:
    table = Table("t", {"n": Column("i8", "", ""), "word": Column("str", "", "")})
    table.append(n=[1, 2], word=["a", "b"])
    other = Table("t", table.columns)
    other.append(n=[9], word=["z"])
    assert back({"t": table}, {"t": other})["t"] is other
    other.append(n=3, word="c")
    assert other["n"].tolist() == [1, 2, 3]
    assert other["word"].tolist() == ["a", "b", "c"]
    assert other.rows_since(2)["n"].tolist() == [3]
    with pytest.raises(CheckpointError, match=r"x\.t: the twin as built has no table there"):
        back({"t": table}, {"t": [1]})
    with pytest.raises(KeyError):
        other.refill({"n": np.arange(3)})


# ---------------------------------------------------------------- files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.ckpt"
    with path.open("wb") as out:
        checkpoint_file.write(out, {"x": [1.5, float("inf")]}, [np.arange(300, dtype=np.int32), np.zeros(0)])
    return path


def test_a_file_reads_back(file: Path) -> None:
    content, arrays = checkpoint_file.read(file)
    assert content["x"] == [1.5, float("inf")]
    assert arrays[0].tolist() == list(range(300))
    assert len(arrays[1]) == 0


def test_every_damaged_file_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    places = [*range(0, len(whole), 7), len(whole) - 1]
    for at in places:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match=r"one\.ckpt: (damaged|not a checkpoint)"):
            checkpoint_file.read(file)
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"one\.ckpt: "):
            checkpoint_file.read(file)
    file.unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint_file.read(file)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"format":1}',
        b'{"format":1,"arrays":[["<i4",[1000000000000],0,4000000000000]]}',
        b'{"format":1,"arrays":[["<i4",[-1],0,-4]]}',
        b'{"format":1,"arrays":[["<i4",[1],61,4]]}',  # one byte into the checksum
        b'{"format":1,"arrays":[["<i4",[2],0,4]]}',
        b'{"format":1,"arrays":[["<i4",[1],-8,4]]}',
        b'{"format":1,"arrays":[["|O",[1],0,8]]}',
        b'{"format":1,"arrays":[["<i4",["1"],0,4]]}',
        b'{"format":1,"arrays":[[[["a","|O"]],[1],0,8]]}',
        b"\xff\xfe",
    ],
)
def test_a_made_up_file_is_refused(file: Path, header: bytes) -> None:
    """Its checksum is right, so this is the work of somebody; still one line, and nothing is run or reserved."""
    body = checkpoint_file.MAGIC + len(header).to_bytes(8, "little") + header + bytes(64)
    file.write_bytes(body + hashlib.blake2b(body, digest_size=32).digest())
    with pytest.raises(CheckpointError, match=r"one\.ckpt: no valid checkpoint"):
        checkpoint_file.read(file)


def test_the_last_bytes_before_the_checksum_are_content(file: Path) -> None:
    header = b'{"format":1,"arrays":[["<i4",[1],60,4]]}'
    body = checkpoint_file.MAGIC + len(header).to_bytes(8, "little") + header + bytes(60) + b"\7\0\0\0"
    file.write_bytes(body + hashlib.blake2b(body, digest_size=32).digest())
    assert checkpoint_file.read(file)[1][0].tolist() == [7]


def test_another_file_is_named_as_such(file: Path) -> None:
    body = b"another program's\n" + bytes(200)
    file.write_bytes(body + hashlib.blake2b(body, digest_size=32).digest())
    with pytest.raises(CheckpointError, match=r"one\.ckpt: not a checkpoint of fleet-twin"):
        checkpoint_file.read(file)


class Pieces(io.BytesIO):
    """Remembers how large what was written at once is."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, piece: Any) -> int:
        self.sizes.append(len(piece))
        return super().write(piece)


def test_many_arrays_are_written_in_few_pieces_and_come_back(tmp_path: Path) -> None:
    """Small ones together up to a quarter of a megabyte, large ones as they are."""
    most = checkpoint_file.CHUNK_B
    sizes = [100_000, 100_000, 100_000, 300_000, 10, 0, most, 20, 1, most - 21, 1]
    arrays = [np.arange(size, dtype=np.int64).astype(np.uint8) + at for at, size in enumerate(sizes)]
    out, path = Pieces(), tmp_path / "many.ckpt"
    checkpoint_file.write(out, {"x": 1}, arrays)
    lead = out.sizes[0] - 200_000
    assert 0 < lead < 1000
    assert out.sizes == [lead + 200_000, 100_000, 300_000, 10, most, most, 1, 32]
    assert [len(piece) for piece in checkpoint_file._joined([bytes(most), b"y"])] == [most, 1]
    path.write_bytes(out.getvalue())
    content, found = checkpoint_file.read(path)
    assert content == {"format": checkpoint_file.FORMAT, "x": 1}
    assert [array.tolist() for array in found] == [array.tolist() for array in arrays]


def test_another_format_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_file, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="checkpoint format 1, this version reads 2"):
        checkpoint_file.read(file)


def test_objects_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds Python objects"):
        checkpoint_file.write(io.BytesIO(), {}, [np.array([object()])])
