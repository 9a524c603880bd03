"""The training loop of Long Range Arena at paper size, lowered for CUDA on a machine without one.

Lowering takes a program through JAX's rules for the platform, which is where an operation that has none for CUDA fails,
and where shapes of the whole loop meet. Not covered: XLA's own compiler for GPUs, which needs one.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import PRESETS
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.submission import CONTRACTS, TaskName
from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class, trace
from aira_evaluator.lra.graphs.functions import ModuleFunctions, read_module
from aira_evaluator.lra.training.heads import head_of
from aira_evaluator.lra.training.trainer import AdamW, DeviceExamples, Span, Trainer

CASES: list[TaskName] = ["retrieval"]
"""The widest program: two documents, and the judge's head over them. The others run parts of it at other sizes."""


def module_of(task: TaskName, folder: Path) -> ModuleFunctions:
    """The reference Transformer, traced for CUDA at paper size, as a fit container does it."""
    contract, profile = CONTRACTS[task], PROFILES["paper", task]
    path = folder / "model.py"
    path.write_text(compose(PRESETS["transformer"], contract, profile, configurable=False))
    request = TraceRequest(contract, profile.defaults, profile.eval_batch_size, "cuda")
    graphs = dict(trace(load_module_class(path, contract.class_name), request))
    return read_module(Bundle("cuda", profile.defaults, graphs), contract, profile.eval_batch_size).functions


@pytest.mark.parametrize("task", CASES)
def test_the_loop_of_training_and_its_evaluation_lower_for_cuda(task: TaskName, tmp_path: Path) -> None:
    contract, profile = CONTRACTS[task], PROFILES["paper", task]
    wanted, functions = profile.defaults, module_of(task, tmp_path)
    trainer, head = Trainer(functions, head_of(contract, wanted)), head_of(contract, wanted)
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    state = jax.eval_shape(trainer.start, key)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    examples = DeviceExamples(
        jax.ShapeDtypeStruct((4000, wanted.seq_len), jnp.uint8),
        jax.ShapeDtypeStruct((2000, contract.documents), jnp.int32),
        jax.ShapeDtypeStruct((2000,), jnp.int32),
    )
    step = jax.ShapeDtypeStruct((), jnp.int32)
    span = Span(step, step, jax.ShapeDtypeStruct((wanted.train_steps, wanted.batch_size), jnp.int32))
    looped = jax.jit(trainer.run, donate_argnums=0).trace(state, span, examples, key, AdamW(scalar, scalar, scalar))
    text = looped.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" in text
    assert f"tensor<{wanted.train_steps}x{wanted.batch_size}xi32>" in text

    def logits(parameters: object, inputs: jax.Array) -> jax.Array:
        weights, values = parameters  # type: ignore[misc]
        return head.logits(
            values, [functions.evaluate(weights, inputs[:, place]) for place in range(contract.documents)]
        )

    inputs = jax.ShapeDtypeStruct((profile.eval_batch_size, contract.documents, wanted.seq_len), jnp.int32)
    lowered = jax.jit(logits).trace(state.weights, inputs).lower(lowering_platforms=("cuda",))
    assert lowered.out_info.shape == (profile.eval_batch_size, contract.num_classes)
