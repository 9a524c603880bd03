"""Packs of runs: the same runs make the same pack, what may not leave does not, and hostile packs add nothing."""

import gzip
import hashlib
import io
import json
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing
from aira_bench.packs import pack_file
from aira_bench.packs.merging import merge
from aira_bench.packs.pack_file import unpack
from aira_bench.packs.submitting import pack_runs
from aira_bench.paths import HostPaths
from aira_bench.record.folder import RunFolder, list_runs
from generated_runs import confirm, manifest, write_run
from publication.published import KEY, STRANGER, Place, make_place

RING = KeyRing(trusted=frozenset({KEY.public}))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    packed(make_place(folder), folder / "pack.tar.gz")
    return folder


@pytest.fixture
def pack(original: Path, tmp_path: Path) -> Path:
    return shutil.copy(original / "pack.tar.gz", tmp_path / "pack.tar.gz")


def packed(place: Place, out: Path, **environ: str) -> Path:
    pack_runs(list_runs(place.runs), HostPaths(place.path / "home", place.runs), out, environ)
    return out


def files_of(pack: Path) -> dict[str, bytes]:
    """By any other reader of archives."""
    with tarfile.open(pack, "r:gz") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive.getmembers()}  # type: ignore[union-attr]


def test_runs_arrive_as_they_were_with_all_their_evidence(original: Path, pack: Path, tmp_path: Path) -> None:
    merged = merge(pack, tmp_path / "there", RING)
    assert [(each.run, each.is_new) for each in merged] == [
        (name, True) for name in ("evolution-a", "evolution-b", "random-a", "random-b")
    ]
    for path in sorted((tmp_path / "there").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (original / "runs" / path.relative_to(tmp_path / "there")).read_bytes()
    assert {path.name for path in (tmp_path / "there").iterdir()} == {each.run for each in merged}
    assert [each.is_new for each in merge(pack, tmp_path / "there", RING)] == [False] * 4, "once more adds nothing"


def test_the_same_runs_make_the_same_pack_and_any_reader_opens_it(original: Path, pack: Path, tmp_path: Path) -> None:
    again = packed(Place(original), tmp_path / "again.tar.gz")
    assert again.read_bytes() == pack.read_bytes()
    assert packed(Place(original), again).read_bytes() == pack.read_bytes(), "in place of what was there"
    files = files_of(pack)
    listed = json.loads(files.pop("pack.json"))["files"]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == {
        name: each["sha256"] for name, each in listed.items()
    }


def test_what_records_do_not_vouch_for_stays(original: Path, tmp_path: Path) -> None:
    place = Place(shutil.copytree(original, tmp_path / "place"))
    (place.runs / "random-a" / "lock").write_text("")
    (place.runs / "random-a" / "notes.txt").write_text("mine")
    assert not [name for name in files_of(packed(place, tmp_path / "p")) if "lock" in name or "notes" in name]


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("key is hunter2hunter2", {"MY_API_KEY": "hunter2hunter2"}, "the value of MY_API_KEY"),
        ("token=abcdefgh12345", {"HF_TOKEN": "abcdefgh12345"}, "the value of HF_TOKEN"),
        (KEY.secret.hex(), {}, "the content of machine.key"),
        ("sk-" + "a" * 30, {}, "what looks like an API key"),
        ("AIza" + "b" * 35, {}, "what looks like an API key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", {}, "a private key"),
        ("https://user:password@example.org/x", {}, "an address with a password"),
        ("wrote HOME/keys", {}, "the path "),
    ],
)
def test_a_run_that_holds_a_secret_or_a_path_is_refused_and_the_value_is_not_told(
    original: Path, tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    place = Place(shutil.copytree(original, tmp_path / "place"))
    text = text.replace("HOME", str(place.path / "home"))
    shutil.rmtree(place.runs / "random-b")
    write_run(place.runs, manifest("leaky", seeds=(0,), steps=1), key=KEY, invalid_share=0.0, codes=(text.encode(),))
    with pytest.raises(RunStateError, match="Nothing was packed") as caught:
        packed(place, tmp_path / "out.tar.gz", **environ)
    assert said in str(caught.value)
    assert "leaky" in str(caught.value)
    assert text not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"place"}


def test_a_run_of_a_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    record = manifest("mine", seeds=(0,), steps=1)
    plan = record.plan.model_copy(update={"task": "/srv/tasks/mine"})
    write_run(tmp_path / "runs", record.model_copy(update={"plan": plan}), key=KEY)
    with pytest.raises(RunStateError, match="/srv/tasks/mine as its task"):
        packed(Place(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(("wish", "said"), [({"end": False}, "has not ended"), ({"key": None}, "unsigned")])
def test_what_is_no_evidence_is_not_packed(tmp_path: Path, wish: dict[str, object], said: str) -> None:
    write_run(tmp_path / "runs", manifest("mine", seeds=(0,), steps=1), **({"key": KEY} | wish))  # type: ignore[arg-type]
    with pytest.raises(RunStateError, match=said):
        packed(Place(tmp_path), tmp_path / "out")


def test_a_key_that_nobody_knows_is_refused_until_it_is_named(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(RunStateError, match="a key that this machine does not know"):
        merge(pack, tmp_path / "there", KeyRing(trusted=frozenset({STRANGER.public})))
    assert not list((tmp_path / "there").iterdir())
    assert len(merge(pack, tmp_path / "there", KeyRing(), [KEY.public])) == 4


def test_a_name_that_is_taken_by_another_run_is_not_taken_over(pack: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    write_run(there, manifest("random-a", seeds=(5,), steps=1, run_id="f" * 12), key=STRANGER)
    names = [each.run for each in merge(pack, there, RING)]
    assert len(names) == 4
    assert "random-a" not in names
    assert RunFolder(there / "random-a").manifest.run_id == "f" * 12


def made(files: dict[str, bytes], change: Callable[[dict[str, object]], None] = lambda index: None) -> bytes:
    """A pack of these files as `write_pack` would make it, its list changed."""
    listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    index: dict[str, object] = {"schema": 1, "files": dict(sorted(listed.items()))}
    change(index)
    first = json.dumps(index).encode()
    body = b"".join(
        pack_file._header(name, len(data)) + data + bytes(-len(data) % 512)
        for name, data in (("pack.json", first), *sorted(files.items()))
    )
    return gzip.compress(body + bytes(1024), mtime=0)


def with_member(entry: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """An archive as tar writes it, with a list that names the entry."""
    index = {"schema": 1, "files": {entry.name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}}
    first = json.dumps(index).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        head = tarfile.TarInfo("pack.json")
        head.size = len(first)
        archive.addfile(head, io.BytesIO(first))
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def member(name: str, **values: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for field, value in values.items():
        setattr(entry, field, value)
    return entry


PLAIN = "runs/a/manifest.json"


def bomb(index: dict[str, object]) -> None:
    index["files"] = {
        PLAIN: {"bytes": 2**32, "sha256": "0" * 64},
        "runs/b/manifest.json": {"bytes": 2**32, "sha256": "0" * 64},
    }


HOSTILE_PACKS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it ends too early"),
    "no gzip": (b"PK\x03\x04" + bytes(600), "incorrect header check"),
    "no index": (gzip.compress(bytes(2048)), "does not begin with pack.json"),
    "another tar": (with_member(member("pack.json")), "no run has|not as it is|names"),
    "a path upwards": (made({"runs/a/../../etc/passwd": b"x"}), "names a file that no run has"),
    "a path upwards in a step": (made({"runs/a/seeds/0/nodes/0001/../../../../../../x": b"x"}), "no run has"),
    "an absolute path": (made({"/etc/passwd": b"x"}), "no run has"),
    "a hidden file": (made({"runs/a/seeds/0/nodes/0001/.ssh": b"x"}), "no run has"),
    "a file beside the runs": (made({"runs/a/lock": b"x"}), "no run has"),
    "a control character": (made({"runs/a\x1b/manifest.json": b"x"}), "no run has"),
    "a link": (with_member(member(PLAIN, type=tarfile.SYMTYPE, linkname="/etc/passwd")), "header of runs/a"),
    "a hard link": (with_member(member(PLAIN, type=tarfile.LNKTYPE, linkname="pack.json")), "header of runs/a"),
    "a device": (with_member(member(PLAIN, type=tarfile.CHRTYPE, devmajor=1, devminor=3)), "header of runs/a"),
    "a pipe": (with_member(member(PLAIN, type=tarfile.FIFOTYPE)), "header of runs/a"),
    "a program": (with_member(member(PLAIN, mode=0o4755), b"x"), "header of runs/a"),
    "a bomb by its list": (made({PLAIN: b"x"}, bomb), "would unpack to 8,589,934,592 bytes"),
    "a bomb behind its list": (made({PLAIN: b"x"}) + gzip.compress(bytes(1 << 20)), "something follows"),
    "more than it lists": (
        made({PLAIN: bytes(1 << 20)}, lambda index: index.update(files={PLAIN: {"bytes": 1, "sha256": "0" * 64}})),
        "header of",
    ),
    "another content": (
        made({PLAIN: b"x"}, lambda index: index.update(files={PLAIN: {"bytes": 1, "sha256": "0" * 64}})), "its hash",
    ),
    "a size below nothing": (
        made({PLAIN: b"x"}, lambda index: index.update(files={PLAIN: {"bytes": -1, "sha256": "0" * 64}})), "pack.json",
    ),
    "a size without end": (
        made({PLAIN: b"x"}, lambda index: index.update(files={PLAIN: {"bytes": 10**17, "sha256": "0" * 64}})), "pack.json",
    ),
    "huge counts": (
        made({}, lambda index: index.update(files={f"runs/a/seeds/{i:04}/journal.jsonl": {"bytes": 0, "sha256": "0" * 64} for i in range(600)})),
        "header of|ends too early",
    ),
    "a later schema": (made({PLAIN: b"x"}, lambda index: index.update(schema=2)), "schema"),
    "another key": (made({PLAIN: b"x"}, lambda index: index.update(run="rm -rf")), "run"),
    "two names that are one elsewhere": (made({PLAIN: b"x", "runs/A/manifest.json": b"y"}), "are one on some machines"),
    "no board": (made({PLAIN: b"x"}), "it has no board.json"),
    "a board that is none": (made({"board.json": b"{}"}), "is no board"),
    "a file that is a folder": (
        made({f"runs/a/seeds/0/nodes/0001/{name}": b"x" for name in ("x", "x-y", "x/y")}), "as a file and as a folder",
    ),
    "a list that is deep": (gzip.compress(
        pack_file._header("pack.json", 200) + b"[" * 200 + bytes(312) + bytes(1024)), "pack.json|JSON|nested"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_PACKS)
def test_a_hostile_pack_adds_nothing_and_says_why(tmp_path: Path, kind: str) -> None:
    content, said = HOSTILE_PACKS[kind]
    (tmp_path / "pack").write_bytes(content)
    with pytest.raises(RunStateError, match=said) as caught:
        merge(tmp_path / "pack", tmp_path / "there", RING)
    assert len(str(caught.value)) < 2000
    assert not list((tmp_path / "there").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"pack", "there"}


def test_more_files_than_any_pack_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pack_file.MOST_FILES == 500_000
    field = pack_file.PackIndex.model_fields["files"]
    assert any(getattr(each, "max_length", None) == pack_file.MOST_FILES for each in field.metadata)


def test_links_and_pipes_in_place_of_a_pack_are_refused(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pack)
    for path in (tmp_path / "link", tmp_path, tmp_path / "absent"):
        with pytest.raises(RunStateError, match="no pack"):
            unpack(path, tmp_path / "there")


def test_one_changed_byte_of_a_pack_is_found(pack: Path, tmp_path: Path) -> None:
    """In 40 random places: of what is packed, since bytes of gzip's own header may stand for nothing."""
    generator = random.Random(0)
    inside = bytearray(gzip.decompress(pack.read_bytes()))
    for number in range(40):
        place = generator.randrange(len(inside))
        inside[place] ^= 1
        (tmp_path / "changed").write_bytes(gzip.compress(bytes(inside), 1, mtime=0))
        inside[place] ^= 1
        with pytest.raises(RunStateError):
            unpack(tmp_path / "changed", tmp_path / str(number))


def test_a_run_of_the_pack_that_is_not_on_its_board_is_refused(pack: Path, tmp_path: Path) -> None:
    files = files_of(pack)
    del files["pack.json"]
    board = json.loads(files["board.json"])
    more = {name.replace("runs/random-b/", "runs/hidden/"): data for name, data in files.items()} | files
    assert len(board["runs"]) == 4
    (tmp_path / "pack").write_bytes(made(more))
    with pytest.raises(RunStateError, match="run hidden: the pack's record does not name it"):
        merge(tmp_path / "pack", tmp_path / "there", RING)


@pytest.mark.parametrize(
    "name",
    ["agent.py", "seeds/0/nodes/0099/solution.py", "seeds/7/journal.jsonl", "seeds/00/journal.jsonl",
     "seeds/0/calls/0098/propose/call_000.json", "seeds/0/hidden/confirmed/0001-9/report.json"],
)  # fmt: skip
def test_a_file_that_no_record_names_comes_with_no_pack(pack: Path, tmp_path: Path, name: str) -> None:
    """Beside a step's own files nothing was looked for: steps, seeds and reports that never were arrived with the rest."""
    files = files_of(pack)
    del files["pack.json"]
    (tmp_path / "pack").write_bytes(made(files | {f"runs/random-b/{name}": b"x"}))
    with pytest.raises(
        RunStateError, match=rf"runs/random-b/{re.escape(name)} is a file that no record of its run names"
    ):
        merge(tmp_path / "pack", tmp_path / "there", RING)
    assert not list((tmp_path / "there").iterdir())


def test_a_pack_whose_confirmations_were_cut_says_other_than_its_record(tmp_path: Path) -> None:
    """Nothing is signed behind the last training: only the pack's record says that there was another."""
    confirm(
        write_run(tmp_path / "runs", manifest("a", seeds=(0,), steps=2), key=KEY, invalid_share=0), KEY, {0: [0.5] * 3}
    )
    files = files_of(packed(Place(tmp_path), tmp_path / "pack"))
    del files["pack.json"]
    name = next(name for name in files if name.endswith("hidden/confirmed.jsonl"))
    files[name] = b"".join(files[name].splitlines(keepends=True)[:-1])
    (tmp_path / "pack").write_bytes(made(files))
    with pytest.raises(RunStateError, match=r"confirmations\[0\] \(seed 0\)\.lines: 4 on the board, 3 by its runs"):
        merge(tmp_path / "pack", tmp_path / "there", RING)


def test_what_a_training_left_that_was_cut_short_is_not_packed(original: Path, tmp_path: Path) -> None:
    place = shutil.copytree(original, tmp_path / "copy")
    report = place / "runs" / "random-b" / "seeds" / "0" / "hidden" / "confirmed" / "0001-9" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text("{}")
    assert not [name for name in files_of(packed(Place(place), tmp_path / "out")) if "0001-9" in name]


def test_of_a_pack_of_which_one_run_cannot_come_none_comes(pack: Path, tmp_path: Path) -> None:
    """Runs were moved one by one, until one could not be."""
    there = tmp_path / "there"
    write_run(there, manifest("random-b", seeds=(0,), steps=2, agent="random"), key=KEY)
    before = {path.name for path in there.iterdir()}
    with pytest.raises(RunStateError, match="run random-b has the run id of its random-b, and is another"):
        merge(pack, there, RING)
    assert {path.name for path in there.iterdir()} == before


def test_a_pack_without_runs_is_none(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(made({"board.json": files_of(pack)["board.json"]}))
    with pytest.raises(RunStateError, match="there is none in it"):
        merge(tmp_path / "empty", tmp_path / "there", RING)
