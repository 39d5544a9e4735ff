# One thread: two torch threads on two busy cores can be several times slower than one.
export OMP_NUM_THREADS ?= 1

# Processes that share the tests; 0 keeps all in one.
WORKERS ?= 2

PYTHON ?= python3
VENV := .venv
PINS := constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' $(PINS))

# The benchmarks of speed, whose figures are kept: run them on a quiet machine.
SPEED := throughput routes latency memory

# Those of what is around the inverse, whose figures are kept, too.
AROUND := complex_families complex_inverses inv_sqrt pinv preconditioners

# Those that run for hours, each by itself: python -m benchmarks.soak.
ENDURANCE := fuzz kills soak

.NOTPARALLEL:
.PHONY: help demo check test test-oldest lint coverage mutants docs site-check dist-check bench tables clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1#\2/p' Makefile | tr '#' '\t' | expand -t 18

demo: $(VENV)/.installed-fast ## run the demonstration
	$(BIN)/skdmi info --compile
	$(BIN)/python scripts/demo.py

check: lint ## lint, and run all but the slow tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test: $(VENV)/.installed-test ## run the tests and the doctests
	$(BIN)/python -m pytest -n $(WORKERS)

# Old scikit-learn hands pytest an iterator, with names that occur twice; old torch uses what it has deprecated itself.
test-oldest: ## run all but the slow tests with the oldest versions supported, in .venv-oldest
	PYTEST_ADDOPTS='-m "not slow" -o strict_parametrization_ids=false -W "ignore:Passing a non-Collection" -W "ignore:Please use:FutureWarning"' \
		$(MAKE) test VENV=.venv-oldest PINS=constraints-oldest.txt

lint: $(VENV)/.installed-lint ## check style, formatting, types and docstrings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m scripts.check_types
	$(BIN)/python -m scripts.check_docstrings

coverage: $(VENV)/.installed-quality ## measure which branches the quick tests and the doctests take; fail below 97 %
	rm -rf build/coverage && mkdir -p build/coverage
	SKDMI_CACHE_DIR=$(CURDIR)/build/coverage/kernels $(BIN)/coverage run -m pytest -n $(WORKERS) -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet --fail-under=0 -o build/coverage/coverage.json
	$(BIN)/python -m scripts.coverage_table build/coverage/coverage.json --json benchmarks/results/coverage.json > docs/tables/coverage.txt
	$(BIN)/coverage report

mutants: $(VENV)/.installed-quality ## change the code in one place at a time; see whether a test notices. Goes on where it ended
	$(BIN)/python -m scripts.mutants --workers $(WORKERS) --seconds 8
	$(BIN)/python -m scripts.mutants --workers $(WORKERS) --seconds 30 --again
	$(BIN)/python -m scripts.mutants --report > docs/tables/mutants.txt

docs: $(VENV)/.installed-docs ## build docs/_build/html
	rm -rf docs/_build docs/api/generated docs/auto_examples
	$(BIN)/sphinx-build -W -b html docs docs/_build/html
	$(BIN)/python -m scripts.build_demo docs/_build/html/demo

site-check: ## look at every page of docs/_build/html in a browser, if there is a Chromium
	$(BIN)/python -m scripts.check_site docs/_build/html $(if $(SCREENSHOTS),--screenshots $(SCREENSHOTS))

dist-check: $(VENV)/.installed-test $(VENV)/.installed-dist ## build what would be released; install and try it in empty environments
	$(BIN)/python -m scripts.dist_check

bench: $(VENV)/.installed-test ## run every benchmark, but for fuzz, kills and soak, which take hours
	set -e; for script in $(filter-out __init__ $(ENDURANCE),$(notdir $(basename $(wildcard benchmarks/*.py)))); do $(BIN)/python -m benchmarks.$$script; done

tables: $(VENV)/.installed-test ## print the tables of docs and README anew; QUICK=1 tries it in build/tables
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
	set -e; for name in $(AROUND); do $(BIN)/python -m benchmarks.$$name $(if $(QUICK),--quick) --json build/tables/$$name.json > build/tables/$$name.txt; done
	set -e; for name in $(SPEED); do $(BIN)/python -m benchmarks.$$name $(if $(QUICK),--quick) --json build/tables/$$name.json > build/tables/$$name.txt; done
	$(BIN)/python -m benchmarks.lib.speed_plots build/tables build/tables
	$(BIN)/python -m benchmarks.lib.landing_plot build/tables build/tables
	$(BIN)/python -m benchmarks.lib.readme build/tables/accuracy.json README.md --output build/tables/README.md
	$(if $(QUICK),,cp build/tables/*.txt docs/tables && cp build/tables/*.png docs/images && cp $(patsubst %,build/tables/%.json,$(SPEED) $(AROUND) families export certify audit) benchmarks/results && cp build/tables/README.md README.md)

clean: ## remove all that was made
	rm -rf .venv .venv-oldest build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache docs/_build docs/auto_examples
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that an interrupted run left unfinished, or that has no working pip, is made anew.
# torch comes first, at its pinned version, and with it the setuptools that then builds skdmi.
$(VENV)/.installed-%: pyproject.toml setup.cfg $(PINS)
	@if [ -e $(VENV)/.unfinished ] || ! $(PIP) --version > /dev/null 2>&1; then rm -rf $(VENV); fi
	@mkdir -p $(VENV) && touch $(VENV)/.unfinished
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(PINS) $(TORCH) setuptools
	$(PIP) install -c $(PINS) --no-build-isolation -e '.[$*]'
	@rm $(VENV)/.unfinished && touch $@
