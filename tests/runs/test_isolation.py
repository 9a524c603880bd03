"""What a run says of the isolation of its containers, and that it does not go on with less."""

import json
from pathlib import Path

import pytest

from aira_bench.errors import RunStateError
from aira_bench.images.ensure import ImageSet
from aira_bench.record.manifest import Manifest
from aira_bench.runs.host import isolation_of, require_no_wall_lost, require_no_weaker
from aira_bench.sandbox.isolation import BEST_FIRST, brings_kernel, is_weaker, weakest
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, PreparedContainer, Role
from generated_runs import manifest, write_run


class _Machine:
    """A sandbox whose predict containers have a kernel of their own, and GPU containers the ordinary image."""

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        if gpu:
            return Isolation("dropped caches", "a GPU")
        return Isolation("own kernel", "runsc") if role == "predict" else Isolation("own trees", "tried")

    def prepare(self, spec: ContainerSpec) -> PreparedContainer:
        raise AssertionError

    def sweep(self, run_id: str) -> int:
        raise AssertionError


IMAGES = ImageSet("agent:1", "evaluator:1")


def test_a_run_claims_the_least_of_its_roles_and_keeps_all() -> None:
    told: list[str] = []
    found = isolation_of(_Machine(), IMAGES, gpu=False, note=told.append)
    assert {role: isolation.word for role, isolation in found.items()} == {
        "agent": "own trees", "fit": "own trees", "predict": "own kernel",
    }  # fmt: skip
    assert weakest(found.values()).word == "own trees"
    assert told == ["isolation: own trees (tried)"]
    assert weakest(isolation_of(_Machine(), IMAGES, gpu=True, note=told.append).values()).word == "dropped caches"


def test_the_manifest_carries_it_and_old_ones_load_as_shared() -> None:
    found = isolation_of(_Machine(), IMAGES, gpu=False, note=lambda text: None)
    record = manifest("new", seeds=(0,), steps=1, isolation_of=found)
    again = Manifest.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.isolation_word == "own trees"
    old = manifest("old", seeds=(0,), steps=1).model_dump(mode="json")
    del old["isolation_of"]
    assert Manifest.model_validate_json(json.dumps(old)).isolation_word == "shared"


def test_a_run_does_not_go_on_with_less(tmp_path: Path) -> None:
    trees: dict[Role, Isolation] = {"agent": Isolation("own trees", "tried")}
    record = manifest("a", seeds=(0,), steps=1, isolation_of=trees)
    folder = write_run(tmp_path, record)
    require_no_weaker(folder, record, trees)
    require_no_weaker(folder, record, {"agent": Isolation("own kernel", "runsc")})
    with pytest.raises(RunStateError, match=r"had isolation 'own trees' .* they have 'shared' \(no EROFS\)"):
        require_no_weaker(folder, record, {"agent": Isolation("shared", "no EROFS")})


def test_words_are_ordered_and_runtimes_known_by_name() -> None:
    assert [is_weaker(word, "own trees") for word in BEST_FIRST] == [False, False, True, True]
    assert brings_kernel("runsc")
    assert brings_kernel("kata-qemu")
    assert not brings_kernel("runc")
    assert not brings_kernel("nvidia")


def test_a_run_does_not_go_on_where_another_wall_is_missing(tmp_path: Path) -> None:
    record = manifest("a", seeds=(0,), steps=1, missing_walls=("memory",))
    folder = write_run(tmp_path, record)
    without_memory = [ProbeCheck("memory", False, "allowed", "killed"), ProbeCheck("processes", True, "", "")]
    require_no_wall_lost(folder, record, without_memory)
    require_no_wall_lost(folder, record, [])
    lost = [*without_memory[:1], ProbeCheck("processes", False, "allowed at 128", "EAGAIN below 32")]
    with pytest.raises(RunStateError, match=r"stood when it began \(processes: processes: seen allowed at 128"):
        require_no_wall_lost(folder, record, lost)


def test_the_manifest_keeps_missing_walls_and_old_ones_lack_none() -> None:
    record = manifest("new", seeds=(0,), steps=1, missing_walls=("processes", "memory"))
    again = Manifest.model_validate_json(record.model_dump_json())
    assert (again.missing_walls, again.isolation_told) == (("processes", "memory"), "shared, without processes, memory")
    old = manifest("old", seeds=(0,), steps=1).model_dump(mode="json")
    del old["missing_walls"]
    assert Manifest.model_validate_json(json.dumps(old)).isolation_told == "shared"
