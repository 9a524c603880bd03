"""The folder of a run.

<runs>/<name>/
    manifest.json            plan and provenance, written once
    record.jsonl             signed: the run's beginning, and how the journals of its seeds end
    compiled/                programs judges left to each other, while the run lasts
    lock                     held by the process that works on the run
    leases/                  who has which seed, where workers share the run (`aira_bench.leasing`)
    ledger/                  what is spent and set aside, where money or tokens are capped (`aira_bench.ledger`)
    agent.py                 the user's solution file, for `script:` agents
    seeds/<seed>/
        journal.jsonl        what policies are functions of
        news.json                what the process that works on the seed is at, while it does
        nodes/<step>/        solution.py, artifact, claimed number, printed output
        calls/<step>/        every request to a model and its answer, without keys
        hidden/scores.jsonl  trusted scores; hidden/<step>/ the judge's reports. Never read by the search
        hidden/confirmed.jsonl   trainings on the seed set `final`; hidden/confirmed/<step>/ and <step>-<training>/
                                 their reports
    seeds/<seed>.<n>/        the seed as it went on when nobody knew whether a worker that had fallen silent was dead
                             (`aira_bench.record.forks`): the one with the highest number counts, from 2 on
"""

import fcntl
import os
import stat
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from aira_bench.errors import RunStateError, UsageError
from aira_bench.files import Unacceptable, read_file, read_recorded
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.leasing.entries import LeaseEntry, last_entry, lease_store, looks_alive, may_be_alive
from aira_bench.leasing.terms import read_terms
from aira_bench.near_names import nearest
from aira_bench.paths import host_paths
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.record.journal import Event, StepEnded, finished_steps, open_journal
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.node import Node
from aira_bench.record.scores import ScoreFile
from aira_bench.shared_store.places import elsewhere, typed

MOST_TEXT_BYTES = 16 * 2**20
FROM_LAST_GOOD = "--from-last-good"
"""What makes `resume` go on before the damage."""
_STEP_FILES = ("solution.py", "stdout.txt", "stderr.txt")
_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FLOCK = struct.Struct("@hhqqi0q")
"""Of Linux on 64 bits: type, whence, start, length, owner."""
UNFINISHED = ".new-"
"""How the name of a run that is being made begins (`aira_bench.record.new_run`)."""


@dataclass(frozen=True)
class StepFiles:
    """The code of an earlier step and what it printed, escaped."""

    code: str
    stdout: str
    stderr: str


@dataclass(frozen=True)
class SeedFolder:
    """The folder of one seed of a run, and the places of its files."""

    path: Path

    @property
    def number(self) -> int:
        """Return which seed of its run it is."""
        return int(self.path.name.partition(".")[0])

    @property
    def journal(self) -> Path:
        """The file of the seed's journal."""
        return self.path / "journal.jsonl"

    @property
    def events(self) -> Sequence[Event]:
        """What the journal says happened, in order, whether or not anything vouches for it; empty without a journal.

        `aira_bench.record.run_record` reads whole runs, and checks that their files agree.

        Raises:
            RunStateError: it is no journal, or a line other than a torn last one does not hold.
        """
        return open_journal(self.journal).events

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The finished steps among `events`, in order."""
        return finished_steps(self.events)

    @property
    def scores(self) -> ScoreFile:
        """The file of the judge's scores of the seed's steps, which no search reads."""
        return ScoreFile(self.path / "hidden" / "scores.jsonl")

    def step_folders(self, step: int) -> tuple[str, ...]:
        """Return what a step leaves behind, below the seed's folder."""
        return tuple(f"{part}/{step:04d}" for part in ("nodes", "calls", "hidden"))

    def node(self, step: int) -> Path:
        """Return the folder of what the agent made in one step."""
        return self.path / "nodes" / f"{step:04d}"

    def verdict(self, step: int) -> Path:
        """Return the folder of what the judge wrote about one step."""
        return self.path / "hidden" / f"{step:04d}"

    @property
    def confirmed(self) -> ScoreFile:
        """Trusted scores on the seed set `final`, of what the seed submitted."""
        return ScoreFile(self.path / "hidden" / "confirmed.jsonl")

    def confirmation(self, step: int, training: int = 0, hidden_key: str | None = None) -> Path:
        """Return the folder of what the judge wrote in one of the trainings that confirm a step.

        Args:
            step: the step.
            training: which of its trainings, counted from 0.
            hidden_key: hash of the key behind its hidden data, where that is not the search's.
        """
        return self.path / self.confirmation_folder(step, training, hidden_key)

    def confirmation_folder(self, step: int, training: int = 0, hidden_key: str | None = None) -> str:
        """Return that folder as a path below the seed's; the first training has the step's own name."""
        under = "" if hidden_key is None else f"-{hidden_key[:12]}"
        return f"hidden/confirmed/{step:04d}" + (f"-{training}" if training else "") + under

    def calls(self, step: int) -> Path:
        """Return the folder of the model calls of one step, asked and answered."""
        return self.path / "calls" / f"{step:04d}"

    def read_step(self, step: int) -> StepFiles:
        """Read the code of a step in flight and what it printed, escaped; nothing vouches for them yet."""
        return StepFiles(*(self._text(step, name) for name in _STEP_FILES))

    def read_finished(self, ended: StepEnded) -> StepFiles:
        """Read the code of a finished step and what it printed, escaped, each as it was recorded.

        A journal of version 1 knows the hash of the code alone.

        Raises:
            RunStateError: a file is missing, or another than was recorded.
        """
        step, names = ended.node.step, [f"nodes/{ended.node.step:04d}/{name}" for name in _STEP_FILES]
        recorded = ended.files | {names[0]: ended.node.code_sha256}
        texts = ("" if ended.files and path not in recorded else self._text(step, name, recorded.get(path))
                 for path, name in zip(names, _STEP_FILES, strict=True))  # fmt: skip
        return StepFiles(*texts)

    def _text(self, step: int, name: str, sha256: str | None = None) -> str:
        path = f"nodes/{step:04d}/{name}"
        try:
            if sha256 is not None:
                return read_recorded(self.path, path, MOST_TEXT_BYTES, sha256).decode("utf-8", "replace")
            return read_file(self.path, path, MOST_TEXT_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""  # a step that never ran printed nothing
        except Unacceptable as error:
            run = RunFolder(self.path.parents[1])
            raise RunStateError(f"{self.path / path}: {error}.", hint=run.command("resume", FROM_LAST_GOOD)) from error


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run on disk, and the places of its files."""

    path: Path
    held: Mapping[int, Path] = field(default_factory=dict, compare=False)
    """Where a worker works on the seeds that it holds, whatever others have made since."""

    @property
    def manifest(self) -> Manifest:
        """The run's manifest, read anew.

        Raises:
            RunStateError: it cannot be read.
        """
        try:
            return load_manifest(self.path)[0]
        except Unacceptable as error:
            raise RunStateError(f"Run {self.path.name}: {error}.", hint=error.hint or self.command("status")) from error

    @property
    def agent_file(self) -> Path:
        """Copy of a `script:` agent's solution file."""
        return self.path / "agent.py"

    @property
    def compiled(self) -> CompiledPrograms:
        """Compiled programs of this run's judges."""
        return CompiledPrograms(self.path / "compiled")

    def seed(self, seed: int) -> SeedFolder:
        """Return the folder of one seed of this run: the newest copy of it, unless this process holds one."""
        if (held := self.held.get(seed)) is not None:
            return SeedFolder(held)
        place, newer = self.path / "seeds" / str(seed), 2
        while _is_folder(following := place.with_name(f"{seed}.{newer}")):
            place, newer = following, newer + 1
        return SeedFolder(place)

    @property
    def is_shared(self) -> bool:
        """Whether workers take its seeds, each by a lease of its own."""
        return _is_folder(self.path / LEASES)

    def lease_entries(self) -> dict[int, LeaseEntry]:
        """Return the last entry of each seed that workers have had, as far as can be seen.

        Raises:
            RunStateError: one cannot be read.
        """
        if not self.is_shared:
            return {}
        store = lease_store(self.path)
        found = {int(name): last_entry(store, int(name)) for name in store.names(".") if name.isdecimal()}
        return {seed: entry for seed, entry in found.items() if entry is not None}

    def held_seeds(self) -> set[int]:
        """Return the seeds whose workers seem to live by this machine's clock: for people, nothing is decided by it."""
        try:
            terms = read_terms(lease_store(self.path)) if self.is_shared else None
            if terms is None:
                return set()
            entries = self.lease_entries()
        except RunStateError:
            return set()
        silent_s, now_s = terms.dead_after_s, time.time()
        return {seed for seed, entry in entries.items() if looks_alive(self.path, seed, entry, silent_s, now_s)}

    def lock(self) -> int:
        """Take the run for this process; the lock goes with the process, however it ends.

        It is two: one that writers exclude each other by, as in earlier versions, and one that readers can ask about
        without taking anything, so that no reader is ever in a writer's way.

        Workers ask about the lock once they have a lease, and this asks about leases once it has the lock: of two that
        come at a time one at least sees the other.

        Raises:
            RunStateError: another live process has it, or a worker that may be alive has a seed of it.
        """
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | _PLAIN, 0o600)
        except OSError as error:
            raise RunStateError(f"Run {self.path.name}: its lock cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _record_lock(fcntl.F_WRLCK))
        except OSError as error:
            os.close(descriptor)
            raise RunStateError(
                f"Run {self.path.name} is being worked on by another process.",
                hint=self.command("status"),
            ) from error
        try:
            self._require_no_worker()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_no_worker(self) -> None:
        for seed, entry in self.lease_entries().items():
            if may_be_alive(entry):
                raise RunStateError(
                    f"Run {self.path.name} is shared by workers, and seed {seed} is that of one on {entry.host}.",
                    hint=f"aira-bench worker {quote(str(self.path))}   (which takes over what dead ones left)",
                )

    def command(self, name: str, *options: str) -> str:
        """Return the command of that name to type for this run, whole: with `--runs` where it lies elsewhere."""
        return " ".join(["aira-bench", name, quote(self.path.name), *options, *self.elsewhere])

    @property
    def elsewhere(self) -> list[str]:
        """The option that a command needs to find the run's folder, as it is typed; none for the usual folder."""
        runs = self.path.parent
        if (place := elsewhere(runs)) is not None:
            return [] if place.typed(runs) == os.environ.get("AIRA_RUNS") else ["--runs", place.typed(runs)]
        return [] if runs.resolve() == host_paths().runs.resolve() else ["--runs", quote(str(runs))]

    @property
    def is_live(self) -> bool:
        """Whether a process works on the run now, or workers on seeds of it; asked without taking a lock."""
        return self.is_locked or bool(self.held_seeds())

    @property
    def is_locked(self) -> bool:
        """Whether one process has the whole run; asked without taking a lock."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | _PLAIN)
        except OSError:
            return False
        try:
            found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _record_lock(fcntl.F_RDLCK))
        except OSError:
            return False  # no regular file, so nobody's lock
        finally:
            os.close(descriptor)
        return int(_FLOCK.unpack(found)[0]) != fcntl.F_UNLCK


def _is_folder(path: Path) -> bool:
    """Whether a folder is there, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _record_lock(kind: int) -> bytes:
    """A `struct flock` about a whole file."""
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def find_run(runs: Path, name: str) -> RunFolder:
    """Return the folder of the run of that name, or at that path.

    Raises:
        UsageError: there is none.
    """
    for path in (runs / name, Path(name)):
        if is_run(path):
            return RunFolder(path.resolve())
    raise no_run(runs, name, known=[run.path.name for run in list_runs(runs)])


def no_runs(runs: Path) -> UsageError:
    """Return what is said where a folder of runs has none."""
    return UsageError(f"No runs in {typed(runs)}.", hint="aira-bench run --help")


def no_run(runs: Path, name: str, what: str = "run", known: Sequence[str] = ()) -> UsageError:
    """Return what is said where a name stands for none of what lies in a folder of runs, in the words of the user."""
    where = typed(runs)
    hint = "aira-bench status" if where == str(runs) else f"aira-bench status --runs {where}"
    above, slashes, rest = name.rstrip("/").partition("://")
    if slashes and "/" in rest:  # as `aira-bench worker` takes it
        bucket, _, last = rest.rpartition("/")
        hint = f"{last} --runs {above}{slashes}{bucket}"
    close = nearest(name, known)
    return UsageError(
        f"No {what} {name!r} in {where}.{'' if close is None else f' Did you mean {close!r}?'}", hint=hint
    )


def list_runs(runs: Path) -> list[RunFolder]:
    """Return every run in a folder, by name. A folder that has lost its manifest is one that cannot be read."""
    found = sorted(path for path in runs.glob("*") if not path.name.startswith(UNFINISHED))
    return [RunFolder(path) for path in found if is_run(path)]


def is_run(path: Path) -> bool:
    """Whether a folder holds what only a run's does."""
    return any(os.path.lexists(path / name) for name in ("manifest.json", "record.jsonl"))
