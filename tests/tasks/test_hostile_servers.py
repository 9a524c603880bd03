"""Servers that lead a download astray, never end, or spell numbers that two readers take differently."""

import contextlib
import gzip
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import PrerequisiteError
from aira_bench.tasks import download, guarded_http, http_transfer
from aira_bench.tasks.download import Patience, fetch
from aira_bench.tasks.guarded_http import Gone, Guard, is_public
from aira_bench.tasks.http_transfer import offered_bytes
from aira_bench.tasks.metadata import PublicFile
from eventually import stretched

HASTY = Patience(tries=2, first_wait_s=0.01, longest_wait_s=0.02, silence_s=5.0, window_s=0.5)
"""For servers that dawdle: on a busy machine honest ones may take so long."""
STEADY = replace(HASTY, silence_s=60.0, window_s=60.0)
Play = Callable[[socket.socket], None]


@contextmanager
def server(play: Play) -> Iterator[str]:
    """A server that reads a request and then plays; yields its address."""
    listening, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                play(connection)
            except OSError:
                pass  # the client hung up, as it should

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file.bin"
    finally:
        over.set()
        listening.close()


def get(url: str, folder: Path, *, size: int | None = None, patience: Patience = STEADY) -> bytes:
    file = PublicFile(name="file.bin", url=url, bytes=size)
    return fetch(file, folder, note=lambda text: None, watch=lambda news: None, patience=patience).path.read_bytes()


def headers(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def send(*parts: bytes) -> Play:
    def play(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return play


def for_ever(begin: bytes, again: bytes, *, pause_s: float = 0.0) -> Play:
    def play(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(again)
            if pause_s:
                time.sleep(pause_s)

    return play


CHUNKED = headers("Transfer-Encoding: chunked")
DAWDLING: dict[str, Play] = {
    "a byte at a time": for_ever(headers("Content-Length: 1000000"), b"x", pause_s=0.05),
    "a byte at a time, chunked": for_ever(CHUNKED, b"1\r\nx\r\n", pause_s=0.05),
    "a chunk's size without end": for_ever(CHUNKED + b"1;", b"x", pause_s=0.02),
    "trailers without end": for_ever(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "headers a byte at a time": for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause_s=0.05),
    "one status after another": for_ever(b"", headers(status="100 Continue"), pause_s=0.01),
    "silence": lambda connection: time.sleep(30),
    "nothing after the headers": lambda connection: (connection.sendall(headers("Content-Length: 5")), time.sleep(30))[
        1
    ],
}


@pytest.mark.parametrize("name", DAWDLING)
def test_a_server_that_dawdles_is_cut_off(tmp_path: Path, name: str) -> None:
    started_s = time.monotonic()
    with server(DAWDLING[name]) as url, pytest.raises(PrerequisiteError, match="could not be downloaded"):
        get(url, tmp_path, patience=HASTY)
    assert time.monotonic() - started_s < stretched(8)


def test_an_overall_deadline_ends_progress_that_never_arrives(tmp_path: Path) -> None:
    patience = Patience(
        tries=2,
        first_wait_s=0.01,
        window_s=5.0,
        least_bytes_per_s=1,
        silence_s=5,
        spare_s=1.0,
        average_bytes_per_s=1e12,
    )
    started_s = time.monotonic()
    endless = for_ever(CHUNKED, b"1\r\nx\r\n", pause_s=0.02)
    with server(endless) as url, pytest.raises(PrerequisiteError, match="was not done after"):
        get(url, tmp_path, patience=patience)
    assert time.monotonic() - started_s < stretched(5)


@pytest.mark.parametrize("size", [None, 1 << 20])
def test_a_body_without_end_stops_at_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr(download, "MOST_BYTES", 1 << 20)
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for begin, again in ((CHUNKED, piece), (headers("Connection: close"), piece)):
        with server(for_ever(begin, again)) as url, pytest.raises(PrerequisiteError, match="sends more than 1048576"):
            get(url, tmp_path, size=size)
        assert not (tmp_path / "file.bin.part").exists()


def test_more_than_any_file_is_refused_before_a_byte(tmp_path: Path) -> None:
    huge = send(headers("Content-Length: 999999999999"))
    with server(huge) as url, pytest.raises(PrerequisiteError, match="at most 17179869184"):
        get(url, tmp_path)


NUMBERS = ["\u00b3", "+5", "-5", "1_000", "0x10", "5 5", "5,6", "9" * 5000, "9" * 16, "", "1e3", "5.0", "\u0663"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_length_is_plain_digits(tmp_path: Path, number: str) -> None:
    line = f"Content-Length: {number}".encode().decode("latin-1")
    with server(send(headers(line), b"12345")) as url:
        with pytest.raises(PrerequisiteError, match="expected one number of at most 15 digits"):
            get(url, tmp_path)
        assert offered_bytes(url, timeout_s=2) is None
    assert not (tmp_path / "file.bin").exists()


def test_two_lengths_must_be_one(tmp_path: Path) -> None:
    two = send(headers("Content-Length: 5", "Content-Length: 6"), b"123456")
    with server(two) as url, pytest.raises(PrerequisiteError, match="conflicting Content-Length"):
        get(url, tmp_path)
    with server(send(headers("Content-Length: 5", "Content-Length: 5"), b"12345")) as url:
        assert get(url, tmp_path) == b"12345"


@given(st.text(max_size=20) | st.sampled_from(NUMBERS) | st.integers(0, 10**14).map(str))
def test_a_header_is_a_number_or_refused(text: str) -> None:
    message = httpx2.Headers({"Content-Length": text.encode("unicode_escape").decode()})
    if text.isascii() and text.isdigit() and len(text) <= 15:
        assert http_transfer._content_length(message) == int(text)
    else:
        with pytest.raises(Gone):
            http_transfer._content_length(message)


@pytest.mark.parametrize(
    "said",
    ["bytes 5-3/10", "bytes 0-20/10", "bytes \u0661-5/10", "bytes 1-5/1_0", f"bytes 1-5/{'9' * 5000}", "bytes +1-5/9"],
)
def test_a_range_that_cannot_be_is_none(said: str) -> None:
    message = httpx2.Headers([(b"Content-Range", said.encode())])
    assert http_transfer._size(message) == (None, None)


def test_headers_without_number_are_cut_off(tmp_path: Path) -> None:
    endless = for_ever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")
    with server(endless) as url, pytest.raises(PrerequisiteError, match="Receive buffer too long"):
        get(url, tmp_path)


# Redirects ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{other}/x", "http://localhost:{other}/x", "http://127.1:{other}/", "http://2130706433:{other}/",
        "http://[::1]:{other}/", "http://[::ffff:127.0.0.1]:{other}/", "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/", "http://192.168.1.1/", "http://0.0.0.0:{other}/", "http://100.64.0.1/",
        "http://[fe80::1]/", "http://[fc00::1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://user@127.0.0.1:{other}/",
    ],
)  # fmt: skip
def test_a_redirect_to_a_private_address_is_refused(tmp_path: Path, location: str) -> None:
    asked: list[bytes] = []

    def secret(connection: socket.socket) -> None:
        asked.append(b"asked")
        connection.sendall(headers("Content-Length: 6") + b"secret")

    with server(secret) as inside:
        target = location.format(other=inside.split(":")[2].split("/")[0])
        away = send(headers(f"Location: {target}", "Content-Length: 0", status="302 Found"))
        with server(away) as url, pytest.raises(PrerequisiteError, match=r"no public address|could not be"):
            get(url, tmp_path)
    assert not asked
    assert not (tmp_path / "file.bin").exists()


def test_a_name_that_resolves_differently_the_second_time_is_seen_by_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up before a redirect is waved through, as a name server's first answer would be."""
    monkeypatch.setattr(Guard, "check_redirect", lambda self, begin, target: None)
    asked: list[bytes] = []
    with server(lambda connection: asked.append(b"asked")) as inside:
        away = send(headers(f"Location: {inside}", "Content-Length: 0", status="302 Found"))
        with server(away) as url, pytest.raises(PrerequisiteError, match=r"which is 127\.0\.0\.1, no public address"):
            get(url, tmp_path)
    time.sleep(0.1)
    assert not asked


def test_a_redirect_on_the_declared_host_and_port_is_followed(tmp_path: Path) -> None:
    answers = [
        headers("Location: /elsewhere", "Content-Length: 0", status="302 Found"),
        headers("Content-Length: 2") + b"ok",
    ]
    with server(lambda connection: connection.sendall(answers.pop(0))) as url:
        assert get(url, tmp_path) == b"ok"


@pytest.mark.parametrize(
    ("target", "message"),
    [("http://example.org/x", "from https to http"), ("file:///etc/passwd", "not HTTP"), ("ftp://x/y", "not HTTP"),
     ("gopher://x/", "not HTTP")],
)  # fmt: skip
def test_a_redirect_never_leaves_https(target: str, message: str) -> None:
    begin = httpx2.URL("https://example.org/file")
    with pytest.raises(Gone, match=message):
        Guard("https://example.org/file").check_redirect(begin, httpx2.URL(target))


@pytest.mark.parametrize("location", ["http://a:b/", "http://\x7f/", "/x" * 40_000])
def test_a_redirect_to_no_address_is_refused(tmp_path: Path, location: str) -> None:
    away = send(headers(f"Location: {location}", "Content-Length: 0", status="302 Found"))
    with server(away) as url, pytest.raises(PrerequisiteError, match=r"cannot be had from .*no address"):
        get(url, tmp_path)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_body_of_a_redirect_is_not_read(tmp_path: Path, encoding: str) -> None:
    """It may be without end, and packed: a megabyte of it unpacks to a gigabyte in memory."""
    sent, block = [0], gzip.compress(bytes(16 << 20)) if encoding == "gzip" else bytes(16 << 10)

    def play(connection: socket.socket) -> None:
        connection.sendall(headers("Location: /next", f"Content-Encoding: {encoding}", status="302 Found"))
        while sent[0] < 64 << 20:
            connection.sendall(block)
            sent[0] += len(block)

    with server(play) as url, pytest.raises(PrerequisiteError, match="redirects without end"):
        get(url, tmp_path)
    assert sent[0] < 64 << 20


def test_redirects_end(tmp_path: Path) -> None:
    asked: list[int] = []

    def play(connection: socket.socket) -> None:
        asked.append(1)
        connection.sendall(headers(f"Location: /{len(asked)}", "Content-Length: 0", status="302 Found"))

    with server(play) as url, pytest.raises(PrerequisiteError, match="redirects without end"):
        get(url, tmp_path)
    assert len(asked) == 11


def test_nothing_that_identifies_the_user_follows_a_redirect(tmp_path: Path) -> None:
    """Cookies of servers on the way, names and passwords in addresses, a netrc file: none is sent."""
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        if len(heard) < 2:
            location = f"Location: http://user:secret@{place}/{len(heard)}"
            connection.sendall(headers("Set-Cookie: a=b", location, "Content-Length: 0", status="302 Found"))
        else:
            connection.sendall(headers("Content-Length: 2") + b"ok")

    with listening(heard, answer) as place:
        assert get(f"http://{place}/file.bin", tmp_path) == b"ok"
    assert len(heard) == 3
    for request in heard:
        assert not {b"cookie", b"authorization"} & {line.partition(b":")[0].lower() for line in request.split(b"\r\n")}


@contextmanager
def listening(heard: list[bytes], answer: Play) -> Iterator[str]:
    """A server that writes down what it is asked; yields its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        request = connection.recv(65536)
                        answer(connection)
                        heard.append(request)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
     ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.0.1", False), ("169.254.1.1", False),
     ("0.0.0.0", False), ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False),
     ("::", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:10.0.0.1", False),
     ("64:ff9b::a00:1", False), ("2002:a00:1::", False), ("ff02::1", False)],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_proxy_of_the_users_may_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(send(headers("Content-Length: 2") + b"ok")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/file.bin"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert get("http://files.example/file.bin", tmp_path) == b"ok"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has downloads go through a server of the user's."""
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return lambda proxy: monkeypatch.setenv("http_proxy", proxy.removesuffix("/file.bin"))


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "http://localhost/x", "{proxy}", "http://[::1]/x"])
def test_a_proxy_is_no_way_round_the_guard(tmp_path: Path, proxied: Callable[[str], None], target: str) -> None:
    """What a proxy would connect to is not seen here, so a redirect's name is looked up; its own address is private, too."""
    asked: list[int] = []

    def play(connection: socket.socket) -> None:
        asked.append(1)
        connection.sendall(headers(f"Location: {target.format(proxy=proxy)}", "Content-Length: 0", status="302 Found"))

    with server(play) as proxy:
        proxied(proxy)
        with pytest.raises(PrerequisiteError, match="no public address"):
            get("http://files.example/file.bin", tmp_path)
    assert len(asked) == 1


def test_hosts_that_need_no_proxy_are_asked_themselves(
    tmp_path: Path, proxied: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        server(send(headers(status="502 Bad Gateway"))) as proxy,
        server(send(headers("Content-Length: 2"), b"ok")) as url,
    ):
        proxied(proxy)
        with pytest.raises(PrerequisiteError, match="502"):
            get(url, tmp_path)
        monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
        assert get(url, tmp_path) == b"ok"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://x", "http://a:b:c"])
def test_a_proxy_that_cannot_be_used_is_said_at_once(
    tmp_path: Path, proxied: Callable[[str], None], proxy: str
) -> None:
    proxied(proxy)
    started_s = time.monotonic()
    with pytest.raises(PrerequisiteError, match=r"that of a proxy, cannot be used") as caught:
        get("http://files.example/file.bin", tmp_path)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started_s < stretched(5)


def test_a_netrc_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    (tmp_path / "netrc").write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with listening(heard, send(headers("Content-Length: 2"), b"ok")) as place:
        assert get(f"http://{place}/file.bin", tmp_path) == b"ok"
    assert b"uthorization" not in heard[0]


def test_an_event_that_was_renamed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the library call its events otherwise one day, nothing passes unseen."""
    look = Guard._look
    monkeypatch.setattr(Guard, "_look", lambda self, event, news: look(self, event.replace("tcp", "quic"), news))
    with (
        server(send(headers("Content-Length: 2"), b"ok")) as url,
        pytest.raises(RuntimeError, match="nobody has looked at"),
    ):
        get(url, tmp_path)


def test_what_was_good_stays_good(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4000
    with server(send(headers(f"Content-Length: {len(body)}"), body)) as url:
        assert hashlib.sha256(get(url, tmp_path, size=len(body))).digest() == hashlib.sha256(body).digest()


def test_what_lies_in_the_way_of_a_new_download_is_not_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"of another address, or of a process that died before its notes")
    with server(send(headers("Content-Length: 2"), b"ok")) as url:
        assert get(url, tmp_path) == b"ok"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_tls_begins_after_the_look_and_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    plays: list[Play] = [send(headers("Content-Length: 2"), b"ok"), for_ever(CHUNKED, b"1\r\nx\r\n", pause_s=0.05)]
    looked: list[str] = []
    monkeypatch.setattr(
        guarded_http,
        "is_public",
        lambda address: looked.append(address) or True,  # type: ignore[func-returns-value]
    )

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while plays:
                answer(listening.accept()[0])

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as safe:
            safe.recv(65536)
            play = plays[0] if len(plays) == 1 else plays.pop(0)
            play(safe)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/file.bin"
        assert get(url, tmp_path) == b"ok"
        (tmp_path / "file.bin").unlink()
        (tmp_path / "file.bin.pin.json").unlink()
        with pytest.raises(PrerequisiteError, match="too slow"):
            get(url, tmp_path, patience=HASTY)
        away = send(headers(f"Location: {url}", "Content-Length: 0", status="302 Found"))
        plays.insert(0, plays[0])
        with server(away) as start:
            monkeypatch.setattr(Guard, "check_redirect", lambda self, begin, target: None)
            with Guard(start).open({}, timeout_s=5) as response:
                assert response.status_code == 200
    assert looked == ["127.0.0.1"]
