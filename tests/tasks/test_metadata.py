"""Metadata of upstream folders with their published quirks, of our own, and broken ones."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.errors import TaskError, UsageError
from aira_bench.requirement import read_requirement
from aira_bench.tasks.metadata import read_metadata
from aira_bench.tasks.task import Task, find_task, load_task, shipped_tasks

FOLDER = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"


def upstream() -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / "metadata.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def write(folder: Path, values: object) -> Path:
    path = folder / "metadata.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_an_upstream_folder_loads_without_a_block_of_ours() -> None:
    task = load_task(FOLDER)
    assert task.metadata.logging_info.shape == (200,)
    assert task.metadata.prepare_code_python_requirements == ("numpy",), "a list that lost its space"
    assert not task.metadata.aira.hidden_validation
    assert task.profile("cpu").steps == 8
    assert task.profile("paper").prepare_timeout_s == 14400


def test_a_profile_says_what_its_containers_may_hold_and_an_upstream_folder_has_what_loaders_and_cuda_need(
    tmp_path: Path,
) -> None:
    values = upstream()
    limits = read_metadata(write(tmp_path, values)).aira.profiles["paper"].limits()
    assert limits.shm_mib >= 2 * 8 * 39, "eight workers of a DataLoader, each two batches of 38.5 MiB ahead"
    assert limits.tmp_mib >= 1024
    assert limits.pids >= 64 * (64 + 6), "a process a core that has a thread a core, and what belongs to it"
    values["aira"] = {"profiles": {"cpu": {"shm_mib": 4096, "tmp_mib": 2048, "pids": 128}}}
    limits = read_metadata(write(tmp_path, values)).aira.profiles["cpu"].limits((1, 2), "GPU-1")
    assert (limits.shm_mib, limits.tmp_mib, limits.pids) == (4096, 2048, 128)
    assert (limits.cpus, limits.gpu_uuid) == ((1, 2), "GPU-1")
    for name, value in (("shm_mib", 0), ("tmp_mib", -1), ("pids", 1), ("pids", 1 << 21), ("shm", 64)):
        values["aira"] = {"profiles": {"cpu": {name: value}}}
        with pytest.raises(TaskError, match=name):
            read_metadata(write(tmp_path, values))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("(4906,)", (4906,)), ("(10000,1)", (10000, 1)), ("300,1", (300, 1)), ([5000, 5], (5000, 5)), (7, (7,))],
)
def test_shapes_are_read_in_every_published_spelling(tmp_path: Path, shape: object, expected: tuple[int, ...]) -> None:
    values = upstream()
    values["logging_info"]["shape"] = shape
    assert read_metadata(write(tmp_path, values)).logging_info.shape == expected


def test_the_other_published_variations_are_read(tmp_path: Path) -> None:
    values = upstream()
    values["logging_info"] |= {
        "scoring_column": ["label_target"], "config": ["a", "b"], "additional_metrics": "MAPE, MAE",
        "estimated_worst_score": 502962963078372,
    }  # fmt: skip
    del values["logging_info"]["output_type"]
    values["prepare_code_python_requirements"] = ["pyext"]
    info = read_metadata(write(tmp_path, values)).logging_info
    assert info.scoring_column == ("label_target",)
    assert info.config == ("a", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric_lower_is_better": "yes"}, "metric_lower_is_better"),
        ({"unknown_key": 1}, "unknown_key"),
        ({"file_export_globs": ["model.py"]}, "submission.csv"),
        ({"aira": {"steps": 5}}, "aira.steps"),
        ({"aira": {"hidden_validation": True}}, "needs report"),
        ({"aira": {"profiles": {"cpu": {"steps": 0}}}}, "greater than 0"),
        ({"aira": {"profiles": {"cpu": {"prepare_timeout_s": 0}}}}, "prepare_timeout_s.*greater than 0"),
        ({"aira": {"profiles": {"cpu": {"prepare_timeout": 60}}}}, "prepare_timeout: Extra inputs"),
        ({"aira": {"artifact": {"name": "../x"}}}, "artifact.name"),
        ({"logging_info": {}}, "logging_info.name"),
    ],
)
def test_broken_metadata_is_one_line_that_names_the_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, upstream() | change)
    with pytest.raises(TaskError, match=message) as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\x00"])
def test_what_is_no_mapping_is_an_error_of_the_task(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(TaskError):
        read_metadata(tmp_path / "metadata.yaml")


keys = st.sampled_from(["metric_lower_is_better", "file_export_globs", "logging_info", "aira"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(key=keys, value=values)
@settings(max_examples=100, deadline=None)
def test_no_value_of_any_key_gets_past_the_schema_as_a_crash(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = write(tmp_path_factory.mktemp("task"), upstream() | {key: value})
    with contextlib.suppress(TaskError):
        read_metadata(path)


def test_a_script_needs_an_outside_clock_in_every_profile(tmp_path: Path) -> None:
    values = upstream()
    values["file_export_globs"] = ["train.py"]
    clock = {"budget_s": 25, "start_up_s": 20, "handover_mib": 256}
    values["aira"] = {
        "artifact": {"name": "train.py", "kind": "script"},
        "profiles": {"paper": {"fit": clock}, "cpu": {}},
    }
    with pytest.raises(TaskError, match=r"profiles\.cpu\.fit: .* needs budget_s and start_up_s"):
        read_metadata(write(tmp_path, values))
    values["aira"]["profiles"]["cpu"] = {"fit": clock}
    fit = read_metadata(write(tmp_path, values)).aira.profiles["cpu"].fit
    assert fit is not None
    assert (fit.budget_s, fit.start_up_s, fit.handover_mib) == (25, 20, 256)


def test_an_evaluation_is_no_shorter_than_the_clocks_that_its_script_is_told_of(tmp_path: Path) -> None:
    values = upstream()
    values["file_export_globs"] = ["train.py"]
    profile = {"fit": {"budget_s": 25, "start_up_s": 20, "serving_s": 60}, "evaluation_timeout_s": 105}
    values["aira"] = {"artifact": {"name": "train.py", "kind": "script"}, "profiles": {"cpu": profile}}
    assert read_metadata(write(tmp_path, values)).aira.profiles["cpu"].evaluation_timeout_s == 105
    profile["evaluation_timeout_s"] = 104
    with pytest.raises(TaskError, match=r"profiles\.cpu: .*evaluation_timeout_s: 104 is less than .* together, 105"):
        read_metadata(write(tmp_path, values))


def test_every_shipped_task_loads_and_is_found_by_alias_and_name() -> None:
    tasks = shipped_tasks()
    assert {"mad-2p", "mad-3p"} <= {task.title for task in tasks}
    for task in tasks:
        assert find_task(task.title).sha256 == find_task(task.name).sha256 == task.sha256


def test_an_unknown_task_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="mad-2p"):
        find_task("mad2p")


def test_any_change_of_a_file_changes_the_hash(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER.name
    folder.mkdir()
    for path in FOLDER.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    before = load_task(folder).sha256
    assert before == load_task(FOLDER).sha256
    (folder / "evaluate.py").write_text((folder / "evaluate.py").read_text() + "\n")
    assert load_task(folder).sha256 != before


@pytest.mark.parametrize("task", shipped_tasks(), ids=lambda task: task.title)
def test_descriptions_tell_agents_the_size_that_is_enforced(task: Task) -> None:
    told = re.findall(r"at most (\d+) KiB", task.description)
    assert set(told) <= {str(task.metadata.aira.artifact.max_kib)}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("numpy", ("numpy",)), ("-sktime", ("sktime",)), ("- sktime -numpy>=2", ("sktime", "numpy>=2")), ("", ()),
        ([], ()), (["scikit-learn >= 1.4, <2", "jax[cpu]==0.5.*"], ("scikit-learn<2,>=1.4", "jax[cpu]==0.5.*")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["container", "evaluate_container", "prepare_code"])
def test_packages_are_read_in_every_published_spelling(
    tmp_path: Path, key: str, written: object, read: tuple[str, ...]
) -> None:
    name = f"{key}_python_requirements"
    assert getattr(read_metadata(write(tmp_path, upstream() | {name: written})), name) == read


@pytest.mark.parametrize(
    "asked",
    [
        "--index-url=http://evil.example/simple", "-r /etc/passwd", "-e .", "./local.whl", "../up", "/abs/pkg.whl",
        "torch @ https://evil.example/torch.whl", "git+https://evil.example/x.git", "numpy; rm -rf /", "numpy && id",
        "$(id)", "`id`", "numpy\n--pre", "numpy --pre", "numpy==1.0 --hash=sha256:00", "--pre", "nu mpy", "n\x00umpy",
        "numpy; python_version < '3'", "numpy>=two", "numpy==", "", "nümpy", "a" * 201, "file:///etc/passwd", "-sktime",
    ],
)  # fmt: skip
def test_nothing_but_names_and_versions_passes_for_a_package(tmp_path: Path, asked: str) -> None:
    values = upstream() | {"evaluate_container_python_requirements": ["numpy", asked]}
    with pytest.raises(TaskError, match=r"evaluate_container_python_requirements\.1: ") as caught:
        read_metadata(write(tmp_path, values))
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_becomes_an_option_or_a_path(text: str) -> None:
    with contextlib.suppress(ValueError):
        spelt = str(read_requirement(text))
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?[A-Za-z0-9.*+!<>=~,]*", spelt), spelt


@pytest.mark.parametrize("text", ["[" * 2000 + "]" * 2000, "{a: " * 2000, "- " * 2000, "? " * 2000])
def test_thousands_of_brackets_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metadata.yaml"
    path.write_text(f"x: {text}" if text[0] in "[{" else text)
    with pytest.raises(TaskError, match=r"is not YAML as task folders use it: line 1: nested deeper than 16 levels"):
        read_metadata(path)


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, upstream())
    path.write_text(path.read_text() + "metric_lower_is_better: true\n")
    with pytest.raises(TaskError, match="the key 'metric_lower_is_better' stands twice"):
        read_metadata(path)


@pytest.mark.parametrize("key", ["config", "scoring_column", "file_export_globs"])
def test_an_empty_list_is_named_where_something_is_needed(tmp_path: Path, key: str) -> None:
    values = upstream()
    (values if key in values else values["logging_info"])[key] = []
    with pytest.raises(TaskError, match=rf"{key}: .*at least 1 item.*\(seen: '\[\]'\)"):
        read_metadata(write(tmp_path, values))


def test_what_is_wrong_with_the_whole_is_told_without_showing_the_whole(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"\(set aira\.artifact\.name\)\.$"):
        read_metadata(write(tmp_path, upstream() | {"file_export_globs": ["other.csv"]}))
