#!/bin/sh
# Makes or checks the locks of a flavour:  images/lock.sh [--check | --upgrade] FLAVOUR
#
# A flavour is a folder here. Its requirements.in says what judges need, agents.in what agents get besides; the locks
# of the same names hold every package of these images. Pins stay as they are where they can; --upgrade moves them all.
# Resolves from the registry's metadata without installing or downloading a wheel. --check takes the locks themselves
# as the request: if a pin contradicts another, a package is missing, or one has no wheel for the images' Python, it fails.
set -eu
mode=keep
case "${1-}" in --check | --upgrade) mode=${1#--} && shift ;; esac
here=$(dirname "$0")
[ $# -eq 1 ] && [ -e "$here/$1/requirements.in" ] || {
    echo "usage: images/lock.sh [--check | --upgrade] $(cd "$here" && ls -d */ | tr -d / | LC_ALL=C sort | paste -sd '|' -)" >&2
    exit 2
}
cd "$here/$1"
# Builds of torch for the CPU alone are for flavours that ask for one: beside them `torch==2.13.0` would mean one, too.
if grep -q '+cpu' requirements.in; then
    UV_FIND_LINKS=${UV_FIND_LINKS-${PIP_FIND_LINKS-https://download.pytorch.org/whl/cpu/torch}}
    export UV_FIND_LINKS
else
    unset UV_FIND_LINKS
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Resolves requests, the arguments, to a file of pins; pins that are in it already are kept where they can be.
resolve() {
    into=$1 && shift
    uv pip compile --quiet --config-file uv.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --no-header --no-annotate --output-file "$into" "$@"
}
pins() { grep -hv '^#' "$@" || true; }

if [ "$mode" = check ]; then
    for locks in requirements.lock "requirements.lock agents.lock"; do
        pins $locks | LC_ALL=C sort >"$work/asked.txt"
        rm -f "$work/found"
        resolve "$work/found" "$work/asked.txt"
        LC_ALL=C sort "$work/found" | diff "$work/asked.txt" -
        echo "images/$1/: $locks hold together: $(wc -l <"$work/asked.txt") packages"
    done
else
    [ "$mode" = upgrade ] || pins requirements.lock agents.lock >"$work/all"
    resolve "$work/all" requirements.in agents.in
    cp "$work/all" "$work/judges"
    resolve "$work/judges" --constraint "$work/all" requirements.in
    { echo "# Made by images/lock.sh $1; every package of the evaluator image, none else."; cat "$work/judges"; } >requirements.lock
    { echo "# Made by images/lock.sh $1; what the agent image has besides."; grep -vxFf "$work/judges" "$work/all" || true; } >agents.lock
fi
