"""The walk of `run` in docs/architecture.md, held against a run that is traced from the flag to the board.

The run is whole but for the engine: containers are played (tests/played_host.py), and the judge is the evaluator itself
on data that trains in a second.
"""

import ast
import json
import re
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import pytest
import torch

from aira_bench.cli.main import build_parser
from aira_bench.images.ensure import ImageSet
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done
from aira_evaluator.compose.judge.resident import Resident
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import MadManifest, draw_corpus, write_split
from played_host import played_sandbox

ROOT = Path(__file__).resolve().parents[2]
MOST_STOPS = 25
TASK = find_task("mad-2p").name
STEPS = 2
_ROOTS = (ROOT / "harness", ROOT / "evaluator", ROOT / "tests")
_NAME = re.compile(r"`([\w/]+\.py): ([\w.]+)`")
STAND_INS = {"aira_bench/sandbox/step_containers.py: DockerStep.run": "played_host.py: solve"}
"""What plays a stop that needs an engine: here, an agent's container."""


@dataclass(frozen=True)
class Stop:
    """One numbered line: where the walk goes on, and what is asked for on the way."""

    name: str
    asks: tuple[str, ...]
    once: bool


def walk() -> list[Stop]:
    """The list, as the document has it."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## The walk of `run`\n")[2].partition("\n## ")[0]
    stops = []
    once = False
    for paragraph in re.split(r"\n(?=\d+\. )|\n\n", section):
        if paragraph.endswith(":"):
            once = paragraph == "Once a run:"
        elif found := re.match(r"(\d+)\. ", paragraph):
            names = [f"{file}: {name}" for file, name in _NAME.findall(paragraph)]
            stops.append(Stop(names[0], tuple(names[1:]), once))
            assert int(found[1]) == len(stops), "numbered from 1 without a gap"
    return stops


WALK = walk()
NAMES = [name for stop in WALK for name in (stop.name, *stop.asks)]


def defined(path: Path) -> set[str]:
    """Functions and methods of a module, as `function` and `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("name", NAMES)
def test_every_stop_of_the_walk_exists(name: str) -> None:
    file, function = name.split(": ")
    path = next(root / file for root in _ROOTS if (root / file).is_file())
    assert function in defined(path)


def test_the_walk_is_short_and_enters_no_module_twice() -> None:
    assert len(WALK) <= MOST_STOPS
    modules = [stop.name.split(": ")[0] for stop in WALK]
    assert len(set(modules)) == len(modules)
    assert not set(modules) & {name.split(": ")[0] for stop in WALK for name in stop.asks}


@dataclass
class Trace:
    """How often each function of ours was called, in the order of the first calls; of all threads."""

    calls: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: frozenset[str] = frozenset(STAND_INS.get(name, name) for name in NAMES)
    names: dict[object, str | None] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        name = self.names.get(frame.f_code, "")
        if name == "":
            name = self.names[frame.f_code] = self._name(frame)
        if name is not None:
            with self.lock:
                self.calls[name] = self.calls.get(name, 0) + 1

    def _name(self, frame: FrameType) -> str | None:
        file = frame.f_code.co_filename
        for root in _ROOTS:
            if file.startswith(f"{root}/"):
                name = f"{file.removeprefix(f'{root}/')}: {frame.f_code.co_qualname}"
                return name if name in self.wanted else None
        return None


def prepare(call: Call) -> Done:
    """Both scripts write the same few examples."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    small = replace(CPU, train_examples=20, validation_examples=10, test_examples=10)
    manifest = MadManifest("cpu", "train", ("M", "mA"))
    write_split(output / "train", draw_corpus(small, "train", 1), manifest)
    write_split(output / "validation", draw_corpus(small, "validation", 1), replace(manifest, split="validation"))
    if call.command[1].endswith("evaluate_prepare.py"):
        for split in ("validation", "test"):
            hidden = replace(manifest, split=split, seed_set="search", training_seed=4)
            write_split(output / f"{split}_with_labels" / "search", draw_corpus(small, split, 2), hidden)  # type: ignore[arg-type]
    return Done()


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Trace, str]:
    """A run of two steps by the command line: its trace, and what it showed."""
    home = tmp_path / "home"

    def judge(request: bytes) -> bytes:
        (data,) = (home / "tasks" / TASK).glob("cpu-*")
        return json.dumps(Resident(data / "task" / "evaluate.py", data / "hidden").answer(request)).encode()

    sandbox = played_sandbox(prepare=prepare)
    sandbox.responders = {"judge": judge}
    for name, value in {"AIRA_HOME": home, "AIRA_PROFILE": "cpu", "AIRA_SEED_SET": "search"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aira_bench.runs.connect.connect_engine", lambda containers: None)
    monkeypatch.setattr("aira_bench.runs.connect.DockerSandbox", lambda engine, runtime: sandbox)
    monkeypatch.setattr("aira_bench.runs.connect.prune_trees", lambda *_: [])
    monkeypatch.setattr("aira_bench.runs.connect.ensure_images", lambda *_: ImageSet("agent:1", "evaluator:1"))
    arguments = ["run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--steps", str(STEPS)]
    args = build_parser().parse_args([*arguments, "--runs", str(tmp_path / "runs"), "--name", "traced"])
    threads = torch.get_num_threads()
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        status = args.handle(args)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        torch.set_num_threads(threads)
    shown = capsys.readouterr()
    assert status == 0, shown.err
    return trace, shown.out


def test_a_run_goes_the_written_way(traced: tuple[Trace, str]) -> None:
    trace, shown = traced
    entered = {name: number for number, name in enumerate(trace.calls)}
    way = [STAND_INS.get(stop.name, stop.name) for stop in WALK]
    assert [name for name in NAMES if STAND_INS.get(name, name) not in entered] == []
    assert way == sorted(way, key=entered.__getitem__), "each is entered for the first time where the list says"
    for stop in WALK:
        for name in (stop.name, *stop.asks):
            calls = trace.calls[STAND_INS.get(name, name)]
            assert calls == 1 if stop.once else calls >= STEPS, name
    assert "mad-2p" in shown
