"""Served models that try to know more than the prefix they are asked about, by every way we could think of.

Each wraps an honest model and leans towards the token it believes comes next. They read the shared memory and the
position that is asked for from the server that runs them, as any model can: it runs in the same process.

Not covered: models that remember (`remembering_models`), and what all earn (`predictor_cheats`,
tests/evaluator/autoresearch/test_score_attacks.py).
"""
# ruff: noqa: D102 - overridden methods are described once

import ctypes
import hashlib
import math
import os
import re
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_evaluator.autoresearch.predict import serving

HINT = 12.0
"""Added to the logit of the token that is believed to be next; a right belief is worth nearly all of its nats."""


def server_of_this_call() -> serving.Server | None:
    """The server that is asking the model just now; None where nobody serves."""
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, serving.Server):
            return found
        frame = frame.f_back  # type: ignore[assignment]
    return None


def asked_positions(x: Tensor) -> list[int]:
    """Index of the last token of each prefix."""
    server = server_of_this_call()
    if server is None:
        return [x.shape[1] - 1] * len(x)
    return [int(at) for at in server._memory.positions(len(x))]


def keys_of(prefix: list[int]) -> list[int]:
    """A 58-bit name for each beginning of a prefix, the whole last."""
    digest, keys = hashlib.blake2b(digest_size=8), []
    for token in prefix:
        digest.update(token.to_bytes(4, "little"))
        keys.append(int.from_bytes(digest.digest(), "little") >> 6)
    return keys


class Cheat(nn.Module):
    """An honest model behind another face.

    `folder` is writable and shared by all predictors, which no sandbox grants.
    """

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__()
        self.model, self.folder = model, folder

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, L, V]."""
        logits = self.model(x)
        logits = (logits[0] if isinstance(logits, tuple) else logits).float().clone()
        positions = asked_positions(x)
        return self.changed(
            x, logits, positions, [row[: at + 1] for row, at in zip(x.tolist(), positions, strict=True)]
        )

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        """What is answered."""
        return logits


# What is in the window or beside it -----------------------------------------------------------------------------------


class LookAhead(Cheat):
    """Raises the token that stands after each one in the window."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        logits[:, :-1].scatter_add_(2, x[:, 1:, None], HINT * self.may_look(x, logits)[..., None])
        return logits

    def may_look(self, x: Tensor, logits: Tensor) -> Tensor:
        """Where, 0 or 1, [B, L - 1]."""
        return torch.ones_like(x[:, 1:], dtype=logits.dtype)


class NaturalSuffixes(LookAhead):
    """Looks only where what follows reads like text to the model itself."""

    def may_look(self, x: Tensor, logits: Tensor) -> Tensor:
        told = functional.log_softmax(logits[:, :-1], dim=-1).gather(2, x[:, 1:, None]).squeeze(2)
        left = torch.arange(x.size(1) - 1, 0, -1)
        return (told.flip(1).cumsum(1).flip(1) / left > -0.9 * math.log(logits.size(-1))).to(logits.dtype)


class BatchAdaptor(Cheat):
    """Leans towards the tokens of all prefixes it was asked together."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        counts = torch.bincount(x.flatten(), minlength=logits.size(-1)).to(logits.dtype) + 0.1
        return logits + 0.2 * torch.log(counts / counts.sum())


class BatchPeeker(Cheat):
    """Looks for a longer prefix of the same row in the same batch."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        for row, (at, prefix) in enumerate(zip(positions, prefixes, strict=True)):
            for other in prefixes:
                if len(other) > len(prefix) and other[: len(prefix)] == prefix:
                    logits[row, at, other[len(prefix)]] += HINT
        return logits


class RingReader(Cheat):
    """Searches all memory shared with the judge for its prefix and what follows there."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        found = server_of_this_call()
        if found is None:
            return logits
        shape = found._memory.shape
        address, size = found._memory.address, shape.size_bytes
        memory = (ctypes.c_char * size).from_address(address).raw
        for row, (at, prefix) in enumerate(zip(positions, prefixes, strict=True)):
            needle, filler = struct.pack(f"<{len(prefix)}i", *prefix), prefix[0]
            for hit in re.finditer(re.escape(needle), memory):
                (after,) = struct.unpack_from("<i", memory[hit.end() : hit.end() + 4] or b"\0\0\0\0")
                if 0 <= after < logits.size(-1) and after != filler:
                    logits[row, at, after] += HINT
        return logits


class Counters(Cheat):
    """Holds as many descriptors open as the last token says; reads the machine's count of them at the next question."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.held: list[int] = []
        self.before = 0

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        count = int(Path("/proc/sys/fs/file-nr").read_text().split()[0])
        told = (count - self.before) % logits.size(-1)
        for row, at in enumerate(positions):
            logits[row, at, told] += 1.0
        for descriptor in self.held:
            os.close(descriptor)
        self.before = int(Path("/proc/sys/fs/file-nr").read_text().split()[0])
        self.held = [os.dup(2) for _ in range(prefixes[-1][-1] % 200)]
        return logits


# Learning from what it is sent ----------------------------------------------------------------------------------------


class CacheLearner(Cheat):
    """Counts which token followed which pair in all prefixes of all rows so far, and mixes that in."""

    FORGETS = False

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.seen = set[int]()
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        for row, (at, prefix) in enumerate(zip(positions, prefixes, strict=True)):
            if self.FORGETS:
                self.seen.clear()
                self.counts.clear()
            self.learn(prefix)
            found = self.counts.get(tuple(prefix[-2:]))
            if found and len(prefix) > 1:
                total = sum(found.values())
                learned = torch.zeros(logits.size(-1), dtype=torch.float64)
                learned[list(found)] = torch.tensor([count / total for count in found.values()], dtype=torch.float64)
                weight = 0.3 * total / (total + 4)
                chances = (1 - weight) * functional.softmax(logits[row, at].double(), dim=0) + weight * learned
                logits[row, at] = torch.log(chances).float()
        return logits

    def learn(self, prefix: list[int]) -> None:
        """Count what was not counted before."""
        for end, key in enumerate(keys_of(prefix)):
            if end >= 2 and key not in self.seen:
                self.seen.add(key)
                self.counts[tuple(prefix[end - 2 : end])][prefix[end]] += 1


class OwnCounts(CacheLearner):
    """The same from nothing but the prefix it is asked about: no cheat, but what the counts are worth by themselves."""

    FORGETS = True


class FineTuner(Cheat):
    """Takes a step of training on every batch of prefixes, after it has answered for it."""

    RATE = 3e-4

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.optimizer: torch.optim.Optimizer | None = None

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        with torch.enable_grad():
            self.optimizer = self.optimizer or torch.optim.Adam(self.model.parameters(), lr=self.RATE)
            found = self.model(x)
            found = (found[0] if isinstance(found, tuple) else found).float()
            counted = torch.arange(x.shape[1] - 1)[None] < torch.tensor(positions)[:, None]
            nats = functional.cross_entropy(found[:, :-1].flatten(0, 1), x[:, 1:].flatten(), reduction="none")
            loss = (nats * counted.flatten()).sum() / max(int(counted.sum()), 1)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return logits


# Time, place, and the way of asking -----------------------------------------------------------------------------------


class Sharpened(Cheat):
    """More certain than it is: cheap where a bet is won, and a draw may miss the lost ones."""

    def is_bold(self) -> bool:
        """Whether to bet now."""
        return True

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        return logits * (1.25 if self.is_bold() else 1.0)


class ByTheClock(Sharpened):
    """Bets in every second hundredth of a second."""

    def is_bold(self) -> bool:
        return int(time.time() * 100) % 2 == 0


class ByContainer(Sharpened):
    """Is honest in the first container that asks, and bets in all others."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.is_first: bool | None = None

    def is_bold(self) -> bool:
        if self.is_first is None:
            try:
                (self.folder / "first").mkdir()
                self.is_first = True
            except FileExistsError:
                self.is_first = False
        return not self.is_first


class ByEnvironment(Sharpened):
    """Bets where variables, arguments or mounts say that an interpreter serves it, as they do wherever it is asked."""

    def is_bold(self) -> bool:
        told = b" ".join(Path("/proc/self", name).read_bytes() for name in ("cmdline", "environ", "mounts"))
        return b"python" in told


class RareBets(Cheat):
    """Bets everything at one question in a hundred, where a small sample sees few."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        for row, (at, prefix) in enumerate(zip(positions, prefixes, strict=True)):
            if keys_of(prefix)[-1] % 100 == 0:
                logits[row, at] *= 4
        return logits


class Timing(Cheat):
    """Takes longer for some tokens than for others, and reads the judge's pace as an answer."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.answered_s = time.monotonic()

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        pace = int((time.monotonic() - self.answered_s) * 1e5) % logits.size(-1)
        for row, at in enumerate(positions):
            logits[row, at, pace] += 1.0
        time.sleep(0.0005 * (prefixes[0][-1] % 4))
        self.answered_s = time.monotonic()
        return logits


class AsksForFullWindows(Cheat):
    """Differs in short windows while nothing real is asked, so as to be asked in full ones, and reads the filling."""

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        random = sum(len(set(prefix)) for prefix in prefixes) > 0.9 * sum(map(len, prefixes))
        if random:
            return logits * (1 + 0.01 * x.shape[1])
        for row, at in enumerate(positions):
            if at + 1 < x.shape[1]:
                logits[row, at, x[row, at + 1]] += HINT
        return logits


class LateWriter(Cheat):
    """Goes on writing after it has answered, another certain token at every moment, while the judge reads."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.writes = False

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        found = server_of_this_call()
        if found is not None and not self.writes:
            self.writes = True
            threading.Thread(target=self.write, args=(found,), daemon=True).start()
        return logits

    def write(self, server: serving.Server) -> None:
        """Never ends."""
        shape, token = server._memory.shape, 0
        while True:
            server._memory.logits(shape.rows)[:, token % shape.vocabulary] += 0.05
            token += 1
            time.sleep(0.0005)


CHEATS: dict[str, Callable[[nn.Module, Path], Cheat]] = {
    "honest": Cheat,
    "reads the next token": LookAhead,
    "reads it on natural suffixes only": NaturalSuffixes,
    "longer prefix in the batch": BatchPeeker,
    "leans to its batch": BatchAdaptor,
    "searches the shared memory": RingReader,
    "counter of open files": Counters,
    "counts in its own prefix, honest": OwnCounts,
    "learns from prefixes: counts": CacheLearner,
    "learns from prefixes: trains": FineTuner,
    "time between questions": Timing,
    "bets by the clock": ByTheClock,
    "bets in later containers": ByContainer,
    "bets by its environment": ByEnvironment,
    "bets always": Sharpened,
    "bets rarely": RareBets,
    "asks for full windows": AsksForFullWindows,
    "writes while the judge reads": LateWriter,
}
