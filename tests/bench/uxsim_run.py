"""UXsim on a network and trips as `against.py` reads them; run by the Python of its own environment, prints one line.

    python uxsim_run.py net.npz trips.npz DELTAN END_S cpp|py

The given routes are imposed. With DELTAN above 1 UXsim moves platoons, and every DELTAN-th trip stands for so many.
The route search runs once, at the start, since it cannot be switched off; vehicle logging, its slowest part, is off.
The run stops just before its end: what UXsim computes over all pairs of nodes then would be most of the time.
"""

import json
import sys
import time

import numpy as np


def main() -> None:
    import uxsim  # of the environment of its own

    net, trips = np.load(sys.argv[1]), np.load(sys.argv[2])
    deltan, end_s, cpp = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "cpp"
    start = time.perf_counter()
    world = uxsim.World(
        name="b", deltan=deltan, reaction_time=float(net["tau"]), tmax=end_s, duo_update_time=10 * end_s, print_mode=0,
        save_mode=0, show_mode=0, show_progress=0, random_seed=1, vehicle_logging_timestep_interval=-1, cpp=cpp,
    )  # fmt: skip
    for i, (x, y) in enumerate(zip(net["node_x"].tolist(), net["node_y"].tolist(), strict=True)):
        world.addNode(f"n{i}", x, y)
    tail, head = net["link_from"].tolist(), net["link_to"].tolist()
    jam = 1 / float(net["spacing"])
    lengths, speeds, lanes = (net[f"link_{name}"].tolist() for name in ("len", "speed", "lanes"))
    for i, (a, b) in enumerate(zip(tail, head, strict=True)):
        world.addLink(
            f"e{i}", f"n{a}", f"n{b}", length=lengths[i], free_flow_speed=speeds[i], jam_density_per_lane=jam,
            number_of_lanes=lanes[i],
        )  # fmt: skip
    ptr, links, depart = trips["route_ptr"], trips["route_links"], trips["depart"].tolist()
    for i in range(0, len(depart), deltan):
        way = links[ptr[i] : ptr[i + 1]].tolist()
        vehicle = world.addVehicle(f"n{tail[way[0]]}", f"n{head[way[-1]]}", depart[i])
        vehicle.enforce_route([f"e{link}" for link in way])
    world.finalize_scenario()
    ready, cpu = time.perf_counter(), time.process_time()
    world.exec_simulation(until_t=end_s - 2 * world.DELTAT)
    done, cpu = time.perf_counter(), time.process_time() - cpu
    times = [v.travel_time for v in world.VEHICLES.values() if v.state == "end" and v.travel_time > 0]
    line = {
        "load_s": round(ready - start, 3),
        "loop_s": round(done - ready, 4),
        "loop_cpu_s": round(cpu, 4),
        "arrived": len(times) * deltan,
        "travel_s": round(sum(times) / max(len(times), 1), 2),
    }
    print("RESULT " + json.dumps(line))


if __name__ == "__main__":
    main()
