"""The trusted container that stays: keeps the store of file trees, and frees the kernel's caches where it may.

One a process, started at its first request and ended with the process. Its program is `inside/caches.py`.

Not covered: what is asked of it, and when (`trees`, `caches`).
"""

import threading
from collections.abc import Mapping
from typing import Any

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import EngineAway, SandboxError
from aira_bench.sandbox.sandbox import Busy
from aira_bench.sandbox.trusted import TrustedContainer, TrustedEnded

STORE = "aira-bench-trees"
"""The volume of all files of trees."""
STORE_LABEL = "aira-bench.trees"
_DROP = {"Type": "bind", "Source": "/proc/sys/vm/drop_caches", "Target": "/drop"}
_TRIAL_TIMEOUT_S = 60.0


class Caretaker:
    """The container of one engine. Usable from several threads; requests are answered one after the other."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._container: TrustedContainer | None = None
        self._lacking: str | None = None

    def lacking(self, image: str) -> str:
        """Why caches cannot be freed here, empty where they can; found out once, by freeing them.

        Raises:
            PrerequisiteError: there is no such image.
            SandboxError: the engine failed.
        """
        with self._lock:
            return self._started(image)

    def ask(self, image: str, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """Send one request to the container, which is made of `image` if there is none, or none that lives.

        Raises:
            PrerequisiteError: there is no such image.
            SandboxError: the engine failed, or no answer came in time; the next request starts another container.
        """
        with self._lock:
            was_there = self._container is not None
            try:
                return self._asked(image, request, timeout_s)
            except TrustedEnded:
                if not was_there:
                    raise
                return self._asked(image, request, timeout_s)  # the engine was restarted since, and it went with it

    def _asked(self, image: str, request: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        self._started(image)
        assert self._container is not None
        try:
            return self._container.ask(request, timeout_s=timeout_s)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End the container. Safe to call twice."""
        with self._lock:
            self._end()

    def _started(self, image: str) -> str:
        if self._container is None:
            self._engine.create_volume(STORE, {}, {STORE_LABEL: "store"})
            if self._lacking is None:
                self._lacking = self._tried(image)
            if self._container is None:
                self._container = self._make(image, drop=not self._lacking)
        assert self._lacking is not None
        return self._lacking

    def _tried(self, image: str) -> str:
        """Free caches once; needs real root in the engine, and a kernel that lets it.

        Raises:
            Busy: it could not be found out.
            EngineAway: likewise.
        """
        try:
            self._container = self._make(image, drop=True)
            self._container.ask({"do": "clean", "drop": True, "heads": []}, timeout_s=_TRIAL_TIMEOUT_S)
        except SandboxError as error:
            self._end()
            if isinstance(error, Busy | EngineAway):
                raise
            return error.message
        return ""

    def _make(self, image: str, *, drop: bool) -> TrustedContainer:
        mounts = [store_mount(), *([_DROP] if drop else [])]
        return TrustedContainer(self._engine, image, "caches", mounts=mounts, capabilities=["DAC_OVERRIDE"])

    def _end(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()


def store_mount() -> dict[str, Any]:
    """Return the store, for trusted containers."""
    return {"Type": "volume", "Source": STORE, "Target": "/store", "VolumeOptions": {"NoCopy": True}}
