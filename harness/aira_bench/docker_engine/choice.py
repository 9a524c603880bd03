"""Which engine makes containers: Docker, podman or Apptainer, by `--containers`, `AIRA_CONTAINERS`, or what answers.

Where podman answers in Docker's place (a socket of podman's in DOCKER_HOST, or the package podman-docker), it is spoken
to as podman: Docker's API alone would lose walls there (`podman_request`).

Not covered: which walls an engine builds (`aira_bench.sandbox.probe`).
"""

import os
from collections.abc import Mapping
from typing import Literal, get_args

from aira_bench.docker_engine.apptainer import ApptainerEngine
from aira_bench.docker_engine.endpoint import EngineAddress, require_address
from aira_bench.docker_engine.engine import DockerEngine
from aira_bench.docker_engine.podman import PodmanEngine
from aira_bench.docker_engine.podman_service import podman_service
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.paths import host_paths

Containers = Literal["docker", "podman", "apptainer"]
CONTAINERS: tuple[Containers, ...] = get_args(Containers)
"""What `--containers` may say."""
VARIABLE = "AIRA_CONTAINERS"
_ADDRESS = "CONTAINER_HOST"


def chosen(environ: Mapping[str, str], containers: str | None) -> Containers:
    """Return which engine is meant.

    Raises:
        UsageError: there is none of that name.
    """
    name = containers or environ.get(VARIABLE) or "docker"
    for known in CONTAINERS:
        if name == known:
            return known
    raise UsageError(
        f"There is no container engine {name[:40]!r}; aira-bench knows {', '.join(CONTAINERS)}.",
        hint=f"unset {VARIABLE}",
    )


def connect_engine(containers: str | None = None) -> DockerEngine:
    """Connect to the engine that makes containers.

    Args:
        containers: which, one of `CONTAINERS`; None for the variable `AIRA_CONTAINERS`, or Docker.

    Raises:
        UsageError: there is none of that name.
        PrerequisiteError: none answers, this user may not use it, or its address is malformed.
    """
    name = chosen(os.environ, containers)
    if name == "apptainer":
        return ApptainerEngine.open(host_paths().home / "apptainer")
    if name == "podman":
        return _podman(os.environ.get(_ADDRESS))
    engine = DockerEngine.connect()
    return PodmanEngine.over(engine) if engine.is_podman else engine


def _podman(host: str | None) -> PodmanEngine:
    """Podman's service at an address, or one of our own."""
    if host:
        require_address(host, _ADDRESS, f"unset {_ADDRESS}")
        settings = {"base_url": host, "use_ssh_client": host.startswith("ssh://")}
        engine = PodmanEngine.connect(
            endpoint=EngineAddress(settings, _ADDRESS, f"podman info   (or unset {_ADDRESS})")
        )
        if engine.is_podman:
            return engine
        engine.close()
        raise PrerequisiteError(f"What answers at {host[:80]!r} is not podman.", hint=f"unset {_ADDRESS}")
    service = podman_service()
    address = service.__enter__()
    try:
        return PodmanEngine.connect(endpoint=address).ending(service)
    except BaseException:
        service.__exit__(None, None, None)
        raise
