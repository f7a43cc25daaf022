"""A run, a map and a machine in words: what the commands print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runs.progress import clock, duration

if TYPE_CHECKING:
    from maps.network import CityMap
    from runs.results import RunResult

_ANSWERS = {
    "grid_peak_kw": "grid load, peak",
    "grid_energy_kwh": "grid energy",
    "autonomy_share": "autonomy share of km",
    "cloud_mb_per_connected_car_day": "cloud traffic",
    "cloud_generated_bytes": "cloud bytes generated",
}


def run_lines(result: RunResult) -> Iterator[str]:
    """Summary of a run, the three answers first, ledgers and stuck cars last."""
    from runs.estimates import Estimate

    s, m = result.summary, result.manifest
    fleet, grid, queue, ota, fuel, cloud = (s[k] for k in ("fleet", "grid", "queue", "ota", "fuel", "cloud"))
    yield f"{m['scenario']}: {fleet['cars']:,} cars, {clock(m['simulated_s'])} from {m['start'].replace('T', ' ')}, seed {m['seed']}"
    yield ""
    answers = s.get("estimates", {})
    yield from table((_ANSWERS.get(name, name), str(Estimate(**value))) for name, value in answers.items())
    if answers:
        yield "  intervals: sampling of cars only (bootstrap)"
    yield ""
    yield from table(
        (
            (
                "trips",
                f"{fleet['trips']:,}, arrived {fleet['arrived']:,}; {fleet['driving_km']:,.0f} km driven",
            ),
            (
                "grid peak at",
                f"{clock(grid['peak_time_s'])} after the start; coincidence {grid['coincidence']:.2f}"
                if grid["peak_kw"] > 0
                else "no charging",
            ),
            (
                "charging",
                f"{queue['sessions']:,} sessions, {queue['waited']:,} waited (mean {queue['mean_wait_s'] / 60:.1f} min),"
                f" {queue['balked']:,} drove on at sight of the queue",
            ),
            (
                "assisted",
                f"{s['autonomy']['engaged_km']:,.0f} km; {s['autonomy']['equipped_share']:.0%} of cars equipped",
            ),
            (
                "cloud",
                f"{cloud['delivered_bytes'] / 1e6:,.1f} MB delivered, {cloud['buffered_bytes'] / 1e6:,.1f} waiting,"
                f" {cloud['dropped_bytes'] / 1e6:,.1f} dropped; peak {cloud['peak_bytes_per_s'] / 1e3:,.1f} kB/s",
            ),
            ("updates", f"{ota['installed']:,} installed, {ota['failed']:,} failed; {ota['bytes'] / 1e9:,.2f} GB"),
            ("fuel", f"{fuel['litres']:,.0f} litres, {fuel['co2_kg']:,.0f} kg CO2"),
        )
    )
    yield ""
    yield timing_line(m)
    yield ledger_line(m["ledger"])
    waiting = f"waiting to enter {fleet.get('waiting', 0):,}, not yet due {fleet.get('planned', 0):,}"
    yield f"stuck {fleet['stuck']:,}, {waiting}, of {fleet['trips']:,} trips"
    if result.status != "done":
        yield f"{result.status}: {m.get('why') or m.get('error', '')}"


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
    yield f"{meta.get('name', '')} ({meta.get('country', '?')}, {'left' if meta.get('left_hand') else 'right'}-hand traffic)"
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
