"""The project beside SUMO's mesoscopic model and UXsim on the same networks and routes, as a table.

    python -m tests.bench.engines [--cases helsinki:10000,porto:50000,sioux_falls] [--runs 5] [--out FOLDER]

In every round each engine runs once, one after the other, so that whatever else the machine does hits all alike;
figures are medians over the rounds, ratios those of medians. Process: from the files to the end, imports included;
loop: the motion alone, by each engine's own clock. CPU time beside wall time says when somebody else had the cores;
SUMO's loop CPU is its process's less that of starting it. SUMO and ours write every trip. The project's first run,
which fills numba's cache, is not counted. UXsim keeps dense node-by-node tables and does not run on networks of more
than some thousand nodes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import against, cases
from tests.bench.peers import REQUIREMENTS, NoPeersError, Peers
from tests.bench.process import cache_folder

MOST_UXSIM_NODES = 2000
UXSIM_END_S = 14_400
Run = Callable[[], dict[str, Any]]


def engines(net: Path, trips: Path, nodes: int, peers: Peers | None, folder: Path) -> dict[str, Run]:
    """What runs on a case, by name."""
    found: dict[str, Run] = {"fleet-twin": lambda: against.run(net, trips, folder / "trips.npy")}
    if peers is not None:
        files = peers.sumo_files(net, trips, folder)
        found["SUMO meso"] = lambda: peers.sumo(*files)
        if nodes <= MOST_UXSIM_NODES:
            for cpp, deltan in ((True, 1), (True, 5), (False, 5)):
                found[f"UXsim {'C++' if cpp else 'Python'}, platoons of {deltan}"] = lambda cpp=cpp, deltan=deltan: (
                    peers.uxsim(net, trips, cpp=cpp, deltan=deltan, end_s=UXSIM_END_S)
                )
    return found


def compare(name: str, peers: Peers | None, folder: Path, runs: int) -> Iterator[dict[str, Any]]:
    """Lines of all runs of a case."""
    recipe, _, count = name.partition(":")
    case = cases.sioux_falls(cases.data_folder()) if recipe == cases.SIOUX_FALLS else cases.city(recipe, int(count))
    net, trips = case.write(folder, recipe)
    ready = engines(net, trips, case.network.n_nodes, peers, folder)
    ready["fleet-twin"]()
    for _ in range(runs):
        for engine, run in ready.items():
            print(f"  {name}: {engine}", file=sys.stderr, flush=True)
            yield (
                {"case": name, "links": case.network.n_links, "trips": len(case.depart_s)} | run() | {"engine": engine}
            )


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Medians by case and engine, in Markdown; each other engine's ratio to ours in brackets."""
    yield "| case | engine | loop, s | loop CPU, s | process, s | process CPU, s | MiB | arrived | mean travel, s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in dict.fromkeys(line["case"] for line in lines):
        mine: dict[str, float] = {}
        for engine in dict.fromkeys(line["engine"] for line in lines if line["case"] == case):
            ran = [line for line in lines if (line["case"], line["engine"]) == (case, engine)]
            good = [line for line in ran if "error" not in line]
            if not good:
                yield f"| {case} | {engine} | failed: {ran[0]['error'].splitlines()[-1][:80]} | | | | | | |"
                continue
            cells = []
            for key in ("loop_s", "loop_cpu_s", "wall_s", "cpu_s"):
                value = statistics.median(line[key] for line in good)
                mine.setdefault(key, value)
                ratio = f" ({value / mine[key]:.3g}x)" if engine != "fleet-twin" else ""
                cells.append(f"{value:.3g}{ratio}")
            last = good[-1]
            jams = f", {last['teleports']:,} teleports" if last.get("teleports") else ""
            memory = statistics.median(line["rss_mib"] for line in good)
            yield (
                f"| {case}, {last['links']:,} links | {engine} | {' | '.join(cells)} | {memory:,.0f} "
                f"| {last['arrived']:,}{jams} | {last['travel_s']:.2f} |"
            )


def main() -> int:
    """Measure and print; without the other engines the project's own lines."""
    parser = argparse.ArgumentParser(prog="engines", description=__doc__)
    parser.add_argument("--cases", default=f"helsinki:10000,porto:50000,{cases.SIOUX_FALLS}")
    parser.add_argument("--runs", type=int, default=5, help="rounds; the figures are medians")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="table and single runs go here")
    parser.add_argument("--peers", type=Path, help="an environment that has the other engines")
    a = parser.parse_args()
    peers = None
    try:
        peers = Peers(a.peers) if a.peers else Peers.made(say=lambda text: print(text, file=sys.stderr))
    except NoPeersError as error:
        print(f"bench: without {' and '.join(REQUIREMENTS)}: {error}", file=sys.stderr)
    lines: list[dict[str, Any]] = []
    wanted = [name for name in a.cases.split(",") if name]
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "engines.jsonl").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        for name in wanted:
            if name == cases.SIOUX_FALLS and not (cases.data_folder() / "networks").is_dir():
                print(f"bench: {name} needs the folder of real data, TWIN_DATA", file=sys.stderr)
                continue
            folder = Path(scratch) / name.replace(":", "_")
            folder.mkdir()
            for line in compare(name, peers, folder, a.runs):
                lines.append(line)
                # as they come: who stops it half way keeps what was measured
                with (a.out / "engines.jsonl").open("a", encoding="utf-8") as out:
                    out.write(json.dumps(line) + "\n")
    text = "\n".join(table(lines))
    print(text)
    (a.out / "engines.md").write_text(text + "\n", "utf-8")
    print(a.out / "engines.md")
    return int(any("error" in line for line in lines) or peers is None)


if __name__ == "__main__":
    sys.exit(main())
