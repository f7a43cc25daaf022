"""Colours, fonts and number formats shared by every picture and page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1a1a1a"
MUTED = "#595959"
STREET = "#c9c9c9"

# Okabe and Ito (2008), "Color Universal Design": told apart with every common colour vision.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")

SITE_COLOURS = {"home": "#0072B2", "work": "#E69F00", "public": "#009E73", "fast": "#000000"}
"""One colour per kind of charging site, the same in every chart and on the map. Of all fours of the palette whose
colours also stand out from white paper, these differ most (CIE Lab over 50 apart) with every colour vision."""

ENGAGED = "#0072B2"
DRIVEN = "#d9d9d9"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are equal on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.borderaxespad": 0.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "fleet twin",  # equal runs give equal bytes
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "savefig.bbox": None,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with our settings, whatever the user's matplotlibrc says, and leave theirs as they were."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams  # its keys are typed one by one
        settings.update(RC)
        yield


def new_figure(width_in: float, height_in: float, *, air_in: float = 0.04) -> Figure:
    """An empty Agg figure outside pyplot's global state; call inside `house_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width_in, height_in), layout=ConstrainedLayoutEngine(w_pad=air_in, h_pad=air_in))
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write beside the target and rename, so a reader never sees half a picture."""
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None})
    part.replace(path)


@cache
def _font() -> Any:
    from matplotlib import font_manager

    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))


def drawable(text: str) -> str:
    """The text with what our font cannot draw (Japanese names, line breaks) replaced by a dot."""
    font = _font()
    return "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "·" for c in text)


BYTE_STEPS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def byte_scale(largest: float) -> tuple[float, str]:
    """Divisor and decimal unit that suit amounts up to `largest` bytes."""
    return next(((step, unit) for step, unit in BYTE_STEPS if abs(largest) >= step), (1.0, "B"))


def power_scale(largest_kw: float) -> tuple[float, str]:
    """Divisor and unit that suit powers up to `largest_kw`; small fleets stay in kW."""
    return (1e6, "GW") if largest_kw >= 1e7 else (1e3, "MW") if largest_kw >= 1e4 else (1.0, "kW")


def figures(value: float) -> str:
    """A number with as many digits as a reader needs.

    Examples
    --------
    >>> figures(12345.6), figures(57.12), figures(0.01234), figures(12)
    ('12,346', '57.1', '0.0123', '12')
    """
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}" if size >= 1 else f"{value:.{digits}g}"


def amount(value: object, unit: str) -> str:
    """A value with its unit as people read it.

    Parameters
    ----------
    value : number or None
        None, text and what is not finite become a dash.
    unit : str
        "share" is shown in percent, "bytes" and "bytes/s" with a decimal prefix, "s"
        longer than two minutes in minutes; all else as it is.

    Examples
    --------
    >>> print(amount(0.0834, "share"), amount(2_500_000, "bytes"), amount(412.0, "kW"), amount(None, "kW"), sep=", ")
    8.34 %, 2.50 MB, 412.0 kW, –
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if unit == "share":
        return f"{figures(100 * float(value))}\u00a0%"
    if unit in ("bytes", "bytes/s"):
        step, name = byte_scale(value)
        shown = figures(value / step) if step > 1 or value % 1 else f"{value:.0f}"
        return f"{shown}\u00a0{name}{unit.removeprefix('bytes')}"
    if unit == "s" and abs(value) >= 120:
        return f"{figures(value / 60)}\u00a0min"
    return f"{figures(value)}\u00a0{unit}" if unit else figures(value)
