# From a fresh clone to a verdict: `make demo`. Needs Python 3.11 or newer, nothing else; everything goes into .venv.
# PYTHON=/path/to/python chooses the interpreter; without it, one that constraints/ has exact pins for is preferred.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
INPUTS := pyproject.toml $(wildcard constraints/*.txt)
WORKERS ?= 2
SUITE ?= tiny

.PHONY: help demo bench test lint format types contracts docs check nightly mutants seeds limits meshes shipped sample clean

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

demo: $(BASE) ## install, run the suite `tiny`, print the verdicts and where the report is
	@mkdir -p reports/runs; touch $(VENV)/.demo-began; code=0; \
	$(BIN)/paritygate run $(SUITE) || code=$$?; \
	report=$$(find reports/runs -name report.html -newer $(VENV)/.demo-began | sort | tail -n 1); \
	echo; \
	echo "paritygate run $(SUITE): exit code $$code"; \
	if [ -n "$$report" ]; then echo "report: $(CURDIR)/$$report"; else echo "report: none was written"; fi; \
	exit $$code

bench: $(BASE) ## tokens/s and tiles/s of jax_llama4 beside HF torch, the mixture of experts, products of 16-bit peers, emulation
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/emulation.py

# A file's tests on one worker, or what they share, often a whole run, is made on both. In the order of tests/conftest.py.
# Not --dist loadgroup: pytest-xdist 3.8 groups nothing under pytest 9.2, without a word.
# Compiled first: where children are told to write no bytecode, each of hundreds would compile the harness anew.
test: $(DEV) ## install with the extra `dev` and run the tests
	$(BIN)/python -m compileall -q harness impl
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=10 $(PYTEST_ARGS)

lint: $(DEV) ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## let ruff rewrite what `make lint` would refuse
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV) ## basedpyright over harness and impl
	$(BIN)/basedpyright

contracts: $(DEV) ## who may import whom (import-linter)
	PYTHONPATH=harness:impl $(BIN)/lint-imports --no-logo

# Warnings are errors, and nothing is fetched. --fresh-env: pages are made of code that Sphinx does not watch.
docs: $(DEV) ## build the documentation into build/docs (Sphinx)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -b html docs build/docs
	@echo "documentation: $(CURDIR)/build/docs/index.html"

check: lint types contracts docs test ## all that CI runs

nightly: mutants seeds limits meshes shipped ## the long checks: `make -k nightly` goes on after one has failed

mutants: $(DEV) ## plant the whole catalogue of faults; fails where one is missed or misblamed
	$(BIN)/paritygate mutate

# From nothing each time: seeds that are kept are judged again, not replayed.
seeds: $(DEV) ## twenty seeds of weights and text, unfaulted; fails on a false alarm
	rm -rf reports/runs/seeds
	$(BIN)/paritygate seeds --keep reports/runs/seeds

meshes: $(DEV) ## every mesh layout of up to eight devices in float64, float32 and bfloat16
	$(BIN)/paritygate run mesh --timeout 7200

shipped: $(DEV) ## tests of parity, faults and pages with programs compiled as XLA does by itself, not quickly
	XLA_FLAGS= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/parity tests/faults tests/docs

limits: $(DEV) ## the limits that the reference's harmless variants give today, beside those in golden/budgets.toml
	$(BIN)/paritygate budget fit

sample: $(DEV) ## the run with a planted fault that reports/sample shows, its report and the picture in the README
	$(BIN)/python reports/sample.py

clean: ## remove build outputs, caches and local runs; keeps .venv
	rm -rf build dist reports/runs .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find harness impl tests -type d -name __pycache__ -prune -exec rm -rf {} +

# An interpreter of at least 3.11 that can make an environment, pinned versions first.
$(BIN)/python:
	@chosen=; \
	for candidate in $(if $(PYTHON),$(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	  if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "paritygate needs Python 3.11 or newer with the modules venv and ensurepip; found none$(if $(PYTHON), as $(PYTHON))." >&2; \
	  echo "try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$chosen --version)"; \
	$$chosen -m venv $(VENV) || { rm -f $(BIN)/python; exit 1; }

# The stamps stand for "installed from these pyproject.toml and constraints"; nothing is repeated while they are newer.
define install
	@pins=constraints/$$($(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt; \
	if [ -f "$$pins" ]; then pin="-c $$pins"; echo "installing paritygate$(1) at the releases in $$pins; minutes the first time"; \
	else pin=; echo "installing paritygate$(1) UNPINNED: there is no $$pins, so the newest releases that pyproject.toml allows" \
	  "are taken, which CI has not run, and torch may be a CUDA build of several GB"; fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$pin -e '.$(1)'
endef

$(BASE): $(INPUTS) | $(BIN)/python
	$(call install)
	@touch $(BASE)

$(DEV): $(INPUTS) | $(BIN)/python
	$(call install,[dev])
	@touch $(BASE) $(DEV)
