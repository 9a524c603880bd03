"""Which devices a process may see, and which of them a run uses."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.gpus import Gpu, GpuProcess, Gpus, choose, visible
from fake_gpus import h100, uuid

FOUR = tuple(map(h100, range(4)))
SMALL = replace(h100(1), uuid="MIG-0a", name="MIG 2g.20gb", memory_mib=20_000, free_mib=19_900, mig=True)
PARTS = (h100(0), SMALL, replace(SMALL, uuid="MIG-0b", instance=1))
STRANGER = GpuProcess(4242, "python", 40_000)


def busy(index: int) -> Gpu:
    return h100(index, processes=(STRANGER,), free_mib=41_000)


def indices(gpus: Sequence[Gpu]) -> list[int]:
    return [gpu.index for gpu in gpus]


@pytest.mark.parametrize(
    ("variable", "kept"),
    [
        (None, [0, 1, 2, 3]), ("0", [0]), ("3,1", [3, 1]), (" 2 , 0 ", [2, 0]), (uuid(2), [2]), ("GPU-00000003", [3]),
        (f"{uuid(1)},0", [1, 0]), ("1,-1,0", [1]), ("2,2", [2]), ("3,-1", [3]), (f"0,{uuid(0)}", [0]),
        ("1,", [1]), ("3, 0 ,", [3, 0]), (f"{uuid(2)},", [2]),
    ],
)  # fmt: skip
def test_the_variable_of_cuda_hides_devices(variable: str | None, kept: list[int]) -> None:
    environ = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert indices(visible(Gpus("seen", FOUR), environ).devices) == kept


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        ("", "CUDA_VISIBLE_DEVICES= hides all GPUs"),
        ("-1", "CUDA_VISIBLE_DEVICES=-1 hides all GPUs"),
        (",", "CUDA_VISIBLE_DEVICES=, hides all GPUs"),
        ("0,,1", "CUDA_VISIBLE_DEVICES=0,,1 names none that is here"),
        (",0", "CUDA_VISIBLE_DEVICES=,0 hides all GPUs"),
        ("NoDevFiles", "CUDA_VISIBLE_DEVICES=NoDevFiles hides all GPUs"),
        ("0,9", "CUDA_VISIBLE_DEVICES=0,9 names none that is here: GPU 9 is not here"),
        ("GPU-0", "GPU GPU-0 is the beginning of 4 UUIDs"),
        (" ", "hides all GPUs"),
        ("-1,0", "CUDA_VISIBLE_DEVICES=-1,0 hides all GPUs"),
        ("-1,-1", "CUDA_VISIBLE_DEVICES=-1,-1 hides all GPUs"),
        ("-1,0,-1", "CUDA_VISIBLE_DEVICES=-1,0,-1 hides all GPUs"),
        ("all", "GPU all is not here"),
        ("none", "GPU none is not here"),
        ("0;1", "GPU 0;1 is not here"),
        ("0 1", "GPU 0 1 is not here"),
        ("+1", "GPU +1 is not here"),
        ("01", "GPU 01 is not here"),
        ("0x1", "GPU 0x1 is not here"),
        ("\u0663", "GPU \u0663 is not here"),
        ("\u00b9", "GPU \u00b9 is not here"),
        ("1.0", "GPU 1.0 is not here"),
        ("GPU-", "GPU GPU- is not here"),
        ("MIG-GPU-00000001-1111-2222-3333-444444444444/1/0", "is not here"),
        ("0,-2", "GPU -2 is not here"),
    ],
)
def test_a_variable_that_hides_all_or_names_what_is_not_there_says_so(variable: str, why: str) -> None:
    seen = visible(Gpus("seen", FOUR, driver="580.1"), {"CUDA_VISIBLE_DEVICES": variable})
    assert (seen.state, seen.devices, seen.driver) == ("hidden", (), "580.1")
    assert why in seen.why
    assert seen.mend


def test_numbers_that_cuda_counts_otherwise_than_the_driver_are_refused() -> None:
    """With two models, CUDA's 0 is the faster one: a number would be another device here than in the user's shell."""
    mixed = Gpus("seen", (replace(h100(0), name="NVIDIA T4"), h100(1)))
    assert visible(mixed, {"CUDA_VISIBLE_DEVICES": "0"}).state == "hidden"
    by_address = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert indices(visible(mixed, by_address).devices) == [0]
    assert indices(visible(mixed, {"CUDA_VISIBLE_DEVICES": uuid(1)}).devices) == [1]


@pytest.mark.parametrize("seen", [Gpus("none", why="w"), Gpus("broken", why="w")])
def test_where_there_is_no_device_the_variable_hides_nothing(seen: Gpus) -> None:
    assert visible(seen, {"CUDA_VISIBLE_DEVICES": "0"}) is seen


def test_busy_and_broken_devices_are_left_out_and_named() -> None:
    devices = [h100(0), busy(1), h100(2, fault="12 memory errors"), h100(3)]
    for wish in (None, ("all",), 2, 4):
        chosen = choose(devices, wish)
        assert indices(chosen.gpus) == [0, 3]
        assert chosen.left_out == (
            f"GPU 1 (NVIDIA H100 80GB HBM3, {uuid(1)}) is left out: python (pid 4242, 40000 MiB) computes on it.",
            f"GPU 2 (NVIDIA H100 80GB HBM3, {uuid(2)}) is left out: 12 memory errors.",
        )


def test_a_device_that_is_named_is_used_or_the_run_stops() -> None:
    assert indices(choose(FOUR, ("3", uuid(0), "0")).gpus) == [3, 0]
    with pytest.raises(PrerequisiteError, match=r"GPU 1 .* cannot be used: python \(pid 4242, 40000 MiB\)") as told:
        choose([h100(0), busy(1)], ("0", "1"))
    assert told.value.hint == "other devices with --gpus"


def test_where_all_are_busy_it_is_told_which_and_by_whom() -> None:
    with pytest.raises(PrerequisiteError, match=r"GPU 0 .* python .*computes on it \(and 1 more are no better\)\."):
        choose([busy(0), busy(1)], None)


def test_our_own_processes_leave_a_device_free_as_leases_keep_them_apart() -> None:
    ours = replace(busy(0), processes=(replace(STRANGER, container="c"),))
    (marked,) = Gpus("seen", (ours,)).knowing({"c"}).devices
    assert choose([marked], None).gpus == (marked,)
    with pytest.raises(PrerequisiteError):
        choose(Gpus("seen", (ours,)).knowing({"d"}).devices, None)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (("7",), r"GPU 7 is not here; those that are: 0 \(GPU-00000000-.*\), 1 "), (5, "--gpus 5 asks for more GPUs"),
        (("GPU-0000",), "is the beginning of 4 UUIDs"), (("G",), "GPU G is not here"), (("-1",), "GPU -1 is not here"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_is(wish: int | tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose(FOUR, wish)


def test_instances_are_named_by_uuid_or_by_their_number_within_their_gpu() -> None:
    assert choose(PARTS, ("1:0", "MIG-0b")).gpus == PARTS[1:]
    with pytest.raises(UsageError, match="GPU 1 is divided by MIG into 1:0, 1:1"):
        choose(PARTS, ("1",))
    assert indices(visible(Gpus("seen", PARTS), {"CUDA_VISIBLE_DEVICES": "MIG-0a"}).devices) == [1]


def test_a_run_uses_one_model_of_gpu_since_boards_never_compare_two() -> None:
    with pytest.raises(PrerequisiteError, match="of several models") as told:
        choose(PARTS, None)
    assert told.value.hint == "--gpus 0, for those that are NVIDIA H100 80GB HBM3"
    with pytest.raises(PrerequisiteError):
        choose(PARTS, ("0", "1:0"))


states = st.sampled_from(["free", "busy", "faulty"])
wishes = st.none() | st.just(("all",)) | st.integers(1, 7) | st.lists(st.integers(0, 6), min_size=1, max_size=4)


@given(st.lists(states, min_size=1, max_size=6), wishes)
def test_whatever_is_wished_for_no_busy_or_broken_device_is_used(
    drawn: list[str], wish: tuple[str, ...] | int | list[int] | None
) -> None:
    made = {"free": h100, "busy": busy, "faulty": lambda index: h100(index, fault="broken")}
    devices = [made[state](index) for index, state in enumerate(drawn)]
    named = tuple(map(str, wish)) if isinstance(wish, list) else wish
    try:
        chosen = choose(devices, named)
    except (PrerequisiteError, UsageError):
        return
    assert chosen.gpus
    assert all(drawn[gpu.index] == "free" for gpu in chosen.gpus)
    if isinstance(wish, list):
        assert indices(chosen.gpus) == list(dict.fromkeys(wish))
    else:
        assert len(chosen.gpus) + len(chosen.left_out) == len(devices)
