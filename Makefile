.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/product ## a small clinic's traffic into SQL, in a new folder, in about half a minute
	@$(BIN)/mulgil demo

test: .venv/tools ## what a developer runs all day: style, types, floor plan, tests (about a minute)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -n 2

test-slow: .venv/tools ## the rest: seeded faults on the real process, readers that know nothing of Mulgil
	@$(BIN)/pytest -n 2 -m slow

format: .venv/tools ## put the sources into shape
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: .venv/tools ## write the generated reference pages and the JSON Schema anew
	@$(BIN)/python docs/generate.py

bench: .venv/tools ## the benchmarks with their peers (installs the peers; several minutes)
	@$(BIN)/python -m benchmarks

clean: ## remove the environment and the caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/product: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing mulgil into .venv …" && $(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/tools: .venv/product
	@echo "installing the test tools into .venv …" && $(BIN)/pip install -q --disable-pip-version-check -e '.[polars,pandas]' \
	  'pytest>=8.3' 'pytest-xdist>=3.6' 'hypothesis>=6.120' 'import-linter>=2.3' 'ruff>=0.11' 'mypy>=1.15' types-PyYAML 'jsonschema>=4.21'
	@touch $@

.PHONY: help demo test test-slow format docs bench clean
