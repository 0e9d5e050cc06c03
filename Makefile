# `make help` lists the targets; CI runs `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev,docs,learn,openvino,cluster,station,station-postgres]'
	@touch $@

# The object store of the tests needs an older python-dateutil than the rest: it runs in an environment of its own.
$(VENV)/.installed-s3: Makefile | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/s3
	$(VENV)/s3/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3,server]==5.2.5'
	@touch $@

demo: $(VENV)/.installed-demo  ## Install and run the main job on real images of solar cells
	$(BIN)/blemish demo -o demo

lint: $(VENV)/.installed-dev  ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint $(VENV)/.installed-s3  ## Install what is needed, check style and types, run all tests
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup

format: $(VENV)/.installed-dev  ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev  ## Write the pages made from code and results, then build the site into build/site
	$(BIN)/python tools/update_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(VENV)/.installed-quick: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@

quick: $(VENV)/.installed-quick  ## The tests of the core, without extras, in under 90 seconds
	$(BIN)/python tools/quick_tests.py

.PHONY: help demo lint test format docs quick
