"""Walls have names: what the probe found missing is refused by them, unless each is accepted by its own."""

import pytest

from aira_bench.docker_engine import EngineInfo, connect_engine
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.sandbox import probe
from aira_bench.sandbox.probe_checks import ProbeCheck, checks_of
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.sandbox.walls import WALLS, lacking, missing_walls, named, require_walls, wall_of
from probe_facts import facts, inspected

SPEC = ContainerSpec("image:1", "probe", "r", probe.LIMITS)
ELSEWHERE = (
    "deadline kills what ignores signals", "kernel of its own", "/usr is a file system of its own",
    "CUDA in a container", "GPU memory of a former container", "a judge's socket is reached", "cores",
    "predict: a fork bomb ends", "predict: taking memory ends",
)  # fmt: skip
"""Checks that no container of the recorded kind has."""


def checks() -> list[ProbeCheck]:
    return checks_of(facts(), inspected(SPEC), SPEC)


def broken(*names: str) -> list[ProbeCheck]:
    """All checks, with these failed."""
    found = [*checks(), *(ProbeCheck(name, True, "", "") for name in ELSEWHERE)]
    assert set(names) <= {each.name for each in found}
    return [
        ProbeCheck(each.name, False, "allowed at 128", "EAGAIN below 32") if each.name in names else each
        for each in found
    ]


def test_each_check_of_the_probe_tries_one_wall_and_each_wall_is_tried() -> None:
    names = [*(check.name for check in checks()), *ELSEWHERE]
    tried = {name: [wall.name for wall in WALLS if wall.checks.fullmatch(name.removeprefix("predict: "))]
             for name in names}  # fmt: skip
    assert {name: found for name, found in tried.items() if len(found) != 1} == {}
    assert {found[0] for found in tried.values()} == {wall.name for wall in WALLS}
    assert len({wall.name for wall in WALLS}) == len(WALLS)
    assert [wall_of(name).name for name in names] == [found[0] for found in tried.values()]


def test_a_machine_with_all_walls_lacks_none() -> None:
    assert missing_walls(broken()) == []
    assert require_walls(broken()) == ()


# What podman without root lacks on control groups v1, as it was measured there.
ROOTLESS = ("processes", "memory", "engine's PidsLimit", "engine's Memory", "engine's MemorySwap")


def test_each_missing_wall_is_named_and_refused() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        require_walls(broken(*ROOTLESS))
    assert "missing walls (2): processes: processes: seen allowed at 128, expected EAGAIN below 32 (and 1 more); " in (
        caught.value.message
    )
    assert "memory: memory: seen" in caught.value.message
    assert caught.value.hint is not None
    assert "--accept-missing-walls processes memory" in caught.value.hint


@pytest.mark.parametrize(
    "accepted", [["memory"], ["processes"], ["cores", "tmp-size"], ["all"], ["Memory", "PROCESSES"]]
)
def test_accepting_one_wall_accepts_no_other(accepted: list[str]) -> None:
    with pytest.raises(PrerequisiteError, match="missing"):
        require_walls(broken(*ROOTLESS), accepted)


def test_what_is_accepted_is_told_where_it_is_missing_alone() -> None:
    assert require_walls(broken(*ROOTLESS), ["memory", "tmp-inodes", "processes"]) == ("processes", "memory")


@pytest.mark.parametrize("check", ["network interfaces", "engine's NetworkMode", "deadline kills what ignores signals"])
def test_scores_rest_on_some_walls_whatever_anybody_accepts(check: str) -> None:
    wall = wall_of(check).name
    with pytest.raises(UsageError, match=f"No score can be trusted without the wall '{wall}'"):
        named([wall])
    with pytest.raises(PrerequisiteError) as caught:
        require_walls(broken(check), [wall])
    assert "--accept" not in str(caught.value)


def test_a_check_that_tries_no_wall_is_refused_whatever_is_accepted() -> None:
    strange = ProbeCheck("something new", False, "open", "closed")
    with pytest.raises(PrerequisiteError, match="something new: seen open, expected closed"):
        require_walls([strange], [wall.name for wall in WALLS])


def test_names_are_known_and_in_one_order() -> None:
    assert named(["memory", "processes", "memory"]) == ("processes", "memory")
    assert named([]) == ()
    with pytest.raises(UsageError, match="There is no wall 'ram'; walls are: network, deadline, system-calls, "):
        named(["memory", "ram"])


@pytest.mark.parametrize(
    ("cgroups", "rootless", "why"),
    [(1, True, "sets no limits of control groups v1"), (2, True, "Delegate=cpu cpuset memory pids"), (1, False, "")],
)
def test_why_a_wall_is_missing_is_told_where_that_is_known(cgroups: int, rootless: bool, why: str) -> None:
    engine = EngineInfo("4.3.1", cgroups, "/", 2, 1024, (), name="podman", rootless=rootless)
    assert why in lacking("memory", engine)
    assert bool(why) == bool(lacking("processes", engine))
    assert lacking("network", engine) == ""


@pytest.mark.parametrize("rootless", [True, False])
def test_why_apptainer_lacks_a_wall_is_told(rootless: bool) -> None:
    engine = EngineInfo("1.3.4", 2, "/", 2, 1024, (), name="Apptainer", rootless=rootless)
    told = {wall.name for wall in WALLS if lacking(wall.name, engine)}
    always = {
        "workspace-size",
        "workspace-inodes",
        "tmp-size",
        "tmp-inodes",
        "shm-size",
        "kernel-files",
        "mounts",
        "namespaces",
    }
    users = {"system-calls", "own-user", "oom-score", "memory", "processes", "cores"}
    assert told == (always | users if rootless else always)


def test_an_engine_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_CONTAINERS", "lxc")
    with pytest.raises(UsageError, match="no container engine 'lxc'; aira-bench knows docker, podman, apptainer"):
        connect_engine()
