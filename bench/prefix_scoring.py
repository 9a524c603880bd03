"""The estimator of Autoresearch scores against asking for everything: bias, coverage, standard errors.

    python bench/prefix_scoring.py --public PUBLIC --hidden HIDDEN

PUBLIC and HIDDEN are the halves of a prepared cpu profile (`<AIRA_HOME>/tasks/<task>/cpu-<hash>/public` and `hidden`).
Seven models are trained on the public half. The nats of each on every scored target of all four hidden splits are taken
in one pass and, for some rows, by asking for every prefix. Then questions are drawn as a judge draws them, many
times, and every estimate is compared with the exhaustive score. Splits are taken together, since 20,000 questions need
more text than one has.
"""

import argparse
import copy
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.files import HANDOVER_FILE
from aira_contract.script_constants import with_constants
from aira_contract.settings import TIME_BUDGET_VARIABLE
from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows, read_hidden
from aira_evaluator.autoresearch.contract.packing import pack
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.contract.token_store import open_split
from aira_evaluator.autoresearch.handover.model_file import load
from aira_evaluator.autoresearch.judge.estimator import COST_CAP_NATS, Estimate, estimate
from aira_evaluator.autoresearch.judge.questions import draw_questions

Floats = npt.NDArray[np.float64]
_LOSS_LINE = "loss = trained(x, y)"
_SMOOTHED = "loss = F.cross_entropy(trained(x).flatten(0, 1), y.flatten(), label_smoothing=0.1)"
_SEED_LINE = 'torch.manual_seed(int(os.environ.get("AIRA_TRAINING_SEED", "42")))'


class Recurrent(nn.Module):
    """An LSTM of two layers."""

    def __init__(self, vocabulary: int, width: int = 192) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, V] of token ids [B, T]."""
        logits: Tensor = self.head(self.lstm(self.embedding(x))[0])
        return logits


class PlainBigram(nn.Module):
    """Follows the counts of the public text."""

    def __init__(self, public: Path, vocabulary: int) -> None:
        super().__init__()
        counts = torch.full((vocabulary, vocabulary), 0.02)
        for shard in open_split(public / "train"):
            pairs = torch.from_numpy(shard.tokens.astype(np.int64))
            counts.index_put_((pairs[:-1], pairs[1:]), torch.ones(len(pairs) - 1), accumulate=True)
        self.logs = counts.log()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, V] of token ids [B, T]."""
        return self.logs[x]


def baseline(
    public: Path, budget_s: float, seed: int, hyperparameters: dict[str, int | str] | None = None
) -> nn.Module:
    """The baseline script with another budget, seed and hyperparameters; seed 0 smooths its labels."""
    source = with_constants((public / "train.py").read_text(), hyperparameters or {})
    for old, new in ((_SEED_LINE, f"torch.manual_seed({seed})"), *(((_LOSS_LINE, _SMOOTHED),) if seed == 0 else ())):
        assert source.count(old) == 1
        source = source.replace(old, new)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(source)
        for companion in ("prepare.py", "kernels.py"):
            (folder / companion).write_bytes((public / companion).read_bytes())
        environment = {**os.environ, "AIRA_DATA": str(public), TIME_BUDGET_VARIABLE: str(budget_s)}
        subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return load(folder / HANDOVER_FILE, torch.device("cpu")).model


def recurrent(public: Path, vocabulary: int, tokens: int, steps: int) -> nn.Module:
    """An LSTM after some steps of 16 rows."""
    torch.manual_seed(7)
    model = Recurrent(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    shards = open_split(public / "train")
    documents = chain.from_iterable(shard.documents() for shards in repeat(shards) for shard in shards)
    rows = pack(documents, tokens + 1, vocabulary - 1)
    for _ in range(steps):
        batch = torch.from_numpy(np.stack(list(islice(rows, 16))).astype(np.int64))
        loss = functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def exhaustive(model: nn.Module, tokens: npt.NDArray[np.uint16], prefix_rows: int) -> Floats:
    """Nats of every target [rows, T].

    These models are causal, so one pass over a row gives what its prefixes give; of the first `prefix_rows` rows every
    target is asked for by its prefix alone, and the largest difference is printed.
    """
    rows = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        parts = [
            functional.cross_entropy(model(part[:, :-1]).double().mT, part[:, 1:], reduction="none")
            for part in rows.split(16)
        ]
        found = torch.cat(parts)
        asked = rows[:prefix_rows]
        largest = 0.0
        for position in range(1, rows.shape[1]):
            logits = model(asked[:, :position])[:, -1].double()
            nats = functional.cross_entropy(logits, asked[:, position], reduction="none")
            largest = max(largest, float((nats - found[:prefix_rows, position - 1]).abs().max()))
            found[:prefix_rows, position - 1] = nats
    print(
        f"{type(model).__name__}: by prefix {asked[:, 1:].numel()} targets, at most {largest:.1e} nats off", flush=True
    )
    return np.minimum(found.numpy(), COST_CAP_NATS)


def all_lots(hidden: Path, rows_share: float) -> tuple[SplitRows, References]:
    """All splits as one split, of which a share of the rows is drawn each time."""
    sets = [read_hidden(hidden, seed_set, "cpu") for seed_set in ("search", "final")]
    splits = [split for found in sets for split in found.splits.values()]
    tokens = np.concatenate([split.tokens for split in splits])
    containers = np.concatenate([split.containers for split in splits])
    rows = SplitRows("all", tokens, splits[0].lengths, containers, round(rows_share * len(tokens)))
    values = np.concatenate([references.values for found in sets for references in found.references.values()])
    return rows, References.of(values, rows.bytes_of_targets())


def estimates(
    rows: SplitRows, references: References, nats: Floats, count: int, draws: int, name: str
) -> Iterator[Estimate]:
    """As many judgements of one model, as if it had been handed over with other bytes each time."""
    for draw in range(draws):
        questions = draw_questions(rows, b"secret of the benchmark", f"{name} {draw}", count)
        yield estimate(questions, nats[questions.row, questions.position - 1], references)


def learned(model: nn.Module, shown: Tensor, asked: Tensor) -> float:
    """By how much fine-tuning on some rows lowers the nats of others, in percent; the best of twelve ways."""
    best = before = mean_nats(model, asked)
    for rate in (1e-4, 3e-4, 1e-3):
        student = copy.deepcopy(model)
        optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0)
        for _ in range(4):
            for part in shown.split(4):
                loss = functional.cross_entropy(student(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            best = min(best, mean_nats(student, asked))
    return 100 * (1 - best / before)


def mean_nats(model: nn.Module, rows: Tensor) -> float:
    """Of all targets of some rows."""
    with torch.no_grad():
        return float(functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()))


def report_learning(model: nn.Module, hidden: Path) -> None:
    """What rows teach about rows: within one container, and if all of a split went to one."""
    splits = read_hidden(hidden, "search", "cpu").splits.values()
    print("\n| asked about | shown before | nats lower by, % |\n|---|---|---|")
    for split in splits:
        rows = torch.from_numpy(split.tokens.astype(np.int64))
        parts = [rows[split.containers == container] for container in range(3)]
        half = len(parts[0]) // 2
        for name, shown in (
            (f"{half} others of the container", parts[0][:half]),
            (f"{half} of another container", parts[1][half : 2 * half]),
            (f"all {len(rows) - len(parts[0])} of other containers", torch.cat(parts[1:])),
        ):
            print(
                f"| {split.name}, {len(parts[0]) - half} rows | {name} | {learned(model, shown, parts[0][half:]):.1f} |"
            )


def report(rows: SplitRows, references: References, models: dict[str, Floats], counts: list[int], draws: int) -> None:
    """One line a model and number of questions."""
    share = rows.rows_drawn / len(rows.tokens)
    print(f"\n{references.targets} targets in {len(rows.tokens)} rows, {100 * share:.0f} % of the rows drawn\n")
    print("| model | K | exhaustive BPB | bias, % | bias / its error | covered, % | se, % | plain se, % | lowest g |")
    print("|---|---|---|---|---|---|---|---|---|")
    scored = rows.bytes_of_targets() > 0
    worst = 0.0
    for name, nats in models.items():
        truth = float(nats[scored].sum()) / (math.log(2) * references.bytes)
        for count in (count for count in counts if count <= 0.9 * share * references.targets):
            found = list(estimates(rows, references, nats, count, draws, name))
            bpb, errors = np.array([one.bpb for one in found]), np.array([one.standard_error for one in found])
            plain = np.array([one.plain_bpb for one in found])
            bias, error = bpb.mean() - truth, bpb.std(ddof=1) / math.sqrt(draws)
            covered = np.mean(np.abs(bpb - truth) <= 1.96 * errors)
            worst = max(worst, abs(bias / error))
            print(
                f"| {name} | {count} | {truth:.4f} | {100 * bias / truth:+.3f} | {bias / error:+.1f} "
                f"| {100 * covered:.1f} | {100 * errors.mean() / truth:.2f} | {100 * plain.std(ddof=1) / truth:.2f} "
                f"| {min(one.lowest_weight for one in found):.2f} |",
                flush=True,
            )
    print(f"\nlargest |bias / its Monte Carlo error|: {worst:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--public", type=Path, required=True)
    parser.add_argument("--hidden", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=25.0, help="of the middle baseline")
    parser.add_argument("--questions", type=int, nargs="*", default=[1_000, 2_000, 5_000, 20_000])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--prefix-rows", type=int, default=8, help="of these all targets are asked for by prefix")
    parser.add_argument("--learning", action="store_true", help="measure what rows teach about rows instead")
    parser.add_argument("--kept", type=Path, default=None, help="folder of exhaustive nats: written, or read if there")
    options = parser.parse_args()
    rows, references = all_lots(options.hidden, 1.0)
    vocabulary, tokens, public = len(rows.lengths), rows.tokens.shape[1] - 1, options.public.resolve()
    budget_s = options.budget_s
    makers: dict[str, Callable[[], nn.Module]] = {
        "baseline, a third": lambda: baseline(public, budget_s / 3, 101),
        "baseline": lambda: baseline(public, budget_s, 102),
        "baseline, three times": lambda: baseline(public, 3 * budget_s, 103),
        "depth 4": lambda: baseline(public, 2 * budget_s, 104, {"DEPTH": 4}),
        "label smoothing": lambda: baseline(public, budget_s, 0),
        "LSTM": lambda: recurrent(public, vocabulary, tokens, int(4 * budget_s)),
        "bigram": lambda: PlainBigram(public, vocabulary),
    }
    if options.learning:
        report_learning(makers["baseline"](), options.hidden)
        return
    models: dict[str, Floats] = {}
    for name, make in makers.items():
        kept = None if options.kept is None else options.kept / f"{name}.npy"
        if kept is None or not kept.is_file():
            models[name] = exhaustive(make(), rows.tokens, options.prefix_rows)
            if kept is not None:
                np.save(kept, models[name])
        else:
            models[name] = np.load(kept)
    report(rows, references, models, options.questions, options.draws)
    report(*all_lots(options.hidden, 0.25), models, options.questions, options.draws)


if __name__ == "__main__":
    main()
