# make demo and make test set everything up by themselves, in .venv; see make help.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types layers unit format docs bench estimate golden golden-check audit coverage mutation trust hooks clean setup

# nothing of another active environment reaches ours
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
ifeq ($(strip $(HOME)),)
export HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
endif

RUN := .venv/bin
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH ?=
MUTATION ?=

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo:  ## set up, then run Helsinki for a day: summary, results folder, picture and report
	@.ci/setup core
	@$(RUN)/twin run

test:  ## set up, then lint, types, layers and all tests
	@.ci/setup test
	@$(MAKE) --no-print-directory lint types layers unit

setup:  ## only the set-up, for development
	@.ci/setup dev

lint:  ## ruff
	@.ci/setup test
	$(RUN)/ruff check .

types:  ## mypy, strict outside kernels
	@.ci/setup test
	$(RUN)/mypy

layers:  ## viz -> runs -> twin -> maps
	@.ci/setup test
	$(RUN)/lint-imports --no-logo

unit:  ## pytest, the same examples every time; PYTEST_ARGS="-k charging -x" chooses, "--hypothesis-profile=default" tries others
	@.ci/setup test
	$(RUN)/pytest -q -n $(WORKERS) --dist loadfile --hypothesis-profile=ci $(PYTEST_ARGS)

format:  ## ruff format and the fixes that are safe
	@.ci/setup test
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench:  ## speed of this machine, then beside SUMO and UXsim (installed once, apart); BENCH="--runs 1" chooses
	@.ci/setup core
	@$(RUN)/python -m tests.bench.run
	@$(RUN)/python -m tests.bench.engines $(BENCH)

docs:  ## reference of the Python API from its docstrings, site/index.html
	@.ci/setup dev
	$(RUN)/pdoc -d numpy -o site runs twin maps viz

estimate:  ## the 2022 fleet, as it was and as planned, with intervals (goes on where it was stopped)
	@.ci/setup core
	@$(RUN)/twin estimate --case plan
	@$(RUN)/twin estimate --case actual

golden:  ## record the digests of a dozen small runs anew, after a change of results that the changelog explains
	@.ci/setup test
	@$(RUN)/python -m tests.golden_cases --write

golden-check:  ## compare these runs with what is recorded
	@.ci/setup test
	@$(RUN)/python -m tests.golden_cases

audit:  ## pinned packages against the advisories we know of
	@.ci/setup test
	$(RUN)/pytest -q tests/test_advisories.py

coverage:  ## share of the Python code that the tests run, with the small kernels' tests uncompiled too
	@.ci/setup test
	$(RUN)/coverage erase
	$(RUN)/coverage run -m pytest -q -p no:cacheprovider $(PYTEST_ARGS)
	NUMBA_DISABLE_JIT=1 $(RUN)/coverage run -m pytest -q -p no:cacheprovider tests/theory/test_energy_theory.py tests/test_charging_physics.py
	$(RUN)/coverage combine -q
	$(RUN)/coverage report --skip-covered --sort=cover --fail-under=90

mutation:  ## what share of small changes the tests notice; MUTATION="--n 100 charging" chooses
	@.ci/setup test
	@$(RUN)/python -m tests.mutation $(MUTATION)

trust:  ## the long checks: planted bugs, 2,000 random cities with faults, 2,000 damaged files of each format, 500 kills
	@.ci/setup test
	$(RUN)/python -m tests.planted
	$(RUN)/python -m tests.faults --seeds 2000
	$(RUN)/python -m tests.hostile --n 2000 all
	$(RUN)/python -m tests.kills --n 500
	$(RUN)/python -m tests.crash_points
	$(RUN)/python -m tests.lasting --days 7

hooks:  ## run the checks before every commit
	@.ci/setup dev
	$(RUN)/pre-commit install

clean:  ## remove the environment and every cache; results stay
	rm -rf .venv site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find maps runs tests twin viz -name __pycache__ -type d -prune -exec rm -rf {} +
