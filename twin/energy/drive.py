"""Energy of the fleet's driving: what leaves batteries and tanks for the links that cars leave.

A link's energy follows from a speed profile that fits the link and the traffic: how
fast the car goes between stops, how much speed it gains again and again, how much of
that it brakes away. The profile depends on the ratio of mean to free speed and was
fitted to real 1 Hz traces (`facts/energy.toml` [link_profile]).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maps.network import GIVE_WAY, STOP, TOLL_BOOTH, RoadNetwork
from twin.energy import kernels
from twin.energy.climate import cabin_w, hourly_c, out_of_reach, road_weather
from twin.energy.powertrain import engine_control, on_the_road
from twin.facts import load
from twin.fleet.catalogue import Catalogue, Param
from twin.fleet.fleet import Fleet, Kind
from twin.settings import ClimateSettings
from twin.traffic.traversals import Traversals

# declared twice because kernels import nothing of ours
assert tuple(Kind) == (kernels.ELECTRIC, kernels.EPOWER, kernels.COMBUSTION)

MOST_EMPTY = 4
"""Times that one car may run empty in one call: once, and once more for each hour that begins in it and warms it up."""
GRAVITY = 9.81
"""Standard gravity, m/s2."""
PLANNED_PACE = 0.75
"""Mean speed over free speed that `Drive.predict_j` supposes where only length and time are known."""


def link_profile() -> NDArray[np.float64]:
    """Constants of the link model in the kernels' order (fact energy.link_profile)."""
    f = load("energy")["link_profile"]
    names = (
        "pace_low",
        "pace_rise",
        "spread",
        "",
        "coast",
        "calm_0",
        "calm_v",
        "calm_min",
        "busy_0",
        "busy_v",
        "moving_low",
    )
    return np.array([f[name] if name else 1.0 / f["knee"] for name in names])


def road_records(network: RoadNetwork, rise_m: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """One record per link for the kernel, shape (n_links, ROAD_COLUMNS).

    A stop sign, a give-way sign or a toll booth at the link's end costs speed that the
    travel time of the traffic engine may not show (fact energy.link_control): the
    larger of the two counts. Signals are in the travel time. `rise_m` is the height gained on each link.
    """
    profile = link_profile()
    speed, length = network.link_speed, network.link_length
    road = np.zeros((network.n_links, kernels.ROAD_COLUMNS))
    road[:, kernels.LENGTH] = length
    road[:, kernels.FREE_SPEED] = speed
    road[:, kernels.FREE_S] = network.link_free_s
    calm = np.maximum(profile[kernels.CALM_MIN], profile[kernels.CALM_0] - profile[kernels.CALM_V] * speed)
    busy = np.maximum(calm, profile[kernels.BUSY_0] + profile[kernels.BUSY_V] * speed)
    road[:, kernels.CALM] = calm
    road[:, kernels.BUSY] = busy
    facts = load("energy")["link_control"]
    share = np.zeros(256)
    share[STOP], share[GIVE_WAY], share[TOLL_BOOTH] = facts["stop"], facts["give_way"], facts["toll_booth"]
    lost = share[network.node_control[network.link_to]]
    # on a very short link the sign cannot cost more than the busiest driving does
    road[:, kernels.CONTROL] = np.minimum(busy, 0.5 * lost * speed * speed / length)
    road[:, kernels.LENGTH_MM] = np.rint(1000.0 * length)
    if rise_m is not None:
        road[:, kernels.SLOPE] = rise_m / length
    return road


def car_records(catalogue: Catalogue, celsius: NDArray[np.float64]) -> NDArray[np.float64]:
    """One record per temperature and model for the kernel, shape (len(celsius), n_models, CAR_COLUMNS).

    Road load, driveline and cabin as they are at each temperature; shares of braking as
    on the road, not as on a test stand (`powertrain.on_the_road`).
    """
    p = on_the_road(catalogue).T
    weather = road_weather(celsius)
    out = np.zeros((len(celsius), len(catalogue), kernels.CAR_COLUMNS))
    cabin = np.array([cabin_w(int(profile), celsius) for profile in p[Param.HVAC]]).T
    rolling, drag, loss = (np.asarray(w)[:, None] for w in weather)
    burns = p[Param.KIND] == Kind.COMBUSTION
    out[:, :, kernels.CAR_KIND] = p[Param.KIND]
    out[:, :, kernels.CAR_INERTIA] = p[Param.INERTIA]
    out[:, :, kernels.CAR_A] = rolling * p[Param.A]
    out[:, :, kernels.CAR_B] = rolling * p[Param.B]
    out[:, :, kernels.CAR_C] = drag * p[Param.C]
    out[:, :, kernels.PER_TRACTION] = loss * np.where(burns, p[Param.FUEL_PER_WHEEL], 1.0 / p[Param.ETA_DRIVE])
    out[:, :, kernels.PER_BRAKED] = np.where(burns, 0.0, p[Param.REGEN_SHARE] * p[Param.ETA_REGEN])
    out[:, :, kernels.MOVING_W] = np.where(burns, 0.0, p[Param.P_CONST])
    steady = np.where(burns, p[Param.FUEL_IDLE] + p[Param.FUEL_PER_AUX] * cabin, p[Param.AUX] + cabin)
    out[:, :, kernels.STEADY_W] = steady
    hybrid = p[Param.ETA_FUEL_BUS] > 0
    fuel_per_j = 1.0 / np.where(hybrid, p[Param.ETA_FUEL_BUS], 1.0)
    out[:, :, kernels.UL_PER_J] = np.where(burns | hybrid, 1e6 * fuel_per_j / p[Param.LHV], 0.0)
    out[:, :, kernels.GENERATOR_W] = p[Param.GENERATOR]
    out[:, :, kernels.WEIGHT_N] = GRAVITY * p[Param.MASS]
    out[:, :, kernels.OUT_OF_REACH] = np.where(p[Param.KIND] == Kind.ELECTRIC, out_of_reach(celsius)[:, None], 0.0)
    return out


class Drive:
    """Spends energy for driving and keeps the books.

    Parameters
    ----------
    fleet : Fleet
        Its energy, fuel and distance columns are written.
    catalogue : Catalogue
        Parameters of the models.
    network : RoadNetwork
        Roads that the traversals refer to.
    climate : ClimateSettings
        Outside temperature.
    market : str
        Kept for market-specific habits of later rooms; no number depends on it yet.
    start_s_of_day : int
        Civil time of the scenario's start, for the hourly temperature.
    rise_m : float64 (links,), optional
        Height gained on each link; level without.
    """

    def __init__(
        self,
        fleet: Fleet,
        catalogue: Catalogue,
        network: RoadNetwork,
        climate: ClimateSettings,
        market: str,
        *,
        start_s_of_day: int = 0,
        rise_m: NDArray[np.float64] | None = None,
    ) -> None:
        self.fleet = fleet
        self.market = market
        self._road = road_records(network, rise_m)
        self._profile = link_profile()
        self._start_ms = 1000 * start_s_of_day
        self._car_of = car_records(catalogue, hourly_c(climate))
        self._control = engine_control()
        self.engine_on = np.zeros(fleet.size, np.uint8)
        """1 while the engine of an e-POWER car runs; part of the state to be saved."""
        self.empty = np.zeros(fleet.size, np.uint8)
        """1 from running empty until there is energy again; part of the state to be saved."""
        self.total = np.zeros(8, np.int64)
        """Sums over all traversals so far (kernels.ROWS_…); part of the state to be saved."""
        self._ran_empty = np.zeros(MOST_EMPTY * fleet.size, np.int64)
        self._steady = np.zeros(fleet.size, np.uint8)
        self._keep = 1.0
        self.open_books()

    @property
    def records(self) -> NDArray[np.float64]:
        """Parameters by hour, model and column of `kernels`, with the weather folded in."""
        return self._car_of

    def steadied(self, steady: NDArray[np.uint8], *, saving: float) -> None:
        """Let cars marked in `steady` spend less at the wheel.

        Parameters
        ----------
        steady : ndarray of uint8, shape (n_cars,)
            1 for cars under driver assistance; read at every link, owned by the caller.
        saving : float
            Share of the energy at the wheel that they save (facts autonomy.effects).
        """
        self._steady, self._keep = steady, 1.0 - saving

    def open_books(self) -> None:
        """Let the ledger begin at what the fleet's columns hold now."""
        self._battery_start = self._balance()
        self._rows_start = self._fleet_sums()

    def spend(self, traversals: Traversals) -> NDArray[np.int64]:
        """Spend the energy of the tick's traversals, in their order.

        Fills `energy_j` (net out of the battery, negative when more came in), `fuel_ul`
        and `driven_mm` of the rows and updates the fleet. A battery car that lacks energy
        drives the part of the link that it can; the rest, and further links, are towed.

        Returns
        -------
        int64 (k,)
            Cars that ran empty in this call, in order; none twice until it has energy again.
        """
        fleet, t = self.fleet, traversals
        found = kernels.spend(
            t.n, t.car, t.link, t.enter_ms, t.exit_ms, t.energy_j, t.fuel_ul, t.driven_mm,
            self._road, self._profile, self._car_of, self._control, self._start_ms,
            fleet.model, fleet.battery_j, fleet.capacity_j, fleet.traction_j, fleet.engine_j,
            fleet.fuel_ul, fleet.driven_mm, fleet.towed_mm, fleet.drive_ms,
            self.engine_on, self.empty, self.total, self._ran_empty, self._steady, self._keep,
        )  # fmt: skip
        # a battery that warms up within the call may run empty twice
        return np.array(list(dict.fromkeys(self._ran_empty[:found].tolist())), np.int64)

    def predict_j(
        self, rows: ArrayLike, metres: ArrayLike, seconds: ArrayLike, *, rise_m: ArrayLike = 0.0, at_ms: int = 0
    ) -> NDArray[np.int64]:
        """Battery energy that trips will need, for planning; 0 for cars that do not plug in.

        Parameters
        ----------
        rows : int (n,), cars
        metres, seconds : float, broadcast with `rows`; length and duration of each trip
        rise_m : height of the goal above the start
        at_ms : moment whose temperature counts
        """
        rows, metres, seconds, rise = np.broadcast_arrays(
            np.atleast_1d(np.asarray(rows, np.int64)),
            np.asarray(metres, float),
            np.asarray(seconds, float),
            np.asarray(rise_m, float),
        )
        hour = self._hour(at_ms)
        out = np.zeros(len(rows), np.int64)
        kernels.predict(
            self.fleet.model[rows], np.ascontiguousarray(metres), np.ascontiguousarray(seconds),
            np.ascontiguousarray(rise), PLANNED_PACE, self._profile, self._car_of[hour], out,
        )  # fmt: skip
        return out

    def usable_j(self, rows: ArrayLike, *, at_ms: int = 0) -> NDArray[np.int64]:
        """Battery energy that cars can drive on at a moment's temperature; the rest is there when it is warmer."""
        rows = np.atleast_1d(np.asarray(rows, np.int64))
        share = self._car_of[self._hour(at_ms), self.fleet.model[rows], kernels.OUT_OF_REACH]
        cold = (share * self.fleet.capacity_j[rows]).astype(np.int64)
        return np.asarray(np.maximum(self.fleet.battery_j[rows] - cold, 0), np.int64)

    def _hour(self, at_ms: int) -> int:
        return (at_ms + self._start_ms) // 3_600_000 % len(self._car_of)

    def ledger(self) -> dict[str, int]:
        """What must be 0: joules, litres and metres that are missing on one side of a booking."""
        fleet = self.fleet
        energy, fuel, driven, length = (self._fleet_sums() - self._rows_start).tolist()
        total = self.total
        return {
            "battery_j": int(np.abs(self._balance() - self._battery_start).sum()),
            "battery_below_empty": int(np.count_nonzero(fleet.battery_j < 0)),
            "battery_above_full": int(np.count_nonzero(fleet.battery_j > fleet.capacity_j)),
            "traversal_energy_j": energy - int(total[kernels.ROWS_ENERGY_J]),
            "traversal_fuel_ul": fuel - int(total[kernels.ROWS_FUEL_UL]),
            "traversal_driven_mm": driven - int(total[kernels.ROWS_DRIVEN_MM]),
            "traversal_length_mm": length - int(total[kernels.ROWS_LENGTH_MM]),
        }

    def _balance(self) -> NDArray[np.int64]:
        """Battery at the very start of each car's life, as its books say."""
        f = self.fleet
        balance: NDArray[np.int64] = f.battery_j - f.charged_j + f.traction_j - f.engine_j
        return balance

    def _fleet_sums(self) -> NDArray[np.int64]:
        f = self.fleet
        driven = int(f.driven_mm.sum())
        net = int(f.traction_j.sum()) - int(f.engine_j.sum())
        return np.array([net, int(f.fuel_ul.sum()), driven, driven + int(f.towed_mm.sum())])


def co2_kg(fuel_ul: int) -> float:
    """Tank-to-wheel CO2 of petrol, kg (fact vehicles.physics.fuel)."""
    return float(fuel_ul * 1e-6 * load("vehicles")["physics"]["fuel"]["gasoline_co2_kg_per_l_tank_to_wheel"])
