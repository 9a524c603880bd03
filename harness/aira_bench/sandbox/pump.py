"""Drains an attached step container in a thread, from before its start until its end.

The container's first two lines are its bootstrap's: `ready` when it waits for its files, `begin` just before it
becomes the command. They are written before untrusted code exists and are not part of the captured output.

Not covered: deadlines, which belong to whoever waits for `ended`.
"""

import threading

from aira_bench.docker_engine import Attachment
from aira_bench.output import CapturedOutput
from aira_bench.sandbox.conversation import Answers
from aira_bench.sandbox.streams import STDOUT, FrameDecoder, OutputRecorder

READY = b"ready\n"
BEGIN = b"begin\n"


class OutputPump:
    """Reads for ever, so that a container never blocks on its output and the host never holds much of it.

    Beyond `most_bytes` what comes is thrown away uncounted: the container is to be killed then (`is_flooded`).
    """

    def __init__(self, attachment: Attachment, most_bytes: int) -> None:
        """Start a thread that drains the container's output."""
        self.ready = threading.Event()
        """The container waits for its files, or is gone: see `is_waiting`."""
        self.ended = threading.Event()
        """The output is at its end: nothing in the container holds it open any more."""
        self._attachment = attachment
        self._most_bytes, self._drained_bytes = most_bytes, 0
        self._preamble = b""
        self._stdout = OutputRecorder()
        self._stderr = OutputRecorder()
        self._answers: Answers | None = None
        self._thread = threading.Thread(target=self._drain, name="container-output", daemon=True)
        self._thread.start()

    @property
    def is_waiting(self) -> bool:
        """Whether the bootstrap came up and has not lost its output since."""
        return self._preamble.startswith(READY) and not self.ended.is_set()

    @property
    def has_begun(self) -> bool:
        """Whether all files arrived and the command was begun."""
        return self._preamble == READY + BEGIN

    @property
    def is_flooded(self) -> bool:
        """Whether more came than is taken."""
        return self._drained_bytes > self._most_bytes

    def divert(self, answers: Answers) -> None:
        """Give standard output to a conversation instead of recording it. To be called before the hand-over."""
        self._answers = answers
        if self.ended.is_set():  # the container died while it waited: nobody is left to tell the conversation
            answers.end()

    def captured(self) -> tuple[CapturedOutput, CapturedOutput]:
        """Standard output and standard error, once `ended`."""
        return self._stdout.captured(), self._stderr.captured()

    def close(self, timeout_s: float) -> bool:
        """Wait for the end of the output, then let go of it; False if something still held it open."""
        complete = self.ended.wait(timeout_s)
        self._attachment.close()
        self._thread.join(timeout_s)
        return complete

    def _drain(self) -> None:
        decoder = FrameDecoder()
        try:
            while data := self._attachment.receive():
                self._drained_bytes += len(data)
                if self.is_flooded and self._answers is None:
                    continue
                for stream, piece in decoder.feed(data):
                    self._take(stream, piece)
        finally:
            self.ended.set()
            self.ready.set()
            if self._answers is not None:
                self._answers.end()

    def _take(self, stream: int, piece: bytes) -> None:
        if stream != STDOUT:
            self._stderr.write(piece)
            return
        missing = len(READY) + len(BEGIN) - len(self._preamble)
        self._preamble += piece[:missing]
        if len(self._preamble) >= len(READY):
            self.ready.set()
        (self._answers or self._stdout).write(piece[missing:])
