# The commands of the README. Each sets itself up: own .venv, locked dependencies.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test dev check docs lock

help:  ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/ready  ## Publish sample data of all domains and show what was published
	@$(BIN)/sheaf demo

test: .venv/ready  ## Run the tests
	@$(BIN)/pytest -m "not ui and not influxd"

dev: .venv/ready  ## Open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/sheaf dev

check: .venv/ready  ## Format, lint, types, import direction, Dagster definitions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache --no-logo
# An instance of its own: with none, Dagster would take ./dagster.yaml, which is the production one.
	@mkdir -p .venv/dagster && echo 'telemetry: {enabled: false}' >.venv/dagster/dagster.yaml
	@export DAGSTER_HOME="$(CURDIR)/.venv/dagster" VIRTUAL_ENV="$(CURDIR)/.venv"; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs

docs: .venv/ready  ## Write docs/cli.md anew
	@$(BIN)/python -m typer pipelines.cli utils docs --name sheaf --output docs/cli.md

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 pyproject.toml --group dev -o requirements.lock

# uv installs in seconds what takes pip a minute; where it is missing, pip fetches it first.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sheaf needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv, once ..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }
	@UV=$$(command -v uv) || { $(BIN)/python -m pip install -qq --disable-pip-version-check uv && UV=$(BIN)/uv; } || exit 1; \
	  install() { "$$UV" pip install -q --python $(BIN)/python --no-deps "$$@"; }; \
	  install --compile-bytecode --require-hashes -r requirements.lock && install --no-build-isolation -e .
	@touch $@
