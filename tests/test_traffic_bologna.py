"""Bologna, morning peak: 8,779 vehicles on given routes, against SUMO's microscopic model.

Network, demand, signals: the SUMO scenario "acosta" (iTETRIS project; DLR-TS/sumo-scenarios).
Reference: eclipse-sumo 1.28.0, default seed; `bologna_sumo_edge_flows.csv` are the edge counts
of that run (vehicles that entered or departed, first hour and after it).

What was set from outside: jam spacing 6.5 m (length and gap of the scenario's cars). What was
calibrated here, on the mean duration: tau 1.5 s, so that a lane saturates at 1,830 vehicles an
hour (SUMO's drivers with sigma 0.5 start slowly). So the mean is no prediction; the trips and
the flows are. Signals have their own cycles and several greens, side streets and minor greens
give way with the gaps of SUMO's junction model.

What the rest is: cars here reach full speed at once and do not dawdle (5 % more free time brings the
median error from 19.0 to 17.5 % and the mean to +4.7 %); SUMO's cars enter one by one from standing,
which keeps 164 s of delay per vehicle outside the network (not part of the duration) where ours is 42 s.
"""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from maps.sumo import read_sumo
from tests.traffic_runs import Record
from twin.settings import TrafficSettings
from twin.traffic.engine import Streets
from twin.traffic.right_of_way import RightOfWay
from twin.traffic.signals import SignalPlan
from twin.traffic.traversals import Traversals

TAU_S = 1.5
SPACING_M = 6.5
BUS_GAP = 15.0 / SPACING_M  # 12 m long, 3 m gap

pytestmark = pytest.mark.data


def folder() -> Path:
    root = Path(os.environ.get("TWIN_DATA") or Path(__file__).resolve().parents[1] / "../shared/data").resolve()
    place = root / "networks" / "bologna_acosta"
    if not place.is_dir():
        pytest.skip(f"needs the shared data folder {place} (set TWIN_DATA)")
    return place


class Peak(NamedTuple):
    """One run beside its reference: arrays with one entry per vehicle; flows (edges, 2)."""

    ours_s: np.ndarray
    theirs_s: np.ndarray
    ours_m: np.ndarray
    theirs_m: np.ndarray
    flows: np.ndarray
    reference_flows: np.ndarray
    rings: int


@pytest.fixture(scope="module")
def peak() -> Peak:
    place = folder()
    sumo = read_sumo(place / "acosta_buslanes.net.xml.gz", programs=place / "acosta_tls.add.xml")
    network = sumo.network
    with gzip.open(place / "sumo_reference_tripinfo.csv.gz", "rt") as file:
        reference = {row["id"]: row for row in csv.DictReader(file)}
    names, depart, routes, stops, gap = [], [], [], [], []
    for source, open_file in (("acosta.rou.xml.gz", gzip.open), ("acosta_busses.rou.xml", open)):
        with open_file(place / source) as file:
            for item in ET.parse(file).getroot().iter("vehicle"):
                names.append(item.attrib["id"])
                depart.append(round(1000 * float(item.attrib["depart"])))
                routes.append(sumo.route(item.find("route").attrib["edges"].split()))
                stops.append(sum(float(stop.get("duration", 0)) for stop in item.iter("stop")))
                gap.append(BUS_GAP if item.get("type") == "bus" else 1.0)
    n = len(routes)
    links = np.concatenate(routes)
    ptr = np.concatenate([[0], np.cumsum([len(r) for r in routes])]).astype(np.int64)
    greens, rows = sumo.greens(), sumo.yields()
    anyone = np.full(len(rows.link), -1)
    use = np.bincount(links, minlength=network.n_links).astype(float)
    streets = Streets(
        network,
        TrafficSettings(tau_s=TAU_S, spacing_m=SPACING_M),
        n,
        signals=SignalPlan(*greens[:4]),
        priority=RightOfWay(rows.link, anyone, rows.foe, rows.onto, rows.lag_s, rows.gap_s),
        saturation_lanes=sumo.saturation_lanes(use, greens),
    )
    streets.depart(np.arange(n), depart, ptr, links, gap=np.array(gap))
    record = _run(streets, n)
    assert (record.arrive_ms >= 0).all()
    edges = list(sumo.edge_link)
    rows = np.array([sumo.edge_link[e] for e in edges])
    late = (record.enter_ms >= 3_600_000).astype(int)
    counts = np.bincount(2 * record.link + late, minlength=2 * network.n_links).reshape(-1, 2)[rows]
    with (Path(__file__).parent / "bologna_sumo_edge_flows.csv").open() as file:
        seen = {row["edge"]: (int(row["vehicles_0_1h"]), int(row["vehicles_after_1h"])) for row in csv.DictReader(file)}
    return Peak(
        # a bus stands at its stops, which the engine does not know
        (record.arrive_ms - streets.first_ms(np.arange(n))) / 1000 + np.array(stops),
        np.array([float(reference[name]["duration"]) for name in names]),
        np.add.reduceat(network.link_length[links], ptr[:-1]),
        np.array([float(reference[name]["routeLength"]) for name in names]),
        counts,
        np.array([seen.get(e, (0, 0)) for e in edges]),
        streets.rings_turned[0],
    )


def _run(streets: Streets, n: int) -> Record:
    buffer, parts, arrive, t = Traversals(8), [], np.full(n, -1, np.int64), 0
    while t < 3_600_000 or (streets.on_road and t < 3 * 3_600_000):
        t += 60_000
        arrivals = streets.advance(t, buffer)
        arrive[arrivals.vehicle] = arrivals.at_ms
        parts.append([getattr(buffer, c)[: buffer.n].astype(np.int64) for c in ("car", "link", "enter_ms", "exit_ms")])
    return Record(streets, *(np.concatenate(column) for column in zip(*parts, strict=True)), arrive)


def test_routes_are_as_long_as_in_sumo(peak: Peak) -> None:
    """Internal lanes included; SUMO's figure ends before the edge's end by its stopping distance."""
    assert len(peak.ours_m) == 8779
    assert peak.ours_m.mean() == pytest.approx(peak.theirs_m.mean(), rel=0.01)
    assert np.median(np.abs(peak.ours_m / peak.theirs_m - 1)) < 0.015


def test_mean_duration(peak: Peak) -> None:
    """Target: within 10 % of 284.9 s. Reached: 283.9 s; for tau from 1.40 to 1.52 s it stays within 10 %."""
    assert peak.theirs_s.mean() == pytest.approx(284.9, abs=0.05)
    assert peak.ours_s.mean() == pytest.approx(peak.theirs_s.mean(), rel=0.03)  # reached: 0.4 % less
    assert peak.rings == 0


def test_single_trips(peak: Peak) -> None:
    """Target: median error within 20 %. Reached: 19.0 %; 19 to 21 % for tau from 1.40 to 1.52 s."""
    assert np.median(np.abs(peak.ours_s / peak.theirs_s - 1)) < 0.20
    assert np.corrcoef(peak.ours_s, peak.theirs_s)[0, 1] > 0.70


def test_hourly_link_flows(peak: Peak) -> None:
    """Target: r >= 0.95. Both hours together, and each hour by itself."""
    used = peak.reference_flows.sum(axis=1) > 0
    ours, theirs = peak.flows[used], peak.reference_flows[used]
    assert ours.sum() == theirs.sum()  # the same routes
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97
    assert np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1] > 0.98


def test_programs_run_on_their_own_cycles() -> None:
    place = folder()
    sumo = read_sumo(place / "acosta_buslanes.net.xml.gz", programs=place / "acosta_tls.add.xml")
    greens, rows = sumo.greens(), sumo.yields()
    assert sorted({p.cycle_s for p in sumo.programs.values()}) == [84, 90, 99, 105, 117, 120]
    assert set(greens.cycle_ms) == {84_000, 90_000, 99_000, 105_000, 117_000, 120_000}
    assert greens.never == 0
    # 61 movements give way by the sign, 35 at minor green, those that conflict with nobody left out
    assert len(np.unique(rows.link)) == 77
    assert rows.gap_s.min() == pytest.approx(3.7, abs=0.1) and rows.gap_s.max() == pytest.approx(6.7, abs=0.1)
