"""Trains the reference models of a task where its data is prepared, and says what they make of hidden rows.

References are the task's own baseline script, run as an agent's would be on the public data but for budgets and seeds,
and a bigram model with a cache. A submission is predicted best by the reference at its own level, so there are several.
They are ours and causal, so one pass over whole rows gives what prefixes would; were they not, scores would be less
precise and no less right (`estimator`).

Not covered: storing what they say (`split_assignment`), and its use (`estimator`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from aira_contract.files import COMPANION_FILES, HANDOVER_FILE, SCRIPT_FILE
from aira_contract.settings import TIME_BUDGET_VARIABLE, TRAINING_SEED_VARIABLE
from aira_evaluator.autoresearch.contract.references import Stored
from aira_evaluator.autoresearch.contract.token_store import open_split
from aira_evaluator.autoresearch.handover.model_file import Handed, load
from aira_evaluator.autoresearch.prepare.ngram import CachedBigram
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.tokenizer import BytePairTokenizer, Tokens

_SEED = 42
SEED_LINE = f'torch.manual_seed(int(os.environ.get("{TRAINING_SEED_VARIABLE}", "{_SEED}")))'
"""Of the baseline: by it references get seeds of their own, and so do confirmations."""
_BUSY_CLOCK = "import time\n\ntime.perf_counter = time.thread_time\n"
"""Put before the script on a CPU: others on its cores make training longer, and references no worse."""
_LOGITS = 1 << 26
"""Logits in memory at once, about: what 64 rows of the cpu profile have, and 4 of the paper's."""


@dataclass(frozen=True)
class ReferenceModels:
    """Models of ours, trained when data is prepared, that say what each hidden target costs them."""

    ngram: CachedBigram
    baselines: tuple[Handed, ...]
    """May be empty: the bigrams alone save little, but nothing needs to be trained."""

    def describe(self, rows: Tokens) -> Stored:
        """Nats of every target of rows [n, T + 1] by every reference, then the entropy of the last: float16 [n, T, R].

        What is stored is what the estimator averages, so rounding costs no bias.
        """
        columns = 1 + len(self.baselines) + bool(self.baselines)
        found: Stored = np.empty((len(rows), rows.shape[1] - 1, columns), dtype=np.float16)
        for start in range(0, len(rows), 256):
            found[start : start + 256, :, 0] = self.ngram.nats(rows[start : start + 256])
        for index, handed in enumerate(self.baselines, start=1):
            for part, nats, entropy in _passes(handed, rows, len(self.ngram)):
                found[part, :, index] = nats
                found[part, :, -1] = entropy
        return found


def train_references(public: Path, budgets_s: tuple[float, ...], *, on_gpu: bool = False) -> ReferenceModels:
    """Train one baseline for each budget, on a GPU if there is one.

    Args:
        public: a whole public half: tokens, tokenizer, baseline script and what it imports.
        budgets_s: seconds of training; the last is the longest.
        on_gpu: the baseline is of a size that nothing else can train.

    Raises:
        DataError: the baseline does not run here.
    """
    if on_gpu and budgets_s and not torch.cuda.is_available():
        raise DataError(
            f"reference models of this profile train for {sum(budgets_s) / 60:.0f} minutes on a GPU, and there is none "
            "here; profile cpu needs none"
        )
    vocabulary = BytePairTokenizer.from_directory(public / "tokenizer").get_vocab_size()
    documents = (tokens for shard in open_split(public / "train") for tokens in shard.documents())
    baselines = tuple(_trained(public, number, budget_s) for number, budget_s in enumerate(budgets_s))
    return ReferenceModels(CachedBigram(documents, vocabulary), baselines)


def _trained(public: Path, number: int, budget_s: float) -> Handed:
    """The first keeps the script's own seed."""
    source = (public / SCRIPT_FILE).read_text(encoding="utf-8")
    if source.count(SEED_LINE) != 1:
        raise DataError(f"{SCRIPT_FILE} does not hold the line {SEED_LINE} once, so references would have one seed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = source if device.type == "cuda" else _BUSY_CLOCK + source
    with tempfile.TemporaryDirectory(prefix="reference-", dir=public) as name:  # not in /tmp, which may be small
        folder = Path(name)
        for companion in COMPANION_FILES:
            shutil.copyfile(public / companion, folder / companion)
        (folder / SCRIPT_FILE).write_text(source, encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, SCRIPT_FILE], cwd=folder, capture_output=True, text=True, check=False,
            env={
                **os.environ, "AIRA_DATA": str(public.resolve()), TIME_BUDGET_VARIABLE: str(budget_s),
                TRAINING_SEED_VARIABLE: str(_SEED + number),
            },
        )  # fmt: skip
        if ended.returncode != 0:
            last = (ended.stderr.strip() or ended.stdout.strip() or "no message").splitlines()[-1]
            raise DataError(f"the baseline did not train as a reference (exit status {ended.returncode}): {last}")
        return load(folder / HANDOVER_FILE, device)


def _passes(
    handed: Handed, rows: Tokens, vocabulary: int
) -> Iterator[tuple[slice, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Nats and entropies, [n, T] each, of some rows after others."""
    device = next(handed.model.parameters()).device
    step = max(1, _LOGITS // (vocabulary * rows.shape[1]))
    with handed.ambience.entered(device):
        # A few rows at a time: logits take vocabulary numbers for every token.
        for start in range(0, len(rows), step):
            part = slice(start, min(start + step, len(rows)))
            tokens = torch.from_numpy(rows[part].astype(np.int64)).to(device)
            logs = torch.log_softmax(handed.model(tokens[:, :-1]).float(), dim=-1)
            nats = -logs.gather(2, tokens[:, 1:, None]).squeeze(2)
            # What the model expects to pay: it tells hard places from easy ones before the token is known.
            entropy = -(logs.exp() * logs).sum(dim=-1)
            yield part, nats.cpu().numpy(), entropy.cpu().numpy()
