"""The real command line in a process of its own, on a played machine, with one fault.

The process is forked from one that has imported everything, so that a run takes some tens of milliseconds. Loop,
journal, records, agents and the providers' SDKs are the real ones; containers are functions (`aira_bench.testing`), and
the provider is a local server that speaks its wire format.

Not covered: real containers (docs/reliability.md).
"""

import contextlib
import faulthandler
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench import hardware
from aira_bench.cli.main import run_command_line
from aira_bench.hardware import Hardware
from aira_bench.images.ensure import ImageSet
from aira_bench.llm import limiter
from aira_bench.runs import connect
from faults.engine_faults import EnginePoint, FaultySandbox, Meeting, faulty_sandbox
from faults.injector import Injector, Kind, Point
from llm.wire_server import Brain, WireServer

MOST_S = 45.0
"""After so long a command hangs: those of a whole run take a tenth of a second."""
BROKEN = 70
"""Exit status of a process whose command ended in a traceback."""
KEY = "any-key-0123456789"


@dataclass(frozen=True)
class Place:
    """The folders of one case: what the command may write, and what this test keeps."""

    root: Path
    port: int

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def notes(self) -> Path:
        return self.root.with_name(f"{self.root.name}-notes")

    def environment(self) -> dict[str, str]:
        """No key of a user's; the providers' URLs lead to the local server."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith("_API_KEY") and not name.startswith("AIRA_")
        }
        url = f"http://127.0.0.1:{self.port}"
        keys = ("GEMINI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY")
        return kept | dict.fromkeys(keys, KEY) | {
            "AIRA_HOME": str(self.home), "AIRA_RUNS": str(self.runs), "AIRA_LEASES": str(self.root / "leases"),
            "AIRA_ALLOW_KEY": ",".join(f"{name}=127.0.0.1" for name in keys),
            "GOOGLE_GEMINI_BASE_URL": url, "ANTHROPIC_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1",
            "AIRA_BASE_URL_GPT_OSS_20B": f"{url}/v1", "NO_PROXY": "*", "XDG_CONFIG_HOME": str(self.home / "config"),
        }  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What a command meets. Without a fault of any kind, all goes well."""

    brain: Brain | None = None
    point: Point | None = None
    kind: Kind | None = None
    """What befalls the file operation `point`."""
    engine: Meeting | None = None
    watched: bool = False
    """Whether every file operation is taken down."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    """As a shell would say it, negative for a signal; None for one that hung and was killed."""
    said: str
    """On stderr."""
    points: tuple[Point, ...] = ()
    struck: bool = True
    """Whether the fault came to pass."""
    engine_calls: tuple[EnginePoint, ...] = ()
    requests: int = 0
    """How often the provider was asked."""
    containers: int = 0
    """How many were not closed."""

    @property
    def broke(self) -> bool:
        return self.status is None or self.status == BROKEN or "Traceback" in self.said

    @property
    def last_line(self) -> str:
        return next(reversed([line for line in self.said.splitlines() if line.strip()]), "")


def call(arguments: Sequence[str], place: Place, setting: Setting) -> Ended:
    """Run one command to its end."""
    for folder in (place.root, place.notes):
        folder.mkdir(parents=True, exist_ok=True)
    for note in place.notes.iterdir():
        note.unlink()
    child = os.fork()
    if child == 0:
        _become(arguments, place, setting)
    status = _wait(child)
    said = (place.notes / "stderr").read_text(errors="replace") if (place.notes / "stderr").exists() else ""
    told = place.notes / "told.json"
    if not told.exists() or not told.stat().st_size:  # killed: it was struck, if by nothing else than its fault
        return Ended(status, said)
    value = json.loads(told.read_text())
    points = tuple(Point(*point) for point in value["points"])
    engine_calls = tuple(EnginePoint(*each) for each in value["engine_calls"])
    return Ended(status, said, points, value["struck"], engine_calls, value["requests"], value["containers"])


def _wait(child: int) -> int | None:
    descriptor = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([descriptor], [], [], MOST_S)
        if not ready:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) if ready else None
    finally:
        os.close(descriptor)


def _become(arguments: Sequence[str], place: Place, setting: Setting) -> None:
    """Be the command line; never returns."""
    status = BROKEN
    try:
        for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
            os.dup2(os.open(place.notes / name, os.O_WRONLY | os.O_CREAT), stream.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(place.environment())
        os.chdir(place.root)
        faulthandler.dump_traceback_later(MOST_S * 0.9)  # of one that hangs, where it does
        status = _command(arguments, place, setting)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _command(arguments: Sequence[str], place: Place, setting: Setting) -> int:
    injector = Injector(place.root, setting.point, setting.kind)
    sandbox = faulty_sandbox(setting.engine, injector)
    told = os.open(place.notes / "told.json", os.O_WRONLY | os.O_CREAT)
    really_write = os.write

    play_machine(sandbox)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(WireServer(setting.brain, place.port)) if setting.brain else None
        if setting.point is not None or setting.watched:
            injector.install()
        try:
            status = run_command_line(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else BROKEN
        requests = len(server.requests) if server else 0
    _join_threads()
    value = {
        "points": [(point.call, point.path, point.nth) for point in injector.seen] if setting.watched else [],
        "struck": injector.struck if setting.point else sandbox.struck if setting.engine else True,
        "engine_calls": [(point.call, point.role, point.nth) for point in sandbox.seen],
        "requests": requests, "containers": len(sandbox.containers),
    }  # fmt: skip
    really_write(told, json.dumps(value).encode())
    return status


def play_machine(sandbox: FaultySandbox) -> None:
    """Put a played engine below `connect_host`, which itself is the real one."""

    images = ImageSet("agent:1", "evaluator:1")
    played = {
        "connect_engine": lambda _: object(), "DockerSandbox": lambda engine, runtime: sandbox,
        "this_machine": lambda **_: Hardware("played", 2, 1024, ()), "ensure_images": lambda *_: images,
        "prune_trees": lambda engine, caretaker: [],
    }  # fmt: skip
    for name, value in played.items():
        assert hasattr(connect, name), "connect_host is what it was"
        setattr(connect, name, value)
    hardware.this_machine = played["this_machine"]  # type: ignore[assignment]  # `run` looks at the machine before it connects
    assert hasattr(limiter, "TICK_S"), "the gate looks at the stop between ticks"
    limiter.TICK_S = 300.0  # where time is played a tick may be long


def _join_threads() -> None:
    """What the interpreter does before it exits: a thread that does not end hangs the command."""
    threading._shutdown()  # type: ignore[attr-defined]
