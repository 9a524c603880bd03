"""From the graphs of a submission to its scores: checks, training, evaluation, in the judge's process.

ListOps is trained and scored with token ids permuted by a secret of the seed set: an honest module cannot tell, while
rules of ListOps written against the public ids fit nothing. The untrained module is checked with the public ids, where
such rules would show.

Not covered: reading files and printing results (`commands`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.bundle import Bundle, RefusedError
from aira_evaluator.lra.checks import (
    DRAWS,
    check_chance,
    check_company,
    other_company,
    padding_changes,
    padding_dependent,
)
from aira_evaluator.lra.contract import CONTRACTS, PADDING_ID
from aira_evaluator.lra.data.splits import Split
from aira_evaluator.lra.evaluation import Evaluator, Inputs, accuracy, require_finite, rounded
from aira_evaluator.lra.functions import TracedModule, missing_scales, read_module
from aira_evaluator.lra.growth import Growth, measure_growth
from aira_evaluator.lra.heads import head_of
from aira_evaluator.lra.profiles import LraProfile
from aira_evaluator.lra.training import Examples, Span, Trainer, Weights, draw_order, optimizer_of, stretches

PUBLISHED_BEST = {"text": 0.9053, "listops": 0.6379, "retrieval": 0.9176}
"""Of the paper profile; a better score deserves a look at what was submitted."""
_CHECKED_EXAMPLES = 256
_PROCESS_BYTES = 768 << 20
"""What the judge needs besides the arrays of a program."""
_PROBE_STEPS = 5
"""Timed before the rest of the first stretch is begun."""
_SLACK = 1.25
"""Factor by which a projected time may exceed the limit before the training is refused."""


@dataclass(frozen=True)
class JudgeLimits:
    """What an evaluation may use; None is unlimited."""

    timeout_s: float | None = None
    memory_mib: int | None = None

    @property
    def array_bytes(self) -> float:
        """For the arrays of one program."""
        if self.memory_mib is None:
            return float("inf")
        return max(0, (self.memory_mib << 20) - _PROCESS_BYTES)


@dataclass(frozen=True)
class Splits:
    """What is trained and scored on."""

    train: Split
    validation: Split
    test: Split


@dataclass
class ModuleScore:
    """The result of a valid submission."""

    validation: float
    test: float
    canonical: str
    flags: list[str]
    details: dict[str, object] = field(default_factory=dict)


class Clock:
    """Time used, by what it was used for."""

    def __init__(self, limits: JudgeLimits, started_s: float) -> None:
        self._limits = limits
        self._started_s = self._last_s = started_s
        self.used_s: dict[str, float] = {}

    def lap(self, name: str) -> float:
        """Book the time since the last lap; return it in seconds."""
        now_s = time.monotonic()
        passed_s, self._last_s = now_s - self._last_s, now_s
        self.used_s[name] = self.used_s.get(name, 0.0) + passed_s
        return passed_s

    def require(self, needed_s: float) -> None:
        """Stop early where the time will not do.

        Raises:
            RefusedError: `needed_s` more seconds are far beyond the limit.
        """
        total_s = self._last_s - self._started_s + needed_s
        if self._limits.timeout_s is not None and total_s > _SLACK * self._limits.timeout_s:
            raise RefusedError(
                f"training and scoring would take about {total_s:.0f} s, allowed are {self._limits.timeout_s:.0f} s"
            )


def secret_ids(task: str, vocab_size: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What each public token id becomes, uint16 (V,); the identity but for ListOps. Padding stays padding."""
    ids = np.arange(vocab_size, dtype=np.uint16)
    if task == "listops":
        ids[PADDING_ID + 1 :] = rng.permutation(ids[PADDING_ID + 1 :])
    return ids


def token_inputs(split: Split, length: int, ids: NDArray[np.uint16], limit: int | None = None) -> Inputs:
    """Token ids of the first `limit` examples, (N, D, L)."""
    return ids[split.sequences.token_ids(length)][split.rows[:limit]]


def score_module(
    bundle: Bundle,
    profile: LraProfile,
    splits: Splits,
    *,
    seed: int,
    limits: JudgeLimits,
    started_s: float,
    note: Callable[[str], None],
) -> ModuleScore:
    """Train a submission once and score it on both hidden splits.

    Args:
        bundle: of the fit container.
        profile: of the task.
        splits: train, hidden validation, hidden test.
        seed: of everything random.
        limits: refuse what cannot fit, rather than be killed.
        started_s: when the evaluation began, by `time.monotonic`.
        note: told what is going on.

    Raises:
        RefusedError: the submission breaks its contract, cannot fit, diverges, or fails a control.
    """
    contract = CONTRACTS[profile.task]
    clock = Clock(limits, started_s)
    module = read_module(bundle, contract, profile.eval_batch_size)
    clock.lap("reading")
    judge = _Judge(bundle, profile, module, splits, seed, limits, clock, note)
    untrained = judge.untrained_checks()
    weights, curve = judge.train()
    return judge.score(weights, curve, untrained)


class _Judge:
    """One evaluation."""

    def __init__(
        self,
        bundle: Bundle,
        profile: LraProfile,
        module: TracedModule,
        splits: Splits,
        seed: int,
        limits: JudgeLimits,
        clock: Clock,
        note: Callable[[str], None],
    ) -> None:
        self._profile, self._module, self._splits, self._clock, self._note = profile, module, splits, clock, note
        self._contract, self._wanted, self._limits = CONTRACTS[profile.task], bundle.hyperparameters, limits
        self._platform = bundle.platform
        streams = np.random.SeedSequence(seed).spawn(4)
        self._order_rng, self._ids_rng, self._check_rng, key_rng = (np.random.default_rng(each) for each in streams)
        self._keys = jnp.asarray(key_rng.integers(0, 2**32, (DRAWS + 2, 2), dtype=np.uint32))
        """Of the training, of its dropout, and of the untrained draws."""
        self._ids = secret_ids(profile.task, self._contract.vocab_size, self._ids_rng)
        head = head_of(self._contract, self._wanted)
        self._trainer = Trainer(module.functions, head)
        # Drawing parameters runs a few times and compiles longer than it runs: optimizing it would cost more.
        options = {"xla_backend_optimization_level": 0} if self._platform == "cpu" else None
        self._start = jax.jit(self._trainer.start, compiler_options=options)
        self._first = self._start(self._keys[0])
        batch = (profile.eval_batch_size, self._contract.documents, self._wanted.seq_len)
        self._evaluator = Evaluator(module.functions.evaluate, head, self._first.weights, batch)
        self._require_memory(self._evaluator.temporary_bytes, "to be evaluated")
        clock.lap("compiling")
        self._flags: list[str] = []

    def _require_memory(self, needed: float, purpose: str) -> None:
        if needed > self._limits.array_bytes:
            raise RefusedError(
                f"the module needs {needed / 2**20:,.0f} MiB {purpose}, there are "
                f"{self._limits.array_bytes / 2**20:,.0f} MiB"
            )

    def untrained_checks(self) -> Mapping[str, object]:
        """Controls that need no training.

        Raises:
            RefusedError: one fails.
        """
        self._note("checking the untrained module")
        split = self._splits.validation
        public = np.arange(self._contract.vocab_size, dtype=np.uint16)
        inputs = token_inputs(split, self._wanted.seq_len, public, _CHECKED_EXAMPLES)
        labels = split.labels[:_CHECKED_EXAMPLES]
        drawn = (self._start(key).weights for key in self._keys[2:])  # one at a time: they may be large
        chance = check_chance([require_finite(self._evaluator.logits(weights, inputs)) for weights in drawn], labels)
        chance.refuse_knowledge()
        if chance.off_chance:
            self._flags.append("informed_at_init")
        self._check_company(self._first.weights, inputs)
        self._clock.lap("checking")
        return chance.details()

    def _check_company(self, weights: Weights, inputs: Inputs) -> None:
        mixed, rows = other_company(inputs, self._profile.eval_batch_size, self._check_rng)
        together = self._evaluator.logits(weights, inputs)[rows]
        if check_company(together, self._evaluator.logits(weights, mixed)) and "batch_sensitive" not in self._flags:
            self._flags.append("batch_sensitive")

    def train(self) -> tuple[Weights, list[dict[str, float]]]:
        """Train once; returns the weights and the curve of loss and accuracy on some hidden validation examples.

        Raises:
            RefusedError: the loss is not finite, or time or memory will not do.
        """
        wanted, train = self._wanted, self._splits.train
        order = jnp.asarray(draw_order(self._order_rng, len(train), wanted.batch_size, wanted.train_steps))
        examples = self._on_device(train)
        optimizer = optimizer_of(wanted)
        loop = jax.jit(self._trainer.run, donate_argnums=0)
        self._note(f"compiling the training of {self._module.parameter_count:,} parameters")
        span = Span(jnp.int32(0), jnp.int32(0), order)
        program = loop.lower(self._first, span, examples, self._keys[1], optimizer).compile()
        planned = program.memory_analysis()
        if planned is not None:
            needed = planned.temp_size_in_bytes + planned.argument_size_in_bytes
            self._require_memory(needed, "to be trained")
        self._clock.lap("compiling")
        subset = token_inputs(self._splits.validation, wanted.seq_len, self._ids, self._profile.eval_subset)
        labels = self._splits.validation.labels[: self._profile.eval_subset]
        state, curve = self._first, []
        for first, stop in stretches(wanted.train_steps, wanted.eval_frequency):
            spans = [(first, stop)] if first else [(0, min(_PROBE_STEPS, stop)), (min(_PROBE_STEPS, stop), stop)]
            for begin, end in spans:
                span = Span(jnp.int32(begin), jnp.int32(end), order)
                state = program(state, span, examples, self._keys[1], optimizer)
                loss = float(state.loss_sum) / (stop - first)
                step_s = self._clock.lap("training") / max(1, end - begin)
                self._clock.require(step_s * (wanted.train_steps - end))
            if not np.isfinite(loss):
                raise RefusedError(f"the training diverged: the loss is {loss} at step {stop}")
            state = state._replace(loss_sum=jnp.zeros((), jnp.float32))
            logits = require_finite(self._evaluator.logits(state.weights, subset))
            curve.append({"step": stop, "loss": rounded(loss), "accuracy": rounded(accuracy(logits, labels))})
            self._clock.lap("evaluating")
            self._note(f"step {stop} of {wanted.train_steps}: loss {loss:.4f}, accuracy {curve[-1]['accuracy']:.4f}")
        return state.weights, curve

    def _on_device(self, split: Split) -> Examples:
        ids = self._ids[split.sequences.token_ids(self._wanted.seq_len)]
        narrow = ids.astype(np.uint8) if self._contract.vocab_size <= 256 else ids
        return Examples(jnp.asarray(narrow), jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))

    def score(self, weights: Weights, curve: list[dict[str, float]], untrained: Mapping[str, object]) -> ModuleScore:
        """Score trained weights, and check them.

        Raises:
            RefusedError: a control fails.
        """
        scores: dict[str, float] = {}
        for name, split in (("validation", self._splits.validation), ("test", self._splits.test)):
            inputs = token_inputs(split, self._wanted.seq_len, self._ids)
            scores[name] = accuracy(require_finite(self._evaluator.logits(weights, inputs)), split.labels)
        self._clock.lap("evaluating")
        inputs = token_inputs(self._splits.validation, self._wanted.seq_len, self._ids, _CHECKED_EXAMPLES)
        self._check_company(weights, inputs)
        growth = self._growth(weights)
        padding = self._padding_changes(weights, growth, inputs)
        if missing_scales(self._module):
            self._flags.append("fixed_length")
        if growth.quadratic:
            self._flags.append("quadratic")
        if padding is not None and padding_dependent(padding):
            self._flags.append("padding_dependent")
        if self._profile.name == "paper" and scores["test"] > PUBLISHED_BEST[self._profile.task]:
            self._flags.append("above_published_best")
        self._clock.lap("checking")
        details = {
            "platform": self._platform,
            "parameters": self._module.parameter_count,
            "hyperparameters": asdict(self._wanted),
            "curve": curve,
            "untrained": untrained,
            "padding_changes": None if padding is None else rounded(padding),
            "growth": growth.details(),
            "seconds": {name: round(used_s, 2) for name, used_s in self._clock.used_s.items()},
        }
        return ModuleScore(scores["validation"], scores["test"], self._module.sha256, self._flags, details)

    def _growth(self, weights: Weights) -> Growth:
        scaled = self._module.scaled
        batch = scaled[0].graphs[2].arguments[-1].shape[0] if scaled else 1
        return measure_growth(
            scaled,
            weights,
            self._trainer.head,
            batch=(batch, self._contract.documents, self._wanted.seq_len),
            vocab_size=self._contract.vocab_size,
            memory_bytes=self._limits.array_bytes,
            rng=self._check_rng,
        )

    def _padding_changes(self, weights: Weights, growth: Growth, inputs: Inputs) -> float | None:
        """Share of answers that twice the length, all of it padding, changes; None where it cannot be run."""
        double = next((module for module in growth.modules if module.scale == 2), None)
        if double is None or double.evaluator is None:
            return None
        longer = np.pad(inputs, [(0, 0), (0, 0), (0, inputs.shape[2])], constant_values=PADDING_ID)
        return padding_changes(self._evaluator.logits(weights, inputs), double.evaluator.logits(double.weights, longer))
