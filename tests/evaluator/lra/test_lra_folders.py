"""The six task folders agree with the evaluator: numbers told to agents, what is published, what is downloaded."""

from pathlib import Path

import pytest

from aira_bench.record.normalized import CORRECTED, PUBLISHED, anchors_of, normalized
from aira_bench.tasks.task import Task, shipped_tasks
from aira_contract.files import MODULE_FILE
from aira_evaluator.lra.contract.hyperparameters import CONSTANTS
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.submission import CONTRACTS, MAX_PARAMETERS, MAX_SOURCE_BYTES, TaskName
from aira_evaluator.lra.prepare import aan, imdb

TASKS = [task for task in shipped_tasks() if task.name.startswith("LongContext")]
SOTA = {"text": 0.9053, "listops": 0.6379, "retrieval": 0.8176}


def task_name(task: Task) -> TaskName:
    return next(name for name in CONTRACTS if task.title.removeprefix("lra-").startswith(name))


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def spelled(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def test_there_are_six() -> None:
    assert {task.title for task in TASKS} == {f"lra-{name}{kind}" for name in CONTRACTS for kind in ("", "-conf")}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_a_description_tells_the_numbers_of_both_profiles(task: Task) -> None:
    name = task_name(task)
    paper, cpu = PROFILES["paper", name], PROFILES["cpu", name]
    table = {tuple(row) for row in rows(task.description)}
    for constant in CONSTANTS:
        defaults = [spelled(getattr(profile.defaults, constant.field)) for profile in (paper, cpu)]
        if task.title.endswith("-conf"):
            ranges = [" to ".join(map(spelled, profile.ranges[constant.field])) for profile in (paper, cpu)]
            names = " or ".join(f"`{spelling}`" for spelling in constant.spellings)
            found = [row for row in table if row[0] == names]
            assert [list(row[2:]) for row in found] == [[defaults[0], ranges[0], defaults[1], ranges[1]]], names
        elif constant.field != "random_seed":
            assert any(list(row[1:]) == defaults for row in table), constant.field
    for bound in (paper.max_train_tokens, cpu.max_train_tokens):
        assert (f"{bound:,} tokens" in task.description or f"`cpu`: {bound:,}" in task.description) == (
            task.title.endswith("-conf")
        )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_a_description_tells_the_contract(task: Task) -> None:
    contract, text = CONTRACTS[task_name(task)], " ".join(task.description.split())
    assert f"`class {contract.class_name}(nn.Module)`" in text
    assert f"`vocab_size` ({contract.vocab_size})" in text
    for argument in contract.constructor_arguments(PROFILES["cpu", contract.task].defaults, max_len=8):
        assert f"`{argument}`" in text
    assert ("`num_classes`" in text) == (contract.documents == 1)
    assert f"At most {MAX_PARAMETERS // 10**6} million" in text.replace("at most", "At most")
    assert f"{MAX_SOURCE_BYTES // 1024} KiB of source" in text


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_metadata_names_the_module_its_cap_and_jax(task: Task) -> None:
    aira = task.metadata.aira
    assert (aira.artifact.name, aira.artifact.kind) == (MODULE_FILE, "module")
    assert aira.artifact.max_kib * 1024 == MAX_SOURCE_BYTES
    assert (aira.evaluator, aira.report, aira.hidden_validation) == ("jax", True, True)
    assert "jax" in task.metadata.container_python_requirements


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_scores_are_normalized_by_the_published_best_and_for_retrieval_by_the_corrected_one_too(task: Task) -> None:
    name = task_name(task)
    anchors = anchors_of(task.metadata.logging_info, lower_is_better=task.lower_is_better)
    assert anchors is not None
    assert anchors.sota == {PUBLISHED: SOTA[name], **({CORRECTED: 0.9176} if name == "retrieval" else {})}
    assert normalized(SOTA[name], anchors) == pytest.approx(1)
    assert normalized(1 / CONTRACTS[name].num_classes, anchors) == 0
    if name == "retrieval":
        published, corrected = (normalized(0.7943, anchors, label) for label in (PUBLISHED, CORRECTED))
        assert (round(published or 0, 2), round(corrected or 0, 2)) == (0.88, 0.49)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_sources_are_the_files_the_readers_read(task: Task) -> None:
    aira = task.metadata.aira
    files = {"text": [imdb.ARCHIVE], "retrieval": [aan.ARCHIVE], "listops": []}
    unpacked = {"text": (imdb.FOLDER,), "retrieval": tuple(aan.FILES.values()), "listops": ()}
    name = task_name(task)
    assert [source.name for source in aira.sources] == files[name]
    assert aira.unpacked == unpacked[name]
    assert aira.synthetic == (name != "listops")


def test_both_forms_of_a_task_differ_in_nothing_but_the_constants_and_the_hidden_seeds() -> None:
    for task in TASKS:
        if task.title.endswith("-conf"):
            continue
        other = next(candidate for candidate in TASKS if candidate.title == f"{task.title}-conf")
        for script in ("prepare.py", "evaluate.py", "trace.py"):
            fixed, free = (Path(folder.folder / script).read_text() for folder in (task, other))
            assert fixed.replace("configurable=False", "configurable=True") == free
