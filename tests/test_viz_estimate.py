"""The two pages of an estimate: what they say, and that nothing runs over the edge or into its neighbour."""

import numpy as np
import pytest
from matplotlib.text import Text

from runs.estimation.answer import answer, difference, evidence_of
from runs.estimation.report import FleetEstimate
from tests.test_runs_estimation import world
from viz import estimate as page
from viz.style import house_style


@pytest.fixture(scope="module")
def estimate() -> FleetEstimate:
    rng = np.random.default_rng(11)
    cities = [("kyoto", "japan"), ("columbus", "us"), *((f"town{k}", "europe") for k in range(4))]
    evidence = evidence_of([(world(rng, 400, city=city, market=market), 1.0) for city, market in cities], draws=100)
    assumptions = [
        {
            "name": "share of new cars with ProPILOT",
            "of": "fitted",
            "low": 0.7,
            "high": 1.3,
            "confidence": "assumption",
        },
        {"name": "kilometres that a car drives in a year", "of": "distance", "low": 0.9, "high": 1.2}
        | {"confidence": "derived"},
    ]
    path = {
        case: [answer(evidence, case, year, cohort_assumptions=assumptions) for year in (2021, 2022)]
        for case in ("plan", "actual")
    }
    return FleetEstimate(
        case="plan",
        beside="actual",
        year=2022,
        path=path,
        against={"covered": difference(path["plan"][-1], path["actual"][-1])},
        evidence=evidence,
        ota_pb={"plan": 1.5, "actual": 1.1},
        runs=6,
        size="quick",
        skipped={},
    )


def texts(figure):
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def test_pages_say_the_answers_within_their_edges(estimate):
    with house_style():
        for draw in (page._answers, page._grounds):
            figure = draw(estimate)
            figure.canvas.draw()
            drawn = figure.get_tightbbox(figure.canvas.get_renderer())  # inches
            width, height = figure.get_size_inches()
            assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) >= 0, (draw.__name__, drawn)
            said = " ".join(t.get_text() for t in texts(figure))
            assert "Japan, Europe, United States" in said
            if draw is page._answers:
                v = estimate.now.figures["covered"]["grid_gwh_per_day"]
                assert f"{page._short(v.mean)} GWh a day" in said
                assert f"{page._short(v.low)} to {page._short(v.high)}" in said
            else:
                assert "Not covered: China" in said
                assert "3 degrees of freedom" in said
                assert "kilometres that a car" in said


def test_cells_of_the_table_do_not_overlap(estimate):
    with house_style():
        figure = page._answers(estimate)
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        (table,) = [t for ax in figure.axes for t in ax.tables]
        for cell in table.get_celld().values():
            text, frame = cell.get_text().get_window_extent(renderer), cell.get_window_extent(renderer)
            if cell.get_text().get_text():
                assert text.height <= frame.height + 1, cell.get_text().get_text()
                assert text.width <= frame.width, cell.get_text().get_text()


def test_files(estimate, tmp_path):
    files = page.draw_estimate(estimate, tmp_path)
    assert [f.name for f in files] == ["estimate.pdf", "estimate-1.png", "estimate-2.png"]
    assert files[0].read_bytes().count(b"/Type /Page\n") == 2 or files[0].read_bytes().count(b"/Type /Page ") == 2
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(f.name for f in files)
