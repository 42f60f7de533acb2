# The front door. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help env engines demo test soak check fix lab bench docs build lock gates

BIN  := .venv/bin
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ARGS ?=
LAB_ARGS := $(or $(ARGS),--hosts 2)
BENCH_ARGS := $(or $(ARGS),attach)

help:
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 10

env:  ## prepare everything; says what it installs, does nothing when done
	@packaging/env/prepare.sh

engines: env  ## Docker and podman for the lab's hosts, as packages; their services stay stopped
	@packaging/env/prepare.sh --engines

demo: env  ## two virtual hosts, every kind of network, a table of what was measured
	@$(ROOT) $(BIN)/wefted demo $(ARGS)

test: engines  ## all tests, on all cores (the lab tests need root)
	@$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: env gates test  ## style, types, arrows, then all tests

gates: env
	@echo "ruff: style" && $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@echo "mypy: types" && $(BIN)/mypy --strict --no-error-summary
	@echo "import-linter: arrows" && $(BIN)/lint-imports --no-cache >.venv/arrows.txt || { cat .venv/arrows.txt; exit 1; }
	@echo "uv: lock" && $(BIN)/uv lock --check --offline --quiet

fix: env  ## repair what ruff can repair
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

soak: engines  ## 10,000 random sequences, 1 GB through every backend, 200 containers of Docker (SEQUENCES=1000, STEPS=30, TRANSFER=10GB)
	@WEFTED_SEQUENCES=$(or $(SEQUENCES),10000) WEFTED_STEPS=$(or $(STEPS),12) $(BIN)/pytest -q -n auto --maxprocesses 4 tests/lab/test_random_sequences.py
	@WEFTED_TRANSFER=$(or $(TRANSFER),1GB) $(BIN)/pytest -q -s tests/lab/test_transfers.py tests/lab/test_udp.py -k intact
	@$(BIN)/pytest -q -m soak tests/lab

lab: env  ## a lab of two virtual hosts (ARGS="--hosts 3")
	@$(ROOT) $(BIN)/wefted lab up $(LAB_ARGS)

bench: env  ## measure attaches beside other tools (ARGS="backends")
	@$(ROOT) $(BIN)/wefted bench $(BENCH_ARGS)

docs: env  ## write docs/reference/cli.md from the commands themselves
	@$(BIN)/wefted reference >.venv/cli.md && mv .venv/cli.md docs/reference/cli.md

build: env  ## a wheel and a source archive in dist/
	@rm -rf dist && $(BIN)/uv build --quiet --no-build-isolation --offline && ls dist

lock: env  ## resolve the dependencies anew (ARGS="--upgrade")
	@$(BIN)/python packaging/env/lock.py $(ARGS)
