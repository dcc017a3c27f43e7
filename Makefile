# Three commands do the set-up and the work: `make demo`, `make test` and `make bench`.
PYTHON ?= python3
BIN := .venv/bin
BENCH := .venv-bench/bin

.PHONY: demo test lint types tests soak bench docs release clean

demo: .venv/demo
	sh recipes/demo.sh

# The types are checked by one process, which leaves room for tests beside it.
test: lint
	$(MAKE) -j2 types tests

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

tests: .venv/dev
	$(BIN)/pytest -n auto

soak: .venv/dev
	$(BIN)/pytest -m soak

# The documentation as a site, in site/; a warning is an error.
docs: .venv/dev
	rm -rf site
	$(BIN)/zensical build --strict --clean

# All but the upload; for that, put the token into STAGERUN_TOKEN and add ARGS="--upload VERSION".
release: .venv/release
	$(BIN)/stagerun run release $(ARGS)

# All workloads, or some: make bench ONLY="startup logs" ROUNDS=2
bench: .venv-bench/made
	$(BENCH)/python -m compileall -q src
	$(BENCH)/python -m benchmarks $(ONLY) $(if $(ROUNDS),--rounds $(ROUNDS))

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "stagerun needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@ .venv/demo

.venv/release: .venv/dev
	$(BIN)/python -m pip install --quiet --group release
	touch $@

# A separate, compiled environment: tests must not find the peers' packages. It holds a second one with stagerun alone,
# because other packages slow its start.
bench .venv-bench/made: export PYTHONDONTWRITEBYTECODE =
.venv-bench/made: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/python -m pip install --quiet --editable . --group bench
	$(PYTHON) -m venv .venv-bench/own
	$(BENCH)/python -m pip --python .venv-bench/own install --quiet --editable .
	touch $@

clean:
	rm -rf .venv .venv-bench build dist site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
