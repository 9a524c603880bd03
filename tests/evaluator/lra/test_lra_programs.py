"""The file in which compiled programs travel."""

import io
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from aira_evaluator.lra.judge import programs
from aira_evaluator.lra.judge.programs import carried_programs


def compiled_names(file: Path) -> list[str]:
    with tarfile.open(file) as archive:
        return archive.getnames()


def compute(factor: float) -> float:
    return float(jax.jit(lambda x: jnp.sin(x) * factor)(jnp.arange(3.0))[1])


def test_programs_travel_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "programs.tar"
    jax.clear_caches()  # what a test before this one compiled would not be compiled again, and so not carried
    with carried_programs(file):
        expected = compute(1.25)
    names = compiled_names(file)
    assert names
    assert [path.name for path in tmp_path.iterdir()] == ["programs.tar"]

    with tarfile.open(file, "a") as archive:
        for name in ("../escaped-cache", "notes.txt"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("jit_f-0-cache")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    jax.clear_caches()
    with carried_programs(file):
        assert compute(1.25) == expected
    assert compiled_names(file) == names, "found again, not compiled under another name"
    assert [path.name for path in tmp_path.iterdir()] == ["programs.tar"]

    monkeypatch.setattr(programs, "MAX_PROGRAM_BYTES", 1)
    with carried_programs(file):
        pass
    assert not file.exists(), "too much is not kept"


def test_a_refusal_leaves_what_was_compiled_before_it(tmp_path: Path) -> None:
    file = tmp_path / "programs.tar"
    jax.clear_caches()
    with pytest.raises(ValueError, match="refused"), carried_programs(file):  # noqa: PT012
        compute(2.5)
        raise ValueError("refused")
    assert compiled_names(file)


def test_without_a_file_nothing_is_written() -> None:
    with carried_programs(None):
        assert jax.config.values["jax_compilation_cache_dir"] is None
