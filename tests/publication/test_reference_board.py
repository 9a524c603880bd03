"""`make reference`: a board is made again from the packs that lie beside it, and one changed byte of either fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aira_bench.boards.board import Table, build_tables
from aira_bench.boards.rows import RowStanding
from aira_bench.keys import KeyRing, parse_public
from aira_bench.packs.merging import merge
from aira_bench.packs.submitting import pack_runs
from aira_bench.paths import HostPaths
from aira_bench.record.folder import list_runs
from aira_bench.suites.suite_file import read_suite
from bench.test_statistics_benches import load
from publication.published import KEY, make_place
from publication.reference_table import README, reference_table, with_table

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


def test_the_committed_board_is_made_again_from_its_packs(tmp_path: Path) -> None:
    assert made(ROOT / "results" / "reference", tmp_path) == 0


def test_the_readme_opens_with_the_committed_board() -> None:
    readme = README.read_text()
    assert reference_table() in readme
    assert readme.index(reference_table()) < 2000
    assert with_table(readme, reference_table()) == readme


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The one table of the committed packs."""
    runs, folder = tmp_path_factory.mktemp("committed"), ROOT / "results" / "reference"
    ring = KeyRing(trusted=frozenset({parse_public((folder / "signed-by").read_text().strip())}))
    for pack in sorted(folder.glob("*.tar.gz")):
        merge(pack, runs, ring)
    (table,) = build_tables(list_runs(runs), ring)
    return table


def test_the_committed_runs_are_those_of_the_suite_whole_and_confirmed(committed: Table) -> None:
    cells = {cell.request.agent: cell for cell in read_suite(str(ROOT / "results" / "reference" / "suite.toml")).cells}
    assert {row.entry.agent for row in committed.rows} == set(cells)
    for row in committed.rows:
        cell = cells[row.entry.agent]
        assert row.standing is RowStanding.CONFIRMED
        assert sorted(each.seed for each in row.results) == sorted(cell.request.seeds or ())
        assert {each.steps for each in row.results} == {cell.request.steps}
        assert all(len(each.trainings) == each.trainings_wanted >= 3 for each in row.results)


def test_random_under_ten_names_is_ordered_nowhere_and_two_noise_floors_are_found(committed: Table) -> None:
    """Its confirmed seeds, drawn anew a hundred times, in families of 45 pairs at 5 %: docs/statistics.md."""
    seeds = len(next(row for row in committed.rows if row.entry.agent == "random").results)
    wrong, found = load("placebo").on_board(committed, "random", 10, seeds, 100, np.random.default_rng(seeds))
    assert wrong <= 5
    assert found >= 95
