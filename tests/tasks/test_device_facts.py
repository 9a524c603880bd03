"""What descriptions say of GPUs was measured, or they say that it was not."""

import re
from pathlib import Path

import pytest

from aira_bench.tasks.task import Task, shipped_tasks

PERFORMANCE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"\b\d[\d,]*(?:\.\d+)? (?:s|GiB|steps/s)\b")
TASKS = [task for task in shipped_tasks() if "paper" in task.metadata.aira.profiles]


def said_of_gpus(task: Task) -> str:
    """The paragraphs of a description that name a GPU."""
    paragraphs = " ".join(task.description.split("\n")).split("  ")
    return " ".join(paragraph for paragraph in paragraphs if re.search("GPU|H200", paragraph))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_each_task_says_what_fits_a_gpu_or_that_nobody_measured_it(task: Task) -> None:
    said = said_of_gpus(task)
    assert "H200" in said or "not measured" in said
    assert "atch" in said or "DEVICE_BATCH_SIZE" in said or "not measured" in said


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_figures_of_an_h200_are_those_of_the_page_on_performance(task: Task) -> None:
    sentences = re.findall(r"[^:]*H200[^:]*", said_of_gpus(task))
    rounded = {"46 s": "45.9 (bar", "2.2 GiB": "2.2 GiB", "58 s": "24 s for data and trace, 34 s"}
    for figure in (found for sentence in sentences for found in FIGURE.findall(sentence)):
        assert rounded.get(figure, figure) in PERFORMANCE, figure


@pytest.mark.parametrize("name", ["mad-2p", "mad-3p"])
def test_mad_says_seconds_on_a_gpu(name: str) -> None:
    (task,) = (task for task in TASKS if task.title == name)
    said = " ".join(task.description.split())
    assert "takes seconds (profile `cpu`), seconds on a GPU (`paper`)" in said
    assert "hours (`paper`)" not in said
