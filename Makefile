PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-kills test-deployment test-tracking lint bench bench-scale study papers clean

demo: .venv/.installed
	$(BIN)/unmerge run scenarios/quickstart.yaml

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m slow

# A driver that is killed at any moment, interrupted, out of disk; Ray whose processes are killed. Three quarters of an hour.
test-kills: .venv/.installed-dev
	$(BIN)/python -m pytest -m slow -s tests/reliability

# Flower and Ray as they are used: processes of a SuperLink, SuperNodes and a Ray cluster on this machine.
test-deployment: .venv/.installed-dev
	$(BIN)/python -m pytest -m deployment -s tests/deployment

# Every tracking library, in an environment of its own: Trackio takes no pillow as new as the one that is pinned.
test-tracking: .venv-tracking/.installed
	TRACKIO_DIR=.venv-tracking/trackio .venv-tracking/bin/python -m pytest -m tracking tests/sim/tracking

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house

bench: .venv/.installed-dev
	$(BIN)/python tests/benchmarks/bench_sums.py
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.bench_merging
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.bench_affinity
	$(BIN)/python -m tests.benchmarks.bench_compare
	$(BIN)/python -m tests.benchmarks.bench_simulate

# An hour of processor time: studies of 2 to 500 clients beside their largest point alone. CLIENTS=2,5,10,25,50 takes minutes.
bench-scale: .venv/.installed-dev
	$(BIN)/python -m tests.benchmarks.bench_scale $(if $(CLIENTS),--clients $(CLIENTS))

# Hours: every setting of docs/what_merging_adds.md and the table of docs/strategies.md. DATA is a folder of real data, if any.
study: .venv/.installed-dev
	$(BIN)/python -m tests.benchmarks.study runs/study $(if $(DATA),--data $(DATA))
	$(BIN)/python -m tests.benchmarks.study_tables runs/study

# The papers' tables and figures, an hour on one core: docs/reproductions.md. It goes on where it was stopped.
papers: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.papers runs/papers
	$(BIN)/python -m tests.benchmarks.papers runs/papers --check

clean:
	rm -rf .venv .venv-tracking build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unmerge needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

# torch first: once its pinned build is there, nothing else asks the index for another.
.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv-tracking/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tracking
	grep -v '^pillow==' constraints.txt > .venv-tracking/constraints.txt
	.venv-tracking/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-tracking/constraints.txt torch
	.venv-tracking/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-tracking/constraints.txt -e '.[dev,tracking]'
	touch $@
