#!/bin/sh
# Makes or checks the lock of a flavour:  images/lock.sh [--check] cpu|cuda|cuda-jax
#
# Resolves from the registry's metadata without installing or downloading a wheel. --check takes the lock itself as the
# request: if a pin contradicts another, a package is missing, or one has no wheel for the images' Python, it fails.
set -eu
check=no
[ "${1-}" = --check ] && check=yes && shift
case "${1-}" in cpu | cuda | cuda-jax) ;; *) echo "usage: images/lock.sh [--check] cpu|cuda|cuda-jax" >&2; exit 2 ;; esac
cd "$(dirname "$0")/$1"
UV_FIND_LINKS=${UV_FIND_LINKS-${PIP_FIND_LINKS-https://download.pytorch.org/whl/cpu/torch}}
export UV_FIND_LINKS
request=requirements.in
[ "$check" = yes ] && request=requirements.lock
result=$(mktemp)
trap 'rm -f "$result"' EXIT
uv pip compile --quiet --config-file uv.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --no-header --no-annotate --output-file "$result" "$request"
if [ "$check" = yes ]; then
    grep -v '^#' requirements.lock | diff - "$result"
    echo "images/$1/requirements.lock holds together: $(wc -l <"$result") packages"
else
    { echo "# Made by images/lock.sh $1; every package of these images, none else."; cat "$result"; } >requirements.lock
fi
