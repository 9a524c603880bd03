"""Text becomes tokens by one command, through bad networks and kills, and the tokens are the same whatever happened."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

from aira_bench.cli.main import run_command_line
from aira_bench.scaling.corpus.made import made_tokens
from aira_bench.scaling.corpus.texts import dclm_texts
from aira_evaluator.pretrain.shards import TokenFolder, step_numbers
from aira_evaluator.text.grammar import synthetic_documents
from file_server import FileServer, Trick, serve

SHARDS, DOCUMENTS = 3, 400
PATIENCE_S = 240


@pytest.fixture(scope="module")
def packed() -> list[bytes]:
    """Shards as DCLM has them: JSON lines by Zstandard. Synthetic."""
    texts = list(synthetic_documents("stories", SHARDS * DOCUMENTS, 5))
    return [
        zstandard.ZstdCompressor().compress(
            "".join(json.dumps({"text": text, "url": "none"}) + "\n" for text in texts[n::SHARDS]).encode()
        )
        for n in range(SHARDS)
    ]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))


@contextlib.contextmanager
def served(
    folder: Path, packed: list[bytes], *tricks: Trick, more: str = ""
) -> Iterator[tuple[Path, list[FileServer]]]:
    """A list of the shards at local servers, the first of which misbehaves as told."""
    with contextlib.ExitStack() as opened:
        servers = [
            opened.enter_context(serve(FileServer(data, list(tricks) if number == 0 else [])))
            for number, data in enumerate(packed)
        ]
        files = "".join(
            f'[[file]]\nname = "shard_{number}.jsonl.zst"\nurl = "{server.url}"\n{more}'
            for number, server in enumerate(servers)
        )
        path = folder / "shards.toml"
        path.write_text(f'name = "stories"\nsource = "a grammar"\nsynthetic = true\n{files}')
        yield path, servers


def command(source: Path, out: Path, *more: str) -> list[str]:
    return ["scale", "data", "--source", str(source), "--vocabulary", "400", "--held-out", "20", "--out", str(out),
            "--processes", "2", *more]  # fmt: skip


def bytes_of(folder: Path) -> dict[str, str]:
    names = ("train-*.bin", "validation-*.bin", "manifest.json", "corpus.json", "tokenizer.json")
    found = sorted(path for name in names for path in folder.glob(name))
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def undisturbed(packed: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens made by one process of good servers."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patched, served(folder, packed) as (source, _):
        patched.setenv("AIRA_HOME", str(folder / "home"))
        assert run_command_line(command(source, folder / "tokens", "--processes", "1")) == 0
    return folder / "tokens"


def test_tokens_say_what_they_are(undisturbed: Path) -> None:
    tokens, made = TokenFolder(undisturbed), made_tokens(undisturbed)
    tokens.check_hashes()
    assert tokens.manifest.synthetic
    assert tokens.manifest.own_tokenizer
    assert made.marks == ("synthetic text", "a tokenizer of our own")
    assert "Losses compare with none on other tokens." in made.lines()[-1]
    assert made.corpus is not None
    assert made.corpus.training_documents + made.corpus.candidates == SHARDS * DOCUMENTS
    assert [shard.file for shard in tokens.manifest.train] == [f"train-{number:05}.bin" for number in range(SHARDS)]


@pytest.mark.parametrize(
    "tricks", [("break off",), ("error 503", "flip a byte"), ("say more than is sent", "ignore the range")]
)
def test_a_bad_server_costs_time_and_changes_no_byte(
    packed: list[bytes], undisturbed: Path, tmp_path: Path, tricks: tuple[Trick, ...]
) -> None:
    pinned = "".join(f'sha256 = "{sha256(data).hexdigest()}"\n' for data in packed[:1])
    with served(tmp_path, packed, *tricks) as (source, servers):
        text = source.read_text()
        first = text.index("[[file]]", text.index("[[file]]") + 1)
        source.write_text(text[:first] + pinned + text[first:])
        assert run_command_line(command(source, tmp_path / "tokens")) == (3 if "flip a byte" in tricks else 0)
        if "flip a byte" in tricks:  # what is not the file is refused, and fetched anew by the next start
            assert run_command_line(command(source, tmp_path / "tokens")) == 0
        assert len(servers[0].requests) > 1
    assert bytes_of(tmp_path / "tokens") == bytes_of(undisturbed)


def test_what_is_there_is_downloaded_and_made_once(
    packed: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, packed) as (source, servers):
        assert run_command_line(command(source, tmp_path / "tokens", "--dry-run")) == 0
        assert "3 to download" in capsys.readouterr().err
        assert not (tmp_path / "tokens").exists()
        for _ in range(2):
            assert run_command_line(command(source, tmp_path / "tokens")) == 0
        assert [len(server.requests) for server in servers] == [1] * SHARDS


def begin(source: Path, out: Path) -> "subprocess.Popen[bytes]":
    """The command as a process of its own, with a group of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    line = [sys.executable, "-m", "aira_bench", *command(source, out)]
    return subprocess.Popen(line, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)


def until_reading(out: Path, process: "subprocess.Popen[bytes]") -> None:
    """Return while ids of a shard are being written."""
    end_s = time.monotonic() + PATIENCE_S
    while not list(out.glob(".train-*.bin.part")):
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_a_kill_in_the_middle_of_a_shard_changes_no_byte(
    packed: list[bytes], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tokens"
    with served(tmp_path, packed) as (source, _):
        first = begin(source, out)
        until_reading(out, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert not (out / "manifest.json").exists()
        assert list(out.glob(".train-*.bin.part")), "it was cut off within a shard"
        assert run_command_line(command(source, out)) == 0
    assert bytes_of(out) == bytes_of(undisturbed)
    assert not list(out.glob(".*.part"))


def test_two_commands_at_once_share_the_work(packed: list[bytes], undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    with served(tmp_path, packed) as (source, servers):
        both = [begin(source, out) for _ in range(2)]
        assert [each.wait(PATIENCE_S) for each in both] == [0, 0]
        assert [len(server.requests) for server in servers] == [1] * SHARDS
    assert bytes_of(out) == bytes_of(undisturbed)


def test_a_folder_of_files_is_read_as_well(
    packed: list[bytes], undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    for number, data in enumerate(packed):
        (tmp_path / "texts" / f"shard_{number}.jsonl.zst").write_bytes(data)
    out = tmp_path / "tokens"
    assert run_command_line(command(tmp_path / "texts", out, "--synthetic", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["synthetic"] is True
    trained = [name for name in bytes_of(out) if name.startswith("train")]
    assert [bytes_of(out)[name] for name in trained] == [bytes_of(undisturbed)[name] for name in trained]
    capsys.readouterr()
    assert run_command_line(command(tmp_path / "texts", out, "--synthetic", "--seed", "1")) == 2
    assert "holds tokens of another request: seed differ" in capsys.readouterr().err


def test_too_little_disk_is_said_before_anything_begins(
    packed: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, packed, more=f"bytes = {1 << 50}\n") as (source, servers):
        assert run_command_line(command(source, tmp_path / "tokens")) == 3
        assert not servers[0].requests
    assert "3 to download, 3,221,225,472.0 MiB" in capsys.readouterr().err
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shards", "2"), "--shards are of DCLM"),
        (("--tokenizer", "none.json"), "A tokenizer's file has its own --vocabulary"),
        (("--source", "none.toml"), "none.toml cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert run_command_line(command(tmp_path / "list.toml", tmp_path / "tokens", *more)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 1", "name"),
        ('name = "a"\nsource = "b"\n[[file]]\nname = "a.txt"\nurl = "http://localhost/a"', "a.txt ends in none of"),
        ('name = "a"\nsource = "b"\n[[file]]\nname = "a.jsonl"\nurl = "ftp://localhost/a"', "file.0.url"),
    ],
)
def test_a_list_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "list.toml").write_text(text)
    assert run_command_line(command(tmp_path / "list.toml", tmp_path / "tokens")) == 2
    assert said in capsys.readouterr().err


def test_shards_of_dclm_are_those_of_the_task_at_its_revision() -> None:
    found = dclm_texts(12).public
    assert [file.name for file in found][::11] == [
        "shard_00000000_processed.jsonl.zst",
        "shard_00000011_processed.jsonl.zst",
    ]
    assert all(
        "/resolve/a3b142c183aebe5af344955ae20836eb34dcf69b/global-shard_01_of_10/local-shard_0_of_10/" in each.url
        for each in found
    )
    assert found[11].url.endswith("/shard_00000011_processed.jsonl.zst")


def test_every_number_of_ranks_reads_the_same_sequences_of_a_step(undisturbed: Path) -> None:
    sequences = TokenFolder(undisturbed).sequences("train", 64)
    for step in (0, 7, len(sequences) // 8):  # the last is of two epochs
        numbers = step_numbers(len(sequences), step, 8, 3)
        whole = sequences.read(numbers)
        for ranks in (1, 2, 4):
            share = [sequences.read(numbers[rank::ranks]) for rank in range(ranks)]
            assert sorted(map(tuple, whole.tolist())) == sorted(tuple(row) for part in share for row in part.tolist())
