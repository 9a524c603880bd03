"""What tokens are made of texts: ids of tokenizers' files, and held-out documents that training has not seen."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from aira_contract.token_making import REQUEST, CorpusFile, TokenRequest
from aira_evaluator.pretrain.corpus.encoders import LLAMA3_SPLIT, HuggingFaceEncoder, read_encoder
from aira_evaluator.pretrain.corpus.held_out import Draw, DrawnDocuments, candidates_of, training_documents
from aira_evaluator.pretrain.corpus.making import Making
from aira_evaluator.pretrain.shards import Description, TokenFolder
from aira_evaluator.pretrain.token_writer import TokenWriter
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.contained import NearDuplicates
from aira_evaluator.text.grammar import synthetic_documents
from aira_evaluator.text.tokenizer import BytePairTokenizer, byte_alphabet

TEXTS = [
    *synthetic_documents("stories", 40, 7), "", " ", "\n\n\n", "we'RE 12345 a\r\n b", "<|begin_of_text|><|end_of_text|>",
    "naïve 日本語 \U0001f642", "x" * 3000, "aaaa aaa aa a" * 50,
]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> BytePairTokenizer:
    return BytePairTokenizer.train(TEXTS, 500, LLAMA3_SPLIT)


def rank_file(folder: Path, trained: BytePairTokenizer) -> Path:
    """The tokenizer as Meta publishes one."""
    lines = [
        f"{base64.b64encode(token).decode()} {rank}" for token, rank in sorted(trained.ids_by_bytes.items(), key=second)
    ]
    path = folder / "tokenizer.model"
    path.write_text("\n".join(lines) + "\n")
    return path


def second(item: tuple[bytes, int]) -> int:
    return item[1]


def json_file(folder: Path, trained: BytePairTokenizer, *special: str) -> Path:
    """The tokenizer as Hugging Face publishes one, with special tokens behind its ranks."""
    trained.save(folder)
    model = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    model.add_special_tokens(list(special))
    model.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_both_kinds_of_files_give_the_same_ids(tmp_path: Path, trained: BytePairTokenizer) -> None:
    pytest.importorskip("tiktoken")
    ranks = read_encoder(rank_file(tmp_path, trained))
    published = read_encoder(json_file(tmp_path, trained, "<|begin_of_text|>", "<|end_of_text|>"))
    assert [list(ids) for ids in ranks.encode(TEXTS)] == [list(ids) for ids in published.encode(TEXTS)]
    assert ranks.separator == published.separator == len(byte_alphabet()) + 243
    assert (ranks.vocabulary, published.vocabulary) == (499 + 256, 501)
    assert "not Llama 3's file" in ranks.name


def test_no_text_spells_a_special_token(tmp_path: Path, trained: BytePairTokenizer) -> None:
    encoder = read_encoder(json_file(tmp_path, trained, "<|begin_of_text|>"))
    for ids in encoder.encode(TEXTS):
        assert encoder.separator not in ids
    assert isinstance(encoder, HuggingFaceEncoder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", "{}", "is no tokenizer.json"),
        ("tokenizer.model", "IQ== 0\nIg== x\n", "line 2: expected a token in base64"),
        ("tokenizer.model", "IQ== 0\nIg== 1\n", "all 256 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    if name.endswith("model"):
        pytest.importorskip("tiktoken")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_encoder(tmp_path / name)


def test_a_tokenizer_without_a_separator_is_refused(tmp_path: Path, trained: BytePairTokenizer) -> None:
    with pytest.raises(DataError, match="has none of"):
        read_encoder(json_file(tmp_path, trained))


def request(folder: Path, files: Sequence[Sequence[str]], **changed: object) -> TokenRequest:
    """A request of files of texts, which are written."""
    found = []
    for number, texts in enumerate(files):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        found.append(CorpusFile(path.name, path.stat().st_size, "", str(path)))
    settings = {"vocabulary": 400, "held_out": 10, "seed": 0, "tokenizer": ""} | changed
    return TokenRequest("test", "a grammar", True, tuple(found), tokenizer_sha256="", **settings)  # type: ignore[arg-type]


def made(folder: Path, asked: TokenRequest) -> TokenFolder:
    folder.mkdir()
    (folder / REQUEST).write_text(asked.to_json())
    Making(folder, asked, lambda line: None).run()
    return TokenFolder(folder)


def documents(folder: TokenFolder, split: str) -> list[str]:
    """The texts of a split, read back from its tokens."""
    tokenizer = BytePairTokenizer.from_directory(folder.folder)
    manifest, found = folder.manifest, []
    for shard in manifest.train if split == "train" else manifest.validation:
        ids = np.fromfile(folder.folder / shard.file, "<u2")
        (starts,) = np.nonzero(ids == manifest.separator)
        found += [tokenizer.decode(part[1:].tolist()) for part in np.split(ids, starts[1:])]
    return found


def test_every_document_is_trained_on_or_a_candidate_and_no_held_out_one_is_trained_on(tmp_path: Path) -> None:
    texts = list(synthetic_documents("stories", 600, 1))
    # One document stands in both files: were it drawn in one, it must not be trained on in the other.
    copied = next(text for text in texts[:300] if Draw.of(10, 602, 0).hash_of(text) is not None)
    folder = made(tmp_path / "tokens", request(tmp_path, [texts[:300], [*texts[300:], copied, copied, "\n"]]))
    train, held_out = documents(folder, "train"), documents(folder, "validation")
    assert len(held_out) == 10
    assert not set(train) & set(held_out)
    assert copied not in train
    drawn = {text for text in texts if Draw.of(10, 602, 0).hash_of(text) is not None}
    assert set(held_out) <= drawn
    assert sorted(train) == sorted(text for text in texts if text not in drawn)
    assert not (folder.folder / "making").exists()


def test_another_seed_holds_out_others(tmp_path: Path) -> None:
    texts = list(synthetic_documents("stories", 600, 1))
    first = made(tmp_path / "first", request(tmp_path, [texts]))
    second = made(tmp_path / "second", request(tmp_path, [texts], seed=1))
    assert len(set(documents(first, "validation")) & set(documents(second, "validation"))) < 5


def test_near_duplicates_of_training_text_are_not_held_out(tmp_path: Path) -> None:
    texts = list(synthetic_documents("stories", 800, 2))
    draw = Draw.of(10, 805, 0)
    known = sorted((drawn, text) for text in texts if (drawn := draw.hash_of(text)) is not None)[:5]
    copies = [f"{text} And that was all that happened on that day." for _, text in known]
    assert all(draw.hash_of(copy) is None for copy in copies), "they are trained on"
    # In the file before and in the one behind: comparing waits for all files.
    folder = made(tmp_path / "tokens", request(tmp_path, [copies[:2], texts, copies[2:]]))
    held_out = documents(folder, "validation")
    assert len(held_out) == 10
    assert not {text for _, text in known} & set(held_out), "the first five by hash would have been taken"
    assert json.loads((folder.folder / "corpus.json").read_text())["near_duplicates"] >= 5


def test_too_many_near_duplicates_leave_too_few_and_it_is_said(tmp_path: Path) -> None:
    texts = list(synthetic_documents("stories", 300, 2))
    copies = [f"{text} And that was all." for text in texts]
    with pytest.raises(DataError, match=r"of \d+ candidates are no near duplicates of training text, expected 20"):
        made(tmp_path / "tokens", request(tmp_path, [texts, copies], held_out=20))
    assert not (tmp_path / "tokens" / "manifest.json").exists()


def test_more_than_a_tenth_is_not_drawn(tmp_path: Path) -> None:
    texts = list(synthetic_documents("stories", 100, 2))
    with pytest.raises(DataError, match=r"10 held-out documents .* more than a tenth of the 100 .* --held-out 5 "):
        made(tmp_path / "tokens", request(tmp_path, [texts]))


def test_a_damaged_file_is_named_before_any_is_encoded(tmp_path: Path) -> None:
    asked = request(tmp_path, [list(synthetic_documents("stories", 300, 2)), ["a"]])
    (tmp_path / "1.jsonl").write_text('{"text": "a"}\n{"text": "b')
    with pytest.raises(DataError, match=r"1\.jsonl: line 2 is not JSON"):
        made(tmp_path / "tokens", asked)
    assert not list((tmp_path / "tokens").glob("*.bin"))


@given(lengths=st.lists(st.integers(1, 40), max_size=6), wide=st.booleans(), data=st.data())
def test_a_copy_is_seen_in_the_file_whatever_its_length(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], wide: bool, data: st.DataObject
) -> None:
    folder, vocabulary = tmp_path_factory.mktemp("seen"), 70_000 if wide else 300
    about = Description("", "", True, "", "", vocabulary, vocabulary - 1)
    ids = [np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.uint32) for n in lengths]
    with TokenWriter(folder / "train.bin", about) as writer:
        for document in ids:
            writer.append(document)
        written = writer.close()
    drawn = DrawnDocuments()
    drawn.add(1, np.array([4] * 20, dtype=np.uint32))
    for number, document in enumerate(ids, start=2):
        drawn.add(number, document)
    drawn.save(folder / "drawn", writer.counts)
    index = NearDuplicates(candidates_of([folder / "drawn"], vocabulary))
    index.look_at(training_documents(folder, written, about))
    assert list(index.duplicates()) == [False] + [True] * len(ids)


def test_candidates_are_in_the_order_of_their_hashes_and_each_once(tmp_path: Path) -> None:
    one, other = DrawnDocuments(), DrawnDocuments()
    one.add(9, np.array([1, 2], dtype=np.uint16))
    one.add(3, np.array([], dtype=np.uint16))
    other.add(5, np.array([7], dtype=np.uint16))
    other.add(9, np.array([1, 2], dtype=np.uint16))
    for name, drawn in (("a", one), ("b", other), ("c", DrawnDocuments())):
        drawn.save(tmp_path / name, np.zeros(3, dtype=np.int64))
    assert [list(each) for each in candidates_of([tmp_path / "a", tmp_path / "b", tmp_path / "c"], 300)] == [
        [],
        [7],
        [1, 2],
    ]
