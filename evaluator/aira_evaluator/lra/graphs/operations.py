"""What each operation of StableHLO is in JAX, so that a graph can be run, and derived, operation by operation.

`EVALUATED` has every operation of the allow-list (`graph`) but those with functions or regions that are run as they
are (`interpreter`). Regions of reductions, scatters and sorts are read as the one operation that JAX writes into
them: a reduction by `add` is `lax.reduce_sum`, whose derivative JAX knows, where a region run as it is would have none.
What is not read so raises `UnreadableError`. Regions that compare are tried on a few values: one that orders
those and no others is misread, and seen where the outputs of `forward` are compared (`training.gradients`).

Not covered: comparisons of NaN in total order; operations whose results are wrong in their last digits only.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from numpy.typing import NDArray

from aira_evaluator.lra.graphs.array_operations import ARRAY_OPERATIONS, index_vectors_last
from aira_evaluator.lra.graphs.attributes import (
    Evaluate,
    UnreadableError,
    Value,
    constant,
    integer,
    integers,
    pairs,
    word,
)


def body_of(region: ir.Region) -> str:
    """Return the one binary operation of a region `(a, b) -> op(a, b)`; `second` for one that returns b.

    Raises:
        UnreadableError: the region is anything else.
    """
    block = region.blocks[0]
    arguments, operations = list(block.arguments), [each.operation for each in block]
    if len(operations) == 1 and operations[0].operands[0] == arguments[-1]:
        return "second"
    if (
        len(operations) == 2
        and len(arguments) == 2
        and set(operations[0].operands) == set(arguments)
        and list(operations[1].operands) == list(operations[0].results)
    ):
        return operations[0].name.removeprefix("stablehlo.")
    raise UnreadableError("a region of several operations")


_MAX_TRIED = 4
"""Arrays of which a region that compares is tried on values; trials are four times as many for each."""
_REDUCED: Mapping[str, tuple[Callable[..., jax.Array], Callable[..., jax.Array]]] = {
    "add": (lax.reduce_sum, lax.add), "maximum": (lax.reduce_max, lax.max), "minimum": (lax.reduce_min, lax.min),
    "multiply": (lax.reduce_prod, lax.mul), "and": (lax.reduce_and, lax.bitwise_and),
    "or": (lax.reduce_or, lax.bitwise_or), "xor": (lax.reduce_xor, lax.bitwise_xor),
}  # fmt: skip


def _reduce(operation: ir.Operation, values: Sequence[Value]) -> Any:  # noqa: ANN401
    axes = integers(operation, "dimensions")
    if len(values) == 2:
        name = body_of(operation.regions[0])
        if name not in _REDUCED:
            raise UnreadableError(f"a reduction by {name}")
        whole, combine = _REDUCED[name]
        return combine(whole(values[0], axes), jnp.asarray(values[1]))
    return _extreme(operation, values, axes)


def _extreme(operation: ir.Operation, values: Sequence[Value], axes: Sequence[int]) -> list[jax.Array]:
    """The extreme and its place, as `argmax` and `argmin` reduce them: (operand, places, initial, initial)."""
    block = operation.regions[0].blocks[0]
    compared = [each.operation for each in block if each.operation.name == "stablehlo.compare"]
    of_values = [each for each in compared if set(each.operands) == {block.arguments[0], block.arguments[2]}]
    directions = {word(each, "comparison_direction") for each in of_values} & {"GT", "LT"}
    if len(values) != 4 or len(axes) != 1 or len(directions) != 1:
        raise UnreadableError("a reduction of several arrays")
    largest = directions == {"GT"}
    # A rule of two arrays cannot be read off a region of several operations. So it is run on every pair of a few
    # values and places: the greater (or smaller) value wins, and of equal ones the one at the smaller place.
    samples = [_few(value.dtype) for value in values[:2]]
    for (one, at), (other, there) in _pairs_of(samples):
        first = (one == other and at < there) or (one > other if largest else one < other)
        if _run(block, [one, at, other, there]) != ([one, at] if first else [other, there]):
            raise UnreadableError("a reduction of several arrays by a rule of its own")
    find = lax.argmax if largest else lax.argmin
    at = jnp.expand_dims(find(values[0], axes[0], np.int32), axes[0])
    return [jnp.take_along_axis(jnp.asarray(each), at, axes[0]).squeeze(axes[0]) for each in values[:2]]


def _reduce_window(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    if len(values) != 2:
        raise UnreadableError("a window over several arrays")
    operand, initial = values
    name, rank = body_of(operation.regions[0]), operand.ndim
    window = integers(operation, "window_dimensions")
    options = (
        integers(operation, "window_strides", 1, rank), pairs(operation, "padding", rank),
        integers(operation, "base_dilations", 1, rank), integers(operation, "window_dilations", 1, rank),
    )  # fmt: skip
    # JAX writes `cumsum` and its like as windows as long as the axis, padded on one side by all but one.
    running = {"add": lax.cumsum, "multiply": lax.cumprod, "maximum": lax.cummax, "minimum": lax.cummin}
    long = [axis for axis, size in enumerate(window) if size > 1]
    plain = set(options[0]) | set(options[2]) | set(options[3]) == {1}
    if plain and len(long) == 1 and window[long[0]] == operand.shape[long[0]] and name in running:
        axis, before = long[0], options[1][long[0]]
        others = [pair for other, pair in enumerate(options[1]) if other != axis]
        if before in ((window[axis] - 1, 0), (0, window[axis] - 1)) and set(others) <= {(0, 0)}:
            # The derivative of a running product is none of a window's.
            return running[name](jnp.asarray(operand), axis, reverse=before[0] == 0)
    if name not in ("add", "maximum", "minimum"):
        raise UnreadableError(f"a window of {name}")
    # JAX knows the derivative where the initial value is the neutral one, which it recognizes when it is known.
    low, high = _extremes(operand.dtype)
    neutral = {"add": 0, "maximum": low, "minimum": high}[name]
    combine = _REDUCED[name][1]
    reduced: jax.Array = lax.reduce_window(operand, np.array(neutral, operand.dtype), combine, window, *options)
    return combine(reduced, jnp.asarray(initial))


def _extremes(dtype: Any) -> tuple[float, float]:  # noqa: ANN401
    if jnp.issubdtype(dtype, jnp.floating):
        return -np.inf, np.inf
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _sort(operation: ir.Operation, values: Sequence[Value]) -> list[jax.Array]:
    """Sorts by the arrays that the comparison looks at, one after the other, ascending or descending.

    That it does order so is tried on small values; NaN and the sign of zero are ranked as JAX does.
    """
    axis = integer(operation, "dimension", -1)
    block = operation.regions[0].blocks[0]
    compared = [each.operation for each in block if each.operation.name == "stablehlo.compare"]
    directions = {word(each, "comparison_direction") for each in compared} - {"EQ", "NE"}
    used = {operand for each in block for operand in each.operation.operands}
    keys = [index for index in range(len(values)) if block.arguments[2 * index] in used]
    if directions not in ({"LT"}, {"GT"}) or not keys:
        raise UnreadableError("a sort by a comparison of its own")
    for left, right in _pairs_of([_few(values[index].dtype) for index in keys]):
        given = [np.zeros((), values[index // 2].dtype) for index in range(2 * len(values))]
        for index, one, other in zip(keys, left, right, strict=True):
            given[2 * index : 2 * index + 2] = [one, other]
        if bool(_run(block, given)[0]) != (left < right if directions == {"LT"} else left > right):
            raise UnreadableError("a sort by a comparison of its own")
    # Sorting is a permutation: the gradient follows the values to their places and not the choice of places.
    ranked = [lax.stop_gradient(jnp.asarray(values[index])) for index in keys]
    if directions == {"GT"}:  # `-x` reverses the order of floats; of integers `~x` does, without overflow at the least
        ranked = [-each if jnp.issubdtype(each.dtype, jnp.floating) else ~each for each in ranked]
    places = lax.broadcasted_iota(jnp.int32, values[0].shape, axis % values[0].ndim)
    *_, order = lax.sort((*ranked, places), dimension=axis, is_stable=True, num_keys=len(ranked))
    return [jnp.take_along_axis(jnp.asarray(value), order, axis) for value in values]


def _few(dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    """A smaller and a larger value, to try a region on."""
    return np.array([0, 1], dtype)


def _pairs_of(samples: Sequence[NDArray[Any]]) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    if len(samples) > _MAX_TRIED:
        raise UnreadableError(f"a comparison of more than {_MAX_TRIED} arrays")
    single = list(product(*samples))
    return list(product(single, single))


def _run(block: ir.Block, arguments: Sequence[Any]) -> list[Any]:
    """What a region makes of scalars that are known; constants may stand outside of it."""
    values: dict[ir.Value[ir.Type], Any] = dict(zip(block.arguments, arguments, strict=True))

    def value_of(operand: "ir.Value[ir.Type]") -> Any:  # noqa: ANN401
        if operand not in values:
            owner = operand.owner
            if not isinstance(owner, ir.OpView | ir.Operation) or owner.name != "stablehlo.constant":
                raise UnreadableError("a region that looks outside")
            values[operand] = constant(owner.operation)
        return values[operand]

    with jax.ensure_compile_time_eval():
        for each in block:
            operation = each.operation
            if operation.name == "stablehlo.constant":
                continue
            operands = [value_of(operand) for operand in operation.operands]
            if operation.name == "stablehlo.return":
                return [np.asarray(operand) for operand in operands]
            if operation.name not in EVALUATED:
                raise UnreadableError(f"operation {operation.name[:60]} in a region")
            values[operation.results[0]] = EVALUATED[operation.name](operation, operands)
    raise UnreadableError("a block without an end")


def _scatter(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    if len(values) != 3:
        raise UnreadableError("a scatter of several arrays")
    stored = stablehlo.ScatterDimensionNumbers(operation.attributes["scatter_dimension_numbers"])
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(stored.update_window_dims),
        inserted_window_dims=tuple(stored.inserted_window_dims),
        scatter_dims_to_operand_dims=tuple(stored.scattered_dims_to_operand_dims),
        operand_batching_dims=tuple(stored.input_batching_dims),
        scatter_indices_batching_dims=tuple(stored.scatter_indices_batching_dims),
    )
    kinds = {"add": lax.scatter_add, "multiply": lax.scatter_mul, "minimum": lax.scatter_min,
             "maximum": lax.scatter_max, "second": lax.scatter}  # fmt: skip
    name = body_of(operation.regions[0])
    if name not in kinds:
        raise UnreadableError(f"a scatter of {name}")
    unique = "unique_indices" in operation.attributes and "true" in str(operation.attributes["unique_indices"])
    # StableHLO leaves out updates that do not fit into the operand; of JAX's modes that is `drop`.
    operand, indices, updates = (jnp.asarray(value) for value in values)
    return kinds[name](
        operand,
        index_vectors_last(indices, stored.index_vector_dim),
        updates,
        numbers,
        unique_indices=unique,
        mode="drop",
    )


EVALUATED: Mapping[str, Evaluate] = {
    **ARRAY_OPERATIONS,
    "stablehlo.reduce": _reduce,
    "stablehlo.reduce_window": _reduce_window,
    "stablehlo.scatter": _scatter,
    "stablehlo.sort": _sort,
}
"""By name: from an operation and the values of its operands to its result, or a list of results."""
