# What one can do here; `make` alone lists it. Needs Python 3.11 with venv, and nothing else.

VENV := .venv
BIN := $(VENV)/bin
CHROMIUM ?= /usr/bin/chromium
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run test test-sqlite test-postgresql test-browser test-long check format lock clean bench-sync

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.ready-to-run ## Run the whole portal: PORT=8000 STATE_DIR=var CLUSTER=demo|kubeconfig|incluster
	@exec $(BIN)/python -m buildportal.run

test: $(VENV)/.ready-to-develop ## Run the tests on SQLite, then on PostgreSQL
	@status=0; for database in sqlite postgresql; do .ci/test $$database || status=1; done; exit $$status

test-sqlite test-postgresql: test-%: $(VENV)/.ready-to-develop
	@.ci/test $*

test-browser: $(VENV)/.ready-to-develop ## Run the tests that drive a browser: CHROMIUM=/usr/bin/chromium
	@test -x "$(CHROMIUM)" || { echo "The browser tests need Chromium, and CHROMIUM=$(CHROMIUM) is no program." >&2; exit 1; }
	@env -u DATABASE_URL CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -m browser

test-long: export HISTORIES ?= 2000
test-long: $(VENV)/.ready-to-develop ## Run HISTORIES=2000 random histories of the cluster, on SQLite, then on PostgreSQL
	@status=0; for database in sqlite postgresql; do \
		env -u DATABASE_URL TEST_DATABASE=$$database $(BIN)/python -m pytest -q tests/test_histories.py || status=1; \
	done; exit $$status

bench-sync: $(VENV)/.ready-to-develop ## Measure what following 50,000 Jobs costs: STATE_DIR=var, TEST_DATABASE=sqlite|postgresql
	@env -u DATABASE_URL $(BIN)/python -m tests.bench

check: $(VENV)/.ready-to-develop ## Check style, types, floors, templates, migrations, settings, locks, known vulnerabilities
	@.ci/check

format: $(VENV)/.ready-to-develop ## Put code and templates into shape
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format . ; $(BIN)/djlint --quiet --reformat templates

lock: $(VENV)/.ready-to-develop ## Resolve pyproject.toml anew into both locks; `make lock UPGRADE=--upgrade` takes newer versions
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile $(LOCK) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

LOCK = --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

clean: ## Remove the virtual environment and the caches; what was run keeps its state
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp is older than its lock when the lock has changed. The second set contains the first.
$(VENV)/.ready-to-run: requirements.txt
	@.ci/venv $(VENV)
	@echo "Installing the packages of requirements.txt." && $(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.ready-to-develop: requirements.txt requirements-dev.txt
	@.ci/venv $(VENV)
	@echo "Installing the packages of requirements-dev.txt." && $(PIP_INSTALL) -r requirements-dev.txt
	@touch $(VENV)/.ready-to-run $@
