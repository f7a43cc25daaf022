"""Random toy cities with faults: every ledger closes, and the faults do happen. More by `python -m tests.faults`."""

from __future__ import annotations

import pytest

from tests import faults
from tests.faults import draw_case, main, open_ledgers, problems, replay, run_seed
from twin.model import Twin

SEEDS = 40


@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_random_cities_with_faults_close(tens: int) -> None:
    for seed in range(tens * 10, tens * 10 + 10):
        assert run_seed(seed) == [], f"replay with: {replay(seed)}"


def test_one_seed_is_one_case() -> None:
    first, again, other = draw_case(7), draw_case(7), draw_case(8)
    assert first[1:] == again[1:]
    assert first[0].network.n_nodes == again[0].network.n_nodes
    assert first[1:] != other[1:]


def test_the_faults_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a few seeds: cars break down, sockets break, bytes wait, installs fail, runs are killed."""
    seen = dict.fromkeys(("stuck", "broken", "buffered", "failed", "killed"), 0)
    finish = Twin.step

    def note(twin: Twin) -> None:
        finish(twin)
        seen["broken"] += int(twin.world.charging.queues.broken.sum())
        if twin.world.done:
            summary = twin.world.summary()
            seen["stuck"] += summary["fleet"]["stuck"]
            seen["buffered"] += summary["cloud"]["buffered_bytes"] + summary["cloud"]["dropped_bytes"]
            seen["failed"] += summary["ota"]["failed"]

    monkeypatch.setattr(Twin, "step", note)
    killed = faults._killed
    monkeypatch.setattr(faults, "_killed", lambda a, b: (seen.__setitem__("killed", 1), killed(a, b))[1])
    for seed in range(20, 30):
        run_seed(seed)
    assert all(seen.values()), seen


def test_a_wrong_joule_a_wrong_byte_and_a_wrong_law_are_seen() -> None:
    city, scenario, _ = draw_case(3)
    twin = scenario.but(until="6h").build_on(city)
    while not twin.world.done:
        twin.step()
    twin.world.finish()
    assert open_ledgers(twin) + problems(twin) == []
    fleet = twin.world.fleet
    fleet.charged_j[0] += 7_200_000
    assert "ledger charging.cars_minus_sessions_j +7,200,000" in open_ledgers(twin)
    assert "battery and sessions differ" in problems(twin)
    fleet.charged_j[0] -= 7_200_000
    fleet.delivered_b[0] = fleet.generated_b[0] + 1
    assert "more delivered than generated" in problems(twin)
    assert any("cloud" in line for line in open_ledgers(twin))


def test_a_failure_prints_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faults, "run_seed", lambda seed, **_: ["ledger x +1"] if seed == 5 else [])
    monkeypatch.setattr("sys.argv", ["faults", "--seeds", "3", "--first", "4"])
    assert main() == 1
    said = capsys.readouterr().out
    assert "python -m tests.faults --seed 5\n  ledger x +1" in said
    assert "3 seeds, 1 failed" in said
