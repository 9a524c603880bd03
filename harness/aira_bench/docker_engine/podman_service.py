"""Podman's service, started for one process and ended with it: podman has no daemon that one could find running.

Its socket lies in a folder of its user's alone. Containers are not the service's children: they end because the pipes
to their orchestrator go through it, and those close with it.

Not covered: a service that others run (`DOCKER_HOST`, `CONTAINER_HOST`).
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aira_bench.docker_engine.endpoint import EngineAddress
from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import LINE_CHARS

START_TIMEOUT_S = 30.0
_POLL_S = 0.05
_WATCHED = """exec 3<&0
"$0" system service --time 0 "$1" </dev/null 3<&- &
service=$!
(read -r end <&3; kill "$service") &
wait "$service"
"""
"""Ends the service when the pipe to whoever started it closes, also where that was killed."""
_END_S = 10.0
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS", "REGISTRY_AUTH_FILE")
_PASSED_BEGIN = ("CONTAINERS_", "STORAGE_", "XDG_", "LC_")
INSTALL = "sudo apt-get install podman catatonit uidmap slirp4netns fuse-overlayfs"


@contextlib.contextmanager
def podman_service() -> Iterator[EngineAddress]:
    """Start podman's service, and end it.

    Raises:
        PrerequisiteError: there is no podman, or it does not come up.
    """
    program = shutil.which("podman")
    if program is None:
        raise PrerequisiteError("There is no podman on this machine.", hint=INSTALL)
    with tempfile.TemporaryDirectory(prefix="aira-podman-") as name:
        folder = Path(name)
        socket, log = folder / "socket", folder / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, program, f"unix://{socket}"],
                stdin=subprocess.PIPE, stdout=said, stderr=said,
                process_group=0,  # Ctrl-C is the orchestrator's to hear, which still needs the engine then
                env=_environment(),
                cwd=folder,  # the monitors of its containers inherit it, and leave files there
            )  # fmt: skip
        try:
            _await(process, socket, log)
            yield EngineAddress({"base_url": f"unix://{socket}"}, "podman system service", "podman info")
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: "subprocess.Popen[bytes]", socket: Path, log: Path) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > give_up_s:
            said = " ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])[:LINE_CHARS]
            raise PrerequisiteError(
                f"Podman's service did not come up: {said or 'it said nothing'}.",
                hint="podman info",
            )
        time.sleep(_POLL_S)


def _environment() -> dict[str, str]:
    """What podman reads of ours; keys of providers are none of its business."""
    return {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_BEGIN)}
