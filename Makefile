# One thread: two torch threads on two busy cores can be several times slower than one.
export OMP_NUM_THREADS ?= 1

# Processes that share the tests; 0 keeps all in one.
WORKERS ?= 2

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)

# The benchmarks of speed, whose figures are kept: run them on a quiet machine.
SPEED := throughput routes latency memory

.NOTPARALLEL:
.PHONY: help demo check test lint docs bench tables clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1#\2/p' Makefile | tr '#' '\t' | expand -t 14

demo: .venv/.installed-fast ## run the demonstration
	$(BIN)/skdmi info --compile
	$(BIN)/python scripts/demo.py

check: lint ## lint, and run all but the slow tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test: .venv/.installed-test ## run the tests and the doctests
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/.installed-lint ## check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/.installed-docs ## build docs/_build/html
	$(BIN)/sphinx-build -W -b html docs docs/_build/html
	$(BIN)/python -m scripts.build_demo docs/_build/html/demo

bench: .venv/.installed-test ## run every benchmark
	set -e; for script in $(filter-out __init__,$(notdir $(basename $(wildcard benchmarks/*.py)))); do $(BIN)/python -m benchmarks.$$script; done

tables: .venv/.installed-test ## print the tables of docs and README anew; QUICK=1 tries it in build/tables
	mkdir -p build/tables
	$(BIN)/python -m benchmarks.accuracy $(if $(QUICK),--quick,--skip-training --tails 100000) --json build/tables/accuracy.json --plot build/tables/accuracy.png > build/tables/accuracy.txt
	$(BIN)/python -m benchmarks.domain --n-matrices $(if $(QUICK),50,2000) > build/tables/domain.txt
	$(BIN)/python -m benchmarks.units --matrices $(if $(QUICK),300,200000) > build/tables/units.txt
	$(BIN)/python -m benchmarks.blocks growth $(if $(QUICK),--largest 128) > build/tables/blocks.txt
	$(BIN)/python -m benchmarks.predecessor $(if $(QUICK),--quick) > build/tables/predecessor.txt
	$(BIN)/python -m benchmarks.families $(if $(QUICK),--quick) --json build/tables/families.json --plot build/tables > build/tables/families.txt
	$(BIN)/python -m benchmarks.export $(if $(QUICK),--quick) --json build/tables/export.json > build/tables/export.txt
	$(BIN)/python -m benchmarks.certify $(if $(QUICK),--quick) --json build/tables/certify.json > build/tables/certify.txt
	$(BIN)/python -m benchmarks.audit $(if $(QUICK),--quick) --json build/tables/audit.json > build/tables/audit.txt
	set -e; for name in $(SPEED); do $(BIN)/python -m benchmarks.$$name $(if $(QUICK),--quick) --json build/tables/$$name.json > build/tables/$$name.txt; done
	$(BIN)/python -m benchmarks.lib.speed_plots build/tables build/tables
	$(BIN)/python -m benchmarks.lib.readme build/tables/accuracy.json README.md --output build/tables/README.md
	$(if $(QUICK),,cp build/tables/*.txt docs/tables && cp build/tables/*.png docs/images && cp $(patsubst %,build/tables/%.json,$(SPEED) families export certify audit) benchmarks/results && cp build/tables/README.md README.md)

clean: ## remove all that was made
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache docs/_build docs/auto_examples
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that an interrupted run left unfinished, or that has no working pip, is made anew.
# torch comes first, at its pinned version, and brings the setuptools that then builds skdmi.
.venv/.installed-%: pyproject.toml setup.cfg constraints.txt
	@if [ -e .venv/.unfinished ] || ! $(PIP) --version > /dev/null 2>&1; then rm -rf .venv; fi
	@mkdir -p .venv && touch .venv/.unfinished
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt $(TORCH)
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[$*]'
	@rm .venv/.unfinished && touch $@
