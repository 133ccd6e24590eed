SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: bench bench-guard browser build chaos check-api check-generated clean contract demo docs environments faults format generate help inspector lint mock mutants pin recording rehearse release-check servers setup soak spec-diff test typecheck unit update-spec

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
RUN := $(VENV)/bin/python
# Tests that coverage would slow down most, or that run in their own processes.
UNCOVERED := tests/contract/test_harness.py tests/servers tests/test_money.py tests/test_docs.py
PYTEST := $(VENV)/bin/pytest -q --numprocesses auto --dist worksteal

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the pinned tools and the project (other targets run this when needed)

$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "setup: this needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Use another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "setup: installing the pinned tools and the project into $(VENV) (about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(VENV)/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: lint typecheck check-generated unit ## run every check that must pass before a change lands
	@echo "test: all checks passed"

lint: $(READY) ## check style, formatting and the import rules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@report=$$($(VENV)/bin/lint-imports --no-cache) || { echo "$$report"; exit 1; }

format: $(READY) ## format the code and apply automatic lint fixes
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

typecheck: $(READY) ## run mypy --strict and pyright
	@$(VENV)/bin/mypy
	@$(VENV)/bin/pyright --warnings

unit: $(READY)
	@$(PYTEST) $(UNCOVERED)
	@$(PYTEST) $(UNCOVERED:%=--ignore %) --cov --cov-report=term

demo: $(READY) ## generate and edit an image against the mock server, and print where the files are
	@$(RUN) scripts/demo.py

mock: $(READY) ## start the mock server, to develop against [PORT=8000]
	@$(RUN) -m mountsea_banana.mock --spec openapi.yaml --port $(or $(PORT),8000)

contract: $(READY) ## test the mock, or any server [BASE_URL=…] [BUDGET=0 or unlimited] [SEED=1] [THOROUGH=1] [BASELINE=…]
	@$(RUN) -m mountsea_banana.harness --spec openapi.yaml \
	  $(if $(BASE_URL),--base-url '$(BASE_URL)') $(if $(BUDGET),--budget '$(BUDGET)') $(if $(SEED),--seed '$(SEED)') \
	  $(if $(THOROUGH),--thorough) $(if $(BASELINE),--baseline '$(BASELINE)')

browser: $(READY) ## test the mock's page in Chromium or Chrome, if one is installed
	@$(VENV)/bin/pytest -q -rs tests/browser.py

inspector: $(READY) ## test the MCP server with the MCP Inspector, if npm is installed
	@$(VENV)/bin/pytest -q -rs tests/inspector.py

servers: $(READY) ## test servers in real frameworks, honest and with mistakes, in about an hour [NAMES=…] [HONEST=1]
	@if command -v npm >/dev/null; then npm ci --prefix tests/servers --silent --no-audit --no-fund; fi
	@$(RUN) -W ignore -m tests.servers $(NAMES) $(if $(HONEST),--honest)

faults: $(READY) ## try every fault on a submission, with every kind of client, and count the losses
	@$(RUN) -m tests.faults

environments: $(READY) ## run the tests without colours, behind proxies, as another user and so on [NAMES="no-home …"] [TESTS=tests/test_client.py]
	@$(RUN) scripts/environments.py $(NAMES) -- $(TESTS)

chaos: $(READY) ## kill batches with a ledger 2 × 200 times, in about 5 minutes, and compare them with the account [KILLS=200]
	@$(RUN) -m tests.chaos $(KILLS)

soak: $(READY) ## let 10,000 deadlines pass, cancel 10,000 polls, and check that nothing stays behind
	@$(RUN) -m tests.soak

mutants: $(READY) ## mutation-test the decisions, in about 15 minutes [MODULE=client/_retries]
	@nice -n 19 $(RUN) scripts/mutants.py $(MODULE:%='%')

update-spec: $(READY) ## update openapi.yaml from the vendor's pages: PAGES="page.md https://…" [PRUNE=1]
	@$(RUN) scripts/update_spec.py $(PAGES:%='%') $(if $(PRUNE),--prune)

spec-diff: $(READY) ## list the changes to the spec and whether they are breaking [BASE=HEAD] [FORMAT=markdown]
	@$(RUN) scripts/spec_diff.py $(if $(BASE),--base '$(BASE)') $(if $(FORMAT),--format '$(FORMAT)')

rehearse: $(READY) ## change the spec in ten ways, make the decisions, and run make test, in hours [NAMES="new-model …"]
	@$(RUN) scripts/rehearse.py $(NAMES)

generate: $(READY) ## regenerate generated_client, the synchronous client and the reference
	@$(RUN) scripts/generate.py
	@$(RUN) scripts/generate_sync.py
	@$(RUN) scripts/reference.py

check-generated: $(READY) ## fail if anything that `make generate` writes is outdated
	@$(RUN) scripts/generate.py --check
	@$(RUN) scripts/generate_sync.py --check
	@$(RUN) scripts/reference.py --check

bench: $(READY) ## measure the client, the mock and the contract tests beside what limits them [ROWS="rules …"]
	@$(RUN) -m scripts.bench $(ROWS)

bench-guard: $(READY) ## fail if the client got more than 25 % slower than scripts/bench_ratios.toml says
	@$(RUN) -m scripts.bench --guard

docs: $(READY) ## build the documentation site in build/docs, without network access
	@$(VENV)/bin/sphinx-build --quiet --fail-on-warning -d build/doctrees docs build/docs
	@echo "docs: open build/docs/index.html"

recording: $(READY) ## record the terminal session that README.md shows
	@$(RUN) scripts/record.py

build: $(READY) ## build the wheel and the sdist in dist/
	@$(RUN) -m build --no-isolation

check-api: $(READY) ## fail if the public API breaks without a major version [AGAINST=v1.0.0]
	@$(RUN) scripts/check_api.py $(if $(AGAINST),--against '$(AGAINST)')

release-check: $(READY) ## list what is missing for a release [WRITE=1 to bring the repository and install lines into the pages]
	@$(RUN) scripts/release_check.py $(if $(WRITE),--write)

pin: ## update the versions pinned in requirements-dev.txt (needs uv on PATH)
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-strip-extras \
	  --all-extras --group dev pyproject.toml --output-file requirements-dev.txt

clean: ## remove everything the targets created, including .venv
	@rm -rf $(VENV) build dist contract-report bench-report demo-images .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
