"""Images that are refused leave nothing that a run would take: with a played engine, which holds tags and labels.

Not covered: the Engine API and real archives (`test_image_exchange`).
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.docker_engine import DockerEngine
from aira_bench.docker_engine.images import ImageInfo
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.choices import pin
from aira_bench.images.exchange import load_images, pull_images, transported
from aira_bench.images.flavour import LABEL, TARGET_LABEL, load_flavour

RECIPE = load_flavour("cuda")
AGENT, EVALUATOR, *_ = TAGS = transported(RECIPE)
TARGETS = {AGENT: {TARGET_LABEL: "agent"}, EVALUATOR: {TARGET_LABEL: "evaluator"}}
GOOD = {tag: {LABEL: "cuda", **TARGETS.get(tag, {})} for tag in TAGS}
DIGEST = "sha256:" + "ab" * 32


def quiet(line: str) -> None:
    """Say nothing."""


class Engine:
    """Tags, the id of the image of each, and the labels of every image."""

    def __init__(self, offered: dict[str, dict[str, str]], tags: dict[str, str] | None = None) -> None:
        self.offered, self.tags = offered, dict(tags or {})
        self.labels: dict[str, dict[str, str]] = {each: {LABEL: "cuda"} for each in self.tags.values()}
        self.calls: list[str] = []

    def load(self, archive: Iterator[bytes]) -> list[str]:
        self.calls.append(f"load {len(b''.join(archive))}")
        for tag, labels in self.offered.items():
            self.tags[tag] = f"loaded {tag}"
            self.labels[f"loaded {tag}"] = labels
        return list(self.offered)

    def pull(self, reference: str, on_line: Callable[[str], None]) -> None:
        self.calls.append(f"pull {reference}")
        name = reference.partition("/")[2].partition("@")[0].partition(":")[0]
        labels = next(labels for tag, labels in self.offered.items() if tag.partition(":")[0] == name)
        self.tags[reference], self.labels[f"pulled {reference}"] = f"pulled {reference}", labels

    def digest(self, tag: str, repository: str) -> str:
        return DIGEST

    def image_labels(self, tag: str) -> dict[str, str]:
        return self.labels[self.tags[tag]]

    def list_images(self, label: str) -> list[ImageInfo]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return [ImageInfo(tag, each, 1, now, self.labels[each]) for tag, each in self.tags.items()]

    def tag_image(self, source: str, tag: str) -> None:
        self.tags[tag] = self.tags.get(source, source)

    def remove_image(self, tag: str) -> None:
        self.tags.pop(tag, None)


def as_engine(played: Engine) -> DockerEngine:
    return cast(DockerEngine, played)


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    path = tmp_path / "images.tar"
    path.write_bytes(b"an archive")
    return path


SWAPPED = GOOD | {AGENT: {LABEL: "cuda", TARGET_LABEL: "evaluator"}}
OTHERS = {"aira-bench-cpu-agent:0123456789ab": {LABEL: "cpu", TARGET_LABEL: "agent"}}


@pytest.mark.parametrize("offered", [SWAPPED, OTHERS], ids=["judges as agents", "of other sources"])
@pytest.mark.parametrize("before", [{}, {AGENT: "ours", EVALUATOR: "ours, too"}], ids=["none built", "built"])
def test_a_file_that_is_refused_leaves_the_images_that_were_there(
    archive: Path, offered: dict[str, dict[str, str]], before: dict[str, str]
) -> None:
    """They kept the names that runs ask for, so the next run was made in them."""
    engine = Engine(offered, before)
    with pytest.raises(PrerequisiteError):
        load_images("cuda", archive, as_engine(engine), quiet)
    assert engine.tags == before


def test_a_file_with_another_hash_than_was_told_is_not_given_to_the_engine(archive: Path) -> None:
    engine = Engine(GOOD)
    with pytest.raises(PrerequisiteError, match=f"has sha256 {hashlib.sha256(b'an archive').hexdigest()}, expected 00"):
        load_images("cuda", archive, as_engine(engine), quiet, ["00" * 32])
    with pytest.raises(UsageError, match="2 digests for one file"):
        load_images("cuda", archive, as_engine(engine), quiet, ["00" * 32] * 2)
    assert engine.calls == []
    told = hashlib.sha256(b"an archive").hexdigest()
    for digest in (told, f"sha256:{told}"):
        assert load_images("cuda", archive, as_engine(engine), quiet, [digest]) == told
    assert set(engine.tags) == set(TAGS)


def test_an_image_that_is_refused_is_not_what_its_tag_was_first(archive: Path) -> None:
    """Its digest was remembered before its labels were looked at, and then the right image was refused for ever."""
    with pytest.raises(PrerequisiteError, match="is an image of something else"):
        pull_images("cuda", "lab:5000", as_engine(engine := Engine(SWAPPED)), quiet)
    assert engine.tags == {}
    assert pin(AGENT, "another") == "another"


@pytest.mark.parametrize("digest", ["0123456789ab", "sha256:00", "latest", ""])
def test_a_digest_that_is_none_is_not_asked_for(digest: str) -> None:
    """The engine takes such a word for a tag."""
    engine = Engine(GOOD)
    with pytest.raises(UsageError, match="is no digest"):
        pull_images("cuda", "lab:5000", as_engine(engine), quiet, [digest] * len(TAGS))
    assert engine.calls == []


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["save", "x.tar", "--digest", DIGEST], "--digest"), (["push", "lab", "--digest", DIGEST], "--digest"),
        (["build", "--digest", DIGEST], "--digest"), (["pull", "lab", "--skip-compiled", "mamba-ssm"], "--skip-compiled"),
        (["list", "--skip-compiled", "none"], "--skip-compiled"), (["load", "x", "--architectures", "9.0"], "--architectures"),
    ],
)  # fmt: skip
def test_an_option_of_another_action_is_refused_and_not_passed_over(
    command: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names a digest thinks that it was looked at."""
    assert run_command_line(["images", *command]) == 2
    assert f"images {command[0]} takes no {option}" in capsys.readouterr().err
