"""What is said of scripts before and after they fail: the command that gives a preparation its files, what a profile needs."""

from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.errors import TaskError
from aira_bench.tasks.data_source import DataSource, RawData
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import load_task
from aira_bench.world import SystemWorld
from host_sandbox import host_without_containers

FOLDER = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"


def failure(root: Path, statement: str) -> TaskError:
    """What is said of a folder whose prepare.py is one statement."""
    folder = root / FOLDER.name
    folder.mkdir()
    for path in FOLDER.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "prepare.py").write_text(statement)
    with pytest.raises(TaskError) as caught:
        prepare_task(
            load_task(folder), "cpu", TaskData(root / "store"), source=DataSource(), provide=lambda empty: RawData(()),
            sandbox=host_without_containers(root)[1], image="none", world=SystemWorld(), note=lambda text: None,
        )  # fmt: skip
    return caught.value


@pytest.mark.parametrize(
    "words",
    [
        "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
        "socket.gaierror: [Errno -2] Name or service not known",
        "OSError: [Errno 101] Network is unreachable",
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443)",
        "urllib3.exceptions.MaxRetryError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded",
        "ConnectionError: Couldn't reach the Hub: offline mode is enabled",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
    ],
)
def test_a_script_that_wants_the_network_is_told_how_to_get_its_files(tmp_path: Path, words: str) -> None:
    error = failure(tmp_path, f"raise SystemExit({words!r})")
    assert words[:40] in error.message
    assert error.hint is not None
    assert error.hint.startswith(f"aira-bench prepare {tmp_path / FOLDER.name} --source DIR")


@pytest.mark.parametrize("words", ["ValueError: no split 'train'", "ModuleNotFoundError: No module named 'pyext'", ""])
def test_other_failures_get_no_such_advice(tmp_path: Path, words: str) -> None:
    error = failure(tmp_path, f"raise SystemExit({words!r} or 3)")
    assert error.hint is None
    assert (words or "no message") in error.message


@pytest.mark.parametrize("task", ["AutoregressiveLanguageModellingAutoresearchBPB",
                                  "AutoregressiveLanguageModellingWithLiteratureAutoresearchBPB"])  # fmt: skip
def test_what_public_scripts_need_in_each_profile_is_said(task: str) -> None:
    """They run unchanged where there is a GPU alone."""
    text = " ".join((bundled_folder("tasks") / task / "project_description.md").read_text(encoding="utf-8").split())
    assert text.count("unchanged") == text.count("unchanged on a GPU") == 1
    needed = text.partition("unchanged on a GPU")[2][:300]
    assert all(word in needed for word in ("profile `cpu`", "no line may call CUDA", "under 2 s"))
