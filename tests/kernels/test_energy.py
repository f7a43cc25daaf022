"""Energy of traversals booked car by car, by hand, uncompiled: a link of 100 m at 10 N takes 1,000 J."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.uncompiled import plain
from twin.energy import kernels as k

WIDTH = 64
HOUR = 3_600_000


class Ledger:
    """Three cars: 0 battery, 1 e-POWER, 2 combustion; link 0 takes 1,000 J, link 1 gives 400 J back."""

    def __init__(self, battery: int = 5000, capacity: int = 10_000) -> None:
        self.road = np.zeros((2, WIDTH))
        self.road[:, k.LENGTH], self.road[:, k.LENGTH_MM] = 100.0, 100_000
        self.road[:, k.FREE_SPEED], self.road[:, k.FREE_S] = 10.0, 10.0
        self.road[1, k.SLOPE] = -1.0
        self.profile = np.zeros(WIDTH)
        self.profile[k.PACE_RISE] = self.profile[k.MOVING_LOW] = 1.0
        self.car_of = np.zeros((24, 3, WIDTH))
        self.car_of[:, :, k.CAR_KIND] = k.ELECTRIC, k.EPOWER, k.COMBUSTION
        self.car_of[:, :, k.CAR_A], self.car_of[:, :, k.WEIGHT_N] = 10.0, 14.0
        self.car_of[:, :, k.PER_TRACTION] = self.car_of[:, :, k.PER_BRAKED] = 1.0
        self.car_of[:, :, k.UL_PER_J], self.car_of[:, :, k.GENERATOR_W] = 0.03, 500.0
        self.control = np.zeros(WIDTH)[: k.FIRST_SETPOINT + 2]
        self.control[k.SOC_LOW], self.control[k.SOC_HIGH], self.control[k.EV_LIMIT_W] = 0.2, 0.8, 300.0
        self.control[k.FIRST_SETPOINT :] = 200.0, 400.0
        self.battery, self.capacity = np.array([battery] * 3), np.array([capacity] * 3)
        self.traction, self.engine, self.fuel = (np.zeros(3, np.int64) for _ in range(3))
        self.driven, self.towed, self.drive_ms = (np.zeros(3, np.int64) for _ in range(3))
        self.engine_on, self.empty, self.steady = np.zeros(3, np.uint8), np.zeros(3, np.uint8), np.zeros(3, bool)
        self.total, self.ran_empty = np.zeros(6, np.int64), np.full(3, -1)
        self.start_ms, self.keep = 0, 1.0

    def spend(self, *rows: tuple[int, int], at: int = 0, took: int = 10_000) -> tuple[int, list[Any]]:
        """Cars and links of rows; how many ran empty, and energy, fuel and metres of the rows."""
        n = len(rows)
        car, link = np.array(rows).reshape(n, 2).T
        exit_ms = np.full(n, at + took)
        energy, fuel, driven = (np.full(n, 77) for _ in range(3))
        found = plain(k.spend)(
            n, car, link, exit_ms - took, exit_ms, energy, fuel, driven, self.road, self.profile, self.car_of,
            self.control, self.start_ms, np.arange(3), self.battery, self.capacity, self.traction, self.engine,
            self.fuel, self.driven, self.towed, self.drive_ms, self.engine_on, self.empty, self.total, self.ran_empty,
            self.steady, self.keep,
        )  # fmt: skip
        return found, [list(row) for row in zip(energy.tolist(), fuel.tolist(), driven.tolist(), strict=True)]


def test_a_battery_car_pays_from_its_battery() -> None:
    book = Ledger()
    assert book.spend((0, 0), (0, 1), (0, 0)) == (0, [[1000, 0, 100_000], [-400, 0, 100_000], [1000, 0, 100_000]])
    assert book.battery.tolist() == [3400, 5000, 5000]
    assert book.traction.tolist() == [1600, 0, 0]
    assert book.driven.tolist() == [300_000, 0, 0]
    assert book.drive_ms.tolist() == [30_000, 0, 0]
    assert not book.fuel.any() and not book.engine.any() and not book.towed.any() and not book.empty.any()
    assert book.total[[k.ROWS_ENERGY_J, k.ROWS_FUEL_UL, k.ROWS_DRIVEN_MM, k.ROWS_LENGTH_MM]].tolist() == [
        1600, 0, 300_000, 300_000,
    ]  # fmt: skip
    book.spend((0, 0))
    assert book.total[k.ROWS_ENERGY_J] == 2600


def test_a_combustion_car_burns_fuel_in_whole_microlitres() -> None:
    book = Ledger()
    book.car_of[:, 2, k.UL_PER_J] = 0.0306
    assert book.spend((2, 0)) == (0, [[0, 31, 100_000]])
    book.car_of[:, 2, k.UL_PER_J] = 0.0304
    assert book.spend((2, 0)) == (0, [[0, 30, 100_000]])
    assert book.fuel.tolist() == [0, 0, 61]
    assert book.total[k.ROWS_FUEL_UL] == 61
    assert not book.traction.any()
    assert book.battery.tolist() == [5000] * 3


def test_time_on_the_link_has_its_own_power() -> None:
    book = Ledger()
    book.car_of[:, 0, k.MOVING_W], book.car_of[:, 0, k.STEADY_W] = 7.0, 3.0
    assert book.spend((0, 0))[1][0][0] == 1000 + 70 + 30
    assert book.spend((0, 0), took=20_000)[1][0][0] == 1000 + 140 + 60  # at half the pace it moves for 20 s
    book.car_of[:, 0, k.MOVING_W] = book.car_of[:, 0, k.STEADY_W] = 0.0
    book.steady[0], book.keep = True, 0.9
    assert book.spend((0, 0))[1][0][0] == 900
    book.car_of[:, 0, k.PER_TRACTION], book.keep = 1.5, 1.0
    assert book.spend((0, 0))[1][0][0] == 1500


def test_the_hour_is_that_of_the_end_from_midnight_before_the_start() -> None:
    book = Ledger()
    book.car_of[:, 0, k.CAR_A] = np.arange(24) + 1.0
    book.start_ms = 5 * HOUR
    for exit_ms, hour in ((0, 5), (HOUR - 1, 5), (HOUR, 6), (18 * HOUR, 23), (19 * HOUR, 0), (43 * HOUR, 0)):
        book.battery[0] = 5000
        assert book.spend((0, 0), at=exit_ms - 10_000)[1][0][0] == 100 * (hour + 1)


def test_an_empty_battery_drives_a_part_of_the_way_and_is_towed() -> None:
    book = Ledger(battery=400)
    assert book.spend((0, 0), (0, 0)) == (1, [[400, 0, 40_000], [0, 0, 0]])
    assert (book.battery[0], book.empty[0], book.ran_empty[0]) == (0, 1, 0)
    assert (book.traction[0], book.driven[0], book.towed[0]) == (400, 40_000, 160_000)
    assert book.total[[k.ROWS_DRIVEN_MM, k.ROWS_LENGTH_MM]].tolist() == [40_000, 200_000]
    assert book.spend((0, 1)) == (0, [[0, 0, 0]])  # on the hook it does not brake either
    book.battery[0] = 1000
    assert book.spend((0, 0)) == (0, [[1000, 0, 100_000]])  # just enough
    assert book.empty[0] == 0
    assert book.spend((0, 0)) == (1, [[0, 0, 0]])
    book.battery[0] = 300  # charged a little while still marked
    assert book.spend((0, 0)) == (1, [[300, 0, 30_000]])
    book.ran_empty = book.ran_empty[:0]
    book.battery[0] = 300
    assert book.spend((0, 0))[0] == 0  # no room to name it; it is empty all the same
    assert book.empty[0] == 1


def test_a_cold_battery_keeps_a_share() -> None:
    book = Ledger(battery=2400)
    book.car_of[:, 0, k.OUT_OF_REACH] = 0.2
    assert book.spend((0, 0)) == (1, [[400, 0, 40_000]])
    assert book.battery[0] == 2000
    book.battery[0] = 1500
    assert book.spend((0, 0)) == (0, [[0, 0, 0]])
    assert book.battery[0] == 1500


def test_a_full_battery_takes_what_fits_and_the_brakes_the_rest() -> None:
    book = Ledger(battery=9900)
    assert book.spend((0, 1)) == (0, [[-100, 0, 100_000]])
    assert (book.battery[0], book.traction[0], book.total[k.REGEN_REFUSED_J]) == (10_000, -100, 300)
    book.battery[0] = 9600
    book.spend((0, 1))
    assert (book.battery[0], book.total[k.REGEN_REFUSED_J]) == (10_000, 300)


def test_an_epower_engine_fills_what_is_missing_and_burns_for_it() -> None:
    """100 W from the battery above its lower threshold; at it the engine runs at 200 W for the ten seconds."""
    book = Ledger()
    assert book.spend((1, 0)) == (0, [[1000, 0, 100_000]])
    assert (book.battery[1], book.engine[1], book.engine_on[1]) == (4000, 0, 0)
    book.battery[1] = 2000
    assert book.spend((1, 0)) == (0, [[-1000, 60, 100_000]])
    assert (book.battery[1], book.engine[1], book.engine_on[1], book.fuel[1]) == (3000, 2000, 1, 60)
    assert book.spend((1, 1)) == (0, [[-400, 0, 100_000]])
    assert (book.battery[1], book.engine_on[1]) == (3400, 0)
    assert book.total[k.OVER_RATED] == 0
    book.battery[1] = 9700  # braking above the upper threshold: 300 J fit
    assert book.spend((1, 1))[1][0][0] == -300
    assert book.engine[1] == 2000


def test_an_epower_car_beyond_its_power_and_its_battery_is_counted() -> None:
    """4,000 J in 10 s with an engine of 150 W and 100 J: the engine is booked 3,900 J."""
    book = Ledger(battery=100)
    book.car_of[:, 1, k.CAR_A], book.car_of[:, 1, k.GENERATOR_W] = 40.0, 150.0
    assert book.spend((1, 0)) == (0, [[100, 117, 100_000]])
    assert (book.battery[1], book.engine[1], book.total[k.OVER_RATED], book.empty[1]) == (0, 3900, 1, 0)
    book.battery[1] = 2500  # exactly what is missing
    assert book.spend((1, 0))[1] == [[2500, 45, 100_000]]
    assert (book.battery[1], book.total[k.OVER_RATED]) == (0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_an_engine_between_two_thresholds_as_stepped_phase_by_phase(seed: int) -> None:
    rng = np.random.default_rng(seed)
    control = np.array([0.0] * (k.FIRST_SETPOINT + 3))
    control[k.EV_LIMIT_W], control[k.FIRST_SETPOINT :] = 20_000.0, [6000.0, 15_000.0, 25_000.0]
    for _ in range(200):
        power, seconds = float(rng.uniform(100, 19_000)), float(rng.uniform(1, 3000))
        low, high, on = 1e6, 3e6, bool(rng.random() < 0.5)
        battery = float(rng.choice([rng.uniform(0.5e6, 3.5e6), low, high]))
        setpoint = next(s for s in control[k.FIRST_SETPOINT :] if s > power)
        made, runs = plain(k.engine)(power * seconds, seconds, battery, low, high, on, control, 60_000.0)
        left, exact, state, level = seconds, 0.0, on, battery
        while True:
            if state and level >= high:
                state = False
            if not state and level <= low:
                state = True
            until = (high - level) / (setpoint - power) if state else (level - low) / power
            part = min(left, until)
            exact += setpoint * part * state
            level += (setpoint * state - power) * part
            left -= part
            if left <= 1e-9:
                break
            level = high if state else low
        assert made == pytest.approx(exact, rel=1e-9, abs=1e-3)
        if abs(part - until) > 1e-6:  # not at the very moment of a switch
            assert runs == state


def test_an_engine_follows_the_load_above_the_limit() -> None:
    control = np.array([0.0] * (k.FIRST_SETPOINT + 2))
    control[k.EV_LIMIT_W], control[k.FIRST_SETPOINT :] = 10_000.0, [5000.0, 20_000.0]
    engine = plain(k.engine)
    assert engine(0.0, 5.0, 1.0, 0.0, 9.0, True, control, 30_000.0) == (0.0, False)
    assert engine(-5.0, 5.0, 1.0, 0.0, 9.0, True, control, 30_000.0) == (0.0, False)
    assert engine(60_000.0, 5.0, 0.0, 0.0, 9e9, False, control, 30_000.0) == (100_000.0, True)
    assert engine(60_000.0, 5.0, 7000.0, 0.0, 10_000.0, False, control, 30_000.0) == (63_000.0, True)
    assert engine(60_000.0, 5.0, 12_000.0, 0.0, 10_000.0, False, control, 30_000.0) == (60_000.0, True)
    assert engine(60_000.0, 5.0, 0.0, 0.0, 9e9, False, control, 11_000.0) == (55_000.0, True)  # above rated power
    assert engine(50_000.0, 5.0, 0.0, 0.0, 9e9, False, control, 10_000.0) == (50_000.0, True)  # rated is the load
    # at its rated power the engine cannot gain on the load, whatever is in the battery
    assert engine(50_000.0, 5.0, 7000.0, 0.0, 10_000.0, False, control, 10_000.0) == (50_000.0, True)


def test_a_link_that_ends_at_the_very_switch() -> None:
    """Ten seconds down to the lower threshold, ten up to the upper one: the engine still runs."""
    control = np.array([0.0] * (k.FIRST_SETPOINT + 1))
    control[k.EV_LIMIT_W], control[k.FIRST_SETPOINT] = 1000.0, 200.0
    assert plain(k.engine)(2000.0, 20.0, 1000.0, 0.0, 1000.0, False, control, 300.0) == (2000.0, True)
    assert plain(k.engine)(1000.0, 10.0, 1000.0, 0.0, 1000.0, False, control, 300.0) == (0.0, False)
    assert plain(k.engine)(1000.0, 10.0, 0.0, 0.0, 1000.0, False, control, 300.0) == (2000.0, True)
