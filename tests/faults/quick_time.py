"""Time that passes at once where nothing is waited for but time itself: pauses between attempts cost no real seconds.

Installed before anything else is imported, since libraries keep `time.sleep`. Waits for something that happens (an
answer, a thread) last as long as they last, up to `PATIENCE_S` of real time.

Not covered: time-outs of sockets, which the kernel keeps.
"""

import threading
import time
import weakref

PATIENCE_S = 0.4
"""What a wait with a longer time-out really gets."""
_SHORT_S, _A_WHILE_S = 0.05, 300.0
_waited: "weakref.WeakKeyDictionary[threading.Thread, float]" = weakref.WeakKeyDictionary()
"""When each thread was waited for first."""
_real_sleep, _real_monotonic = time.sleep, time.monotonic
_real_wait, _real_join = threading.Condition.wait, threading.Thread.join
_skipped_s = 0.0
_lock = threading.Lock()


def install() -> None:
    """Put quick functions in the places of this process's slow ones."""
    time.sleep, time.monotonic = _sleep, _monotonic
    threading.Condition.wait, threading.Thread.join = _wait, _join  # type: ignore[method-assign]


def skip(seconds: float) -> None:
    """Let so much time have passed, here and in processes that are forked from now on."""
    global _skipped_s
    with _lock:
        _skipped_s += seconds


def _monotonic() -> float:
    return _real_monotonic() + _skipped_s


def _sleep(seconds: float) -> None:
    _real_sleep(min(seconds, _SHORT_S / 10))
    skip(max(seconds - _SHORT_S / 10, 0.0))


def _wait(condition: threading.Condition, timeout: float | None = None) -> bool:
    """Of conditions, and of events, which wait for one."""
    if timeout is None or timeout <= _SHORT_S:
        return _real_wait(condition, timeout)
    happened = _real_wait(condition, _SHORT_S)
    if not happened:
        skip(timeout - _SHORT_S)
    return happened


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    """Somebody who looks now and then at a thread that does nothing sees hours pass after `PATIENCE_S`."""
    if timeout is None or timeout <= _SHORT_S:
        return _real_join(thread, timeout)
    waited = _waited.setdefault(thread, _real_monotonic())
    if _real_monotonic() - waited < PATIENCE_S:
        return _real_join(thread, min(timeout, PATIENCE_S))
    _real_join(thread, _SHORT_S)
    if thread.is_alive():
        skip(max(timeout, _A_WHILE_S))
    return None
