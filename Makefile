# make demo    set up, check the fixture tree, show findings, write out/demo.sarif
# make test    set up, run all tests, the ones on real kernel trees included
# make check   ruff, mypy --strict, direction of imports
# make bench   time and memory against clang, into benchmarks/results.md
# make ledger  the obligations of both kernel trees and how they end, into docs/ledger.md
# make clean   remove what these made; kernel trees and caches outside of here stay

PYTHON ?= python3
VENV ?= .venv
OUT := out
KERNELS := 6.1 6.12
# More arguments for pytest, e.g. `make test PYTEST_ARGS="-m 'not kernel' -x"`.
PYTEST_ARGS ?=
# What sarif-multitool installs to, when there is one; see .ci/run.
NODE_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lockcheck-tools/node_modules/.bin

BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check bench ledger trees clean
.DELETE_ON_ERROR:

demo: $(RUN_READY)
	@mkdir -p $(OUT)
	$(BIN)/lockcheck check --tree fixtures --no-cache --exit-zero \
	  --format text -o - --format sarif -o $(OUT)/demo.sarif demo
	@echo "The same as SARIF: $(OUT)/demo.sarif"

test: $(DEV_READY) trees
	PATH="$(abspath $(BIN)):$(NODE_TOOLS):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/project/test_imports.py

bench: $(RUN_READY) trees
	$(BIN)/python benchmarks/bench.py

ledger: $(RUN_READY) trees
	$(BIN)/python benchmarks/ledger.py

# The trees that tests and benchmarks run on, fetched once, outside of the repository.
trees:
	@for version in $(KERNELS); do scripts/kernel-tree $$version >/dev/null || exit 1; done

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lockcheck needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

# Editable: a change to the source needs no new set-up, a change to pyproject.toml does.
$(RUN_READY): pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEV_READY): $(RUN_READY)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find lockcheck tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
