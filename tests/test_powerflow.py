"""Power flow: the closed form of two buses, pandapower's own results, exports read by other programs, bad input.

Needs the extra `grid`; OpenDSSDirect.py and pypsa are used where they are installed.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from runs.folder import ResultsFolder
from runs.powerflow.networks import NETWORKS, NoPowerFlow, load_network
from runs.powerflow.place import Placed, households_of, place
from runs.powerflow.series import solve, with_charging
from twin.grid.base_load import GridError


@pytest.fixture(scope="module")
def pp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("pandapower", reason="needs the extra grid")
        pytest.importorskip("pandapower.networks")
    return found


@pytest.fixture(autouse=True)
def _strangers_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas inside pandapower and pypsa
        logging.getLogger("pypsa").setLevel(logging.ERROR)
        yield


def placed_on(net, *, steps=4, base_kw=1.0, car_kw=3.0):
    """The same household on each load, cars on more of them from step to step."""
    loads = len(net.load)
    base = np.full((steps, loads), base_kw)
    cars = car_kw * (np.arange(loads)[None, :] % steps < np.arange(steps)[:, None])
    ones = np.ones(loads, np.int64)
    return Placed(np.arange(steps) * 900.0, base, 0.3 * base, cars, ones, ones, True, 0.0)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandapower", None)
    with pytest.raises(NoPowerFlow, match=r"pip install 'fleet-twin\[grid\]'") as found:
        load_network("cigre-mv")
    assert "\n" not in str(found.value)


def test_a_load_of_a_street_has_many_households():
    assert households_of(np.array([0.5, 14.9, 15.0, 285.0])).tolist() == [1, 1, 10, 190]


def two_buses(pp, *, km):
    net = pp.create_empty_network()
    a, b = pp.create_bus(net, 0.4), pp.create_bus(net, 0.4)
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, km, r_ohm_per_km=0.4, x_ohm_per_km=0.1, c_nf_per_km=0, max_i_ka=0.2)
    pp.create_load(net, b, p_mw=0.005)
    return net


def test_two_buses_closed_form(pp):
    """V2^4 + (2(RP + XQ) - V1^2) V2^2 + (R^2 + X^2)(P^2 + Q^2) = 0, all in volts, ohms and watts."""
    net = two_buses(pp, km=0.5)
    ready, placed = with_charging(net), placed_on(net, steps=3, base_kw=20.0, car_kw=11.0)
    found = solve(ready, placed)
    for step in range(3):
        p, q = 1000 * (20.0 + placed.charging_kw[step, 0]), 1000 * 6.0
        r, x, v1 = 0.2, 0.05, 400.0
        half = (v1**2 - 2 * (r * p + x * q)) / 2
        v2 = math.sqrt(half + math.sqrt(half**2 - (r**2 + x**2) * (p**2 + q**2)))
        assert found.vm_pu[step, 1] == pytest.approx(v2 / 400, abs=1e-9)
        ampere = math.hypot(p, q) / (math.sqrt(3) * v2)
        assert found.line_percent[step, 0] == pytest.approx(100 * ampere / 200, rel=1e-6)
        assert found.loss_kw[step] == pytest.approx(3 * r * ampere**2 / 1000, rel=1e-6)
    assert found.vm_pu[2, 1] < found.vm_pu[0, 1]  # the car is there from step 1 on
    assert solve(ready, placed, charging=False).vm_pu[2, 1] == pytest.approx(found.vm_pu[0, 1], abs=1e-9)


def test_steps_that_do_not_converge_are_counted(pp):
    net = two_buses(pp, km=2.0)
    placed = placed_on(net, steps=4, base_kw=5.0)
    placed.charging_kw[:] = np.array([[0.0], [10.0], [400.0], [10.0]])
    found = solve(with_charging(net), placed)
    assert found.converged.tolist() == [True, True, False, True]
    assert np.isnan(found.vm_pu[2]).all() and np.isnan(found.loss_kw[2])
    assert found.vm_pu[3] == pytest.approx(found.vm_pu[1], abs=1e-8)
    placed.charging_kw[:] = 400.0
    with pytest.raises(GridError, match="converges in no step"):
        solve(with_charging(net), placed)


@pytest.mark.parametrize("name", ["kerber-landnetz-kabel-1", "cigre-mv"])
def test_steps_are_those_of_pandapower(pp, name):
    """Warm starts and kept matrices change nothing: the last step against a fresh solve of the plain net."""
    net = load_network(name)
    placed = placed_on(net, base_kw=300.0 if name == "cigre-mv" else 2.0)
    found = solve(with_charging(net), placed)
    net.load["p_mw"] = (placed.base_kw + placed.charging_kw)[-1] / 1000
    net.load["q_mvar"], net.load["scaling"] = placed.base_kvar[-1] / 1000, 1.0
    pp.runpp(net, numba=False)
    assert found.vm_pu[-1] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-7)
    assert found.line_percent[-1] == pytest.approx(net.res_line.loading_percent.to_numpy(), abs=1e-4)
    assert found.trafo_percent[-1] == pytest.approx(net.res_trafo.loading_percent.to_numpy(), abs=1e-4)


def test_unknown_network_names_the_nearest(pp):
    assert len(NETWORKS) == 9
    with pytest.raises(GridError, match=r"no such network; did you mean \"kerber-dorfnetz\"\? \(valid: cigre-mv"):
        load_network("kerber-dorfnets")


# ------------------------------------------------------------------ exports


def written(pp, tmp_path, name):
    from runs.powerflow.export import exports

    net = load_network(name)
    ready, placed = with_charging(net), placed_on(net, base_kw=200.0 if name == "cigre-mv" else 1.0)
    found = solve(ready, placed)
    for file, text in exports(ready, placed, start="2022-10-12T18:00:00").items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    return ready, placed, found


NETS = [("kerber-landnetz-kabel-1", 3e-5), ("cigre-mv", 1e-5)]  # CIGRE MV has three lines open at one end


@pytest.mark.parametrize(("name", "apart"), NETS)
def test_pandapower_reads_its_own(pp, tmp_path, name, apart):
    _, placed, found = written(pp, tmp_path, name)
    net = pp.from_json(str(tmp_path / "pandapower/network.json"))
    p = np.loadtxt(tmp_path / "pandapower/load_p_mw.csv", delimiter=",", skiprows=1)
    assert p.shape == (4, 1 + len(net.load)) and p[:, 0].tolist() == placed.time_s.tolist()
    assert p[:, 1:].sum() * 1000 == pytest.approx((placed.base_kw + placed.charging_kw).sum())
    pp.runpp(net, numba=False)
    assert found.vm_pu[-1] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-7)  # most cars are in the last step


@pytest.mark.parametrize(("name", "apart"), NETS)
def test_opendss_finds_the_same_voltages(pp, tmp_path, name, apart):
    from runs.powerflow.export import fused

    ready, placed, found = written(pp, tmp_path, name)
    text = (tmp_path / "opendss/master.dss").read_text()
    assert text.count("New Load.") == text.count("New LoadShape.") == 2 * len(placed.households)
    assert "number=4" in text and "stepsize=15m" in text
    dss = pytest.importorskip("opendssdirect", reason="OpenDSSDirect.py is not installed")
    here = Path.cwd()
    dss.Text.Command(f"compile {tmp_path}/opendss/master.dss")
    import os

    os.chdir(here)
    assert dss.Solution.Converged()
    row = {int(b): i for i, b in enumerate(ready.bus.index)}
    names = dss.Circuit.AllBusNames()
    buses = [name for name in names if "_" not in name]  # the others are ends of lines that hang in the air
    assert {int(n[1:]) for n in buses} <= set(fused(ready).values()) and len(buses) > 10
    assert len(names) - len(buses) == (3 if name == "cigre-mv" else 0)
    for bus in buses:
        dss.Circuit.SetActiveBus(bus)
        assert dss.Bus.puVmagAngle()[0] == pytest.approx(found.vm_pu[-1, row[int(bus[1:])]], abs=apart)


@pytest.mark.parametrize(("name", "apart"), NETS)
def test_pypsa_finds_the_same_voltages(pp, tmp_path, name, apart):
    ready, placed, found = written(pp, tmp_path, name)
    head, *rows = (tmp_path / "pypsa/loads-p_set.csv").read_text().splitlines()
    assert len(head.split(",")) == 1 + 2 * len(placed.households) and rows[1].startswith("2022-10-12 18:15:00,")
    pypsa = pytest.importorskip("pypsa", reason="pypsa is not installed")
    net = pypsa.Network()
    net.import_from_csv_folder(str(tmp_path / "pypsa"))
    assert net.pf().converged.all().all()
    row = {int(b): i for i, b in enumerate(ready.bus.index)}
    assert len(net.buses) > 10
    for bus, series in net.buses_t.v_mag_pu.filter(regex="^b[0-9]+$").items():
        assert series.to_numpy() == pytest.approx(found.vm_pu[:, row[int(bus[1:])]], abs=apart)


def test_what_cannot_be_exported_is_named(pp):
    from runs.powerflow.export import exports

    net = two_buses(pp, km=0.1)
    pp.create_gen(net, 1, p_mw=0.01)
    with pytest.raises(GridError, match="1 of gen, which are not exported"):
        exports(with_charging(net), placed_on(net), start="2022-10-12T00:00:00")


# ------------------------------------------------------------------ a run on a network


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    from runs import run
    from runs.scenario import Scenario

    scenario = Scenario.load("demo").but(
        fleet__cars=120,
        fleet__bev=1.0,
        fleet__epower=0.0,
        until="4h",
        start="2022-10-12T17:00:00",
        charging__home_access=1.0,
    )
    return run(scenario, out=tmp_path_factory.mktemp("grid") / "run", checkpoint_s=None)


def test_grid_tables_add_up(a_run):
    """Energy is the same on every level; peaks do not grow with the level; figures are those of the series."""
    peaks = a_run.table("grid_peaks").to_pandas()
    load = a_run.table("grid_load").to_pandas()
    kwh = load.power_kw.sum() / 4
    assert kwh > 10
    for level in ("site", "feeder", "city"):
        assert peaks.energy_kwh[peaks.level == level].sum() == pytest.approx(kwh)
    city = peaks[peaks.level == "city"].iloc[0]
    assert city.peak_kw == pytest.approx(a_run.summary["grid"]["peak_kw"])
    assert city.peak_kw <= peaks.peak_kw[peaks.level == "feeder"].sum()
    by_feeder = load.groupby(["feeder_id", "time_s"]).power_kw.sum().groupby("feeder_id").max()
    feeders = peaks[peaks.level == "feeder"].set_index("id")
    assert feeders.peak_kw[by_feeder.index].to_numpy() == pytest.approx(by_feeder.to_numpy())
    assert (peaks.coincidence.dropna() <= 1 + 1e-9).all() and city.coincidence < 1
    base = a_run.table("base_load").to_pandas()
    assert city.base_peak_kw == pytest.approx((base.kw_per_household * base.households).max())
    assert (feeders.total_peak_kw <= feeders.peak_kw + feeders.base_peak_kw + 1e-9).all()
    admd = a_run.table("grid_admd").to_pandas()
    assert admd.n.tolist() == [1, 2, 5, 10, 20, 50, 100] and (admd.low_kw <= admd.admd_kw).all()
    assert admd.admd_kw.iloc[-1] < admd.admd_kw.iloc[0]
    assert a_run.table("grid_hosting").num_rows == 21
    of_feeders = a_run.table("grid_feeders").to_pandas()
    summed = of_feeders.groupby("feeder_id").charging_kw.max()
    assert summed.to_numpy() == pytest.approx(feeders.peak_kw[summed.index].to_numpy())
    assert (of_feeders.low_kw <= of_feeders.high_kw).all() and of_feeders.groupby("feeder_id").size().nunique() == 1
    inside = (of_feeders.charging_kw >= of_feeders.low_kw - 1e-9) & (
        of_feeders.charging_kw <= of_feeders.high_kw + 1e-9
    )
    assert inside.mean() > 0.8


def test_a_run_is_placed_whole(pp, a_run):
    """Medium voltage takes all of the run's charging; low voltage what the neighbourhood has, the rest is said."""
    total = a_run.table("grid_load").to_pandas().power_kw.sum() / 4
    mv = place(load_network("cigre-mv"), a_run)
    assert mv.charging_kw.sum() / 4 == pytest.approx(total) and abs(mv.left_kwh) < 1e-6
    assert mv.households.sum() == a_run.table("grid_peaks").to_pandas().query("level == 'city'").households.iloc[0]
    native = load_network("cigre-mv").load.p_mw.to_numpy() * 1000
    assert mv.base_kw.max(axis=0) == pytest.approx(native)
    lv = place(load_network("kerber-dorfnetz"), a_run, scale=2.0)
    assert 0 < lv.charging_kw.sum() / 8 + lv.left_kwh == pytest.approx(total)
    assert set(lv.households.tolist()) == {1} and lv.cars.sum() > 0


def test_the_command_writes_a_folder(pp, a_run, tmp_path, capsys):
    from runs.cli import main
    from runs.results import RunResult

    out = tmp_path / "pf"
    assert main(["powerflow", str(a_run.path), "--network", "kerber-landnetz-kabel-1", "--out", str(out), "-q"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    found = RunResult(out)
    assert found.verify() == [] and found.tables == ["loading", "placement", "voltage"]
    voltage = found.table("voltage").to_pandas()
    assert len(voltage) == 16 * 18 and voltage.vm_pu.min() < voltage.vm_base_pu.min() <= 1.0
    assert (out / "opendss/master.dss").is_file() and (out / "pypsa/buses.csv").is_file()
    assert main(["powerflow", str(a_run.path), "--network", "kerbar"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_a_folder_without_grid_tables_is_refused(pp, tmp_path):
    with ResultsFolder(tmp_path / "x", {"kind": "fleet"}) as folder:
        path = folder.publish({"status": "done"})
    from runs.results import RunResult

    with pytest.raises(GridError, match="no table 'base_load'"):
        place(load_network("kerber-dorfnetz"), RunResult(path))
