"""Tokens a second of a training on one GPU: as measured where it was, else from a stated utilization.

    architecture,scale,gpu,tokens_per_s,memory_gib,how

is a table of measurements; one comes with the package, others are the user's. A measurement holds for the same layers
in the same order, the same scale and the same type of GPU, at the paper's length and vocabulary, and for nothing else.
Utilization (MFU) is the share of the GPU's dense bfloat16 peak, of the FLOPs of `aira_contract.training_arithmetic`
with the output head.

Not covered: how throughput falls with the number of GPUs. A plan takes it as in proportion, and says so.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.files import Unacceptable, read_text, reason
from aira_bench.scaling.notation import NotationError, read_architecture
from aira_contract.gpu_types import GPU_TYPES, GpuType
from aira_contract.model_sizes import SEQUENCE_TOKENS, VOCABULARY, ModelSize
from aira_contract.patterns import Pattern
from aira_contract.training_arithmetic import count_layers, flops_per_token, head_flops_per_token

SHIPPED = Path(__file__).with_name("measured.csv")
DEFAULT_MFU = 0.4
"""What is measured lies from 0.45 to 0.60 (docs/performance.md)."""
COLUMNS = ("architecture", "scale", "gpu", "tokens_per_s", "memory_gib", "how")
_MOST_BYTES = 1 << 22
_HINT = f"a CSV with the columns {','.join(COLUMNS)} (docs/scaling.md)"


@dataclass(frozen=True)
class Measurement:
    """What one model did on one GPU."""

    pattern: Pattern
    scale: str
    gpu: str
    tokens_per_s: float
    memory_gib: float
    how: str


@dataclass(frozen=True)
class Throughput:
    """Tokens a second on one GPU, and where the figure comes from."""

    tokens_per_s: float
    measured: bool
    basis: str
    """In words, for whoever reads the plan."""


def gpu_type(name: str) -> GpuType:
    """Return the GPU type of that name, with its memory and peak rate.

    Raises:
        UsageError: an unknown name.
    """
    if name not in GPU_TYPES:
        raise UsageError(f"Unknown GPU type {name!r}, expected one of {', '.join(GPU_TYPES)}.", hint="--gpu h200")
    return GPU_TYPES[name]


def read_measurements(path: Path = SHIPPED) -> tuple[Measurement, ...]:
    """Read a table of measurements.

    Raises:
        UsageError: it cannot be read, or a line is no measurement.
    """
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, _MOST_BYTES), newline=""), strict=True)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise UsageError(f"{path} has other columns than a table of throughput.", hint=_HINT)
        return tuple(_measurement(f"{path}, line {rows.line_num}", row) for row in rows)
    except (OSError, Unacceptable) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.", hint=_HINT) from error
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}.", hint=_HINT) from error


def _measurement(where: str, row: dict[str | None, str | None]) -> Measurement:
    if None in row or None in row.values():
        raise UsageError(f"{where} has another number of columns than the first line.", hint=_HINT)
    texts = {str(key): (text or "").strip() for key, text in row.items()}
    numbers = []
    for name in ("tokens_per_s", "memory_gib"):
        try:
            number = float(texts[name])
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise UsageError(
                f"{where}: {name} is {texts[name][:VALUE_CHARS]!r}, expected a number above 0.", hint=_HINT
            )
        numbers.append(number)
    try:
        pattern = read_architecture(texts["architecture"])
    except NotationError as error:
        raise UsageError(f"{where}: {error.message}", hint=_HINT) from error
    return Measurement(pattern, texts["scale"], texts["gpu"].lower(), numbers[0], numbers[1], texts["how"])


def throughput(
    pattern: Pattern, size: ModelSize, sequence_tokens: int, vocabulary: int, gpu: GpuType, mfu: float,
    known: Sequence[Measurement],
) -> Throughput:  # fmt: skip
    """Return tokens a second of a model on one GPU; of several measurements the last.

    Args:
        pattern: its layers.
        size: its widths.
        sequence_tokens: of a training sequence.
        vocabulary: number of token ids.
        gpu: type of GPU.
        mfu: share of the GPU's peak where nothing was measured.
        known: measurements.
    """
    for each in reversed(known if (sequence_tokens, vocabulary) == (SEQUENCE_TOKENS, VOCABULARY) else ()):
        if (each.pattern, each.scale, each.gpu) == (pattern, size.scale, gpu.name):
            return Throughput(each.tokens_per_s, measured=True, basis=f"measured on {gpu.name}: {each.how}")
    flops = training_flops(pattern, size, sequence_tokens, vocabulary)
    basis = f"MFU {mfu:g} of {gpu.peak_tflops:g} TFLOP/s ({gpu.name})"
    return Throughput(gpu.peak_tflops * 1e12 * mfu / flops, measured=False, basis=basis)


def training_flops(pattern: Pattern, size: ModelSize, sequence_tokens: int, vocabulary: int) -> int:
    """Return the training FLOPs of a model for each token, its output head included."""
    return flops_per_token(count_layers(pattern), size, sequence_tokens) + head_flops_per_token(size, vocabulary)
