"""Steps per second of the reference Transformer on ListOps shapes, trained three ways in one process.

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false" taskset -c 0 python bench/lra_speed.py [--steps 200] [--rounds 5]

- `graphs`: the judge's loop over the traced module, as scores are made; accuracy on the evaluation subset.
- `module`: the same loop over the module itself, nothing exported: what tracing costs.
- `plain`: one jitted step at a time with batches made by the host, and after every 50 steps (the public configuration)
  the whole hidden validation split one batch at a time, each result awaited: how the public trainers are written.

Rounds of the three are interleaved. On a CPU, time is the process's own, so that other work on the machine
does not count. All is timed twice, without and with evaluations.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import PRESETS
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class, trace
from aira_evaluator.lra.graphs.functions import ModuleFunctions, read_module
from aira_evaluator.lra.listops.expressions import draw_expressions
from aira_evaluator.lra.training.heads import NoHead
from aira_evaluator.lra.training.predictions import Evaluator, accuracy
from aira_evaluator.lra.training.trainer import (
    DeviceExamples,
    Moments,
    Span,
    Trainer,
    Weights,
    draw_order,
    mean_loss,
    optimizer_of,
    stretches,
)

CONTRACT = CONTRACTS["listops"]
PUBLIC_EVAL_FREQUENCY = 50


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=("cpu", "paper"), default="cpu")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench = Bench(options.profile, options.steps)
    ways: dict[str, Callable[[bool], float]] = {
        "graphs": lambda evaluating: bench.looped(bench.graphs, evaluating),
        "module": lambda evaluating: bench.looped(bench.module, evaluating),
        "plain": bench.plain,
    }
    result: dict[str, object] = {
        "device": _device(),
        "profile": options.profile,
        "steps": options.steps,
    }
    for evaluating in (False, True):
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way(evaluating)  # compiles, and fills caches
        for _ in range(options.rounds):
            for name, way in ways.items():
                rates[name].append(options.steps / way(evaluating))
        medians = {name: statistics.median(each) for name, each in rates.items()}
        result["with evaluation" if evaluating else "steps alone"] = {
            "steps_per_s": {name: round(rate, 2) for name, rate in medians.items()},
            "graphs_to_module": ratio(rates["graphs"], rates["module"]),
            "graphs_to_plain": ratio(rates["graphs"], rates["plain"]),
        }
    json.dump(result, sys.stdout, indent=2)
    print()


def _clock() -> float:
    """Seconds: computed on a CPU, passed on a GPU."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def _device() -> str:
    if jax.default_backend() != "cpu":
        return str(jax.devices()[0].device_kind)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _await(values: object) -> None:
    jax.block_until_ready(values)  # type: ignore[no-untyped-call]


def ratio(ours: list[float], others: list[float]) -> float:
    """Median over rounds: both sides of a round met the same machine."""
    return round(statistics.median(one / other for one, other in zip(ours, others, strict=True)), 3)


class Bench:
    """One module, one data set, and the ways to train it."""

    def __init__(self, profile_name: str, steps: int) -> None:
        """Trace the module and compile nothing yet."""
        self._profile = PROFILES[profile_name, "listops"]
        self.wanted = wanted = self._profile.defaults
        self._steps = steps
        assert self._profile.listops is not None
        seen: set[bytes] = set()
        train, _ = draw_expressions(self._profile.listops, 2000, 1, seen)
        validation, _ = draw_expressions(self._profile.listops, self._profile.sizes.hidden_validation, 2, seen)
        self._tokens = train.sequences.token_ids(wanted.seq_len)[train.rows[:, 0]].astype(np.uint8)
        self._labels = train.labels.astype(np.int32)
        self._inputs = validation.sequences.token_ids(wanted.seq_len)[validation.rows]
        self._answers = validation.labels
        self._order = draw_order(np.random.default_rng(0), len(train), wanted.batch_size, steps)
        rows = jnp.arange(len(train), dtype=jnp.int32)[:, None]
        self._examples = DeviceExamples(jnp.asarray(self._tokens), rows, jnp.asarray(self._labels))
        self._key = jax.random.PRNGKey(0)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.py"
            path.write_text(compose(PRESETS["transformer"], CONTRACT, self._profile, configurable=False))
            module_class = load_module_class(path, CONTRACT.class_name)
        self._module = module_class(**CONTRACT.constructor_arguments(wanted, max_len=wanted.seq_len))
        backend = "cpu" if jax.default_backend() == "cpu" else "cuda"
        request = TraceRequest(CONTRACT, wanted, self._profile.eval_batch_size, backend)
        traced = read_module(
            Bundle(backend, wanted, dict(trace(module_class, request))), CONTRACT, self._profile.eval_batch_size
        )
        self._start: tuple[jax.Array, ...] = jax.jit(traced.functions.init)(self._key)
        self.graphs = _Loop(traced.functions, self._weights(), self._profile.eval_batch_size, self._inputs.shape[1:])
        self.module = _Loop(self._direct(), self._weights(), self._profile.eval_batch_size, self._inputs.shape[1:])
        self._plain_step = jax.jit(self._one_step)
        self._plain_evaluate = jax.jit(self._correct)

    def _weights(self) -> Weights:
        return tuple(jnp.copy(value) for value in self._start), {}

    def looped(self, loop: "_Loop", evaluating: bool) -> float:
        """Seconds of all steps in compiled stretches, with the judge's evaluations between them or not."""
        subset, answers = self._inputs[: self._profile.eval_subset], self._answers[: self._profile.eval_subset]
        order = jnp.asarray(self._order)
        trainer, optimizer = Trainer(loop.functions, NoHead()), optimizer_of(self.wanted)
        state = trainer.begin(self._weights())
        _await(state)
        started_s = _clock()
        for first, stop in stretches(self._steps, self.wanted.eval_frequency):
            span = Span(jnp.int32(first), jnp.int32(stop), order)
            state = loop.run(trainer, state, span, self._examples, self._key, optimizer)
            _await(state)
            if evaluating:
                accuracy(loop.evaluator.logits(state.weights, subset), answers)
        return _clock() - started_s

    def plain(self, evaluating: bool) -> float:
        """Seconds of all steps dispatched one by one, with whole evaluations or not."""
        weights = self._weights()
        moments = Moments.of(weights)
        _await(moments)
        started_s = _clock()
        for step, batch in enumerate(self._order):
            inputs, labels = self._tokens[batch].astype(np.int32), self._labels[batch]
            weights, moments, loss = self._plain_step(step, weights, moments, inputs, labels)
            if evaluating and (step + 1) % PUBLIC_EVAL_FREQUENCY == 0:
                float(loss)
                self._evaluate_all(weights[0])
        _await(weights)
        return _clock() - started_s

    def _evaluate_all(self, parameters: tuple[jax.Array, ...]) -> float:
        size, right = self._profile.eval_batch_size, 0
        for start in range(0, len(self._inputs) - size + 1, size):
            inputs = self._inputs[start : start + size, 0].astype(np.int32)
            right += int(self._plain_evaluate(parameters, inputs, self._answers[start : start + size]))
        return right / len(self._inputs)

    def _apply(self, parameters: Any, inputs: jax.Array, key: jax.Array | None) -> jax.Array:  # noqa: ANN401
        streams = None if key is None else {"dropout": key}
        out = self._module.apply({"params": parameters}, inputs, train=key is not None, rngs=streams)
        assert isinstance(out, jax.Array)
        return out

    def _one_step(self, step: jax.Array, weights: Weights, moments: Any, inputs: jax.Array, labels: jax.Array) -> Any:  # noqa: ANN401
        key = jax.random.fold_in(self._key, step)

        def loss_of(values: tuple[jax.Array, ...]) -> jax.Array:
            return mean_loss(self._apply(self._tree.unflatten(values), inputs, key), labels)

        loss, gradients = jax.value_and_grad(loss_of)(weights[0])
        return *optimizer_of(self.wanted).update(step + 1, weights, (gradients, {}), moments), loss

    def _correct(self, parameters: tuple[jax.Array, ...], inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return (self._apply(self._tree.unflatten(parameters), inputs, None).argmax(axis=1) == labels).sum()

    def _direct(self) -> ModuleFunctions:
        """The module with JAX's own pass backwards; nothing is exported."""
        tokens = jnp.ones((2, self.wanted.seq_len), jnp.int32)
        variables = jax.eval_shape(lambda key: self._module.init({"params": key}, tokens, train=False), self._key)
        self._tree: Any = jax.tree.structure(dict(variables)["params"])

        def passing(parameters: Any, inputs: jax.Array, key: jax.Array) -> Any:  # noqa: ANN401
            out, pullback = jax.vjp(lambda p: self._apply(self._tree.unflatten(p), inputs, key), parameters)
            return out, lambda cotangent: tuple(pullback(cotangent)[0])

        return ModuleFunctions(
            init=lambda key: self._start,
            derived=passing,
            submitted=passing,
            evaluate=lambda parameters, inputs: self._apply(self._tree.unflatten(parameters), inputs, None),
        )


class _Loop:
    """A module's functions, compiled on first use."""

    def __init__(self, functions: ModuleFunctions, weights: Weights, batch: int, shape: tuple[int, ...]) -> None:
        self.functions = functions
        self.evaluator = Evaluator(functions.evaluate, NoHead(), weights, (batch, shape[0], shape[1]))
        self._program: Any = None

    def run(self, trainer: Trainer, *arguments: Any) -> Any:  # noqa: ANN401
        if self._program is None:
            self._program = jax.jit(trainer.run, donate_argnums=0).lower(*arguments).compile()
        return self._program(*arguments)


if __name__ == "__main__":
    main()
