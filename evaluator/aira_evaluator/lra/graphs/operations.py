"""What each operation of StableHLO is in JAX, so that a graph can be run, and derived, operation by operation.

`EVALUATED` has every operation of the allow-list (`graph`) but those with functions or regions that are run as they
are (`interpreter`). Regions of reductions, scatters and sorts are read as the one operation that JAX writes into
them. What is not read so raises `UnreadableError`. Regions that compare are tried on a few values: one that orders
those and no others is misread, and seen where the outputs of `forward` are compared (`gradients`).

Not covered: 64-bit integers beyond 32 bits; comparisons of NaN in total order; operations whose results are wrong in
their last digits only; and float64, which no module may use.
"""

import re
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

Value = jax.Array | NDArray[Any]
Evaluate = Callable[[ir.Operation, Sequence[Value]], Any]


class UnreadableError(Exception):
    """An operation has no reading here; the message names it."""


_DTYPES = {
    "f32": jnp.float32, "bf16": jnp.bfloat16, "f16": jnp.float16, "i1": jnp.bool_, "i8": jnp.int8, "i16": jnp.int16,
    "i32": jnp.int32, "i64": jnp.int32, "ui8": jnp.uint8, "ui16": jnp.uint16, "ui32": jnp.uint32, "ui64": jnp.uint32,
    "complex<f32>": jnp.complex64,
}  # fmt: skip
"""64-bit integers occur as indices only, and indices fit 32 bits."""


def result_type(value: "ir.Value[ir.Type]") -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of a value of a graph.

    Raises:
        UnreadableError: its type has no counterpart here.
    """
    given = value.type
    assert isinstance(given, ir.RankedTensorType)
    dtype = _DTYPES.get(str(given.element_type))
    if dtype is None:
        raise UnreadableError(f"type {str(given.element_type)[:20]}")
    return tuple(given.shape), dtype


def integers(operation: ir.Operation, name: str, default: int = 0, count: int = 0) -> tuple[int, ...]:
    """An attribute that lists integers, or `count` times the default where it is absent."""
    if name not in operation.attributes:
        return (default,) * count
    return tuple(int(each) for each in ir.DenseI64ArrayAttr(operation.attributes[name]))


def _pairs(operation: ir.Operation, name: str, count: int) -> list[tuple[int, int]]:
    if name not in operation.attributes:
        return [(0, 0)] * count
    flat = np.asarray(ir.DenseIntElementsAttr(operation.attributes[name])).reshape(-1, 2)
    return [(int(low), int(high)) for low, high in flat]


def _integer(operation: ir.Operation, name: str, default: int = 1) -> int:
    return ir.IntegerAttr(operation.attributes[name]).value if name in operation.attributes else default


def _word(operation: ir.Operation, name: str) -> str:
    """The one word of an enumeration: `LT` of `#stablehlo<comparison_direction LT>`."""
    return str(operation.attributes[name]).rstrip(">").split()[-1]


def constant(operation: ir.Operation) -> Value:
    """The value of a constant; scalars and what is not one repeated value are known while tracing."""
    shape, dtype = result_type(operation.results[0])
    printed = str(operation.get_asm(enable_debug_info=False))  # some attributes exist as text alone
    text = printed[printed.index("dense<") :]
    if text.startswith('dense<"') or text.startswith("dense<["):
        return _printed(text, shape, dtype)
    repeated = _printed(text, (), dtype)
    return lax.full(shape, repeated, dtype) if shape else repeated  # the shape may be of any size


def _printed(text: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    """A constant from its text: elements in order, or one string of hexadecimal digits."""
    inner = text[text.index("<") + 1 : text.rindex("> :")]
    size = int(np.prod(shape))
    if inner.startswith('"0x'):
        raw = bytes.fromhex(inner[3:-1])
        return np.frombuffer(raw, dtype).reshape(shape) if dtype != jnp.bool_ else _bits(raw, shape)
    words = re.findall(r"[^\s,\[\]()]+", inner)
    read: list[Any]
    if dtype == jnp.complex64:
        parts = [float(_float(word, jnp.float32)) for word in words]
        read = [complex(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    elif jnp.issubdtype(dtype, jnp.floating):
        read = [_float(word, dtype) for word in words]
    else:
        read = [int({"true": "1", "false": "0"}.get(word, word), 0) for word in words]
    if len(read) != size:
        raise UnreadableError("a constant in another form")
    return np.array(read, dtype).reshape(shape)


def _bits(raw: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    size = int(np.prod(shape))
    if len(raw) == size:
        return np.frombuffer(raw, np.uint8).astype(bool).reshape(shape)
    return np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[:size].astype(bool).reshape(shape)


def _float(word: str, dtype: Any) -> Any:  # noqa: ANN401
    if not word.startswith("0x"):
        return float(word)
    width = np.dtype(dtype).itemsize
    return np.frombuffer(int(word, 16).to_bytes(width, "little"), dtype)[0]


def body_of(region: ir.Region) -> str:
    """The one binary operation of a region `(a, b) -> op(a, b)`; `second` for one that returns b.

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
    directions = {_word(each, "comparison_direction") for each in of_values} & {"GT", "LT"}
    if len(values) != 4 or len(axes) != 1 or len(directions) != 1:
        raise UnreadableError("a reduction of several arrays")
    largest = directions == {"GT"}
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
        integers(operation, "window_strides", 1, rank), _pairs(operation, "padding", rank),
        integers(operation, "base_dilations", 1, rank), integers(operation, "window_dilations", 1, rank),
    )  # fmt: skip
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
    axis = _integer(operation, "dimension", -1)
    block = operation.regions[0].blocks[0]
    compared = [each.operation for each in block if each.operation.name == "stablehlo.compare"]
    directions = {_word(each, "comparison_direction") for each in compared} - {"EQ", "NE"}
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
    ranked = [lax.stop_gradient(jnp.asarray(values[index])) for index in keys]
    if directions == {"GT"}:
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


def _gather(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    stored = stablehlo.GatherDimensionNumbers(operation.attributes["dimension_numbers"])
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(stored.offset_dims),
        collapsed_slice_dims=tuple(stored.collapsed_slice_dims),
        start_index_map=tuple(stored.start_index_map),
        operand_batching_dims=tuple(stored.operand_batching_dims),
        start_indices_batching_dims=tuple(stored.start_indices_batching_dims),
    )
    operand, indices = jnp.asarray(values[0]), _last(values[1], stored.index_vector_dim)
    return lax.gather(operand, indices, numbers, integers(operation, "slice_sizes"), mode="clip")


def _last(indices: Value, axis: int) -> jax.Array:
    """Indices with their vectors along the last axis, where JAX expects them."""
    if axis == indices.ndim:
        return jnp.asarray(indices)[..., None]
    return jnp.moveaxis(jnp.asarray(indices), axis, -1)


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
    operand, indices, updates = (jnp.asarray(value) for value in values)
    return kinds[name](
        operand, _last(indices, stored.index_vector_dim), updates, numbers, unique_indices=unique, mode="drop"
    )


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
        _pairs(operation, "padding", count), integers(operation, "lhs_dilation", 1, count),
        integers(operation, "rhs_dilation", 1, count), numbers, _integer(operation, "feature_group_count"),
        _integer(operation, "batch_group_count"), _precision(operation), result_type(operation.results[0])[1],
    )  # fmt: skip


def _precision(operation: ir.Operation) -> Any:  # noqa: ANN401
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
    compared: jax.Array = kinds[_word(operation, "comparison_direction")](*values)
    return compared


def _pad(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    low, high, interior = (integers(operation, name) for name in names)
    return lax.pad(values[0], values[1], list(zip(low, high, interior, strict=True)))


def _slice(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    start, stop, step = (integers(operation, name) for name in ("start_indices", "limit_indices", "strides"))
    return lax.slice(values[0], start, stop, step)


def _fft(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    kind = {"FFT": "fft", "IFFT": "ifft", "RFFT": "rfft", "IRFFT": "irfft"}[_word(operation, "fft_type")]
    transformed: jax.Array = lax.fft(values[0], kind, integers(operation, "fft_length"))
    return transformed


def _iota(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    shape, dtype = result_type(operation.results[0])
    return lax.broadcasted_iota(dtype, shape, _integer(operation, "iota_dimension"))


def _broadcast(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    shape, _ = result_type(operation.results[0])
    return lax.broadcast_in_dim(values[0], shape, integers(operation, "broadcast_dimensions"))


def _rng(operation: ir.Operation, values: Sequence[Value]) -> list[jax.Array]:
    shape, dtype = result_type(operation.results[1])
    words = {"DEFAULT": lax.RandomAlgorithm.RNG_DEFAULT, "THREE_FRY": lax.RandomAlgorithm.RNG_THREE_FRY,
             "PHILOX": lax.RandomAlgorithm.RNG_PHILOX}  # fmt: skip
    drawn = lax.rng_bit_generator(values[0], shape, dtype, words[_word(operation, "rng_algorithm")])  # type: ignore[no-untyped-call]
    return list(drawn)


def _solve(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    from jax.lax.linalg import triangular_solve

    true = {name: "true" in str(operation.attributes[name]) for name in ("left_side", "lower", "unit_diagonal")}
    kind = _word(operation, "transpose_a")
    return triangular_solve(
        values[0], values[1], left_side=true["left_side"], lower=true["lower"], transpose_a=kind != "NO_TRANSPOSE",
        conjugate_a=kind == "ADJOINT", unit_diagonal=true["unit_diagonal"],
    )  # fmt: skip


def _select(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    which, one, other = values
    chosen: jax.Array = lax.select_n(which, other, one)
    return chosen


def _round_away(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    return lax.round(values[0], lax.RoundingMethod.AWAY_FROM_ZERO)


def _reduce_precision(operation: ir.Operation, values: Sequence[Value]) -> jax.Array:
    return lax.reduce_precision(values[0], _integer(operation, "exponent_bits"), _integer(operation, "mantissa_bits"))


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
        [jnp.asarray(value) for value in values], _integer(operation, "dimension", 0)
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
    "reduce": _reduce,
    "reduce_precision": _reduce_precision,
    "reduce_window": _reduce_window,
    "reshape": lambda operation, values: lax.reshape(values[0], result_type(operation.results[0])[0]),
    "reverse": lambda operation, values: lax.rev(values[0], integers(operation, "dimensions")),
    "rng_bit_generator": _rng,
    "round_nearest_afz": _round_away,
    "round_nearest_even": lambda operation, values: lax.round(values[0], lax.RoundingMethod.TO_NEAREST_EVEN),
    "scatter": _scatter,
    "select": _select,
    "slice": _slice,
    "sort": _sort,
    "transpose": lambda operation, values: lax.transpose(values[0], integers(operation, "permutation")),
    "triangular_solve": _solve,
}
EVALUATED: Mapping[str, Evaluate] = {
    f"stablehlo.{name}": evaluate
    for name, evaluate in [*((name, _plain(function)) for name, function in _PLAIN.items()), *_OWN.items()]
}
"""By name: from an operation and the values of its operands to its result, or a list of results."""
