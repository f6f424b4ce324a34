# Needs Python 3.11 or newer and make; everything else is set up in .venv.
PYTHON ?= python3
VENV   := .venv
BENCH  := .venv-bench
OUT    ?= runs/quickstart

.PHONY: study test lint bench-env clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,audio]'
	touch $@

study: $(VENV)/.ready
	$(VENV)/bin/moodlens run --out $(OUT)

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

# The peers have requirements of their own, so they live apart.
bench-env: $(BENCH)/.ready

$(BENCH)/.ready: benchmarks/requirements.txt constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet torch==2.13.0
	$(BENCH)/bin/pip install --quiet --editable . --requirement benchmarks/requirements.txt
# A peer brings torchvision, which the CPU build of torch cannot load and nothing here uses.
	$(BENCH)/bin/pip uninstall --quiet --yes torchvision
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) runs build dist
