"""The documented command line of Apptainer, played: parsed strictly, and carried out with namespaces of the kernel.

`main` stands for the program `apptainer`. Options are those of `apptainer exec --help` and the user guide; one that is
not there ends it, as in Apptainer. Containers are real ones as far as tests look at them: own process, network, message
and mount namespaces, a read-only root of this machine's programs, bind mounts, a user of its own where root asks for
one. A SIF file is the archive's facts.

Not covered: whether Apptainer does what its guide says, seccomp, and control groups, whose options are only parsed.
"""

import ctypes
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FLAGS = {
    "--allow-setuid", "--cleanenv", "--compat", "--contain", "--containall", "--disable-cache", "--fakeroot", "--ipc",
    "--keep-privs", "--net", "--no-eval", "--no-home", "--no-init", "--no-privs", "--no-umask", "--nv", "--nvccli",
    "--oom-kill-disable", "--pid", "--rocm", "--underlay", "--unsquash", "--userns", "--uts", "--writable",
    "--writable-tmpfs",
}  # fmt: skip
VALUES = {
    "--add-caps", "--app", "--apply-cgroups", "--bind", "--blkio-weight", "--cpu-shares", "--cpus", "--cpuset-cpus",
    "--cpuset-mems", "--cwd", "--dns", "--drop-caps", "--env", "--env-file", "--fusemount", "--home", "--hostname",
    "--memory", "--memory-reservation", "--memory-swap", "--mount", "--network", "--network-args", "--no-mount", "--overlay",
    "--pids-limit", "--pwd", "--scratch", "--security", "--workdir",
}  # fmt: skip
MOUNTS = {"proc", "sys", "dev", "devpts", "home", "tmp", "hostfs", "cwd", "bind-paths"}
SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
PR_SET_NO_NEW_PRIVS = 38
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def fatal(words: str) -> None:
    print(f"FATAL:   {words}", file=sys.stderr)
    raise SystemExit(255)


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    if libc.mount(source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode() or None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def parsed(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options before the image, and the image with its command; unknown options end it."""
    given: dict[str, list[str]] = {}
    left = list(arguments)
    while left and left[0].startswith("-"):
        name = left.pop(0)
        if name in FLAGS:
            given.setdefault(name, [])
        elif name in VALUES and left:
            given.setdefault(name, []).append(left.pop(0))
        else:
            fatal(f'Error for command "exec": unknown flag: {name}')
    if len(left) < 2:
        fatal("accepts at least 2 arg(s)")
    return given, left


def checked(given: dict[str, list[str]]) -> None:
    """What the guide says that users may not ask for, or not alone."""
    root = os.geteuid() == 0
    if "--network" in given and "--net" not in given:
        fatal("--network requires --net")
    if not root and set(given.get("--network", ["none"])) != {"none"}:
        fatal("only root may use another network than none")
    if not root and "--security" in given:
        fatal("--security is for root")
    if "--memory-swap" in given and "--memory" not in given:
        fatal("--memory-swap requires --memory")
    if not root and {"--memory", "--pids-limit", "--cpuset-cpus"} & set(given):
        fatal("no control groups are handed on to this user")
    for values in given.get("--no-mount", []):
        for each in values.split(","):
            if each not in MOUNTS and not each.startswith("/"):
                fatal(f"unknown mount: {each}")


def bind_of(text: str) -> tuple[str, str, bool]:
    fields = [field.split("=", 1) for field in text.split(",")]
    known = {"type", "src", "source", "dst", "destination", "target"}
    found = {field[0]: field[1] for field in fields if len(field) == 2}
    if set(found) - known or {field[0] for field in fields if len(field) == 1} - {"ro", "rw"}:
        fatal(f"invalid mount: {text}")
    if found.get("type", "bind") != "bind":
        fatal(f"invalid mount type: {text}")
    source, target = found.get("src", found.get("source", "")), found.get("dst", found.get("target", ""))
    if not Path(source).exists():
        fatal(f"mount source {source} doesn't exist")
    return source, target, ["ro"] in fields


def build(arguments: list[str]) -> None:
    sif, source = arguments
    kind, _, path = source.partition(":")
    if kind != "docker-archive" or path.startswith("//"):
        fatal(f"unknown source: {source}")
    with tarfile.open(path) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]  # one image, and its layers
        for layer in entry["Layers"]:
            archive.getmember(layer)
        config = json.load(archive.extractfile(entry["Config"]))  # type: ignore[arg-type]
    Path(sif).write_text(json.dumps({"environment": config["config"].get("Env") or []}))


def execute(arguments: list[str]) -> None:
    given, (image, *command) = parsed(arguments)
    checked(given)
    facts = json.loads(Path(image).read_text())
    with tempfile.NamedTemporaryFile("w", prefix="played-", suffix=".json", delete=False) as plan:
        json.dump({"given": given, "command": command, "facts": facts}, plan)
    spaces = ["--mount", "--pid", "--fork", "--ipc"] + ["--net"] * ("--net" in given) + ["--uts"] * ("--uts" in given)
    os.execvp("unshare", ["unshare", *spaces, sys.executable, __file__, "--inside", plan.name])


def inside(path: str) -> int:
    """The first process of the container: makes its root, starts the command, and waits for all there is."""
    plan = json.loads(Path(path).read_text())
    Path(path).unlink()
    given = plan["given"]
    binds = [bind_of(text) for text in given.get("--mount", [])]
    if "--hostname" in given:
        subprocess.run(["hostname", given["--hostname"][0]], check=False)
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
    root = Path(tempfile.mkdtemp(prefix="played-root-"))
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for shared in (*SHARED, sys.base_prefix):
        if Path(shared).is_symlink():
            (root / shared.lstrip("/")).symlink_to(Path(shared).readlink())
        elif Path(shared).is_dir():
            bind(shared, root / shared.lstrip("/"), read_only=True)
    for name in ("null", "zero", "random", "urandom"):
        bind(f"/dev/{name}", root / "dev" / name, read_only=False)
    for name in ("proc", "dev/shm", "tmp", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    mount("proc", root / "proc", "proc")
    mount("tmpfs", root / "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=1777")
    for source, target, read_only in binds:
        bind(source, root / target.lstrip("/"), read_only=read_only)
    mount("none", root, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    child = os.fork()
    if child == 0:
        become(root, plan)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def bind(source: str, target: Path, *, read_only: bool) -> None:
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, flags=MS_BIND | MS_REC)
    kept = (MS_RDONLY if read_only else 0) | (0 if source.startswith("/dev/") else MS_NODEV)
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_NOSUID | kept)


def become(root: Path, plan: dict[str, object]) -> None:
    given, facts = plan["given"], plan["facts"]
    assert isinstance(given, dict)
    assert isinstance(facts, dict)
    os.chroot(root)
    os.chdir(given.get("--pwd", ["/"])[0])
    security = dict(each.split(":", 1) for each in given.get("--security", []))
    if "seccomp" in security:
        security.pop("seccomp")
    if security:
        os.setgroups([])
        os.setgid(int(security["gid"]))
        os.setuid(int(security["uid"]))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    environment = dict(line.split("=", 1) for line in facts["environment"])
    environment.setdefault("PATH", f"{sys.base_prefix}/bin:/usr/bin:/bin")
    environment["APPTAINER_NAME"] = "played"
    command = plan["command"]
    assert isinstance(command, list)
    os.execvpe(command[0], command, environment)


def main(arguments: list[str]) -> int:
    while arguments and arguments[0] in ("--silent", "--quiet", "--debug"):
        arguments = arguments[1:]
    match arguments:
        case ["version"]:
            print(os.environ.get("PLAYED_VERSION", "1.3.4"))
        case ["build", *rest]:
            build(rest)
        case ["exec", *rest]:
            execute(rest)
        case ["--inside", path]:
            code = inside(path)
            if code < 0:
                return 128 - code
            return code
        case _:
            fatal(f"unknown command: {arguments}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
