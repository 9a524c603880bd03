"""A Ray cluster of several nodes on this machine, which Ray ships for tests, without a dashboard.

It listens on 127.0.0.2: what is told to be on 127.0.0.1 Ray looks for at the machine's other address.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launchers.slurm_site import descendants


@dataclass
class RaySite:
    """A cluster that runs; the head computes nothing."""

    cluster: Any
    nodes: list[Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill_node(self) -> None:
        """One node is gone at once with all that ran on it, as when it loses its power."""
        node = self.nodes.pop()
        raylet = node.all_processes["raylet"][0].process.pid
        for number in (signal.SIGSTOP, signal.SIGKILL):  # so that none of them sees another go
            for pid in [raylet, *descendants(raylet)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def ray_site(
    nodes: int = 3, cores: int = 2, gpus: int = 0, resources: Mapping[str, float] | None = None
) -> Iterator[RaySite]:
    """A cluster with so many nodes, each with so many cores, GPUs and other resources in name."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        workers = [
            cluster.add_node(
                num_cpus=cores,
                num_gpus=gpus,
                resources=dict(resources or {}),
                node_ip_address="127.0.0.2",
                object_store_memory=80 * 2**20,
            )
            for _ in range(nodes)
        ]
        yield RaySite(cluster, workers)
    finally:
        ray.shutdown()
        cluster.shutdown()
