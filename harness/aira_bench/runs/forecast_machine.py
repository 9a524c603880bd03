"""What a run will use of this machine, in lines of its forecast: devices, places for steps, memory and disk.

Not covered: what it will download, ask for and take (`forecast`).
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.gpus import Gpu
from aira_bench.hardware import Hardware
from aira_bench.images.flavour import Flavour
from aira_bench.paths import HostPaths, cache_folder
from aira_bench.runs.expense import baseline_mib
from aira_bench.runs.places import Wanted
from aira_bench.runs.resolve import ResolvedRun
from aira_bench.sandbox.hardening import granted_mib
from aira_contract.settings import ON_GPUS


def told_devices(
    machine: Hardware, left_out: Sequence[str], obstacle: AiraError | None, run: ResolvedRun
) -> list[tuple[str, str]]:
    """Return the devices a run uses, those that are left out, or why there are none."""
    if run.plan.profile not in ON_GPUS:
        return [("devices", f"no GPU, as profile {run.plan.profile} uses none; {machine.processor}")]
    if obstacle is not None:
        return [("devices", f"none, so the run would stop: {obstacle.message}")]
    said = [("devices", sentence) for sentence in left_out]
    if not machine.gpus:
        return [*said, ("devices", f"{machine.processor}, images cpu")]
    first, seen = machine.gpus[0], machine.seen
    memory = f"{first.memory_mib} MiB each" if first.memory_mib else "memory shared with the processor"
    major, minor = first.compute_capability
    return [
        ("devices", f"{len(machine.gpus)} of {len(seen.devices)} GPUs: {first.name}, {memory}, "
         f"compute capability {major}.{minor}, driver {seen.driver} (CUDA {seen.cuda or 'unknown'})"),
        *(("devices", f"{gpu.place}  {gpu.uuid}") for gpu in machine.gpus),
        *_tight(run, first),
        *said,
    ]  # fmt: skip


def _tight(run: ResolvedRun, gpu: Gpu) -> Iterator[tuple[str, str]]:
    """Whether the task's baseline, as it was measured, is larger than a device."""
    held_mib = baseline_mib(run.task)
    if 0 < gpu.memory_mib < held_mib:
        held = f"{held_mib / 1024:.1f} GiB of an H200"
        yield "devices", f"the task's baseline held {held}, so solutions have to be smaller here (docs/performance.md)"


def told_slots(run: ResolvedRun, wanted: Wanted) -> str:
    """Return how many steps there are at a time, what each has, and how seeds share them."""
    seeds, most, cores = len(run.plan.seeds), wanted.most, wanted.cores_a_place
    each = "cores that they share" if wanted.shares_cores else f"{cores} cores" if cores > 1 else "one core"
    each += " and a GPU of its own" if wanted.gpus else ""
    said = f"{_steps(most)} at a time, each with {each}"
    if seeds <= most:
        return said
    if run.plan.exclusive:
        return f"{said}; of {seeds} seeds {most} go on, each to its end, then others"
    return f"{said}; {seeds} seeds take turns, and one whose model thinks holds none"


def told_memory(run: ResolvedRun, wanted: Wanted, machine: Hardware) -> str:
    """Return what all steps at a time may take of the machine's memory by their limits."""
    most_gib = wanted.most * granted_mib(run.task.profile(run.plan.profile).limits()) / 1024
    all_gib = machine.memory_mib / 1024
    said = f"{_steps(wanted.most)} at a time may take {most_gib:.0f} GiB of this machine's {all_gib:.0f} GiB"
    if most_gib > all_gib:
        return f"{said}: where they do, the kernel ends some of them, and they are tried again; --concurrency lowers it"
    return said


def told_disk(paths: HostPaths, root: Path | None, flavour: Flavour, *, built: bool) -> str:
    """Return what is free, and whether that is too little for images that are not built."""
    home, packages = _there(paths.home), _there(cache_folder())
    wheels_gib = flavour.settings.disk_gib.wheels
    said = f"{_free_gib(home):.0f} GiB free in {home} for data and caches"
    if not built and (free_gib := _free_gib(packages)) < wheels_gib:
        said += f", {free_gib:.0f} GiB free in {packages} for packages, which is too little: {wheels_gib:g} GiB"
    if root is not None and os.access(root, os.F_OK, effective_ids=True):  # it may lie where this user may not look
        free_gib, disk = _free_gib(root), flavour.settings.disk_gib
        said += f", {free_gib:.0f} GiB free in {root} for images"
        if not built and free_gib < disk.build:
            said += f", which is too little to build them: {disk.told}"
    return said


def _there(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _free_gib(folder: Path) -> float:
    return shutil.disk_usage(folder).free / 2**30


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"{count} steps"
