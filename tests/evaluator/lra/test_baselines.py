"""The modules we ship: valid by the contract, mechanisms as their papers have them, cost linear where claimed."""

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lra_splits import small_split

from aira_contract.genomes import CHOICES, MIXERS, SCALED
from aira_evaluator.lra.agent.baselines.__main__ import main
from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import (
    PRESETS,
    Genome,
    GenomeError,
    read_genome,
)
from aira_evaluator.lra.agent.baselines.parts.depthwise import DepthwiseConvolution
from aira_evaluator.lra.agent.baselines.parts.gated_recurrence import GatedRecurrence
from aira_evaluator.lra.agent.baselines.parts.linear_attention import LinearAttention
from aira_evaluator.lra.contract.hyperparameters import read_hyperparameters
from aira_evaluator.lra.contract.profiles import CPU_LISTOPS, CPU_RETRIEVAL, PROFILES, LraProfile
from aira_evaluator.lra.contract.splits import SplitManifest, write_split
from aira_evaluator.lra.contract.submission import CONTRACTS, MAX_SOURCE_BYTES, ModuleContract, TaskName

TASKS = Path(__file__).resolve().parents[3] / "tasks"
SMALL = replace(CPU_LISTOPS.defaults, emb_dim=16, qkv_dim=16, mlp_dim=24, num_heads=2, num_layers=1)
LENGTH = 40
Apply = Callable[..., jax.Array]


def module_of(source: str, contract: ModuleContract, max_len: int) -> nn.Module:
    model = ModuleType("model")
    exec(compile(source, "model.py", "exec"), model.__dict__)
    module = getattr(model, contract.class_name)(**contract.constructor_arguments(SMALL, max_len=max_len))
    assert isinstance(module, nn.Module)
    return module


def compiled(function: Apply) -> Apply:
    """With the fewest optimizations: these tests compile much and run little."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})


def parameters_of(module: nn.Module, *inputs: Any, **arguments: bool) -> Any:  # noqa: ANN401
    """Random parameters of the right shapes, by a path that compiles nothing."""
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, **arguments), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)


@cache
def built(preset: str, task: TaskName = "listops") -> tuple[nn.Module, Any, Apply]:
    """A preset's module, parameters for it, and its compiled evaluation."""
    contract = CONTRACTS[task]
    source = compose(PRESETS[preset], contract, PROFILES["cpu", task], configurable=False)
    module = module_of(source, contract, max_len=2 * LENGTH)
    variables = parameters_of(module, jnp.ones((2, LENGTH), jnp.int32), train=False)
    return module, variables, compiled(lambda v, inputs: module.apply(v, inputs, train=False))


def tokens(rows: int = 3, length: int = LENGTH, seed: int = 0) -> jax.Array:
    """Sequences of differing lengths, padded."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 16, (rows, length))
    for row in range(rows):
        ids[row, length - 5 * row - 3 :] = 0
    return jnp.asarray(ids, jnp.int32)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_the_contract(preset: str) -> None:
    _, variables, apply = built(preset)
    assert list(variables) == ["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = apply(variables, tokens())
    assert (logits.shape, logits.dtype) == ((3, 10), jnp.float32)
    assert bool(jnp.isfinite(logits).all())


@pytest.mark.parametrize("preset", PRESETS)
def test_neither_other_examples_nor_padding_change_an_answer(preset: str) -> None:
    _, variables, apply = built(preset)
    inputs = tokens()
    answers = apply(variables, inputs)
    others = inputs.at[1:].set(tokens(seed=9)[1:])
    assert jnp.allclose(apply(variables, others)[0], answers[0], atol=1e-5)
    padded = jnp.pad(inputs, ((0, 0), (0, LENGTH)))
    assert jnp.allclose(apply(variables, padded), answers, atol=1e-4)
    assert not jnp.allclose(apply(variables, inputs.at[0, 0].set(inputs[0, 0] % 15 + 1))[0], answers[0], atol=1e-5)


def test_documents_are_embedded_one_at_a_time() -> None:
    _, variables, apply = built("linear_attention", "retrieval")
    assert apply(variables, tokens()).shape == (3, SMALL.emb_dim)


def test_dropout_acts_in_training_alone() -> None:
    module, variables, apply = built("linear_attention")
    train = compiled(lambda key: module.apply(variables, tokens(), train=True, rngs={"dropout": key}))
    assert not jnp.allclose(train(jax.random.key(1)), train(jax.random.key(2)))
    assert jnp.array_equal(train(jax.random.key(1)), train(jax.random.key(1)))
    assert jnp.array_equal(apply(variables, tokens()), apply(variables, tokens()))


def _floating_point_operations(preset: str, length: int) -> float:
    module = built(preset)[0].clone(max_len=length)
    inputs = jax.ShapeDtypeStruct((2, length), jnp.int32)  # type: ignore[no-untyped-call]
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), inputs)
    lowered = jax.jit(lambda v, x: module.apply(v, x, train=False)).lower(variables, inputs)
    return float(lowered.cost_analysis()["flops"])


@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_reference_grows_quadratically(preset: str) -> None:
    short, long, longer = (_floating_point_operations(preset, length) for length in (512, 1024, 2048))
    if preset == "transformer":
        assert longer / long > 3
    else:
        assert 1.9 < long / short < 2.25
        assert 1.9 < longer / long < 2.25


def test_linear_attention_is_attention_with_a_kernel_in_place_of_the_exponential() -> None:
    x = np.random.default_rng(1).normal(size=(2, 7, 8)).astype(np.float32)
    mask = np.arange(7) < np.array([[7], [4]])
    mixer = LinearAttention(qkv_dim=8, num_heads=2)
    variables = parameters_of(mixer, x, mask)
    weights = [np.asarray(variables["params"][f"DenseGeneral_{number}"]["kernel"]) for number in range(4)]
    q, k, v = (np.einsum("bld,dhe->bhle", x, kernel) for kernel in weights[:3])
    feature = lambda z: np.where(z > 0, z + 1, np.exp(z))  # noqa: E731
    scores = np.einsum("bhle,bhme->bhlm", feature(q), feature(k)) * np.asarray(mask)[:, None, None, :]
    expected = np.einsum("bhlm,bhme->blhe", scores / scores.sum(axis=-1, keepdims=True), v)
    expected = np.einsum("blhe,hed->bld", expected, weights[3])
    assert np.allclose(compiled(mixer.apply)(variables, x, mask), expected, atol=1e-5)


def test_the_scan_is_the_recurrence_one_step_at_a_time() -> None:
    x = np.random.default_rng(1).normal(size=(2, 9, 5)).astype(np.float32)
    mask = np.arange(9) < np.array([[9], [6]])
    mixer = GatedRecurrence(qkv_dim=4, num_heads=2)
    variables = parameters_of(mixer, x, mask)
    mixed = compiled(mixer.apply)(variables, x, mask)
    dense = {name: np.asarray(layer["kernel"]) for name, layer in variables["params"].items()}
    bias = {name: np.asarray(layer.get("bias", 0.0)) for name, layer in variables["params"].items()}
    through = {name: np.asarray(x) @ dense[name] + bias[name] for name in dense if name != "out"}
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for row, length in ((0, 9), (1, 6)):
        states = np.zeros((2, length, 4))
        for side, name in enumerate(("forward", "backward")):
            state = np.zeros(4)
            for place in range(length)[:: 1 - 2 * side]:
                forget, value = sigmoid(through[f"{name}_forget"][row, place]), through[f"{name}_value"][row, place]
                state = forget * state + (1 - forget) * value * sigmoid(value)
                states[side, place] = state
        gate = through["gate"][row, :length]
        expected = (np.concatenate(states, axis=-1) * gate * sigmoid(gate)) @ dense["out"]
        assert np.allclose(mixed[row, :length], expected, atol=1e-5)


def test_the_depthwise_convolution_is_one() -> None:
    x = np.random.default_rng(1).normal(size=(1, 12, 3)).astype(np.float32)
    convolution = DepthwiseConvolution(taps=5)
    variables = parameters_of(convolution, x, jnp.ones((1, 12), bool))
    mixed = compiled(convolution.apply)(variables, x, jnp.arange(12)[None] < 10)
    filters = variables["params"]["filters"]
    for channel in range(3):
        expected = np.convolve(x[0, :10, channel], filters[::-1, channel], mode="full")[2:12]
        assert np.allclose(mixed[0, :10, channel], expected, atol=1e-5)


genomes = st.builds(
    Genome,
    mixers=st.lists(st.sampled_from(MIXERS), min_size=1, max_size=4).map(tuple),
    feedforward=st.sampled_from(CHOICES["feedforward"]),
    positions=st.sampled_from(CHOICES["positions"]),
    pooling=st.sampled_from(CHOICES["pooling"]),
    factors=st.dictionaries(st.sampled_from(SCALED), st.floats(1 / 64, 64)),
)


@settings(max_examples=60, deadline=None)
@given(genomes, st.sampled_from(list(PROFILES.values())))
def test_every_genome_gives_a_module_that_stands_alone(genome: Genome, profile: LraProfile) -> None:
    contract = CONTRACTS[profile.task]
    source = compose(genome, contract, profile, configurable=True)
    assert source == compose(genome, contract, profile, configurable=True)
    assert len(source.encode("ascii")) < MAX_SOURCE_BYTES
    tree = ast.parse(source)
    imported = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    assert imported == {"import jax", "import jax.numpy as jnp", "from flax import linen as nn"}
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes[-1] == contract.class_name
    assert len(set(classes)) == len(classes)
    chosen = read_hyperparameters(source, profile.defaults, profile.ranges, profile.max_train_tokens)
    assert chosen == genome.hyperparameters(profile)
    assert chosen.qkv_dim % chosen.num_heads == 0


@pytest.mark.parametrize(("positions", "pooling"), list(zip(CHOICES["positions"], CHOICES["pooling"], strict=True)))
def test_every_choice_gives_finite_numbers(positions: str, pooling: str) -> None:
    genome = Genome(("linear_attention",), "swiglu", positions, pooling)
    source = compose(genome, CONTRACTS["listops"], CPU_LISTOPS, configurable=False)
    module = module_of(source, CONTRACTS["listops"], LENGTH)
    variables = parameters_of(module, tokens(), train=False)
    logits = compiled(lambda v, inputs: module.apply(v, inputs, train=False))(variables, tokens())
    assert bool(jnp.isfinite(logits).all())
    assert float(jnp.ptp(logits)) > 0


def test_where_hyperparameters_are_fixed_factors_are_refused_and_none_are_written() -> None:
    with pytest.raises(ValueError, match="the hyperparameters of this task are fixed"):
        compose(Genome(factors={"emb_dim": 2.0}), CONTRACTS["text"], PROFILES["cpu", "text"], configurable=False)
    source = compose(Genome(), CONTRACTS["text"], PROFILES["cpu", "text"], configurable=False)
    assert "LR" not in source
    assert "LR = 0.002" in compose(Genome(), CONTRACTS["text"], PROFILES["cpu", "text"], configurable=True)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"mixers": ["attention"]}, "mixer 'attention', expected one of self_attention"),
        ({"mixers": []}, "0 mixers, expected 1 to 12"),
        ({"pooling": "cls"}, "pooling 'cls', expected one of mean, max, attention"),
        ({"factors": {"seed": 2.0}}, "factor 'seed', expected one of"),
        ({"factors": {"emb_dim": -1.0}}, "factor of emb_dim is -1.0, expected a positive number"),
        ({"depth": 4}, "key 'depth', expected one of mixers"),
    ],
)
def test_a_genome_that_names_the_unknown_is_refused(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=re.escape(message)):
        read_genome(plain)


def test_the_command_line_prints_presets_and_genomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transformer", "--data", str(tmp_path)]) == 2
    assert "manifest.json: No such file or directory" in capsys.readouterr().err
    write_split(
        tmp_path / "train", small_split("retrieval"), SplitManifest("cpu", "retrieval", "train", "public", False)
    )
    assert main(["gated_recurrence", "--data", str(tmp_path)]) == 0
    expected = compose(PRESETS["gated_recurrence"], CONTRACTS["retrieval"], CPU_RETRIEVAL, configurable=False)
    assert capsys.readouterr().out == expected
    assert main(["--genome", '{"mixers": ["nothing"]}', "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("baselines: mixer 'nothing'")


@pytest.mark.parametrize("folder", sorted(TASKS.glob("LongContext*")), ids=lambda folder: folder.name[23:-8])
def test_the_example_of_a_description_keeps_the_contract(folder: Path) -> None:
    text = (folder / "project_description.md").read_text()
    block = text.split("### A complete example\n\n")[1].split("\nMore examples")[0]
    source = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    task = next(name for name in CONTRACTS if folder.name[23:].lower().startswith(name))
    contract, profile = CONTRACTS[task], PROFILES["cpu", task]
    module = module_of(source, contract, LENGTH)
    result = jax.eval_shape(lambda key: module.init_with_output(key, tokens(), train=False)[0], jax.random.key(0))
    assert result.shape == (3, contract.output_width(SMALL))
    if "Configurable" in folder.name:
        chosen = read_hyperparameters(source, profile.defaults, profile.ranges, profile.max_train_tokens)
        assert (chosen.learning_rate, chosen.warmup_steps) == (2e-3, 100)
