# From a clean clone on Debian or Ubuntu with python3 and make:
#   make demo    a small search in containers, ending in a board
#   make test    the test suite but for what takes long: make test-long
# Both install what is missing and skip what is done.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := --agent evolution --task mad-2p --profile cpu --seeds 2 --steps 3 --name demo
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# One line a package; sed, unlike grep, does not fail where there is none.
SHORT := sed -u -n -e 's/^ *Downloading/  downloading/p' -e 's/^\(Installing collected packages\).*/  installing/p'
CPU_TORCH := https://download.pytorch.org/whl/cpu

# With REPORTS=DIR tests write JUnit files there.
junit = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml)

.PHONY: help demo docs test test-long test-browser test-formats test-downstream test-podman test-slurm test-cluster test-pythons search faults faults-containers check reproduce reference reference-board images doctor lock clean engine gpu-check cluster-simulation
.DEFAULT_GOAL := help

help:
	@sed -n '2,4s/^# *//p' Makefile; echo "  make check   lint, format, types and spelling"; echo "  make images  build the cpu images"; \
    echo "  make docs    the documents as a site: build/docs/index.html"; \
	    echo "  make reproduce  the published tables against their accepted statuses, and the reference board"; \
	    echo "  make gpu-check  measure everything on a GPU, without containers"

demo: $(VENV)/installed engine
	@if [ -e runs/demo/manifest.json ]; then \
	    echo "runs/demo exists: going on with it (make clean removes it)"; $(BIN)/aira-bench resume demo; \
	else $(BIN)/aira-bench run $(DEMO); fi
	@echo; echo "See what won, its curve and its code in a browser:  $(BIN)/aira-bench view demo --open"
	@echo "The command is $(BIN)/aira-bench; to call it by name:  source $(BIN)/activate"

# What needs no containers runs on all cores; containers are tested one after the other, since tests count them, and so are
# pages in a browser, which wait for nobody.
test: $(VENV)/installed engine images
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not docker and not browser and not long' --numprocesses auto $(call junit,plain)
	@$(MAKE) --no-print-directory test-browser
	$(BIN)/python -m pytest -m 'docker and not long' $(call junit,docker)

# The tests of tests/long_tests.txt, which `make test` leaves out; after it, what is tested is everything.
test-long: $(VENV)/installed engine images
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not docker and long' --numprocesses auto $(call junit,plain-long)
	$(BIN)/python -m pytest -m 'docker and long' $(call junit,docker-long)

# Pages of runs, opened in a headless Chromium, which is installed where there is none. With REPORTS=DIR pictures of them
# stay in DIR/pages.
test-browser: $(VENV)/installed
	@sh tests/chromium.sh
	$(BIN)/python -m pytest -m browser tests/view $(call junit,browser)

# Property tests with examples that nobody has drawn yet, many of them.
search: $(VENV)/installed
	HYPOTHESIS_PROFILE=search OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not docker and not browser' --numprocesses auto --timeout 1200

# Every fault of tests/faults: some 3,700 runs on a played engine, about 40 minutes on two cores; docs/reliability.md has
# the table. Cut off, it goes on where it stood.
faults: $(VENV)/installed
	$(BIN)/python tests/faults/all_faults.py --results .faults --write docs/reliability.md && rm .faults

# Some 70 faults of real containers and of a daemon of its own: needs root; about 15 minutes on two cores.
faults-containers: $(VENV)/installed images
	$(BIN)/python tests/faults/containers/container_faults.py

# Exports, mirrors and models against the real packages, in an environment of its own: about 2 GB that `make test` does
# not need.
# None of the tests may be skipped for want of a package.
FORMATS := .venv-formats
test-formats: $(FORMATS)/installed
	AIRA_TEST_FORMATS=1 $(FORMATS)/bin/python -m pytest -rs tests/export $(call junit,formats)

$(FORMATS)/installed: pyproject.toml
	@$(PYTHON) -m venv $(FORMATS)
	@$(FORMATS)/bin/python -m pip install --disable-pip-version-check --quiet --editable \
	    '.[hf,inspect,mlflow,stats,tensorboard,wandb]' 'pandas>=2.2' 'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.120' \
	    "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements-dev.lock)" --extra-index-url $(CPU_TORCH)
	@touch $@

# Tasks of lm-evaluation-harness on trained toys, in an environment of its own: about 2 GB, and not the one above, whose
# transformers is newer than lm_eval knows. None of the tests may be skipped.
DOWNSTREAM := .venv-downstream
test-downstream: $(DOWNSTREAM)/installed
	AIRA_TEST_DOWNSTREAM=1 $(DOWNSTREAM)/bin/python -m pytest -rs tests/downstream $(call junit,downstream)

$(DOWNSTREAM)/installed: pyproject.toml
	@$(PYTHON) -m venv $(DOWNSTREAM)
	@$(DOWNSTREAM)/bin/python -m pip install --disable-pip-version-check --quiet --editable \
	    '.[downstream]' 'accelerate>=0.26' 'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.120' \
	    "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements-dev.lock)" --extra-index-url $(CPU_TORCH)
	@touch $@

# Workers on a real Slurm of three nodes on this machine: needs root, and apt-get install slurm-wlm munge. None of these
# tests may be skipped.
test-slurm: $(VENV)/installed
	AIRA_TEST_SLURM=1 $(BIN)/python -m pytest tests/launchers/test_slurm.py $(call junit,slurm)

# Suites of 60 seeds on a Ray cluster and on a Slurm of three nodes on this machine, nodes of which are lost midway. Needs
# what test-slurm needs; about 15 minutes on two cores.
test-cluster: $(VENV)/installed test-slurm
	AIRA_TEST_CLUSTERS=1 $(BIN)/python -m pytest -rs tests/launchers/test_suites_on_clusters.py tests/launchers/test_ray.py $(call junit,cluster)

# Real podman under the checks that Docker gets, as whoever calls it: as root, and as an ordinary user. Storage is the
# tests' own; the image is Docker's base image, or AIRA_TEST_PODMAN_IMAGE=FILE of `docker save`.
test-podman: $(VENV)/installed
	@if command -v podman >/dev/null; then AIRA_TEST_PODMAN=1 $(BIN)/python -m pytest -rs tests/sandbox/test_podman.py $(call junit,podman); \
	else echo "skipped: no podman here (sudo apt-get install podman catatonit uidmap slirp4netns fuse-overlayfs)"; fi

# On Pythons that are installed here, such as PYTHONS="python3.12 python3.13": the host's tests alone.
PYTHONS ?= python3.12 python3.13
test-pythons:
	tests/pythons.sh $(PYTHONS)

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/typos
	$(BIN)/mypy --config-file= --strict --no-namespace-packages harness/aira_bench/authoring/templates/task/*.py

# The published tables, and that each of their cells has the status that was accepted last; and the reference board.
reproduce: $(VENV)/installed reference
	$(BIN)/aira-bench reproduce --statuses results/statuses.csv $(if $(REPORTS),--json > $(REPORTS)/reproduce.json)

# A board made again from the runs that are committed with it as packs: one changed byte of either fails. The README's
# table is a copy of it (tests/publication/test_reference_board.py).
REFERENCE ?= results/reference
reference: $(VENV)/installed
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && key=$$(cat $(REFERENCE)/signed-by) && \
	    $(BIN)/aira-bench merge $(REFERENCE)/*.tar.gz --runs "$$place" --signed-by "$$key" && \
	    $(BIN)/aira-bench verify $(REFERENCE)/board --runs "$$place" --signed-by "$$key"

# The board of those runs written anew, where columns or runs changed on purpose.
reference-board: $(VENV)/installed
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && export AIRA_HOME="$$place/home" && \
	    $(BIN)/aira-bench key trust $$(cat $(REFERENCE)/signed-by) && \
	    $(BIN)/aira-bench merge $(REFERENCE)/*.tar.gz --runs "$$place/runs" && \
	    $(BIN)/aira-bench leaderboard --runs "$$place/runs" --out $(REFERENCE)/board && \
	    $(BIN)/python tests/publication/reference_table.py

# Ten thousand workers against leases and ledger, and machines at one provider's limit (docs/cluster.md).
CLUSTER_SEEDS ?= 1 2 3
cluster-simulation: $(VENV)/installed
	for seed in $(CLUSTER_SEEDS); do $(BIN)/python bench/cluster_simulation.py --seed $$seed || exit 1; done
	$(BIN)/python bench/cluster_simulation.py --gates

# For ten minutes on a GPU: the machine's own Python, as it is. GPU_CHECK="--stages mad --limit 300" and the like.
gpu-check:
	$(PYTHON) bench/gpu_check.py --out gpu-check $(GPU_CHECK)

# What a page of reference says is taken from the code; a dead link or page that nobody finds fails the build.
docs: $(VENV)/docs-installed
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/docs/index.html"

images: $(VENV)/installed engine
	$(BIN)/aira-bench images build

doctor: $(VENV)/installed
	$(BIN)/aira-bench doctor

engine:
	@sh images/docker-engine.sh

# The second try is for machines whose pip settings know no CPU build of torch.
$(VENV)/installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), expected 3.11 or newer. Type: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 3; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } || \
	    { echo "python3 cannot make virtual environments. Type: sudo apt-get install -y python3-venv" >&2; exit 3; }
	@echo "making $(VENV): $$(grep -c == requirements-dev.lock) packages, about 900 MB"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement requirements-dev.lock | $(SHORT) || \
	    { echo "once more, with the public index of CPU builds of torch" && \
	    $(PIP) --requirement requirements-dev.lock --extra-index-url $(CPU_TORCH) | $(SHORT); }
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/docs-installed: $(VENV)/installed docs/requirements.lock
	@$(PIP) --quiet --no-deps --requirement docs/requirements.lock
	@touch $@

# Pins stay where they can; `make lock UPGRADE=--upgrade` moves them. The local version keeps pip from ever choosing a
# CUDA build of torch.
lock: $(VENV)/installed
	for recipe in images/*/flavour.toml; do \
	    PATH="$(BIN):$$PATH" sh images/lock.sh $(UPGRADE) $$(basename $$(dirname $$recipe)) || exit; done
	echo 'torch==2.13.0+cpu' >.torch.lock
	sed 1d requirements-dev.lock >.dev.lock
	UV_FIND_LINKS=$${UV_FIND_LINKS-$${PIP_FIND_LINKS-$(CPU_TORCH)/torch}} $(BIN)/uv pip compile --quiet --python-version 3.11 \
	    --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --constraint .torch.lock --extra dev \
	    $(UPGRADE) --output-file .dev.lock pyproject.toml
	{ sed -n 1p requirements-dev.lock; cat .dev.lock; } >.new.lock && mv .new.lock requirements-dev.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])' | \
	    $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
	    --constraint requirements-dev.lock $(UPGRADE) --output-file docs/requirements.lock -
	rm .torch.lock .dev.lock

clean:
	rm -rf $(VENV) runs/demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
