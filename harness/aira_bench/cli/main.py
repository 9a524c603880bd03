"""Parses the command line and turns errors into one line and an exit status.

Exit status: 0 done; 1 a check or comparison failed; 2 wrong usage; 3 the machine lacks something; 4 a task folder is
broken; 5 the container engine failed; 6 a run folder cannot be used; 7 a model provider refused; 8 a budget is used
up; 9 the machine failed (disk, descriptors, threads, memory), resumable; 10 a run ended and nothing was scored; 130
stopped by Ctrl-C, SIGTERM or SIGHUP, resumable. A run of which some seeds halted exits with what the first halted for.

Commands import what they need when they are called: `--help` must stay under 0.2 s.
"""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from aira_bench.cli import (
    agents,
    aggregate,
    analyze,
    architectures,
    check,
    cluster,
    confirm,
    doctor,
    export,
    extensions,
    extrapolate,
    figures,
    grow,
    images,
    init,
    judge,
    key,
    leaderboard,
    merge,
    noise,
    prepare,
    reproduce,
    resume,
    run,
    scale,
    show,
    status,
    submit,
    suite,
    tasks,
    verify,
    view,
    worker,
)
from aira_bench.cli import report as report_command
from aira_bench.cli.objects import runs_on_objects
from aira_bench.cli.options import report
from aira_bench.cli.stopping import STOPPED, Stopping
from aira_bench.errors import AiraError, PrerequisiteError
from aira_bench.escaping import one_line
from aira_bench.machine_failures import machine_failure
from aira_bench.terminal import tell, tolerate_any_text
from aira_bench.version import __version__
from aira_bench.waiting import Stopped

COMMANDS = (
    run, resume, suite, confirm, worker, judge, cluster, status, show, view, report_command, export, leaderboard,
    figures, verify, submit, merge, noise, tasks, agents, extensions, prepare, images, doctor, reproduce, aggregate,
    extrapolate, architectures, scale, grow, analyze, key, init, check,
)  # fmt: skip
_STATES_OF_FILES = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
}  # fmt: skip
_EPILOG = """examples:
  aira-bench doctor
  aira-bench run --agent evolution --task mad-2p --profile cpu --seeds 2
  aira-bench leaderboard

exit status: 0 done, 1 a check failed, 2 usage, 3 missing prerequisite, 4 broken task, 5 engine failure,
6 unusable run folder, 7 model provider, 8 budget used up, 9 machine failure (resumable), 10 nothing
was scored, 130 stopped (resumable)
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and end with the next command."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Name the choice that is most like an unknown one."""
        from aira_bench.near_names import nearest

        if action.choices is not None and value not in action.choices and isinstance(value, str):
            close = nearest(value, map(str, action.choices))
            if close is not None:
                raise argparse.ArgumentError(action, f"invalid choice: {value!r}, did you mean {close!r}?")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        self.exit(
            2, f"aira-bench: error: {one_line(message)}{'' if message.endswith('?') else '.'} Try: {self.prog} --help\n"
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, every command registered."""
    parser = _Parser(
        prog="aira-bench",
        description="Benchmark LLM agents that discover neural architectures, in containers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aira-bench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for command in COMMANDS:
        command.register(commands)
    return parser


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status."""
    tolerate_any_text()
    args = build_parser().parse_args(arguments)
    args.typed = ("aira-bench", *arguments)
    with Stopping().listening() as stopping:
        return _handled(args, stopping)


def _handled(args: argparse.Namespace, stopping: Stopping) -> int:
    try:
        with runs_on_objects(args):
            return _carried_out(args, stopping)
    except KeyboardInterrupt:
        return _stopped(stopping)
    except BrokenPipeError:
        _discard(sys.stdout)
        return 0
    except AiraError as error:
        return _report(error)
    except (OSError, MemoryError, RuntimeError) as error:
        return _report(_of_the_machine(error))


def _carried_out(args: argparse.Namespace, stopping: Stopping) -> int:
    try:
        status: int = args.handle(args)
        sys.stdout.flush()
        return status
    except (KeyboardInterrupt, Stopped):  # how to go on is said while it is known where the runs are
        return _stopped(stopping)
    except RuntimeError as error:  # as Python itself has it that was interrupted while it made a class
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _stopped(stopping)
        raise


def _stopped(stopping: Stopping) -> int:
    with contextlib.suppress(OSError):  # a terminal that was closed has stopped us
        tell(stopping.last_words())
    return STOPPED


def _of_the_machine(error: OSError | MemoryError | RuntimeError) -> AiraError:
    """What befell the machine or a file that the user named, as an error of ours.

    Raises:
        Exception: `error` itself, if no state of the machine explains it: a defect of ours.
    """
    failure = machine_failure(error)
    if failure is not None:
        return failure
    if isinstance(error, OSError) and error.errno in _STATES_OF_FILES and error.filename:
        return PrerequisiteError(f"{error.filename}: {error.strerror}.", hint="another path, or ls -ld on this one")
    raise error


def _report(error: AiraError) -> int:
    try:
        report(error)
    except OSError:  # stderr itself is on the full disk; what is buffered must not fail once more at the end
        _discard(sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
    return error.exit_code


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
