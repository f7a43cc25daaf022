"""The file `autonomy.parquet` and the `autonomy` part of `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES
from twin.autonomy import kernels
from twin.autonomy.rules import LEVELS
from twin.events import Column, Table

CAUSES = {
    "domain": "the domain ended: another road, lanes, curve",
    "ramp": "the car left by a ramp",
    "toll": "a toll booth",
    "weather": "rain, snow or darkness closed the domain",
    "speed": "faster or slower than the system holds",
    "stop": "stood longer than the system resumes by itself",
    "driver": "the driver's choice",
    "cut_in": "another car cut in and the driver took over",
    "sensor": "the system lost the lane and the driver took over",
    "arrival": "still engaged when the trip ended",
}
"""Why assistance ended, in the order of the kernel's columns."""

assert tuple(CAUSES) == ("domain", "ramp", "toll", "weather", "speed", "stop", "driver", "cut_in", "sensor", "arrival")

TAKE_OVERS = ("driver", "cut_in", "sensor")
"""Causes that count as interventions of the driver while driving in the domain."""

_COUNT = "i8"
COLUMNS: dict[str, Column] = {
    "hour": Column("i4", "h", "hour of the run in which the link was left, 0 the first"),
    "road_class": Column("str", "", "OSM highway value"),
    "model": Column("str", "", "car model"),
    "propilot_level": Column("str", "", ", ".join(LEVELS)),
    "km": Column("f8", "km", "driven"),
    "engaged_km": Column("f8", "km", "driven with assistance engaged"),
    "possible_km": Column("f8", "km", "driven where the car's level may be engaged"),
    "engaged_min": Column("f8", "min", "time with assistance engaged"),
    "engagements": Column(_COUNT, "", "times it was switched on"),
    "lane_changes": Column(_COUNT, "", "lane changes while engaged"),
    "hand_changes": Column(_COUNT, "", "hands back on the wheel, or off again, while engaged"),
    **{f"disengagements_{name}": Column(_COUNT, "", why) for name, why in CAUSES.items()},
}


def append_hour(table: Table, hour: int, tally: NDArray[np.int64], model_names: Sequence[str]) -> None:
    """Write the rows of one hour: kernel columns by road class, model and level."""
    rows = np.flatnonzero(tally.any(axis=1))
    tally = tally[rows]
    road_and_model, level = np.divmod(rows, len(LEVELS))
    road, model = np.divmod(road_and_model, len(model_names))
    ends = {f"disengagements_{name}": tally[:, kernels.FIRST_CAUSE + k] for k, name in enumerate(CAUSES)}
    table.append(
        hour=np.full(len(rows), hour),
        road_class=np.array(ROAD_CLASSES, object)[road],
        model=np.array(model_names, object)[model],
        propilot_level=np.array(LEVELS, object)[level],
        km=tally[:, kernels.DRIVEN_MM] / 1e6,
        engaged_km=tally[:, kernels.ENGAGED_MM] / 1e6,
        possible_km=tally[:, kernels.POSSIBLE_MM] / 1e6,
        engaged_min=tally[:, kernels.ENGAGED_MS] / 60_000,
        engagements=tally[:, kernels.ENGAGEMENTS],
        lane_changes=tally[:, kernels.LANE_CHANGES],
        hand_changes=tally[:, kernels.HAND_CHANGES],
        **ends,
    )


def summary_of(table: Table, *, equipped: int, cars: int, trips: Mapping[str, int]) -> dict[str, Any]:
    """Key figures of a finished table.

    `share` is engaged km over all km of the fleet, `possible_share` the same for km inside
    the domain; `by_*` give kilometres and shares per group. `transfers` are changes of control:
    switched on, ended, and hands on or off the wheel in between.
    """
    columns = {name: table[name].astype(np.float64) for name in ("km", "engaged_km", "possible_km", "engaged_min")}
    total = {name: float(values.sum()) for name, values in columns.items()}
    counts = {name: int(table[name].astype(np.int64).sum()) for name in ("engagements", "lane_changes", "hand_changes")}
    ends = {name: int(table[f"disengagements_{name}"].astype(np.int64).sum()) for name in CAUSES}
    has = table["propilot_level"] != LEVELS[0]
    equipped_km = float(columns["km"][has].sum())
    take_overs = sum(ends[name] for name in TAKE_OVERS)
    transfers = counts["engagements"] + sum(ends.values()) + counts["hand_changes"]
    return {
        "share": _over(total["engaged_km"], total["km"]),
        "engaged_km": total["engaged_km"],
        "possible_km": total["possible_km"],
        "possible_share": _over(total["possible_km"], total["km"]),
        "unused_km": total["possible_km"] - total["engaged_km"],
        "equipped_share": equipped / cars,
        "equipped_km": equipped_km,
        "share_of_equipped_km": _over(total["engaged_km"], equipped_km),
        "share_of_possible_km": _over(total["engaged_km"], total["possible_km"]),
        **counts,
        "takeovers": take_overs,
        "transfers": transfers,
        **trips,
        "engagements_per_equipped_trip": _over(counts["engagements"], trips["equipped_trips"]),
        "transfers_per_used_trip": _over(transfers, trips["used_trips"]),
        "km_between_takeovers": total["engaged_km"] / take_overs if take_overs else None,
        "disengagements": ends,
        "minutes_between": {name: total["engaged_min"] / n if n else None for name, n in ends.items()},
        "by_road_class": _by(table["road_class"], ROAD_CLASSES, columns),
        "by_level": _by(table["propilot_level"], LEVELS, columns),
        "by_model": _by(
            table["model"], sorted(set(table["model"][has].tolist())), {k: v * has for k, v in columns.items()}
        ),
        "by_hour": _by(table["hour"], range(int(table["hour"].max(initial=-1)) + 1), columns),
    }


def _by(keys: NDArray[Any], names: Sequence[Any], columns: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    made = {}
    for name in names:
        here = keys == name
        if here.any():
            km, engaged, possible = (float(columns[c][here].sum()) for c in ("km", "engaged_km", "possible_km"))
            made[str(name)] = {
                "km": km,
                "engaged_km": engaged,
                "possible_km": possible,
                "share": _over(engaged, km),
            }
    return made


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
