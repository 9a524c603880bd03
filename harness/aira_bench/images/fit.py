"""Whether a machine's driver and devices can run a flavour's images.

Code for a device that its compiler knew nothing of, or for a driver that is older than it, fails at the first kernel,
and would look like a fault of whoever's code runs it. So this is asked before anything is built.

Not covered: how much memory a solution needs, which is its own to know.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aira_bench.errors import PrerequisiteError
from aira_bench.hardware import Hardware
from aira_bench.images.flavour import Flavour


@dataclass(frozen=True)
class Misfit:
    """Something that the images cannot run with."""

    what: str
    """`driver`, or the device's number."""
    seen: str
    """What is here, and what was expected."""
    mend: str


def misfits(hardware: Hardware, flavour: Flavour) -> Iterator[Misfit]:
    """Return what of the driver and of the devices that a run may use does not fit. What is not known fits."""
    settings, seen = flavour.settings, hardware.seen
    needed = settings.driver
    if hardware.gpus and needed and seen.driver and _numbers(seen.driver) < _numbers(needed):
        package = f"nvidia-driver-{needed.partition('.')[0]}-server"
        mend = f"sudo apt-get install {package}, then restart"
        yield Misfit("driver", f"{seen.driver}, expected {needed} or newer", mend)
    able = settings.capability
    if able is None:
        return
    oldest, newest = _numbers(able.oldest), _numbers(able.newest)
    for gpu in hardware.gpus:
        has = gpu.compute_capability
        if has < oldest or has[0] > newest[0]:  # code for one minor version runs on later ones of its major version
            seen_here = f"{gpu.name} has compute capability {has[0]}.{has[1]}, expected {able.oldest} to {able.newest}"
            yield Misfit(gpu.place, seen_here, "other devices with --gpus, or another machine")


def require_fit(hardware: Hardware, flavour: Flavour) -> None:
    """Raises PrerequisiteError if the images of a flavour cannot run on the devices that a run uses."""
    for misfit in misfits(hardware, flavour):
        what = "the driver" if misfit.what == "driver" else f"GPU {misfit.what}"
        message = f"The images {flavour.name} cannot run here: {what}: {misfit.seen}."
        raise PrerequisiteError(message, hint=misfit.mend)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
