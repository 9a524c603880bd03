"""How messages travel between the host and a judge that stays, and what keys they have.

A message is four bytes of big-endian length and that many bytes of JSON. The judge greets once; after that the host
asks (`REQUEST_KEYS`) and the judge answers (`ANSWER_KEYS`), one at a time. Both ends enforce their own bounds
(`aira_bench.sandbox.conversation`, `aira_evaluator.compose.judge.resident`). Not covered: deadlines, and the messages
between a judge and a predict container, which are the evaluator's alone.
"""

import struct

LENGTH = struct.Struct(">I")
"""What stands before every message."""
MAX_MESSAGE_BYTES = 1 << 20
"""Largest message that the host takes."""
MAX_REQUEST_BYTES = 1 << 16
"""Largest message that the judge takes."""
REQUEST_KEYS = ("id", "architecture", "training")
ANSWER_KEYS = ("id", "status", "stdout", "stderr", "report")


def framed(payload: bytes) -> bytes:
    """Return a message as it travels."""
    return LENGTH.pack(len(payload)) + payload
