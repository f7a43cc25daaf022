"""SUMO and UXsim in an environment of their own, on our network and trips.

The environment is made on demand in the cache folder, with the versions below; it shares nothing with ours. SUMO reads
files that we write from the two `.npz`, through its own netconvert; UXsim is driven by `uxsim_run.py` in its
own Python.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from tests.bench.process import cache_folder, measured

REQUIREMENTS = ("eclipse-sumo==1.28.0", "uxsim==1.15.1")


class NoPeersError(RuntimeError):
    """The other engines cannot be had; one line says why and what to do."""


class Peers:
    """The environment of the other engines."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        said = subprocess.run(
            [self.python, "-c", "import sumo, uxsim; print(sumo.SUMO_HOME)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode:
            raise NoPeersError(f"{folder} has no working eclipse-sumo and uxsim: {said.stderr.strip()[-200:]}")
        self.sumo_home = Path(said.stdout.split()[-1])
        self._sumo_start_s: dict[Path, float] = {}

    @classmethod
    def made(cls, *, say: Any = print) -> Peers:
        """The environment in the cache folder, installed the first time.

        Raises
        ------
        NoPeersError
            Without an index to install from.
        """
        mark = "-".join(part.replace("==", "-") for part in REQUIREMENTS)
        folder = cache_folder() / f"bench-{sys.version_info[0]}.{sys.version_info[1]}-{mark}"
        if not (folder / "complete").exists():
            say(f"installing {' and '.join(REQUIREMENTS)} in {folder} (once)")
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--no-input", *REQUIREMENTS]
            done = subprocess.run(pip, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                why = next(
                    (line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "no reason"
                )
                raise NoPeersError(f"pip cannot install {' '.join(REQUIREMENTS)} (no index, or no network): {why}")
            (folder / "complete").touch()
        return cls(folder)

    def _environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return clean | {"SUMO_HOME": str(self.sumo_home), "MPLBACKEND": "agg"}

    # ------------------------------------------------------------------ SUMO

    def sumo_files(self, net: Path, trips: Path, folder: Path) -> tuple[Path, Path]:
        """Network and routes as SUMO files: every allowed turn is a connection, no signals, lengths as given."""
        from tests.bench.against import read_network
        from twin.traffic.routing import turns

        network, _ = read_network(net)
        stem = folder / net.name.partition(".")[0]
        made, routes = stem.with_suffix(".net.xml"), folder / f"{trips.name.partition('.')[0]}.rou.xml"
        if not made.exists():
            with np.load(net) as z:
                lengths, speeds, lanes, classes = (z[f"link_{name}"] for name in ("len", "speed", "lanes", "class"))
            ends = list(zip(network.link_from.tolist(), network.link_to.tolist(), strict=True))
            ptr, onto = turns(network)
            with (folder / "nod.xml").open("w") as out:
                out.write("<nodes>\n")
                for i, (x, y) in enumerate(zip(network.node_x.tolist(), network.node_y.tolist(), strict=True)):
                    out.write(f'<node id="n{i}" x="{x:.2f}" y="{y:.2f}" type="priority"/>\n')
                out.write("</nodes>\n")
            with (folder / "edg.xml").open("w") as out:
                out.write("<edges>\n")
                for i, (a, b) in enumerate(ends):
                    out.write(
                        f'<edge id="e{i}" from="n{a}" to="n{b}" length="{lengths[i]:.2f}" speed="{speeds[i]:.3f}" '
                        f'numLanes="{lanes[i]}" priority="{20 - int(classes[i])}"/>\n'
                    )
                out.write("</edges>\n")
            with (folder / "con.xml").open("w") as out:
                out.write("<connections>\n")
                for i in range(network.n_links):
                    for j in onto[ptr[i] : ptr[i + 1]].tolist():
                        out.write(f'<connection from="e{i}" to="e{j}"/>\n')
                out.write("</connections>\n")
            command = [
                str(self.sumo_home / "bin" / "netconvert"),
                "-n", str(folder / "nod.xml"), "-e", str(folder / "edg.xml"),
                "-x", str(folder / "con.xml"), "-o", str(made), "--offset.disable-normalization", "true",
                "--no-internal-links", "true", "--no-warnings", "true",
            ]  # fmt: skip
            done = measured(command, environment=self._environment())
            if done.cost["rc"]:
                raise NoPeersError(f"netconvert: {done.said.strip()[-300:]}")
        if not routes.exists():
            with np.load(trips) as z:
                depart, ptr, links = z["depart"], z["route_ptr"], z["route_links"]
            name = np.array([f"e{i}" for i in range(int(links.max()) + 1)], object)
            with routes.open("w") as out:
                out.write('<routes>\n<vType id="c" length="5" minGap="2.5" speedDev="0"/>\n')
                for i, at in enumerate(depart.tolist()):
                    edges = " ".join(name[links[ptr[i] : ptr[i + 1]]])
                    out.write(
                        f'<vehicle id="{i}" type="c" depart="{at}" departLane="best" departSpeed="max">'
                        f'<route edges="{edges}"/></vehicle>\n'
                    )
                out.write("</routes>\n")
        return made, routes

    def sumo(self, net: Path, routes: Path) -> dict[str, Any]:
        """One run of the mesoscopic model with its trips written; seconds of the loop are SUMO's own figure.

        The loop's processor time is that of the process less that of one which ends after a second of the day.
        """
        if net not in self._sumo_start_s:
            self._sumo_start_s[net] = min(self._sumo_run(net, routes, "--end", "1")["cpu_s"] for _ in range(3))
        line = self._sumo_run(net, routes)
        return line if "error" in line else line | {"loop_cpu_s": line["cpu_s"] - self._sumo_start_s[net]}

    def _sumo_run(self, net: Path, routes: Path, *more: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            stat = Path(folder) / "stat.xml"
            command = [
                str(self.sumo_home / "bin" / "sumo"), "-n", str(net), "-r", str(routes), "--mesosim", "true",
                "--no-step-log", "true", "--no-warnings", "true", "--duration-log.statistics", "true",
                "--statistic-output", str(stat), "--tripinfo-output", str(Path(folder) / "trips.csv"),
                "--xml-validation", "never", "--xml-validation.net", "never", "--ignore-route-errors", "true", *more,
            ]  # fmt: skip
            done = measured(command, environment=self._environment())
            line = {"engine": "SUMO 1.28 meso"} | done.cost
            if done.cost["rc"]:
                return line | {"error": done.said.strip()[-300:]}
            root = ET.parse(stat).getroot()
        part = {name: root.find(name) for name in ("performance", "vehicleTripStatistics", "teleports")}
        took = {name: dict(item.attrib) if item is not None else {} for name, item in part.items()}
        trip = took["vehicleTripStatistics"]
        load = re.search(r"Loading net-file.*done \((\d+)ms\)", done.said)
        return line | {
            "load_s": int(load[1]) / 1000 if load else None,
            "loop_s": float(took["performance"]["clockDuration"]),
            "arrived": int(trip["count"]),
            "travel_s": round(float(trip.get("duration", 0)) + float(trip.get("departDelay", 0)), 2),
            "teleports": int(took["teleports"]["total"]),
        }

    # ------------------------------------------------------------------ UXsim

    def uxsim(self, net: Path, trips: Path, *, cpp: bool, deltan: int, end_s: int) -> dict[str, Any]:
        """One run of UXsim on the given routes."""
        script = Path(__file__).with_name("uxsim_run.py")
        command = [str(self.python), str(script), str(net), str(trips), str(deltan), str(end_s), "cpp" if cpp else "py"]
        done = measured(command, environment=self._environment(), limit_gib=16)
        line = {"engine": f"UXsim 1.15 {'C++' if cpp else 'Python'}, deltan {deltan}"} | done.cost
        told = [text for text in done.said.splitlines() if text.startswith("RESULT ")]
        return line | (json.loads(told[-1][7:]) if told else {"error": done.said.strip()[-300:]})
