"""What a container is shown beyond an image and a kernel: mounts by target, true where it may write."""

from aira_bench.sandbox import kernel_files
from aira_bench.sandbox.step_containers import DockerStep


def shown_mounts(container: DockerStep) -> dict[str, bool]:
    """Without the image's file trees and the kernel files that every untrusted container has replaced."""
    usual = {*kernel_files.REPLACED, kernel_files.PROCESSORS}
    return {
        mount["Destination"]: mount["RW"]
        for mount in container.inspect()["Mounts"]
        if mount.get("Name") not in container.containers.trees and mount["Destination"] not in usual
    }
