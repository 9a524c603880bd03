"""Turns a `model.py` into graphs, inside a fit container: the only place where the submission's code runs.

The module's `init`, its training pass with the pass backwards, and its evaluation are traced for the shapes of the
task. The pass backwards is JAX's own, split from the pass forwards at the residuals: `forward` gives logits and
residuals, `backward` turns residuals and the cotangent of the logits into gradients. So the loss can be the judge's,
nothing is computed twice, and no label is an argument of any graph.

Checks here give early and precise messages. None of them is trusted: this process has imported the submission.

Not covered: how long tracing may take and what the process may do; the container's walls see to that.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export

from aira_evaluator.lra.contract.bundle import MAX_GRAPH_BYTES, SCALES, scaled_batch_size, scaled_names
from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.contract.submission import MAX_PARAMETERS, ModuleContract
from aira_evaluator.lra.fit.failures import foreign_call
from aira_evaluator.lra.fit.linear_algebra import use_stablehlo
from aira_evaluator.lra.graphs.graph import ArrayType, Graph, graph_text, read_graph

Abstract = jax.ShapeDtypeStruct
_KEY = ArrayType((2,), "uint32").abstract


@dataclass(frozen=True)
class TraceRequest:
    """The shapes and the platform that a module is traced for."""

    contract: ModuleContract
    hyperparameters: Hyperparameters
    eval_batch_size: int
    platform: str


def load_module_class(path: Path, class_name: str) -> type[nn.Module]:
    """Import a `model.py` and return its module class.

    Raises:
        RefusedError: it has no such class. What the import raises passes through.
    """
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    found = getattr(module, class_name, None)
    if found is None:
        raise RefusedError(f"model.py defines no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise RefusedError(f"{class_name} is not a subclass of flax.linen.Module")
    return found


def trace(module_class: type[nn.Module], request: TraceRequest) -> Iterator[tuple[str, bytes]]:
    """Name and code of every graph of a module.

    Graphs at multiples of the length are left out from the first multiple on that the module cannot be traced at.

    Raises:
        RefusedError: the module breaks its contract. What the module itself raises passes through.
    """
    _restore_settings()
    use_stablehlo()
    wanted = request.hyperparameters
    traced = _Traced(module_class, request, wanted.seq_len)
    yield "init", traced.export("init", traced.init, [_KEY]).text
    forward, backward = traced.training_pass("forward", "backward", wanted.batch_size)
    yield "forward", forward
    yield "backward", backward
    yield "evaluate", traced.evaluation("evaluate", request.eval_batch_size)
    for scale in SCALES:
        names = scaled_names(scale)
        try:
            scaled = _Traced(module_class, request, scale * wanted.seq_len)
            passes = scaled.training_pass(*names[:2], scaled_batch_size(wanted))
            evaluation = scaled.evaluation(names[2], scaled_batch_size(wanted))
        except Exception as error:  # whatever a module of fixed length raises
            print(f"cannot be traced at {scale} x the length: {error}", file=sys.stderr)
            return
        yield from zip(names, (*passes, evaluation), strict=True)


@dataclass
class _Traced:
    """One module at one length."""

    module_class: type[nn.Module]
    request: TraceRequest
    length: int
    module: nn.Module = field(init=False)
    leaves: list[Abstract] = field(init=False)
    tree: Any = field(init=False)

    def __post_init__(self) -> None:
        contract, wanted = self.request.contract, self.request.hyperparameters
        self.module = self.module_class(**contract.constructor_arguments(wanted, max_len=self.length))
        variables = jax.eval_shape(self._variables, _KEY)
        if others := sorted(set(variables) - {"params"}):
            raise RefusedError(
                f"the module has the collection {others[0]}, expected only params: no state is carried between steps "
                "(LayerNorm or GroupNorm for BatchNorm, jnp arrays for constants, no sown losses)"
            )
        self.leaves, self.tree = jax.tree.flatten(variables["params"])
        if wrong := sorted({str(leaf.dtype) for leaf in self.leaves} - {"float32"}):
            raise RefusedError(
                f"the module has parameters of type {wrong[0]}, expected float32 (a complex one is two of these)"
            )
        if (count := sum(prod(leaf.shape) for leaf in self.leaves)) > MAX_PARAMETERS:
            raise RefusedError(f"the module has {count:,} parameters, at most {MAX_PARAMETERS:,} are admitted")

    def _variables(self, key: jax.Array) -> Mapping[str, Any]:
        tokens = jnp.ones((scaled_batch_size(self.request.hyperparameters), self.length), jnp.int32)
        return dict(self.module.init({"params": key}, tokens, train=False))

    def init(self, key: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jax.tree.leaves(self._variables(key)["params"]))

    def _apply(self, leaves: Sequence[jax.Array], inputs: jax.Array, key: jax.Array | None) -> jax.Array:
        streams = None if key is None else {"dropout": key}
        variables = {"params": self.tree.unflatten(leaves)}
        out = self.module.apply(variables, inputs, train=key is not None, rngs=streams)
        wanted = (inputs.shape[0], self.request.contract.output_width(self.request.hyperparameters))
        if not isinstance(out, jax.Array):
            raise RefusedError(f"the module returns a {type(out).__name__}, expected one array, float32 {wanted}")
        if out.shape != wanted or out.dtype != jnp.float32:
            raise RefusedError(
                f"the module returns {out.dtype} of shape {out.shape}, expected float32 of shape {wanted}"
            )
        return out

    def training_pass(self, forward_name: str, backward_name: str, batch: int) -> tuple[bytes, bytes]:
        """Return the graphs `forward(*params, inputs, key) -> (out, *residuals)` and `backward(*residuals,
        cotangent)`.
        """
        structure: Any = None
        keys: set[int] = set()

        def forward(*arguments: jax.Array) -> tuple[jax.Array, ...]:
            nonlocal structure, keys
            *leaves, inputs, key = arguments
            out, pullback = jax.vjp(lambda *p: self._apply(p, inputs, key), *leaves)
            residuals, structure = jax.tree.flatten(pullback)
            # Keys are sent as the integers they are made of: their type is not StableHLO's.
            keys = {i for i, value in enumerate(residuals) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key)}
            return (out, *(jax.random.key_data(value) if i in keys else value for i, value in enumerate(residuals)))

        def backward(*arguments: jax.Array) -> tuple[jax.Array, ...]:
            *plain, cotangent = arguments
            residuals = [jax.random.wrap_key_data(value) if i in keys else value for i, value in enumerate(plain)]
            gradients: tuple[jax.Array, ...] = structure.unflatten(residuals)(cotangent)
            return tuple(gradients)

        tokens = ArrayType((batch, self.length), "int32").abstract
        passing = self.export(forward_name, forward, [*self.leaves, tokens, _KEY])
        out, *residuals = (result.abstract for result in passing.results)
        returning = self.export(backward_name, backward, [*residuals, out])
        return passing.text, returning.text

    def evaluation(self, name: str, batch: int) -> bytes:
        """Return the graph `evaluate(*params, inputs) -> (out,)`."""

        def evaluate(*arguments: jax.Array) -> tuple[jax.Array, ...]:
            *leaves, inputs = arguments
            return (self._apply(leaves, inputs, None),)

        tokens = ArrayType((batch, self.length), "int32").abstract
        return self.export(name, evaluate, [*self.leaves, tokens]).text

    def export(self, name: str, function: Callable[..., tuple[jax.Array, ...]], arguments: Sequence[Abstract]) -> Graph:
        """`function` as StableHLO text, already held to the judge's rules so that refusals come early."""
        checks = [export.DisabledSafetyCheck.custom_call("ALL")]  # the rules of `graph` are stricter and clearer
        exporting = export.export(
            jax.jit(function, keep_unused=True), platforms=[self.request.platform], disabled_checks=checks
        )
        exported = exporting(*arguments)
        code = exported.mlir_module_serialized
        if len(code) > MAX_GRAPH_BYTES:
            raise RefusedError(
                f"{name}: {len(code) >> 20} MiB, far more than shapes and operations need; large arrays must be "
                "computed in the module or be parameters, not constants"
            )
        try:
            return read_graph(name, graph_text(code))
        except (ValueError, RefusedError) as error:
            called = foreign_call(exported.mlir_module())
            if called is None and isinstance(error, RefusedError):
                raise
            raise RefusedError(f"{name}: calls {called}" if called else f"{name}: uses more than StableHLO") from None


def _restore_settings() -> None:
    """Set JAX as the judge has it, whatever importing the module has set: 32 bits, and keys of two words."""
    jax.config.update("jax_enable_x64", False)  # type: ignore[no-untyped-call]
    jax.config.update("jax_default_prng_impl", "threefry2x32")  # type: ignore[no-untyped-call]
