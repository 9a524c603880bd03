"""Requests and answers between the host and a command that stays: one at a time, framed, and bounded both ways.

Messages are framed as `aira_contract.framing` says. The command greets with one message when it is ready; after that it
may speak only when asked, and exactly once. Anything else (a longer message than admitted, a second one, a word out of
turn, silence beyond the deadline, an end) breaks the conversation for good: the container is killed and every later
request fails. So nothing of one request can be taken for the answer to another.

Not covered: what the messages say. Standard error is captured like a step's.
"""

import threading
from collections.abc import Callable

from aira_bench.errors import SandboxError
from aira_bench.sandbox.core_share import CoreAllowance, CoreShare
from aira_bench.sandbox.sandbox import ConversationTimeout
from aira_contract.framing import LENGTH, framed

LONGEST_LOOK_S = 1.0
"""Between looks at what is left: others may take the cores meanwhile, and put the deadline off."""


class Answers:
    """Takes a command's output, from the draining thread, and hands out one message per `expect`."""

    def __init__(self, most_bytes: int) -> None:
        """Admit payloads of up to `most_bytes`."""
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._pending = b""
        self._expecting = False
        self._broken = ""

    def expect(self) -> None:
        """Open the door for one message.

        Raises:
            SandboxError: the conversation broke before.
        """
        with self._changed:
            self._raise_if_broken()
            self._expecting = True

    def write(self, data: bytes) -> None:
        """Take the output's next bytes; never more is kept than one admissible message."""
        with self._changed:
            if self._broken or not data:
                return
            if not self._expecting:
                self._break("it spoke without being asked")
                return
            self._pending += data
            if len(self._pending) < LENGTH.size:
                return
            announced = LENGTH.unpack_from(self._pending)[0]
            if announced > self._most_bytes:
                self._break(f"it announced {announced} bytes, at most {self._most_bytes} are admitted")
            elif len(self._pending) > LENGTH.size + announced:
                self._break("it said more than one message")
            else:
                self._changed.notify_all()

    def end(self) -> None:
        """The output is at its end."""
        with self._changed:
            if not self._broken:
                self._break("it ended")

    def wait(self, left_s: Callable[[], float]) -> bytes:
        """Return the expected message, while `left_s` says that there are seconds left for it.

        Raises:
            SandboxError: the conversation is broken.
            TimeoutError: it is not complete in time; the conversation is broken from now on.
        """
        with self._changed:
            while not self._is_complete():
                self._raise_if_broken()
                left = left_s()
                if left <= 0:
                    self._break("it did not answer in time")
                    raise TimeoutError
                self._changed.wait(min(left, LONGEST_LOOK_S))
            self._raise_if_broken()
            message, self._pending, self._expecting = self._pending[LENGTH.size :], b"", False
            return message

    @property
    def taken(self) -> bool:
        """Whether the last expected message was handed out, and nothing is expected now."""
        with self._changed:
            return not self._expecting and not self._broken

    def _is_complete(self) -> bool:
        if self._broken or len(self._pending) < LENGTH.size:
            return False
        return len(self._pending) == LENGTH.size + int(LENGTH.unpack_from(self._pending)[0])

    def _break(self, why: str) -> None:
        self._broken, self._pending = why, b""
        self._changed.notify_all()

    def _raise_if_broken(self) -> None:
        if self._broken:
            raise SandboxError(f"A conversation with a container broke: {self._broken}.")


class DockerConversation:
    """The host's end of one conversation. `kill` ends the container; it is called at the first failure.

    `require_untouched` raises where somebody else killed or paused the container: then it broke by that.
    """

    def __init__(
        self,
        send: Callable[[bytes, float], None],
        answers: Answers,
        most_bytes: int,
        kill: Callable[[], None],
        last_words: Callable[[], str],
        require_untouched: Callable[[], None] = lambda: None,
        share: CoreShare | None = None,
    ) -> None:
        self._send, self._answers, self._most_bytes = send, answers, most_bytes
        self._kill, self._last_words, self._require_untouched = kill, last_words, require_untouched
        self._share = CoreShare(None) if share is None else share

    @property
    def lost_s(self) -> float:
        """By how much others delayed it on its cores so far."""
        return self._share.lost_s

    def greeting(self, allowance: CoreAllowance) -> bytes:
        """Return the message the command begins with. The door for it was opened before the command ran.

        Raises:
            ConversationTimeout: none came in time.
            Starved: none came, but others kept its cores.
            SandboxError: the conversation broke.
        """
        return self._await(allowance, lambda: None)

    def ask(self, request: bytes, *, timeout_s: float) -> bytes:
        """Send one request and wait for its answer; the container is killed if that fails in any way.

        Raises:
            ConversationTimeout: no answer in time.
            Starved: none in time, but others kept its cores.
            SandboxError: the conversation broke, now or before.
            ValueError: the request is longer than messages may be.
        """
        if len(request) > self._most_bytes:
            raise ValueError(f"a request of {len(request)} bytes, at most {self._most_bytes} are admitted")
        allowance = CoreAllowance(timeout_s, self._share)

        def send() -> None:
            self._answers.expect()
            self._send(framed(request), max(allowance.left_s(), 0.001))

        return self._await(allowance, send)

    def _await(self, allowance: CoreAllowance, send: Callable[[], None]) -> bytes:
        try:
            send()
            return self._answers.wait(allowance.left_s)
        except TimeoutError as error:
            self._require_untouched()
            allowance.require_had()
            raise ConversationTimeout("A container did not answer in time and was killed.") from error
        except OSError as error:
            raise SandboxError(f"A container was lost in a conversation ({error}).") from error
        except SandboxError as error:
            self._require_untouched()
            raise SandboxError(f"{error.message} {self._last_words()}".rstrip()) from error
        finally:
            # Also when interrupted: an answer that still comes must never meet another request.
            if not self._answers.taken:
                self._answers.end()
                self._kill()
