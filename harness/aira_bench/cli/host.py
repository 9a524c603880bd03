"""Builds the `Host` a command works with: engine, sandbox, hardware, paths, and the terminal's notes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.paths import host_paths
from aira_bench.world import SystemWorld

if TYPE_CHECKING:
    from aira_bench.images.ensure import ImageSet
    from aira_bench.runs.host import Host
    from aira_bench.tasks.download import Transfer


def connect_host(
    runs: Path | None, runtime: str | None, note: Callable[[str], None], transfer: "Callable[[Transfer], None]"
) -> "Host":
    """Connect to the container engine; `note` and `transfer` show what happens before the search.

    Raises:
        PrerequisiteError: no engine answers, or it has no such runtime.
    """
    from aira_bench.docker_engine import DockerEngine
    from aira_bench.hardware import this_machine
    from aira_bench.images.ensure import ensure_images
    from aira_bench.runs.host import Host
    from aira_bench.sandbox.docker_sandbox import DockerSandbox

    engine = DockerEngine.connect()
    sandbox = DockerSandbox(engine, runtime=runtime)
    dead = sandbox.sweep_dead()
    if dead:
        note(f"removed {dead} containers that a crashed process of this machine had left")

    def build(flavour: str) -> "ImageSet":
        note(f"images ({flavour})")
        return ensure_images(flavour, engine, note)

    return Host(host_paths(runs), sandbox, SystemWorld(), this_machine(), build, transfer)
