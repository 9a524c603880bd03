"""A model divided among ranks, and what ranks have to agree on in a step.

Matrices are sharded (FSDP2): each rank keeps its rows in float32 with their optimizer state, gathers a block's whole
matrices in the type of products when the block's turn comes, and gets its rows of the summed gradients in float32.
Vectors are a thousandth of the numbers and whole on every rank, in float32: Mamba-2's rates and steps would lose digits
in bfloat16. Not covered: tensor and pipeline parallelism, groups of ranks that shard among themselves alone.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from aira_evaluator.pretrain.model import TrainedModel


def shard(model: TrainedModel, mesh: DeviceMesh) -> None:
    """Divide a model's matrices among the ranks of a mesh, block by block."""
    dtype = model.layout.dtype
    # Autocast casts what products read; inputs stay as they are, since the residual path is float32.
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    whole = set(model.vectors())
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=whole)
    # The embedding is read first and, as the head, last: it stays gathered between.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False, ignored_params=whole)


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def average(tensors: Sequence[Tensor], group: dist.ProcessGroup) -> None:
    """Replace tensors by their means over the ranks, in one message."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat, group=group)
    flat /= group.size()
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def summed(values: Sequence[Tensor | float], device: torch.device, group: dist.ProcessGroup | None) -> list[float]:
    """Sum each value over the ranks, in float64, and wait for the result."""
    total = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values])
    if group is not None:
        dist.all_reduce(total, group=group)
    found: list[float] = total.tolist()
    return found
