"""Splits: carved the same for agents and judges, disjoint, free of near duplicates, and read back as written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_archives import pair_line, prose, release, reviews, write_archive
from written_expressions import to_text

from aira_evaluator.lra.contract.profiles import CPU_LISTOPS, CPU_RETRIEVAL, CPU_TEXT, LraProfile, SplitSizes
from aira_evaluator.lra.contract.splits import (
    DataError,
    LabelledSplit,
    Sequences,
    SplitManifest,
    read_split,
    write_split,
)
from aira_evaluator.lra.contract.submission import CONTRACTS, TaskName
from aira_evaluator.lra.prepare import aan, imdb
from aira_evaluator.lra.prepare.build import (
    Counted,
    carve_hidden,
    carve_public,
    listops_hidden,
    listops_public,
    public_pools,
    synthetic_pool,
)
from aira_evaluator.lra.prepare.synthetic import CLOSINGS, FIRST_MARK, OPENINGS, SECOND_MARK
from aira_evaluator.task_scripts.hidden import HiddenSeeds

SEEDS = {"search": HiddenSeeds(11, 12, 13), "final": HiddenSeeds(21, 22, 23)}
SIZES = SplitSizes(train=None, validation=20, hidden_validation=50, hidden_test=50)
TEXT, RETRIEVAL = replace(CPU_TEXT, sizes=SIZES), replace(CPU_RETRIEVAL, sizes=SIZES)


def examples(split: LabelledSplit) -> list[tuple[bytes, ...]]:
    return [tuple(split.sequences[int(index)].tobytes() for index in row) for row in split.rows]


def carve(raw: Path, profile: LraProfile) -> dict[str, Counted]:
    pools = public_pools(profile.task, raw, raw)
    public = carve_public(profile, pools.public, pools.empty["train"])
    hidden = carve_hidden(profile, pools, SEEDS)
    return public | {f"{seed_set} {split}": made for (seed_set, split), made in hidden.items()}


def test_reviews_are_shared_out_without_overlap_or_loss(tmp_path: Path) -> None:
    write_archive(tmp_path / imdb.ARCHIVE, reviews(120))
    made = carve(tmp_path, TEXT)
    sizes = {name: len(part.split) for name, part in made.items()}
    hidden = ("search validation", "search test", "final validation", "final test")
    assert sizes == {"train": 220, "validation": 20, **dict.fromkeys(hidden, 50)}
    held = [text for part in made.values() for text in examples(part.split)]
    assert len(set(held)) == len(held) == 440
    official_test = {(prose(f"test{name}{number}"),) for name in ("pos", "neg") for number in range(120)}
    assert {text for name in hidden for text in examples(made[name].split)} <= official_test


def _names() -> list[str]:
    return [f"{part}{name}{number}" for part in imdb.PARTS for name in ("pos", "neg") for number in range(120)]


def test_labels_stay_with_their_texts(tmp_path: Path) -> None:
    write_archive(tmp_path / imdb.ARCHIVE, reviews(120))
    label_of = {prose(name): int("pos" in name) for name in _names()}
    for part in carve(tmp_path, TEXT).values():
        assert [label_of[text] for (text,) in examples(part.split)] == list(part.split.labels)


def test_near_duplicates_of_earlier_splits_are_left_out_and_counted(tmp_path: Path) -> None:
    members = reviews(130)
    copies = [(f"aclImdb/test/pos/{900 + n}_8.txt", prose(f"trainneg{n}") + b" indeed") for n in range(17)]
    twins = [(f"aclImdb/test/pos/{950 + n}_8.txt", prose(f"testneg{n}").upper()) for n in range(5)]
    write_archive(tmp_path / imdb.ARCHIVE, [*members, *copies, *twins])
    made = carve(tmp_path, TEXT)
    hidden = {text.lower() for name in made if " " in name for (text,) in examples(made[name].split)}
    assert not hidden & {data for _, data in copies}
    assert made["search test"].counts["near_duplicates_in_the_pool"] == 17 + 5
    everything = [text.lower() for part in made.values() for (text,) in examples(part.split)]
    assert len(set(everything)) == len(everything)


def test_public_validation_loses_what_train_holds(tmp_path: Path) -> None:
    copies = [(f"aclImdb/train/pos/{500 + n}_8.txt", prose("trainpos0") + b" " * n) for n in range(60)]
    write_archive(tmp_path / imdb.ARCHIVE, [*reviews(120), *copies])
    made = carve(tmp_path, TEXT)
    assert made["validation"].counts["near_duplicates"] > 0
    assert len(made["validation"].split) == 20 - made["validation"].counts["near_duplicates"]
    assert not set(examples(made["validation"].split)) & set(examples(made["train"].split))


def test_the_hidden_seeds_decide_the_hidden_splits_and_nothing_public(tmp_path: Path) -> None:
    write_archive(tmp_path / imdb.ARCHIVE, reviews(120))
    pools = public_pools("text", tmp_path, tmp_path)
    other = {**SEEDS, "search": HiddenSeeds(99, 12, 13)}
    drawn = [carve_hidden(TEXT, pools, seeds)["search", "test"].split for seeds in (SEEDS, SEEDS, other)]
    assert examples(drawn[0]) == examples(drawn[1])
    assert set(examples(drawn[0])) != set(examples(drawn[2]))


@pytest.mark.parametrize("task", ["text", "retrieval"])
def test_what_one_key_confirms_on_no_search_under_another_has_seen(tmp_path: Path, task: TaskName) -> None:
    if task == "text":
        copies = [(f"aclImdb/test/pos/{500 + n}_8.txt", prose(f"testpos{n}") + b" " * n) for n in range(60)]
        write_archive(tmp_path / imdb.ARCHIVE, [*reviews(120), *copies])
    else:
        write_archive(tmp_path / aan.ARCHIVE, release(230))
    pools = public_pools(task, tmp_path, tmp_path)
    small = replace(SIZES, validation=20, hidden_validation=50, hidden_test=50)
    profile = replace(TEXT if task == "text" else RETRIEVAL, sizes=small)
    keyed = [{name: HiddenSeeds(*(base + offset for offset in range(3))) for name, base in sets.items()}
             for sets in ({"search": 100, "final": 200}, {"search": 300, "final": 400})]  # fmt: skip
    one, other = (
        {place: {frozenset(text.strip() for text in each) for each in examples(made.split)}
         for place, made in carve_hidden(profile, pools, seeds, sets_are_public=True).items()}
        for seeds in keyed
    )  # fmt: skip
    assert one["final", "test"] != other["final", "test"]
    for split in ("validation", "test"):
        for of_final in ("validation", "test"):
            assert not one["search", split] & other["final", of_final]
            assert not one["search", split] & one["final", of_final]
    assert all(place_of for place_of in one.values())


def test_pairs_keep_their_official_parts_and_shared_documents_are_counted(tmp_path: Path) -> None:
    lines = b"".join(pair_line(1, prose(f"train{n}"), prose(f"strange{n}")) for n in range(9))
    members = [(name, data + lines if name.endswith("test.tsv") else data) for name, data in release(130)]
    write_archive(tmp_path / aan.ARCHIVE, members)
    made = carve(tmp_path, RETRIEVAL)
    strange = {prose(f"strange{n}") for n in range(9)} | {prose(f"train{n}") for n in range(9)}
    for name, part in made.items():
        official = "eval" if name.endswith(" validation") else "test" if " " in name else "train"
        own = {prose(f"{official}{number}") for number in range(131)}
        held = {document for pair in examples(part.split) for document in pair}
        assert held <= (own | strange if official == "test" else own), name
    counts = [made[f"{seed_set} test"].counts["with_1_documents_of_train"] for seed_set in SEEDS]
    assert 0 < sum(counts) <= 9


def test_a_pair_turned_round_is_the_same_pair(tmp_path: Path) -> None:
    turned = b"".join(pair_line(0, prose(f"train{n + 1}"), prose(f"train{n}")) for n in range(40))
    half = b"".join(pair_line(0, prose(f"train{n + 1}"), prose(f"train{n + 70}")) for n in range(10))
    members = [(name, data + turned + half if name.endswith("test.tsv") else data) for name, data in release(130)]
    write_archive(tmp_path / aan.ARCHIVE, members)
    made = carve(tmp_path, RETRIEVAL)
    assert made["final test"].counts["near_duplicates_in_the_pool"] == 40
    public = {frozenset(pair) for name in ("train", "validation") for pair in examples(made[name].split)}
    assert not public & {frozenset(pair) for name in made if " " in name for pair in examples(made[name].split)}


def test_a_small_pool_is_shared_in_proportion_and_one_too_small_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / imdb.ARCHIVE, reviews(120))
    pools = public_pools("text", tmp_path, tmp_path)
    wide = replace(TEXT, sizes=replace(SIZES, hidden_validation=100, hidden_test=100))
    assert {len(part.split) for part in carve_hidden(wide, pools, SEEDS).values()} == {60}
    lopsided = replace(TEXT, sizes=replace(SIZES, hidden_validation=20, hidden_test=100))
    with pytest.raises(DataError, match="20 examples for search validation, at least 50"):
        carve_hidden(lopsided, pools, SEEDS)
    with pytest.raises(DataError, match="the train data has 240 examples, too few"):
        carve_public(replace(TEXT, sizes=replace(SIZES, validation=200)), pools.public)


def test_listops_splits_share_no_expression() -> None:
    small = replace(CPU_LISTOPS, sizes=SplitSizes(300, 60, 60, 60))
    seen: set[bytes] = set()
    made = list(listops_public(small, workers=1, seen=seen).values())
    made += listops_hidden(small, SEEDS, workers=1, seen=seen).values()
    expressions = [to_text(part.split.sequences[i]) for part in made for i in range(len(part.split))]
    assert len(set(expressions)) == len(expressions) == 300 + 5 * 60


def test_a_synthetic_texts_class_is_the_order_of_two_marks_far_apart(tmp_path: Path) -> None:
    split = synthetic_pool(CPU_TEXT, 200, 5, tmp_path)
    length = CPU_TEXT.defaults.seq_len
    for (text,), label in zip(examples(split), split.labels, strict=True):
        words = text.split(b" ")
        first, second = words.index(FIRST_MARK), words.index(SECOND_MARK)
        assert label == (second < first)
        assert abs(first - second) >= len(words) // 3
        assert words.count(FIRST_MARK) == words.count(SECOND_MARK) == 3
        assert len(text) <= length
    assert 60 < split.labels.sum() < 140


def test_a_synthetic_pair_matches_where_opening_and_closing_agree(tmp_path: Path) -> None:
    split = synthetic_pool(CPU_RETRIEVAL, 200, 5, tmp_path)
    for pair, label in zip(examples(split), split.labels, strict=True):
        kinds = []
        for document in pair:
            words = document.split(b" ")
            openings, closings = ([word for word in words if word in marks] for marks in (OPENINGS, CLOSINGS))
            assert len(openings) == len(closings) == 3
            last_opening = max(place for place, word in enumerate(words) if word == openings[0])
            assert words.index(closings[0]) - last_opening >= len(words) // 2 - 1
            kinds.append((set(openings), set(closings)))
        assert label == (kinds[0] == kinds[1])
        assert all(len(marks) == 1 for marks in kinds[0] + kinds[1])
    assert 60 < split.labels.sum() < 140


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6), st.integers(1, 24))
def test_token_ids_are_symbols_plus_one_cut_and_padded(texts: list[bytes], length: int) -> None:
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    ids = Sequences(np.frombuffer(b"".join(texts), np.uint8), offsets).token_ids(length)
    expected = [[byte + 1 for byte in text[:length]] + [0] * (length - len(text)) for text in texts]
    assert ids.dtype == np.uint16
    assert ids.tolist() == expected


def small_split(task: TaskName = "text") -> LabelledSplit:
    rows = np.array([[0], [1]] if CONTRACTS[task].documents == 1 else [[0, 1], [1, 0]], np.int32)
    symbols = np.array([3, 4, 5, 6, 7], np.uint8)
    return LabelledSplit(Sequences(symbols, np.array([0, 2, 5], np.int64)), rows, np.array([0, 1], np.uint8))


@pytest.mark.parametrize("task", list(CONTRACTS))
def test_a_split_reads_back_as_written(tmp_path: Path, task: TaskName) -> None:
    manifest = SplitManifest("cpu", task, "test", "synthetic", True, "final", 77, {"empty": 3})
    write_split(tmp_path, small_split(task), manifest)
    split, found = read_split(tmp_path)
    assert found == manifest
    assert examples(split) == examples(small_split(task))
    assert list(split.labels) == [0, 1]
    assert isinstance(split.sequences.symbols, np.memmap)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("symbols", np.array([object()]), "Python objects in dtype"),
        ("symbols", np.array([3, 4, 5, 6], np.uint8), "offsets do not cover the 4 symbols"),
        ("offsets", np.array([0, 0, 5], np.int64), "a sequence is empty or longer than 8192"),
        ("offsets", np.array([0, 2, 5], np.int32), "int32, expected int64"),
        ("rows", np.array([[0], [2]], np.int32), "rows name sequences beyond the 2 there are"),
        ("rows", np.array([[0, 1]], np.int32), r"rows have shape \(1, 2\), expected \(2, 1\)"),
        ("labels", np.array([0, 2], np.uint8), "label 2, expected at most 1"),
    ],
)
def test_a_damaged_split_is_named(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    write_split(tmp_path, small_split(), SplitManifest("cpu", "text", "train", "public", False))
    np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path)


def test_a_split_cut_short_or_not_ours_is_named(tmp_path: Path) -> None:
    write_split(tmp_path, small_split(), SplitManifest("cpu", "text", "train", "public", False))
    whole = (tmp_path / "symbols.npy").read_bytes()
    for size in (0, 20, len(whole) - 2):
        (tmp_path / "symbols.npy").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"symbols\.npy"):
            read_split(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for wrong in ({**manifest, "surprise": 1}, {**manifest, "profile": "huge"}, {**manifest, "schema": 9}, []):
        (tmp_path / "manifest.json").write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=r"manifest\.json: "):
            read_split(tmp_path)
