"""A run, a map and a machine in words: what the commands print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runs.estimates import Estimate, figure
from runs.progress import clock, duration

if TYPE_CHECKING:
    from maps.network import CityMap
    from runs.results import RunResult

ANSWERS = {
    "grid_peak_kw": "grid load, peak",
    "grid_energy_kwh": "grid energy",
    "autonomy_share": "autonomy share of km",
    "cloud_mb_per_connected_car_day": "cloud traffic",
    "cloud_generated_bytes": "cloud bytes generated",
}
"""Estimates of a run as people call them."""


def run_lines(result: RunResult) -> Iterator[str]:
    """Summary of a run, the three answers first, ledgers and stuck cars last."""
    s, m = result.summary, result.manifest
    fleet = s["fleet"]
    began = m["start"].replace("T", " ")
    yield f"{m['scenario']}: {fleet['cars']:,} cars, {clock(m['simulated_s'])} from {began}, seed {m['seed']}"
    yield ""
    answers = s.get("estimates", {})
    yield from table((ANSWERS.get(name, name), str(Estimate(**value))) for name, value in answers.items())
    if answers:
        yield "  intervals: sampling of cars only (bootstrap)"
    yield ""
    yield from table(_counts(s))
    yield ""
    yield timing_line(m)
    yield ledger_line(m["ledger"])
    waiting = f"waiting to enter {fleet.get('waiting', 0):,}, not yet due {fleet.get('planned', 0):,}"
    yield f"stuck {fleet['stuck']:,}, {waiting}, of {fleet['trips']:,} trips"
    if result.status != "done":
        yield f"{result.status}: {m.get('why') or m.get('error', '')}"


def _counts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    fleet, grid, queue, cloud = (summary[k] for k in ("fleet", "grid", "queue", "cloud"))
    yield "trips", f"{fleet['trips']:,}, arrived {fleet['arrived']:,}; {fleet['driving_km']:,.0f} km driven"
    if own := summary.get("own_demand"):
        left = ", ".join(f"{count:,} {name}" for name, count in own["unplaced_by_reason"].items())
        flows = f"; {own['flow_trips_per_day']:,.0f} trips a day in {own['flows']:,} flows" if own["flows"] else ""
        yield "own demand", f"{own['placed']:,} of {own['read']:,} trips placed{flows}; left out: {left or 'nothing'}"
    if counts := summary.get("counts"):
        planned = (
            f"{counts['planned_geh_under_5_before']:.0%} before the fit, {counts['planned_geh_under_5']:.0%} after"
        )
        driven = f"driven {counts['geh_under_5']:.0%}, {counts['driven_over_counted']:.3f} of the vehicles"
        yield "counts, GEH under 5", f"{counts['counters']:,} counters: planned {planned}; {driven}"
    peak = f"{clock(grid['peak_time_s'])} after the start; coincidence {grid['coincidence']:.2f}"
    yield "grid peak at", peak if grid["peak_kw"] > 0 else "no charging"
    yield from _grid_counts(grid)
    waited = f"{queue['waited']:,} waited (mean {queue['mean_wait_of_waiting_s'] / 60:.1f} min)"
    yield "charging", f"{queue['sessions']:,} sessions, {waited}, {queue['balked']:,} drove on at sight of the queue"
    yield from _assisted(summary["autonomy"])
    of = {name: figure(cloud[f"{name}_bytes"] / 1e6) for name in ("delivered", "buffered", "dropped")}
    sent = f"{of['delivered']} MB delivered, {of['buffered']} waiting, {of['dropped']} dropped"
    yield "cloud", f"{sent}; peak {figure(cloud['peak_bytes_per_s'] / 1e3)} kB/s"
    yield from _traffic(summary.get("traffic", {}))
    ota, fuel = summary["ota"], summary["fuel"]
    yield "updates", f"{ota['installed']:,} installed, {ota['failed']:,} failed; {figure(ota['bytes'] / 1e9)} GB"
    yield "fuel", f"{fuel['litres']:,.0f} litres, {fuel['co2_kg']:,.0f} kg CO2"


def _traffic(traffic: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What drivers learned and did on the way, where the scenario asks for it."""
    if traffic.get("sample", 1) != 1:
        yield "sample", f"{traffic['sample']:.3g} of all cars; a row is {1 / traffic['sample']:.3g} cars to the streets"
    days = traffic.get("learning", [])
    if days:
        first, last = days[0], days[-1]
        gaps = f"relative gap {first['gap']:.2%} on the first, {last['gap']:.2%} on the last"
        yield "days of learning", f"{len(days)}, {gaps}; mean trip {first['mean_s']:,.0f} s, {last['mean_s']:,.0f} s"
    if traffic.get("informed_comparisons", 0):
        saved = f"{traffic['informed_hours_promised']:,.1f} h to be saved"
        yield "changed way", f"{traffic['informed_switches']:,} times, {saved}"


def _assisted(autonomy: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How the autonomy share comes about: cars that have it, km where it may be used, km where it was."""
    yield "assisted", f"{autonomy['engaged_km']:,.0f} km; {autonomy['equipped_share']:.0%} of cars equipped"
    if not autonomy.get("possible_km"):
        return
    of = {name: autonomy[name] for name in ("share_of_equipped_km", "possible_share", "share_of_possible_km")}
    yield "  of equipped cars' km", f"{of['share_of_equipped_km']:.1%}"
    why = f"{of['possible_share']:.1%} of all km equipped and in the domain, {of['share_of_possible_km']:.0%} used"
    yield "  why this share", f"{why}; {autonomy['unused_km']:,.0f} km possible and unused"
    if autonomy.get("km_between_takeovers"):
        per_trip = f"{autonomy['engagements_per_equipped_trip']:.2f} per trip of equipped cars"
        yield "  engagements", f"{per_trip}; {figure(autonomy['km_between_takeovers'])} km between take-overs"


def _grid_counts(grid: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Feeders, diversity and hosting capacity, as far as the run has them."""
    if feeders := grid.get("feeders"):
        over = f"{feeders['over_rating']:,} above rating for {feeders['hours_over']:,.1f} h in all"
        before = f" ({feeders['over_rating_before']:,} without cars)" if feeders["over_rating_before"] else ""
        yield "feeders", f"{feeders['count']:,}, {over}{before}; highest loading {feeders['highest_loading']:.0%}"
    if admd := grid.get("admd"):
        groups = f"{figure(admd['low'])} to {figure(admd['high'])}"
        yield "diversity at home", f"{figure(admd['kw'])} kW per car at {admd['n']:,} cars (95 % of groups: {groups})"
    if hosting := grid.get("hosting"):
        cars, low, high = (figure(hosting[k]) for k in ("cars_per_household", "low", "high"))
        share = f"{hosting['over_share']:.0%} of feeders above rating"
        at = f"at {cars} electric cars per household (95 %: {low} to {high})"
        yield "hosting capacity", f"{share} {at}" if hosting["reached"] else f"never {share}, up to {cars} cars each"


def ledger_line(ledger: Mapping[str, int]) -> str:
    """One line on all ledgers: how many closed in each room, or which did not."""
    broken = {name: value for name, value in ledger.items() if value}
    if broken:
        return "LEDGERS OPEN: " + ", ".join(f"{name} {value:+,}" for name, value in broken.items())
    rooms = Counter(name.partition(".")[0] if "." in name else "world" for name in ledger)
    return "ledgers closed, every residual 0: " + ", ".join(f"{room} {n}" for room, n in rooms.items())


def timing_line(manifest: Mapping[str, Any]) -> str:
    """Where the time went, in one line."""
    seconds, phases = manifest["seconds"], manifest["phase_s"]
    simulate = seconds.get("simulate", 0.0)
    speed = f", {manifest['simulated_s'] / simulate:,.0f}x real time" if simulate else ""
    return (
        f"{duration(seconds['total'])} (build {duration(seconds['build'])}, simulate {duration(simulate)}{speed}); "
        f"peak memory {manifest['peak_memory_mb']:,.0f} MB; "
        + ", ".join(f"{name} {value:.1f} s" for name, value in phases.items())
    )


def map_lines(city: CityMap) -> Iterator[str]:
    """The quality table of a map."""
    meta = city.meta
    side = "left" if meta.get("left_hand") else "right"
    yield f"{meta.get('name', '')} ({meta.get('country', '?')}, {side}-hand traffic)"
    for name, value in meta.get("quality", {}).items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            yield f"  {label}"
            yield from table(((f"  {key}", _number(v)) for key, v in value.items()), width=30)
        else:
            yield from table([(label, _number(value))], width=30)
    if meta.get("attribution"):
        yield str(meta["attribution"])


def table(rows: Iterable[tuple[str, str]], *, width: int = 24) -> Iterator[str]:
    """Two columns of text."""
    for label, text in rows:
        yield f"  {label:<{width}} {text}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 100 else f"{value:,.1f}"
