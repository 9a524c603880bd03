"""A local HTTP server that speaks the wire formats of the three providers, with a Python function as its brain.

It serves Anthropic's Messages, Google's generateContent, and OpenAI's Responses and chat completions, each at the
path and in the shape of the real one, and can fail in every way the clients must survive. By hand:

    python tests/llm/wire_server.py --port 8400
    export ANTHROPIC_BASE_URL=http://127.0.0.1:8400 ANTHROPIC_API_KEY=any AIRA_ALLOW_KEY=ANTHROPIC_API_KEY=127.0.0.1

Not covered: streaming, tools, images, and whether a key is right (a brain answers `Fault(401)` for that).
"""

import argparse
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

Wire = Literal["anthropic", "google", "openai", "openai-compatible"]
Finish = Literal["stop", "length", "content_filter"]
Json = dict[str, Any]


@dataclass(frozen=True)
class WireRequest:
    """What arrived, the same whatever the format."""

    wire: Wire
    model: str
    system: str
    messages: tuple[tuple[str, str], ...]
    """(role, text), the role `user` or `assistant`."""
    schema: Json | None
    max_output_tokens: int | None
    headers: Mapping[str, str]
    body: Json
    number: int
    """Calls this server answered before, 0 for the first."""


@dataclass(frozen=True)
class Reply:
    """A normal answer."""

    text: str
    finish: Finish = "stop"
    input_tokens: int = 100
    output_tokens: int = 20
    cached_tokens: int = 40
    reasoning_tokens: int = 5
    reasoning: tuple[str, ...] = ()
    """What the server tells of the model's reasoning, in parts."""
    delay_s: float = 0.0


@dataclass(frozen=True)
class Fault:
    """An error answer in the provider's own words."""

    status: int
    message: str = "scripted fault"
    code: str = "scripted"
    headers: Mapping[str, str] = field(default_factory=dict)
    details: tuple[Json, ...] = ()
    """Google's `error.details`."""


@dataclass(frozen=True)
class Misbehaviour:
    """An answer that is no proper HTTP or JSON."""

    kind: Literal["drop", "reset", "hang", "drip", "half", "raw"]
    """`drop` closes at once, `reset` without a farewell, `half` after half a body; `hang` never answers, `drip` sends
    a byte now and then, `raw` sends `body`."""
    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    drip_every_s: float = 0.1
    drip_for_s: float = 30.0


Brain = Callable[[WireRequest], "Reply | Fault | Misbehaviour | str"]


class WireServer:
    """Runs in a thread of its own. Use as a context manager."""

    def __init__(self, brain: Brain, port: int = 0) -> None:
        self.brain = brain
        self.requests: list[WireRequest] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.tolerates_paths = False
        """Whether OpenAI's formats are served without `/v1` too, as by a server that says itself what it thinks of it."""
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.wire = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL for Anthropic and Google clients."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def base_url(self, wire: Wire) -> str:
        """The base URL that a client of this format expects."""
        return f"{self.url}/v1" if wire.startswith("openai") else self.url

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    wire: WireServer

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hung up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wire = self.server.wire
        with wire.lock:
            path = f"/v1{self.path}" if wire.tolerates_paths and not self.path.startswith("/v1") else self.path
            request = _read(path, body, dict(self.headers.items()), len(wire.requests))
            wire.requests.append(request)
        answer = wire.brain(request)
        if isinstance(answer, str):
            answer = Reply(answer)
        if isinstance(answer, Misbehaviour):
            self._misbehave(answer)
        elif isinstance(answer, Fault):
            self._send(answer.status, _FAULTS[request.wire](answer), answer.headers)
        else:
            wire.stopping.wait(answer.delay_s)
            self._send(200, _REPLIES[request.wire](request, answer), {})

    def _send(self, status: int, body: Json, headers: Mapping[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"request-id": "req_wire", "x-request-id": "req_wire", **headers}.items():
            self.send_header(name, value)
        self._finish_headers("application/json", len(data))
        self.wfile.write(data)

    def _finish_headers(self, content_type: str, length: int) -> None:
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(length))
        self.end_headers()

    def _misbehave(self, how: Misbehaviour) -> None:
        self.close_connection = True
        if how.kind == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if how.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        if how.kind == "hang":
            self.server.wire.stopping.wait()
            return
        self.send_response(how.status)
        if how.kind == "raw":
            self._finish_headers(how.content_type, len(how.body))
            self.wfile.write(how.body)
            return
        self._finish_headers("application/json", 100_000)
        if how.kind == "half":
            self.wfile.write(b'{"half')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        ends = time.monotonic() + how.drip_for_s
        while time.monotonic() < ends and not self.server.wire.stopping.wait(how.drip_every_s):
            self.wfile.write(b" ")
            self.wfile.flush()


def _read(path: str, body: Json, headers: Mapping[str, str], number: int) -> WireRequest:
    google = re.fullmatch(r"/v1beta/models/([^/:]+):generateContent", path.partition("?")[0])
    if google:
        return _read_google(google.group(1), body, headers, number)
    if path == "/v1/messages":
        system = "".join(block["text"] for block in body.get("system", ()))
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        turns = tuple((turn["role"], turn["content"]) for turn in body["messages"])
        limit = body["max_tokens"]
        return WireRequest("anthropic", body["model"], system, turns, schema, limit, headers, body, number)
    if path == "/v1/responses":
        schema = body.get("text", {}).get("format", {}).get("schema")
        turns = tuple((turn["role"], turn["content"]) for turn in body["input"])
        system, limit = body.get("instructions", ""), body.get("max_output_tokens")
        return WireRequest("openai", body["model"], system, turns, schema, limit, headers, body, number)
    if path == "/v1/chat/completions":
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        all_turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
        system = "".join(text for role, text in all_turns if role == "system")
        turns = tuple(turn for turn in all_turns if turn[0] != "system")
        limit = body.get("max_tokens")
        return WireRequest("openai-compatible", body["model"], system, turns, schema, limit, headers, body, number)
    raise ValueError(f"no such path: {path}")


def _read_google(model: str, body: Json, headers: Mapping[str, str], number: int) -> WireRequest:
    def text_of(content: Json) -> str:
        return "".join(part["text"] for part in content["parts"])

    config = body.get("generationConfig", {})
    system = text_of(body["systemInstruction"]) if "systemInstruction" in body else ""
    turns = tuple(
        ("assistant" if content["role"] == "model" else "user", text_of(content)) for content in body["contents"]
    )
    schema = config.get("responseJsonSchema")
    return WireRequest("google", model, system, turns, schema, config.get("maxOutputTokens"), headers, body, number)


def _anthropic_reply(request: WireRequest, reply: Reply) -> Json:
    stop = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[reply.finish]
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": request.model, "stop_reason": stop,
        "stop_sequence": None,
        "content": [
            *({"type": "thinking", "thinking": each, "signature": "c2ln"} for each in reply.reasoning),
            *([{"type": "text", "text": reply.text}] if reply.text else []),
        ],
        "usage": {
            "input_tokens": reply.input_tokens - reply.cached_tokens, "cache_read_input_tokens": reply.cached_tokens,
            "cache_creation_input_tokens": 0, "output_tokens": reply.output_tokens,
            "output_tokens_details": {"thinking_tokens": reply.reasoning_tokens},
        },
    }  # fmt: skip


def _google_reply(request: WireRequest, reply: Reply) -> Json:
    stop = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[reply.finish]
    candidate: Json = {"index": 0, "finishReason": stop}
    if reply.text:
        thoughts = [{"text": each, "thought": True} for each in reply.reasoning]
        candidate["content"] = {"role": "model", "parts": [*thoughts, {"text": reply.text}]}
    return {
        "candidates": [candidate], "modelVersion": request.model, "responseId": "resp_1",
        "usageMetadata": {
            "promptTokenCount": reply.input_tokens, "cachedContentTokenCount": reply.cached_tokens,
            "candidatesTokenCount": reply.output_tokens - reply.reasoning_tokens,
            "thoughtsTokenCount": reply.reasoning_tokens, "totalTokenCount": reply.input_tokens + reply.output_tokens,
        },
    }  # fmt: skip


def _responses_reply(request: WireRequest, reply: Reply) -> Json:
    reason = {"stop": None, "length": "max_output_tokens", "content_filter": "content_filter"}[reply.finish]
    content = [{"type": "output_text", "text": reply.text, "annotations": []}] if reply.text else []
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": request.model,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None, "error": None,
        "output": [
            {"id": "r", "type": "reasoning", "summary": [{"type": "summary_text", "text": each} for each in reply.reasoning]},
            message,
        ],
        "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": reply.input_tokens, "input_tokens_details": {"cached_tokens": reply.cached_tokens},
            "output_tokens": reply.output_tokens, "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }  # fmt: skip


def _chat_reply(request: WireRequest, reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None}
    if reply.reasoning:
        message["reasoning_content"] = "\n\n".join(reply.reasoning)
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request.model,
        "choices": [{"index": 0, "finish_reason": reply.finish, "message": message}],
        "usage": {
            "prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        },
    }  # fmt: skip


def _anthropic_fault(fault: Fault) -> Json:
    return {"type": "error", "error": {"type": fault.code, "message": fault.message}}


def _google_fault(fault: Fault) -> Json:
    details = list(fault.details)
    return {"error": {"code": fault.status, "message": fault.message, "status": fault.code, "details": details}}


def _openai_fault(fault: Fault) -> Json:
    return {"error": {"message": fault.message, "type": "error", "param": None, "code": fault.code}}


_REPLIES: Mapping[Wire, Callable[[WireRequest, Reply], Json]] = {
    "anthropic": _anthropic_reply,
    "google": _google_reply,
    "openai": _responses_reply,
    "openai-compatible": _chat_reply,
}
_FAULTS: Mapping[Wire, Callable[[Fault], Json]] = {
    "anthropic": _anthropic_fault,
    "google": _google_fault,
    "openai": _openai_fault,
    "openai-compatible": _openai_fault,
}


def _echo(request: WireRequest) -> str:
    return f"{request.model} heard: {request.messages[-1][1]}"


def main() -> None:
    """Serve an echoing brain until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8400)
    with WireServer(_echo, parser.parse_args().port) as server:
        print(f"listening on {server.url}; OpenAI clients: {server.base_url('openai')}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
