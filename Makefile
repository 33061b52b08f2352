# Needs Python >= 3.11 and make; everything else is installed into .venv, pinned by hash.
PYTHON ?= python3
DATA ?= .data
PORT ?= 8000
COMPANY_PORT ?= 8001
MINUTES ?= 10
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help setup run reset test check browser client bench chaos lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/dev.stamp ## make .venv with everything, also what checks the portal

run: $(VENV)/base.stamp ## start the whole demo on loopback; Ctrl-C stops it, data stay in .data
	@$(BIN)/portal demo --port $(PORT) --company-port $(COMPANY_PORT) --data $(DATA)

reset: $(VENV)/base.stamp ## empty what `make run` keeps
	@$(BIN)/portal reset --data $(DATA)

test: check browser client ## run every check and every test, browser journeys included
	$(BIN)/pytest

check: $(VENV)/dev.stamp ## lint, format, types and import contracts, without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp ## print figures of this machine, beside a peer where node is there
	@if ! command -v npm >/dev/null; then echo "npm is missing: install Node.js 20 or newer for the figures beside oidc-provider."; \
	else npm ci --prefix bench/peer --silent || echo "npm ci in bench/peer failed: no figures beside oidc-provider."; fi
	$(BIN)/python bench/run.py

chaos: $(VENV)/dev.stamp ## break everything while people edit, for MINUTES, and check the receivers' journals
	@$(BIN)/python tests/chaos/run.py --minutes $(MINUTES) --seed $(SEED)

lock: $(VENV)/dev.stamp ## renew requirements/*.txt from requirements/*.in
	$(PIP) uv
	$(BIN)/uv pip compile $(LOCK) requirements/base.in -o requirements/base.txt
	$(BIN)/uv pip compile $(LOCK) -c requirements/base.txt requirements/dev.in -o requirements/dev.txt

browser: # Debian's headless Chromium, where it can be installed; elsewhere the journeys say that it is missing
	@if ! command -v chromium-headless-shell >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium-headless-shell fonts-noto-cjk >/dev/null || echo "chromium-headless-shell could not be installed"; \
	fi

client: # npm's openid-client, which drives the authorization server; where it cannot be had, its tests say so
	@if ! command -v npm >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			nodejs npm >/dev/null || echo "nodejs and npm could not be installed"; \
	fi
	@if command -v npm >/dev/null; then npm ci --prefix tests/openid_client --silent \
		|| echo "openid-client could not be installed"; fi

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/base.stamp: $(VENV)/python.stamp requirements/base.txt pyproject.toml
	@echo "Installing what the portal runs on ..."
	@$(PIP) --require-hashes -r requirements/base.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp requirements/dev.txt
	@echo "Installing what checks the portal ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
