"""A published board is made again from its runs; whatever was changed on either side is named."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aira_bench.errors import RunStateError, UsageError
from aira_bench.parquet import parquet_is_possible
from aira_bench.publication.document import BOARD_FILE, document_bytes
from aira_bench.publication.files import PARQUET
from aira_bench.publication.verification import read_board, verify
from aira_bench.record.folder import RunFolder
from generated_runs import copy_seed, manifest, write_run
from publication.published import KEY, STRANGER, Place, changed_byte, make_place

Document = dict[str, Any]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = make_place(tmp_path_factory.mktemp("original"))
    made.publish()
    return made


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    shutil.copytree(original.path, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


def edit(place: Place, change: Callable[[Document], None]) -> None:
    """Change the board's document as somebody would who knows its form."""
    path = place.board / BOARD_FILE
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2) + "\n")


def test_a_board_as_it_was_written_is_what_its_runs_give(place: Place) -> None:
    found = place.verify()
    assert found.differences == ()
    assert found.runs == 4
    assert found.files == len(list(place.board.iterdir())) == 8 + parquet_is_possible()


def test_the_same_runs_give_the_same_bytes_elsewhere(place: Place, tmp_path: Path) -> None:
    """On a machine that has none of the keys, with folders of its own, at another time."""
    elsewhere = Place(tmp_path / "elsewhere")
    shutil.copytree(place.runs, elsewhere.runs)
    shutil.copytree(place.board, elsewhere.board)
    assert place.ring.own
    assert elsewhere.verify(named=[place.ring.own]).differences == ()
    (said, *_) = elsewhere.verify().differences
    assert "a key that this machine does not know" in said
    assert place.ring.own in said


def test_a_changed_score_on_the_board_is_found(place: Place) -> None:
    def change(document: Document) -> None:
        document["sections"][1]["rows"][0]["cells"]["test_mean"] += 0.01

    edit(place, change)
    (said,) = place.verify().differences
    assert ".cells.test_mean: " in said
    assert "(evolution)" in said or "(random)" in said


def test_a_changed_score_in_a_run_is_found(place: Place) -> None:
    scores = RunFolder(place.runs / "random-a").seed(0).scores.path
    text = scores.read_text()
    digit = text.index('"test":0.') + len('"test":0.')
    scores.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    (said,) = place.verify().differences
    assert "random-a" in said
    assert "scores.jsonl" in said


def test_a_removed_node_is_found(place: Place) -> None:
    """Its line in the journal, or its files though the journal has it."""
    seed = RunFolder(place.runs / "random-a").seed(0)
    kept = seed.journal.read_text()
    lines = kept.splitlines(keepends=True)
    seed.journal.write_text("".join(lines[:-2] + lines[-1:]))
    assert "random-a: seed 0: journal.jsonl" in place.verify().differences[0]
    seed.journal.write_text(kept)
    shutil.rmtree(seed.node(2))
    assert "seed 0: step 2" in place.verify().differences[0]
    assert place.verify(depth="records").differences == (), "journals alone cannot know"


def test_a_swapped_manifest_is_found(place: Place) -> None:
    one, other = place.runs / "evolution-a", place.runs / "random-a"
    kept = (one / "manifest.json").read_bytes()
    (one / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    assert place.verify().differences[0].startswith("Run evolution-a: record.jsonl: ")
    forgetful = verify(read_board(place.board), place.runs, replace(place.ring, seen=None))
    assert "manifest.json was changed" in forgetful.differences[0], "without what the machine remembers"
    (one / "manifest.json").write_bytes(kept)
    one.rename(place.runs / "kept")
    other.rename(one)
    (place.runs / "kept").rename(other)
    assert any("run evolution-a.run_id: " in said for said in place.verify().differences), "whole runs changed places"


def test_a_duplicated_seed_is_found(place: Place) -> None:
    """Of the run, of the board, and of a run under another name."""
    kept = place.path / "kept"
    shutil.copytree(place.runs, kept)
    copy_seed(RunFolder(place.runs / "random-a"))
    assert place.verify().differences[0].startswith("Run random-a: seed 1: journal.jsonl: its last link")
    shutil.rmtree(place.runs)
    kept.rename(place.runs)

    def count_twice(document: Document) -> None:
        row = document["sections"][1]["rows"][0]
        row["seeds"].append(row["seeds"][0])

    kept_document = (place.board / BOARD_FILE).read_bytes()
    edit(place, count_twice)
    assert any("rows[0]" in said and "seeds: " in said for said in place.verify().differences)
    (place.board / BOARD_FILE).write_bytes(kept_document)
    shutil.copytree(place.runs / "random-a", place.runs / "random-again")
    edit(place, lambda document: document["runs"].append(dict(document["runs"][2], name="random-again")))
    assert "counts twice" in place.verify().differences[0]


def test_a_foreign_key_is_found(place: Place) -> None:
    """The whole run written anew with better scores by somebody who holds another key, and the board with it."""
    shutil.rmtree(place.runs / "random-a")
    write_run(place.runs, manifest("random-a", seeds=(0, 1), steps=4, agent="random"), key=STRANGER, invalid_share=0.0)
    faked = Place(place.path / "faked")
    shutil.copytree(place.runs, faked.runs)
    faked.publish()
    shutil.rmtree(place.board)
    faked.board.rename(place.board)
    assert "not the one that was written here" in place.verify().differences[0], "this machine remembers"
    forgetful = replace(place.ring, seen=None)
    found = verify(read_board(place.board), place.runs, forgetful)
    (said,) = found.differences
    assert said.startswith("run random-a: it is signed by")
    assert STRANGER.public in said
    assert verify(read_board(place.board), place.runs, forgetful, [STRANGER.public]).differences != found.differences


def test_an_unsigned_run_is_no_evidence(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    write_run(place.runs, manifest("nobodys", seeds=(0,), steps=2))
    place.publish()
    assert any("nobodys: it is unsigned" in said for said in place.verify().differences)


@pytest.mark.parametrize("name", ["leaderboard.csv", "leaderboard.md", "leaderboard.tex", "mad-2p.html", PARQUET])
def test_every_file_of_a_board_is_compared(place: Place, name: str) -> None:
    path = place.board / name
    if name == PARQUET and not parquet_is_possible():
        pytest.skip("pyarrow is of the extra aira-bench[stats]")
    path.write_bytes(path.read_bytes() + b" ")
    (said,) = place.verify().differences
    assert said.startswith(f"{name}: it is not what its runs give")
    path.unlink()
    assert place.verify().differences == (f"{name}: it is missing",), "its index has a link to it"


def test_one_changed_byte_of_any_file_is_found(place: Place) -> None:
    """In 24 random places of the board and its runs."""
    generator = random.Random(0)
    files = sorted(path for folder in (place.board, place.runs) for path in folder.rglob("*") if path.is_file())
    for _ in range(24):
        path = generator.choice(files)
        kept = path.read_bytes()
        path.write_bytes(changed_byte(kept, generator))
        try:
            found: object = place.verify().differences
        except (RunStateError, UsageError) as error:
            found = str(error)
        path.write_bytes(kept)
        assert found or path.name == "lock", path


def test_beginnings_that_only_the_machine_knows_are_taken_as_told(place: Place) -> None:
    """A run that was deleted since is still counted, and no board may count fewer beginnings than its runs have."""
    shutil.rmtree(place.runs / "evolution-b")
    place.publish()
    document = json.loads((place.board / BOARD_FILE).read_text())
    begun = [row["begun"] for section in document["sections"] for row in section["rows"]]
    assert {"0": 1, "1": 2, "2": 1} in begun, "of seed 2 no run is left"
    assert place.verify().differences == ()
    elsewhere = Place(place.path / "elsewhere")
    shutil.copytree(place.runs, elsewhere.runs)
    shutil.copytree(place.board, elsewhere.board)
    assert elsewhere.verify(named=[KEY.public]).differences == ()

    def forget(document: Document) -> None:
        for section in document["sections"]:
            for row in section["rows"]:
                row["begun"] = dict.fromkeys(row["begun"], 0)

    edit(place, forget)
    assert any("counts fewer beginnings" in said for said in place.verify().differences)


def test_what_was_left_out_stays_left_out(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    run_id = RunFolder(place.runs / "evolution-b").manifest.run_id
    place.publish({run_id: "its card had a typing error"})
    assert place.verify().differences == ()
    edit(place, lambda document: document["left_out"].clear())
    assert place.verify().differences


def test_the_record_says_what_each_row_stands_on(place: Place) -> None:
    document = json.loads((place.board / BOARD_FILE).read_text())
    names = [run["name"] for run in document["runs"]]
    assert names == ["evolution-a", "evolution-b", "random-a", "random-b"]
    run = document["runs"][0]
    assert {"run_id", "created", "models", "card_sha256", "prompts_sha256", "manifest_sha256", "signers"} <= set(run)
    assert [seed["seed"] for seed in run["seeds"]] == [0, 1]
    (evolution,) = [
        row for section in document["sections"] for row in section["rows"] if row["cells"]["agent"] == "evolution"
    ]
    assert [seed["seed"] for seed in evolution["seeds"]] == [0, 1, 1, 2]
    tests = {seed: [each["test"] for each in evolution["seeds"] if each["seed"] == seed] for seed in (0, 1, 2)}
    by_hand = sum(sum(values) / len(values) for values in tests.values()) / 3
    assert evolution["cells"]["test_mean"] == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "valid dictionary"),
        (b'{"schema": 2}', "schema 2"),
        (b'{"schema": 1}', "keys"),
        (b'{"schema": 1, "schema": 1}', "twice"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, "nested"),
        (b'{"schema": 1e999}', "beyond"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_is_no_board_is_said_in_a_line(place: Place, content: bytes, reason: str) -> None:
    (place.board / BOARD_FILE).write_bytes(content)
    with pytest.raises(RunStateError, match="is no board") as caught:
        read_board(place.board)
    assert reason in str(caught.value)
    with pytest.raises(UsageError, match="No board at"):
        read_board(place.path / "absent")


@pytest.mark.parametrize("name", ["../secret", "/etc", "..", "", "a\0b", "x" * 300, "absent"])
def test_a_run_whose_name_leads_elsewhere_is_not_there(place: Place, name: str) -> None:
    edit(place, lambda document: document["runs"][0].update(name=name))
    assert any("it is not in" in said for said in place.verify().differences)


def test_a_link_in_place_of_a_file_of_a_board_is_refused(place: Place) -> None:
    (place.board / BOARD_FILE).rename(place.path / "elsewhere.json")
    (place.board / BOARD_FILE).symlink_to(place.path / "elsewhere.json")
    with pytest.raises(RunStateError, match="cannot be opened"):
        read_board(place.board)


@pytest.mark.parametrize("name", ["winner.html", "leaderboard2.csv", "more/leaderboard.csv"])
def test_a_file_that_was_added_to_a_board_is_found(place: Place, name: str) -> None:
    """It lay among files that were checked, and no line said that it was not."""
    (place.board / name).parent.mkdir(exist_ok=True)
    (place.board / name).write_text("agent,score\nours,1.0\n")
    assert place.verify().differences == (
        f"{name.split('/')[0]}: it is in the board's folder, and no file of the board",
    )


def test_a_run_that_was_left_out_is_one_of_the_board_s(place: Place) -> None:
    document = json.loads((place.board / "board.json").read_text())
    document["left_out"]["deadbeef"] = "it was worse"
    (place.board / "board.json").write_bytes(document_bytes(document))
    (said,) = verify(read_board(place.board / "board.json"), place.runs, place.ring).differences
    assert said == "run id deadbeef: it is left out, and is none of the board's runs"
