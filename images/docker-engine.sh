#!/bin/sh
# Makes sure a Docker daemon answers: uses the one that is there, else installs one (Debian, Ubuntu; as root), and
# starts it where nothing has. With a daemon answering, no root is needed and nothing is changed.
set -eu

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
fail() { printf 'docker-engine: %s\n' "$*" >&2; exit 3; }
root() { [ "$(id -u)" = 0 ]; }

answers && exit 0
if ! command -v docker >/dev/null || ! command -v dockerd >/dev/null; then
    if command -v docker >/dev/null && docker version 2>&1 | grep -qi 'permission denied'; then
        fail "Docker runs, but this user may not use it. Type: sudo usermod -aG docker \"\$USER\" && newgrp docker"
    fi
    command -v apt-get >/dev/null || fail "Docker is missing. Install Docker Engine for this system, then try again."
    root || fail "Docker is missing. Type: sudo apt-get update && sudo apt-get install -y docker.io && sudo usermod -aG docker \"\$USER\" && newgrp docker"
    echo "docker-engine: installing docker.io" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null
    command -v docker >/dev/null || apt-get install -y -qq --no-install-recommends docker-cli >/dev/null
    answers && exit 0
fi
root || fail "no Docker daemon answers this user. Type: sudo systemctl start docker && sudo usermod -aG docker \"\$USER\" && newgrp docker"
echo "docker-engine: starting the daemon" >&2
if [ -d /run/systemd/system ]; then
    systemctl start docker
else
    setsid nohup dockerd >/var/log/dockerd.log 2>&1 </dev/null &
fi
for _ in $(seq 60); do
    answers && exit 0
    sleep 1
done
fail "the daemon does not answer after 60 s. Read: /var/log/dockerd.log or journalctl -u docker"
