"""Folders of tokens: what a step reads, and what is said of a folder that is not what its manifest says."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_evaluator.pretrain.shards import Description, TokenFolder, step_numbers
from aira_evaluator.pretrain.token_writer import write_tokens
from aira_evaluator.split_manifest import DataError

ABOUT = Description("numbers", "counted", True, "none", "0" * 64, vocabulary=50, separator=49)


def written(folder: Path, *, shard_tokens: int = 20, about: Description = ABOUT) -> TokenFolder:
    """Documents 0 1 2 3, 4 5 6 7 and so on up to 39, and one held out."""
    documents = [np.arange(first, first + 4) for first in range(0, 40, 4)]
    write_tokens(folder, about, documents, [np.array([7, 8, 9])], shard_tokens=shard_tokens)
    return TokenFolder(folder)


def test_documents_follow_each_other_with_separators_and_files_are_cut_between_them(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert [(shard.file, shard.tokens) for shard in folder.manifest.train] == [
        ("train-00000.bin", 20), ("train-00001.bin", 20), ("train-00002.bin", 10),
    ]  # fmt: skip
    assert list(np.fromfile(tmp_path / "train-00001.bin", "<u2")[:6]) == [49, 16, 17, 18, 19, 49]
    # Ten separators among fifty ids, and forty others once each.
    assert folder.manifest.unigram_entropy == pytest.approx(0.2 * math.log(5) + 0.8 * math.log(50))


def test_sequences_overlap_by_the_one_token_that_is_a_target_and_then_an_input(tmp_path: Path) -> None:
    sequences = written(tmp_path).sequences("train", 6)
    # (20 - 1) // 6 = 3 of each whole file, (10 - 1) // 6 = 1 of the last.
    assert len(sequences) == 7
    first, second, of_the_next_file = sequences.read([0, 1, 3])
    assert list(first) == [49, 0, 1, 2, 3, 49, 4]
    assert second[0] == first[-1]
    assert list(of_the_next_file[:3]) == [49, 16, 17]


def test_ids_above_16_bits_have_four_bytes(tmp_path: Path) -> None:
    about = Description("wide", "", False, "", "", vocabulary=128_256, separator=128_000)
    write_tokens(tmp_path, about, [np.array([5, 128_255])], [np.array([1])])
    assert (tmp_path / "train-00000.bin").stat().st_size == 12
    assert list(TokenFolder(tmp_path).sequences("train", 2).read([0])[0]) == [128_000, 5, 128_255]


@given(count=st.integers(1, 40), step_sequences=st.integers(1, 9), seed=st.integers(0, 2**40))
def test_every_epoch_reads_every_sequence_once(count: int, step_sequences: int, seed: int) -> None:
    steps = 3 * count  # at least three epochs
    read = [number for step in range(steps) for number in step_numbers(count, step, step_sequences, seed)]
    for epoch in range(len(read) // count):
        assert sorted(read[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_the_order_is_that_of_seed_and_epoch_and_the_same_everywhere() -> None:
    assert step_numbers(1000, 0, 1000, 1) != step_numbers(1000, 0, 1000, 2)
    assert step_numbers(1000, 0, 1000, 1) != step_numbers(1000, 1, 1000, 1)
    # Written down once: another numpy or machine must not give another.
    assert step_numbers(1000, 0, 6, 0) == [int(each) for each in by_hand(1000, 0, 0)[:6]]


def by_hand(count: int, seed: int, epoch: int) -> list[int]:
    """The same hashes in Python's integers."""
    import hashlib

    word = 2**64 - 1
    key = int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8], "little")

    def mixed(number: int) -> int:
        z = (number * 0x9E3779B97F4A7C15 + key) & word
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & word
        return z ^ z >> 31

    return sorted(range(count), key=mixed)


def damage_size(folder: Path) -> None:
    (folder / "train-00000.bin").write_bytes(b"12")


def damage_content(folder: Path) -> None:
    path = folder / "train-00001.bin"
    path.write_bytes(bytes([1]) + path.read_bytes()[1:])


def remove(folder: Path) -> None:
    (folder / "validation-00000.bin").unlink()


def other_schema(folder: Path) -> None:
    edit(folder, schema=2)


def unknown_key(folder: Path) -> None:
    edit(folder, more=1)


def not_a_number(folder: Path) -> None:
    edit(folder, vocabulary="50")


def outside(folder: Path) -> None:
    edit(folder, train=[{"file": "../secret", "tokens": 1, "sha256": ""}])


def odd_file(folder: Path) -> None:
    edit(folder, train=[{"file": 3, "tokens": 1, "sha256": ""}])


def odd_count(folder: Path) -> None:
    edit(folder, train=[{"file": "train-00000.bin", "tokens": 20.0, "sha256": ""}])


def deep(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def edit(folder: Path, **changed: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_size, "train-00000.bin: 2 bytes, expected 40 bytes"),
        (damage_content, "train-00001.bin: not the file that manifest.json names"),
        (remove, "validation-00000.bin: absent"),
        (other_schema, "expected schema 1"),
        (unknown_key, "unexpected keyword argument 'more'"),
        (not_a_number, "vocabulary is no int"),
        (outside, "names of files are plain"),
        (odd_file, "file is no str"),
        (odd_count, "tokens is no int"),
        (deep, "not a manifest of tokens"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    written(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=said):
        TokenFolder(tmp_path)


def test_ids_that_the_model_has_no_row_for_are_refused_by_writer_and_reader(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an id of 50"):
        write_tokens(tmp_path / "a", ABOUT, [np.array([50])], [])
    written(tmp_path / "b")
    edit(tmp_path / "b", vocabulary=40)
    with pytest.raises(DataError, match="an id of 49 in tokens of a vocabulary of 40"):
        TokenFolder(tmp_path / "b").sequences("train", 6).read([0])


def test_a_folder_without_a_sequence_of_that_length_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation sequence of 6 tokens"):
        written(tmp_path).sequences("validation", 6)


def test_a_writer_that_is_stopped_leaves_no_manifest(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(DataError):
        write_tokens(tmp_path, ABOUT, [np.array([1]), np.array([99])], [])
    with pytest.raises(DataError, match="No such file"):
        TokenFolder(tmp_path)
