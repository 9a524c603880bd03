"""Text of Autoresearch as tokens: the tokenizer, trained on train text alone, and documents checked to come back whole.

Not covered: which text there is (`corpus`) and what becomes of its tokens (`preparation`, `split_assignment`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aira_evaluator.autoresearch.contract.profiles import AutoresearchProfile
from aira_evaluator.autoresearch.prepare.corpus import Document, DocumentSource, Shard
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer, Tokens

_TEXT_BATCH = 1024


@dataclass(frozen=True)
class Encoded:
    """A document together with its token ids."""

    tokens: Tokens
    document: Document


def train_tokenizer(profile: AutoresearchProfile, corpus: DocumentSource) -> BytePairTokenizer:
    """Train the tokenizer on the beginning of each train shard."""
    shards = corpus.shards("train")
    share = profile.tokenizer_characters // len(shards)
    texts = (document.text for shard in shards for batch in _limited(shard, share) for document in batch)
    return BytePairTokenizer.train(texts, profile.vocabulary, GPT4_SPLIT)


def encode(shard: Shard, tokenizer: BytePairTokenizer, characters: int | None = None) -> Iterator[Encoded]:
    """A shard's documents as tokens, checked to stand for exactly its bytes, until about `characters` were read.

    Raises:
        DataError: a document does not come back from its tokens.
    """
    lengths = tokenizer.byte_lengths()
    batches = shard.batches() if characters is None else _limited(shard, characters)
    for batch in batches:
        for start in range(0, len(batch), _TEXT_BATCH):
            part = batch[start : start + _TEXT_BATCH]
            encoded = tokenizer.encode_documents([document.text for document in part])
            for document, tokens in zip(part, encoded, strict=True):
                if int(lengths[tokens].sum()) != len(document.text.encode()):
                    raise DataError(f"a document of {shard.name} does not come back from its tokens")
                if len(tokens):
                    yield Encoded(tokens, document)


def _limited(shard: Shard, characters: int) -> Iterator[list[Document]]:
    """Batches of a shard until about `characters` were read."""
    for batch in shard.batches():
        kept = []
        for document in batch:
            if characters <= 0:
                break
            characters -= len(document.text)
            kept.append(document)
        yield kept
        if characters <= 0:
            return
