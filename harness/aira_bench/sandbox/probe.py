"""Asks a container, made with the production options, whether its walls stand. Run before anything else; fails closed.

One container runs `inside/witness.py`, which tries what must not work; another ignores every signal and must die by
its deadline. What the engine says it has set is compared too, so that a wall holds by design and not by luck. A
container that gives no answer is asked once more, by another one: on a busy machine that says nothing about walls.

Not covered: the kernel behind the walls, GPUs, and host folders mounted by other roles. See SECURITY.md.
"""

import json
import platform
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tenacity

from aira_bench.errors import SandboxError
from aira_bench.output import last_line
from aira_bench.sandbox import hardening, kernel_files
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    PreparedContainer,
    Role,
    Sandbox,
    StepOutcome,
)
from aira_bench.sandbox.trees import BARE_IMAGE, OPTIONS
from aira_contract.containers import SOCKET_VOLUME, WORKSPACE

LIMITS = Limits(memory_mib=96, workspace_mib=8, tmp_mib=8, shm_mib=8, pids=32, open_files=256)
"""Small, so that meeting every cap takes little time; the code that sets them is every container's."""
OWN_KERNEL_PIDS = 256
"""A runtime that brings a kernel (gVisor, Kata) starts dozens of threads of its own, which count."""
OF_A_SHARED_KERNEL = re.compile(
    r"socket |system call |NoNewPrivs|Seccomp|CapAmb|oom_score_adj|root is|.* mounted nosuid|.* of its own$|tmp inodes"
    r"|processes$|memory$|a lock|asking for|a socket's|a new terminal|counters|files in place"
)
"""Checks that ask the kernel which containers share. One of a container's own answers as it likes: what it allows
reaches nobody else, and a container that takes too much ends whole, which is tried instead (`_bombs`)."""
WITNESS_TIMEOUT_S = 60.0
ATTEMPTS = 2
STUBBORN_TIMEOUT_S = 0.3
KILL_WITHIN_S = 5.0
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

_MEETING_TIMEOUT_S = 30.0
_JUDGE = f"""
import os, socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("{SOCKET_VOLUME}/probe")
os.chmod("{SOCKET_VOLUME}/probe", 0o666)
listener.listen(1)
listener.settimeout(20)
listener.accept()[0].send(b"word")
"""
_PREDICTOR = f"""
import socket, time
stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for attempt in range(100):
    try:
        stream.connect("{SOCKET_VOLUME}/probe")
        break
    except OSError as error:
        failure = error
        time.sleep(0.1)
else:
    raise failure
assert stream.recv(64) == b"word"
"""
_BOMBS = {
    "a fork bomb ends": "import sys, witness; sys.exit(witness.fork_until_refused(4096)['outcome'] != 'allowed')",
    "taking memory ends": "import witness; witness.hog_memory(4096)",
}


@dataclass(frozen=True)
class Check:
    """One property of the sandbox, as it was seen against as it must be."""

    name: str
    ok: bool
    seen: str
    expected: str


def probe(
    sandbox: Sandbox, image: str, *, role: Role = "probe", witness_timeout_s: float = WITNESS_TIMEOUT_S
) -> list[Check]:
    """Check every property of containers of `image`; about two seconds.

    Args:
        sandbox: makes the containers.
        image: of agents or evaluators.
        role: `probe` stands for agent and fit; predict containers may have a runtime of their own.
        witness_timeout_s: until a container must have answered.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: twice the engine failed, or a probe container could not do its work.
    """
    own_kernel = sandbox.isolation(image, role, gpu=False).word == "own kernel"
    limits = replace(LIMITS, pids=OWN_KERNEL_PIDS) if own_kernel else LIMITS
    spec = ContainerSpec(image=image, role=role, run_id=f"probe-{secrets.token_hex(6)}", limits=limits)
    asked = [
        lambda: _witness(sandbox, spec, witness_timeout_s, own_kernel=own_kernel),
        lambda: _stubborn(sandbox, spec),
    ]
    if own_kernel:
        asked += [partial(_bomb, sandbox, spec, name, code) for name, code in _BOMBS.items()]
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(_asked_again, ask) for ask in asked]
        errors = [error for future in waiting if (error := future.exception())]
        if errors:
            raise errors[0]
        return [check for future in waiting for check in future.result()]


def probe_all(sandbox: Sandbox, image: str) -> list[Check]:
    """`probe`, and once more for predict containers where they have a runtime that others have not.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: as `probe`.
    """
    checks = probe(sandbox, image)
    if sandbox.isolation(image, "predict", gpu=False) == sandbox.isolation(image, "probe", gpu=False):
        return checks
    special = [*probe(sandbox, image, role="predict"), *_asked_again(lambda: _meets(sandbox, image))]
    return [*checks, *(replace(check, name=f"predict: {check.name}") for check in special)]


def _meets(sandbox: Sandbox, image: str) -> list[Check]:
    """Whether a predict container reaches a judge's socket: a runtime may have to be told to let it."""
    limits = replace(LIMITS, pids=OWN_KERNEL_PIDS)
    run_id = f"probe-{secrets.token_hex(6)}"
    spec = ContainerSpec(image=image, role="judge", run_id=run_id, limits=limits, meeting=f"aira-meeting-{run_id}")
    with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder, ThreadPoolExecutor(max_workers=1) as pool:
        run = partial(_run_code, sandbox, destination=Path(folder))
        judge = pool.submit(run, spec, _JUDGE)
        predicted = run(replace(spec, role="predict"), _PREDICTOR)
        judged = judge.result()
    sandbox.sweep(run_id)
    said = last_line(predicted.stderr) or last_line(judged.stderr) or "nothing"
    ok = predicted.exit_code == judged.exit_code == 0
    expected = "its word (docs/isolation.md; --runtime runc does without this runtime)"
    return [Check("a judge's socket is reached", ok, "its word" if ok else said, expected)]


def _run_code(sandbox: Sandbox, spec: ContainerSpec, code: str, *, destination: Path) -> StepOutcome:
    container = sandbox.prepare(spec)
    try:
        return container.run(
            ["python3", "-c", code], files={}, timeout_s=_MEETING_TIMEOUT_S, artifacts=(), destination=destination
        )
    finally:
        container.close()


def _asked_again(ask: Callable[[], list[Check]]) -> list[Check]:
    """A wall that does not stand is an answer, and never asked for again."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS), retry=tenacity.retry_if_exception_type(SandboxError), reraise=True
    )
    return retrying(ask)


def _witness(sandbox: Sandbox, spec: ContainerSpec, timeout_s: float, *, own_kernel: bool) -> list[Check]:
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
    checks = [
        *_network(facts),
        *_privileges(facts),
        *_channels(facts),
        *_file_systems(facts),
        *_trees(facts, settings),
        *_caps(facts, spec.limits),
        *_surroundings(facts, spec),
        *_settings(settings, spec),
    ]
    if not own_kernel:
        return checks
    here = [platform.release(), platform.version()]
    kernel = Check("kernel of its own", facts["kernel"] != here, " ".join(facts["kernel"]), "not this machine's")
    return [kernel, *(check for check in checks if not OF_A_SHARED_KERNEL.match(check.name))]


def _bomb(sandbox: Sandbox, spec: ContainerSpec, name: str, code: str) -> list[Check]:
    """Let a container with a kernel of its own take without end; its limits must end it, or refuse."""
    container = sandbox.prepare(spec)
    try:
        with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
            outcome = container.run(
                ["python3", "-c", code],
                files={"witness.py": hardening.source("witness").encode()},
                timeout_s=WITNESS_TIMEOUT_S,
                artifacts=(),
                destination=Path(folder),
            )
    finally:
        container.close()
    seen = f"{outcome.ended}, exit status {outcome.exit_code}"
    ok = outcome.ended == "out_of_memory" or outcome.exit_code not in (0, None)
    return [Check(name, ok, seen, "an end by its limits")]


def _no_answer(outcome: StepOutcome, timeout_s: float) -> SandboxError:
    ended = f"exit status {outcome.exit_code}" if outcome.ended == "exited" else outcome.ended.replace("_", " ")
    said = last_line(outcome.stderr)
    return SandboxError(
        f"The sandbox could not be probed: the probe container ended by {ended} after {outcome.wall_s:.0f} s and "
        + (f"said: {said}; " if said else "said nothing; ")
        + f"expected a report within {timeout_s:.0f} s (tried {ATTEMPTS} times). A busy machine may answer later.",
        hint="docker stats --no-stream",
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


def _stubborn(sandbox: Sandbox, spec: ContainerSpec) -> list[Check]:
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
    ok = outcome.ended == "timeout" and over_s < KILL_WITHIN_S
    return [Check("deadline kills what ignores signals", ok, seen, f"timeout, dead within {KILL_WITHIN_S:.0f} s")]


def _equal(name: str, seen: object, expected: object) -> Check:
    return Check(name, seen == expected, str(seen), str(expected))


def _refused(name: str, outcome: str, errors: tuple[str, ...] = ("EPERM", "ENOSYS")) -> Check:
    return Check(name, outcome in errors, outcome, " or ".join(errors))


def _network(facts: Mapping[str, Any]) -> Iterator[Check]:
    yield _equal("network interfaces", facts["interfaces"], ["lo"])
    yield _refused("connection to the outside", facts["connect"], ("ENETUNREACH", "EHOSTUNREACH", "EPERM"))
    for family, outcome in facts["families"].items():
        yield _refused(f"socket {family}", outcome, ("EPERM", "EAFNOSUPPORT") if family == "AF_ALG" else ("EPERM",))


def _privileges(facts: Mapping[str, Any]) -> Iterator[Check]:
    for call, outcome in facts["syscalls"].items():
        yield _refused(f"system call {call}", outcome)
    status = facts["status"]
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        yield _equal(capabilities, int(status.get(capabilities, "-1"), 16), 0)
    yield _equal("NoNewPrivs", status.get("NoNewPrivs"), "1")
    yield _equal("Seccomp", status.get("Seccomp"), "2")
    own = facts["ids"][0]
    expected = f"four times one of {hardening.UNTRUSTED_UIDS.start} to {hardening.UNTRUSTED_UIDS.stop - 1}"
    yield Check(
        "user and group ids", {*facts["ids"]} == {own} and own in hardening.UNTRUSTED_UIDS, str(facts["ids"]), expected
    )
    yield _equal("further groups", sorted(set(facts["groups"]) - {own}), [])
    yield _equal("oom_score_adj after lowering it", facts["oom_score_adj"], 500)


def _channels(facts: Mapping[str, Any]) -> Iterator[Check]:
    """Walls against messages to other containers, as far as one container can tell (`aira_bench.sandbox.channels`)."""
    yield _equal("a lock that another holds has no effect", facts["locks"]["flock held by another"], "allowed")
    yield _refused("asking for locks", facts["locks"]["asking for locks"])
    yield _refused("a socket's number", facts["cookie"])
    yield _refused("a new terminal", facts["terminal"], ("ENOENT", "ENXIO", "ENODEV"))
    yield _equal("counters of the machine in sight", facts["counters"], [])
    replaced = [target for target in kernel_files.REPLACED if target in facts["mounts"]]
    yield _equal("files in place of the kernel's", replaced, [*kernel_files.REPLACED])


def _file_systems(facts: Mapping[str, Any]) -> Iterator[Check]:
    yield _equal("root is read-only", facts["root_read_only"], True)
    for folder, outcome in facts["writes"].items():
        # Where file trees stand in for the image, a folder that nothing needs is not there.
        yield _refused(f"write to {folder or '/'}", outcome, ("EROFS", "EACCES", "ENOENT"))
    yield _refused("write to kernel.core_pattern", facts["core_pattern"], ("EROFS", "EACCES", "EPERM", "ENOENT"))
    for folder in (str(WORKSPACE), "/tmp", "/dev/shm"):
        options = set(facts["mounts"].get(folder, []))
        yield _equal(f"{folder} mounted nosuid, nodev", sorted(options & {"nosuid", "nodev"}), ["nodev", "nosuid"])
    yield _equal("sockets and hidden folders in sight", facts["present"], [])


def _trees(facts: Mapping[str, Any], inspected: Mapping[str, Any]) -> Iterator[Check]:
    for target in _tree_targets(inspected):
        options = set(facts["mounts"].get(target, []))
        lacking = sorted(set(OPTIONS) - options)
        yield Check(
            f"{target} is a file system of its own", not lacking, f"lacks {lacking}" if lacking else "yes", "yes"
        )


def _tree_targets(inspected: Mapping[str, Any]) -> list[str]:
    """Where a container has file trees of its own; an image without layers comes with them alone."""
    if inspected["Config"]["Image"] != BARE_IMAGE:
        return []
    names = {mount["Destination"]: str(mount.get("Name", "")) for mount in inspected["Mounts"]}
    return [target for target, name in names.items() if name.startswith(f"{names[str(WORKSPACE)]}-")]


def _caps(facts: Mapping[str, Any], limits: Limits) -> Iterator[Check]:
    caps = {
        "workspace": (limits.workspace_mib, hardening.WORKSPACE_INODES),
        "tmp": (limits.tmp_mib, hardening.TMP_INODES),
    }
    for name in ("workspace", "tmp", "shm"):
        cap_mib = {"workspace": limits.workspace_mib, "tmp": limits.tmp_mib, "shm": limits.shm_mib}[name]
        filled = facts[name]
        seen = f"{filled['outcome']} at {filled['mib']:.2f} MiB"
        ok = filled["outcome"] == "ENOSPC" and filled["mib"] <= cap_mib
        yield Check(f"{name} size", ok, seen, f"ENOSPC at {cap_mib} MiB or before")
        if name in caps:
            yield _equal(f"{name} inodes", filled["inodes"], caps[name][1])
    pids = facts["pids"]
    ok = pids["outcome"] == "EAGAIN" and pids["children"] < limits.pids
    yield Check("processes", ok, f"{pids['outcome']} at {pids['children']}", f"EAGAIN below {limits.pids}")
    yield _equal("memory", facts["memory"], "killed by signal 9")
    yield _equal("open files", facts["limits"]["nofile"], [limits.open_files] * 2)
    yield _equal("core dumps", facts["limits"]["core"], [0, 0])
    largest = max(limits.workspace_mib, limits.tmp_mib, limits.shm_mib) * 2**20
    yield _equal("file size", facts["limits"]["fsize"], [largest] * 2)


def _surroundings(facts: Mapping[str, Any], spec: ContainerSpec) -> Iterator[Check]:
    threads = int(facts["environment"].get("OMP_NUM_THREADS", "0"))
    expected = hardening.environment(spec, threads)
    seen = {name: value for name, value in facts["environment"].items() if name not in hardening.PASSED_ON}
    strange = sorted({name for name, _ in seen.items() ^ expected.items()})
    yield Check("environment", not strange, f"differs in {strange}" if strange else "as set", "as set")
    yield Check(
        "foreign processes", facts["processes"] <= 2, f"{facts['processes']} processes", "an init and the command"
    )


def _settings(inspected: Mapping[str, Any], spec: ContainerSpec) -> Iterator[Check]:
    host = inspected["HostConfig"]
    expected = hardening.step_body(spec, hardening.Place("", 1))["HostConfig"]
    trees = _tree_targets(inspected)
    yield _equal("engine's Init", host["Init"], "/sbin" not in trees)
    same = ("NetworkMode", "ReadonlyRootfs", "IpcMode", "CgroupnsMode", "PidsLimit", "Memory", "MemorySwap", "ShmSize")
    for name in same:
        yield _equal(f"engine's {name}", host[name], expected[name])
    yield _equal("engine's CapDrop", host["CapDrop"], ["ALL"])
    for name in ("CapAdd", "Devices", "DeviceCgroupRules", "DeviceRequests", "GroupAdd", "VolumesFrom"):
        yield _equal(f"engine's {name}", host.get(name) or [], [])
    yield _equal("engine's restarts", host["RestartPolicy"]["Name"] or "no", "no")
    yield _equal("engine's Privileged", host["Privileged"], False)
    for name in ("PidMode", "UTSMode", "UsernsMode"):
        yield _equal(f"engine's {name}", host[name], "")
    yield _equal("engine's log driver", host["LogConfig"]["Type"], "none")
    profile = hardening.seccomp(spec) in (host["SecurityOpt"] or [])
    yield Check("engine's seccomp profile", profile, "ours" if profile else "another", "ours")
    mounts = sorted(mount["Destination"] for mount in inspected["Mounts"])
    mounted = [*kernel_files.REPLACED, *(mount["Target"] for mount in expected["Mounts"])]
    mounted = [target for target in mounted if target != kernel_files.PROCESSORS or "/sys" not in trees]
    yield _equal("engine's mounts", mounts, sorted([*mounted, *trees]))
    for name in ("MaskedPaths", "ReadonlyPaths"):
        missing = sorted(set(expected[name]) - set(host[name] or []))
        yield _equal(f"missing of the engine's {name}", missing, [])
