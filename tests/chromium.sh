#!/bin/sh
# Makes sure there is a Chromium for tests of pages: uses the one that is there, else installs Debian's (as root).
set -eu

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null && exit 0
done
wanted="sudo apt-get update && sudo apt-get install -y chromium"
command -v apt-get >/dev/null || { echo "chromium.sh: Chromium is missing. Install it for this system, then try again." >&2; exit 3; }
[ "$(id -u)" = 0 ] || { echo "chromium.sh: Chromium is missing. Type: $wanted" >&2; exit 3; }
echo "chromium.sh: installing chromium" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
