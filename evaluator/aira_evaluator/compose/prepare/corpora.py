"""The two corpora: which public files they are, and what stands in for them.

Not covered: their sizes in each profile (`text.profiles`), and how documents become splits (`splitting`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aira_evaluator.compose.text.profiles import CorpusName, TextProfile
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.documents import read_documents
from aira_evaluator.text.grammar import Style, synthetic_documents

_SYNTHETIC_SEED = 20260515


@dataclass(frozen=True)
class TextCorpus:
    """One text set: the public files it is read from, and the grammar of its stand-in."""

    name: CorpusName
    files: tuple[str, ...]
    """Names under `/raw`, in reading order; volumes of one archive count as one file."""
    unpacked: tuple[str, ...]
    """What the archive holds, for folders in which it lies unpacked."""
    style: Style
    """The grammar of the stand-in."""

    def documents(self, raw: Path, source: str, profile: TextProfile) -> Iterator[str]:
        """All texts, in the same order at every call.

        Raises:
            DataError: the files are absent or damaged.
        """
        if source == "synthetic":
            return synthetic_documents(self.style, profile.synthetic_documents, _SYNTHETIC_SEED)
        for names in (self.files, self.unpacked):
            if names and all((raw / name).is_file() for name in names):
                return read_documents([raw / name for name in names])
        missing = [name for name in self.files if not (raw / name).is_file()]
        raise DataError(f"the raw data of {self.name} lacks {', '.join(missing)}")


BABISTORIES = TextCorpus(
    name="babistories",
    files=tuple(f"babistories-dataset.7z.{volume:03d}" for volume in range(1, 6)),
    unpacked=("traindataset.txt", "valdataset.txt"),
    style="stories",
)
DCLM = TextCorpus(
    name="dclm",
    files=("shard_00000000_processed.jsonl.zst",),
    unpacked=("shard_00000000_processed.jsonl",),
    style="pages",
)
CORPORA: Mapping[str, TextCorpus] = {corpus.name: corpus for corpus in (BABISTORIES, DCLM)}
