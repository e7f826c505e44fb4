# `make demo` and `make test` set up .venv by themselves; `make setup` does only that.
#   make demo AUDIO=path/to/song.mp3     classifies a song of yours as well
#   make setup PYTHON=python3.12         builds .venv with another Python
#   make torture SCALE=0.1 SEED=1        a tenth of the counts, other random draws

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/tsresformer/__init__.py)

# Several tests at once; those of a file stay in one process, which makes what they share once.
PYTEST = $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

SCALE ?= 1
SEED ?= 0
TORTURE = TORTURE_SCALE=$(SCALE) TORTURE_SEED=$(SEED) $(PYTEST) --dist worksteal tests/torture -m ""

.PHONY: help setup demo test test-all torture torture-full bench bench-full bench-setup site notebooks
.PHONY: lint format licences lock audit sbom release release-setup clean

help:
	@echo "make setup     build .venv with all extras and the developer tools"
	@echo "make demo      classify a piece of music, then train and evaluate a small model"
	@echo "make test      run the tests"
	@echo "make test-all  run the tests, the slow ones included"
	@echo "make torture   faults and hostile files; make torture-full takes hours; SCALE=0.1 SEED=1 for less, and others"
	@echo "make bench     measure against peers and limits; make bench-full takes longer"
	@echo "make site      build the documentation: build/site/index.html"
	@echo "make notebooks run the notebooks of the documentation and store what they show"
	@echo "make lint      ruff, mypy, import-linter, licences of the dependencies"
	@echo "make format    let ruff format and fix what it can"
	@echo "make lock      lock files and THIRD_PARTY.md anew, after a change of dependencies"
	@echo "make audit     ask for known vulnerabilities of the pinned versions"
	@echo "make release   wheel, source archive and SBOM into dist/, see docs/releasing.md"
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
	$(PYTEST)

test-all: setup
	$(PYTEST) -m ""

torture: setup
	TORTURE=usual $(TORTURE)

torture-full: setup
	TORTURE=full $(TORTURE)

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
	$(BIN)/python tools/third_party.py --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What users install, with the hashes of its files; of PyTorch there are several builds.
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-annotate \
	--generate-hashes --constraint constraints.txt --custom-compile-command 'make lock'

lock: release-setup licences
	$(LOCK) $(addprefix --extra ,cluster parquet report serve study tag train) \
		--no-emit-package torch --output-file requirements.lock
	$(LOCK) --extra serve --output-file deploy/requirements.lock

licences: setup
	$(BIN)/python tools/third_party.py

audit: release-setup
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

sbom: release-setup
	@mkdir -p dist
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > dist/pyproject.toml
	{ cat requirements.lock; grep ^torch== constraints.txt; } | \
		PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject dist/pyproject.toml \
		--output-reproducible --output-file dist/ts_resformer-$(VERSION).cdx.json -
	@rm dist/pyproject.toml

release: release-setup
	@git diff --quiet HEAD || { echo "make: commit your changes first" >&2; exit 2; }
	@grep -qF '## [$(VERSION)]' CHANGELOG.md || \
		{ echo "make: CHANGELOG.md has no section [$(VERSION)]" >&2; exit 2; }
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	@$(MAKE) --no-print-directory sbom
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

release-setup: setup
	@$(BIN)/python -c 'import cyclonedx_py, pip_audit, twine, uv' 2>/dev/null || $(BIN)/python -m pip install \
		--disable-pip-version-check --constraint constraints.txt --editable '.[dev,release]'

clean:
	rm -rf $(VENV) demo-out torture-out build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests demo tools website -name __pycache__ -type d -prune -exec rm -rf {} +
