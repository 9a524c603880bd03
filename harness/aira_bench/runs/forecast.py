"""What a run will do on this machine, in lines for whoever pays for it: before anything is built, downloaded or asked.

Each line is a fact of the resolved plan, the machine or the estimate, and says what it rests on. The last ones say what
the run will not do.

Not covered: carrying it out (`launch`), and the question whether to (`aira_bench.cli.run`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.hardware import Hardware
from aira_bench.images.ensure import planned_images
from aira_bench.images.fit import require_fit
from aira_bench.images.flavour import Compiled, Flavour, load_flavour
from aira_bench.images.wheels import find_file, wheel_folder
from aira_bench.paths import HostPaths
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.devices import used_hardware
from aira_bench.runs.expense import (
    CHARS_A_TOKEN,
    Expense,
    Range,
    cap_usd,
    confirm_hours,
    confirmation_s,
    expect,
    most_steps,
    preparation_minutes,
)  # fmt: skip
from aira_bench.runs.forecast_machine import told_devices, told_disk, told_memory, told_slots
from aira_bench.runs.host import wanted_on
from aira_bench.runs.protocol import protocol_lines
from aira_bench.runs.resolve import ResolvedRun, trainings_of
from aira_bench.tasks.data_source import missing_files
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.store import task_data

Asker = Callable[[Sequence[PublicFile]], Sequence[int | None]]
"""Returns the bytes of public files as their servers state them, None where one does not say."""


@dataclass(frozen=True)
class EngineView:
    """What is known of the container engine without a run."""

    has_image: Callable[[str], bool] | None
    """Whether an image is built; None where no engine answers."""
    root: Path | None = None
    """Where it keeps images, if that is on this machine."""

    def has(self, tags: Iterable[str]) -> bool:
        """Whether all of these are built, as far as is known."""
        return self.has_image is not None and all(map(self.has_image, tags))


@dataclass(frozen=True)
class Forecast:
    """The lines of a plan, and what would stop it."""

    lines: tuple[tuple[str, str], ...]
    """What a line is about, and what it says."""
    expense: Expense
    obstacle: AiraError | None
    """What the run would stop with at once, such as a missing GPU."""


def foresee(run: ResolvedRun, machine: Hardware, paths: HostPaths, engine: EngineView, ask: Asker) -> Forecast:
    """Return what a run will do; nothing is started, downloaded or written.

    Args:
        run: resolved.
        machine: this one, with all devices that this process may see.
        paths: of this machine.
        engine: what images there are.
        ask: asks servers for the sizes of files.
    """
    plan, left_out = run.plan, list[str]()
    obstacle: AiraError | None = None
    try:
        machine = used_hardware(machine, plan.profile, plan.gpus, left_out.append, allow_cpu=run.allow_cpu)
    except AiraError as error:
        obstacle = error
    absent, flavour = obstacle, load_flavour(flavour_for(run.task, plan.profile, machine))
    if machine.gpus and absent is None:
        try:
            require_fit(machine, flavour)
        except AiraError as error:
            obstacle = error
            left_out.append(f"so the run would stop: {error.message}")
    wanted = wanted_on(machine, plan)
    found = expect(plan, run.task, run.agent, wanted.most)
    lines = [
        ("run", f"{plan.name}, in {paths.runs}"),
        *(("protocol", sentence) for sentence in protocol_lines(plan, run.task.title)),
        ("agent", _agent(run)),
        ("task", f"{run.task.title}, profile {plan.profile}; {_budget(run)}"),
        *told_devices(machine, left_out, absent, run),
        ("slots", told_slots(run, wanted)),
        ("memory", told_memory(run, wanted, machine)),
        *(("images", sentence) for sentence in _images(flavour, engine)),
        *(("downloads", sentence) for sentence in _downloads(run, flavour, paths, engine, ask)),
        ("disk", told_disk(paths, engine.root, flavour, built=engine.has(planned_images(flavour.name)))),
        ("pace", _pace(found, run)),
        *_confirmation(run),
        *([("GPU-hours", _gpu_hours(found))] if machine.gpus else []),
        ("wall clock", f"{_hours(found.wall_hours)}, once images and data are here, waiting for providers not counted"),
        ("tokens", _tokens(found, len(plan.seeds))),
        ("dollars", _dollars(found, run)),
        *(("will not", sentence) for sentence in _not_done(run, machine)),
    ]
    return Forecast(tuple(lines), found, obstacle)


def _agent(run: ResolvedRun) -> str:
    card = run.agent.provenance().card
    model = "asks no model" if card is None else f"{card['model']} of {card['provider']}"
    return f"{run.agent.name} ({model}), scaffold {run.plan.scaffold}, driven by {run.plan.fitness} fitness"


def _budget(run: ResolvedRun) -> str:
    plan = run.plan
    seeds = f"{len(plan.seeds)} seeds" if len(plan.seeds) > 1 else "one seed"
    return (
        f"{seeds} ({_listed(plan.seeds)}), each until {plan.steps} steps or {plan.hours:g} h, waiting not counted; a "
        f"solution has {_duration(plan.step_timeout_s)}, its evaluation {_duration(plan.evaluation_timeout_s)}"
    )


def _images(flavour: Flavour, engine: EngineView) -> list[str]:
    tags = planned_images(flavour.name)
    if engine.has_image is None:
        return [f"{flavour.name}: whether they are built is not known, as no container engine answers", *tags]
    missing = [tag for tag in tags if not engine.has_image(tag)]
    if not missing:
        return [f"{flavour.name}: both are built", *tags]
    settings = flavour.settings
    disk = settings.disk_gib
    work = "".join(f", {_compiled(each)}" for each in flavour.compiled)
    room = f"{disk.told} of disk meanwhile, {disk.images} then"
    return [f"{flavour.name}: to be built on {settings.base.pull}{work}; {room}", *missing]


def _compiled(package: Compiled) -> str:
    """How a package with CUDA code is come by; what is left out on this machine is not asked about."""
    minutes = f"{package.core_minutes * len(package.architectures):g} core-minutes"
    if package.release is None:
        return f"{package.name} compiled ({minutes})"
    return f"{package.name} as its project compiled it (else {minutes})"


def _downloads(run: ResolvedRun, flavour: Flavour, paths: HostPaths, engine: EngineView, ask: Asker) -> list[str]:
    """Of images and of raw data: what is missing, and its size where somebody states it."""
    said = []
    tags = planned_images(flavour.name)
    if not engine.has(tags):
        folder = wheel_folder(flavour)
        wheels = [pin for pin in flavour.pins if not folder.is_dir() or find_file(folder, pin) is None]
        if engine.has_image is None or not engine.has_image(flavour.base_tag):
            said.append("the base of the images")
        if wheels:
            size = f"{flavour.settings.disk_gib.wheels:g} GiB for all of them"
            said.append(f"{len(wheels)} of the images' {len(flavour.pins)} packages ({size}), into {folder}")
    if task_data(paths, run.task, run.plan.profile, raw=run.source.argument, image=tags[1]).ready:
        return said or ["nothing: images, raw data and the task's data are here"]
    if files := missing_files(run.task, run.plan.profile, run.source, paths):
        said.append(
            f"{len(files)} file{'s' * (len(files) > 1)} of raw data ({_size(files, ask)}), into {paths.sources}"
        )
    made = preparation_minutes(run.task, run.plan)
    takes = f", which takes {made} min of one GPU" if made else ""
    return [*said, f"once they are here, the task's data is made of raw data{takes}"]


def _size(files: Sequence[PublicFile], ask: Asker) -> str:
    sizes = [file.bytes for file in files]
    if None in sizes:
        sizes = [file.bytes or answer for file, answer in zip(files, ask(files), strict=True)]
    unknown = sum(size is None for size in sizes)
    known = f"{sum(size or 0 for size in sizes) / 2**30:.2f} GiB"
    if not unknown:
        return known
    return "their servers state no sizes" if unknown == len(files) else f"{known}, and {unknown} of unknown size"


def _pace(found: Expense, run: ResolvedRun) -> str:
    if found.step_s is None:
        return "not measured for this task and profile, so its budgets are all that is known"
    ends = "its steps" if found.steps == most_steps(run.plan) else "its hours"
    return (
        f"a step's evaluation takes {found.step_s:.0f} s of a GPU, its training budget with it, as on one H200 "
        f"(docs/performance.md), and what a solution computes comes on top; so {ends} end a seed, after at most "
        f"{found.steps} steps"
    )


def _confirmation(run: ResolvedRun) -> list[tuple[str, str]]:
    """What comes after the search, which is in no seed's hours."""
    times, seeds = trainings_of(run.task, run.plan.profile), len(run.plan.seeds)
    if not run.plan.confirm or not times:
        return []
    what = "one submission is" if seeds == 1 else f"{seeds} submissions are"
    how = f"trained {times} times again from fresh seeds" if times > 1 else "scored once more"
    seconds = confirmation_s(run.task, run.plan)
    spent = "" if seconds is None else f", {seconds / 60:.0f} min each at that pace"
    limits = f"at most {_told(confirm_hours(run.plan, run.task).high)} h by their time limits"
    return [
        ("at the end", f"{what} {how}, on hidden data that no search has seen{spent}, in no seed's hours: {limits}")
    ]


def _gpu_hours(found: Expense) -> str:
    low, high = found.search_gpu_hours.low, found.search_gpu_hours.high
    again = found.confirm_gpu_hours
    pace = "" if found.step_s is None else f"about {_told(again.low)}, and "
    more = f"; at the end {pace}at most {_told(again.high)} more" if again.high else ""
    if found.step_s is None:
        return f"at most {high:.0f}, by the seeds' hours{more}"
    if round(low) == round(high):
        return f"about {high:.0f}, which is also the most that the seeds' hours allow; less while models think{more}"
    return f"about {low:.0f} for evaluations at that pace, and at most {high:.0f}, by the seeds' hours{more}"


def _told(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}"


def _tokens(found: Expense, seeds: int) -> str:
    if not found.calls_a_step:
        return "none, as no model is asked"
    answer = found.answer_tokens
    calls = "one call" if found.calls_a_step == 1 else f"{found.calls_a_step} calls"
    in_all = found.tokens_a_step * (found.steps * seeds)
    return (
        f"{calls} a step, each with some {found.prompt_tokens:,} in its prompt (lengths of files, {CHARS_A_TOKEN} "
        f"characters a token) and {answer.low:,.0f} (as long as the baseline, no thinking) to {answer.high:,.0f} (the "
        f"card's limit) in its answer; {_millions(in_all.low)} to {_millions(in_all.high)} million in all steps"
    )


def _millions(tokens: float) -> str:
    """Whole millions of many, two digits of few: a short run has less than one."""
    return f"{tokens / 1e6:,.0f}" if tokens >= 10e6 else f"{tokens / 1e6:.2g}"


def _dollars(found: Expense, run: ResolvedRun) -> str:
    if not found.calls_a_step:
        return "none for models"
    if found.usd is None:
        return "unknown: the card has no prices"
    plan, usd = run.plan, found.usd
    steps = found.steps * len(plan.seeds)
    said = f"{usd.low:,.0f} to {usd.high:,.0f} for {steps:,} steps at those lengths, by the card's list prices"
    if (cap := cap_usd(plan)) is None:
        tokens = " but --max-tokens" if plan.max_tokens or plan.seed_max_tokens else ""
        return f"{said}; held by no cap{tokens} (--max-cost-usd sets one)"
    if cap >= usd.high:
        return f"{said}; the cap of {cap:,.0f} does not hold it"
    fewest, most = (min(steps, int(cap / each * steps)) for each in (usd.high, usd.low))
    return f"{said}; the cap of {cap:,.0f} ends it, after {fewest:,} to {most:,} steps"


def _not_done(run: ResolvedRun, machine: Hardware) -> list[str]:
    said = []
    if machine.gpus:
        said = [
            "use other GPUs, more than one for a step, or the processor in place of one",
            "change clocks, power limits, MIG or compute modes, or end anybody's process",
        ]
    if run.task.metadata.aira.hidden_validation and not run.plan.confirm:
        said.append(
            f"train its winners again on fresh hidden data: aira-bench confirm {run.plan.name} does, afterwards"
        )
    return [*said, "give containers of agents' code a network, keys, or hidden data"]


def _hours(hours: Range) -> str:
    low, high = (f"{value:.1f}".removesuffix(".0") for value in (hours.low, hours.high))
    return f"about {high} h" if low == high else f"about {low} to {high} h"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"


def _listed(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds[:10])) + (", ..." if len(seeds) > 10 else "")
