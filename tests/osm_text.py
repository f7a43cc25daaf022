"""Tiny OSM files for tests: points in metres around a town in Germany, ways by the names of points."""

from pathlib import Path

import numpy as np

LON0, LAT0 = 9.7, 50.87
E2 = 0.00669437999014  # WGS 84
_W2 = 1 - E2 * np.sin(np.radians(LAT0)) ** 2
M_PER_DEG_NORTH = np.radians(1) * 6378137 * (1 - E2) / _W2**1.5
M_PER_DEG_EAST = np.radians(1) * 6378137 / np.sqrt(_W2) * np.cos(np.radians(LAT0))


def osm_text(
    points: dict[int, tuple[float, float]],
    ways: list[tuple[list[int], dict[str, str]]],
    *,
    node_tags: dict[int, dict[str, str]] | None = None,
    restrictions: list[tuple[str, int, int, int]] | None = None,
    extra: str = "",
) -> str:
    """OSM XML of `points` (metres east and north) and ways, numbered from 1.

    Restrictions are (kind, from way, via node, to way).
    """
    lines = ['<osm version="0.6">']
    for key, (east, north) in sorted(points.items()):
        lon = LON0 + east / M_PER_DEG_EAST
        lat = LAT0 + north / M_PER_DEG_NORTH
        tags = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in (node_tags or {}).get(key, {}).items())
        lines.append(f'<node id="{key}" version="1" lat="{lat:.9f}" lon="{lon:.9f}">{tags}</node>')
    for number, (refs, way_tags) in enumerate(ways, start=1):
        nodes = "".join(f'<nd ref="{ref}"/>' for ref in refs)
        tags = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in way_tags.items())
        lines.append(f'<way id="{number}" version="1">{nodes}{tags}</way>')
    for number, (kind, source, via, target) in enumerate(restrictions or [], start=1):
        lines.append(
            f'<relation id="{number}" version="1"><member type="way" ref="{source}" role="from"/>'
            f'<member type="node" ref="{via}" role="via"/><member type="way" ref="{target}" role="to"/>'
            f'<tag k="type" v="restriction"/><tag k="restriction" v="{kind}"/></relation>'
        )
    return "\n".join([*lines, extra, "</osm>"])


def write_osm(folder: Path, *args: object, name: str = "tiny.osm", **kwargs: object) -> Path:
    """Write such a file and return its path."""
    path = folder / name
    path.write_text(osm_text(*args, **kwargs))  # type: ignore[arg-type]
    return path
