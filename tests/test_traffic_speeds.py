"""Empty streets are driven below the limit, by kind of road."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maps.network import OUTSIDE, ROAD_CLASSES
from maps.toy import corridor
from twin import facts
from twin.traffic.speeds import driven_speed


def test_factors_follow_the_facts_by_class_and_outside() -> None:
    factor = facts.load("behaviour")["speed_factor"]
    names = ["motorway", "motorway_link", "trunk", "primary", "secondary", "residential", "secondary"]
    road = corridor(len(names), speed_kmh=60.0)
    flags = road.link_flags.copy()
    flags[-1] |= OUTSIDE
    road = replace(road, link_class=np.array([ROAD_CLASSES.index(n) for n in names]), link_flags=flags)
    share = driven_speed(road) / (60 / 3.6)
    town, rural, fast = factor["urban_offpeak"], factor["rural"], factor["expressway"]
    assert share == pytest.approx([fast, fast, rural, rural, town, town, rural])
    assert np.all(share < 1)
