"""Records of the traffic engine: what a link, a vehicle, a waiting vehicle is in memory.

A link is one cache line of 64 bytes, a vehicle half of one, a slot an eighth; see `kernels.py`.
"""

from __future__ import annotations

import numpy as np

# one cache line per link: what it is, then how it stands
LINK = np.dtype(
    [
        ("free_ms", "i4"),  # free-flow time
        ("headway_us", "i4"),  # between two vehicles at saturation, over all lanes
        ("storage", "u2"),  # cars it holds, the whole part
        ("head", "u2"),  # place in the ring of the vehicle that leaves next
        ("holes", "u2"),  # slots before that one whose space is not taken yet
        ("control", "i2"),  # bits SIGNAL, YIELDS, METERED: what of its row in `ends` holds; above, the rest of storage
        ("wave_ms", "i4"),  # time a hole takes from the end to the start
        ("slots", "i4"),  # where its ring of `storage` slots begins
        ("next_in_us", "i8"),  # when the headway lets the next one in, and out
        ("next_out_us", "i8"),
        ("count_in", "i4"),  # vehicles ever entered, and ever left
        ("count_out", "i4"),
        ("first_waiter", "i4"),
        ("last_hole_ms", "i4"),  # when the hole of the last vehicle that left reaches the start
        ("spent_ms", "i8"),  # by all that left
    ]
)
# a vehicle and when it can be at the end; after it has left a hole: -2 less what is left of it, in permille of a car's
# place, and when it can be taken
SLOT = np.dtype([("vehicle", "i4"), ("ms", "i4")])
VEHICLE = np.dtype(
    [
        ("position", "i4"),  # in `route`, where it is and where it ends
        ("end", "i4"),
        ("next_link", "i4"),  # of its route; NOBODY on the last one
        ("enter_ms", "i4"),  # when it entered its link
        ("gap_permille", "i2"),  # of its link's headway and free-flow time
        ("pace_permille", "i2"),
        ("size_permille", "i2"),  # of a car's place in a queue
        ("taken_permille", "i2"),  # of its link; less than its size where there was no more
        ("depart_ms", "i4"),
        ("first_ms", "i4"),  # when it entered its first link; until then -2 less the row behind it, -1 for none
    ]
)
# per link, read only where vehicles wait for it
MERGE = np.dtype(
    [
        ("virtual", "i8"),
        ("ring_seen_ms", "i8"),
        ("ring_seen_out", "i4"),
        ("source_first", "i4"),
        ("source_last", "i4"),
        ("ring_turns", "i4"),  # of rings that this link was a part of
    ]
)
# rows are links, then the source of each link
WAITER = np.dtype([("tag", "i8"), ("weight", "i4"), ("next", "i4"), ("target", "i4"), ("last", "i4")])
# what holds at the end of a link: green windows, a metered flow, streams that are given way to. A row per link,
# then a row for every further window of a link
END = np.dtype(
    [
        ("cycle_ms", "i4"),
        ("start_ms", "i4"),  # of green within the cycle; `stop_ms` may lie in the next one
        ("stop_ms", "i4"),
        ("next_window", "i4"),  # row of the next window, NOBODY after the last
        ("stretch_permille", "i4"),  # of the headway between two that leave
        ("patience_ms", "i4"),  # after so long a wait any gap is taken
        ("first_foe", "i4"),  # rows of `foes`
        ("foes", "i4"),
    ]
)
FOE = np.dtype(
    [
        ("mine", "i4"),  # holds for vehicles that go on to this link; NOBODY for all
        ("link", "i4"),  # whose head vehicle is given way to
        ("onto", "i4"),  # when it goes on to this link; NOBODY for any
        ("lag_ms", "i4"),  # from the end of its link to the conflict
        ("gap_ms", "i4"),  # a gap as long as this is taken
    ]
)
