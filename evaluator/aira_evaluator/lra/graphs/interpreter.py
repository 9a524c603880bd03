"""Runs a checked graph in JAX operation by operation, which gives the judge a derivative of it that is its own.

A compiled graph can be run but not derived, and the `backward` a submission brings may be anything. So the graph of
`forward` is walked once while JAX traces: every operation becomes the one of JAX it was made from (`operations`),
functions are run where they are called, and JAX derives what comes of it.

Loops that count up to a constant become scans, as only those can be derived backwards. Two things make that as cheap as
JAX's own: what a loop carries unchanged is not carried, and slices of it at places that depend on the counter alone are
taken before the loop, all at once, so that their gradient is written once rather than in every trip.

Not covered: gradients through loops of unknown length. JAX refuses these, as it would have the module's author.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.mlir import ir
from numpy.typing import NDArray

from aira_evaluator.lra.graphs.attributes import UnreadableError, Value, constant, integers
from aira_evaluator.lra.graphs.graph import REFERENCES, Graph
from aira_evaluator.lra.graphs.operations import EVALUATED

_Environment = dict["ir.Value[ir.Type]", Value]
_SCALAR = {"add", "subtract", "multiply", "compare", "select", "convert", "minimum", "maximum", "clamp", "remainder"}
"""Operations on a counter that are followed to know where a loop reads."""
_MAX_OPERATIONS = 400_000
"""Evaluated while tracing, calls and loops included: functions that call others twice grow without bound."""
_MAX_TRIPS = 1_000_000


def interpreted(graph: Graph) -> Callable[..., tuple[jax.Array, ...]]:
    """Return a function of flat arguments that runs the graph and can be derived.

    Calling it raises `UnreadableError` where an operation has no reading.
    """

    def run(*arguments: jax.Array) -> tuple[jax.Array, ...]:
        reader = _Reader(graph.functions)
        return tuple(jnp.asarray(value) for value in reader.call("main", arguments))

    return run


@dataclass
class _Slices:
    """Reads of what a loop does not change, at places known before it runs."""

    trips: int
    counter: Value
    fixed: Sequence[Value]
    """What the loop carries unchanged."""
    taken: list[tuple[int, NDArray[np.int32]]] = field(default_factory=list)
    """Which of `fixed` is read, and its index along the first axis in every trip."""
    given: Sequence[jax.Array] | None = None
    """The slices of this trip, in the order of `taken`; None while they are being found."""
    places: dict[int, NDArray[Any]] = field(default_factory=dict)
    """What derives from the counter alone, over all trips, by the identity of its value."""
    kept: list[Value] = field(default_factory=list)
    """Keeps identities from being given again."""
    read: int = 0

    def note(self, value: Value, over_trips: NDArray[Any]) -> None:
        self.places[id(value)] = over_trips
        self.kept.append(value)


class _Reader:
    def __init__(self, functions: "dict[str, ir.Operation]") -> None:
        self._functions = functions
        self._loops: list[_Slices] = []
        self._evaluated = 0

    def call(self, name: str, arguments: Sequence[Value]) -> list[Value]:
        return self._block(self._functions[name].regions[0].blocks[0], arguments, {})

    def _block(self, block: ir.Block, arguments: Sequence[Value], outside: _Environment) -> list[Value]:
        values: _Environment = {**outside, **dict(zip(block.arguments, arguments, strict=True))}
        for each in block:
            operation = each.operation
            operands = [values[operand] for operand in operation.operands]
            if operation.name in ("func.return", "stablehlo.return"):
                return operands
            results = self._operation(operation, operands, values)
            values.update(zip(operation.results, results, strict=True))
        raise UnreadableError("a block without an end")

    def _operation(self, operation: ir.Operation, operands: list[Value], values: _Environment) -> list[Value]:
        name = operation.name
        self._evaluated += 1
        if self._evaluated > _MAX_OPERATIONS:
            raise UnreadableError(f"more than {_MAX_OPERATIONS:,} operations, counted where they are called")
        if name in REFERENCES:
            called = ir.FlatSymbolRefAttr(operation.attributes[REFERENCES[name]]).value
            return self.call(called, operands)
        if name == "stablehlo.constant":
            return [constant(operation)]
        if name == "stablehlo.while":
            return self._loop(operation, operands, values)
        if name in ("stablehlo.case", "stablehlo.if"):
            return self._branch(operation, operands[0], values)
        if name == "stablehlo.dynamic_slice" and (found := self._ahead(operation, operands)) is not None:
            return [found]
        if name not in EVALUATED:
            raise UnreadableError(f"operation {name[:60]}")
        results = EVALUATED[name](operation, operands)
        results = list(results) if isinstance(results, list | tuple) else [results]
        self._follow(operation, operands, results)
        return results

    def _branch(self, operation: ir.Operation, which: Value, values: _Environment) -> list[Value]:
        def taken(region: ir.Region) -> Callable[[], list[Value]]:
            return lambda: [jnp.asarray(value) for value in self._block(region.blocks[0], [], values)]

        branches = [taken(region) for region in operation.regions]
        if operation.name == "stablehlo.if":
            return list(lax.cond(jnp.asarray(which), *branches))
        index = jnp.asarray(which)
        # An index out of range runs the last branch; JAX would run the nearest.
        inside = (index >= 0) & (index < len(branches))
        return list(lax.switch(jnp.where(inside, index, len(branches) - 1), branches))

    def _loop(self, operation: ir.Operation, operands: list[Value], values: _Environment) -> list[Value]:
        condition, body = (region.blocks[0] for region in operation.regions)
        counted = _counted(operation, operands, values)
        if counted is None:

            def holds(carried: Any) -> jax.Array:  # noqa: ANN401
                return jnp.asarray(self._block(condition, carried, values)[0])

            def trip(carried: Any) -> Any:  # noqa: ANN401
                return [jnp.asarray(value) for value in self._block(body, carried, values)]

            return list(lax.while_loop(holds, trip, [jnp.asarray(each) for each in operands]))
        return self._scan(body, operands, values, *counted)

    def _scan(
        self, body: ir.Block, operands: list[Value], values: _Environment, counter: int, first: int, trips: int
    ) -> list[Value]:
        returned = list(list(body)[-1].operation.operands)
        fixed = [at for at, argument in enumerate(body.arguments) if returned[at] == argument]
        moving = [at for at in range(len(operands)) if at not in fixed and at != counter]
        places = first + np.arange(trips, dtype=np.int32)

        def trip(loop: _Slices, carried: Sequence[jax.Array]) -> list[jax.Array]:
            arguments = list(operands)
            for at, value in zip(moving, carried, strict=True):
                arguments[at] = value
            arguments[counter] = loop.counter
            loop.note(loop.counter, places)
            self._loops.append(loop)
            results = self._block(body, arguments, values)
            self._loops.pop()
            return [jnp.asarray(results[at]) for at in moving]

        unchanged = [operands[at] for at in fixed]
        start = [jnp.asarray(operands[at]) for at in moving]
        found: list[tuple[int, NDArray[np.int32]]] = []

        def look(count: jax.Array, *carried: jax.Array) -> list[jax.Array]:
            return trip(_Slices(trips, count, unchanged, taken=found), carried)

        # Once for shapes alone, to learn which slices of what does not change are read; then once to be run.
        jax.eval_shape(look, jnp.int32(first), *start)
        slices = [_taken(jnp.asarray(unchanged[which]), at) for which, at in found]

        def step(carried: list[jax.Array], given: tuple[jax.Array, list[jax.Array]]) -> tuple[list[jax.Array], None]:
            return trip(_Slices(trips, given[0], unchanged, given=given[1]), carried), None

        ended, _ = lax.scan(step, start, (jnp.asarray(places), slices), length=trips)
        results = list(operands)
        for at, value in zip(moving, ended, strict=True):
            results[at] = value
        results[counter] = np.array(first + trips, np.int32)
        return results

    def _follow(self, operation: ir.Operation, operands: list[Value], results: list[Value]) -> None:
        """Keep what derives from the innermost loop's counter alone, over all its trips."""
        if not self._loops or operation.name.removeprefix("stablehlo.") not in _SCALAR or np.ndim(results[0]):
            return
        loop = self._loops[-1]
        if not any(id(each) in loop.places for each in operands):
            return
        over = [loop.places.get(id(each), each) for each in operands]
        if any(isinstance(each, jax.core.Tracer) for each in over):
            return
        with jax.ensure_compile_time_eval():
            # The same operation over all trips at once: what a counter leads to is known before the loop runs.
            spread = [np.broadcast_to(np.asarray(each), (loop.trips,)) for each in over]
            found = EVALUATED[operation.name](operation, spread)
            loop.note(results[0], np.asarray(found))

    def _ahead(self, operation: ir.Operation, operands: list[Value]) -> Value | None:
        """The slice of this trip, if it was taken before the loop; while looking, a note of it."""
        if not self._loops:
            return None
        loop, (whole, first, *others) = self._loops[-1], operands
        which = next((at for at, each in enumerate(loop.fixed) if each is whole), None)
        sizes = integers(operation, "slice_sizes")
        at = loop.places.get(id(first))
        entire = sizes[0] == 1 and sizes[1:] == tuple(whole.shape[1:])
        if which is None or at is None or not entire or not all(_is_zero(each) for each in others):
            return None
        if loop.given is None:
            loop.taken.append((which, np.clip(at, 0, whole.shape[0] - 1).astype(np.int32)))
            return jnp.zeros(sizes, whole.dtype)
        loop.read += 1
        return loop.given[loop.read - 1]


def _taken(whole: jax.Array, at: NDArray[np.int32]) -> jax.Array:
    """Slices of length one along the first axis, (trips, 1, ...)."""
    count = whole.shape[0]
    # Of a plain or reversed order the gradient is a copy; of a gather it is a scatter, which is slow.
    if np.array_equal(at, np.arange(count)):
        return whole[:, None]
    if np.array_equal(at, np.arange(count)[::-1]):
        return whole[::-1, None]
    return whole[at][:, None]


def _is_zero(value: Value) -> bool:
    return isinstance(value, np.ndarray) and not value.any()


def _counted(loop: ir.Operation, operands: list[Value], values: _Environment) -> tuple[int, int, int] | None:
    """Place of the counter, its first value and the trips of a loop that counts by one to a constant; else None."""
    condition, body = ([each.operation for each in region.blocks[0]] for region in loop.regions)
    compared = condition[-2] if len(condition) > 1 else condition[-1]
    if compared.name != "stablehlo.compare" or condition[-1].operands[0] != compared.results[0]:
        return None
    if "LT" not in str(compared.attributes["comparison_direction"]):
        return None
    counter, bound = compared.operands
    arguments = list(loop.regions[0].blocks[0].arguments)
    if counter not in arguments:
        return None
    at = arguments.index(counter)
    known = {each.results[0]: constant(each) for each in [*condition, *body] if each.name == "stablehlo.constant"}
    first, last = operands[at], known.get(bound, values.get(bound))
    advanced = body[-1].operands[at].owner
    inner = loop.regions[1].blocks[0].arguments[at]
    if not isinstance(advanced, ir.OpView | ir.Operation) or advanced.name != "stablehlo.add":
        return None
    steps = [known.get(each, values.get(each)) for each in advanced.operands if each != inner]
    if len(steps) != 1 or not all(isinstance(each, np.ndarray | np.generic) for each in (first, last, *steps)):
        return None
    if int(np.asarray(steps[0])) != 1:
        return None
    trips = max(0, int(np.asarray(last)) - int(np.asarray(first)))
    return (at, int(np.asarray(first)), trips) if trips <= _MAX_TRIPS else None
