"""Apptainer as an engine: containers that are children of ours, volumes that are folders, images that are files.

Apptainer has no daemon and no API. What the others keep for us (names, labels, who is whose) lies here in a folder of
this user on this machine, so that a later process finds and removes what a killed one left. Its command line is that of
its user guide; **none of this was tried on a real Apptainer**, which was not to be had where it was written.

Not covered: GPUs, building and sending images, file trees of a container's own, sizes of what is written. All are
refused or told as missing walls, by name (docs/engines.md).
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import docker

from aira_bench.docker_engine.apptainer_command import (
    CallerRights,
    ContainerFiles,
    caller_rights,
    command,
    in_docker_terms,
    version_of,
    volumes_asked_for,
)
from aira_bench.docker_engine.apptainer_images import SifImages
from aira_bench.docker_engine.apptainer_process import ApptainerProcess, HostProcess, first_process, passed
from aira_bench.docker_engine.attachment import Attachment
from aira_bench.docker_engine.engine import REMOVAL_TIMEOUT_S, ContainerInfo, DockerEngine, EngineInfo
from aira_bench.docker_engine.failures import Conflict, EngineWords, NotDone, NotThere
from aira_bench.docker_engine.images import ImageDetails, ImageInfo
from aira_bench.docker_engine.podman_request import Body, seccomp_of
from aira_bench.errors import PrerequisiteError, SandboxError

_VERSION_TIMEOUT_S = 60.0
_INSTALL = "ask whoever keeps this machine for Apptainer, or --containers podman"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OWNER = re.compile(r"\b(uid|gid|mode)=(\d+)")
_TMP_MODE = 0o1777
_POLL_S = 0.05
_ASKED, _PID, _SECCOMP, _TMP, _LABELS, _DATA = "asked.json", "pid", "seccomp.json", "tmp", "labels.json", "data"


class _NoDaemon:
    """In the place of a connection: what nobody wrote for Apptainer is refused, and never silently left out."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the SDK's client has
        raise PrerequisiteError(
            "Apptainer builds and sends no images here; it takes those of a file that Docker or podman saved.",
            hint="aira-bench images load FILE --containers apptainer",
        )


class ApptainerEngine(DockerEngine):
    """Apptainer on this machine. Usable from several threads."""

    name = "Apptainer"
    words = EngineWords("Apptainer", "apptainer")
    builds_images = False

    def __init__(self, version: str, images: Path, state: Path, found: CallerRights) -> None:
        """Use `open`.

        Args:
            version: Apptainer's own word.
            images: a folder for SIF files.
            state: a folder of this user and machine, for containers and volumes.
            found: what may be asked for.
        """
        super().__init__(cast("docker.APIClient", _NoDaemon()))
        self._version, self._state, self._rights = version, state, found
        self._images = SifImages(images)
        self._lock = threading.Lock()
        self._running: dict[str, ApptainerProcess] = {}

    @classmethod
    def open(cls, home: Path) -> "ApptainerEngine":
        """Look for Apptainer.

        Args:
            home: a folder for its images, which several machines may share.

        Raises:
            PrerequisiteError: there is none, it is too old, or the folder of this user was made by another.
        """
        if shutil.which("apptainer") is None:
            raise PrerequisiteError("There is no apptainer on this machine.", hint=_INSTALL)
        try:
            done = subprocess.run(
                ["apptainer", "version"], env=passed(os.environ), check=False, stdin=subprocess.DEVNULL,
                capture_output=True, timeout=_VERSION_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PrerequisiteError(
                f"apptainer does not say its version: {error}.", hint="apptainer version"
            ) from error
        said = done.stdout.decode(errors="replace").strip()
        version_of(said)
        return cls(said.removeprefix("apptainer version "), home / "images", _state_folder(), caller_rights())

    def close(self) -> None:
        """Nothing is connected; containers that run belong to who made them."""

    def info(self) -> EngineInfo:
        """Version, and resources of this machine."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return EngineInfo(
            version=self._version, cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
            root_dir=str(self._images.folder), cpus=os.cpu_count() or 1, memory_mib=memory // 2**20, runtimes=(),
            name=self.name, rootless=not self._rights.root,
        )  # fmt: skip

    def create_volume(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Make a folder in the place of a volume. It has an owner and rights, and no size: nothing can give it one.

        Raises:
            SandboxError: a file system other than tmpfs is asked for.
        """
        if options.get("type", "tmpfs") != "tmpfs":
            raise SandboxError(f"Apptainer mounts no file system of type {options['type']} as a volume.")
        place = self._place("volumes", name)
        data = place / _DATA
        data.mkdir(parents=True, exist_ok=True)
        (place / _LABELS).write_text(json.dumps(dict(labels)), encoding="utf-8")
        wanted = {key: int(value, 8 if key == "mode" else 10) for key, value in _OWNER.findall(options.get("o", ""))}
        if self._rights.root and {"uid", "gid"} <= set(wanted):
            os.chown(data, wanted["uid"], wanted["gid"])
        data.chmod(wanted.get("mode", 0o700))

    def volume_folder(self, name: str) -> str:
        """Return where a volume lies."""
        return str(self._place("volumes", name) / _DATA)

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        """Labels of all volumes carrying `label`, by the volumes' names."""
        return {name: labels for name, labels in self._labelled("volumes") if _carries(labels, label)}

    def devices(self, label: str) -> set[str]:
        """Return what volumes mount: nothing."""
        return set()

    def remove_volume(self, name: str) -> None:
        """Remove a volume. One that is gone is no error."""
        _remove(self._place("volumes", name))

    def create_container(self, name: str, config: Body) -> str:
        """Note what a container is to be (`DockerEngine.create_container`); its id is its name."""
        self._images.path(config["Image"])
        place = self._place("containers", name)
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            raise Conflict(f"Apptainer could not create a container: the name {name} is in use.") from None
        try:
            (place / _TMP).mkdir(mode=0o700)
            (place / _TMP).chmod(_TMP_MODE)
            if (profile := seccomp_of(config)) is not None:
                (place / _SECCOMP).write_text(profile, encoding="utf-8")
            (place / _LABELS).write_text(json.dumps(dict(config.get("Labels") or {})), encoding="utf-8")
            (place / _ASKED).write_text(json.dumps(dict(config)), encoding="utf-8")
            line = command(config, self._images.path(config["Image"]), self._files(name, config), self._rights)
        except BaseException:
            _remove(place)
            raise
        with self._lock:
            self._running[name] = ApptainerProcess(line)
        return name

    def _files(self, name: str, config: Body) -> ContainerFiles:
        place = self._place("containers", name)
        volumes = {each: Path(self.volume_folder(each)) for each in volumes_asked_for(config["HostConfig"])}
        return ContainerFiles(place / _PID, place / _SECCOMP, place / _TMP, volumes)

    def attach(self, container_id: str) -> Attachment:
        """Open the standard streams. Call before `start_container`."""
        return Attachment(self._ours(container_id).attach())

    def start_container(self, container_id: str) -> None:
        """Start a created container, and wait until its program is about to run.

        Raises:
            SandboxError: it did not come up.
        """
        self._ours(container_id).start(os.environ)

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        """Wait for a container's end; return its exit code, or None if it is still up after `timeout_s`."""
        process = self._ours(container_id)
        return process.exit_code if process.wait(timeout_s) else None

    def kill_container(self, container_id: str) -> bool:
        """Send SIGKILL to every process of a container; return whether it was sent. One that has ended is no error."""
        with self._lock:
            process = self._running.get(container_id)
        return process is not None and process.kill()

    def told_of(self, container_id: str) -> tuple[str, ...]:
        """Return nothing: there is no daemon that could be told to do something to a container.

        Whoever kills one by a signal leaves no trace of that; such an end has no explanation, and is tried again once.
        """
        self._ours(container_id)
        return ()

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        """Return what a container was asked to be, in Docker's terms, and how it stands.

        Raises:
            NotThere: there is none.
        """
        found = self.find_container(container_id)
        if found is None:
            raise NotThere(f"Apptainer could not inspect a container: there is no {container_id[:40]}.")
        return found

    def find_container(self, container_id: str) -> dict[str, Any] | None:
        """Return a container's description as `inspect_container`, None if there is none."""
        place = self._place("containers", container_id)
        try:
            asked = json.loads((place / _ASKED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        with self._lock:
            process = self._running.get(container_id)
        first = process.first if process is not None else None
        own = first is not None and _groups(first.pid) != _groups(os.getpid())
        state = {
            "Running": process.is_running if process is not None else self._started(container_id) is not None,
            "ExitCode": process.exit_code if process is not None else 0,
            # Of a process in the groups of others nothing can be read that is the container's.
            "Pid": first.pid if first is not None and own else 0,
            "OOMKilled": False,
        }
        return {"Id": container_id, "State": state, **in_docker_terms(asked, self._rights)}

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container, waiting for its death. One that is gone is no error.

        Raises:
            NotDone: it is still there after `REMOVAL_TIMEOUT_S`.
        """
        with self._lock:
            process = self._running.get(container_id)
        ends_s = time.monotonic() + REMOVAL_TIMEOUT_S
        while process is not None and not process.wait(_POLL_S):
            process.kill()
            _require_time(ends_s, container_id)
        while process is None and (left := self._started(container_id)) is not None:
            first = first_process(left.pid)
            left.kill() if first is None else first.kill()
            _require_time(ends_s, container_id)
            time.sleep(_POLL_S)
        if process is not None:
            process.close()
        _remove(self._place("containers", container_id))
        with self._lock:
            self._running.pop(container_id, None)

    def containers(self, label: str) -> list[ContainerInfo]:
        """Return all containers of this user, running or not, carrying `label` (a name, or `name=value`)."""
        return [
            ContainerInfo(name, "running" if self._started(name) is not None else "exited", labels)
            for name, labels in self._labelled("containers")
            if _carries(labels, label)
        ]

    def image_exists(self, tag: str) -> bool:
        """Whether there is an image of this tag."""
        return self._images.exists(tag)

    def inspect_image(self, tag: str) -> ImageDetails:
        """Return what the image of that tag consists of."""
        return self._images.details(tag)

    def list_images(self, label: str) -> list[ImageInfo]:
        """Return all images carrying `label`, newest first."""
        return self._images.listed(label)

    def image_labels(self, tag: str) -> dict[str, str]:
        """Return the labels of an image."""
        return self._images.labels(tag)

    def tag_image(self, source: str, tag: str) -> None:
        """Give the image `source` another tag."""
        self._images.tag(source, tag)

    def remove_image(self, tag: str) -> None:
        """Remove an image. One that is not there is no error."""
        self._images.remove(tag)

    def load(self, archive: Iterator[bytes]) -> list[str]:
        """Make images of an archive; return their tags."""
        return self._images.load(archive, os.environ)

    def _ours(self, container_id: str) -> ApptainerProcess:
        with self._lock:
            process = self._running.get(container_id)
        if process is None:
            raise NotThere(f"Apptainer runs no container {container_id[:40]} of this process.")
        return process

    def _place(self, kind: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SandboxError(f"No name of a container or volume: {name[:40]!r}.")
        return self._state / kind / name

    def _labelled(self, kind: str) -> Iterator[tuple[str, dict[str, str]]]:
        for path in sorted((self._state / kind).glob(f"*/{_LABELS}")):
            with contextlib.suppress(OSError, ValueError):  # it is being made or removed just now
                yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))

    def _started(self, name: str) -> HostProcess | None:
        """Return the process of Apptainer of a container that lives, whoever started it."""
        try:
            found = HostProcess.told((self._place("containers", name) / _PID).read_text())
        except (OSError, ValueError):
            return None
        return found if found.lives else None


def _state_folder() -> Path:
    """This user's folder on this machine, which nobody else may enter.

    Raises:
        PrerequisiteError: somebody else made it.
    """
    path = Path(tempfile.gettempdir()) / f"aira-apptainer-{os.geteuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PrerequisiteError(f"{path} is not a folder of this user alone.", hint="export TMPDIR=DIR")
    return path


def _groups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def _carries(labels: Mapping[str, str], label: str) -> bool:
    name, equals, value = label.partition("=")
    return name in labels and (not equals or labels[name] == value)


def _require_time(ends_s: float, container: str) -> None:
    if time.monotonic() >= ends_s:
        raise NotDone(f"Apptainer did not remove container {container[:40]}.", hint="ps -ef | grep apptainer")


def _remove(folder: Path) -> None:
    """Remove a folder and all in it, also what its owner took the rights of from itself; no link is followed."""
    for here, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(here) / name
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotDone(f"{folder} could not be removed: {error}.", hint=f"ls -la {folder}") from error
