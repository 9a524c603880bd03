"""Files of tensors in the safetensors format, written and read with torch alone.

Eight bytes of length, a JSON header with type, shape and place of each tensor, then their bytes, little-endian and in
row-major order, one behind the other. Nothing of a file is run, so one of a stranger can be read.

Not covered: types that no model of ours has, memory maps, and files of more bytes than fit in memory.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_MOST_HEADER_BYTES = 100_000_000
_ALIGNMENT = 8


class TensorFileError(ValueError):
    """A file is not of this format; the message says where and how."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write tensors under their names, in the order of names.

    Args:
        path: of the new file.
        tensors: of the types float64, float32, float16, bfloat16 or int64, on any device.
        notes: texts that stand in the header beside them.
    """
    header: dict[str, object] = {"__metadata__": dict(notes)}
    start = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        end = start + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            plain = tensors[name].detach().to("cpu").contiguous().flatten()
            stream.write(plain.view(torch.uint8).numpy().data if plain.numel() else b"")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU.

    Raises:
        TensorFileError: it is not of this format, or its parts do not fit each other.
    """
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MOST_HEADER_BYTES, len(data) - 8):
        raise TensorFileError(f"{path}: no header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(entry, memoryview(data)[8 + length :]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TensorFileError(f"{path}: unreadable header or tensor: {error!r}") from None


def _tensor(entry: Mapping[str, object], body: memoryview) -> Tensor:
    dtype, shape, offsets = _TYPES[str(entry["dtype"])], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise TypeError(f"shape {shape!r}, place {offsets!r}")
    if not all(isinstance(each, int) and each >= 0 for each in [*shape, *offsets]):
        raise ValueError(f"shape {shape!r}, place {offsets!r}")
    start, end = offsets
    if end > len(body) or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - start} bytes up to {end} of {len(body)} for {shape!r}")
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).view(shape)
