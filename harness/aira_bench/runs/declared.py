"""What scores a task on a machine: which images, and what this package declares of its code in them.

Not covered: building the images (`aira_bench.images`), and which numbers are declared (`aira_contract.compatibility`).
"""

from aira_bench.bundled import bundled_folder
from aira_bench.hardware import Hardware
from aira_bench.images.flavour import gpu_flavour
from aira_bench.images.names import DEFAULT_FLAVOUR
from aira_bench.record.manifest import Compatibility
from aira_bench.runs.resolve import ResolvedTask
from aira_bench.tasks.task import Task
from aira_contract.compatibility import EVALUATORS, SEARCH, libraries_of
from aira_contract.settings import ON_GPUS


def flavour_for(task: Task, profile: str, hardware: Hardware) -> str:
    """Which images: for the paper profile on a machine with a GPU those for the task's framework, else the default."""
    if profile not in ON_GPUS or not hardware.gpus:
        return DEFAULT_FLAVOUR
    return gpu_flavour(task.metadata.aira.evaluator)


def declared(hardware: Hardware, run: ResolvedTask) -> Compatibility | None:
    """Return what stands for the code of this product that scores a task here; None where somebody else's does.

    Args:
        hardware: the machine, whose devices decide which libraries score.
        run: the plan and its task.
    """
    kind, flavour = run.task.metadata.aira.artifact.kind, flavour_for(run.task, run.plan.profile, hardware)
    if run.plan.evaluator is not None or kind not in EVALUATORS:
        return None
    shipped = run.task.folder.parent == bundled_folder("tasks").resolve()
    return Compatibility(
        evaluator=kind, version=EVALUATORS[kind], flavour=flavour, libraries=libraries_of(flavour), search=SEARCH,
        shipped=shipped,
    )  # fmt: skip
