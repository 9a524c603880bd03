"""Compiled programs on their way between judges, as the host keeps them."""

import os
from pathlib import Path

import pytest

from aira_bench.record import compiled_programs
from aira_bench.record.compiled_programs import CompiledPrograms

GRAPHS = b'{"learning_rate": 0.1}\ngraph of\nseveral lines'


def left(folder: Path, content: bytes) -> Path:
    path = folder / "left.tar"
    path.write_bytes(content)
    return path


def test_programs_belong_to_the_graphs_whatever_the_hyper_parameters(tmp_path: Path) -> None:
    store = CompiledPrograms(tmp_path / "compiled")
    assert store.get(GRAPHS) is None
    store.put(GRAPHS, left(tmp_path, b"native code"))
    assert store.get(GRAPHS) == b"native code"
    assert store.get(GRAPHS.replace(b"0.1", b"0.2")) == b"native code"
    assert store.get(GRAPHS + b" ") is None, "no other submission meets them"
    store.put(GRAPHS, left(tmp_path, b"more"))
    assert store.get(GRAPHS) == b"more"
    store.clear()
    assert store.get(GRAPHS) is None


def test_what_was_not_used_for_longest_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_programs, "MAX_STORED_BYTES", 10)
    store = CompiledPrograms(tmp_path / "compiled")
    names = [b"\nfirst", b"\nsecond", b"\nthird"]
    for age_s, name in zip((300, 200), names, strict=False):
        store.put(name, left(tmp_path, b"12345"))
        newest = max(store.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1e9 - age_s, 1e9 - age_s))
    assert store.get(names[0]) == b"12345"
    store.put(names[2], left(tmp_path, b"12345"))
    assert [store.get(name) is not None for name in names] == [True, False, True]
