"""A reader process whose texts hang it, eat memory or ask what it can see, with the real one's limits."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from aira_bench.agent_code import reader_process


def _extract(text: str) -> Mapping[str, Any]:
    if text == "environment":
        return {"names": dict(os.environ), "arguments": sys.argv}
    if text == "memory":
        return {"size": len(bytearray(reader_process.MEMORY_BYTES * 2))}
    if text == "half a second":
        until_s = time.process_time() + 0.5
        while time.process_time() < until_s:
            pass
    while text.startswith("~~~"):
        pass
    return {}


if __name__ == "__main__":
    reader_process.OPERATIONS = {"extract": _extract}
    reader_process.main()
