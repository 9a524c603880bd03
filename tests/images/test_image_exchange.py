"""Images to a real registry of this machine, or a file, and back: the same, by digest, and nothing else by that name."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.building import STAGE_LABEL, Build, new_context, run_build
from aira_bench.images.exchange import load_images, pull_images, push_images, save_images, transported
from aira_bench.images.flavour import LABEL, TARGET_LABEL, Flavour, load_flavour
from wheel_shop import flavour

pytestmark = pytest.mark.docker
NOTE = list[str]().append


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: DockerEngine) -> Iterator[Flavour]:
    """A flavour of images without files, built."""
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("ours.Dockerfile", "Dockerfile", "cuda_home.sh"):
        (tmp_path / name).write_text(name)
    flavour(tmp_path, "torch==2.0")
    monkeypatch.setattr("aira_bench.images.names.bundled_folder", lambda name: tmp_path)
    monkeypatch.setattr("aira_bench.images.flavour.bundled_folder", lambda name: tmp_path)
    made = load_flavour("small")
    build(engine, tmp_path, made, "one")
    yield made
    remove(engine, made)


def build(engine: DockerEngine, folder: Path, made: Flavour, content: str) -> None:
    (folder / "recipe").write_text("FROM scratch AS all\nCOPY content /\n")
    (folder / "content").write_text(content)
    for tag in transported(made):
        target = {TARGET_LABEL: tag.split("-")[-1].partition(":")[0]} if "libraries" not in tag else {}
        with new_context(folder / "recipe", [folder / "content"]) as context:
            run_build(context, Build("all", tag, {LABEL: "small", **target}), engine, NOTE)


def remove(engine: DockerEngine, made: Flavour) -> None:
    for tag in transported(made):
        engine.remove_image(tag)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("apt-get install docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    serving = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}/lab"
    finally:
        serving.kill()
        serving.wait()


def test_what_was_pushed_is_pulled_under_its_own_names(small: Flavour, registry: str, engine: DockerEngine) -> None:
    before = {tag: engine.inspect_image(tag) for tag in transported(small)}
    sent = push_images("small", registry, engine, NOTE)
    assert [each.tag for each in sent] == list(transported(small))
    remove(engine, small)
    assert pull_images("small", registry, engine, NOTE, [each.digest for each in sent]) == sent
    assert {tag: engine.inspect_image(tag) for tag in transported(small)} == before
    remove(engine, small)
    assert pull_images("small", registry, engine, NOTE) == sent, "without digests, by the tags of the sources"
    assert not [tag for image in engine.list_images(LABEL) if registry in (tag := image.tag)], "no other name is left"


def test_a_tag_that_became_another_image_is_refused(
    small: Flavour, registry: str, engine: DockerEngine, tmp_path: Path
) -> None:
    push_images("small", registry, engine, NOTE)
    pull_images("small", registry, engine, NOTE)
    build(engine, tmp_path, small, "two")
    push_images("small", registry, engine, NOTE)
    remove(engine, small)
    with pytest.raises(PrerequisiteError, match="when this machine first fetched it"):
        pull_images("small", registry, engine, NOTE)
    assert not engine.image_exists(small.tag("agent"))


def test_images_that_say_they_are_others_are_refused(small: Flavour, registry: str, engine: DockerEngine) -> None:
    """A judges' image under the agents' name would put answers where agents look."""
    engine.tag_image(small.tag("evaluator"), small.tag("agent"))
    push_images("small", registry, engine, NOTE)
    remove(engine, small)
    with pytest.raises(PrerequisiteError, match=r"is an image of something else: \{'aira-bench.target': 'evaluator'\}"):
        pull_images("small", registry, engine, NOTE)


def test_a_registry_without_them_or_none_at_all_is_one_clear_error(
    small: Flavour, registry: str, engine: DockerEngine
) -> None:
    for place in (registry, "127.0.0.1:9"):
        with pytest.raises(PrerequisiteError, match="could not be pulled"):
            pull_images("small", place, engine, NOTE)
    with pytest.raises(PrerequisiteError, match="could not be pushed"):
        push_images("small", "127.0.0.1:9", engine, NOTE)
    with pytest.raises(UsageError, match="1 digests for 4 images"):
        pull_images("small", registry, engine, NOTE, ["sha256:00"])
    remove(engine, small)
    with pytest.raises(PrerequisiteError, match=r"Not built here: .* Try: aira-bench images build --flavour small"):
        push_images("small", registry, engine, NOTE)


def test_a_file_brings_them_to_another_engine(small: Flavour, engine: DockerEngine, tmp_path: Path) -> None:
    before = {tag: engine.inspect_image(tag) for tag in transported(small)}
    sha256 = save_images("small", tmp_path / "images.tar", engine, NOTE)
    remove(engine, small)
    assert load_images("small", tmp_path / "images.tar", engine, NOTE) == sha256
    assert {tag: engine.inspect_image(tag) for tag in transported(small)} == before
    with pytest.raises(UsageError, match="is there already"):
        save_images("small", tmp_path / "images.tar", engine, NOTE)
    assert not list(tmp_path.glob(".images.tar*"))


def test_a_file_of_something_else_is_refused(small: Flavour, engine: DockerEngine, tmp_path: Path) -> None:
    save_images("small", tmp_path / "images.tar", engine, NOTE)
    (tmp_path / "small" / "agents.lock").write_text("numpy==2.0\n")
    with pytest.raises(PrerequisiteError, match="the installed sources ask for aira-bench-small-agent"):
        load_images("small", tmp_path / "images.tar", engine, NOTE)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "images.tar").read_bytes()[:700])
    for name in ("cut.tar", "small/agents.lock"):
        with pytest.raises(PrerequisiteError):
            load_images("small", tmp_path / name, engine, NOTE)
    with pytest.raises(UsageError, match="There is no file"):
        load_images("small", tmp_path / "none.tar", engine, NOTE)


def test_what_a_build_left_is_removed_and_tagged_images_stay(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "recipe").write_text(f"FROM scratch AS first\nLABEL {STAGE_LABEL}=installed\nCOPY content /\n"
                                     "FROM scratch AS all\nCOPY --from=first content /there\n")  # fmt: skip
    (tmp_path / "content").write_text(str(tmp_path))

    def left() -> int:
        found = engine._api.images(filters={"label": [STAGE_LABEL], "dangling": True})
        return len([image for image in found if image["Size"] < 4096])  # none that another build makes

    before = left()
    with new_context(tmp_path / "recipe", [tmp_path / "content"]) as context:
        run_build(context, Build("all", "aira-bench-tidy:1"), engine, NOTE)
    try:
        assert left() == before + 1
        engine.remove_unnamed(STAGE_LABEL)
        assert left() == 0
        assert engine.image_exists("aira-bench-tidy:1")
    finally:
        engine.remove_image("aira-bench-tidy:1")


def test_a_build_that_fails_leaves_only_what_another_try_goes_on_from(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "recipe").write_text(
        f"FROM scratch AS first\nLABEL {STAGE_LABEL}=installed\nCOPY content /\n"
        "FROM scratch AS all\nCOPY --from=first content /there\nCOPY absent /\n"
    )
    (tmp_path / "content").write_text(str(tmp_path))

    def left(**labelled: list[str]) -> set[str]:
        found = engine._api.images(filters={"dangling": True, **labelled})
        return {str(image["Id"]) for image in found if image["Size"] < 4096}  # none that another build makes

    before = left()
    for _ in range(2):
        with (
            new_context(tmp_path / "recipe", [tmp_path / "content"]) as context,
            pytest.raises(PrerequisiteError, match="Last output: Step 5"),
        ):
            run_build(context, Build("all", "aira-bench-tidy:2"), engine, NOTE)
        new = left() - before
        assert len(new) == 1
        assert new <= left(label=[STAGE_LABEL])
    engine.remove_unnamed(STAGE_LABEL)
    assert not new & left()


def test_a_file_is_copied_out_of_an_image_that_has_no_command(
    small: Flavour, engine: DockerEngine, tmp_path: Path
) -> None:
    """A base made with debootstrap names none, and so do images on it: a wheel of an hour was lost for that."""
    (tmp_path / "out").mkdir()
    (path,) = engine.copy_out(small.tag("agent"), "/content", tmp_path / "out")
    assert path.read_text() == "one"
    with pytest.raises(PrerequisiteError, match="has no /none"):
        engine.copy_out(small.tag("agent"), "/none", tmp_path / "out")
    assert not engine.containers(f"{LABEL}=small")
