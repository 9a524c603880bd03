"""Records of runs: whatever is changed in a finished signed run is named, and what a stranger signs is shown as such."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.boards.board import build_tables
from aira_bench.boards.formats import records, to_markdown
from aira_bench.errors import RunStateError
from aira_bench.files import write_json
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.llm.model import Completion, CompletionRequest, Message
from aira_bench.llm.recording import Exchange
from aira_bench.record.chain import read_chain
from aira_bench.record.confirmations import add_confirmation
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import Event, JournalFile, SeedEnded, StepStarted
from aira_bench.record.node import best_node
from aira_bench.record.run_record import read_run, read_runs
from aira_bench.record.schema import SCHEMA
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from aira_bench.record.trust import read_resumable
from aira_bench.runs.in_flight import set_aside_unvouched_calls
from generated_runs import LONG_AGO, copy_seed, manifest, write_run

KEY, OTHER = MachineKey(b"1" * 32), MachineKey(b"2" * 32)
RING = KeyRing(KEY.public)
FILES = ("seeds/0/journal.jsonl", "seeds/0/hidden/scores.jsonl", "manifest.json", "seeds/0/nodes/0002/submission.csv")
REMEMBERED = ("record.jsonl", "seeds/0/hidden/confirmed.jsonl")
"""Files whose last lines somebody elsewhere may lack."""


def finished(runs: Path, name: str = "a", seeds: tuple[int, ...] = (0,), key: MachineKey = KEY) -> RunFolder:
    return write_run(runs, manifest(name, seeds=seeds, steps=4), invalid_share=0.0, key=key)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished(tmp_path_factory.mktemp("runs"), seeds=(0, 1))


def confirmed(folder: RunFolder, key: MachineKey = KEY, seen: Path | None = None) -> None:
    record = read_run(folder, KeyRing(key.public))
    node = record.seeds[0].submitted
    assert node is not None
    assert node.artifact_sha256 is not None
    keeper = Keeper(folder, key, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(seen))
    add_confirmation(keeper, 0, node.artifact_sha256, TrustedScore(node.step, 0.4, 0.4, "1", "judge:1", 2.0))


def fault(folder: RunFolder, ring: KeyRing = RING) -> str:
    """What reading a run complains of."""
    with pytest.raises(RunStateError) as caught:
        read_run(folder, ring, "all")
    return str(caught.value)


def test_an_untouched_run_is_signed_here_and_finished(original: RunFolder) -> None:
    record = read_run(original, RING, "all")
    assert record.describe_signer(RING) == "signed here"
    assert record.closed
    assert [len(seed.nodes) for seed in record.seeds] == [4, 4]
    assert read_resumable(original, RING, trust_agent=False) == record


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, KeyRing]:
    """A confirmed run that this machine remembers to have recorded."""
    folder, ring = remembered(tmp_path_factory.mktemp("known"))
    confirmed(folder, seen=ring.seen)
    return folder, ring


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, str, int, int, int]:
    kind = draw(st.sampled_from(["edit", "delete line", "double line", "swap lines", "cut", "insert", "remove file"]))
    return draw(st.sampled_from(FILES + REMEMBERED)), kind, *(draw(st.integers(0, 10**6)) for _ in range(3))  # type: ignore[return-value]


def changed(data: bytes, kind: str, a: int, b: int, value: int) -> bytes | None:
    """The data after one change; None where it removes the file."""
    lines = data.splitlines(keepends=True)
    i, j = a % len(lines), b % len(lines)
    if kind == "edit":
        at = a % len(data)
        return data[:at] + bytes([value % 256]) + data[at + 1 :]
    if kind == "delete line":
        return b"".join(lines[:i] + lines[i + 1 :])
    if kind == "double line":
        return b"".join([*lines[: i + 1], *lines[i:]])
    if kind == "swap lines":
        lines[i], lines[j] = lines[j], lines[i]
        return b"".join(lines)
    if kind == "insert":
        at = a % (len(data) + 1)
        return data[:at] + bytes([value % 256]) + data[at:]
    return data[: a % len(data)] if kind == "cut" else None


def change_and_read(folder: RunFolder, change: tuple[str, str, int, int, int], ring: KeyRing) -> None:
    """One change to a file of a finished run is one line that names run, seed and file."""
    name, kind, *numbers = change
    path = folder.path / name
    data = path.read_bytes()
    new = changed(data, kind, *numbers)
    if new == data or (name == REMEMBERED[1] and new is not None and new.startswith(data)):
        return  # what follows the last line of a chain that can go on was torn by a crash
    try:
        path.unlink() if new is None else path.write_bytes(new)
        said = fault(folder, ring)
    finally:
        path.write_bytes(data)
    assert said.startswith("Run a: ")
    assert "\n" not in said
    assert path.name in said
    if name.startswith("seeds"):
        assert "seed 0: " in said
    if name.endswith("submission.csv"):
        assert "step 2: nodes/0002/submission.csv" in said


@given(change=changes().filter(lambda change: change[0] in FILES))
@settings(max_examples=300, deadline=None)
def test_any_change_to_a_finished_run_is_named(change: tuple[str, str, int, int, int], original: RunFolder) -> None:
    change_and_read(original, change, RING)


@given(change=changes())
@settings(max_examples=300, deadline=None)
def test_where_it_was_recorded_any_change_to_any_chain_is_named(
    change: tuple[str, str, int, int, int], known: tuple[RunFolder, KeyRing]
) -> None:
    change_and_read(known[0], change, known[1])


def test_every_byte_at_which_a_journal_can_be_cut_is_named(original: RunFolder) -> None:
    path = original.path / FILES[0]
    data = path.read_bytes()
    try:
        for length in range(0, len(data), 7):
            path.write_bytes(data[:length])
            assert "journal.jsonl: it has" in fault(original)
    finally:
        path.write_bytes(data)


def copy_seed_before_the_end(folder: RunFolder) -> None:
    copy_seed(folder)
    cut_last_line(folder.path / "record.jsonl")


def cut_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def foreign_seed(folder: RunFolder) -> None:
    other = finished(folder.path.parent / "elsewhere", "b")
    shutil.rmtree(folder.seed(0).path)
    shutil.move(other.seed(0).path, folder.seed(0).path)
    cut_last_line(folder.path / "record.jsonl")


def strip_signatures(folder: RunFolder) -> None:
    """A journal written anew by somebody without a key."""
    from aira_bench.record.journal import JournalFile

    events = folder.seed(0).events
    folder.seed(0).journal.unlink()
    journal = JournalFile(folder.seed(0).journal)
    for event in events:
        journal.append(event)
    journal.close()
    cut_last_line(folder.path / "record.jsonl")


def unsigned_line(folder: RunFolder) -> None:
    import re

    path = folder.seed(0).journal
    *lines, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, re.sub(rb'"signature":"[^"]*",', b"", last)]))
    cut_last_line(folder.path / "record.jsonl")


def extra_file(folder: RunFolder) -> None:
    (folder.seed(0).node(3) / "solution.py").write_text("print('planted')")


def extra_score(folder: RunFolder) -> None:
    score = next(iter(folder.seed(0).scores.read().values()))
    folder.seed(0).scores.append(replace(score, test=0.99))


def manifest_of_schema_1(folder: RunFolder) -> None:
    path = folder.path / "manifest.json"
    path.write_text(path.read_text().replace(f'"schema_version": {SCHEMA}', '"schema_version": 1'))
    (folder.path / "record.jsonl").unlink()


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (copy_seed, "seed 1: journal.jsonl: its last link is not the one in the run's end record"),
        (copy_seed_before_the_end, "seed 1: journal.jsonl: it was copied: it is the journal of seed 0"),
        (foreign_seed, "seed 0: journal.jsonl: it was copied: it is of run"),
        (strip_signatures, "seed 0: journal.jsonl: it is of version 1, without signatures"),
        (unsigned_line, "seed 0: journal.jsonl: line 10 has no signature"),
        (extra_file, "seed 0: step 3: nodes/0003/solution.py was not there"),
        (extra_score, "seed 0: hidden/scores.jsonl: line 5 is a score that no step was recorded with"),
        (manifest_of_schema_1, "seed 0: journal.jsonl: it is signed, but the manifest is of schema 1"),
        (lambda folder: (folder.path / "record.jsonl").unlink(), "record.jsonl: it is missing"),
        (lambda folder: (folder.path / "manifest.json").unlink(), "manifest.json: it is missing"),
        (lambda folder: shutil.rmtree(folder.seed(1).path), "seed 1: journal.jsonl: it has 0 whole lines"),
    ],
)
def test_what_can_be_doctored_is_named(tmp_path: Path, tamper: Callable[[RunFolder], object], said: str) -> None:
    folder = finished(tmp_path, seeds=(0, 1))
    tamper(folder)
    assert said in fault(folder)


def resubmit(folder: RunFolder, key: MachineKey | None) -> None:
    """The journal written anew with another submitted step, and all that its writer can sign."""
    from aira_bench.record.journal import JournalFile, SeedEnded, open_journal

    path = folder.seed(0).journal
    opening, *events = open_journal(path).events
    end = events[-1]
    assert isinstance(end, SeedEnded)
    assert end.submitted is not None
    worse = 1 if end.submitted != 1 else 2
    path.unlink()
    journal = JournalFile(path, key, opening if key else None)  # type: ignore[arg-type]
    for event in [*([] if key else [opening]), *events[:-1], replace(end, submitted=worse)]:
        journal.append(event)
    journal.close()
    if key:
        cut_last_line(folder.path / "record.jsonl")


def test_another_submitted_step_is_named_whoever_wrote_it(tmp_path: Path) -> None:
    old = write_run(tmp_path, manifest("old", seeds=(0,), steps=4), invalid_share=0.0)
    opening, *_ = old.seed(0).journal.read_text().splitlines()
    assert "signature" not in opening
    folder = finished(tmp_path)
    resubmit(folder, OTHER)
    assert "is said to be submitted; by the rule of all runs it is step" in fault(folder)


@pytest.mark.parametrize("submitted", [99, 0, -1])
def test_a_submitted_step_that_is_none_is_named_in_unsigned_runs_too(tmp_path: Path, submitted: int) -> None:
    from aira_bench.record.journal import JournalFile, SeedEnded

    folder = write_run(tmp_path, manifest("old", seeds=(0,), steps=4), invalid_share=0.0, end=False)
    journal = JournalFile(folder.seed(0).journal)
    journal.append(SeedEnded("steps", submitted, "t"))
    journal.close()
    assert f"step {submitted} is said to be submitted" in fault(folder)


def test_boards_tell_apart_who_signed(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, "mine"),
        finished(tmp_path, "theirs", key=OTHER),
        write_run(tmp_path, manifest("old", seeds=(0,), steps=4), invalid_share=0.0),
    ]
    (table,) = build_tables(runs, RING)
    digits = OTHER.public[:16]
    assert {row.entry.record for row in table.rows} == {"signed here", f"signed by {digits} (unknown key)", "unsigned"}
    (table,) = build_tables(runs, KeyRing(KEY.public, frozenset({OTHER.public})))
    assert f"signed by {digits} (trusted)" in to_markdown([table])
    (table,) = build_tables(runs[:1], RING)
    assert "signed" not in to_markdown([table]).partition("\n\nSeeds")[0].replace("who signed", "")


def go_on(folder: RunFolder, key: MachineKey, *events: Event) -> None:
    """Append to the journal of seed 0 under a key."""
    journal = JournalFile(folder.seed(0).journal, key)
    for event in events:
        journal.append(event)
    journal.close()


def test_whoever_ends_a_seed_does_not_make_its_steps_his_own(tmp_path: Path) -> None:
    """Steps of another machine stay that machine's, on boards and where the run would go on."""
    folder = write_run(tmp_path, manifest("a", seeds=(0,), steps=2), invalid_share=0.0, key=OTHER, end=False)
    best = best_node(read_run(folder, RING).seeds[0].nodes, lower_is_better=False)
    go_on(folder, KEY, SeedEnded("steps", best.step if best else None, "t"))
    (table,) = build_tables([folder], RING)
    assert table.rows[0].entry.record == f"signed by {OTHER.public[:16]} (unknown key), signed here"
    with pytest.raises(RunStateError, match="unknown key"):
        read_resumable(folder, RING, trust_agent=False)


def test_a_signature_that_another_covers_must_hold_too(tmp_path: Path) -> None:
    """Or a stranger could pretend that this machine had signed his steps."""
    folder = write_run(tmp_path, manifest("a", seeds=(0,), steps=2), invalid_share=0.0, key=OTHER, end=False)
    chain = read_chain(folder.seed(0).journal.read_bytes())
    body, seal = chain.bodies[-1], chain.seals[-2]
    link = hashlib.sha256(seal.encode() + body).hexdigest()
    forged = KEY.sign(b"anything")
    lines = folder.seed(0).journal.read_bytes().splitlines(keepends=True)[:-1]
    lines.append(b'{"chain":"%s","signature":"%s","body":%s}\n' % (link.encode(), forged.encode(), body))
    folder.seed(0).journal.write_bytes(b"".join(lines))
    ended = link + forged, json.dumps(asdict(SeedEnded("steps", 1, "t")), separators=(",", ":")).encode()
    link = hashlib.sha256(ended[0].encode() + ended[1]).hexdigest()
    signature = OTHER.sign(b"aira-bench record 2\n" + link.encode())
    with folder.seed(0).journal.open("ab") as stream:
        stream.write(b'{"chain":"%s","signature":"%s","body":%s}\n' % (link.encode(), signature.encode(), ended[1]))
    assert "its signature does not hold" in fault(folder)


@pytest.mark.parametrize("step", [-7, 1, 2, 4, 10**17])
def test_a_mark_of_a_step_that_is_not_the_next_is_named(tmp_path: Path, step: int) -> None:
    """Such marks have no signature of their own, so anybody can append them to a stopped run."""
    folder = write_run(tmp_path, manifest("a", seeds=(0,), steps=2), invalid_share=0.0, key=KEY, end=False)
    go_on(folder, KEY, StepStarted(3, "t"))
    assert read_run(folder, RING).seeds[0].restarts == 0
    go_on(folder, KEY, StepStarted(step, "t"))
    assert f"begins step {step}, expected 3" in fault(folder)


def test_a_run_again_is_counted_and_does_not_replace_the_first(tmp_path: Path) -> None:
    first = write_run(
        tmp_path, manifest("first", seeds=(0, 1), steps=2), invalid_share=0.0, key=KEY, flags={0: ("looks_ahead",)}
    )
    later = manifest("again", seeds=(0,), steps=2, created="2026-02-01T00:00:00+00:00")
    second = write_run(tmp_path, later, invalid_share=0.0, key=KEY)
    (table,) = build_tables([second, first], RING)
    (row,) = table.rows
    assert row.runs_by_seed == {0: 2, 1: 1}
    assert row.flagged == 1, "the flagged run counts, not the one that was made after it"
    assert records([table])[0]["runs_by_seed"] == "0:2 1:1"
    assert "0 x2" in to_markdown([table])


def test_a_copied_run_counts_once_and_is_named(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    shutil.copytree(folder.path, tmp_path / "b")
    found, faults = read_runs([folder, RunFolder(tmp_path / "b")], RING)
    assert [record.name for record in found] == ["a"]
    assert "Run b: it has the run id of run a" in str(faults[0])


def test_confirmations_are_bound_to_journal_and_artifact_and_signer(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    confirmed(folder)
    ((score,),) = read_run(folder, RING).seeds[0].confirmations.scores.values()
    assert score.test == 0.4
    path = folder.seed(0).path / "hidden" / "confirmed.jsonl"
    data = path.read_bytes()
    for cut in (data.replace(b'"test":0.4', b'"test":0.9'), data.splitlines(keepends=True)[1]):
        path.write_bytes(cut)
        assert "seed 0: hidden/confirmed.jsonl: line 1" in fault(folder).replace("line 2", "line 1")
    path.write_text(json.dumps({"step": 1, "test": 0.9, "validation": None}) + "\n")
    assert "hidden/confirmed.jsonl: it is unsigned, in a run that is signed" in fault(folder)
    path.unlink()
    confirmed(folder, OTHER)
    assert "hidden/confirmed.jsonl: it is signed by" in fault(folder)
    other = finished(tmp_path, "b")
    confirmed(other)
    shutil.copy(other.seed(0).path / "hidden" / "confirmed.jsonl", path)
    assert "hidden/confirmed.jsonl: it was copied" in fault(folder)


def test_a_seed_cut_short_can_go_on_and_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    """Killed between score and journal: the score that no step vouches for goes away."""
    folder = write_run(tmp_path, manifest("cut", seeds=(0,), steps=2), invalid_share=0.0, key=KEY, end=False)
    place = folder.seed(0)
    before = place.scores.path.read_bytes()
    place.scores.append(TrustedScore(3, 0.5, 0.5, "1", "evaluator:1", 1.0))
    with place.scores.path.open("ab") as stream:
        stream.write(b'{"step":3,"te')
    record = read_run(folder, RING)
    assert (len(record.seeds[0].scores), record.closed) == (2, False)
    place.scores.cut(len(record.seeds[0].scores))
    assert place.scores.path.read_bytes() == before


def test_only_runs_of_trusted_keys_go_on(tmp_path: Path) -> None:
    theirs = finished(tmp_path, "theirs", key=OTHER)
    with pytest.raises(RunStateError, match=f"unknown key.*aira-bench key trust {OTHER.public}"):
        read_resumable(theirs, RING, trust_agent=True)
    assert read_resumable(theirs, KeyRing(KEY.public, frozenset({OTHER.public})), trust_agent=False).closed
    old = write_run(tmp_path, manifest("old", seeds=(0,), steps=4))
    with pytest.raises(RunStateError, match=r"unsigned.*resume old --trust-agent"):
        read_resumable(old, RING, trust_agent=False)
    assert read_resumable(old, RING, trust_agent=True).signer is None


def test_an_agents_file_is_the_one_the_run_began_with(tmp_path: Path) -> None:
    import hashlib

    record = manifest(
        "mine", seeds=(0,), steps=4, agent="script:x.py", agent_file_sha256=hashlib.sha256(b"pass\n").hexdigest()
    )
    folder = write_run(tmp_path, record, key=KEY)
    for content, said in ((None, "agent.py is missing"), ("evil\n", "agent.py: it was replaced"), ("pass\n", "")):
        if content is not None:
            folder.agent_file.write_text(content)
        if said:
            with pytest.raises(RunStateError, match=said):
                read_resumable(folder, RING, trust_agent=True)
    assert read_resumable(folder, RING, trust_agent=False).closed
    folder.agent_file.unlink()
    folder.agent_file.symlink_to("/etc/hostname")
    with pytest.raises(RunStateError, match=r"agent\.py: a link, which no run has"):
        read_resumable(folder, RING, trust_agent=False)


def remembered(tmp_path: Path, name: str = "a") -> tuple[RunFolder, KeyRing]:
    """A finished run that this machine remembers to have recorded."""
    seen = tmp_path / "seen"
    folder = write_run(tmp_path / "runs", manifest(name, seeds=(0, 1), steps=3), invalid_share=0.0, key=KEY, seen=seen)
    return folder, KeyRing(KEY.public, frozenset(), seen)


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_where_it_was_recorded_a_run_cut_back_to_an_unfinished_one_is_named(tmp_path: Path, lines: int) -> None:
    folder, ring = remembered(tmp_path)
    cut_last_line(folder.path / "record.jsonl")
    assert read_run(folder, RING).closed is False, "elsewhere it passes for one that was stopped"
    assert "record.jsonl: it has 1 whole lines, but 2 were written here: its end was cut" in fault(folder, ring)
    assert ring.seen is not None
    (ring.seen / read_run(folder, RING).manifest.run_id / "record").unlink()
    for _ in range(lines):
        cut_last_line(folder.seed(1).journal)
    assert "seed 1: journal.jsonl: it has" in fault(folder, ring)
    assert "were written here: its end was cut" in fault(folder, ring)


def test_where_it_was_recorded_a_run_without_its_signatures_is_named(tmp_path: Path) -> None:
    folder, ring = remembered(tmp_path)
    old = write_run(tmp_path / "old", manifest("a", seeds=(0, 1), steps=3), invalid_share=0.0)
    assert read_run(old, RING).describe_signer(RING) == "unsigned"
    assert "record.jsonl: it has 0 whole lines, but 2 were written here" in fault(old, ring)
    assert read_run(folder, ring).closed


def test_confirmations_cut_off_are_named_where_they_were_made(tmp_path: Path) -> None:
    folder, ring = remembered(tmp_path)
    confirmed(folder, seen=ring.seen)
    (folder.seed(0).path / "hidden" / "confirmed.jsonl").unlink()
    assert "hidden/confirmed.jsonl: it has 0 whole lines, but 2 were written here" in fault(folder, ring)


def test_whoever_shows_some_seeds_of_many_says_how_many_others_were_begun(tmp_path: Path) -> None:
    """Named alone, or left after the others were deleted: that is no way to be lucky in one's seeds."""
    shown, ring = remembered(tmp_path, "lucky")
    other = manifest("others", seeds=(1, 7, 8), steps=3)
    write_run(tmp_path / "runs", other, invalid_share=0.0, key=KEY, seen=ring.seen)
    (table,) = build_tables([shown], ring)
    (row,) = table.rows
    assert (row.seeds, dict(row.runs_by_seed), row.runs_not_shown) == ((0, 1), {0: 1, 1: 2, 7: 1, 8: 1}, 3)
    assert "1 x2; 2 seeds not shown" in to_markdown([table])


def test_boards_count_runs_that_were_deleted(tmp_path: Path) -> None:
    flagged, ring = remembered(tmp_path, "flagged")
    again, _ = remembered(tmp_path, "again")
    shutil.rmtree(flagged.path)
    (table,) = build_tables([again], ring)
    (row,) = table.rows
    assert (dict(row.runs_by_seed), row.runs_not_shown) == ({0: 2, 1: 2}, 2)
    assert "0 x2, 1 x2" in to_markdown([table])


def test_a_run_of_the_version_before_reads_as_it_did(tmp_path: Path) -> None:
    folder = RunFolder(Path(__file__).resolve().parents[1] / "recorded" / "greedy-mad-2p")
    record = read_run(folder, RING, "all")
    assert (record.describe_signer(RING), record.manifest.schema_version) == ("unsigned", 1)
    (row,) = build_tables([folder], RING)[0].rows
    assert row.steps == 8
    bodies = [json.loads(line)["body"] for line in folder.seed(0).journal.read_text().splitlines()]
    submitted = bodies[-1]["submitted"]
    scores = [json.loads(line) for line in folder.seed(0).scores.path.read_text().splitlines()]
    (expected,) = [score["test"] for score in scores if score["step"] == submitted]
    assert row.test is not None
    assert row.test.mean == expected


@pytest.mark.timeout(120)
def test_a_run_that_is_being_written_is_never_accused(tmp_path: Path) -> None:
    """Journal, scores and the machine's memory grow while a reader reads."""
    seen, steps = tmp_path / "seen", 120
    record, ring = manifest("live", seeds=(0,), steps=steps), KeyRing(KEY.public, frozenset(), seen)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_run, tmp_path, record, invalid_share=0.0, key=KEY, seen=seen)
        taken = set()
        while not written.done():
            if (tmp_path / "live" / "manifest.json").exists():
                taken.add(len(read_run(RunFolder(tmp_path / "live"), ring, "all").seeds[0].nodes))
        written.result()
    assert len(taken) > 1, "it was read while it grew"
    assert read_run(RunFolder(tmp_path / "live"), ring, "all").closed


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where a JSON value has something that is no object and no list with content."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, inner in items for place in places(inner, (*at, key))]
    yield from found or [at]


def put(value: Any, at: tuple[str | int, ...], new: object) -> None:  # noqa: ANN401
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = new


@pytest.mark.parametrize("name", ["manifest.json", *FILES[:2], *REMEMBERED])
def test_every_field_of_every_file_is_vouched_for(name: str, known: tuple[RunFolder, KeyRing]) -> None:
    path = known[0].path / name
    data = path.read_bytes()
    parts = [data] if name == "manifest.json" else data.splitlines(keepends=True)
    layout: dict[str, Any] = {"indent": 2} if name == "manifest.json" else {"separators": (",", ":")}
    try:
        for index, part in enumerate(parts):
            for at in places(json.loads(part)):
                for new in (None, "x", 3, -1, []):
                    value = json.loads(part)
                    put(value, at, new)
                    line = (json.dumps(value, **layout) + "\n").encode()
                    if line != part:
                        path.write_bytes(b"".join([*parts[:index], line, *parts[index + 1 :]]))
                        assert path.name in fault(known[0]), (name, index, at, new)
    finally:
        path.write_bytes(data)


def test_answers_of_a_step_in_flight_are_used_again_only_where_they_were_recorded(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    folder = write_run(tmp_path, manifest("a", seeds=(0,), steps=2), invalid_share=0.0, key=KEY, end=False, seen=seen)
    call = folder.seed(0).calls(3) / "propose" / "call_000.json"
    call.parent.mkdir(parents=True)
    asked = CompletionRequest(system="", messages=(Message("user", "x"),))
    write_json(call, Exchange(asked, Completion("y", "stop", "m")).to_json())
    record = read_run(folder, RING, "all")
    set_aside_unvouched_calls(record, KeyRing(KEY.public, frozenset(), seen))
    assert call.exists()
    set_aside_unvouched_calls(record, RING)
    assert not call.exists()
    kept = folder.seed(0).calls(3) / "attempt_1" / "propose" / "call_000.json"
    assert kept.exists(), "and counts as paid for"
    for torn, anew in ((True, False), (False, True)):
        write_json(call, {"torn": True} if torn else json.loads(kept.read_bytes()))
        set_aside_unvouched_calls(record, KeyRing(KEY.public, frozenset(), seen), ask_anew=anew)
        assert not call.exists(), "what cannot be read, or may be an answer to another prompt, is asked anew"


def test_a_run_of_a_file_whose_name_is_no_text_can_be_read(tmp_path: Path) -> None:
    """Python gives such names halves of surrogate pairs, which JSON spells and pydantic does not read."""
    record = manifest("a", seeds=(0,), steps=2, task_title="\ud800")
    plan = record.plan.model_copy(update={"agent": "script:a\udcff.py"})
    found = read_run(write_run(tmp_path, record.model_copy(update={"plan": plan}), key=KEY), RING)
    assert found.manifest.plan.agent == "script:a\\udcff.py"
