"""Where each ProPILOT level may be engaged, as bands along the streets of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maps.network import CityMap
from twin.autonomy import domain
from twin.autonomy.rules import LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from viz.streets import Streets

# level, name on the map, colour, width of its band in points; wider bands lie below
BANDS = (
    ("propilot_1_0", "ProPILOT 1.0", "#F0E442", 15.0),
    ("propilot_2_0", "ProPILOT 2.0", "#9ADBC5", 10.5),
    ("propilot_destination", "destination", "#E3B5D0", 6.5),
)


def may_engage(city: CityMap) -> dict[str, NDArray[np.bool_]]:
    """Links where the function of each level in BANDS itself may be engaged in fair weather, by the facts."""
    mode = domain.modes(city.network, domain.rules(), country=str(city.meta.get("country", "")))
    return {name: mode[0, LEVELS.index(name)] == LEVELS.index(name) for name, *_ in BANDS}


def draw_domains(ax: Axes, city: CityMap, streets: Streets) -> list[Line2D]:
    """Draw the bands under the streets; returns their legend entries with km of links; a level without any has none."""
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D

    keys = []
    inside = may_engage(city)
    for name, label, colour, width in BANDS:
        rows = np.flatnonzero(inside[name] & streets.inside)
        if not len(rows):
            continue
        km = float(city.network.link_length[rows].sum()) / 1000
        look: dict[str, Any] = {"color": colour, "linewidth": width, "solid_capstyle": "butt"}
        keys.append(Line2D([], [], **look, label=f"{label} ({km:,.1f} km)"))
        band: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": width, "zorder": 0.5}
        ax.add_collection(PathCollection(streets.paths(rows), **band), autolim=False)
    return keys
