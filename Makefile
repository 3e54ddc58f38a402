# seatrial: `make test` sets up and passes the tests.
PYTHON ?= python3
BIN := .venv/bin
BUNDLES ?= bundles
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: help setup check fix test clean
.DEFAULT_GOAL := help

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/.ready ## make .venv with everything in it (CPU)

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "seatrial needs Python 3.11 or newer: make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "this Python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

check: setup ## lint, types, imports and the quick tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/python -m pytest -m 'not slow and not gpu' tests

fix: setup ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## the tests, with coverage
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

clean: ## remove what setup, demo and tests made
	rm -rf .venv $(BUNDLES) reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
