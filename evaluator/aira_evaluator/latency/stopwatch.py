"""How long a piece of work takes, on a GPU by its own events, on a CPU by the processor time that it takes.

On a GPU the work is captured as one CUDA graph where that can be done, so that a figure is the device's and not
Python's, and replayed until clocks and caches have settled; then each round is one replay between two events. On a CPU
torch has one thread, and the figure is the time it was on a processor, which a busy neighbour disturbs least.

Not covered: what is in the caches before a round; that is for whoever makes the work (`workloads`).
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], object]
WARM_UP_CALLS = 3
"""Before capturing: kernels are compiled and chosen, and libraries make their workspaces."""
SETTLING_S = 0.1
_LEAST_ROUND_S = 2e-3
"""A round of less is made of more calls: processor time is told in steps, and events in half microseconds."""
_MOST_CALLS = 1000


@dataclass(frozen=True)
class Times:
    """Quartiles over rounds of the seconds that a call takes."""

    low_s: float
    median_s: float
    high_s: float
    rounds: int
    captured: bool


def measure(work: Work, device: torch.device, rounds: int) -> tuple[Times, str]:
    """Return how long `work` takes, and why it was not captured on a device where it could be; else an empty text.

    Args:
        work: does the same each time it is called, on tensors that stay where they are.
        device: where.
        rounds: how many figures the quartiles are of.
    """
    if device.type != "cuda":
        return _summary(_rounds(work, rounds, _cpu_s), captured=False), ""
    call, refusal = _captured(work)
    return _summary(_rounds(call, rounds, _cuda_s), captured=not refusal), refusal


def _captured(work: Work) -> tuple[Work, str]:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:  # What cannot be captured is timed as it is, and says so.
        torch.cuda.synchronize()
        return work, (str(error).splitlines() or [type(error).__name__])[0]
    return graph.replay, ""


def _rounds(call: Work, rounds: int, clock: Callable[[Work, int], float]) -> list[float]:
    call()
    once_s = clock(call, 1)
    calls = max(1, min(_MOST_CALLS, round(_LEAST_ROUND_S / max(once_s, 1e-7))))
    started_s = time.monotonic()
    while time.monotonic() - started_s < SETTLING_S:
        clock(call, calls)
    return [clock(call, calls) / calls for _ in range(rounds)]


def _cpu_s(call: Work, calls: int) -> float:
    started_s = time.process_time()
    for _ in range(calls):
        call()
    return time.process_time() - started_s


def _cuda_s(call: Work, calls: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _summary(found: list[float], *, captured: bool) -> Times:
    low, median, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else [found[0]] * 3
    return Times(low, median, high, len(found), captured)
