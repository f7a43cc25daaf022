"""What a downloading car asks for and what is booked, by hand, uncompiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.uncompiled import plain
from twin.chance import draw
from twin.fleet.fleet import State
from twin.ota import kernels

SEED, STREAM, MINUTE = 11, 3, 77
WIFI = 4


def asked(n: int = 1, **changes: Any) -> tuple[list[int], list[int]]:
    """Bytes asked for by the target in row 2, which is car 1 at cell 0; `changes` to what is so."""
    given: dict[str, Any] = {
        "rows": np.full(n, 2), "car": np.array([0, 0, 1, 3]), "may": np.ones(n, bool), "cell_of": np.zeros(n, np.int64),
        "wifi_cell": WIFI, "got_b": np.array([0, 0, 30, 0]), "size_b": np.array([9, 9, 100, 9]),
        "most_b": np.full(n, 50), "reachable": np.ones(len(State), np.int64), "state": np.full(4, int(State.PARKED)),
        "car_link": np.array([-1, -1, 0, 0]), "link_dead": np.zeros(3, bool), "node_dead": np.zeros(3, bool),
        "car_node": np.array([1, 2, 1, 1]), "outage": np.zeros(5), "minute": MINUTE, "seed": SEED, "stream": STREAM,
        "want": np.full(n, 999), "cell_want": np.zeros(5, np.int64),
    } | changes  # fmt: skip
    plain(kernels.ask)(*given.values())
    return given["want"].tolist(), given["cell_want"].tolist()


def test_the_rest_or_what_the_car_can_take() -> None:
    assert asked() == ([50], [50, 0, 0, 0, 0])
    assert asked(most_b=np.array([80])) == ([70], [70, 0, 0, 0, 0])
    assert asked(cell_of=np.array([2])) == ([50], [0, 0, 50, 0, 0])
    assert asked(2) == ([50, 50], [100, 0, 0, 0, 0])


def test_nothing_without_leave_or_in_a_state_that_cannot_receive() -> None:
    nothing = ([0], [0, 0, 0, 0, 0])
    assert asked(may=np.array([False])) == nothing
    silent = np.ones(len(State), np.int64)
    silent[State.PARKED] = 0
    assert asked(reachable=silent) == nothing
    # the next one is served all the same
    assert asked(2, may=np.array([False, True])) == ([0, 50], [50, 0, 0, 0, 0])


@pytest.mark.parametrize("link", [0, 2])
def test_no_signal_on_a_dead_link_or_at_a_dead_node_but_on_wifi(link: int) -> None:
    dead, nodes = np.zeros(3, bool), np.zeros(3, bool)
    dead[link], nodes[2] = True, True
    moving = np.array([-1, link, 0, 0])
    assert asked(car_link=moving, link_dead=dead)[0] == [0]
    assert asked(car_link=moving, node_dead=nodes)[0] == [50]  # a node does not matter on a link
    assert asked(node_dead=nodes)[0] == [0]
    assert asked(link_dead=np.ones(3, bool))[0] == [50]
    both = {"cell_of": np.array([WIFI]), "link_dead": dead, "node_dead": nodes}
    assert asked(car_link=moving, **both)[0] == asked(**both)[0] == [50]
    assert asked(2, node_dead=nodes, cell_of=np.array([0, WIFI]))[0] == [0, 50]
    assert asked(2, car_link=moving, link_dead=dead, cell_of=np.array([0, WIFI]))[0] == [0, 50]


def test_a_cell_is_out_of_reach_for_its_share_of_minutes() -> None:
    moving = np.array([-1, 1, 0, 0])
    u = draw(SEED, STREAM, 1, MINUTE)
    for share, bytes_ in ((u, 50), (np.nextafter(u, 1), 0)):
        assert asked(car_link=moving, outage=np.array([share, 0, 0, 0, 0]))[0] == [bytes_]
        assert asked(outage=np.array([share, 0, 0, 0, 0]))[0] == [50]  # only on the way


def test_what_is_given_is_booked_and_the_last_byte_has_its_moment() -> None:
    """70 of at most 100 a minute take 42 s; a rest that is not whole is rounded up, and never beyond the tick."""
    car, got, size = np.array([0, 0, 1, 3]), np.array([0, 0, 30, 5]), np.array([9, 9, 100, 40])
    down, done = np.array([1, 2, 3, 4]), np.full(2, 7)
    plain(kernels.take)(
        np.array([2, 3]), car, np.array([70, 20]), 1000, 61_000, np.array([100, 100]), got, size, down, done
    )
    assert got.tolist() == [0, 0, 100, 25]
    assert down.tolist() == [1, 72, 3, 24]
    assert done.tolist() == [43_000, -1]
    for give, most, moment in ((15, 90, 11_000), (15, 99, 10_091), (15, 15, 61_000), (15, 14, 61_000), (0, 90, 1000)):
        got[3] = 40 - give
        plain(kernels.take)(np.array([3]), car, np.array([give]), 1000, 61_000, np.array([most]), got, size, down, done)
        assert done[0] == moment
