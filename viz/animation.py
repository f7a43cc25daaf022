"""The day of a run as a moving picture: traffic by hour, charging by quarter of an hour, power over the day."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viz import charts, series
from viz.folder import Folder, ReportError
from viz.overview import title
from viz.streets import streets_of
from viz.style import ENGAGED, INK, SITE_COLOURS, STREET, drawable, house_style, new_figure

STEP_S = 900
FRAMES_PER_S = 12
KINDS = (".gif", ".webm", ".mp4")
WIDTH_IN, HEIGHT_IN, DPI = 7.2, 7.6, 90
SHADES = 24


def animate(folder: Folder | Path | str, out: Path) -> Path:
    """Write the day of a run as GIF, or as WebM or MP4 where ffmpeg is installed.

    Parameters
    ----------
    folder : Folder or path
        A results folder with a map.
    out : Path
        Its ending chooses the format.

    Raises
    ------
    ReportError
        When the format is unknown, ffmpeg is missing for it, or the run wrote no map.
    runs.results.ResultsError
        When the folder is not a results folder.
    """
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise ReportError(f"{out}: an animation ends in {', '.join(KINDS)}")
    if kind != ".gif" and shutil.which("ffmpeg") is None:
        raise ReportError(f"{out}: {kind} needs ffmpeg, which is not installed; .gif needs nothing")
    run = folder if isinstance(folder, Folder) else Folder.open(folder)
    if streets_of(run) is None:
        raise ReportError(f"{run.path}: the run wrote no map, so there is nothing to animate")
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    pictures = frames(run)
    if kind == ".gif":
        _gif(pictures, part)
    else:
        _video(pictures, part)
    part.replace(out)
    return out


def frames(run: Folder) -> Iterator[NDArray[np.uint8]]:
    """Pictures of shape (height, width, 3), one per quarter of an hour."""
    from matplotlib import colormaps
    from matplotlib.collections import PathCollection

    known = streets_of(run)
    assert known is not None
    streets, origin = known
    ids, places, colours, power = _site_power(run, origin)
    del ids
    steps = len(power)
    hours, vehicles = _vehicles(run, streets.link_id)
    top = max(float(vehicles.max(initial=0)), 2.0)
    level = np.where(
        vehicles > 0, 1 + np.minimum(np.log(np.maximum(vehicles, 1)) / np.log(top) * (SHADES - 1), SHADES - 1), 0
    ).astype(int)
    ramp = colormaps["magma_r"](np.linspace(0.15, 0.9, SHADES))
    west, east, south, north = streets.box()
    air = 0.03 * max(east - west, north - south)
    inside = np.flatnonzero(streets.inside)
    biggest = float(power.max(initial=0)) or 1.0
    with house_style():
        figure = new_figure(WIDTH_IN, HEIGHT_IN)
        ax, below = figure.subplots(2, 1, height_ratios=(5.2, 1))
        ax.set_title(drawable(title(run)))
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlim(west - air, east + air)
        ax.set_ylim(south - air, north + air)
        ax.set_aspect("equal")
        ax.add_collection(
            PathCollection(streets.paths(inside), facecolors="none", edgecolors=STREET, linewidths=0.5), autolim=False
        )
        clock = ax.annotate(
            "", (0.01, 0.985), xycoords="axes fraction", va="top", fontsize=15, weight="bold", color=INK
        )
        charts.draw_grid_load(below, run)
        below.set_title("")
        if (key := below.get_legend()) is not None:
            key.remove()
        line = below.axvline(0, color=INK, linewidth=1.4)
        figure.text(
            0.99,
            0.004,
            "lines: vehicles per link in the hour; circles: charging power by site",
            ha="right",
            va="bottom",
            fontsize=7.5,
        )
        traffic: list[Any] = []
        shown, dots = -1, None
        for step in range(steps):
            hour = min(step * STEP_S // 3600, hours - 1)
            if hour != shown:
                shown = hour
                for old in traffic:
                    old.remove()
                traffic = [
                    ax.add_collection(
                        PathCollection(
                            streets.paths(rows),
                            facecolors="none",
                            edgecolors=[ramp[k - 1]],
                            linewidths=0.5 + 2.4 * k / SHADES,
                        ),
                        autolim=False,
                    )
                    for k in range(1, SHADES + 1)
                    if len(rows := inside[level[hour, inside] == k])
                ]
            if dots is not None:
                dots.remove()
            dots = (
                ax.scatter(
                    *places.T,
                    s=420 * power[step] / biggest,
                    c=colours,
                    edgecolor="white",
                    linewidth=0.5,
                    alpha=0.85,
                    zorder=5,
                )
                if len(places)
                else None
            )
            clock.set_text(charts.clock(run.start, step * STEP_S))
            line.set_xdata([step * STEP_S / 3600] * 2)
            figure.set_dpi(DPI)
            figure.canvas.draw()
            picture = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]
            yield np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])


def _site_power(run: Folder, origin: Any) -> tuple[NDArray[Any], NDArray[Any], list[str], NDArray[Any]]:
    import shapely

    steps = max(1, int(np.ceil(series.horizon_s(run) / STEP_S - 1e-9)))
    if not run.columns("sites"):
        return np.empty(0), np.empty((0, 2)), [], np.zeros((steps, 0))
    found = run.table("sites", ("site_id", "kind", "geometry"))
    ids = np.asarray(found["site_id"]).astype(np.int64)
    kinds: Any = found["kind"]
    metres = origin.metres(shapely.get_coordinates(shapely.from_wkb(found["geometry"])))
    load = run.table("grid_load", ("time_s", "site_id", "power_kw"))
    edges = series.grid_load(run).edges_s
    width = float(edges[1] - edges[0])
    order = np.argsort(ids, kind="stable")
    power = np.zeros((steps, len(ids)))
    of_row = np.asarray(load["site_id"]).astype(np.int64)
    if len(ids) and len(of_row):
        at = order[np.minimum(np.searchsorted(ids, of_row, sorter=order), len(ids) - 1)]
        first = (np.asarray(load["time_s"], float) // STEP_S).astype(np.int64)
        kw = np.asarray(load["power_kw"], float) * min(1.0, width / STEP_S)
        for k in range(max(1, round(width / STEP_S))):
            np.add.at(power, (np.minimum(first + k, steps - 1), at), kw)
    colours = [SITE_COLOURS.get(kinds.labels[c], ENGAGED) for c in kinds.codes]
    return ids, metres, colours, power


def _vehicles(run: Folder, link_id: NDArray[np.int64]) -> tuple[int, NDArray[Any]]:
    hours = max(1, int(np.ceil(series.horizon_s(run) / 3600 - 1e-9)))
    counts = np.zeros((hours, len(link_id)))
    found = run.table("links", ("link_id", "hour", "vehicles"))
    ids = np.asarray(found["link_id"]).astype(np.int64)
    if len(ids):
        order = np.argsort(link_id, kind="stable")
        row = order[np.minimum(np.searchsorted(link_id, ids, sorter=order), len(link_id) - 1)]
        hour = np.asarray(found["hour"]).astype(np.int64)
        known = (link_id[row] == ids) & (hour < hours)
        np.add.at(counts, (hour[known], row[known]), np.asarray(found["vehicles"], float)[known])
    return hours, counts


def _gif(pictures: Iterator[NDArray[np.uint8]], path: Path) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(p).quantize(96) for p in pictures)
    first.save(path, save_all=True, append_images=rest, duration=1000 // FRAMES_PER_S, loop=0, optimize=False)


def _video(pictures: Iterator[NDArray[np.uint8]], path: Path) -> None:
    first = next(pictures)
    height, width = first.shape[:2]
    codec = (
        ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "34"]
        if path.suffix == ".webm"
        else ["-c:v", "libx264", "-crf", "23"]
    )
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAMES_PER_S), "-i", "-"]
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, *codec, "-pix_fmt", "yuv420p", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        try:
            writer.stdin.write(first.tobytes())
            for picture in pictures:
                writer.stdin.write(picture.tobytes())
            writer.stdin.close()
        except BrokenPipeError:
            pass
        assert writer.stderr is not None
        said = writer.stderr.read().decode(errors="replace").strip()
        if writer.wait():
            raise ReportError(f"{path}: ffmpeg failed ({' '.join(said.split())[:200]})")
