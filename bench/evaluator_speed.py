"""The evaluator beside a customary training loop, and a judge that stays beside fresh ones, in one run.

    python bench/evaluator_speed.py --candidates AMAMAMAMAMAMAMAM SMAMSMAMSMAMSMAM --rounds 3

Every round takes each candidate through every variant in turn, so that a busy machine slows all of them. A variant
trains all six tasks and predicts the held-out data; `bench/eager_loop.py` says what the customary loop does. Printed
are medians over rounds: CPU seconds (children included), wall seconds, training samples a second of CPU (on a GPU: of
wall) time. With `--judges`, whole evaluations are timed: processes of the task's `evaluate.py`, imports included,
against one judge that stays and is asked in turn; the scores of both must be equal.

`--profile paper` needs hours for a candidate on a CPU: shrink it with `--train-examples` and `--epochs`, which leave
samples a second comparable. GPU variants are run where a CUDA device is, else listed as not measured.
"""

import argparse
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from aira_contract.architectures import Architecture, canonical, compact, parse_architecture
from aira_contract.files import ARCHITECTURE_FILE, HIDDEN_SCRIPT, REPORT_FILE
from aira_contract.invocation import MOUNT_OPTION, RAW_OPTION, REPORT_OPTION, SUBMISSION_OPTION
from aira_contract.presets import find_preset, read_architecture
from aira_contract.settings import PROFILE_VARIABLE
from aira_evaluator.compose.mad.fitting import Candidate, fit_concurrently, fit_in_turn
from aira_evaluator.compose.mad.profiles import PROFILES, MadProfile
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.compiled_blocks import CompiledBlocks
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import Corpus
from eager_loop import EagerLoop

TASK_FOLDER = Path(__file__).resolve().parents[1] / "tasks" / "NeuralArchitectureSearchMAD3PrimitivesMbAccuracy"
GPU_VARIANTS = (
    "eager, 2 workers, GPU",
    "ours step by step, GPU",
    "ours with graphs and compiled blocks, GPU",
    "ours with graphs, GPU",
)


@dataclass(frozen=True)
class Cost:
    """What one piece of work took."""

    cpu_s: float
    wall_s: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Time `work`; CPU time counts this process and its ended children."""
    before, started_s = _cpu_s(), time.perf_counter()
    work()
    return Cost(_cpu_s() - before, time.perf_counter() - started_s)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def variants(profile: MadProfile) -> Mapping[str, Callable[[Architecture], object]]:
    """How a candidate can be trained here, by name."""
    train, test = draw_corpus(profile, "train", 1), draw_corpus(profile, "test", 2)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")

    def eager(device: torch.device, *, workers: int, each_epoch: bool) -> Callable[[Architecture], object]:
        return lambda layers: EagerLoop(profile, device, workers, each_epoch).run(layers, train, test, 0)

    def ours(
        device: torch.device, *, graphs: bool, blocks: CompiledBlocks | None = None
    ) -> Callable[[Architecture], object]:
        fit = fit_concurrently if graphs else fit_in_turn
        return lambda layers: list(
            fit(Candidate(layers, profile, train, 0, device, blocks), {"test": test}, lambda name: None)
        )

    if torch.cuda.is_available():
        made = (
            eager(gpu, workers=2, each_epoch=True),
            ours(gpu, graphs=False),
            ours(gpu, graphs=True, blocks=CompiledBlocks()),
            ours(gpu, graphs=True),
        )
        return dict(zip(GPU_VARIANTS, made, strict=True))
    return {
        "eager, 0 workers": eager(cpu, workers=0, each_epoch=True),
        "eager, 2 workers": eager(cpu, workers=2, each_epoch=True),
        "eager, 0 workers, one evaluation": eager(cpu, workers=0, each_epoch=False),
        "ours": ours(cpu, graphs=False),
    }


def compare_loops(profile: MadProfile, candidates: list[Architecture], rounds: int) -> None:
    """Print the table of training loops."""
    ways = variants(profile)
    # What a process spends once, such as importing the optimizers, is no loop's.
    EagerLoop(replace(profile, epochs=1), torch.device("cpu")).run(("M",), *_few(profile), 0)
    costs: dict[tuple[Architecture, str], list[Cost]] = {}
    for _ in range(rounds):
        for layers in candidates:
            for name, work in ways.items():
                costs.setdefault((layers, name), []).append(cost_of(lambda: work(layers)))  # noqa: B023 - called at once
    trained = len(profile.tasks) * profile.train_examples * profile.epochs
    on_gpu = torch.cuda.is_available()
    print("| candidate | loop | CPU s | wall s | samples/s | of ours |\n|---|---|---|---|---|---|")
    for layers in candidates:
        medians = {
            name: Cost(
                statistics.median(cost.cpu_s for cost in costs[layers, name]),
                statistics.median(cost.wall_s for cost in costs[layers, name]),
            )
            for name in ways
        }
        base_s = _seconds(medians[list(ways)[-1]], on_gpu=on_gpu)
        for name, cost in medians.items():
            seconds = _seconds(cost, on_gpu=on_gpu)
            print(
                f"| {compact(layers)} | {name} | {cost.cpu_s:.1f} | {cost.wall_s:.1f} | {trained / seconds:.0f} "
                f"| {seconds / base_s:.2f} |"
            )
        if not on_gpu:
            for name in GPU_VARIANTS:
                print(f"| {compact(layers)} | {name} | not measured: no CUDA device | | | |")


def _few(profile: MadProfile) -> tuple[Corpus, Corpus]:
    few = replace(profile, train_examples=4, test_examples=4)
    return draw_corpus(few, "train", 1), draw_corpus(few, "test", 2)


def _seconds(cost: Cost, *, on_gpu: bool) -> float:
    return cost.wall_s if on_gpu else cost.cpu_s


class StayingJudge:
    """A resident judge as a process, and what it has cost so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._requests, self._answers, self._process = process.stdin, process.stdout, process

    def hear(self) -> dict[str, object]:
        """The next message."""
        answer = json.loads(self._answers.read(struct.unpack(">I", self._answers.read(4))[0]))
        assert isinstance(answer, dict)
        return answer

    def ask(self, layers: Architecture) -> str:
        """The report on one candidate."""
        payload = json.dumps({"id": "bench", "architecture": canonical(layers), "training": 0}).encode()
        self._requests.write(struct.pack(">I", len(payload)) + payload)
        self._requests.flush()
        return str(self.hear()["report"])

    def cpu_s(self) -> float:
        """CPU seconds it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def staying_judge(folder: Path) -> Iterator[StayingJudge]:
    command = [sys.executable, "-m", "aira_evaluator.compose.judge.resident",
               "--script", str(TASK_FOLDER / "evaluate.py"),
               "--hidden", str(folder / "data")]  # fmt: skip
    with subprocess.Popen(command, cwd=folder, stdin=-1, stdout=-1) as process:
        try:
            judge = StayingJudge(process)
            judge.hear()
            yield judge
        finally:
            process.kill()


def judge_afresh(folder: Path, layers: Architecture) -> str:
    """The report of one whole process."""
    (folder / "data" / ARCHITECTURE_FILE).write_text(f"architecture\n{compact(layers)}\n")
    command = [sys.executable, str(TASK_FOLDER / "evaluate.py"), SUBMISSION_OPTION, "data/submission.csv",
               REPORT_OPTION, REPORT_FILE]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "data" / ARCHITECTURE_FILE).unlink()
    return (folder / REPORT_FILE).read_text()


def compare_judges(candidates: list[Architecture], rounds: int) -> None:
    """Print the table of judges; both must give the same report but for its seconds."""
    os.environ[PROFILE_VARIABLE] = "cpu"
    fresh: dict[Architecture, list[float]] = {layers: [] for layers in candidates}
    stayed: dict[Architecture, list[float]] = {layers: [] for layers in candidates}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("raw", "data"):
            (folder / part).mkdir()
        prepare = [sys.executable, str(TASK_FOLDER / HIDDEN_SCRIPT), RAW_OPTION, "raw",
                   MOUNT_OPTION, "data"]  # fmt: skip
        subprocess.run(prepare, cwd=folder, check=True)
        with staying_judge(folder) as judge:
            started_s = judge.cpu_s()
            for _ in range(rounds):
                for layers in candidates:
                    reports: list[str] = []
                    fresh[layers].append(
                        cost_of(lambda: reports.append(judge_afresh(folder, layers))).cpu_s  # noqa: B023 - called at once
                    )
                    before_s = judge.cpu_s()
                    reports.append(judge.ask(layers))
                    stayed[layers].append(judge.cpu_s() - before_s)
                    _must_agree(*reports)
    print(f"\nA judge that stays starts once, in {started_s:.1f} CPU s.\n")
    print("| candidate | fresh process, CPU s | judge that stays, CPU s | saved |\n|---|---|---|---|")
    for layers in candidates:
        alone_s, staying_s = statistics.median(fresh[layers]), statistics.median(stayed[layers])
        print(f"| {compact(layers)} | {alone_s:.1f} | {staying_s:.1f} | {1 - staying_s / alone_s:.0%} |")


def _must_agree(fresh: str, stayed: str) -> None:
    first, second = json.loads(fresh), json.loads(stayed)
    for report in (first, second):
        report.pop("seconds")
    if first != second:
        raise SystemExit("the judge that stays and the fresh one disagree")


def _candidate(text: str) -> Architecture:
    return parse_architecture(text if find_preset(text) is None else canonical(read_architecture(text)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--candidates", nargs="+", default=["AMAMAMAMAMAMAMAM", "SMAMSMAMSMAMSMAM"],
        help="architectures of 16 layers, or names of aira-bench architectures, such as airaformer-d",
    )  # fmt: skip
    parser.add_argument("--profile", choices=list(PROFILES), default="cpu")
    parser.add_argument("--train-examples", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--judges", action="store_true", help="also time whole evaluations, fresh and by a staying judge"
    )
    options = parser.parse_args()
    make_deterministic()
    profile = PROFILES[options.profile]
    profile = replace(
        profile,
        train_examples=options.train_examples or profile.train_examples,
        epochs=options.epochs or profile.epochs,
    )
    candidates = [_candidate(text) for text in options.candidates]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, {device}, {options.rounds} rounds")
    print(f"profile {profile.name}, {profile.train_examples} examples a task, {profile.epochs} epochs\n")
    compare_loops(profile, candidates, options.rounds)
    if options.judges:
        compare_judges(candidates, options.rounds)


if __name__ == "__main__":
    main()
