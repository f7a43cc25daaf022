"""Between longitude/latitude and metres on a flat map.

A transverse Mercator projection (WGS 84 ellipsoid, scale 1 on the central meridian)
centred on each map: 50 km from the centre its scale is off by 3 parts in 100,000,
so lengths measured on the plane are driving lengths.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@lru_cache(maxsize=8)
def _plane(lon0: float, lat0: float) -> Any:
    from pyproj import Proj

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Proj(proj="tmerc", lon_0=lon0, lat_0=lat0, k=1.0, x_0=0.0, y_0=0.0, ellps="WGS84")


def to_metres(
    lon: ArrayLike, lat: ArrayLike, *, lon0: float, lat0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project degrees to metres east and north of (lon0, lat0).

    Examples
    --------
    >>> x, y = to_metres([135.75, 135.76], [34.96, 34.96], lon0=135.75, lat0=34.96)
    >>> round(float(x[1]))
    913
    """
    x, y = _plane(lon0, lat0)(np.asarray(lon, float), np.asarray(lat, float))
    return np.asarray(x, float), np.asarray(y, float)


def to_degrees(
    x: ArrayLike, y: ArrayLike, *, lon0: float, lat0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inverse of `to_metres`: metres to (longitude, latitude) in degrees, WGS 84."""
    lon, lat = _plane(lon0, lat0)(np.asarray(x, float), np.asarray(y, float), inverse=True)
    return np.asarray(lon, float), np.asarray(lat, float)
