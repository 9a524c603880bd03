"""From files of text to a folder of tokens, in pieces that any number of processes share.

1. `documents-00000.json`: documents are counted, file by file, which also finds a damaged one before hours are spent.
2. `tokenizer.json`: where no tokenizer is given, one is trained on the first documents that are for training.
3. `encoded-00000.json`: ids, file by file: `train-00000.bin`, and candidates for the held-out split.
4. `seen-00000.npy`: which of the candidates' runs of tokens stand in the training tokens of a file.
5. The first candidates by hash that are no near duplicates of training text are the validation split.

What is left of the candidates is read by nobody. Every byte that is written follows from the request alone. Not
covered: duplicates inside training text, cleaning of text.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aira_contract.token_making import (
    CORPUS,
    MAKING,
    SPARE_DISK_BYTES,
    CorpusFile,
    TokenRequest,
    expected_token_bytes,
)
from aira_evaluator.pretrain.corpus.encoders import Encoder, OwnEncoder, read_encoder
from aira_evaluator.pretrain.corpus.held_out import (
    Draw,
    DrawnDocuments,
    candidates_of,
    saved_counts,
    training_documents,
)
from aira_evaluator.pretrain.corpus.shared_work import WorkPiece, share
from aira_evaluator.pretrain.shards import Description, TokenFile
from aira_evaluator.pretrain.token_writer import TokenWriter, write_manifest
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_evaluator.text.contained import AnyTokens, NearDuplicates
from aira_evaluator.text.documents import read_documents
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer

TOKENIZER_DOCUMENTS = 100_000
_AT_ONCE = 256


class Making:
    """One request, carried out in its folder together with whoever else does.

    Args:
        folder: of the tokens.
        request: what is asked for.
        note: told of each piece of work that this process did.
    """

    def __init__(self, folder: Path, request: TokenRequest, note: Callable[[str], None]) -> None:
        self._folder, self._request, self._note = folder, request, note
        self._making = folder / MAKING

    def run(self) -> None:
        """Return when the folder is whole.

        Raises:
            DataError: a file or the tokenizer cannot be read, or there are too few documents.
        """
        if self._over():
            return
        self._making.mkdir(parents=True, exist_ok=True)
        files = list(enumerate(self._request.files))
        for pieces in (
            [WorkPiece(self._place("documents", n), partial(self._count, n, file)) for n, file in files],
            [WorkPiece(self._making / "tokenizer.done", self._provide_tokenizer)],
            [WorkPiece(self._place("encoded", n), partial(self._encode, n, file)) for n, file in files],
            [WorkPiece(self._place("seen", n, "npy"), partial(self._compare, n)) for n, _ in files],
            [WorkPiece(self._folder / MANIFEST, self._finish)],
        ):
            share(pieces, self._making, self._over)
        shutil.rmtree(self._making, ignore_errors=True)

    def _over(self) -> bool:
        return (self._folder / MANIFEST).exists()

    def _place(self, what: str, number: int, suffix: str = "json") -> Path:
        return self._making / f"{what}-{number:05}.{suffix}"

    def _places(self, what: str, suffix: str = "json") -> list[Path]:
        return [self._place(what, number, suffix) for number in range(len(self._request.files))]

    def _count(self, number: int, file: CorpusFile) -> None:
        _write(self._place("documents", number), {"documents": sum(1 for _ in _texts(file))})

    @cached_property
    def _documents(self) -> int:
        return sum(int(_read(place)["documents"]) for place in self._places("documents"))

    @cached_property
    def _draw(self) -> Draw:
        return Draw.of(self._request.held_out, self._documents, self._request.seed)

    def _provide_tokenizer(self) -> None:
        """Put the tokenizer's file beside the tokens."""
        draw = self._draw
        if self._request.tokenizer:
            path = Path(self._request.tokenizer)
            read_encoder(path)
            shutil.copyfile(path, self._folder / path.name)
        else:
            vocabulary = self._request.vocabulary
            texts = (text for file in self._request.files for text in _texts(file) if draw.hash_of(text) is None)
            made = BytePairTokenizer.train(islice(texts, TOKENIZER_DOCUMENTS), vocabulary, GPT4_SPLIT)
            if made.get_vocab_size() != vocabulary:
                raise DataError(f"the text yields {made.get_vocab_size():,} tokens, expected {vocabulary:,}")
            made.save(self._folder)
            self._note(f"tokenizer.json: {vocabulary:,} byte pairs of our own")
        (self._making / "tokenizer.done").touch()

    @cached_property
    def _encoder(self) -> Encoder:
        named = self._request.tokenizer
        return read_encoder(self._folder / Path(named).name) if named else OwnEncoder(self._folder)

    @cached_property
    def _about(self) -> Description:
        request, encoder = self._request, self._encoder
        return Description(
            request.name, request.source, request.synthetic, encoder.name, encoder.sha256, encoder.vocabulary,
            encoder.separator, own_tokenizer=encoder.own,
        )  # fmt: skip

    def _encode(self, number: int, file: CorpusFile) -> None:
        free, wanted = shutil.disk_usage(self._folder).free, expected_token_bytes(file) + SPARE_DISK_BYTES
        if free < wanted:
            raise DataError(f"the tokens of {file.name} need up to {wanted:,} bytes, but {free:,} are free")
        drawn = DrawnDocuments()
        with TokenWriter(self._folder / f"train-{number:05}.bin", self._about) as writer:
            for text, ids in self._encoded(file):
                if (found := self._draw.hash_of(text)) is None:
                    writer.append(ids)
                else:
                    drawn.add(found, ids)
            written = writer.close()
        drawn.save(self._place("encoded", number, "npz"), writer.counts)
        _write(self._place("encoded", number), {"file": asdict(written), "documents": writer.documents})
        self._note(f"{written.file}: {writer.documents:,} documents, {written.tokens:,} tokens of {file.name}")

    def _encoded(self, file: CorpusFile) -> Iterator[tuple[str, AnyTokens]]:
        texts = _texts(file)
        while chunk := list(islice(texts, _AT_ONCE)):
            yield from zip(chunk, self._encoder.encode(chunk), strict=True)

    @cached_property
    def _candidates(self) -> list[AnyTokens]:
        return candidates_of(self._places("encoded", "npz"), self._about.vocabulary)

    @cached_property
    def _index(self) -> NearDuplicates:
        return NearDuplicates(self._candidates)

    def _compare(self, number: int) -> None:
        place, written = self._place("seen", number, "npy"), self._written(self._place("encoded", number))
        self._index.seen[:] = False
        self._index.look_at(training_documents(self._folder, written, self._about))
        part = place.with_name(f".{place.name}.part")
        with part.open("wb") as out:
            np.save(out, np.packbits(self._index.seen), allow_pickle=False)
        part.replace(place)
        self._note(f"{written.file}: compared with the candidates")

    @staticmethod
    def _written(place: Path) -> TokenFile:
        return TokenFile(**_read(place)["file"])

    def _finish(self) -> None:
        index, wanted = self._index, self._request.held_out
        index.seen[:] = False
        for place in self._places("seen", "npy"):
            bits = np.load(place, allow_pickle=False)
            index.seen |= np.unpackbits(bits, count=len(index.seen)).astype(bool)
        near = index.duplicates()
        fresh = [ids for ids, known in zip(self._candidates, near, strict=True) if not known]
        if len(fresh) < wanted:
            raise DataError(
                f"{len(fresh):,} of {len(near):,} candidates are no near duplicates of training text, expected "
                f"{wanted:,}; take more files, or fewer by --held-out, in another folder"
            )
        with TokenWriter(self._folder / "validation-00000.bin", self._about) as writer:
            for document in fresh[:wanted]:
                writer.append(document)
            held_out = writer.close()
        train = [self._written(place) for place in self._places("encoded")]
        self._write_corpus(train, held_out, int(near.sum()))
        counts = sum(map(saved_counts, self._places("encoded", "npz")), np.zeros(self._about.vocabulary, np.int64))
        write_manifest(self._folder, self._about, train, [held_out], counts)
        self._note(f"{MANIFEST}: {int(counts.sum()):,} training tokens, {wanted:,} held-out documents")

    def _write_corpus(self, train: list[TokenFile], held_out: TokenFile, near_duplicates: int) -> None:
        _write(
            self._folder / CORPUS,
            {
                "documents": self._documents,
                "training_documents": sum(int(_read(place)["documents"]) for place in self._places("encoded")),
                "training_tokens": sum(file.tokens for file in train),
                "held_out_documents": self._request.held_out,
                "held_out_tokens": held_out.tokens,
                "candidates": len(self._candidates),
                "near_duplicates": near_duplicates,
                "seed": self._request.seed,
                "files": [
                    {"file": written.file, "name": file.name, "bytes": file.bytes, "sha256": file.sha256}
                    for written, file in zip(train, self._request.files, strict=True)
                ],
            },
        )


def _texts(file: CorpusFile) -> Iterator[str]:
    """The documents of a file that have a word."""
    return (text for text in read_documents([Path(file.path)]) if text.strip())


def _write(path: Path, value: dict[str, object]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
