"""`aira-bench check` in real containers: what processes of this machine cannot show."""

import json
from pathlib import Path

import pytest
from broken_folders import BY_RUNNING, Break, replace, working_folder

from place import Place

pytestmark = pytest.mark.docker
MAIN = "    main(args.agent_data_mount_dir)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("check")
    return Place(root / "home", root / "runs")


def test_the_template_passes_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    answer = json.loads(place.call("check", str(working_folder(tmp_path)), "--json").stdout)
    assert 0.7 < answer["score"] < 1
    assert [finding["check"] for finding in answer["findings"] if finding["is_remark"]] == ["metadata.yaml"]
    assert not list((place.home / "checks").iterdir())
    assert not (place.home / "tasks").exists(), "a check prepares nothing for runs"


FAULTS: dict[str, tuple[Break, list[str]]] = {
    "the network": (
        replace("prepare.py", MAIN, "    import urllib.request\n    urllib.request.urlopen('https://example.org/x')"),
        ["prepare.py failed", "name resolution", "--source DIR", "no network"],
    ),
    "a folder of the image": (
        replace("prepare.py", MAIN, f"{MAIN}\n    open('/usr/cache.txt', 'w')"), ["prepare.py failed", "Read-only"]
    ),
    "the raw data": (
        replace("prepare.py", MAIN, f"{MAIN}\n    open(args.global_shared_data_dir / 'x', 'w')"),
        ["prepare.py failed", "Read-only"],
    ),
    "labels in a solution": (
        replace("baseline_solution.py", "import csv\n", "import csv\nopen('/hidden/test_with_labels.csv')\n"),
        ["baseline_solution.py left no submission", "No such file"],
    ),
    "a script that never ends": (BY_RUNNING["prepare.py hangs"].break_it, ["did not end within 0.5 s"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_container_does_not_allow_is_one_line(place: Place, tmp_path: Path, name: str) -> None:
    folder = working_folder(tmp_path)
    break_it, said = FAULTS[name]
    break_it(folder)
    shown = place.call("check", str(folder), "--timeout", "60", status=4).stderr.splitlines()
    assert all(part in shown[-1] for part in said), shown[-1]
    assert not [line for line in shown if "Traceback" in line]
    assert not list((place.home / "checks").iterdir())
