"""What the engine knows of GPUs that the driver does not say: whose containers compute on them, and which it can give.

Processes of aira-bench's own containers make no device busy, since leases keep runs apart; so they are told from those
of strangers before anybody counts devices or plans with them.

`Dockerfile` makes an image that drives the host's engine. NVML sees no device in there unless somebody thought of
`--gpus`, though the engine could give each of our containers one. So a container of the same image, which gets all
devices and the host's numbers of processes, asks the driver and ends.

Not covered: what a device does while a container has it (`aira_bench.gpus.watch`), which takes a driver in here.
"""

import re
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.gpus import Gpus
from aira_bench.gpus.look import TIMEOUT_S, understood
from aira_bench.sandbox.hardening import CDI_KIND, RUN_LABEL, labels

if TYPE_CHECKING:
    from aira_bench.docker_engine import DockerEngine

GIVE_THEM = "install NVIDIA's container toolkit on the host, and try: docker run --rm --gpus all debian nvidia-smi"
_OWN_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""What an engine mounts into each container from a folder that has the container's id for a name."""
_ID = re.compile(r"containers/([0-9a-f]{64})/")
_GRACE_S = 15.0
"""For starting and ending a container."""


def engine_gpus(seen: Gpus, system: Path = Path("/")) -> Gpus:
    """Return what the driver says, with our own containers' processes marked; where it sees no GPU and this process is
    one of the engine's containers, those that the engine can give.

    Anywhere else, and where GPUs were hidden on purpose, that is `seen` itself.

    Args:
        seen: what the driver says in here.
        system: where `proc` is found.
    """
    container = None if seen.state in ("seen", "hidden") else _own_container(system)
    if container is None and not _in_containers(seen):
        return seen
    from aira_bench.docker_engine import connect_engine  # not where no container is: it takes a fifth of a second

    try:
        engine = connect_engine()
    except PrerequisiteError:  # as whoever needs an engine will say
        return seen
    try:
        if container is None:
            return _knowing_ours(engine, seen)
        own = engine.find_container(container)
        return seen if own is None else _knowing_ours(engine, _asked(engine, str(own["Image"])))
    except (PrerequisiteError, SandboxError) as error:
        if container is None:
            return seen
        why = f"{seen.why} in this container, and its engine gives its image none: {error.message.rstrip('.')}"
        return replace(seen, why=why, mend=GIVE_THEM)
    finally:
        engine.close()


def _in_containers(seen: Gpus) -> bool:
    return any(process.container for gpu in seen.devices for process in gpu.processes)


def _knowing_ours(engine: "DockerEngine", seen: Gpus) -> Gpus:
    """The same, with the processes of aira-bench's containers marked, of whichever run and user."""
    return seen.knowing({each.id for each in engine.containers(RUN_LABEL)}) if _in_containers(seen) else seen


def _own_container(system: Path) -> str | None:
    """Id of the container that this process is in; None where it is in none that can be told."""
    try:
        mounted = (system / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in mounted.splitlines():
        fields = line.split()  # number, parent, device, root within it, where it is mounted, ...
        if len(fields) > 4 and fields[4] in _OWN_FILES and (found := _ID.search(fields[3])):
            return found[1]
    return None


def _asked(engine: "DockerEngine", image: str) -> Gpus:
    """What the driver says in a container that gets every device.

    Raises:
        SandboxError, PrerequisiteError: the engine has no devices to give, or failed.
    """
    every = f"{CDI_KIND}=all"
    listed = every in engine.info().cdi_devices
    request = {"Driver": "cdi", "DeviceIDs": [every]} if listed else {"Count": -1, "Capabilities": [["gpu", "utility"]]}
    run_id = f"probe-{secrets.token_hex(6)}"
    container = engine.create_container(f"aira-{run_id}", _body(image, run_id, request))
    try:
        engine.start_container(container)
        status = engine.wait_container(container, TIMEOUT_S + _GRACE_S)
        if status is None:
            return Gpus("broken", (), f"the NVIDIA driver did not answer in {TIMEOUT_S:g} s", "sudo reboot")
        said, complaint = engine.output(container)
        return replace(understood(status, said, complaint), through_engine=True)
    finally:
        engine.remove_container(container)


def _body(image: str, run_id: str, request: dict[str, Any]) -> dict[str, Any]:
    """Request body of the container: as little as the question needs, and the host's processes, which may be busy."""
    return {
        "Image": image,
        "Entrypoint": [sys.executable, "-P", "-m", "aira_bench.gpus.nvml", "/"],
        "Cmd": [],
        "Labels": labels(run_id, "probe"),
        "Env": ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=utility"],
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidMode": "host",
            "UsernsMode": "host",  # an engine that remaps users shares no numbers of processes otherwise
            "LogConfig": {"Type": "json-file", "Config": {}},
            "DeviceRequests": [request],
        },
    }
