"""Opening hours of OpenStreetMap, as far as stations need them: weekdays and times, later rules over earlier ones.

Read are rules such as `24/7`, `08:00-20:00`, `Mo-Fr 07:00-12:00,13:00-18:00; Sa off`. Rules for public holidays are
skipped. Anything else (dates, sunrise, months) is not understood; the caller then takes the place as always open.
"""

from __future__ import annotations

import re

DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
SLOTS_A_DAY = 96
WEEK_SLOTS = 7 * SLOTS_A_DAY
_TIMES = re.compile(r"\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2}(\s*,\s*\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2})*")

Spans = list[list[int]]
"""From (included) and to (excluded) in quarters of an hour since Monday 0:00, rising, not touching."""


def opening_spans(text: str) -> Spans | None:
    """Spans of the week in which a place is open; None when the text is not understood.

    A quarter of an hour counts as open when the place is open at its start.

    Examples
    --------
    >>> opening_spans("Mo-Fr 08:00-18:00; Fr off")
    [[32, 72], [128, 168], [224, 264], [320, 360]]
    >>> opening_spans("24/7")
    [[0, 672]]
    >>> opening_spans("sunrise-sunset") is None
    True
    """
    spans: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    rules = [rule.strip().lower() for rule in text.split(";") if rule.strip()]
    for rule in rules:
        days, hours = _parts(rule)
        if days is None or hours is None:
            return None
        for day in days:
            spans[day] = hours
    return _joined(spans) if rules else None


def _parts(rule: str) -> tuple[list[int] | None, list[tuple[int, int]] | None]:
    """Weekdays and hours of one rule, None for what is not understood; no weekdays for public holidays."""
    rest = rule
    days: list[int] | None = list(range(7))
    selector = re.match(r"((?:mo|tu|we|th|fr|sa|su|ph)(?:\s*[-,]\s*(?:mo|tu|we|th|fr|sa|su|ph))*)\s*:?(?:\s+|$)", rule)
    if selector:
        days, rest = _days(selector[1]), rule[selector.end() :]
    if rest in ("off", "closed"):
        return days, []
    if rest in ("24/7", "open", "") and (rest or selector):
        return days, [(0, SLOTS_A_DAY)]
    if not _TIMES.fullmatch(rest):
        return days, None
    hours = []
    for part in rest.split(","):
        begin, end = (_slot(clock) for clock in part.split("-"))
        if begin is None or end is None or begin >= SLOTS_A_DAY:
            return days, None
        hours.append((begin, end if end > begin else end + SLOTS_A_DAY))
    return days, hours


def _days(text: str) -> list[int] | None:
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if "ph" in (first, last):
            if dash:
                return None
            continue
        begin = DAYS.index(first)
        end = DAYS.index(last) if dash else begin
        found += [(begin + k) % 7 for k in range((end - begin) % 7 + 1)]
    return found


def _slot(clock: str) -> int | None:
    """First quarter of an hour that starts at or after a clock time; past midnight up to 48:00."""
    hour, minute = (int(v) for v in clock.strip().split(":"))
    return None if minute > 59 or hour * 60 + minute > 48 * 60 else -(-(hour * 60 + minute) // 15)


def _joined(spans: list[list[tuple[int, int]]]) -> Spans:
    is_open = [False] * WEEK_SLOTS
    for day, hours in enumerate(spans):
        for begin, end in hours:
            for k in range(begin, end):
                is_open[(day * SLOTS_A_DAY + k) % WEEK_SLOTS] = True
    edges = [k for k in range(WEEK_SLOTS) if is_open[k] and (k == 0 or not is_open[k - 1])]
    return [[k, next((e for e in range(k, WEEK_SLOTS) if not is_open[e]), WEEK_SLOTS)] for k in edges]


def price_per_kwh(tags: dict[str, str]) -> float | None:
    """Price of a station: 0 where `fee=no`, the number of a `charge` per kWh such as `0.39 EUR/kWh`, else None.

    Examples
    --------
    >>> price_per_kwh({"charge": "0,39 EUR/kWh"}), price_per_kwh({"fee": "no"}), price_per_kwh({"charge": "5 EUR"})
    (0.39, 0.0, None)
    """
    if tags.get("fee") == "no":
        return 0.0
    said = re.fullmatch(r"[^\d]*(\d+(?:[.,]\d+)?)\s*[^\d/]*/\s*kwh", tags.get("charge", "").strip().lower())
    return float(said[1].replace(",", ".")) if said else None
