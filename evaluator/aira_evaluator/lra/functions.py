"""Holds the graphs of a bundle to the shapes of the task and makes functions of them.

Arguments and results must match to the last dimension: parameters are what `init` returns, float32, and every other
graph takes them in that order; only the residuals between the two passes are the submission's business. No function
has a label among its arguments; the cotangent of `backward` carries training labels, as any gradient does.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod

import jax

from aira_evaluator.lra.bundle import SCALES, TRAINED, Bundle, RefusedError, scaled_batch_size, scaled_names
from aira_evaluator.lra.contract import MAX_PARAMETERS, ModuleContract
from aira_evaluator.lra.graph import ArrayType, Graph, read_graph

Parameters = tuple[jax.Array, ...]
Residuals = tuple[jax.Array, ...]


@dataclass(frozen=True)
class ModuleFunctions:
    """A module as the judge sees it. B is the batch size the functions were traced for, W the width of the output."""

    init: Callable[[jax.Array], Parameters]
    """From a key, uint32 (2,)."""
    forward: Callable[[Parameters, jax.Array, jax.Array], tuple[jax.Array, Residuals]]
    """Training pass: parameters, inputs int32 (B, L) and a key to the output float32 (B, W) and residuals."""
    backward: Callable[[Residuals, jax.Array], Parameters]
    """Residuals and the cotangent of the output to the gradients of the parameters."""
    evaluate: Callable[[Parameters, jax.Array], jax.Array]
    """Parameters and inputs int32 (B, L) to the output float32 (B, W)."""


@dataclass(frozen=True)
class Scaled:
    """The graphs at one multiple of the length."""

    scale: int
    parameters: tuple[ArrayType, ...]
    graphs: tuple[Graph, Graph, Graph]
    """Forward, backward, evaluate."""
    evaluate: Callable[[Parameters, jax.Array], jax.Array]


@dataclass(frozen=True)
class TracedModule:
    """All checked graphs of a submission."""

    functions: ModuleFunctions
    parameters: tuple[ArrayType, ...]
    scaled: tuple[Scaled, ...]
    """At `SCALES`, as far as the module could be traced."""
    sha256: str
    """Of the graphs in normal form and the hyper-parameters: equal for modules that compute the same by the same
    operations, whatever their source looks like."""

    @property
    def parameter_count(self) -> int:
        """Elements of all parameters."""
        return sum(prod(array.shape) for array in self.parameters)


def read_module(bundle: Bundle, contract: ModuleContract, eval_batch_size: int) -> TracedModule:
    """Check every graph of a bundle.

    Raises:
        RefusedError: naming the graph and what differs from the contract.
    """
    wanted, platform = bundle.hyperparameters, bundle.platform
    width = contract.output_width(wanted)
    init, forward, backward, evaluate = (read_graph(name, bundle.graphs[name]) for name in TRAINED)
    parameters = init.results
    _expect(init, "arguments", init.arguments, [ArrayType((2,), "uint32")])
    _check_parameters(parameters)
    _check_passes(forward, backward, parameters, (wanted.batch_size, wanted.seq_len), width)
    _check_evaluation(evaluate, parameters, (eval_batch_size, wanted.seq_len), width)
    scaled = tuple(_scaled(bundle, scale, width) for scale in SCALES if scaled_names(scale)[2] in bundle.graphs)
    init_call, forward_call, backward_call = (graph.function(platform) for graph in (init, forward, backward))

    def run_forward(values: Parameters, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Residuals]:
        out, *residuals = forward_call(*values, inputs, key)
        return out, tuple(residuals)

    functions = ModuleFunctions(
        init=lambda key: tuple(init_call(key)),
        forward=run_forward,
        backward=lambda residuals, cotangent: tuple(backward_call(*residuals, cotangent)),
        evaluate=_evaluation(evaluate, platform),
    )
    digests = [graph.sha256 for graph in (init, forward, backward, evaluate)]
    text = json.dumps([digests, asdict(wanted)], sort_keys=True)
    return TracedModule(functions, parameters, scaled, hashlib.sha256(text.encode()).hexdigest())


def _scaled(bundle: Bundle, scale: int, width: int) -> Scaled:
    wanted = bundle.hyperparameters
    inputs = (scaled_batch_size(wanted), scale * wanted.seq_len)
    names = scaled_names(scale)
    if missing := [name for name in names if name not in bundle.graphs]:
        raise RefusedError(f"the traced module lacks {missing[0]}")
    forward, backward, evaluate = (read_graph(name, bundle.graphs[name]) for name in names)
    parameters = evaluate.arguments[:-1]
    _check_parameters(parameters)
    _check_passes(forward, backward, parameters, inputs, width)
    _check_evaluation(evaluate, parameters, inputs, width)
    return Scaled(scale, parameters, (forward, backward, evaluate), _evaluation(evaluate, bundle.platform))


def _evaluation(graph: Graph, platform: str) -> Callable[[Parameters, jax.Array], jax.Array]:
    call = graph.function(platform)
    return lambda values, inputs: call(*values, inputs)[0]


def _check_parameters(parameters: Sequence[ArrayType]) -> None:
    if wrong := [array for array in parameters if array.dtype != "float32"]:
        raise RefusedError(f"the module has a parameter of type {wrong[0]}, expected float32")
    count = sum(prod(array.shape) for array in parameters)
    if not 0 < count <= MAX_PARAMETERS:
        raise RefusedError(f"the module has {count:,} parameters, expected 1 to {MAX_PARAMETERS:,}")


def _check_passes(
    forward: Graph, backward: Graph, parameters: Sequence[ArrayType], inputs: tuple[int, int], width: int
) -> None:
    out = ArrayType((inputs[0], width), "float32")
    _expect(forward, "arguments", forward.arguments, [*parameters, _tokens(inputs), ArrayType((2,), "uint32")])
    _expect(forward, "first result", forward.results[:1], [out])
    _expect(backward, "arguments", backward.arguments, [*forward.results[1:], out])
    _expect(backward, "results", backward.results, list(parameters))


def _check_evaluation(evaluate: Graph, parameters: Sequence[ArrayType], inputs: tuple[int, int], width: int) -> None:
    _expect(evaluate, "arguments", evaluate.arguments, [*parameters, _tokens(inputs)])
    _expect(evaluate, "results", evaluate.results, [ArrayType((inputs[0], width), "float32")])


def _tokens(shape: tuple[int, int]) -> ArrayType:
    return ArrayType(shape, "int32")


def _expect(graph: Graph, what: str, found: Sequence[ArrayType], expected: Sequence[ArrayType]) -> None:
    if len(found) != len(expected):
        raise RefusedError(f"{graph.name}: {len(found)} {what}, expected {len(expected)}")
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one != other:
            raise RefusedError(f"{graph.name}: {what} {index} is {one}, expected {other}")


def missing_scales(module: TracedModule) -> list[int]:
    """Multiples of the length the module could not be traced at."""
    traced: Mapping[int, Scaled] = {each.scale: each for each in module.scaled}
    return [scale for scale in SCALES if scale not in traced]
