# What a person or CI does here; `make help` lists it.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The first of these that is Python 3.11 to 3.13; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

.PHONY: setup
setup: $(VENV)/.installed ## the environment in .venv, exactly as pinned

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "im-bench needs Python 3.11, 3.12 or 3.13; make setup PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: setup ## the whole study on the toy world: 5 cells, 21 benchmarks, a table; minutes on two cores
	$(BIN)/im-bench sweep demo

.PHONY: test
test: setup ## every test
	$(BIN)/pytest

.PHONY: nightly
nightly: setup ## what takes longer: every toy sweep, chaos, Ray and SLURM clusters, our sides of the benchmarks; an hour and more on two cores
	$(BIN)/pytest -m nightly

.PHONY: programs
programs: slurm tex chromium ## programs that some tests need and are skipped without; Debian or Ubuntu, as root

.PHONY: slurm
slurm: ## SLURM, for the tests that start a cluster of their own
	command -v slurmctld >/dev/null || { apt-get update -qq && apt-get install -y -qq slurm-wlm munge; }

.PHONY: tex
tex: ## a TeX, for the tests that compile tables
	command -v pdflatex >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends texlive-latex-base texlive-latex-recommended; }

.PHONY: chromium
chromium: ## a browser, for the tests of the page
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

.PHONY: check
check: setup ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: setup ## speed and memory beside TRL and the published recipe, coverage of intervals; two hours on two cores
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python benchmarks/preparing.py
	$(BIN)/python benchmarks/advising.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/evaluation.py --hub toy
	$(BIN)/python benchmarks/judging.py
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/page.py

.PHONY: parity
parity: setup ## lm-eval's scores beside ours on the real rows of ../shared/hub; 15 minutes on two cores
	$(BIN)/im-bench run experiment=toy loss=none 'benchmark=[wsc273]' limit=1
	$(BIN)/python benchmarks/parity.py results/store/base/toy-*

.PHONY: bench-gpu
bench-gpu: setup ## speed, utilisation and memory of a 1B-parameter Llama on a GPU
	$(BIN)/python benchmarks/gpu.py
