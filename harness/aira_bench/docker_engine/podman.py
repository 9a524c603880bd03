"""One connection to podman: Docker's calls where podman answers those as Docker does, its own (libpod) where not.

A container is created by podman's own API (`podman_request`), described from what its runtime was given
(`podman_terms`), and killed, awaited and removed by podman's own calls, which say more exactly how that went. Podman
needs no daemon: where none listens, a service is started for this process alone (`podman_service`).

Not covered: which walls hold then; `aira_bench.sandbox.probe` tries them.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, NotFound

from aira_bench.docker_engine.attachment import Attachment
from aira_bench.docker_engine.endpoint import EngineAddress
from aira_bench.docker_engine.engine import CALL_TIMEOUT_S, DockerEngine, EngineInfo
from aira_bench.docker_engine.failures import Conflict, EngineWords, NotDone
from aira_bench.docker_engine.images import ImageInfo
from aira_bench.docker_engine.podman_request import asked, seccomp_of, volume_options
from aira_bench.docker_engine.podman_terms import in_docker_terms
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.files import read_text

_VERSION = "v4.0.0"
"""Of its API, which later versions answer too."""
_HOST = "localhost/"
"""Podman puts it before the names of images that come from no registry."""
_MOST_SPEC_BYTES = 4 << 20
_POLL = "20ms"
_TOLD = ("kill", "pause", "unpause", "stop", "restart")
_DEATH = ("died", "die")
_ALIVE = ("create", "init", "start", "attach")
_CLEANED, _CLEANED_S, _AGAIN_S = "cleanup", 5.0, 1.0
"""What podman does behind a dead container, how long that may take, and how soon `podman stop` does it again."""
_BY_SIGNAL = (137, 143)
_NAME_TAKEN = "already in use"
_UNTOLD_S, _UNTOLD_POLL_S = 5.0, 0.1
"""How long to look for the death of a dead container among the events."""


class PodmanEngine(DockerEngine):
    """One connection to podman, usable from several threads."""

    name = "podman"
    words = EngineWords("Podman", "podman", "service")

    def __init__(self, api: docker.APIClient) -> None:
        super().__init__(api)
        self._service: AbstractContextManager[EngineAddress] | None = None
        self._profiles: dict[str, str | None] = {}
        self._stand_ins: dict[str, tuple[str, ...]] = {}
        """Volumes in place of a tmpfs, by the container's id."""

    @classmethod
    def over(cls, engine: DockerEngine) -> "PodmanEngine":
        """Take over a connection to podman that speaks Docker's API alone."""
        return cls(engine._api)

    def ending(self, service: AbstractContextManager[EngineAddress]) -> "PodmanEngine":
        """Return itself; `close` ends a service that was started for this connection."""
        self._service = service
        return self

    def close(self) -> None:
        """Close all connections, and end the service that was started for them."""
        super().close()
        service, self._service = self._service, None
        if service is not None:
            service.__exit__(None, None, None)

    def info(self) -> EngineInfo:
        """Version and resources of podman's machine; of the runtimes it knows those that are there."""
        with self._call("describe itself", missing_is_error=True):
            host = self._own("GET", "/info").json()["host"]
        there = {str(host["ociRuntime"]["name"])}
        for name, found in (self._api.info().get("Runtimes") or {}).items():
            if Path(str(found.get("path"))).exists():
                there.add(str(name))
        rootless = bool(host["security"]["rootless"])
        return replace(super().info(), runtimes=tuple(sorted(there)), name=self.name, rootless=rootless)

    def create_volume(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Create a volume of the local driver."""
        super().create_volume(name, volume_options(options), labels)

    def create_container(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container from a request body of Docker's API; return its id (`DockerEngine.create_container`)."""
        profile = seccomp_of(config)
        with contextlib.ExitStack() as stack:
            path = None if profile is None else stack.enter_context(_file(profile))
            wanted = asked(name, config, path)
            made: list[str] = []
            try:
                self._require_free(name)
                for volume, options in wanted.volumes.items():
                    self.create_volume(
                        volume, {"type": "tmpfs", "device": "tmpfs", "o": options}, config.get("Labels") or {}
                    )
                    made.append(volume)
                container = self._create(config["Image"], wanted.spec)
            except BaseException:
                for volume in made:
                    with contextlib.suppress(SandboxError):
                        self.remove_volume(volume)
                raise
        self._profiles[container], self._stand_ins[container] = profile, tuple(made)
        return container

    def _require_free(self, name: str) -> None:
        """Raise Conflict if a container has the name: its volumes have names made of it."""
        if self.find_container(name) is not None:
            raise Conflict(f"Podman could not create a container: the name {name} is in use.")

    def _create(self, image: str, spec: Mapping[str, Any]) -> str:
        try:
            with self._call("create a container"):
                return str(self._own("POST", "/containers/create", json=spec).json()["Id"])
        except NotFound as error:
            raise PrerequisiteError(f"There is no image {image}.", hint="aira-bench images build") from error
        except NotDone as error:
            if _NAME_TAKEN in error.message:
                raise Conflict(error.message) from error
            raise

    def attach(self, container_id: str) -> Attachment:
        """Open the standard streams (`DockerEngine.attach`); podman has the runtime make the container for it."""
        try:
            return super().attach(container_id)
        except Conflict as error:  # not of names: the runtime refused
            raise SandboxError(error.message, hint=error.hint) from error

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        """Wait for a container's end; return its exit code, or None if it is still up after `timeout_s`."""
        with self._call("wait for a container to end", missing_is_error=True):
            try:
                found = self._own(
                    "POST", f"/containers/{container_id}/wait",
                    params={"condition": ["stopped", "exited"], "interval": _POLL}, timeout=max(timeout_s, 0.1),
                )  # fmt: skip
            except requests.ConnectionError as error:
                if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
                    return None
                raise
            except requests.Timeout:
                return None
        self._own_description(container_id)
        return int(found.json())

    def kill_container(self, container_id: str) -> bool:
        """Send SIGKILL to every process of a container; return whether it was sent. One that has ended is no error."""
        try:
            with self._call("kill a container"):
                self._own("POST", f"/containers/{container_id}/kill", params={"signal": "KILL"})
        except (NotFound, Conflict):
            return False
        except NotDone:
            found = self.find_container(container_id)
            if found is not None and found["State"]["Running"]:
                raise
            return False
        return True

    def told_of(self, container_id: str) -> tuple[str, ...]:
        """Return what podman was told to do to a container, up to its death (`DockerEngine.told_of`).

        Of `podman stop` it keeps no event, but cleans up behind the container once more than its monitor does.

        Raises:
            SandboxError: it keeps no events, so nobody can say.
        """
        give_up_s = time.monotonic() + _UNTOLD_S
        while True:
            actions = self._events(container_id)
            ended = next((index for index, action in enumerate(actions) if action in _DEATH), None)
            if ended is not None or (_knows(actions) and self._runs(container_id)):
                told = tuple(action for action in actions[:ended] if action in _TOLD)
                return told or (("stop",) if ended is not None and self._was_stopped(container_id) else ())
            if time.monotonic() >= give_up_s:  # its file of events is written by others, and begun anew when it is long
                break
            time.sleep(_UNTOLD_POLL_S)
        if _knows(actions):
            return tuple(action for action in actions if action in _TOLD)
        raise SandboxError(
            "Podman keeps no events, so nobody can say who ended a container.",
            hint='events_logger="file" in the table [engine] of containers.conf',
        )

    def _was_stopped(self, container_id: str) -> bool:
        """Whether somebody has called `podman stop`, by what it did when the container was dead.

        Waits for that only where a signal ended the container, which has no explanation otherwise.
        """
        state = self._own_description(container_id)["State"]
        began_s, seen_s = time.monotonic(), None
        while True:
            actions = self._events(container_id)
            if "stop" in actions or actions.count(_CLEANED) > 1:
                return True
            now_s = time.monotonic()
            if seen_s is None and _CLEANED in actions:
                seen_s = now_s
            waited = now_s - began_s > _CLEANED_S or (seen_s is not None and now_s - seen_s > _AGAIN_S)
            if waited or int(state["ExitCode"]) not in _BY_SIGNAL:
                return False
            time.sleep(_UNTOLD_POLL_S)

    def _events(self, container_id: str) -> list[str]:
        filters = json.dumps({"container": [container_id], "type": ["container"]})
        with self._call("look through its events", missing_is_error=True):
            # Without an end: with one podman leaves events out.
            answer = self._own("GET", "/events", params={"stream": "false", "filters": filters})
            return [str(json.loads(line)["Action"]) for line in answer.iter_lines() if line.strip()]

    def _runs(self, container_id: str) -> bool:
        with self._call("inspect a container", missing_is_error=True):
            return bool(self._own("GET", f"/containers/{container_id}/json").json()["State"]["Running"])

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        """Return a container's description in Docker's terms, of what its runtime was given."""
        return self._described(super().inspect_container(container_id))

    def find_container(self, container_id: str) -> dict[str, Any] | None:
        """Return a container's description as `inspect_container`, None if there is none."""
        found = super().find_container(container_id)
        return None if found is None else self._described(found)

    def _described(self, found: dict[str, Any]) -> dict[str, Any]:
        container = str(found["Id"])
        path = self._own_description(container).get("OCIConfigPath")
        try:
            spec = json.loads(read_text(Path(str(path)), _MOST_SPEC_BYTES)) if path else {}
        except (OSError, ValueError):  # another machine's, or another user's
            spec = {}
        return in_docker_terms(found, spec, self._profiles.get(container), self._stand_ins.get(container, ()))

    def _own_description(self, container_id: str) -> dict[str, Any]:
        with self._call("inspect a container", missing_is_error=True):
            return dict(self._own("GET", f"/containers/{container_id}/json").json())

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with the volumes made for it (`DockerEngine.remove_container`)."""
        super().remove_container(container_id)
        self._profiles.pop(container_id, None)
        for volume in self._stand_ins.pop(container_id, ()):
            self.remove_volume(volume)

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no container uses. One that is gone is no error."""
        with contextlib.suppress(NotFound), self._call("remove a workspace volume"):
            self._own("DELETE", f"/volumes/{name}")

    def list_images(self, label: str) -> list[ImageInfo]:
        """Return all tagged local images carrying `label`, newest first, by the names we gave them."""
        return [replace(image, tag=image.tag.removeprefix(_HOST)) for image in super().list_images(label)]

    def load(self, archive: Iterator[bytes]) -> list[str]:
        """Take images from an archive; return their tags, which podman tells of all images in one line."""
        return [tag.removeprefix(_HOST) for line in super().load(archive) for tag in line.split(",")]

    def _own(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        timeout: float = CALL_TIMEOUT_S,
    ) -> requests.Response:
        """Call podman's own API.

        Raises:
            NotFound: it has no such object.
            APIError: it refused, or failed.
        """
        address = f"{self._api.base_url}/{_VERSION}/libpod{path}"
        answer = self._api.request(method, address, params=params, json=json, timeout=timeout)
        if answer.status_code < requests.codes.bad_request:
            return answer
        try:
            reason = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            reason = answer.text[:500]
        kind = NotFound if answer.status_code == requests.codes.not_found else APIError
        raise kind(reason, response=answer, explanation=reason)


def _knows(actions: Sequence[str]) -> bool:
    return any(action in _ALIVE for action in actions)


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """A file that podman reads while it creates a container."""
    with tempfile.NamedTemporaryFile("w", prefix="aira-seccomp-", suffix=".json", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name
