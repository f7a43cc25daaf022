"""When a plugged car takes power. A policy is asked a frozen question and returns an answer; it reaches nothing else.

To add one: write a function from `Question` to `Answer` and hand it to `Charging(policy=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.settings import ChargingSettings

_DAY_MS = 86_400_000


class PolicyError(ValueError):
    """A charging policy returned something that cannot be carried out."""


@dataclass(frozen=True)
class Question:
    """What a policy may know about cars that have just been plugged in; all arrays have shape (n,).

    Attributes
    ----------
    now_ms : ndarray of int64
        Moment of plugging in, since the scenario's start.
    of_day_ms : ndarray of int64
        The same moment on the local clock, since midnight.
    site_kind : ndarray of uint8
        0 home, 1 work, 2 public AC, 3 fast.
    car : ndarray of int32
    soc : ndarray of float64
    need_j : ndarray of int64
        Energy to the target, J.
    rated_kw : ndarray of float64
        Most that socket and car allow.
    leave_ms : ndarray of int64
        Planned departure, -1: as soon as charged.
    timer : ndarray of bool
        The owner charges at home by timer or tariff.
    """

    now_ms: NDArray[np.int64]
    of_day_ms: NDArray[np.int64]
    site_kind: NDArray[np.uint8]
    car: NDArray[np.int32]
    soc: NDArray[np.float64]
    need_j: NDArray[np.int64]
    rated_kw: NDArray[np.float64]
    leave_ms: NDArray[np.int64]
    timer: NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """From when (ms since start, not before now) and with which part of the possible power (above 0, at most 1)."""

    start_ms: NDArray[np.int64]
    fraction: NDArray[np.float64]


Policy = Callable[[Question], Answer]


def uncontrolled(question: Question) -> Answer:
    """Everybody starts at once with full power."""
    return Answer(question.now_ms, np.ones(len(question.now_ms)))


def timer(start_h: float, window_h: float) -> Policy:
    """Timer users wait at home for the tariff's night start; inside the night window they start at once.

    A timer does not know the next trip: who leaves before it rings leaves uncharged.

    Parameters
    ----------
    start_h, window_h : float
        Local hour at which the night begins, and its length.
    """
    start, window = round(start_h * 3.6e6), round(window_h * 3.6e6)

    def by_timer(question: Question) -> Answer:
        since = (question.of_day_ms - start) % _DAY_MS
        waits = question.timer & (question.site_kind == 0) & (since >= window)
        delay = np.where(waits, _DAY_MS - since, 0)
        return Answer(question.now_ms + delay, np.ones(len(delay)))

    return by_timer


def night_window_h() -> float:
    """Length of the cheap night window, h (facts charging: tariff.home_tou.tepco_night8_window)."""
    first, last = facts.load("charging")["tariff"]["home_tou"]["tepco_night8_window"].split("-")
    return float((int(last) - int(first)) % 24)


POLICIES: Mapping[str, Callable[[ChargingSettings], Policy]] = MappingProxyType(
    {
        "uncontrolled": lambda settings: uncontrolled,
        "timer": lambda settings: timer(settings.timer_start_h, night_window_h()),
    }
)
"""Policies that a scenario can name."""


def ask(policy: Policy, question: Question) -> Answer:
    """Ask and check the answer.

    Raises
    ------
    PolicyError
        Naming the policy and the first answer that is not possible.
    """
    answer = policy(question)
    name = getattr(policy, "__name__", type(policy).__name__)
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
