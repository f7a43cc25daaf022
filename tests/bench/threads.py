"""What a second thread could bring to the streets: `python -m tests.bench.threads city.net.npz t.trips.npz`.

An upper bound from a real run. The network is cut in two by a straight line; news crosses the cut no faster than a car
(free-flow time) or a hole (wave time) needs for a cut link, so the halves may run that far apart, in windows. In each
window the slower half counts. `bound` is all traversals over the sum of the larger half's, `with handing over` adds
two handovers to each window that has work. Rings of full links, which cross cuts, cost nothing here. Best of 18 cuts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np

from tests.bench.against import TICK_MS, read_network
from twin.traffic.engine import Streets
from twin.traffic.traversals import Traversals

HANDOVER_US = 2.0  # a compiled loop that waits for a number to change, both cores free


def main() -> None:
    """Drive once, then count what each half would have done in each window."""
    parser = argparse.ArgumentParser(prog="threads", description=__doc__)
    parser.add_argument("net", type=Path)
    parser.add_argument("trips", type=Path)
    a = parser.parse_args()
    network, settings = read_network(a.net)
    with np.load(a.trips) as file:
        depart_ms, ptr, links = file["depart"] * 1000, file["route_ptr"], file["route_links"]
    n = len(depart_ms)
    streets, seen = Streets(network, settings, n), Traversals()
    streets.depart(np.arange(n), depart_ms, ptr, links)
    streets.advance(0, seen)
    parts, now, left, cpu = [], 0, n, 0.0
    while left:
        now += TICK_MS
        begun = process_time()
        left -= len(streets.advance(now, seen).vehicle)
        cpu += process_time() - begun
        parts.append(np.stack([seen.link[: seen.n].astype(np.int64), seen.exit_ms[: seen.n]]))
    link, at_ms = np.concatenate(parts, axis=1)
    each_us = cpu / len(link) * 1e6
    ahead_ms = np.minimum(streets.physics.free_ms, streets.physics.wave_ms)
    print(f"{len(link):,} traversals, {each_us:.3f} us each")
    print("| cut | links cut | look-ahead, s | ms of work in a window | the larger half | bound | with handing over |")
    print("|---|---|---|---|---|---|---|")
    lines = []
    for axis, place in (("x", network.node_x), ("y", network.node_y)):
        for share in np.linspace(0.3, 0.7, 9):
            where = np.quantile(place[network.link_to[link]], share)
            half = place > where
            cut = half[network.link_from] != half[network.link_to]
            ahead = int(ahead_ms[cut].min()) if cut.any() else now
            window = at_ms // ahead
            counts = np.stack([np.bincount(window[half[network.link_to[link]] == h], minlength=window.max() + 1)
                               for h in (False, True)])  # fmt: skip
            slower, busy = counts.max(axis=0).sum(), (counts.sum(axis=0) > 0).sum()
            real = len(link) * each_us / (slower * each_us + busy * 2 * HANDOVER_US)
            text = (
                f"| {axis} at {share:.0%} | {cut.sum()} | {ahead / 1000:.2f} | {len(link) / busy * each_us / 1000:.3f} "
            )
            text += f"| {slower / len(link):.0%} | {len(link) / slower:.2f} | {real:.2f} |"
            lines.append((real, text))
    for _, text in sorted(lines, reverse=True)[:3]:
        print(text)


if __name__ == "__main__":
    main()
