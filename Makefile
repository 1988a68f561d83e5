# Sublet. Needs Python 3.11 or newer, and nothing else; everything is installed into this folder.
# Each target with a `##` is listed by `make help`.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The python3 of your shell if it is new enough, else the newest that is found.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && exit; done; \
	for p in python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done)

BIN := .venv/bin
UV := .setup/bin/uv
JOBS ?= 2
PYTEST_ARGS ?=

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: python
python:
	@test -n "$(PYTHON)" || { echo "Sublet needs Python 3.11 or newer, and none was found on PATH." \
	"Install one, or say where it is: make run PYTHON=/path/to/python3.11" >&2; exit 1; }

.PHONY: run
run: python  ## set up what is missing and start Sublet on http://127.0.0.1:8000; Ctrl-C stops it
	@$(PYTHON) scripts/setup.py
	@exec $(BIN)/sublet up

.PHONY: setup
setup: python  ## set up for development: both environments, the proxy, tools for tests and checks
	@$(PYTHON) scripts/setup.py --dev

.PHONY: test
test: setup  ## run the quick tests (all but those marked slow)
	@$(BIN)/pytest -q -n $(JOBS) -m "not slow" $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: setup  ## run the slow tests: whole platform, browser, chaos
	@$(BIN)/pytest -q -m slow $(PYTEST_ARGS)

.PHONY: lint
lint: setup  ## check style, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: setup  ## put code into the project's format and mend what can be mended by itself
	@$(BIN)/ruff check --fix-only --exit-zero .
	@$(BIN)/ruff format .

.PHONY: lab
lab: python  ## build the JupyterLab extension (setup does it too)
	@$(PYTHON) scripts/setup.py

.PHONY: lab-check
lab-check: setup  ## check the JupyterLab extension: types, tests, format, and its types of the API
	@$(BIN)/python -m scripts.lab

.PHONY: lab-api
lab-api: setup  ## write the JupyterLab extension's types of the API anew, from docs/openapi.json
	@$(BIN)/python -m scripts.lab api

.PHONY: lab-words
lab-words: setup  ## bring the JupyterLab extension's translations up to its source
	@$(BIN)/python -m scripts.lab words

.PHONY: docs
docs: setup  ## write the pages of docs/ that are made from the code
	@$(BIN)/python -m scripts.docs

.PHONY: bench
bench: setup  ## measure, and print the ratios that docs/performance.md tells about
	@$(BIN)/python -m tests.bench

.PHONY: doctor
doctor:  ## say what is wrong with this installation
	@$(BIN)/sublet doctor

# IMAGE_BUILDER CONTEXT -f DOCKERFILE -t NAME [--build-arg ...]: docker, podman, or what loads into a test cluster too.
IMAGE_BUILDER ?= docker build
IMAGES ?= hub notebook warden
IMAGE_PREFIX ?= sublet-
IMAGE_TAG ?= $(VERSION)
# What the notebook has of PyTorch: cpu, cuda or none (images/notebook/Dockerfile).
TORCH ?= cpu
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE_ARGS_hub = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)
IMAGE_ARGS_notebook = $(IMAGE_ARGS_hub) --build-arg TORCH=$(TORCH)

.PHONY: images
images: $(addprefix image-,$(IMAGES))  ## build the images (IMAGE_TAG=..., TORCH=cpu|cuda|none, IMAGE_BUILDER=...)

image-%:
	$(IMAGE_BUILDER) . -f images/$*/Dockerfile -t $(IMAGE_PREFIX)$*:$(IMAGE_TAG) $(IMAGE_ARGS_$*)

# For the tests on Kubernetes alone.
.PHONY: image-test-postgres
image-test-postgres:
	$(IMAGE_BUILDER) tests/kube/images/postgres -f tests/kube/images/postgres/Dockerfile -t $(IMAGE_PREFIX)test-postgres:$(IMAGE_TAG)

# The locks record no index: any mirror of the package registries will do.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(COMPILE_ARGS)
HUB_LOCK := images/hub/requirements.txt

.PHONY: lock
lock: setup  ## renew the locks after a change of dependencies (COMPILE_ARGS=--upgrade: to the newest)
	$(COMPILE) images/hub/requirements.in --no-emit-package sublet-hub -o $(HUB_LOCK)
	$(COMPILE) images/notebook/requirements.in --no-emit-package sublet -c $(HUB_LOCK) -o images/notebook/requirements.txt
	$(COMPILE) requirements-dev.in --no-emit-package sublet-hub -c $(HUB_LOCK) -o requirements-dev.txt
	$(COMPILE) scripts/build.in -o scripts/build.txt
	$(COMPILE) scripts/uv.in -o scripts/uv.txt
	$(COMPILE) scripts/models.in --no-deps -o scripts/models.txt

.PHONY: clean
clean:  ## remove what setup and tests made; keeps .sublet, your data
	rm -rf .setup .venv .venv-notebook proxy/node_modules extensions/lab/node_modules extensions/lab/lib \
		extensions/lab/labextension .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis test-results dist extensions/dist
	find hub_config extensions tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
