"""Where map data comes from: recipes, files, and places looked up on the internet.

This is the only module that touches the internet: OSMnx geocodes a place name, and its
Overpass server sends the streets, buildings and stations inside, which are kept on disk.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maps.approach import RING_CLASSES, RINGS_KM
from maps.network import ROAD_CLASSES, MapError
from maps.raw import FEATURE_KEYS, nearest_words

RECIPES = Path(__file__).parent / "recipes"
OSM_SUFFIXES = (".osm.pbf", ".pbf", ".osm", ".osm.gz", ".osm.bz2")
SUFFIXES = (*OSM_SUFFIXES, ".graphml", ".npz")
ATTRIBUTION = "© OpenStreetMap contributors, data available under the Open Database License (ODbL) 1.0"
RETRY_S = (2.0, 10.0, 30.0)
"""Waits before the second, third and fourth attempt at a busy server."""
LARGEST_KM2 = 3000.0


@dataclass(frozen=True)
class Recipe:
    """A named city: where its data lies and what the data does not say (see `recipes/*.toml`)."""

    name: str
    title: str
    country: str
    timezone: str
    source: dict[str, str]
    about: str = ""
    gates: int = 12
    rings_km: tuple[float, ...] = RINGS_KM
    classes: tuple[str, ...] = RING_CLASSES
    text: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Found:
    """A source on this machine: the file to read and the recipe that says how."""

    path: Path
    recipe: Recipe


def data_folder() -> Path | None:
    """Folder of real data: TWIN_DATA, else `../shared/data` beside the project; None when there is none."""
    named = os.environ.get("TWIN_DATA")
    folder = Path(named).expanduser() if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def cache_folder() -> Path:
    """Folder of built maps and downloads: TWIN_CACHE, else `~/.cache/fleet-twin` (it may not exist)."""
    named = os.environ.get("TWIN_CACHE")
    if named:
        return Path(named).expanduser()
    try:
        return Path.home() / ".cache" / "fleet-twin"
    except RuntimeError:  # no home folder at all
        return Path(tempfile.gettempdir()) / "fleet-twin"


def recipe_names() -> list[str]:
    """Names of all recipes, sorted.

    Examples
    --------
    >>> "kyoto" in recipe_names()
    True
    """
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find_recipe(name: str) -> Recipe:
    """Read one recipe; raise `MapError` naming the nearest when there is none of this name."""
    if name not in recipe_names():
        raise MapError(f"{name}: no recipe of this name; {nearest_words(name, recipe_names())}")
    path = RECIPES / f"{name}.toml"
    text = path.read_bytes()
    try:
        table = tomllib.loads(text.decode())
        approach: dict[str, Any] = table.pop("approach", {})
        recipe = Recipe(
            name=name,
            text=text,
            **table,
            gates=int(approach.pop("gates", 12)),
            rings_km=tuple(float(km) for km in approach.pop("rings_km", RINGS_KM)),
            classes=tuple(approach.pop("classes", RING_CLASSES)),
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise MapError(f"{path}: {error}") from None
    unknown = [word for word in recipe.classes if word not in ROAD_CLASSES]
    ascending = all(a < b for a, b in zip((0.0, *recipe.rings_km), recipe.rings_km, strict=False))
    if approach or unknown or not ascending or len(recipe.classes) != len(recipe.rings_km):
        wrong = ", ".join([*approach, *unknown]) or "rings_km and classes"
        raise MapError(f"{path}: [approach] {wrong}: valid are gates, rings_km (ascending) and as many road classes")
    return recipe


def find_source(source: str, *, cache: Path | None = None, progress: Callable[[str], None] | None = None) -> Found:
    """Find the file behind a recipe name, a path or a place name.

    Raises
    ------
    MapError
        In one line: what was not found or is no map, and what is valid.
    """
    if not source.strip():
        raise MapError(f"no map source given; valid are a file ({', '.join(SUFFIXES)}), a place name, or a recipe: "
                       f"{', '.join(recipe_names())}")  # fmt: skip
    if source in recipe_names() and not Path(source).is_file():
        recipe = find_recipe(source)
        return Found(_recipe_file(recipe), recipe)
    path = Path(source).expanduser()
    if path.exists() or os.sep in source or source.lower().endswith(SUFFIXES):
        check_file(path)
        return Found(path, Recipe(_stem(path), _stem(path), "", "", {"file": path.name}))
    place = download_place(source, cache=cache or cache_folder(), progress=progress)
    return Found(place, Recipe(_slug(source), source, "", "", {"place": source}))


def check_file(path: Path) -> None:
    """Raise `MapError` unless `path` is a readable, non-empty regular file with a map's suffix."""
    try:
        info = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise MapError(f"{path}: {reason}; valid are {', '.join(SUFFIXES)} files, or a recipe: "
                       f"{', '.join(recipe_names())}") from None  # fmt: skip
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise MapError(f"{path}: is {kind}; name one file ({', '.join(SUFFIXES)})")
    if not path.name.lower().endswith(SUFFIXES):
        raise MapError(f"{path}: not a map file by its name; valid endings are {', '.join(SUFFIXES)}")
    if info.st_size == 0:
        raise MapError(f"{path}: the file is empty")
    if not os.access(path, os.R_OK):
        raise MapError(f"{path}: cannot be read (permission denied)")


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recipe_file(recipe: Recipe) -> Path:
    source = recipe.source
    if "package" in source:
        # found without importing the package, which would take seconds
        spec = find_spec(source["package"])
        roots = list(spec.submodule_search_locations or []) if spec else []
        for root in roots:
            path = Path(root) / source["file"]
            if path.is_file():
                return path
        raise MapError(f"{recipe.name}: the package {source['package']} is not installed or holds no {source['file']}")
    folder = data_folder()
    if folder is None:
        raise MapError(
            f"{recipe.name}: needs the shared data folder ({source['data']}); set TWIN_DATA to it, or use helsinki"
        )
    path = folder / source["data"]
    if not path.is_file():
        raise MapError(f"{recipe.name}: {path} does not exist; set TWIN_DATA to the folder that holds {source['data']}")
    return path


def download_place(place: str, *, cache: Path, progress: Callable[[str], None] | None = None) -> Path:
    """Download streets and places inside the boundary of a named place, or find them in the cache.

    Parameters
    ----------
    place
        A name that Nominatim can find as an area, such as ``"Aveiro, Portugal"``.
    cache
        Folder for downloads; a second call reads the file written by the first.

    Raises
    ------
    MapError
        When the place is unknown, too large, or no server can be reached.
    """
    target = cache / "places" / f"{_slug(place)}-{hashlib.sha256(place.strip().lower().encode()).hexdigest()[:8]}.osm"
    if target.is_file() and target.stat().st_size:
        return target
    say = progress or (lambda line: None)
    hint = f"'{place}' is no recipe and no file; {nearest_words(place, recipe_names())}"
    import osmnx as ox
    import requests

    say(f"looking up {place}")
    kept = ox.settings.cache_folder, ox.settings.use_cache
    ox.settings.use_cache = False  # our own file is the cache; nothing is written to the working folder
    try:
        boundary = ox.geocode_to_gdf(place).geometry.iloc[0]
    except (requests.RequestException, OSError) as error:
        why = f"the internet cannot be reached to look it up ({type(error).__name__})"
        raise MapError(f"{place}: {why}; {hint}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise MapError(f"{place}: not found as an area ({' '.join(str(error).split())[:120]}); {hint}") from None
    finally:
        ox.settings.cache_folder, ox.settings.use_cache = kept
    query = overpass_query(boundary, place)
    url = ox.settings.overpass_url.rstrip("/") + "/interpreter"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"the download folder {target.parent} cannot be made ({error.strerror}); set TWIN_CACHE"
        raise MapError(f"{place}: {why}") from None
    _fetch(url, query, target, place, say, agent=ox.settings.http_user_agent)
    return target


def overpass_query(boundary: Any, place: str) -> str:
    """Overpass query for everything a map needs inside a boundary (shapely polygon, degrees)."""
    import shapely

    parts = [part for part in getattr(boundary, "geoms", [boundary]) if part.geom_type == "Polygon"]
    if not parts:
        raise MapError(f"{place}: is a point, not an area; name a town, a district or a municipality")
    area = shapely.simplify(max(parts, key=lambda part: part.area), 0.0003)
    middle = area.representative_point()
    km2 = area.area * 111.32**2 * math.cos(math.radians(middle.y))
    if km2 > LARGEST_KM2:
        raise MapError(
            f"{place}: {km2:,.0f} km2 is too large to download (limit {LARGEST_KM2:,.0f}); use an .osm.pbf extract"
        )
    ring = " ".join(f"{lat:.5f} {lon:.5f}" for lon, lat in area.exterior.coords)
    inside = f'(poly:"{ring}")'
    roads = "|".join(ROAD_CLASSES)
    lines = [f'way["highway"~"^({roads})$"]{inside};', f'nwr["landuse"]{inside};', f'relation["restriction"]{inside};']
    lines += [f'node["highway"~"^(traffic_signals|stop|give_way)$"]{inside};', f'node["barrier"]{inside};']
    lines += [f'nwr["{key}"]{inside};' for key in FEATURE_KEYS]
    country = f'is_in({middle.y:.5f},{middle.x:.5f})->.here;relation(pivot.here)["ISO3166-1"]->.land;.land out tags;'
    return "[out:xml][timeout:300];(" + "".join(lines) + ")->.all;(.all;way.all;>;.all;);out body;" + country


def _fetch(url: str, query: str, target: Path, place: str, say: Callable[[str], None], *, agent: str) -> None:
    import requests

    last = ""
    for attempt, wait in enumerate((0.0, *RETRY_S), start=1):
        if wait:
            say(f"server busy ({last}), trying again in {wait:.0f} s")
            time.sleep(wait)
        part = target.with_name(target.name + f".{os.getpid()}.part")
        try:
            say(f"downloading {place} (attempt {attempt})")
            with requests.post(
                url, data={"data": query}, timeout=(15, 330), stream=True, headers={"User-Agent": agent}
            ) as answer:
                if answer.status_code in (429, 500, 502, 503, 504):
                    last = f"HTTP {answer.status_code}"
                    continue
                if answer.status_code != 200:
                    raise MapError(f"{place}: the map server refused the request (HTTP {answer.status_code})")
                with part.open("wb") as stream:
                    for block in answer.iter_content(1 << 20):
                        stream.write(block)
            tail = part.read_bytes()[-4096:]
            if b"</osm>" not in tail or b"runtime error" in tail:
                last = "incomplete answer"
                continue
            part.replace(target)
            return
        except requests.RequestException as error:
            last = type(error).__name__
        finally:
            part.unlink(missing_ok=True)
    raise MapError(
        f"{place}: the map server {url.split('/')[2]} could not be used ({last}, {len(RETRY_S) + 1} attempts)"
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60] or "place"


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or name
    return path.stem
