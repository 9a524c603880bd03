"""Which cores and devices the slots of a run get, and which images its machine needs."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.gpus import Gpus
from aira_bench.hardware import Hardware, usable_cores
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.devices import on_devices
from aira_bench.runs.host import Host, gives_gpus, place_limits, wanted_of
from aira_bench.runs.line import Line
from aira_bench.runs.places import Place, places_of
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import resolve
from aira_bench.runs.slots import SlotPool
from aira_bench.tasks.task import Task, find_task
from aira_bench.testing import InMemorySandbox, PlayedWorld
from aira_bench.waiting import Waits
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


def test_gpus_per_seed_is_one_and_only_where_there_are_some() -> None:
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": "paper", "gpus_per_seed": 1})
    assert wanted_of(machine(2), plan).most >= 1
    with pytest.raises(UsageError, match="--gpus-per-seed: containers of this run get no GPU here"):
        wanted_of(machine(0), plan)
    paths = HostPaths(Path("/nowhere/home"), Path("/nowhere/runs"))
    with pytest.raises(UsageError, match="uses one GPU, so --gpus-per-seed 2 cannot be had"):
        resolve(RunRequest(agent="evolution", task="mad-2p", gpus_per_seed=2), paths, PlayedWorld())
    with pytest.raises(UsageError, match="--gpus: containers of profile cpu get no GPU"):
        resolve(RunRequest(agent="evolution", task="mad-2p", profile="cpu", gpus=("0",)), paths, PlayedWorld())


@pytest.mark.parametrize(("chosen", "most"), [(None, 4), (2, 4), (("0", "3"), 2)])
def test_a_confirmation_uses_all_gpus_that_its_run_may(chosen: object, most: int) -> None:
    changed = {"profile": "paper", "concurrency": 1, "gpus": chosen}
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update=changed)
    host = on_devices(machine(4), plan.profile, plan.gpus, lambda text: None, allow_cpu=False)
    assert wanted_of(host, plan).most == 1
    assert wanted_of(host, plan, all_gpus=True).most == most


def test_cores_go_with_a_gpu_also_where_the_others_are_hidden() -> None:
    """So two users with other CUDA_VISIBLE_DEVICES do not want each other's cores."""
    plan = manifest("t", seeds=(0,), steps=1).plan.model_copy(update={"profile": "paper"})
    all_of_it = machine(2)
    second = all_of_it.hardware.gpus[1]
    seen = Gpus("seen", (second,), every=tuple(gpu.uuid for gpu in all_of_it.hardware.gpus))
    hidden = replace(all_of_it, hardware=replace(all_of_it.hardware, gpus=(second,), seen=seen))
    (there,) = places_of(wanted_of(hidden, plan))
    assert there == places_of(wanted_of(all_of_it, plan))[1]


class Ends:
    """What stands ready in a slot, and says when it was removed."""

    def __init__(self, index: int, ended: list[int]) -> None:
        self.index, self.ended = index, ended

    def close(self) -> None:
        self.ended.append(self.index)


def test_no_more_slots_stand_ready_than_are_used_at_a_time(tmp_path: Path) -> None:
    """Of places, any of which would do, others may be free than those whose containers were started."""
    ended: list[int] = []
    places = [Place((number,)) for number in range(4)]
    line, others = Line(places, most=1, folder=tmp_path / "l"), Line(places[:2], folder=tmp_path / "l")
    slots = SlotPool(InMemorySandbox({}), line, lambda index, ahead: Ends(index, ended))
    with slots.slot(Waits()) as slot:
        assert slot.index == 0
    first, second = others.take(Waits()), others.take(Waits())
    with slots.slot(Waits()) as slot:
        assert slot.index == 2
    others.give_back(first.index)
    others.give_back(second.index)
    with slots.slot(Waits()) as slot:
        assert slot.index == 2, "its containers are ready"
    slots.close()
    assert ended == [0, 2]
    line.close()
    others.close()


@given(seeds=st.integers(1, 6), most=st.integers(1, 6), keeps=st.booleans(), order=st.randoms(use_true_random=False))
def test_no_more_slots_stand_ready_than_seeds_are_left(
    seeds: int, most: int, keeps: bool, order: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their containers would stay to the end of the run, with sockets, threads and memory of ours each."""
    ended: list[int] = []
    opened: list[int] = []

    def open_at(index: int, ahead: ThreadPoolExecutor) -> Ends:
        opened.append(index)
        return Ends(index, ended)

    line = Line([Place((number,)) for number in range(most)], folder=tmp_path_factory.mktemp("leases"))
    slots = SlotPool(InMemorySandbox({}), line, open_at, seeds=seeds, keeps=keeps)
    assert len(opened) == min(most, seeds)
    left = list(range(seeds))
    order.shuffle(left)
    while left:
        for seed in left[:most]:
            with slots.slot(Waits(), seed):
                assert len(opened) - len(ended) <= len(left)
            if keeps:
                break  # the next one may have it when this one ends
        slots.end_seed(left.pop(0), Waits())
        assert len(opened) - len(ended) == min(most, len(left)), "idle ones are closed, those of others are not"
    slots.close()
    assert sorted(ended) == sorted(opened), "each once"
    assert len(opened) == min(most, seeds), "none was closed that was needed again"
    line.close()


def test_slots_of_a_run_that_is_stopped_are_left_to_whoever_stops_it(tmp_path: Path) -> None:
    """A seed's thread is not to wait for containers that are being swept away."""
    ended: list[int] = []
    line = Line([Place((number,)) for number in range(2)], folder=tmp_path / "l")
    slots = SlotPool(InMemorySandbox({}), line, lambda index, ahead: Ends(index, ended), seeds=2)
    stop = threading.Event()
    stop.set()
    slots.end_seed(0, Waits(stop))
    assert ended == []
    slots.close()
    assert ended == [0, 1]
    line.close()


class Swept(InMemorySandbox):
    """Counts whose leftovers were removed."""

    def sweep_owner(self, owner: str) -> int:
        self.calls += 1
        return 1


def test_what_a_killed_run_left_on_a_device_is_removed_before_the_next_has_it(tmp_path: Path) -> None:
    """Its lease ends with its process, but the engine lets its step run on."""
    code = (
        "import sys, time; from pathlib import Path; from aira_bench.runs.line import Line; "
        "from aira_bench.runs.places import Place; from aira_bench.waiting import Waits; "
        "line = Line([Place((0,), 'GPU-0')], folder=Path(sys.argv[1])); "
        "line.take(Waits()); print('has it', flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "l")], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    sandbox, line = Swept({}), Line([Place((1,), "GPU-1"), Place((0,), "GPU-0")], folder=tmp_path / "l")
    slots = SlotPool(sandbox, line, lambda index, ahead: Ends(index, []))
    with slots.slot(Waits()):
        assert sandbox.calls == 0, "it is on another device"
        with slots.slot(Waits()):
            assert sandbox.calls == 1
    with slots.slot(Waits()), slots.slot(Waits()):
        assert sandbox.calls == 1, "once"
    slots.close()
    line.close()
