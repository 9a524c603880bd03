"""The score cache beside other users of its folder: nothing is believed that this machine did not write there."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.verdict import Scored
from aira_bench.keys import MachineKey

SCORED = Scored(0.5, 0.4, "M,M", "1", 2.0, {"a": [1]}, flags=("looks_ahead",))


def entry(cache: ScoreCache) -> Path:
    (path,) = cache.folder.rglob("*.json")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    made = ScoreCache(tmp_path, ("task", "data"), MachineKey(b"k" * 32))
    made.put("M,M", SCORED)
    return made


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def better(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"test": 0.5', b'"test": 0.9'))


def test_what_was_put_is_got(cache: ScoreCache) -> None:
    assert cache.get("M,M") == replace(SCORED, cached=True)
    assert cache.get("M,mA") is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "spoil",
    [
        pipe, link, better, lambda path: path.chmod(0o666), lambda path: os.truncate(path, 4 * 2**30),
        lambda path: path.write_text('{"test": 0.9}'), lambda path: path.write_bytes(b""),
    ],
)  # fmt: skip
def test_what_somebody_else_left_counts_as_absent_and_is_replaced(
    cache: ScoreCache, spoil: Callable[[Path], object]
) -> None:
    spoil(entry(cache))
    assert cache.get("M,M") is None
    cache.put("M,M", SCORED)
    assert cache.get("M,M") == replace(SCORED, cached=True)


def test_an_entry_moved_to_another_place_or_machine_counts_as_absent(cache: ScoreCache) -> None:
    first = entry(cache)
    cache.put("mA,mA", replace(SCORED, test=0.1))
    (second,) = set(cache.folder.rglob("*.json")) - {first}
    second.write_bytes(first.read_bytes())
    assert cache.get("mA,mA") is None
    assert replace(cache, key=MachineKey(b"o" * 32)).get("M,M") is None
