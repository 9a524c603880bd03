"""How the host has tokens made of text: what it asks for, and which files are left.

    request.json     a `TokenRequest`, written by the host before any work begins; the folder is of this request alone
    making/          pieces of the work, each whole or absent; gone when all is done
    corpus.json      what came of it: documents, tokens, what was held out and why not more (`docs/pretraining.md`)
    tokenizer.json   or `tokenizer.model`: the tokenizer's file

beside the files of `aira_evaluator.pretrain.shards`. Any number of processes on one machine carry a request out
together (`python -m` of `PROGRAM`, with the folder). Written and read by the host (`aira_bench.scaling.corpus`) and by
the processes (`aira_evaluator.pretrain.corpus`). Not covered: where files of text come from.
"""

import json
from dataclasses import asdict, dataclass, replace

PROGRAM = "aira_evaluator.pretrain.corpus"
REQUEST, MAKING, CORPUS = "request.json", "making", "corpus.json"
REFUSED_STATUS = 2
"""Exit status of a process that cannot go on; one line on standard error says why."""

SCHEMA = 1
PACKED = (".gz", ".zst", ".zstd", ".parquet")
PACKED_RATIO = 3
"""Bytes of text in a byte of a packed file, for estimates of disk."""
SPARE_DISK_BYTES = 512 << 20


class RequestError(ValueError):
    """What should be a request is none; one line."""


@dataclass(frozen=True)
class CorpusFile:
    """One file of documents: JSON lines, plain or packed, or parquet."""

    name: str
    bytes: int
    sha256: str
    path: str
    """Where it lies on this machine."""


@dataclass(frozen=True)
class TokenRequest:
    """What tokens are made of, and how."""

    name: str
    source: str
    """Where the text comes from, for people."""
    synthetic: bool
    files: tuple[CorpusFile, ...]
    tokenizer: str
    """Path of its file; empty for a byte-pair tokenizer that is trained on the text."""
    tokenizer_sha256: str
    vocabulary: int
    """Of the tokenizer that is trained; 0 where a file is given."""
    held_out: int
    """Documents of the validation split."""
    seed: int
    """Of the draw of held-out documents."""
    schema: int = SCHEMA

    @property
    def identity(self) -> "TokenRequest":
        """The request without paths: requests that are equal so give equal tokens."""
        return replace(self, tokenizer="", files=tuple(replace(file, path="") for file in self.files))

    def to_json(self) -> str:
        """Return it as a document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TokenRequest":
        """Read what `to_json` wrote.

        Raises:
            RequestError: it is something else.
        """
        try:
            found = json.loads(text)
            found["files"] = tuple(CorpusFile(**each) for each in found["files"])
            request = cls(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(f"no request for tokens: {error!r}") from None
        if request.schema != SCHEMA:
            raise RequestError(f"a request of schema {request.schema}, expected {SCHEMA}")
        return request


def expected_token_bytes(file: CorpusFile) -> int:
    """Return what the token ids of a file may take on disk: a byte for a byte of text.

    Llama 3's tokenizer takes 4.4 bytes of English into an id of four, a small vocabulary some 2 into an id of two.
    """
    return file.bytes * (PACKED_RATIO if file.name.endswith(PACKED) else 1)
