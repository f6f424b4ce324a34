# Needs Python 3.11 or newer and make; everything else is set up in .venv.
PYTHON ?= python3
VENV   := .venv
BENCH  := .venv-bench
OUT    ?= runs/quickstart

.PHONY: study test browser lint bench-env clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,audio,saelens]'
	touch $@

study: $(VENV)/.ready
	$(VENV)/bin/moodlens run --out $(OUT)

test: $(VENV)/.ready browser
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

# The listening page is tested in a real browser; without one its tests are skipped and say so.
browser:
	@command -v chromium google-chrome chromium-browser >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; } \
	|| echo "no browser found and none could be installed: browser tests will be skipped"

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
