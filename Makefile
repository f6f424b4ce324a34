# Needs Python 3.11 or newer and make; everything else is set up in .venv.
PYTHON ?= python3
VENV   := .venv
BENCH  := .venv-bench
OUT    ?= runs/quickstart

PIP    := $(VENV)/bin/pip install --quiet --no-compile --constraint constraints.txt

.PHONY: study test test-avx2 browser page-tools page docs lint bench-env clean

# Modules are compiled when they are first used: compiling all of them takes longer than fetching them, and 340 MB.
$(VENV)/.study: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[explore]'
	touch $@

$(VENV)/.test: $(VENV)/.study
	$(PIP) --editable '.[dev,audio,diffusion,saelens,explore]'
	touch $@

study: $(VENV)/.study
	$(VENV)/bin/moodlens run --out $(OUT)

# One thread for each of the two workers; tests of threads ask for two themselves.
test: $(VENV)/.test browser page-tools
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

# What computes, once more as on a processor without AVX-512: torch, oneDNN, numba and OpenBLAS each have a switch. Files, kills and keys
# are the same there.
test-avx2: $(VENV)/.test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell \
	NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= \
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile tests/core tests/embed tests/sae tests/study \
	--ignore tests/study/test_durability.py --ignore tests/study/test_tracking.py --ignore tests/study/test_transaction.py --ignore tests/study/test_stage_keys.py \
	--ignore tests/study/test_imported.py --ignore tests/embed/test_outside.py --ignore tests/core/test_sound.py -k "not test_a_kill_costs"

# The listening page is tested in a real browser; without one its tests are skipped and say so.
browser:
	@command -v chromium google-chrome chromium-browser >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; } \
	|| echo "no browser found and none could be installed: browser tests will be skipped"

# What builds and checks the explorer's page; without npm those tests are skipped, as the built page is in the package.
page-tools:
	@command -v npm >/dev/null 2>&1 && { [ explorer/node_modules -nt explorer/package-lock.json ] || { cd explorer && npm ci --silent --no-audit --no-fund && touch node_modules; }; } \
	|| echo "npm is absent or could not fetch: tests that build the explorer's page will be skipped"

page: page-tools
	cd explorer && npm run check && npm run build

# The pages as a website, in build/site; a link that leads nowhere is an error.
docs: $(VENV)/.test
	$(VENV)/bin/python docs/site.py

lint: $(VENV)/.test page-tools
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	@if [ -d explorer/node_modules/svelte-check ]; then cd explorer && npm run --silent check; fi

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
