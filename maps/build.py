"""From a source to a finished `CityMap`: read, cut, join to the world outside, clean, furnish.

>>> from maps.get import recipe_names
>>> "helsinki" in recipe_names()  # names that build_map takes, besides files and places
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maps.approach import Approaches, attach
from maps.clean import free_traps, keep_nodes, place_controls, simplify, strong_component
from maps.draft import CLASS, Draft
from maps.gates import find_gates
from maps.get import ATTRIBUTION, Found, Recipe, cache_folder, find_source, sha256_of
from maps.graph import read_graphml
from maps.junctions import merge_short
from maps.network import OUTSIDE, CityMap, MapError
from maps.places import find_places
from maps.quality import quality_table
from maps.raw import Raw, read_osm, votes
from maps.sites import find_cells, find_chargers
from maps.tags import RULES, default_kmh, left_hand, rules
from maps.ways import cut

Say = Callable[[str], None]


def build_map(
    source: str,
    *,
    progress: Say | None = None,
    cache: Path | None = None,
    country: str = "",
) -> CityMap:
    """Build the map of a city, or read it from the cache of built maps.

    Parameters
    ----------
    source
        A recipe name (`maps.get.recipe_names`), a path (.osm.pbf, .osm, .osm.gz, .osm.bz2,
        .graphml, or a built .npz), or a place name that Nominatim knows.
    progress
        Called with a line of text at each step.
    cache
        Folder of built maps and downloads; default TWIN_CACHE or `~/.cache/fleet-twin`. A folder
        that cannot be written is no error.
    country
        ISO 3166 code for default speeds and side of the road; default the recipe's, else what
        the tags tell.

    Raises
    ------
    MapError
        In one line: the source, what is wrong, what is valid.
    """
    say = progress or (lambda line: None)
    folder = cache or cache_folder()
    found = find_source(source, cache=folder, progress=say)
    if found.path.name.endswith(".npz"):
        return CityMap.load(found.path)
    digest = sha256_of(found.path)
    key = hashlib.sha256(f"{digest}|{country}|{_rules_hash()}|".encode() + found.recipe.text).hexdigest()[:16]
    built = folder / "maps" / f"{found.recipe.name}-{key}.npz"
    if built.is_file():
        try:
            return CityMap.load(built)
        except (MapError, OSError):
            say(f"{built.name}: damaged, building again")
    city = _build(found, digest, country, say)
    try:
        built.parent.mkdir(parents=True, exist_ok=True)
        city.save(built)
    except OSError as error:
        say(f"the map is not kept: {folder} cannot be written ({error.strerror})")
    return city


def _build(found: Found, digest: str, country: str, say: Say) -> CityMap:
    recipe, path = found.recipe, found.path
    say(f"reading {path.name}")
    counts: dict[str, Any] = {}
    if path.name.endswith(".graphml"):
        raw, country = Raw(), country or recipe.country
        draft = read_graphml(path, country=country)
    else:
        raw = read_osm(path)
        country = country or recipe.country or votes(raw.country_votes)
        say("cutting ways into links")
        try:
            draft, counts = cut(raw, country)
        except MapError as error:
            raise MapError(f"{path}: {error}") from None
    draft, approach, cleaned = clean(draft, recipe, country, say)
    try:
        network = draft.finish()
    except MapError as error:
        raise MapError(f"{path}: {error}") from None
    origin = {"lon0": draft.lon0, "lat0": draft.lat0}
    say("placing homes, workplaces and shops")
    places = find_places(raw, network, **origin)
    chargers = find_chargers(raw, network, country, **origin)
    cell_x, cell_y = find_cells(network, places)
    quality = quality_table(network, places, chargers, len(cell_x), approach, {**counts, **cleaned})
    quality["country_known"] = bool(country)
    return CityMap(
        network=network,
        place_kind=places.kind,
        place_x=places.x,
        place_y=places.y,
        place_node=places.node,
        place_weight=places.weight,
        charger_osm=chargers.osm,
        charger_x=chargers.x,
        charger_y=chargers.y,
        charger_node=chargers.node,
        charger_public=chargers.public,
        charger_fee=chargers.fee,
        socket_charger=chargers.socket_charger,
        socket_kind=chargers.socket_kind,
        socket_count=chargers.socket_count,
        socket_kw=chargers.socket_kw,
        socket_assumed=chargers.socket_assumed,
        cell_x=cell_x,
        cell_y=cell_y,
        gate_node=approach.gate_node,
        outside_node=approach.outside_node,
        outside_gate=approach.outside_gate,
        outside_km=approach.outside_km,
        meta={
            "name": recipe.name,
            "title": recipe.title,
            "source": path.name,
            "source_sha256": digest,
            "country": country,
            "timezone": recipe.timezone or _clock(country, draft.lon0),
            "left_hand": left_hand(country),
            **origin,
            "attribution": ATTRIBUTION,
            "quality": quality,
            "charger_names": chargers.names,
            "charger_operators": chargers.operators,
            "charger_open": chargers.open,
            "charger_prices": chargers.prices,
        },
    )


def clean(draft: Draft, recipe: Recipe, country: str, say: Say) -> tuple[Draft, Approaches, dict[str, Any]]:
    """Join a raw draft to its approach roads and clean it; the counts of what was done.

    `kept_share` is the largest strong component of the extract alone, as a share of its
    nodes; `kept_share_joined` counts what the approach roads connect besides.
    """
    say("joining approach roads")
    nodes = draft.n_nodes
    alone = strong_component(draft)
    counts: dict[str, Any] = {
        "kept_share": round(float(alone.mean()), 4),
        "kept_share_links": round(float((alone[draft.link_from] & alone[draft.link_to]).mean()), 4),
        "links_before": draft.n_links,
        "nodes_before": nodes,
    }
    speeds = default_kmh(country, urban=False)
    grown, approach = attach(
        draft,
        find_gates(draft, most=recipe.gates),
        speeds_mps=[speeds[CLASS[name]] / 3.6 for name in recipe.classes],
        rings_km=recipe.rings_km,
        classes=recipe.classes,
    )
    main = strong_component(grown)
    counts["kept_share_joined"] = round(float(main[:nodes].mean()), 4)
    # cleaning renumbers nodes; those outside are found again by their ids
    outside_osm, first_osm = grown.node_osm[approach.outside_node], grown.node_osm[approach.first_node]
    all_osm = grown.node_osm[draft.n_nodes :]
    grown = place_controls(keep_nodes(grown, main))
    say("simplifying and merging short links")
    grown = simplify(grown)
    grown, counts["short_links_merged"] = merge_short(grown)
    again = simplify(grown)
    # joining can bring ends of a merged junction together once more
    grown, more = merge_short(again)
    counts["short_links_merged"] += more
    grown, counts["restrictions_lifted"] = free_traps(grown)
    outside, first = _rows_of(grown, outside_osm), _rows_of(grown, first_osm)
    before = np.flatnonzero((grown.link_flags & OUTSIDE) != 0)
    outer = np.zeros(grown.n_nodes, bool)
    outer[_rows_of(grown, all_osm)] = True
    gate = {int(grown.link_to[k]): int(grown.link_from[k]) for k in before if not outer[grown.link_from[k]]}
    found = Approaches(
        gate_node=np.array([gate[int(node)] for node in first], np.int32),
        first_node=first.astype(np.int32),
        outside_node=outside.astype(np.int32),
        outside_gate=approach.outside_gate,
        outside_km=approach.outside_km,
    )
    return grown, found, counts


def _rows_of(draft: Draft, osm: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the nodes with these ids; all must exist."""
    order = np.argsort(draft.node_osm, kind="stable")
    return order[np.searchsorted(draft.node_osm[order], osm)]


@lru_cache(maxsize=1)
def _rules_hash() -> str:
    """Hash of this package's code, recipes excepted, and of its rule tables: a change of either makes maps anew."""
    digest = hashlib.sha256()
    for path in sorted([*Path(__file__).parent.glob("*.py"), *RULES.glob("*.toml")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _clock(country: str, lon: float) -> str:
    """Time zone of a map without a recipe: the capital's, else the nautical zone of its longitude."""
    named = rules("countries")["timezone"].get(country)
    if named:
        return str(named)
    hours = round(lon / 15)
    return f"Etc/GMT{-hours:+d}" if hours else "Etc/UTC"
