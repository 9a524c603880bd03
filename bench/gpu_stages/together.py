"""Stage 3: four candidates side by side on one device, each in a process of its own, against one alone."""

import subprocess
import sys
import time
from pathlib import Path

from gpu_stages.record import Record

PROCESSES = 4
EPOCHS = 20
"""Of the profile's 200: what is asked is how four share a device, and ten minutes have to do for all stages."""
_CHILD = """
import sys, time, torch
sys.path.insert(0, {bench!r})
from gpu_stages.mad import *
from pathlib import Path
make_deterministic()
profile = profile_of(Record(Path({bench!r}) / "unused", {toy}))
profile = replace(profile, epochs=min(profile.epochs, {epochs}))
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
    """Seconds of one candidate alone in a warm process, then of four that begin at once, all cut to few epochs."""
    cut = f"{EPOCHS} epochs of mad-2p"
    (alone_s,) = _begin_at_once(record, 1)
    record.row(f"{cut}, alone in a warm process", alone_s, "s")
    together_s = _begin_at_once(record, 2 if record.toy else PROCESSES)
    count = len(together_s)
    record.row(f"{cut}, {count} side by side: the last", max(together_s), "s")
    record.row(f"{count} side by side: candidates in the time of as many alone", count * alone_s / max(together_s), "x")


def _begin_at_once(record: Record, count: int) -> list[float]:
    program = _CHILD.format(bench=str(Path(__file__).resolve().parents[1]), toy=record.toy, epochs=EPOCHS)
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
