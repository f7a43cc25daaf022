"""Catalogue and facts: what is read, and what a wrong file says."""

import copy
import json

import numpy as np
import pytest

from maps.network import SOCKET_KINDS
from twin import facts
from twin.fleet.catalogue import HVAC_PROFILES, Catalogue, CatalogueError, Param
from twin.fleet.fleet import Kind


def toml(value):
    """Enough TOML for models: tables, lists, texts, numbers, booleans."""
    lines = []
    for model in value["vehicle"]:
        lines.append("[[vehicle]]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in model.items() if not isinstance(v, dict)]
        for name, table in model.items():
            if isinstance(table, dict):
                lines.append(f"[vehicle.{name}]")
                lines += [f"{k} = {json.dumps(v)}" for k, v in table.items()]
    for name, table in value.get("charge_curve", {}).items():
        lines.append(f"[charge_curve.{name}]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in table.items()]
    return "\n".join(lines) + "\n"


def own_car(**changes):
    model = copy.deepcopy(next(m for m in facts.load("vehicles")["vehicle"] if m["id"] == "leaf_ze1_40"))
    model["id"] = "my_car"
    for path, value in changes.items():
        *tables, field = path.split("__")
        where = model
        for table in tables:
            where = where[table]
        if value is None:
            del where[field]
        else:
            where[field] = value
    return {"vehicle": [model]}


def write(folder, content):
    path = folder / "own.toml"
    path.write_text(content if isinstance(content, str) else toml(content))
    return path


def test_every_model_of_the_facts_is_a_row():
    models = Catalogue.load()
    vehicles = facts.load("vehicles")["vehicle"]
    assert list(models.ids) == [v["id"] for v in vehicles]
    assert models.matrix.shape == (len(vehicles), len(Param))
    assert np.isfinite(models.matrix).all()
    for row, v in enumerate(vehicles):
        assert models.matrix[row, [Param.A, Param.B, Param.C]].tolist() == v["road_load"]["abc"]
        usable = v.get("battery", {}).get("usable_kwh", 0.0) if v["powertrain"] in {"bev", "series_hybrid"} else 0.0
        assert models.matrix[row, Param.CAPACITY] == round(3.6e6 * usable)
    assert np.bincount(models.kinds).tolist() == [15, 11, 20]


def test_the_inlet_follows_the_market():
    ariya = "ariya_87_2wd"
    for market, socket in (("japan", "chademo"), ("europe", "ccs"), ("us", "ccs")):
        models = Catalogue.load(market=market)
        assert SOCKET_KINDS[models.dc_socket[models.row(ariya)]] == socket
        assert SOCKET_KINDS[models.dc_socket[models.row("leaf_ze1_40")]] == "chademo"
    assert models.dc_socket[models.row("sylphy_ze_38")] == -1  # GB/T, no such site on the maps


def test_charge_curves_meet_the_times_of_the_facts():
    """vehicles.charge_curve_checks: minutes from the curves, recomputed at 1 % steps."""
    models = Catalogue.load()
    checks = facts.load("vehicles")["charge_curve_checks"]

    def minutes(name, low, high, post_kw=1e9):
        row = models.row(name)
        kw = np.minimum(models.curve_kw[row], post_kw)
        mid = 0.5 * (kw[low:high] + kw[low + 1 : high + 1])
        return float((models.matrix[row, Param.CAPACITY] / 3.6e6 / 100 / mid).sum() * 60)

    assert minutes("leaf_ze1_40", 0, 80) == pytest.approx(checks["leaf40_0_80_min"], rel=0.08)
    assert minutes("leaf_ze1_62", 10, 80, 100) == pytest.approx(checks["leaf62_10_80_min_100kw_post"], rel=0.08)
    assert minutes("sakura_20", 0, 80) == pytest.approx(checks["sakura_0_80_min"], rel=0.08)
    assert minutes("ariya_87_2wd", 10, 80) == pytest.approx(checks["ariya87_10_80_min"], rel=0.08)


def test_a_users_model_is_added_and_replaces(tmp_path):
    plain = Catalogue.load()
    more = Catalogue.load(write(tmp_path, own_car(battery__usable_kwh=36.0)))
    assert len(more) == len(plain) + 1
    assert more["my_car"]["CAPACITY"] == 36.0 * 3.6e6
    assert (more.matrix[:-1] == plain.matrix).all()
    changed = own_car(battery__usable_kwh=30.0)
    changed["vehicle"][0]["id"] = "sakura_20"
    same = Catalogue.load(write(tmp_path, changed))
    assert len(same) == len(plain)
    assert same["sakura_20"]["CAPACITY"] == 30.0 * 3.6e6


def test_road_load_is_derived_where_it_is_missing(tmp_path):
    content = own_car(road_load=None)
    content["vehicle"][0]["body"] |= {"effective_cda_m2": 0.8, "effective_crr": 0.01, "test_mass_kg": 1500}
    car = Catalogue.load(write(tmp_path, content))["my_car"]
    assert car["A"] == pytest.approx(0.01 * 1500 * 9.81)
    assert car["C"] == pytest.approx(0.5 * 1.2 * 0.8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (own_car(battery__usable_kwh=None), ["my_car", "battery.usable_kwh is missing", "charging: ac_kw"]),
        (own_car(battery__usable_kwg=3.0), ["unknown field 'usable_kwg'", "did you mean 'usable_kwh'"]),
        (own_car(battery__usable_kwh=-1.0), ["battery.usable_kwh is -1.0", "0.1 to 300"]),
        (own_car(battery__usable_kwh=41.0), ["usable_kwh is above battery.gross_kwh"]),
        (own_car(powertrain="fuel cell"), ["powertrain is 'fuel cell'", "series_hybrid"]),
        (own_car(launch="2018"), ["'2018' is not a month"]),
        (own_car(end="2010-01"), ["end 2010-01 is not after launch 2017-10"]),
        (own_car(regions="JP"), ["regions must be a list"]),
        (own_car(aux__hvac_profile="fire"), ["hvac_profile is 'fire'", *HVAC_PROFILES]),
        (own_car(adas__level="5"), ["adas.level is '5'", "propilot_2.0"]),
        (own_car(charging__curve="none"), ["charging.curve is 'none'", "chademo_leaf40"]),
        (own_car(charging__curve=None), ["charging.curve is None", "chademo_leaf40"]),
        (own_car(charging__dc_standard=3), ["dc_standard must be a text"]),
        (own_car(road_load__abc=[1.0, 2.0]), ["three numbers"]),
        (own_car(road_load__abc=[1.0, -20.0, 0.1]), ["no resistance"]),
        (own_car(connectivity__network="5 tins and a string"), ["names no network", "none, 2G, 3G, 4G"]),
        (own_car(connectivity__firmware_ota="yes"), ["firmware_ota must be true or false"]),
        ("[[vehicle]]\nid = 7\n", ["vehicle 1", "id 7"]),
        ("vehicle = 3\n", ["no [[vehicle]]"]),
        ("[vehicles]\n", ["unknown table 'vehicles'", "did you mean 'vehicle'"]),
        ("[[vehicle\n", ["not TOML"]),
    ],
)
def test_a_wrong_file_is_one_line_with_what_is_valid(tmp_path, content, words):
    with pytest.raises(CatalogueError) as error:
        Catalogue.load(write(tmp_path, content))
    message = str(error.value)
    assert "\n" not in message
    assert "own.toml" in message
    for word in words:
        assert word in message


def test_a_missing_file_and_a_falling_curve_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match=r"nowhere\.toml: cannot be read"):
        Catalogue.load(tmp_path / "nowhere.toml")
    content = own_car(charging__curve="mine") | {"charge_curve": {"mine": {"points": [[0, 40], [50, 0], [100, 5]]}}}
    with pytest.raises(CatalogueError, match="power above 0"):
        Catalogue.load(write(tmp_path, content))
    with pytest.raises(CatalogueError, match="no model 'leef'"):
        Catalogue.load().row("leef")


def test_combustion_lines_meet_both_test_cycles():
    """The Willans line must give back the two efficiencies it was made from."""
    models = Catalogue.load()
    cycles = facts.load("energy")["cycle"]
    p = models["rogue_t33_15vct"]
    for name, eff in (("udds", 0.246), ("hwfet", 0.332)):
        k = cycles[name]
        wheel = p["A"] * k["share"] + p["B"] * k["speed_mps"] + p["C"] * k["speed2_m2_s2"] + p["MASS"] * k["gain_m_s2"]
        fuel = wheel * p["FUEL_PER_WHEEL"] + p["FUEL_IDLE"] / k["mean_mps"]
        assert wheel / fuel == pytest.approx(eff, rel=1e-9)
    burning = (models.kinds == Kind.COMBUSTION) & (np.array(models.powertrains) == "ice")
    idle_l_per_h = models.matrix[burning, Param.FUEL_IDLE] * 3600 / models.matrix[burning, Param.LHV]
    assert ((idle_l_per_h > 0.3) & (idle_l_per_h < 2.0)).all()


def test_facts_carry_source_and_confidence():
    assert facts.fact("vehicles.physics.bev.eta_drive").confidence == "derived"
    assert facts.fact("connectivity.old_cars.us_3g_end").confidence == "recalled"
    with pytest.raises(facts.FactError, match="holds eta_drive"):
        facts.fact("vehicles.physics.bev.speed")
    with pytest.raises(facts.FactError, match="there are adoption"):
        facts.load("nothing")
    facts.load("vehicles")["physics"].clear()
    assert facts.load("vehicles")["physics"]  # a caller's changes are its own


def test_every_group_of_derived_facts_names_known_sources():
    known = set(facts.load("sources")["source"])

    def groups(value):
        if isinstance(value, dict):
            yield value
            value = list(value.values())
        if isinstance(value, list):
            for part in value:
                yield from groups(part)

    for name in ("energy", "population"):
        marked = [g for g in groups(facts.load(name)) if "source" in g]
        assert len(marked) > 3
        for group in marked:
            assert set(group["source"].split("+")) <= known, group
            assert group["confidence"] in facts.CONFIDENCE, group
