"""Operations of StableHLO without regions, as the operations of JAX they were made from.

`ARRAY_OPERATIONS` maps names to functions of an operation and the values of its operands. Not covered: operations with
regions (`operations`), functions and control flow (`interpreter`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from aira_evaluator.lra.graphs.attributes import (
    Evaluate,
    UnreadableError,
    Value,
    integer,
    integers,
    pairs,
    result_type,
    word,
)


def _gather(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    stored = stablehlo.GatherDimensionNumbers(operation.attributes["dimension_numbers"])
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(stored.offset_dims),
        collapsed_slice_dims=tuple(stored.collapsed_slice_dims),
        start_index_map=tuple(stored.start_index_map),
        operand_batching_dims=tuple(stored.operand_batching_dims),
        start_indices_batching_dims=tuple(stored.start_indices_batching_dims),
    )
    # StableHLO moves starts that reach beyond the operand inside it; of JAX's modes that is `clip`.
    operand, indices = jnp.asarray(values[0]), index_vectors_last(values[1], stored.index_vector_dim)
    return lax.gather(operand, indices, numbers, integers(operation, "slice_sizes"), mode="clip")


def index_vectors_last(indices: Value, axis: int) -> jax.Array:
    """Indices with their vectors along the last axis, where JAX expects them."""
    if axis == indices.ndim:
        return jnp.asarray(indices)[..., None]
    return jnp.moveaxis(jnp.asarray(indices), axis, -1)


def _convolution(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    stored = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
    numbers = lax.ConvDimensionNumbers(
        (stored.input_batch_dimension, stored.input_feature_dimension, *stored.input_spatial_dimensions),
        (stored.kernel_output_feature_dimension, stored.kernel_input_feature_dimension,
         *stored.kernel_spatial_dimensions),
        (stored.output_batch_dimension, stored.output_feature_dimension, *stored.output_spatial_dimensions),
    )  # fmt: skip
    count = values[0].ndim - 2
    if "window_reversal" in operation.attributes and "true" in str(operation.attributes["window_reversal"]):
        raise UnreadableError("a convolution with a reversed window")
    return lax.conv_general_dilated(
        jnp.asarray(values[0]), jnp.asarray(values[1]), integers(operation, "window_strides", 1, count),
        pairs(operation, "padding", count), integers(operation, "lhs_dilation", 1, count),
        integers(operation, "rhs_dilation", 1, count), numbers, integer(operation, "feature_group_count"),
        integer(operation, "batch_group_count"), _precision(operation), result_type(operation.results[0])[1],
    )  # fmt: skip


def _precision(operation: ir.Operation) -> Any:  # noqa: ANN401
    # `DEFAULT` lets an accelerator round the inputs of a product; what the module asked for is what it gets.
    if "precision_config" not in operation.attributes:
        return None
    words = [str(each).rstrip(">").split()[-1] for each in ir.ArrayAttr(operation.attributes["precision_config"])]
    return tuple(getattr(lax.Precision, word) for word in words) or None


def _dot_general(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    stored = stablehlo.DotDimensionNumbers(operation.attributes["dot_dimension_numbers"])
    numbers = (
        (tuple(stored.lhs_contracting_dimensions), tuple(stored.rhs_contracting_dimensions)),
        (tuple(stored.lhs_batching_dimensions), tuple(stored.rhs_batching_dimensions)),
    )
    if "algorithm" in operation.attributes:
        raise UnreadableError("a product by an algorithm of its own")
    return lax.dot_general(values[0], values[1], numbers, _precision(operation), result_type(operation.results[0])[1])


def _compare(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    kinds = {"EQ": lax.eq, "NE": lax.ne, "LT": lax.lt, "LE": lax.le, "GT": lax.gt, "GE": lax.ge}
    compared: jax.Array = kinds[word(operation, "comparison_direction")](*values)
    return compared


def _pad(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    low, high, interior = (integers(operation, name) for name in names)
    return lax.pad(values[0], values[1], list(zip(low, high, interior, strict=True)))


def _slice(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    start, stop, step = (integers(operation, name) for name in ("start_indices", "limit_indices", "strides"))
    return lax.slice(values[0], start, stop, step)


def _fft(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    kind = {"FFT": "fft", "IFFT": "ifft", "RFFT": "rfft", "IRFFT": "irfft"}[word(operation, "fft_type")]
    transformed: jax.Array = lax.fft(values[0], kind, integers(operation, "fft_length"))
    return transformed


def _iota(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    shape, dtype = result_type(operation.results[0])
    return lax.broadcasted_iota(dtype, shape, integer(operation, "iota_dimension"))


def _broadcast(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    shape, _ = result_type(operation.results[0])
    return lax.broadcast_in_dim(values[0], shape, integers(operation, "broadcast_dimensions"))


def _rng(operation: ir.Operation, values: Sequence[Value]) -> list[jax.Array]:
    shape, dtype = result_type(operation.results[1])
    words = {"DEFAULT": lax.RandomAlgorithm.RNG_DEFAULT, "THREE_FRY": lax.RandomAlgorithm.RNG_THREE_FRY,
             "PHILOX": lax.RandomAlgorithm.RNG_PHILOX}  # fmt: skip
    drawn = lax.rng_bit_generator(values[0], shape, dtype, words[word(operation, "rng_algorithm")])  # type: ignore[no-untyped-call]
    return list(drawn)


def _solve(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    from jax.lax.linalg import triangular_solve

    true = {name: "true" in str(operation.attributes[name]) for name in ("left_side", "lower", "unit_diagonal")}
    kind = word(operation, "transpose_a")
    return triangular_solve(
        values[0], values[1], left_side=true["left_side"], lower=true["lower"], transpose_a=kind != "NO_TRANSPOSE",
        conjugate_a=kind == "ADJOINT", unit_diagonal=true["unit_diagonal"],
    )  # fmt: skip


def _select(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    which, one, other = values  # StableHLO names the value for true first, JAX the one for false
    chosen: jax.Array = lax.select_n(which, other, one)
    return chosen


def _round_away(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    return lax.round(values[0], lax.RoundingMethod.AWAY_FROM_ZERO)


def _reduce_precision(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    return lax.reduce_precision(values[0], integer(operation, "exponent_bits"), integer(operation, "mantissa_bits"))


def _plain(function: Callable[..., Any]) -> Evaluate:
    return lambda operation, values: function(*values)


_PLAIN: Mapping[str, Callable[..., Any]] = {
    "abs": lax.abs, "add": lax.add, "and": lax.bitwise_and, "atan2": lax.atan2, "cbrt": lax.cbrt, "ceil": lax.ceil,
    "clamp": lax.clamp, "complex": lax.complex, "cosine": lax.cos, "count_leading_zeros": lax.clz,
    "divide": lax.div, "exponential": lax.exp, "exponential_minus_one": lax.expm1, "floor": lax.floor,
    "imag": lax.imag, "is_finite": lax.is_finite, "log": lax.log, "log_plus_one": lax.log1p,
    "logistic": lax.logistic, "maximum": lax.max, "minimum": lax.min, "multiply": lax.mul, "negate": lax.neg,
    "not": lax.bitwise_not, "or": lax.bitwise_or, "popcnt": lax.population_count, "power": lax.pow,
    "real": lax.real, "remainder": lax.rem, "rsqrt": lax.rsqrt, "shift_left": lax.shift_left,
    "shift_right_arithmetic": lax.shift_right_arithmetic, "shift_right_logical": lax.shift_right_logical,
    "sign": lax.sign, "sine": lax.sin, "sqrt": lax.sqrt, "subtract": lax.sub, "tan": lax.tan, "tanh": lax.tanh,
    "xor": lax.bitwise_xor,
}  # fmt: skip
_OWN: Mapping[str, Evaluate] = {
    "bitcast_convert": lambda operation, values: lax.bitcast_convert_type(
        values[0], result_type(operation.results[0])[1]
    ),
    "broadcast_in_dim": _broadcast,
    "compare": _compare,
    "concatenate": lambda operation, values: lax.concatenate(
        [jnp.asarray(value) for value in values], integer(operation, "dimension", 0)
    ),
    "convert": lambda operation, values: lax.convert_element_type(values[0], result_type(operation.results[0])[1]),
    "convolution": _convolution,
    "dot_general": _dot_general,
    "dynamic_slice": lambda operation, values: lax.dynamic_slice(
        jnp.asarray(values[0]), list(values[1:]), integers(operation, "slice_sizes"), allow_negative_indices=False
    ),
    "dynamic_update_slice": lambda operation, values: lax.dynamic_update_slice(
        jnp.asarray(values[0]), values[1], list(values[2:]), allow_negative_indices=False
    ),
    "fft": _fft,
    "gather": _gather,
    "iota": _iota,
    "optimization_barrier": lambda operation, values: list(values),
    "pad": _pad,
    "reduce_precision": _reduce_precision,
    "reshape": lambda operation, values: lax.reshape(values[0], result_type(operation.results[0])[0]),
    "reverse": lambda operation, values: lax.rev(values[0], integers(operation, "dimensions")),
    "rng_bit_generator": _rng,
    "round_nearest_afz": _round_away,
    "round_nearest_even": lambda operation, values: lax.round(values[0], lax.RoundingMethod.TO_NEAREST_EVEN),
    "select": _select,
    "slice": _slice,
    "transpose": lambda operation, values: lax.transpose(values[0], integers(operation, "permutation")),
    "triangular_solve": _solve,
}
ARRAY_OPERATIONS: Mapping[str, Evaluate] = {
    f"stablehlo.{name}": evaluate
    for name, evaluate in [*((name, _plain(function)) for name, function in _PLAIN.items()), *_OWN.items()]
}
"""By name: from an operation and the values of its operands to its result, or a list of results."""
