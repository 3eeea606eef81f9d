# make train   virtual environment, install, train on the digits, evaluate on held-out data, predict one picture
# make test    linter, type checker, tests
# make bench   the four networks in striate and in PyTorch
# The same as plain commands stands in README.md.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/digits

.PHONY: train test bench clean

train: $(BIN)/python
	@$(BIN)/pip install --quiet .
	rm -rf $(RUN)
	$(BIN)/striate train digits --out $(RUN)
	$(BIN)/striate evaluate $(RUN) | tee $(RUN)/evaluation.txt
	$(BIN)/striate predict $(RUN) examples/seven.png
	tail -n 1 $(RUN)/evaluation.txt

test: $(BIN)/python
	@$(BIN)/pip install --quiet '.[test]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest

bench: $(BIN)/python
	@$(BIN)/pip install --quiet '.[peers]'
	$(BIN)/python benchmarks/compare.py

$(BIN)/python:
	@$(PYTHON) -m venv .venv

clean:
	@rm -rf .venv runs
