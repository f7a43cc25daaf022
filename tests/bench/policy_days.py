"""Built-in charging policies on the same days of a small city, as a table: python -m tests.bench.policy_days.

The days are those of `tests/test_charging_policy_days.py`: 400 electric cars, all with a socket at home, half of those
with CHAdeMO able to give energy back; sessions that begin between noon and midnight, load of 24 hours from noon.
"""

from __future__ import annotations

from tests.test_charging_policy_days import Day
from twin.settings import POLICY_NAMES


def main() -> None:
    print("| policy | peak at home | at | into batteries | could leave full | did | given back | wear |")
    print("|---|---|---|---|---|---|---|---|")
    for policy in POLICY_NAMES:
        day = Day(policy)
        could = day.table["soc_full_power"] >= 1.0
        did = could & (day.table["soc_out"] >= 0.99)
        minutes = 12 * 60 + 15 * int(day.home_kw.argmax())
        print(
            f"| `{policy}` | {day.home_kw.max():.0f} kW | {minutes // 60 % 24:02d}:{minutes % 60:02d} "
            f"| {day.table['energy_kwh'].sum():.1f} kWh | {could.sum()} | {did.sum()} "
            f"| {day.grid['given_kwh']:.0f} kWh | {1000 * day.grid['battery_wear_kwh']:.0f} Wh |",
            flush=True,
        )


if __name__ == "__main__":
    main()
