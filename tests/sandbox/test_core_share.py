"""What a container loses to its neighbours on its cores: the arithmetic, and deadlines that do not depend on them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.hardware import usable_cores
from aira_bench.images.ensure import ImageSet
from aira_bench.sandbox import core_share
from aira_bench.sandbox.core_share import (
    MOST_PLUS_S,
    MOST_TIMES,
    ContainerUse,
    CoreAllowance,
    CoreShare,
    lost_s,
    wall_limit_s,
)
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Starved
from aira_contract.core_time import idle_s

shares = st.floats(0, 1)
passed = st.floats(0.01, 100)
counts = st.integers(1, 64)


@given(passed, counts, st.integers(0, 64), shares, shares)
def test_what_is_lost_is_no_more_than_passed_and_than_others_took(
    passed_s: float, cores: int, wanting: int, used: float, others: float
) -> None:
    own_s = used * cores * passed_s
    taken_s = others * (cores * passed_s - own_s)
    found = lost_s(passed_s, taken_s=taken_s, own_s=own_s, wanting=min(wanting, cores))
    assert 0 <= found <= passed_s
    assert found * min(wanting, cores) <= taken_s + 1e-9
    if wanting == 0:
        assert found == 0, "code that sleeps loses nothing"


@given(passed, counts, shares)
def test_code_without_neighbours_loses_nothing_however_many_threads_it_has(
    passed_s: float, cores: int, used: float
) -> None:
    for wanting in range(1, cores + 1):
        assert lost_s(passed_s, taken_s=0.0, own_s=used * cores * passed_s, wanting=wanting) == 0


@given(passed, counts, shares)
def test_code_that_wants_all_its_cores_has_worked_for_what_it_used_of_them(
    passed_s: float, cores: int, share: float
) -> None:
    """The clock of a busy container is its own use of its cores: no more time, and no less, than it would use alone."""
    own_s = share * cores * passed_s
    found = lost_s(passed_s, taken_s=cores * passed_s - own_s, own_s=own_s, wanting=cores)
    assert passed_s - found == pytest.approx(own_s / cores)


@given(passed, counts, shares)
def test_one_thread_that_has_a_core_for_itself_loses_nothing_to_busy_others(
    passed_s: float, cores: int, others: float
) -> None:
    taken_s = others * (cores - 1) * passed_s
    assert lost_s(passed_s, taken_s=taken_s, own_s=passed_s, wanting=1) == 0


class PlayedShare(CoreShare):
    """Others take a share of every second; the clock is played."""

    def __init__(self, others: float) -> None:
        super().__init__(None)
        self.now_s, self.others = 0.0, others

    def passes(self, seconds: float) -> None:
        self.now_s += seconds
        self._lost_s += seconds * self.others


@given(st.floats(1, 1e4), st.floats(0, 0.96))
def test_a_deadline_leaves_a_delayed_container_what_it_would_have_had_alone(limit_s: float, others: float) -> None:
    share = PlayedShare(others)
    allowance = CoreAllowance(limit_s, share, lambda: share.now_s)
    share.passes(limit_s)
    assert allowance.left_s() == pytest.approx(limit_s * others, abs=1e-6)
    share.passes(limit_s * others / (1 - others) + 1e-6 * limit_s)
    assert allowance.left_s() <= 1e-6 * limit_s
    allowance.require_had()


@given(st.floats(1, 1e4), st.floats(0.99, 1))
def test_a_container_that_others_leave_next_to_nothing_is_ended_all_the_same_and_has_no_class(
    limit_s: float, others: float
) -> None:
    share = PlayedShare(others)
    allowance = CoreAllowance(limit_s, share, lambda: share.now_s)
    share.passes(wall_limit_s(limit_s) - 1e-3)
    assert 0 < allowance.left_s() <= 2e-3
    share.passes(2e-3)
    assert allowance.left_s() <= 0
    with pytest.raises(Starved, match="Others kept the cores") as caught:
        allowance.require_had()
    assert caught.value.hint is None, "whoever knows the run names the command that goes on with it"
    assert wall_limit_s(limit_s) == MOST_TIMES * limit_s + MOST_PLUS_S


class Spinner:
    """A process on one core that spins or sleeps, and its use as a container's is read."""

    def __init__(self, core: int, code: str) -> None:
        """The first line of the code, up to its newline, is done when this returns."""
        at_work = "import os; os.write(1, b'.')"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{core}]); {code.format(at_work)}"],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.read(1) == b"."

    def use(self) -> ContainerUse:
        return ContainerUse(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Spinner], ContainerUse]:
    """Control groups of processes that have none of their own: files that say what the kernel says of the process."""

    def group(spinner: Spinner) -> ContainerUse:
        folder = tmp_path / str(spinner.process.pid)
        folder.mkdir()
        (folder / "tasks").write_text(f"{spinner.process.pid}\n")
        (folder / "cpuacct.usage").write_text("0")
        monkeypatch.setattr(core_share, "_files", lambda pid: (folder / "cpuacct.usage", folder / "tasks"))
        monkeypatch.setattr(core_share, "_usage_s", lambda path: _used_s(int(path.parent.name)))
        return spinner.use()

    return group


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def spinners() -> Iterator[list[Spinner]]:
    made: list[Spinner] = []
    yield made
    for each in made:
        each.close()


SPIN, SLEEP = "{}\nwhile True: pass", "import time; {}; time.sleep(600)"
YIELD = "os.nice(19); " + SPIN
IDLE = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); " + SPIN


@pytest.mark.skipif(os.nice(0) > 0, reason="what was begun with a lower priority gives way, and loses nothing")
@pytest.mark.parametrize(("code", "loses"), [(SPIN, True), (SLEEP, False), (YIELD, False), (IDLE, False)])
def test_beside_busy_neighbours_what_wants_to_run_loses_and_what_sleeps_or_gives_way_does_not(
    code: str, loses: bool, groups: Callable[[Spinner], ContainerUse], spinners: list[Spinner]
) -> None:
    core = usable_cores()[-1]
    spinners += [Spinner(core, code), *(Spinner(core, SPIN) for _ in range(3))]
    share = CoreShare((core,))
    share.join(groups(spinners[0]))
    began_s = time.monotonic()
    share.sample()
    for _ in range(4):
        time.sleep(0.5)
        share.sample()
    part = share.lost_s / (time.monotonic() - began_s)
    assert (0.5 < part <= 1.0) if loses else (part < 0.3), part


def test_idle_time_is_told_for_cores_that_exist_and_no_others(tmp_path: Path) -> None:
    found = idle_s(usable_cores())
    assert found is not None
    assert found > 0
    assert idle_s([10_000]) is None
    stat = tmp_path / "stat"
    stat.write_text("cpu  9 9 9 9 9 0 0 0 0 0\ncpu0 1 1 1 250 50 1 1 1 0 0\ncpu1 1 1 1 100 0 1 1 1 0 0\nintr 5\n")
    assert idle_s([0], stat) == pytest.approx(3.02)
    assert idle_s([0, 1], stat) == pytest.approx(4.04)
    stat.write_text("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert idle_s([0], stat) is None, "a stand-in that never changes would read as a core that others fill"


WORK = "import time\nwhile time.process_time() < {}: pass"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("code", "ended"), [(WORK.format(2.0), "exited"), (WORK.format(9.0), "timeout"), ("import time; time.sleep(99)", "timeout")]
)  # fmt: skip
def test_a_container_beside_busy_neighbours_has_its_time_and_no_more(
    code: str, ended: str, sandbox: DockerSandbox, images: ImageSet, spinners: list[Spinner], tmp_path: Path
) -> None:
    """Of three seconds of its core; by the wall's clock its neighbours would have left it one or less."""
    core = usable_cores()[-1]
    spec = ContainerSpec(images.agent, "agent", f"share-{os.getpid()}", Limits(memory_mib=256, cpus=(core,)))
    container = sandbox.prepare(spec)
    spinners += [Spinner(core, SPIN) for _ in range(2)]
    try:
        outcome = container.run(["python3", "-c", code], files={}, timeout_s=3.0, artifacts=[], destination=tmp_path)
    finally:
        container.close()
    assert outcome.ended == ended
    worked_s = outcome.wall_s - outcome.lost_s
    if "sleep" in code:
        assert outcome.lost_s < 0.5 * outcome.wall_s, "it wanted no core but to begin"
    else:
        assert outcome.lost_s > 0.3 * outcome.wall_s
    assert worked_s < 8.0, "it had three of the nine seconds that it wanted, and what it takes to begin and to end"


def test_interrupts_are_nobodys_since_code_can_bring_them_about(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 9 9 9 9 9\ncpu0 100 0 50 1000 20 7 3 400 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n")
    assert idle_s([0], stat) == pytest.approx(10.3)
