"""What the operating system cannot do becomes one error, whichever library reports it, and never a verdict."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import anthropic
import pytest
import requests

from aira_bench import files
from aira_bench.docker_engine.failures import EngineWords, engine_call
from aira_bench.errors import MachineError, SandboxError
from aira_bench.files import Unacceptable
from aira_bench.machine_failures import about, machine_failure, machine_failures
from aira_bench.testing import Call, Done
from played_host import played_host, played_sandbox, request
from runs.test_launch import run


def chained(*errors: Exception) -> Exception:
    """The last exception, raised while the ones before it were handled, as libraries do."""
    for error, before in zip(errors[1:], errors, strict=False):
        error.__context__ = before
    return errors[-1]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cause: chained(cause, OSError("Connection aborted."), requests.ConnectionError("no answer")),
        lambda cause: chained(cause, anthropic.APIConnectionError(request=None)),  # type: ignore[arg-type]
    ],
)
def test_a_library_that_dresses_up_a_failure_of_the_machine_is_seen_through(
    wrap: Callable[[Exception], Exception],
) -> None:
    failure = machine_failure(wrap(OSError(errno.EMFILE, os.strerror(errno.EMFILE))))
    assert failure is not None
    assert "no file descriptors left" in failure.message
    assert machine_failure(wrap(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))) is None


def test_what_a_failure_was_raised_in_place_of_is_no_cause() -> None:
    """An agent's code that met MemoryError in `ast.parse`, which has a limit of its own, and raises another error."""
    try:
        raise MemoryError
    except MemoryError:
        with pytest.raises(ValueError, match="too deep") as caught:
            raise ValueError("too deep for me") from None
    assert isinstance(caught.value.__context__, MemoryError)
    assert machine_failure(caught.value) is None
    chosen = ValueError("mine")
    chosen.__context__, chosen.__cause__ = MemoryError(), OSError(errno.ENOSPC, "No space left on device")
    failure = machine_failure(chosen)
    assert failure is not None
    assert "the disk is full" in failure.message


def test_a_folder_that_cannot_be_copied_for_want_of_disk_is_no_defect() -> None:
    failed = [("a", "b", "[Errno 28] No space left on device: 'b'"), ("c", "d", "[Errno 28] No space left on device")]
    failure = machine_failure(shutil.Error(failed))
    assert failure is not None
    assert "the disk is full" in failure.message
    assert machine_failure(shutil.Error([("a", "b", "[Errno 13] Permission denied: 'b'")])) is None


def test_want_of_descriptors_is_no_failure_of_the_engine() -> None:
    with pytest.raises(MachineError), engine_call(EngineWords(), "do it"):
        raise requests.ConnectionError("no answer") from OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(SandboxError), engine_call(EngineWords(), "do it"):
        raise requests.ConnectionError("no answer") from ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("call", "number", "expected"),
    [("open", errno.EMFILE, MachineError), ("read", errno.EIO, MachineError), ("open", errno.EACCES, Unacceptable)],
)
def test_a_file_that_the_machine_cannot_read_is_not_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, expected: type[Exception]
) -> None:
    (tmp_path / "file").write_bytes(b"whole")

    def failing(*arguments: object, **more: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(expected) as caught:
        files.read_file(tmp_path, "file", 100)
    monkeypatch.undo()
    assert (str(tmp_path / "file") in str(caught.value)) == (expected is MachineError)


def test_whatever_befalls_a_run_folder_is_the_machines_failure(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=f"{tmp_path}/gone: No such file"), machine_failures(tmp_path):
        (tmp_path / "gone").read_bytes()
    with pytest.raises(FileNotFoundError), machine_failures(tmp_path / "elsewhere"):
        (tmp_path / "gone").read_bytes()
    with pytest.raises(MachineError, match=f"{tmp_path}: the disk is full"), machine_failures(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RecursionError), machine_failures(tmp_path):
        raise RecursionError
    with pytest.raises(OSError, match="full") as caught, about(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    "failure",
    [MemoryError(), OSError(errno.ENOSPC, "No space left on device"), RuntimeError("can't start new thread")],
    ids=["memory", "disk", "threads"],
)
def test_a_seed_that_the_machine_fails_halts_and_blames_nobody(tmp_path: Path, failure: Exception) -> None:
    begun = threading.Event()

    def program(call: Call) -> Done:
        begun.set()
        raise failure

    host = played_host(tmp_path, played_sandbox(agent=program))
    with pytest.raises(MachineError, match="What is recorded is safe"):
        run(host, request())
    assert begun.is_set()
    journal = (host.paths.runs / "run" / "seeds" / "0" / "journal.jsonl").read_text()
    assert "step_started" in journal
    assert "step_ended" not in journal
