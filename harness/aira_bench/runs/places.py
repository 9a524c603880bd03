"""Which cores, and which GPU, go together as a place for a step or an evaluation.

A place is made of the machine alone and of what the user chose, never of what is free just now: so two runs have the
same places on the same devices, wait for one another device by device, and a step has as many cores as it would have
alone, because fixed time on fewer cores trains less.

Not covered: whose a place is (`line`), and which cores are near which GPU.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What a run may use of this machine."""

    cores: Sequence[int]
    """Which it may use."""
    slots: int
    """Steps at a time."""
    gpus: Sequence[str] = ()
    """UUIDs of those it may use; one for each slot. None where its profile uses none."""
    most_cores: int | None = None
    """How many of the cores it uses at a time; None for all."""
    machine_gpus: Sequence[str] = ()
    """All GPUs among which the cores are divided, each always with the same; empty where the user chose cores."""

    @property
    def core_count(self) -> int:
        """How many cores it uses at a time."""
        return len(self.cores) if self.most_cores is None else min(self.most_cores, len(self.cores))

    @property
    def most(self) -> int:
        """How many places it holds at a time."""
        return min(self.slots, len(self.gpus)) if self.gpus else self.slots

    @property
    def cores_a_place(self) -> int:
        """How many cores a place has; 1 also where places share cores."""
        return max(1, self.core_count // self._parts)

    @property
    def shares_cores(self) -> bool:
        """Whether there are more places at a time than cores: then places share them."""
        return self._parts > self.core_count

    @property
    def _parts(self) -> int:
        return len(self.machine_gpus) if self.gpus and self.machine_gpus else self.most


@dataclass(frozen=True)
class Place:
    """Cores, and a GPU, that one container works on at a time."""

    cores: tuple[int, ...] = ()
    gpu: str | None = None
    shares: bool = False
    """Whether other places of its run have the same cores, at the same time."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is leased for it."""
        device = () if self.gpu is None else (gpu_lease(self.gpu),)
        return (*device, *(f"core-{core}" for core in self.cores))


def gpu_lease(uuid: str) -> str:
    """Return the name under which a GPU is leased."""
    return "gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", uuid)


def places_of(wanted: Wanted) -> list[Place]:
    """Return every place that a run may use, one for each GPU or for each share of the cores; at most `wanted.most` of
    them at a time.
    """
    if wanted.shares_cores:
        shared = wanted.cores[: wanted.core_count]
        count = len(wanted.gpus) if wanted.gpus else wanted.most
        positions = [_number(wanted, index) % len(shared) for index in range(count)]
        return [
            Place((shared[at],), wanted.gpus[index] if wanted.gpus else None, shares=True)
            for index, at in enumerate(positions)
        ]
    size = wanted.cores_a_place
    shares = [tuple(wanted.cores[first : first + size]) for first in range(0, len(wanted.cores) - size + 1, size)]
    if not wanted.gpus:
        return [Place(share) for share in shares]
    return [Place(shares[_number(wanted, index) % len(shares)], gpu) for index, gpu in enumerate(wanted.gpus)]


def _number(wanted: Wanted, index: int) -> int:
    """A GPU's number on the machine where that decides its cores, else its place in the list."""
    if wanted.gpus and wanted.machine_gpus:
        return list(wanted.machine_gpus).index(wanted.gpus[index])
    return index
