"""Says in one short line why a `model.py` cannot be traced, so that whoever wrote it knows what to change.

The line names the place in `model.py`, the error, and where the cause is a rule of ours, that rule. What the libraries
add about their own insides is cut. Not covered: whether the words are true; they are the submission's.
"""

import re
import traceback
from pathlib import Path

_BOILERPLATE = re.compile(
    r"\.?\s*(The error occurred while tracing|This concrete value was not available|This value became a tracer"
    r"|The problem arose with|It arose in|See https?://|\(https?://\S*flax\.errors).*",
    re.DOTALL,
)
_CALLBACKS = "host callbacks (jax.debug.print, pure_callback) are not admitted"
_RULES = (
    (
        "Concretization|TracerBool|TracerInteger|NonConcreteBoolean",
        "shapes and Python branches may not depend on values: use jnp.where, lax.cond, masks",
    ),
    ("TracerArrayConversion", "use jnp, not numpy, on traced values"),
    ("InvalidRng", "the one random stream is dropout, present when train is true"),
    (
        r"flax\.deprecated|'(nn|optim)' from 'flax'|'flax' has no attribute '(deprecated|nn|optim)'",
        "the old flax.nn and flax.optim are gone: layers are in flax.linen, with @nn.compact, optimizers in optax",
    ),
    ("ModuleNotFound", "there are jax, flax, numpy, optax and the standard library"),
    ("serialization of host_callbacks", _CALLBACKS),
)
"""By what an error says: which rule of ours the author has run into."""
_CUSTOM_CALL = re.compile(r'custom_call\s*@"?([\w.$]+)|call_target_name = "([^"]+)')
_CALLS = (
    ("callback", _CALLBACKS),
    (
        "lapack|solver|gesvd|geqp",
        "of linear algebra only QR, LU, Cholesky, triangular solves and eigh are admitted: no svd, pinv, lstsq, eig; "
        "what does not depend on parameters may be computed by numpy",
    ),
    ("cudnn|fmha", "kernels of cuDNN are not admitted; ask for implementation='xla'"),
    ("[Ss]harding|sdy", "there is one device: remove sharding constraints"),
)


def failure(error: BaseException, path: Path) -> str:
    """One line for whatever a module raised while it was imported or traced from `path`."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    place = f"line {lines[-1]}: " if lines else ""
    said = f"{type(error).__name__}: {error}"
    rules = [rule for pattern, rule in _RULES if re.search(pattern, said)]
    return "; ".join([place + _BOILERPLATE.sub("", said), *rules[:1]])


def foreign_call(module: str) -> str | None:
    """Return what a graph's text calls outside StableHLO and why that is refused; None where it calls nothing."""
    found = _CUSTOM_CALL.search(module)
    called = (found[1] or found[2]) if found else "sdy" if "sdy.sharding_constraint" in module else None
    if called is None:
        return None
    rules = [rule for pattern, rule in _CALLS if re.search(pattern, called)]
    return f"{called[:60]}: {(rules or ['kernels other than what jax.jit makes are not admitted'])[0]}"
