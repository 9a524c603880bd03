"""Messages name the engine in use: every call of podman's and Docker's connections failing, and all texts of the code.

Not covered: what engines say themselves, which is quoted.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from played_engine import PlayedEngine

from aira_bench.docker_engine import DockerEngine, connect_engine
from aira_bench.docker_engine.podman import PodmanEngine
from aira_bench.errors import AiraError
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.ending import touched

ROOT = Path(__file__).parents[2] / "harness" / "aira_bench"
OF_DOCKER = {
    "docker_engine/apptainer.py",  # which takes images of Docker's
    "docker_engine/endpoint.py",  # the docker command's own configuration
    "docker_engine/failures.py",  # the words themselves, and the group of Docker's socket
    "runs/devices.py", "sandbox/engine_gpus.py",  # how others start the container that this process is in
}  # fmt: skip
NAMED = re.compile(
    r"\bDocker (?!Engine API|daemon of)\b(?!SDK)|\bdocker (?:info|ps|images|load|pull|push|events|inspect|stats)\b"
)
Body = dict[str, object]
BODY: Body = {"Image": "image:1", "Entrypoint": ["x"], "HostConfig": {"LogConfig": {"Type": "none"}}}
CALLS: dict[str, Callable[[DockerEngine, Path], object]] = {
    "info": lambda engine, folder: engine.info(),
    "create a volume": lambda engine, folder: engine.create_volume("v", {}, {}),
    "create a container": lambda engine, folder: engine.create_container("c", BODY),
    "start": lambda engine, folder: engine.start_container("c"),
    "wait": lambda engine, folder: engine.wait_container("c", 1),
    "output": lambda engine, folder: engine.output("c"),
    "events": lambda engine, folder: engine.told_of("c"),
    "inspect": lambda engine, folder: engine.inspect_container("c"),
    "remove": lambda engine, folder: engine.remove_container("c"),
    "remove a volume": lambda engine, folder: engine.remove_volume("v"),
    "list": lambda engine, folder: engine.containers("label"),
    "list volumes": lambda engine, folder: engine.volumes("label"),
    "volume": lambda engine, folder: engine.volume_folder("v"),
    "image": lambda engine, folder: engine.inspect_image("image:1"),
    "labels": lambda engine, folder: engine.image_labels("image:1"),
    "images": lambda engine, folder: engine.list_images("label"),
    "tag": lambda engine, folder: engine.tag_image("image:1", "image:2"),
    "build": lambda engine, folder: engine.build(folder, "Dockerfile", "t", "t:1", {}, {}, lambda line: None),
    "import": lambda engine, folder: engine.import_root(folder / "root.tar", "t:1", {}),
    "copy": lambda engine, folder: engine.copy_out("image:1", "/x", folder),
    "pull": lambda engine, folder: engine.pull("image:1", lambda line: None),
    "push": lambda engine, folder: engine.push("image:1", lambda line: None),
    "digest": lambda engine, folder: engine.digest("image:1", "registry/image"),
    "save": lambda engine, folder: list(engine.saved(["image:1"])),
    "load": lambda engine, folder: engine.load(iter([b"x"])),
    "kill": lambda engine, folder: engine.kill_container("c"),
    "runtime": lambda engine, folder: DockerSandbox(engine, runtime="absent"),
}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedEngine]:
    played = PlayedEngine()
    monkeypatch.setenv("DOCKER_HOST", played.address)
    monkeypatch.setattr("aira_bench.docker_engine.engine.REMOVAL_TIMEOUT_S", 0.0)
    yield played
    played.close()


def told(error: AiraError) -> str:
    return f"{error.message} {error.hint or ''}"


@pytest.mark.parametrize("kind", ["podman", "docker"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [404, 400, 409, 500])
def test_a_call_that_fails_names_the_engine_that_failed(
    daemon: PlayedEngine, tmp_path: Path, kind: str, call: str, status: int
) -> None:
    (tmp_path / "root.tar").write_bytes(b"")
    engine: DockerEngine = DockerEngine.connect(timeout_s=5)
    if kind == "podman":
        engine = PodmanEngine.over(engine)
    if call != "runtime":
        daemon.fails = lambda request, times: (status, {"message": "no"})
    elif kind == "podman":
        pytest.skip("its description is podman's own, which nobody plays")
    said = ""
    try:
        CALLS[call](engine, tmp_path)
    except AiraError as error:
        said = told(error).lower()
    engine.close()
    assert ("docker" if kind == "podman" else "podman") not in said
    assert not said or kind in said or "aira-bench" in said


def test_an_engine_that_is_away_is_named(daemon: PlayedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PodmanEngine.over(DockerEngine.connect(timeout_s=5))
    daemon.close()
    with pytest.raises(AiraError) as caught:
        engine.containers("label")
    assert told(caught.value).startswith("Podman could not list containers: no answer from the service")
    assert caught.value.hint == "podman info"
    monkeypatch.setenv("CONTAINER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(AiraError, match=r"No Podman service answers at .*, which CONTAINER_HOST names") as caught:
        connect_engine("podman")
    assert "docker" not in told(caught.value).lower()
    monkeypatch.setenv("CONTAINER_HOST", "nonsense://x")
    with pytest.raises(AiraError, match="CONTAINER_HOST has the address") as caught:
        connect_engine("podman")
    assert caught.value.hint == "unset CONTAINER_HOST"


def test_who_touched_a_container_is_looked_for_with_its_own_engine() -> None:
    assert touched(PodmanEngine.words, "container", ("kill",)).hint == (
        "podman events --since 10m --filter type=container"
    )


def texts(path: Path) -> Iterator[str]:
    """Texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def test_no_text_names_docker_but_where_docker_is_meant() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text[:80]}"
        for path in sorted(ROOT.rglob("*.py"))
        if str(path.relative_to(ROOT)) not in OF_DOCKER
        for text in texts(path)
        if NAMED.search(text)
    }
    assert not found, "\n".join(sorted(found))
