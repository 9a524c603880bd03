"""Task folders and command lines of strangers: whatever is in them, one line says what is wrong, before anything is read."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.cli.main import run_command_line
from aira_bench.errors import TaskError
from aira_bench.tasks import folder_check
from aira_bench.tasks.artifact_spec import NAMES_OF_OURS
from aira_bench.tasks.metadata import read_metadata
from aira_bench.tasks.plain_yaml import read_plain_yaml
from aira_bench.tasks.task import load_task
from eventually import stretched
from hostile_text import is_raw

FOLDER = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"
TEXT = (FOLDER / "metadata.yaml").read_text()
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
AIRA = "aira: {{profiles: {{cpu: {{{}}}}}}}\n"
HOSTILE_YAML: dict[str, str | bytes] = {
    "5,000 digits": TEXT + AIRA.format(f"steps: {'9' * 5000}"),
    "5,000 hexadecimal digits": TEXT + AIRA.format(f"steps: 0x{'f' * 5000}"),
    "minutes": TEXT + AIRA.format("hours: 1:30"),
    "infinite hours": TEXT + AIRA.format("hours: .inf"),
    "no hours": TEXT + AIRA.format("hours: .nan"),
    "endless hours": TEXT + AIRA.format("hours: 1.0e+300"),
    "many steps": TEXT + AIRA.format("steps: 999999999"),
    "an impossible date": TEXT.replace("metric_lower", "when: 2020-13-45\nmetric_lower", 1),
    "a date as a name": TEXT.replace("category:", "category: 2020-01-02 #", 1),
    "nesting": TEXT + "aira: " + "[" * 5000,
    "nesting in blocks": TEXT + "aira:\n" + "".join(" " * n + "- \n" for n in range(2, 200)),
    "a billion laughs": LAUGHS + TEXT,
    "aliases that are used": LAUGHS + TEXT.replace("metric_lower", "x: *a29\nmetric_lower", 1),
    "itself": "x: &x [*x]\n" + TEXT,
    "a merge": TEXT + "<<: {metric_lower_is_better: true}\n",
    "a key twice": TEXT + "metric_lower_is_better: true\n",
    "a tag": TEXT + "aira: !!python/object/apply:os.system [id]\n",
    "a binary tag": TEXT + "aira: !!binary 'é'\n",
    "a broken timestamp": TEXT + "aira: !!timestamp x\n",
    "a list as a key": TEXT + "[1, 2]: 3\n",
    "control characters": TEXT + "aira: \x07\n",
    "not UTF-8": TEXT.encode() + b"aira: \xff\xfe\n",
    "UTF-16": TEXT.encode("utf-16"),
    "not a mapping": "- 1\n",
    "nothing": "",
    "100 MB": b"#" * (100 << 20),
    "a shape of powers": TEXT.replace("shape:", "shape: '9**9**9' #", 1),
    "a shape of brackets": TEXT.replace("shape:", f"shape: '{'(' * 5000}' #", 1),
    "a year": TEXT.replace("sota_year:", "sota_year: 999999 #", 1),
    "an infinite score": TEXT.replace("sota_score:", "sota_score: .inf #", 1),
}


def with_metadata(folder: Path, data: str | bytes) -> Path:
    place = folder / FOLDER.name
    shutil.copytree(FOLDER, place)
    (place / "metadata.yaml").write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return place


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_metadata_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place, started_s = with_metadata(tmp_path, HOSTILE_YAML[name]), time.monotonic()
    assert run_command_line(["prepare", str(place)]) == 4
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1, shown.err
    assert "metadata.yaml" in shown.err
    assert len(shown.err) < 3000
    assert not is_raw(shown.err.rstrip("\n"))
    assert shown.out == ""
    assert time.monotonic() - started_s < stretched(5)


@pytest.mark.parametrize("name", [*sorted(NAMES_OF_OURS - {"data", "logs", "task", "hidden"}), "Report.json"])
def test_an_artifact_has_no_name_of_ours(tmp_path: Path, name: str) -> None:
    values = yaml.safe_load(TEXT) | {"file_export_globs": [name], "aira": {"artifact": {"name": name}}}
    with pytest.raises(TaskError, match="is a file of the harness"):
        read_metadata(with_metadata(tmp_path, yaml.safe_dump(values)) / "metadata.yaml")


def test_a_byte_order_mark_and_harmless_aliases_are_read(tmp_path: Path) -> None:
    place = with_metadata(tmp_path, b"\xef\xbb\xbf" + TEXT.encode())
    assert load_task(place).metadata == load_task(FOLDER).metadata
    assert read_plain_yaml("a: &a [1]\nb: *a\n") == {"a": [1], "b": [1]}


@given(st.text(max_size=200) | st.lists(st.sampled_from(list("[]{}&*!:-?|>'\"\n a1<#%@`,")), max_size=60).map("".join))
@settings(max_examples=300)
def test_any_text_is_plain_yaml_or_one_line(text: str) -> None:
    message = "-"
    try:
        read_plain_yaml(text)
    except ValueError as error:
        message = str(error)
    assert message
    assert "\n" not in message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text("abc é\"'#:-", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_yaml_writes_of_plain_values_is_read_back(value: object) -> None:
    assert read_plain_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


# What lies in a folder ------------------------------------------------------------------------------------------------


def link(place: Path) -> None:
    (place / "project_description.md").unlink()
    (place / "project_description.md").symlink_to("/etc/passwd")


def sparse(place: Path) -> None:
    with (place / "weights.bin").open("wb") as file:
        file.truncate(1 << 40)


def own_socket(place: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(place)  # the path of a socket is short
        socket.socket(socket.AF_UNIX).bind("s")
    finally:
        os.fchdir(here)
        os.close(here)


def deep(place: Path) -> None:
    (place / "/".join("d" * folder_check.DEEPEST)).mkdir(parents=True)


def many(place: Path) -> None:
    for number in range(folder_check.MOST_FILES + 1):
        (place / str(number)).touch()


def device(place: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["mknod", place / "zero", "c", "1", "5"], check=False).returncode:
        (place / "zero").symlink_to("/dev/zero")


CONTENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file of the host": (link, "is a link"),
    "a link to a folder": (lambda place: (place / "pwc").symlink_to("/etc"), "is a link"),
    "a link to nothing": (lambda place: (place / "x").symlink_to("absent"), "is a link"),
    "a link to an endless device": (lambda place: (place / "zero").symlink_to("/dev/zero"), "is a link"),
    "a device": (device, "is a (device|link)"),
    "a pipe": (lambda place: os.mkfifo(place / "pipe"), "is a named pipe"),
    "a pipe in place of the metadata": (
        lambda place: ((place / "metadata.yaml").unlink(), os.mkfifo(place / "metadata.yaml")), "is a named pipe"
    ),
    "a socket": (own_socket, "is a socket"),
    "a sparse terabyte": (sparse, "more than 2 GiB"),
    "too many files": (many, "more than 10000 files"),
    "too many levels": (deep, "nested deeper than 16"),
    "a description that is no text": (
        lambda place: (place / "project_description.md").write_bytes(b"\xff\xfe"), "is not UTF-8"
    ),
    "a description without end": (
        lambda place: (place / "project_description.md").write_bytes(b"a" * (1 << 20)), "at most 262,144 are read"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_a_hostile_folder_is_one_line_before_anything_is_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    make, message = CONTENTS[name]
    place = with_metadata(tmp_path, TEXT)
    make(place)
    assert run_command_line(["prepare", str(place)]) == 4
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1, shown
    with pytest.raises(TaskError, match=message):
        load_task(place)
    assert not (tmp_path / "home").exists()


def test_what_is_neither_copied_nor_hashed_may_be_anything(tmp_path: Path) -> None:
    place = with_metadata(tmp_path, TEXT)
    (place / ".git").mkdir()
    (place / ".git" / "link").symlink_to("/etc")
    assert load_task(place).sha256 == load_task(FOLDER).sha256


def test_a_file_name_that_is_no_text_is_hashed_like_any_other(tmp_path: Path) -> None:
    place = with_metadata(tmp_path, TEXT)
    (place / os.fsdecode(b"\xff")).touch()
    assert load_task(place).sha256 != load_task(FOLDER).sha256


# The command line -----------------------------------------------------------------------------------------------------

RUN = ["run", "--agent", "random", "--task", "mad-2p", "--profile", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seeds", "999999999"], "at most 1000"),
        (["--seeds", "9" * 5000], "at most 1000"),
        (["--seeds", "0,99999999999999999999"], "distinct seeds"),
        (["--seeds", "1,1"], "distinct seeds"),
        (["--seeds", "³"], "number of seeds"),
        (["--seeds", ","], "distinct seeds"),
        (["--steps", "1e99"], "number of steps"),
        (["--steps", "99999999999"], "at most 1000000"),
        (["--steps", "-5"], "expected one argument|number of steps"),
        (["--hours", "nan"], "at most 87600"),
        (["--hours", "inf"], "at most 87600"),
        (["--hours", "1e308"], "at most 87600"),
        (["--hours", "1_0"], "at most 87600"),
        (["--hours", "٣"], "at most 87600"),
        (["--step-timeout", "1e300"], "at most 315360000"),
        (["--concurrency", "9" * 400], "whole number above 0"),
        (["--max-cost-usd", "nan"], "above 0"),
        (["--max-tokens", "1e9"], "whole number"),
        (["--source", "x" * 5000], "takes no --source"),
    ],
)
def test_numbers_without_measure_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    expected: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.chdir(tmp_path)
    started_s = time.monotonic()
    try:
        status = run_command_line([*RUN, *arguments])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    shown = capsys.readouterr().err
    assert status == 2, shown
    assert len(shown.splitlines()) == 1
    assert len(shown) < 3000
    assert any(part in shown for part in expected.split("|")), shown
    assert time.monotonic() - started_s < stretched(5)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--agent", "random", "--task", "x/" + "y" * 5000],
        ["run", "--agent", "random", "--task", "y" * 5000],
        ["run", "--agent", "script:" + "y" * 5000, "--task", "mad-2p"],
        ["run", "--agent", "y" * 5000 + ".toml", "--task", "mad-2p"],
        ["run", "--agent", "replay:" + "y" * 5000, "--task", "mad-2p"],
        ["status", "y" * 5000],
        ["status", "--runs", "y" * 5000],
        ["resume", "y" * 5000],
        ["prepare", "babistories-2p", "--source", "y" * 5000],
        ["leaderboard", "--out", "y" * 5000],
        ["aggregate", "--scores", "y" * 5000],
        ["aggregate", "--scores", "/dev/null", "--decay", "1e999999999"],
        ["aggregate", "--scores", "/dev/null", "--top", "9" * 5000],
        ["extrapolate", "9" * 5000 + "M", "--scale", "1B"],
        ["extrapolate", "16M", "--scale", "1e999999999"],
        ["extrapolate", "16M", "--scale", "1B", "--flops", "1e300"],
        ["extrapolate", "16M", "--scale", "1B", "--gpus", "0"],
        ["extrapolate", "16M", "--scale", "1B", "--mfu", "nan"],
        ["extrapolate", "16M", "--scale", "1B", "--picture", "y" * 5000],
    ],
    ids=lambda arguments: " ".join(arguments)[:50],
)
def test_names_and_numbers_without_end_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path))
    started_s = time.monotonic()
    try:
        status = run_command_line(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    shown = capsys.readouterr()
    assert status in {0, 2, 3}
    assert len(shown.err.splitlines()) <= 1
    assert len(shown.err) < 3000
    assert time.monotonic() - started_s < stretched(5)
