"""Counts what a graph computes, to see how that grows with the length of its input.

The work of an operation is the number of its results' elements, times the terms behind each for contractions and
convolutions, times the trips of the loops around it. Work is kept apart by kind of operation (name, ranks, batch
dimensions), because at short lengths a quadratic part hides in a total but not among its own kind: the scores of
attention are products with two batch dimensions, projections are not.

Not covered: loops whose number of trips is not a constant; they are counted once and their number is told, so that
the caller can fall back on measured time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log2, prod

from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from aira_evaluator.lra.graphs.attributes import integer
from aira_evaluator.lra.graphs.graph import REFERENCES, Graph, as_refusals

Kind = tuple[str, ...]
SUPERLINEAR_FROM = 8.0
"""Growth of work over four times the length from which a kind counts as quadratic: that of L ** 1.5. Linear work grows
by 4, a Fourier transform by less than 6, attention by 16."""
HIDDEN_SHARE = 0.3
"""Work of L log L has a part in L ** 2 of 0.27 or less, where L is 8 or more; that of L ** 1.5 has one of 0.5."""
_IGNORED = {"builtin.module", "func.func", "func.return", "stablehlo.return", "stablehlo.constant"}


@dataclass(frozen=True)
class Work:
    """The operations that one graph computes, counted by kind."""

    by_kind: Mapping[Kind, float]
    unknown_loops: int

    @property
    def total(self) -> float:
        """The operations of all kinds together."""
        return sum(self.by_kind.values())


def work_of(graphs: Sequence[Graph]) -> Work:
    """Return the work of graphs that are run one after the other.

    Raises:
        RefusedError: one cannot be counted.
    """
    counted: Counter[Kind] = Counter()
    unknown = 0
    for graph in graphs:
        counter = _Counter(graph.functions)
        with as_refusals(f"{graph.name}: its work cannot be counted"):
            counted.update(counter.function("main"))
        unknown += counter.unknown_loops
    return Work(counted, unknown)


def superlinear_share(short: Work, middle: Work, long: Work) -> float:
    """Share of the work at four times the length that grows as L ** 1.5 or more; `middle` is at twice the length.

    All work of a kind that grew by `SUPERLINEAR_FROM` or more counts. Of other kinds the quadratic part counts where it
    is more than `HIDDEN_SHARE` of the kind: a linear product of the same kind would hide it otherwise. All of the work
    counts where it is beyond any float.
    """
    if not isfinite(long.total):  # loops in loops, perhaps never run: inf / inf would be no share, and pass for small
        return 1.0
    grown = 0.0
    for kind, work in long.by_kind.items():
        # By kind and not in total: at short lengths the linear projections outweigh the quadratic scores.
        before = short.by_kind.get(kind, 0.0)
        part = (
            work if work >= SUPERLINEAR_FROM * before else _quadratic_part(before, middle.by_kind.get(kind, 0.0), work)
        )
        grown += part if part > HIDDEN_SHARE * work else 0.0
    return grown / long.total if long.total else 0.0


def _quadratic_part(short: float, middle: float, long: float) -> float:
    """The term in L ** 2 of the parabola through the work at one, two and four times a length, at four times it."""
    return min(16 / 6 * ((long - middle) - 2 * (middle - short)), long)


class _Counter:
    def __init__(self, functions: Mapping[str, ir.Operation]) -> None:
        self._functions = functions
        self._known: dict[str, Counter[Kind]] = {}
        self.unknown_loops = 0

    def function(self, name: str) -> Counter[Kind]:
        """Work of one call; `graph` has refused recursion."""
        if name not in self._known:
            self._known[name] = self._region(self._functions[name].regions[0])
        return self._known[name]

    def _region(self, region: ir.Region) -> Counter[Kind]:
        counted: Counter[Kind] = Counter()
        for block in region:
            for each in block:
                counted.update(self._operation(each.operation))
        return counted

    def _operation(self, operation: ir.Operation) -> Counter[Kind]:
        name = operation.name
        if name in REFERENCES:
            return self.function(ir.FlatSymbolRefAttr(operation.attributes[REFERENCES[name]]).value)
        if name == "stablehlo.while":
            trips = _trips(operation)
            self.unknown_loops += trips is None
            body = self._region(operation.regions[1])
            return Counter({kind: work * (trips or 1) for kind, work in body.items()})
        if name in ("stablehlo.case", "stablehlo.if"):
            branches = [self._region(region) for region in operation.regions]
            # Which branch runs is known to nobody before; the costliest bounds them all.
            return max(branches, key=lambda branch: sum(branch.values()))
        if name in _IGNORED:
            return Counter()
        return Counter({_kind(operation): _elements(operation)})


def _kind(operation: ir.Operation) -> Kind:
    ranks = tuple(str(len(_shape(value))) for value in [*operation.operands, *operation.results])
    if operation.name != "stablehlo.dot_general":
        return (operation.name, *ranks)
    dimensions = stablehlo.DotDimensionNumbers(operation.attributes["dot_dimension_numbers"])
    return (
        operation.name,
        *ranks,
        f"batch {len(dimensions.lhs_batching_dimensions)}",
        f"over {len(dimensions.lhs_contracting_dimensions)}",
    )


def _shape(value: "ir.Value[ir.Type]") -> list[int]:
    return list(value.type.shape) if isinstance(value.type, ir.RankedTensorType) else []


def _elements(operation: ir.Operation) -> float:
    """Work of an operation whose cost lies in itself."""
    produced = float(sum(prod(_shape(result)) for result in operation.results))
    operands = [_shape(operand) for operand in operation.operands]
    match operation.name:
        case "stablehlo.dot_general":
            dimensions = stablehlo.DotDimensionNumbers(operation.attributes["dot_dimension_numbers"])
            # A multiplication and an addition for each contracted term of each result.
            return 2 * produced * prod(operands[0][index] for index in dimensions.lhs_contracting_dimensions)
        case "stablehlo.convolution":
            kernel = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
            # Each result sums over the kernel's taps and its share of the input features.
            return 2 * produced * prod(operands[1]) / max(1, operands[1][kernel.kernel_output_feature_dimension])
        case "stablehlo.reduce":
            return float(prod(operands[0]))
        case "stablehlo.sort":
            return produced * _levels(operands[0][integer(operation, "dimension", -1)])
        case "stablehlo.fft":
            return produced * _levels(prod(ir.DenseI64ArrayAttr(operation.attributes["fft_length"])))
        case "stablehlo.reduce_window":
            # Cumulative sums come as windows as long as the input, which the compiler turns into scans.
            return produced * _levels(prod(ir.DenseI64ArrayAttr(operation.attributes["window_dimensions"])))
        case "stablehlo.scatter":
            return float(prod(operands[-1]))  # the rest is carried over
        case "stablehlo.dynamic_update_slice":
            return float(prod(operands[1]))
    return produced


def _levels(length: int) -> float:
    return max(1.0, log2(max(1, length)))


def _trips(loop: ir.Operation) -> int | None:
    """Trips of a loop that counts by one up to a constant, as `lax.scan` and `lax.fori_loop` make; else None."""
    begun, body = (region.blocks[0] for region in loop.regions)
    condition = [each.operation for each in begun]
    compared = condition[0]
    if len(condition) != 2 or compared.name != "stablehlo.compare":
        return None
    if "LT" not in str(compared.attributes["comparison_direction"]):
        return None
    counter, bound = compared.operands
    if counter not in begun.arguments or condition[1].operands[0] != compared.results[0]:
        return None
    at = ir.BlockArgument(counter).arg_number
    first, last = _integer(loop.operands[at]), _integer(bound)
    if first is None or last is None or not _adds_one(list(body)[-1].operation.operands[at], body.arguments[at]):
        return None
    return max(0, last - first)


def _adds_one(advanced: "ir.Value[ir.Type]", counter: "ir.Value[ir.Type]") -> bool:
    """Whether a counter is one more after a trip. One that stands still now and then hides trips from its bound."""
    operation = advanced.owner
    if not isinstance(operation, ir.OpView | ir.Operation) or operation.name != "stablehlo.add":
        return False
    steps = [each for each in operation.operands if each != counter]
    return len(steps) == 1 and _integer(steps[0]) == 1


def _integer(value: "ir.Value[ir.Type]") -> int | None:
    operation = value.owner
    if not isinstance(operation, ir.OpView | ir.Operation) or operation.name != "stablehlo.constant" or _shape(value):
        return None
    stored = operation.attributes["value"]
    return int(ir.DenseIntElementsAttr(stored)[0]) if isinstance(stored, ir.DenseIntElementsAttr) else None
