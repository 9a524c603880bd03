"""Which devices a process may see and a run uses: `CUDA_VISIBLE_DEVICES`, `--gpus`, and what others leave free.

Numbers are those of `nvidia-smi`, which counts by PCI address. CUDA counts the fastest device first unless
`CUDA_DEVICE_ORDER` is `PCI_BUS_ID`; where that could make a difference, numbers in its variable are refused.

Not covered: leases between runs of aira-bench (`aira_bench.runs.leases`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aira_bench.errors import AiraError, PrerequisiteError, UsageError
from aira_bench.gpus.gpu import Gpu, Gpus

VARIABLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
ALL = "all"
_NONE = ("", "-1", "NoDevFiles")
"""What CUDA and schedulers write for no device at all."""
_END = "-1"
"""Behind other names: CUDA looks no further."""


@dataclass(frozen=True)
class Chosen:
    """Devices for a run."""

    gpus: tuple[Gpu, ...]
    left_out: tuple[str, ...] = ()
    """Why others are not used, a sentence each."""


def visible(seen: Gpus, environ: Mapping[str, str]) -> Gpus:
    """Return what the driver says, less the devices that `CUDA_VISIBLE_DEVICES` hides from this process.

    CUDA itself stops at the first name that it does not know; here such a name hides all, and is told. A comma at the
    end is none, as it is in `--gpus 1,`.
    """
    text = environ.get(VARIABLE)
    if text is None or seen.state != "seen":
        return seen
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and not names[-1]:
        names.pop()
    if names[0] not in _NONE and _END in names:
        names = names[: names.index(_END)]
    if names[0] in _NONE:
        return replace(
            seen, state="hidden", devices=(), why=f"{VARIABLE}={text} hides all GPUs", mend=f"unset {VARIABLE}"
        )
    numbers = [name for name in names if name.isdigit()]
    if numbers and len({gpu.name for gpu in seen.devices}) > 1 and environ.get(ORDER) != "PCI_BUS_ID":
        why = f"{VARIABLE}={text} counts GPUs of several models by their speed, as nobody else does"
        return replace(seen, state="hidden", devices=(), why=why, mend=f"export {ORDER}=PCI_BUS_ID, or name UUIDs")
    try:
        kept = _named(seen.devices, names)
    except AiraError as error:
        why = f"{VARIABLE}={text} names none that is here: {error.message.rstrip('.')}"
        return replace(seen, state="hidden", devices=(), why=why, mend="nvidia-smi -L")
    return replace(seen, devices=kept)


def choose(devices: Sequence[Gpu], wish: int | tuple[str, ...] | None) -> Chosen:
    """Return the devices of a run: those it names, or all that nobody else uses.

    Args:
        devices: those that this process may see; at least one.
        wish: how many, or which (number, number of a MIG instance such as `0:1`, the beginning of a UUID); None or
            `all` for all.

    Raises:
        UsageError: a name stands for no device or for several; or more are wanted than there are.
        PrerequisiteError: one that is named is busy or broken, all are, or they are of several models.
    """
    named = isinstance(wish, tuple) and wish != (ALL,)
    looked_at = _named(devices, wish) if isinstance(wish, tuple) and named else tuple(devices)
    if isinstance(wish, int) and wish > len(looked_at):
        raise UsageError(
            f"--gpus {wish} asks for more GPUs than are here, which is {len(looked_at)}.", hint="--gpus all"
        )
    kept = tuple(gpu for gpu in looked_at if not _why_not(gpu))
    left_out = tuple(f"{gpu.told()} is left out: {_why_not(gpu)}." for gpu in looked_at if _why_not(gpu))
    if left_out and (named or not kept):
        first = next(gpu for gpu in looked_at if _why_not(gpu))
        others = f" (and {len(left_out) - 1} more are no better)" if len(left_out) > 1 else ""
        raise PrerequisiteError(
            f"{first.told()} cannot be used: {_why_not(first)}{others}.",
            hint=first.mend or ("other devices with --gpus" if named else "wait until it is free; aira-bench doctor"),
        )
    if len(models := list(dict.fromkeys(gpu.name for gpu in kept))) > 1:
        of_first = ",".join(gpu.place for gpu in kept if gpu.name == models[0])
        raise PrerequisiteError(
            f"The GPUs here are of several models ({', '.join(models)}), and scores of two are never compared.",
            hint=f"--gpus {of_first}{',' * (',' not in of_first)} for those that are {models[0]}",
        )
    return Chosen(kept, left_out)


def _why_not(gpu: Gpu) -> str:
    return gpu.fault or gpu.busy()


def _named(devices: Sequence[Gpu], names: Sequence[str]) -> tuple[Gpu, ...]:
    """Devices in the order of their names, each once."""
    return tuple({gpu.uuid: gpu for gpu in (_one(devices, name) for name in names)}.values())


def _one(devices: Sequence[Gpu], name: str) -> Gpu:
    found = [gpu for gpu in devices if gpu.place == name]
    if not found and len(name) >= len("GPU-0"):
        found = [gpu for gpu in devices if gpu.uuid == name] or [gpu for gpu in devices if gpu.uuid.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"GPU {name} is the beginning of {len(found)} UUIDs.", hint="nvidia-smi -L")
    instances = [gpu.place for gpu in devices if gpu.mig and str(gpu.index) == name]
    if instances:
        raise UsageError(f"GPU {name} is divided by MIG into {', '.join(instances)}.", hint=f"--gpus {instances[0]},")
    here = ", ".join(f"{gpu.place} ({gpu.uuid})" for gpu in devices)
    raise UsageError(f"GPU {name} is not here; those that are: {here}.", hint="nvidia-smi -L")
