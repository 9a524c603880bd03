"""One connection to a Docker daemon: containers and volumes, beside the images of `EngineTransfers`.

Every call has a deadline and every failure becomes one of our errors: `PrerequisiteError` where the machine lacks
something a person can mend, `SandboxError` where the engine failed at its work.

Not covered: what a container may do (`aira_bench.sandbox.hardening`).
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import docker
import requests
from docker.errors import DockerException, ImageNotFound, NotFound

from aira_bench.docker_engine.attachment import Attachment
from aira_bench.docker_engine.endpoint import EngineAddress, find_engine
from aira_bench.docker_engine.failures import Conflict, NotDone, unreachable
from aira_bench.docker_engine.transfers import EngineTransfers
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.machine_failures import machine_failure

CALL_TIMEOUT_S = 60
"""Longest silence of the engine within one call."""
REMOVAL_TIMEOUT_S = 60
"""Longest time for a removal: a container with much memory to give back is killed long before it is dead."""
_POOL_SIZE = 64
_DEATH_POLL_S = 5.0
_PODMAN = "Podman Engine"
_NOT_DEAD_YET = "did not receive an exit event"
"""What the engine says that has sent a signal, of a container that is slow to die."""
_INTERVENTIONS, _DEATH = ("kill", "pause", "unpause", "stop", "restart"), "die"


@dataclass(frozen=True)
class EngineInfo:
    """What the engine says about itself and its machine."""

    version: str
    cgroup_version: int
    root_dir: str
    cpus: int
    memory_mib: int
    runtimes: tuple[str, ...]
    """Names of the container runtimes it can start."""
    cdi_devices: frozenset[str] = frozenset()
    """Full names of the devices it finds by the container device interface (CDI); none before version 28.2."""
    name: str = "Docker"
    rootless: bool = False
    """Whether it runs as an ordinary user, in a user namespace of its own."""

    @property
    def told(self) -> str:
        """The engine in a few words: `podman 4.3.1 without root, cgroup v2`."""
        return f"{self.name} {self.version}{' without root' if self.rootless else ''}, cgroup v{self.cgroup_version}"


@dataclass(frozen=True)
class ContainerInfo:
    """One container found by label."""

    id: str
    state: str
    labels: Mapping[str, str]


class DockerEngine(EngineTransfers):
    """One connection to a Docker daemon, usable from several threads."""

    @classmethod
    def connect(cls, timeout_s: int = CALL_TIMEOUT_S, endpoint: EngineAddress | None = None) -> Self:
        """Connect to an engine of this kind; `connect_engine` finds out of which kind the one is that is meant.

        Args:
            timeout_s: longest silence within one call.
            endpoint: where it answers; None for what the docker command would ask.

        Raises:
            PrerequisiteError: no daemon answers there, this user may not use its socket, or its address is malformed.
        """
        endpoint = find_engine(os.environ) if endpoint is None else endpoint
        try:
            api = docker.APIClient(version="auto", timeout=timeout_s, max_pool_size=_POOL_SIZE, **endpoint.settings)
        except (DockerException, requests.RequestException, OSError) as error:
            raise (machine_failure(error) or unreachable(cls.words, error, endpoint)) from error
        return cls(api)

    @property
    def is_podman(self) -> bool:
        """Whether podman answers, which speaks Docker's API too."""
        with self._call("describe itself", missing_is_error=True):
            components = self._api.version().get("Components") or []
        return any(each.get("Name") == _PODMAN for each in components)

    def close(self) -> None:
        """Close all connections to the daemon."""
        self._api.close()

    def info(self) -> EngineInfo:
        """Version and resources of the engine's machine."""
        with self._call("describe itself", missing_is_error=True):
            info = self._api.info()
        return EngineInfo(
            version=str(info["ServerVersion"]),
            cgroup_version=int(info.get("CgroupVersion", "1")),
            root_dir=str(info["DockerRootDir"]),
            cpus=int(info["NCPU"]),
            memory_mib=int(info["MemTotal"]) // 2**20,
            runtimes=tuple(sorted(info.get("Runtimes") or {})),
            cdi_devices=frozenset(
                str(found.get("ID")) for found in info.get("DiscoveredDevices") or [] if found.get("Source") == "cdi"
            ),
            rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or []),
        )

    def create_volume(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Create a volume of the local driver."""
        with self._call("create a workspace volume", missing_is_error=True):
            self._api.create_volume(name, driver="local", driver_opts=dict(options), labels=dict(labels))

    def create_container(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container from a request body of the Engine API; return its id.

        Raises:
            Conflict: another container has the name.
            PrerequisiteError: the image is not there.
        """
        image = config["Image"]
        try:
            with self._call("create a container"):
                created = self._api.create_container_from_config(dict(config), name)  # type: ignore[no-untyped-call]
                return str(created["Id"])
        except ImageNotFound as error:
            raise PrerequisiteError(f"There is no image {image}.", hint="aira-bench images build") from error
        except NotFound as error:
            raise SandboxError(
                f"{self.words.name} could not create a container of {image}: {error.explanation}"
            ) from error

    def attach(self, container_id: str) -> Attachment:
        """Open the standard streams. Call before `start_container`, so that nothing is missed."""
        with self._call("attach to a container", missing_is_error=True):
            parameters = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            return Attachment(self._api.attach_socket(container_id, params=parameters))

    def start_container(self, container_id: str) -> None:
        """Start a created container."""
        with self._call("start a container", missing_is_error=True):
            self._api.start(container_id)

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        """Wait for a container's end; return its exit code, or None if it is still up after `timeout_s`."""
        with self._call("wait for a container to end", missing_is_error=True):
            try:
                return int(self._api.wait(container_id, timeout=math.ceil(timeout_s))["StatusCode"])
            except requests.ConnectionError as error:
                if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
                    return None
                raise
            except requests.Timeout:
                return None

    def output(self, container_id: str) -> tuple[str, str]:
        """Return what a container that has ended wrote to stdout and to stderr, where the engine keeps that."""
        with self._call("read what a container wrote", missing_is_error=True):
            out, errors = (self._api.logs(container_id, stdout=stdout, stderr=not stdout) for stdout in (True, False))
        return out.decode(errors="replace"), errors.decode(errors="replace")

    def kill_container(self, container_id: str) -> bool:
        """Send SIGKILL to every process of a container; return whether it was sent. One that has ended is no error.

        The engine answers when the container is dead, or after some seconds that it has not died yet; a container
        with much memory to give back takes longer. Neither is an error: `wait_container` says when it is dead.

        Raises:
            SandboxError: the engine cannot be reached.
        """
        try:
            with self._call("kill a container"):
                self._api.kill(container_id)
        except NotDone as error:
            return _NOT_DEAD_YET in error.message
        except (NotFound, Conflict):
            return False
        return True

    def told_of(self, container_id: str) -> tuple[str, ...]:
        """Return what the engine was told to do to a container, up to its death or else to this moment, by whomever.

        `kill` (any signal), `pause`, `unpause`, `stop` and `restart`, in their order. Signals that processes inside
        send each other never pass the engine, so nothing inside can feign these. The engine remembers the last 256
        events of all its containers, and none from before its own start.
        """
        filters = {"container": [container_id], "type": ["container"], "event": [*_INTERVENTIONS, _DEATH]}
        told: list[str] = []
        with self._call("look through its events", missing_is_error=True):
            # Not the SDK's own call, which has no deadline and takes a lost connection for the end.
            answer = self._api.get(
                f"{self._api.base_url}/v{self._api.api_version}/events",
                params={"since": "0", "until": str(int(time.time()) + 1), "filters": json.dumps(filters)},
                stream=True,
                timeout=self._api.timeout,
            )
            with answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    action = str(json.loads(line)["Action"])
                    if action == _DEATH:
                        break
                    told.append(action)
        return tuple(told)

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        """Return the engine's own description of a container."""
        with self._call("inspect a container", missing_is_error=True):
            return cast("dict[str, Any]", self._api.inspect_container(container_id))

    def find_container(self, container_id: str) -> dict[str, Any] | None:
        """Return the engine's own description of a container, None if there is none."""
        with contextlib.suppress(NotFound), self._call("look for a container"):
            return cast("dict[str, Any]", self._api.inspect_container(container_id))
        return None

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes, waiting for its death. One that is gone is no error.

        Raises:
            SandboxError: it is still there after `REMOVAL_TIMEOUT_S`, or the engine cannot be reached.
        """
        deadline_s = time.monotonic() + REMOVAL_TIMEOUT_S
        while True:
            try:
                with self._call("remove a container"):
                    self._api.remove_container(container_id, v=True, force=True)
            except NotFound:
                return
            except Conflict:  # another caller's removal is under way; until it is done its volume cannot be removed
                pause_s = 0.05
            except NotDone as error:
                if time.monotonic() >= deadline_s:
                    raise
                pause_s = _DEATH_POLL_S if "kill" in error.message else 0.5
            else:
                return
            if time.monotonic() >= deadline_s:
                raise SandboxError(
                    f"{self.words.name} did not remove container {container_id[:12]}.",
                    hint=self.words.command("ps --all"),
                )
            time.sleep(pause_s)

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no container uses. One that is gone is no error."""
        with contextlib.suppress(NotFound), self._call("remove a workspace volume"):
            self._api.remove_volume(name)

    def containers(self, label: str) -> list[ContainerInfo]:
        """Return all containers, running or not, carrying `label` (a name, or `name=value`)."""
        with self._call("list containers", missing_is_error=True):
            found = self._api.containers(all=True, filters={"label": [label]})
        return [
            ContainerInfo(str(container["Id"]), str(container["State"]), dict(container.get("Labels") or {}))
            for container in found
        ]

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        """Labels of all volumes carrying `label`, by the volumes' names."""
        with self._call("list volumes", missing_is_error=True):
            found = self._api.volumes(filters={"label": [label]})
        return {str(volume["Name"]): dict(volume.get("Labels") or {}) for volume in found.get("Volumes") or []}

    def devices(self, label: str) -> set[str]:
        """Return what the volumes carrying `label` mount, as their driver's option `device` names it."""
        with self._call("list volumes", missing_is_error=True):
            found = self._api.volumes(filters={"label": [label]})
        return {str((volume.get("Options") or {}).get("device", "")) for volume in found.get("Volumes") or []}

    def volume_folder(self, name: str) -> str:
        """Return where a volume lies on the engine's machine."""
        with self._call(f"inspect volume {name}", missing_is_error=True):
            return str(self._api.inspect_volume(name)["Mountpoint"])
