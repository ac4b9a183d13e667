# Every target sets up what it needs in .venv; `make` alone explains itself.
# `make test PYTHON=python3.13` uses another Python, in .venv-python3.13.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ifeq ($(origin PYTHON),command line)
VENV := .venv-$(notdir $(PYTHON))
else
PYTHON :=
VENV := .venv
endif

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
NPM_CLIENTS := build/npm-clients/.installed
ADMIN := build/kinto-admin/index.html
WORKERS ?= 2
MODES ?= off dropped poisoned
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -rs --durations=10
CAMPAIGNS := build/campaigns.jsonl
# So that what make runs is what this virtual environment has, whatever the caller's shell has set.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help install npm-clients admin chromium softhsm faketime screenshots demo test check kept-modes proof fuzz mutants bench bench-authority format format-check lint types imports docs clean

help: ## explain the targets
	@echo "make TARGET [PYTHON=python3.13] [WORKERS=2]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  %-16s %s\n", $$1, $$2 }'

install: $(STAMP) ## create the virtual environment and install everything for development into it

$(STAMP): setup.cfg setup.py
	@python=$$(tools/find_python.sh $(PYTHON)) && \
	if ! $(BIN)/python -c '' 2>/dev/null; then \
	    rm -rf $(VENV); echo "Creating $(VENV) with $$python"; "$$python" -m venv $(VENV); fi
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

npm-clients: $(NPM_CLIENTS) ## install the clients in JavaScript that the tests read A with (needs Node.js 18)

$(NPM_CLIENTS): tests/clients/package.json tests/clients/package-lock.json tools/install_npm_clients.sh
	@echo "Installing clients in JavaScript into $(@D)"
	@tools/install_npm_clients.sh $(@D)
	@touch $@

admin: $(ADMIN) ## a build of kinto-admin for a Kinto that ships none; prints the setting that serves it
	@echo "kinto.admin_assets_path = $(abspath $(dir $(ADMIN)))"

$(ADMIN): tools/install_admin.py | $(STAMP)
	@echo "Installing kinto-admin into $(@D)"
	@$(BIN)/python tools/install_admin.py $(@D) >/dev/null

chromium: ## install Debian's Chromium, which the tests drive kinto-admin with, where it is missing
	@tools/install_chromium.sh

screenshots: $(STAMP) $(ADMIN) chromium ## run the review in kinto-admin and renew docs/images
	SCREENSHOTS=$(abspath docs/images) $(BIN)/python -m pytest -q tests/test_kinto_admin.py

# The kept demo serves kinto-admin.
demo: $(STAMP) $(if $(filter-out 0,$(KEEP)),$(ADMIN)) ## two live servers: edit, review, sign, publish, verify, tamper, refuse, heal (KEEP=1 leaves them running)
	@$(BIN)/python -m demo.run $(if $(filter-out 0,$(KEEP)),--keep)

softhsm: ## install Debian's SoftHSM2, the token that the tests sign with, where it is missing
	@tools/install_softhsm.sh

faketime: ## install Debian's libfaketime, which gives whole processes of the tests another clock, where it is missing
	@tools/install_faketime.sh

test: $(STAMP) $(NPM_CLIENTS) $(ADMIN) chromium softhsm faketime ## every test, with live servers and PostgreSQL, and the coverage gate
	@rm -f .coverage .coverage.*
	$(PYTEST) --cov --cov-report=term $(ARGS)

check: format-check lint types imports test ## what contributors and CI run: format, lint, types, imports, test

# Tests of what no server and no cache takes part in say the same in each.
KEPT_TESTS = $(filter-out $(patsubst %,tests/test_%.py,core_% benchmarks config fuzz moving_inis mutants packaging tools vectors), \
    $(wildcard tests/test_*.py))

kept-modes: $(STAMP) ## the tests with what S, A and kinto-updater keep off, dropped before each use, and altered (MODES=poisoned ARGS=)
	@failed=; for mode in $(MODES); do \
	    echo "KEPT=$$mode"; KEPT=$$mode $(PYTEST) $(KEPT_TESTS) $(ARGS) || failed="$$failed $$mode"; \
	done; if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi

proof: $(STAMP) ## the campaigns at full count; writes docs/proof.md
	@mkdir -p $(dir $(CAMPAIGNS)) && rm -f $(CAMPAIGNS)
	KINTO_SIGNER_PROOF=1 KINTO_SIGNER_CAMPAIGNS=$(abspath $(CAMPAIGNS)) $(PYTEST) -m proof $(ARGS)
	KEPT_CAMPAIGNS=$(abspath $(CAMPAIGNS)) $(MAKE) kept-modes
	$(BIN)/python tools/write_proof.py $(CAMPAIGNS) docs/proof.md

fuzz: $(STAMP) ## 100,000 altered answers put before a reader: none may be taken that nobody signed; docs/fuzz.md (SEED= COUNT= CASE=)
	$(BIN)/python -m tests.support.fuzzing --workers $(WORKERS) --write docs/fuzz.md \
	    $(if $(SEED),--seed '$(SEED)') $(if $(COUNT),--count '$(COUNT)') $(if $(CASE),--case '$(CASE)')

mutants: $(STAMP) ## drop or alter every rule of the workflow in turn: is each noticed? (10 minutes; ONLY='decide: rule')
	$(BIN)/python tools/mutate_workflow.py --jobs $(WORKERS) --only '$(ONLY)'

bench: $(STAMP) $(BENCH_STAMP) ## what S and kinto-updater cost, 10 minutes (PEER=kinto-signer==8.1.1, or a path; BENCH=--help)
	@$(if $(PEER),$(BIN)/python -m benchmarks.peer '$(PEER)' .venv-peer)
	timeout 600 $(BIN)/python -m benchmarks $(if $(PEER),--peer .venv-peer) $(BENCH)

$(BENCH_STAMP): setup.cfg | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench-authority: $(STAMP) ## what publishing 100,000 records costs on A (a few minutes; BENCH=--help)
	timeout 600 $(BIN)/python -m benchmarks.authority $(BENCH)

format: $(STAMP) ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

format-check: $(STAMP) ## fail where `make format` would change something
	$(BIN)/ruff format --check .

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## who may import whom (contracts in setup.cfg)
	$(BIN)/lint-imports

docs: $(STAMP) ## write docs/settings.rst from the table of settings
	$(BIN)/python tools/write_settings.py docs/settings.rst

clean: ## remove virtual environments, caches and build products
	rm -rf .venv .venv-* build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis \
	    .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
