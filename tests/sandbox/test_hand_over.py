import io
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.sandbox.artifacts import relative_path
from aira_bench.sandbox.inside import bootstrap, reader
from aira_bench.sandbox.step_containers import hand_over

names = st.text("abc_.", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@given(files=st.dictionaries(names, st.binary(max_size=300), max_size=6))
def test_the_bootstrap_writes_what_the_host_handed_over(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("workspace")
    stream = io.BytesIO(hand_over(["python3", "x.py"], {f"in/{name}": data for name, data in files.items()}, ["HOME"]))
    header = json.loads(stream.readline())
    assert header["command"] == ["python3", "x.py"]
    assert header["environment"] == ["HOME"]
    header["files"] = [(str(folder / name), size) for name, size in header["files"]]
    bootstrap.write_files(header, stream)
    written = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert written == files
    assert stream.read() == b""


def test_a_cut_hand_over_is_an_error(tmp_path: Path) -> None:
    header: bootstrap.Header = {
        "command": ["x"],
        "environment": [],
        "converse": False,
        "files": [(str(tmp_path / "a"), 10)],
    }
    with pytest.raises(EOFError, match="5 of 10 bytes"):
        bootstrap.write_files(header, io.BytesIO(b"12345"))


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b"])
def test_names_that_could_leave_the_workspace_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="plain relative path"):
        relative_path(name)
    with pytest.raises(ValueError, match="plain relative path"):
        hand_over(["x"], {name: b""}, [])


@given(parts=st.lists(names, min_size=1, max_size=4))
def test_plain_names_pass(parts: list[str]) -> None:
    assert str(relative_path("/".join(parts))) == "/".join(parts)


def ask(root: Path, name: str, max_bytes: int = 100) -> tuple[dict[str, object], bytes]:
    output = io.BytesIO()
    reader.answer(str(root), name, max_bytes, output)
    line, _, data = output.getvalue().partition(b"\n")
    return json.loads(line), data


@given(data=st.binary(max_size=200), cap=st.integers(min_value=0, max_value=200))
def test_the_reader_hands_out_regular_files_under_their_cap(
    data: bytes, cap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("workspace")
    (root / "logs").mkdir()
    (root / "logs" / "a.csv").write_bytes(data)
    answer, sent = ask(root, "logs/a.csv", cap)
    if len(data) <= cap:
        assert 0 <= float(str(answer.pop("age_s"))) < 60
        assert answer == {"status": "ok", "size_bytes": len(data)}
        assert sent == data
    else:
        assert answer["status"] == "too large"
        assert sent == b""


def test_the_reader_refuses_everything_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    root = tmp_path / "workspace"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        reasons = {name: ask(root, name)[0]["status"] for name in ("link", "linked/secret", "fifo", "folder", "socket")}
    assert set(reasons.values()) == {"not a regular file"}, reasons
    assert ask(root, "absent")[0]["status"] == "missing"
    for name in ("../secret", "/etc/passwd", "folder/../link", ""):
        assert ask(root, name)[0]["status"] == "unreadable"
