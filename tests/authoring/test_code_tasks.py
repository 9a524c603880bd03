"""Checking tasks whose submission is code: it goes through a fit container before `evaluate.py` sees anything of it."""

from pathlib import Path

import pytest
from broken_folders import Break, both, delete, replace, working_folder, write

from aira_bench.authoring.baseline import find_baselines
from aira_bench.authoring.findings import Finding
from aira_bench.authoring.task_folder import check_files
from aira_bench.authoring.task_run import run_task
from aira_bench.errors import TaskError
from aira_bench.tasks.data_source import DataSource
from aira_bench.tasks.task import load_task
from host_sandbox import host_without_containers

TRACE = "open('module.graphs', 'w').write(open('model.py').read())\n"
"""Stands for tracing: what is left is the text itself."""


def module_folder(root: Path) -> Path:
    """A task that takes a `model.py`, in which the template's predictions stand."""
    folder = working_folder(root)
    both(
        replace("metadata.yaml", "file_export_globs: [submission.csv]", "file_export_globs: [model.py]"),
        replace("metadata.yaml", "{name: submission.csv, kind: csv, max_kib: 64}", "{name: model.py, kind: module, max_kib: 64}"),
        replace("evaluate_prepare.py", "submission.csv", "model.py"),
        replace("baseline_solution.py", "submission.csv", "model.py"),
        replace("project_description.md", "submission.csv", "model.py"),
        replace("evaluate.py", "    args = parser.parse_args()",
                '    parser.add_argument("--programs-file", type=Path)\n    args = parser.parse_args()'),
        write("trace.py", TRACE),
    )(folder)  # fmt: skip
    return folder


def check(folder: Path, place: Path) -> tuple[float, list[str]]:
    host, sandbox, roles = host_without_containers(place)
    task = load_task(folder)
    findings: list[Finding] = []
    check_files(task, findings.append)
    baselines = find_baselines(task, "cpu", None)
    score = run_task(host, task, "cpu", DataSource(), baselines, lambda text: None, findings.append)
    assert not sandbox.containers
    return score, roles


def test_code_is_scored_by_way_of_a_fit_container(tmp_path: Path) -> None:
    score, roles = check(module_folder(tmp_path / "tasks"), tmp_path)
    assert 0.7 < score < 1
    assert roles == ["prepare", "prepare", "agent", "fit", "judge"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (delete("trace.py"), ["trace.py"]),
        (write("trace.py", "raise SystemExit('cannot trace')\n"), ["evaluate.py refused", "cannot trace"]),
        (write("trace.py", "pass\n"), ["evaluate.py refused", "left no graphs"]),
        (
            replace("evaluate.py", "    started_s = time.monotonic()", "    raise RuntimeError('no labels')"),
            ["evaluate.py", "exit status 1", "no labels"],
        ),
        (replace("evaluate.py", '"test": scores["test"],', '"test": 0.25,'), ["evaluate.py", "must be equal"]),
        (write("baseline_solution.py", "open('model.py', 'w').write('x')\n"), ["evaluate.py refused", "header"]),
    ],
    ids=["no trace.py", "trace.py fails", "trace.py leaves nothing", "evaluate.py crashes", "report", "baseline"],
)
def test_a_fault_is_the_folder_s_and_one_line(tmp_path: Path, break_it: Break, said: list[str]) -> None:
    folder = module_folder(tmp_path / "tasks")
    break_it(folder)
    with pytest.raises(TaskError) as caught:
        check(folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in said), str(caught.value)
