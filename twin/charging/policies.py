"""When a plugged car takes power, and how much. A policy is asked a frozen question and reaches nothing else.

A policy is a function from `Question` to either

- an array of powers at the meter, kW, one per car: it is asked again every quarter of an hour, for all cars on
  sockets; a negative power gives energy back where `gives` allows it; or
- an `Answer`: from when, and with which part of the possible power; then it is not asked again.

To add one of your own, write the function in a file and name both in the scenario: `policy = "my_policy.py:smooth"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.charging.tariff import SLOTS
from twin.settings import ChargingSettings

_DAY_MS = 86_400_000
HOUR_MS = 3_600_000
HOME = 0
MARGIN_H = 0.3
"""Policies that wait keep this much in hand: they are asked every quarter of an hour, and current ramps up."""
TAPER = 1.08
"""Time that charging takes over the time at full power, because batteries take less when nearly full."""
LEAST_KW = 1.4
"""Lowest steady power of an AC socket: 6 A at 230 V (IEC 61851)."""


class PolicyError(ValueError):
    """A charging policy cannot be used, or returned something that cannot be carried out; one line."""


@dataclass(frozen=True)
class Question:
    """What a policy may know about cars on sockets; all arrays have shape (n,) but `price`.

    Attributes
    ----------
    now_ms : ndarray of int64
        Moment, since the scenario's start.
    of_day_ms : ndarray of int64
        The same moment on the local clock, since midnight.
    site_kind : ndarray of uint8
        0 home, 1 work, 2 public AC, 3 fast.
    site, feeder : ndarray of int32
    car : ndarray of int32
    soc : ndarray of float64
    need_j : ndarray of int64
        Energy to the target, J.
    rated_kw : ndarray of float64
        Most that socket and car allow at the meter.
    full_power_h : ndarray of float64
        Time to the target at `rated_kw`, without taper.
    leave_ms : ndarray of int64
        Planned departure, -1: as soon as charged.
    timer : ndarray of bool
        The owner charges at home by timer or tariff.
    gives : ndarray of bool
        Car and socket can give energy back.
    spare_j : ndarray of int64
        What it could give back at most, J at the battery.
    house_kw : ndarray of float64
        Load of the house behind a home socket, 0 elsewhere.
    price : ndarray of float64, shape (96,)
        Price of a kWh in this and the next 95 quarters of an hour.
    """

    now_ms: NDArray[np.int64]
    of_day_ms: NDArray[np.int64]
    site_kind: NDArray[np.uint8]
    site: NDArray[np.int32]
    feeder: NDArray[np.int32]
    car: NDArray[np.int32]
    soc: NDArray[np.float64]
    need_j: NDArray[np.int64]
    rated_kw: NDArray[np.float64]
    full_power_h: NDArray[np.float64]
    leave_ms: NDArray[np.int64]
    timer: NDArray[np.bool_]
    gives: NDArray[np.bool_]
    spare_j: NDArray[np.int64]
    house_kw: NDArray[np.float64]
    price: NDArray[np.float64]

    @property
    def left_h(self) -> NDArray[np.float64]:
        """Hours until each car leaves; 0 when it leaves as soon as charged."""
        return np.where(self.leave_ms < 0, 0.0, np.maximum(self.leave_ms - self.now_ms, 0) / HOUR_MS)

    @property
    def must_charge(self) -> NDArray[np.bool_]:
        """Cars that would not reach their target if they waited for another quarter of an hour."""
        return np.asarray(self.left_h - 0.25 < self.full_power_h * TAPER + MARGIN_H)


@dataclass(frozen=True)
class Answer:
    """From when (ms since start, not before now) and with which part of the possible power (above 0, at most 1)."""

    start_ms: NDArray[np.int64]
    fraction: NDArray[np.float64]


Powers = NDArray[np.float64]
Policy = Callable[[Question], Answer | Powers]


def uncontrolled(question: Question) -> Answer:
    """Everybody starts at once with full power."""
    return Answer(question.now_ms, np.ones(len(question.now_ms)))


def timer(start_h: float, window_h: float) -> Policy:
    """Timer users wait at home for the tariff's night start; inside the night window they start at once.

    Who leaves before the car would be full that way starts at once too, as with the car's button for it.

    Parameters
    ----------
    start_h, window_h : float
        Local hour at which the night begins, and its length.
    """
    start, window = round(start_h * 3.6e6), round(window_h * 3.6e6)

    def by_timer(question: Question) -> Answer:
        since = (question.of_day_ms - start) % _DAY_MS
        waits = question.timer & (question.site_kind == HOME) & (since >= window)
        enough = question.left_h >= (_DAY_MS - since) / HOUR_MS + question.full_power_h * TAPER + MARGIN_H
        delay = np.where(waits & enough, _DAY_MS - since, 0)
        return Answer(question.now_ms + delay, np.ones(len(delay)))

    return by_timer


def tariff(question: Question) -> Powers:
    """Full power in the cheapest quarters of an hour before departure, of equal ones the first."""
    q = question
    ahead = _slots_ahead(q)
    want = np.ceil((q.full_power_h * TAPER + MARGIN_H) * 4)
    # quarters before departure that are cheaper than this one
    cheaper = np.concatenate([[0], np.cumsum(q.price < q.price[0])])[ahead]
    return np.where((cheaper < want) | q.must_charge, q.rated_kw, 0.0)


def _slots_ahead(q: Question) -> NDArray[np.int64]:
    """Quarters of an hour before departure, at least this one, at most a day."""
    return np.clip((q.left_h * 4).astype(np.int64), 1, SLOTS)


def spread(question: Question) -> Powers:
    """Even power until departure, not below what a socket can hold steadily."""
    q = question
    hours = np.maximum(q.left_h - MARGIN_H, 1e-9)
    even = q.rated_kw * q.full_power_h * TAPER / hours
    return np.where(q.must_charge, q.rated_kw, np.clip(even, np.minimum(LEAST_KW, q.rated_kw), q.rated_kw))


def price(question: Question) -> Powers:
    """The cheaper the hour among those before departure, the more power; full when time is short."""
    q = question
    last = _slots_ahead(q) - 1
    low, high = np.minimum.accumulate(q.price)[last], np.maximum.accumulate(q.price)[last]
    part = np.where(high > low, (high - q.price[0]) / np.maximum(high - low, 1e-12), 1.0)
    part = np.where(part * q.rated_kw < np.minimum(LEAST_KW, q.rated_kw), 0.0, part)
    return np.where(q.must_charge, 1.0, part) * q.rated_kw


def _give(question: Question, most_kw: Powers) -> Powers:
    """By tariff, and give back up to `most_kw` while energy is dearer than later, if the car still leaves charged."""
    q = question
    # an hour of giving costs about an hour of charging again, and the next quarter of an hour is for giving
    dear = q.price[0] > float(np.mean(q.price))
    free = q.gives & (q.spare_j > 0) & (q.left_h > q.full_power_h * TAPER + MARGIN_H + 1.0) & (q.leave_ms >= 0)
    return np.where(dear & free, -np.minimum(most_kw, q.rated_kw), tariff(q))


def house(question: Question) -> Powers:
    """Leaf to Home: the car feeds its house while energy is dear, and charges when it is cheap."""
    return _give(question, question.house_kw)


def grid(question: Question) -> Powers:
    """Vehicle to grid: the car gives all that socket and battery allow while energy is dear."""
    return _give(question, question.rated_kw)


def night_window_h() -> float:
    """Length of the cheap night window, h (facts charging: tariff.home_tou.tepco_night8_window)."""
    first, last = facts.load("charging")["tariff"]["home_tou"]["tepco_night8_window"].split("-")
    return float((int(last) - int(first)) % 24)


POLICIES: Mapping[str, Callable[[ChargingSettings], Policy]] = MappingProxyType(
    {
        "uncontrolled": lambda settings: uncontrolled,
        "timer": lambda settings: timer(settings.timer_start_h, night_window_h()),
        "tariff": lambda settings: tariff,
        "spread": lambda settings: spread,
        "price": lambda settings: price,
        "v2h": lambda settings: house,
        "v2g": lambda settings: grid,
    }
)
"""Policies that a scenario can name."""


def ask(policy: Policy, question: Question) -> Answer | Powers:
    """Ask and check the answer.

    Raises
    ------
    PolicyError
        Naming the policy and the first answer that is not possible.
    """
    name = getattr(policy, "__name__", type(policy).__name__)
    try:
        answer = policy(question)
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(f"policy {name}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if isinstance(answer, Answer):
        return _checked_answer(name, answer, question)
    try:
        powers: Any = np.asarray(answer, float)
    except (TypeError, ValueError):
        raise PolicyError(
            f"policy {name}: returned {type(answer).__name__}; valid is an array of kW, one per car, or an Answer"
        ) from None
    return _checked_powers(name, powers, question)


def _checked_powers(name: str, powers: Powers, question: Question) -> Powers:
    n = len(question.now_ms)
    if powers.shape != (n,):
        raise PolicyError(f"policy {name}: {powers.shape} powers for {n} cars")
    least = np.where(question.gives, -question.rated_kw, 0.0)
    wrong = ~((powers >= least - 1e-9) & (powers <= question.rated_kw * (1 + 1e-9)))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise PolicyError(
            f"policy {name}: car {question.car[i]} gets {powers[i]:g} kW; valid is {least[i]:g} to "
            f"{question.rated_kw[i]:g} kW"
        )
    return powers


def _checked_answer(name: str, answer: Answer, question: Question) -> Answer:
    n = len(question.now_ms)
    start: Any = np.asarray(answer.start_ms)
    fraction: Any = np.asarray(answer.fraction, float)
    if start.shape != (n,) or fraction.shape != (n,):
        raise PolicyError(f"policy {name}: {start.shape} starts and {fraction.shape} fractions for {n} cars")
    if start.dtype.kind not in "iu":
        raise PolicyError(f"policy {name}: start_ms must be whole milliseconds, is {start.dtype}")
    early = start < question.now_ms
    if early.any():
        i = int(np.argmax(early))
        raise PolicyError(
            f"policy {name}: car {question.car[i]} starts at {start[i]} ms, before it is plugged in "
            f"at {question.now_ms[i]} ms"
        )
    wrong = ~((fraction > 0) & (fraction <= 1))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise PolicyError(
            f"policy {name}: car {question.car[i]} gets {fraction[i]} of the power; valid is above 0 to 1"
        )
    return Answer(start, fraction)
