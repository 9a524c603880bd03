"""Share of the time that devices are busy while seeds of several runs share them, and proof that none has two at once.

Devices are files: what runs is the machine's line (`aira_bench.runs.line`) with its locks, in processes that are killed
and come back, and seeds that think and step for as long as the paper's do, sped up. Two figures tell whose fault it is
that a device is idle. `lost` is idle while somebody waits: what the line takes. `attainable` is a calculation of the
same seeds with the same draws, started and killed at the same moments, where handing a device on takes no time: what
seeds that think leave idle, whatever the line does.

    python bench/slot_busy.py --seeds 10 12 16 24 40 --out results.json
"""

import argparse
import heapq
import itertools
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
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
class Life:
    """One process of the simulation, in seconds of this machine."""

    seeds: int
    draw: int
    """What its random numbers are drawn with."""
    up_s: float
    died_s: float

    def rng(self, seed: int) -> random.Random:
        """Return the numbers of a seed."""
        return random.Random(1000 * self.draw + seed)


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
    lost: float
    """Share of the devices' time in which one was idle and somebody waited."""
    attainable: float
    long_run: float
    """Attainable in 400 hours without kills."""
    median_handover_s: float
    """From one lease's end to the next one's begin on a device, in seconds of this machine, where somebody waited."""
    median_start_s: float
    """From the start of a process to its first line, in seconds of this machine."""
    cpu_share: float
    """Of one core, that all processes together used for waiting and handing on."""


def attainable(
    load: Load, lives: Sequence[Life], devices: int, begins_s: float, ends_s: float, speed: float = 1.0
) -> float:
    """Return the busy share of devices that are handed on in no time, first come first served.

    Work of all seeds is drawn from the same distribution, so any order in which no device waits while a seed does
    comes to the same on average (a closed queue of these seeds, with as many servers as devices).
    """
    comes: list[tuple[float, int, int]] = []
    seeds = [(life, life.rng(number)) for life in lives for number in range(life.seeds)]
    for index, (life, rng) in enumerate(seeds):
        heapq.heappush(comes, (life.up_s + rng.uniform(*THINKS_S) / speed, index, 0))
    free, busy_s = [0.0] * devices, 0.0
    while comes and comes[0][0] < ends_s:
        at_s, index, phase = heapq.heappop(comes)
        life, rng = seeds[index]
        began_s = max(free[0], at_s)
        if began_s >= life.died_s:
            continue
        ended_s = min(began_s + rng.uniform(*load.steps_s[phase]) / speed, life.died_s)
        heapq.heapreplace(free, ended_s)
        busy_s += max(0.0, min(ended_s, ends_s) - max(began_s, begins_s))
        phase = (phase + 1) % len(load.steps_s)
        if ended_s < life.died_s:
            heapq.heappush(comes, (ended_s + (load.think_s(rng) / speed if phase == 0 else 0.0), index, phase))
    return busy_s / devices / (ends_s - begins_s)


def long_run(load: Load, seeds: int, devices: int, hours: float = 400.0) -> float:
    """Return what is attainable with nobody killed."""
    return attainable(load, [Life(seeds, 1, 0.0, float("inf"))], devices, 36_000.0, 3600 * hours)


def work(folder: Path, load: Load, seeds: int, devices: int, speed: float, draw: int) -> None:
    """Be one orchestrator: its seeds think and step until it is killed."""
    gpus = [f"GPU-{index}" for index in range(devices)]
    wanted = Wanted(range(CORES_A_DEVICE * devices), min(seeds, devices), gpus, None, gpus)
    line = Line(places_of(wanted), most=wanted.most, folder=folder / "leases")
    log, lock = (folder / f"log-{draw}").open("a", buffering=1), threading.Lock()

    def tell(word: str, number: int, device: str | None = None) -> None:
        with lock:
            log.write(json.dumps([word, number, device, time.monotonic(), time.process_time()]) + "\n")

    def seed(number: int) -> None:
        rng = Life(seeds, draw, 0.0, 0.0).rng(number)
        time.sleep(rng.uniform(*THINKS_S) / speed)
        while True:
            for span in load.steps_s:
                tell("asks", number)
                taken = line.take(Waits())
                tell("began", number, line.places[taken.index].gpu)
                time.sleep(rng.uniform(*span) / speed)
                tell("ended", number, line.places[taken.index].gpu)
                line.give_back(taken.index)
            time.sleep(load.think_s(rng) / speed)

    tell("up", 0)
    with ThreadPoolExecutor(seeds) as pool:
        for done in [pool.submit(seed, number) for number in range(seeds)]:
            done.result()


@dataclass
class Process:
    """One that runs now."""

    process: "subprocess.Popen[bytes]"
    seeds: int
    draw: int
    started_s: float


def simulate(
    load: Load, seeds: int, devices: int, processes: int, kills: int, seconds: float, speed: float
) -> Result:  # fmt: skip
    """Let several processes share devices, kill some, and read what they did."""
    rng, numbers = random.Random(seeds), itertools.count()
    shares = [seeds // processes + (index < seeds % processes) for index in range(processes)]
    with TemporaryDirectory() as name:
        folder, died, ended = Path(name), dict[int, float](), list[Process]()

        def start(share: int) -> Process:
            draw = next(numbers)
            arguments = [folder, load.name, share, devices, speed, draw]
            command = [sys.executable, __file__, "--work", *map(str, arguments)]
            return Process(subprocess.Popen(command), share, draw, time.monotonic())

        def end(one: Process) -> None:
            died[one.draw] = time.monotonic()
            one.process.kill()
            one.process.wait()
            ended.append(one)

        began_s = time.monotonic()
        running = [start(share) for share in shares]
        warm_s = began_s + max(THINKS_S[1] / speed * 2, 3.0)
        for moment in sorted(rng.uniform(warm_s - began_s, seconds * 0.8) for _ in range(kills)):
            time.sleep(max(0.0, began_s + moment - time.monotonic()))
            killed = running.pop(rng.randrange(len(running)))
            end(killed)
            running.append(start(killed.seeds))
        time.sleep(max(0.0, began_s + seconds - time.monotonic()))
        ends_s = time.monotonic()
        for one in running:
            end(one)
        logs = {one.draw: _read(folder / f"log-{one.draw}") for one in ended}
    lives = [Life(one.seeds, one.draw, logs[one.draw][0].at_s, died[one.draw]) for one in ended if logs[one.draw]]
    spans = _spans(logs, died)
    pairs = [pair for held in spans.values() for pair in itertools.pairwise(sorted(held))]
    gaps = sorted(begin - end for (_, end), (begin, _) in pairs if begin - end < THINKS_S[0] / speed)
    busy_s = sum(max(0.0, min(end, ends_s) - max(begin, warm_s)) for held in spans.values() for begin, end in held)
    cpu_s = sum(lines[-1].cpu_s - lines[0].cpu_s for lines in logs.values() if lines)
    starts = [logs[one.draw][0].at_s - one.started_s for one in ended if logs[one.draw]]
    return Result(
        load.name, seeds, devices, processes, kills, sum(map(len, spans.values())),
        sum(begin < end for (_, end), (begin, _) in pairs),
        round(busy_s / devices / (ends_s - warm_s), 3),
        round(_lost_s(logs, died, devices, warm_s, ends_s) / devices / (ends_s - warm_s), 3),
        round(attainable(load, lives, devices, warm_s, ends_s, speed), 3), round(long_run(load, seeds, devices), 3),
        round(statistics.median(gaps), 4) if gaps else 0.0, round(statistics.median(starts), 2),
        round(cpu_s / (ends_s - began_s), 3),
    )  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A line of a process's log."""

    word: str
    seed: int
    device: str | None
    at_s: float
    cpu_s: float


def _read(log: Path) -> list[Told]:
    text = log.read_text() if log.exists() else ""
    return [Told(*json.loads(line)) for line in text.splitlines() if line.endswith("]")]  # a kill may cut the last one


def _spans(logs: Mapping[int, list[Told]], died: Mapping[int, float]) -> dict[str, list[tuple[float, float]]]:
    """When each device was held."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for draw, lines in logs.items():
        for device in {each.device for each in lines if each.device is not None}:
            times = [each.at_s for each in lines if each.device == device]
            times += [died[draw]] * (len(times) % 2)  # it had it when it was killed
            spans.setdefault(device, []).extend(zip(times[::2], times[1::2], strict=True))
    return spans


def _lost_s(
    logs: Mapping[int, list[Told]], died: Mapping[int, float], devices: int, begins_s: float, ends_s: float
) -> float:
    """Seconds of devices that were idle while seeds waited, no more of them than seeds."""
    changes: list[tuple[float, int, int]] = []  # when, how many more wait, how many more are held
    for draw, lines in logs.items():
        last = {each.seed: each for each in lines}
        for each in lines:
            wait, hold = {"asks": (1, 0), "began": (-1, 1), "ended": (0, -1)}.get(each.word, (0, 0))
            changes.append((each.at_s, wait, hold))
        for each in last.values():
            changes.append((died[draw], -(each.word == "asks"), -(each.word == "began")))
    lost_s, waits, held, since_s = 0.0, 0, 0, begins_s
    for at_s, wait, hold in sorted(changes):
        lost_s += min(waits, devices - held) * max(0.0, min(at_s, ends_s) - max(since_s, begins_s))
        waits, held, since_s = waits + wait, held + hold, at_s
    return lost_s


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
