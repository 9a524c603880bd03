"""A Docker daemon that is none: it speaks the Engine API over HTTP, and answers and fails as a test tells it to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, object]
"""Status, and what becomes the JSON of the body; bytes stay as they are."""


class PlayedEngine:
    """Containers and volumes by name, with their labels; `fails` says which requests go wrong, and how."""

    def __init__(self) -> None:
        """Begin to listen on a port of this machine."""
        self.containers: dict[str, dict[str, str]] = {}
        self.volumes: dict[str, dict[str, str]] = {}
        self.fails: Callable[[str, int], Answer | None] = lambda request, times: None
        """Called with `METHOD /path` and how often it was asked; None lets the request succeed."""
        self.info: dict[str, Any] = {
            "ServerVersion": "28.3.0", "CgroupVersion": "2", "DockerRootDir": "/var/lib/docker", "NCPU": 2,
            "MemTotal": 2**33, "Runtimes": {"runc": {}},
        }  # fmt: skip
        """What it says of itself."""
        self.bodies: list[dict[str, Any]] = []
        """Of the containers it was asked to create."""
        self.images: dict[str, str] = {}
        """Of containers that it runs for others, by their ids."""
        self.ends: Callable[[dict[str, Any]], tuple[int, bytes, bytes]] = lambda body: (0, b"", b"")
        """What a container comes to that was created so: exit status, stdout, stderr."""
        self._ended: dict[str, tuple[int, bytes, bytes]] = {}
        self.slow_s = 0.0
        """How long a removal takes."""
        self.removals = self.most_removals = 0
        """How many removals are under way, and were at most."""
        self.requests: list[str] = []
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                if urlsplit(self.path).path.endswith("/attach"):
                    self.send_response(101)
                    self.send_header("Content-Type", "application/vnd.docker.raw-stream")
                    self.end_headers()
                    self.close_connection = True
                    return
                status, answer = engine.answer(self.command, self.path, body)
                data = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _handle

            def log_message(self, *arguments: Any) -> None:  # noqa: ANN401 - the base class has it so
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        """What `DOCKER_HOST` is set to."""
        return f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """What the daemon says to one request."""
        parts = urlsplit(unquote(path))
        place = parts.path.split("/", 2)[2] if parts.path.startswith("/v1.") else parts.path[1:]
        request = f"{method} /{place}"
        with self._lock:
            self.removals += method == "DELETE"
            self.most_removals = max(self.most_removals, self.removals)
        time.sleep(self.slow_s if method == "DELETE" else 0.0)
        with self._lock:
            self.removals -= method == "DELETE"
            self.requests.append(request)
            self._asked[request] += 1
            failure = self.fails(request, self._asked[request])
            if failure is not None:
                return failure
            return self._do(method, place.split("/"), parse_qs(parts.query), body)

    def _do(self, method: str, place: list[str], query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
        if place == ["version"]:
            return 200, {"ApiVersion": "1.44", "Version": "0"}
        if place == ["info"]:
            return 200, self.info
        if method == "POST" and place == ["volumes", "create"]:
            self.volumes[body["Name"]] = body.get("Labels") or {}
            return 201, {"Name": body["Name"]}
        wanted = json.loads(query["filters"][0]).get("label", []) if "filters" in query else []
        if place == ["containers", "json"]:
            return 200, [
                {"Id": name, "State": "running", "Labels": labels}
                for name, labels in self.containers.items()
                if _has(labels, wanted)
            ]
        if place == ["volumes"]:
            found = [{"Name": name, "Labels": labels} for name, labels in self.volumes.items() if _has(labels, wanted)]
            return 200, {"Volumes": found}
        if place == ["containers", "create"]:
            name = query["name"][0]
            self.bodies.append(body)
            self.containers[name] = body.get("Labels") or {}
            return 201, {"Id": name, "Warnings": []}
        if place[0] == "containers" and len(place) == 3:
            return self._of_container(place[1], place[2], query)
        if method == "DELETE" and place[0] in ("containers", "volumes"):
            known = self.containers if place[0] == "containers" else self.volumes
            return (204, None) if known.pop(place[1], None) is not None else (404, {"message": "no such thing"})
        return 404, {"message": f"no such thing: {'/'.join(place)}"}

    def _of_container(self, name: str, what: str, query: dict[str, list[str]]) -> Answer:
        if what == "json" and name in {**self.images, **self.containers}:
            return 200, {"Id": name, "Image": self.images.get(name, "sha256:0"), "Config": {"Tty": False}}
        if what == "start" and name in self.containers:
            self._ended[name] = self.ends(self.bodies[-1])
            return 204, None
        if what == "wait" and name in self._ended:
            return 200, {"StatusCode": self._ended[name][0]}
        if what == "logs" and name in self._ended:
            stream = 1 if query["stdout"] == ["1"] else 2
            text = self._ended[name][stream]
            return 200, bytes([stream, 0, 0, 0, *len(text).to_bytes(4, "big")]) + text
        return 404, {"message": f"no such thing: {name} {what}"}


def _has(labels: dict[str, str], wanted: list[str]) -> bool:
    return all(
        labels.get(name) == value if equals else name in labels
        for name, equals, value in (label.partition("=") for label in wanted)
    )
