# `make demo` and `make test` set up .venv by themselves; `make setup` does only that.
#   make demo AUDIO=path/to/song.mp3     classifies a song of yours as well
#   make setup PYTHON=python3.12         builds .venv with another Python

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: help setup demo test test-all bench bench-full bench-setup site notebooks lint format clean

help:
	@echo "make setup     build .venv with all extras and the developer tools"
	@echo "make demo      classify a piece of music, then train and evaluate a small model"
	@echo "make test      run the tests"
	@echo "make test-all  run the tests, the slow ones included"
	@echo "make bench     measure against peers and limits; make bench-full takes longer"
	@echo "make site      build the documentation: build/site/index.html"
	@echo "make notebooks run the notebooks of the documentation and store what they show"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make format    let ruff format and fix what it can"
	@echo "make clean     remove .venv, caches and what demo and build left"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is missing or older than Python 3.11; name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "make: no virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python demo/run.py $${AUDIO:+--audio "$$AUDIO"}

test: setup
	$(BIN)/python -m pytest

test-all: setup
	$(BIN)/python -m pytest -m ""

bench: bench-setup
	$(BIN)/python benchmarks/bench.py --table docs/performance.md $${AUDIO:+--audio "$$AUDIO"}

bench-full: bench-setup
	$(BIN)/python benchmarks/bench.py --full --table docs/performance.md $${AUDIO:+--audio "$$AUDIO"}

bench-setup: setup
	@$(BIN)/python -c 'import essentia, transformers' 2>/dev/null || \
		$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]' || \
		echo "make: some peers cannot be installed; the table will say so" >&2

site: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

notebooks: setup
	$(BIN)/python -m nbconvert --log-level WARN --to notebook --inplace --execute \
		--ExecutePreprocessor.record_timing=False docs/notebooks/*.ipynb

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-out build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests demo website -name __pycache__ -type d -prune -exec rm -rf {} +
