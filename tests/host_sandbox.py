"""A sandbox that is none: containers are plain processes of this machine, whose paths are put right.

For tests of what trusted scripts of our own do, many and quickly; tests with the mark `docker` run a few in containers.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from aira_bench.hardware import Hardware
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.host import Host
from aira_bench.sandbox.sandbox import Role
from aira_bench.testing import Call, Done, InMemorySandbox, run_unprotected
from aira_bench.world import SystemWorld
from aira_contract.containers import RAW, WORKSPACE


def run_here(call: Call) -> Done:
    """Run a command with its mounts: those of the workspace become links in it, of others the host's paths are named."""
    links = [
        f"ln -s '{mount.source}' '{mount.target.relative_to(WORKSPACE)}'"
        for mount in call.spec.mounts
        if mount.target.is_relative_to(WORKSPACE)
    ]
    inner = [mount for mount in call.spec.mounts if len(mount.target.parts) > 2 and mount.target.is_relative_to(RAW)]
    links += [
        f"mkdir -p '.raw/{mount.target.parent.relative_to(RAW)}' && "
        f"ln -s '{mount.source}' '.raw/{mount.target.relative_to(RAW)}'"
        for mount in inner
    ]
    here = (
        {f"{WORKSPACE}/": ""}
        | ({str(RAW): ".raw"} if inner else {})
        | {str(mount.target): str(mount.source) for mount in call.spec.mounts if len(mount.target.parts) == 2}
    )
    command = [sys.executable, *call.command[1:]]
    for there, place in here.items():
        command = [part.replace(there, place) for part in command]
    return run_unprotected(replace(call, command=("sh", "-c", " && ".join([*links, 'exec "$@"']), "sh", *command)))


def host_without_containers(root: Path) -> tuple[Host, InMemorySandbox, list[str]]:
    """A host whose containers are plain processes, its sandbox, and the roles of the containers that ran, in order."""
    roles: list[str] = []

    def run(call: Call) -> Done:
        roles.append(call.spec.role)
        return run_here(call)

    every_role: tuple[Role, ...] = get_args(Role)
    sandbox = InMemorySandbox(dict.fromkeys(every_role, run))
    hardware = Hardware("test", 1, 1024, ())
    paths = HostPaths(root / "home", root / "runs")
    host = Host(paths, sandbox, SystemWorld(), hardware, lambda flavour, declared: ImageSet("agent", "evaluator"))
    return host, sandbox, roles
