"""Versions below which a package has a known hole: what `constraints.txt` installs lies above, or the reason is here.

`make audit` runs this. The list is read from the advisories themselves; a new one is a new line.
"""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FIXED_IN = {
    "bokeh": ("3.8.2", "CVE-2026-21883, WebSocket origins matched by prefix"),
    "dask": ("2026.1.0", "CVE-2026-23528, script in the dashboard"),
    "distributed": ("2026.1.0", "CVE-2026-23528, script in the dashboard; CVE-2021-42343, workers on all interfaces"),
    "duckdb": ("0.9.3", "CVE-2024-22682"),
    "geopandas": ("1.1.2", "CVE-2025-69662, SQL injection in to_postgis"),
    "joblib": ("1.2.0", "CVE-2022-21797"),
    "pyarrow": ("14.0.1", "CVE-2023-47248, code run by reading a file"),
    "pyyaml": ("5.4", "unsafe load"),
    "solara": ("1.57.2", "CVE-2024-39903, CVE-2026-24008, files outside the app"),
    "starlette": ("1.3.1", "CVE-2026-48710, CVE-2026-54283"),
    "tornado": ("6.5.5", "CVE-2025-67725, CVE-2026-31958"),
}
NOT_YET = {
    "starlette": "solara 1.58 does not run with starlette 1; the page listens on loopback and checks Host and Origin "
    "itself (tests/test_ui_server.py), and has no form",
}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([a-z0-9-]+)==([0-9a-z.+]+)", line) for line in lines]
    return {one[1]: Version(one[2]) for one in found if one}


def below(installed: dict[str, Version]) -> set[str]:
    return {name for name, (floor, _) in FIXED_IN.items() if name in installed and installed[name] < Version(floor)}


def test_no_pin_has_a_known_hole_but_those_that_are_explained() -> None:
    assert below(pins()) == set(NOT_YET) & set(pins()), "a pin is below a fix, or an excuse is no longer needed"


def test_the_check_sees_an_old_version() -> None:
    assert below({"pyarrow": Version("14.0.0"), "tornado": Version("6.5.5"), "numpy": Version("1.0")}) == {"pyarrow"}


def test_what_has_holes_is_pinned_where_it_comes_along() -> None:
    """A package with a line above that some extra asks for has a pin to be checked."""
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].values()
    asked = {Requirement(text).name.lower() for group in extras for text in group}
    assert asked & set(FIXED_IN) <= set(pins())
