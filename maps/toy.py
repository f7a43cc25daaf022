"""Small exact road networks for tests and documentation.

Lengths, speeds and lanes are what the arguments say, to the last digit, so that
closed-form results can be compared without a tolerance for the map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maps.approach import Gate, attach
from maps.draft import CLASS, Draft, draft_of
from maps.network import (
    ONEWAY,
    PLACE_KINDS,
    RAMP,
    ROUNDABOUT,
    SIGNALS,
    SOCKET_KINDS,
    CityMap,
    RoadNetwork,
)

KMH = 1 / 3.6


def corridor(
    links: int = 10,
    *,
    length_m: float = 500.0,
    speed_kmh: float = 50.0,
    lanes: int = 1,
    road_class: str = "secondary",
    both_ways: bool = False,
) -> RoadNetwork:
    """Straight road of `links` equal links; node i lies i * length_m east of node 0.

    One way (link i joins node i to i + 1) unless `both_ways`.

    Examples
    --------
    >>> road = corridor(3, length_m=400.0)
    >>> road.n_links, float(road.link_length.sum())
    (3, 1200.0)
    """
    tail = np.arange(links)
    head = tail + 1
    if both_ways:
        tail, head = np.concatenate([tail, head]), np.concatenate([head, tail])
    return draft_of(
        x=np.arange(links + 1) * length_m,
        y=np.zeros(links + 1),
        link_from=tail,
        link_to=head,
        length_m=length_m,
        speed_mps=speed_kmh * KMH,
        lanes=lanes,
        road_class=CLASS[road_class],
        flags=0 if both_ways else ONEWAY,
    ).finish()


def ring(
    links: int = 12,
    *,
    length_m: float = 100.0,
    speed_kmh: float = 50.0,
    lanes: int = 1,
    road_class: str = "secondary",
) -> RoadNetwork:
    """One-way circle of `links` links of `length_m` each, driven anticlockwise; node 0 in the east."""
    radius = links * length_m / (2 * np.pi)
    angle = 2 * np.pi * np.arange(links) / links
    part = 2 * np.pi / links * np.linspace(0, 1, 5)
    shapes = [radius * np.column_stack([np.cos(a + part), np.sin(a + part)]) for a in angle]
    return draft_of(
        x=radius * np.cos(angle),
        y=radius * np.sin(angle),
        link_from=np.arange(links),
        link_to=(np.arange(links) + 1) % links,
        length_m=length_m,
        speed_mps=speed_kmh * KMH,
        lanes=lanes,
        road_class=CLASS[road_class],
        flags=ONEWAY | ROUNDABOUT,
        shapes=shapes,
    ).finish()


def grid(
    rows: int = 5,
    columns: int = 5,
    *,
    length_m: float = 200.0,
    speed_kmh: float = 50.0,
    lanes: int = 1,
    road_class: str = "residential",
    signals: bool = False,
) -> RoadNetwork:
    """Manhattan grid of two-way streets; node r * columns + c lies at (c, r) * length_m."""
    return _grid(rows, columns, length_m, speed_kmh, lanes, road_class, signals=signals).finish()


def merge(
    *,
    length_m: float = 500.0,
    speed_kmh: float = 100.0,
    main_lanes: int = 2,
    ramp_lanes: int = 1,
    down_lanes: int = 2,
) -> RoadNetwork:
    """On-ramp: nodes 0 (main) and 1 (ramp) meet in node 2, which leads on to node 3.

    Links are, in row order, main 0 → 2, ramp 1 → 2 and downstream 2 → 3.
    """
    slant = length_m / np.sqrt(2)
    return draft_of(
        x=[-length_m, -slant, 0.0, length_m],
        y=[0.0, -slant, 0.0, 0.0],
        link_from=[0, 1, 2],
        link_to=[2, 2, 3],
        length_m=length_m,
        speed_mps=speed_kmh * KMH,
        lanes=[main_lanes, ramp_lanes, down_lanes],
        road_class=[CLASS["motorway"], CLASS["motorway_link"], CLASS["motorway"]],
        flags=[ONEWAY, ONEWAY | RAMP, ONEWAY],
    ).finish()


def toy_city(
    n: int = 10,
    *,
    seed: int = 1,
    length_m: float = 200.0,
    homes: int = 400,
    rings_km: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0),
    country: str = "JP",
) -> CityMap:
    """City of n × n crossings with everything a map file can hold.

    Residential streets (30 km/h); a cross of two-lane primary roads (50 km/h) with signals
    in the middle; two gates (west and east end of the primary road) with approach roads
    over secondary, primary and motorway stretches; three charging sites; four radio cells.
    Places are spread at random (NumPy generator from `seed`); equal arguments give equal maps.

    Parameters
    ----------
    n
        Crossings per side, at least 3.
    seed
        Seed of the places' positions.
    length_m
        Distance between crossings, m.
    homes
        Number of home places; work is a quarter of it, shop, leisure and school a tenth each.
    rings_km
        Distances of the outside nodes, km.
    country
        ISO 3166 code that `meta` carries; traffic keeps left for JP and GB.

    Examples
    --------
    >>> city = toy_city(5)
    >>> city.network.n_nodes > 25, len(city.places("home")), len(city.gate_node)
    (True, 400, 2)
    """
    if n < 3:
        raise ValueError(f"toy_city needs n of 3 or more, not {n}")
    draft = _grid(n, n, length_m, 30.0, 1, "residential", signals=False)
    middle = n // 2
    row, column = np.divmod(np.arange(n * n), n)
    along = (row[draft.link_from] == middle) & (row[draft.link_to] == middle)
    across = (column[draft.link_from] == middle) & (column[draft.link_to] == middle)
    main = along | across
    draft.link_speed[main] = 50 * KMH
    draft.link_lanes[main] = 2
    draft.link_class[main] = CLASS["primary"]
    draft.node_control[[middle * n + middle, *(middle * n + np.array([1, n - 2])), n + middle]] = SIGNALS
    gates = [Gate(middle * n, middle * n, -1.0, 0.0), Gate(middle * n + n - 1, middle * n + n - 1, 1.0, 0.0)]
    classes = ("secondary", "primary", "motorway", "motorway", "motorway")
    speeds = np.array([60, 60, 100, 100, 100]) * KMH
    used = [min(k, len(classes) - 1) for k in range(len(rings_km))]
    draft, approach = attach(
        draft, gates, speeds_mps=[speeds[k] for k in used], rings_km=rings_km, classes=[classes[k] for k in used]
    )
    network = draft.finish()

    rng = np.random.default_rng(seed)
    few = max(2, homes // 10)
    counts = {"home": homes, "work": max(4, homes // 4), "shop": few, "leisure": few, "school": few}
    kind = np.concatenate([np.full(counts[name], row) for row, name in enumerate(PLACE_KINDS)])
    node = rng.integers(0, n * n, len(kind))
    place_x = network.node_x[node] + rng.uniform(-0.2, 0.2, len(kind)) * length_m
    place_y = network.node_y[node] + rng.uniform(-0.2, 0.2, len(kind)) * length_m
    sites: NDArray[np.int64] = np.array([n + 1, middle * n + middle, (n - 2) * n + n - 2])
    socket = {name: row for row, name in enumerate(SOCKET_KINDS)}
    extent = (n - 1) * length_m
    outer = extent / 2 + np.array([-1.0, 1.0]) * (extent / 2 + 3000)
    return CityMap(
        network=network,
        place_kind=kind.astype(np.uint8),
        place_x=place_x.astype(np.float32),
        place_y=place_y.astype(np.float32),
        place_node=node.astype(np.int32),
        place_weight=np.ones(len(kind), np.float32),
        charger_osm=-1 - np.arange(3),
        charger_x=network.node_x[sites].astype(np.float32),
        charger_y=network.node_y[sites].astype(np.float32),
        charger_node=sites.astype(np.int32),
        charger_public=np.ones(3, np.uint8),
        charger_fee=np.array([1, 1, 0], np.int8),
        socket_charger=np.array([0, 1, 1, 1, 2], np.int32),
        socket_kind=np.array([socket[k] for k in ("type2", "chademo", "ccs", "type2", "type1")], np.uint8),
        socket_count=np.array([4, 2, 1, 2, 2], np.int32),
        socket_kw=np.array([22.0, 50.0, 50.0, 11.0, 3.3], np.float32),
        socket_assumed=np.zeros(5, np.uint8),
        cell_x=np.array([extent * 0.25, extent * 0.75, *outer], np.float32),
        cell_y=np.full(4, extent / 2, np.float32),
        gate_node=approach.gate_node,
        outside_node=approach.outside_node,
        outside_gate=approach.outside_gate,
        outside_km=approach.outside_km,
        meta={
            "name": f"toy_city_{n}",
            "source": "maps.toy",
            "source_sha256": "",
            "country": country,
            "timezone": "Asia/Tokyo" if country == "JP" else "UTC",
            "left_hand": country in ("JP", "GB"),
            "lon0": 0.0,
            "lat0": 0.0,
            "attribution": "made by maps.toy, no real data",
            "quality": {"links": int(4 * n * (n - 1)), "nodes": n * n, "kept_share": 1.0},
            "charger_names": ["corner", "centre", "far corner"],
        },
    )


def _grid(
    rows: int, columns: int, length_m: float, speed_kmh: float, lanes: int, road_class: str, *, signals: bool
) -> Draft:
    number = np.arange(rows * columns).reshape(rows, columns)
    tail = np.concatenate([number[:, :-1].ravel(), number[:-1, :].ravel()])
    head = np.concatenate([number[:, 1:].ravel(), number[1:, :].ravel()])
    row, column = np.divmod(np.arange(rows * columns), columns)
    return draft_of(
        x=column * length_m,
        y=row * length_m,
        link_from=np.concatenate([tail, head]),
        link_to=np.concatenate([head, tail]),
        length_m=length_m,
        speed_mps=speed_kmh * KMH,
        lanes=lanes,
        road_class=CLASS[road_class],
        control=SIGNALS if signals else 0,
    )
