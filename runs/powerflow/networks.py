"""Networks that a run's charging can be put on: CIGRE and Kerber from pandapower, SimBench grids."""

from __future__ import annotations

import difflib
from typing import Any

from twin.grid.base_load import GridError

NETWORKS = {
    "cigre-mv": "create_cigre_network_mv",
    "cigre-lv": "create_cigre_network_lv",
    "kerber-landnetz-freileitung-1": "create_kerber_landnetz_freileitung_1",
    "kerber-landnetz-freileitung-2": "create_kerber_landnetz_freileitung_2",
    "kerber-landnetz-kabel-1": "create_kerber_landnetz_kabel_1",
    "kerber-landnetz-kabel-2": "create_kerber_landnetz_kabel_2",
    "kerber-dorfnetz": "create_kerber_dorfnetz",
    "kerber-vorstadtnetz-kabel-1": "create_kerber_vorstadtnetz_kabel_1",
    "kerber-vorstadtnetz-kabel-2": "create_kerber_vorstadtnetz_kabel_2",
}
"""Name and function of `pandapower.networks`; any SimBench code is valid as well."""
EXTRA = "power flow needs pandapower and simbench: pip install 'fleet-twin[grid]'"


class NoPowerFlow(GridError):  # noqa: N818 - says what it is
    """The extra is not installed."""


def pandapower() -> Any:
    """The package.

    Raises
    ------
    NoPowerFlow
        When it is not installed.
    """
    try:
        import pandapower as pp
        import pandapower.networks  # its functions are looked up by name
    except ImportError as error:
        raise NoPowerFlow(f"{EXTRA} ({error})") from None
    return pp


def load_network(name: str) -> Any:
    """A pandapower net by name.

    Raises
    ------
    GridError
        When there is no network of this name; the message says which is near.
    """
    pp = pandapower()
    if name in NETWORKS:
        return getattr(pp.networks, NETWORKS[name])()
    codes = _simbench_codes()
    if name in codes:
        import simbench

        return simbench.get_simbench_net(name)
    near = difflib.get_close_matches(name, [*NETWORKS, *codes], 1, cutoff=0.3)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise GridError(f"--network {name!r}: no such network{hint} (valid: {', '.join(NETWORKS)}, or a SimBench code)")


def _simbench_codes() -> list[str]:
    try:
        import simbench
    except ImportError:
        return []
    return [str(code) for code in simbench.collect_all_simbench_codes()]
