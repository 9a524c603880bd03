"""A run goes on with what it began with, or its user accepts by name what changed, and boards say so."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.agents.llm.prompting import prompt_hashes
from aira_bench.api import resume as api_resume
from aira_bench.boards.board import tables_of
from aira_bench.boards.formats import to_markdown
from aira_bench.cards.card_files import load_card
from aira_bench.errors import RunStateError
from aira_bench.extensions import ExtensionRecord
from aira_bench.hardware import Hardware
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_resumable
from aira_bench.runs.changes import differences, require_accepted, require_same_ground
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.provenance import python_version, software_versions, source_revision
from aira_bench.runs.resolve import resolve
from aira_bench.runs.session import Progress
from aira_bench.version import __version__
from aira_bench.waiting import Stopped
from generated_runs import manifest, write_run
from played_host import ProbedSandbox, played_host, played_sandbox, request

KEY = MachineKey(b"8" * 32)
RING = KeyRing(KEY.public)
CARD = """
name = "mine"
title = "Mine"
provider = "openai-compatible"
model = "model-1"
base_url = "http://127.0.0.1:1/v1"
max_output_tokens = 100
[sampling]
temperature = 0.5
[prices]
as_of = 2026-01-01
source = "https://example.org"
usd_per_mtok_input = 1.0
usd_per_mtok_output = 2.0
"""


ANSWER = """
def answer(request):
    return "```python\\nARCHITECTURE = \\"" + ",".join(["M"] * 16) + "\\"\\n```"
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(CARD)
    return path


def of_today(card: Path) -> Manifest:
    """The manifest of a run of that card which began a moment ago."""
    return manifest(
        "run", seeds=(0,), steps=2, agent=str(card), aira_bench=__version__, source_revision=source_revision(),
        python=python_version(), packages=software_versions(), prompts=prompt_hashes(),
        card=load_card(card).model_dump(mode="json"),
    )  # fmt: skip


def recorded(tmp_path: Path, found: Manifest, **options: object) -> RunRecord:
    folder = write_run(tmp_path / "runs", found, key=KEY, end=False, **options)  # type: ignore[arg-type]
    return read_run(folder, RING)


def test_a_run_of_today_has_nothing_to_accept(tmp_path: Path, card: Path) -> None:
    assert differences(recorded(tmp_path, of_today(card))) == ()


EDITS: Mapping[str, tuple[str, str]] = {
    "card model": ('"model-1"', '"model-2"'),
    "card prices.usd_per_mtok_input": ("_input = 1.0", "_input = 3.0"),
    "card sampling.temperature": ("temperature = 0.5", "temperature = 1.5"),
    "card max_output_tokens": ("= 100", "= 200"),
    "card base_url": (":1/v1", ":2/v1"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_changed_card_is_named_by_what_changed_in_it(tmp_path: Path, card: Path, what: str) -> None:
    record = recorded(tmp_path, of_today(card))
    card.write_text(CARD.replace(*EDITS[what]))
    assert [each.what for each in differences(record)] == [what]


def test_a_setting_that_is_taken_out_of_a_card_is_a_change(tmp_path: Path, card: Path) -> None:
    record = recorded(tmp_path, of_today(card))
    card.write_text(CARD.replace("temperature = 0.5", ""))
    (found,) = differences(record)
    assert (found.what, found.then, found.now) == ("card sampling.temperature", "0.5", "none")


THEN: Mapping[str, dict[str, object]] = {
    "aira-bench": {"aira_bench": "0.0.9"},
    "source revision": {"source_revision": "0" * 40},
    "python": {"python": "3.9.1"},
    "package openai": {"packages": software_versions() | {"openai": "0.1"}},
    "package forgotten": {"packages": software_versions() | {"forgotten": "0.1"}},
    "prompt improve.j2": {"prompts": prompt_hashes() | {"improve.j2": "f" * 64}},
}


@pytest.mark.parametrize("what", THEN)
def test_whatever_else_the_manifest_records_is_compared(tmp_path: Path, card: Path, what: str) -> None:
    record = recorded(tmp_path, of_today(card).model_copy(update=THEN[what]))
    found = differences(record)
    assert [each.what for each in found] == [what]
    with pytest.raises(RunStateError, match=f"Run run would go on with what it did not begin with: {what} ") as caught:
        require_accepted(record, found)
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint == f"aira-bench resume run --accept-changes --runs {tmp_path / 'runs'}"


def test_what_scores_depend_on_cannot_be_accepted(tmp_path: Path, card: Path) -> None:
    record = recorded(tmp_path, of_today(card))
    require_same_ground(record, Hardware("test processor", 2, 1024, ()))
    with pytest.raises(RunStateError, match=r"the hardware class changed .*\(test processor then, another now\)"):
        require_same_ground(record, Hardware("another", 2, 1024, ()))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("raise SystemExit('run on the host')")])
def test_a_file_that_holds_an_extension_is_compared_before_it_is_imported(
    tmp_path: Path, card: Path, damage: Callable[[Path], object]
) -> None:
    file = tmp_path / "scaffold.py"
    file.write_text("class Mine: ...")
    used = ExtensionRecord("mine", f"{file}:Mine", None, None, hashlib.sha256(file.read_bytes()).hexdigest())
    record = recorded(tmp_path, of_today(card).model_copy(update={"extensions": {"scaffold": used}}))
    machine = Hardware("test processor", 2, 1024, ())
    require_same_ground(record, machine)
    damage(file)
    with pytest.raises(RunStateError, match="its scaffold changed since it began"):
        require_same_ground(record, machine)


# Whole runs on a played machine


def stopped_run(host: Host, sandbox: ProbedSandbox, agent: str = "evolution") -> RunFolder:
    """A run of four steps that was stopped in its third."""

    def stop(progress: Progress) -> None:
        if progress.step == 3 and progress.phase == "running the solution":
            raise Stopped

    with pytest.raises(Stopped):
        start(host, resolve(request(agent=agent), host.paths, host.world), lambda text: None, stop)
    return RunFolder(host.paths.runs / "run")


def record_of(host: Host, folder: RunFolder) -> RunRecord:
    return read_run(folder, host.keys.ring(), "all")


def test_accepted_changes_are_in_the_record_and_on_boards_and_need_no_second_word(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = stopped_run(host, sandbox)
    before = len(record_of(host, folder).seeds[0].nodes)
    changed = folder.manifest
    assert changed.aira_bench == __version__
    record = read_resumable(folder, host.keys.ring(), trust_agent=False)
    older = replace(
        record, manifest=record.manifest.model_copy(update={"packages": software_versions() | {"openai": "0.1"}})
    )
    with pytest.raises(RunStateError, match=r"package openai 0\.1 then"):
        resume(host, older, print, lambda progress: None)
    assert len(record_of(host, folder).seeds[0].nodes) == before, "nothing was done"
    resume(host, older, lambda text: None, lambda progress: None, accept_changes=True)
    record = record_of(host, folder)
    (accepted,) = record.accepted
    names = {each.what for each in accepted.differences}
    assert "package openai" in names
    assert accepted.finished == ((0, before),)
    assert record.closed
    (table,) = tables_of([record], host.keys.ring())
    assert table.rows[0].entry.changed == ", ".join(sorted(names))
    assert "package" in to_markdown([table])
    later = replace(record, manifest=older.manifest)
    assert differences(later) == (), "what was accepted is what it goes on with"


def test_an_unchanged_run_is_in_its_own_row(tmp_path: Path) -> None:
    host = played_host(tmp_path, played_sandbox())
    folder = start(host, resolve(request(), host.paths, host.world), lambda text: None, lambda progress: None)
    (table,) = tables_of([record_of(host, folder)], host.keys.ring())
    assert table.rows[0].entry.changed == ""
    assert "changed" not in to_markdown([table])


def test_nothing_of_the_folder_runs_before_the_comparison(tmp_path: Path) -> None:
    """`agent.py` would say on disk that it ran."""
    marks, file = tmp_path / "marks", tmp_path / "mine.py"
    file.write_text(f"open({str(marks)!r}, 'a').write('ran ')\n{ANSWER}")
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = stopped_run(host, sandbox, agent=f"script:{file}")
    ran = marks.read_text()
    record = read_resumable(folder, host.keys.ring(), trust_agent=False)
    older = replace(record, manifest=record.manifest.model_copy(update={"prompts": {"gone.j2": "0" * 64}}))
    with pytest.raises(RunStateError, match="would go on with what it did not begin with"):
        resume(host, older, lambda text: None, lambda progress: None)
    assert marks.read_text() == ran
    api_resume(folder.path, host)
    assert len(marks.read_text()) > len(ran)


def test_answers_of_a_step_in_flight_are_asked_anew_where_something_changed_or_they_are_torn(tmp_path: Path) -> None:
    """Neither a torn record of a call nor prompts that changed in the middle of a step block a run for ever."""
    file = tmp_path / "mine.py"
    file.write_text(ANSWER)
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = stopped_run(host, sandbox, agent=f"script:{file}")
    (call,) = [path for path in folder.seed(0).calls(3).glob("*/call_000.json") if path.parent.name != "analyze-1"]
    call.write_bytes(call.read_bytes()[:50])
    api_resume(folder.path, host)
    assert len(record_of(host, folder).seeds[0].nodes) == 4
    assert (folder.seed(0).calls(3) / "attempt_1" / call.parent.name / call.name).exists()
