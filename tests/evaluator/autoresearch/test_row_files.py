"""Files of rows and documents: what is written comes back, and what is damaged is told in one line."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_evaluator.autoresearch.contract.byte_lengths import ByteTableError, byte_table_sha256, read_byte_lengths
from aira_evaluator.autoresearch.contract.hidden_rows import SCHEMA, SplitRows, read_hidden, write_split
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.contract.token_store import TokenShard, open_split, write_shard
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_evaluator.text.tokenizer import BYTES_FILE, GPT4_SPLIT, TOKENIZER_FILE, BytePairTokenizer

TEXT = "the cat sat on the mat and the dog sat on the log, as cats and dogs do; " * 40
DOCUMENTS = st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=12), max_size=6)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hidden data of one seed set, small and whole."""
    data = tmp_path_factory.mktemp("hidden")
    tokenizer = BytePairTokenizer.train([TEXT], 270, GPT4_SPLIT)
    tokenizer.save(data / "tokenizer")
    lengths = read_byte_lengths(data / "tokenizer")
    rng = np.random.default_rng(3)
    (data / "search").mkdir()
    splits: dict[str, Any] = {}
    for name in ("validation", "test"):
        tokens = rng.integers(0, len(lengths), (6, 9), dtype=np.uint16)
        tokens[:, 0] = tokenizer.get_bos_token_id()
        rows = SplitRows(name, tokens, lengths, np.arange(6) % 3, 4)
        references = References.of(rng.random((6, 8, 2)).astype(np.float16), rows.bytes_of_targets())
        splits[name] = write_split(data / "search", rows, references)
    manifest = {"schema": SCHEMA, "profile": "cpu", "seed_set": "search", "seed": 7, "public_corpus": True}
    (data / "search" / MANIFEST).write_text(json.dumps({**manifest, "splits": splits}))
    return data


def copied(hidden: Path, target: Path) -> Path:
    for path in hidden.rglob("*.*"):
        place = target / path.relative_to(hidden)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return target


def test_hidden_rows_come_back_with_what_only_a_judge_may_know(hidden: Path) -> None:
    found = read_hidden(hidden, "search", "cpu")
    assert set(found.splits) == set(found.references) == {"validation", "test"}
    rows = found.splits["test"]
    assert (rows.tokens.shape, rows.rows_drawn, rows.containers.tolist()) == ((6, 9), 4, [0, 1, 2, 0, 1, 2])
    assert (found.secret, found.public_corpus) == (b"7", True)
    scored = rows.bytes_of_targets() > 0
    assert found.references["test"].targets == scored.sum()
    assert np.array_equal(rows.bytes_of_targets(np.array([4])), rows.bytes_of_targets()[4:5])
    assert found.references["test"].bytes == rows.lengths[rows.tokens[:, 1:]].sum()


@pytest.mark.parametrize(("seed_set", "profile"), [("final", "cpu"), ("search", "paper"), ("nowhere", "cpu")])
def test_rows_of_another_seed_set_or_profile_are_not_scored(hidden: Path, seed_set: str, profile: str) -> None:
    with pytest.raises(DataError, match="hidden data of seed set"):
        read_hidden(hidden, seed_set, profile)


@pytest.mark.parametrize("file", ["test.npy", "test.containers.npy", "validation.references.npy"])
def test_a_changed_or_missing_array_is_named(hidden: Path, tmp_path: Path, file: str) -> None:
    data = copied(hidden, tmp_path / "data")
    path = data / "search" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{file} is not what was made"):
        read_hidden(data, "search", "cpu")
    path.unlink()
    with pytest.raises(DataError, match="hidden data of seed set search"):
        read_hidden(data, "search", "cpu")
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match="hidden data of seed set search"):
        read_hidden(data, "search", "cpu")


def test_an_array_whose_hash_is_not_recorded_is_not_trusted(hidden: Path, tmp_path: Path) -> None:
    data = copied(hidden, tmp_path / "data")
    path = data / "search" / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["splits"]["test"]["sha256"]["test.containers.npy"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"test\.containers\.npy"):
        read_hidden(data, "search", "cpu")


def test_rows_that_stand_for_other_bytes_than_their_text_are_refused(hidden: Path, tmp_path: Path) -> None:
    data = copied(hidden, tmp_path / "data")
    path = data / "search" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["splits"]["test"]["bytes"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"the targets of test stand for \d+ bytes, their text has \d+"):
        read_hidden(data, "search", "cpu")


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON document, its own included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:  # noqa: ANN401
    if not path:
        return value
    changed = copy.deepcopy(document)
    here = changed
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return changed


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mangled_manifest_is_read_or_named_and_never_a_crash(
    hidden: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = json.loads((hidden / "search" / MANIFEST).read_text())
    at = data.draw(st.sampled_from(places(whole)))
    wrong = data.draw(st.sampled_from([None, [], {}, "x", -1, 10**6, 1.5, True, ["a"], {"a": 1}]))
    folder = tmp_path / "data"
    if not folder.exists():
        copied(hidden, folder)
    (folder / "search" / MANIFEST).write_text(json.dumps(replaced(whole, at, wrong)))
    with contextlib.suppress(DataError):
        found = read_hidden(folder, "search", "cpu")
        assert found.splits["test"].rows_drawn <= len(found.splits["test"].tokens)


@pytest.mark.parametrize(
    ("tokens", "containers", "rows_drawn"),
    [
        (np.zeros((2, 1), np.uint16), np.zeros(2, np.int64), 1),
        (np.zeros(6, np.uint16), np.zeros(6, np.int64), 1),
        (np.zeros((0, 4), np.uint16), np.zeros(0, np.int64), 1),
        (np.full((2, 4), 9, np.uint16), np.zeros(2, np.int64), 1),
        (np.zeros((2, 4), np.uint16), np.zeros(3, np.int64), 1),
        (np.zeros((2, 4), np.uint16), np.zeros(2, np.int64), 0),
        (np.zeros((2, 4), np.uint16), np.zeros(2, np.int64), 3),
    ],
)
def test_rows_that_cannot_be_asked_about_are_refused(
    tokens: np.ndarray[Any, Any], containers: np.ndarray[Any, Any], rows_drawn: int
) -> None:
    with pytest.raises(ValueError, match=r"rows|token"):
        SplitRows("test", tokens, np.ones(5, np.int64), containers, rows_drawn)


@given(DOCUMENTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_documents_come_back_in_their_order_and_length(tmp_path: Path, documents: list[list[int]]) -> None:
    write_shard(tmp_path / "train", "part", [np.array(tokens, dtype=np.uint16) for tokens in documents])
    shard = TokenShard.open(tmp_path / "train", "part")
    assert len(shard) == len(documents)
    assert [tokens.tolist() for tokens in shard.documents()] == documents


def test_shards_are_read_by_name_and_none_is_an_error(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_shard(tmp_path, name, [np.full(3, ord(name), dtype=np.uint16)])
    assert [next(shard.documents())[0] for shard in open_split(tmp_path)] == [ord(name) for name in "abc"]
    with pytest.raises(FileNotFoundError, match="no token shards"):
        open_split(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("tokens", np.zeros(3, np.int64)),
        ("tokens", np.zeros(4, np.uint16)),
        ("offsets", np.array([0, 3], np.int32)),
        ("offsets", np.array([0, 2], np.int64)),
    ],
)
def test_arrays_that_do_not_belong_together_are_no_shard(
    tmp_path: Path, name: str, array: np.ndarray[Any, Any]
) -> None:
    write_shard(tmp_path, "s", [np.zeros(3, np.uint16)])
    np.save(tmp_path / f"s.{name}.npy", array)
    with pytest.raises(ValueError, match="do not belong together"):
        open_split(tmp_path)


def test_lengths_of_tokens_are_those_of_the_bytes_they_stand_for(hidden: Path) -> None:
    tokenizer = BytePairTokenizer.from_directory(hidden / "tokenizer")
    lengths = read_byte_lengths(hidden / "tokenizer")
    tokens = np.array(tokenizer.encode(TEXT))
    assert lengths[tokens].sum() == len(TEXT.encode())
    assert lengths[tokenizer.get_bos_token_id()] == 0
    assert lengths.shape == (tokenizer.get_vocab_size(),)
    assert byte_table_sha256(lengths) == byte_table_sha256(lengths.astype(np.int32).astype(np.int64))
    assert byte_table_sha256(lengths) != byte_table_sha256(lengths[::-1])


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([], "no vocabulary"),
        (None, "no vocabulary"),
        ({"a": 0, "b": 2}, "ids are not 0 to 1"),
        ({"a": 0, "b": 0}, "ids are not 0 to 1"),
        ({"a": "0"}, "ids are not"),
        ({"a": [0]}, "no vocabulary"),
        ({"a": 0, "\u4e00": 1}, "token 1 is no sequence of bytes"),
    ],
)
def test_a_tokenizer_that_contradicts_itself_gives_no_lengths(
    hidden: Path, tmp_path: Path, vocabulary: object, message: str
) -> None:
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps({"model": {"vocab": vocabulary}}))
    (tmp_path / BYTES_FILE).write_bytes((hidden / "tokenizer" / BYTES_FILE).read_bytes())
    with pytest.raises(ByteTableError, match=message):
        read_byte_lengths(tmp_path)


def test_a_table_that_says_otherwise_than_the_merges_is_refused(hidden: Path, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_bytes((hidden / "tokenizer" / TOKENIZER_FILE).read_bytes())
    stored = np.load(hidden / "tokenizer" / BYTES_FILE)
    for wrong in (stored[:-1], np.append(stored, 1), stored + 1):
        np.save(tmp_path / BYTES_FILE, wrong)
        with pytest.raises(ByteTableError, match="is not what the merges"):
            read_byte_lengths(tmp_path)
