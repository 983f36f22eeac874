# Each target sets up what it needs: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without bytecode every start compiles all modules again, which takes half a second of the processor.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo test test-js test-page pictures test-install test-clients chaos soak fuzz test-exporters reference test-api test-deploy pins check-pins audit sbom lint types format check clean

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

# The pictures of the page in the README, made anew of captured runs.
pictures: $(VENV)/.dev
	cd tests/page && npm install --no-package-lock --no-audit --no-fund --silent
	$(BIN)/python -m tests.page.readme

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

# Mutated requests through both doors, the check and the mapping into the engine, for so many minutes; findings lie in .fuzz.
MINUTES ?= 2
SEED ?= 1
fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --group fuzz || echo "without atheris requests are changed at random"
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

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

# What the image consists of, with the hashes of every file that may be fetched for it. A version stays unless
# pyproject.toml asks for another, or UPGRADE=--upgrade does. $UV_DEFAULT_INDEX or $PIP_INDEX_URL may name another index.
PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
pins check-pins: export UV_DEFAULT_INDEX := $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL))
pins: $(VENV)/.supply
	$(BIN)/$(PIN) pyproject.toml --extra cbor --extra mcp $(UPGRADE) -o deploy/requirements.txt
	$(BIN)/$(PIN) --group build $(UPGRADE) -o deploy/build-requirements.txt

# They are what `make pins` would write now, and there is a wheel of each for both processors.
check-pins: $(VENV)/.supply
	mkdir -p $(VENV)/pins && cp deploy/requirements.txt deploy/build-requirements.txt $(VENV)/pins
	$(BIN)/$(PIN) pyproject.toml --extra cbor --extra mcp -o $(VENV)/pins/requirements.txt
	$(BIN)/$(PIN) --group build -o $(VENV)/pins/build-requirements.txt
	diff $(VENV)/pins/requirements.txt deploy/requirements.txt
	diff $(VENV)/pins/build-requirements.txt deploy/build-requirements.txt
	for processor in x86_64 aarch64; do $(BIN)/uv pip install --quiet --dry-run --require-hashes --only-binary :all: \
		--python-version 3.13 --python-platform $$processor-manylinux_2_28 --target $(VENV)/pins \
		-r deploy/requirements.txt -r deploy/build-requirements.txt || exit 1; done

# Known vulnerabilities of what is pinned. AUDIT="--vulnerability-service osv --osv-url URL" asks another service.
audit: $(VENV)/.supply
	@$(BIN)/pip-audit --strict --progress-spinner off --require-hashes --disable-pip $(AUDIT) \
		-r deploy/requirements.txt -r deploy/build-requirements.txt || { printf '%s\n' \
		"Vulnerabilities are listed above; 'make pins UPGRADE=--upgrade' takes versions without them." \
		"If there is an error instead, the service could not be asked and nothing is known: name one that can be reached" \
		"in AUDIT, or take dist/sbom.json of 'make sbom' to a scanner that has a database of its own."; exit 1; }

# What the image consists of, as a CycloneDX document for scanners of vulnerabilities: dist/sbom.json.
sbom: $(VENV)/.supply
	$(PYTHON) -m venv --clear --without-pip $(VENV)/installed
	$(BIN)/pip --python $(VENV)/installed/bin/python install --quiet --require-hashes -r deploy/requirements.txt
	$(BIN)/pip --python $(VENV)/installed/bin/python install --quiet --no-deps .
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

$(VENV)/.supply: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --group supply
	touch $@
