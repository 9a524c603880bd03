"""`aira-bench show`, through the command line, on generated runs: sound, damaged, running, unsigned and hostile ones."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.files import write_json
from aira_bench.keys import KeyFolder, MachineKey
from aira_bench.llm.recording import read_exchange
from aira_bench.looking.pages import step_sections
from aira_bench.looking.step_view import step_view
from aira_bench.record.confirmations import add_confirmation
from aira_bench.record.folder import RunFolder
from aira_bench.record.node import Change, ModelUse, Timings
from aira_bench.record.salvage import read_remains
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from aira_contract.training_series import TrainingPoint
from generated_runs import LONG_AGO, manifest, write_run
from hostile_text import WHOLE, is_raw

RECORDED = Path(__file__).parents[1] / "recorded"
AMAM = ",".join(["mA", "M"] * 8)
AAAM = ",".join(["mA", "mA", "mA", "M"] * 4)
DAMAGED = 6
WRITABLE = WHOLE.encode("utf-8", "ignore").decode()


@dataclass
class Place:
    """A machine's folders, and what a command says there."""

    path: Path
    key: MachineKey
    capsys: pytest.CaptureFixture[str]

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def signed(self, name: str, **changes: object) -> RunFolder:
        """A signed run of three steps of two seeds whose scores stand here."""
        settings: dict[str, Any] = {
            "key": self.key,
            "seen": KeyFolder(self.path / "home" / "keys").ring().seen,
            "scores": {0: [(0.5, 0.4), (0.75, 0.7), None], 1: [(0.6, 0.9), None, (0.55, 0.5)]},
            "canonical": lambda seed, step: AMAM if step == 1 else AAAM,
        }
        return write_run(self.runs, manifest(name, seeds=(0, 1), steps=3), **(settings | changes))  # type: ignore[arg-type]

    def said(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        assert run_command_line(arguments) == status
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        return shown.out, shown.err

    def record(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        found = json.loads(self.said(*arguments, "--json", status=status)[0])
        assert isinstance(found, dict)
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    return Place(tmp_path, KeyFolder(tmp_path / "home" / "keys").machine_key(), capsys)


def test_a_run_shows_each_seed_s_winner_and_the_whole_of_the_best(place: Place) -> None:
    """Seed 1 has the best test score of all, and test scores have no say: 0.75 of seed 0 is the best search score."""
    place.signed("two")
    out, err = place.said("show", "two")
    lines = [line.strip() for line in out.splitlines()]
    assert "seed 0: step 2 of 3: search 0.7500, test 0.7000, AAAM AAAM AAAM AAAM, 4(3A-M)" in lines
    assert "seed 1: step 1 of 3: search 0.6000, test 0.9000, AMAM AMAM AMAM AMAM, 8(A-M)" in lines
    assert "Seed 0, step 2 of 3" in lines
    assert any(line.split() == ["layers", "AAAM", "AAAM", "AAAM", "AAAM"] for line in lines)
    assert any(line.split() == ["notation", "4(3A-M)"] for line in lines)
    assert any(line.endswith("16 layers: 12 attention, 4 MLP") for line in lines)
    assert err == ""


def test_a_step_is_shown_with_all_that_is_known_of_it(place: Place) -> None:
    nodes = {
        "plan": "Try more attention.", "parts": {"copying": 0.8, "recall": 0.7}, "claimed": 0.9,
        "model_use": ModelUse(2, 1000, 50, 0.25, ("m-1",)), "timings": Timings(1.5, 2.0, 4.0, 8.0, {"provider": 3.0}),
        "changes": (Change("swap", 1, 2),), "fitness_standard_error": 0.01,
    }  # fmt: skip
    place.signed("one", of_nodes=nodes, public=0.1)
    found = place.record("show", "one", "0:2")
    step = found["step"]
    assert (step["seed"], step["step"], step["submitted"], step["class"]) == (0, 2, True, "valid")
    assert (step["canonical"], step["plan"]) == (AAAM, "Try more attention.")
    assert step["artifact"]["strip"] == "AAAM AAAM AAAM AAAM"
    assert step["artifact"]["layers"] == ["mA", "mA", "mA", "M"] * 4
    scores = step["scores"]
    assert (scores["search"], scores["search_error"], scores["test"]) == (0.75, 0.01, 0.7)
    assert scores["public"] == pytest.approx(0.85)  # 0.75 + 0.1
    assert scores["overclaim"] == pytest.approx(0.05)  # 0.9 - 0.85
    assert step["parts"] == [
        {"name": "copying", "validation": 0.8, "test": None}, {"name": "recall", "validation": 0.7, "test": None},
    ]  # fmt: skip
    assert step["model_use"]["cost_usd"] == 0.25
    assert step["seconds"] == {"agent": 1.5, "execute": 2.0, "evaluate": 4.0, "other": 0.5, "total": 8.0}
    assert step["waited"] == {"provider": 3.0}
    (artifact,) = [each for each in step["files"] if each["path"].endswith("nodes/0002/submission.csv")]
    assert (artifact["state"], Path(artifact["path"]).is_file()) == ("as recorded", True)
    out, _ = place.said("show", "one", "0:2")
    for part in (
        "0.7500 +- 0.0100", "+0.0500   better than it is: on those rows the judge has 0.8500", "swap (+2 -1 lines)",
        "2 calls, 1,000 tokens in, 50 tokens out, 0.2500 USD, by m-1", "agent 1.5, execute 2.0, evaluate 4.0",
        "provider 3.0", "recall", artifact["path"],
    ):  # fmt: skip
        assert part in out


def test_confirmed_is_the_mean_of_all_trainings(place: Place) -> None:
    folder = place.signed("c")
    digest = hashlib.sha256((folder.path / "manifest.json").read_bytes()).hexdigest()
    seen = Witness(KeyFolder(place.path / "home" / "keys").ring().seen)
    keeper = Keeper(folder, place.key, folder.manifest.run_id, digest, lambda: LONG_AGO, seen)
    artifact = folder.seed(0).nodes[1].artifact_sha256
    assert artifact is not None
    for number, test in enumerate((0.6, 0.7, 0.8)):
        add_confirmation(keeper, 0, artifact, TrustedScore(2, test, None, "1", "e", 1.0), training=number)
    scores = place.record("show", "c", "0")["step"]["scores"]
    assert scores["trainings"] == [0.6, 0.7, 0.8]
    assert scores["confirmed"] == pytest.approx(0.7)
    assert scores["confirmed_deviation"] == pytest.approx(0.1)  # of 0.6, 0.7, 0.8 with n - 1
    out, _ = place.said("show", "c")
    assert "confirmed 0.7000 (3 trainings)" in out


def scripts(place: Place) -> None:
    shutil.copytree(RECORDED / "scripts", place.runs / "scripts")


def test_a_script_shows_settings_and_the_difference_to_its_parent(place: Place) -> None:
    scripts(place)
    step = place.record("show", "scripts", "0:5")["step"]
    assert step["artifact"]["kind"] == "script"
    assert step["artifact"]["settings"]["DEPTH"] == 3
    assert step["artifact"]["features"]["ema"] is True
    (against,) = step["differences"]
    assert (against["parent"], against["file"], against["added"], against["removed"]) == (1, "train.py", 2, 1)
    diff, paths = place.said("show", "scripts", "0:5", "--open", "diff")
    assert '-WINDOW_PATTERN = "SSSL"\n+WINDOW_PATTERN = "L"\n' in diff
    assert paths.strip().endswith("nodes/0005/train.py")


@pytest.mark.parametrize(
    ("what", "part"),
    [("prompt", "# Task: mad-2p"), ("answer", "I try AAAAAAAAMMMMMMMM."), ("answer", "40 of them cached")],
)
def test_what_a_model_was_asked_and_said_can_be_opened(place: Place, what: str, part: str) -> None:
    shutil.copytree(RECORDED / "greedy-mad-2p", place.runs / "asked")
    out, _ = place.said("show", "asked", "0:1", "--open", what, status=DAMAGED)  # its other files were not recorded
    assert part in out
    assert out.index("propose/") < out.index("analyze-1/")


def test_reasoning_is_shown_apart_from_the_answer(place: Place) -> None:
    shutil.copytree(RECORDED / "greedy-mad-2p", place.runs / "asked")
    path = sorted((place.runs / "asked" / "seeds" / "0" / "calls" / "0001" / "propose").iterdir())[0]
    older = read_exchange(path)
    assert (older.completion.asked_at, older.completion.reasoning) == (None, None), "of schema 1"
    said, _ = place.said("show", "asked", "0:1", "--open", "answer", status=DAMAGED)
    assert f"20 out, stop, {older.completion.latency_s:.1f} s]\n" in said
    thought = replace(older.completion, reasoning=WRITABLE, asked_at="2026-01-02T03:04:05+00:00", latency_s=2.25)
    write_json(path, replace(older, completion=thought).to_json())
    out, _ = place.said("show", "asked", "0:1", "--open", "answer", status=DAMAGED)
    assert "stop, asked 2026-01-02T03:04:05+00:00, 2.2 s]\n--- reasoning, as the provider returned it" in out
    first = out.index("--- reasoning")
    assert first < out.index("\n--- answer\n") < out.index(older.completion.text.splitlines()[0])
    assert not is_raw(out.replace("\n", "").replace("\t", ""))
    prompt, _ = place.said("show", "asked", "0:1", "--open", "prompt", status=DAMAGED)
    assert "--- reasoning" not in prompt


def test_a_training_is_a_line_that_falls(place: Place) -> None:
    points = tuple(TrainingPoint(10 * at, 8.0 - at, 640 * at, at / 2) for at in range(1, 9))
    told = tuple(point._replace(loss=point.loss / 4, tokens=None, seconds=None) for point in points[:1])
    place.signed("r", of_scores={"series": points, "claimed_series": told})
    lines = [line.strip() for line in place.said("show", "r", "0:2")[0].splitlines()]
    at = lines.index("Training")
    assert lines[at + 1].split("  ", 1)[1].strip() == "█▇▆▅▄▃▂▁   7 to 0 in 80 steps, 5,120 tokens, 4.0 s"
    assert (
        lines[at + 2].split("loss", 1)[1].strip() == "█   1.75 to 1.75 in 10 steps   told by the script, not measured"
    )
    scores = place.record("show", "r", "0:2")["step"]["scores"]
    assert scores["series"][0] == [10, 7.0, 640, 0.5]
    assert scores["claimed_series"] == [[10, 1.75, None, None]]


def test_a_terminal_without_bars_gets_a_curve_of_its_own(place: Place) -> None:
    points = tuple(TrainingPoint(at, 3.0 - at, 64 * at, 1.0) for at in (1, 2))
    folder = place.signed("r", of_scores={"series": points})
    run = read_remains(folder, KeyFolder(place.path / "home" / "keys").ring())
    seed = run.seeds[0]
    sections = dict(step_sections(run, step_view(run, seed, seed.steps[1]), ascii_only=True))
    assert sections["Training"] == [("loss", "@_   2 to 1 in 2 steps, 128 tokens, 1.0 s")]


def test_a_score_from_before_curves_were_kept_shows_none(place: Place) -> None:
    place.signed("r")
    out, _ = place.said("show", "r", "0:2")
    assert "Training" not in out


@pytest.mark.parametrize("what", ["code", "output", "artifact"])
def test_files_can_be_opened(place: Place, what: str) -> None:
    shutil.copytree(RECORDED / "begun", place.runs / "begun")
    out, err = place.said("show", "begun", "0:1", "--open", what)
    assert {"code": "submission.csv", "output": "=== stdout.txt", "artifact": "M,M,M,mA"}[what] in out
    assert "nodes/0001/" in err


def test_what_a_step_has_not_is_a_wrong_request(place: Place) -> None:
    place.signed("r")
    for arguments, part in (
        (("0:2", "--open", "prompt"), "asked no model"),
        (("0:2", "--open", "diff"), "is a draft"),
        (("0:3", "--open", "artifact"), "left no artifact"),
        (("0:9",), "it has 3 finished steps"),
        (("7",), "no seed 7; it has 0, 1"),
    ):
        assert part in place.said("show", "r", *arguments, status=2)[1]


def test_a_failed_step_says_why(place: Place) -> None:
    place.signed("r", of_nodes={"reason": "exit status 1: NameError"})
    out, _ = place.said("show", "r", "0:3")
    assert "buggy: exit status 1: NameError" in out
    assert "the step submitted nothing that was judged" in out


# Damaged runs -------------------------------------------------------------------------------------------------------


def edit_line(path: Path, number: int, old: bytes, new: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    path.write_bytes(b"".join(lines))


def test_a_damaged_journal_is_shown_up_to_the_damage(place: Place) -> None:
    folder = place.signed("torn")
    edit_line(folder.seed(0).journal, 4, b"0.75", b"0.99")  # opened, started, ended, started, ended of step 2
    found = place.record("show", "torn", "0:1", status=DAMAGED)
    assert found["state"] == "damaged"
    assert found["step"]["scores"]["search"] == 0.5
    assert any("journal.jsonl: line 5" in fault for fault in found["faults"])
    assert [each["search"] for each in found["winners"]] == [0.5, 0.6], "the other seed is whole"
    assert "0.99" not in place.said("show", "torn", status=DAMAGED)[0]


def test_a_changed_score_is_not_shown_and_named(place: Place) -> None:
    folder = place.signed("scored")
    edit_line(folder.seed(0).scores.path, 0, b'"test":0.4', b'"test":0.9')
    found = place.record("show", "scored", "0:1", status=DAMAGED)
    assert found["step"]["scores"]["test"] is None
    assert any("hidden/scores.jsonl" in fault and "step 1" in fault for fault in found["faults"])
    assert place.record("show", "scored", "0:2", status=DAMAGED)["step"]["scores"]["test"] == 0.7


@pytest.mark.parametrize(("harm", "state"), [("change", "replaced"), ("remove", "missing"), ("link", "unreadable")])
def test_a_file_that_is_not_what_was_recorded_is_named(place: Place, harm: str, state: str) -> None:
    folder = place.signed("files")
    file = folder.seed(0).node(2) / "submission.csv"
    if harm == "change":
        file.write_text("other")
    else:
        file.unlink()
    if harm == "link":
        file.symlink_to("/etc/passwd")
    found = place.record("show", "files", "0:2", status=DAMAGED)
    assert [each["state"] for each in found["step"]["files"] if each["path"] == str(file)] == [state]
    assert any("nodes/0002/submission.csv" in fault for fault in found["faults"])
    assert found["step"]["artifact"]["strip"] == "AAAM AAAM AAAM AAAM", "the node has it"
    assert (
        "root:"
        not in place.said("show", "files", "0:2", "--open", "artifact", status=2 if harm == "remove" else DAMAGED)[0]
    )


def test_a_run_without_a_manifest_still_shows_its_steps(place: Place) -> None:
    folder = place.signed("lost")
    (folder.path / "manifest.json").unlink()
    found = place.record("show", "lost", "0:2", status=DAMAGED)
    assert (found["task"], found["step"]["scores"]["search"]) == (None, 0.75)
    assert "manifest.json" in found["faults"][0]


def test_named_pipes_and_folders_in_place_of_files_hang_nobody(place: Place) -> None:
    folder = place.signed("piped")
    for name in ("solution.py", "stdout.txt"):
        os.mkfifo(folder.seed(0).node(2) / name)
    os.mkfifo(folder.seed(1).path / "hidden" / "confirmed.jsonl")
    found = place.record("show", "piped", "0:2", status=DAMAGED)
    assert any("hidden/confirmed.jsonl" in fault for fault in found["faults"])
    assert "is a named pipe" in place.said("show", "piped", "0:2", "--open", "code", status=DAMAGED)[1]


# Runs of every kind -------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_read_while_its_writer_holds_it(place: Place) -> None:
    folder = place.signed("live", end=False)
    descriptor = folder.lock()
    try:
        found = place.record("show", "live")
        assert (found["state"], found["step"]["submitted"]) == ("running", False)
        assert "best so far" in place.said("show", "live")[0]
    finally:
        os.close(descriptor)
    assert place.record("show", "live")["state"] == "stopped"


@pytest.mark.parametrize("name", ["greedy-mad-2p", "scripts", "begun"])
def test_runs_of_earlier_versions_are_shown(place: Place, name: str) -> None:
    shutil.copytree(RECORDED / name, place.runs / name)
    status = DAMAGED if name == "greedy-mad-2p" else 0  # its files were not kept in the repository
    assert place.record("show", name, status=status)["step"]["class"] == "valid"


def test_unsigned_runs_and_replays_are_shown(place: Place) -> None:
    write_run(place.runs, manifest("replay", seeds=(0,), steps=4, agent="replay:other"), invalid_share=0.0,
              codes=[b"DEPTH = 3\n"])  # fmt: skip
    found = place.record("show", "replay")
    assert (found["record"], found["agent"]) == ("unsigned", "replay:other")
    assert found["step"]["artifact"]["settings"] == {"DEPTH": 3}
    assert {each["state"] for each in found["step"]["files"]} == {"not recorded"}


def test_a_run_without_a_valid_step_says_so(place: Place) -> None:
    place.signed("none", scores={0: [None] * 3, 1: [None] * 3})
    out, _ = place.said("show", "none")
    assert "seed 0: no valid step in 3" in out
    assert "no step is valid" in place.said("show", "none", "--open", "code", status=2)[1].lower()


def test_text_of_strangers_is_escaped_everywhere(place: Place) -> None:
    code = f"# {WRITABLE}\nNAME = {WRITABLE!r}\n" + "x" * 11_000_000
    write_run(place.runs, manifest("h", seeds=(0,), steps=2, task_title=WRITABLE), invalid_share=0.0,
              codes=[code.encode()], of_nodes={"plan": WRITABLE, "summary": WRITABLE, "canonical": WRITABLE,
              "reason": WRITABLE, "model_use": ModelUse(1, 1, 1, None, (WRITABLE,))})  # fmt: skip
    node = RunFolder(place.runs / "h").seed(0).node(1)
    (node / "solution.py").write_text(code)
    (node / ("name\x1b[31m" + "\u202e")).write_text("x")
    for arguments in ((), ("0:1",), ("0:1", "--open", "code"), ("0:1", "--open", "artifact"), ("0:1", "--json")):
        shown = place.said("show", "h", *arguments)
        assert not is_raw("".join(shown).replace("\n", "").replace("\t", "" if "--open" in arguments else "\t"))
        assert len(shown[0]) < 200_000 or "--json" in arguments


def test_a_path_that_is_not_below_its_seed_leads_nowhere(place: Place) -> None:
    """A stranger's signed journal may name files as it likes; none of another folder is hashed or opened."""
    folder = place.signed("away")
    outside = folder.seed(0).path / "nodes"
    shutil.rmtree(outside / "0002")
    (outside / "0002").symlink_to("/etc")
    found = place.record("show", "away", "0:2", status=DAMAGED)
    assert not any("/passwd" in each["path"] for each in found["step"]["files"])


def test_winners_stand_below_a_finished_board(place: Place) -> None:
    from aira_bench.cli.ending import show_board

    folder = place.signed("board")
    show_board(folder, as_json=False)
    out = place.capsys.readouterr().out
    assert "Winner of seed 0: step 2 of 3: search 0.7500, test 0.7000, AAAM AAAM AAAM AAAM, 4(3A-M)" in out
    assert "aira-bench show board" in out
    show_board(folder, as_json=True)
    assert [each["step"] for each in json.loads(place.capsys.readouterr().out)["winners"]] == [2, 1]


def test_status_has_canonical_form_and_plan_in_json_alone(place: Place) -> None:
    place.signed("s", of_nodes={"plan": "Try more attention."})
    rows = json.loads(place.said("status", "s", "--json")[0])
    assert rows[1]["canonical"] == AAAM
    assert rows[1]["plan"] == "Try more attention."
    assert "Try more attention." not in place.said("status", "s")[0]
