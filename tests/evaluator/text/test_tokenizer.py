"""The tokenizer: nothing is lost, every byte is counted once, and training twice gives one tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.text.tokenizer import GPT2_SPLIT, GPT4_SPLIT, BytePairTokenizer, byte_alphabet

TEXTS = [
    "def parse(line):\n    return line.strip().split(',')\n",
    "The quick brown fox jumps over the lazy dog. The dog sleeps.\n" * 3,
    "Grüße aus Köln, 東京 and Ελλάδα 🙂🙃\n",
    "    for index in range(10):\n        print(index)\n" * 4,
]
TRAINED = BytePairTokenizer.train(TEXTS, 300, GPT4_SPLIT)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@settings(deadline=None)
@given(any_text)
def test_a_text_comes_back_from_its_tokens_and_its_bytes_are_counted_once(text: str) -> None:
    (ids,) = TRAINED.encode_documents([text])
    assert TRAINED.byte_lengths()[ids].sum() == len(text.encode())
    assert TRAINED.decode(ids.tolist()) == text
    assert TRAINED.encode(text) == ids.tolist()


def pieces(text: str, split: str) -> list[str]:
    """What no token reaches across: trained on nothing but `text`, in which every pair stands often, pieces are tokens."""
    tokenizer = BytePairTokenizer.train([text] * 10, 257 + 10 * len(text.encode()), split)
    return [tokenizer.decode([token]) for token in tokenizer.encode_documents([text])[0].tolist()]


BY_HAND = {
    "It's 2 dogs,  and\n7 cats": (
        ["It", "'s", " 2", " dogs", ",", " ", " and", "\n", "7", " cats"],
        ["It", "'s", " ", "2", " dogs", ",", " ", " and", "\n", "7", " cats"],
    ),
    "I'LL pay 12345": (
        ["I", "'", "LL", " pay", " 12345"],
        ["I", "'LL", " pay", " ", "12", "34", "5"],
    ),
    "x_1[key]=(None);\n\n    return": (
        ["x", "_", "1", "[", "key", "]=(", "None", ");", "\n\n   ", " return"],
        ["x", "_", "1", "[key", "]=(", "None", ");\n\n", "   ", " return"],
    ),
    "東京、3٣½ \t end \r\n": (
        ["東京", "、", "3٣½", " \t", " end", " \r\n"],
        ["東京", "、", "3٣", "½", " \t", " end", " \r\n"],
    ),
}


@pytest.mark.parametrize("text", BY_HAND)
def test_text_is_cut_as_gpt_2_and_as_gpt_4_with_two_digits_cut_it(text: str) -> None:
    assert (pieces(text, GPT2_SPLIT), pieces(text, GPT4_SPLIT)) == BY_HAND[text]


@settings(deadline=None)
@given(any_text)
def test_no_text_spells_the_beginning_of_a_document(text: str) -> None:
    bos = TRAINED.get_bos_token_id()
    encoded = TRAINED.encode([text, f"<|bos|>{text}<|endoftext|>"])
    assert not any(bos in ids for ids in encoded if isinstance(ids, list))
    assert TRAINED.encode(text, prepend=bos)[0] == bos


def test_a_fragment_of_a_character_counts_its_own_bytes() -> None:
    """By decoding, each of the four would count as the three bytes of U+FFFD."""
    untrained = BytePairTokenizer.train([], 257, GPT4_SPLIT)
    (ids,) = untrained.encode_documents(["🙂"])
    assert untrained.byte_lengths()[ids].tolist() == [1, 1, 1, 1]
    assert untrained.decode(ids[:2].tolist()) == "�"


def test_the_byte_alphabet_is_one_to_one() -> None:
    assert sorted(byte_alphabet().values()) == list(range(256))
    assert byte_alphabet()["Ġ"] == ord(" ")
    assert byte_alphabet()["Ċ"] == ord("\n")


def test_the_vocabulary_ends_with_the_only_token_without_bytes() -> None:
    lengths = TRAINED.byte_lengths()
    assert TRAINED.get_vocab_size() == len(lengths) == 300
    assert np.flatnonzero(lengths == 0).tolist() == [TRAINED.get_bos_token_id()] == [299]


@pytest.mark.parametrize("order", [TEXTS[::-1], [text for text in TEXTS for _ in range(2)]])
def test_training_is_decided_by_counts_alone(order: list[str]) -> None:
    again = BytePairTokenizer.train(order, 300, GPT4_SPLIT)
    doubled = BytePairTokenizer.train([*TEXTS, *TEXTS], 300, GPT4_SPLIT)
    assert again.sha256 == (TRAINED.sha256 if len(order) == len(TEXTS) else doubled.sha256)


def test_it_is_saved_without_pickle_and_loaded_unchanged(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert len(vocabulary) == 299
    loaded = BytePairTokenizer.from_directory(tmp_path)
    assert loaded.sha256 == TRAINED.sha256
    assert (np.load(tmp_path / "token_bytes.npy", allow_pickle=False) == loaded.byte_lengths()).all()
