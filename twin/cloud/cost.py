"""What a day of traffic needs and costs in a public cloud: units, partitions, storage, air time.

Limits and prices: facts `connectivity.azure` (official quotas) and `connectivity.cost_usd` (list
prices around 2022, recalled). They are stated so that a reader can put in his own.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from twin import facts

_KB = 1024
_DAYS_PER_MONTH = 365.25 / 12


def bill(
    *,
    messages: dict[str, int],
    message_b: dict[str, int],
    delivered_b: int,
    down_b: int,
    roaming_b: int,
    wifi_b: int,
    peak_b_s: float,
    peak_messages_s: float,
    cars: int,
    days: float,
    hot_days: float,
) -> dict[str, Any]:
    """Capacity units and cost per day of what was carried in `days`.

    Parameters
    ----------
    messages, message_b : mapping of service to count, and to bytes of one message
    delivered_b, down_b : int
        Bytes that reached the cloud, and that it sent; `roaming_b` and `wifi_b` are parts of both
        together that cars abroad, or on home Wi-Fi, carried.
    peak_b_s, peak_messages_s : float
        Highest rates.

    Examples
    --------
    >>> found = bill(messages={"trip": 2000}, message_b={"trip": 5000}, delivered_b=10**7, down_b=0, roaming_b=0,
    ...     wifi_b=0, peak_b_s=1000.0, peak_messages_s=2.0, cars=10, days=1.0, hot_days=30.0)
    >>> found["billed_messages_per_day"], found["partitions"]
    (4000.0, 1)
    """
    table = facts.load("connectivity")
    hub, price = table["azure"], table["cost_usd"]
    days = max(days, 1e-9)
    chunk = int(hub["iot_hub_billed_message_kb"]) * _KB
    billed = sum(count * ceil(message_b[name] / chunk) for name, count in messages.items()) / days
    sizes = hub["iot_hub_messages_per_day_per_unit"]
    rates = hub["iot_hub_send_ops_per_s_per_unit"]
    plans = {
        name: max(1, ceil(billed / sizes[name]), ceil(peak_messages_s / rates[name])) for name in ("s1", "s2", "s3")
    }
    hub_usd = min(plans[name] * float(price["iot_hub_unit_month"][name]) / _DAYS_PER_MONTH for name in plans)
    stored_gb = delivered_b / 1e9 / days
    blob = price["blob_gb_month"]
    storage = stored_gb * (hot_days / _DAYS_PER_MONTH * float(blob["hot"]))
    storage += stored_gb * max(0.0, 365.25 - hot_days) / _DAYS_PER_MONTH * float(blob["cool"])
    cell_mb = (delivered_b + down_b - roaming_b - wifi_b) / 1e6 / days
    air = cell_mb * float(price["cellular_iot_mb_pooled"]) + roaming_b / 1e6 / days * float(price["roaming_mb"])
    lines = cars * float(price["cellular_iot_line_month"]) / _DAYS_PER_MONTH
    egress = down_b / 1e9 / days * float(price["egress_gb"])
    parts = {"hub": hub_usd, "storage_first_year": storage, "air": air, "lines": lines, "egress": egress}
    return {
        "billed_messages_per_day": billed,
        "hub_units": plans,
        "partitions": max(1, ceil(peak_b_s / 1e6), ceil(peak_messages_s / 1000)),
        "stored_gb_per_day": stored_gb,
        "hot_gb": stored_gb * hot_days,
        "usd_per_day": {**parts, "total": sum(parts.values())},
        "usd_per_car_month": sum(parts.values()) * _DAYS_PER_MONTH / cars if cars else 0.0,
    }
