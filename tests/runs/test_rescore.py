"""Scores of other machines' runs, had again on a played machine before their packs are added: which come, and which do not."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import AiraError, PrerequisiteError, RunStateError, ScoresDiffer
from aira_bench.hardware import Hardware
from aira_bench.hidden_keys import make_hidden_key
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.packs.merging import merge
from aira_bench.packs.submitting import pack_runs
from aira_bench.record.folder import RunFolder, list_runs
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_confirmable
from aira_bench.runs.confirm import confirm
from aira_bench.runs.drawn_scores import draw
from aira_bench.runs.host import Host
from aira_bench.runs.launch import start
from aira_bench.runs.leases import FOLDER_VARIABLE
from aira_bench.runs.rescore import Rescored, rescore
from aira_bench.runs.resolve import resolve
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done
from aira_contract.reports import RESULT_MARKER
from generated_runs import manifest, write_run
from played_host import played_host, played_sandbox, request, score
from played_run import connect_host

Judge = Callable[[bytes], bytes]
STRANGER = MachineKey(b"1" * 32)
SCORES = 2 * (4 + 3)
"""Of a run of two seeds: four steps, and three trainings of what each submitted."""


def judge_adding(bonus: float, trainings: Sequence[int] = range(9)) -> Judge:
    """A judge that is kind to what it trains, in some of the trainings."""

    def judged(asked: bytes) -> bytes:
        answer = json.loads(score(asked))
        report = json.loads(answer["report"])
        if json.loads(asked)["training"] in trainings:
            report |= {"test": report["test"] + bonus, "validation": report["validation"] + bonus}
        answer["report"] = json.dumps(report)
        answer["stdout"] = f"{RESULT_MARKER}\n{json.dumps({'Accuracy': report['test']})}\n"
        return json.dumps(answer).encode()

    return judged


def machine(root: Path, judges: Judge = score, **roles: Callable[[Call], Done]) -> Host:
    sandbox = played_sandbox(**roles)
    sandbox.responders = {"judge": judges}
    return played_host(root, sandbox)


def searched(host: Host, **wishes: object) -> RunFolder:
    asked = request(**{"confirm": True, "seeds": (0, 1), "score_cache": False} | wishes)
    return start(host, resolve(asked, host.paths, host.world), lambda text: None, lambda progress: None)


def pack_of(host: Host, **wishes: object) -> Path:
    """A pack of one run of a machine."""
    searched(host, **wishes)
    out = host.paths.runs.parent / "pack.tar.gz"
    pack_runs(list_runs(host.paths.runs), host.paths, out, {})
    return out


def merged(pack: Path, of: Host, into: Host, count: int = SCORES) -> list[Rescored]:
    """What came of scores that were had again, after the pack was added."""
    found: list[Rescored] = []
    named = [of.keys.machine_key().public]

    def check(records: Sequence[RunRecord]) -> None:
        found.extend(rescore(into, records, count, random.Random(0), lambda text: None))

    merge(pack, into.paths.runs, into.keys.ring(), named, check)
    return found


def asked_of(host: Host) -> list[dict[str, object]]:
    """Remember what a machine's judge is asked."""
    asked: list[dict[str, object]] = []
    judge = host.sandbox.responders["judge"]  # type: ignore[attr-defined]

    def remembering(request: bytes) -> bytes:
        asked.append(json.loads(request))
        return bytes(judge(request))

    host.sandbox.responders = {"judge": remembering}  # type: ignore[attr-defined]
    return asked


def test_a_pack_is_added_once_its_scores_came_again_from_this_machines_judge(tmp_path: Path) -> None:
    there, here = machine(tmp_path / "there"), machine(tmp_path / "here")
    pack = pack_of(there)
    asked = asked_of(here)
    found = merged(pack, there, here)
    assert len(asked) == len(found) == SCORES, "each is trained, whatever this machine has in its cache"
    assert {each.promise for each in found} == {"equal"}
    assert sorted(each.drawn.training.number for each in found if each.drawn.seed_set == "final") == [0, 0, 1, 1, 2, 2]
    assert [folder.path.name for folder in list_runs(here.paths.runs)] == ["run"]
    assert here.sandbox.containers == set(), "nothing is left"  # type: ignore[attr-defined]


@pytest.mark.parametrize("trainings", [(0,), (2,)])
def test_a_score_that_no_judge_gives_keeps_the_whole_pack_out(tmp_path: Path, trainings: tuple[int, ...]) -> None:
    there, here = machine(tmp_path / "there", judge_adding(1e-9, trainings)), machine(tmp_path / "here")
    with pytest.raises(ScoresDiffer, match=r"of 14 scores did not come again: run run, seed \d step \d, .*to be equal"):
        merged(pack_of(there), there, here)
    assert list_runs(here.paths.runs) == []
    assert list(here.paths.runs.iterdir()) == []
    assert here.sandbox.containers == set()  # type: ignore[attr-defined]


def test_what_this_judge_refuses_did_not_come_again(tmp_path: Path) -> None:
    def refuses(asked: bytes) -> bytes:
        refusal = {"status": 2, "stderr": "evaluate: error: no such layer", "report": None}
        return json.dumps(json.loads(score(asked)) | refusal).encode()

    there, here = machine(tmp_path / "there"), machine(tmp_path / "here", refuses)
    with pytest.raises(ScoresDiffer, match="refused here: no such layer"):
        merged(pack_of(there), there, here, count=1)


@pytest.mark.parametrize(
    ("bonus", "said"), [(0.001, None), (0.05, r"lean to one side: mad-2p: \+0\.05"), (0.2, "they may differ by 0.1")]
)
def test_on_other_hardware_scores_have_to_come_within_the_noise_each_and_together(
    tmp_path: Path, bonus: float, said: str | None
) -> None:
    """The floor of mad-2p is 0.021 with 41 degrees of freedom; of 14 scores three numbers and their mean once, at one in
    a hundred, each may differ by t(1 - 0.01 / 43 / 2; 41) = 4.03 times 0.021 times the root of 2, so by 0.120, and
    their mean by 0.120 over the root of 14, 0.032.
    """
    there = machine(tmp_path / "there", judge_adding(bonus))
    here = replace(machine(tmp_path / "here"), hardware=Hardware("another", 2, 1024, ()))
    pack = pack_of(there)
    if said is None:
        found = merged(pack, there, here)
        assert {each.promise for each in found} == {"noise"}
        assert {round(each.within, 3) for each in found} == {0.12}
    else:
        with pytest.raises(ScoresDiffer, match=said):
            merged(pack, there, here)


def test_without_a_noise_floor_other_hardware_can_say_nothing(tmp_path: Path) -> None:
    """Floors of profile paper wait for machines that train it."""
    there, here = machine(tmp_path / "there"), machine(tmp_path / "here")
    task = find_task("mad-2p")
    assert task.metadata.aira.noise_floor("paper", synthetic=False) is None, "this test needs a profile without a floor"
    pack = pack_of(there, profile="paper", allow_cpu=True)
    elsewhere = replace(here, hardware=Hardware("another", 2, 1024, ()))
    with pytest.raises(PrerequisiteError, match=r"for profile paper.*aira-bench noise mad-2p --profile paper"):
        merged(pack, there, elsewhere)
    assert {each.promise for each in merged(pack, there, here)} == {"equal"}


def test_hidden_data_of_a_key_that_is_not_here_is_said_before_anything_is_scored(tmp_path: Path) -> None:
    there, here = machine(tmp_path / "there"), machine(tmp_path / "here")
    key = make_hidden_key(tmp_path / "key")
    asked = asked_of(here)
    with pytest.raises(AiraError, match=key.sha256[:12]):
        merged(pack_of(there, hidden_key=str(tmp_path / "key")), there, here)
    assert asked == []


def test_scores_of_a_task_folder_that_did_not_come_along_are_not_taken_for_the_shipped_tasks(tmp_path: Path) -> None:
    """A sender's own folder of the same name: nobody declared a number of its scripts and data."""
    host = machine(tmp_path)
    record = read_run(searched(host), host.keys.ring(), "all")
    assert record.manifest.compatibility is not None
    own = record.manifest.compatibility.model_copy(update={"shipped": False})
    record = replace(record, manifest=record.manifest.model_copy(update={"compatibility": own}))
    asked = asked_of(host)
    with pytest.raises(RunStateError, match=r"its task is NeuralArchitecture\w+ [0-9a-f]+, here"):
        rescore(host, [record], 1, random.Random(0), lambda text: None)
    assert asked == []


def test_what_is_confirmed_under_another_key_cannot_be_had_again(tmp_path: Path) -> None:
    """Else whoever wants to lie confirms under a key of his own: such trainings alone count on boards."""
    there, here = machine(tmp_path / "there"), machine(tmp_path / "here")
    folder = searched(there)
    key = make_hidden_key(tmp_path / "key")
    confirm(there, read_confirmable(folder, there.keys.ring()), lambda text: None, key)
    pack_runs([folder], there.paths, tmp_path / "pack", {})
    with pytest.raises(RunStateError, match=f"hidden data of the key {key.sha256[:12]}"):
        merged(tmp_path / "pack", there, here)


@pytest.mark.parametrize(
    ("field", "value"), [("task", "/srv/mine"), ("source", "/srv/data"), ("evaluator", "mine.py:Judge")]
)
def test_nothing_of_a_strangers_choice_is_opened(tmp_path: Path, field: str, value: str) -> None:
    here = machine(tmp_path / "here")
    record = manifest("theirs", seeds=(0,), steps=1)
    plan = record.plan.model_copy(update={field: value})
    folder = write_run(tmp_path / "runs", record.model_copy(update={"plan": plan}), key=STRANGER)
    found = read_run(folder, KeyRing(trusted=frozenset({STRANGER.public})), "all")
    asked = asked_of(here)
    with pytest.raises(RunStateError, match=value):
        rescore(here, [found], 1, random.Random(0), lambda text: None)
    assert asked == []


def test_a_judge_of_another_number_is_said(tmp_path: Path) -> None:
    """Records of versions that declared no number, too: nothing says whose code scored."""
    here = machine(tmp_path / "here")
    for declared, said in (
        ({"evaluator": "architecture", "version": 1, "flavour": "cpu", "libraries": 1, "search": 1, "shipped": True},
         "its evaluator is architecture 1, cpu 1, here architecture"),
        (None, "not this product's"),
    ):  # fmt: skip
        record = manifest(f"run-{said[:3].strip()}", seeds=(0,), steps=2, compatibility=declared)
        folder = write_run(tmp_path / "runs", record, key=here.keys.machine_key(), invalid_share=0.0)
        with pytest.raises(RunStateError, match=said):
            rescore(here, [read_run(folder, here.keys.ring(), "all")], 1, random.Random(0), lambda text: None)


def test_half_of_the_draws_are_trainings_that_confirm_and_none_is_drawn_twice(tmp_path: Path) -> None:
    host = machine(tmp_path)
    record = read_run(searched(host), host.keys.ring(), "all")
    for count in range(1, SCORES + 3):
        for number in range(5):
            drawn = draw([record], count, random.Random(number))
            assert len(drawn) == min(count, SCORES)
            keys = {(each.seed_set, each.training.seed, each.training.step, each.training.number) for each in drawn}
            assert len(keys) == len(drawn)
            confirming = sum(each.seed_set == "final" for each in drawn)
            assert confirming == max(min(-(-count // 2), 6), min(count, SCORES) - 8)
    first = {draw([record], 1, random.Random(number))[0].training.number for number in range(40)}
    assert first == {0, 1, 2}, "each may be the one"


def test_a_run_without_any_score_says_so(tmp_path: Path) -> None:
    here = machine(tmp_path / "here")
    record = manifest("empty", seeds=(0,), steps=1)
    folder = write_run(tmp_path / "runs", record, key=here.keys.machine_key(), invalid_share=1.0)
    with pytest.raises(RunStateError, match="No run of it has a score"):
        rescore(here, [read_run(folder, here.keys.ring(), "all")], 3, random.Random(0), lambda text: None)


def test_the_command_adds_or_says_what_did_not_come_again_with_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest, liar = machine(tmp_path / "honest"), machine(tmp_path / "liar", judge_adding(0.3))
    packs = pack_of(honest), pack_of(liar, name="lie")
    keys = [part for each in (honest, liar) for part in ("--signed-by", f"ed25519:{each.keys.machine_key().public}")]
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setattr("aira_bench.runs.connect.connect_host", connect_host)
    assert run_command_line(["merge", str(packs[0]), *keys, "--rescore", "4"]) == 0
    printed = capsys.readouterr().out
    assert "4 scores came again to the last digit" in printed
    assert "run run, added" in printed
    assert run_command_line(["merge", str(packs[0]), *keys, "--rescore", "2", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["new"], len(told["rescored"])) == (False, 2)
    assert all(each["recorded"] == each["again"] for each in told["rescored"])
    assert run_command_line(["merge", str(packs[1]), *keys, "--rescore", "4"]) == ScoresDiffer.exit_code == 1
    assert "4 of 4 scores did not come again: run lie, seed" in capsys.readouterr().err
    assert [folder.path.name for folder in list_runs(tmp_path / "runs")] == ["run"]
    assert issubclass(ScoresDiffer, AiraError)
    with pytest.raises(SystemExit, match="2"):
        run_command_line(["merge", str(packs[0]), "--rescore", "0"])
