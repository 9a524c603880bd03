"""What one container can tell another: the instrument sees channels that are open, and production closes them."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox import hardening
from aira_bench.sandbox.channels import ROWS, Reading, Setting, measure
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.hardening import ContainerPlace
from aira_bench.sandbox.inside.channels import PILOT_BITS, WAYS, decode, pilot
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, PreparedContainer, Role

ATTEMPTS = 3
"""On a busy machine time slots are missed: a channel is open if one of a few tables says so."""


def reading(error_rate: float | None, *, bits: int = 1000, seconds: float = 1.0, known: bool = False) -> Reading:
    return Reading("medium", "at once", bits, seconds, error_rate, "a wall", known_open=known)


@pytest.mark.parametrize(
    ("error_rate", "capacity", "state"),
    [
        (None, 0.0, "refused"),
        (0.0, 1000.0, "OPEN"),
        (1.0, 1000.0, "OPEN"),
        (0.11, 500.0, "OPEN"),
        (0.5, 0.0, "closed"),
        (0.46, 0.0, "closed"),
    ],
)
def test_the_capacity_is_that_of_a_binary_symmetric_channel(
    error_rate: float | None, capacity: float, state: str
) -> None:
    seen = reading(error_rate)
    assert seen.capacity_bits_a_s == pytest.approx(capacity, abs=1)
    assert seen.state == state


def test_a_rate_below_the_goal_is_closed_and_a_stated_channel_is_named_as_such() -> None:
    assert reading(0.0, bits=100, seconds=20).state == "closed"
    assert reading(0.0, bits=100, seconds=5).state == "OPEN"
    assert reading(0.0, bits=100, seconds=5, known=True).state == "open, as stated"
    assert reading(0.0, bits=5, seconds=0.1).state == "OPEN", "all five bits of a counter"
    assert reading(0.2, bits=5, seconds=0.1).state == "closed"


@given(st.lists(st.integers(0, 1), min_size=1), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.booleans())
def test_whatever_zero_and_one_look_like_the_pilot_tells(
    message: list[int],
    level: float,
    gap: float,
    ones_are_lower: bool,
) -> None:
    looks = [level, level - gap if ones_are_lower else level + gap]
    if looks[0] == looks[1]:
        return
    assert decode([looks[bit] for bit in [*pilot(), *message]]) == "".join(map(str, message))


def test_every_row_has_a_way_and_every_way_a_row() -> None:
    assert [row.name for row in ROWS] == list(WAYS)
    assert PILOT_BITS % 2 == 0


class Unread:
    """A sandbox that is not told that data never changes, so that nobody reads it first or gets a copy."""

    def __init__(self, sandbox: DockerSandbox) -> None:
        self._sandbox = sandbox

    def prepare(self, spec: ContainerSpec) -> PreparedContainer:
        return self._sandbox.prepare(replace(spec, mounts=tuple(replace(each, content=None) for each in spec.mounts)))

    def sweep(self, run_id: str) -> int:
        return self._sandbox.sweep(run_id)

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        return self._sandbox.isolation(image, role, gpu=gpu)


def without_walls(spec: ContainerSpec, place: ContainerPlace) -> dict[str, Any]:
    """A container as before there were walls between containers."""
    body = hardening.step_body(replace(spec, mounts=()), replace(place, kernel_files=None))
    host = body["HostConfig"]
    host["SecurityOpt"] = ["no-new-privileges", "seccomp=unconfined"]
    host["MaskedPaths"] = []
    del host["Tmpfs"]["/sys"]
    host["Mounts"] = [mount for mount in host["Mounts"] if not mount["Target"].startswith("/sys")]
    folders = [
        {"Type": "bind", "Source": str(m.source), "Target": str(m.target), "ReadOnly": True} for m in spec.mounts
    ]
    host["Mounts"] += folders
    return body


SEEN = {
    "names in a small folder": 256, "names in a large folder": 256, "pages of a cold file": 256, "mapped pages": 128,
    "vmstat": 32, "ports": 120, "record locks": 256, "flock": 200, "pending signals": 64, "terminals": 64,
    "inotify": 48, "event counters": 128, "waiters at a file": 48,
}  # fmt: skip
CLOSED = {
    **SEEN,
    "names in /sys": 256,
    "socket cookies": 8,
    "process descriptors": 16,
    "processes": 16,
    "meminfo": 16,
    "sysinfo": 16,
}
DEPENDS_ON_THE_KERNEL = {"names in a large folder", "mapped pages", "names in /sys", "waiters at a file"}
"""Closed at once by file trees of their own alone."""


def table(sandbox: Any, image: str, bits: Mapping[str, int]) -> dict[str, Reading]:  # noqa: ANN401
    rows = [replace(row, bits=bits[row.name]) for row in ROWS if row.name in bits]
    return {each.medium: each for each in measure(Setting(sandbox, image, random.Random(), rows), "at once")}


@pytest.mark.docker
def test_without_walls_the_instrument_sees_each_channel(
    engine: DockerEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardening, "user", lambda role, place: (hardening.TRUSTED_UID, hardening.TRUSTED_UID))
    deaf = dict(SEEN)
    with DockerSandbox(engine, without_walls, own_trees=False) as sandbox:
        for _ in range(ATTEMPTS):
            readings = table(Unread(sandbox), image, deaf)
            deaf = {name: bits for name, bits in deaf.items() if readings[name].capacity_bits_a_s == 0}
            if not deaf:
                break
    assert not deaf, readings


@pytest.mark.docker
def test_with_walls_nothing_gets_through_at_once(engine: DockerEngine, image: str) -> None:
    with DockerSandbox(engine) as sandbox:
        own_trees = sandbox.isolation(image, "agent", gpu=False).word == "own trees"
        bits = {name: bits for name, bits in CLOSED.items() if own_trees or name not in DEPENDS_ON_THE_KERNEL}
        seen = []
        for _ in range(
            ATTEMPTS
        ):  # a few dozen bits look like a message once in a while; a channel carries them each time
            readings = table(sandbox, image, bits)
            seen.append({name: each for name, each in readings.items() if each.state == "OPEN"})
            bits = {name: bits[name] for name in seen[-1]}
            if not bits:
                break
    assert not bits, seen


@pytest.mark.docker
def test_with_walls_nothing_is_left_for_a_later_container(engine: DockerEngine, image: str) -> None:
    rows = [replace(row, bits_after=min(row.bits_after, 256)) for row in ROWS if row.bits_after and not row.known_open]
    seen = []
    with DockerSandbox(engine) as sandbox:
        for _ in range(ATTEMPTS):
            readings = measure(Setting(sandbox, image, random.Random(), rows), "after")
            seen.append([each for each in readings if each.state == "OPEN"])
            rows = [row for row in rows if row.name in {each.medium for each in seen[-1]}]
            if not rows:
                break
    assert not rows, seen
