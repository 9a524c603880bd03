"""Stores, successions and heartbeats: exactly one makes a name, also where answers are lost, and only silence kills."""

import errno
import multiprocessing
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import MachineError, PrerequisiteError
from aira_bench.shared_store.heartbeat import LOOKS, Heartbeat, Watch
from aira_bench.shared_store.in_memory import Faults, MemoryStore, Objects
from aira_bench.shared_store.posix import PosixStore
from aira_bench.shared_store.store import MOST_BYTES, SharedStore
from aira_bench.shared_store.succession import Succession
from aira_bench.world import SystemWorld


@dataclass(frozen=True)
class Clock(SystemWorld):
    """A monotonic clock that a test moves."""

    at: list[float]

    def monotonic_s(self) -> float:
        return self.at[0]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    return PosixStore(tmp_path / "shared") if request.param == "folder" else MemoryStore()


def test_what_is_made_once_stays(store: SharedStore) -> None:
    assert store.get("a/1") is None
    assert store.create("a/1", b"first") == b"first"
    assert store.create("a/1", b"second") == b"first"
    assert store.create("a/1", b"first") == b"first"
    assert store.get("a/1") == b"first"
    assert store.names("a") == ["1"]
    assert store.names("") == ["a"]
    assert store.names("b") == []


def test_what_is_put_is_replaced_and_can_be_removed(store: SharedStore) -> None:
    store.put("beat", b"1")
    store.put("beat", b"2")
    assert store.get("beat") == b"2"
    store.remove("beat")
    store.remove("beat")
    assert store.get("beat") is None
    assert store.create("beat", b"3") == b"3"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../b", ".hidden", "a//b", "a/.b", "a/"])
def test_names_lead_nowhere_else(store: SharedStore, name: str) -> None:
    for ask in (store.get, store.remove, lambda name: store.create(name, b""), lambda name: store.put(name, b"")):
        with pytest.raises(ValueError, match="no name"):
            ask(name)


def test_an_object_is_small(store: SharedStore) -> None:
    assert store.create("most", b"x" * MOST_BYTES) == b"x" * MOST_BYTES
    with pytest.raises(ValueError, match="at most 4,194,304"):
        store.create("more", b"x" * (MOST_BYTES + 1))


def _win(root: str, who: int, won: "multiprocessing.Queue[tuple[int, int]]") -> None:
    succession = Succession(PosixStore(Path(root)), "claims")
    for number in range(1, 41):
        mine = f"{who}".encode() * 3000
        held = succession.claim(number, mine).data
        assert len(set(held)) == 1
        assert len(held) == 3000
        if held == mine:
            won.put((number, who))


def test_of_processes_that_claim_a_number_one_wins_and_all_see_it_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    won: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    processes = [context.Process(target=_win, args=(str(tmp_path), who, won)) for who in range(1, 4)]
    for process in processes:
        process.start()
    winners = [won.get(timeout=60) for _ in range(40)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert won.empty()
    assert Counter(number for number, _ in winners) == Counter(range(1, 41))
    assert not [path for path in tmp_path.rglob("*.tmp")]


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT])
def test_a_link_that_was_made_counts_whatever_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    link = os.link

    def twice(source: Path, target: Path, **options: bool) -> None:
        link(source, target, **options)
        raise OSError(number, "sent twice, answered twice", str(target))

    monkeypatch.setattr(os, "link", twice)
    assert PosixStore(tmp_path).create("1", b"mine") == b"mine"
    assert PosixStore(tmp_path).create("1", b"yours") == b"mine"


def test_a_link_that_failed_is_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: Path, target: Path, **options: bool) -> None:
        raise OSError(errno.EIO, "input/output error", str(target))

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", fails)
        with pytest.raises(MachineError):
            PosixStore(tmp_path).create("1", b"mine")
    assert PosixStore(tmp_path).get("1") is None
    assert PosixStore(tmp_path).create("1", b"yours") == b"yours"


def test_a_file_system_without_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(source: Path, target: Path, **options: bool) -> None:
        raise OSError(errno.EPERM, "operation not permitted", str(target))

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(PrerequisiteError, match="no hard links"):
        PosixStore(tmp_path).create("1", b"mine")
    assert not list(tmp_path.iterdir())


def test_a_swept_temporary_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine may take it for one that a dead process left: locks say nothing between machines."""
    link, rename = os.link, Path.replace
    swept: list[Path] = []

    def sweep(source: Path) -> None:
        if not swept:
            swept.append(source)
            source.unlink()

    def linked(source: Path, target: Path, **options: bool) -> None:
        sweep(source)
        link(source, target, **options)

    def renamed(source: Path, target: Path) -> Path:
        sweep(source)
        return rename(source, target)

    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(Path, "replace", renamed)
    assert PosixStore(tmp_path).create("1", b"mine") == b"mine"
    assert PosixStore(tmp_path).get("1") == b"mine"
    swept.clear()
    PosixStore(tmp_path).put("beat", b"2")
    assert PosixStore(tmp_path).get("beat") == b"2"
    assert len(swept) == 1


def test_readers_never_see_half_of_what_is_put(tmp_path: Path) -> None:
    store, stop, seen = PosixStore(tmp_path), threading.Event(), set()
    store.put("beat", b"0" * 5000)

    def read() -> None:
        while not stop.is_set():
            seen.add(store.get("beat"))

    reader = threading.Thread(target=read)
    reader.start()
    for count in range(200):
        store.put("beat", str(count % 10).encode() * 5000)
    stop.set()
    reader.join()
    assert seen <= {str(digit).encode() * 5000 for digit in range(10)}


FAULTS = Faults(lost_before=0.1, lost_after=0.2, repeated=0.2, stale=0.5)


def _stubborn(succession: Succession, number: int, data: bytes) -> bytes:
    while True:
        try:
            return succession.claim(number, data).data
        except MachineError:
            continue


@pytest.mark.parametrize("seed", range(20))
def test_one_wins_each_number_through_lost_answers_and_stale_views(seed: int) -> None:
    objects, winners = Objects(), Counter[int]()

    def work(who: int) -> None:
        rng = random.Random(f"{seed} {who}")
        succession = Succession(MemoryStore(objects, faults=FAULTS, rng=rng), "claims")
        for turn in range(20):
            try:
                last = succession.last()
            except MachineError:
                continue
            number = last.number + 1 if last else 1
            mine = f"{who} {turn}".encode()
            if _stubborn(succession, number, mine) == mine:
                winners[number] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert winners == Counter(range(1, len(winners) + 1))
    assert Succession(MemoryStore(objects), "claims").last().number == len(winners)  # type: ignore[union-attr]


@given(made=st.integers(0, 300), start=st.integers(0, 300), most=st.sampled_from([1, 2, 16, 64, 1024]))
def test_the_way_to_the_last_number_has_no_step_that_is_too_long(made: int, start: int, most: int) -> None:
    store, start = MemoryStore(), min(start, made)
    succession = Succession(store, "claims")
    for number in range(1, made + 1):
        store.create(succession.name(number), b"x")
    way = [start, *(found.number for found in Succession(store, "claims").ahead(start, most))]
    assert way[-1] == made
    assert all(0 < after - before <= most for before, after in pairwise(way))
    assert len(way) <= (made - start) / most + 2 * most.bit_length() + 1


def test_a_number_lost_to_another_is_known_though_listings_are_stale() -> None:
    objects = Objects()
    stale = Succession(MemoryStore(objects, faults=Faults(stale=1.0), rng=random.Random(1)), "claims")
    Succession(MemoryStore(objects), "claims").claim(1, b"theirs")
    assert stale.claim(1, b"mine").data == b"theirs"
    last = stale.last()
    assert last is not None
    assert (last.number, last.data) == (1, b"theirs")


def test_a_heartbeat_that_goes_on_is_alive_and_one_that_stops_is_dead(store: SharedStore) -> None:
    clock = Clock([0.0])
    watch, heart = Watch(store, 120.0, world=clock), Heartbeat(store, "beat", "a")
    for _ in range(10):
        heart.beat()
        assert not watch.dead("beat")
        clock.at[0] += 30.0
    looks = 0
    while not watch.dead("beat"):
        clock.at[0] += 30.0
        looks += 1
    assert looks == LOOKS - 1, "30 s had passed at the last look"
    assert watch.silent_s("beat") == 120.0
    heart.beat()
    assert not watch.dead("beat"), "a change is life, however late"


def test_an_observer_that_slept_kills_nobody() -> None:
    store, clock = MemoryStore(), Clock([0.0])
    watch, heart = Watch(store, 120.0, world=clock), Heartbeat(store, "beat", "a")
    heart.beat()
    watch.dead("beat")
    clock.at[0] += 100_000.0
    assert not watch.dead("beat")
    assert watch.silent_s("beat") == 120.0 / LOOKS


def test_an_old_beat_that_is_delivered_late_is_no_life() -> None:
    store, clock = MemoryStore(), Clock([0.0])
    watch = Watch(store, 120.0, world=clock)
    store.put("beat", b"a 2\n")
    watch.dead("beat")
    dead = []
    for count in (1, 2, 1, 2):
        clock.at[0] += 30.0
        store.put("beat", f"a {count}\n".encode())
        dead.append(watch.dead("beat"))
    assert dead == [False, False, False, True]


def test_another_claim_starts_anew_and_nobody_is_dead_who_was_not_watched() -> None:
    store, clock = MemoryStore(), Clock([0.0])
    watch = Watch(store, 120.0, world=clock)
    for _ in range(4):
        assert not watch.dead("beat", b"attempt 1")
        clock.at[0] += 30.0
    assert not watch.dead("beat", b"attempt 2")
    assert watch.silent_s("beat") == 0.0
    store.put("beat", b"damaged by hand")
    assert not watch.dead("beat", b"attempt 2")
    watch.forget("beat")
    assert watch.silent_s("beat") == 0.0
