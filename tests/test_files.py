"""Reading and writing files beside people who are not to be trusted."""

import json
import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.files import (
    Unacceptable,
    entries_below,
    foreign_entries,
    parse_json,
    read_file,
    spell_half_surrogates,
    write_atomically,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(min_value=-1e100, max_value=1e100) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20,
)  # fmt: skip


@given(value=JSON)
@settings(max_examples=200, deadline=None)
def test_json_of_ours_is_read_back(value: object) -> None:
    data = json.dumps(value, allow_nan=False).encode()
    assert parse_json(data) == value
    assert parse_json(spell_half_surrogates(data)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested deeper than 64"),
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", r"beyond 1e\+100"),
        ("9" * 19, "more than 18 digits"),
        ('{"a":1,"a":1}', "twice"),
        ("{}{}", "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_json_must_not_hold_is_named(text: str | bytes, said: str) -> None:
    with pytest.raises(Unacceptable, match=said):
        parse_json(text)


def test_only_plain_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (inside / "folder" / "plain").write_text("plain")
    (inside / "link").symlink_to("../secret")
    (inside / "linked").symlink_to("folder")
    os.mkfifo(inside / "pipe")
    assert read_file(inside, "folder/plain", 5) == b"plain"
    for name, said in {
        "link": "cannot be opened", "linked/plain": "cannot be opened", "pipe": "a named pipe", "folder": "a folder",
        "../secret": "leads out", "/etc/hostname": "leads out", "folder/plain/x": "Not a directory", "a\x00b": "opened",
    }.items():  # fmt: skip
        with pytest.raises(Unacceptable, match=said):
            read_file(inside, name, 100)
    with pytest.raises(Unacceptable, match="at most 4 are read"):
        read_file(inside, "folder/plain", 4)
    assert sorted(foreign_entries(inside, 100)) == ["link: a link", "linked: a link", "pipe: a named pipe"]
    with pytest.raises(Unacceptable, match="more than 2 entries"):
        list(foreign_entries(inside, 2))


def test_what_is_in_a_folder_is_told_without_following_a_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "plain").touch()
    (tmp_path / "a" / "b" / "link").symlink_to("/")
    (tmp_path / "above").symlink_to("a")

    def names(folder: str) -> list[str]:
        return sorted(name for name, _ in entries_below(tmp_path, PurePosixPath(folder), 10))

    assert names("a/b") == ["a/b/c/plain", "a/b/link"]
    assert (names("a/b/link"), names("above/b"), names("a/none/b")) == (["a/b/link"], ["above"], [])
    assert names("a/b/c/plain") == ["a/b/c/plain"]
    with pytest.raises(Unacceptable, match="File name too long"):
        names("a/" + "x" * 300)
    with pytest.raises(Unacceptable, match="more than 2 entries"):
        list(entries_below(tmp_path, PurePosixPath("a"), 2))


def test_a_file_that_others_may_write_is_not_owned(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.write_text("x")
    path.chmod(0o644)
    assert read_file(tmp_path, "entry", 10, owned=True) == b"x"
    path.chmod(0o666)
    with pytest.raises(Unacceptable, match="may write to it"):
        read_file(tmp_path, "entry", 10, owned=True)


def test_no_link_laid_for_a_temporary_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one whose random name was guessed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("aira_bench.files.secrets.token_hex", lambda size: "guessed")
    (tmp_path / ".score.json.guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "score.json", b"x")
    assert victim.read_text() == "precious"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
