# Two commands on a machine with Python 3.11 or newer: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
TESTS ?=
READY := $(VENV)/.installed

.PHONY: train test full check clean

train: $(READY)  ## Train a VAE and a CVAE on MNIST where it is at hand, else on the embedded digits
	$(VENV)/bin/python scripts/svi_train.py
	$(VENV)/bin/python scripts/svi_train.py --model CVAE

test: $(READY)  ## Pass the whole test suite; on real MNIST too where $$PYROVAE_DATA points to it
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile $(TESTS)

full: $(READY)  ## The long tables too, an hour on two cores
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist load -m "full or not full" $(TESTS)

check: $(READY)  ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pyrovae needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	@touch $@

clean:
	rm -rf $(VENV)
