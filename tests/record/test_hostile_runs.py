"""Run folders of strangers, through the real command line: one line each, no hang, and the other runs stay visible."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import RunStateError
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import read_run
from generated_runs import copy_seed, manifest, write_run
from place import Place

Hostile = Callable[[RunFolder], object]


def chained(folder: RunFolder, bodies: list[str]) -> None:
    """A journal of schema 1 whose chain holds, around bodies of the attacker's."""
    link, lines = "0" * 16, []
    for body in bodies:
        link = hashlib.sha256(f"{link}{body}".encode()).hexdigest()[:16]
        lines.append(f'{{"chain":"{link}","body":{body}}}\n')
    folder.seed(0).journal.write_text("".join(lines))


def step(**changes: object) -> str:
    """The body of a finished step; `changes` are JSON texts or values."""
    timings = {"model_s": 0.1, "execute_s": 0.1, "evaluate_s": 0.1, "total_s": 0.3}
    node = {
        "step": 1, "operator": "draft", "parents": [], "step_class": "valid", "reason": "", "fitness": 0.5,
        "claimed": None, "code_sha256": "c", "artifact_sha256": None, "timings": timings,
    }  # fmt: skip
    return json.dumps({"node": node | changes, "at": "t", "event": "step_ended"})


def ended(submitted: object = 1) -> str:
    return json.dumps({"why": "steps", "submitted": submitted, "at": "t", "event": "seed_ended"})


def instead(name: str, make: Callable[[Path], object]) -> Hostile:
    """Something else in the place of a file or folder."""

    def put(folder: RunFolder) -> None:
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return put


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 4 * 2**30)


def in_manifest(old: str, new: str) -> Hostile:
    def edit(folder: RunFolder) -> None:
        path = folder.path / "manifest.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def scores(line: str) -> Hostile:
    return lambda folder: folder.seed(0).scores.path.write_text(line + "\n")


SCORE = '{"step":1,"test":%s,"validation":0.5,"evaluator_version":"1","image":"e","seconds":%s}'
JOURNAL, SCORES = "seeds/0/journal.jsonl", "seeds/0/hidden/scores.jsonl"
CASES: dict[str, tuple[Hostile, str]] = {
    "journal-fifo": (instead(JOURNAL, fifo), "seed 0: journal.jsonl: it is a named pipe"),
    "journal-zero": (instead(JOURNAL, zero), "seed 0: journal.jsonl: it cannot be opened"),
    "journal-sparse": (instead(JOURNAL, sparse), "seed 0: journal.jsonl: it has 4,294,967,296 bytes"),
    "journal-folder": (instead(JOURNAL, Path.mkdir), "seed 0: journal.jsonl: it is a folder"),
    "journal-blank": (
        instead(JOURNAL, lambda path: path.write_bytes(b"\n" * 10**7)), "journal.jsonl: line 1 was changed",
    ),
    "journal-deep": (lambda f: chained(f, ["[" * 10**5 + "]" * 10**5]), "line 1 was changed or damaged: its JSON is nes"),
    "journal-nan": (lambda f: chained(f, [step(fitness=float("nan"))]), "line 1 was changed or damaged: it holds NaN"),
    "journal-inf": (lambda f: chained(f, [step().replace("0.3", "1e999")]), "a number is beyond 1e+100"),
    "journal-huge": (lambda f: chained(f, [step().replace('"step": 1', '"step": ' + "9" * 5000)]), "more than 18 digits"),
    "journal-twice": (lambda f: chained(f, [step().replace('"step": 1', '"step": 1, "step": 1')]), "twice"),
    "journal-type": (lambda f: chained(f, [step(step="1")]), "line 1 was changed or damaged: Input should be a valid int"),
    "journal-bool": (lambda f: chained(f, [step(step=True)]), "line 1 was changed or damaged: Input should be a valid int"),
    "journal-negative": (lambda f: chained(f, [step().replace("0.3", "-3")]), "step 1 took negative time"),
    "journal-parent": (lambda f: chained(f, [step(parents=[1])]), "parents (1,)"),
    "journal-gap": (lambda f: chained(f, [step(step=3)]), "line 1 is step 3, expected 1"),
    "submitted-none": (lambda f: chained(f, [step(), ended(7)]), "step 7 is said to be submitted"),
    "after-the-end": (lambda f: chained(f, [step(), ended(), ended()]), "line 3 follows the seed's end"),
    "seeds-file": (instead("seeds", Path.touch), "seed 0: journal.jsonl: it cannot be opened: Not a directory"),
    "seed-link": (instead("seeds/0", lambda path: path.symlink_to("/proc")), "journal.jsonl: it cannot be opened"),
    "manifest-fifo": (instead("manifest.json", fifo), "manifest.json: it is a named pipe"),
    "manifest-zero": (instead("manifest.json", zero), "manifest.json: it cannot be opened"),
    "manifest-sparse": (instead("manifest.json", sparse), "manifest.json: it has 4,294,967,296 bytes"),
    "manifest-deep": (
        instead("manifest.json", lambda path: path.write_text('{"a":' * 10**5)), "manifest.json: its JSON is nested",
    ),
    "manifest-text": (instead("manifest.json", lambda path: path.write_bytes(b"\xff\xfe")), "manifest.json: it is not J"),
    "manifest-twice": (in_manifest('"run_id"', '"host": "x", "run_id"'), "manifest.json: a key stands in it twice"),
    "manifest-nan": (in_manifest('"hours": 1.0', '"hours": NaN'), "manifest.json: it holds NaN"),
    "manifest-huge": (in_manifest('"steps": 2', '"steps": ' + "9" * 5000), "manifest.json: a number has more than 18"),
    "manifest-data": (in_manifest('"hidden": {', '"shown": {'), "it names no hash of hidden data"),
    "manifest-image": (in_manifest('"evaluator": "', '"other": "'), "it names no evaluator image"),
    "manifest-seeds": (in_manifest('"seeds": [', '"seeds": [0,'), "seeds are distinct"),
    "scores-fifo": (instead(SCORES, fifo), "seed 0: hidden/scores.jsonl: it is a named pipe"),
    "scores-sparse": (instead(SCORES, sparse), "seed 0: hidden/scores.jsonl: it has 4,294,967,296 bytes"),
    "scores-nan": (scores(SCORE % ("NaN", "1")), "scores.jsonl: line 1 is not a score: it holds NaN"),
    "scores-inf": (scores(SCORE % ("1e999", "1")), "scores.jsonl: line 1 is not a score: a number is beyond 1e+100"),
    "scores-large": (scores(SCORE % ("-1e308", "1")), "scores.jsonl: line 1 is not a score: a number is beyond 1e+100"),
    "scores-negative": (scores(SCORE % ("0.5", "-1")), "below what it can be"),
    "scores-garbage": (scores("hello"), "scores.jsonl: line 1 is not a score"),
    "confirmed-fifo": (instead("seeds/0/hidden/confirmed.jsonl", fifo), "hidden/confirmed.jsonl: it is a named pipe"),
    "record-fifo": (instead("record.jsonl", fifo), "record.jsonl: it is a named pipe"),
    "plan-hours": (in_manifest('"hours": 1.0', '"hours": 1e99'), "plan.hours: Input should be less than or equal"),
    "plan-timeout": (in_manifest('"step_timeout_s": 60.0', '"step_timeout_s": 1e99'), "plan.step_timeout_s: Input should"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One good run, and one of each hostile kind."""
    root = tmp_path_factory.mktemp("hostile")
    found = Place(root / "home", root / "runs")
    key = KeyFolder(found.home / "keys").machine_key()
    write_run(found.runs, manifest("good", seeds=(0,), steps=2), invalid_share=0.0, key=key)
    for name, (spoil, _) in CASES.items():
        spoil(write_run(found.runs, manifest(name, seeds=(0,), steps=2), invalid_share=0.0))
    return found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["status", "leaderboard"])
def test_each_is_one_line_and_the_good_run_is_shown(place: Place, command: str) -> None:
    done = place.call(command, "--json", status=6)
    (shown,) = json.loads(done.stdout)
    assert shown["record"] == "signed here"
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(CASES)
    for name, (_, said) in CASES.items():
        (line,) = [line for line in lines if f"Run {name}: " in line]
        assert said in line
        assert len(line) < 1000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["status", "leaderboard", "resume", "confirm", "aggregate", "analyze", "replay"])
@pytest.mark.parametrize("name", list(CASES))
def test_asked_for_by_name_it_is_one_line(
    place: Place, name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(place.home))
    monkeypatch.setenv("AIRA_RUNS", str(place.runs))
    arguments = ["run", "--agent", f"replay:{name}"] if command == "replay" else [command, name]
    assert run_command_line(arguments) == 6
    (line,) = capsys.readouterr().err.splitlines()[:1]
    assert CASES[name][1] in line


@pytest.mark.timeout(60)
def test_a_lock_that_is_a_pipe_or_a_link_stops_nothing_from_being_shown(tmp_path: Path) -> None:
    found = Place(tmp_path / "home", tmp_path / "runs")
    for name, make in (("pipe", fifo), ("link", zero)):
        folder = write_run(found.runs, manifest(name, seeds=(0,), steps=2))
        make(folder.path / "lock")
    assert [row["state"] for row in json.loads(found.call("status", "--json").stdout)] == ["finished", "finished"]


@pytest.mark.timeout(60)
def test_a_strangers_agent_file_never_runs(tmp_path: Path) -> None:
    """An unsigned run whose `agent.py` leaves a mark when it is imported."""
    found = Place(tmp_path / "home", tmp_path / "runs")
    mark = tmp_path / "mark"
    folder = write_run(found.runs, manifest("gift", seeds=(0,), steps=2, agent="script:agent.py"), end=False)
    folder.agent_file.write_text(f"open({str(mark)!r}, 'w')\ndef answer(request): return ''\n")
    assert "--trust-agent" in found.call("resume", "gift", status=6).stderr
    replayed = found.call("run", "--agent", "replay:gift", "--print-config")
    assert json.loads(replayed.stdout)["agent"] == "replay:gift"
    found.call("resume", "gift", "--trust-agent", status=3, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert not mark.exists(), "checked, engine and images included, before the agent is made"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", [("confirm", "gift"), ("run", "--agent", "replay:gift")])
def test_a_strangers_task_folder_is_not_opened(tmp_path: Path, command: tuple[str, ...]) -> None:
    found = Place(tmp_path / "home", tmp_path / "runs")
    record = manifest("gift", seeds=(0,), steps=2)
    plan = record.plan.model_copy(update={"task": str(tmp_path / "evil")})
    write_run(found.runs, record.model_copy(update={"plan": plan}))
    assert "whose scripts would run with hidden data" in found.call(*command, status=6).stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", [("confirm", "./gift"), ("run", "--agent", "replay:./gift")])
def test_a_run_that_is_its_own_task_folder_is_not_opened(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a slash is a folder's too, where the user stands beside it."""
    found = Place(tmp_path / "home", tmp_path / "runs")
    write_run(tmp_path, with_plan("gift", task="gift"))
    monkeypatch.chdir(tmp_path)
    assert "whose scripts would run with hidden data" in found.call(*command, status=6).stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", [("confirm", "gift"), ("run", "--agent", "replay:gift")])
def test_a_stranger_does_not_choose_the_data(tmp_path: Path, command: tuple[str, ...]) -> None:
    found = Place(tmp_path / "home", tmp_path / "runs")
    write_run(found.runs, with_plan("gift", source=str(tmp_path)))
    assert "which would be taken for the task's" in found.call(*command, status=6).stderr


@pytest.mark.timeout(60)
def test_no_command_that_is_proposed_holds_one_of_a_strangers(tmp_path: Path) -> None:
    """The name of the run's folder is the stranger's, and hints are there to be pasted."""
    found = Place(tmp_path / "home", tmp_path / "runs")
    write_run(found.runs, manifest("gift", seeds=(0,), steps=2))
    (found.runs / "gift").rename(found.runs / "gift; touch mark #")
    (line,) = found.call("resume", "gift; touch mark #", status=6).stderr.splitlines()
    assert line.endswith("Try: aira-bench resume 'gift; touch mark #' --trust-agent")


def with_plan(name: str, **changes: object) -> Manifest:
    record = manifest(name, seeds=(0,), steps=2)
    return record.model_copy(update={"plan": record.plan.model_copy(update=changes)})


def linked(folder: RunFolder) -> None:
    (folder.seed(0).path / "calls").mkdir()
    for step in (1, 2):
        folder.seed(0).calls(step).symlink_to("/")


def linked_above(folder: RunFolder) -> None:
    (folder.seed(0).path / "calls").symlink_to("/")


def nested(folder: RunFolder) -> None:
    for step in (1, 2):
        here = os.open(folder.seed(0).node(step), os.O_RDONLY)
        for _ in range(2100):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)


SIGNED: dict[str, tuple[Hostile, str]] = {
    "link-to-root": (linked, "was not there when the step was recorded"),
    "link-above": (linked_above, "calls was not there when the step was recorded"),
    "nested": (nested, "a folder cannot be listed: File name too long"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", list(SIGNED))
def test_what_lies_beside_the_files_of_a_signed_step_is_named(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    found = Place(tmp_path / "home", tmp_path / "runs")
    key = KeyFolder(found.home / "keys").machine_key()
    write_run(found.runs, manifest("good", seeds=(0,), steps=2), invalid_share=0.0, key=key)
    folder = write_run(found.runs, manifest(name, seeds=(0,), steps=2), invalid_share=0.0, key=key)
    SIGNED[name][0](folder)
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", folder.path], check=True))  # deeper than Python removes
    for command in (["status", "--json"], ["leaderboard", "--json"], ["status", name], ["confirm", name]):
        done = found.call(*command, status=6)
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"aira-bench: error: Run {name}: seed 0: step ")
        assert SIGNED[name][1] in line
        if "--json" in command:
            assert json.loads(done.stdout), "the good run"


@pytest.mark.timeout(60)
def test_a_run_of_a_strangers_key_or_none_takes_no_other_runs_place(tmp_path: Path) -> None:
    """Under its run id, in folders that come before it."""
    found, run_id = Place(tmp_path / "home", tmp_path / "runs"), "5" * 12
    friend, stranger = MachineKey(b"\1" * 32), MachineKey(b"\2" * 32)
    KeyFolder(found.home / "keys").trust(friend.public)
    write_run(found.runs, manifest("friend", seeds=(0,), steps=2, run_id=run_id), key=friend)
    write_run(found.runs, manifest("a-strangers", seeds=(0,), steps=2, run_id=run_id), key=stranger)
    write_run(found.runs, manifest("b-unsigned", seeds=(0,), steps=2, run_id=run_id))
    shutil.copytree(found.runs / "friend", found.runs / "c-copy")
    done = found.call("status", "--json", status=6)
    assert [row["run"] for row in json.loads(done.stdout)] == ["friend"]
    assert [line.split(":")[2] for line in done.stderr.splitlines()] == [
        " Run a-strangers", " Run b-unsigned", " Run c-copy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "said"),
    [("MOST_RECORD_BYTES", "its journals and scores have more"), ("MOST_SUBMITTED_BYTES", "its submitted files have")],
)
def test_of_a_stranger_only_so_much_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, said: str
) -> None:
    """A thousand seeds whose journals are one file, or files of 4 GiB without content, would take hours."""
    stranger = MachineKey(b"\2" * 32)
    folder = write_run(tmp_path, manifest("gift", seeds=(0, 1), steps=2), invalid_share=0.0, key=stranger)
    monkeypatch.setattr(f"aira_bench.record.seed_record.{most}", 1)
    with pytest.raises(RunStateError, match=said):
        read_run(folder, KeyRing())
    assert read_run(folder, KeyRing(trusted=frozenset({stranger.public}))).closed


def edit_first(name: str, old: str, new: str) -> Hostile:
    def edit(folder: RunFolder) -> None:
        path = folder.path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def cut(*names: str) -> Hostile:
    def shorten(folder: RunFolder) -> None:
        for name in names:
            path = folder.path / name
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    return shorten


def swap_artifact(folder: RunFolder) -> None:
    for path in folder.seed(0).path.glob("nodes/*/submission.csv"):
        path.write_text("another\n")


def written_anew(folder: RunFolder) -> None:
    """The whole run once more without a key, as one that was never signed."""
    name, (home, runs) = folder.path.name, (folder.path.parent, folder.path.parent / "anew")
    again = write_run(runs, manifest(name, seeds=(0, 1), steps=3), invalid_share=0.0)
    shutil.rmtree(folder.path)
    again.path.rename(home / name)


DOCTORED: dict[str, tuple[Hostile, str]] = {
    "score": (edit_first(SCORES, '"test":0.', '"test":0.9'), "seed 0: hidden/scores.jsonl: line 1 is not the score"),
    "artifact": (swap_artifact, "submission.csv: it was replaced"),
    "manifest": (edit_first("manifest.json", '"cpu"', '"paper"'), "manifest.json was changed"),
    "fitness": (edit_first(JOURNAL, '"fitness":0.', '"fitness":0.9'), "seed 0: journal.jsonl: line 3 was changed"),
    "submitted": (edit_first(JOURNAL, '"submitted":', '"submitted":1'), "seed 0: journal.jsonl: line 8 was changed"),
    "end": (cut(JOURNAL), "seed 0: journal.jsonl: it has 7 whole lines, the run's end record says 8"),
    "both-ends": (cut(JOURNAL, "record.jsonl"), "record.jsonl: it has 1 whole lines, but 2 were written here"),
    "copied-seed": (copy_seed, "seed 1: journal.jsonl: its last link is not the one in the run's end record"),
    "unsigned": (written_anew, "record.jsonl: it has 0 whole lines, but 2 were written here"),
}


@pytest.mark.parametrize("command", ["status", "status all", "leaderboard", "leaderboard all", "resume", "confirm"])
@pytest.mark.parametrize("name", list(DOCTORED))
def test_each_doctored_record_is_named_by_every_command(
    tmp_path: Path, name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    keys = KeyFolder(tmp_path / "home" / "keys")
    folder = write_run(
        tmp_path / "runs",
        manifest(name, seeds=(0, 1), steps=3),
        invalid_share=0.0,
        key=keys.machine_key(),
        seen=keys.seen,
    )
    assert run_command_line(["status", "--json"]) == 0
    DOCTORED[name][0](folder)
    capsys.readouterr()
    assert run_command_line([command.split()[0]] + ([] if command.endswith("all") else [name])) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Run {name}: " in line
    assert DOCTORED[name][1] in line
