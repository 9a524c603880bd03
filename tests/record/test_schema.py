"""Every file of a run names its schema; what an earlier version wrote is read, and a later version's is named in one line."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from aira_bench.cli.main import run_command_line
from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, naming, write_json
from aira_bench.gpus.use import GpuUse
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.record.chain import ChainWriter, read_chain
from aira_bench.record.confirmations import add_confirmation
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import (
    Event,
    JournalFile,
    SeedEnded,
    SeedOpened,
    StepEnded,
    StepStarted,
    open_journal,
    read_journal,
)
from aira_bench.record.manifest import load_manifest
from aira_bench.record.node import Change, ModelUse, Node, Timings
from aira_bench.record.run_record import read_run
from aira_bench.record.schema import SCHEMA, LaterSchema, encode, require_known
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from generated_runs import LONG_AGO, manifest, write_run
from place import Place
from recorded.shown import HERE, SCRIPTS_KEY

KEY = MachineKey(b"3" * 32)
RING = KeyRing(KEY.public)
LATER = SCHEMA + 1
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

texts = st.text(max_size=20)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
numbers = st.none() | st.floats(-1e9, 1e9)
nodes = st.builds(
    Node,
    step=st.just(1),
    operator=st.sampled_from(["draft", "improve", "debug", "crossover"]),
    parents=st.just(()),
    step_class=st.sampled_from(["valid", "buggy", "timeout", "rule_violation", "infra_error"]),
    reason=texts,
    fitness=numbers,
    claimed=numbers,
    code_sha256=hashes,
    artifact_sha256=st.none() | hashes,
    plan=texts,
    summary=texts,
    canonical=st.none() | texts,
    attempts=st.integers(1, 4),
    timings=st.builds(Timings, *[st.floats(0, 1e6)] * 4, st.dictionaries(texts, st.floats(0, 1e6), max_size=2)),
    model_use=st.builds(ModelUse, st.integers(0, 99), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
    changes=st.lists(st.builds(Change, texts, st.integers(0, 9), st.integers(0, 9)), max_size=2).map(tuple),
    code_ran=st.booleans(),
    fitness_standard_error=st.none() | st.floats(0, 1),
    cores=st.none() | st.integers(1, 9),
    gpu_use=st.dictionaries(st.sampled_from(["step", "evaluation"]), st.builds(GpuUse, st.integers(1, 9)), max_size=2),
)
EXAMPLE = Node(1, "draft", (), "valid", "", 0.5, None, "c" * 64, None)
events = st.one_of(
    st.builds(SeedOpened, hashes, st.integers(0, 9), hashes, texts),
    st.builds(StepStarted, st.integers(1, 9), texts),
    st.builds(StepEnded, nodes, texts, st.none() | hashes, st.dictionaries(texts, hashes, max_size=2)),
    st.builds(SeedEnded, st.sampled_from(["steps", "hours", "policy", "budget"]), st.none() | st.integers(1, 9), texts),
)


@given(events)
def test_every_event_survives_its_line_which_names_the_schema(event: Event) -> None:
    body = encode(event)
    back = EVENT.validate_json(body, strict=True)
    assert back == event
    assert back.schema == json.loads(body)["schema"] == SCHEMA


@given(events)
def test_a_line_that_names_no_schema_is_of_the_one_before(event: Event) -> None:
    fields = json.loads(encode(event))
    del fields["schema"]
    back = EVENT.validate_json(json.dumps(fields), strict=True)
    assert back == event
    assert back.schema == 2


@given(st.lists(events, max_size=5), st.sampled_from([None, KEY]))
@settings(max_examples=30)
def test_what_a_journal_is_given_comes_back_from_the_file(
    tmp_path_factory: pytest.TempPathFactory, given_events: list[Event], key: MachineKey | None
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = JournalFile(path, key)
    for event in given_events:
        journal.append(event)
    journal.close()
    found = open_journal(path).events
    assert found == given_events
    assert all(event.schema == SCHEMA for event in found)


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """A confirmed run as this version writes it."""
    folder = write_run(tmp_path / "runs", manifest("a", seeds=(0, 1), steps=3), invalid_share=0.0, key=KEY)
    record = read_run(folder, RING)
    node = record.seed(0).submitted
    assert node is not None
    assert node.artifact_sha256 is not None
    keeper = Keeper(folder, KEY, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(None))
    add_confirmation(keeper, 0, node.artifact_sha256, TrustedScore(node.step, 0.4, 0.4, "1", "judge:1", 2.0))
    return folder


CHAINS = ("record.jsonl", "seeds/0/journal.jsonl", "seeds/1/journal.jsonl", "seeds/0/hidden/confirmed.jsonl")


def bodies(folder: RunFolder, name: str) -> list[dict[str, object]]:
    return [json.loads(body) for body in read_chain((folder.path / name).read_bytes()).bodies]


def test_the_manifest_and_every_line_of_a_run_name_the_schema(finished: RunFolder) -> None:
    assert json.loads((finished.path / "manifest.json").read_text())["schema_version"] == SCHEMA
    for name in CHAINS:
        lines = bodies(finished, name)
        assert lines
        assert {line["schema"] for line in lines} == {SCHEMA}, name


@pytest.mark.parametrize(
    ("name", "schema", "confirmed", "open_seed", "lines"),
    [
        ("scripts", 2, 1, 4, [2, *[None] * 10]),
        ("unwatched", 3, 0, 1, [3] * 7),
        ("unclaimed", 4, 1, 0, [4] * 7),
        ("uncurved", 5, 0, 1, [5] * 7),
    ],
)
def test_a_run_of_a_schema_before_is_read_and_goes_on_in_lines_of_this_one(
    tmp_path: Path, name: str, schema: int, confirmed: int, open_seed: int, lines: list[int | None]
) -> None:
    shutil.copytree(HERE / name, tmp_path / name)
    folder, ring = RunFolder(tmp_path / name), KeyRing(SCRIPTS_KEY.public)
    record = read_run(folder, ring, "all")
    assert record.manifest.schema_version == schema
    assert record.seed(confirmed).confirmations.scores
    assert all(node.gpu_use == {} for seed in record.seeds for node in seed.nodes)
    scores = [score for seed in record.seeds for score in seed.scores.values()]
    assert {score.public_standard_error for score in scores} == {None}
    assert all((score.public is None) == (schema < 5) for score in scores)
    assert {(score.series, score.claimed_series) for score in scores} == {((), ())}
    keeper = Keeper(
        folder, SCRIPTS_KEY, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(None)
    )
    journal = keeper.journal(open_seed)
    journal.append(SeedEnded("steps", record.seed(open_seed).nodes[-1].step, "t"))
    journal.close()
    again = read_run(folder, ring, "all")
    assert again.seed(open_seed).ended is not None
    written = [line.get("schema") for line in bodies(folder, f"seeds/{open_seed}/journal.jsonl")]
    assert written == [*lines, SCHEMA]


def test_what_versions_wrote_before_the_number_was_raised_is_read() -> None:
    """Between releases, `gpu_use` stood in lines of schema 3."""
    node = replace(EXAMPLE, gpu_use={"evaluation": GpuUse(60, throttled=("heat",), slowed_by={"heat": 0.5})})
    fields = json.loads(encode(StepEnded(node, "t"))) | {"schema": 3}
    back = EVENT.validate_json(json.dumps(fields), strict=True)
    assert isinstance(back, StepEnded)
    assert (back.schema, back.node.gpu_use) == (3, node.gpu_use)


def test_an_unsigned_run_of_the_first_schema_is_read_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(HERE / "greedy-mad-2p", tmp_path / "old")
    journal = tmp_path / "old/seeds/0/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    going_on = JournalFile(journal)
    assert len(going_on.nodes) == 8
    going_on.append(SeedEnded("steps", 1, "t"))
    going_on.close()
    record = read_run(RunFolder(tmp_path / "old"), KeyRing())
    assert (record.manifest.schema_version, record.seed(0).ended) == (1, SeedEnded("steps", 1, "t"))
    assert read_journal(journal.parent, journal.name).chain.version == 1


def test_a_manifest_that_names_no_schema_is_of_the_one_before(finished: RunFolder) -> None:
    path = finished.path / "manifest.json"
    value = json.loads(path.read_text())
    del value["schema_version"]
    write_json(path, value)
    assert load_manifest(finished.path)[0].schema_version == 2


def later_line(folder: RunFolder, name: str, **fields: object) -> None:
    """A last line, signed, as a later version writes it, with what only that version knows."""
    path = folder.path / name
    chain = read_chain(path.read_bytes())
    fields = {"schema": LATER, "event": "step_paused", "why": "a reason of later days"} | fields
    writer = ChainWriter(path, chain, KEY)
    writer.append(json.dumps(fields, separators=(",", ":")).encode(), signed=True)
    writer.close()


@pytest.mark.parametrize("name", CHAINS)
def test_a_line_of_a_later_version_is_named_with_the_command_that_helps(finished: RunFolder, name: str) -> None:
    later_line(finished, name)
    number = len(bodies(finished, name))
    with pytest.raises(RunStateError) as caught:
        read_run(finished, RING)
    assert f"line {number}: it is of schema {LATER}, written by a later version of aira-bench; " in caught.value.message
    assert re.search(rf"; \d[\w.]* reads schemas 1 to {SCHEMA}\.$", caught.value.message)
    assert name.rpartition("/")[2] in caught.value.message
    assert caught.value.hint == "python -m pip install --upgrade aira-bench"


def test_a_later_line_that_is_none_is_damage(finished: RunFolder) -> None:
    """An event this version knows nothing of, in a schema it knows: no version of ours wrote that."""
    later_line(finished, "seeds/0/journal.jsonl", schema=SCHEMA)
    with pytest.raises(RunStateError, match=r"line 9 was changed or damaged: .*its last good step is 3") as caught:
        read_run(finished, RING)
    assert caught.value.hint == finished.command("resume", "--from-last-good"), "an upgrade would not help"


@pytest.mark.parametrize("schema", [0, 1, -4, float(SCHEMA), float(LATER), "4", True, None, [4], {"a": 4}])
def test_a_schema_that_no_version_has_is_damage(finished: RunFolder, schema: object) -> None:
    later_line(finished, "seeds/0/journal.jsonl", schema=schema)
    with pytest.raises(RunStateError, match="line 9 was changed or damaged"):
        read_run(finished, RING)
    value = json.loads((finished.path / "manifest.json").read_text()) | {"schema_version": schema}
    write_json(finished.path / "manifest.json", value)
    if schema is True or schema != 1:
        with pytest.raises(Unacceptable, match="it is damaged: "):
            load_manifest(finished.path)


@pytest.mark.parametrize(
    ("writer", "said", "hint"),
    [
        ("0.9.1", "written by aira-bench 0.9.1", "python -m pip install --upgrade 'aira-bench>=0.9.1'"),
        ("1.0.0rc2", "written by aira-bench 1.0.0rc2", "python -m pip install --upgrade 'aira-bench>=1.0.0rc2'"),
        ("1; rm -rf /", "a later version of aira-bench", "python -m pip install --upgrade aira-bench"),
        ("\x1b[31m", "a later version of aira-bench", "python -m pip install --upgrade aira-bench"),
        (None, "a later version of aira-bench", "python -m pip install --upgrade aira-bench"),
        ({"a": 1}, "a later version of aira-bench", "python -m pip install --upgrade aira-bench"),
    ],
)
def test_a_manifest_of_a_later_version_names_it_if_it_is_one(
    finished: RunFolder, writer: object, said: str, hint: str
) -> None:
    path = finished.path / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"schema_version": LATER, "aira_bench": writer, "novelty": [1]})
    with pytest.raises(RunStateError) as caught:
        read_run(finished, RING)
    assert said in caught.value.message
    assert f"manifest.json: it is of schema {LATER}" in caught.value.message
    assert caught.value.hint == hint


@pytest.fixture
def place(tmp_path: Path, finished: RunFolder) -> Place:
    """A folder of two runs, `a` and the recorded one, of which `a` is signed by a trusted key."""
    found = Place(tmp_path / "home", finished.path.parent)
    KeyFolder(found.home / "keys").trust(KEY.public)
    shutil.copytree(HERE / "greedy-mad-2p", found.runs / "greedy-mad-2p")
    return found


@pytest.mark.parametrize(
    "make", [lambda folder: later_line(folder, "seeds/0/journal.jsonl"), lambda folder: _later_manifest(folder)]
)
def test_commands_say_it_in_one_line_and_show_the_other_runs(
    place: Place, make: Callable[[RunFolder], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(place.run("a"))
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    for command in (["status"], ["leaderboard"], ["status", "a"], ["resume", "a"], ["confirm", "a"]):
        assert run_command_line(command) == 6
        shown = capsys.readouterr()
        (line,) = [line for line in shown.err.splitlines() if line.startswith("aira-bench: error:")]
        assert f"schema {LATER}" in line
        assert "Try: python -m pip install" in line
        assert ("gemini3pro" in shown.out) == (len(command) == 1)


def _later_manifest(folder: RunFolder) -> None:
    path = folder.path / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"schema_version": LATER})


@given(st.integers() | st.floats() | st.text() | st.booleans() | st.none())
def test_only_a_whole_number_above_this_schema_is_a_later_one(found: object) -> None:
    if type(found) is int and found > SCHEMA:
        with pytest.raises(LaterSchema, match=f"schema {found}, "):
            require_known(found)
    else:
        require_known(found)


def test_a_reason_keeps_its_kind_and_its_command_when_files_are_named() -> None:
    expected = pytest.raises(LaterSchema, match=r"^seed 0: journal\.jsonl: it is of schema 9")
    with expected as caught, naming("seed 0"), naming("journal.jsonl"):
        require_known(9)
    assert caught.value.hint is not None
