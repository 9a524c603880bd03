"""From the graphs of a submission to its scores: checks, training, evaluation, in the judge's process.

ListOps is trained and scored with token ids permuted by a secret of the machine and by the submission: an honest
module cannot tell, while rules of ListOps written against the public ids fit nothing. The untrained module is checked
with the public ids, where such rules would show.

Not covered: reading files and printing results (`judge.evaluate`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from aira_contract.flags import ABOVE_PUBLISHED_BEST, CUSTOM_GRADIENT
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.splits import Split
from aira_evaluator.lra.contract.submission import CONTRACTS, PADDING_ID
from aira_evaluator.lra.graphs.functions import TracedModule, missing_scales, read_module
from aira_evaluator.lra.training import controls
from aira_evaluator.lra.training.checks import (
    DRAWS,
    check_chance,
    check_company,
    other_company,
    padding_changes,
    padding_dependent,
)
from aira_evaluator.lra.training.controls import Control, ControlResult, ControlVerdict, controls_of, secret_ids
from aira_evaluator.lra.training.gradients import TOLERANCES, GradientReport, choose_gradient, moved
from aira_evaluator.lra.training.growth import Growth, measure_growth
from aira_evaluator.lra.training.heads import head_of
from aira_evaluator.lra.training.limits import Clock, JudgeLimits
from aira_evaluator.lra.training.predictions import Evaluator, Inputs, NotFiniteError, accuracy, require_finite, rounded
from aira_evaluator.lra.training.trainer import Examples, Span, Trainer, Weights, draw_order, optimizer_of, stretches

PUBLISHED_BEST = {"text": 0.9053, "listops": 0.6379, "retrieval": 0.9176}
"""On the real data; a better score deserves a look at what was submitted, in whatever profile."""
_CHECKED_EXAMPLES = 256
_PROBE_STEPS = 5
"""Timed before the rest of the first stretch is begun."""


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
    unranked: list[str]
    """Flags for which the score takes no part in search and ranking."""
    details: dict[str, object] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """The figures that controls compared, in words."""


@dataclass(frozen=True)
class Material:
    """What one training sees, and what it is watched on."""

    train: Split
    held_out: Split
    ids: NDArray[np.uint16]
    """What each public token id becomes."""


def _own_rng(seed: int, draw_secret: bytes, module: TracedModule, use: int) -> np.random.Generator:
    """Randomness of a submission's own: of the machine's secret, the seed set and what was submitted.

    Seeds stand in published task folders. By them alone, whoever submits could tell how a graph will fare before.
    """
    return np.random.default_rng([seed, int.from_bytes(draw_secret, "big"), int(module.sha256, 16), use])


def renaming(profile: LraProfile, seed: int, draw_secret: bytes, module: TracedModule) -> NDArray[np.uint16]:
    """What each public token id becomes where a submission is trained and scored; the identity but for ListOps."""
    vocab_size = CONTRACTS[profile.task].vocab_size
    if profile.task != "listops":
        return np.arange(vocab_size, dtype=np.uint16)
    return secret_ids(vocab_size, _own_rng(seed, draw_secret, module, 0))


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
    draw_secret: bytes = b"",
    synthetic: bool = False,
    controls: bool = False,
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
        draw_secret: of the machine, which token ids and control tasks are drawn by besides the seed.
        synthetic: whether the data stands in for the real one, of which scores are published.
        controls: train on control tasks as well.

    Raises:
        RefusedError: the submission breaks its contract, cannot fit, diverges, or fails a control.
    """
    contract = CONTRACTS[profile.task]
    clock = Clock(limits, started_s)
    module = read_module(bundle, contract, profile.eval_batch_size)
    clock.lap("reading")
    judge = _Judge(bundle, profile, module, splits, seed, draw_secret, limits, clock, note)
    untrained = judge.untrained_checks()
    weights, curve = judge.train()
    score = judge.score(weights, curve, untrained, synthetic=synthetic)
    if controls:
        judge.control(score)
    return score


class _Judge:
    """One evaluation."""

    def __init__(
        self,
        bundle: Bundle,
        profile: LraProfile,
        module: TracedModule,
        splits: Splits,
        seed: int,
        draw_secret: bytes,
        limits: JudgeLimits,
        clock: Clock,
        note: Callable[[str], None],
    ) -> None:
        self._profile, self._module, self._splits, self._clock, self._note = profile, module, splits, clock, note
        self._contract, self._wanted, self._limits = CONTRACTS[profile.task], bundle.hyperparameters, limits
        self._platform = bundle.platform
        self._reduced = any(word in bundle.graphs["forward"] for word in (b"xbf16>", b"xf16>"))
        order_rng, self._check_rng, key_rng = (
            np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3)
        )
        self._control_rng = _own_rng(seed, draw_secret, module, 1)
        self._keys = jnp.asarray(key_rng.integers(0, 2**32, (DRAWS + 2, 2), dtype=np.uint32))
        """Of the training, of its dropout, and of the untrained draws."""
        self._public = np.arange(self._contract.vocab_size, dtype=np.uint16)
        self._real = Material(splits.train, splits.validation, renaming(profile, seed, draw_secret, module))
        wanted = self._wanted
        order = draw_order(order_rng, len(splits.train), wanted.batch_size, wanted.train_steps)
        self._order, self._optimizer = jnp.asarray(order), optimizer_of(wanted)
        head = head_of(self._contract, wanted)
        self._trainer = Trainer(module.functions, head)
        # Drawing parameters runs a few times and compiles longer than it runs: optimizing it would cost more.
        options = {"xla_backend_optimization_level": 0} if self._platform == "cpu" else None
        self._start = jax.jit(self._trainer.start, compiler_options=options)
        first = self._start(self._keys[0])
        batch = (profile.eval_batch_size, self._contract.documents, wanted.seq_len)
        self._evaluator = Evaluator(module.functions.evaluate, head, first.weights, batch)
        limits.require_memory(self._evaluator.temporary_bytes, "to be evaluated")
        clock.lap("compiling")
        self._flags: list[str] = []

    def untrained_checks(self) -> Mapping[str, object]:
        """Controls that need no training.

        Raises:
            RefusedError: one fails.
        """
        self._note("checking the untrained module")
        split = self._splits.validation
        inputs = token_inputs(split, self._wanted.seq_len, self._public, _CHECKED_EXAMPLES)
        labels = split.labels[:_CHECKED_EXAMPLES]
        drawn = (self._start(key).weights for key in self._keys[2:])  # one at a time: they may be large
        chance = check_chance([require_finite(self._evaluator.logits(weights, inputs)) for weights in drawn], labels)
        chance.refuse_knowledge()
        if chance.off_chance:
            self._flags.append("informed_at_init")
        self._check_company(self._start(self._keys[0]).weights, inputs)
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
        examples = self._on_device(self._real)
        self._gradient = self._chosen_gradient(examples)
        self._note(f"compiling the training of {self._module.parameter_count:,} parameters")
        self._program = self._compiled(examples)
        self._clock.lap("compiling")
        return self._trained(self._real, examples, self._gradient.compare)

    def _chosen_gradient(self, examples: Examples) -> GradientReport:
        """Compare the judge's derivative with the submission's, near the initial parameters, and choose."""
        weights = moved(self._start(self._keys[0]).weights, self._keys[0])
        tolerance = TOLERANCES["half" if self._reduced else "float32"]
        gradient = choose_gradient(
            self._trainer, weights, self._order, examples, self._keys[1], tolerance,
            fast=self._platform == "cpu", memory_bytes=self._limits.array_bytes,
        )  # fmt: skip
        self._trainer = replace(self._trainer, derived=gradient.derived)
        self._clock.lap("checking")
        return gradient

    def _compiled(self, examples: Examples) -> jax.stages.Compiled:
        """The loop of the training; by the submission's gradient where the judge's needs more memory than there is."""
        loop = jax.jit(self._trainer.run, donate_argnums=0)
        span = Span(jnp.int32(0), jnp.int32(0), self._order)
        program = loop.lower(self._start(self._keys[0]), span, examples, self._keys[1], self._optimizer).compile()
        planned = program.memory_analysis()
        needed = 0 if planned is None else planned.temp_size_in_bytes + planned.argument_size_in_bytes
        if needed > self._limits.array_bytes and self._gradient.derived:
            self._gradient = GradientReport(derived=False, reason=f"deriving needs {needed / 2**20:,.0f} MiB")
            self._trainer = replace(self._trainer, derived=False)
            return self._compiled(examples)
        self._limits.require_memory(needed, "to be trained")
        return program

    def _trained(
        self, material: Material, examples: Examples, watch: Callable[[int, Weights], None]
    ) -> tuple[Weights, list[dict[str, float]]]:
        """One training from the start; `watch` is told the weights at its first evaluation and at its end."""
        wanted = self._wanted
        subset = token_inputs(material.held_out, wanted.seq_len, material.ids, self._profile.eval_subset)
        labels = material.held_out.labels[: self._profile.eval_subset]
        state, curve = self._start(self._keys[0]), []
        for first, stop in stretches(wanted.train_steps, wanted.eval_frequency):
            spans = [(first, stop)] if first else [(0, min(_PROBE_STEPS, stop)), (min(_PROBE_STEPS, stop), stop)]
            for begin, end in spans:
                span = Span(jnp.int32(begin), jnp.int32(end), self._order)
                state = self._program(state, span, examples, self._keys[1], self._optimizer)
                loss = float(state.loss_sum) / (stop - first)
                step_s = self._clock.lap("training") / max(1, end - begin)
                self._clock.require(step_s * (wanted.train_steps - end))
            if not np.isfinite(loss):
                raise NotFiniteError(f"the training diverged: the loss is {loss} at step {stop}")
            state = state._replace(loss_sum=jnp.zeros((), jnp.float32))
            logits = require_finite(self._evaluator.logits(state.weights, subset))
            curve.append({"step": stop, "loss": rounded(loss), "accuracy": rounded(accuracy(logits, labels))})
            self._clock.lap("evaluating")
            if first == 0 or stop == wanted.train_steps:
                watch(stop - 1, state.weights)
                self._clock.lap("checking")
            self._note(f"step {stop} of {wanted.train_steps}: loss {loss:.4f}, accuracy {curve[-1]['accuracy']:.4f}")
        return state.weights, curve

    def _on_device(self, material: Material) -> Examples:
        split, ids = material.train, material.ids[material.train.sequences.token_ids(self._wanted.seq_len)]
        narrow = ids.astype(np.uint8) if self._contract.vocab_size <= 256 else ids
        return Examples(jnp.asarray(narrow), jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))

    def score(
        self, weights: Weights, curve: list[dict[str, float]], untrained: Mapping[str, object], *, synthetic: bool
    ) -> ModuleScore:
        """Score trained weights, and check them.

        Raises:
            RefusedError: a control fails.
        """
        scores: dict[str, float] = {}
        for name, split in (("validation", self._splits.validation), ("test", self._splits.test)):
            inputs = token_inputs(split, self._wanted.seq_len, self._real.ids)
            scores[name] = accuracy(require_finite(self._evaluator.logits(weights, inputs)), split.labels)
        self._clock.lap("evaluating")
        inputs = token_inputs(self._splits.validation, self._wanted.seq_len, self._real.ids, _CHECKED_EXAMPLES)
        self._check_company(weights, inputs)
        growth = self._growth(weights)
        padding = self._padding_changes(weights, growth, inputs)
        found = {
            "fixed_length": bool(missing_scales(self._module)),
            "quadratic": growth.quadratic,
            "padding_dependent": padding is not None and padding_dependent(padding),
            ABOVE_PUBLISHED_BEST: not synthetic and scores["test"] > PUBLISHED_BEST[self._profile.task],
            CUSTOM_GRADIENT: self._gradient.custom,
        }
        self._flags += [name for name, noticed in found.items() if noticed]
        self._clock.lap("checking")
        details = {
            "platform": self._platform,
            "parameters": self._module.parameter_count,
            "hyperparameters": asdict(self._wanted),
            "curve": curve,
            "untrained": untrained,
            "gradient": self._gradient.details(),
            "padding_changes": None if padding is None else rounded(padding),
            "growth": growth.details(),
            "seconds": {name: round(used_s, 2) for name, used_s in self._clock.used_s.items()},
        }
        unranked: list[str] = [CUSTOM_GRADIENT] if self._gradient.custom else []
        remarks = [self._gradient.remark] if self._gradient.custom else []
        return ModuleScore(
            scores["validation"], scores["test"], self._module.sha256, self._flags, unranked, details, remarks
        )

    def control(self, score: ModuleScore) -> None:
        """Train on the control tasks, and flag a score that stands on the real one alone.

        Raises:
            RefusedError: time will not do.
        """
        train, test = self._real.train, self._splits.test
        results = []
        for control in controls_of(self._profile, train, test, self._contract.vocab_size, self._control_rng):
            self._note(f"control: {control.told}")
            results.append(self._controlled(control))
        verdict = ControlVerdict(score.test, len(test), results)
        score.details["controls"] = verdict.details()
        score.remarks += verdict.remarks
        score.details["seconds"] = {name: round(used_s, 2) for name, used_s in self._clock.used_s.items()}
        if verdict.hard_wired:
            score.flags.append(controls.FLAG)
            score.unranked.append(controls.FLAG)

    def _controlled(self, control: Control) -> ControlResult:
        material = Material(control.train, control.held_out, control.ids)
        inputs = token_inputs(control.held_out, self._wanted.seq_len, control.ids)
        try:
            weights, _ = self._trained(material, self._on_device(material), lambda step, weights: None)
            logits = require_finite(self._evaluator.logits(weights, inputs))
        except NotFiniteError:  # were it a refusal, a module could have no control by having no answer to it
            return ControlResult.without_answers(control)
        return ControlResult.of(control, logits)

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
