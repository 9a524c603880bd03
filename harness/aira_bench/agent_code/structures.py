"""What a script does under whatever name, told from the shape of its syntax tree.

A script without a tree has none of these structures.
"""

import ast
import re
from collections.abc import Callable, Iterator

from aira_bench.agent_code.evidence import Evidence, dotted_name, snake_case

UNKNOWN = "unknown"


def _walk(evidence: Evidence, kind: type[ast.AST]) -> Iterator[ast.AST]:
    if evidence.tree is not None:
        yield from (node for node in ast.walk(evidence.tree) if isinstance(node, kind))


def has_keyword(name: str) -> Callable[[Evidence], bool]:
    """Return a call with this keyword argument, unless it is off."""
    return lambda evidence: any(keyword == name and bool(value) for _, keyword, value in evidence.keywords)


def squares_a_log_sum_exp(evidence: Evidence) -> bool:
    """`logsumexp(...) ** 2`, `.square()` or `.pow(2)`: a z-loss."""
    for node in _walk(evidence, ast.AST):
        base: ast.expr | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and _is_number(node.right, 2):
            base = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            squares = node.func.attr == "square" or (
                node.func.attr == "pow" and bool(node.args) and _is_number(node.args[-1], 2)
            )
            base = node.func.value if squares else None
        if base is not None and any(
            isinstance(part, ast.Call) and dotted_name(part.func) == "logsumexp" for part in ast.walk(base)
        ):
            return True
    return False


def adds_attention_and_mlp_at_once(evidence: Evidence) -> bool:
    """`x + attention(...) + mlp(...)`: both branches read the same input."""
    for node in _walk(evidence, ast.BinOp):
        assert isinstance(node, ast.BinOp)
        called = [snake_case(dotted_name(part.func)) for part in _terms(node) if isinstance(part, ast.Call)]
        if any(name.startswith("att") for name in called) and any(_MLP_NAME.search(name) for name in called):
            return True
    return False


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _terms(node.left)
        yield from _terms(node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from (part for side in (node.left, node.right) for part in _terms(side))
    else:
        yield node


def shares_embedding_and_head(evidence: Evidence) -> bool:
    """`head.weight = embedding.weight`, or a linear map with an embedding's weight."""
    for node in _walk(evidence, ast.Assign):
        assert isinstance(node, ast.Assign)
        target, value = node.targets[0], node.value
        if _is_weight(target) and _is_weight(value):
            return True
    return any(
        isinstance(node, ast.Call)
        and dotted_name(node.func) == "linear"
        and len(node.args) > 1
        and re.search(r"\b(wte|\w*emb\w*)\.weight$", ast.unparse(node.args[1])) is not None
        for node in _walk(evidence, ast.Call)
    )


def _is_weight(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute) and node.attr == "weight" and isinstance(node.value, ast.Attribute | ast.Name)
    )


def _is_number(node: ast.expr, number: float) -> bool:
    return isinstance(node, ast.Constant) and not isinstance(node.value, bool) and node.value == number


# The MLP -------------------------------------------------------------------------------------------------------------

_MLP_NAME = re.compile(r"(?:^|_)(mlp|ffn|ff|feed_forward|feedforward|swiglu|geglu|glu)(?:_|$)")
_ACTIVATIONS = ("relu", "gelu", "silu", "swish", "mish", "tanh", "elu", "leakyrelu", "softplus", "sigmoid")
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "relu": "reglu", "sigmoid": "glu"}


def mlp_type(evidence: Evidence) -> str:
    """Return the activation of the feed-forward class: `relu2`, `gelu`, `swiglu`, ...; `unknown` if there is no such
    class.
    """
    if evidence.tree is None:
        return next((name for name in ("swiglu", "geglu", "reglu") if name in evidence.identifiers), UNKNOWN)
    classes = [
        node
        for node in ast.walk(evidence.tree)
        if isinstance(node, ast.ClassDef) and _MLP_NAME.search(snake_case(node.name))
    ]
    for node in classes:
        found = _activation(node)
        if found is not None:
            return found
    return UNKNOWN


def _activation(scope: ast.ClassDef) -> str | None:
    """The activation of a class, `2` behind it if squared, its gated name if its result is multiplied."""
    calls = [node for node in ast.walk(scope) if isinstance(node, ast.Call | ast.Attribute)]
    names = [_plain(node.func if isinstance(node, ast.Call) else node) for node in calls]
    activation = next((name for name in names if name in _ACTIVATIONS), None)
    if activation is None:
        return None
    if any(_squares(node, activation) for node in ast.walk(scope)):
        return f"{activation}2"
    gated = any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and not any(isinstance(side, ast.Constant) for side in (node.left, node.right))
        and _holds(node, activation)
        for node in ast.walk(scope)
    )
    return _GATED.get(activation, f"gated {activation}") if gated else activation


def _squares(node: ast.AST, activation: str) -> bool:
    """`act(...)**2`, `act(...).square()`, `act(...).pow(2)` or `torch.square(act(...))`."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow) and _is_number(node.right, 2) and _holds(node.left, activation)
    if not isinstance(node, ast.Call):
        return False
    name = dotted_name(node.func)
    inside = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    power = name == "pow" and bool(node.args) and _is_number(node.args[-1], 2)
    return (name == "square" or power) and any(_holds(part, activation) for part in inside)


def _holds(node: ast.AST, activation: str) -> bool:
    return any(
        isinstance(part, ast.Call) and _plain(part.func) in (activation, "act", "activation") for part in ast.walk(node)
    )


def _plain(node: ast.expr) -> str:
    """`F.leaky_relu` and `nn.LeakyReLU` become `leakyrelu`."""
    return dotted_name(node).replace("_", "").lower()
