# Two commands on a machine with Python 3.11 or newer: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
TESTS ?=
READY := $(VENV)/.installed
DOCS := $(VENV)/.installed-docs

# Both ends of the versions that pyproject.toml allows, and the tests that find what a version breaks.
LOWEST_PYTHON ?= python3.11
NEWEST_PYTHON ?= python3.13
SHORT := tests/engine/test_engine_parity.py tests/test_parts.py tests/test_models.py tests/runs/test_config.py \
	tests/diagnostics/test_export.py
UV := .venv-uv/bin/uv

.PHONY: train test full lowest newest gpu check docs clean

train: $(READY)  ## Train a VAE and a CVAE on MNIST where it is at hand, else on the embedded digits
	$(VENV)/bin/python scripts/svi_train.py
	$(VENV)/bin/python scripts/svi_train.py --model CVAE

test: $(READY)  ## Pass the whole test suite; on real MNIST too where $$PYROVAE_DATA points to it
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile $(TESTS)

full: $(READY)  ## The long tables too, an hour on two cores
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist load -m "full or not full" $(TESTS)

lowest: $(UV)  ## The short tests with the lowest direct versions; 6 GB of disk, as PyPI has torch with CUDA alone
	rm -rf .venv-lowest
	$(UV) venv --quiet --no-python-downloads --python $(LOWEST_PYTHON) .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct --editable ".[test]"
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n auto --dist loadfile $(or $(TESTS),$(SHORT))

newest: $(UV)  ## The short tests with the newest versions, among them ArviZ 1.x
	rm -rf .venv-newest
	$(UV) venv --quiet --no-python-downloads --python $(NEWEST_PYTHON) .venv-newest
	$(UV) pip install --quiet --python .venv-newest --upgrade --editable ".[test]"
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n auto --dist loadfile $(or $(TESTS),$(SHORT) tests/engine/posterior)

gpu: $(READY)  ## What must be right and fast on an NVIDIA GPU, in half an hour at most
	$(VENV)/bin/python benchmarks/gpu_acceptance.py

check: $(READY)  ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(DOCS)  ## The site, into docs/_build/html; every warning is an error. EXECUTE=1 runs the notebooks anew
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m sphinx -W --keep-going -q -b html $(if $(EXECUTE),-D nb_execution_mode=force) \
		docs docs/_build/html

$(DOCS): $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable ".[docs]"
	@touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pyrovae needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	@touch $@

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet "uv>=0.5"

clean:
	rm -rf $(VENV) .venv-uv .venv-lowest .venv-newest docs/_build docs/api docs/notebooks docs/parts
