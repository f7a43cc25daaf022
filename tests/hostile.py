"""Files that are damaged, or made to harm: each must end in one line with the file's name, or be read as it is.

    python -m tests.hostile --n 2000 pbf         # 2,000 mutations of small valid files of a format
    python -m tests.hostile --n 50 all           # every format, and the files of `named`
    python -m tests.hostile --seed 17 csv        # one again, with what was said

A file may stay valid after a mutation; then reading it is right. Anything but a `ValueError` of ours with one line that
names the file is a fault, and so are more than 512 MiB above what the program itself takes, or 10 s of one core.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import faulthandler
import gzip
import io
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

import twin  # noqa: F401  (chooses the folder of compiled kernels, before TWIN_CACHE is another)
from maps.toy import toy_city
from runs import cli
from tests.osm_text import osm_text

MOST_S = 10
MOST_B = 512 << 20
TOWN = {10 * r + c: (200.0 * c, 200.0 * r) for r in range(4) for c in range(4)}
STREETS = [([10 * r + c for c in range(4)], {"highway": "primary", "maxspeed": "50", "lanes": "2"}) for r in range(4)]
STREETS += [([10 * r + c for r in range(4)], {"highway": "residential", "name": "x"}) for c in range(4)]


class TooSlow(BaseException):
    """Not an Exception: no `except` on the way may take it for a fault of the file."""


@dataclass(frozen=True)
class Format:
    """Valid files of a format, and what reads them as the program does."""

    files: Callable[[], dict[str, bytes]]
    read: Callable[[Path], object]
    text: bool = True


@dataclass
class Found:
    tried: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


# ---------------------------------------------------------------- valid files


def _osm() -> str:
    return osm_text(
        TOWN, STREETS, node_tags={11: {"highway": "traffic_signals"}}, restrictions=[("no_left_turn", 1, 0, 5)]
    )


@cache
def _pbf() -> bytes:
    import osmium

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.osm", Path(folder) / "a.osm.pbf"
        source.write_text(_osm())
        with osmium.SimpleWriter(str(target)) as writer:
            for item in osmium.FileProcessor(str(source)):
                writer.add(item)
        return target.read_bytes()


@cache
def _graphml() -> bytes:
    import osmnx

    from tests.test_maps_graph import osmnx_graph

    graph = osmnx_graph()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.graphml"
        osmnx.save_graphml(graph, path)
        return path.read_bytes()


TABLES = {
    "trips": "trip_id,car_id,depart_s,arrive_s,from_node,to_node,purpose\n1,a,100,400,1,5,work\n2,a,30000,30500,5,1,home\n",  # noqa: E501
    "points": "depart,from_lon,from_lat,to_lon,to_lat\n08:00,9.70,50.87,9.71,50.88\n08:30:10,9.71,50.87,9.70,50.87\n",
    "matrix": "from,to,trips,hour\n1,5,10.5,7\n5,1,3,17\n",
    "square": "zone,1,5\n1,0,4\n5,7.5,0\n",
    "counts": "hour,count,link,counter\n7,100,3,a\n8,50,3,a\n",
    "sites": "name,lat,lon,connector,count,kw\nPost,0.001,0.001,ccs,2,50\n",
    "cells": "radio,lon,lat\nLTE,0.001,0.001\nUMTS,0.002,0.001\n",
    "weather": "time,temperature_c\n2022-10-12T00:00,5\n2022-10-12T01:00,4.5\n",
    "heights": "lon,lat,elevation_m\n0,0,10\n0.01,0.01,20\n0.01,0,15\n",
}


def _parquet() -> dict[str, bytes]:
    found = {}
    for name in ("trips", "points", "matrix", "counts", "weather"):
        out = io.BytesIO()
        pq.write_table(pa.csv.read_csv(io.BytesIO(TABLES[name].encode())), out)
        found[f"{name}.parquet"] = out.getvalue()
    return found


def _scenarios() -> dict[str, bytes]:
    from runs.scenario import Scenario

    folder = Path(sys.modules["runs"].__file__ or "").parent / "scenarios"
    built = {p.name: p.read_bytes() for p in sorted(folder.glob("*.toml"))[:3]}
    return built | {"whole.toml": Scenario(name="whole", map="toy").to_toml().encode()}


@cache
def _checkpoint() -> bytes:
    from tests.checkpoint_cases import city, crowded
    from twin import checkpoint_file
    from twin.checkpoint import capture, fingerprint

    model = crowded(city(), until_s=7200)
    fresh = fingerprint(model)
    model.step()
    state, file = capture(model, fresh), io.BytesIO()
    checkpoint_file.write(file, {"tree": state.tree, "unsaved": state.unsaved}, state.arrays)
    return file.getvalue()


@cache
def _results() -> Path:
    from runs.scenario import Scenario
    from runs.single import run

    folder = Path(tempfile.mkdtemp(prefix="hostile-results-"))
    scenario = Scenario(name="small", map="toy", until="2h").but(fleet__cars=10)
    original = Scenario.city
    Scenario.city = lambda self, say=None: toy_city(4, homes=20)  # type: ignore[method-assign,assignment]
    try:
        run(scenario, out=folder / "run", checkpoint_s=None)
    finally:
        Scenario.city = original  # type: ignore[method-assign]
    return folder / "run"


# ---------------------------------------------------------------- readers


def _map(path: Path) -> object:
    from maps.build import build_map

    return build_map(str(path))


def _scenario(path: Path) -> object:
    from runs.scenario import Scenario

    return Scenario.load(path).to_toml()


@cache
def _toy() -> Any:
    return toy_city(4, homes=20)


def _table(path: Path) -> object:
    """As the room reads it whose table the file's name says."""
    from maps.elevation import read_elevation
    from runs.cell_file import with_cells
    from runs.demand.counts_file import read_counts
    from runs.demand.od_matrix import read_matrix
    from runs.demand.trip_list import Purposes, read_trip_table
    from runs.weather import resolved
    from twin.charging.site_file import read_own_sites
    from twin.settings import ClimateSettings

    kind = path.stem.split("-")[0]
    match kind:
        case "trips" | "points":
            return read_trip_table(path, purposes=Purposes([]))
        case "matrix" | "square":
            return read_matrix(path)
        case "counts":
            return read_counts(path, _toy(), snap_m=500.0)
        case "sites":
            return read_own_sites(path)
        case "cells":
            return with_cells(_toy(), str(path))
        case "weather":
            climate = ClimateSettings(table=str(path))
            return resolved(climate, market="japan", start=datetime(2022, 10, 12), until_s=7200)
        case "heights":
            return read_elevation(path)
    raise AssertionError(f"no reader for {path}")


def _restore(path: Path) -> object:
    from twin import checkpoint_file

    return checkpoint_file.read(path)


def _show(path: Path) -> object:
    """`twin show` of a results folder with this manifest."""
    from runs.results import RunResult
    from runs.words import run_lines

    folder = path.parent / "run"
    if not folder.exists():
        shutil.copytree(_results(), folder)
    shutil.copy(path, folder / "manifest.json")
    result = RunResult(folder)
    result.verify()
    return [*run_lines(result), repr(result)]


FORMATS: dict[str, Format] = {
    "osm": Format(lambda: {"town.osm": _osm().encode(), "town.osm.gz": gzip.compress(_osm().encode(), mtime=0)}, _map),
    "pbf": Format(lambda: {"town.osm.pbf": _pbf()}, _map, text=False),
    "graphml": Format(lambda: {"town.graphml": _graphml()}, _map),
    "toml": Format(_scenarios, _scenario),
    "csv": Format(lambda: {f"{name}.csv": text.encode() for name, text in TABLES.items()}, _table),
    "parquet": Format(_parquet, _table, text=False),
    "checkpoint": Format(lambda: {"state-000001.ckpt": _checkpoint()}, _restore, text=False),
    "manifest": Format(lambda: {"manifest.json": (_results() / "manifest.json").read_bytes()}, _show),
}

# ---------------------------------------------------------------- mutations

WORDS = [
    b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"-1", b"0", b"", b"9" * 400, b"1" + b"0" * 5000, b"0x10", b"999", b"-999",  # noqa: E501
    b"2147483648", b"9223372036854775808", b"1e-320", b"true", b"null", b"[]", b"{}", b'"', b"'", b"\\", b"\0", b"\xff\xfe",  # noqa: E501
    b"\xc3", b"\xef\xbb\xbf", b"../../etc/passwd", b"%s%n", b"<!DOCTYPE x>", b"&amp;&x;", b"]]>", b"=1+1", b",", b";", b"\t",  # noqa: E501
    b"\r", b"2022-02-30", b"25:61", "\u202e\u0000\U0001f697".encode(), b"[" * 3000, b"a" * 70_000,
]  # fmt: skip


def mutate(data: bytes, rng: random.Random, *, text: bool) -> bytes:
    """One to four changes; text formats get changes of tokens and lines more often than of bits."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice((_token, _token, _line, _bytes) if text else (_bytes, _bytes, _token))(data, rng)
    return data


def _token(data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"[A-Za-z0-9_.:+-]+", data))
    if not found:
        return rng.choice(WORDS)
    one = rng.choice(found)
    other = rng.choice(found)
    put = rng.choice(WORDS) if rng.random() < 0.7 else other[0]
    return data[: one.start()] + put + data[one.end() :]


def _line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
    return b"\n".join(lines)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return b"\0"
    at, size = rng.randrange(len(data)), rng.randrange(1, 64)
    match rng.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + size :]
        case 2:
            return data[:at] + rng.randbytes(size) + data[at:]
        case 3:
            return data[:at] + data[at : at + size] * 3 + data[at + size :]
        case _:
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def mutated(name: str, seed: int) -> tuple[str, bytes]:
    """File name and content of one seed."""
    rng = random.Random(f"{name} {seed}")
    files = FORMATS[name].files()
    file = rng.choice(sorted(files))
    data = files[file]
    if file.endswith(".gz") and rng.random() < 0.7:
        return file, gzip.compress(mutate(gzip.decompress(data), rng, text=True), mtime=0)
    if name == "checkpoint" and rng.random() < 0.7:  # with a checksum that fits, so that what is inside is read
        import hashlib

        head = data[:-32]
        size = rng.randrange(200, 3000)
        changed = mutate(head[:size], rng, text=True) + head[size:]
        return file, changed + hashlib.blake2b(changed, digest_size=32).digest()
    return file, mutate(data, rng, text=FORMATS[name].text)


# ---------------------------------------------------------------- named files


def named(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Format, path and a word of the line of files made to harm; an empty word: it may be read as it is."""

    def put(name: str, data: bytes | str) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}" / name
        path.parent.mkdir()
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    osm, toml = _osm(), 'name = "x"\nmap = "kyoto"\n'
    bomb = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "' + "a" * 1000 + '">'
    bomb += "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)) + "]>"
    yield "osm", put("entities.osm", bomb + '<osm version="0.6"><node id="1" lat="&i;" lon="0"/></osm>'), "entities.osm"
    yield (
        "osm",
        put("external.osm", '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><osm version="0.6">&a;</osm>'),
        "external",
    )
    yield "osm", put("deep.osm", '<osm version="0.6">' + "<a>" * 100_000), "deep.osm"
    zeros, blanks = zlib.compressobj(9, wbits=31), bz2.BZ2Compressor()  # in parts: memory is limited here too
    parts = [zeros.compress(bytes(1_000_000)) for _ in range(300)]
    yield "osm", put("zeros.osm.gz", b"".join([*parts, zeros.flush()])), "zeros"
    parts = [blanks.compress(b" " * 1_000_000) for _ in range(300)]
    yield "osm", put("zeros.osm.bz2", b"".join([*parts, blanks.flush()])), "zeros"
    yield "osm", put("noway.osm", '<osm version="0.6"><node id="1" version="1" lat="1" lon="1"/></osm>'), "no"
    yield "osm", put("empty.osm", ""), "empty"
    yield "osm", put("utf16.osm", osm.encode("utf-16")), ""
    yield "osm", put("bom.osm", b"\xef\xbb\xbf" + osm.encode()), ""
    yield "osm", put("nul.osm", osm.replace("primary", "pri\0mary")), "nul.osm"
    yield "osm", put("lat999.osm", re.sub(r'lat="[^"]*"', 'lat="999"', osm)), "lat999"
    yield "osm", put("nanlat.osm", re.sub(r'lat="[^"]*"', 'lat="nan"', osm)), "nanlat"
    yield "osm", put("hugeid.osm", osm.replace('id="11"', f'id="{"9" * 30}"')), "hugeid"
    yield "osm", put("selfloop.osm", osm_text(TOWN, [([11, 11], {"highway": "primary"})])), "selfloop"
    yield "osm", put("missing.osm", osm_text({1: (0, 0)}, [([1, 2, 3], {"highway": "primary"})])), "missing"
    east = osm_text(TOWN, STREETS).replace('lon="9.7', 'lon="179.99').replace('lon="179.9900', 'lon="-179.99')
    yield "osm", put("antimeridian.osm", east), ""
    yield "osm", put("pole.osm", re.sub(r'lat="50', 'lat="89', osm)), ""
    yield "osm", put("speed.osm", osm.replace('v="50"', f'v="{"9" * 500}"')), ""
    yield "osm", put("lanes.osm", osm.replace('v="2"', 'v="1e9"')), ""
    yield "osm", put("html.osm", "<!doctype html><html><body>404</body></html>"), "html.osm"
    yield "pbf", put("header.osm.pbf", _pbf()[:60]), "header"
    yield "pbf", put("huge.osm.pbf", b"\x7f\xff\xff\xff" + _pbf()), "huge"
    yield "pbf", put("xml.osm.pbf", osm), "xml.osm"
    yield "pbf", put("zero.osm.pbf", b"\0" * 1000), "zero"
    yield "graphml", put("entities.graphml", bomb + "<graphml>&i;</graphml>"), "entities"
    yield "graphml", put("deep.graphml", "<graphml>" + "<graph>" * 200_000), "deep"
    yield "graphml", put("none.graphml", "<graphml><graph edgedefault='directed'/></graphml>"), "none.graphml"
    yield "graphml", put("utf16.graphml", _graphml().decode().encode("utf-16")), ""
    yield "toml", put("deep.toml", toml + "x = " + "[" * 50_000), "deep.toml"
    yield "toml", put("digits.toml", toml + "seed = " + "9" * 10_000), "digits"
    yield "toml", put("nan.toml", toml + "[climate]\nambient_c = nan\n"), "finite"
    yield "toml", put("twice.toml", toml + 'map = "x"\n'), "twice"
    yield "toml", put("nul.toml", toml + "\0"), "NUL"
    yield "toml", put("utf16.toml", toml.encode("utf-16")), "utf16"
    yield "toml", put("bom.toml", b"\xef\xbb\xbf" + toml.encode()), ""
    yield "toml", put("climb.toml", 'name = "../../x"\nmap = "kyoto"\n'), "climb"
    yield "toml", put("big.toml", toml + "#" * 1_000_001), "1 MB"
    for name in ("fifo", "loop", "folder"):
        for kind, suffix in (("osm", ".osm"), ("toml", ".toml"), ("csv", ".csv"), ("checkpoint", ".ckpt")):
            path = folder / f"{kind}-{name}" / f"{'trips' if kind == 'csv' else name}{suffix}"
            path.parent.mkdir()
            if name == "fifo":
                os.mkfifo(path)
            elif name == "loop":
                path.symlink_to(path)
            else:
                path.mkdir()
            yield kind, path, path.stem
    for table, text in TABLES.items():
        yield "csv", put(f"{table}.csv", ""), table
        yield "csv", put(f"{table}.csv", b"\xff\xfe\x00\xd8" * 50), table
        yield (
            "csv",
            put(f"{table}.csv", text.split("\n")[0] + "\n"),
            "" if table in ("trips", "points") else table,
        )
        yield "csv", put(f"{table}.csv", text.replace("1", "nan")), ""
        yield "csv", put(f"{table}.csv", b'"' + b"a" * 300_000), table
        yield "csv", put(f"{table}.csv", text.replace("\n", "\0\n")), table
    for name, data in _parquet().items():
        yield "parquet", put(name, data[:-8]), name
        yield "parquet", put(name, b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1"), name
        yield "parquet", put(name, TABLES[name.split(".")[0]]), name
    out = io.BytesIO()
    pq.write_table(pa.table({"x": pa.repeat(pa.scalar(0, pa.int8()), 50_000_000)}), out)
    yield "parquet", put("trips.parquet", out.getvalue()), "trips"
    yield "manifest", put("manifest.json", "[" * 100_000), "manifest"
    yield "manifest", put("manifest.json", "{}"), "run"
    yield "manifest", put("manifest.json", "[]"), "manifest"
    yield "manifest", put("manifest.json", '{"program": "fleet-twin", "format": 1}'), "run"
    yield (
        "manifest",
        put("manifest.json", '{"program": "fleet-twin", "format": 1, "status": "done", "files": []}'),
        "run",
    )
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "node_x.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,), }\n",
        )
    yield "osm", put("bomb.map.npz", zipped.getvalue()), "bomb"
    yield "checkpoint", put("state-000001.ckpt", b"fleet-twin checkpoint\n" + b"\xff" * 100), "state"
    yield "checkpoint", put("state-000001.ckpt", b""), "state"
    import pickle

    yield "checkpoint", put("state-000001.ckpt", pickle.dumps({"a": 1})), "state"


# ---------------------------------------------------------------- judging


def judge(read: Callable[[Path], object], path: Path, *, names: str) -> tuple[str, bool]:
    """What the program says of a file ("" when it reads it), and whether that is right."""
    signal.setitimer(signal.ITIMER_PROF, MOST_S)  # of the processor, so that a busy machine changes no verdict
    signal.alarm(6 * MOST_S)  # and something that only waits
    faulthandler.dump_traceback_later(12 * MOST_S, exit=True)  # stuck where no signal arrives: say where and end
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            read(path)
    except TooSlow:
        return f"took more than {MOST_S} s", False
    except Exception as error:
        _no_alarm()
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = cli._explain(error)
        line = said.getvalue()
        right = code == cli.BAD_INPUT and line.count("\n") == 1 and names in line and len(line) < 2000
        return f"{code}: {line.strip()[:300]}" + ("" if right else f" ({type(error).__name__})"), right
    finally:
        _no_alarm()
        faulthandler.cancel_dump_traceback_later()
    return "", True


def _no_alarm() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)


def try_format(name: str, folder: Path, seeds: range) -> Found:
    """Read mutated files of a format."""
    found = Found()
    kind = FORMATS[name]
    for file, data in kind.files().items():
        (folder / file).write_bytes(data)
        said, _ = judge(kind.read, folder / file, names=file)
        if said:
            found.wrong.append(f"{name}: the valid {file} is refused: {said}")
    for seed in seeds:
        file, data = mutated(name, seed)
        path = folder / file
        path.write_bytes(data)
        began = time.process_time()
        # a manifest is named by the folder it is in
        said, right = judge(kind.read, path, names=str(folder) if name == "manifest" else str(path))
        found.slowest_s = max(found.slowest_s, time.process_time() - began)
        found.tried += 1
        found.refused += bool(said)
        if not right:
            found.wrong.append(f"python -m tests.hostile --seed {seed} {name}\n    {said}")
    return found


def try_named(harmful: list[tuple[str, Path, str]]) -> Found:
    found = Found()
    for kind, path, word in harmful:
        began = time.process_time()
        said, right = judge(FORMATS[kind].read, path, names=word)
        found.slowest_s = max(found.slowest_s, time.process_time() - began)
        found.tried += 1
        found.refused += bool(said)
        if not right or (word and not said):
            found.wrong.append(f"{path.parent.name}/{path.name} ({kind}): {said or 'was read'}")
    return found


def _limits() -> None:
    def late(_signum: int, _frame: object) -> None:
        raise TooSlow

    faulthandler.enable()
    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGPROF, late)
    took = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (took + MOST_B, took + MOST_B))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("format", choices=["all", "named", *FORMATS])
    options.add_argument("--n", type=int, default=200)
    options.add_argument("--seed", type=int)
    given = options.parse_args()
    chosen = list(FORMATS) if given.format == "all" else [given.format] if given.format != "named" else []
    os.environ["TWIN_CACHE"] = tempfile.mkdtemp(prefix="hostile-cache-")  # maps of damaged files stay out of the user's
    for kind in FORMATS.values():  # all that is imported or compiled comes before the limits
        for file, data in kind.files().items():
            with tempfile.TemporaryDirectory() as one:
                (Path(one) / file).write_bytes(data)
                kind.read(Path(one) / file)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as place:
        harmful = []
        if given.format in ("all", "named"):
            folder = Path(place) / "named"
            folder.mkdir()
            harmful = list(named(folder))  # writing them may take more memory than reading them
        _limits()
        for name in chosen:
            folder = Path(place) / name
            folder.mkdir()
            seeds = range(given.n) if given.seed is None else range(given.seed, given.seed + 1)
            found = try_format(name, folder, seeds)
            wrong += _tell(name, found)
        if harmful:
            wrong += _tell("named", try_named(harmful))
    return 1 if wrong else 0


def _tell(name: str, found: Found) -> int:
    print(
        f"{name}: {found.tried} files, {found.refused} refused with one line, {found.tried - found.refused} read, "
        f"slowest {found.slowest_s:.1f} s, {len(found.wrong)} wrong",
        flush=True,
    )
    for line in found.wrong:
        print(f"  {line}")
    return len(found.wrong)


if __name__ == "__main__":
    sys.exit(main())
