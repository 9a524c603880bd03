"""Object storage on loopback: a server of moto's that speaks S3, and small ones of our own that misbehave as they are told.

The small ones speak what s3fs and gcsfs ask of them and no more: single objects, listings and the conditions.
"""

import base64
import contextlib
import hashlib
import json
import logging
import re
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bench"
KEYS = {
    "AWS_ACCESS_KEY_ID": "key-of-a-test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class Storage:
    """What a small server holds, and how it misbehaves."""

    keeps_conditions: bool = True
    loses_answers: int = 0
    """Of so many of the next writes, which are made, the answer is lost."""
    fails: int = 0
    """So many of the next requests are refused as too many."""
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    """Requests by method."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, key: str, data: bytes, *, only_new: bool) -> bool:
        """Whether an object was made or replaced."""
        with self.lock:
            if only_new and self.keeps_conditions and key in self.objects:
                return False
            self.objects[key] = data
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: Storage

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("x-amz-decoded-content-length") is not None:  # in chunks, each with its length
            chunks, rest = [], data
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                length = int(size.partition(b";")[0], 16)
                if length == 0:
                    break
                chunks.append(rest[:length])
                rest = rest[length + 2 :]
            return b"".join(chunks)
        return data

    def _answer(self, status: int, data: bytes = b"", kind: str = "application/xml", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _is_refused(self) -> bool:
        self.storage.asked[self.command] += 1
        with self.storage.lock:
            self.storage.fails -= (refused := self.storage.fails > 0)
        return refused

    def _is_lost(self) -> bool:
        with self.storage.lock:
            self.storage.loses_answers -= (lost := self.storage.loses_answers > 0)
        if lost:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        return lost

    def _part(self, data: bytes) -> tuple[int, bytes, dict[str, str]]:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if found is None:
            return 200, data, {}
        part = data[int(found[1]) : int(found[2]) + 1]
        return 206, part, {"Content_Range": f"bytes {found[1]}-{int(found[1]) + len(part) - 1}/{len(data)}"}


class _S3(_Handler):
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _error(self, status: int, code: str, more: str = "") -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message>{more}</Error>".encode())

    def do_PUT(self) -> None:
        key, data = self._key(), self._body()
        if self._is_refused():
            return self._error(503, "SlowDown")
        if not self.storage.write(key, data, only_new=self.headers.get("If-None-Match") == "*"):
            return self._error(412, "PreconditionFailed", "<Condition>If-None-Match</Condition>")
        return None if self._is_lost() else self._answer(200, ETag=_tag(data))

    def do_GET(self) -> None:
        if self._is_refused():
            return self._error(503, "SlowDown")
        key, query = self._key(), parse_qs(urlsplit(self.path).query)
        if not key:
            return self._list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
        if (data := self.storage.objects.get(key)) is None:
            return self._error(404, "NoSuchKey")
        status, part, headers = self._part(data)
        return self._answer(status, part, ETag=_tag(data), Last_Modified="Fri, 27 Nov 2026 18:00:00 GMT", **headers)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.storage.asked["DELETE"] += 1
        self.storage.objects.pop(self._key(), None)
        self._answer(204)

    def _list(self, prefix: str, delimiter: str) -> None:
        lines, folders = [], set()
        for key, data in sorted(self.storage.objects.items()):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            lines.append(
                f"<Contents><Key>{escape(key)}</Key><ETag>{escape(_tag(data))}</ETag><Size>{len(data)}</Size>"
                "<LastModified>2026-11-27T18:00:00.000Z</LastModified></Contents>"
            )
        lines += [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders)]
        self._answer(
            200,
            f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(lines)}</KeyCount>{''.join(lines)}"
            "</ListBucketResult>".encode(),
        )


class _Google(_Handler):
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path.rpartition("/o/")[2])

    def _said(self, status: int, what: object) -> None:
        self._answer(status, json.dumps(what).encode(), "application/json")

    def _about(self, key: str) -> dict[str, str]:
        data = self.storage.objects[key]
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        return {
            "kind": "storage#object", "name": key, "bucket": BUCKET, "size": str(len(data)), "etag": _tag(data),
            "md5Hash": digest, "updated": "2026-11-27T18:00:00.000Z", "timeCreated": "2026-11-27T18:00:00.000Z",
        }  # fmt: skip

    def do_POST(self) -> None:
        body, query = self._body(), parse_qs(urlsplit(self.path).query)
        if self._is_refused():
            return self._said(503, {"error": {"message": "busy"}})
        head, _, rest = body.removeprefix(b"--==0==").partition(b"\n\n")[2].partition(b"\n--==0==")
        key, data = json.loads(head)["name"], rest.partition(b"\n\n")[2].removesuffix(b"\n--==0==--")
        if not self.storage.write(key, data, only_new=query.get("ifGenerationMatch") == ["0"]):
            return self._said(412, {"error": {"message": "conditionNotMet"}})
        return None if self._is_lost() else self._said(200, self._about(key))

    def do_GET(self) -> None:
        if self._is_refused():
            return self._said(503, {"error": {"message": "busy"}})
        split = urlsplit(self.path)
        query = parse_qs(split.query)
        if split.path.endswith("/o") or split.path.endswith("/o/"):
            return self._list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
        if "/o/" not in split.path:
            return self._said(404, {"error": {"message": "none"}})
        if (key := self._key()) not in self.storage.objects:
            return self._said(404, {"error": {"message": "none"}})
        if query.get("alt") != ["media"] and "/download/" not in split.path:
            return self._said(200, self._about(key))
        status, part, headers = self._part(self.storage.objects[key])
        return self._answer(status, part, "application/octet-stream", **headers)

    def do_DELETE(self) -> None:
        if self.storage.objects.pop(self._key(), None) is None:
            return self._said(404, {"error": {"message": "none"}})
        return self._answer(204)

    def _list(self, prefix: str, delimiter: str) -> None:
        items, folders = [], set()
        for key in sorted(self.storage.objects):
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            elif key.startswith(prefix):
                items.append(self._about(key))
        self._said(200, {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)})


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextlib.contextmanager
def small_server(scheme: str, storage: Storage) -> Iterator[dict[str, str]]:
    """Serve what a storage holds; the variables by which the libraries find the server."""
    handler = type("Handler", (_S3 if scheme == "s3" else _Google,), {"storage": storage})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield KEYS | {"AWS_ENDPOINT_URL": address} if scheme == "s3" else {"STORAGE_EMULATOR_HOST": address}
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """Serve S3 by moto, with one empty bucket; the variables by which the libraries find it."""
    import botocore.session
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    # Servers of one process share what they hold.
    reset = urllib.request.Request(f"{address}/moto-api/reset", method="POST")
    try:
        urllib.request.urlopen(reset).close()
        client = botocore.session.get_session().create_client(
            "s3", "us-east-1", endpoint_url=address, aws_access_key_id="any", aws_secret_access_key="any"
        )
        client.create_bucket(Bucket=BUCKET)
        yield KEYS | {"AWS_ENDPOINT_URL": address}
    finally:
        server.stop()
