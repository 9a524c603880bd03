"""`make reference`: a board is made again from the packs that lie beside it, and one changed byte of either fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.packs.submitting import pack_runs
from aira_bench.paths import HostPaths
from aira_bench.record.folder import list_runs
from aira_bench.suites.suite_file import read_suite
from publication.published import KEY, make_place

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    place = make_place(folder / "machine")
    place.publish()
    shutil.copytree(place.board, folder / "board")
    pack_runs(list_runs(place.runs), HostPaths(place.path / "home", place.runs), folder / "runs.tar.gz", {})
    (folder / "signed-by").write_text(f"ed25519:{KEY.public}\n")
    return folder


def made(folder: Path, tmp_path: Path) -> int:
    """The exit status of make, with what is installed already."""
    if shutil.which("make") is None or not (BIN / "aira-bench").exists():
        pytest.skip("needs make and the installed command")
    command = ["make", "-o", ".venv/installed", "reference", f"REFERENCE={folder}", f"BIN={BIN}"]
    environment = os.environ | {"AIRA_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert not list(tmp_path.glob("tmp.*")), "nothing is left"
    return done.returncode


def test_a_board_is_made_again_and_a_changed_byte_of_board_or_pack_fails(reference: Path, tmp_path: Path) -> None:
    assert made(reference, tmp_path) == 0
    for name in ("board/leaderboard.csv", "runs.tar.gz"):
        kept = (reference / name).read_bytes()
        middle = len(kept) // 2
        (reference / name).write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
        assert made(reference, tmp_path) != 0, name
        (reference / name).write_bytes(kept)


def test_the_reference_suite_is_one() -> None:
    assert read_suite(str(ROOT / "results" / "reference" / "suite.toml")).cells
