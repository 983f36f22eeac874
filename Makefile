# Each target sets up what it needs: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without bytecode every start compiles all modules again, which takes half a second of the processor.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo test test-js test-page test-install test-clients chaos soak test-exporters reference test-api test-deploy sbom lint types format check clean

run: $(VENV)/.run
	$(BIN)/eddyline serve

demo: $(VENV)/.run
	$(BIN)/eddyline demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile

# The JavaScript exporters against a real server; needs Node.js and the npm registry.
test-js: $(VENV)/.dev
	cd tests/js && npm install --no-package-lock --no-audit --no-fund --silent
	$(BIN)/python -m pytest -o addopts=-q tests/js

# The page in Debian's Chromium (apt install chromium), and its types and style; needs Node.js and the npm registry.
test-page: $(VENV)/.dev
	cd tests/page && npm install --no-package-lock --no-audit --no-fund --silent
	$(BIN)/python -m pytest -o addopts=-q tests/page

# A wheel, installed elsewhere, serves the page; needs the registry.
test-install: $(VENV)/.dev
	$(BIN)/python -m pytest -o addopts=-q -o timeout=600 tests/install

# LLM SDKs in Python and JavaScript through the proxy; needs Node.js and both registries.
test-clients: $(VENV)/.dev
	$(BIN)/pip install --quiet --group clients
	cd tests/clients && npm install --no-package-lock --no-audit --no-fund --silent
	$(BIN)/python -m pytest -o addopts=-q tests/clients

# What stock exporters of several versions lose through overload and restarts; needs Node.js and both registries.
test-exporters: $(VENV)/.dev
	cd tests/js && npm install --no-package-lock --no-audit --no-fund --silent
	$(BIN)/python -m pytest -o addopts=-q -s tests/exporters

# Faults and floods at full size: a quarter of an hour; with CHAOS_ROUNDS=500 CHAOS_SECONDS=1800 hours.
chaos: $(VENV)/.dev
	$(BIN)/python -m pytest -o addopts=-q -s -o timeout=14400 tests/chaos

# Exporters and agents for so many hours: memory and open files stay as they are.
HOURS ?= 8
soak: $(VENV)/.dev
	SOAK_HOURS=$(HOURS) $(BIN)/python -m pytest -o addopts=-q -s tests/chaos/test_soak.py

# What the API's routes declare, written down for people.
reference: $(VENV)/.dev
	$(BIN)/python -m tests.reference

# The running API against its own OpenAPI document: minutes.
test-api: $(VENV)/.dev
	EDDYLINE_EXAMPLES=200 $(BIN)/python -m pytest -o addopts=-q tests/collector/api/test_schemathesis.py

# Manifests, units and images by the validators of those who run them; needs kubectl, and of Debian systemd, prometheus
# (for promtool), nginx and caddy.
test-deploy: $(VENV)/.dev
	$(BIN)/pip install --quiet --group deploy
	$(BIN)/python -m pytest -o addopts=-q tests/deploy/validators

# What an installation consists of, as a CycloneDX document for scanners of vulnerabilities: dist/sbom.json.
sbom: $(VENV)/.dev
	$(BIN)/pip install --quiet --group sbom
	$(PYTHON) -m venv --clear $(VENV)/installed
	$(VENV)/installed/bin/pip install --quiet .
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom.json \
		$(VENV)/installed/bin/python

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint types test

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable .
	$(BIN)/python -m compileall -q collector mappers sinks
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable . --group dev
	$(BIN)/python -m compileall -q collector mappers sinks
	touch $@ $(VENV)/.run
