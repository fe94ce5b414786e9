# Every target sets up what it needs: python3 (3.11.1 or newer), make and a C compiler are enough.
#
#   make demo                      make test ARGS="-k sharing -x"
#   make demo OUT=runs/first       make demo PYTHON=python3.12

PYTHON ?= python3
OUT ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)
ARGS ?=

# Relative paths only, so that a checkout below a folder with spaces in its name works.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11, 1))'

.DEFAULT_GOAL := help
.PHONY: help install demo test faults lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED)  ## set up .venv (the other targets do it too)

demo: $(INSTALLED)  ## four simulated hospitals and an unseen one; ends with the path of the report
	@$(BIN)/fedsurg simulate --out "$(OUT)"

test: $(INSTALLED)  ## the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(ARGS)

faults: $(INSTALLED)  ## break a federation of real processes in every way we know; prints a table (half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests/deployed -m faults -s $(ARGS)

lint: $(INSTALLED)  ## formatting, lint and types, as in .ci/run
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(INSTALLED)  ## rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove .venv, caches and build products; runs/ is kept
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp makes a second call instant. A virtual environment whose Python is gone or too old is made anew.
$(INSTALLED): pyproject.toml constraints.txt setup.py site_client/bundle/worker.proto
	@$(PYTHON) $(RECENT) 2>/dev/null || { echo "make: fedsurg needs Python 3.11.1 or newer, $(PYTHON) is:" \
		"$$($(PYTHON) --version 2>&1 | head -n 1); install one and name it, as in make demo PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual" \
		"environments; install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(BIN)/python $(RECENT) 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV); the first time takes some minutes, as torch is large"
	@$(BIN)/python -m pip install -qq --upgrade pip
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@
