"""Examines every machine of a cluster, and says what keeps them from working on the same runs.

A machine is reached as workers are, by a launcher, and leaves its report in a folder of the runs (`node`). What must be
alike is compared with this machine where runs are made here (version, key), and else with the first that has it.

Not covered: how fast machines are, and the network between them.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.doctor.diagnosis import Diagnosis
from aira_bench.doctor.node import HELLO, PING, PONG, NodeReport, decode_report, read_report
from aira_bench.errors import AiraError
from aira_bench.files import write_atomically
from aira_bench.keys import KeyRing, short
from aira_bench.launchers.launcher import Fleet, Launcher, WorkerOrder
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.version import __version__

MOST_SKEW_S = 5.0
"""Leases never ask what time it is; records and people do."""
_LOOK_S = 0.05
_LATE_S = 5.0
"""For how long a report may be on its way through a file server when its process has ended."""


@dataclass
class ClusterNode:
    """One machine of the cluster, and what is known of it."""

    name: str
    """As the engine calls it."""
    place: Path
    fleet: Fleet | None = None
    pinged_s: float | None = None
    skew_s: tuple[float, float] | None = None
    """By how much its clock is ahead, at least and at most."""
    report: NodeReport | None = None
    gaps: list[Diagnosis] = field(default_factory=list)
    ended_s: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.report is not None or self.fleet is None

    @property
    def is_fit(self) -> bool:
        """Whether workers can work there."""
        return all(gap.state != "failed" for gap in self.gaps)


def examine_cluster(
    launcher: Launcher,
    order: Callable[[str, Path], WorkerOrder],
    place: Path,
    ring: KeyRing,
    within_s: float,
    note: Callable[[str], None],
) -> list[ClusterNode]:
    """Have every machine of a launcher's engine examined; return all of them with their gaps.

    Args:
        launcher: reaches them.
        order: given a machine's name and the folder for its report, what to start there.
        place: a folder that all of them should see, which is made.
        ring: the keys of this machine, where runs are made.
        within_s: how long to wait for the slowest.
        note: told in a line who was examined.

    Raises:
        PrerequisiteError: the engine is not there.
    """
    nodes = []
    for number, machine in enumerate(launcher.machines()):
        node = ClusterNode(machine.name, place / str(number))
        nodes.append(node)
        if machine.why_not:
            node.gaps.append(Diagnosis("reached", "failed", machine.why_not, machine.mend))
            continue
        node.place.mkdir(parents=True)
        try:
            node.fleet = launcher.start(order(node.name, node.place))
        except AiraError as error:
            node.gaps.append(Diagnosis("reached", "failed", error.message, error.hint or ""))
    try:
        _wait(nodes, within_s, note)
    finally:
        for node in nodes:
            if node.fleet is not None and node.report is None:
                node.fleet.stop(0)
    for node in nodes:
        node.gaps += _own_gaps(node, ring)
    _compare(nodes)
    return nodes


def examine_judges(judges: JudgeNodes, profile: str, note: Callable[[str], None]) -> list[ClusterNode]:
    """Have every judge node report; return all of them with what keeps runs of this machine from being judged there."""
    nodes = []
    for judge, found in judges.examined(profile):
        node = ClusterNode(judge.told(judge.address) or judge.role, Path())
        nodes.append(node)
        try:
            node.report = decode_report(found) if isinstance(found, bytes) else None
            seen = "" if isinstance(found, bytes) else found
        except ValueError as error:
            seen = f"its report cannot be read: {error}"
        if node.report is None:
            node.gaps.append(Diagnosis("reached", "failed", seen, "ssh to it by hand, or aira-bench doctor there"))
            continue
        note(f"{node.name}: {node.report.host} has reported")
        node.gaps += [finding for finding in node.report.findings if finding.state != "ok"] + _version_gap(node.report)
    _compare(nodes)
    return nodes


def _version_gap(found: NodeReport) -> list[Diagnosis]:
    if found.version == __version__:
        return []
    seen = f"{found.version}, and runs are made by {__version__}"
    return [Diagnosis("aira-bench", "failed", seen, f"pip install aira-bench=={__version__}")]


def _wait(nodes: Sequence[ClusterNode], within_s: float, note: Callable[[str], None]) -> None:
    ends_s = time.monotonic() + within_s
    while not all(node.is_known for node in nodes):
        for node in nodes:
            if not node.is_known:
                _look(node, note)
        if time.monotonic() > ends_s:
            for node in nodes:
                if not node.is_known:
                    _give_up(node, f"no report within {within_s:.0f} s", "is it busy? --within with more seconds")
        time.sleep(_LOOK_S)


def _look(node: ClusterNode, note: Callable[[str], None]) -> None:
    """Take what has come from a machine since."""
    assert node.fleet is not None, "it was started"
    if node.pinged_s is None and (node.place / HELLO).exists():
        node.pinged_s = time.time()
        write_atomically(node.place / PING, b"")
    if node.skew_s is None and node.pinged_s is not None and (node.place / PONG).exists():
        its_s = float((node.place / PONG).read_text())
        node.skew_s = (its_s - time.time(), its_s - node.pinged_s)
    try:
        node.report = read_report(node.place)
        note(f"{node.name}: {node.report.host} has reported")
    except FileNotFoundError:
        if node.fleet.alive():
            return
        node.ended_s = node.ended_s or time.monotonic()
        if time.monotonic() - node.ended_s > _LATE_S:
            logs = node.place.parent / "logs"
            _give_up(
                node, f"it ended without a report; it has no aira-bench, or does not see {node.place}", f"ls {logs}"
            )
    except ValueError as error:
        _give_up(node, f"its report cannot be read: {error}", "the same version of aira-bench on all machines")


def _give_up(node: ClusterNode, seen: str, mend: str) -> None:
    node.gaps.append(Diagnosis("reached", "failed", seen, mend))
    if node.fleet is not None:
        node.fleet.stop(0)
    node.fleet = None


def _own_gaps(node: ClusterNode, ring: KeyRing) -> list[Diagnosis]:
    """What a machine lacks by itself, or beside this one."""
    found = node.report
    if found is None:
        return []
    gaps = [finding for finding in found.findings if finding.state != "ok"] + _version_gap(found)
    if ring.own is not None and found.key != ring.own:
        if ring.own in found.trusted:
            seen = f"it signs as {short(found.key) or 'nobody yet'}: boards here name its records' key"
            gaps.append(
                Diagnosis("key", "warning", seen, f"aira-bench key trust ed25519:{found.key}" if found.key else "")
            )
        else:
            seen = f"it does not know the key {short(ring.own)} that signs runs made here, so it leaves them alone"
            gaps.append(Diagnosis("key", "failed", seen, f"aira-bench key trust ed25519:{ring.own}"))
    if node.skew_s is not None and not -MOST_SKEW_S <= _least(node.skew_s) <= MOST_SKEW_S:
        gaps.append(Diagnosis("clock", "warning", skew_told(node.skew_s), "chronyc tracking, or timedatectl"))
    return gaps


def _least(skew_s: tuple[float, float]) -> float:
    """The smallest skew that explains what was seen."""
    low, high = skew_s
    return low if low > 0 else high if high < 0 else 0.0


def skew_told(skew_s: tuple[float, float] | None) -> str:
    """Return what is known of a clock, in words."""
    if skew_s is None:
        return "-"
    low, high = skew_s
    if low <= 0 <= high:
        return f"within {max(-low, high):.1f} s"
    return f"{low:.1f} to {high:.1f} s ahead" if low > 0 else f"{-high:.1f} to {-low:.1f} s behind"


def _compare(nodes: Sequence[ClusterNode]) -> None:
    """Note where machines differ in what one run needs alike."""
    reported = [(node, node.report) for node in nodes if node.report is not None]
    for what, mend in (
        ("images", "aira-bench images save, and load on the others"),
        ("data", "the same AIRA_HOME or hidden key on all, then aira-bench prepare"),
    ):
        first: dict[str, tuple[str, str]] = {}
        for node, found in reported:
            having: Mapping[str, str] = getattr(found, what)
            for name, value in having.items():
                if not value:
                    continue
                other, its = first.setdefault(name, (node.name, value))
                if its != value:
                    seen = f"{name} is {value} here and {its} on {other}, and a run goes on with one alone"
                    node.gaps.append(Diagnosis(what, "failed", seen, mend))
    classes = Counter(found.hardware_class for _, found in reported)
    if len(classes) > 1:
        usual = classes.most_common(1)[0][0]
        for node, found in reported:
            if found.hardware_class != usual:
                seen = f"{found.hardware_class}, and others are {usual}: a run stays on one class"
                node.gaps.append(Diagnosis("hardware class", "warning", seen, "runs of their own for each class"))
