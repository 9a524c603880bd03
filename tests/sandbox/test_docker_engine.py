import io
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError

pytestmark = pytest.mark.docker

LABEL = "aira-bench-test.image"


@pytest.fixture
def tag(engine: DockerEngine) -> Iterator[str]:
    tag = f"aira-bench-test:{secrets.token_hex(4)}"
    yield tag
    engine.remove_image(tag)


def archive(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("etc/hello")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    return path


def test_the_engine_describes_itself(engine: DockerEngine) -> None:
    info = engine.info()
    assert info.version
    assert info.cgroup_version in (1, 2)
    assert info.cpus > 0
    assert info.memory_mib > 100


def test_an_image_is_imported_listed_tagged_and_removed(engine: DockerEngine, tag: str, tmp_path: Path) -> None:
    labels = {LABEL: tag, "with spaces": 'and "quotes"'}
    engine.import_root(archive(tmp_path / "root.tar"), tag, labels)
    assert engine.image_exists(tag)
    (found,) = engine.list_images(f"{LABEL}={tag}")
    assert (found.tag, found.labels) == (tag, labels)
    assert found.created.tzinfo is not None
    other = f"{tag}-other"
    engine.tag_image(tag, other)
    assert {image.tag for image in engine.list_images(f"{LABEL}={tag}")} == {tag, other}
    assert {image.id for image in engine.list_images(f"{LABEL}={tag}")} == {found.id}
    for name in (tag, other, other):
        engine.remove_image(name)
    assert not engine.image_exists(tag)
    assert engine.list_images(f"{LABEL}={tag}") == []


def test_something_that_is_no_archive_is_refused(engine: DockerEngine, tag: str, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(b"not a tar archive" * 100)
    with pytest.raises(PrerequisiteError, match="could not be imported"):
        engine.import_root(tmp_path / "root.tar", tag, {})
    assert not engine.image_exists(tag)


def test_a_build_stops_at_its_target_and_has_no_network(
    engine: DockerEngine, image: str, tag: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE} AS first\nUSER root\nRUN ls /sys/class/net | sed 's/^/interface /'\n"
        "FROM first AS second\nRUN false\n"
    )
    lines: list[str] = []
    engine.build(tmp_path, "Dockerfile", "first", tag, {LABEL: tag}, {"BASE": image}, lines.append)
    assert [line for line in lines if line.startswith("interface")] == ["interface lo"]
    (found,) = engine.list_images(f"{LABEL}={tag}")
    assert found.tag == tag
    with pytest.raises(PrerequisiteError, match="non-zero code: 1"):
        engine.build(tmp_path, "Dockerfile", "second", tag, {}, {"BASE": image}, lines.append)


def test_what_no_registry_has_is_a_prerequisite(engine: DockerEngine) -> None:
    with pytest.raises(PrerequisiteError, match="could not be pulled"):
        engine.pull("registry.invalid/nothing:1", lambda line: None)
    with pytest.raises(PrerequisiteError, match="no image nothing:1"):
        engine.tag_image("nothing:1", "nothing:2")
