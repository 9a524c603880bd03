"""A machine on which whole runs are played: probe, preparation, steps and judges are functions of this process.

For tests of what starts, resumes and confirms runs. The probe's container reports what a real one once did.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aira_bench.hardware import Hardware
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.host import Host
from aira_bench.runs.request import RunRequest
from aira_bench.sandbox.leftovers import Swept
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, Role
from aira_bench.testing import Call, Done, InMemoryContainer, InMemorySandbox
from aira_bench.world import SystemWorld
from aira_contract.reports import RESULT_MARKER
from probe_facts import facts, inspected


def solve(call: Call) -> Done:
    """A solution that names its architecture writes it down."""
    lines = call.files["solution.py"].decode().splitlines()
    architecture = next(line for line in lines if line.startswith("ARCHITECTURE")).split(" = ")[1]
    return Done({"submission.csv": f"architecture\n{architecture}\n".encode()})


def probe(call: Call) -> Done:
    """The witness reports, a device has cleared its memory; what ignores signals is killed at its deadline."""
    if "device.json" in call.command:
        return Done({"device.json": json.dumps({"taken_mib": 100, "total_mib": 100, "pages": 0}).encode()})
    if "witness.py" in call.files:
        return Done({"witness.json": json.dumps(facts()).encode()})
    return Done(ended="timeout")


def prepare(call: Call) -> Done:
    """Both scripts write a file."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    (output / "data.txt").write_text("data\n")
    return Done()


def score(request: bytes) -> bytes:
    """A judge whose scores are a function of the architecture, and of which training of it is asked for."""
    asked = json.loads(request)
    again = f" {asked['training']}" if asked["training"] else ""
    test = random.Random(asked["architecture"] + again).random()
    report = {"schema": 1, "canonical": asked["architecture"], "validation": round(test * 0.9, 6), "test": test,
              "evaluator_version": "1", "seed_set": "search", "seconds": 1.0}  # fmt: skip
    printed = f"{RESULT_MARKER}\n{json.dumps({'Accuracy': test})}\n"
    answer = {"id": asked["id"], "status": 0, "stdout": printed, "stderr": "", "report": json.dumps(report)}
    return json.dumps(answer).encode()


class ProbedContainer(InMemoryContainer):
    """One that the engine describes as it describes a probe container."""

    def inspect(self) -> Mapping[str, Any]:
        return inspected(self.spec) if self.spec.role == "probe" else {}


@dataclass
class ProbedSandbox(InMemorySandbox):
    """An in-memory sandbox that passes its probe, unless a test says otherwise."""

    swept: list[str] = field(default_factory=list)
    word: str = "shared"

    def prepare(self, spec: ContainerSpec) -> InMemoryContainer:
        super().prepare(spec).close()
        container = ProbedContainer(self, spec)
        self.containers.add(container)
        return container

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        return Isolation(self.word, "played")  # type: ignore[arg-type]

    def sweep(self, run_id: str) -> int:
        self.swept.append(run_id)
        return super().sweep(run_id)

    def sweep_dead(self) -> Swept:
        return Swept(0)

    @property
    def caretaker(self) -> None:
        """Nothing keeps file trees here."""


def played_sandbox(**roles: Callable[[Call], Done]) -> ProbedSandbox:
    """A sandbox in which all works; `roles` are played otherwise."""
    programs = {"agent": solve, "prepare": prepare, "probe": probe} | roles
    return ProbedSandbox(programs, {"judge": score})  # type: ignore[arg-type]


def played_host(root: Path, sandbox: ProbedSandbox, images: ImageSet | None = None) -> Host:
    """A machine with that sandbox, whose folders lie below `root`."""
    paths = HostPaths(root / "home", root / "runs")
    found = images or ImageSet("agent:1", "evaluator:1")
    return Host(paths, sandbox, SystemWorld(), Hardware("test", 2, 1024, ()), lambda flavour, declared: found)


def request(name: str = "run", **wishes: object) -> RunRequest:
    """A short search, which does not confirm itself unless a test wishes it."""
    given: dict[str, object] = {
        "agent": "evolution",
        "task": "mad-2p",
        "profile": "cpu",
        "steps": 4,
        "name": name,
        "confirm": False,
    }
    return RunRequest(**given | wishes)  # type: ignore[arg-type]
