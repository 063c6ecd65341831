# Everloop: two commands are enough, `make demo` and `make test`; the rest is for daily work.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
NAME ?= dev
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

# --- the Python environment -----------------------------------------------------------------------
.PHONY: venv lock
venv: $(VENV)/.ready ## the Python environment for tests and tools, from locked requirements

$(VENV)/.ready: requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "Everloop needs $(PYTHON): apt-get install python3.11 python3.11-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q uv==$(UV_VERSION)
	@$(BIN)/uv pip sync -q --python $(BIN)/python requirements/dev.txt
	@$(BIN)/pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@printf '%s\n' "$(CURDIR)/operator" "$(CURDIR)/training" "$(CURDIR)/model_server" > $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/everloop-source.pth
	@printf '#!/bin/sh\nexec "%s" -m everloop.cli.main "$$@"\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/kubectl-everloop && chmod +x $(BIN)/kubectl-everloop
	@touch $@

lock: ## compile requirements/*.txt from pyproject.toml
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV); $(BIN)/pip install -q uv==$(UV_VERSION); }
	@for set in "operator:--extra operator" "runtime:--extra server --extra training" "cli:--extra cli" "dev:--extra operator --extra server --extra training --extra cli --extra dev"; do \
	  $(BIN)/uv pip compile -q pyproject.toml $${set#*:} --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/$${set%%:*}.txt; done

# --- the dev cluster and its images ---------------------------------------------------------------
-include devcluster/cluster.mk
-include devcluster/images.mk
-include examples/01-flights/demo.mk

# --- checks and tests -----------------------------------------------------------------------------
.PHONY: lint crds test test-unit test-rules test-api test-e2e
lint: venv ## ruff, mypy strict, import-linter, generated files up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m everloop.api.crds --check

crds: venv ## write crds/ and the chart's copies from the typed resources
	@$(BIN)/python -m everloop.api.crds

test-unit: venv ## unit and golden tests, no cluster
	@$(BIN)/pytest -n 2 tests/unit tests/golden

test-rules: venv ## alerting rules, by promtool
	@$(BIN)/pytest tests/rules

test-api: venv ## the engine on a real API server
	@$(BIN)/pytest tests/api

test-e2e: venv ## the demo's flow and its failures on the dev cluster
	@$(BIN)/pytest tests/e2e

.PHONY: test-skew
test-skew: venv ## the API tier on the oldest Kubernetes that is supported (builds it first)
	@assets="$$(python3 -m devcluster assets kubernetes-1.34 | tail -1)"; \
	  KUBEBUILDER_ASSETS="$$assets" EVERLOOP_TEST_KUBERNETES=v1.34 $(BIN)/pytest tests/api

.PHONY: test-faults test-faults-sample fault-programs
test-faults: fault-programs ## every write of every scenario killed, views and requests failing, statuses lost
	$(call faults,40m,not sample)

test-faults-sample: fault-programs ## a fixed sample of it, in minutes
	$(call faults,5m,sample)

fault-programs: venv # built before the trials' time begins
	@python3 -m devcluster binary kube-apiserver kube-controller-manager kube-scheduler kubectl kwok helm >/dev/null
	@python3 -m devcluster crds prometheus-operator >/dev/null

define faults
@timeout --foreground -s INT -k 2m $(1) $(BIN)/pytest tests/faults -m "$(2)" --log-cli-level=info || \
  { code=$$?; test $$code != 124 || echo "The trials may take $(1), and took longer."; exit $$code; }
endef

test: lint test-unit test-rules test-api test-faults-sample test-e2e ## everything

# --- benchmarks: on a machine that does nothing else ------------------------------------------------
.PHONY: bench bench-load bench-server soak
bench: venv ## objects a second and API writes against an idiomatic kopf operator
	@$(BIN)/python -m bench.engine

bench-load: venv ## 5,000 TrainingRuns beside as many bare Jobs; memory, processor and writes at rest
	@$(BIN)/python -m bench.load

bench-server: venv ## latency and throughput of the model server
	@$(BIN)/python -m bench.model_server

soak: venv ## the loop for two hours, time accelerated, on a cluster of its own: one run per need, nothing grows
	@$(BIN)/python -m bench.soak
