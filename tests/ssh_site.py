"""An sshd on loopback with keys and settings of its own, whose one account has the judge's command forced.

It is Debian's `openssh-server`, not a service: a process of the test, on a port that nobody else has. It can be stopped and
started again as a machine can.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join

from eventually import eventually

_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing() -> str:
    """Why there can be no sshd here; empty if there can."""
    absent = [name for name in ("sshd", "ssh", "ssh-keygen") if shutil.which(name, path=_SEARCHED) is None]
    return f"no {', '.join(absent)} here: apt-get install openssh-server" if absent else ""


@dataclass
class SshSite:
    """An sshd that runs, or is stopped."""

    root: Path
    port: int
    sshd: subprocess.Popen[bytes] | None = None

    @property
    def ssh(self) -> str:
        """The command that stands for `ssh`; `judge` is the host."""
        return join(["ssh", "-F", str(self.root / "client.conf")])

    def start(self) -> None:
        program = shutil.which("sshd", path=_SEARCHED)
        assert program is not None
        command = [program, "-D", "-e", "-f", str(self.root / "sshd.conf")]
        with (self.root / "sshd.log").open("ab") as log:
            self.sshd = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        eventually(self._answers, within_s=20)

    def stop(self) -> None:
        """End it with all its connections and what runs in them, as a machine ends that loses its power."""
        if self.sshd is None:
            return
        for pid in [*descendants(self.sshd.pid), self.sshd.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.sshd.wait()
        self.sshd = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def descendants(pid: int) -> list[int]:
    """All processes that a process started, and theirs."""
    with contextlib.suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for child in children for each in (child, *descendants(child))]
    return []


@contextlib.contextmanager
def ssh_site(root: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[SshSite]:
    """A site whose account runs one command, with these variables.

    Args:
        root: a folder for its files, which is made.
        command: what is run, whatever is asked for.
        environment: what it has besides what sshd gives.
    """
    root.mkdir(mode=0o700)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
    forced = join(["env", *(f"{name}={value}" for name, value in environment.items()), *command])
    quoted = forced.replace('"', '\\"')
    public = (root / "user_key.pub").read_text()
    (root / "authorized_keys").write_text(f'restrict,command="{quoted}" {public}')
    (root / "known_hosts").write_text(f"[127.0.0.1]:{port} {(root / 'host_key.pub').read_text()}")
    (root / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host_key\nPidFile {root}/sshd.pid\n"
        f"AuthorizedKeysFile {root}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
    )
    (root / "client.conf").write_text(
        f"Host judge*\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {root}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {root}/known_hosts\n"
        "  StrictHostKeyChecking yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where Debian's sshd locks itself in
    site = SshSite(root, port)
    try:
        site.start()
        yield site
    finally:
        site.stop()
