"""Every knob of the twin, one frozen class per room, with unit, range and meaning.

`runs.scenario` composes them; a scenario file has one table per class.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Celsius = Annotated[float, Field(ge=-50, le=60, allow_inf_nan=False)]


POLICY_NAMES = ("uncontrolled", "timer", "tariff", "spread", "price", "v2h", "v2g")
"""Charging policies of `twin.charging.policies`."""


class Settings(BaseModel):
    """Base of all rooms: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class FleetSettings(Settings):
    """Who drives."""

    cars: int = Field(1000, ge=1, le=5_000_000, description="fleet cars, each a Mesa agent")
    market: Literal["japan", "europe", "us"] = Field("japan", description="whose models, habits and shares")
    year: int = Field(2022, ge=2010, le=2023, description="the fleet is the one on the road at the end of this year")
    models: str = Field("", description="TOML file with further models, in the layout of facts/vehicles.toml")
    case: str = Field("actual", description="whose sales: actual, plan, plan-within, or a file like facts/plan.toml")
    mix: Literal["given", "on_road"] = Field(
        "given", description="shares of kinds: bev and epower below, or as on the market's roads in that case and year"
    )
    bev: Share = Field(0.35, description="share of battery electric cars")
    epower: Share = Field(0.40, description="share of e-POWER series hybrids; the rest burns fuel")
    propilot: Share | None = Field(
        None, description="share with ProPILOT among models that offer it; by market and year when left out"
    )
    connected: Share | None = Field(
        None, description="share with active connectivity; by market and year when left out"
    )


class DemandSettings(Settings):
    """Who travels, when and how far."""

    weekday: bool = Field(True, description="weekday or weekend habits when the start date is left out of account")
    moving: Share | None = Field(None, description="share of cars that drive on a day; by market when left out")
    other_traffic: NotNegative = Field(1.0, description="traffic of cars outside the fleet: 1 is a normal day, 0 none")
    outside: Share = Field(0.25, description="share of longer journeys that use the approach roads beyond the extract")


class TrafficSettings(Settings):
    """How the streets carry cars (kinematic wave at link ends)."""

    tick_s: int = Field(60, ge=1, le=900, description="how often minds are asked; motion inside a tick is exact")
    spacing_m: Positive = Field(7.5, description="length of street one standing car takes per lane")
    tau_s: Positive = Field(1.13, description="time gap in saturated flow; wave speed is spacing/tau")
    signal_cycle_s: int = Field(90, ge=20, le=300, description="cycle of traffic signals")
    signals: Literal["fixed", "share"] = Field(
        "fixed",
        description="fixed: cars stop at red; share: nobody stops, the share of green slows what a signal lets out",
    )
    junctions: Literal["capacity", "priority"] = Field(
        "capacity",
        description="capacity: streams merge by capacity and never cross; priority: those without right of way wait "
        "for a gap",
    )
    signal_lost_s: int = Field(5, ge=0, le=15, description="all-red and start loss per phase")
    gridlock_s: int = Field(
        120, ge=1, description="a closed ring of blocked links rotates by one car after this time, counted"
    )
    reroute_s: int = Field(900, ge=60, description="how often route choice sees new travel times")


class ClimateSettings(Settings):
    """Weather that cars feel."""

    ambient_c: Celsius | list[Celsius] = Field(
        15.0, description="outside temperature: one value, or one per hour of the day (24)"
    )
    precipitation_mm_h: NotNegative = Field(0.0, description="rain or snow, limits driver assistance")

    @field_validator("ambient_c")
    @classmethod
    def _one_or_every_hour(cls, value: float | list[float]) -> float | list[float]:
        if isinstance(value, list) and len(value) != 24:
            raise ValueError(f"must be one number or one per hour (24), not {len(value)} of them")
        return value


class ChargingSettings(Settings):
    """Where, when and how cars charge."""

    policy: str = Field(
        "uncontrolled",
        description="when plugged cars take power: uncontrolled, timer, tariff, spread, price, v2h, v2g, or FILE.py:FUNCTION",
    )
    tariff: list[tuple[float, float, float]] = Field(
        default_factory=list,
        description="prices by [from hour, to hour, price per kWh], the whole day; a night tariff when left out",
    )
    sharing: Literal["equal", "first", "laxity"] = Field(
        "equal",
        description="who gets what a site or feeder may draw: all alike, who came first, whose time is shortest",
    )
    feeder_cap_kw: Positive | None = Field(
        None, description="most that the charging of one feeder may draw; no limit when left out"
    )
    v2x_share: Share | None = Field(
        None, description="share of CHAdeMO cars at home that can give energy back (v2h, v2g); by market when left out"
    )
    home_access: Share | None = Field(
        None, description="share of electric cars with a socket at home; by market when left out"
    )
    work_access: Share | None = Field(
        None, description="share of electric commuters with a socket at work; by market when left out"
    )
    home_kw: Positive = Field(6.0, description="power of a home socket")
    work_kw: Positive = Field(6.0, description="power of a workplace socket")
    work_cars_per_socket: Positive = Field(4.0, description="cars with access per workplace socket")
    patience_min: Positive = Field(30.0, description="longest wait for a socket, then the car leaves")
    balk_min: Positive = Field(20.0, description="a car does not join when it expects to wait longer")
    ac_stay_min: Positive = Field(
        228.0, description="stay expected at a slow socket until stays are seen (Boulder level 2: mean 3.8 h)"
    )
    fast_limit_min: Positive = Field(30.0, description="longest fast-charge session")
    handshake_s: NotNegative = Field(30.0, description="from plug to first current")
    timer_start_h: Annotated[float, Field(ge=0, lt=24)] = Field(23.0, description="hour at which timer users start")
    extra_fast_sites: int = Field(
        0, ge=0, le=10_000, description="fast-charge sites added by the scenario on main roads"
    )
    sites: str = Field("", description="CSV or GeoJSON file of further sites, see docs/charging.md")
    failures_per_1000_h: NotNegative = Field(0.0, description="breakdowns of one socket in 1000 hours")
    repair_h: Positive = Field(24.0, description="mean time until a broken socket works again")

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        if value not in POLICY_NAMES and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", value):
            raise ValueError(f"must be {', '.join(POLICY_NAMES)} or FILE.py:FUNCTION")
        return value

    @field_validator("tariff")
    @classmethod
    def _whole_day(cls, value: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
        if value:
            from twin.charging.tariff import day_prices

            day_prices(value)
        return value


class GridSettings(Settings):
    """What the chargers hang on."""

    interval_min: int = Field(15, ge=1, le=60, description="averaging interval of the load series")
    homes_per_feeder: int | None = Field(
        None, ge=1, description="homes per low-voltage feeder; by market when left out"
    )
    feeders: str = Field(
        "", description="CSV file of feeders with their ratings, see docs/grid.md; generated when left out"
    )
    base_load: str = Field(
        "standard", description="what households draw besides: standard (by market), none, or a CSV file of profiles"
    )
    base_columns: list[str] = Field(
        default_factory=list, description="profiles of that file that households are dealt; all when left out"
    )
    household_kwh_year: Positive | None = Field(
        None, description="energy of a household to which profiles are scaled; by market, a file's as they are"
    )
    over_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of feeders above their rating at which hosting capacity is reached"
    )


class AutonomySettings(Settings):
    """Where and by whom driver assistance is used."""

    enabled: bool = Field(True, description="off: nobody engages")
    use: NotNegative = Field(1.0, description="multiplies the drivers' probability to engage on a trip")


class CloudSettings(Settings):
    """What connected cars send and how it gets there."""

    service_class: Literal["basic", "bev", "rich"] = Field(
        "rich", description="periodic telemetry while driving, see facts/connectivity.toml"
    )
    cell_uplink_mbit_s: Positive = Field(16.0, description="mean uplink of one radio cell")
    cell_share: Share = Field(0.2, description="share of a cell that cars may use")
    outage: list[tuple[NotNegative, NotNegative]] = Field(
        default_factory=list, description="cloud down from hour to hour of the run"
    )
    workers: int = Field(4, ge=1, description="ingest workers")
    worker_messages_per_s: Positive = Field(1000.0, description="messages one worker takes per second")


class OtaSettings(Settings):
    """The over-the-air campaign of the run."""

    enabled: bool = Field(True, description="whether a campaign runs")
    name: str = Field("autumn-maps", min_length=1, description="name of the campaign")
    kind: Literal["navigation", "firmware"] = Field(
        "navigation",
        description="navigation: every connected car; firmware: models that can update control units over the air",
    )
    start_h: NotNegative = Field(1.0, description="hour of the run at which the campaign opens")
    package_mb: Positive = Field(150.0, description="size of the package, MB (10^6 bytes)")
    groups: list[Share] = Field(
        default_factory=lambda: [0.05, 0.25, 1.0], description="cumulative share of targets per rollout group"
    )
    group_gap_h: NotNegative = Field(3.0, description="hours between two groups")
    error_threshold: Share = Field(0.2, description="share of failed installs in a group that pauses the campaign")
    install_min: Positive = Field(20.0, description="minutes a parked car needs to install")
    cell_downlink_mbit_s: Positive = Field(35.0, description="mean downlink of one radio cell")
    car_downlink_mbit_s: Positive = Field(20.0, description="most one car can take")


class TwinSettings(Settings):
    """All rooms together: what a `Twin` is built from besides the map, the seed and the time."""

    fleet: FleetSettings = FleetSettings()
    demand: DemandSettings = DemandSettings()
    traffic: TrafficSettings = TrafficSettings()
    climate: ClimateSettings = ClimateSettings()
    charging: ChargingSettings = ChargingSettings()
    grid: GridSettings = GridSettings()
    autonomy: AutonomySettings = AutonomySettings()
    cloud: CloudSettings = CloudSettings()
    ota: OtaSettings = OtaSettings()
