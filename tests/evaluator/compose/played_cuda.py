"""A CUDA device played on the CPU: streams, captures and replays, with what a real one would do silently as errors.

`played()` puts it in the place of `torch.cuda`. While it is there:

- a capture runs nothing: each operation is noted, and gets memory of the graph's pool for its result;
- a replay runs what was noted, on the same memory, and fills the pool with NaN beforehand, so that a graph which reads
  what another one left there, or what it has not written yet itself, computes no number;
- tensors that a graph reads and did not make must be alive at each replay: on a device, a freed one is overwritten;
- inside a capture there is no reading of the device, no other stream, no synchronization, no emptying of the cache;
- work on one stream may not touch what another stream has written since the last synchronization.

Not covered: kernels (Triton's interpreter runs those), and how the caching allocator hands out memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

READING = ("_local_scalar_dense", "item", "equal", "nonzero", "is_nonzero", "unique")
"""Operations whose result has to come to the host."""


class PlayedCudaError(AssertionError):
    """What a real device would have answered with an error, or with wrong numbers."""


def tensors_of(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def address_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def bare(tensor: Tensor) -> Tensor:
    """The same numbers in the same place, and nothing of what autograd knows of them."""
    place = (tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    return torch.empty(0, dtype=tensor.dtype).set_(*place)


class PlayedStream:
    """A stream; all work without one is on the default stream."""

    def __init__(self, _device: object = None) -> None:
        pass


class Outside:
    """A tensor that a graph uses and has not made: an address, which the graph does not keep alive."""

    def __init__(self, tensor: Tensor) -> None:
        self._storage = StorageWeakRef(tensor.untyped_storage())
        self._dtype, self._shape = tensor.dtype, (tensor.storage_offset(), tensor.shape, tensor.stride())

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage.cdata)
        if storage is None:
            raise PlayedCudaError("a graph uses memory that has been freed since it was captured")
        return torch.empty(0, dtype=self._dtype).set_(storage, *self._shape)


class Pool:
    """The memory that the graphs of one training share."""

    def __init__(self) -> None:
        self._tensors: dict[int, Tensor] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return address_of(tensor) in self._tensors

    def empty(self, like: Tensor) -> Tensor:
        made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
        self._tensors[address_of(made)] = bare(made)
        return made

    def spoil(self) -> None:
        """Fill with what nobody can compute with, or take for an index."""
        for tensor in self._tensors.values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else tensor.dtype == torch.bool or -(2**31))


@dataclass
class Note:
    """One operation of a graph."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: list[Tensor] = field(default_factory=list)
    """Where its results go; empty for an operation that writes into its arguments."""


class PlayedGraph:
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self._notes: list[Note] = []
        self._outside: list[Outside] = []
        self._pool = Pool()

    def capture_begin(self, pool: Pool) -> None:
        device = PlayedCuda.present()
        device.require(device.capturing is None, "a capture inside a capture")
        device.require(device.stream is not None, "a capture on the default stream")
        device.require(not device.written, "a capture while the device works")
        self._pool, device.capturing = pool, self

    def capture_end(self) -> None:
        PlayedCuda.present().capturing = None

    def replay(self) -> None:
        device = PlayedCuda.present()
        device.require(device.capturing is None, "a replay inside a capture")
        device.require(bool(self._notes), "a replay of a graph that has captured nothing")
        device.replays += 1
        with device.paused(), torch.no_grad():
            for outside in self._outside:
                device.touched(outside.tensor(), writes=True)
            self._pool.spoil()
            for note in self._notes:
                arguments, keywords = tree_map(_present_tensor, (note.arguments, note.keywords))
                for place, result in zip(note.results, tensors_of(note.function(*arguments, **keywords)), strict=False):
                    place.copy_(result)

    def note(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:  # noqa: ANN401
        """Take an operation into the graph, and return what its result will be."""
        schema = function._schema
        written = [part.name for part in schema.arguments if part.alias_info and part.alias_info.is_write]
        if not written and any(part.alias_info is not None for part in schema.returns):
            return function(*arguments, **keywords)  # a view: no work for a device
        kept = tree_map(self._kept, (arguments, keywords))
        if written:
            self._notes.append(Note(function, *kept))
            named = dict(zip((part.name for part in schema.arguments), arguments, strict=False)) | keywords
            return named[written[0]] if schema.returns else None
        shapes, named_shapes = tree_map(_shape, (arguments, keywords))
        if "device" in named_shapes:
            named_shapes["device"] = torch.device("meta")
        made = function(*shapes, **named_shapes)
        made = tree_map(lambda part: self._pool.empty(part) if isinstance(part, Tensor) else part, made)
        self._notes.append(Note(function, *kept, [bare(part) for part in tensors_of(made)]))
        return made

    def _kept(self, part: object) -> object:
        if not isinstance(part, Tensor):
            return part
        if part in self._pool:
            return bare(part)
        self._outside.append(Outside(part))
        return self._outside[-1]


def _present_tensor(part: object) -> object:
    return part.tensor() if isinstance(part, Outside) else part


def _shape(part: object) -> object:
    if not isinstance(part, Tensor):
        return part
    return torch.empty_strided(part.shape, part.stride(), dtype=part.dtype, device="meta")


class PlayedCuda(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The device. One at a time."""

    _present: "PlayedCuda | None" = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stream: PlayedStream | None = None
        self.capturing: PlayedGraph | None = None
        self.replays = 0
        self.written: dict[int, tuple[StorageWeakRef, PlayedStream | None]] = {}
        """Which stream wrote to which memory since the last synchronization, by address."""
        self._paused = False

    @classmethod
    def present(cls) -> "PlayedCuda":
        assert cls._present is not None
        return cls._present

    def require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise PlayedCudaError(otherwise)

    def touched(self, tensor: Tensor, *, writes: bool) -> None:
        """Have the present stream read or write a tensor."""
        address, there = address_of(tensor), tensor.untyped_storage()
        storage, stream = self.written.get(address, (None, None))
        # What was freed since and is new memory again is no business of the stream that had it before.
        if storage is not None and storage.cdata == StorageWeakRef(there).cdata and not storage.expired():
            self.require(stream is self.stream, "two streams use the same memory, and nothing orders them")
        if writes:
            self.written[address] = (StorageWeakRef(there), self.stream)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        keywords = dict(kwargs or {})
        if self._paused:
            return func(*args, **keywords)
        reads = func._schema.name.split("::")[1] in READING
        self.require(not reads or self.capturing is None, f"{func} reads the device inside a capture")
        if self.capturing is not None:
            with self.paused():
                return self.capturing.note(func, args, keywords)
        given = tensors_of((args, keywords))
        for part in given:
            self.touched(part, writes=False)
        result = func(*args, **keywords)
        writing = any(part.alias_info and part.alias_info.is_write for part in func._schema.arguments)
        known = set() if writing else {address_of(part) for part in given}
        for part in (*(given if writing else ()), *tensors_of(result)):
            if address_of(part) not in known:
                self.touched(part, writes=True)
        return result

    def synchronize(self, _device: object = None) -> None:
        self.require(self.capturing is None, "a synchronization inside a capture")
        self.written.clear()

    def empty_cache(self) -> None:
        self.require(self.capturing is None, "an emptying of the cache inside a capture")

    @contextlib.contextmanager
    def on(self, stream: PlayedStream) -> Iterator[None]:
        """Stand in for `torch.cuda.stream`."""
        self.require(self.capturing is None, "a change of streams inside a capture")
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before


@contextlib.contextmanager
def played() -> Iterator[PlayedCuda]:
    """Put a played device in the place of `torch.cuda`."""
    device = PlayedCuda()
    PlayedCuda._present = device
    names = {
        "Stream": PlayedStream, "CUDAGraph": PlayedGraph, "stream": device.on, "synchronize": device.synchronize,
        "empty_cache": device.empty_cache, "graph_pool_handle": Pool,
        "is_current_stream_capturing": lambda: device.capturing is not None,
    }  # fmt: skip
    with contextlib.ExitStack() as places:
        for name, stand_in in names.items():
            places.enter_context(patch.object(torch.cuda, name, stand_in))
        with device:
            yield device
    PlayedCuda._present = None
