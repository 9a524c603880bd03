"""A thin typed layer over the Docker Engine API; the only module that imports the Docker SDK.

Every call has a deadline and every failure becomes one of our errors: `PrerequisiteError` where the machine lacks
something a person can mend, `SandboxError` where the engine failed at its work.

Not covered: what a container may do (`aira_bench.sandbox.hardening`) and which images there are
(`aira_bench.images`). A pull is bounded by the engine's own network timeouts, not by ours.
"""

import contextlib
import json
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env, parse_repository_tag

from aira_bench.errors import PrerequisiteError, SandboxError

CALL_TIMEOUT_S = 60
"""Longest silence of the engine within one call."""
BUILD_TIMEOUT_S = 1800
"""Longest silence of one build step."""
REMOVAL_TIMEOUT_S = 60
"""Longest time for a removal: a container with much memory to give back is killed long before it is dead."""
_POOL_SIZE = 64
_RECEIVE_BYTES = 256 * 1024
_TICK_S = 0.2
_DEATH_POLL_S = 5.0


@dataclass(frozen=True)
class ImageInfo:
    """One tag of a local image."""

    tag: str
    id: str
    size_bytes: int
    created: datetime
    labels: Mapping[str, str]


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


@dataclass(frozen=True)
class ImageDetails:
    """What a local image consists of."""

    layers: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables that its containers begin with."""


@dataclass(frozen=True)
class ContainerInfo:
    """One container found by label."""

    id: str
    state: str
    labels: Mapping[str, str]


class Attachment:
    """A container's standard streams as one socket, opened before the container starts."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - the SDK returns a SocketIO or a TLS socket, untyped
        # The SDK object is kept: closing it closes the HTTP response that owns the descriptor.
        self._stream = stream
        self._socket = cast("socket.socket | ssl.SSLSocket", getattr(stream, "_sock", stream))
        # One thread reads while another writes, and both share the socket's timeout: it is set once, to a tick
        # after which each looks at its own deadline.
        self._socket.settimeout(_TICK_S)

    def send(self, data: bytes, timeout_s: float) -> None:
        """Write all of `data` to the container's standard input.

        Raises:
            TimeoutError: it was not taken within `timeout_s`.
            OSError: the container or the engine is gone.
        """
        deadline_s = time.monotonic() + timeout_s
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except TimeoutError:
                if time.monotonic() >= deadline_s:
                    raise

    def receive(self, timeout_s: float = math.inf) -> bytes:
        """Next bytes of the multiplexed output, empty at its end or when the connection is lost.

        Raises:
            TimeoutError: nothing came within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self._socket.recv(_RECEIVE_BYTES)
            except TimeoutError:
                if time.monotonic() >= deadline_s:
                    raise
            except OSError:
                return b""

    def close(self) -> None:
        """End the connection and wake a blocked `receive`. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK's stream only counts itself out; the descriptor is the socket's, and would wait for a collection.
        for end in (self._stream, self._socket):
            with contextlib.suppress(OSError):
                end.close()


class DockerEngine:
    """One connection to a Docker daemon, usable from several threads."""

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api

    @classmethod
    def connect(cls, timeout_s: int = CALL_TIMEOUT_S) -> "DockerEngine":
        """Connect to the daemon at DOCKER_HOST, or at the default socket.

        Raises:
            PrerequisiteError: no daemon answers, or this user may not use its socket.
        """
        try:
            settings = kwargs_from_env()
            api = docker.APIClient(version="auto", timeout=timeout_s, max_pool_size=_POOL_SIZE, **settings)
        except (DockerException, requests.RequestException, OSError) as error:
            raise _unreachable(error) from error
        return cls(api)

    def close(self) -> None:
        """Close all connections to the daemon."""
        self._api.close()

    def info(self) -> EngineInfo:
        """Version and resources of the engine's machine."""
        with _engine_call("describe itself"):
            info = self._api.info()
        return EngineInfo(
            version=str(info["ServerVersion"]),
            cgroup_version=int(info.get("CgroupVersion", "1")),
            root_dir=str(info["DockerRootDir"]),
            cpus=int(info["NCPU"]),
            memory_mib=int(info["MemTotal"]) // 2**20,
            runtimes=tuple(sorted(info.get("Runtimes") or {})),
        )

    # Images

    def image_exists(self, tag: str) -> bool:
        """Whether a local image has this tag."""
        try:
            with _engine_call(f"look for image {tag}"):
                self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        except NotFound:
            return False
        return True

    def inspect_image(self, tag: str) -> ImageDetails:
        """What the image of that tag consists of.

        Raises:
            PrerequisiteError: there is none.
        """
        try:
            with _engine_call(f"inspect image {tag}"):
                found = self._api.inspect_image(tag)  # type: ignore[no-untyped-call]
        except NotFound as error:
            raise PrerequisiteError(f"There is no image {tag}.", hint="aira-bench images build") from error
        pairs = (line.partition("=") for line in found["Config"].get("Env") or [])
        return ImageDetails(
            layers=tuple(str(layer) for layer in found["RootFS"].get("Layers") or []),
            environment={name: value for name, _, value in pairs},
        )

    def list_images(self, label: str) -> list[ImageInfo]:
        """All tagged local images carrying `label` (a name, or `name=value`), newest first."""
        with _engine_call("list images"):
            found = self._api.images(filters={"label": [label]})
        images = [
            ImageInfo(
                tag=tag,
                id=str(image["Id"]),
                size_bytes=int(image["Size"]),
                created=datetime.fromtimestamp(int(image["Created"]), UTC),
                labels=dict(image.get("Labels") or {}),
            )
            for image in found
            for tag in image.get("RepoTags") or []
            if tag != "<none>:<none>"
        ]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def pull(self, reference: str, on_line: Callable[[str], None]) -> None:
        """Fetch an image from its registry, telling progress line by line.

        Raises:
            PrerequisiteError: no registry answers, or it does not have the image.
        """
        repository, tag = parse_repository_tag(reference)
        try:
            with _engine_call(f"pull {reference}", missing_is_error=True):
                _follow(self._api.pull(repository, tag=tag or "latest", stream=True, decode=True), on_line)
        except (SandboxError, _StreamError) as error:
            raise PrerequisiteError(
                f"Image {reference} could not be pulled: {error}", hint=f"docker pull {reference}"
            ) from error

    def import_root(self, tar_path: Path, tag: str, labels: Mapping[str, str]) -> None:
        """Make an image of one layer from a tar archive of a root file system.

        Raises:
            PrerequisiteError: the engine refused the archive.
        """
        repository, version = parse_repository_tag(tag)
        changes = [f"LABEL {json.dumps(name)}={json.dumps(value)}" for name, value in sorted(labels.items())]
        try:
            with _engine_call(f"import {tar_path.name}"):
                answer = self._api.import_image(str(tar_path), repository=repository, tag=version, changes=changes)
                _follow((json.loads(line) for line in answer.splitlines() if line.strip()), lambda _: None)
        except (SandboxError, _StreamError) as error:
            raise PrerequisiteError(f"Image {tag} could not be imported: {error}", hint="docker info") from error

    def build(
        self,
        context: Path,
        dockerfile: str,
        target: str,
        tag: str,
        labels: Mapping[str, str],
        build_args: Mapping[str, str],
        on_line: Callable[[str], None],
        *,
        network: str = "none",
    ) -> None:
        """Build `target` of `context`/`dockerfile`. Build steps have no network unless `network` says otherwise.

        Raises:
            PrerequisiteError: a build step failed; the message carries the engine's reason.
        """
        try:
            with _engine_call(f"build {tag}", missing_is_error=True):
                lines = self._api.build(
                    path=str(context),
                    dockerfile=dockerfile,
                    target=target,
                    tag=tag,
                    labels=dict(labels),
                    buildargs=dict(build_args),
                    network_mode=network,
                    timeout=BUILD_TIMEOUT_S,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
                _follow(lines, on_line)
        except (SandboxError, _StreamError) as error:
            raise PrerequisiteError(f"Image {tag} could not be built: {error}", hint="aira-bench doctor") from error

    def remove_image(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag. A tag that is not there is no error."""
        with contextlib.suppress(NotFound), _engine_call(f"remove image {tag}"):
            self._api.remove_image(tag)

    def tag_image(self, source: str, tag: str) -> None:
        """Give the image `source` another tag.

        Raises:
            PrerequisiteError: there is no image `source`.
        """
        repository, version = parse_repository_tag(tag)
        try:
            with _engine_call(f"tag {source} as {tag}"):
                self._api.tag(source, repository, tag=version)
        except NotFound as error:
            raise PrerequisiteError(f"There is no image {source} to tag as {tag}.", hint="docker images") from error

    # Containers

    def create_volume(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Create a volume of the local driver."""
        with _engine_call("create a workspace volume", missing_is_error=True):
            self._api.create_volume(name, driver="local", driver_opts=dict(options), labels=dict(labels))

    def create_container(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container from a request body of the Engine API; return its id.

        Raises:
            Conflict: another container has the name.
            PrerequisiteError: the image is not there.
        """
        image = config["Image"]
        try:
            with _engine_call("create a container"):
                created = self._api.create_container_from_config(dict(config), name)  # type: ignore[no-untyped-call]
                return str(created["Id"])
        except ImageNotFound as error:
            raise PrerequisiteError(f"There is no image {image}.", hint="aira-bench images build") from error
        except NotFound as error:
            raise SandboxError(f"Docker could not create a container of {image}: {error.explanation}") from error

    def attach(self, container_id: str) -> Attachment:
        """Open the standard streams. Call before `start_container`, so that nothing is missed."""
        with _engine_call("attach to a container", missing_is_error=True):
            parameters = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            return Attachment(self._api.attach_socket(container_id, params=parameters))

    def start_container(self, container_id: str) -> None:
        """Start a created container."""
        with _engine_call("start a container", missing_is_error=True):
            self._api.start(container_id)

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        """Wait for a container's end; return its exit code, or None if it is still up after `timeout_s`."""
        with _engine_call("wait for a container to end", missing_is_error=True):
            try:
                return int(self._api.wait(container_id, timeout=math.ceil(timeout_s))["StatusCode"])
            except requests.ConnectionError as error:
                if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
                    return None
                raise
            except requests.Timeout:
                return None

    def kill_container(self, container_id: str) -> None:
        """Send SIGKILL to every process of a container. One that has ended or is gone is no error.

        The engine answers when the container is dead, or after some seconds that it has not died yet; a container
        with much memory to give back takes longer. Neither is an error: `wait_container` says when it is dead.

        Raises:
            SandboxError: the engine cannot be reached.
        """
        with contextlib.suppress(NotFound, Conflict, _NotDone), _engine_call("kill a container"):
            self._api.kill(container_id)

    def was_killed_by_hand(self, container_id: str, kills: int) -> bool:
        """Whether the engine was told to signal a container oftener than the `kills` times that the caller did.

        Signals that processes inside send each other never pass the engine, so nothing inside can feign this.
        """
        with _engine_call("look through its events", missing_is_error=True):
            events = self._api.events(
                since=0,
                until=int(time.time()) + 1,
                filters={"container": container_id, "type": "container", "event": "kill"},
                decode=True,
            )
            return sum(1 for _ in events) > kills

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        """The engine's own description of a container."""
        with _engine_call("inspect a container", missing_is_error=True):
            return cast("dict[str, Any]", self._api.inspect_container(container_id))

    def find_container(self, container_id: str) -> dict[str, Any] | None:
        """The engine's own description of a container, None if there is none."""
        with contextlib.suppress(NotFound), _engine_call("look for a container"):
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
                with _engine_call("remove a container"):
                    self._api.remove_container(container_id, v=True, force=True)
            except NotFound:
                return
            except Conflict:  # another caller's removal is under way; until it is done its volume cannot be removed
                pause_s = 0.05
            except _NotDone as error:
                if time.monotonic() >= deadline_s:
                    raise
                pause_s = _DEATH_POLL_S if "kill" in error.message else 0.5
            else:
                return
            if time.monotonic() >= deadline_s:
                raise SandboxError(f"Docker did not remove container {container_id[:12]}.", hint="docker ps --all")
            time.sleep(pause_s)

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no container uses. One that is gone is no error."""
        with contextlib.suppress(NotFound), _engine_call("remove a workspace volume"):
            self._api.remove_volume(name)

    def containers(self, label: str) -> list[ContainerInfo]:
        """All containers, running or not, carrying `label` (a name, or `name=value`)."""
        with _engine_call("list containers"):
            found = self._api.containers(all=True, filters={"label": [label]})
        return [
            ContainerInfo(str(container["Id"]), str(container["State"]), dict(container.get("Labels") or {}))
            for container in found
        ]

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        """Labels of all volumes carrying `label`, by the volumes' names."""
        with _engine_call("list volumes"):
            found = self._api.volumes(filters={"label": [label]})
        return {str(volume["Name"]): dict(volume.get("Labels") or {}) for volume in found.get("Volumes") or []}

    def volume_folder(self, name: str) -> str:
        """Where a volume lies on the engine's machine."""
        with _engine_call(f"inspect volume {name}", missing_is_error=True):
            return str(self._api.inspect_volume(name)["Mountpoint"])


class _StreamError(Exception):
    """An error the engine reported within a stream that had begun well."""


class Conflict(SandboxError):
    """The name is taken, or the object is in a state that makes the call pointless."""


class _NotDone(SandboxError):
    """The engine took the call and did not get it done, or not in the time a call has."""


def _follow(events: Iterable[Mapping[str, Any]], on_line: Callable[[str], None]) -> None:
    for event in events:
        if "error" in event:
            raise _StreamError(str(event["error"]).strip())
        text = event.get("stream") or " ".join(str(event[key]) for key in ("id", "status") if event.get(key))
        for line in str(text).splitlines():
            if line.strip():
                on_line(line.rstrip())


@contextlib.contextmanager
def _engine_call(what: str, *, missing_is_error: bool = False) -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `NotFound` passes unless `missing_is_error`."""
    try:
        yield
    except NotFound as error:
        if missing_is_error:
            raise SandboxError(f"Docker could not {what}: {error.explanation}") from error
        raise
    except APIError as error:
        reason = f"Docker could not {what}: {error.explanation or error}"
        status = error.response.status_code if error.response is not None else 0
        if status == requests.codes.conflict:
            raise Conflict(reason) from error
        raise (_NotDone(reason) if status >= requests.codes.server_error else SandboxError(reason)) from error
    except requests.ReadTimeout as error:
        raise _NotDone(f"Docker could not {what}: no answer in time ({error}).", hint="docker info") from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise SandboxError(
            f"Docker could not {what}: no answer from the daemon ({error}).", hint="docker info"
        ) from error


def _unreachable(error: BaseException) -> PrerequisiteError:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, PermissionError) or "Permission denied" in str(cause) for cause in causes):
        return PrerequisiteError(
            "Docker runs, but this user may not use its socket.",
            hint='sudo usermod -aG docker "$USER" && newgrp docker',
        )
    return PrerequisiteError(f"No Docker daemon answers ({error}).", hint="sudo systemctl start docker")
