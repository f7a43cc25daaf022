"""The table of moves of all campaigns, and its check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.events import Column, Table
from twin.ota.states import NAMES, Step, legal

COLUMNS: dict[str, Column] = {
    "car_id": Column("i4", "", "row of the car"),
    "campaign": Column("str", "", "name of the campaign"),
    "state": Column("str", "", "state the car came into"),
    "time_s": Column("f8", "s", "when"),
    "bytes": Column("i8", "B", "bytes of the package in the car then"),
    "reason": Column("str", "", "why, where the state does not say it"),
}


def illegal_rows(table: Table, campaign: str, cars: NDArray[np.int32], state: NDArray[np.uint8]) -> int:
    """Replay the table: every target starts as scheduled, moves legally, and ends where it is."""
    code, can = {name: number for number, name in enumerate(NAMES)}, legal()
    mine = table["campaign"] == campaign
    car = table["car_id"].astype(np.int64)[mine]
    step = np.array([code[str(name)] for name in table["state"][mine]], np.int64)
    order = np.argsort(car, kind="stable")
    car, step = car[order], step[order]
    if not len(car):
        return int(np.count_nonzero(state != Step.SCHEDULED))
    first = np.concatenate([[True], car[1:] != car[:-1]])
    last = np.concatenate([first[1:], [True]])
    wrong = np.count_nonzero(step[first] != Step.SCHEDULED)
    inner = np.flatnonzero(~first)
    wrong += np.count_nonzero(~can[step[inner - 1], step[inner]])
    rows = np.argsort(cars)
    if not np.array_equal(car[last], cars[rows]):
        return int(wrong) + abs(int(last.sum()) - len(cars)) + 1
    return int(wrong + np.count_nonzero(step[last] != state[rows]))
