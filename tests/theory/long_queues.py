"""The queueing checks with twelve times the arrivals: 99 % intervals of at most 1 %. About two minutes of one core.

Thirty-eight intervals are judged together: each may be missed by so much that all hold in 99 % of cases.

`python -m tests.theory.long_queues`; ends with an AssertionError when a closed form is missed.
"""

from __future__ import annotations

from time import process_time

from tests.theory import test_queues_charging as queues

MORE, WIDTH, INTERVALS = 12, 0.01, 38


def main() -> None:
    began = process_time()
    queues.TOGETHER = INTERVALS
    for rho in (0.5, 0.8, 0.9):
        for sockets in (1, 2, 4, 8):
            queues.test_mmc_mean_wait_and_share_waiting(sockets, rho, more=MORE, width=WIDTH)
            print(f"M/M/{sockets} at {rho}: mean wait and P(wait) within 1 %", flush=True)
    for law in (queues.exponential, queues.constant, queues.two_phase):
        for rho in (0.5, 0.8):
            queues.test_mg1_mean_wait_of_pollaczek_and_khinchine(law, rho, more=MORE, width=WIDTH)
            print(f"M/G/1 {law.__name__} at {rho}: within 1 %", flush=True)
    for sockets, rho in ((1, 0.8), (2, 0.8), (4, 0.9), (8, 0.9)):
        queues.test_mdc_mean_wait_of_crommelin(sockets, rho, more=MORE, width=WIDTH)
        print(f"M/D/{sockets} at {rho}: within 1 %", flush=True)
    for sockets, load in ((3, 2.0), (8, 6.0)):
        queues.test_erlang_b(sockets, load, more=MORE, width=WIDTH)
        print(f"Erlang B, {sockets} sockets, load {load}: within 1 %", flush=True)
    queues.test_number_charging_in_an_infinite_server_is_poisson(more=MORE, width=WIDTH)
    print(f"M/G/inf: mean and variance within 1 %; {process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
