"""A network with its series for other programs: pandapower JSON, OpenDSS, PyPSA. Texts by file name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runs.powerflow.networks import pandapower
from runs.powerflow.place import Placed
from twin.grid.base_load import GridError

Floats = NDArray[np.float64]
Texts = dict[str, str]


def powers(placed: Placed) -> tuple[Floats, Floats]:
    """KW and kvar of households and then cars, shape (steps, 2 * loads): the order of `with_charging`'s loads."""
    zero = np.zeros_like(placed.charging_kw)
    return np.hstack([placed.base_kw, placed.charging_kw]), np.hstack([placed.base_kvar, zero])


def exports(net: Any, placed: Placed, *, start: str) -> Texts:
    """All three, by file name in the results folder.

    Raises
    ------
    GridError
        When the net has parts that have no counterpart (three-winding transformers, impedances, generators).
    """
    for table in ("trafo3w", "impedance", "ward", "xward", "gen", "dcline"):
        if table in net and len(net[table]):
            raise GridError(f"export: the network has {len(net[table])} of {table}, which are not exported")
    if len(net.ext_grid) != 1:
        raise GridError(f"export: the network has {len(net.ext_grid)} external grids; one is exported")
    return {**to_pandapower(net, placed), **to_opendss(net, placed), **to_pypsa(net, placed, start=start)}


def to_pandapower(net: Any, placed: Placed) -> Texts:
    """`network.json` at the step of highest load, and its series: one column per load, MW and Mvar."""
    pp = pandapower()
    p, q = powers(placed)
    step = int(p.sum(axis=1).argmax())
    net.load["p_mw"], net.load["q_mvar"] = p[step] / 1000, q[step] / 1000
    names = [str(i) for i in net.load.index]
    return {
        "pandapower/network.json": pp.to_json(net),
        "pandapower/load_p_mw.csv": _csv(["time_s", *names], np.column_stack([placed.time_s, p / 1000])),
        "pandapower/load_q_mvar.csv": _csv(["time_s", *names], np.column_stack([placed.time_s, q / 1000])),
    }


def fused(net: Any) -> dict[int, int]:
    """Bus that each bus is one with: closed switches between buses join them."""
    parent = {int(b): int(b) for b in net.bus.index}

    def root(b: int) -> int:
        while parent[b] != b:
            b = parent[b]
        return b

    for s in net.switch.itertuples():
        if s.et == "b" and s.closed:
            low, high = sorted((root(int(s.bus)), root(int(s.element))))
            parent[high] = low
    return {b: root(b) for b in parent}


def _open_trafos(net: Any) -> set[int]:
    """Transformers with an open switch."""
    return {int(s.element) for s in net.switch.itertuples() if s.et == "t" and not s.closed}


class _Line(NamedTuple):
    """A line, the buses its ends hang on, and the name of an end that hangs in the air ("" where there is none)."""

    number: int
    row: Any
    ends: tuple[str, str]
    loose: str


def _lines(net: Any) -> Iterator[_Line]:
    """Lines in service.

    Where the switch at one end is open that end has a bus of its own: the line still charges from the other one.
    """
    bus = fused(net)
    opened = {(int(s.element), int(s.bus)) for s in net.switch.itertuples() if s.et == "l" and not s.closed}
    for row in net.line.itertuples():
        i = int(row.Index)
        ends = int(row.from_bus), int(row.to_bus)
        apart = [(i, end) in opened for end in ends]
        if not row.in_service or all(apart):
            continue
        names = [f"b{bus[end]}_l{i}" if loose else f"b{bus[end]}" for end, loose in zip(ends, apart, strict=True)]
        yield _Line(i, row, (names[0], names[1]), names[apart.index(True)] if any(apart) else "")


def _trafos(net: Any) -> Iterator[tuple[int, Any, float]]:
    """Transformers in service and the turns ratio their tap gives on the high-voltage side."""
    dead = _open_trafos(net)
    for row in net.trafo.itertuples():
        if not row.in_service or int(row.Index) in dead:
            continue
        if row.parallel != 1:
            raise GridError(f"export: transformer {row.Index} stands for {row.parallel} in parallel")
        step = float(row.tap_step_percent) if _known(row.tap_step_percent) else 0.0
        pos = float(row.tap_pos - row.tap_neutral) if _known(row.tap_pos) and _known(row.tap_neutral) else 0.0
        ratio = 1 + step * pos / 100
        yield int(row.Index), row, ratio if row.tap_side != "lv" else 1 / ratio


def _known(value: Any) -> bool:
    return value is not None and not math.isnan(float(value))


# ------------------------------------------------------------------ OpenDSS


def to_opendss(net: Any, placed: Placed) -> Texts:
    """`opendss/master.dss` and one load shape per load, kW and kvar; solves the whole series."""
    bus = fused(net)
    grid, hz = net.ext_grid.iloc[0], float(net.f_hz)
    source_kv = float(net.bus.vn_kv.loc[grid.bus])
    step_min = (placed.time_s[1] - placed.time_s[0]) / 60 if len(placed.time_s) > 1 else 15.0
    source = f"bus1=b{bus[int(grid.bus)]} basekv={source_kv:g} pu={float(grid.vm_pu):.6f} phases=3"
    stiff = "mvasc3=1000000 mvasc1=1000000"
    out = ["Clear", f"Set DefaultBaseFrequency={hz:g}", f"New Circuit.fleet {source} {stiff}"]
    for i, row, ends, _ in _lines(net):
        count = int(row.parallel)
        r, x, c = row.r_ohm_per_km / count, row.x_ohm_per_km / count, row.c_nf_per_km * count
        out.append(
            f"New Line.l{i} bus1={ends[0]} bus2={ends[1]} phases=3 "
            f"length={row.length_km:.9g} units=km r1={r:.9g} x1={x:.9g} c1={c:.9g} r0={r:.9g} x0={x:.9g} c0={c:.9g} "
            f"normamps={1000 * row.max_i_ka * count:.6g}"
        )
    for i, row, ratio in _trafos(net):
        kva = 1000 * row.sn_mva
        reactance = math.sqrt(row.vk_percent**2 - row.vkr_percent**2)
        iron = 100 * row.pfe_kw / kva
        magnetising = math.sqrt(max(row.i0_percent**2 - iron**2, 0.0))
        out.append(
            f"New Transformer.t{i} phases=3 windings=2 buses=(b{bus[int(row.hv_bus)]}, b{bus[int(row.lv_bus)]}) "
            f"conns=(wye, wye) kvs=({row.vn_hv_kv:.9g}, {row.vn_lv_kv:.9g}) kvas=({kva:.9g}, {kva:.9g}) "
            f"xhl={reactance:.9g} %loadloss={row.vkr_percent:.9g} %noloadloss={iron:.9g} %imag={magnetising:.9g} "
            f"taps=({ratio:.9g}, 1) maxtap=1.5 mintap=0.5"
        )
    p, q = powers(placed)
    files: Texts = {}
    for k, (i, row) in enumerate(zip(net.load.index.tolist(), net.load.itertuples(), strict=True)):
        files[f"opendss/load_{i}.csv"] = _csv([], np.column_stack([p[:, k], q[:, k]]))
        top = int(p[:, k].argmax())
        out.append(f"New LoadShape.s{i} npts={len(p)} minterval={step_min:g} useactual=yes pqcsvfile=load_{i}.csv")
        out.append(
            f"New Load.load{i} bus1=b{bus[int(row.bus)]} phases=3 kv={float(net.bus.vn_kv.loc[row.bus]):.9g} "
            f"kw={max(p[top, k], 1e-6):.9g} kvar={q[top, k]:.9g} model=1 vminpu=0.5 vmaxpu=1.5 daily=s{i}"
        )
    bases = ", ".join(f"{kv:g}" for kv in sorted({float(v) for v in net.bus.vn_kv}, reverse=True))
    out += [f"Set VoltageBases=[{bases}]", "CalcVoltageBases",
            f"Set mode=daily stepsize={step_min:g}m number={len(p)}", "Solve"]  # fmt: skip
    return {"opendss/master.dss": "\n".join(out) + "\n", **files}


# ------------------------------------------------------------------ PyPSA


def to_pypsa(net: Any, placed: Placed, *, start: str) -> Texts:
    """Folder `pypsa` for `pypsa.Network().import_from_csv_folder`; powers in MW and Mvar."""
    bus = fused(net)
    grid, hz = net.ext_grid.iloc[0], float(net.f_hz)
    files: Texts = {"pypsa/network.csv": "name,pypsa_version\nfleet,0.30.0\n"}
    kept = sorted(set(bus.values()))
    control = {b: float(grid.vm_pu) if b == bus[int(grid.bus)] else 1.0 for b in kept}
    air = [[line.loose, float(net.bus.vn_kv.loc[line.row.from_bus]), 1.0] for line in _lines(net) if line.loose]
    files["pypsa/buses.csv"] = _rows(
        ["name", "v_nom", "v_mag_pu_set"], [[f"b{b}", float(net.bus.vn_kv.loc[b]), control[b]] for b in kept] + air
    )
    files["pypsa/generators.csv"] = _rows(
        ["name", "bus", "control", "p_nom"], [["grid", f"b{bus[int(grid.bus)]}", "Slack", 1e6]]
    )
    lines = []
    for i, row, ends, _ in _lines(net):
        n, km = int(row.parallel), row.length_km
        charge = 2 * math.pi * hz * row.c_nf_per_km * 1e-9 * km * n
        limit = math.sqrt(3) * row.max_i_ka * n * float(net.bus.vn_kv.loc[row.from_bus])
        lines.append([f"l{i}", *ends, row.r_ohm_per_km * km / n,
                      row.x_ohm_per_km * km / n, charge, limit, km])  # fmt: skip
    files["pypsa/lines.csv"] = _rows(["name", "bus0", "bus1", "r", "x", "b", "s_nom", "length"], lines)
    trafos = []
    for i, row, ratio in _trafos(net):
        r, z = row.vkr_percent / 100, row.vk_percent / 100
        iron = row.pfe_kw / 1000 / row.sn_mva
        magnetising = -math.sqrt(max((row.i0_percent / 100) ** 2 - iron**2, 0.0))
        # PyPSA's per unit is of the buses' nominal voltages, pandapower's of the transformer's own
        low = (row.vn_lv_kv / float(net.bus.vn_kv.loc[row.lv_bus])) ** 2
        tap = ratio * row.vn_hv_kv / float(net.bus.vn_kv.loc[row.hv_bus]) / math.sqrt(low)
        trafos.append([f"t{i}", f"b{bus[int(row.hv_bus)]}", f"b{bus[int(row.lv_bus)]}", "t", r * low,
                       math.sqrt(z * z - r * r) * low, iron / low, magnetising / low, row.sn_mva, tap])  # fmt: skip
    files["pypsa/transformers.csv"] = _rows(
        ["name", "bus0", "bus1", "model", "r", "x", "g", "b", "s_nom", "tap_ratio"], trafos
    )
    names = [f"load{i}" for i in net.load.index.tolist()]
    files["pypsa/loads.csv"] = _rows(
        ["name", "bus"], [[n, f"b{bus[int(b)]}"] for n, b in zip(names, net.load.bus.tolist(), strict=True)]
    )
    times = np.datetime64(start, "s") + placed.time_s.astype("timedelta64[s]")
    stamps = [str(t).replace("T", " ") for t in times]
    files["pypsa/snapshots.csv"] = _rows(["snapshot", "objective"], [[t, 1.0] for t in stamps])
    for name, values in zip(("p_set", "q_set"), powers(placed), strict=True):
        rows = [[t, *row] for t, row in zip(stamps, (values / 1000).tolist(), strict=True)]
        files[f"pypsa/loads-{name}.csv"] = _rows(["snapshot", *names], rows)
    return files


def _csv(head: list[str], values: Floats) -> str:
    lines = [",".join(head)] if head else []
    return "\n".join([*lines, *(",".join(f"{v:.9g}" for v in row) for row in values.tolist())]) + "\n"


def _rows(head: list[str], rows: list[list[Any]]) -> str:
    cells = ([f"{v:.9g}" if isinstance(v, float) else str(v) for v in row] for row in rows)
    return "\n".join([",".join(head), *(",".join(row) for row in cells)]) + "\n"
