"""How far the judge's derivative of `forward` and JAX's `backward` are apart, over the modules of the tests' zoo.

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false" OMP_NUM_THREADS=1 \\
        PYTHONPATH=tests/evaluator/lra python bench/lra_gradients.py [--only gru sorting] [--draws 3] [--steps 50]

For each module the greatest distance of any array of parameters, in units of the tolerance, near several draws of
initial parameters and after a short training; and CPU seconds of a training step by either gradient. A distance above
1 flags the module.

Not covered: shapes beyond those of the tests, and GPUs.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from module_zoo import ESTIMATED, HONEST
from small_modules import small_profile, small_splits, traced

from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.training.gradients import TOLERANCES, choose_gradient, moved
from aira_evaluator.lra.training.heads import NoHead
from aira_evaluator.lra.training.trainer import DeviceExamples, Span, Trainer, TrainingState, draw_order, optimizer_of

_TIMED_STEPS = 50


def main() -> None:
    """Print a line a module, and how many were flagged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="parts of names")
    parser.add_argument("--draws", type=int, default=3, help="of initial parameters")
    parser.add_argument("--steps", type=int, default=50, help="of training before the last comparison")
    options = parser.parse_args()
    for kind, modules in (("honest", HONEST), ("estimated", ESTIMATED)):
        chosen = {
            name: text for name, text in modules.items() if not options.only or any(o in name for o in options.only)
        }
        flagged = sum(compared(name, source, options.draws, options.steps) for name, source in chosen.items())
        print(f"{kind}: {flagged} of {len(chosen)} flagged", flush=True)


def compared(name: str, source: str, draws: int, steps: int) -> bool:
    """Print what was found of one module; returns whether it would be flagged."""
    profile = small_profile(train_steps=steps + _TIMED_STEPS)
    wanted, split = profile.defaults, small_splits().train
    bundle = traced(source, profile)
    module = read_module(bundle, CONTRACTS["listops"], profile.eval_batch_size)
    tokens = jnp.asarray(split.sequences.token_ids(wanted.seq_len))
    examples = DeviceExamples(tokens, jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))
    order = jnp.asarray(draw_order(np.random.default_rng(3), len(split), wanted.batch_size, wanted.train_steps))
    half = any(word in bundle.graphs["forward"] for word in (b"xbf16>", b"xf16>"))
    trainer, tolerance = Trainer(module.functions, NoHead()), TOLERANCES["half" if half else "float32"]
    keys = jax.random.split(jax.random.PRNGKey(0), draws)
    start: Callable[[jax.Array], TrainingState] = jax.jit(trainer.start)
    found = choose_gradient(
        trainer, moved(start(keys[0]).weights, keys[0]), order, examples, keys[0], tolerance,
        fast=True, memory_bytes=float("inf"),
    )  # fmt: skip
    for step, key in enumerate(keys[1:], start=1):
        found.compare(step, moved(start(key).weights, key))
    cost = {}
    for derived in (True, False):
        if derived and not found.derived:
            continue
        loop = jax.jit(replace(trainer, derived=derived).run)
        state = loop(start(keys[0]), Span(0, steps, order), examples, keys[0], optimizer_of(wanted))
        jax.block_until_ready(state.loss_sum)
        began_s = time.process_time()
        jax.block_until_ready(
            loop(state, Span(steps, wanted.train_steps, order), examples, keys[0], optimizer_of(wanted))
        )
        cost[derived] = (time.process_time() - began_s) / _TIMED_STEPS
        if derived == found.derived:
            found.compare(steps, state.weights)
    apart = " ".join(f"{each.difference:.1e}" for each in found.comparisons)
    took = " / ".join(f"{1e3 * cost[derived]:.2f}" if derived in cost else "-" for derived in (True, False))
    print(f"| {name} | {'flagged' if found.custom else ''} | {apart or found.reason} | {took} |", flush=True)
    return found.custom


if __name__ == "__main__":
    main()
