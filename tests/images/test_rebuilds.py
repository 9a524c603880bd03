"""What is built anew, of what, and for which devices: after a change of ours, beside an editor, by a choice."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.cli.main import run_command_line
from aira_bench.docker_engine import DockerEngine
from aira_bench.docker_engine.archives import packed
from aira_bench.docker_engine.images import ImageInfo
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.choices import choose_architectures
from aira_bench.images.compiled import compiled_folder
from aira_bench.images.ensure import build_images, ensure_images
from aira_bench.images.flavour import TARGETS, Flavour, load_flavour
from image_builder import ImageBuilder


@dataclass
class Engine(ImageBuilder):
    """Has all libraries, keeps what is built over them, and compiles at once."""

    memory_gib, wheel = 64, "causal_conv1d-1.7.0"
    built: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels, by tag."""
    compiled_for: list[str] = field(default_factory=list)

    def image_exists(self, tag: str) -> bool:
        return "libraries" in tag or tag in self.built

    def image_labels(self, tag: str) -> Mapping[str, str]:
        return self.built[tag]

    def list_images(self, label: str) -> list[ImageInfo]:
        return [ImageInfo(tag, tag, 1 << 30, datetime.now(UTC), {}) for tag in self.built]

    def build(self, context: Path, dockerfile: str, target: str, tag: str, labels: Mapping[str, str],
              build_args: Mapping[str, str], on_line: object) -> None:  # fmt: skip
        assert b"".join(packed(context))
        if target == "compiled":
            self.compiled_for.append(build_args["ARCHITECTURES"])
        else:
            self.built[tag] = labels

    def remove_image(self, tag: str) -> None:
        """Nothing is there."""

    def remove_unnamed(self, label: str) -> None:
        """Nothing is there."""

    @property
    def engine(self) -> DockerEngine:
        return cast("DockerEngine", self)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipes, which the code under test takes for its own, and nothing built, fetched or chosen."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "images"
    shutil.copytree(bundled_folder("images"), folder)
    monkeypatch.setattr("aira_bench.images.flavour.bundled_folder", lambda name: folder)
    sources = tmp_path / "cache" / "aira-bench" / "wheels" / "python3.11" / "sources"
    sources.mkdir(parents=True)
    (sources / "causal_conv1d-1.7.0.tar.gz").write_bytes(b"source")
    return folder


def edit(path: Path) -> None:
    with path.open("a") as file:
        file.write("# changed\n")


def tags(name: str) -> list[str]:
    return [load_flavour(name).tag(target) for target in TARGETS]


class Compiling(Engine):
    """Takes hours for what is compiled, in which somebody edits a file."""

    def __init__(self, edited: Path) -> None:
        super().__init__()
        self.edited = edited

    def copy_out(self, tag: str, folder: str, into: Path) -> list[Path]:
        edit(self.edited)
        return super().copy_out(tag, folder, into)


def test_a_change_of_ours_builds_both_images_anew_and_compiles_nothing_again(images: Path) -> None:
    engine = Engine()
    first = [row.tag for row in build_images("cuda", engine.engine, lambda text: None)]
    assert [row.seconds for row in build_images("cuda", engine.engine, lambda text: None)] == [0, 0]
    edit(images / "ours.Dockerfile")
    again = build_images("cuda", engine.engine, lambda text: None)
    assert [row.tag for row in again] == tags("cuda")
    assert not {row.tag for row in again} & set(first)
    assert all(row.seconds > 0 for row in again)
    assert len(engine.compiled_for) == 1


def test_what_was_saved_while_libraries_were_made_is_what_is_built(images: Path) -> None:
    """Libraries and compiling take up to hours and are none of our sources: an edit must not cost what was made."""
    engine = Compiling(images / "ours.Dockerfile")
    rows = build_images("cuda", engine.engine, lambda text: None)
    assert [row.tag for row in rows] == tags("cuda")
    assert set(engine.built) == set(tags("cuda"))


def test_a_lock_that_changes_meanwhile_is_told_and_what_was_compiled_is_kept(images: Path) -> None:
    engine, before = Compiling(images / "cuda" / "agents.lock"), load_flavour("cuda")
    with pytest.raises(PrerequisiteError, match="What the images cuda are made of changed while they were built"):
        build_images("cuda", engine.engine, lambda text: None)
    assert engine.built == {}
    (package,) = before.compiled
    assert list(compiled_folder(before, package).glob("*.whl"))


def test_a_file_saved_while_it_is_copied_is_told(images: Path) -> None:
    engine = Engine()

    def note(text: str) -> None:
        edit(images / "ours.Dockerfile")

    with pytest.raises(PrerequisiteError, match="changed while they were built"):
        build_images("cpu", engine.engine, note)
    assert engine.built == {}, "a tag stands for one content"


def test_a_run_whose_images_became_others_than_its_own_sources_begins_again(images: Path) -> None:
    """Its process has the sources of before; whoever types it again has the images already."""
    engine = Compiling(images / "ours.Dockerfile")
    with pytest.raises(PrerequisiteError, match="this process has those of before") as refused:
        ensure_images("cuda", engine.engine, lambda text: None)
    assert refused.value.hint == "the same command again; the images are there"
    assert ensure_images("cuda", engine.engine, lambda text: None).agent == tags("cuda")[0]


# For which devices ----------------------------------------------------------------------------------------------------


def origins(engine: Engine) -> str:
    return str(json.loads(engine.built[tags("cuda")[0]]["aira-bench.compiled"])["causal-conv1d"])


def test_what_is_compiled_for_is_remembered_for_runs_and_rebuilds(images: Path) -> None:
    """A run after an edit must not compile for five kinds of devices what was asked for one."""
    engine = Engine()
    choose_architectures("cuda", ["9.0"])
    build_images("cuda", engine.engine, lambda text: None)
    edit(images / "ours.Dockerfile")
    ensure_images("cuda", engine.engine, lambda text: None)
    assert engine.compiled_for == ["9.0"]
    assert origins(engine) == "compiled for 9.0"
    assert Flavour("cuda", images / "cuda").compiled[0].architectures == ("9.0",)
    assert load_flavour("cuda-paper").compiled[0].architectures == ("8.0", "9.0"), "a choice is of one flavour"


def test_images_that_lack_code_for_a_chosen_device_are_built_anew(images: Path) -> None:
    """Their tag is the same, as content of ours and locks are; before, nothing was done and nothing said."""
    engine = Engine()
    choose_architectures("cuda", ["9.0"])
    build_images("cuda", engine.engine, lambda text: None)
    choose_architectures("cuda", ["8.0", "9.0"])
    agent, evaluator = build_images("cuda", engine.engine, lambda text: None)
    assert (agent.seconds > 0, evaluator.seconds) == (True, 0)
    assert origins(engine) == "compiled for 8.0 9.0"
    choose_architectures("cuda", ["8.0"])
    assert [row.seconds for row in build_images("cuda", engine.engine, lambda text: None)] == [0, 0]


def test_images_from_elsewhere_serve_where_nobody_chose(images: Path) -> None:
    engine = Engine()
    choose_architectures("cuda", ["9.0"])
    build_images("cuda", engine.engine, lambda text: None)
    choose_architectures("cuda", [])
    assert [row.seconds for row in build_images("cuda", engine.engine, lambda text: None)] == [0, 0]
    assert engine.compiled_for == ["9.0"]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (["9.0", "8.0"], ("8.0", "9.0")), (["all"], ("8.0", "8.9", "9.0", "10.0", "12.0")),
        (["12.1", "all"], ("8.0", "8.9", "9.0", "10.0", "12.0", "12.1")),
    ],
)  # fmt: skip
def test_the_command_line_chooses(
    images: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], chosen: tuple[str, ...]
) -> None:
    engine = Engine()
    monkeypatch.setattr("aira_bench.docker_engine.connect_engine", lambda containers: engine)
    monkeypatch.setattr("aira_bench.images.stored_trees.prune_trees", lambda engine: [])
    words = [word for each in asked for word in ("--architectures", each)]
    assert run_command_line(["images", "build", "--flavour", "cuda", *words]) == 0
    assert load_flavour("cuda").compiled[0].architectures == chosen
    assert engine.compiled_for == [";".join(chosen)]


@pytest.mark.parametrize(("flavour", "asked"), [("cuda", "sm_90"), ("cpu", "9.0")])
def test_a_choice_that_means_nothing_is_refused_and_not_remembered(
    images: Path, monkeypatch: pytest.MonkeyPatch, flavour: str, asked: str
) -> None:
    monkeypatch.setattr("aira_bench.docker_engine.connect_engine", lambda containers: Engine())
    assert run_command_line(["images", "build", "--flavour", flavour, "--architectures", asked]) == UsageError.exit_code
    assert not (images.parent / "home").exists()


@pytest.mark.parametrize("more", [(), ("--architectures", "9.0"), ("--skip-compiled", "causal-conv1d")])
def test_a_package_that_nobody_compiles_cannot_be_left_out_and_nothing_is_remembered(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    """The devices that were chosen beside it were, and the images were built for them alone from then on."""
    monkeypatch.setattr("aira_bench.docker_engine.connect_engine", lambda containers: Engine())
    command = ["images", "build", "--flavour", "cuda", *more, "--skip-compiled", "mamba-ssm"]
    assert run_command_line(command) == UsageError.exit_code
    assert "in the cuda images is called mamba-ssm; there is: causal-conv1d" in capsys.readouterr().err
    assert not (images.parent / "home").exists()
