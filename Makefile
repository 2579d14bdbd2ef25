# The commands of the README. Each sets itself up: own .venv, locked dependencies.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --python-version 3.11
.DEFAULT_GOAL := help
.PHONY: help demo test dev check docs lock

help:  ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/ready  ## Publish sample data of all domains and show what was published
	@$(BIN)/sheaf demo

test: .venv/ready-to-develop  ## Run the tests
	@$(BIN)/pytest -n auto --dist loadfile -m "not (ui or influxd or campaign)"

dev: .venv/ready  ## Open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/sheaf dev

check: .venv/ready-to-develop  ## Format, lint, types, import direction, Dagster definitions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache --no-logo
# An instance of its own: with none, Dagster would take ./dagster.yaml, which is the production one.
	@mkdir -p .venv/dagster && echo 'telemetry: {enabled: false}' >.venv/dagster/dagster.yaml
	@export DAGSTER_HOME="$(CURDIR)/.venv/dagster" VIRTUAL_ENV="$(CURDIR)/.venv"; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs

docs: .venv/ready-to-develop  ## Write the reference pages anew: docs/{cli,tables,series,checks,settings}.md
	@$(BIN)/python -m typer pipelines.cli.main utils docs --name sheaf --output docs/cli.md
	@$(BIN)/python -m pipelines.reference docs

lock:  ## Resolve the dependencies anew (needs uv)
	$(COMPILE) pyproject.toml --extra pipeline --group build -o requirements.lock
	$(COMPILE) pyproject.toml --extra pipeline --group build --group dev -c requirements.lock -o requirements-dev.lock

# uv installs in seconds what takes pip a minute; where it is missing, pip fetches it for the time it is needed.
INSTALL = uv=$$(command -v uv) || { \
    $(BIN)/python -m pip install -qq --disable-pip-version-check --target .venv/uv uv && uv=.venv/uv/bin/uv; } \
  || exit 1; install() { "$$uv" pip install -q --python $(BIN)/python --no-deps "$$@"; }; install --require-hashes -r
DONE = rm -rf .venv/uv && touch $@

# What Sheaf needs, and Sheaf itself.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sheaf needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv, once ..."
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }
	@$(INSTALL) requirements.lock && install --no-build-isolation -e . && $(DONE)

# What its tests and checks need besides.
.venv/ready-to-develop: .venv/ready requirements-dev.lock
	@echo "Adding what the tests need ..."
	@$(INSTALL) requirements-dev.lock && $(DONE)
