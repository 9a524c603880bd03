"""Which scores may be compared: one answer for the score cache, boards and votes over architectures."""

from pathlib import Path
from typing import Any

import pytest

from aira_bench.boards.board import build_tables, tables_of
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.verdict import Scored
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.conditions import comparable_with, conditions_of
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import JournalFile, SeedEnded, StepEnded, StepStarted
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Node
from aira_bench.record.run_record import read_run
from aira_bench.record.scores import TrustedScore
from aira_bench.scaling.run_scores import collect_scores
from generated_runs import manifest, write_run

DATA = {"public": {"sha256": "e" * 64, "bytes": 1}, "hidden": {"sha256": "b" * 64, "bytes": 1}}
ELSEWHERE: dict[str, dict[str, Any]] = {
    "other task": {"task_sha256": "d" * 64},
    "other public data": {"data": {**DATA, "public": {"sha256": "f" * 64, "bytes": 1}}},
    "other hidden data": {"data": {**DATA, "hidden": {"sha256": "f" * 64, "bytes": 1}}},
    "other judge": {"images": {"agent": "agent:1", "evaluator": "evaluator:2"}},
    "other hardware": {"hardware_class": "another processor"},
}
"""Each changes one thing that a score depends on."""
ALIKE: dict[str, dict[str, Any]] = {
    "other agent's image": {"images": {"agent": "agent:2", "evaluator": "evaluator:1"}},
    "other machine of the class": {"host": "another", "hardware": {"cores": 2}},
    "other time": {"created": "2026-02-02T00:00:00+00:00"},
    "other packages": {"packages": {"pydantic": "3"}, "python": "3.12"},
    "other revision": {"source_revision": "0" * 40, "aira_bench": "1"},
}


def made(name: str, changes: dict[str, Any], **plan: object) -> Manifest:
    record = manifest(name, seeds=(0,), steps=1, **{"data": DATA, **changes})
    return record.model_copy(update={"plan": record.plan.model_copy(update=plan)})


def searched(runs: Path, record: Manifest) -> RunFolder:
    """A run of one scored architecture, as versions up to 0.1 wrote it."""
    folder = write_run(runs, record.model_copy(update={"plan": record.plan.model_copy(update={"seeds": ()})}))
    (folder.path / "manifest.json").write_text(record.model_dump_json())
    (folder.seed(0).path / "hidden").mkdir(parents=True)
    folder.seed(0).scores.append(TrustedScore(1, 0.5, 0.4, "1", record.images["evaluator"], 1.0))
    journal = JournalFile(folder.seed(0).journal)
    node = Node(1, "draft", (), "valid", "", 0.4, None, "c" * 64, None, canonical="mA,M")
    for event in (StepStarted(1, "t"), StepEnded(node, "t"), SeedEnded("steps", 1, "t")):
        journal.append(event)
    journal.close()
    return folder


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=list(ELSEWHERE))
def test_scores_made_under_other_conditions_meet_nowhere(tmp_path: Path, changes: dict[str, Any]) -> None:
    records = [made("here", {}), made("there", changes)]
    assert comparable_with(records[0]) != comparable_with(records[1])
    here, there = map(conditions_of, records)
    assert here != there
    caches = [ScoreCache(tmp_path / "cache", each.key, MachineKey(b"k" * 32)) for each in (here, there)]
    caches[0].put("mA,M", Scored(0.5, 0.4, "mA,M", "1", 2.0))
    assert caches[0].get("mA,M") is not None
    assert caches[1].get("mA,M") is None
    runs = [read_run(searched(tmp_path / "runs", record), KeyRing()) for record in records]
    assert len(tables_of(runs, KeyRing())) == 2
    assert len({scored.dataset for scored in collect_scores(runs)}) == 2


@pytest.mark.parametrize(("field", "value"), [("profile", "paper"), ("seed_set", "final")])
def test_what_is_planned_of_the_judging_is_a_condition(field: str, value: str) -> None:
    assert comparable_with(made("here", {})) != comparable_with(made("there", {}, **{field: value}))


@pytest.mark.parametrize("changes", ALIKE.values(), ids=list(ALIKE))
def test_what_no_score_depends_on_is_no_condition(tmp_path: Path, changes: dict[str, Any]) -> None:
    records = [made("here", {}), made("there", changes)]
    assert comparable_with(records[0]) == comparable_with(records[1])
    runs = [read_run(searched(tmp_path, record), KeyRing()) for record in records]
    assert len(tables_of(runs, KeyRing())) == 1
    assert len({scored.dataset for scored in collect_scores(runs)}) == 1


@pytest.mark.parametrize(
    "plan", [{"agent": "random"}, {"scaffold": "mcts"}, {"fitness": "claimed"}, {"steps": 9}, {"hours": 2.0}]
)
def test_who_searched_and_how_is_no_condition(plan: dict[str, object]) -> None:
    assert comparable_with(made("here", {})) == comparable_with(made("there", {}, **plan))


def test_every_condition_is_part_of_the_key() -> None:
    conditions = conditions_of(made("here", {}))
    assert conditions.key == (
        "a" * 64, "e" * 64, "b" * 64, "cpu", "search", "evaluator:1", "test processor",
    )  # fmt: skip


@pytest.mark.parametrize("data", [{"hidden": {"sha256": "b" * 64}}, {**DATA, "public": "gone"}, {**DATA, "public": {}}])
def test_a_manifest_that_does_not_name_its_public_data_compares_with_its_like(data: dict[str, Any]) -> None:
    assert conditions_of(made("here", {"data": data})).public_sha256 == ""


def test_a_manifest_that_lies_about_its_task_has_a_table_of_its_own(tmp_path: Path) -> None:
    """A stranger's run may claim the hash of a task and call it something else: it renames no honest table."""
    honest = searched(tmp_path, made("honest", {}))
    liar = searched(tmp_path, made("liar", {"metric": "BestMetric", "lower_is_better": True, "task_title": "aaa"}))
    tables = build_tables([liar, honest])
    assert [(table.section.task, len(table.rows)) for table in tables] == [("aaa", 1), ("mad-2p", 1)]


DECLARED = {"evaluator": "module", "version": 3, "flavour": "cpu", "libraries": 1, "search": 1, "shipped": True}
OF_SHIPPED: dict[str, dict[str, Any]] = {
    "another image of the judge": {"images": {"agent": "agent:2", "evaluator": "evaluator:2"}},
    "a comment in the task's folder": {"task_sha256": "d" * 64},
    "data made anew, with references trained anew": {"data": {**DATA, "hidden": {"sha256": "f" * 64, "bytes": 1}}},
}
"""What tells nothing apart where the product declared that it compares."""


@pytest.mark.parametrize("changes", OF_SHIPPED.values(), ids=list(OF_SHIPPED))
def test_what_was_declared_to_compare_shares_a_table_and_no_cached_score(changes: dict[str, Any]) -> None:
    here, there = made("here", {"compatibility": DECLARED}), made("there", {"compatibility": DECLARED, **changes})
    assert comparable_with(here) == comparable_with(there)
    if "task_sha256" not in changes or "data" in changes:
        assert conditions_of(here) != conditions_of(there)
    folder = {**DECLARED, "shipped": False}
    of_folder = [made(name, {"compatibility": folder, **each}) for name, each in (("here", {}), ("there", changes))]
    same = {comparable_with(each) for each in of_folder}
    assert len(same) == (1 if "images" in changes else 2), "nobody declared anything for a folder of somebody else's"


@pytest.mark.parametrize(
    "declared", [{"version": 4}, {"libraries": 2}, {"flavour": "cuda"}, {"evaluator": "script"}], ids=str
)
def test_another_declared_number_is_another_table(declared: dict[str, Any]) -> None:
    here = made("here", {"compatibility": DECLARED})
    assert comparable_with(here) != comparable_with(made("there", {"compatibility": {**DECLARED, **declared}}))
    assert comparable_with(here) != comparable_with(made("old", {}))


def test_other_public_files_and_other_hidden_keys_are_other_tables() -> None:
    key = "c" * 64
    data = [{**DATA, "hidden_key": None}, {**DATA, "hidden_key": key}, {**DATA, "hidden_key": "d" * 64},
            {**DATA, "files": {"a.gz": {"sha256": "0"}}}, {**DATA, "synthetic": True}]  # fmt: skip
    found = [comparable_with(made("here", {"compatibility": DECLARED, "data": each})) for each in data]
    assert len(set(found)) == len(data)
    assert [each.hidden_key for each in found] == ["public seeds", key, "d" * 64, "public seeds", "public seeds"]
    assert comparable_with(made("folder", {"data": DATA}, task="/a/folder")).hidden_key == "", "nobody knows"
    assert comparable_with(made("folder", {"data": {**DATA, "hidden_key": ""}})).hidden_key == ""
