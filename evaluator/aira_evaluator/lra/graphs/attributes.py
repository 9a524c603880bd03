"""Types, attributes and constants of a graph's operations, as JAX and numpy know them.

Not covered: 64-bit integers beyond 32 bits, and float64, which no module may use.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.mlir import ir
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
    """Return an attribute that lists integers, or `count` times the default where it is absent."""
    if name not in operation.attributes:
        return (default,) * count
    return tuple(int(each) for each in ir.DenseI64ArrayAttr(operation.attributes[name]))


def pairs(operation: ir.Operation, name: str, count: int) -> list[tuple[int, int]]:
    """Return an attribute that lists pairs, such as padding before and after each axis; `count` zeros where it is
    absent.
    """
    if name not in operation.attributes:
        return [(0, 0)] * count
    flat = np.asarray(ir.DenseIntElementsAttr(operation.attributes[name])).reshape(-1, 2)
    return [(int(low), int(high)) for low, high in flat]


def integer(operation: ir.Operation, name: str, default: int = 1) -> int:
    """Return an attribute that is one integer, or the default where it is absent."""
    return ir.IntegerAttr(operation.attributes[name]).value if name in operation.attributes else default


def word(operation: ir.Operation, name: str) -> str:
    """Return the one word of an enumeration: `LT` of `#stablehlo<comparison_direction LT>`."""
    return str(operation.attributes[name]).rstrip(">").split()[-1]


def constant(operation: ir.Operation) -> Value:
    """Return the value of a constant; scalars and what is not one repeated value are known while tracing."""
    shape, dtype = result_type(operation.results[0])
    printed = str(operation.get_asm(enable_debug_info=False))  # some attributes exist as text alone
    text = printed[printed.index("dense<") :]
    # `dense<[...]>` lists elements, `dense<"0x...">` their bytes; `dense<1.0>` repeats one element over the shape.
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
    # MLIR writes booleans either a byte each or, packed, a bit each from the lowest bit on.
    if len(raw) == size:
        return np.frombuffer(raw, np.uint8).astype(bool).reshape(shape)
    return np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[:size].astype(bool).reshape(shape)


def _float(word: str, dtype: Any) -> Any:  # noqa: ANN401
    # What has no decimal form (NaN, infinities) is printed as the bits of the type.
    if not word.startswith("0x"):
        return float(word)
    width = np.dtype(dtype).itemsize
    return np.frombuffer(int(word, 16).to_bytes(width, "little"), dtype)[0]
