# Every target sets up what it needs: a virtual environment in .venv, pinned by constraints.txt.
# PYTHON is the interpreter the environment is made with; STUDIES a folder of CT volumes for `make run`.
PYTHON ?= python3
STUDIES ?= studies
DATA ?= data

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo run test check fix fuzz load soak bench openapi screenshots settings clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(READY) ## Make the virtual environment

# Without constraints pip takes the newest torch and several gigabytes of CUDA packages with it.
# monailabel comes without its dependencies: only its client and its shipped tests are used, by our tests.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps monailabel==0.8.5
	@touch $@

demo: $(READY) ## Play the whole loop on phantoms and write an HTML report
	$(BIN)/caclabel demo demo-out

run: $(READY) ## Serve a folder: make run STUDIES=dir
	$(BIN)/caclabel serve --studies $(STUDIES) --data $(DATA)

# A file's tests stay in one process: they share a server. Journeys wait for servers and browsers
# much of their time, so one process more than there are cores, and they do not all come last.
PYTEST := $(BIN)/pytest -n $(shell expr `nproc` + 1) --dist loadfile --no-loadscope-reorder

test: $(READY) ## Run the tests
	$(PYTEST)

check: $(READY) ## Format, lint, images, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose*.yaml
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

fix: $(READY) ## Format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Takes a quarter of an hour; SIGKILL to server and worker at random moments while labels come in.
soak: $(READY) ## Kill the server and its worker 200 times and look for losses
	$(BIN)/python -m tests.journeys.soak --rounds 200

# In one process, so that an input that ends it is known: the last one written below FUZZ_DIR.
FUZZ_SECONDS ?= 600
FUZZ_DIR ?= /tmp/caclabel-fuzz

fuzz: $(READY) ## Send broken files and requests for so long: make fuzz FUZZ_SECONDS=600
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -n 0 --timeout 0 --basetemp $(FUZZ_DIR) tests/fuzz

# Five minutes, then an upload of 2 GiB, which needs 6 GiB of disk below TMPDIR for a while.
LOAD_SECONDS ?= 300
LOAD_CLIENTS ?= 50

load: $(READY) ## Let 50 clients annotate for 5 minutes and send 2 GiB, then look for losses
	$(BIN)/python -m tests.load.run --seconds $(LOAD_SECONDS) --clients $(LOAD_CLIENTS)

bench: $(READY) ## Measure and print the figures of docs/benchmarks.md
	$(BIN)/caclabel bench

openapi: $(READY) ## Rewrite the OpenAPI snapshot after a change of the API
	$(BIN)/caclabel openapi > tests/server/openapi.json

screenshots: $(READY) ## Take the pictures of OHIF again, with Debian's Chromium
	$(BIN)/python -m tests.journeys.screenshots docs/images

settings: $(READY) ## Print the settings table of the README
	$(BIN)/caclabel settings

clean: ## Remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
