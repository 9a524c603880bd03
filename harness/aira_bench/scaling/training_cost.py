"""Estimates memory and time of training a full-size model on a type of GPU.

Assumptions, all of them rough:

- weights and optimizer: 16 bytes a parameter (bfloat16 weights and gradients, float32 master weights and two AdamW
  moments), sharded evenly over the GPUs;
- activations: blocks are recomputed in the backward pass, so each layer keeps its input, and one block at a time its
  inner activations, all in bfloat16; logits and their gradients in float32; 4 sequences of 8,192 tokens at a time;
- time: FLOPs of the blocks (the convention of Tables 10 and 11) over the GPU's dense bfloat16 peak times a
  utilization that the caller gives. Published peaks are vendors' figures without sparsity.

Not covered: fragmentation, communication buffers, input pipelines, checkpoints, restarts.
"""

from dataclasses import dataclass

from aira_bench.errors import UsageError
from aira_bench.scaling.extrapolate import Extrapolation
from aira_bench.scaling.notation import ATTENTION, MAMBA, MLP
from aira_contract.gpu_types import GPU_TYPES, GpuType
from aira_contract.model_sizes import SEQUENCE_TOKENS, VOCABULARY, ModelSize
from aira_contract.training_arithmetic import STEP_TOKENS

STATE_BYTES_PER_PARAMETER = 16
MICROBATCH_SEQUENCES = 4
DEFAULT_UTILIZATION = 0.4
_BFLOAT16_BYTES = 2
_FLOAT32_BYTES = 4
_GIB = 2**30


@dataclass(frozen=True)
class TrainingCost:
    """An estimate for one number of steps on a number of equal GPUs."""

    gpu: GpuType
    gpus: int
    utilization: float
    steps: int
    state_gib: float
    """Weights, gradients and optimizer on each GPU."""
    activations_gib: float
    hours: float

    @property
    def memory_gib(self) -> float:
        """The memory in GiB that each GPU is estimated to need."""
        return self.state_gib + self.activations_gib

    @property
    def fits(self) -> bool:
        """Whether the estimate stays below the GPU's memory."""
        return self.memory_gib < self.gpu.memory_gib


def gpu_type(name: str) -> GpuType:
    """Return the GPU type of that name, with its memory and peak rate.

    Raises:
        UsageError: an unknown name.
    """
    if name not in GPU_TYPES:
        raise UsageError(f"Unknown GPU type {name!r}, expected one of {', '.join(GPU_TYPES)}.", hint="--gpu h200")
    return GPU_TYPES[name]


def estimate_training(
    model: Extrapolation, steps: int, gpu: GpuType, gpus: int, utilization: float = DEFAULT_UTILIZATION
) -> TrainingCost:
    """Estimate memory of each GPU, and hours for a number of steps of 524,288 tokens.

    Args:
        model: the grown model.
        steps: training steps.
        gpu: type of all GPUs.
        gpus: how many; the step's 64 sequences are shared among them.
        utilization: share of the peak that training reaches, above 0 and at most 1.

    Raises:
        UsageError: `gpus` or `utilization` out of range.
    """
    if not 1 <= gpus <= STEP_TOKENS // SEQUENCE_TOKENS:
        raise UsageError(f"{gpus} GPUs cannot share {STEP_TOKENS // SEQUENCE_TOKENS} sequences.", hint="--gpus 16")
    if not 0 < utilization <= 1:
        raise UsageError(f"A utilization of {utilization} is impossible.", hint="--utilization 0.4")
    sequences = min(MICROBATCH_SEQUENCES, STEP_TOKENS // SEQUENCE_TOKENS // gpus)
    state_bytes = STATE_BYTES_PER_PARAMETER * model.parameters_with_embedding / gpus
    flops = model.flops_per_token * STEP_TOKENS * steps
    seconds = flops / (gpu.peak_tflops * 1e12 * utilization * gpus)
    return TrainingCost(
        gpu, gpus, utilization, steps,
        state_gib=state_bytes / _GIB,
        activations_gib=_activation_bytes(model, sequences * SEQUENCE_TOKENS) / _GIB,
        hours=seconds / 3600,
    )  # fmt: skip


def _activation_bytes(model: Extrapolation, tokens: int) -> int:
    kept = model.counts.layers * model.size.width * _BFLOAT16_BYTES
    inner = max(_inner_features(symbol, model.size) for symbol in set(model.pattern)) * _BFLOAT16_BYTES
    logits = 2 * VOCABULARY * _FLOAT32_BYTES
    return tokens * (kept + inner + logits)


def _inner_features(symbol: str, size: ModelSize) -> int:
    """Activations a token inside one block: outputs of its norm, projections and gate."""
    inner = {
        ATTENTION: 3 * size.width + 2 * size.kv_width,
        MLP: size.width + 3 * size.mlp_hidden,
        MAMBA: size.width + size.mamba_projection + size.mamba_convolved + 2 * size.mamba_inner,
    }
    return inner[symbol]
