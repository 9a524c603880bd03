"""How commands that work on a run end: with a board, with what seeds halted for, or with the command that goes on.

Not covered: the search itself (`aira_bench.runs`), and the signals that stop it (`stopping`).
"""

import argparse
import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from aira_bench.cli.launching import engine_options
from aira_bench.cli.options import judge_options, report
from aira_bench.cli.stopping import current
from aira_bench.errors import (
    AiraError,
    BudgetExceeded,
    MachineError,
    ModelError,
    NothingScored,
    PrerequisiteError,
    RunStateError,
    SandboxError,
)
from aira_bench.files import Unacceptable
from aira_bench.machine_failures import machine_failure
from aira_bench.shared_store.places import typed

if TYPE_CHECKING:
    from aira_bench.cli.display import RunDisplay
    from aira_bench.record.folder import RunFolder

_MOST_WINNERS = 50
"""Seeds whose winner stands below a board."""
_EMPTY_PROGRAM = hashlib.sha256(b"").hexdigest()


class RunEnding:
    """The end of one command that works on a run."""

    def __init__(
        self,
        args: argparse.Namespace,
        display: "RunDisplay",
        folder: "RunFolder",
        name: str,
        confirming: Sequence[str] = (),
    ) -> None:
        """Settle what is said if the command is stopped.

        Args:
            args: the command's; `runs`, `runtime` and `json` are used.
            display: shows the run.
            folder: of the run, which need not be there yet.
            name: how the user calls the run.
            confirming: options of a command that goes on with its confirmation.
        """
        self._args, self._display, self._folder, self._name = args, display, folder, name
        self._confirming = tuple(confirming)
        stopping = current()
        stopping.shown, stopping.way_on = display.show_stopping, self._way_on

    def of(self, work: "Callable[[], RunFolder]") -> int:
        """Do the work under the live display; show what came of it, and return the exit status.

        Raises:
            KeyboardInterrupt, Stopped: it was stopped.
            AiraError: it failed before any seed began.
        """
        from aira_bench.keys import KeyFolder
        from aira_bench.paths import host_paths
        from aira_bench.view.index import index_kept

        paths = host_paths(self._args.runs)
        try:
            with index_kept(self._folder, paths.home, KeyFolder(paths.keys)), self._display.live():
                work()
            show_board(self._folder, as_json=self._args.json)
            return self._scored()
        except AiraError as error:
            if self._display.halted:
                return self._halted(error)
            raise self._with_way_on(error) from error
        except (OSError, MemoryError, RuntimeError) as error:
            machine = machine_failure(error)
            if machine is None:
                raise
            raise self._with_way_on(machine) from error

    def _with_way_on(self, error: AiraError) -> AiraError:
        """An error from outside all seeds; where it left a run that can go on, it says how."""
        mendable = isinstance(error, MachineError | SandboxError | ModelError | PrerequisiteError)
        if not mendable or (way_on := self._resumption()) is None:
            return error
        error.hint = f"{error.hint}, then {way_on}" if error.hint else way_on
        return error

    def _halted(self, error: AiraError) -> int:
        """Show what the other seeds came to, and last which halted, for what, and how to go on."""
        from aira_bench.terminal import tell

        ended = [seed for seed, is_over in self._is_over().items() if is_over]
        if ended:
            show_board(self._folder, as_json=self._args.json)
        self._tell_spent()
        reasons: dict[tuple[str, str | None], list[int]] = {}
        for seed, each in sorted(self._display.halted.items()):
            reasons.setdefault((each.message, each.hint), []).append(seed)
        for (message, hint), seeds in reasons.items():
            report(AiraError(f"{_seeds(seeds)} halted: {message}", hint=hint))
        others = f"{_seeds(ended)} ended. " if ended else ""
        tell(f"aira-bench: {others}Go on with: {self._way_on()}")
        return error.exit_code

    def _scored(self) -> int:
        """Return 0 if a step was scored, or none was to be; else say so and return what stands for that."""
        self._tell_spent()
        plan = self._folder.manifest.plan
        nodes = [node for seed in plan.seeds for node in self._folder.seed(seed).nodes]
        classes = Counter(node.step_class for node in nodes)
        # Of an agent that is made for it; a file of the user's that is empty is a mistake.
        submits_nothing = (
            bool(nodes)
            and not plan.agent.startswith("script:")
            and all(node.code_sha256 == _EMPTY_PROGRAM and node.step_class == "invalid_submission" for node in nodes)
        )
        if classes["valid"] or classes["rule_violation"] or submits_nothing:
            return 0
        counts = ", ".join(f"{count} {name}" for name, count in classes.most_common()) or "none was taken"
        hint = shlex.join(["aira-bench", "status", self._name, *self._options()])
        report(NothingScored(f"No step of run {self._name} has a score ({counts}).", hint=hint))
        return BudgetExceeded.exit_code if self._display.spent else NothingScored.exit_code

    def _tell_spent(self) -> None:
        from aira_bench.terminal import tell

        for seed, said in sorted(self._display.spent.items()):
            tell(f"aira-bench: seed {seed} {said}")

    def _way_on(self) -> str | None:
        """The command that goes on with the run; None where there is none, or its end is recorded and confirmed."""
        from aira_bench.record.sealing import is_closed

        if self._display.confirming:
            return self._confirmation()
        resumption = self._resumption()
        try:
            is_over = resumption is None or (all(self._is_over().values()) and is_closed(self._folder))
        except (RunStateError, MachineError, Unacceptable, OSError):
            is_over = True  # not one that could go on
        return None if is_over else resumption

    def _resumption(self) -> str | None:
        """The command that resumes the run, whether or not its end is recorded: it shows then what came of it."""
        from aira_bench.llm.recording import RequestChanged

        if self._display.confirming:
            return self._confirmation()
        try:
            self._is_over()
        except (RunStateError, MachineError, Unacceptable, OSError):
            return None  # there is no run yet
        asked = self._runtime()
        said = {"--trust-agent": "trust_agent", "--accept-changes": "accept_changes"}
        asks_otherwise = any(isinstance(each, RequestChanged) for each in self._display.halted.values())
        needed = {"accept_changes"} if asks_otherwise else set()
        asked += [
            option for option, name in said.items() if name in needed or getattr(self._args, name, False)
        ]  # of `resume` alone
        if (tracker := getattr(self._args, "track", None)) is not None:
            asked += ["--track", tracker]
        asked += engine_options(self._args)
        return shlex.join(["aira-bench", "resume", self._name, *self._options(), *asked])

    def _confirmation(self) -> str:
        """The command that does the trainings that are missing; it needs no agent, and so no key."""
        return shlex.join(["aira-bench", "confirm", self._name, *self._options(), *self._confirming, *self._runtime()])

    def _runtime(self) -> list[str]:
        runtime = self._args.runtime
        words = ["--runtime", runtime] if runtime not in (None, os.environ.get("AIRA_RUNTIME")) else []
        containers = getattr(self._args, "containers", None)
        return words + ([] if containers is None else ["--containers", containers]) + judge_options(self._args)

    def _is_over(self) -> dict[int, bool]:
        """Whether each seed has ended, by the end of its journal: a long one is not read whole while a user waits."""
        from aira_bench.runs.units import has_ended

        return {seed: has_ended(self._folder, seed) for seed in self._folder.manifest.plan.seeds}

    def _options(self) -> list[str]:
        return ["--runs", typed(self._args.runs)] if self._args.runs is not None else []


def _seeds(seeds: Iterable[int]) -> str:
    several = [str(seed) for seed in seeds]
    return f"seed {several[0]}" if len(several) == 1 else f"seeds {', '.join(several)}"


def show_board(folder: "RunFolder", *, as_json: bool) -> None:
    """Print the board of one run, each seed's winner and the next commands to type."""
    from aira_bench.boards.board import tables_of
    from aira_bench.boards.formats import print_tables, records
    from aira_bench.boards.rows import RowStanding
    from aira_bench.keys import KeyFolder
    from aira_bench.looking.winners import winners
    from aira_bench.paths import host_paths
    from aira_bench.record.run_record import read_run
    from aira_bench.terminal import say, say_json

    ring = KeyFolder(host_paths().keys).ring()
    record = read_run(folder, ring)
    tables = tables_of([record], ring)
    won = winners(record.seeds, lower_is_better=record.manifest.lower_is_better)
    if as_json:
        board = {"run": folder.path.name, "path": str(folder.path), "board": records(tables)}
        say_json(board | {"winners": [asdict(each) for each in won]})
        return
    print_tables(tables)
    say()
    for each in won[:_MOST_WINNERS]:
        say(f"Winner of {each.line}")
    if len(won) > _MOST_WINNERS:
        say(f"and of {len(won) - _MOST_WINNERS} more seeds: {folder.command('show')}")
    say()
    say(f"Run folder: {folder.path}")
    say(f"Next:  {folder.command('show')}      what won: artifact, plan, code, scores, cost")
    say(f"       {folder.command('view', '--open')}      the same in a browser: winner, curve, search tree, code")
    say(f"       {folder.command('status')}      every step: class, fitness, why it failed")
    if any(row.standing in (RowStanding.PARTLY, RowStanding.UNCONFIRMED) for table in tables for row in table.rows):
        say(f"       {folder.command('confirm')}      trains its submissions again, on fresh hidden data")
    boards = " ".join(["aira-bench leaderboard", *folder.elsewhere])
    say(f"       {boards}      all runs, also as CSV, JSON and Markdown")
    say("       aira-bench run --help       other agents, tasks, scaffolds and budgets")
