"""The two corpora: which public files they are, what stands in for them, and their sizes in each profile.

Sizes are explained in docs/text_tasks.md. Not covered: how documents become splits (`splitting`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aira_evaluator.compose.text.grammar import Style, synthetic_documents
from aira_evaluator.compose.text.profiles import CorpusName, TextProfile
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.documents import read_documents
from aira_kernels.sizes import BlockSizes

_SYNTHETIC_SEED = 20260515
_CPU_SIZES = BlockSizes(width=32, attention_head_dim=16, mamba_state=16)


@dataclass(frozen=True)
class Corpus:
    """One text set."""

    name: CorpusName
    files: tuple[str, ...]
    """Names under `/raw`, in reading order; volumes of one archive count as one file."""
    unpacked: tuple[str, ...]
    """What the archive holds, for folders in which it lies unpacked."""
    style: Style
    """The grammar of the stand-in."""
    profiles: Mapping[str, TextProfile]

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


def _paper(
    *,
    vocabulary: int,
    train_windows: int,
    held_out_share: float,
    epochs: int,
    batch_size: int,
    synthetic_documents: int,
) -> TextProfile:
    return TextProfile(
        name="paper", sizes=BlockSizes(), vocabulary=vocabulary, length=512, train_windows=train_windows,
        hidden_windows=9275, held_out_share=held_out_share, epochs=epochs, batch_size=batch_size, learning_rate=5e-4,
        tokenizer_documents=100_000, synthetic_documents=synthetic_documents,
    )  # fmt: skip


def _cpu(learning_rate: float) -> TextProfile:
    return TextProfile(
        name="cpu", sizes=_CPU_SIZES, vocabulary=512, length=64, train_windows=4096, hidden_windows=384,
        held_out_share=0.4, epochs=1, batch_size=16, learning_rate=learning_rate, tokenizer_documents=2000,
        synthetic_documents=6000,
    )  # fmt: skip


BABISTORIES = Corpus(
    name="babistories",
    files=tuple(f"babistories-dataset.7z.{volume:03d}" for volume in range(1, 6)),
    unpacked=("traindataset.txt", "valdataset.txt"),
    style="stories",
    profiles={
        "paper": _paper(
            vocabulary=4096,
            train_windows=927_158,
            held_out_share=0.05,
            epochs=1,
            batch_size=128,
            synthetic_documents=3_200_000,
        ),
        "cpu": _cpu(learning_rate=5e-3),
    },
)
DCLM = Corpus(
    name="dclm",
    files=("shard_00000000_processed.jsonl.zst",),
    unpacked=("shard_00000000_processed.jsonl",),
    style="pages",
    profiles={
        "paper": _paper(
            vocabulary=8192,
            train_windows=10_000,
            held_out_share=0.4,
            epochs=4,
            batch_size=32,
            synthetic_documents=400_000,
        ),
        # At 5e-3 the seeds' noise is as large as the differences between stacks.
        "cpu": _cpu(learning_rate=3e-3),
    },
)
CORPORA: Mapping[str, Corpus] = {corpus.name: corpus for corpus in (BABISTORIES, DCLM)}
