"""A CUDA device that computes, played on the CPU: tensors say that they lie on `cuda:0`, and their numbers lie beside.

`computing()` puts it in the place of the device for one thread. Whatever is moved to `cuda:0` or made there stays there,
and an operation on tensors of both sides is refused as a device refuses it; copies go both ways. Autocast takes it for
CUDA. Host memory that is locked for it is noted.

Not covered: streams, graphs and captures (`compose/played_cuda.py`); kernels; `cuda` without an index, for which a torch
without CUDA asks the driver; gradients.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, HOST = torch.device("cuda:0"), torch.device("cpu")
_COPIES = ("aten::copy_", "aten::_to_copy")


class OnDevice(Tensor):
    """A tensor on the device."""

    numbers: Tensor

    @staticmethod
    def __new__(cls: "type[OnDevice]", numbers: Tensor) -> "OnDevice":
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls, numbers.shape, dtype=numbers.dtype, device=CUDA, strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
        )  # fmt: skip
        made.numbers = numbers
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.numbers!r} on {CUDA}"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is Tensor.__getitem__:  # torch asks the driver before any operation
            _require_one_side(args, "aten::index")
            numbers, places = _numbers(args)
            return OnDevice(numbers[places])
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return _computed(func, args, dict(kwargs or {}))


class _Device(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what is made on the device or moved to it, of which no argument is there yet."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return _computed(func, args, dict(kwargs or {}))


def _computed(func: OpOverload, args: tuple[Any, ...], keywords: dict[str, Any]) -> object:
    there = _require_one_side((args, keywords), func._schema.name)
    asked = keywords.get("device")
    if asked is not None:
        keywords["device"], there = HOST, asked.type == "cuda"
    places, named = _numbers((args, keywords))
    result = func(*places, **named)
    if any(part.alias_info is not None and part.alias_info.is_write for part in func._schema.arguments):
        return args[0] if func._schema.returns else None
    return tree_map(lambda each: OnDevice(each) if isinstance(each, Tensor) else each, result) if there else result


def _require_one_side(given: object, name: str) -> bool:
    """Whether an operation is one of the device; of both sides there are copies alone."""
    tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    there = any(isinstance(each, OnDevice) for each in tensors)
    here = any(not isinstance(each, OnDevice) and each.dim() > 0 for each in tensors)  # a number may be of the host
    if there and here and name not in _COPIES:
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {CUDA} and {HOST}")
    return there


def _numbers(tree: Any) -> Any:  # noqa: ANN401
    return tree_map(lambda each: each.numbers if isinstance(each, OnDevice) else each, tree)


@contextlib.contextmanager
def computing() -> Iterator[list[tuple[int, int]]]:
    """Have this thread compute on the device; yields address and bytes of host memory that is locked for it."""
    locked: list[tuple[int, int]] = []

    def register(address: int, size_bytes: int, flags: int) -> int:
        locked.append((address, size_bytes))
        return 1  # an error, as where a process may lock no memory: it costs speed alone

    runtime = SimpleNamespace(cudaHostRegister=register)
    exchanges = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # parameters that move become others
    with (
        contextlib.ExitStack() as after,
        patch("torch.cuda._lazy_init", lambda: None),
        patch("torch.cuda.is_bf16_supported", lambda: True),
        patch("torch.cuda.cudart", lambda: runtime),
        sdpa_kernel(SDPBackend.MATH),  # the fused ones are kernels of a device
        patch("torch.cuda.is_available", lambda: True),
        _Device(),  # type: ignore[no-untyped-call]
    ):
        after.callback(torch.__future__.set_overwrite_module_params_on_conversion, exchanges)
        yield locked
