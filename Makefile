# Two commands matter: `make demo` and `make test`. Both work on a fresh machine, with and without root, GPU or npm.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where torch comes from; for a machine without a GPU https://download.pytorch.org/whl/cpu spares gigabytes of CUDA.
TORCH_INDEX ?=
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
ONCE ?=
# What `make demo` may install: Orthanc by apt where it runs as root; INSTALL=no leaves the machine as it is.
INSTALL ?= yes
# Tests run side by side, one file at a time in each process; one thread each for the numerical libraries.
WORKERS ?= 2
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not peer and not slow"

.PHONY: setup demo stop test fast lint peers clean help

help:
	@echo "make setup    the virtual environment with pinned versions; . .venv/bin/activate then finds osteon"
	@echo "make demo     start the node and an archive, send a real scan and two simulated patients, show what comes back"
	@echo "make stop     stop what 'make demo' left running"
	@echo "make test     install the peers that can be had, then run all tests"
	@echo "make fast     the tests for your own loop (no peers, nothing slow)"
	@echo "make lint     ruff and mypy"
	@echo "make clean    remove the environment, caches, out/ and what the demo stored; osteon-data stays"

setup: $(VENV)/.ready

# torch first and by itself: whatever depends on it must find it there instead of choosing a build of its own.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "osteon needs Python 3.11 or newer; say make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,research,postgres]"
	@touch $@

demo: setup
	@[ "$(INSTALL)" = no ] || sh deploy/peers/install.sh archive
	@$(BIN)/python -m deploy.demo.run $(if $(ONCE),--once)

stop:
	@$(BIN)/python -m deploy.demo.run --stop

peers: setup
	@sh deploy/peers/install.sh

# The others one after the other: they time real servers, or fill the machine themselves.
test: peers
	@failed=0; $(SIDE_BY_SIDE) || failed=1; $(BIN)/python -m pytest -q -m "peer or slow" || failed=1; exit $$failed

fast: setup
	$(SIDE_BY_SIDE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy node pipelines deploy

# Of osteon-data the demo's part alone: the rest is the data folder of an `osteon serve` started here, with studies in it.
clean:
	@if [ -e osteon-data/demo/running.json ] && [ -x $(BIN)/python ]; then $(BIN)/python -m deploy.demo.run --stop; fi
	rm -rf $(VENV) .peers .cache out osteon-data/demo
