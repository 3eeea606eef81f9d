# make train      virtual environment, install, train on the digits, evaluate on held-out data, predict one picture
# make test       linter, type checker, tests: minutes
# make test-all   the same, then everything that is exhaustive or long
# make bench      the four networks in striate and in PyTorch
# The same as plain commands stands in README.md.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/digits
PYTEST := $(BIN)/pytest -n auto --dist worksteal

# Kernels that the tests compile stay here, as they do for a user. Without the folder, all are compiled again.
export STRIATE_TEST_KERNELS ?= $(CURDIR)/.venv/test-kernels

.PHONY: train test test-slow test-long test-all bench clean

train: $(BIN)/python
	@$(BIN)/pip install --quiet .
	$(BIN)/striate train digits --out $(RUN) --overwrite
	$(BIN)/striate evaluate $(RUN) | tee $(RUN)/evaluation.txt
	$(BIN)/striate predict $(RUN) examples/seven.png
	tail -n 1 $(RUN)/evaluation.txt

test: $(BIN)/python
	@$(BIN)/pip install --quiet '.[test]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The type checker needs one process and the tests wait for each other at the end: both at once.
	@# The backend for PyTorch can be checked only where PyTorch is installed; no argument means the whole package.
	@checked=; $(BIN)/python -c "import torch" 2> /dev/null || { checked=$$(ls -d striate/* | grep -v striate/torch); \
	  echo "striate/torch is not type-checked: PyTorch is not installed"; }; \
	( status=0; found=$$($(BIN)/pyright --pythonpath $(BIN)/python $$checked 2>&1) || status=$$?; \
	  printf '\npyright: %s\n' "$$found"; exit $$status ) & checker=$$!; \
	status=0; $(PYTEST) -m "not slow" || status=$$?; \
	wait $$checker || { status=1; echo "pyright found errors, which are printed above"; }; \
	exit $$status

# What `make test` leaves out, every property with twice as many examples, and a minute of random operations.
test-slow: $(BIN)/python
	@$(BIN)/pip install --quiet '.[test]'
	$(BIN)/python tests/fuzz_operations.py --seconds 60
	$(PYTEST) -m "(slow or hypothesis) and not long" --hypothesis-profile=exhaustive

# Large networks through files, ONNX and on several ranks, all samples of PyTorch's operations and modules: ten minutes.
test-long: $(BIN)/python
	@$(BIN)/pip install --quiet '.[test]'
	$(PYTEST) -m long

test-all:
	@$(MAKE) test
	@$(MAKE) test-slow
	@$(MAKE) test-long

bench: $(BIN)/python
	@$(BIN)/pip install --quiet '.[peers]'
	$(BIN)/python benchmarks/compare.py

$(BIN)/python:
	@$(PYTHON) -m venv .venv

clean:
	@rm -rf .venv runs
