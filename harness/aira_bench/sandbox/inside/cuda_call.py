"""Makes a CUDA context and takes a mebibyte of the device, and prints as JSON how far it came: without any library.

It asks the driver's own library, `libcuda.so.1`, which the engine puts into a container that is given a device.
"""

import ctypes
import json
import os
from collections.abc import Callable
from typing import Any


def call_cuda() -> dict[str, Any]:
    """Return `failed` with the call that failed and its error, or the device's name; and the size of /dev/shm."""
    shared = os.statvfs("/dev/shm")
    told: dict[str, Any] = {"shm_mib": shared.f_frsize * shared.f_blocks >> 20}
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as missing:
        return told | {"failed": "loading libcuda.so.1", "error": str(missing)}
    count, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    name = ctypes.create_string_buffer(256)
    calls: list[tuple[str, Callable[[], int]]] = [
        ("cuInit", lambda: cuda.cuInit(0)),
        ("cuDeviceGetCount", lambda: cuda.cuDeviceGetCount(ctypes.byref(count))),
        ("cuDeviceGetName", lambda: cuda.cuDeviceGetName(name, len(name), 0)),
        ("cuDevicePrimaryCtxRetain", lambda: cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)),
        ("cuCtxSetCurrent", lambda: cuda.cuCtxSetCurrent(context)),
        ("cuMemAlloc", lambda: cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1 << 20))),
        ("cuMemFree", lambda: cuda.cuMemFree_v2(memory)),
    ]
    for called, call in calls:
        if status := call():
            word = ctypes.c_char_p()
            cuda.cuGetErrorName(status, ctypes.byref(word))
            return told | {"failed": called, "error": f"{(word.value or b'?').decode()} ({status})"}
    return told | {"devices": count.value, "name": name.value.decode(errors="replace")}


if __name__ == "__main__":
    print(json.dumps(call_cuda()))
