"""Share of the time that devices are busy while seeds of several runs share them, and proof that none has two at once.

Devices are files: what runs is the machine's line (`aira_bench.runs.line`) with its locks, in processes that are killed
and come back, and seeds that think and step for as long as the paper's do, sped up. Beside what was reached stands
what is attainable: the same seeds on the same devices where handing one on takes no time.

    python bench/slot_busy.py --seeds 10 12 16 24 40 --out results.json
"""

import argparse
import heapq
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aira_bench.runs.line import Line
from aira_bench.runs.places import Wanted, places_of
from aira_bench.waiting import Waits

CORES_A_DEVICE = 12
THINKS_S = (30.0, 120.0)
"""One answer of a model."""


@dataclass(frozen=True)
class Load:
    """What a seed does over and over: it thinks, steps, thinks about what came of it; in seconds of the real thing."""

    name: str
    steps_s: tuple[tuple[float, float], ...]
    """Least and most of each lease of a step."""
    answers: int = 2

    def think_s(self, rng: random.Random) -> float:
        """Return how long the model takes from one step to the next."""
        return sum(rng.uniform(*THINKS_S) for _ in range(self.answers))


LOADS = {
    each.name: each
    for each in (
        Load("autoresearch", ((0.5, 2.0), (326.0, 360.0)), answers=1),
        Load("compose", ((1.0, 20.0), (300.0, 720.0))),
    )
}
"""`autoresearch`: a script is copied, then trained for 300 s and scored (325.9 s in upstream's log). `compose`: 100 to
200 candidates in 24 h are 7 to 14 minutes a step, the model's part among them."""


@dataclass(frozen=True)
class Result:
    """What came of one simulation."""

    load: str
    seeds: int
    devices: int
    processes: int
    kills: int
    steps: int
    double_leases: int
    busy: float
    attainable: float
    median_handover_s: float
    """From one lease's end to the next one's begin on a device, in seconds of this machine, where somebody waited."""
    cpu_share: float
    """Of one core, that all processes together used for waiting and handing on."""


def attainable(load: Load, seeds: int, devices: int, hours: float = 400.0) -> float:
    """Return the busy share of devices that are handed on in no time, first come first served."""
    rng, ends_s, warm_s = random.Random(1), 3600 * hours, 36_000.0
    comes = [(rng.uniform(*THINKS_S), seed, 0) for seed in range(seeds)]
    heapq.heapify(comes)
    free, busy_s = [0.0] * devices, 0.0
    while comes[0][0] < ends_s:
        at_s, seed, phase = heapq.heappop(comes)
        began_s = max(heapq.heappop(free), at_s)
        ended_s = began_s + rng.uniform(*load.steps_s[phase])
        heapq.heappush(free, ended_s)
        busy_s += max(0.0, min(ended_s, ends_s) - max(began_s, warm_s))
        phase = (phase + 1) % len(load.steps_s)
        heapq.heappush(comes, (ended_s + (load.think_s(rng) if phase == 0 else 0.0), seed, phase))
    return busy_s / devices / (ends_s - warm_s)


def work(folder: Path, load: Load, seeds: int, devices: int, speed: float, draw: int) -> None:
    """Be one orchestrator: its seeds think and step until it is killed."""
    gpus = [f"GPU-{index}" for index in range(devices)]
    wanted = Wanted(range(CORES_A_DEVICE * devices), min(seeds, devices), gpus, None, gpus)
    line = Line(places_of(wanted), most=wanted.most, folder=folder / "leases")
    log, lock = (folder / f"log-{draw}").open("a", buffering=1), threading.Lock()

    def tell(index: int, word: str) -> None:
        with lock:
            log.write(json.dumps([line.places[index].gpu, word, time.monotonic(), time.process_time()]) + "\n")

    def seed(number: int) -> None:
        rng = random.Random(1000 * draw + number)
        time.sleep(rng.uniform(*THINKS_S) / speed)
        while True:
            for span in load.steps_s:
                taken = line.take(Waits())
                tell(taken.index, "began")
                time.sleep(rng.uniform(*span) / speed)
                tell(taken.index, "ended")
                line.give_back(taken.index)
            time.sleep(load.think_s(rng) / speed)

    with ThreadPoolExecutor(seeds) as pool:
        for done in [pool.submit(seed, number) for number in range(seeds)]:
            done.result()


def simulate(
    load: Load, seeds: int, devices: int, processes: int, kills: int, seconds: float, speed: float
) -> Result:  # fmt: skip
    """Let several processes share devices, kill some, and read what they did."""
    rng, numbers = random.Random(seeds), itertools.count()
    shares = [seeds // processes + (index < seeds % processes) for index in range(processes)]
    with TemporaryDirectory() as name:
        folder = Path(name)

        def start(share: int) -> tuple[subprocess.Popen[bytes], int, int]:
            draw = next(numbers)
            arguments = [folder, load.name, share, devices, speed, draw]
            command = [sys.executable, __file__, "--work", *map(str, arguments)]
            return subprocess.Popen(command), share, draw

        began_s = time.monotonic()
        running = [start(share) for share in shares]
        warm_s = began_s + max(THINKS_S[1] / speed * 2, 3.0)
        died: dict[int, float] = {}
        for moment in sorted(rng.uniform(warm_s - began_s, seconds * 0.8) for _ in range(kills)):
            time.sleep(max(0.0, began_s + moment - time.monotonic()))
            process, share, draw = running.pop(rng.randrange(len(running)))
            died[draw] = time.monotonic()
            process.kill()
            process.wait()
            running.append(start(share))
        time.sleep(max(0.0, began_s + seconds - time.monotonic()))
        ends_s = time.monotonic()
        for process, _, draw in running:
            process.kill()
            process.wait()
            died[draw] = ends_s
        spans, cpu_s = _read(folder, died)
    busy_s = sum(max(0.0, min(end, ends_s) - max(begin, warm_s)) for held in spans.values() for begin, end in held)
    pairs = [pair for held in spans.values() for pair in itertools.pairwise(sorted(held))]
    gaps = sorted(begin - end for (_, end), (begin, _) in pairs if begin - end < THINKS_S[0] / speed)
    return Result(
        load.name, seeds, devices, processes, kills, sum(map(len, spans.values())),
        sum(begin < end for (_, end), (begin, _) in pairs),
        round(busy_s / devices / (ends_s - warm_s), 3), round(attainable(load, seeds, devices), 3),
        round(gaps[len(gaps) // 2], 4) if gaps else 0.0, round(cpu_s / (ends_s - began_s), 3),
    )  # fmt: skip


def _read(folder: Path, died: dict[int, float]) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """When each device was held, and the processor time of all processes."""
    spans: dict[str, list[tuple[float, float]]] = {}
    cpu_s = 0.0
    for log in folder.glob("log-*"):
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("]")]
        if lines:
            cpu_s += lines[-1][3] - lines[0][3]
        for device in {line[0] for line in lines}:
            times = [line[2] for line in lines if line[0] == device]
            times += [died[int(log.name.removeprefix("log-"))]] * (len(times) % 2)  # it had it when it was killed
            spans.setdefault(device, []).extend(zip(times[::2], times[1::2], strict=True))
    return spans, cpu_s


def main() -> None:
    """Simulate each number of seeds, or be one of the processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", nargs=6)
    parser.add_argument("--load", choices=LOADS, nargs="+", default=list(LOADS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.work:
        folder, load, seeds, devices, speed, draw = args.work
        return work(Path(folder), LOADS[load], int(seeds), int(devices), float(speed), int(draw))
    results = []
    for load, seeds in itertools.product(args.load, args.seeds):
        found = simulate(
            LOADS[load], seeds, args.devices, args.processes, args.kills, args.seconds, args.speed
        )  # fmt: skip
        results.append(asdict(found))
        print(found, flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
