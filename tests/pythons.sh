#!/bin/sh
# Runs the host's tests on other Pythons:  tests/pythons.sh PYTHON...      e.g. tests/pythons.sh python3.12 python3.13
#
# Each gets an environment of its own with aira-bench as a user installs it, in the versions of requirements-dev.lock, so
# that pip need not search for ones that go together; without torch and jax: the host needs neither. Left out are tests
# with containers or a GPU, those of `make test-long`, and those of what runs in containers, which has one Python.
set -eu
[ $# -gt 0 ] || { echo "usage: tests/pythons.sh PYTHON..." >&2; exit 2; }
cd "$(dirname "$0")/.."
for python; do
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    "$python" -m venv "$place/venv"
    sed -n 's/^\([A-Za-z0-9._-]*==[^ ;+]*\).*/\1/p' requirements-dev.lock > "$place/versions.txt"
    "$place/venv/bin/python" -m pip install --quiet --constraint "$place/versions.txt" --editable ".[figures,objects,tensorboard,tokens,view]" build editables flask-cors \
        hatchling hypothesis "moto[s3]" pre-commit pytest pytest-timeout pytest-xdist scikit-learn uv
    # A module that needs what only containers have, or a browser, says so when it is collected; all others are run.
    collected=$("$place/venv/bin/python" -m pytest --collect-only --quiet -p no:cacheprovider tests --ignore tests/evaluator \
        --ignore tests/kernels --ignore tests/bench 2>&1) || true
    others=$(echo "$collected" | grep '^E   ' | grep -v "No module named '\(torch\|jax\|cloudpickle\|playwright\)'") || true
    [ -z "$others" ] || { echo "$("$python" --version) cannot import tests:"; echo "$others"; exit 1; }
    without=$(echo "$collected" | sed -n 's/^ERROR \(tests[^ ]*\).*/--ignore=\1/p')
    # shellcheck disable=SC2086
    AIRA_HOME=$place/home OMP_NUM_THREADS=1 PATH=$place/venv/bin:$PATH "$place/venv/bin/python" -m pytest -q -p no:cacheprovider \
        --basetemp "$place/tmp" -m "not docker and not gpu and not browser and not long" --numprocesses auto tests --ignore tests/evaluator --ignore tests/kernels --ignore tests/bench $without
    echo "$("$python" --version): passed, without$(echo "$without" | sed 's/--ignore=/ /' | tr -d '\n')"
    rm -rf "$place"
done
