"""The files that the writer of file trees makes hold what was read, byte by byte, in the format's own terms."""

import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.sandbox.inside import erofs

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 200
)


def read_image(data: bytes) -> dict[str, object]:
    """All paths of an image, read as the kernel's documentation lays it out, with no code of the writer's."""
    magic, blocks_log, root, meta = (
        struct.unpack_from("<I", data, 1024)[0], data[1036], *struct.unpack_from("<H", data, 1038),
        struct.unpack_from("<I", data, 1064)[0],
    )  # fmt: skip
    assert (magic, blocks_log, meta) == (0xE0F5E1E2, 12, 1)
    found: dict[str, object] = {}

    def content(nid: int) -> tuple[int, int, bytes, int]:
        at = meta * 4096 + nid * 32
        form, _, mode = struct.unpack_from("<HHH", data, at)
        size, block = struct.unpack_from("<QI", data, at + 8)
        assert form == 1
        return mode, struct.unpack_from("<I", data, at + 44)[0], data[block * 4096 : block * 4096 + size], nid

    def walk(nid: int, path: str) -> None:
        _, _, text, _ = content(nid)
        names = []
        for start in range(0, len(text), 4096):
            block = text[start : start + 4096]
            count = struct.unpack_from("<H", block, 8)[0] // 12
            offsets = [struct.unpack_from("<QHB", block, 12 * index) for index in range(count)]
            for index, (child, offset, kind) in enumerate(offsets):
                end = offsets[index + 1][1] if index + 1 < count else len(block)
                name = block[offset:end].rstrip(b"\0")
                names.append(name)
                if name in (b".", b".."):
                    continue
                mode, links, inner, number = content(child)
                assert kind == {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 7}[stat.S_IFMT(mode)]
                where = f"{path}/{os.fsdecode(name)}"
                found[where] = None if stat.S_ISDIR(mode) else (stat.S_IMODE(mode), links, number, inner)
                if stat.S_ISDIR(mode):
                    walk(child, where)
        assert names == sorted(names)

    walk(root, "")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("erofs")


@settings(max_examples=40, deadline=None)
@given(files=st.dictionaries(NAMES, st.binary(max_size=9000), max_size=30), many=st.integers(0, 400))
def test_an_image_holds_every_file(folder: Path, files: dict[str, bytes], many: int) -> None:
    root = Path(os.path.realpath(folder)) / os.urandom(6).hex()
    (root / "deep" / "er").mkdir(parents=True)
    wanted: dict[str, bytes] = {}
    for name, data in files.items():
        (root / "deep" / name).write_bytes(data) if name != "er" else None
        wanted |= {f"/deep/{name}": data} if name != "er" else {}
    for number in range(many):
        (root / f"file-{number:04d}").write_bytes(b"x" * number)
        wanted[f"/file-{number:04d}"] = b"x" * number
    with (root.parent / "image").open("w+b") as file:
        inode_bytes = erofs.write(erofs.read_tree(str(root)), file)
        file.seek(0)
        data = file.read()
    found = read_image(data)
    assert {path: value[3] for path, value in found.items() if isinstance(value, tuple)} == wanted
    assert {path for path, value in found.items() if value is None} == {"/deep", "/deep/er"}
    assert len(data) % 4096 == 0
    assert inode_bytes <= len(data)


def test_links_hard_and_soft_and_modes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"once")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("a/../b")
    with (tmp_path.parent / "image").open("w+b") as file:
        erofs.write(erofs.read_tree(str(tmp_path)), file)
        file.seek(0)
        found = read_image(file.read())
    assert found["/a"] == found["/b"]
    assert isinstance(found["/a"], tuple)
    assert found["/a"][0] == 0o640
    assert found["/a"][1] == 2
    assert isinstance(found["/c"], tuple)
    assert found["/c"][3] == b"a/../b"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no file, folder or link"):
        erofs.read_tree(str(tmp_path))


def test_a_file_that_is_there_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = {"usr": erofs.tree_of_links(["/bin/sh"])}
    monkeypatch.setattr(erofs, "image_trees", lambda: trees)
    erofs.make(str(tmp_path), "key", "image:1", "image")
    before = (tmp_path / "key" / "usr.erofs").stat()
    monkeypatch.setattr(erofs, "image_trees", lambda: pytest.fail("made again"))
    erofs.make(str(tmp_path), "key", "image:1", "image")
    after = (tmp_path / "key" / "usr.erofs").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in (tmp_path / "key").iterdir()) == ["ready.json", "usr.erofs"]
