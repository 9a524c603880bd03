"""Checks a machine before it runs anything, each failure with the command that mends it.

A failed check means runs cannot start or cannot be trusted; a warning means some of them cannot.
"""

import os
import random
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aira_bench.cards.card import Card, all_missing
from aira_bench.cards.card_files import card_names, find_card
from aira_bench.docker_engine import DockerEngine, connect_engine
from aira_bench.doctor.devices import cuda_checks, device_checks, fit_checks, toolkit_check
from aira_bench.doctor.diagnosis import Diagnosis, State
from aira_bench.doctor.users import user_checks
from aira_bench.errors import AiraError, PrerequisiteError
from aira_bench.hardware import Hardware, this_machine
from aira_bench.images.ensure import planned_images
from aira_bench.images.flavour import gpu_flavour, load_flavour
from aira_bench.images.names import DEFAULT_FLAVOUR
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.trial import TRIAL_POLICY, try_model
from aira_bench.paths import HostPaths, cache_folder
from aira_bench.runs.declared import flavour_for
from aira_bench.sandbox.channels import Reading, measure_all
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.engine_gpus import engine_gpus
from aira_bench.sandbox.isolation import UNTRUSTED, weakest
from aira_bench.sandbox.probe import probe_all
from aira_bench.sandbox.sandbox import Isolation, Limits
from aira_bench.sandbox.walls import lacking, missing_walls
from aira_bench.tasks.store import task_data
from aira_bench.tasks.task import Task, shipped_tasks
from aira_bench.waiting import Waits
from aira_contract.settings import ON_GPUS

MIN_FREE_GIB = 1.0
"""Beside what images need."""


def examine(
    paths: HostPaths,
    profile: str,
    runtime: str | None,
    note: Callable[[str], None],
    containers: str | None = None,
    *,
    models: bool = True,
) -> Iterator[Diagnosis]:
    """All checks in the order a run needs them; those that need an engine are left out when it is dead.

    Args:
        paths: of this machine.
        profile: of the runs that are to be possible.
        runtime: of containers that run untrusted code; None for the engine's own.
        note: told in a line what takes a while.
        containers: which engine makes containers; None for the default.
        models: whether each model whose key is set gets a tiny call.
    """
    machine = this_machine(otherwise=engine_gpus)
    yield from device_checks(machine, profile)
    cards, broken_cards = _cards()
    yield from broken_cards
    yield from _keys(cards)
    if models:
        yield from _models(cards)
    try:
        engine = connect_engine(containers)
    except PrerequisiteError as error:
        yield Diagnosis("container engine", "failed", error.message, error.hint or "")
        return
    info = engine.info()
    yield Diagnosis("container engine", "ok", info.told)
    yield from user_checks(info)
    if machine.gpus:
        yield toolkit_check(info, machine, profile)
    tasks = [task for task in shipped_tasks() if profile in task.metadata.aira.profiles]
    # For profile paper those of a GPU, also where none is seen now: that is among what is to be mended.
    flavours = [gpu_flavour(task.metadata.aira.evaluator) if profile in ON_GPUS else DEFAULT_FLAVOUR for task in tasks]
    yield from _disks(paths, engine, Path(info.root_dir), set(flavours))
    for flavour in sorted(set(flavours)):
        yield from fit_checks(machine, load_flavour(flavour), profile)
        largest = max(
            (each.profile(profile) for each, its in zip(tasks, flavours, strict=True) if its == flavour),
            key=lambda each: each.shm_mib,
        )
        yield from _images(engine, flavour, runtime, note, machine, largest.limits())
    for task, flavour in zip(tasks, flavours, strict=True):
        yield _data(paths, task, profile, planned_images(flavour)[1], containers)


def channel_readings(
    profile: str, runtime: str | None, note: Callable[[str], None], containers: str | None = None
) -> tuple[Isolation, list[Reading]]:
    """Return what containers of a profile's agents can tell each other, and what separates them (`sandbox.channels`).

    Raises:
        PrerequisiteError: no engine answers, or the images are not built.
        SandboxError: the engine failed.
    """
    engine = connect_engine(containers)
    task = next(task for task in shipped_tasks() if profile in task.metadata.aira.profiles)
    image = planned_images(flavour_for(task, profile, this_machine(otherwise=engine_gpus)))[0]

    def make() -> DockerSandbox:
        return DockerSandbox(engine, runtime=runtime)

    with make() as sandbox:
        isolation = weakest(sandbox.isolation(image, role, gpu=False) for role in UNTRUSTED)
    return isolation, measure_all(make, image, random.Random(secrets.randbits(64)), note)


def _images(
    engine: DockerEngine,
    flavour: str,
    runtime: str | None,
    note: Callable[[str], None],
    machine: Hardware,
    limits: Limits,
) -> Iterator[Diagnosis]:
    name, images = f"images ({flavour})", planned_images(flavour)
    if missing := [tag for tag in images if not engine.image_exists(tag)]:
        # Another engine's own storage gets what Docker has built, here or elsewhere.
        load = f"aira-bench images load FILE --flavour {flavour} --containers {engine.words.program}"
        build = f"aira-bench images build --flavour {flavour}"
        build = build if engine.words.program == "docker" else f"{load} (aira-bench images save FILE makes it)"
        yield Diagnosis(name, "failed", f"not built: {', '.join(missing)}", build)
    else:
        yield Diagnosis(name, "ok", "built from what is installed")
        yield from _sandbox(engine, images[0], runtime, note, gpu=flavour != DEFAULT_FLAVOUR)
        if flavour != DEFAULT_FLAVOUR and machine.gpus:
            note(f"calling CUDA in containers of {flavour}")
            with DockerSandbox(engine, runtime=runtime) as sandbox:
                yield from cuda_checks(sandbox, images, machine, limits)


def _disk(name: str, folder: Path, needed_gib: float, what: str) -> Diagnosis:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    seen = f"{free_gib:.1f} GiB free in {existing}"
    if free_gib < needed_gib:
        return Diagnosis(name, "failed", f"{seen}, expected {needed_gib:.0f} {what}", "free space, or move the folder")
    return Diagnosis(name, "ok", f"{seen}, of which {needed_gib:.0f} are needed {what}")


def _disks(paths: HostPaths, engine: DockerEngine, root: Path, flavours: set[str]) -> Iterator[Diagnosis]:
    """Room for the images that are not built, as it was measured, and for a download's reserve."""
    missing = [each for each in sorted(flavours) if not all(map(engine.image_exists, planned_images(each)))]
    disks = [load_flavour(each).settings.disk_gib for each in missing]
    downloads = sum(each.wheels for each in disks)
    sums = " (projected)" if any(each.projected for each in disks) else ""
    what = f"for building {', '.join(missing)}" if missing else "as a reserve, as all images are built"
    yield _disk("disk for data and caches", paths.home, MIN_FREE_GIB, "as a reserve")
    yield _disk("disk for packages", cache_folder(), MIN_FREE_GIB + downloads, what)
    if os.access(root, os.F_OK, effective_ids=True):  # it may lie where this user may not look
        yield _disk("disk for images", root, MIN_FREE_GIB + sum(each.build for each in disks), f"{what}{sums}")


def _cards() -> tuple[list[Card], list[Diagnosis]]:
    """Every card that can be read, and what is wrong with the others."""
    cards, broken = [], []
    for name in card_names(os.environ):
        try:
            cards.append(find_card(name, os.environ))
        except AiraError as error:
            broken.append(Diagnosis(f"agent card {name}", "warning", error.message, error.hint or ""))
    return cards, broken


def _models(cards: Sequence[Card]) -> Iterator[Diagnosis]:
    """One tiny call for each card that lacks nothing: key, address and model are what the provider takes, or not."""
    usable = [card for card in cards if not all_missing(card, os.environ)]
    if usable:
        with ThreadPoolExecutor(len(usable), thread_name_prefix="trial") as pool:
            yield from pool.map(_model, usable)


def _model(card: Card) -> Diagnosis:
    name = f"model {card.name}"
    try:
        jitter = random.Random()  # no result depends on it
        model = connect(card, os.environ, limiter=AdaptiveLimiter(), rng=jitter)
        trial = try_model(model.within(Waits(), TRIAL_POLICY), card)
    except AiraError as error:
        return Diagnosis(name, "warning", error.message, error.hint or "")
    state: State = "ok" if trial.completion else "warning"
    return Diagnosis(name, state, trial.said, "" if trial.completion else "aira-bench doctor, in a while")


def _keys(cards: Sequence[Card]) -> Iterator[Diagnosis]:
    for name in sorted({card.key_variable for card in cards if card.key_variable}):
        if os.environ.get(name):
            yield Diagnosis(name, "ok", "set")
        else:
            yield Diagnosis(name, "warning", "not set", f"export {name}=... (only for agents that use it)")


def _sandbox(
    engine: DockerEngine, image: str, runtime: str | None, note: Callable[[str], None], *, gpu: bool
) -> Iterator[Diagnosis]:
    note("probing the sandbox")
    try:
        with DockerSandbox(engine, runtime=runtime) as sandbox:
            found = {role: sandbox.isolation(image, role, gpu=gpu) for role in UNTRUSTED}
            checks = probe_all(sandbox, image)
    except AiraError as error:
        yield Diagnosis("sandbox", "failed", error.message, error.hint or "see SECURITY.md")
        return
    missing = missing_walls(checks)
    for each in missing:
        why = lacking(each.wall.name, engine.info())
        seen = "; ".join(f"{check.name}: {check.seen}, expected {check.expected}" for check in each.checks)
        accept = f"run --accept-missing-walls {each.wall.name}, which boards show" if not each.wall.needed else ""
        yield Diagnosis(
            f"wall {each.wall.name}", "failed", f"missing{why and f' ({why})'}: {seen}",
            f"see docs/engines.md{accept and f'; or {accept}'}",
        )  # fmt: skip
    if not missing:
        yield Diagnosis("sandbox", "ok", f"all {len(checks)} properties hold, from no network to a deadline that kills")
    for isolation in dict.fromkeys(found.values()):
        roles = ", ".join(role for role in found if found[role] == isolation)
        good = isolation.word in ("own kernel", "own trees")
        seen = f"{isolation.word}: {isolation.reason}"
        yield Diagnosis(f"isolation of {roles}", "ok" if good else "warning", seen, "" if good else "see SECURITY.md")


def _data(paths: HostPaths, task: Task, profile: str, evaluator: str, containers: str | None) -> Diagnosis:
    name = f"data: {task.title} ({profile})"
    if task_data(paths, task, profile, raw=None, image=evaluator).ready:
        return Diagnosis(name, "ok", "prepared")
    by = "" if containers is None else f" --containers {containers}"
    mend = f"aira-bench prepare {task.title} --profile {profile}{by} (a run does it by itself)"
    return Diagnosis(name, "warning", "not prepared", mend)
