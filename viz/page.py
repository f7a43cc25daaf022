"""Pieces of an HTML page: every text that goes in is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from viz.answers import Answer, Fact
from viz.folder import Folder
from viz.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = str | Fact | int


def number(fact: Fact) -> str:
    """A figure as `<data>`: rounded for reading, exact in its `value`, with its path in the summary."""
    exact = escape(json.dumps(fact.value), quote=True)
    return f'<data value="{exact}" data-key="{escape(fact.key, quote=True)}">{escape(fact.shown)}</data>'


def article(answer: Answer, figure: str) -> str:
    """One of the three answers: the figure, its interval, its chart, what belongs to it."""
    interval = ""
    if answer.low and answer.high:
        size = f" (n = {answer.n:,})" if answer.n is not None else ""
        interval = f"95 % interval {number(answer.low)} to {number(answer.high)}{size}"
    return (
        f'<article><h2>{escape(answer.title)}</h2><p class="big">{number(answer.main)}</p><p>{escape(answer.label)}</p>'
        f'<p class="interval">{interval}</p>{figure}{facts(answer.more)}</article>'
    )


def facts(items: Iterable[Fact]) -> str:
    """A list of figures with their names."""
    rows = "".join(f"<dt>{escape(f.label)}</dt><dd>{number(f)}</dd>" for f in items)
    return f"<dl>{rows}</dl>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str = "") -> str:
    """A table; figures and whole numbers are set to the right; `empty` is said when there are no rows."""
    body = list(rows)
    if not body:
        return f"<div><h3>{escape(caption)}</h3><p>{escape(empty)}</p></div>" if empty else ""
    right = [not isinstance(cell, str) for cell in body[0]]
    top = "".join(f'<th scope="col"{_side(r)}>{escape(h)}</th>' for h, r in zip(head, right, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{_side(r)}>{_cell(c)}</td>" for c, r in zip(row, right, strict=True)) + "</tr>"
        for row in body
    )
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def chart(draw: Callable[[Axes, Folder], None], folder: Folder, *, alt: str, data: str, name: str) -> str:
    """A chart as SVG inside the page, with its numbers as a CSV file to save when `data` has some."""
    with house_style():
        figure = new_figure(4.7, 2.8)
        draw(figure.subplots(), folder)
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    link = _data_uri("text/csv", data.encode())
    caption = (
        "" if not data else f'<a class="get" download="{escape(name, quote=True)}.csv" href="{link}">Numbers (CSV)</a>'
    )
    return picture("image/svg+xml", buffer.getvalue(), alt=alt, caption=caption)


def drawing(
    draw: Callable[[Axes, Folder], None], folder: Folder, *, alt: str, size_in: tuple[float, float], dpi: int
) -> str:
    """A picture with too many lines for SVG, as PNG inside the page."""
    with house_style():
        figure = new_figure(*size_in)
        draw(figure.subplots(), folder)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return picture("image/png", buffer.getvalue(), alt=alt, caption=escape(alt))


def picture(kind: str, content: bytes, *, alt: str, caption: str) -> str:
    """A picture held by the page itself; `caption` is HTML."""
    image = f'<img alt="{escape(alt, quote=True)}" src="{_data_uri(kind, content)}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def csv(head: Sequence[str], columns: Sequence[Iterable[object]]) -> str:
    """Columns as CSV text; floats are written so that they read back the same."""
    lines = [",".join(head)]
    lines += [",".join(_csv_cell(v) for v in row) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def _csv_cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    text = str(value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(c in text for c in ',"\n\r') else text


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _cell(cell: Cell) -> str:
    if isinstance(cell, Fact):
        return number(cell) if cell.key else escape(cell.shown)
    return f"{cell:,}" if isinstance(cell, int) else escape(cell)


def _side(right: bool) -> str:
    return ' class="n"' if right else ""
