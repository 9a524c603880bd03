"""What a run will do, printed before it costs anything: right line by line, for the machine and the command it is made for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.gpus import Gpus
from aira_bench.hardware import Hardware
from aira_bench.images.ensure import planned_images
from aira_bench.images.flavour import load_flavour
from aira_bench.paths import HostPaths
from aira_bench.runs.expense import expect
from aira_bench.runs.forecast import EngineView, Forecast, foresee
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import ResolvedRun, resolve
from aira_bench.tasks.data_source import download_folder
from aira_bench.tasks.metadata import PublicFile
from aira_bench.testing import PlayedWorld
from aira_evaluator.autoresearch.contract.profiles import PAPER
from fake_gpus import H100, h100, uuid

EIGHT = Gpus("seen", tuple(map(h100, range(8))), driver="580.95.05", cuda="13.0", every=tuple(map(uuid, range(8))))
MACHINE = Hardware("a processor", 208, 2_000_000, EIGHT.devices, EIGHT)
BARE = EngineView(lambda tag: False)
Words = dict[str, list[str]]


@pytest.fixture(autouse=True)
def _a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a-key-nobody-asks-with")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("aira_bench.runs.host.usable_cores", lambda: tuple(range(208)))


def no_sizes(files: Sequence[PublicFile]) -> list[int | None]:
    return [None] * len(files)


def planned(tmp_path: Path, machine: Hardware = MACHINE, **wishes: object) -> tuple[ResolvedRun, HostPaths]:
    asked = {"agent": "gemini3pro", "task": "autoresearch", "seeds": tuple(range(10))} | wishes
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    return resolve(RunRequest(**asked), paths, PlayedWorld(), machine), paths  # type: ignore[arg-type]


def forecast(
    tmp_path: Path, machine: Hardware = MACHINE, engine: EngineView = BARE,
    ask: Callable[[Sequence[PublicFile]], Sequence[int | None]] = no_sizes, **wishes: object,
) -> tuple[Forecast, Words]:  # fmt: skip
    run, paths = planned(tmp_path, machine, **wishes)
    found = foresee(run, machine, paths, engine, ask)
    words: Words = {}
    for name, text in found.lines:
        words.setdefault(name, []).append(text)
    assert not (tmp_path / "home").exists(), "a forecast writes nothing"
    return found, words


def test_the_tokens_of_a_short_run_are_not_none(tmp_path: Path) -> None:
    found, words = forecast(tmp_path, seeds=(0,), steps=2)
    low, high = (
        2 * 2 * (found.expense.prompt_tokens + answer) / 1e6 for answer in (found.expense.answer_tokens.low, 65_536)
    )
    assert 0 < low < high < 10
    assert words["tokens"][0].endswith(f"; {low:.2g} to {high:.2g} million in all steps")


def test_the_command_the_product_exists_for_is_foretold_line_by_line(tmp_path: Path) -> None:
    """aira-bench run --agent gemini3pro --task autoresearch --seeds 10, on eight H100s with nothing built or downloaded."""
    found, words = forecast(tmp_path)
    assert found.obstacle is None
    assert list(words) == [
        "run", "protocol", "agent", "task", "devices", "slots", "memory", "images", "downloads", "disk", "pace", "at the end", "GPU-hours",
        "wall clock",
        "tokens", "dollars", "will not",
    ]  # fmt: skip
    assert words["agent"] == ["gemini3pro (gemini-3-pro-preview of google), scaffold greedy, driven by hidden fitness"]
    assert words["task"] == [
        "autoresearch, profile paper; 10 seeds (0 to 9), each until 500 steps or 24 h, waiting not counted; a solution "
        "has 1 h, its evaluation 2 h"
    ]
    assert words["devices"] == [
        f"8 of 8 GPUs: {H100}, 81559 MiB each, compute capability 9.0, driver 580.95.05 (CUDA 13.0)",
        *(f"{index}  {uuid(index)}" for index in range(8)),
    ]
    assert words["slots"] == [
        "8 steps at a time, each with 26 cores and a GPU of its own; 10 seeds take turns, and one whose model thinks "
        "holds none"
    ]
    # 64 GiB, 8 of files, 1 in /tmp and 1 in /dev/shm for each of eight.
    assert words["memory"] == ["8 steps at a time may take 592 GiB of this machine's 1953 GiB"]
    cuda = load_flavour("cuda")
    assert words["images"][0].startswith(f"cuda: to be built on {cuda.settings.base.pull}")
    assert words["images"][1:] == list(planned_images("cuda"))
    base, packages, files, made = words["downloads"]
    assert base == "the base of the images"
    assert packages.startswith(
        f"{len(cuda.pins)} of the images' {len(cuda.pins)} packages (2.9 GiB for all of them), into "
    )
    assert files == f"13 files of raw data (their servers state no sizes), into {tmp_path}/home/sources"
    assert made == "once they are here, the task's data is made of raw data, which takes 26 min of one GPU"
    assert re.fullmatch(r"\d+ GiB free in .+ for data and caches", words["disk"][0])
    assert words["pace"] == [
        "a step's evaluation takes 547 s of a GPU, its training budget with it, as on one H200 (docs/performance.md), and "
        "what a solution computes comes on top; so its hours end a seed, after at most 157 steps"
    ]
    assert (
        words["at the end"]
        == [
            "10 submissions are trained 3 times again from fresh seeds, on hidden data that no search has seen, 77 min each "
            "at that pace, in no seed's hours: at most 60 h by their time limits"  # 3 x (300 s of training + 5 x 247 s of scoring)
        ]
    )
    assert words["GPU-hours"] == [
        "about 240, which is also the most that the seeds' hours allow; less while models think; at the end about 13, and "
        "at most 60 more"  # 10 submissions, 3 times each, of 1,535 s and of 2 h
    ]
    assert words["wall clock"] == [
        "about 25.6 to 37.5 h, once images and data are here, waiting for providers not counted"
    ]
    assert words["tokens"][0].startswith("2 calls a step, each with some ")
    least, most = (
        1570 * 2 * (found.expense.prompt_tokens + answer) / 1e6 for answer in (found.expense.answer_tokens.low, 65_536)
    )
    assert words["tokens"][0].endswith(
        f"to 65,536 (the card's limit) in its answer; {least:,.0f} to {most:,.0f} million in all steps"
    )
    assert words["dollars"][0].endswith(
        "for 1,570 steps at those lengths, by the card's list prices; held by no cap (--max-cost-usd sets one)"
    )
    assert words["will not"][0] == "use other GPUs, more than one for a step, or the processor in place of one"
    assert not any("aira-bench confirm" in sentence for sentence in words["will not"])
    _, without = forecast(tmp_path, confirm=False)
    assert "at the end" not in without
    assert any("aira-bench confirm" in sentence for sentence in without["will not"])


@pytest.mark.parametrize(
    ("task", "minutes"),
    [
        # Three trainings of 300 s, each asked 100,000 questions a split, five times the 20,000 of a search that take 247 s.
        ("autoresearch", 77),
        # Three trainings, the first of them on two control tasks besides: five times 344 s.
        ("lra-listops", 29),
        ("mad-2p", 2),
    ],
)
def test_what_confirming_takes_is_what_it_is_asked_for(task: str, minutes: int, tmp_path: Path) -> None:
    """It said the time of a search's evaluation, of which the hidden data that confirms takes up to five."""
    _, words = forecast(tmp_path, agent="evolution", task=task)
    assert f"has seen, {minutes} min each at that pace" in words["at the end"][0]
    assert PAPER.questions["final"] == 5 * PAPER.questions["search"]


def test_dollars_are_what_so_many_calls_of_that_length_cost(tmp_path: Path) -> None:
    run, _ = planned(tmp_path)
    found = expect(run.plan, run.task, run.agent, 8)
    prompt, calls = found.prompt_tokens, 2 * 157 * 10
    assert found.usd is not None
    assert found.usd.high == pytest.approx(calls * (prompt * 2.0 + 65_536 * 12.0) / 1e6)
    assert found.usd.low == pytest.approx(calls * (prompt * 2.0 + found.answer_tokens.low * 12.0) / 1e6)
    assert 3_000 < found.answer_tokens.low < 6_000, "the baseline has 16.7 kB"
    assert found.tokens_a_step.high == 2 * (prompt + 65_536)


def test_caps_hold_what_is_foretold(tmp_path: Path) -> None:
    """A cap below what the shortest answers cost ends the run, and not the estimate."""
    found, words = forecast(tmp_path, max_cost_usd=50.0, seed_max_cost_usd=4.0)
    usd = found.expense.usd
    assert usd is not None
    assert usd.low > 40
    few, many = int(40 / usd.high * 1570), int(40 / usd.low * 1570)
    assert words["dollars"][0].endswith(f"the cap of 40 ends it, after {few} to {many} steps")
    assert "does not hold it" in forecast(tmp_path, max_cost_usd=1e6)[1]["dollars"][0]
    assert "held by no cap but --max-tokens" in forecast(tmp_path, max_tokens=1000)[1]["dollars"][0]


def test_seeds_that_keep_their_gpu_take_turns_as_wholes(tmp_path: Path) -> None:
    _, words = forecast(tmp_path, exclusive=True)
    assert words["slots"][0].endswith("of 10 seeds 8 go on, each to its end, then others")
    # Two turns of 24 h, and the confirmations: 10 x 77 min and 10 x 6 h on eight devices. It said 25.6 h.
    assert words["wall clock"][0].startswith("about 49.6 to 55.5 h")


def test_devices_hold_up_seeds_that_do_not_leave_them_to_others(tmp_path: Path) -> None:
    """It named the wall clock of one seed for forty, less than a quarter of their GPU-hours on eight devices."""
    found, words = forecast(tmp_path, agent="random", task="mad-2p", seeds=tuple(range(40)))
    search_h, confirm_h = 40 * 500 * 46 / 3600, 40 * 3 * 46 / 3600
    assert found.expense.wall_hours.low == pytest.approx((search_h + confirm_h) / 8)
    assert words["wall clock"][0].startswith("about 32.1 to 240 h")
    found, _ = forecast(tmp_path, agent="random", task="lra-listops", seeds=tuple(range(40)))
    assert found.expense.wall_hours.low == pytest.approx(found.expense.gpu_hours.low / 8), "nobody thinks there"
    found, _ = forecast(tmp_path, task="mad-2p", seeds=tuple(range(40)))
    assert found.expense.wall_hours.low == pytest.approx(found.expense.gpu_hours.low / 8), (
        "steps, not hours, end a seed"
    )
    found, _ = forecast(tmp_path, seeds=(0, 1))
    assert found.expense.wall_hours.low >= 24, "fewer seeds than devices wait for none"


def test_a_cpu_profile_uses_no_gpu_and_needs_no_model(tmp_path: Path) -> None:
    found, words = forecast(tmp_path, agent="evolution", task="mad-2p", profile="cpu", seeds=(0, 1), steps=6)
    assert words["devices"] == ["no GPU, as profile cpu uses none; a processor"]
    assert "GPU-hours" not in words
    assert (words["tokens"], words["dollars"]) == (["none, as no model is asked"], ["none for models"])
    assert words["pace"] == ["not measured for this task and profile, so its budgets are all that is known"]
    assert words["images"][0].startswith("cpu: to be built on ")
    assert found.expense.gpu_hours.high == 0


def test_what_is_here_is_not_downloaded_and_what_servers_state_is_added_up(tmp_path: Path) -> None:
    built = EngineView(lambda tag: True)
    _, words = forecast(tmp_path, engine=built, ask=lambda files: [1 << 30] * len(files))
    assert words["images"][0] == "cuda: both are built"
    assert words["downloads"][0].startswith("13 files of raw data (13.00 GiB), into ")
    run, paths = planned(tmp_path)
    for file in run.task.metadata.aira.sources[:12]:
        folder = download_folder(paths, file)
        folder.mkdir(parents=True)
        (folder / file.name).touch()
    last = foresee(run, MACHINE, paths, built, lambda files: [None] * len(files)).lines
    assert ("downloads", f"1 file of raw data (their servers state no sizes), into {paths.sources}") in last


def test_what_steps_may_take_is_held_against_the_machines_memory(tmp_path: Path) -> None:
    _, words = forecast(tmp_path, replace(MACHINE, memory_mib=512 * 1024))
    assert words["memory"][0].startswith("8 steps at a time may take 592 GiB of this machine's 512 GiB: where they do")
    _, words = forecast(tmp_path, replace(MACHINE, memory_mib=512 * 1024), concurrency=1)
    assert words["memory"] == ["one step at a time may take 74 GiB of this machine's 512 GiB"]


def test_too_little_disk_for_the_images_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=5 << 30))
    bare, built = (EngineView(lambda tag, there=there: there, tmp_path) for there in (False, True))
    disk = load_flavour("cuda").settings.disk_gib
    assert (
        f"5 GiB free in {tmp_path} for images, which is too little to build them: {disk.told}"
        in (forecast(tmp_path, engine=bare)[1]["disk"][0])
    )
    assert "too little" not in forecast(tmp_path, engine=built)[1]["disk"][0]


def test_a_device_smaller_than_the_baseline_is_said(tmp_path: Path) -> None:
    small = tuple(replace(gpu, memory_mib=24_564, free_mib=24_100) for gpu in EIGHT.devices)
    machine = replace(MACHINE, gpus=small, seen=replace(EIGHT, devices=small))
    said = "the task's baseline held 42.7 GiB of an H200, so solutions have to be smaller here (docs/performance.md)"
    assert said in forecast(tmp_path, machine)[1]["devices"]
    assert said not in forecast(tmp_path)[1]["devices"]
    assert said not in forecast(tmp_path, machine, agent="evolution", task="mad-2p")[1]["devices"]


@pytest.mark.parametrize("wish", [("0", "3"), 3])
def test_chosen_devices_and_those_left_out_are_named(wish: int | tuple[str, ...], tmp_path: Path) -> None:
    devices = (*EIGHT.devices[:7], h100(7, fault="12 memory errors"))
    machine = replace(MACHINE, gpus=devices, seen=replace(EIGHT, devices=devices, lost=("GPU 8: GPU is lost",)))
    _, words = forecast(tmp_path, machine, gpus=wish)
    assert words["devices"][0].startswith(f"{2 if isinstance(wish, tuple) else 7} of 8 GPUs")
    assert any(sentence.startswith("GPU 8: GPU is lost") for sentence in words["devices"])
    assert any("is left out: 12 memory errors" in sentence for sentence in words["devices"]) == (wish == 3)
    assert words["slots"][0].startswith(f"{2 if isinstance(wish, tuple) else 3} steps at a time")


@pytest.mark.parametrize(
    ("capability", "driver", "why"),
    [((7, 0), "580.1", r"GPU 0: .* has compute capability 7\.0"), ((9, 0), "535.1", r"the driver: 535\.1, expected 580")],
)  # fmt: skip
def test_devices_that_the_images_cannot_run_on_would_stop_it(
    tmp_path: Path, capability: tuple[int, int], driver: str, why: str
) -> None:
    devices = tuple(replace(gpu, compute_capability=capability) for gpu in EIGHT.devices)
    old = replace(MACHINE, gpus=devices, seen=replace(EIGHT, devices=devices, driver=driver))
    found, words = forecast(tmp_path, old)
    assert isinstance(found.obstacle, PrerequisiteError)
    assert re.match(f"so the run would stop: The images cuda cannot run here: {why}", words["devices"][-1])
    assert words["devices"][0].startswith("8 of 8 GPUs")


def test_without_a_gpu_the_forecast_says_that_the_run_would_stop(tmp_path: Path) -> None:
    seen = Gpus("broken", why="its kernel module is not loaded", mend="sudo modprobe nvidia")
    found, words = forecast(tmp_path, replace(MACHINE, gpus=(), seen=seen))
    assert isinstance(found.obstacle, PrerequisiteError)
    assert words["devices"][0].startswith("none, so the run would stop: Profile paper is made for GPUs")
    allowed, words = forecast(tmp_path, replace(MACHINE, gpus=(), seen=seen), allow_cpu=True)
    assert allowed.obstacle is None
    assert words["devices"][-1] == "a processor, images cpu"
    assert words["images"][0].startswith("cpu: ")


def test_an_engine_that_does_not_answer_hides_what_is_built_and_nothing_else(tmp_path: Path) -> None:
    _, words = forecast(tmp_path, engine=EngineView(None))
    assert words["images"][0] == "cuda: whether they are built is not known, as no container engine answers"
    assert words["downloads"][0] == "the base of the images"


def test_an_estimate_without_measured_times_names_none(tmp_path: Path) -> None:
    found, words = forecast(tmp_path, agent="evolution", task="lra-text")
    assert found.expense.step_s is None
    assert words["GPU-hours"] == ["at most 240, by the seeds' hours; at the end at most 240 more"]


def test_steps_end_a_seed_where_they_are_fewer_than_fit_into_its_hours(tmp_path: Path) -> None:
    found, words = forecast(tmp_path, agent="evolution", task="mad-2p")
    assert found.expense.steps == 500
    assert "so its steps end a seed, after at most 500 steps" in words["pace"][0]
    assert words["GPU-hours"] == [
        "about 64 for evaluations at that pace, and at most 240, by the seeds' hours; at the end about 0.4, and at most "
        "240 more"
    ]
    assert found.expense.gpu_hours.low == pytest.approx(10 * (500 + 3) * 46 / 3600)
    assert found.expense.gpu_hours.high == pytest.approx(10 * (24 + 3 * 8))


def test_a_run_that_does_not_confirm_itself_takes_no_gpu_for_it(tmp_path: Path) -> None:
    found, words = forecast(tmp_path, agent="evolution", task="mad-2p", confirm=False)
    assert words["GPU-hours"] == ["about 64 for evaluations at that pace, and at most 240, by the seeds' hours"]
    assert found.expense.gpu_hours.high == 240
