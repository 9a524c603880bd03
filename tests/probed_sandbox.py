"""An in-memory sandbox that passes for one whose walls hold: its probe answers what a real container once did."""

import json
from collections.abc import Mapping
from typing import Any

from aira_bench.sandbox.protocol import ContainerSpec
from aira_bench.testing import Call, Done, InMemoryContainer, InMemorySandbox
from probe_facts import facts, inspected


class ProbedContainer(InMemoryContainer):
    """One that the engine describes as it describes a probe container."""

    def inspect(self) -> Mapping[str, Any]:
        return inspected(self.spec) if self.spec.role == "probe" else {}


class ProbedSandbox(InMemorySandbox):
    """Stands in for `DockerSandbox`."""

    def prepare(self, spec: ContainerSpec) -> InMemoryContainer:
        container = ProbedContainer(self, spec)
        self.containers.add(container)
        return container

    def sweep_dead(self) -> int:
        return 0


def probe(call: Call) -> Done:
    """The witness reports; what ignores signals is killed at its deadline."""
    if "witness.py" in call.files:
        return Done({"witness.json": json.dumps(facts()).encode()})
    return Done(ended="timeout")
