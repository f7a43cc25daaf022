"""Mutation testing of kernels, ledgers and checkpoints: `python -m tests.mutation`."""
