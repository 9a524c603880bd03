"""Reads one traced graph: an allow-list over StableHLO, and a form that is ours before anything compiles it.

A graph is ASCII text an agent's process wrote. It is parsed in a context that knows no dialect but StableHLO and
`func`, walked operation by operation, and only what was walked reaches the compiler. Refused are: every operation,
attribute or type that is not listed here, hence host callbacks, custom calls, infeed and outfeed, send and receive,
collectives, hidden random state, tokens and dynamic shapes; functions without a body; constants and arrays beyond a
cap; recursion; and too many operations. What the compiler trusts and should not is changed: sorts are made stable, as
an unstable one whose comparison is no order reads and writes beyond its array.

Text, because the parser of the binary form trusts its input: of 900 exports with a few bytes changed, two made it
crash; of 2,400 texts changed likewise, none did.

Not covered: whether shapes fit the task (`functions`); running time, which has a deadline outside; and defects of the
native parser and compiler, whose process therefore has no network, no rights and no way back but one bounded report.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import prod

import jax
import jax.numpy as jnp
from jax import export
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from aira_evaluator.lra.contract.refusal import RefusedError

MAX_OPERATIONS = 100_000
MAX_CONSTANT_BYTES = 16 << 20
"""Of all constants of one graph that are not one repeated value."""
MAX_VALUES = 8192
"""Arguments or results of a graph."""
MAX_ARRAY_BYTES = 1 << 40
"""Of one array. The compiler multiplies dimensions without looking at overflows."""
_MAX_NESTING = 64
_MAX_CALL_DEPTH = 100
"""Of functions and regions within each other, over all calls."""
# Possessive, and to the end where a string is not closed: so that every character is looked at once.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|->|[(){}\[\]<>]', re.DOTALL)
_LARGE_INDEX = re.compile(r"#\d{5,}")
REFERENCES = {"func.call": "callee", "stablehlo.composite": "decomposition"}
"""Operations that run a function, and which of their attributes names it."""
_DTYPES = {
    "f32": "float32", "bf16": "bfloat16", "f16": "float16", "i1": "bool",
    "i8": "int8", "i16": "int16", "i32": "int32", "ui8": "uint8", "ui16": "uint16", "ui32": "uint32",
    "complex<f32>": "complex64",
}  # fmt: skip
"""What may cross a graph's border. Inside, 64-bit integers also occur, as indices."""
_STABLEHLO = {
    "abs", "add", "and", "atan2", "bitcast_convert", "broadcast_in_dim", "case", "cbrt", "ceil", "clamp", "compare",
    "complex", "composite", "concatenate", "constant", "convert", "convolution", "cosine", "count_leading_zeros",
    "divide", "dot_general", "dynamic_slice", "dynamic_update_slice", "exponential", "exponential_minus_one", "fft",
    "floor", "gather", "if", "imag", "iota", "is_finite", "log", "log_plus_one", "logistic", "map", "maximum",
    "minimum", "multiply", "negate", "not", "optimization_barrier", "or", "pad", "popcnt", "power", "real", "reduce",
    "reduce_precision", "reduce_window", "remainder", "reshape", "return", "reverse", "rng_bit_generator",
    "round_nearest_afz", "round_nearest_even", "rsqrt", "scatter", "select", "select_and_scatter", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sine", "slice", "sort", "sqrt", "subtract", "tan",
    "tanh", "transpose", "triangular_solve", "while", "xor",
}  # fmt: skip
_OPERATIONS = {f"stablehlo.{name}" for name in _STABLEHLO} | {"builtin.module", "func.func", "func.return", "func.call"}
_MODULE_ATTRIBUTES = {
    "jax.uses_shape_polymorphism": "false",
    "mhlo.num_partitions": "1 : i32",
    "mhlo.num_replicas": "1 : i32",
}


@dataclass(frozen=True)
class ArrayType:
    """Shape and dtype of an argument or a result."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def abstract(self) -> jax.ShapeDtypeStruct:
        """The type as JAX takes it where it traces without values."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Graph:
    """A graph that holds nothing but admitted operations, with its functions by name."""

    name: str
    arguments: tuple[ArrayType, ...]
    results: tuple[ArrayType, ...]
    module: ir.Module

    @property
    def functions(self) -> dict[str, ir.Operation]:
        """The operations `func.func` by name; `main` is the graph."""
        return _functions(self.module)

    @property
    def text(self) -> bytes:
        """The graph's normal form as ASCII text: equal for graphs that differ in spelling alone."""
        return _text(self.module).encode("ascii")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the normal form, hexadecimal."""
        return hashlib.sha256(self.text).hexdigest()

    def function(self, platform: str) -> Callable[..., tuple[jax.Array, ...]]:
        """Return a traceable function of flat arguments that runs the graph."""

        def stand_in(*_: jax.Array) -> tuple[jax.Array, ...]:
            return tuple(jnp.zeros(result.shape, result.dtype) for result in self.results)

        # An export of our own with the same types, whose module is then replaced: calling conventions stay JAX's.
        template = export.export(jax.jit(stand_in, keep_unused=True), platforms=[platform])
        exported = template(*(array.abstract for array in self.arguments))
        with self.module.context, as_refusals(f"{self.name}: cannot be handed to a compiler"):
            passed = ir.Module.parse(_text(self.module))  # a copy, as serializing changes the module it is given
            code = stablehlo.serialize_portable_artifact(passed, stablehlo.get_current_version())
        call: Callable[..., tuple[jax.Array, ...]] = replace(exported, mlir_module_serialized=code, _get_vjp=None).call
        return call


def graph_text(code: bytes) -> bytes:
    """Return the text of serialized StableHLO, without locations. For code that was serialized in this process only."""
    context = _context()
    return _text(stablehlo.deserialize_portable_artifact(context, code)).encode("ascii")


def read_graph(name: str, data: bytes) -> Graph:
    """Parse and check a graph.

    Args:
        name: for messages.
        data: what `graph_text` made, or anything else.

    Raises:
        RefusedError: naming the graph and the first thing in it that is not admitted.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise RefusedError(f"{name}: not ASCII") from None
    if _nesting(text) > _MAX_NESTING:
        raise RefusedError(f"{name}: brackets are nested more than {_MAX_NESTING} deep")
    if "//" in text:  # a quotation mark in a comment would hide brackets from the count above
        raise RefusedError(f"{name}: comments are not admitted")
    if _LARGE_INDEX.search(text):  # the parser makes room for all results up to the one that is named
        raise RefusedError(f"{name}: names a result beyond {MAX_VALUES}")
    if "dialect_resources" in text or "dense_resource" in text:
        raise RefusedError(f"{name}: constants must be stored in place")
    with _context(), as_refusals(f"{name}: not StableHLO, or StableHLO that needs other dialects"):
        module = ir.Module.parse(text)
        _check_module(name, module)
        main = _functions(module).get("main")
        if main is None:
            raise RefusedError(f"{name}: no function main")
        signature = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
        arguments, results = (_array_types(name, types) for types in (signature.inputs, signature.results))
    return Graph(name, arguments, results, module)


@contextmanager
def as_refusals(said: str) -> Iterator[None]:
    """Refuse for `said` whatever error a graph brings about inside.

    For what looks at a graph alone: its text is whatever a submission's process wrote, so that an error of any kind is
    its doing, and would halt the seed as a failure of the evaluation for as long as it is resumed.
    """
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:  # of any kind; want of memory, too, is of an array that the graph only names
        raise RefusedError(said) from error


def _context() -> ir.Context:
    context = ir.Context()
    stablehlo.register_dialect(context)
    # Reading any artifact loads `func`, which has no registration of its own; this one is ours, and empty.
    empty = stablehlo.serialize_portable_artifact_str("module {}", stablehlo.get_current_version())
    stablehlo.deserialize_portable_artifact(context, empty)
    return context


def _nesting(text: str) -> int:
    """Greatest depth of brackets outside strings: parsers recurse on them."""
    depth = greatest = 0
    for match in _BRACKETS.finditer(text):
        bracket = match.group()
        if bracket in "([{<":
            depth += 1
            greatest = max(greatest, depth)
        elif bracket in ")]}>":
            depth -= 1
    return greatest


def _text(module: ir.Module) -> str:
    return str(module.operation.get_asm(enable_debug_info=False))


def _functions(module: ir.Module) -> dict[str, ir.Operation]:
    functions = [each.operation for each in module.body.operations]
    return {ir.StringAttr(function.attributes["sym_name"]).value: function for function in functions}


def _array_types(name: str, types: Sequence[ir.Type]) -> tuple[ArrayType, ...]:
    if len(types) > MAX_VALUES:
        raise RefusedError(f"{name}: {len(types)} arguments or results, at most {MAX_VALUES}")
    arrays = []
    for given in types:
        if not isinstance(given, ir.RankedTensorType) or not given.has_static_shape:
            raise RefusedError(f"{name}: an argument or result without a static shape")
        dtype = _DTYPES.get(str(given.element_type))
        if dtype is None:
            raise RefusedError(f"{name}: an argument or result of type {str(given.element_type)[:20]}")
        arrays.append(ArrayType(tuple(given.shape), dtype))
    return tuple(arrays)


def _check_module(name: str, module: ir.Module) -> None:
    """Raise `RefusedError` for the first operation, attribute, type or constant that is not admitted."""
    seen = constant_bytes = 0
    calls: dict[str, dict[str, int]] = {}
    pending: list[tuple[ir.Operation, str, int]] = [(module.operation, "", 0)]
    while pending:
        operation, within, level = pending.pop()
        seen += 1
        if seen > MAX_OPERATIONS:
            raise RefusedError(f"{name}: more than {MAX_OPERATIONS:,} operations")
        _check_operation(name, operation)
        _check_place(name, operation, within, level)
        if operation.name == "func.func":
            within, level = ir.StringAttr(operation.attributes["sym_name"]).value, 0
            calls.setdefault(within, {})
        if operation.name in REFERENCES:
            called = ir.FlatSymbolRefAttr(operation.attributes[REFERENCES[operation.name]]).value
            calls[within][called] = max(level, calls[within].get(called, 0))
        if operation.name == "stablehlo.sort":
            operation.attributes["is_stable"] = ir.BoolAttr.get(True)
        if operation.name == "stablehlo.constant":
            constant_bytes += _constant_bytes(operation)
            if constant_bytes > MAX_CONSTANT_BYTES:
                raise RefusedError(f"{name}: constants of more than {MAX_CONSTANT_BYTES >> 20} MiB")
        blocks = [block for region in operation.regions for block in region]
        _check_types(name, [*operation.results, *(argument for block in blocks for argument in block.arguments)])
        pending += [(child.operation, within, level + 1) for block in blocks for child in block]
    _check_calls(name, calls)


def _check_place(name: str, operation: ir.Operation, within: str, level: int) -> None:
    """A module holds functions with bodies, and functions hold everything else."""
    expected = "builtin.module" if level == 0 else "func.func" if not within else ""
    if operation.name in ("builtin.module", "func.func") or expected:
        if operation.name != expected:
            raise RefusedError(f"{name}: operation {operation.name[:60]} is not admitted there")
        if not any(len(region.blocks) for region in operation.regions):
            raise RefusedError(f"{name}: a function without a body")


def _check_types(name: str, values: "Sequence[ir.Value[ir.Type]]") -> None:
    for value in values:
        given = value.type
        if not isinstance(given, ir.RankedTensorType) or not given.has_static_shape or given.encoding is not None:
            raise RefusedError(f"{name}: a value of type {str(given)[:40]}, expected an array of static shape")
        if prod(given.shape) * _element_bytes(given.element_type) > MAX_ARRAY_BYTES:
            raise RefusedError(f"{name}: an array of more than {MAX_ARRAY_BYTES >> 30} GiB")


def _check_calls(name: str, calls: Mapping[str, Mapping[str, int]]) -> None:
    """Raise if a function reaches itself, or calls go too deep: compilers recurse on them.

    Args:
        name: for messages.
        calls: for each function the functions it calls, and the regions around the deepest call.
    """
    depth: dict[str, int] = {}
    try:
        for function in TopologicalSorter(calls).static_order():
            deepest = [level + depth[called] for called, level in calls[function].items()]
            depth[function] = 1 + max(deepest, default=0)
    except CycleError:
        raise RefusedError(f"{name}: a function calls itself") from None
    if max(depth.values(), default=0) > _MAX_CALL_DEPTH:
        raise RefusedError(f"{name}: calls go more than {_MAX_CALL_DEPTH} deep")


def _check_operation(name: str, operation: ir.Operation) -> None:
    if operation.name not in _OPERATIONS:
        called = ""
        if operation.name == "stablehlo.custom_call" and "call_target_name" in operation.attributes:
            called = f" of {str(operation.attributes['call_target_name'])[:60]}"
        raise RefusedError(f"{name}: operation {operation.name[:60]}{called} is not admitted")
    for attribute in operation.attributes:
        known = operation.name == "builtin.module" and attribute in _MODULE_ATTRIBUTES
        # Attributes of an operation's own have no dot; those with one are hints to compilers and runtimes.
        if "." in attribute and not (known and str(operation.attributes[attribute]) == _MODULE_ATTRIBUTES[attribute]):
            raise RefusedError(f"{name}: attribute {attribute[:60]} is not admitted")
        if attribute in ("arg_attrs", "res_attrs"):
            for each in map(ir.DictAttr, ir.ArrayAttr(operation.attributes[attribute])):
                if len(each) > ("jax.result_info" in each):
                    raise RefusedError(f"{name}: attributes of arguments or results are not admitted")
    if operation.name == "stablehlo.composite" and not str(operation.attributes["name"]).startswith('"chlo.'):
        raise RefusedError(f"{name}: composite {str(operation.attributes['name'])[:60]} is not admitted")


def _constant_bytes(operation: ir.Operation) -> int:
    """Bytes of a constant, 0 for one repeated real value."""
    given = ir.RankedTensorType(operation.results[0].type)
    complex_valued = isinstance(given.element_type, ir.ComplexType)  # whose values the bindings cannot read
    if not complex_valued and ir.DenseElementsAttr(operation.attributes["value"]).is_splat:
        return 0
    return prod(given.shape) * _element_bytes(given.element_type)


def _element_bytes(element: ir.Type) -> int:
    if isinstance(element, ir.ComplexType):
        return 2 * _element_bytes(element.element_type)
    if isinstance(element, ir.IntegerType | ir.FloatType):
        return -(-element.width // 8)
    return 8
