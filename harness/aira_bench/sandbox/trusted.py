"""Containers of our own programs that need a right which no step's container has.

They run `inside/` programs as root of the container, without network, with the capabilities named and no other, and
with what is mounted as their only way to touch the machine. Nothing of an agent's ever enters them.

Not covered: what the programs do (`inside/erofs.py`, `inside/caches.py`).
"""

import contextlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from aira_bench.docker_engine import Attachment, DockerEngine
from aira_bench.errors import AiraError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.owner import this_process
from aira_bench.sandbox.sandbox import Busy
from aira_bench.sandbox.seccomp import seccomp_profile
from aira_bench.sandbox.streams import STDOUT, FrameDecoder

_MOST_BYTES = 1 << 20
_KEPT_ERROR_BYTES = 4096
_MEMORY_MIB = 1024


class TrustedEnded(SandboxError):
    """A program of ours has ended: it failed, or its container went with an engine that was restarted."""


class TrustedContainer:
    """One program of ours, started; it answers requests, lines of JSON, one at a time, until `close`."""

    def __init__(
        self,
        engine: DockerEngine,
        image: str,
        program: str,
        arguments: Sequence[str] = (),
        *,
        mounts: Sequence[Mapping[str, Any]] = (),
        capabilities: Sequence[str] = (),
        init: bool = False,
    ) -> None:
        """Create and start the container. `mounts` are the Engine API's; with `init` it sees the engine's init.

        Raises:
            PrerequisiteError: there is no such image.
            SandboxError: the engine failed, or cannot mount what is asked for.
        """
        self._engine = engine
        self._program = program
        self._decoder, self._pending, self._errors = FrameDecoder(), b"", b""
        self._stream: Attachment | None = None
        name = f"aira-{program}-{secrets.token_hex(6)}"
        self._id = engine.create_container(name, _body(image, program, arguments, mounts, capabilities, init=init))
        try:
            self._stream = engine.attach(self._id)
            engine.start_container(self._id)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TrustedContainer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            TrustedEnded: the program ended.
            Busy: it did not answer in time.
        """
        assert self._stream is not None
        try:
            self._stream.send(json.dumps(request).encode() + b"\n", timeout_s)
        except OSError as error:
            raise TrustedEnded(f"A container of ours ({self._program}) was lost: {error}.") from error
        return self.answer(timeout_s=timeout_s)

    def answer(self, *, timeout_s: float) -> dict[str, Any]:
        """Return the next line the program prints.

        Raises:
            TrustedEnded: the program ended.
            Busy: it printed none in time.
        """
        assert self._stream is not None
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            try:
                data = self._stream.receive(max(deadline_s - time.monotonic(), 0.001))
            except TimeoutError:
                raise Busy(
                    f"A container of ours ({self._program}) took over {timeout_s:.0f} s: the machine is busy.",
                    hint="uptime",
                ) from None
            if not data:
                last = self._errors.decode("utf-8", "replace").strip().splitlines()[-1:]
                raise TrustedEnded(f"A container of ours ({self._program}) ended: {' '.join(last) or 'no message'}")
            for stream, piece in self._decoder.feed(data):
                if stream == STDOUT:
                    self._pending = (self._pending + piece)[:_MOST_BYTES]
                else:
                    self._errors = (self._errors + piece)[-_KEPT_ERROR_BYTES:]
        line, _, self._pending = self._pending.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End and remove the container. Safe to call twice."""
        if self._stream is not None:
            self._stream.close()
        with contextlib.suppress(AiraError):  # it removes itself when its input ends
            self._engine.remove_container(self._id)


def _body(
    image: str,
    program: str,
    arguments: Sequence[str],
    mounts: Sequence[Mapping[str, Any]],
    capabilities: Sequence[str],
    *,
    init: bool,
) -> dict[str, Any]:
    code = ["python3", "-I", "-S", "-u", "-c", hardening.source(program), *arguments]
    labels = {hardening.OWNER_LABEL: this_process(), hardening.ROLE_LABEL: program}
    body = hardening.bare_body(image, code, "0:0", labels, f"seccomp={seccomp_profile('trusted')}")
    body["WorkingDir"] = "/"
    body["HostConfig"] |= {
        "CapAdd": list(capabilities),
        "Init": init,
        "Memory": _MEMORY_MIB << 20,
        "MemorySwap": _MEMORY_MIB << 20,
        "PidsLimit": 16,
        "AutoRemove": True,
        "Mounts": [dict(mount) for mount in mounts],
    }
    return body
