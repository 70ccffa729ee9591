# `make` lists the targets. Everything below runs in .venv, which `make setup` makes.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
FUZZ_STAMP := $(VENV)/.installed-fuzz
ARGS ?=
NAME ?=
WORKERS ?= auto
export TARGET FUZZ_SECONDS
# Tests start hundreds of processes; where no bytecode is kept, each compiles every module anew.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

# Without the stamp the last set-up was not finished, and what it left may be half a package.
$(STAMP): pyproject.toml requirements-dev.lock tools/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "accrete needs Python 3.11 or newer; say make PYTHON=python3.12")'
	if [ -e $@ ]; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	$(BIN)/python tools/install.py
	touch $@

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything (a minute, 3 GB to fetch, 6 GB on disk: torch brings CUDA)

.PHONY: run
run: $(STAMP) ## Train digits in four stages on this machine; ARGS='--alpha 0.5' for more
	$(BIN)/accrete run $(ARGS)

.PHONY: test
test: $(STAMP) ## The quick tests of everything: minutes; WORKERS=0 for one process
	$(PYTEST) -m "not slow" $(ARGS)

.PHONY: test-slow
test-slow: $(STAMP) ## The tests marked slow: benchmarks, CIFAR-100, all faults, whole runs of each kind
	$(PYTEST) -m slow $(ARGS)

.PHONY: test-faults
test-faults: $(STAMP) ## Kill steps and harm store, disk, network and clock, TRIES=50 times each; resumable
	$(BIN)/python tests/faults/bench.py --tries $(or $(TRIES),50) $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Style and likely bugs, and which package imports which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

.PHONY: types
types: $(STAMP) ## mypy, strict, on lib/
	$(BIN)/mypy

.PHONY: check
check: lint types test test-slow ## What CI runs: lint, types, all tests, golden files

.PHONY: golden
golden: $(STAMP) ## Write the golden files and the table of bad input anew; review the diff
	$(BIN)/python -m pytest tests/unit/pipelines \
	  tests/fuzz/test_bad_input.py tests/unit/repository/test_options_page.py --golden

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python tools/install.py --extra bench
	touch $@

.PHONY: bench
bench: $(BENCH_STAMP) ## Run a script of benchmarks/: NAME=throughput ARGS='--help' says what it does
	[ -n "$(NAME)" ] || { echo "say which: make bench NAME=throughput" >&2; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)

.PHONY: gpu-kit
gpu-kit: $(STAMP) ## Pack for a GPU machine without network: DATA=CIFAR100; benchmarks/gpu_kit.py says how
	$(BIN)/python benchmarks/gpu_kit.py $(if $(DATA),--data $(DATA)) $(ARGS)

$(FUZZ_STAMP): $(STAMP)
	$(BIN)/python tools/install.py --extra fuzz
	touch $@

.PHONY: fuzz
fuzz: $(FUZZ_STAMP) ## Fuzz the readers: TARGET=shard for one, FUZZ_SECONDS=600 each
	tests/fuzz/run.sh $(BIN)/python

LOCKED := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links --quiet

.PHONY: lock
lock: $(STAMP) ## Write both locks anew from pyproject.toml; versions stay, ARGS=--upgrade for the newest
	echo 'setuptools>=77' | $(BIN)/uv pip compile pyproject.toml - --extra dev \
	  $(LOCKED) $(ARGS) --output-file requirements-dev.lock
	echo 'setuptools>=77' | $(BIN)/uv pip compile pyproject.toml - --constraint requirements-dev.lock \
	  $(LOCKED) --output-file images/requirements.lock

.PHONY: audit
audit: $(STAMP) ## Look up the lock's packages in PyPI's advisories; exits with 75 if it could not
	$(BIN)/python images/audit.py $(ARGS)

.PHONY: licences
licences: $(STAMP) ## List the licence of each of the lock's packages; fails on one not decided on
	$(BIN)/python images/licences.py

BUILD_IMAGE = docker build --network host --file images/Dockerfile \
  $(foreach name,BASE_IMAGE TORCH_INDEX_URL PIP_INDEX_URL PIP_CERT REVISION,\
    $(if $($(name)),--build-arg $(name)=$($(name))))

.PHONY: images
images: ## Build the trainer image (needs Docker); BASE_IMAGE=… and others: images/README.md
	$(BUILD_IMAGE) --tag accrete-trainer:0.1.0 .

.PHONY: images-cpu
images-cpu: TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
images-cpu: ## Build it without CUDA, for kind and clusters without GPUs: torch from PyTorch's own index
	$(BUILD_IMAGE) --tag accrete-trainer:0.1.0-cpu .

.PHONY: test-containers
test-containers: $(STAMP) images ## Build the image, and run the digits pipeline in containers
	$(BIN)/python -m pytest tests/containers $(ARGS)

.PHONY: kind-up
kind-up: ## A kind cluster with Kubeflow Pipelines and that image (Docker, kind, a registry); ARGS=--trainer
	manifests/kind/up.sh $(ARGS)

.PHONY: kind-test
kind-test: $(STAMP) ## Run pipelines on that cluster, and harm them: an hour or more
	PYTHON=$(BIN)/python manifests/kind/test.sh

.PHONY: kind-down
kind-down: ## Remove that cluster
	manifests/kind/down.sh

.PHONY: clean
clean: ## Remove caches and build output; keeps .venv and ~/.accrete
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
