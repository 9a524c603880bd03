"""Asks a container, made with the production options, whether its walls stand. Run before anything else; fails closed.

One container runs `inside/witness.py`, which tries what must not work; another ignores every signal and must die of
its deadline. What the engine says it has set is compared too, so that a wall holds by design and not by luck.

A machine that is slow is not open. A container that gives no answer in time, or dies late, says nothing about walls:
another one is asked, after a pause and with more time. Only what a container could do is a reason to refuse a machine.

Not covered: what each answer must be (`probe_checks`), the kernel behind the walls, GPUs (`memory_probe`), and host
folders mounted by other roles. See SECURITY.md.
"""

import contextlib
import json
import os
import platform
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from aira_bench.errors import SandboxError
from aira_bench.output import last_line
from aira_bench.sandbox import hardening
from aira_bench.sandbox.ending import DEATH_TIMEOUT_S
from aira_bench.sandbox.probe_checks import ProbeCheck, checks_of
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    Busy,
    ContainerSpec,
    Limits,
    PreparedContainer,
    Role,
    Sandbox,
    StepOutcome,
)
from aira_contract.containers import SOCKET_VOLUME

LIMITS = Limits(memory_mib=96, workspace_mib=8, tmp_mib=8, shm_mib=8, pids=32, open_files=256)
"""Small, so that reaching every cap takes little time; the code that sets them is every container's."""
OWN_KERNEL_PIDS = 256
"""A runtime that brings a kernel (gVisor, Kata) starts dozens of threads of its own, which count."""
OF_A_SHARED_KERNEL = re.compile(
    r"socket |system call |NoNewPrivs|Seccomp|CapAmb|oom_score_adj|root is|.* mounted nosuid|.* of its own$|tmp inodes"
    r"|processes$|memory$|cores$|a lock|asking for|a socket's|a new terminal|counters|files in place"
)
"""Checks that ask the kernel which containers share. One of a container's own answers as it likes: what it allows
reaches nobody else, and a container that takes too much ends whole, which is tried instead (`_bombs`)."""
WITNESS_TIMEOUT_S = 60.0
ATTEMPTS = 4
PAUSE_S = 2.0
"""Before the second attempt; each later pause is twice the one before."""
STUBBORN_TIMEOUT_S = 0.3
KILL_WITHIN_S = 5.0
"""Between a deadline and a death on a machine with time to spare; each later attempt has twice as long."""
_REPORT = ArtifactRequest("witness.json", 64 * 1024)
_STUBBORN = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    os.fork()
while True: time.sleep(1)
"""

MEETING_S = 10.0
_LATE = 75
"""Exit status of a predictor that found no judge's socket in all of its time."""
_JUDGE = f"""
import os, socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("{SOCKET_VOLUME}/probe")
os.chmod("{SOCKET_VOLUME}/probe", 0o666)
listener.listen(1)
listener.settimeout(most_s)
listener.accept()[0].send(b"word")
"""
_PREDICTOR = f"""
import socket, time
stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ends_s = time.monotonic() + most_s
while True:
    try:
        stream.connect("{SOCKET_VOLUME}/probe")
        break
    except OSError as error:
        if time.monotonic() > ends_s:
            if isinstance(error, FileNotFoundError): raise SystemExit({_LATE})  # no judge has come up
            raise
        time.sleep(0.1)
assert stream.recv(64) == b"word"
"""
_BOMBS = {
    "a fork bomb ends": "import sys, witness; sys.exit(witness.fork_until_refused(4096)['outcome'] != 'allowed')",
    "taking memory ends": "import witness; witness.hog_memory(4096)",
}

Asked = Callable[[float], list[ProbeCheck]]
"""Asks a container; has so many times the time that is expected."""


def probe(
    sandbox: Sandbox, image: str, *, role: Role = "probe", witness_timeout_s: float = WITNESS_TIMEOUT_S
) -> list[ProbeCheck]:
    """Check every property of containers of `image`; about two seconds.

    Args:
        sandbox: makes the containers.
        image: of agents or evaluators.
        role: `probe` stands for agent and fit; predict containers may have a runtime of their own.
        witness_timeout_s: until a container must have answered.

    Raises:
        PrerequisiteError: the image is not there.
        Busy: no probe container could do its work in its time.
        SandboxError: the engine failed, each time.
    """
    own_kernel = sandbox.isolation(image, role, gpu=False).word == "own kernel"
    limits = replace(LIMITS, pids=OWN_KERNEL_PIDS) if own_kernel else LIMITS
    spec = ContainerSpec(image=image, role=role, run_id=f"probe-{secrets.token_hex(6)}", limits=limits)
    pinned = replace(spec, limits=replace(limits, cpus=(min(os.sched_getaffinity(0)),)))
    asked: list[Asked] = [
        lambda patience: _witness(sandbox, pinned, patience * witness_timeout_s, own_kernel=own_kernel),
        lambda patience: _stubborn(sandbox, spec, patience * KILL_WITHIN_S),
    ]
    if own_kernel:
        asked += [partial(_bomb, sandbox, spec, name, code) for name, code in _BOMBS.items()]
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(_asked_again, ask) for ask in asked]
        errors = [error for future in waiting if (error := future.exception())]
        if errors:
            raise errors[0]
        return [check for future in waiting for check in future.result()]


def probe_all(sandbox: Sandbox, image: str) -> list[ProbeCheck]:
    """`probe`, and once more for predict containers where they have a runtime that others have not.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: as `probe`.
    """
    checks = probe(sandbox, image)
    if sandbox.isolation(image, "predict", gpu=False) == sandbox.isolation(image, "probe", gpu=False):
        return checks
    special = [*probe(sandbox, image, role="predict"), *_asked_again(partial(_meets, sandbox, image))]
    return [*checks, *(replace(check, name=f"predict: {check.name}") for check in special)]


def _meets(sandbox: Sandbox, image: str, patience: float) -> list[ProbeCheck]:
    """Whether a predict container reaches a judge's socket: a runtime may have to be told to let it.

    Raises:
        Busy: they did not meet in time; only a refusal says that they never will.
    """
    meeting_s = patience * MEETING_S
    limits = replace(LIMITS, pids=OWN_KERNEL_PIDS)
    run_id = f"probe-{secrets.token_hex(6)}"
    spec = ContainerSpec(
        image=image, role="judge", run_id=run_id, limits=limits, socket_volume=f"aira-sockets-{run_id}"
    )
    try:
        containers = sandbox.prepare(spec), sandbox.prepare(replace(spec, role="predict"))
        codes = f"most_s = {2 * meeting_s}\n{_JUDGE}", f"most_s = {meeting_s}\n{_PREDICTOR}"
        with ThreadPoolExecutor(max_workers=2) as pool:
            judged, predicted = pool.map(partial(_run_code, timeout_s=3 * meeting_s), containers, codes)
    finally:
        sandbox.sweep(run_id)
    if predicted.exit_code == _LATE or "timeout" in (predicted.ended, judged.ended):
        raise Busy(
            f"A judge and its predictor did not meet within {meeting_s:.0f} s: the machine is busy.", hint="uptime"
        )
    said = last_line(predicted.stderr) or last_line(judged.stderr) or "nothing"
    ok = predicted.exit_code == judged.exit_code == 0
    expected = "its word (docs/isolation.md; --runtime runc does without this runtime)"
    return [ProbeCheck("a judge's socket is reached", ok, "its word" if ok else said, expected)]


def _run_code(container: PreparedContainer, code: str, *, timeout_s: float) -> StepOutcome:
    with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
        return container.run(
            ["python3", "-c", code], files={}, timeout_s=timeout_s, artifacts=(), destination=Path(folder)
        )


def _asked_again(ask: Asked) -> list[ProbeCheck]:
    """Ask, with more patience each time that no answer came. A wall that does not stand is an answer."""
    for attempt in range(ATTEMPTS - 1):
        with contextlib.suppress(SandboxError):
            return ask(2.0**attempt)
        time.sleep(PAUSE_S * 2**attempt)
    return ask(2.0 ** (ATTEMPTS - 1))


def _witness(sandbox: Sandbox, spec: ContainerSpec, timeout_s: float, *, own_kernel: bool) -> list[ProbeCheck]:
    container = sandbox.prepare(spec)
    try:
        settings = container.inspect()
        with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
            # Where the kernel is the container's own, reaching for more than it has would end the witness.
            most = (0, 0) if own_kernel else (spec.limits.pids, hardening.granted_mib(spec.limits))
            outcome = _run_witness(container, spec.limits, most, Path(folder), timeout_s)
            report = outcome.artifacts[_REPORT.name]
            if outcome.exit_code != 0 or not isinstance(report, Artifact):
                raise _no_answer(outcome, timeout_s)
            facts = json.loads(report.path.read_bytes())
    finally:
        container.close()
    checks = checks_of(facts, settings, spec)
    if not own_kernel:
        return checks
    here = [platform.release(), platform.version()]
    kernel = ProbeCheck("kernel of its own", facts["kernel"] != here, " ".join(facts["kernel"]), "not this machine's")
    return [kernel, *(check for check in checks if not OF_A_SHARED_KERNEL.match(check.name))]


def _bomb(sandbox: Sandbox, spec: ContainerSpec, name: str, code: str, patience: float) -> list[ProbeCheck]:
    """Let a container with a kernel of its own take without end; its limits must end it, or refuse."""
    container = sandbox.prepare(spec)
    try:
        with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
            outcome = container.run(
                ["python3", "-c", code],
                files={"witness.py": hardening.source("witness").encode()},
                timeout_s=patience * WITNESS_TIMEOUT_S,
                artifacts=(),
                destination=Path(folder),
            )
    finally:
        container.close()
    seen = f"{outcome.ended}, exit status {outcome.exit_code}"
    ok = outcome.ended == "out_of_memory" or outcome.exit_code not in (0, None)
    return [ProbeCheck(name, ok, seen, "an end by its limits")]


def _no_answer(outcome: StepOutcome, timeout_s: float) -> Busy:
    ended = f"exit status {outcome.exit_code}" if outcome.ended == "exited" else outcome.ended.replace("_", " ")
    said = last_line(outcome.stderr)
    return Busy(
        f"The sandbox could not be probed: the probe container ended by {ended} after {outcome.wall_s:.0f} s and "
        + (f"said: {said}; " if said else "said nothing; ")
        + f"expected a report within {timeout_s:.0f} s (tried {ATTEMPTS} times). A busy machine may answer later.",
        hint="uptime",
    )


def _run_witness(
    container: PreparedContainer, limits: Limits, most: tuple[int, int], folder: Path, timeout_s: float
) -> StepOutcome:
    numbers = (limits.workspace_mib, limits.tmp_mib, limits.shm_mib, *most)
    return container.run(
        ["python3", "witness.py", *(str(number) for number in numbers)],
        files={"witness.py": hardening.source("witness").encode()},
        timeout_s=timeout_s,
        artifacts=[_REPORT],
        destination=folder,
    )


def _stubborn(sandbox: Sandbox, spec: ContainerSpec, within_s: float) -> list[ProbeCheck]:
    container = sandbox.prepare(spec)
    try:
        with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
            outcome = container.run(
                ["python3", "stubborn.py"],
                files={"stubborn.py": _STUBBORN.encode()},
                timeout_s=STUBBORN_TIMEOUT_S,
                artifacts=(),
                destination=Path(folder),
            )
    finally:
        container.close()
    over_s = outcome.wall_s - STUBBORN_TIMEOUT_S
    seen = f"{outcome.ended}, dead {over_s:.1f} s after its deadline"
    died = over_s < DEATH_TIMEOUT_S  # later its kill was given up
    if outcome.ended == "timeout" and died and over_s > within_s:
        raise Busy(
            f"The sandbox could not be probed: a killed container was dead after {over_s:.1f} s, expected within "
            f"{within_s:.0f} s. The kill works; the machine is busy.",
            hint="uptime",
        )
    ok = outcome.ended == "timeout" and died
    return [ProbeCheck("deadline kills what ignores signals", ok, seen, "timeout, and dead")]
