"""A run that would run out of file descriptors is refused before it begins; a limit that may be raised is raised."""

import os
import resource
from collections.abc import Callable

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.runs.descriptors import A_SLOT, require_descriptors


def in_child(limits: tuple[int, int], work: Callable[[], str]) -> str:
    """What `work` returns in a process of its own with those limits on open files."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


def limit_after(slots: int, seeds: int) -> str:
    try:
        require_descriptors(slots, seeds)
    except PrerequisiteError as error:
        return str(error)
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def test_a_limit_that_suffices_stays() -> None:
    assert in_child((900, 900), lambda: limit_after(2, 2)) == "900"


def test_a_soft_limit_is_raised_as_far_as_needed() -> None:
    assert 64 * A_SLOT < int(in_child((256, 4096), lambda: limit_after(64, 64))) < 4096


def test_a_hard_limit_that_is_too_low_stops_the_run_before_it_begins() -> None:
    said = in_child((256, 256), lambda: limit_after(64, 64))
    assert "64 slots and 64 seeds need about" in said
    assert "this process may have 256" in said
    assert "--concurrency" in said


@pytest.mark.parametrize("hard", [200, 300, 500])
def test_the_number_of_slots_that_the_line_names_is_accepted(hard: int) -> None:
    said = in_child((hard, hard), lambda: limit_after(40, 1))
    named = int(said.rpartition("--concurrency ")[2])
    assert in_child((hard, hard), lambda: limit_after(named, 1)) == str(hard)
