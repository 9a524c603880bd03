"""Whose code a run folder makes this machine import: nobody's that a stranger names."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from aira_bench.agents.catalog import find_agent
from aira_bench.boards.board import build_tables
from aira_bench.errors import RunStateError, UsageError
from aira_bench.extensions import ExtensionRecord, Kind
from aira_bench.files import Unacceptable
from aira_bench.keys import KeyFolder, KeyRing, MachineKey
from aira_bench.paths import HostPaths
from aira_bench.record.conditions import comparable_with
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest, encode_manifest, load_manifest
from aira_bench.record.run_record import read_run
from aira_bench.record.trust import read_confirmable, read_resumable, require_known_search
from aira_bench.runs.extensions_used import require_same
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import resolve
from aira_bench.world import SystemWorld
from generated_runs import manifest, write_run

OURS, STRANGER = MachineKey(bytes(32)), MachineKey(bytes([7] * 32))
RING = KeyRing(OURS.public)
MINE = ExtensionRecord("mine", "mine:Policy", "mine-dist", "1.0", "a" * 64)


def of(
    plan: Mapping[str, object], *, key: MachineKey | None, tmp: Path, extensions: dict[Kind, ExtensionRecord]
) -> RunFolder:
    """A run whose plan has these fields, signed by `key`."""
    record = manifest("found", seeds=(0,), steps=2)
    record = record.model_copy(update={"plan": record.plan.model_copy(update=plan), "extensions": extensions})
    return write_run(tmp / "runs", record, key=key)


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that leaves a mark when it is imported."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "trap_for_tests.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(site))
    return tmp_path / "mark"


REFERENCES: Mapping[str, Mapping[str, object]] = {
    "scaffold": {"scaffold": "trap_for_tests:Policy"},
    "task": {"task": "trap_for_tests:folder"},
    "evaluator": {"evaluator": "trap_for_tests:Judge"},
}


@pytest.mark.parametrize("signer", [None, STRANGER], ids=["unsigned", "a stranger's"])
@pytest.mark.parametrize("kind", list(REFERENCES))
def test_a_stranger_s_run_is_not_replayed_with_code_it_names(
    tmp_path: Path, marked: Path, kind: str, signer: MachineKey | None
) -> None:
    of(REFERENCES[kind], key=signer, tmp=tmp_path, extensions={})
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    with pytest.raises(RunStateError, match=f"its {kind} is trap_for_tests:") as caught:
        resolve(RunRequest("replay:found"), paths, SystemWorld())
    assert "would be imported and run on this machine" in caught.value.message
    assert (caught.value.hint is None) == (signer is None), "a key can be trusted, an unsigned run cannot"
    assert not marked.exists()


@pytest.mark.parametrize("kind", ["task", "evaluator"])
def test_a_stranger_s_run_is_not_confirmed_with_code_it_names(tmp_path: Path, marked: Path, kind: str) -> None:
    folder = of(REFERENCES[kind], key=STRANGER, tmp=tmp_path, extensions={})
    with pytest.raises(RunStateError, match=f"its {kind} is trap_for_tests:"):
        read_confirmable(folder, RING)
    assert not marked.exists()


@pytest.mark.parametrize("kind", [*REFERENCES, "agent"])
def test_a_stranger_s_run_does_not_go_on_whatever_it_names(tmp_path: Path, marked: Path, kind: str) -> None:
    plan = REFERENCES.get(kind, {"agent": "trap_for_tests:Agent"})
    with pytest.raises(RunStateError, match="unknown key"):
        read_resumable(of(plan, key=STRANGER, tmp=tmp_path, extensions={}), RING, trust_agent=True)
    unsigned = of({**plan, "name": "old"}, key=None, tmp=tmp_path, extensions={})
    with pytest.raises(RunStateError, match="--trust-agent"):
        read_resumable(unsigned, RING, trust_agent=False)
    assert not marked.exists()


def test_a_trusted_key_s_run_may_name_code(tmp_path: Path, marked: Path) -> None:
    folder = of(REFERENCES["scaffold"], key=STRANGER, tmp=tmp_path, extensions={})
    require_known_search(read_run(folder, KeyRing(None, frozenset({STRANGER.public}))), KeyRing(STRANGER.public))
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    KeyFolder(paths.keys).trust(STRANGER.public)
    with pytest.raises(UsageError, match="has no attribute 'Policy'"):
        resolve(RunRequest("replay:found"), paths, SystemWorld())
    assert marked.exists(), "with consent it is imported"


def test_built_in_names_need_no_consent(tmp_path: Path) -> None:
    folder = of({"scaffold": "greedy:aide", "agent": "bayes:incremental"}, key=STRANGER, tmp=tmp_path, extensions={})
    require_known_search(read_run(folder, RING), RING)


def test_an_extension_s_agent_is_run_again_and_not_replayed(tmp_path: Path, marked: Path) -> None:
    of({"agent": "trap_for_tests:Agent"}, key=OURS, tmp=tmp_path, extensions={"agent": MINE})
    with pytest.raises(UsageError, match="the extension mine:Policy, whose calls are not recorded") as caught:
        find_agent("replay:found", None, HostPaths(tmp_path / "home", tmp_path / "runs"))
    assert caught.value.hint == "aira-bench run --agent trap_for_tests:Agent --task mad-2p"
    assert not marked.exists()


# What a manifest keeps, and what follows from it


def test_a_manifest_keeps_extensions_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    made = manifest("kept", seeds=(0,), steps=1).model_copy(update={"extensions": {"scaffold": MINE}})
    (tmp_path / "manifest.json").write_bytes(encode_manifest(made))
    assert load_manifest(tmp_path)[0].extensions == {"scaffold": MINE}
    text = (tmp_path / "manifest.json").read_text()
    for old, new in (('"version": "1.0"', '"versoin": "1.0"'), ('"scaffold": {', '"scafold": {'), ('"1.0"', "1.0")):
        assert text.count(old) == 1
        (tmp_path / "manifest.json").write_text(text.replace(old, new))
        with pytest.raises(Unacceptable, match="it is damaged"):
            load_manifest(tmp_path)


def test_a_manifest_without_extensions_is_read_as_one_that_stands_on_none(tmp_path: Path) -> None:
    made = manifest("before", seeds=(0,), steps=1).model_dump(mode="json")
    for field in ("evaluator", "provider"):
        del made["plan"][field]
    del made["extensions"]
    assert Manifest.model_validate_json(json.dumps(made)).extensions == {}


@pytest.mark.parametrize(
    "change", [{"sha256": "b" * 64}, {"version": "1.1"}, {"distribution": None, "version": None}, {"target": "mine:P"}]
)
def test_a_run_goes_on_with_the_same_extension_only(tmp_path: Path, change: dict[str, object]) -> None:
    record = read_run(of({}, key=OURS, tmp=tmp_path, extensions={"scaffold": MINE}), RING)
    require_same(record, {"scaffold": MINE}, ["agent", "scaffold"])
    other = ExtensionRecord(**({**vars(MINE)} | change))
    with pytest.raises(RunStateError, match="its scaffold changed since it began") as caught:
        require_same(record, {"scaffold": other}, ["agent", "scaffold"])
    assert caught.value.hint == "pip install mine-dist==1.0"
    with pytest.raises(RunStateError, match="none of another distribution now"):
        require_same(record, {}, ["scaffold"])
    with pytest.raises(RunStateError, match=r"its agent changed.*none of another distribution then"):
        require_same(record, {"scaffold": MINE, "agent": MINE}, ["agent", "scaffold"])
    require_same(record, {"scaffold": MINE, "agent": MINE}, ["scaffold"])


def test_scores_of_an_extension_compare_with_those_of_the_same_code_alone() -> None:
    plain = manifest("plain", seeds=(0,), steps=1)
    scored = [
        plain.model_copy(update={"extensions": {"evaluator": ExtensionRecord("e", target, None, None, digest * 64)}})
        for target, digest in (("mine:Judge", "a"), ("mine:Judge", "b"), ("yours:Judge", "a"))
    ]
    assert len({comparable_with(each).key for each in (plain, *scored)}) == 4
    searched = plain.model_copy(update={"extensions": {"scaffold": MINE, "agent": MINE, "provider": MINE}})
    assert comparable_with(searched) == comparable_with(plain), "how it was found changes no score"


def test_two_codes_of_one_name_are_two_rows(tmp_path: Path) -> None:
    folders = []
    for number, digest in enumerate("ab"):
        made = manifest(f"run{number}", seeds=(number,), steps=2)
        record = ExtensionRecord("mine", "mine:Policy", None, None, digest * 64)
        made = made.model_copy(
            update={"extensions": {"scaffold": record}, "plan": made.plan.model_copy(update={"scaffold": "mine"})}
        )
        folders.append(write_run(tmp_path, made, key=OURS))
    (table,) = build_tables(folders, RING)
    assert [row.entry.scaffold for row in table.rows if row.entry.scaffold.startswith("mine [")] != []
    assert {row.entry.scaffold for row in table.rows} == {"mine [aaaaaaaa]", "mine [bbbbbbbb]"}
