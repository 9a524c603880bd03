"""From documents to splits: nothing shared, nothing lost without being counted, nothing left to chance."""

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.compose.prepare.corpora import BABISTORIES, DCLM
from aira_evaluator.compose.prepare.splitting import (
    Counts,
    Documents,
    Part,
    WrittenStream,
    digest,
    distinct,
    hidden_part,
    is_held_out,
    split_documents,
    train_tokenizer,
    write_hidden,
    write_public,
)
from aira_evaluator.compose.text.profiles import PROFILES, TextProfile
from aira_evaluator.compose.text.windows import (
    TOKENS,
    TextManifest,
    Windows,
    read_stream,
    read_text_split,
    write_text_manifest,
)
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.grammar import Style, synthetic_documents
from aira_evaluator.text.tokenizer import BytePairTokenizer

PARTS: list[Part] = [(seed_set, split) for seed_set in ("search", "final") for split in ("validation", "test")]
SMALL = replace(
    PROFILES["babistories"]["cpu"], train_windows=200, hidden_windows=24, tokenizer_documents=200, vocabulary=400
)


def stories() -> Iterator[str]:
    return synthetic_documents("stories", 600, 3)


@pytest.fixture(scope="module")
def tokenizer() -> BytePairTokenizer:
    return train_tokenizer(stories, SMALL)


def write_all(
    folder: Path, documents: Documents, tokenizer: BytePairTokenizer, key: bytes = b"key", profile: TextProfile = SMALL
) -> dict[Part, WrittenStream]:
    public = {name: folder / name for name in ("train", "validation")}
    for place in public.values():
        place.mkdir(parents=True)
    write_public(documents, tokenizer, profile, public)
    folders = {part: folder / "-".join(part) for part in PARTS}
    for place in folders.values():
        place.mkdir()
    return write_hidden(documents, tokenizer, profile, folder / "train" / TOKENS, folders, key)


def texts_of(folder: Path, tokenizer: BytePairTokenizer, *, whole: bool = True) -> list[str]:
    """Decoded documents of a stream; the last one may be cut."""
    found = split_documents(read_stream(folder / TOKENS), tokenizer.get_bos_token_id())
    texts = [tokenizer.decode(document.tolist()) for document in found]
    return texts[:-1] if whole else texts


def test_no_document_stands_in_two_splits(tmp_path: Path, tokenizer: BytePairTokenizer) -> None:
    written = write_all(tmp_path, stories, tokenizer)
    names = ["train", *("-".join(part) for part in PARTS)]
    found = {name: set(texts_of(tmp_path / name, tokenizer)) for name in names}
    everything = set(stories())
    assert all(texts and texts <= everything for texts in found.values())
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    for part, split in written.items():
        assert split.tokens == SMALL.hidden_windows * SMALL.length + 1
        assert read_stream(tmp_path / "-".join(part) / TOKENS).size == split.tokens


def test_the_key_decides_which_hidden_split_and_never_what_is_public(
    tmp_path: Path, tokenizer: BytePairTokenizer
) -> None:
    for name, key in (("one", b"one"), ("again", b"one"), ("two", b"two")):
        write_all(tmp_path / name, stories, tokenizer, key)
    same = {part: [(tmp_path / name / "-".join(part) / TOKENS).read_bytes() for name in ("one", "again", "two")]
            for part in PARTS}  # fmt: skip
    assert all(first == again != other for first, again, other in same.values())
    assert (tmp_path / "one/train" / TOKENS).read_bytes() == (tmp_path / "two/train" / TOKENS).read_bytes()


def test_public_validation_is_the_train_documents_after_the_train_split(
    tmp_path: Path, tokenizer: BytePairTokenizer
) -> None:
    write_all(tmp_path, stories, tokenizer)
    train, validation = (texts_of(tmp_path / name, tokenizer, whole=False) for name in ("train", "validation"))
    assert len(read_stream(tmp_path / "validation" / TOKENS)) == SMALL.hidden_windows * SMALL.length + 1
    public = [each.text for each in distinct(stories(), SMALL.held_out_share, Counts()) if not each.held_out]
    assert train[:-1] == public[: len(train) - 1]
    assert validation[:-1] == public[len(train) : len(train) + len(validation) - 1], "the last of train may be cut"


def test_a_corpus_that_ends_with_the_train_split_leaves_no_public_validation(
    tmp_path: Path, tokenizer: BytePairTokenizer
) -> None:
    folders = {name: tmp_path / name for name in ("train", "validation")}
    for folder in folders.values():
        folder.mkdir()
    written, counts = write_public(stories, tokenizer, replace(SMALL, train_windows=10**6), folders)
    assert written["validation"].tokens == 0
    assert written["train"].tokens > 0
    assert counts.held_out > 0


def test_exact_duplicates_count_once_whatever_their_case_and_spaces() -> None:
    counts = Counts()
    texts = ["A cat.", "a  CAT.", "\n", "A dog.", "A cat."]
    assert [document.text for document in distinct(texts, 0.5, counts)] == ["A cat.", "A dog."]
    assert counts.exact_duplicates == 2


def test_near_duplicates_of_train_text_and_of_one_another_leave_the_hidden_splits(
    tmp_path: Path, tokenizer: BytePairTokenizer
) -> None:
    originals = list(stories())
    train = next(text for text in originals if not is_held_out(digest(text), SMALL.held_out_share))
    rng = random.Random(0)
    copies = [f"{rng.randrange(10**9)} {train} {rng.randrange(10**9)}" for _ in range(60)]
    hidden = [text for text in copies if is_held_out(digest(text), SMALL.held_out_share)]
    assert len(hidden) > 8
    written = write_all(tmp_path, lambda: iter([*copies, *originals]), tokenizer)
    assert sum(split.near_duplicates for split in written.values()) >= len(hidden)
    for part in PARTS:
        assert not any(train[20:-20] in text for text in texts_of(tmp_path / "-".join(part), tokenizer, whole=False))


def test_too_little_text_says_how_much_there_is(tmp_path: Path, tokenizer: BytePairTokenizer) -> None:
    with pytest.raises(DataError, match=r"the text gives \d+ windows for search validation, expected 24"):
        write_all(tmp_path, lambda: iter(list(stories())[:40]), tokenizer)


def test_text_without_enough_pairs_cannot_make_the_vocabulary() -> None:
    with pytest.raises(DataError, match="expected 400"):
        train_tokenizer(lambda: iter(["aa ab", "ba bb"] * 3), SMALL)


def test_the_tokenizer_is_the_same_in_every_process(tokenizer: BytePairTokenizer) -> None:
    code = (
        "from aira_evaluator.compose.prepare.splitting import train_tokenizer\n"
        "from test_text_splitting import SMALL, stories\n"
        "print(train_tokenizer(stories, SMALL).sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout.strip() == tokenizer.sha256, done.stderr


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=100, deadline=None)
def test_tokens_give_back_the_text(tokenizer: BytePairTokenizer, text: str) -> None:
    (tokens,) = tokenizer.encode_documents([text])
    assert tokenizer.decode(tokens.tolist()) == text
    assert tokenizer.get_bos_token_id() not in tokens


@given(texts=st.lists(st.text(max_size=20), max_size=30), share=st.floats(0, 1), key=st.binary(max_size=32))
@settings(max_examples=60, deadline=None)
def test_the_split_of_a_document_depends_on_its_words_alone(texts: list[str], share: float, key: bytes) -> None:
    for text in texts:
        again = digest("  " + text.upper().lower() + "\t") if text.upper().lower() == text.lower() else digest(text)
        assert again == digest(text)
        parts = [(name, split) for name in ("search", "final") for split in ("validation", "test")]
        assert hidden_part(digest(text), key, parts, sets_are_public=False) in parts
        sets = {hidden_part(digest(text), other, parts, sets_are_public=True)[0] for other in (key, b"k" * 32, b"")}
        assert len(sets) == 1, "the seed set a document serves hangs on no key"
        assert is_held_out(digest(text), 0.0) is False
    found = list(distinct(texts, share, Counts()))
    assert len({document.digest for document in found}) == len(found)


@given(windows=st.integers(1, 6), length=st.integers(1, 9), rest=st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_windows_predict_every_token_but_the_first_once(windows: int, length: int, rest: int) -> None:
    stream = np.arange(windows * length + 1 + min(rest, length - 1), dtype=np.uint16)
    whole = Windows(stream, length, 0, windows)
    predicted = [int(token) for index in range(windows) for token in whole.part(index, index + 1).tokens()[1:]]
    assert predicted == list(range(1, windows * length + 1))
    with pytest.raises(ValueError, match="no windows"):
        whole.part(0, windows + 1)


def _manifest(tokens: int, windows: int) -> TextManifest:
    return TextManifest(
        corpus="babistories", profile="cpu", split="train", primitives=("M", "mA"), source="synthetic",
        vocabulary=512, length=4, windows=windows, tokens=tokens, tokens_sha256="", tokenizer_sha256="", documents=1,
    )  # fmt: skip


def test_a_split_that_is_not_whole_is_named(tmp_path: Path) -> None:
    np.arange(9, dtype="<u2").tofile(tmp_path / TOKENS)
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_text_split(tmp_path)
    write_text_manifest(tmp_path, _manifest(tokens=9, windows=2))
    windows, manifest = read_text_split(tmp_path)
    assert (len(windows), manifest.source) == (2, "synthetic")
    (tmp_path / TOKENS).write_bytes((tmp_path / TOKENS).read_bytes()[:-1])
    with pytest.raises(DataError, match="17 bytes, expected 9 tokens"):
        read_text_split(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1, "surprise": 2}')
    with pytest.raises(DataError, match="not a manifest"):
        read_text_split(tmp_path)


@pytest.mark.parametrize("style", ["stories", "pages"])
def test_a_synthetic_document_depends_on_seed_and_place_alone(style: Style) -> None:
    assert list(synthetic_documents(style, 5, 1)) == list(synthetic_documents(style, 9, 1))[:5]
    assert list(synthetic_documents(style, 5, 1)) != list(synthetic_documents(style, 5, 2))


def test_a_corpus_without_its_files_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"babistories lacks babistories-dataset\.7z\.001"):
        BABISTORIES.documents(tmp_path, "public", SMALL)
    with pytest.raises(DataError, match="dclm lacks shard_00000000_processed"):
        DCLM.documents(tmp_path, "public", SMALL)


def test_unpacked_files_are_read_in_place_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "traindataset.txt").write_text('"One."\n')
    (tmp_path / "valdataset.txt").write_text('"Two."\n')
    assert list(BABISTORIES.documents(tmp_path, "public", SMALL)) == ["One.", "Two."]
