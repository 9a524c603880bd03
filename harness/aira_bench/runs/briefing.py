"""What agents are told of a run: its task, its data, and what its steps run on.

All of it follows from the manifest, the task and the data, so that a run that goes on asks its model what it would have
asked, also on another machine or beside other runs.

Not covered: how many cores a step really had, which its node records.
"""

from pathlib import Path

from aira_bench.agents.agent import Brief, Environment, brief_for
from aira_bench.agents.llm.data_preview import literature, preview
from aira_bench.images.flavour import Flavour, normal_name
from aira_bench.record.manifest import Manifest
from aira_bench.tasks.task import Task
from aira_contract.settings import ON_GPUS


def brief_of(manifest: Manifest, task: Task, public: Path, flavour: Flavour) -> Brief:
    """Return what the agent of a run is told; `public` is the task's public data, `flavour` that of its images."""
    plan = manifest.plan
    return brief_for(
        task, plan.profile, public, fitness=plan.fitness, step_timeout_s=plan.step_timeout_s,
        data_preview=preview(public), environment=environment_of(manifest, task, flavour),
        literature=literature(public), bugs=plan.bugs_named_by,
    )  # fmt: skip


def environment_of(manifest: Manifest, task: Task, flavour: Flavour) -> Environment:
    """Return what a step runs on: its share of the machine that began the run, and versions that the task asks for."""
    plan, machine = manifest.plan, manifest.hardware
    all_cores = machine.get("cores", 0) if plan.cores is None else plan.cores
    cores = all_cores if isinstance(all_cores, int) else len(all_cores)
    share = max(1, cores // plan.concurrency) if cores else 0  # what records of former versions come to
    gpus = machine.get("gpus") or []
    gpus = gpus if plan.profile in ON_GPUS else []
    able = [tuple(gpu["compute_capability"]) for gpu in gpus if gpu.get("compute_capability")]
    versions = flavour.versions("agent")
    asked = [normal_name(name) for name in task.metadata.container_python_requirements]
    return Environment(
        int(machine.get("cores_a_step", share)),
        " or ".join(dict.fromkeys(str(gpu.get("name", "")) for gpu in gpus)),
        min((int(gpu.get("memory_mib", 0)) for gpu in gpus), default=0),
        {"Python": flavour.settings.python} | {name: versions[name] for name in asked if name in versions},
        ".".join(map(str, min(able))) if able else "",
    )
