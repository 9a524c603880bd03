"""Downloads from a server that breaks off, lies, changes its mind and answers nonsense: the file comes out right or not at all."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_bench.errors import PrerequisiteError
from aira_bench.tasks.download import Patience, StoredFile, check_disk, fetch
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.transfer import Transfer
from file_server import FileServer, Trick, serve

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.02, silence_s=3.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(CONTENT)) as state:
        yield state


def public_file(server: FileServer, sha256: str | None = None, size: int | None = None) -> PublicFile:
    return PublicFile(name="file.bin", url=server.url, sha256=sha256, bytes=size)


def get(
    server: FileServer, folder: Path, *, sha256: str | None = None, size: int | None = None, patience: Patience = QUICK
) -> StoredFile:
    notes: list[str] = []
    return fetch(
        public_file(server, sha256, size), folder, note=notes.append, watch=lambda news: None, patience=patience
    )


def left(folder: Path) -> set[str]:
    """Names in a folder but for locks."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_file_arrives_whole_and_is_fetched_once(server: FileServer, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    stored = fetch(public_file(server), tmp_path, note=lambda text: None, watch=seen.append)
    assert stored.path.read_bytes() == CONTENT
    assert (stored.bytes, stored.sha256) == (len(CONTENT), SHA256)
    assert (seen[0].done_bytes, seen[-1].done_bytes, seen[-1].total_bytes) == (0, len(CONTENT), len(CONTENT))
    assert left(tmp_path) == {"file.bin", "file.bin.pin.json"}
    assert get(server, tmp_path) == stored
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trick", ["break off", "say more than is sent", "chunked", "error 503", "error 429", "garbage", "silence"]
)
def test_what_may_pass_is_tried_again(server: FileServer, tmp_path: Path, trick: Trick) -> None:
    server.tricks = [trick]
    assert get(server, tmp_path, sha256=SHA256).path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_broken_transfer_goes_on_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["break off", "break off"]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    first, second = len(CONTENT) // 2, len(CONTENT) // 2 + len(CONTENT) // 4
    assert server.ranges == [None, f"bytes={first}-", f"bytes={second}-"]
    assert all(request["if-range"] == '"v1"' for request in server.requests[1:])


def test_progress_resets_the_count_of_failures(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["break off"] * 10
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("trick", ["no etag", "weak etag"])
def test_without_proof_of_sameness_it_begins_anew(server: FileServer, tmp_path: Path, trick: Trick) -> None:
    server.tricks = [trick]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_known_hash_is_proof_enough_to_go_on(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["no etag"]
    assert get(server, tmp_path, sha256=SHA256).path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


@pytest.mark.parametrize(
    "trick", ["ignore the range", "another start", "part without saying which", "range not satisfiable"]
)
def test_a_wrong_answer_to_a_range_costs_time_and_nothing_else(
    server: FileServer, tmp_path: Path, trick: Trick
) -> None:
    server.tricks = ["break off", trick]
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("honest", [True, False], ids=["honest", "ignores if-range"])
def test_a_file_that_changes_between_tries_is_never_pieced_together(
    server: FileServer, tmp_path: Path, honest: bool
) -> None:
    server.tricks = ["break off"]
    with pytest.raises(PrerequisiteError):
        get(server, tmp_path, patience=Patience(tries=1))
    server.content, server.etag = CONTENT[::-1], '"v2"'
    server.tricks = [] if honest else ["ignore if-range"]
    assert get(server, tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_whole_part_needs_no_byte_more(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    (tmp_path / "file.bin.part.json").write_text(json.dumps({"url": server.url, "validator": '"v1"'}))
    server.tricks = ["range not satisfiable"]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_pieces_that_do_not_fit_are_fetched_again(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["break off", "flip a byte"]
    assert get(server, tmp_path, sha256=SHA256).path.read_bytes() == CONTENT
    assert server.ranges[-1] is None


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        ("error 404", "404"),
        ("web page", "web page"),
        ("redirect to ftp", "not HTTP"),
        ("flip a byte", "expected " + SHA256),
    ],
)
def test_what_will_not_pass_is_said_at_once(server: FileServer, tmp_path: Path, trick: Trick, message: str) -> None:
    server.tricks = [trick]
    with pytest.raises(PrerequisiteError, match=message) as caught:
        get(server, tmp_path, sha256=SHA256)
    assert "--source DIR" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1
    assert "file.bin" not in left(tmp_path)


def test_a_size_other_than_expected_is_refused_before_a_byte(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=f"offers {len(CONTENT)} bytes, expected 7"):
        get(server, tmp_path, size=7)
    assert not (tmp_path / "file.bin.part").exists()


def test_giving_up_keeps_what_came_and_the_next_call_goes_on(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["break off", "error 503", "error 503", "error 503"]
    with pytest.raises(PrerequisiteError, match=r"3 tries without progress; 1\.4 MiB are kept"):
        get(server, tmp_path)
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


def test_a_redirect_is_followed_and_the_hubs_hash_is_held_against_the_file(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["redirect"]
    assert get(server, tmp_path / "plain").path.read_bytes() == CONTENT
    server.tricks, server.linked_sha256 = ["hub"], SHA256
    assert get(server, tmp_path / "right").sha256 == SHA256
    server.tricks, server.linked_sha256 = ["hub"], "0" * 64
    with pytest.raises(PrerequisiteError, match="expected 0000"):
        get(server, tmp_path / "wrong")


def test_the_first_download_pins_the_file(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "file.bin").unlink()
    server.content, server.etag = CONTENT[::-1], '"v2"'
    with pytest.raises(PrerequisiteError, match="as it had when first downloaded"):
        get(server, tmp_path)
    (tmp_path / "file.bin.pin.json").unlink()
    assert get(server, tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_changed_file_is_named_and_left_alone(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "file.bin").write_bytes(b"the user's own")
    with pytest.raises(PrerequisiteError, match="is not what it should be"):
        get(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"the user's own"
    assert len(server.requests) == 1


def test_a_file_put_there_by_hand_is_checked_and_taken(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert get(server, tmp_path, sha256=SHA256).sha256 == SHA256
    assert not server.requests


def test_no_server_at_all_is_one_line(tmp_path: Path) -> None:
    gone = FileServer(b"", port=1)
    with pytest.raises(PrerequisiteError, match="refused") as caught:
        get(gone, tmp_path)
    assert "\n" not in str(caught.value)


def test_too_little_disk_is_said_beforehand(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"needs 1048576\.00 GiB"):
        check_disk(tmp_path, 1 << 50, "file.bin")
    check_disk(tmp_path, 1, "file.bin")


def _fetch_with_a_small_limit(url: str, folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        fetch(PublicFile(name="file.bin", url=url), folder, note=print, watch=lambda news: None, patience=QUICK)
    os._exit(3)


def test_a_write_that_fails_keeps_what_is_there_and_says_so(server: FileServer, tmp_path: Path) -> None:
    """A limit on file sizes fails a write as a full disk does, without filling one."""
    child = multiprocessing.get_context("fork").Process(target=_fetch_with_a_small_limit, args=(server.url, tmp_path))
    child.start()
    child.join(60)
    assert child.exitcode == 3
    assert 1_000_000 < (tmp_path / "file.bin.part").stat().st_size <= 2_000_000
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.ranges[-1] is not None


def test_a_really_full_disk_is_one_line(server: FileServer, tmp_path: Path) -> None:
    """On a file system of its own. The server names no size, so that nothing can be said beforehand."""
    server.tricks = ["no length"]
    code = (
        "import sys\nfrom pathlib import Path\nfrom aira_bench.tasks.download import fetch\n"
        "from aira_bench.tasks.metadata import PublicFile\nfrom aira_bench.errors import PrerequisiteError\n"
        f"try: fetch(PublicFile(name='file.bin', url={server.url!r}), Path({str(tmp_path)!r}), note=print, watch=print)\n"
        "except PrerequisiteError as error: print(error, file=sys.stderr); sys.exit(3)\n"
    )
    script = f'mount -t tmpfs -o size=1m none {tmp_path} || exit 77\n{sys.executable} -c "$CODE"'
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--user", "--mount"]
    done = subprocess.run([*private, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "CODE": code})  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this machine allows no mount namespaces; a limit on file sizes stands in for it above")
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "MiB are kept" in done.stderr


def test_two_at_once_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    server.tricks = ["slow"]
    found: list[StoredFile] = []
    threads = [threading.Thread(target=lambda: found.append(get(server, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(60)
    assert found[0] == found[1]
    assert len(server.requests) == 1


TRICKS = ("break off", "say more than is sent", "ignore the range", "another start", "error 503", "garbage", "weak etag",
          "range not satisfiable", "flip a byte", "redirect", "part without saying which")  # fmt: skip


@given(tricks=st.lists(st.sampled_from(TRICKS), max_size=6), size=st.integers(0, 5000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_a_finished_file_is_right(
    tmp_path_factory: pytest.TempPathFactory, tricks: list[Trick], size: int
) -> None:
    content = random.Random(size).randbytes(size)
    folder = tmp_path_factory.mktemp("files")
    with serve(FileServer(content, tricks=list(tricks))) as server:
        patience = Patience(tries=2, first_wait_s=0.0, silence_s=1.0)
        try:
            get(server, folder, sha256=hashlib.sha256(content).hexdigest(), patience=patience)
        except PrerequisiteError:
            assert not (folder / "file.bin").exists()
        else:
            assert (folder / "file.bin").read_bytes() == content
