"""Every knob of the twin, one frozen class per room, with unit, range and meaning.

`runs.scenario` composes them; a scenario file has one table per class.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

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
    """Who travels, when and how far; own demand takes the place of the model's."""

    weekday: bool = Field(True, description="weekday or weekend habits when the start date is left out of account")
    moving: Share | None = Field(None, description="share of cars that drive on a day; by market when left out")
    other_traffic: NotNegative = Field(1.0, description="traffic of cars outside the fleet: 1 is a normal day, 0 none")
    outside: Share = Field(0.25, description="share of longer journeys that use the approach roads beyond the extract")
    trips: str = Field(
        "",
        description="own trips: CSV, Parquet, SUMO .rou.xml or .trips.xml, MATSim plans, .xml.gz too; those with cars' names are the fleet's days",
    )
    trips_of: Literal["auto", "others"] = Field(
        "auto", description="others: own trips are never the fleet's, even if they name cars"
    )
    od: str = Field(
        "",
        description="own origin-destination matrix of traffic outside the fleet, trips a day: CSV, Parquet or OMX; other_traffic multiplies it",
    )
    matrix: str = Field("", description="which matrix of an OMX file with several")
    zones: str = Field(
        "",
        description="zones of own demand: GeoJSON polygons, or a table of zone with node or lon, lat; without it zones are OpenStreetMap nodes",
    )
    sumo_net: str = Field("", description="SUMO network (.net.xml) that says where the edges of own SUMO trips lie")
    crs: str = Field(
        "",
        description="coordinate system of own trips, such as EPSG:2154; as the file says, else degrees, when left out",
    )
    snap_m: Positive = Field(500.0, description="farthest that a place of own demand may lie from a street, m")
    purposes: list[str] = Field(default_factory=list, description='words for purposes in own trips: ["escort=errand"]')
    counts: str = Field(
        "",
        description="traffic counts that the traffic outside the fleet is fitted to: CSV or Parquet with hour, count and link or lon, lat",
    )
    repeat_day: bool = Field(False, description="drive the own trips of the first day again on every further day")


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
    signal_junction_m: float = Field(
        50.0, ge=0, le=200, description="signals so near to each other are one junction with one plan; 0: each its own"
    )
    signal_lost_s: int = Field(5, ge=0, le=15, description="all-red and start loss per phase")
    gridlock_s: int = Field(
        120, ge=1, description="a closed ring of blocked links rotates by one car after this time, counted"
    )
    reroute_s: int = Field(900, ge=60, description="how often route choice at departure sees new travel times")
    informed: Share = Field(0.0, description="share of drivers who compare their way on with others while they drive")
    inform_s: int = Field(300, ge=60, description="how often informed drivers compare, on travel times since last time")
    switch_gain: Share = Field(0.1, description="share of the time left that another way must save to be taken")
    days_of_learning: int = Field(
        0,
        ge=0,
        le=60,
        description="days driven before the run from which drivers learn hourly travel times; 0: they choose by current ones",
    )
    heavy_share: Share = Field(0.0, description="share of the trips outside the fleet that lorries and buses make")
    heavy_cars: float = Field(
        2.0,
        ge=1,
        le=10,
        description="cars that one of them counts for in a queue and in headway "
        "(Highway Capacity Manual 2016: 2 on level roads, 3 in rolling terrain)",
    )
    sample: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        1.0, description="share of all cars that is simulated: each row takes the room and the headway of 1/sample cars"
    )


class ClimateSettings(Settings):
    """Weather that cars feel."""

    ambient_c: Celsius | list[Celsius] = Field(
        15.0, description="outside temperature: one value, or one per hour of the day (24), or of several whole days"
    )
    year: Literal["", "typical"] = Field(
        "", description="typical: the market's typical year gives the temperature by month and hour instead"
    )
    table: str = Field(
        "", description="CSV or Parquet with time (local) and temperature_c, every hour of the run, instead"
    )
    precipitation_mm_h: NotNegative | list[NotNegative] = Field(
        0.0, description="rain or snow, limits driver assistance: one value, or one per hour of the day (24)"
    )

    @field_validator("ambient_c", "precipitation_mm_h")
    @classmethod
    def _one_or_every_hour(cls, value: float | list[float]) -> float | list[float]:
        if isinstance(value, list) and (not value or len(value) % 24):
            raise ValueError(f"must be one number or one per hour (24), not {len(value)} of them")
        return value


class TerrainSettings(Settings):
    """How the ground lies."""

    elevation: str = Field(
        "",
        description="heights: ESRI ASCII grid (.asc), GeoTIFF (.tif), .csv with lon, lat, elevation_m, or .graphml with elevation; level without",
    )


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
    reserve_min: NotNegative = Field(
        0.0, description="longest time that a socket is held for a car on its way to a site; 0: no reservations"
    )
    value_of_time: Positive | None = Field(
        None,
        description="what an hour is worth to drivers who choose a site, in the tariff's currency; prices do not matter when left out",
    )
    operator: Literal["fixed", "utilisation"] = Field(
        "fixed", description="prices and caps of public sites: as given, or by the share of sockets in use"
    )
    price_swing: Share = Field(
        0.25, description="operator utilisation: price up and down by at most this share (assumption)"
    )
    quiet_cap: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="operator utilisation: share of its cap that a site may draw while nobody waits (assumption)"
    )
    visitors: Annotated[float, Field(ge=0, le=200)] = Field(
        0.0, description="other people's cars at public and fast sites, sessions per socket and day"
    )
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
    """Where and by whom driver assistance is used, and what it does to the rest of the world."""

    enabled: bool = Field(True, description="off: nobody engages")
    use: NotNegative = Field(1.0, description="multiplies the drivers' probability to engage on a trip")
    rules: str = Field("", description="TOML file that changes facts/autonomy.toml: domains, releases, use, effects")
    domain: str = Field(
        "facts", description="operating domain: narrow, facts, wide, or a case of the rules file (domain_case)"
    )
    level: Literal["propilot_1_0", "propilot_1_0_navi", "propilot_2_0", "propilot_destination"] | None = Field(
        None, description="what if: every equipped car has this level and its sensors; as built when left out"
    )
    weeks: NotNegative | None = Field(
        None, description="weeks since drivers have had assistance; by year of sale when left out"
    )
    destination_set: Share | None = Field(
        None,
        description="share of trips with a destination set, which hands-off driving needs; by the facts when left out",
    )
    extra_time: Share | None = Field(
        None,
        description="how much longer than the fastest, as a share, a way may take that destination management proposes; "
        "by the facts when left out",
    )
    map_countries: list[str] | None = Field(
        None, description="countries with the map that hands-off driving needs; by the facts when left out"
    )
    map_age_days: NotNegative = Field(0.0, description="age of the cars' maps at the start")
    releases: list[tuple[NotNegative, str]] = Field(
        default_factory=list, description="[hour of the run, release] put on every car that has the sensors"
    )
    affects_headway: bool = Field(True, description="engaged cars follow at their system's gap")
    affects_speed: bool = Field(
        False, description="engaged cars with navigation hold the posted limit, drivers an assumed 7 % less"
    )
    affects_energy: bool = Field(True, description="engaged cars are driven more steadily")


class ServiceSettings(Settings):
    """One further service between cars and cloud."""

    name: str = Field(min_length=1, description="name of the service in the tables")
    trigger: Literal["driving", "charging", "parked", "any_time", "trip", "distance", "engaged"] = Field(
        description="while driving, on a socket, parked, always; at trip start and end; by distance driven or assisted"
    )
    bytes: int = Field(ge=1, description="application bytes of one message")
    period_s: Positive | None = Field(None, description="one message per so many seconds, at the car's own moment")
    per_1000_km: Positive | None = Field(None, description="messages per 1000 km, at exponential distances")
    direction: Literal["up", "down"] = Field("up", description="from the car, or to it")
    consent: bool = Field(False, description="only cars whose owner agreed")
    propilot: int = Field(0, ge=0, le=3, description="lowest ProPILOT level that has it")


class CloudSettings(Settings):
    """What connected cars send and how it gets there."""

    service_class: Literal["basic", "bev", "rich"] = Field(
        "rich", description="periodic telemetry while driving, see facts/connectivity.toml"
    )
    more_services: list[str] = Field(
        default_factory=lambda: ["navigation", "remote_command", "hd_map"],
        description="further services of facts/connectivity.toml, table services",
    )
    services: list[ServiceSettings] = Field(default_factory=list, description="further services of this scenario")
    message_log_cars: int = Field(
        10_000, ge=0, description="keep every message for twin replay when the fleet has at most so many cars"
    )
    cells: str = Field("", description="CSV file of radio cells (own columns or OpenCelliD's); the map's when left out")
    cell_uplink_mbit_s: Positive = Field(16.0, description="mean uplink of one radio cell")
    cell_downlink_mbit_s: Positive = Field(35.0, description="mean downlink of one radio cell, for services")
    cell_share: Share = Field(0.2, description="share of a cell that cars may use")
    other_users: Share = Field(
        0.0, description="load of a town cell by other people in its busiest hour; cars get at most what they leave"
    )
    holes: list[tuple[float, float, Positive]] = Field(
        default_factory=list, description="places without signal: longitude, latitude, radius in m"
    )
    home_wifi: Share = Field(0.0, description="share of cars that use a Wi-Fi at home")
    underground: Share = Field(0.0, description="share of cars whose place at home is below ground")
    roaming: Share = Field(0.0, description="share of cars abroad, whose bytes cost more")
    outage: list[tuple[NotNegative, NotNegative]] = Field(
        default_factory=list, description="cloud down from hour to hour of the run"
    )
    regions: int = Field(1, ge=1, le=64, description="regional ingests; cells belong to them from west to east")
    workers: int = Field(4, ge=1, description="ingest workers of a region")
    most_workers: int | None = Field(
        None, ge=1, description="auto-scaling up to so many; as many as workers when left out"
    )
    scale_delay_s: NotNegative = Field(180.0, description="from the decision to a new worker's first message")
    scale_up_queue_s: Positive = Field(30.0, description="work waiting per worker that asks for more workers")
    worker_messages_per_s: Positive = Field(1000.0, description="messages one worker takes per second")
    quota_messages_per_s: Positive | None = Field(
        None, description="messages a region accepts per second; cars are told to come back later"
    )
    hot_days: Positive = Field(30.0, description="days in hot storage, then cold")


class TargetSettings(Settings):
    """Which cars a campaign is for; an empty list means any."""

    models: list[str] = Field(default_factory=list, description="models of the catalogue, by id or name")
    brands: list[str] = Field(default_factory=list, description="brands of the catalogue")
    powertrains: list[Literal["bev", "epower", "combustion"]] = Field(default_factory=list, description="powertrains")
    propilot: list[int] = Field(default_factory=list, description="ProPILOT levels, 0 to 3")
    generations: list[int] = Field(default_factory=list, description="network generations of the unit: 2, 3, 4")
    first_year: int | None = Field(None, description="oldest model year")
    last_year: int | None = Field(None, description="newest model year")


class CampaignSettings(Settings):
    """One over-the-air campaign."""

    name: str = Field("autumn-maps", min_length=1, description="name of the campaign")
    kind: Literal["navigation", "firmware"] = Field(
        "navigation",
        description="navigation: every connected car; firmware: models that can update control units over the air",
    )
    target: TargetSettings = Field(TargetSettings(), description="which cars")
    after: str = Field("", description="campaign that must be installed before, by name")
    join_late: bool = Field(False, description="cars that begin to match later join (always so with after)")
    start_h: NotNegative = Field(1.0, description="hour of the run at which the campaign opens")
    needs_approval: bool = Field(False, description="no group opens before the operator approves")
    approved_h: NotNegative | None = Field(None, description="hour of the run at which the operator approves")
    package_mb: Positive = Field(150.0, description="size of the package, MB (10^6 bytes)")
    delta_mb: Positive | None = Field(None, description="size for cars on the previous release; the same when left out")
    on_previous: Share = Field(1.0, description="share of cars on the previous release, which can take the delta")
    groups: list[Share] = Field(
        default_factory=lambda: [0.05, 0.25, 1.0], description="cumulative share of targets per rollout group"
    )
    group_gap_h: NotNegative = Field(3.0, description="least hours between two groups")
    success_threshold: Share = Field(0.0, description="share of a group installed before the next opens")
    error_threshold: Share = Field(0.2, description="share of failed installs in a group that pauses the campaign")
    abort_threshold: Share = Field(1.0, description="share of failed installs in a group above which all is cancelled")
    trickle_per_h: Positive | None = Field(
        None, description="cars offered the package per hour; all of an open group when left out"
    )
    policy: Literal["now", "night", "cell_aware", "wifi_first"] = Field(
        "now", description="when cars download: at once, at night, where the cell is not busy, on Wi-Fi first"
    )
    patience_h: NotNegative = Field(24.0, description="a car that waited so long for its moment downloads at once")
    night: tuple[Annotated[float, Field(ge=0, le=24)], Annotated[float, Field(ge=0, le=24)]] = Field(
        (22.0, 6.0), description="hours of the day of the policy night"
    )
    busy_load: Share = Field(0.7, description="load by other people from which a cell counts as busy")
    wifi_only: bool = Field(False, description="never over the mobile network")
    download_when: Literal["any", "driving", "parked"] = Field("any", description="state in which a car downloads")
    resumable: bool = Field(True, description="an interrupted download goes on; false: it starts again")
    consent: Literal["driver", "none"] = Field(
        "driver", description="whose: drivers take their time; none for silent updates"
    )
    soc_min: Share | None = Field(None, description="least charge of an electric car; the facts' when left out")
    twelve_volt_min: Share | None = Field(None, description="least charge of the 12 V battery; not asked when left out")
    while_charging: Literal["no", "home", "yes"] = Field(
        "home", description="install on a socket: never, at home, anywhere"
    )
    install_min: Positive = Field(20.0, description="minutes a parked car needs to install")
    slots: Literal["dual", "single"] = Field(
        "dual", description="dual: a failed install rolls back; single: it needs a dealer"
    )
    tries: int = Field(2, ge=1, le=10, description="installs per car before it counts as failed")
    retry_h: NotNegative = Field(1.0, description="hours from a roll-back to the next try")
    dealer: bool = Field(False, description="cars that cannot be updated on air, or failed, are done at the dealer's")
    propilot_release: str = Field("", description="an installed car gets this ProPILOT release")
    charging_timer: bool = Field(False, description="an installed car charges by timer where policy timer rules")
    telemetry_period_s: Positive | None = Field(
        None, description="an installed car reports at this period while driving"
    )


class OtaSettings(CampaignSettings):
    """Over-the-air campaigns. The keys of a campaign here are those of the only one, or defaults of several."""

    enabled: bool = Field(True, description="whether any campaign runs")
    cell_downlink_mbit_s: Positive = Field(35.0, description="mean downlink of one radio cell")
    car_downlink_mbit_s: Positive = Field(20.0, description="most one car can take")
    campaigns: list[CampaignSettings] = Field(
        default_factory=list, description="several campaigns, [[ota.campaigns]]; what one leaves out is as in [ota]"
    )

    @field_validator("campaigns")
    @classmethod
    def _defaults_from_here(cls, campaigns: list[CampaignSettings], info: ValidationInfo) -> list[CampaignSettings]:
        shared = {key: info.data[key] for key in CampaignSettings.model_fields if key in info.data and key != "name"}
        for one in campaigns:
            if "name" not in one.model_fields_set:
                raise ValueError("must give each campaign a name")
        return [
            one.model_copy(update={k: v for k, v in shared.items() if k not in one.model_fields_set})
            for one in campaigns
        ]


class TwinSettings(Settings):
    """All rooms together: what a `Twin` is built from besides the map, the seed and the time."""

    fleet: FleetSettings = FleetSettings()
    demand: DemandSettings = DemandSettings()
    traffic: TrafficSettings = TrafficSettings()
    climate: ClimateSettings = ClimateSettings()
    terrain: TerrainSettings = TerrainSettings()
    charging: ChargingSettings = ChargingSettings()
    grid: GridSettings = GridSettings()
    autonomy: AutonomySettings = AutonomySettings()
    cloud: CloudSettings = CloudSettings()
    ota: OtaSettings = OtaSettings()
