"""Which wheels a task's declared packages come to: found by the host's own pip in a folder of wheels, and refusals."""

import shutil
import tarfile
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.images.declared import Declared, declared_folder, find_layer, layer_files
from aira_bench.images.flavour import Flavour
from aira_bench.images.wheels import wheel_folder
from wheel_shop import flavour, offer, only_pip_source


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    only_pip_source(tmp_path / "offered", monkeypatch, tmp_path / "cache")
    for name, version in (("base", "2.0"), ("framework", "3.1")):
        offer(tmp_path / "offered", name, version)
    return tmp_path / "offered"


@pytest.fixture
def small(tmp_path: Path, offered: Path) -> Flavour:
    made = flavour(tmp_path, "base==2.0", agents=("framework==3.1",))
    wheel_folder(made).mkdir(parents=True)  # as after a build of the images
    for path in list(offered.iterdir()):
        shutil.copy(path, wheel_folder(made))
    return made


def pins(small: Flavour, target: str, notes: list[str] | None = None, **asked: tuple[str, ...]) -> tuple[str, ...]:
    told = [] if notes is None else notes
    layer = find_layer(small, target, Declared(**asked), told.append)  # type: ignore[arg-type]
    return () if layer is None else layer.pins


def test_an_image_that_has_everything_stays_as_it_is(small: Flavour) -> None:
    assert pins(small, "agent", agent=("base", "framework>=3", "Base==2.0")) == ()
    assert pins(small, "evaluator", evaluate=("base>=1,<3",), agent=("framework",)) == ()


def test_what_is_missing_comes_with_what_it_requires(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "1.0", needs=("base>=1", "calendar_math"))
    offer(offered, "calendar_math", "0.3")
    assert pins(small, "evaluator", evaluate=("seasons", "base")) == ("calendar_math==0.3", "seasons==1.0")
    assert pins(small, "agent", evaluate=("seasons",)) == (), "solutions did not ask for it"
    assert pins(small, "agent", agent=("seasons",)) == ("calendar_math==0.3", "seasons==1.0")


def test_packages_of_preparation_count_too(small: Flavour, offered: Path) -> None:
    offer(offered, "pyext", "0.7")
    assert pins(small, "evaluator", prepare=("pyext",)) == ("pyext==0.7",)
    assert pins(small, "agent", prepare=("pyext",)) == ()


def test_an_evaluator_gets_what_only_agents_had_in_the_version_that_they_have(small: Flavour, offered: Path) -> None:
    offer(offered, "framework", "9.9")
    assert pins(small, "evaluator", evaluate=("framework",)) == ("framework==3.1",)


def test_code_is_evaluated_where_agents_are(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "1.0")
    code = Declared(evaluate=("framework", "seasons"), code=True)
    for target in ("agent", "evaluator"):
        layer = find_layer(small, target, code, lambda text: None)
        assert layer is not None
        assert layer.pins == ("seasons==1.0",), "the judge of code never needed a framework"


@pytest.mark.parametrize("wanted", ["base==1.0", "base<2", "BASE!=2.0", "framework~=2.0"])
def test_what_the_images_have_is_never_replaced(small: Flavour, offered: Path, wanted: str) -> None:
    offer(offered, "base", "1.0")
    offer(offered, "framework", "2.0")
    told = rf"my/metadata\.yaml asks for {wanted}, but the small images have \w+ (2\.0|3\.1), which is never replaced"
    with pytest.raises(PrerequisiteError, match=told):
        find_layer(small, "agent", Declared(agent=(wanted,), metadata=Path("my/metadata.yaml")), lambda text: None)


def test_nor_is_it_replaced_for_the_sake_of_another_package(small: Flavour, offered: Path) -> None:
    offer(offered, "old_fashioned", "1.0", needs=("base<2",))
    offer(offered, "base", "1.0")
    with pytest.raises(PrerequisiteError, match=r"cannot be added .*old.fashioned 1\.0 depends on base<2.*base==2\.0"):
        pins(small, "evaluator", evaluate=("old_fashioned",))


def test_a_newer_release_that_would_replace_ours_gives_way_to_an_older_one(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "2.0", needs=("base>=3",))
    offer(offered, "seasons", "1.0", needs=("base",))
    notes: list[str] = []
    assert pins(small, "evaluator", notes, evaluate=("seasons",)) == ("seasons==1.0",)
    assert "downloading seasons==1.0" in notes, "the user sees which"


def test_nothing_is_built_from_source_on_the_host(small: Flavour, offered: Path, tmp_path: Path) -> None:
    """A source archive's setup.py is a stranger's program, and this host has keys."""
    ran = tmp_path / "ran"
    (tmp_path / "setup.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    with tarfile.open(offered / "pyext-0.7.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "pyext-0.7/setup.py")
    with pytest.raises(PrerequisiteError, match=r"wheels for Python 3\.11 alone.*No matching distribution.*pyext"):
        pins(small, "evaluator", prepare=("pyext",))
    assert not ran.exists()


def test_a_pip_that_lies_in_the_current_folder_is_not_run(
    small: Flavour, offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python looks there first for what `-m` names; it may be a stranger's task folder."""
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    offer(offered, "seasons", "1.0")
    assert pins(small, "agent", agent=("seasons",)) == ("seasons==1.0",)
    assert not (tmp_path / "ran").exists()


def test_wheels_for_another_machine_do_not_count(small: Flavour, offered: Path) -> None:
    offer(offered, "fast", "1.0", "cp312-cp312-manylinux_2_17_x86_64")
    offer(offered, "fast", "0.9", "cp311-cp311-macosx_11_0_arm64")
    with pytest.raises(PrerequisiteError, match="fast"):
        pins(small, "agent", agent=("fast",))
    offer(offered, "fast", "0.8", "cp311-cp311-manylinux_2_28_x86_64")
    assert pins(small, "agent", agent=("fast",)) == ("fast==0.8",)


def test_the_second_start_asks_nobody_and_finds_the_same(
    small: Flavour, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = offer(offered, "seasons", "1.0")
    first = find_layer(small, "agent", Declared(agent=("seasons",)), lambda text: None)
    offer(offered, "seasons", "1.1")
    wheel.unlink()
    monkeypatch.setattr("sys.executable", "/no/python/that/has/a/pip")
    assert find_layer(small, "agent", Declared(agent=("seasons",)), lambda text: None) == first


def test_a_wheel_that_changed_in_the_cache_is_fetched_again(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "1.0")
    asked = Declared(agent=("seasons",))
    layer = find_layer(small, "agent", asked, lambda text: None)
    assert layer is not None
    (path,) = layer_files(small, "agent", asked, layer, lambda text: None)
    good = path.read_bytes()
    path.write_bytes(b"another")
    assert layer_files(small, "agent", asked, layer, lambda text: None) == [path]
    assert path.read_bytes() == good


def test_a_version_that_became_another_file_is_refused(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "1.0")
    asked = Declared(agent=("seasons",))
    layer = find_layer(small, "agent", asked, lambda text: None)
    assert layer is not None
    offer(offered, "seasons", "1.0", code="print('mine')")
    (declared_folder(small) / "seasons-1.0-py3-none-any.whl").unlink()
    with pytest.raises(PrerequisiteError, match="others than when they were first fetched"):
        layer_files(small, "agent", asked, layer, lambda text: None)


def test_a_tag_names_what_is_inside(small: Flavour, offered: Path) -> None:
    offer(offered, "seasons", "1.0")
    offer(offered, "holidays", "1.0")
    layers = [
        find_layer(small, "agent", Declared(agent=(name,)), lambda text: None) for name in ("seasons", "holidays")
    ]
    tags = {
        layer.tag(image, recipe)
        for layer in layers if layer is not None
        for image in ("agent:1", "agent:2")
        for recipe in (b"FROM", b"FROM other")
    }  # fmt: skip
    assert len(tags) == 8
    assert {tag[:8] for tag in tags} == {"agent:1-", "agent:2-"}
