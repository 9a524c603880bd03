"""Which cores and devices the slots of a run get, and which images its machine needs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.hardware import Gpu, Hardware, usable_cores
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.host import Host, flavour_for, gives_gpus, slot_limits
from aira_bench.runs.slots import split_cores
from aira_bench.tasks.task import Task, find_task
from aira_bench.testing import InMemorySandbox, PlayedWorld
from generated_runs import manifest

MAD, LRA = find_task("mad-2p"), find_task("lra-listops")


def machine(gpus: int) -> Host:
    hardware = Hardware("cpu", 4, 1024, tuple(Gpu("H100", f"GPU-{number}", 80_000) for number in range(gpus)))
    paths = HostPaths(Path("/nowhere/home"), Path("/nowhere/runs"))
    return Host(paths, InMemorySandbox({}), PlayedWorld(), hardware, lambda flavour, declared: ImageSet("a", "e"))


@given(cores=st.sets(st.integers(0, 255), min_size=1, max_size=64).map(sorted), slots=st.integers(1, 80))
def test_slots_share_no_core_while_there_are_enough_and_none_is_without(cores: list[int], slots: int) -> None:
    dealt = split_cores(cores, slots)
    assert len(dealt) == slots
    assert all(dealt), "each has one at least"
    assert {core for slot in dealt for core in slot} <= set(cores)
    if slots <= len(cores):
        given_out = [core for slot in dealt for core in slot]
        assert len(given_out) == len(set(given_out))
        assert len({len(slot) for slot in dealt}) == 1, "all slots are alike, so that steps compare"
    else:
        assert {core for (core,) in dealt} == set(cores), "with more slots than cores, each core is in use"


@pytest.mark.parametrize(
    ("task", "profile", "gpus", "flavour"),
    [(MAD, "cpu", 2, "cpu"), (MAD, "paper", 0, "cpu"), (MAD, "paper", 1, "cuda"), (LRA, "paper", 1, "cuda-jax")],
)
def test_gpus_and_their_images_are_for_the_paper_profile_of_a_machine_that_has_some(
    task: Task, profile: str, gpus: int, flavour: str
) -> None:
    host = machine(gpus)
    assert flavour_for(task, profile, host.hardware) == flavour
    assert gives_gpus(host, profile) == (flavour != "cpu")


@given(gpus=st.integers(0, 4), wanted=st.integers(1, 6), profile=st.sampled_from(["paper", "cpu"]))
def test_no_two_slots_have_one_gpu_and_none_is_without_where_there_are_some(
    gpus: int, wanted: int, profile: str
) -> None:  # fmt: skip
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": profile, "concurrency": wanted})
    limits = slot_limits(machine(gpus), plan, MAD)
    devices = [each.gpu_uuid for each in limits]
    if profile == "paper" and gpus:
        assert devices == [f"GPU-{number}" for number in range(min(wanted, gpus))]
    else:
        assert devices == [None] * wanted
    budget = MAD.profile(profile)
    assert {(each.memory_mib, each.workspace_mib) for each in limits} == {(budget.memory_mib, budget.workspace_mib)}
    assert {core for each in limits for core in each.cpus or ()} <= set(usable_cores())
