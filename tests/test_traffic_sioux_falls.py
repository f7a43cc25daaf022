"""Sioux Falls on the same demand and routes as UXsim 1.15.1: total travel time.

The reference is what `python -m tests.bench.engines --cases sioux_falls --runs 1` prints for UXsim's C++ engine,
vehicle by vehicle (deltan 1, random_seed 1): 46,878 vehicles arrived, 538.94 s on average.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.cases import data_folder, sioux_falls
from tests.bench.samples import travel_s

UXSIM_VEHICLES = 46_878
UXSIM_MEAN_S = 538.94

pytestmark = pytest.mark.data


def test_total_travel_time_is_uxsims() -> None:
    """Target: within 5 %. Held here: within 1.5 %, and some of it is delay."""
    if not (data_folder() / "networks" / "tntp_siouxfalls").is_dir():
        pytest.skip(f"needs the shared data folder {data_folder()} (set TWIN_DATA)")
    case = sioux_falls(data_folder())
    assert len(case.depart_s) == UXSIM_VEHICLES
    took = travel_s(case.network, case.settings, case.depart_s * 1000, case.routes)
    free_s = case.routes.totals(case.network.link_free_s)
    assert np.isfinite(took).all()
    assert took.sum() == pytest.approx(UXSIM_VEHICLES * UXSIM_MEAN_S, rel=0.015)
    assert (took - free_s).mean() > 2.0
    # 10 % fewer vehicles per hour through every link would be seen
    tight = case.settings.model_copy(update={"sample": 0.85})
    assert travel_s(case.network, tight, case.depart_s * 1000, case.routes).sum() > 1.05 * took.sum()
