"""A pickler for models whose code is one script: all of it travels by value, and what was compiled as its source.

Beyond what cloudpickle carries, train scripts put into their models: wrappers of `torch.compile`, functions and modules
of TorchScript, Triton kernels, cached functions and properties, parametrized modules, and many views of one tensor.
Each is taken apart here into something that can be put together again in a process that has no such script.

Not covered: operators that a script registers (`torch.library`) and calls by name, as `torch.ops.mine.fast(x)`. Called
through the object that `custom_op` returned, they travel.
"""

import functools
import importlib
import inspect
import io
import linecache
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import cloudpickle  # type: ignore[import-untyped]
import torch
from torch import nn
from torch.nn.utils import parametrize

Reduced = tuple[Any, ...]
_KERNEL_OPTIONS = (
    "version",
    "do_not_specialize",
    "do_not_specialize_on_alignment",
    "debug",
    "noinline",
    "launch_metadata",
)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's pickler, and the additions of this module."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._storages: dict[tuple[object, ...], torch.TypedStorage] = {}

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401
        """Return how `obj` is pickled; `NotImplemented` for the usual way."""
        if isinstance(obj, torch.TypedStorage):
            return self._storage_once(obj)
        for reduce in _REDUCERS:
            if (reduced := reduce(obj)) is not None:
                return reduced
        return super().reducer_override(obj)

    def _storage_once(self, storage: torch.TypedStorage) -> Any:  # noqa: ANN401
        """Every tensor brings an object of its own for the memory behind it; views of one memory must share one."""
        memory = storage._untyped_storage  # public names of this class warn
        key = (storage.dtype, memory.device, memory.data_ptr(), memory.nbytes())
        first = self._storages.setdefault(key, storage)
        return NotImplemented if first is storage or not key[-1] else (_same, (first,))


def _same(wrapped: Any) -> Any:  # noqa: ANN401
    return wrapped


# torch.compile and TorchScript ---------------------------------------------------------------------------------------


def _compiled(obj: object) -> Reduced | None:
    """What `torch.compile` and `torch.library.custom_op` wrapped: servers run plain functions and modules."""
    # Asked of loaded modules: importing the compiler takes seconds of a script's budget, which may not use it.
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is not None and isinstance(obj, compiler.OptimizedModule):
        return _same, (obj._orig_mod,)
    if isinstance(obj, types.FunctionType) and hasattr(obj, "_torchdynamo_orig_callable"):
        return _same, (obj._torchdynamo_orig_callable,)
    library = sys.modules.get("torch._library.custom_ops")
    if library is not None and isinstance(obj, library.CustomOpDef):
        return _same, (obj._init_fn,)
    return None


def _scripted(obj: object) -> Reduced | None:
    if isinstance(obj, torch.jit.ScriptFunction) and hasattr(obj, "_torchdynamo_inline"):
        return _same, (obj._torchdynamo_inline,)
    if isinstance(obj, torch.jit.ScriptModule):
        buffer = io.BytesIO()
        torch.jit.save(obj, buffer)
        return _load_scripted, (buffer.getvalue(),)
    return None


def _load_scripted(saved: bytes) -> Any:  # noqa: ANN401
    return torch.jit.load(io.BytesIO(saved))  # type: ignore[no-untyped-call]


# Triton --------------------------------------------------------------------------------------------------------------


def _kernel(obj: object) -> Reduced | None:
    triton = sys.modules.get("triton.runtime.jit")
    if triton is None or not isinstance(obj, triton.JITFunction):
        return None
    known = inspect.signature(triton.jit).parameters
    options = {name: getattr(obj, name, None) for name in _KERNEL_OPTIONS if name in known}
    lines, _ = inspect.getsourcelines(obj.fn)
    return _kernel_again, (obj.fn, lines, options)


def _kernel_again(function: types.FunctionType, lines: Sequence[str], options: dict[str, Any]) -> Any:  # noqa: ANN401
    """Triton compiles from source, which it looks up by file name and line."""
    name = f"<handed over {function.__module__}.{function.__qualname__}>"
    linecache.cache[name] = (sum(map(len, lines)), None, list(lines), name)
    function.__code__ = function.__code__.replace(co_filename=name, co_firstlineno=1)
    return importlib.import_module("triton").jit(function, **options)


# Python --------------------------------------------------------------------------------------------------------------


def _cached(obj: object) -> Reduced | None:
    if isinstance(obj, functools._lru_cache_wrapper) and _is_by_value(obj):
        return _cached_again, (obj.__wrapped__, obj.cache_parameters())
    if isinstance(obj, functools.cached_property):  # holds a lock before Python 3.12
        return _cached_property_again, (obj.func, obj.attrname)
    return None


def _cached_again(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:  # noqa: ANN401
    return functools.lru_cache(**parameters)(function)


def _cached_property_again(function: Callable[[Any], Any], name: str) -> "functools.cached_property[Any]":
    again = functools.cached_property(function)
    again.attrname = name
    return again


def _module_object(obj: object) -> Reduced | None:
    """Modules of a class of their own, as `torch.ops` is."""
    if isinstance(obj, types.ModuleType) and type(obj) is not types.ModuleType and obj.__name__ in sys.modules:
        return importlib.import_module, (obj.__name__,)
    return None


def _parametrized(obj: object) -> Reduced | None:
    """Torch refuses these to keep checkpoints portable between versions; a hand-over is read by the same version."""
    if isinstance(obj, nn.Module) and parametrize.is_parametrized(obj):
        return _bare, (type(obj),), vars(obj)
    return None


def _bare(kind: type) -> Any:  # noqa: ANN401
    return object.__new__(kind)


def _is_by_value(obj: object) -> bool:
    """Whether no other process can import `obj`."""
    module = getattr(obj, "__module__", None)
    local = "<locals>" in getattr(obj, "__qualname__", "")
    return local or module == "__main__" or module in cloudpickle.list_registry_pickle_by_value()


_REDUCERS: tuple[Callable[[object], Reduced | None], ...] = (
    _compiled,
    _scripted,
    _kernel,
    _cached,
    _module_object,
    _parametrized,
)
