"""Who the cloud works for: cars and bytes by brand, in one account that also holds cars without a unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
