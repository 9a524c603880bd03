"""Copies declared files out of a step's workspace through its reader container.

The reader is another container of the same image, hardened alike, which sees the workspace read-only and runs
only `inside/reader.py`. The step is dead when the first file is asked for, so nothing changes while it is read.
Bytes go straight to a temporary file, are hashed on the way, and appear under their name only when complete.

Not covered: what is in the files, and whose fault a reader is that breaks its protocol (`ReaderFailed`).
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from aira_bench.docker_engine import Attachment
from aira_bench.errors import SandboxError
from aira_bench.excerpts import LINE_CHARS
from aira_bench.machine_failures import about
from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, RejectedArtifact
from aira_bench.sandbox.streams import STDOUT, FrameDecoder

READ_TIMEOUT_S = 120.0
"""Longest silence of a reader."""
_MAX_LINE_BYTES = 4096


class ReaderFailed(SandboxError):
    """A reader went silent, broke its protocol or is gone. What it read may have brought that about."""


class WorkspaceReader:
    """The host's end of one reader container. After a failure it is asked no more: what comes late answers nothing."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._decoder = FrameDecoder()
        self._pending = b""
        self._errors = b""
        self._silence_s = READ_TIMEOUT_S
        self._failure = ""

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the reader is up.

        Raises:
            SandboxError: it did not come up in time.
        """
        self._silence_s = timeout_s
        line = self._line()
        self._silence_s = READ_TIMEOUT_S
        if line != b"ready":
            raise SandboxError(f"A workspace reader did not come up: {line!r}")

    def copy(self, request: ArtifactRequest, destination: Path) -> Artifact | RejectedArtifact:
        """Copy one file to `destination`/`request.name`, mode 0600; an older file of that name is gone in any case.

        Raises:
            ReaderFailed: it gave no admissible answer, now or to an earlier question.
            OSError: the host could not write the file.
        """
        target = destination / relative_path(request.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if self._failure:
            raise ReaderFailed(self._failure)
        try:
            return self._copy(request, target)
        except ReaderFailed as error:
            self._failure = error.message
            raise
        except OSError as error:
            self._failure = f"An earlier file could not be written: {error.strerror}."
            raise

    def _copy(self, request: ArtifactRequest, target: Path) -> Artifact | RejectedArtifact:
        question = json.dumps({"name": request.name, "max_bytes": request.max_bytes}).encode() + b"\n"
        try:
            self._attachment.send(question, READ_TIMEOUT_S)
        except OSError as error:
            raise ReaderFailed(f"The workspace reader is gone ({error}).") from error
        answer = self._answer()
        if answer["status"] != "ok":
            return RejectedArtifact(request.name, answer["status"], answer["detail"])
        size_bytes, changed_s = int(answer["size_bytes"]), time.monotonic() - float(answer["age_s"])
        if size_bytes > request.max_bytes:
            raise ReaderFailed(f"The workspace reader offered {size_bytes} bytes, at most {request.max_bytes} allowed.")
        return Artifact(request.name, target, size_bytes, self._store(size_bytes, target), changed_s)

    def close(self) -> None:
        """Let go of the reader, which then ends by itself."""
        self._attachment.close()

    def _store(self, size_bytes: int, target: Path) -> str:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        digest = hashlib.sha256()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with about(target), open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                for piece in self._bytes(size_bytes):
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):  # what failed first is what to tell
                temporary.unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def _answer(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._line())
        except ValueError as error:
            raise ReaderFailed(f"The workspace reader gave no answer: {self._errors[-LINE_CHARS:]!r}") from error
        return answer

    def _line(self) -> bytes:
        while b"\n" not in self._pending:
            if len(self._pending) > _MAX_LINE_BYTES:
                raise ReaderFailed("The workspace reader broke its protocol.")
            self._receive()
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _bytes(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            if not self._pending:
                self._receive()
            piece, self._pending = self._pending[:size_bytes], self._pending[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def _receive(self) -> None:
        try:
            data = self._attachment.receive(self._silence_s)
        except TimeoutError as error:
            raise ReaderFailed("The workspace reader went silent.", hint="aira-bench doctor") from error
        if not data:
            raise ReaderFailed(f"The workspace reader is gone: {self._errors[-LINE_CHARS:]!r}")
        for stream, piece in self._decoder.feed(data):
            if stream == STDOUT:
                self._pending += piece
            else:
                self._errors = (self._errors + piece)[-_MAX_LINE_BYTES:]


def relative_path(name: str) -> PurePosixPath:
    """`name` as a plain relative path.

    Raises:
        ValueError: it is absolute, empty, or has a `.` or `..` component.
    """
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a plain relative path")
    return PurePosixPath(name)
