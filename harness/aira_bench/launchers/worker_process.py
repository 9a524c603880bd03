"""One worker as a child process that is told to end once, and ends with whoever started it.

A scheduler tells a whole tree of processes to end, and a parent passes on what it was told. So that a worker is not
told twice, which would end it at once, it runs in a session of its own, and `aira-bench` takes a second SIGTERM within
a second for the first (`aira_bench.cli.stopping`).

Run as a module it becomes the worker: `python -m aira_bench.launchers.worker_process PARENT COMMAND...` asks the kernel
for SIGTERM when the thread that started it ends, and executes the command.

Not covered: machines that lose their power, and parents that are killed together with all that they started.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class WorkerProcess:
    """A running worker. Its methods may be called in signal handlers: they take no locks."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path | None = None) -> None:
        """Start it.

        Args:
            arguments: the command.
            environment: variables beside those of this process.
            log: takes what it prints; None where this process's own output does.

        Raises:
            OSError: the process or its log cannot be made.
        """
        tied = [sys.executable, "-m", "aira_bench.launchers.worker_process", str(os.getpid()), *arguments]
        output = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._process = subprocess.Popen(
                tied, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | dict(environment),
                start_new_session=True,
            )  # fmt: skip
        finally:
            if output is not None:
                os.close(output)
        self._ended = os.pidfd_open(self._process.pid)
        self._status: int | None = None

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, negative for a signal; None if it has not ended after so many seconds."""
        if self._status is None and select.select([self._ended], [], [], seconds)[0]:
            found = os.waitid(os.P_PIDFD, self._ended, os.WEXITED)
            assert found is not None, "it has ended"
            self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            self._process.returncode = self._status  # else it is waited for once more when it is forgotten
            os.close(self._ended)
        return self._status

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.wait(0) is None:
            signal.pidfd_send_signal(self._ended, number)


def main() -> None:
    """Tie this process to its parent and become the worker."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before the kernel was asked
        sys.exit(128 + signal.SIGTERM)
    if command[0] == "aira-bench":  # that of this Python, whatever PATH a node's daemon was started with
        command = [sys.executable, "-m", "aira_bench", *command[1:]]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
