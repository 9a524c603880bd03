"""What a suite is: a TOML file of matrices, each agents by tasks with their seeds and budgets.

    title = "Two searchers on MAD"
    profile = "cpu"

    [[matrix]]
    agents = ["random", "evolution"]
    tasks = ["mad-2p", "mad-3p"]
    seeds = 5
    steps = 10

A *cell* is one agent on one task: a run of all its seeds, named after them. Every other key of a matrix is an option of
`aira-bench run`, with its meaning and its default.

Not covered: whether agents can be used here and what the whole takes (`estimate`), and carrying it out (`progress`).
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason
from aira_bench.near_names import guess, nearest
from aira_bench.record.manifest import MOST_HOURS, MOST_SECONDS, MOST_SEEDS, MOST_STEPS
from aira_bench.runs.request import RunRequest
from aira_bench.tasks.task import Task, find_task
from aira_contract.settings import ProfileName

SHIPPED = Path(__file__).parent / "shipped"
MOST_BYTES = 1 << 20
MOST_CELLS = 10_000
NAME_CHARS = 100
"""Of a run's name."""
_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]\]?")


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _seeds(value: object) -> object:
    """`10` stands for seeds 0 to 9, as on the command line."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"expected 1 to {MOST_SEEDS:,} seeds")
    return tuple(range(value))


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed stands twice")
    return seeds


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[
    tuple[Seed, ...], BeforeValidator(_tuple), BeforeValidator(_seeds), Field(min_length=1, max_length=MOST_SEEDS),
    AfterValidator(_once),
]  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Matrix(_Part):
    """Agents by tasks, all with the same seeds and options."""

    agents: Names
    tasks: Names
    seeds: Seeds | None = None
    """None for the protocol's; of ours that is one."""
    label: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$")
    """Goes into the names of its runs, where two matrices have the same agents and tasks."""
    profile: ProfileName | None = None
    protocol: Literal["aira", "paper"] | None = None
    scaffold: str | None = None
    steps: int | None = Field(default=None, gt=0, le=MOST_STEPS)
    hours: float | None = Field(default=None, gt=0, le=MOST_HOURS, strict=False)
    step_timeout_s: float | None = Field(default=None, gt=0, le=MOST_SECONDS, strict=False)
    fitness: Literal["hidden", "claimed"] | None = None
    bugs: Literal["judge", "analysis"] | None = None
    memory: Literal["paper", "none"] | None = None
    concurrency: int | None = Field(default=None, gt=0)
    exclusive: bool | None = None
    score_cache: bool | None = None
    confirm: bool | None = None
    source: str | None = None
    evaluator: str | None = None
    provider: str | None = None
    seed_max_cost_usd: float | None = Field(default=None, gt=0, strict=False)
    seed_max_tokens: int | None = Field(default=None, gt=0)


class Suite(_Part):
    """A suite as its file has it."""

    title: str = Field(min_length=1, max_length=200)
    profile: ProfileName = "paper"
    """Of every matrix that names none."""
    matrix: Annotated[tuple[Matrix, ...], BeforeValidator(_tuple)] = Field(min_length=1, max_length=1000)


@dataclass(frozen=True)
class SuiteCell:
    """One agent on one task: a run of its own."""

    request: RunRequest
    task: Task

    @property
    def name(self) -> str:
        """The run's name, and that of its folder in the suite's."""
        assert self.request.name is not None, "every cell is named when it is made"
        return self.request.name


@dataclass(frozen=True)
class SuitePlan:
    """A suite with its cells, in the order in which they are run: task by task."""

    name: str
    title: str
    cells: tuple[SuiteCell, ...]
    text: str
    """Of its file."""

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents of all cells, each once, in their order."""
        return tuple(dict.fromkeys(cell.request.agent for cell in self.cells))


def shipped_suites() -> list[str]:
    """Names of the suites that come with this installation, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_suite(named: str) -> SuitePlan:
    """Read a shipped suite by its name, or a suite file by its path, and make its cells.

    Raises:
        UsageError: there is none, or it breaks the schema; the message names line and key, and what is expected.
        TaskError: the folder of a task that it names is broken.
        PrerequisiteError: an installed extension gives no task.
    """
    path = SHIPPED / f"{named}.toml" if named in shipped_suites() else Path(named)
    try:
        text = read_text(path, MOST_BYTES)
    except (OSError, Unacceptable) as error:
        said = guess(named, shipped_suites(), "Shipped are")
        raise UsageError(
            f"Cannot read the suite {named}: {reason(error)}. {said} Another than those shipped is a file FILE.toml.",
            hint="aira-bench suite --help",
        ) from error
    file = _SuiteText(path, text)
    try:
        suite = Suite.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The suite {path} is no TOML file: {error}.", hint="aira-bench suite --help") from error
    except ValidationError as error:
        raise UsageError(f"The suite {path} is not valid: {file.described(error)}.") from error
    except RecursionError as error:
        raise UsageError(f"The suite {path} is no TOML file: it is nested too deeply.") from error
    cells = tuple(_cells(suite, file))
    if len(cells) > MOST_CELLS:
        raise UsageError(f"The suite {path} has {len(cells)} cells, at most {MOST_CELLS} are taken.")
    if again := [name for name, count in Counter(cell.name for cell in cells).items() if count > 1]:
        raise UsageError(
            f'The suite {path} has two runs of the name {again[0]!r}. Give one of their matrices a key label = "...".'
        )
    return SuitePlan(path.stem, suite.title, cells, text)


def select(plan: SuitePlan, agents: Sequence[str] = (), tasks: Sequence[str] = ()) -> SuitePlan:
    """Return a suite with the cells of some agents and tasks alone; all of them where none is named.

    Raises:
        UsageError: it has no such agent or task.
    """
    for kind, wanted, known in (
        ("agent", agents, {cell.request.agent for cell in plan.cells}),
        ("task", tasks, {cell.task.title for cell in plan.cells}),
    ):
        if unknown := [name for name in wanted if name not in known]:
            said = guess(unknown[0], sorted(known), "It has")
            raise UsageError(
                f"The suite {plan.name} has no {kind} {unknown[0]!r}. {said}", hint="aira-bench suite --help"
            )
    kept = [
        cell
        for cell in plan.cells
        if (not agents or cell.request.agent in agents) and (not tasks or cell.task.title in tasks)
    ]
    return replace(plan, cells=tuple(kept))


def _cells(suite: Suite, file: "_SuiteText") -> Iterator[SuiteCell]:
    """Task by task, so that the board of each is whole before the next begins."""
    offered = {each.name for each in fields(RunRequest)}
    by_task: dict[str, list[SuiteCell]] = {}
    known: dict[str, Task] = {}
    for index, matrix in enumerate(suite.matrix):
        given = {name: value for name, value in matrix.model_dump(exclude_none=True).items() if name in offered}
        for task in matrix.tasks:
            try:
                found = known[task] = known.get(task) or find_task(task)
            except UsageError as error:
                place = file.where("matrix", index, "tasks")
                raise UsageError(
                    f"The suite {file.path} is not valid: {place}: {error.message}", hint=error.hint
                ) from error
            for agent in matrix.agents:
                parts = (agent, matrix.scaffold, found.title, matrix.label)
                name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part)).strip("-._")
                values = (
                    {"profile": suite.profile}
                    | given
                    | {"agent": agent, "task": task, "name": name[-NAME_CHARS:].strip("-._")}
                )
                by_task.setdefault(found.title, []).append(SuiteCell(RunRequest(**values), found))
    for cells in by_task.values():
        yield from cells


@dataclass(frozen=True)
class _SuiteText:
    """The text of a suite's file, in which errors are pointed at."""

    path: Path
    text: str

    def where(self, *place: str | int) -> str:
        """Line and key of a place, in words."""
        key = ".".join(f"[{part}]" if isinstance(part, int) else part for part in place).replace(".[", "[")
        return f"line {self._line(place)}, {key or 'the whole file'}"

    def described(self, error: ValidationError) -> str:
        """The first problems of a file, with line, key, what was seen and what is expected."""
        said, found = [], error.errors(include_url=False)
        # A list of matrices of which one is wrong also counts as too short.
        inner = [item for item in found if item["type"] != "too_short" or item["loc"] != ("matrix",)] or found
        for item in inner[:3]:
            place = tuple(part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-")))
            seen = "" if item["type"] in ("missing", "extra_forbidden") else f" (seen: {str(item['input'])[:60]!r})"
            said.append(f"{self.where(*place)}: {_problem(item, place)}{seen}")
        more = len(inner) - len(said)
        return "; ".join(said) + (f"; and {more} more" if more > 0 else "")

    def _line(self, place: Sequence[str | int]) -> int:
        """The line of a key; that of its table where the key is missing, and 1 where nothing is found."""
        table = place[0] if len(place) > 1 else None
        wanted = place[1] if len(place) > 1 and isinstance(place[1], int) else 0
        key = next((part for part in reversed(place) if isinstance(part, str)), None)
        seen, inside, found = -1, table is None, 1
        for number, line in enumerate(self.text.splitlines(), start=1):
            if header := _HEADER.match(line):
                if table is None and header[1] == key:
                    return number
                seen += header[1] == table
                inside = header[1] == table and seen == wanted
                if inside:
                    found = number
            elif inside and key is not None and re.match(rf'\s*(?:{re.escape(key)}|"{re.escape(key)}")\s*=', line):
                return number
        return found


def _problem(item: Any, place: Sequence[str | int]) -> str:  # noqa: ANN401  # pydantic's own dictionary
    if item["type"] == "extra_forbidden":
        known = sorted((Matrix if len(place) > 1 else Suite).model_fields)
        close = nearest(str(place[-1]), known)
        return f"unknown key, did you mean {close!r}?" if close else f"unknown key, expected one of {', '.join(known)}"
    if item["type"] == "missing":
        return "this key is missing"
    if item["type"] == "tuple_type":
        return "expected [[matrix]], in two brackets" if place == ("matrix",) else "expected a list"
    return str(item["msg"]).removeprefix("Value error, ")
