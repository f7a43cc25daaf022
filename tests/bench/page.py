"""Frame rate, memory and models left behind of the browser page, in a headless Chromium without a GPU.

`python -m tests.bench.page [--cars 20000] [--scenario kyoto] [--seconds 20]` plays a morning and prints updates and
frames per second; `--opens N --resets N` opens and resets the page and counts models and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from runs.scenario import Scenario
from tests.browser_page import PageServer, alive, chromium, lacking, leave, open_live, toy_scenario

RATES = "() => { const p = window.__twin.live; return [p.updates, p.frames, p.frame.t1_s, performance.now()]; }"


def rates(scenario: str, cars: int, seconds: float, folder: Path, picture: str) -> None:
    """Print what the page draws while a twin plays as fast as it can."""
    base = Scenario.load(scenario).but(fleet__cars=cars, start="2022-10-12T07:15:00")
    path = folder / "bench.toml"
    path.write_text(base.to_toml(), "utf-8")
    server = PageServer(path, log=folder / "server.log")
    try:
        with chromium() as context:
            page = open_live(context, server.url)
            slider = page.locator(".v-navigation-drawer [role=slider]").first
            slider.focus()
            page.keyboard.press("Home")  # play interval 1 ms
            page.get_by_role("button", name="▶").click()
            page.wait_for_function("() => window.__twin.live.frame.t1_s >= 300")
            channel = context.new_cdp_session(page)
            channel.send("Performance.enable")
            before, shown = _main_thread(channel), _browser_cpu_s(server.process.pid)
            cpu, (updates, frames, at_s, began) = server.count()["cpu_s"], page.evaluate(RATES)
            page.wait_for_timeout(seconds * 1000)
            (more, drawn, then_s, ended), spent = page.evaluate(RATES), server.count()["cpu_s"] - cpu
            busy, shown = _main_thread(channel), _browser_cpu_s(server.process.pid) - shown
            lasted, seen = (ended - began) / 1000, max(more - updates, 1)
            counts = page.evaluate("() => window.__twin.live.frame.counts")
            if picture:
                page.screenshot(path=picture)
            print(
                f"{cars:,} cars: {(more - updates) / lasted:.1f} updates/s, "
                f"{(drawn - frames) / lasted:.1f} frames/s, "
                f"{(then_s - at_s) / 60 / lasted:.1f} ticks/s over {lasted:.0f} s; "
                f"server {spent / lasted:.0%} of a core, "
                f"{1000 * spent / seen:.0f} ms CPU per update; browser {shown / lasted:.0%} of a core, "
                f"{1000 * shown / seen:.0f} ms CPU per update, its main thread busy "
                f"{busy['TaskDuration'] - before['TaskDuration']:.1f} s "
                f"({busy['ScriptDuration'] - before['ScriptDuration']:.1f} s in scripts); "
                f"machine's load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {counts}"
            )
            for fault in (*context.faults, *context.elsewhere):
                print("FAULT", fault)
            leave(page)
    finally:
        server.close()


def _main_thread(channel: Any) -> dict[str, float]:
    return {m["name"]: float(m["value"]) for m in channel.send("Performance.getMetrics")["metrics"]}


def _browser_cpu_s(other: int) -> float:
    """CPU time of all processes that this one started, apart from `other`."""
    tree: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            rest = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            tree.setdefault(int(rest[1]), []).append(pid)
            spent[pid] = (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")
    found, ahead = 0.0, [p for p in tree.get(os.getpid(), []) if p != other]
    while ahead:
        pid = ahead.pop()
        found += spent[pid]
        ahead += tree.get(pid, [])
    return found


def churn(opens: int, resets: int, folder: Path) -> None:
    """Print models alive and memory after opening and resetting the page many times."""
    server = PageServer(toy_scenario(folder, cars=200), log=folder / "server.log")
    try:
        with chromium() as context:
            page = open_live(context, server.url)
            for k in range(resets):
                _reset(page)
                if k + 1 in {20, 50, 100, resets}:
                    print(
                        f"{k + 1} resets: {alive(server, 1)} alive, {server.count()['resident_mb']:.0f} MB", flush=True
                    )
            leave(page)
            for k in range(opens):
                leave(open_live(context, server.url))
                if k + 1 in {20, 50, 100, opens}:
                    print(
                        f"{k + 1} opens: {alive(server, 0)} alive, {server.count()['resident_mb']:.0f} MB", flush=True
                    )
    finally:
        server.close()


def _reset(page: Any) -> None:
    page.get_by_role("button", name="Step").click()
    page.wait_for_function("() => window.__twin.live.frame.t1_s > 0")
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => window.__twin.live.frame.t1_s === 0")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="kyoto")
    parser.add_argument("--cars", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--picture", default="")
    parser.add_argument("--opens", type=int, default=0)
    parser.add_argument("--resets", type=int, default=0)
    given = parser.parse_args()
    if lacking():
        raise SystemExit(lacking())
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if given.opens or given.resets:
            churn(given.opens, given.resets, Path(folder))
        else:
            rates(given.scenario, given.cars, given.seconds, Path(folder), given.picture)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
