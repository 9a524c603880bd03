"""Reading the public archives, whole, unpacked and damaged."""

from pathlib import Path

import numpy as np
import pytest
from raw_archives import pair_line, pairs, prose, release, reviews, write_archive

from aira_evaluator.lra.contract.splits import MAX_SYMBOLS, LabelledSplit
from aira_evaluator.lra.prepare import aan, imdb
from aira_evaluator.lra.prepare.pools import PoolBuilder, take
from aira_evaluator.split_manifest import DataError


def read(raw: Path, task: str) -> tuple[dict[str, LabelledSplit], dict[str, int]]:
    parts, reader = (imdb.PARTS, imdb.read_imdb) if task == "text" else (tuple(aan.FILES), aan.read_aan)
    builders = {part: PoolBuilder(raw / f".{part}") for part in parts}
    try:
        empty = reader(raw, builders)
        return {part: builder.pool() for part, builder in builders.items()}, empty
    finally:
        for builder in builders.values():
            builder.close()


def texts(pool: LabelledSplit) -> list[tuple[int, bytes]]:
    return [
        (int(label), pool.sequences[int(row[0])].tobytes()) for row, label in zip(pool.rows, pool.labels, strict=True)
    ]


def test_reviews_come_in_the_order_of_their_names_whatever_the_archives(tmp_path: Path) -> None:
    members = reviews(12)
    orders = []
    for name, order in (("a", members), ("b", members[::-1])):
        (tmp_path / name).mkdir()
        write_archive(tmp_path / name / imdb.ARCHIVE, order)
        pools, empty = read(tmp_path / name, "text")
        assert empty == {"train": 0, "test": 0}
        orders.append({part: texts(pool) for part, pool in pools.items()})
    assert orders[0] == orders[1]
    assert sorted(label for label, _ in orders[0]["train"]) == [0] * 12 + [1] * 12
    assert (1, prose("trainpos3")) in orders[0]["train"]
    assert not {text for _, text in orders[0]["train"]} & {text for _, text in orders[0]["test"]}


def test_an_unpacked_folder_reads_like_its_archive(tmp_path: Path) -> None:
    for name, data in reviews(3):
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "packed").mkdir()
    write_archive(tmp_path / "packed" / imdb.ARCHIVE, reviews(3))
    both = [read(tmp_path / name, "text")[0] for name in ("unpacked", "packed")]
    assert texts(both[0]["test"]) == texts(both[1]["test"])


def test_an_empty_review_is_left_out_and_counted(tmp_path: Path) -> None:
    write_archive(tmp_path / imdb.ARCHIVE, [*reviews(3), ("aclImdb/train/pos/99_9.txt", b"")])
    pools, empty = read(tmp_path, "text")
    assert empty == {"train": 1, "test": 0}
    assert len(pools["train"]) == 6


def test_pairs_share_the_documents_they_repeat(tmp_path: Path) -> None:
    write_archive(tmp_path / aan.ARCHIVE, release(20))
    pools, _ = read(tmp_path, "retrieval")
    assert len(pools["train"]) == 20
    assert len(pools["train"].sequences) == 21
    first, second = pools["eval"].rows[4]
    assert pools["eval"].sequences[first].tobytes() == prose("eval4")
    assert pools["eval"].sequences[second].tobytes() == prose("eval5")
    assert list(pools["eval"].labels[:3]) == [0, 1, 0]


def test_unpacked_tables_read_like_the_archive(tmp_path: Path) -> None:
    for name in ("packed", "unpacked"):
        (tmp_path / name).mkdir()
    write_archive(tmp_path / "packed" / aan.ARCHIVE, release(10))
    for part, name in aan.FILES.items():
        (tmp_path / "unpacked" / name).write_bytes(pairs(part, 10))
    both = [read(tmp_path / name, "retrieval")[0] for name in ("packed", "unpacked")]
    for part in aan.FILES:
        assert texts(both[0][part]) == texts(both[1][part])


@pytest.mark.parametrize("task", ["text", "retrieval"])
def test_an_archive_cut_anywhere_is_one_line(tmp_path: Path, task: str) -> None:
    module, members = (imdb, reviews(30)) if task == "text" else (aan, release(60))
    path = write_archive(tmp_path / module.ARCHIVE, members)
    whole = path.read_bytes()
    for share in (0.0, 0.2, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError) as caught:
            read(tmp_path, task)
        assert str(caught.value).startswith(str(path)), share
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["text", "retrieval"])
def test_an_absent_archive_is_named(tmp_path: Path, task: str) -> None:
    with pytest.raises(DataError, match=r"\.gz: No such file or directory"):
        read(tmp_path, task)


@pytest.mark.parametrize("task", ["text", "retrieval"])
def test_something_else_under_the_archives_name_is_told(tmp_path: Path, task: str) -> None:
    module = imdb if task == "text" else aan
    (tmp_path / module.ARCHIVE).write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(DataError, match=r"\.gz: "):
        read(tmp_path, task)


def test_a_release_without_pairs_says_what_it_lacks(tmp_path: Path) -> None:
    write_archive(tmp_path / aan.ARCHIVE, release(5)[:3])
    with pytest.raises(DataError, match=r"holds no new_aan_pairs\.test\.tsv"):
        read(tmp_path, "retrieval")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1.0\tP1\tP2\tonly one text\n", "line 2: 4 fields, label b'1.0'"),
        (b"1.0\tP1\tP2\ta\tb\tc\n", "line 2: 6 fields"),
        (pair_line("2.0", b"a", b"b"), "line 2: 5 fields, label b'2.0'"),
        (pair_line("1.0", b"a", b"b")[:-1], "line 2: no line break; the file ends too early"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    for part, name in aan.FILES.items():
        (tmp_path / name).write_bytes(pairs(part, 1) + line)
    with pytest.raises(DataError) as caught:
        read(tmp_path, "retrieval")
    assert f"new_aan_pairs.train.tsv {message}" in str(caught.value)


def test_sequences_are_cut_to_what_any_task_may_read(tmp_path: Path) -> None:
    builder = PoolBuilder(tmp_path / "scratch")
    builder.add([b"a" * (MAX_SYMBOLS + 5)], 1)
    builder.add([b"a" * (MAX_SYMBOLS + 9)], 0)
    pool = builder.pool()
    builder.close()
    assert len(pool.sequences) == 1
    assert len(pool.sequences[0]) == MAX_SYMBOLS
    assert not (tmp_path / "scratch").exists()


def test_taking_examples_keeps_only_their_documents(tmp_path: Path) -> None:
    write_archive(tmp_path / aan.ARCHIVE, release(20))
    pool = read(tmp_path, "retrieval")[0]["train"]
    taken = take(pool, np.array([7, 3, 4]))
    assert len(taken.sequences) == 5
    for place, index in enumerate((7, 3, 4)):
        assert taken.labels[place] == pool.labels[index]
        for side in (0, 1):
            ours = taken.sequences[int(taken.rows[place, side])].tobytes()
            assert ours == pool.sequences[int(pool.rows[index, side])].tobytes()
