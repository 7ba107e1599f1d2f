# Every target makes the virtual environment by itself when it is missing or older than the lock.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.14 python3.11 python3.10 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
LOCKS ?= ../shared/locks
ARGS ?=
T ?=

.DEFAULT_GOAL := help
.PHONY: help setup refresh verify serve test test-s3 lint format corpus bench clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /	/' | expand -t 12

setup: $(VENV)/.run ## check this machine, refresh, and say how to go on
	$(BIN)/mirror setup $(ARGS)

refresh: $(VENV)/.run ## export, plan, download, consolidate, index, sync, invalidate, verify
	$(BIN)/mirror refresh $(ARGS)

verify: $(VENV)/.run ## compare what is published with the lock
	$(BIN)/mirror verify $(ARGS)

serve: $(VENV)/.run ## serve what is published, on loopback
	$(BIN)/mirror serve $(ARGS)

test: $(VENV)/.dev ## every test that needs no account; T= narrows, e.g. make test T=tests/test_plan.py
	$(BIN)/python -m pytest -n auto --ignore tests/corpus --ignore tests/s3 $(T) $(ARGS)

test-s3: $(VENV)/.dev ## the same promises on real S3 servers, which it installs (Debian, root) and starts
	$(BIN)/python -m pytest -p no:xdist $(or $(T),tests/s3) $(ARGS)

lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff mend and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

corpus: $(VENV)/.dev ## compare with the official exports of the real locks in LOCKS
	LOCKS=$(LOCKS) $(BIN)/python -m pytest -p no:xdist tests/corpus $(ARGS)

bench: $(VENV)/.dev ## measure against peers in the same run
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean: ## remove what can be made again, but not what is published
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The locked versions with their digests, from this repository's own exported requirements.
$(VENV)/.run: requirements-prod.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.14 found: install one, or name it with PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-prod.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-all.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-all.txt
	@touch $@
