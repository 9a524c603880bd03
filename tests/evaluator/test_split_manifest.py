"""Manifests come back as they were written, and anything else is one line that names the file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aira_evaluator.split_manifest import MANIFEST, DataError, read_manifest, write_manifest


@dataclass(frozen=True)
class About:
    name: str
    symbols: tuple[str, ...]
    seed: int | None = None
    counts: dict[str, int] = field(default_factory=dict)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    about = About("train", ("M", "mA"), 2**62, {"empty": 3})
    write_manifest(tmp_path, about, 7)
    assert read_manifest(tmp_path, About, 7) == about


def without(name: str) -> str:
    return json.dumps({key: value for key, value in {"schema": 7, "name": "a", "symbols": []}.items() if key != name})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("", "not a manifest"),
        ("[]", "not a manifest"),
        ("\xe9", "not a manifest"),
        (without("schema"), "not a manifest.*schema"),
        (without("name"), "not a manifest.*name"),
        (without("").replace("}", ', "surprise": 1}'), "not a manifest.*surprise"),
        (without("").replace("7", "8"), "expected schema 7; prepare the data again"),
    ],
)
def test_anything_else_is_one_line_that_names_the_file(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(tmp_path, About, 7)
    assert str(caught.value).startswith(f"{tmp_path / MANIFEST}: ")
    assert "\n" not in str(caught.value)
