"""What agents are told a step runs on follows from the manifest, so that a run asks the same wherever it goes on."""

import pytest

from aira_bench.agents.agent import Environment
from aira_bench.agents.llm.prompting import spoken_hardware
from aira_bench.images.flavour import load_flavour
from aira_bench.runs.briefing import environment_of
from aira_bench.tasks.task import find_task
from generated_runs import manifest

GPU = {"name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1", "memory_mib": 81559}


@pytest.mark.parametrize(
    ("plan", "hardware", "cores", "gpu"),
    [
        ({"concurrency": 1}, {"cores": 8, "gpus": []}, 8, ""),
        ({"concurrency": 3}, {"cores": 8, "gpus": []}, 2, ""),
        ({"concurrency": 9}, {"cores": 8, "gpus": []}, 1, ""),
        ({"concurrency": 2, "cores": 6}, {"cores": 8}, 3, ""),
        ({"concurrency": 1, "cores": (0, 5)}, {"cores": 8}, 2, ""),
        ({"concurrency": 1, "profile": "paper"}, {"cores": 8, "gpus": [GPU, GPU]}, 8, "NVIDIA H100 80GB HBM3"),
        ({"concurrency": 1, "profile": "cpu"}, {"cores": 8, "gpus": [GPU]}, 8, ""),
        ({"concurrency": 1}, {}, 0, ""),
        (
            {"concurrency": 1, "profile": "paper"},
            {"cores": 96, "gpus": [GPU, GPU], "cores_a_step": 12},
            12,
            "NVIDIA H100 80GB HBM3",
        ),
    ],
)
def test_a_step_has_its_share_of_the_machine_that_began_the_run(
    plan: dict[str, object], hardware: dict[str, object], cores: int, gpu: str
) -> None:
    record = manifest("t", seeds=(0,), steps=2)
    record = record.model_copy(update={"plan": record.plan.model_copy(update=plan), "hardware": hardware})
    found = environment_of(record, find_task("mad-2p"), load_flavour("cpu"))
    assert (found.cores, found.gpu, found.gpu_memory_mib) == (cores, gpu, 81559 if gpu else 0)
    assert found.gpu_compute_capability == "", "records of former versions do not say"


def test_of_several_kinds_of_gpus_all_are_named_with_what_the_least_of_them_has() -> None:
    record = manifest("t", seeds=(0,), steps=2)
    small = {"name": "NVIDIA A100-SXM4-40GB", "uuid": "GPU-2", "memory_mib": 40960, "compute_capability": [8, 0]}
    gpus = [{**GPU, "compute_capability": [9, 0]}, small, small]
    plan = record.plan.model_copy(update={"profile": "paper"})
    found = environment_of(
        record.model_copy(update={"plan": plan, "hardware": {"cores": 8, "gpus": gpus}}),
        find_task("mad-2p"), load_flavour("cpu"),
    )  # fmt: skip
    assert found.gpu == "NVIDIA H100 80GB HBM3 or NVIDIA A100-SXM4-40GB"
    assert (found.gpu_memory_mib, found.gpu_compute_capability) == (40960, "8.0")
    assert spoken_hardware(found) == (
        ", up to 8 CPU cores, one NVIDIA H100 80GB HBM3 or NVIDIA A100-SXM4-40GB of 40960 MiB, compute capability 8.0"
    )


def test_versions_are_those_of_what_the_task_asks_for_in_the_images_of_the_run() -> None:
    record = manifest("t", seeds=(0,), steps=2)
    found = environment_of(record, find_task("lra-listops"), load_flavour("cpu")).packages
    pins = load_flavour("cpu").versions("agent")
    assert found["Python"] == load_flavour("cpu").settings.python
    assert found["jax"] == pins["jax"]
    assert set(found) < {"Python", *pins}
    assert Environment().packages == {}
