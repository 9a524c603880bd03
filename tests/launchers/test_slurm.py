"""Workers on a real Slurm of three nodes on this machine (tests/launchers/slurm_site.py)."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.cli.stopping import SAME_ORDER_S
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.launchers import slurm
from aira_bench.launchers.launcher import WorkerOrder
from aira_bench.launchers.slurm import SlurmFleet, SlurmLauncher, read_slurm_arguments
from eventually import eventually
from launchers.slurm_site import SlurmSite, missing, slurm_site
from launchers.told_worker import notes

WORKER = Path(__file__).with_name("told_worker.py")
ASKED = bool(os.environ.get("AIRA_TEST_SLURM"))
"""By `make test-slurm`: then what is missing is an error, and no reason to skip."""
real = pytest.mark.skipif(not ASKED and bool(missing()), reason=missing() or "asked for")


@pytest.fixture
def site(one_site: SlurmSite) -> Iterator[SlurmSite]:
    """The site without jobs."""
    yield one_site
    one_site.clear()


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmSite]:
    assert not missing(), missing()
    with slurm_site(tmp_path_factory.mktemp("slurm")) as site, pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, site.environment[name])
        patch.setenv("ANY_KEY", "secret-of-a-provider")
        yield site


def order(folder: Path, seconds: float, workers: int = 1, **wishes: int) -> WorkerOrder:
    command = (sys.executable, str(WORKER), str(folder), str(seconds))
    place = {"AIRA_PLACE": "here"}
    return WorkerOrder(command, workers, folder / "logs", environment=place, secrets=("ANY_KEY",), **wishes)


def started(order: WorkerOrder, partition: str | None = None) -> SlurmFleet:
    fleet = SlurmLauncher(partition).start(order)
    assert isinstance(fleet, SlurmFleet)
    return fleet


def said(folder: Path, what: str) -> int:
    return Counter(note["what"] for note in notes(folder))[what]


@real
def test_every_place_of_the_array_is_one_worker_with_its_gpus(site: SlurmSite, tmp_path: Path) -> None:
    fleet = started(order(tmp_path, 0.2, workers=5, gpus=1))
    eventually(lambda: fleet.alive() == 0)
    begun = [note for note in notes(tmp_path) if note["what"] == "begun"]
    assert sorted(str(note["SLURM_ARRAY_TASK_ID"]) for note in begun) == ["0", "1", "2", "3", "4"]
    assert {(note["AIRA_PLACE"], note["SLURM_GPUS_ON_NODE"], note["ANY_KEY"]) for note in begun} == {
        ("here", "1", "secret-of-a-provider")
    }
    assert any("a worker says so" in log.read_text() for log in (tmp_path / "logs").glob("*_log.out"))
    for path in (tmp_path / "logs").rglob("*"):
        assert b"secret-of-a-provider" not in path.read_bytes(), "a key lies in no file of ours"


@real
def test_a_preempted_worker_is_told_in_one_moment_and_begins_again(site: SlurmSite, tmp_path: Path) -> None:
    """Slurm tells every process of the job, and a parent passes it on: the words are one order (`cli.stopping`)."""
    fleet = started(order(tmp_path, 40, workers=6), "low")
    eventually(lambda: said(tmp_path, "begun") == 6, within_s=30)
    site.ask("sbatch", "--partition=high", "--ntasks=1", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1")
    eventually(lambda: said(tmp_path, "ended") == 2, within_s=30)
    eventually(lambda: said(tmp_path, "begun") == 8, within_s=60)
    words: dict[object, list[float]] = {}
    for note in notes(tmp_path):
        if note["what"] == "told":
            words.setdefault(note["pid"], []).append(float(note["at"] or 0))
    assert len(words) == 2
    assert all(times[-1] - times[0] < SAME_ORDER_S / 2 for times in words.values())
    fleet.stop(10)
    eventually(lambda: fleet.alive() == 0, within_s=30)
    assert said(tmp_path, "ended") == 8


@real
def test_what_a_lost_node_had_begins_again_elsewhere(site: SlurmSite, tmp_path: Path) -> None:
    fleet = started(order(tmp_path, 100, workers=6))
    eventually(lambda: said(tmp_path, "begun") == 6, within_s=30)
    site.ask("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=tried")
    eventually(lambda: said(tmp_path, "ended") == 2, within_s=30)
    eventually(lambda: said(tmp_path, "begun") == 8, within_s=60)
    fleet.stop(10)
    eventually(lambda: fleet.alive() == 0, within_s=30)


@real
def test_a_worker_whose_time_is_up_is_told_and_puts_its_job_back(site: SlurmSite, tmp_path: Path) -> None:
    fleet = started(order(tmp_path, 40, workers=2))
    eventually(lambda: said(tmp_path, "begun") == 2, within_s=30)
    site.ask("scancel", "--batch", "--signal=USR2", f"{fleet.job}_1")  # what Slurm does by --signal=B:USR2@120
    eventually(lambda: said(tmp_path, "begun") == 3, within_s=60)
    assert said(tmp_path, "told") == 1
    fleet.stop(10)
    eventually(lambda: fleet.alive() == 0, within_s=30)


@real
def test_the_second_stop_waits_for_no_grace_of_the_site(site: SlurmSite, tmp_path: Path) -> None:
    fleet = started(order(tmp_path, 60, workers=7))
    eventually(lambda: said(tmp_path, "begun") == 6, within_s=30)
    fleet.stop(0)
    eventually(lambda: not site.running(), within_s=5)
    eventually(lambda: fleet.alive() == 0, within_s=30)
    assert said(tmp_path, "begun") == 6, "what waited for a place never begins"


@real
def test_what_slurm_refuses_is_said_in_its_words(site: SlurmSite, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nosuch") as refused:
        started(order(tmp_path, 1), "nosuch")
    assert refused.value.hint


def test_options_of_sbatch_are_read() -> None:
    assert read_slurm_arguments("--time=24:00:00 --account='my lab' --exclusive") == {
        "time": "24:00:00", "account": "my lab", "exclusive": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["-p gpu", "time=3", "--array=0-3", "--wrap=id", "--output=x", "--time='1\n#SBATCH --uid=0'", "--a 'b"]
)
def test_what_is_no_option_or_ours_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--slurm-args"):
        read_slurm_arguments(text)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that are found first; Slurm's own need not be there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name, words in {"sbatch": "echo Submitted batch job 7", "squeue": "true", "sinfo": "sleep 30"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{words}\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_machine_that_is_to_be_looked_at_is_no_other_whatever_the_user_asks(commands: Path, tmp_path: Path) -> None:
    """With --slurm-args=--nodelist=one every row of `cluster check` was that of node one."""
    launcher = SlurmLauncher(None, {"nodelist": "one", "account": "lab"})
    launcher.start(replace(order(tmp_path / "on", 1.0), on="two"))
    launcher.start(order(tmp_path / "anywhere", 1.0))
    (on, *_), (anywhere, *_) = (
        [path.read_text() for path in tmp_path.glob(f"{name}/**/*submission*.sh")] for name in ("on", "anywhere")
    )
    assert "#SBATCH --nodelist=two" in on
    assert "nodelist=one" not in on
    assert "#SBATCH --account=lab" in on
    assert "#SBATCH --nodelist=one" in anywhere


def test_a_controller_that_says_nothing_is_named_and_not_waited_for(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(PrerequisiteError, match=r"Slurm does not answer: .*sinfo"):
        SlurmLauncher().machines()


def test_a_node_that_does_not_answer_is_named_and_not_waited_for(commands: Path) -> None:
    (commands / "sinfo").write_text("#!/bin/sh\necho one idle; echo two idle*; echo three mixed\n")
    assert {each.name: each.why_not for each in SlurmLauncher().machines()} == {
        "one": "", "two": "Slurm says idle*", "three": "",
    }  # fmt: skip


def test_times_up_is_the_signal_of_the_batch_process() -> None:
    asked = SlurmLauncher()._parameters(order(Path("x"), 1, gpus=8))
    assert asked["additional_parameters"] == {"requeue": True, "signal": "B:USR2@120"}
    assert (asked["gpus_per_node"], asked["time"], asked["use_srun"]) == (8, None, False)
    assert signal.SIGUSR2.name == "SIGUSR2"
