"""The city as a picture: streets by class, what lies on them, and what a run did to them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maps.network import ROAD_CLASSES, CityMap
from viz import series
from viz.domains import draw_domains
from viz.folder import Folder, Names, Rows
from viz.streets import Origin, Streets, streets_of
from viz.style import INK, MUTED, SITE_COLOURS, STREET, drawable, house_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# line width in points by rank of the class: motorway … local streets
CLASS_WIDTH = {"motorway": 2.2, "trunk": 1.9, "primary": 1.6, "secondary": 1.2, "tertiary": 0.9}
CLASS_COLOUR = {
    "motorway": "#0072B2",
    "trunk": "#56B4E9",
    "primary": "#D55E00",
    "secondary": "#E69F00",
    "tertiary": "#8c8c8c",
}
LOCAL, LOCAL_WIDTH, LOCAL_COLOUR = "local streets", 0.55, "#bdbdbd"

MAP_IN = 8.4
CREDIT_WIDTH = 62

SITE_AREA_PT2 = 420.0
"""Area of the circle of the site with the most energy; others in proportion."""


LOAD_STEPS = 64
"""Shades and widths of the traffic map; finer ones are not told apart."""


def draw_map(city: CityMap, path: Path | str) -> Path:
    """Draw a map file as PNG: streets by class, operating domains, gates, charging sites, radio cells.

    Approach roads beyond the extract are left out; their gates are marked.

    Examples
    --------
    >>> from maps.toy import toy_city
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_map(toy_city(4), f"{folder}/toy.png").name
    'toy.png'
    """
    path = Path(path)
    with house_style():
        write_png(map_figure(city), path, dpi=150)
    return path


def map_figure(city: CityMap) -> Figure:
    """The same as a figure; call and save it inside `house_style`."""
    streets, net = Streets.of_city(city), city.network
    box = streets.box()
    figure = new_figure(*_page(box))
    ax = figure.subplots()
    bands = draw_domains(ax, city, streets)
    _street_base(ax, streets, coloured=True)
    cells = _within(box, city.cell_x, city.cell_y)
    marks = (
        ("radio cell", city.cell_x[cells], city.cell_y[cells], "^", "#CC79A7", 34),
        ("charging site", city.charger_x, city.charger_y, "o", "#009E73", 46),
        ("gate to roads outside", net.node_x[city.gate_node], net.node_y[city.gate_node], "s", "#000000", 34),
    )
    for label, x, y, marker, colour, size in marks:
        if len(x):
            look: dict[str, Any] = {
                "s": size,
                "marker": marker,
                "color": colour,
                "edgecolor": "white",
                "linewidth": 0.8,
            }
            ax.scatter(x, y, label=f"{label} ({len(x):,})", zorder=5, **look)
    _frame(ax, box)
    km, homes = net.link_length[streets.inside].sum() / 1000, len(city.places("home"))
    counts = f"{int(streets.inside.sum()):,} directed links, {km:,.0f} km, {homes:,} homes"
    ax.set_title(f"{drawable(str(city.meta.get('name') or 'map'))}: {counts}")
    _attribution(ax, drawable(str(city.meta.get("attribution", ""))))
    handles = [*_class_keys(streets), *bands, *ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def draw_load(ax: Axes, folder: Folder) -> None:
    """Vehicles per link over the run, and charging sites sized by the energy they delivered."""
    ax.set_title("Traffic and charging energy" if folder.columns("links") else "Streets and charging energy")
    known = folder.once("streets", lambda: streets_of(folder))
    if known is None:
        _frame(ax, (0, 1, 0, 1), scale=False)
        ax.annotate("this run wrote no map", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
        return
    streets, origin = known
    box = streets.box()
    _street_base(ax, streets, coloured=False)
    shade = _load_lines(ax, folder, streets)
    _sites(ax, folder, origin, box)
    _frame(ax, box)
    if shade is not None:
        hours = series.horizon_s(folder) / 3600
        bar = ax.figure.colorbar(shade, ax=ax, orientation="vertical", shrink=0.55, aspect=28, pad=0.01)
        bar.set_label(f"vehicles per link in {hours:g} h", fontsize=9)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bar.ax.minorticks_off()
        bar.outline.set_visible(False)
    _attribution(ax, drawable(attribution(folder)))


def attribution(folder: Folder) -> str:
    """Who made the map data: as the run says, else OpenStreetMap's line."""
    manifest = folder.manifest
    for source in (manifest, manifest.get("map")):
        if isinstance(source, dict) and "attribution" in source:
            return str(source["attribution"])
    return "© OpenStreetMap contributors, ODbL 1.0"


def _load_lines(ax: Axes, folder: Folder, streets: Streets) -> ScalarMappable | None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.colors import ListedColormap, LogNorm

    ids, vehicles = series.link_vehicles(folder)
    ids, vehicles = ids[vehicles > 0], vehicles[vehicles > 0]
    order = np.argsort(streets.link_id, kind="stable")
    row = order[np.minimum(np.searchsorted(streets.link_id, ids, sorter=order), len(order) - 1)]
    shown = (streets.link_id[row] == ids) & streets.inside[row]
    row, count = row[shown], vehicles[shown]
    if not len(row):
        return None
    low = max(1.0, float(np.quantile(count, 0.05)))
    high = max(float(count.max()), 1.5 * low)
    depth = np.log(np.maximum(count, low) / low) / np.log(high / low)
    level = np.minimum((depth * LOAD_STEPS).astype(np.int64), LOAD_STEPS - 1)
    fine = np.clip(3000 / len(row), 0.45, 1.0)  # thinner lines on larger networks
    ramp = ListedColormap(colormaps["magma_r"](np.linspace(0.12, 0.92, 256)))
    for step in np.unique(level):  # busy links on top
        middle = (step + 0.5) / LOAD_STEPS
        drawn = PathCollection(
            streets.paths(row[level == step]),
            facecolors="none",
            edgecolors=[ramp(middle)],
            linewidths=fine * (0.7 + 2.6 * middle),
            capstyle="round",
            zorder=3,
        )
        ax.add_collection(drawn, autolim=False)
    return ScalarMappable(LogNorm(low, high), ramp)


def _sites(ax: Axes, folder: Folder, origin: Origin, box: tuple[float, float, float, float]) -> None:
    from matplotlib.lines import Line2D

    if not folder.columns("sites"):
        return
    import shapely

    found = folder.table("sites", ("site_id", "kind", "geometry"))
    kinds = found["kind"]
    energy = series.site_energy(folder)
    if not isinstance(kinds, Names) or not len(kinds.codes) or not len(energy.site_id):
        return
    metres = origin.metres(shapely.get_coordinates(shapely.from_wkb(found["geometry"])))
    of_site = dict(zip(energy.site_id.tolist(), energy.energy_kwh.tolist(), strict=True))
    kwh = np.array([of_site.get(int(s), 0.0) for s in np.asarray(found["site_id"])])
    shown = (kwh > 0) & _within(box, metres[:, 0], metres[:, 1])
    top = kwh[shown].max(initial=0)
    if not top:
        return
    order = np.flatnonzero(shown)[np.argsort(-kwh[shown], kind="stable")]  # small circles on top
    colours = [SITE_COLOURS.get(kinds.labels[kinds.codes[k]], INK) for k in order]
    ax.scatter(
        metres[order, 0],
        metres[order, 1],
        s=SITE_AREA_PT2 * kwh[order] / top,
        c=colours,
        edgecolor="white",
        linewidth=0.7,
        alpha=0.85,
        zorder=5,
    )
    named = [k for k in SITE_COLOURS if any(kinds.labels[kinds.codes[o]] == k for o in order)]
    dots = [
        Line2D([], [], marker="o", linestyle="", color=SITE_COLOURS[k], markersize=7, label=f"{k} charging")
        for k in named
    ]
    for size in dict.fromkeys((_round_down(top), _round_down(top / 8))):
        area = SITE_AREA_PT2 * size / top
        dots.append(
            Line2D(
                [],
                [],
                marker="o",
                linestyle="",
                markerfacecolor="none",
                color=MUTED,
                markersize=area**0.5,
                label=f"{size:,g} kWh",
            )
        )
    ax.figure.legend(
        handles=dots, loc="outside lower center", ncols=3, handletextpad=0.4, columnspacing=1.4, labelspacing=0.8
    )


def _street_base(ax: Axes, streets: Streets, *, coloured: bool) -> None:
    from matplotlib.collections import PathCollection

    thin = np.clip(6000 / max(int(streets.inside.sum()), 1), 0.35, 1.0)
    for name in (LOCAL, *reversed(CLASS_WIDTH)):
        rows = _rows_of(streets, name)
        if not len(rows):
            continue
        colour = CLASS_COLOUR.get(name, LOCAL_COLOUR) if coloured else STREET
        width = thin * (CLASS_WIDTH.get(name, LOCAL_WIDTH) if coloured else 0.8)
        look = {"facecolors": "none", "edgecolors": colour, "linewidths": width, "capstyle": "round", "zorder": 1}
        ax.add_collection(PathCollection(streets.paths(rows), **look), autolim=False)


def _frame(ax: Axes, box: tuple[float, float, float, float], *, scale: bool = True) -> None:
    """No axes on a map: equal scales, a little air, and a scale bar that gives the unit."""
    west, east, south, north = box
    air = 0.03 * max(east - west, north - south, 1.0)
    ax.set_xlim(west - air, east + air)
    ax.set_ylim(south - air, north + air)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color("#d0d0d0")
    if not scale:
        return
    from matplotlib.transforms import ScaledTranslation

    # under the frame, where no street can run through it
    length = _round_down(0.28 * (east - west + 2 * air))
    below = ax.get_xaxis_transform() + ScaledTranslation(0, -9 / 72, ax.figure.dpi_scale_trans)
    ends = (west - air, west - air + length)
    ax.plot(ends, (0, 0), transform=below, color=INK, linewidth=2.5, solid_capstyle="butt", clip_on=False)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    ax.annotate(text, (ends[1], 0), xycoords=below, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)


def _attribution(ax: Axes, text: str) -> None:
    """Below the scale bar, in lines short enough for a narrow map."""
    lines = "\n".join(textwrap.wrap(text, CREDIT_WIDTH))
    ax.annotate(
        lines,
        (0, 0),
        xycoords="axes fraction",
        xytext=(0, -19),
        textcoords="offset points",
        va="top",
        fontsize=7.5,
        color=MUTED,
    )


def _class_keys(streets: Streets) -> list[Line2D]:
    """Legend entries of the road classes that are there; those of path collections would show a street."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], color=CLASS_COLOUR.get(name, LOCAL_COLOUR), linewidth=CLASS_WIDTH.get(name, LOCAL_WIDTH), label=name
        )
        for name in (*CLASS_WIDTH, LOCAL)
        if len(_rows_of(streets, name))
    ]


def _rows_of(streets: Streets, name: str) -> Rows:
    """Links inside the extract of one drawn class, ramps with the road they belong to."""
    stem = np.array([c.removesuffix("_link") for c in ROAD_CLASSES])
    classes = np.flatnonzero(stem == name if name in CLASS_WIDTH else ~np.isin(stem, list(CLASS_WIDTH)))
    return np.flatnonzero(np.isin(streets.road, classes) & streets.inside)


def _within(box: tuple[float, float, float, float], x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    west, east, south, north = box
    return np.asarray((x >= west) & (x <= east) & (y >= south) & (y <= north))


def _round_down(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above `value`.

    Examples
    --------
    >>> _round_down(730.0), _round_down(0.34)
    (500.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(m * power for m in (5, 2, 1) if m * power <= value * (1 + 1e-9)))


def _page(box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Inches of a picture whose map is at most `MAP_IN` long, with room for legend, title and credit."""
    west, east, south, north = box
    ratio = (north - south) / max(east - west, 1.0)
    return max(MAP_IN * min(1.0, 1 / max(ratio, 0.2)), 5.0) + 2.4, max(MAP_IN * min(1.0, ratio), 2.5) + 1.0
