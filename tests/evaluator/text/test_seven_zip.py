"""7z archives of every kind `7z a` makes of text, and of kinds made to hurt: refused in a line, in bounded memory, in place."""

import contextlib
import io
import json
import lzma
import os
import resource
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text import unpacking
from aira_evaluator.text.documents import read_documents
from aira_evaluator.text.member_frames import CHUNK_BYTES
from aira_evaluator.text.seven_zip import read_members, received
from aira_evaluator.text.seven_zip_sender import MEMORY_BYTES, Volumes, send_members
from evaluator.text.seven_zip_writer import COPY, Archive, framed, lzma2, number, packed_by_lzma2
from evaluator.text.test_documents import ARCHIVE, STORIES

PLAIN = [{"id": lzma.FILTER_LZMA2, "preset": 1}]
"""What `7z a` does to text. The library's own choice is a filter for programs before it."""
LINES = b'{"text": "a cat"}\n{"text": "a dog"}\n'
FILES = {"a.jsonl": LINES, "b.jsonl": LINES * 3}


def members_of(content: bytes, folder: Path) -> dict[str, bytes]:
    """What an archive holds, read as it is in the product: by another process."""
    (folder / "a.7z").write_bytes(content)
    return {name: b"".join(chunks) for name, chunks in read_members([folder / "a.7z"])}


def sent(content: bytes, folder: Path) -> dict[str, bytes]:
    """The same in this process, for tests with many archives: what is sent and received, without limits and a pipe."""
    (folder / "a.7z").write_bytes(content)
    pipe = io.BytesIO()
    send_members([folder / "a.7z"], pipe)
    return contents(pipe.getvalue())


def contents(piped: bytes) -> dict[str, bytes]:
    return {name: b"".join(chunks) for name, chunks in received(io.BytesIO(piped), "a.7z")}


def refusal(content: bytes, folder: Path, read: Callable[[bytes, Path], object] = sent) -> str:
    with pytest.raises(DataError) as caught:
        read(content, folder)
    message = str(caught.value)
    assert message.startswith("a.7z: ")
    assert message.isprintable()
    assert len(message) < 450
    return message


def written(folder: Path, filters: list[dict[str, int]], password: str | None = None) -> bytes:
    path = folder / "written.7z"
    with py7zr.SevenZipFile(path, "w", filters=filters, password=password) as archive:
        for name, data in FILES.items():
            archive.writestr(data, name)
    return path.read_bytes()


# What is read -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [[{"id": lzma.FILTER_LZMA2, "preset": 1}], [{"id": lzma.FILTER_LZMA1, "preset": 9}], [{"id": py7zr.FILTER_COPY}]],
    ids=["LZMA2", "LZMA", "Copy"],
)
def test_what_7z_makes_of_text_is_read(tmp_path: Path, filters: list[dict[str, int]]) -> None:
    assert members_of(written(tmp_path, filters), tmp_path) == FILES


@pytest.mark.parametrize("content", [Archive.of(FILES).plain(), Archive.of(FILES).encoded()], ids=["plain", "packed"])
def test_a_header_may_be_packed(tmp_path: Path, content: bytes) -> None:
    assert members_of(content, tmp_path) == FILES


def test_an_archive_grown_in_steps_keeps_its_order(tmp_path: Path) -> None:
    """Every step adds a compressed stream of its own; none may overtake another."""
    for step in range(4):
        with py7zr.SevenZipFile(tmp_path / "grown.7z", "a" if step else "w", filters=PLAIN) as archive:
            archive.writestr(json.dumps({"text": f"story {step}"}), f"{step}.jsonl")
    assert list(read_documents([tmp_path / "grown.7z"])) == [f"story {step}" for step in range(4)]


def test_folders_and_empty_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "empty.jsonl").touch()
    (tmp_path / "in" / "deep" / "a.jsonl").write_bytes(LINES)
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w", filters=PLAIN) as archive:
        archive.writeall(tmp_path / "in", "in")
    assert list(read_documents([tmp_path / "a.7z"])) == ["a cat", "a dog"]


def test_members_of_one_name_are_all_read(tmp_path: Path) -> None:
    archive = Archive.of(FILES)
    archive.names = ["same.jsonl", "same.jsonl"]
    (tmp_path / "a.7z").write_bytes(archive.plain())
    assert [b"".join(chunks) for _, chunks in read_members([tmp_path / "a.7z"])] == list(FILES.values())


def test_chunks_are_bounded_and_a_member_may_be_left_halfway(tmp_path: Path) -> None:
    large = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"rest"
    (tmp_path / "a.7z").write_bytes(Archive.of({"large": large, "b.jsonl": LINES}).plain())
    members = read_members([tmp_path / "a.7z"])
    _, chunks = next(members)
    assert len(next(chunks)) <= CHUNK_BYTES
    assert sum(len(chunk) for chunk in chunks) > 2 * CHUNK_BYTES
    halfway = read_members([tmp_path / "a.7z"])
    next(next(halfway)[1])
    name, chunks = next(halfway)
    assert (name, b"".join(chunks)) == ("b.jsonl", LINES)


def test_a_reader_that_is_no_longer_wanted_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(Archive.of({"large": bytes(64 << 20)}).plain())
    before = children()
    with contextlib.closing(read_members([tmp_path / "a.7z"])) as members:
        next(members)
        assert len(children() - before) == 1
    assert children() <= before


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@given(cuts=st.lists(st.integers(0, len(ARCHIVE)), max_size=6), reads=st.lists(st.integers(1, 200), min_size=1))
@settings(max_examples=60, deadline=None)
def test_volumes_are_one_file(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], reads: list[int]) -> None:
    folder, edges = tmp_path_factory.mktemp("volumes"), [0, *sorted(cuts), len(ARCHIVE)]
    paths = [folder / f"{place:03d}" for place in range(len(edges) - 1)]
    for path, begin, end in zip(paths, edges, edges[1:], strict=False):
        path.write_bytes(ARCHIVE[begin:end])
    with io.BufferedReader(Volumes(paths)) as volumes:
        assert volumes.seek(0, io.SEEK_END) == len(ARCHIVE)
        for place in reads:
            assert volumes.seek(place) == place
            assert volumes.read(place) == ARCHIVE[place : 2 * place]


# What is refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "method"),
    [
        ([{"id": py7zr.FILTER_BZIP2}], "040202"), ([{"id": py7zr.FILTER_DEFLATE}], "040108"),
        ([{"id": py7zr.FILTER_ZSTD, "level": 1}], "04f71101"), ([{"id": py7zr.FILTER_BROTLI, "level": 1}], "04f71102"),
        ([{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 20}], "030401"),
        ([{"id": py7zr.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 1}], "21 and 03030103"),
        ([{"id": lzma.FILTER_DELTA}, {"id": lzma.FILTER_LZMA2, "preset": 1}], "21 and 03"),
    ],
)  # fmt: skip
def test_other_methods_and_filters_are_named(tmp_path: Path, filters: list[dict[str, int]], method: str) -> None:
    """The library could unpack all of these, in C code that nobody here has asked for."""
    said = refusal(written(tmp_path, filters), tmp_path)
    assert f"method {method}; unpack it with 7z" in said


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1}, {"id": py7zr.FILTER_CRYPTO_AES256_SHA256}]
    assert "method 06f10701 and 21" in refusal(written(tmp_path, filters, password="open"), tmp_path)
    with py7zr.SevenZipFile(tmp_path / "hidden.7z", "w", password="open", header_encryption=True) as archive:
        archive.writestr(LINES, "a.jsonl")
    assert "it is encrypted; unpack it with 7z" in refusal((tmp_path / "hidden.7z").read_bytes(), tmp_path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../../out.jsonl", "a/../../../../out.jsonl", "//x", "\\..\\..\\out", "."]
)
def test_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    archive = Archive.of({name: LINES}).plain()
    with contextlib.suppress(DataError):
        assert list(members_of(archive, tmp_path).values()) == [LINES]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "a.7z"])


def test_a_link_is_what_is_stored_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(b'{"text": "a secret of the host"}\n')
    (tmp_path / "link.jsonl").symlink_to("secret.jsonl")
    with py7zr.SevenZipFile(tmp_path / "links.7z", "w", filters=PLAIN) as archive:
        archive.write(tmp_path / "link.jsonl", "link.jsonl")
    assert stat.S_ISLNK((tmp_path / "link.jsonl").lstat().st_mode)
    assert members_of((tmp_path / "links.7z").read_bytes(), tmp_path) == {"link.jsonl": b"secret.jsonl"}


@pytest.mark.parametrize("dictionary", [38, 40], ids=["2 GiB", "4 GiB"])
@pytest.mark.parametrize("where", ["member", "header"])
def test_an_absurd_dictionary_is_refused(tmp_path: Path, dictionary: int, where: str) -> None:
    archive = Archive.of(FILES)
    if where == "member":
        archive.coder = lzma2(dictionary)
        content = archive.plain()
    else:
        content = archive.encoded(coder=lzma2(dictionary))
    assert "more than 2048 MiB of memory" in refusal(content, tmp_path, members_of)


def test_a_dictionary_of_a_gibibyte_is_read(tmp_path: Path) -> None:
    archive = Archive.of(FILES)
    archive.coder = lzma2(36)
    assert members_of(archive.plain(), tmp_path) == FILES


def memory_of(content: bytes, folder: Path) -> tuple[str, int]:
    """What came of reading an archive, and the most memory the reading process held, in MiB.

    A process of its own starts it: a child's peak counts its parent's memory, which here is that of all the tests.
    """
    (folder / "a.7z").write_bytes(content)
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from aira_evaluator.split_manifest import DataError\n"
        "from aira_evaluator.text.seven_zip import read_members\n"
        "try: print('read', sum(len(chunk) for _, chunks in read_members([Path(sys.argv[1])]) for chunk in chunks))\n"
        "except DataError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "a.7z")], capture_output=True, text=True, check=True
    )
    said, peak_mib = done.stdout.splitlines()
    return said, int(peak_mib)


def test_a_header_of_names_without_number_meets_the_limit(tmp_path: Path) -> None:
    """500 bytes that stand for a quarter of a million members cost the library half a kilobyte each."""
    content = Archive(b"", [""] * (1 << 18), [0] * (1 << 18)).encoded()
    assert len(content) < 1000
    said, peak_mib = memory_of(content, tmp_path)
    assert said.startswith("a.7z: not a 7z archive")
    assert 60 < peak_mib < MEMORY_BYTES >> 20


def test_a_bomb_is_unpacked_in_steps(tmp_path: Path) -> None:
    zeros = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 16}])
    packed = b"".join([*(zeros.compress(bytes(1 << 20)) for _ in range(160)), zeros.flush()])
    said, peak_mib = memory_of(Archive(packed, ["a"], [160 << 20]).plain(), tmp_path)
    assert said == f"read {160 << 20}"
    assert peak_mib < 500


def test_a_bomb_ends_at_its_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "SPARE_BYTES", 4 << 20)
    (tmp_path / "a.7z").write_bytes(Archive.of({"a.jsonl": b"\n" * (16 << 20)}).plain())
    before = children()
    with pytest.raises(DataError, match="unpack to more than 200 times as much and 4 MiB"):
        list(read_documents([tmp_path / "a.7z"]))
    assert children() <= before


LIES: dict[str, Callable[[], bytes]] = {
    "more than is there": lambda: Archive(packed_by_lzma2(LINES), ["a"], [1 << 50]).plain(),
    "more members than bytes": lambda: Archive(packed_by_lzma2(LINES), ["a"], [len(LINES)], members=1 << 60).plain(),
    "no coder": lambda: Archive(b"", ["a"], [1], coder=b"", coders=0).plain(),
    "coders without number": lambda: Archive(b"", ["a"], [1], coders=1 << 40).plain(),
    "no such method": lambda: Archive(LINES, ["a"], [len(LINES)], coder=b"\x02\x77\x77").plain(),
    "a size below zero": lambda: Archive(LINES, ["a", "b"], [1 << 40, 1], unpacked=5, coder=COPY).plain(),
    "a header longer than the file": lambda: framed(b"", b"")[:12] + (1 << 60).to_bytes(8, "little") + bytes(12),
    "a packed header of a tebibyte": lambda: Archive.of(FILES).encoded(said_bytes=1 << 40),
    "a packed header that says too much": lambda: Archive.of(FILES).encoded(said_bytes=1 << 20),
    "a packed header that holds itself": lambda: framed(
        b"", bytes([0x17, 6, 0, 1, 9, 18, 0, 7, 0x0B, 1, 0, 1, 1, 0, 0x0C, 18, 0, 0])
    ),
    "a header of nothing": lambda: framed(b"", b"\x77"),
    "a wrong checksum": lambda: Archive(packed_by_lzma2(LINES), ["a"], [len(LINES)], [7]).plain(),
    "another file altogether": lambda: b"PK\x03\x04" + bytes(100),
    "names that never end": lambda: Archive(b"", ["a" * 70_000], [1]).plain().replace(b"a\0\0\0", b"a\0a\0"),
    "an empty file": lambda: b"",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.timeout(30)
def test_a_lie_is_one_line(tmp_path: Path, lie: str) -> None:
    refusal(LIES[lie](), tmp_path, members_of)


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^a\.7z: .*No such file"):
        list(read_members([tmp_path / "a.7z"]))


def test_many_members_are_read(tmp_path: Path) -> None:
    files = {f"{place}.jsonl": b"%d\n" % place for place in range(4_000)}
    assert sent(Archive.of(files).encoded(), tmp_path) == files


@given(length=st.integers(0, len(ARCHIVE) - 1))
@settings(max_examples=80, deadline=None)
def test_a_truncated_archive_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    refusal(ARCHIVE[:length], tmp_path_factory.mktemp("archive"))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An archive with a few changed bytes; half of the time its header's checksums say that all is well."""
    content = bytearray(draw(st.sampled_from([ARCHIVE, Archive.of(FILES).plain(), Archive.of(FILES).encoded()])))
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        at = int.from_bytes(content[12:20], "little")
        if at < len(content):
            content = bytearray(framed(bytes(content[32 : 32 + at]), bytes(content[32 + at :])))
    return bytes(content)


@given(content=damaged())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_damaged_archive_is_refused_or_gives_what_its_checksums_say(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """In this process, which has no limits: no change of a few bytes may make the library spin or take memory."""
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    with contextlib.suppress(DataError):
        members = sent(content, tmp_path_factory.mktemp("archive"))
        known = {zlib.crc32(data) for data in FILES.values()} | {zlib.crc32(data) for data in sent_stories()}
        assert all(zlib.crc32(data) in known or not data for data in members.values())
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - before_mib < 600


def sent_stories() -> list[bytes]:
    """The members of the archive that 7z made."""
    texts = [json.dumps(text).encode() + b"\n" for text in STORIES]
    return [b"".join(texts[:2]), texts[2]]


# What comes through the pipe --------------------------------------------------------------------------------------------


@given(st.binary(max_size=60))
def test_nonsense_in_the_pipe_is_a_death(data: bytes) -> None:
    """The process reads what a stranger wrote; what it says is bounded too."""
    with pytest.raises(DataError):
        contents(data.replace(b".", b"_"))


def test_a_process_that_dies_is_no_end_of_the_archive(tmp_path: Path) -> None:
    pipe = io.BytesIO()
    (tmp_path / "a.7z").write_bytes(Archive.of(FILES).plain())
    send_members([tmp_path / "a.7z"], pipe)
    whole = pipe.getvalue()
    for length in range(len(whole)):
        with pytest.raises(DataError, match="the process that unpacks it died"):
            contents(whole[:length])


def test_a_member_is_only_whole_when_its_checksum_was_seen(tmp_path: Path) -> None:
    archive = Archive.of(FILES)
    archive.crcs = [archive.crcs[0], archive.crcs[1] ^ 1]
    pipe = io.BytesIO()
    (tmp_path / "a.7z").write_bytes(archive.plain())
    send_members([tmp_path / "a.7z"], pipe)
    pipe.seek(0)
    members: Iterator[tuple[str, Iterator[bytes]]] = received(pipe, "a.7z")
    assert b"".join(next(members)[1]) == LINES
    with pytest.raises(DataError, match=r"content is damaged \(CrcError\)"):
        list(next(members)[1])


def test_numbers_are_written_as_they_are_read() -> None:
    from py7zr import archiveinfo

    for value in (0, 1, 127, 128, 16383, 16384, (1 << 21) - 1, 1 << 35, 1 << 56, (1 << 64) - 1):
        assert archiveinfo.read_uint64(io.BytesIO(number(value))) == value
