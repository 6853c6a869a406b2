# Everything runs in .venv, which is made on first use; no environment needs to be active.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip install -qq
STAMP := $(VENV)/.installed
TORCH := torch==2.13.0

# The programs of .venv (the `deepspeed` launcher, ninja, mlflow) are found before others of the same name.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env run check test test-all processors lint format docs wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

env: $(STAMP) ## the environment in .venv (nothing to do when it is up to date)

run: $(STAMP) ## simulate 1500 videos, train five methods on two ranks, and compare them
	$(PY) -m jomold_dist quickstart

check: lint ## lint, types and the tests that only compute: a minute or so
	$(PY) -m pytest tests/unit -m "not slow and not lengthy" --numprocesses 2 --dist worksteal

test: lint ## lint, types and the tests that CI runs
	$(PY) -m pytest -m "not slow" --numprocesses 2 --dist loadfile

test-all: lint ## lint, types and every test
	$(PY) -m pytest

processors: $(STAMP) ## the tests that compare figures, as other processors and numbers of threads compute them
	$(PY) tools/check_processors.py

lint: $(STAMP) ## style and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: $(STAMP) ## bring the code into the house style
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

docs: $(STAMP) ## write docs/settings.md anew from the docstrings of the config
	$(PY) tools/document_settings.py

wheel: $(STAMP) ## dist/*.whl, which pip installs anywhere
	rm -rf build dist
	$(PY) -m pip --disable-pip-version-check wheel -q --no-build-isolation --no-deps --wheel-dir dist .
	rm -rf build

clean: ## remove .venv and everything that tools left behind; data and runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "jomold_dist needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1);" \
	       "name another one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) (a few minutes the first time) ..."
	@rm -f $(STAMP)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH) setuptools -c requirements.lock
	@$(PIP) --no-deps --no-build-isolation -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $(STAMP)
