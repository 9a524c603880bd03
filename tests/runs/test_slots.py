"""Which cores and devices the slots of a run get, and which images its machine needs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.hardware import Hardware, usable_cores
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.devices import on_devices
from aira_bench.runs.host import Host, flavour_for, gives_gpus, place_limits, wanted_of
from aira_bench.runs.places import places_of
from aira_bench.tasks.task import Task, find_task
from aira_bench.testing import InMemorySandbox, PlayedWorld
from fake_gpus import h100, uuid
from generated_runs import manifest

MAD, LRA = find_task("mad-2p"), find_task("lra-listops")


def machine(gpus: int) -> Host:
    hardware = Hardware("cpu", 4, 1024, tuple(h100(number) for number in range(gpus)))
    paths = HostPaths(Path("/nowhere/home"), Path("/nowhere/runs"))
    return Host(paths, InMemorySandbox({}), PlayedWorld(), hardware, lambda flavour, declared: ImageSet("a", "e"))


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


CAPS = ("memory_mib", "workspace_mib", "shm_mib", "tmp_mib", "pids")


@given(gpus=st.integers(0, 4), slots=st.integers(1, 6), profile=st.sampled_from(["paper", "cpu"]))
def test_no_two_slots_have_one_gpu_and_none_is_without_where_there_are_some(
    gpus: int, slots: int, profile: str
) -> None:  # fmt: skip
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": profile, "concurrency": slots})
    wanted = wanted_of(machine(gpus), plan)
    limits = place_limits(plan, MAD, places_of(wanted))
    devices = [each.gpu_uuid for each in limits]
    if profile == "paper" and gpus:
        assert devices == [uuid(number) for number in range(gpus)]
        assert wanted.most == min(slots, gpus)
    else:
        assert set(devices) == {None}
        assert wanted.most == slots
    budget = MAD.profile(profile)
    for each in limits:
        assert {name: getattr(each, name) for name in CAPS} == {name: getattr(budget, name) for name in CAPS}
    assert {core for each in limits for core in each.cpus or ()} <= set(usable_cores())


@pytest.mark.parametrize(
    ("chosen", "devices"),
    [(None, [0, 1, 2]), (("2", uuid(0)), [2, 0]), (("1", uuid(1)), [1]), (("all",), [0, 1, 2])],
)
def test_gpus_are_chosen_by_number_or_uuid(chosen: tuple[str, ...] | None, devices: list[int]) -> None:
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": "paper", "gpus": chosen})
    host = on_devices(machine(3), plan.profile, plan.gpus, lambda text: None, allow_cpu=False)
    assert list(wanted_of(host, plan).gpus) == list(map(uuid, devices))


def test_cores_and_gpus_that_are_not_there_are_named() -> None:
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": "paper", "cores": (0, 9_999)})
    with pytest.raises(UsageError, match="Core 9999 cannot be used here"):
        wanted_of(machine(2), plan)
    with pytest.raises(UsageError, match=r"GPU 7 is not here; those that are: 0 .*, 1 "):
        on_devices(machine(2), "paper", ("7",), lambda text: None, allow_cpu=False)
