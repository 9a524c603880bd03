"""What models earn that try to know more than their prefix, against the honest model asked for every token.

    OMP_NUM_THREADS=1 python bench/predictor_cheats.py --handover handover.bin --data HIDDEN

`--handover` is what a `train.py` of ours left behind (it is loaded in this process: use only your own), `--data` the
hidden store of a cpu profile. Every cheat wraps that model and is served and judged as in a search, in processes
instead of containers: they share a writable folder and the machine's files, which containers do not, so channels are
wider than any a sandbox leaves open.

The last rows are of second submissions that find what a first one left. Nothing in the way questions are asked stops
them; what does is that containers share no medium (SECURITY.md).
"""

import argparse
import math
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.contract.hidden_rows import HiddenSet, SplitRows, read_hidden
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.handover.model_file import hand_over, load
from aira_evaluator.autoresearch.judge.judging import Judgement, judge
from aira_evaluator.autoresearch.judge.questions import draw_questions
from aira_evaluator.autoresearch.judge.rules import RULES
from aira_evaluator.autoresearch.predict import serving
from cheating_models import CHEATS, Cheat
from remembering_models import MEMORIES, InDentries, InFiles

LIFETIME_S = 3600.0


def exhaustive_bpb(model: nn.Module, rows: SplitRows) -> float:
    """Bits per byte of a causal model with every target asked: one pass gives what all prefixes would."""
    tokens = torch.from_numpy(rows.tokens.astype(np.int64))
    nats = 0.0
    with torch.no_grad():
        for part in tokens.split(8):
            logits = serving.logits_of(model(part[:, :-1]), len(part), part.shape[1] - 1, len(rows.lengths))
            found = functional.cross_entropy(logits.double().flatten(0, 1), part[:, 1:].flatten(), reduction="none")
            nats += float((found * (torch.from_numpy(rows.lengths)[part[:, 1:].flatten()] > 0)).sum())
    return nats / math.log(2) / float(rows.bytes_of_targets().sum())


def scored(model: nn.Module, hidden: HiddenSet, profile: str, count: int, submission: str) -> Judgement:
    """What a judge finds, in predictors that are forked one after the other."""
    questions = {name: draw_questions(split, hidden.secret, submission, count) for name, split in hidden.splits.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hand_over(model, folder)
        sockets = [folder / f"socket-{number}" for number in range(PROFILES[profile].predict_containers)]

        def run() -> None:
            for socket in sockets:
                arguments = ["--handover", str(folder / HANDOVER_FILE), "--socket", str(socket)]
                predictor = multiprocessing.get_context("fork").Process(target=serving.main, args=(arguments,))
                predictor.start()
                predictor.join()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        found = judge(sockets, hidden, questions, RULES[profile], np.random.default_rng(), LIFETIME_S)
        thread.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--handover", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--seed-set", default="search", help="or final, which confirm uses")
    parser.add_argument("--questions", type=int, default=2000)
    all_cheats: dict[str, Callable[[nn.Module, Path], Cheat]] = {**CHEATS, **MEMORIES}
    parser.add_argument("--cheats", nargs="*", default=list(all_cheats), choices=list(all_cheats))
    parser.add_argument("--skip-second", action="store_true", help="leave second submissions out")
    options = parser.parse_args()
    found = read_hidden(options.data, options.seed_set, options.profile)
    split = found.splits["validation"]
    hidden = replace(found, splits={"validation": split})
    honest = load(options.handover, torch.device("cpu")).model
    exact = exhaustive_bpb(honest, split)
    print(f"Honest, every token asked: {exact:.4f} BPB. Seed set {options.seed_set}, {options.questions} questions.\n")
    print("| cheat | score - honest exhaustive | standard error | flags | s |")
    print("|---|---|---|---|---|")

    def row(name: str, model: nn.Module, submission: str) -> None:
        began_s = time.monotonic()
        judged = scored(model, hidden, options.profile, options.questions, submission)
        result, took_s = judged.splits["validation"], time.monotonic() - began_s
        flags = ", ".join(judged.flags) or "-"
        print(
            f"| {name} | {result.bpb - exact:+.4f} | {result.standard_error:.4f} | {flags} | {took_s:.0f} |", flush=True
        )

    for name in options.cheats:
        with tempfile.TemporaryDirectory() as shared:
            row(name, all_cheats[name](honest, Path(shared)), "first")
    if not options.skip_second:
        for name, kind in (("files", InFiles), ("names looked up", partial(InDentries, salt=f"{time.time_ns():x}"))):
            with tempfile.TemporaryDirectory() as shared:
                scored(kind(honest, Path(shared)), hidden, options.profile, options.questions, "first")
                row(f"second submission, {name} left by the first", kind(honest, Path(shared)), "second")


if __name__ == "__main__":
    main()
