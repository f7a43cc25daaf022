"""Who the cloud works for: cars and bytes by brand and company, in one account that also holds cars without a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twin import facts
from twin.fleet.fleet import Fleet


def tenants(
    brands: Sequence[str],
    fleet: Fleet,
    online: NDArray[np.uint8],
    down_b: NDArray[np.int64],
    dealer_b: NDArray[np.int64],
) -> dict[str, dict[str, int]]:
    """Cars and bytes by brand.

    Parameters
    ----------
    brands : sequence of str
        Brand of each value of `fleet.model`; `dealer_b` is by the same rows.
    online : ndarray of uint8, shape (n_cars,)
    down_b : ndarray of int64, shape (n_cars,)
        Services' bytes received.
    """
    found = {}
    names = np.array(brands, object)
    for brand in sorted(set(brands)):
        mine = names[fleet.model] == brand
        if mine.any():
            found[brand] = {
                "cars": int(mine.sum()),
                "connected": int(np.count_nonzero(online[mine])),
                "generated_bytes": int(fleet.generated_b[mine].sum()),
                "downlink_bytes": int(down_b[mine].sum()),
                "dealer_bytes": int(dealer_b[names == brand].sum()),
            }
    return found


def companies(by_brand: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The same by company (facts `connectivity.companies`); a brand that no company has is one of its own.

    Examples
    --------
    >>> companies({"Nissan": {"cars": 3}, "INFINITI": {"cars": 1}, "Renault": {"cars": 2}, "Mine": {"cars": 5}})
    {'Mine': {'cars': 5}, 'Nissan': {'cars': 4}, 'Renault': {'cars': 2}}
    """
    owner = {
        brand: company
        for company, brands in facts.load("connectivity")["companies"].items()
        if isinstance(brands, list)
        for brand in brands
    }
    found: dict[str, dict[str, int]] = {}
    for brand, figures in by_brand.items():
        into = found.setdefault(owner.get(brand, brand), {})
        for name, value in figures.items():
            into[name] = into.get(name, 0) + value
    return dict(sorted(found.items()))


def accounts(
    brands: Sequence[str],
    fleet: Fleet,
    online: NDArray[np.uint8],
    down_b: NDArray[np.int64],
    dealer_b: NDArray[np.int64],
) -> dict[str, dict[str, dict[str, int]]]:
    """Both for `summary.json`; parameters as for `tenants`."""
    by_brand = tenants(brands, fleet, online, down_b, dealer_b)
    return {"tenants": by_brand, "companies": companies(by_brand)}
