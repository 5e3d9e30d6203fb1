# Nothing but Python 3.11+ and make is needed; everything else goes into .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --group needs pip 25.1; the pip that a fresh venv brings may be older.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

.PHONY: setup
setup: $(READY) ## make .venv with everything in it

.PHONY: run
run: $(READY) ## serve on 127.0.0.1:8080 with an embedded PostgreSQL
	@exec $(BIN)/consent-ledger serve

.PHONY: check
check: $(READY) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# One worker more than the two cores of a small machine: tests of real processes wait
# most of the time. Hundreds of processes are started, and where no bytecode is kept each
# would compile everything anew.
.PHONY: test
test: export PYTHONDONTWRITEBYTECODE :=
test: check ## the checks, then every test
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup

.PHONY: bench
bench: $(READY) ## measure, as ratios in one run (needs wrk)
	$(BIN)/python -m bench
