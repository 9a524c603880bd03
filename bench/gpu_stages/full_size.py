"""Stage 7: training steps of full-size language models, 350M and 1B: tokens a second and share of the peak.

Weights, gradients and AdamW's moments are float32, everything else bfloat16 by autocast; one sequence a step, nothing
recomputed but the logits, which the loss takes in pieces. Not covered: several devices, compiled models.
"""

import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from aira_contract.model_sizes import SEQUENCE_TOKENS, VOCABULARY, ModelSize, model_size, space_of
from aira_contract.patterns import read_pattern
from aira_contract.training_arithmetic import count_layers, flops_per_token
from aira_kernels.backend import Backend, choices
from aira_kernels.large import LargeLanguageModel
from gpu_stages.record import Record, device, synchronize

MODELS: tuple[tuple[str, str, str], ...] = (
    ("Llama 3.2", "350M", "14(A-M)"),
    ("AIRAformer-D", "350M", "4A-2M-4A-2M-4A-2M-4A-2M-4A-2M-2A-M"),
    ("AIRAhybrid-D", "350M", "2Mb-M-Mb-3(M-Mb-M-A)-Mb-M"),
    ("Llama 3.2", "1B", "16(A-M)"),
    ("AIRAformer-D", "1B", "6A-3M-6A-3M-6A-3M-6A-3M-6A-3M-3A"),
    ("AIRAhybrid-D", "1B", "4Mb-2M-2Mb-3(2M-2Mb-2M-2A)"),
)
"""Tables 8 and 9 of the paper, stretched."""
PEAK_BF16_FLOPS = 989e12
"""Of an H100 or H200 with SXM, dense, by the vendor's datasheet."""
LOSS_PIECE = 2048
STEPS = 4
TOY = ModelSize("toy", "3-primitive", 0, 64, 4, 16, 2, 96, 16, mamba_head_dim=32, mamba_chunk=16)


def run(record: Record) -> None:
    """Time a few steps of every model; of those with Mamba-2 layers, on the reference backend too."""
    for name, scale, pattern in MODELS[:3] if record.toy else MODELS:
        record.attempt(f"{name} {scale}", lambda a=name, b=scale, c=pattern: _time(record, a, b, c, "auto"))
    if not record.toy:
        name, scale, pattern = MODELS[2]
        record.attempt("reference backend", lambda: _time(record, name, scale, pattern, "reference"))


def _time(record: Record, name: str, scale: str, pattern: str, backend: Backend) -> None:
    where, layers = device(), read_pattern(pattern)
    sizes = TOY if record.toy else model_size(scale, space_of(layers))
    tokens, vocabulary = (64, 97) if record.toy else (SEQUENCE_TOKENS, VOCABULARY)
    model = LargeLanguageModel(
        layers, sizes, generator=torch.Generator(where).manual_seed(0), vocabulary=vocabulary, device=where,
        backend=backend,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator(where).manual_seed(1)
    times: list[float] = []
    for _ in range(1 + STEPS):
        ids = torch.randint(0, vocabulary, (1, tokens + 1), generator=generator, device=where)
        synchronize()
        started_s = time.perf_counter()
        loss = _step(model, optimizer, ids)
        synchronize()
        times.append(time.perf_counter() - started_s)
    if not bool(torch.isfinite(loss)):
        raise ArithmeticError(f"the loss is {float(loss)}")
    step_s = statistics.median(times[1:])
    title = f"{name} {scale}" + ("" if backend == "auto" else f", backend {backend}")
    # `flops_per_token` is what the paper counts; the head's product comes on top of it.
    flops = flops_per_token(count_layers(layers), sizes) + 6 * sizes.width * vocabulary
    record.detail(f"{title}: seconds of steps", times)
    record.row(f"{title}: tokens a second", tokens / step_s, "1/s")
    if where.type == "cuda":
        record.row(f"{title}: share of the bfloat16 peak", flops * tokens / step_s / PEAK_BF16_FLOPS)
        record.row(f"{title}: memory, most", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        torch.cuda.reset_peak_memory_stats()
    record.detail("choices", [str(choice) for choice in choices()])


def _step(model: LargeLanguageModel, optimizer: torch.optim.Optimizer, ids: Tensor) -> Tensor:
    with torch.autocast(ids.device.type, torch.bfloat16):
        hidden = model.hidden(ids[:, :-1])[0]
        pieces = zip(hidden.split(LOSS_PIECE), ids[0, 1:].split(LOSS_PIECE), strict=True)
        losses = [checkpoint(_loss, part, model.embed.weight, due, use_reentrant=False) for part, due in pieces]
        loss = torch.stack(losses).sum() / hidden.shape[0]
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _loss(hidden: Tensor, weight: Tensor, due: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, weight).float(), due, reduction="sum")
