"""Stage 3: four candidates side by side on one device, each in a process of its own, against one alone."""

import subprocess
import sys
import time
from pathlib import Path

from gpu_stages.record import Record

PROCESSES = 4
_CHILD = """
import sys, time, torch
sys.path.insert(0, {bench!r})
from gpu_stages import mad
from gpu_stages.mad import *
from pathlib import Path
make_deterministic()
profile = profile_of(Record(Path({bench!r}) / "unused", {toy}))
train, test = draw_corpus(profile, "train", 1), draw_corpus(profile, "test", 2)
layers = parse_architecture(CANDIDATES["mad-2p, 8 mA + 8 M"])
few = replace(profile, epochs=2)
train_and_score(layers, few, train, {{"test": test}}, seed=0, device=device())
print("ready", flush=True)
sys.stdin.readline()
started_s = time.perf_counter()
train_and_score(layers, profile, train, {{"test": test}}, seed=0, device=device())
print(time.perf_counter() - started_s, flush=True)
"""


def run(record: Record) -> None:
    """Seconds of one candidate alone in a warm process, then of four that begin at once."""
    alone_s = _begin_at_once(record, 1)
    record.row("one candidate of mad-2p in a warm process", alone_s[0], "s")
    together_s = _begin_at_once(record, 2 if record.toy else PROCESSES)
    count = len(together_s)
    record.row(f"{count} candidates side by side: the last", max(together_s), "s")
    record.row("candidates an hour, one after the other", 3600 / alone_s[0])
    record.row(f"candidates an hour, {count} side by side", 3600 * count / max(together_s))


def _begin_at_once(record: Record, count: int) -> list[float]:
    program = _CHILD.format(bench=str(Path(__file__).resolve().parents[1]), toy=record.toy)
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline() != "ready\n":
                raise RuntimeError("a candidate's process ended before it was ready")
        started_s = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        seconds = [float(child.stdout.readline()) for child in children if child.stdout is not None]
        record.detail(f"{count} side by side", {"wall_s": time.perf_counter() - started_s, "each_s": seconds})
        return seconds
    finally:
        for child in children:
            child.kill()
            child.wait()
