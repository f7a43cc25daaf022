"""Sweeps: many runs from one file, on one machine or a cluster, and one table from all of them.

`sweep_file` reads the file, `design` says which runs, `keys` gives each its name by content. `local` and `cluster` are
the executors; whichever runs a run, `nursery` forks a process for it, `worker` does it there and writes its `records`
durably, so an executor that dies loses nothing. `collect` makes the tables, `effects` and `indices` what follows from
them, `forecast` says beforehand what all this takes, and `sweep` puts it together.
"""
