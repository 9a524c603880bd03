"""Public data through real containers: downloaded, taken from a folder, generated; and a text task from end to end."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli.freezing import check_shape
from file_server import FileServer, serve
from place import Place

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
PARITY = Path(__file__).parent / "folders" / "ParityClassificationAccuracy"
TEXT = b"public text\n"
PREPARE = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
for name in ("global-shared-data-dir", "agent-data-mount-dir", "agent-log-dir"):
    parser.add_argument("--" + name, type=pathlib.Path)
options = parser.parse_args()
source = os.environ["AIRA_DATA_SOURCE"]
raw = options.global_shared_data_dir
text = (raw / "a.txt").read_text() if source == "public" else "made up\\n"
assert source == "public" or not list(raw.iterdir())
(options.agent_data_mount_dir / "text.txt").write_text(source + ": " + text)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home", tmp_path / "runs")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(TEXT, tricks=["break off"])) as state:
        yield state


def text_folder(root: Path, url: str) -> Path:
    """A task of ours whose data is one public file."""
    folder = root / "task" / PARITY.name
    folder.mkdir(parents=True)
    for name in ("project_description.md", "evaluate.py"):
        (folder / name).write_bytes((PARITY / name).read_bytes())
    for name in ("prepare.py", "evaluate_prepare.py"):
        (folder / name).write_text(PREPARE)
    aira = {"report": True, "sources": [{"name": "a.txt", "url": url}], "synthetic": True}
    values = yaml.safe_load((PARITY / "metadata.yaml").read_text()) | {"aira": aira}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_data_is_made_from_a_download_a_folder_or_nothing(place: Place, server: FileServer, tmp_path: Path) -> None:
    folder, mine = str(text_folder(tmp_path, server.url)), tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o755)
    (mine / "a.txt").write_bytes(b"my text\n")
    made, printed = {}, []
    for source in ((), ("--source", str(mine)), ("--source", "synthetic"), ()):
        printed.append(place.call("prepare", folder, "--profile", "cpu", *source, "--json").stdout)
        made[source] = json.loads(printed[-1])
    check_shape("prepare", *printed, exact=False)
    texts = {source: (Path(entry["path"]) / "text.txt").read_text() for source, entry in made.items()}
    assert texts == {
        (): "public: public text\n",
        ("--source", str(mine)): "public: my text\n",
        ("--source", "synthetic"): "synthetic: made up\n",
    }
    assert [entry["synthetic"] for entry in made.values()] == [False, False, True]
    assert made[()]["files"]["a.txt"]["bytes"] == len(TEXT)
    assert len(server.requests) == 2, "broken off once, gone on once, never fetched again"


def test_what_cannot_be_had_leaves_nothing_behind(place: Place, server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["error 404"]
    failed = place.call("prepare", str(text_folder(tmp_path, server.url)), "--profile", "cpu", status=3)
    last = failed.stderr.splitlines()[-1]
    assert "a.txt cannot be had" in last
    assert "--source DIR" in last
    assert not list((place.home / "tasks").rglob("*.json"))
    assert not [path for path in (place.home / "tasks").rglob("*") if path.is_file()]


def test_a_script_that_takes_too_long_is_killed_and_the_message_names_the_key(place: Place, tmp_path: Path) -> None:
    folder = text_folder(tmp_path, "http://127.0.0.1:9/never-asked")
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    metadata["aira"]["profiles"] = {"cpu": {"prepare_timeout_s": 1.5}}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    (folder / "prepare.py").write_text("import time\ntime.sleep(600)\n")
    failed = place.call("prepare", str(folder), "--profile", "cpu", "--source", "synthetic", status=4)
    (last,) = failed.stderr.splitlines()[-1:]
    assert f"{PARITY.name}/prepare.py did not end within 1.5 s" in last
    assert "aira.profiles.cpu.prepare_timeout_s" in last
    assert not [path for path in (place.home / "tasks").rglob("*") if path.is_file()]


def test_a_text_task_runs_on_its_stand_in_and_says_so(place: Place) -> None:
    answer = json.loads(
        place.call("run", "--agent", "baseline", "--task", "babistories-2p", "--profile", "cpu", "--source", "synthetic",
                   "--name", "stories", "--json").stdout
    )  # fmt: skip
    (row,) = answer["board"]
    assert (row["metric"], row["lower_is_better"], row["synthetic"]) == ("Loss", True, True)
    assert 1.0 < row["test_mean"] < 2.0
    manifest = place.run("stories").manifest
    assert manifest.synthetic
    assert manifest.plan.source == "synthetic"
    (score,) = place.run("stories").seed(0).scores.read().values()
    assert score.synthetic
    (listed,) = json.loads(place.call("status", "--json").stdout)
    assert listed["synthetic"]
    assert "SYNTHETIC DATA" in place.call("leaderboard").stdout
    voted = place.call("aggregate", "stories", "--top", "1", "--json")
    assert "SYNTHETIC" in voted.stderr
    assert json.loads(voted.stdout)["patterns"][0]["pattern"] == "8(A-M)"
