"""The judge nodes of a run: which there are, whether they can judge for it, and one that is asked.

Nodes are called by their place in the list, `judge node 2`, wherever something is recorded: their addresses are told to
whoever sits at the terminal alone.

Not covered: what becomes of a verdict that is not to be had (`aira_bench.runs.retries`).
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Literal

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.remote_judging.messages import (
    MOST_VERDICT_BYTES,
    PROTOCOL,
    Asking,
    Body,
    BrokenMessage,
    Busied,
    Examined,
    Examining,
    Failing,
    Judged,
    Opened,
    Opening,
    Unlike,
    packed,
    read_message,
)
from aira_bench.remote_judging.wires import Wire, WireBroken, ray_wire, ssh_names, ssh_wire
from aira_bench.sandbox.core_share import MOST_TIMES

OPTION, VARIABLE = "--judge-on", "AIRA_JUDGE_ON"
SILENCE_S = 60.0
"""After which a node that says nothing is lost: twelve times what it lets pass."""
_GRACE_S = 120.0
"""For an evaluation's beginning and end, beyond the time that it has."""
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%-]{0,254}")
_RESOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MAYBE_ADDRESS = re.compile(r"(?<![\w.:])[0-9A-Fa-f:.]{3,}(?:%\w+)?")
_MOST_NODES = 64
Note = Callable[[str], None]


class NodeLost(Exception):
    """A node cannot be reached, fell silent, or says what is none of the protocol; in one line."""

    def __init__(self, why: str, *, judging: bool = False) -> None:
        super().__init__(why)
        self.judging = judging
        """Whether an evaluation had begun there."""


class NodeUnlike(Exception):
    """Something on a node is not what the run expects, in one line."""


@dataclass(frozen=True)
class JudgeNode:
    """One node, and the way to it."""

    role: str
    address: str
    connect: Callable[[], Wire]
    other_names: Callable[[], Sequence[str]] = tuple
    """What the way to it calls it in its own words."""

    def told(self, text: str) -> str:
        """Return words about it without its address, its other names, or any address of the internet."""
        if not self.address:
            return text
        names = sorted({self.address.rpartition("@")[2], *self.other_names()}, key=len, reverse=True)
        for name in names:
            text = re.sub(rf"(?<![\w.-])(?:[\w.-]+@)?{re.escape(name)}(?:\.[\w-]+)*(?![\w-])", self.role, text)
        return _MAYBE_ADDRESS.sub(self._without_address, text)

    def _without_address(self, found: re.Match[str]) -> str:
        word = found[0].rstrip(":.")
        try:
            ip_address(word.partition("%")[0])
        except ValueError:
            return found[0]
        return self.role + found[0][len(word) :]


@dataclass(frozen=True)
class JudgeNodes:
    """The machines that `--judge-on` names, and the way to them."""

    by: Literal["ssh", "ray"]
    nodes: tuple[JudgeNode, ...]
    text: str
    """As the user wrote it."""

    @classmethod
    def of(cls, text: str) -> "JudgeNodes":
        """Read `HOST[,HOST...]`, `ssh:HOST[,HOST...]` or `ray:RESOURCE`.

        Raises:
            UsageError: it is none of them.
        """
        way, colon, names = text.partition(":")
        if colon and way == "ray":
            if not _RESOURCE.fullmatch(names):
                raise UsageError(f"{OPTION} {text[:80]!r} names no custom resource of Ray.", hint=f"{OPTION} ray:judge")
            return cls("ray", (JudgeNode(f"the node with Ray's {names}", "", partial(ray_wire, names)),), text)
        hosts = (names if colon and way == "ssh" else text).split(",")
        if len(hosts) > _MOST_NODES or len(set(hosts)) < len(hosts) or not all(map(_HOST.fullmatch, hosts)):
            raise UsageError(f"{OPTION} {text[:80]!r} names no hosts.", hint=f"{OPTION} ssh:HOST,HOST or ray:RESOURCE")
        nodes = [
            JudgeNode(f"judge node {number}", host, partial(ssh_wire, host), partial(ssh_names, host))
            for number, host in enumerate(hosts, start=1)
        ]
        return cls("ssh", tuple(nodes), text)

    def agreed(self, opening: Opening, note: Note) -> Opened:
        """Ask every node whether it can judge, and return what those say that answer, which is the same.

        Raises:
            PrerequisiteError: none answers, or one has something else than the run, or than another.
        """
        check, found = f"aira-bench cluster check --judge-on {self.text}", dict[str, Opened]()
        lost = []
        for node in self.nodes:
            note(f"{node.role}{node.address and f' is {node.address}'}: preparing and checking")
            try:
                connection = NodeConnection(node, opening, note)
            except NodeLost as error:
                lost.append(str(error))
                note(str(error))
                continue
            except NodeUnlike as error:
                raise PrerequisiteError(f"{error}.", hint=check) from error
            connection.close()
            found[node.role] = connection.opened
        if not found:
            raise PrerequisiteError(
                f"No judge node can be used: {'; '.join(lost)}.",
                hint=f"aira-bench cluster check --judge-on {self.text}",
            )
        (first, its), *others = found.items()
        for role, other in others:
            if differing := _differing(its, other):
                raise PrerequisiteError(
                    f"{role} has another {differing} than {first}, and a run's judges must be alike.",
                    hint="one hidden key, one version and one kind of machine on all judge nodes",
                )
        return its

    def examined(self, profile: str) -> Iterable[tuple[JudgeNode, bytes | str]]:
        """Ask each node for its report; yield that, or why there is none."""
        for node in self.nodes:
            try:
                talk = _Talk(node)
                try:
                    yield node, talk.examined(profile)
                finally:
                    talk.close()
            except NodeLost as error:
                yield node, str(error)


def _differing(one: Opened, other: Opened) -> str | None:
    pairs = {
        "hidden key": (one.hidden.key, other.hidden.key),
        "hidden data": (one.hidden, other.hidden),
        "hardware class": (one.hardware_class, other.hardware_class),
        "set of walls": (one.missing_walls, other.missing_walls),
    }
    return next((what for what, (here, there) in pairs.items() if here != there), None)


class _Talk:
    """A wire to a node, and messages on it."""

    def __init__(self, node: JudgeNode) -> None:
        self.node = node
        try:
            self._wire = node.connect()
        except WireBroken as error:
            raise self.lost(str(error)) from error

    def close(self) -> None:
        self._wire.close()

    def lost(self, why: str, *, judging: bool = False) -> NodeLost:
        return NodeLost(f"{self.node.role}: {self.node.told(why)}", judging=judging)

    def tell(self, body: Body, content: bytes = b"") -> None:
        try:
            self._wire.send(packed(body, content), SILENCE_S)
        except WireBroken as error:
            raise self.lost(str(error)) from error

    def hear(self, *, judging: bool = False) -> tuple[Body, bytes]:
        try:
            return read_message(partial(self._wire.receive, timeout_s=SILENCE_S), lambda: MOST_VERDICT_BYTES)
        except WireBroken as error:
            raise self.lost(str(error), judging=judging) from error
        except BrokenMessage as error:
            raise self.lost(f"what it says is no message of this version: {error}", judging=judging) from error

    def examined(self, profile: str) -> bytes:
        """Raises NodeLost if there is no report."""
        self.tell(Examining(protocol=PROTOCOL, profile=profile))
        while True:
            body, content = self.hear()
            if isinstance(body, Examined):
                return content
            if not isinstance(body, Busied):
                raise self.lost(body.message if isinstance(body, Failing) else f"it answered with {body.kind!r}")


class NodeConnection(_Talk):
    """A node that judges for a run."""

    def __init__(self, node: JudgeNode, opening: Opening, note: Note = lambda text: None) -> None:
        """Have the node prepare and compare.

        Raises:
            NodeLost: it cannot be used now.
            NodeUnlike: it is not what the run expects.
        """
        super().__init__(node)
        try:
            self.opened = self._open(opening, note)
        except BaseException:
            self.close()
            raise

    def _open(self, opening: Opening, note: Note) -> Opened:
        self.tell(opening)
        said = ""
        while True:
            body, _ = self.hear()
            if isinstance(body, Busied):
                if body.told and body.told != said:
                    said = body.told
                    note(f"{self.node.role}: {said}")
            elif isinstance(body, Opened):
                return body
            elif isinstance(body, Unlike):
                raise NodeUnlike(
                    f"{self.node.role} is not what the run expects: {body.what} is {body.found} there, "
                    f"expected {body.expected}"
                )
            else:
                raise self.lost(body.message if isinstance(body, Failing) else f"it answered with {body.kind!r}")

    def ask(
        self, asking: Asking, content: bytes, sha256: str, clock: Callable[[], float] = time.monotonic
    ) -> tuple[Judged | Failing, bytes]:
        """Ask for a verdict, and wait for it.

        Raises:
            NodeLost: the node is gone, or is not done long after its time.
        """
        self.tell(asking, content)
        began_s: float | None = None
        while True:
            body, verdict = self.hear(judging=began_s is not None)
            if isinstance(body, Busied):
                if body.judging and began_s is None:
                    began_s = clock()
                if began_s is not None and clock() - began_s > MOST_TIMES * asking.limit_s + _GRACE_S:
                    raise self.lost(f"it is not done {clock() - began_s:.0f} s after it began", judging=True)
            elif isinstance(body, Failing) or (isinstance(body, Judged) and _is_of(body, asking, sha256)):
                return body, verdict
            else:
                raise self.lost("it answered something else than it was asked", judging=began_s is not None)


def _is_of(judged: Judged, asking: Asking, sha256: str) -> bool:
    return (judged.id, judged.submission_sha256) == (asking.id, sha256)
