# Every command of the project; CI calls only these. `make` alone lists them.
SHELL := /bin/bash -o pipefail
VENV ?= .venv
PYTHON ?= python3.11
PY := $(VENV)/bin/python
# Elsewhere than on a machine that carries it, torch's CPU build comes from PyTorch's own index:
#   make book TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
CHAPTER ?=
PRESET ?= book
SEEDS ?=
JOBS ?= 2
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PYTHONHASHSEED := 0
PIP := $(PY) -m pip install --quiet --no-compile --disable-pip-version-check
TORCH = $$(grep '^torch==' requirements.lock)
# torch alone comes from its own index, so that nothing else can.
PIP_TORCH = $(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) $(TORCH))
NBVAL := $(PY) -m pytest -p tests.conftest --nbval --nbval-current-env --nbval-cell-timeout=900 -n 2 -q

.PHONY: help env book pdf epub html serve test lint unit nbval reproduce refresh record carry mutants personalities bench new stamp lock test-newest test-oldest clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

env: $(VENV)/ready ## Make the environment of requirements.lock in .venv
$(VENV)/ready: requirements.lock
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP_TORCH)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	touch $@

book: env ## Build the book from the stored, validated outputs into _build/html
	$(PY) -m tools.pages
	$(VENV)/bin/jupyter-book build . --warningiserror --nitpick --keep-going --quiet
	@echo "The book: _build/html/index.html (search needs a server: make serve)"

pdf: env ## The book as one PDF: _build/optimization-executed.pdf (needs Chromium)
	$(PY) -m tools.pages
	$(PY) -m tools.editions pdf

epub: env ## The book as an EPUB (formulas need Chromium): _build/optimization-executed.epub
	$(PY) -m tools.pages
	$(PY) -m tools.editions epub

serve: book ## Show the book on http://localhost:8000
	$(PY) -m http.server --directory _build/html 8000

test: env lint book ## Everything that must hold before a change lands
	$(PY) -m pytest -n 2 -q
	$(PY) -m pytest benchmarks/bench_*.py -n 2 -q --benchmark-disable
	$(NBVAL) $$($(PY) -m tools.notebooks list)

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: env ## Only the unit tests (under two minutes)
	$(PY) -m pytest -n 2 -q -m "not book and not network"

nbval: env ## Execute the stored chapters (or CHAPTER) and compare their outputs
	$(NBVAL) $$($(PY) -m tools.notebooks list $(CHAPTER))

reproduce: env ## Execute chapters afresh into _build/reproduced and show them: [CHAPTER=slug] [PRESET=book]
	$(PY) -m tools.notebooks execute $(CHAPTER) --preset $(PRESET)

refresh: env ## Execute chapters and store their normalized outputs: [CHAPTER=slug]
	$(PY) -m tools.notebooks refresh $(CHAPTER)

record: env ## Record full runs into results/, from a clean tree: CHAPTER=slug [SEEDS=0-4] [JOBS=2]
	$(PY) -m lib.record $(or $(CHAPTER),all) --preset full $(if $(SEEDS),--seeds $(SEEDS)) --jobs $(JOBS)

carry: env ## After a refactoring: keep recorded runs current whose fingerprint today's code gives [CHAPTER=slug]
	$(PY) -m lib.record $(or $(CHAPTER),all) --carry --jobs $(JOBS)

mutants: env ## Break a method's core lines one by one; its tests must notice: CHAPTER=slug [MUTANTS="--lines all"]
	$(PY) -m tools.mutants $(CHAPTER) $(MUTANTS)

personalities: env ## Rerun chapters as other CPUs would: no output may change [CHAPTER=slug]
	$(PY) -m tools.personalities $(CHAPTER)

bench: env ## Measure lib against its peers into results/benchmarks.json
	mkdir -p _build
	$(PY) -m pytest benchmarks/bench_*.py -q -o addopts="-p no:cacheprovider" --benchmark-json=_build/benchmarks.json
	$(PY) -m tools.benchmarks _build/benchmarks.json

new: env ## Scaffold the next paper: SLUG=slug PART=part
	$(PY) -m tools.scaffold $(SLUG) $(PART)

stamp: env ## Write the repository address of _config.yml into chapters and metadata
	$(PY) -m tools.notebooks stamp

lock: env ## Write requirements.lock from what is installed
	$(PY) -m tools.lock

test-newest: ## Unit and smoke tests with the newest dependencies (torch stays at the lock's version)
	$(MAKE) floating VENV=.venv-newest RESOLVE=newest
test-oldest: ## Unit and smoke tests with the oldest allowed dependencies (torch stays at the lock's version)
	$(MAKE) floating VENV=.venv-oldest RESOLVE=oldest
# What chapters can work with but the book does not need; each asks for other versions than the lock's, so it has its own place.
PEERS := tensordict torch_geometric einops linear-attention-transformer trl datasets transformers tokenizers diffusers torchjd quadprog qpsolvers
# Their bounds (NumPy below 2; a package that is gone) would refuse the lock's versions; what they do works with them.
PEERS_ALONE := torchgfn torchattacks gbnn
test-peers: ## The tests against packages that are not in the lock: torchgfn, TRL, transformers, diffusers, torchjd, ...
	$(MAKE) env VENV=.venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) $(PEERS)
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(PEERS_ALONE)
	.venv-peers/bin/python -m pytest -q $$(grep -rlE 'importorskip\("(gbnn|gfn|trl|transformers|diffusers|torchjd|torchattacks)' tests)
.PHONY: floating test-peers
floating:
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP_TORCH)
	$(PIP) $(TORCH) uv
	$(PY) -m tools.lock --resolve $(RESOLVE) > $(VENV)/requirements.txt
	$(PIP) -r $(VENV)/requirements.txt
	$(PIP) --no-deps --editable .
	$(PY) -m pytest -n 2 -q -m "not network" --deselect tests/book/test_environment.py --ignore tests/book/test_html.py --ignore tests/book/test_browser.py --ignore tests/book/test_editions.py

clean: ## Remove what is built
	rm -rf _build _static/mathjax book/_generated book/api book/gallery.md book/api.md book/data.md book/costs.md
