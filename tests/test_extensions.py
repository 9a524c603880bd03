"""Names that lead outside this package: installed distributions, references, and what is wrong with them."""

import contextlib
import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.catalog import SEARCHERS
from aira_bench.errors import AiraError, PrerequisiteError, UsageError
from aira_bench.extensions import (
    OFFERS,
    Catalog,
    Extension,
    absolute_reference,
    find_extension,
    group_of,
    installed,
    is_reference,
)
from aira_bench.scaffolds.catalog import SCAFFOLDS, make_scaffold
from aira_bench.scaffolds.policy import Draft, Policy
from outside import install

POLICY = """
    from dataclasses import dataclass
    from aira_bench.scaffolds.policy import Draft

    @dataclass(frozen=True)
    class Patient:
        lower_is_better: bool = False
        steps: int = 0

        def next(self, journal, rng):
            return Draft()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions; what tests import from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = set(sys.modules)
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def offer(
    site: Path, name: str, text: str, *, kind: str = "scaffolds", dist: str = "outsider", version: str = "1.0"
) -> None:
    """Install a distribution of one module that offers `name`, whose target is `module:Patient`."""
    module = dist.replace("-", "_")
    install(site, dist, modules={f"{module}.py": text}, points={kind: {name: f"{module}:Patient"}}, version=version)


def test_an_installed_scaffold_is_made_with_what_it_takes(site: Path) -> None:
    offer(site, "patient", POLICY)
    policy = make_scaffold("patient", steps=7, lower_is_better=True)
    assert policy.next([], random.Random(0)) == Draft()
    assert vars(policy) == {"lower_is_better": True, "steps": 7}


def test_nothing_is_imported_before_it_is_named(site: Path) -> None:
    offer(site, "patient", "raise RuntimeError('imported')\n" + POLICY)
    assert [(each.name, each.origin) for each in installed("scaffold")] == [("patient", "outsider 1.0")]
    assert make_scaffold("greedy", steps=1, lower_is_better=False)
    assert "outsider" not in sys.modules
    assert find_extension("scaffold", "patient", ()) == Extension(
        "scaffold", "patient", "outsider:Patient", "outsider", "1.0"
    )
    assert "outsider" not in sys.modules


def test_a_built_in_name_means_the_built_in_whoever_else_offers_it(site: Path) -> None:
    offer(site, "greedy", POLICY)
    assert type(make_scaffold("greedy", steps=1, lower_is_better=False)).__name__ == "Greedy"
    assert type(make_scaffold("outsider:Patient", steps=1, lower_is_better=False)).__name__ == "Patient"


def test_a_name_that_two_distributions_offer_is_an_error_that_names_both(site: Path) -> None:
    offer(site, "patient", POLICY, dist="first", version="1.0")
    offer(site, "patient", POLICY, dist="second", version="2.0")
    with pytest.raises(UsageError) as caught:
        make_scaffold("patient", steps=1, lower_is_better=False)
    assert "first 1.0 (first:Patient) and second 2.0 (second:Patient)" in caught.value.message
    assert caught.value.hint == "first:Patient in place of patient"


@pytest.mark.parametrize("kind", list(OFFERS))
def test_groups_are_named_after_kinds(kind: str) -> None:
    assert group_of(kind) == f"aira_bench.{kind}s"  # type: ignore[arg-type]


BROKEN = {
    "an import that fails": ("import no_such_module_here\n", "No module named 'no_such_module_here'"),
    "a syntax error": ("def Patient(:\n", "SyntaxError"),
    "an exit at import": ("raise SystemExit(0)\n", "SystemExit"),
    "a missing name": ("Other = 1\n", "has no attribute 'Patient'"),
    "an error of several lines": ("raise ValueError('one\\ntwo')\n", "ValueError: one two"),
    "no method": ("class Patient: pass\n", "it has no method 'next'"),
    "a method that takes less": (
        "class Patient:\n    def next(self, journal): return None\n",
        "its 'next' cannot be called with (journal, rng)",
    ),
    "a method that is none": ("class Patient:\n    next = 3\n", "its 'next' is no method"),
    "a constructor that fails": (
        "class Patient:\n    def __init__(self): raise KeyError('x')\n    def next(self, journal, rng): ...\n",
        "KeyError: 'x'",
    ),
    "a constructor that wants more": (
        "class Patient:\n    def __init__(self, city): ...\n    def next(self, journal, rng): ...\n",
        "a scaffold is offered steps, lower_is_better",
    ),
    "a function that gives something else": ("def Patient(): return 3\n", "it has no method 'next'"),
    "an object of another kind": ("Patient = 3\n", "it has no method 'next'"),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_broken_installed_one_is_one_line_that_names_its_distribution(site: Path, what: str) -> None:
    text, said = BROKEN[what]
    offer(site, "patient", text)
    with pytest.raises(PrerequisiteError) as caught:
        make_scaffold("patient", steps=1, lower_is_better=False)
    assert caught.value.message.startswith("The scaffold patient of the installed outsider 1.0 (outsider:Patient) ")
    assert said in caught.value.message
    assert "\n" not in str(caught.value)
    assert "pip uninstall outsider" in str(caught.value.hint)


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_broken_reference_is_one_line_that_is_the_users(site: Path, what: str) -> None:
    text, said = BROKEN[what]
    offer(site, "patient", text)
    with pytest.raises(UsageError) as caught:
        make_scaffold("outsider:Patient", steps=1, lower_is_better=False)
    assert caught.value.message.startswith("The scaffold outsider:Patient ")
    assert said in caught.value.message
    assert "pip" not in str(caught.value.hint)


def test_a_failed_import_can_be_mended_and_tried_again(site: Path) -> None:
    offer(site, "patient", "raise RuntimeError\n")
    file = site / "outsider.py"
    with pytest.raises(UsageError):
        make_scaffold(f"{file}:Patient", steps=1, lower_is_better=False)
    file.write_text("class Patient:\n    def next(self, journal, rng): ...\n")
    assert make_scaffold(f"{file}:Patient", steps=1, lower_is_better=False)


def test_a_stop_by_the_user_while_something_is_imported_is_a_stop(site: Path) -> None:
    offer(site, "patient", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        make_scaffold("patient", steps=1, lower_is_better=False)


def test_an_error_of_ours_from_an_extension_keeps_its_words(site: Path) -> None:
    offer(
        site, "patient",
        "from aira_bench.errors import PrerequisiteError\n"
        "def Patient(): raise PrerequisiteError('The licence server is away.', hint='start it')\n",
    )  # fmt: skip
    with pytest.raises(PrerequisiteError, match="licence server") as caught:
        make_scaffold("patient", steps=1, lower_is_better=False)
    assert caught.value.hint == "start it"


FORMS: dict[str, str] = {
    "a class": "class Patient:\n    def next(self, journal, rng): return 1\n",
    "a class with a static method": "class Patient:\n    @staticmethod\n    def next(journal, rng): return 1\n",
    "a class with more parameters": "class Patient:\n    def next(self, journal, rng, *more, depth=1): return 1\n",
    "a function": "class P:\n    def next(self, journal, rng): return 1\ndef Patient(*, steps): return P()\n",
    "a function that takes all": "class P:\n    def next(self, journal, rng): return 1\ndef Patient(**all): return P()\n",
    "an object": "class P:\n    def next(self, journal, rng): return 1\nPatient = P()\n",
    "a module's function in place of a method": "class P:\n    pass\nPatient = P()\nPatient.next = lambda journal, rng: 1\n",
    "a class that sets its method": "class Patient:\n    next: object\n    def __init__(self): self.next = lambda journal, rng: 1\n",
}  # fmt: skip


@pytest.mark.parametrize("what", list(FORMS))
def test_a_target_is_a_class_a_function_or_an_object(site: Path, what: str) -> None:
    offer(site, "patient", FORMS[what])
    assert make_scaffold("patient", steps=1, lower_is_better=False).next([], random.Random(0)) == 1  # type: ignore[comparison-overlap]


def test_a_name_inside_a_class_and_a_module_inside_a_package(site: Path) -> None:
    install(
        site, "deep",
        modules={
            "deep/__init__.py": "",
            "deep/search.py": "class Family:\n    class Patient:\n        def next(self, journal, rng): return 2\n",
        },
        points={},
    )  # fmt: skip
    policy = make_scaffold("deep.search:Family.Patient", steps=1, lower_is_better=False)
    assert policy.next([], random.Random(0)) == 2  # type: ignore[comparison-overlap]


# References


@pytest.mark.parametrize(
    "name", ["mine:Policy", "a.b.c:D", "a:B.C", "mine.py:Policy", "./mine.py:P", "/abs/olute/mine.py:P", "with space/x.py:P"]
)  # fmt: skip
def test_spellings_of_references(name: str) -> None:
    assert is_reference(name)


@pytest.mark.parametrize(
    "name",
    ["", "greedy", "mine:", ":Policy", "mine:1", "a b:C", "script:solution.py", "replay:run", "mine:P:Q", "x/y:Z",
     "mine-2:P", "a..b:C", "lra-text-conf", "card.toml"],
)  # fmt: skip
def test_spellings_of_no_references(name: str) -> None:
    assert not is_reference(name)


@pytest.mark.parametrize("name", [*SCAFFOLDS.built_in, *SEARCHERS])
def test_no_built_in_name_is_a_reference(name: str) -> None:
    assert not is_reference(name), "so a stranger's run that names it needs no consent"


def test_the_path_of_a_file_is_made_absolute_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_reference("sub/mine.py:P") == f"{tmp_path}/sub/mine.py:P"
    assert absolute_reference("cards/mine.toml") == f"{tmp_path}/cards/mine.toml", "a run may be resumed elsewhere"
    for name in ("mine:P", "greedy", f"{tmp_path}/mine.py:P", "script:mine.py", "a.py"):
        assert absolute_reference(name) == name


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_an_error_of_one_line(name: str) -> None:
    with contextlib.suppress(UsageError):
        find_extension("scaffold", name, SCAFFOLDS.built_in)
    assert absolute_reference(absolute_reference(name)) == absolute_reference(name)


def test_a_file_may_be_named_beside_another_of_its_name(tmp_path: Path) -> None:
    values: dict[str, object] = {}
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        text = f"class Policy:\n    def next(self, journal, rng): return {folder!r}\n"
        (tmp_path / folder / "json.py").write_text(text)
        policy = make_scaffold(f"{tmp_path / folder / 'json.py'}:Policy", steps=1, lower_is_better=False)
        values[folder] = policy.next([], random.Random(0))
    assert values == {"one": "one", "two": "two"}
    import json

    assert json.dumps(1) == "1", "the standard library's module of that name is untouched"


def test_a_missing_file_and_a_folder_are_errors_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    for name in ("missing.py", "folder.py"):
        with pytest.raises(UsageError, match=r"cannot be imported"):
            make_scaffold(f"{tmp_path / name}:Policy", steps=1, lower_is_better=False)


def test_an_unknown_name_offers_the_nearest_installed_one(site: Path) -> None:
    offer(site, "patient", POLICY)
    with pytest.raises(UsageError, match=r"Unknown scaffold 'patent'\. Did you mean 'patient'\?"):
        make_scaffold("patent", steps=1, lower_is_better=False)
    with pytest.raises(UsageError, match=r"There are: one-shot, greedy, .*, patient\."):
        make_scaffold("zzzzzz", steps=1, lower_is_better=False)


def test_names_that_nobody_could_type_are_not_offered(site: Path) -> None:
    points = {"scaffolds": {"a b": "m:P", "ok": "m:P", "-x": "m:P", "y" * 200: "m:P"}}
    install(site, "odd", modules={"m.py": POLICY}, points=points)
    assert [each.name for each in installed("scaffold")] == ["ok"]


# What a manifest keeps


def test_a_record_names_the_distribution_and_hashes_the_file_that_defines_it(site: Path) -> None:
    modules = {"deep/__init__.py": "from deep.inner import Patient\n", "deep/inner.py": POLICY}
    install(site, "deep", modules=modules, points={"scaffolds": {"patient": "deep:Patient"}}, version="3.1")
    by_name = SCAFFOLDS.find("patient")
    by_reference = SCAFFOLDS.find("deep:Patient")
    assert by_name is not None
    assert by_reference is not None
    record = by_name.record()
    assert (record.name, record.target, record.distribution, record.version) == (
        "patient",
        "deep:Patient",
        "deep",
        "3.1",
    )
    assert record.sha256 == hashlib.sha256((site / "deep/inner.py").read_bytes()).hexdigest()
    same = by_reference.record()
    assert (same.distribution, same.version, same.sha256) == ("deep", "3.1", record.sha256)


def test_a_record_of_a_file_has_its_hash_and_no_distribution(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from aira_bench.scaffolds.greedy import Greedy as Policy\n")
    extension = SCAFFOLDS.find(f"{file}:Policy")
    assert extension is not None
    record = extension.record()
    assert (record.name, record.distribution, record.version) == (f"{file}:Policy", None, None)
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_module_without_a_file_has_no_record() -> None:
    with pytest.raises(UsageError, match="no file whose hash"):
        Extension("scaffold", "sys:maxsize", "sys:maxsize").record()


def test_an_edited_file_is_run_anew_in_the_same_process(tmp_path: Path) -> None:
    """As in a notebook: what is recorded is what ran."""
    file = tmp_path / "mine.py"
    for number in (1, 2, 1):
        file.write_text(f"class Policy:\n    def next(self, journal, rng): return {number}\n")
        extension = SCAFFOLDS.find(f"{file}:Policy")
        assert extension is not None
        made: Policy = SCAFFOLDS.made_by(extension)
        assert made.next([], random.Random(0)) == number  # type: ignore[comparison-overlap]
        assert extension.record().sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_edited_module_is_an_error_in_the_same_process(site: Path) -> None:
    """Python would go on with the old one, and the manifest would name the new one."""
    offer(site, "patient", POLICY)
    extension = SCAFFOLDS.find("patient")
    assert extension is not None
    before = extension.record()
    assert extension.record() == before
    (site / "outsider.py").write_text("# edited\n" + (site / "outsider.py").read_text())
    with pytest.raises(PrerequisiteError, match=r"was edited in .* after this process had imported it"):
        extension.record()


def test_a_package_that_several_distributions_share_is_of_none(site: Path) -> None:
    for name in ("one", "two"):
        install(site, name, modules={f"shared/{name}.py": POLICY}, points={})
    extension = SCAFFOLDS.find("shared.one:Patient")
    assert extension is not None
    assert extension.record().distribution is None


# Strange installations


def test_targets_with_extras_and_distributions_without_names(site: Path) -> None:
    offer(site, "patient", POLICY)
    info = next(site.glob("*.dist-info"))
    (info / "entry_points.txt").write_text("[aira_bench.scaffolds]\npatient = outsider:Patient [fast]\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    (found,) = installed("scaffold")
    assert (found.target, found.version) == ("outsider:Patient", "?")
    assert make_scaffold("patient", steps=1, lower_is_better=False)


@pytest.mark.parametrize(
    "target", ["", ":", "outsider", "outsider:", "a b:c", ".outsider:Patient", "outsider:.Patient"]
)
def test_targets_that_are_none(site: Path, target: str) -> None:
    offer(site, "patient", POLICY)
    next(site.glob("*.dist-info/entry_points.txt")).write_text(f"[aira_bench.scaffolds]\npatient = {target}\n")
    with pytest.raises(PrerequisiteError) as caught:
        make_scaffold("patient", steps=1, lower_is_better=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[aira_bench.scaffolds]\nno equals sign\n", "\0", "[aira_bench.scaffolds\nx = y:z\n"])
def test_metadata_that_cannot_be_read_harms_nobody_who_names_what_is_built_in(site: Path, text: str) -> None:
    offer(site, "patient", POLICY)
    next(site.glob("*.dist-info/entry_points.txt")).write_text(text)
    assert make_scaffold("greedy", steps=1, lower_is_better=False)
    with pytest.raises(AiraError) as caught:
        make_scaffold("patient", steps=1, lower_is_better=False)
    assert caught.value.exit_code in (2, 3)


# The current folder


def called(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "command", [(sys.executable, "-m", "aira_bench"), (str(Path(sys.executable).parent / "aira-bench"),)]
)
def test_the_current_folder_is_not_searched(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Both ways to start the command import the same; a file in the folder one is in has to be named as a file."""
    for name in ("nearby", "rich", "argparse", "json", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    plan = ("run", "--agent", "noop", "--task", "mad-2p", "--profile", "cpu", "--print-config", "--scaffold")
    done = called(tmp_path, *command, *plan, "nearby:Policy")
    assert done.returncode == 2, done.stderr
    assert "No module named 'nearby'" in done.stderr
    assert done.stderr.strip().endswith("Try: nearby.py:NAME in place of nearby:NAME")
    assert called(tmp_path, *command, "tasks").returncode == 0, "a module of ours was imported from the current folder"
    done = called(tmp_path, *command, *plan, "nearby.py:Policy")
    assert (done.returncode, done.stdout) == (2, "")
    assert "SystemExit: imported" in done.stderr
    assert done.stderr.count("\n") == 1


# Catalogs


class Shape(Protocol):
    """A protocol for tests."""

    @property
    def name(self) -> str: ...

    def area(self, scale: float, *, unit: str) -> float: ...


def test_a_catalog_makes_built_in_ones_as_it_makes_extensions() -> None:
    class Square:
        name = "square"

        def __init__(self, steps: int = 1) -> None:
            self.side = steps

        def area(self, scale: float, *, unit: str) -> float:
            return self.side * self.side * scale

    made: Callable[[], Square] = lambda: Square(3)  # noqa: E731
    catalog: Catalog[Square] = Catalog("scaffold", {"class": Square, "function": made, "object": Square(4)}, Shape)
    sides = [catalog.make(name, steps=2, lower_is_better=True).side for name in catalog.built_in]
    assert sides == [2, 3, 4]


@pytest.mark.parametrize("error", [UsageError, PrerequisiteError])
def test_errors_of_extensions_have_documented_exit_codes(error: type[AiraError]) -> None:
    assert error.exit_code in (2, 3)


def test_protocols_of_catalogs_are_what_built_in_ones_have() -> None:
    for name in SCAFFOLDS.built_in:
        policy: Policy = SCAFFOLDS.make(name, steps=10, lower_is_better=True)
        assert callable(policy.next)
        assert getattr(policy, "lower_is_better", True) is True
