"""The program of one rank: pretrain a pattern at a scale by a recipe on a folder of tokens.

    torchrun --nproc-per-node 8 -m aira_evaluator.pretrain.train --pattern airaformer-d-stretched --scale 1B
        --recipe isotoken-1b --data TOKENS --out FOLDER --microbatch 2 --compile
    python -m aira_evaluator.pretrain.train --pattern 2(A-M) --scale toy --recipe toy --data TOKENS --out FOLDER

Started again with the same words, on as many ranks or others, it goes on from the newest checkpoint that can be read.
SIGTERM has it write a checkpoint and end with status 75. Exit statuses: 0 done, 2 cannot begin, 75 stopped, 76
diverged; any other is a failure from which it can be started again. Not covered: starting ranks, and trying again.
"""

import argparse
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor

from aira_contract.model_sizes import TOY_SCALE
from aira_contract.patterns import Pattern, PatternError
from aira_contract.presets import read_architecture
from aira_contract.pretraining import (
    CHECKPOINTS,
    DIVERGED_STATUS,
    SCHEMA,
    STOPPED_STATUS,
    PretrainIdentity,
    PretrainRecord,
    StepMetrics,
)
from aira_contract.recipes import Recipe, RecipeError, find_recipe
from aira_contract.training_arithmetic import (
    count_layers,
    flops_per_token,
    head_flops_per_token,
    parameters_with_embedding,
)
from aira_evaluator.pretrain.checkpoints import Checkpoints
from aira_evaluator.pretrain.model import Layout, Recompute, TrainedModel
from aira_evaluator.pretrain.ranks import Ranks, join_ranks
from aira_evaluator.pretrain.records import Records, SpikeWatch, check_identity, hold_folder
from aira_evaluator.pretrain.sharding import shard, summed
from aira_evaluator.pretrain.shards import Ids, TokenFolder, step_numbers
from aira_evaluator.pretrain.step import StepResult, TrainingStep, optimizer_of
from aira_evaluator.split_manifest import DataError
from aira_kernels.backend import BACKENDS
from aira_kernels.large import LargeLanguageModel

_MOST_DIGITS = 10
GIVE_UP_STEPS = 10
"""Steps in a row that were not finite, after which a training has diverged."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pattern", required=True, help="layers, or a name of the paper's architectures")
    parser.add_argument("--scale", required=True, help="350M, 1B, 3B or toy")
    parser.add_argument("--recipe", required=True, help="a shipped recipe, or a file FILE.toml")
    parser.add_argument("--data", required=True, type=Path, help="folder of tokens (docs/pretraining.md)")
    parser.add_argument("--out", required=True, type=Path, help="folder of this training, seen by every rank")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and of the order of the data")
    parser.add_argument("--microbatch", type=_count, default=4, help="sequences of a rank at a time")
    parser.add_argument("--recompute", choices=get_args(Recompute), default="none", help="what saves memory for time")
    parser.add_argument("--compile", action="store_true", help="compile blocks of attention and MLP, and the loss")
    parser.add_argument("--cudnn-attention", action="store_true", help="cuDNN's attention first")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="who computes scan, norm, convolution")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="by default a GPU where there is one")
    parser.add_argument("--stop-after", type=_count, help="end after that many steps of this start, with a checkpoint")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's files")
    options = parser.parse_args(arguments)
    try:
        status = Pretraining(options).run()
    except (DataError, PatternError, RecipeError) as error:
        print(f"pretrain: {error}", file=sys.stderr)
        status = 2
    if dist.is_initialized():
        dist.destroy_process_group()
    return status


class Pretraining:
    """One training on this rank.

    Raises:
        DataError: the data, the folder or the number of ranks does not fit, or another process trains in the folder.
        PatternError: the pattern cannot be read.
        RecipeError: the recipe cannot be read, or is not for the scale.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.recipe: Recipe = find_recipe(options.recipe)
        self.layers = _layers(options.pattern, options.scale)
        self.size = self.recipe.size(self.layers, options.scale)
        self.steps = self.recipe.steps_of(self.layers, options.scale)
        tokens = TokenFolder(options.data)
        if tokens.manifest.vocabulary > self.recipe.vocabulary:
            raise DataError(
                f"{options.data} has {tokens.manifest.vocabulary} token ids, recipe {self.recipe.name} takes "
                f"{self.recipe.vocabulary}"
            )
        self._training = tokens.sequences("train", self.recipe.sequence_tokens)
        self._held_out = tokens.sequences("validation", self.recipe.sequence_tokens)
        self.identity = self._identity(tokens)
        check_identity(options.out, self.identity)
        self._held = None if int(os.environ.get("RANK") or 0) else hold_folder(options.out)
        self.ranks: Ranks = join_ranks(options.device)
        share, rest = divmod(self.recipe.step_sequences, self.ranks.size * options.microbatch)
        if rest or not share:
            raise DataError(
                f"{self.ranks.size} ranks with --microbatch {options.microbatch} do not divide the "
                f"{self.recipe.step_sequences} sequences of a step"
            )
        self._microbatches, self._stop, self._skipped, self._seconds = share, False, 0, 0.0
        self._last_validation: float | None = None
        self._watch = SpikeWatch()
        self._records = Records(options.out, leads=self.ranks.rank == 0, tensorboard=options.tensorboard)

    def run(self) -> int:
        """Train to the end; return the exit status."""
        previous = signal.signal(signal.SIGTERM, self._ask_to_stop)
        try:
            self._build()
            return self._carry_on()
        finally:
            self._records.close()
            signal.signal(signal.SIGTERM, previous)

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop = True

    def _identity(self, tokens: TokenFolder) -> PretrainIdentity:
        counts, manifest = count_layers(self.layers), tokens.manifest
        return PretrainIdentity(
            schema=SCHEMA,
            pattern="-".join(self.layers),
            scale=self._options.scale,
            recipe=asdict(self.recipe),
            seed=self._options.seed,
            data={
                "name": manifest.name, "sha256": tokens.sha256, "tokenizer": manifest.tokenizer,
                "own_tokenizer": manifest.own_tokenizer, "synthetic": manifest.synthetic,
                "unigram_entropy": manifest.unigram_entropy,
            },
            steps=self.steps,
            parameters=parameters_with_embedding(counts, self.size, self.recipe.vocabulary),
            flops_per_token=flops_per_token(counts, self.size, self.recipe.sequence_tokens),
        )  # fmt: skip

    def _build(self) -> None:
        options, recipe, ranks = self._options, self.recipe, self.ranks
        large = LargeLanguageModel(
            self.layers, self.size, generator=torch.Generator(ranks.device).manual_seed(options.seed),
            vocabulary=recipe.vocabulary, device=ranks.device, backend=options.backend,
        )  # fmt: skip
        layout = Layout(
            compile=options.compile, recompute=options.recompute, dtype=getattr(torch, recipe.precision),
            cudnn_attention=options.cudnn_attention,
        )  # fmt: skip
        self.model = TrainedModel(large, layout, length=recipe.sequence_tokens, z_loss=recipe.optimizer.z_loss)
        if ranks.size > 1:
            shard(self.model, ranks.mesh)
        optimizer = optimizer_of(self.model, recipe.optimizer)
        self._step = TrainingStep(
            self.model, optimizer, clip_norm=recipe.optimizer.clip_norm, step_tokens=recipe.step_tokens,
            group=ranks.mesh.get_group() if ranks.size > 1 else None,
        )  # fmt: skip
        self._checkpoints = Checkpoints(options.out / CHECKPOINTS, self.model, optimizer, ranks.slow)

    def _carry_on(self) -> int:
        begun = done = self._take_up()
        while done < self.steps:
            result, line = self._one(done)
            done += 1
            self._note(line, result)
            if self._skipped == GIVE_UP_STEPS:
                self._records.event("diverged", step=done)
                return DIVERGED_STATUS
            if done % self.recipe.validate_every_steps == 0 or done == self.steps:
                self._validate(done)
            stopping = result.asked or done - begun == self._options.stop_after
            if stopping or done % self.recipe.checkpoint_every_steps == 0 or done == self.steps:
                self._checkpoints.save(done)
                self._write(done)
            if stopping and done < self.steps:
                self._checkpoints.finish()
                self._records.event("stopped", step=done)
                return STOPPED_STATUS
        self._checkpoints.finish()
        self._write(done)
        return 0

    def _take_up(self) -> int:
        """Go on from the newest checkpoint that can be read; return its step."""
        done, unread = self._checkpoints.take_up()
        for step, why in unread.items():
            self._records.event("checkpoint not read", step=step, why=why)
            if self.ranks.rank == 0:
                print(
                    f"pretrain: the checkpoint of step {step} cannot be read: {why}; going on from {done}",
                    file=sys.stderr,
                )
        for line in self._records.took_up(done):
            self._seconds += line.seconds
            if line.loss is not None:
                self._watch.above(line.loss)
        self._records.copy_of_tokens(self._options.data)
        self._records.event("started", step=done, ranks=self.ranks.size, device=self.ranks.device_name)
        self._write(done)
        return done

    def _one(self, step: int) -> tuple[StepResult, StepMetrics]:
        started_s = time.perf_counter()
        rate = self.recipe.learning_rate(step, self.steps, self._options.scale)
        result = self._step(self._parts(step), rate, stop=self._stop)
        seconds = time.perf_counter() - started_s
        self._seconds += seconds
        speed = self.recipe.step_tokens / seconds
        blocks = self.identity.flops_per_token
        head = head_flops_per_token(self.size, self.recipe.vocabulary)
        peak = self.ranks.peak_flops
        return result, StepMetrics(
            step=step + 1,
            loss=_finite(result.loss),
            tokens=(step + 1) * self.recipe.step_tokens,
            seconds=seconds,
            grad_norm=_finite(result.grad_norm),
            lr=rate,
            tokens_per_s=speed,
            mfu=peak and blocks * speed / peak,
            mfu_with_head=peak and (blocks + head) * speed / peak,
            skipped=result.skipped,
        )

    def _parts(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's microbatches; which sequences stand in a microbatch together does not depend on the ranks."""
        size = self._options.microbatch
        numbers = step_numbers(len(self._training), step, self.recipe.step_sequences, self._options.seed)
        for part in range(self._microbatches):
            first = (part * self.ranks.size + self.ranks.rank) * size
            yield self._on_device(self._training.read(numbers[first : first + size]))

    def _on_device(self, ids: Ids) -> tuple[Tensor, Tensor]:
        there = torch.from_numpy(ids).to(self.ranks.device, non_blocking=True)
        return there[:, :-1], there[:, 1:]

    def _validate(self, done: int) -> None:
        """Take the loss of every held-out sequence; ranks take turns, and each computes as often as the others."""
        self.model.eval()
        batch, total = self._options.microbatch, torch.zeros((), device=self.ranks.device)
        together = batch * self.ranks.size
        with torch.no_grad():
            for start in range(self.ranks.rank * batch, len(self._held_out) + self.ranks.rank * batch, together):
                mine = range(start, min(start + batch, len(self._held_out)))
                # Sharded matrices are gathered by all ranks or none: one without a sequence left computes any.
                loss = self.model(*self._on_device(self._held_out.read(mine or [0])))
                total += loss if mine else 0.0
        self.model.train()
        group = self.ranks.mesh.get_group() if self.ranks.size > 1 else None
        (loss_sum,) = summed([total], self.ranks.device, group)
        self._last_validation = loss_sum / (len(self._held_out) * self.recipe.sequence_tokens)
        self._records.validation(done, done * self.recipe.step_tokens, self._last_validation)

    def _note(self, line: StepMetrics, result: StepResult) -> None:
        self._records.metrics(line)
        self._skipped = self._skipped + 1 if result.skipped else 0
        if result.skipped:
            self._records.event("not finite", step=line.step, loss=line.loss, grad_norm=line.grad_norm)
        elif (usual := self._watch.above(result.loss)) is not None:
            self._records.event("spike", step=line.step, loss=result.loss, usual=usual)

    def _write(self, done: int) -> None:
        self._records.write(
            PretrainRecord(
                identity=self.identity,
                steps_done=done,
                finished=done == self.steps,
                validation_loss=self._last_validation,
                ranks=self.ranks.size,
                device=self.ranks.device_name,
                seconds=self._seconds,
            )
        )


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number above 0")
    return count


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _layers(written: str, scale: str) -> Pattern:
    """A name stands for what is printed of it at the scale; at toy scale for what was searched."""
    return read_architecture(written, None if scale == TOY_SCALE else scale)


if __name__ == "__main__":
    try:
        _status = main()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        # A checkpoint's thread may wait for a rank that is gone, and Python for the thread.
        os._exit(1)
    sys.exit(_status)
