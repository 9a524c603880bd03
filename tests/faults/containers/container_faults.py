"""Faults that befall real containers, their daemon, their memory, their disk and their orchestrator, one after another.

    make faults-containers        every kind, some hundred faults, about an hour on two cores
    python tests/faults/containers/container_faults.py --only "killed" --root /tmp/engine

One run of an upstream-style task is disturbed again and again: a fault, then steps until the next. Where the run ends
before its time it is resumed with the command that it printed. In the end its tree must be that of a calm run of as
many steps: no step lost, doubled or blamed, no `infra_error`, and nothing left on the engine or below the folders.

Needs root and a daemon of its own (`own_engine`). Not covered: faults of providers and of single file operations
(`tests/faults/all_faults.py`), and tasks whose submissions are code.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from aira_bench.images.ensure import planned_images
from faults.containers.own_engine import OwnEngine
from place import Place, Tree

HERE = Path(__file__).parent
FOLDERS = HERE.parents[1] / "folders"
AGENT, JUDGE = "solution.py", "/task/evaluate.py"
STEP_TIMEOUT_S = 12
_MOST_STEP_S = 600.0
_COMMAND = re.compile(r"aira-bench resume [^\n]+")


@dataclass
class Disturbed:
    """One run under faults."""

    engine: OwnEngine
    place: Place
    name: str
    task: Path
    raw: Path
    steps: int
    process: "subprocess.Popen[str] | None" = None
    ends: Counter[int] = field(default_factory=Counter)
    """How often its process ended with which status."""
    said: str = ""
    """What the last process that ended had printed."""

    def begin(self) -> None:
        """Start the run."""
        solution = self.task.parent / AGENT
        self._spawn("run", "--agent", f"script:{solution}", "--task", str(self.task), "--profile", "cpu",
                    "--fitness", "claimed", "--source", str(self.raw), "--scaffold", "greedy", "--steps",
                    str(self.steps), "--step-timeout", str(STEP_TIMEOUT_S), "--hours", "9", "--no-score-cache", "--name", self.name)  # fmt: skip

    def _spawn(self, *arguments: str) -> None:
        environment = self.place.environment | {"DOCKER_HOST": self.engine.host}
        log = self.place.runs.parent / f"{self.name}.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.place.command(*arguments), env=environment, stdout=output, stderr=output, text=True
            )

    @property
    def nodes(self) -> int:
        """How many steps are recorded."""
        journal = self.place.run(self.name).seed(0).journal
        return journal.read_text(errors="replace").count('"event":"step_ended"') if journal.exists() else 0

    @property
    def is_over(self) -> bool:
        """Whether the seed has ended."""
        journal = self.place.run(self.name).seed(0).journal
        return journal.exists() and '"event":"seed_ended"' in journal.read_text(errors="replace")

    def keep_going(self) -> None:
        """Resume the run with what it said, if its process has ended before the seed."""
        assert self.process is not None
        status = self.process.poll()
        if status is None:
            return
        self.ends[status] += 1
        log = (self.place.runs.parent / f"{self.name}.log").read_text(errors="replace")
        self.said = log[-2000:]
        if status == 0 and self.is_over:
            return
        told = _COMMAND.findall(log[-2000:])
        if status > 0 and not told and self.nodes:
            print(f"    ended with {status} and named no command: {log[-300:]!r}", flush=True)
        begun = (self.place.run(self.name).path / "manifest.json").exists()
        if begun:
            self._spawn(*shlex.split(told[-1].split("  ")[0].split(". ")[0])[1:3] if told else ("resume", self.name))
        else:
            self.begin()

    def wait(self, until: Callable[[], object], what: str) -> bool:
        """Wait for something of the run, resuming it where it ended; False if the seed is over."""
        ends_s = time.monotonic() + _MOST_STEP_S
        while not until():
            if self.is_over:
                return False
            self.keep_going()
            if time.monotonic() > ends_s:
                raise RuntimeError(f"no {what} in {_MOST_STEP_S:.0f} s: {self.said}")
            time.sleep(0.05)
        return True


Act = Callable[[Disturbed, str], object]
"""What befalls a run while some container of it works."""


def docker(*arguments: str) -> Act:
    return lambda run, container: run.engine.docker(*arguments, container)


def _reader(run: Disturbed, container: str) -> str:
    (name,) = run.engine.lines("inspect", "-f", '{{range .Mounts}}{{if eq .Destination "/workspace"}}{{.Name}}{{end}}{{end}}',
                               container)  # fmt: skip
    return f"{name}-reader"


def on_reader(*arguments: str) -> Act:
    return lambda run, container: run.engine.docker(*arguments, _reader(run, container))


def on_waiting(*arguments: str) -> Act:
    """On a container that is started ahead."""

    def act(run: Disturbed, container: str) -> None:
        others = run.engine.lines("ps", "-q", "--no-trunc", "--filter", "label=aira-bench.role=agent")
        waiting = [other for other in others if other != container]
        run.engine.docker(*arguments, random.choice(waiting))

    return act


def paused(run: Disturbed, container: str) -> None:
    """Beyond the step's deadline."""
    run.engine.docker("pause", container)
    time.sleep(STEP_TIMEOUT_S + 2)
    run.engine.docker("unpause", container)


def killed_by_the_host(program: str) -> Act:
    """As by the killer of a machine without memory: no engine is told."""

    def act(run: Disturbed, container: str) -> None:
        for pid in run.engine.pids(container, program):
            os.kill(pid, signal.SIGKILL)

    return act


def away(number: int, seconds: float) -> Act:
    return lambda run, container: run.engine.away(number, seconds)


def without_runtime(after_s: float = 0.0) -> Act:
    def act(run: Disturbed, container: str) -> None:
        time.sleep(after_s)
        _kill_runtime(run)

    return act


def _kill_runtime(run: Disturbed) -> None:
    """The daemon's containerd is killed; the daemon starts another."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            if "containerd\0" in command and str(run.engine.root) in command:
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue


def orchestrator(number: int, after_s: float = 0.0) -> Act:
    def act(run: Disturbed, container: str) -> None:
        time.sleep(after_s)
        assert run.process is not None
        run.process.send_signal(number)
        run.process.wait(120)

    return act


def disk_full(run: Disturbed, container: str) -> None:
    """Until the run has halted for it."""
    assert run.process is not None
    filler = run.place.runs / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    try:
        run.process.wait(180)
    except subprocess.TimeoutExpired:
        print("    did not halt on a full disk", flush=True)
    filler.unlink()


def volumes_removed(run: Disturbed, container: str) -> None:
    """All of them that the engine lets go."""
    for name in run.engine.lines("volume", "ls", "-q", "--filter", "label=aira-bench.owner"):
        run.engine.docker("volume", "rm", "-f", name)


KINDS: dict[str, tuple[str, list[Act]]] = {
    "a step's container killed": (AGENT, [docker("kill"), docker("kill", "-s", "TERM"), docker("kill", "-s", "INT"),
                                          docker("kill", "-s", "HUP"), docker("kill")]),
    "a step's container stopped": (AGENT, [docker("stop", "-t", "1"), docker("stop", "-t", "0"), docker("restart", "-t", "0")]),
    "a step's container removed": (AGENT, [docker("rm", "-f")] * 4),
    "a step's container paused": (AGENT, [paused] * 2),
    "a step killed by the machine": (AGENT, [killed_by_the_host(AGENT)] * 5),
    "a judge killed": (JUDGE, [docker("kill"), docker("kill", "-s", "TERM"), docker("kill", "-s", "INT"), docker("kill")]),
    "a judge stopped or removed": (JUDGE, [docker("stop", "-t", "1"), docker("rm", "-f"), docker("rm", "-f"), docker("restart", "-t", "0")]),
    "a judge killed by the machine": (JUDGE, [killed_by_the_host(JUDGE)] * 4),
    "a reader killed or removed": (AGENT, [on_reader("kill"), on_reader("stop", "-t", "0"), on_reader("rm", "-f"), on_reader("kill")]),
    "a container that waits killed or removed": (AGENT, [on_waiting("kill"), on_waiting("rm", "-f"), on_waiting("stop", "-t", "0")]),
    "volumes removed": (AGENT, [volumes_removed] * 2),
    "the engine restarted": (AGENT, [away(signal.SIGTERM, s) for s in (0.0, 2.0, 5.0, 20.0)]),
    "the engine restarted while a judge works": (JUDGE, [away(signal.SIGTERM, s) for s in (2.0, 10.0)]),
    "the engine killed": (AGENT, [away(signal.SIGKILL, s) for s in (0.0, 2.0, 10.0, 20.0)]),
    "the engine killed while a judge works": (JUDGE, [away(signal.SIGKILL, s) for s in (2.0, 10.0)]),
    "the engine frozen": (AGENT, [lambda run, container: run.engine.frozen(3.0), lambda run, container: run.engine.frozen(20.0)]),
    "the engine's containerd killed": (AGENT, [without_runtime(s) for s in (0.0, 0.0, 0.3, 0.6, 0.8, 1.0)]),
    "the engine's containerd killed while a judge works": (JUDGE, [without_runtime(s) for s in (0.0, 0.5, 0.8, 1.0)]),
    "the orchestrator killed": (AGENT, [orchestrator(signal.SIGKILL, s) for s in (0.0, 0.3, 0.7, 1.5, 2.5, 4.0)]),
    "the orchestrator killed while a judge works": (JUDGE, [orchestrator(signal.SIGKILL, s) for s in (0.0, 0.5, 1.0, 2.0)]),
    "the orchestrator told to stop": (AGENT, [orchestrator(signal.SIGTERM), orchestrator(signal.SIGINT)]),
    "the disk of the runs full": (AGENT, [disk_full] * 2),
}  # fmt: skip


def disturb(run: Disturbed, faults: list[tuple[str, Act]]) -> Counter[str]:
    """Let faults befall a run, then let it end; how many of each kind did."""
    tried: Counter[str] = Counter()
    run.begin()
    for kind, act in faults:
        program, container, before = KINDS[kind][0], "", run.nodes
        began_s = time.monotonic()

        def found(program: str = program) -> bool:
            nonlocal container
            container = run.engine.working(program)
            return bool(container)

        if not run.wait(found, f"container that works on {program}"):
            break
        act(run, container)
        tried[kind] += 1
        run.wait(lambda before=before: run.nodes > before, "step after a fault")  # type: ignore[misc]
        print(f"  {kind}: a step after {time.monotonic() - began_s:.1f} s, {run.nodes} in all", flush=True)
    run.wait(lambda: run.is_over, "end")
    assert run.process is not None
    run.process.wait(600)
    run.keep_going()
    return tried


def made_task(folder: Path) -> Path:
    """The parity task with a judge and a solution that take a second each, so that faults find them at work."""
    task = folder / "ParityClassificationAccuracy"
    shutil.copytree(FOLDERS / task.name, task)
    for script, original in (
        (task / "evaluate.py", task / "evaluate.py"),
        (folder / AGENT, FOLDERS / "parity_solution.py"),
    ):
        script.write_text(f"import time\n\ntime.sleep(1.0)\n{original.read_text()}")
    return task


def made_data(folder: Path) -> Path:
    """Raw rows of it."""
    data = folder / "raw" / "Example/parity" / "default"
    data.mkdir(parents=True)
    for split, start in (("train", 0), ("test", 500)):
        rows = [f"{number:012b},{number.bit_count() % 2}" for number in range(start, start + 200)]
        (data / f"{split}.csv").write_text("\n".join(["bits,label", *rows]) + "\n")
    return folder / "raw"


def main() -> int:
    """Try all; print the table of docs/reliability.md, and say whether every tree is as a calm run's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", type=Path, default=Path(tempfile.gettempdir()) / "aira-own-engine", help="the daemon's files"
    )
    parser.add_argument("--only", default="", help="kinds that contain this text")
    parser.add_argument("--seed", type=int, default=1, help="of the faults' order")
    args = parser.parse_args()
    engine = OwnEngine(args.root)
    engine.start()
    engine.take_images(list(planned_images("cpu")))
    faults = [(kind, act) for kind, (_, acts) in KINDS.items() if args.only in kind for act in acts]
    random.Random(args.seed).shuffle(faults)
    with tempfile.TemporaryDirectory(prefix="aira-faults-") as name:
        folder = Path(name)
        runs = folder / "disk" / "runs"
        (folder / "disk").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder / "disk"], check=True)
        try:
            runs.mkdir()
            folder.chmod(0o755)
            place, task, raw = Place(folder / "home", runs), made_task(folder), made_data(folder)
            calm = Disturbed(engine, place, "calm", task, raw, steps=3)
            disturb(calm, [])
            steps = len(faults) + 3
            run = Disturbed(engine, place, "disturbed", task, raw, steps)
            tried = disturb(run, faults)
            return report(place.tree("calm"), place.tree("disturbed"), run, tried)
        finally:
            subprocess.run(["umount", "--lazy", folder / "disk"], check=False)


def report(calm: Tree, tree: Tree, run: Disturbed, tried: Counter[str]) -> int:
    """Print what was tried and what came of it; 1 if anything is not as it must be."""
    classes = Counter(row[3] for row in tree)
    same = (
        tree[: len(calm)] == calm and {row[3:] for row in tree} == {row[3:] for row in calm} and len(tree) == run.steps
    )
    attempts = sum(node.attempts - 1 for node in run.place.run(run.name).seed(0).nodes)
    left = run.engine.left()
    files = [str(path) for path in run.place.runs.rglob("*.tmp")]
    for kind, count in sorted(tried.items()):
        print(f"| {kind} | {count} |")
    print(json.dumps({"faults": tried.total(), "same tree": same, "classes": classes, "attempts repeated": attempts,
                      "ends": {str(status): count for status, count in run.ends.items()}, "left": left + files}))  # fmt: skip
    return 0 if same and not left and not files else 1


if __name__ == "__main__":
    raise SystemExit(main())
