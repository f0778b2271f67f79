# Everything a person types. `make` alone says what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
READY := .venv/.ready
UV_RUN := $(BIN)/python -m infra.local.index pip
FAST := tests/unit tests/contract
REST := $(filter-out $(FAST) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

.PHONY: help setup run stop clean lint check test crash crash-lake faults bench bench-delivery bench-connectors bench-lake bench-quality lock

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with what requirements.lock pins

$(READY): requirements.lock pyproject.toml Makefile infra/local/index.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: install it, or name one with make PYTHON=python3.12." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  { echo "Making .venv."; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing what requirements.lock pins."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(UV_RUN) sync --quiet --require-hashes requirements.lock
	@$(UV_RUN) install --quiet --no-deps --no-build-isolation --editable .
	@echo "Compiling the detection loops."
	@$(BIN)/python -c "from pipeline.agents.detect import compile_kernel; compile_kernel()"
	@touch $@

run: setup ## start everything and play the sample (ONCE=1: end when it is through)
	@exec $(BIN)/python -m infra.local run $(if $(ONCE),--once)

stop: setup ## end what runs in .local
	@$(BIN)/python -m infra.local stop

clean: setup ## stop, and delete .local with all its data
	@$(BIN)/python -m infra.local clean

lint: setup
	@echo "Format, lint, types, imports."
	@$(BIN)/ruff format --quiet --check . || { echo "Run .venv/bin/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports 2>&1) || { echo "$$said"; exit 1; }

check: lint ## format, lint, types, imports and the tests that need no server
	@echo "Tests that need no server."
	@$(BIN)/pytest $(FAST) -m "not parts"

test: lint ## check, and then every other test, on real parts
	@echo "All tests, the quick ones first."
	@$(BIN)/pytest $(FAST) $(REST)

crash: setup ## kill, freeze and part the workers 30 times and check every reading (SEED=n)
	@$(BIN)/python -m tests.crash --rounds $(or $(ROUNDS),30) $(if $(SEED),--seed $(SEED))

crash-lake: setup ## kill and starve the archive workers 44 times, every row counted by three readers (SEED=n)
	@$(BIN)/python -m tests.crash.lake --rounds $(or $(ROUNDS),44) $(if $(SEED),--seed $(SEED))

faults: setup ## 200 faults against the delivery engine, every order checked in the ERP (SEED=n)
	@$(BIN)/python -m tests.faults --faults $(or $(FAULTS),200) $(if $(SEED),--seed $(SEED))

bench: setup ## speed, beside Faust, Quix Streams and Bytewax (QUICK=1: small sizes)
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

bench-delivery: setup ## the delivery engine against bare httpx (QUICK=1: small sizes)
	@$(BIN)/python -m tests.bench.delivery $(if $(QUICK),--quick)

bench-connectors: setup ## each connector against its sandbox, beside bare httpx (QUICK=1: small sizes)
	@$(BIN)/python -m tests.bench.connectors $(if $(QUICK),--quick)

bench-lake: setup ## Kafka to Parquet, beside pyarrow and Quix Streams (QUICK=1: small sizes)
	@$(BIN)/python -m tests.bench.lake $(if $(QUICK),--quick)

bench-quality: setup ## detection on the NAB series and on C-MAPSS
	@$(BIN)/python -m tests.bench.quality

lock: setup ## pin the newest allowed versions in requirements.lock
	@echo "Resolving."
	@$(UV_RUN) compile --quiet --upgrade --universal --python-version 3.11 --all-extras --fork-strategy fewest \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	  pyproject.toml infra/local/build.in --output-file requirements.lock
