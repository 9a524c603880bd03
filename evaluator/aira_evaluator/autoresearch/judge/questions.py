"""Which predictions a served model is asked for: positions of hidden rows, drawn anew for each submission.

Two stages. Rows: of a pool of M rows m, all equally likely (`SplitRows.rows_drawn`; all M where the text is small).
Positions: of all scored targets of those rows K, all equally likely, none twice. So every scored target of the pool
has the same probability m / M * K / (targets of the drawn rows).

What a container may see together is no matter of chance: `SplitRows.containers` says for each row which container may
be asked about it, and rows that share a source file have different ones. A row's shorter prefixes are answered before
a longer one is sent, or else the longer prefix would show the shorter one's target: `rounds`.

Not covered: what the answers are worth (`estimator`), sending them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """K questions about one split, and how they were drawn."""

    row: Indices
    """[K], index into the split's rows."""
    position: Indices
    """[K], of the target inside its row, from 1: the model gets `tokens[row, :position]` and nothing else."""
    container: Indices
    """[K], which predict container is asked, from 0."""
    rows_drawn: int
    """m; a row without a question counts too."""
    rows_in_pool: int
    """Rows of the pool that rows are drawn from, M."""
    targets_drawn: int
    """Scored targets of the drawn rows, of which the K are a part."""

    def __len__(self) -> int:
        return len(self.row)

    def rounds(self, container: int) -> Iterator[Indices]:
        """Indices of one container's questions, round after round; no round has two of one row, the shorter is first.

        Within a round the order is that of the draw, which is random.
        """
        mine = np.flatnonzero(self.container == container)
        order = mine[np.lexsort((self.position[mine], self.row[mine]))]
        rows = self.row[order]
        begins = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, dtype=np.int64)
        # A question's rank among those of its row, counted from where the row begins in the sorted order.
        rank = np.arange(len(rows)) - np.repeat(begins, np.diff(np.r_[begins, len(rows)]))
        for number in range(int(rank.max(initial=-1)) + 1):
            yield np.sort(order[rank == number])


def draw_questions(split: SplitRows, secret: bytes, handover_sha256: str, count: int) -> Questions:
    """Draw `count` questions about a split, or one about each scored target of the drawn rows where there are fewer.

    Args:
        split: the rows.
        secret: who does not know it cannot tell which rows and positions will be asked. A file can be given any number
            of hashes by bytes at its end, so one who did know it would choose among as many draws.
        handover_sha256: of the handed-over model: the same submission is asked the same, another one anew.
        count: K.
    """
    rng = _generator(secret, f"{split.name}\0{handover_sha256}")
    # Both stages without replacement: simple random samples, as the estimator's variance takes them to be.
    drawn = np.sort(rng.choice(len(split.tokens), size=split.rows_drawn, replace=False))
    within, targets = np.nonzero(split.bytes_of_targets(drawn))
    chosen = rng.choice(len(within), size=min(count, len(within)), replace=False)
    row = drawn[within[chosen]]
    return Questions(row, targets[chosen] + 1, split.containers[row], len(drawn), len(split.tokens), len(within))


def _generator(secret: bytes, name: str) -> np.random.Generator:
    key = hashlib.blake2b(secret, digest_size=32).digest()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(name.encode(), key=key).digest(), "big"))
