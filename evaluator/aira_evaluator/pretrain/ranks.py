"""The processes of one training: who they are, on which devices, and how they talk.

torchrun and launchers tell each process its place in the environment; a process that was told nothing is alone. Not
covered: starting processes.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from aira_contract.gpu_types import peak_flops

PATIENCE = timedelta(minutes=10)
"""How long a message waits for a rank before the training fails, to be started again from its last checkpoint."""


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh
    slow: dist.ProcessGroup
    """All ranks, through their CPUs, for checkpoints."""

    @property
    def device_name(self) -> str:
        """The device as its vendor names it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    @property
    def peak_flops(self) -> float | None:
        """The bfloat16 peak of all ranks' devices together, None where it is not known."""
        one = peak_flops(self.device_name)
        return None if one is None else one * self.size


def join_ranks(device: str | None = None) -> Ranks:
    """Meet the other processes.

    Args:
        device: `cuda` or `cpu`; by default the first that is there.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    told = {key: os.environ.get(key) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    rank, size = int(told["RANK"] or 0), int(told["WORLD_SIZE"] or 1)
    here = torch.device("cuda", int(told["LOCAL_RANK"] or 0)) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(here)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    if told["WORLD_SIZE"]:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:  # alone: there is no address to meet others at
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=0, world_size=1)
    slow = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(slow, dist.ProcessGroup)
    return Ranks(rank, size, here, init_device_mesh(kind, (size,)), slow)
