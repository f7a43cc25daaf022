"""Charts as PNG and SVG and the city with its results as GeoParquet, for reports and tools of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from viz import charts, heat
from viz.folder import Folder
from viz.map import draw_load
from viz.style import house_style, new_figure

CHARTS: dict[str, tuple[charts.Chart, tuple[float, float]]] = {
    "grid_load": (charts.draw_grid_load, (7.2, 3.6)),
    "autonomy_by_road": (charts.draw_engagement_by_road, (7.2, 3.6)),
    "autonomy_by_hour": (charts.draw_engagement_by_hour, (7.2, 3.6)),
    "cloud": (charts.draw_cloud, (7.2, 3.6)),
    "cloud_backlog": (charts.draw_backlog, (7.2, 3.6)),
    "map": (draw_load, (7.2, 6.8)),
    "feeders_by_hour": (heat.draw_feeders, (7.2, 4.2)),
    "cells_by_hour": (heat.draw_cells, (7.2, 4.2)),
    "distances": (heat.draw_distances, (5.2, 3.4)),
    "state_of_charge": (heat.draw_charge, (5.2, 3.4)),
    "session_energy": (heat.draw_sessions, (5.2, 3.4)),
    "travel_time": (heat.draw_lateness, (5.2, 3.4)),
}
"""Every chart of the report: how it is drawn and its size in inches."""


def write_figures(folder: Folder | Path | str, out: Path) -> list[Path]:
    """Write every chart as PNG (200 dpi) and SVG, and `links.geoparquet` with the traffic of the whole run.

    Parameters
    ----------
    folder : Folder or path
        A results folder.
    out : Path
        Folder for the files; made when it is not there.

    Raises
    ------
    runs.results.ResultsError
        When the folder is not a results folder or a file in it is damaged.
    """
    run = folder if isinstance(folder, Folder) else Folder.open(folder)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with house_style():
        for name, (draw, size) in CHARTS.items():
            figure = new_figure(*size)
            draw(figure.subplots(), run)
            for kind, about in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                figure.savefig(out / f"{name}.{kind}", format=kind, dpi=200, metadata=about)
                written.append(out / f"{name}.{kind}")
    if run.columns("map"):
        written.append(write_links(run, out / "links.geoparquet"))
    return written


def write_links(run: Folder, path: Path) -> Path:
    """Write the map's links with vehicles, mean speed and hours of traffic of the whole run as GeoParquet 1.1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    links = pq.read_table(run.path / "map.parquet", page_checksum_verification=True)
    ids = np.asarray(links["link_id"]).astype(np.int64)
    size = int(ids.max(initial=-1)) + 1
    found: dict[str, Any] = run.table("links", ("link_id", "vehicles", "travel_time_s"))
    row = np.asarray(found["link_id"]).astype(np.int64)
    vehicles = np.asarray(found["vehicles"], float)
    spent = np.nan_to_num(np.asarray(found["travel_time_s"], float)) * vehicles
    count, seconds = (np.bincount(row, v, size)[ids] if len(row) else np.zeros(len(ids)) for v in (vehicles, spent))
    metres = np.asarray(links["length_m"], float) if "length_m" in links.column_names else np.full(len(ids), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        speed = np.where(seconds > 0, metres * count / seconds * 3.6, np.nan)
    doc = {
        "vehicles": ("", "vehicles that left the link in the run"),
        "mean_speed_kmh": ("km/h", "length over mean travel time; null when none left"),
    }
    for name, values in (
        ("vehicles", pa.array(count.astype(np.int64))),
        ("mean_speed_kmh", pa.array(speed, mask=np.isnan(speed))),
    ):
        unit, said = doc[name]
        links = links.append_column(pa.field(name, values.type, metadata={"unit": unit, "description": said}), values)
    part = path.with_name(path.name + ".part")
    pq.write_table(links, part, compression="zstd", write_page_checksum=True)
    part.replace(path)
    return path
