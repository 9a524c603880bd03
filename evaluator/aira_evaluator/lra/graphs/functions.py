"""Holds the graphs of a bundle to the shapes of the task and makes functions of them.

Arguments and results must match to the last dimension: parameters are what `init` returns, float32, and every other
graph takes them in that order; only the residuals between the two passes are the submission's business. No function
has a label among its arguments; the cotangent of the output carries training labels, as any gradient does.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import TypeVar

import jax

from aira_evaluator.lra.contract.bundle import SCALES, TRAINED, Bundle, scaled_batch_size, scaled_names
from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.contract.submission import MAX_PARAMETERS, ModuleContract
from aira_evaluator.lra.graphs.graph import ArrayType, Graph, read_graph
from aira_evaluator.lra.graphs.interpreter import interpreted

Parameters = tuple[jax.Array, ...]
Values = TypeVar("Values")
Pullback = Callable[[jax.Array], Parameters]
"""From the cotangent of an output (B, W) to the gradients of the parameters."""
TrainingPass = Callable[[Parameters, jax.Array, jax.Array], tuple[jax.Array, Pullback]]
"""From parameters, inputs int32 (B, L) and a key to the output float32 (B, W) and the way back."""


@dataclass(frozen=True)
class ModuleFunctions:
    """A module as the judge sees it. B is the batch size the functions were traced for, W the width of the output."""

    init: Callable[[jax.Array], Parameters]
    """From a key, uint32 (2,)."""
    derived: TrainingPass
    """The graph `forward`, and back by the derivative that the judge takes of it (`interpreter`)."""
    submitted: TrainingPass
    """The graphs `forward` and `backward`: back by whatever the submission brought."""
    evaluate: Callable[[Parameters, jax.Array], jax.Array]
    """Parameters and inputs int32 (B, L) to the output float32 (B, W)."""


@dataclass(frozen=True)
class Scaled:
    """The graphs at one multiple of the length."""

    scale: int
    parameters: tuple[ArrayType, ...]
    graphs: tuple[Graph, Graph, Graph]
    """The graphs `forward`, `backward` and `evaluate` at this length, in that order."""
    evaluate: Callable[[Parameters, jax.Array], jax.Array]


@dataclass(frozen=True)
class CheckedModule:
    """All checked graphs of a submission."""

    functions: ModuleFunctions
    parameters: tuple[ArrayType, ...]
    scaled: tuple[Scaled, ...]
    """At `SCALES`, as far as the module could be traced."""
    sha256: str
    """Of the graphs in normal form and the hyperparameters: equal for modules that compute the same by the same
    operations, whatever their source looks like."""

    @property
    def parameter_count(self) -> int:
        """Elements of all parameters."""
        return sum(prod(array.shape) for array in self.parameters)


def read_module(bundle: Bundle, contract: ModuleContract, eval_batch_size: int) -> CheckedModule:
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
    init_call = init.function(platform)
    functions = ModuleFunctions(
        init=lambda key: tuple(init_call(key)),
        derived=_derived(forward),
        submitted=_submitted(forward, backward, platform),
        evaluate=_evaluation(evaluate, platform),
    )
    digests = [graph.sha256 for graph in (init, forward, backward, evaluate)]
    text = json.dumps([digests, asdict(wanted)], sort_keys=True)
    return CheckedModule(functions, parameters, scaled, hashlib.sha256(text.encode()).hexdigest())


def _derived(forward: Graph) -> TrainingPass:
    run = interpreted(forward)

    def passing(parameters: Parameters, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Pullback]:
        out, pullback = jax.vjp(lambda values: run(*values, inputs, key)[0], parameters)
        return out, lambda cotangent: tuple(pullback(cotangent)[0])

    return passing


def _submitted(forward: Graph, backward: Graph, platform: str) -> TrainingPass:
    forward_call, backward_call = forward.function(platform), backward.function(platform)

    def passing(parameters: Parameters, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Pullback]:
        out, *residuals = sealed(forward_call(*parameters, inputs, key))
        return out, lambda cotangent: tuple(backward_call(*sealed((*residuals, cotangent))))

    return passing


def sealed(values: Values) -> Values:
    """Return the same values behind a barrier that the compiler does not fuse across.

    Without barriers around the module's passes, the same module trains to other last digits when it comes as a graph
    than when it comes as Python. They cost no time (docs/lra_trust.md).
    """
    behind: Values = jax.lax.optimization_barrier(values)  # type: ignore[no-untyped-call]
    return behind


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


def missing_scales(module: CheckedModule) -> list[int]:
    """Multiples of the length the module could not be traced at."""
    traced: Mapping[int, Scaled] = {each.scale: each for each in module.scaled}
    return [scale for scale in SCALES if scale not in traced]
