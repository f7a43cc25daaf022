"""Pictures of a sweep: levels in their order, units on the axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from viz.style import house_style, new_figure
from viz.sweep import _response


@pytest.mark.parametrize("levels", [[0.5, 0.1, 1 / 3], list(np.linspace(1, 0, 40))], ids=["few", "many"])
def test_numbers_stand_in_their_order_at_their_values(levels: list[float]) -> None:
    runs = pd.DataFrame(
        {"point": range(len(levels)), "p.share": levels, "autonomy.share": [0.02 * v for v in levels], "replication": 0}
    )
    with house_style():
        ax = new_figure(3, 2).subplots()
        _response(ax, runs, "share", "autonomy.share", 0.01)
    dots, line = ax.get_lines()
    assert dots.get_ydata() == pytest.approx(2 * np.array(levels)), "percent"
    x = np.asarray(line.get_xdata(), float)
    assert np.all(np.diff(x) > 0)
    assert line.get_ydata() == pytest.approx(2 * x)


def test_words_stand_side_by_side() -> None:
    runs = pd.DataFrame({"point": [0, 1, 2], "p.policy": ["timer", "solar", "timer"], "grid.peak_kw": [4.0, 9.0, 6.0]})
    with house_style():
        ax = new_figure(3, 2).subplots()
        _response(ax, runs, "policy", "grid.peak_kw", 1.0)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["timer", "solar"]
    assert list(ax.get_lines()[1].get_ydata()) == [5.0, 9.0]
