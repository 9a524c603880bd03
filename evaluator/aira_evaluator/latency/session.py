"""All rows of a request, in order, each within its own time, written as soon as it is there.

What fails or takes too long is a line that says so, and the next row has its turn. Not covered: several devices.
"""

import gc
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from types import FrameType

import torch

from aira_contract.latency import EMBEDDING, HEAD, MODEL, Case, LatencyRequest, LatencyRow, Machine, NotMeasured
from aira_contract.model_sizes import ModelSize, model_size, space_of
from aira_contract.patterns import read_pattern
from aira_contract.primitives import BY_SYMBOL, PRIMITIVES
from aira_evaluator.latency.stopwatch import measure
from aira_evaluator.latency.workloads import Placement, Workload, block_chains, embedding, head, whole
from aira_kernels.backend import choices
from aira_kernels.large import LargeLanguageModel

Line = LatencyRow | NotMeasured | Machine
_UNKNOWN_CACHE_BYTES = 32 * 2**20
"""What a processor's last cache is taken for where the system does not say."""
_LEAST_ROW_S = 1.0


class RowTimeout(BaseException):
    """A row is over its time; no `except Exception` on the way may keep it."""


@dataclass(frozen=True)
class _Model:
    name: str
    scale: str
    pattern: tuple[str, ...]

    @property
    def sizes(self) -> ModelSize:
        return model_size(self.scale, space_of(self.pattern))


def measure_all(request: LatencyRequest, write: Callable[[Line], None]) -> None:
    """Measure what is asked for and write each line as soon as it is known.

    Raises:
        PatternError: a pattern cannot be read.
        ValueError: there is no such scale.
        RuntimeError: there is no such device.
    """
    models = [_Model(asked.name, asked.scale, read_pattern(asked.pattern)) for asked in request.models]
    for model in models:
        _ = model.sizes
    torch.set_num_threads(1)
    device = torch.device(request.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device here")
    placement = Placement(device, getattr(torch, request.dtype), _cache_bytes(device), request.vocabulary)
    session = _Session(request, placement, time.monotonic() + request.budget_s, write)
    write(machine(placement))
    with torch.inference_mode():
        for scale in dict.fromkeys(model.scale for model in models):
            of_scale = [model for model in models if model.scale == scale]
            for what, make in _parts(of_scale, placement, request.cases):
                session.row(what, make)
            for model in of_scale:
                session.whole(model)
    write(Machine({"choices": "; ".join(map(str, choices()))}))


@dataclass(frozen=True)
class _What:
    """What a row is of."""

    part: str
    sizes: ModelSize
    case: Case
    name: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        case = f"{self.case.phase}, batch {self.case.batch}, {self.case.length} tokens behind {self.case.context}"
        return f"{self.name or self.part} at {self.sizes.scale} ({self.sizes.space}), {case}"


_Make = Callable[[], Iterator[Workload]]


def _parts(models: list[_Model], placement: Placement, cases: tuple[Case, ...]) -> Iterator[tuple[_What, _Make]]:
    """The blocks that the models are made of, their embeddings and heads, each size once."""
    seen = set()
    for model in models:
        sizes = model.sizes
        for primitive in PRIMITIVES:
            symbol = primitive.symbol
            # Two spaces differ in the MLP alone; what is the same in both is measured in the one that comes first.
            key = (symbol, sizes.width if primitive.mixes_positions else sizes.mlp_hidden)
            if symbol in model.pattern and key not in seen:
                seen.add(key)
                for case in cases:
                    yield _What(symbol, sizes, case), partial(block_chains, symbol, sizes, case, placement)
        if (HEAD, sizes.width) not in seen:
            seen.add((HEAD, sizes.width))
            for part, make in ((EMBEDDING, embedding), (HEAD, head)):
                for case in cases:
                    yield _What(part, sizes, case), partial(make, sizes, case, placement)


@dataclass(frozen=True)
class _Session:
    """What all rows of a request share."""

    request: LatencyRequest
    placement: Placement
    ends_s: float
    """By the monotonic clock."""
    write: Callable[[Line], None]

    def whole(self, model: _Model) -> None:
        """Measure a model in all cases; it is made once."""
        made: list[LargeLanguageModel] = []

        def make(case: Case) -> Iterator[Workload]:
            if not made:
                made.append(self.placement.model(model.pattern, model.sizes, self.placement.vocabulary))
            yield whole(made[0], case, self.placement)

        letters = "".join(BY_SYMBOL[symbol].letter for symbol in model.pattern)
        for case in self.request.cases:
            self.row(_What(MODEL, model.sizes, case, model.name, letters), partial(make, case))

    def row(self, what: _What, make: _Make) -> None:
        """Write the rows of some workloads, or why there are none."""
        left_s = min(self.request.row_s, self.ends_s - time.monotonic())
        if left_s < _LEAST_ROW_S:
            self.write(NotMeasured(str(what), f"not begun: the {self.request.budget_s:g} s of all rows are over"))
            return
        try:
            with _at_most(left_s):
                for workload in make():
                    self.write(self._timed(what, workload))
                    del workload
        except RowTimeout:
            self.write(NotMeasured(str(what), f"given up after {left_s:.0f} s"))
        except Exception as error:  # Memory, compilers, drivers: the rows after it may still be had.
            self.write(NotMeasured(str(what), f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"))
        gc.collect()
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()

    def _timed(self, what: _What, workload: Workload) -> LatencyRow:
        times, refusal = measure(workload.work, self.placement.device, self.request.rounds)
        if refusal:
            self.write(NotMeasured(f"a CUDA graph of {what}", refusal))
        sizes, case = what.sizes, what.case
        return LatencyRow(
            part=what.part, scale=sizes.scale, space=sizes.space, name=what.name, pattern=what.pattern,
            phase=case.phase, batch=case.batch, length=case.length, context=case.context, dtype=self.request.dtype,
            cache="cold" if workload.cold else "hot", copies=workload.copies, captured=times.captured,
            median_s=times.median_s / workload.copies, low_s=times.low_s / workload.copies,
            high_s=times.high_s / workload.copies, rounds=times.rounds,
        )  # fmt: skip


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise `RowTimeout` in the work inside, if it is not done by then."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise RowTimeout

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def machine(placement: Placement) -> Machine:
    """Return where rows are measured, and how."""
    device, facts = placement.device, {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("triton", "flash-attn", "mamba-ssm", "causal-conv1d"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = properties.name
        facts["cuda"] = str(torch.version.cuda)
        facts["memory"] = f"{properties.total_memory / 2**30:.0f} GiB"
        facts["clock"] = "CUDA events around replays of a CUDA graph"
    else:
        facts["device"] = f"{_processor()}, one thread"
        facts["load"] = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        facts["clock"] = "processor time"
    facts["cache"] = f"{placement.cache_bytes / 2**20:.0f} MiB"
    return Machine(facts)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cache_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)) or _UNKNOWN_CACHE_BYTES
    try:
        return os.sysconf("SC_LEVEL3_CACHE_SIZE") or _UNKNOWN_CACHE_BYTES
    except (ValueError, OSError):
        return _UNKNOWN_CACHE_BYTES
