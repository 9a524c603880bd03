"""A cap on the time of code of others that `check` runs in this process.

A signal's handler ends what Python runs or sleeps in, again every second, since code may catch whatever it raises. Code
that never comes back to Python, or catches each time, ends with the process.

Not covered: code that changes the handler or the timer, and threads other than the main one.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from aira_bench.authoring.findings import CheckFailed
from aira_bench.terminal import tell

CAP_S = 60.0
"""For each call; what agents and scaffolds are asked here takes milliseconds."""
_GRACE_S = 5.0


class _TimeIsUp(BaseException):
    """Passes by `except Exception` of the code that is to end."""


@contextlib.contextmanager
def at_most(seconds: float, what: str) -> Iterator[None]:
    """Let the code inside take so many seconds.

    Raises:
        CheckFailed: it took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = f"{what} did not end within {seconds:g} s"

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise _TimeIsUp

    def end_all() -> NoReturn:
        tell(f"aira-bench: error: {told}, and does not stop.")
        os._exit(CheckFailed.exit_code)

    last = threading.Timer(seconds + _GRACE_S, end_all)
    last.daemon = True
    before = signal.signal(signal.SIGALRM, end)
    try:
        last.start()
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimeIsUp:
        raise CheckFailed(f"{told}.", hint="--timeout SECONDS for more") from None
    finally:
        last.cancel()
        signal.signal(signal.SIGALRM, before)
