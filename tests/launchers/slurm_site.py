"""A Slurm site on this machine: munged, slurmctld and a slurmd for each node, in a folder of their own.

All listen on 127.0.0.1, need root, and are gone in the end with whatever their jobs started. The site has no accounting,
as many have, and no cgroups. `low` is a partition whose jobs `high` preempts.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventually import eventually

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_CONF = """
ClusterName=played
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=100000
SlurmdTimeout=5
KillWait=10
MinJobAge=300
GresTypes=gpu
"""
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=4000 Gres=gpu:2\n"
_PARTITIONS = """
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no site here; empty if there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_SEARCHED) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd and munged need root here"


@dataclass
class SlurmSite:
    """A site that runs."""

    root: Path
    environment: Mapping[str, str]
    """With which Slurm's commands find it."""
    nodes: tuple[str, ...]
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def states(self) -> dict[str, str]:
        """The state of each node."""
        told = self.ask("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %T")
        return dict(line.split() for line in told.splitlines())

    def running(self) -> dict[str, str]:
        """On which node each job runs."""
        told = self.ask("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i %N")
        return dict(line.split() for line in told.splitlines())

    def clear(self) -> None:
        """Kill all jobs, and wait until every node is there and idle."""
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        self.ask("scancel", "--user=root")
        eventually(
            lambda: not self.ask("squeue", "--noheader") and set(self.states().values()) == {"idle"}, within_s=60
        )

    def kill_node(self, name: str) -> None:
        """All that runs on a node is gone at once, its daemon and its jobs, as when it loses its power."""
        daemon = self._daemons.pop(name)
        _kill([daemon.pid, *descendants(daemon.pid), *steps_of(self.root, name)])
        daemon.wait()

    def stop(self) -> None:
        """End everything."""
        for name, daemon in reversed(self._daemons.items()):
            _kill([daemon.pid, *descendants(daemon.pid), *steps_of(self.root, name)])
            daemon.wait()
        self._daemons.clear()


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and they, as far as they are below it now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def steps_of(root: Path, node: str) -> list[int]:
    """What runs of jobs on a node: their processes, and the daemons above them, which are no children of slurmd."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if {f"SLURM_CONF={root}/slurm.conf".encode(), f"SLURMD_NODENAME={node}".encode()} <= set(variables):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                above = [parent] if "slurmstepd" in Path(f"/proc/{parent}/comm").read_text() else []
                found += [*above, int(process.name)]
    return found


def _kill(pids: list[int]) -> None:
    for pid in dict.fromkeys(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def slurm_site(root: Path, nodes: int = 3, cores: int = 2) -> Iterator[SlurmSite]:
    """A site of so many nodes with so many cores and two files in place of GPUs each, all idle."""
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    host, names = socket.gethostname().partition(".")[0], tuple(f"n{number}" for number in range(1, nodes + 1))
    conf = _CONF.format(host=host, controller=_free_port(), root=root)
    conf += "".join(_NODE.format(name=name, host=host, port=_free_port(), cores=cores) for name in names) + _PARTITIONS
    (root / "slurm.conf").write_text(conf)
    devices = []
    for name in names:
        for number in range(2):
            (root / f"{name}-gpu{number}").touch()
            devices.append(f"NodeName={name} Name=gpu File={root}/{name}-gpu{number}\n")
    (root / "gres.conf").write_text("".join(devices))
    (root / "state").mkdir()
    for name in names:
        (root / f"spool-{name}").mkdir()
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf"), "PATH": _SEARCHED}
    site = SlurmSite(root, environment, names)
    try:
        munged = [
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={root}/munge.socket",
            f"--pid-file={root}/munge.pid", f"--log-file={root}/munge.log", f"--seed-file={root}/munge.seed",
        ]  # fmt: skip
        _start(site, "munged", munged)
        eventually((root / "munge.socket").exists, within_s=10)
        _start(site, "slurmctld", ["slurmctld", "-D", "-i"])
        for name in names:
            _start(site, name, ["slurmd", "-D", "-N", name])
        eventually(lambda: _all_idle(site), within_s=30)
        yield site
    finally:
        site.stop()


def _all_idle(site: SlurmSite) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError):
        return set(site.states().values()) == {"idle"} and len(site.states()) == len(site.nodes)
    time.sleep(0.1)
    return False


def _start(site: SlurmSite, name: str, command: list[str]) -> None:
    with (site.root / f"{name}.out").open("wb") as output:
        site._daemons[name] = subprocess.Popen(
            command, env=site.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=site.root,
            start_new_session=True,
        )  # fmt: skip
