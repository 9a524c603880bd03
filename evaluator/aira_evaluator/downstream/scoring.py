"""Scores texts by a full-size model: how likely continuations are, and what it writes greedily.

Texts of a batch are padded on the right. Every layer reads earlier positions alone, so what is behind a text changes
nothing in it, whatever attention, convolution and scan make of the padding; there is no mask. A text longer than the
length loses its beginning. Logits are made for the positions asked about alone, a piece at a time.

Shape suffixes: B batch, L length, T positions of all texts together, D width, V vocabulary. Not covered: text and its
tokens (`lm_eval_model`), drawing at random.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aira_kernels.large import LargeLanguageModel

Ids = Sequence[int]
PIECE_POSITIONS = 2048


@dataclass(frozen=True)
class ContinuationScore:
    """How a model takes a continuation."""

    log_likelihood: float
    """In nats, summed over its tokens."""
    greedy: bool
    """Whether each token was the likeliest."""


class TextScorer:
    """Scores of one model.

    Args:
        model: with weights in float32, on the device.
        length: positions that a text may have.
        batch_tokens: positions of a batch, padding among them; one text is always taken.
        dtype: of products.
    """

    def __init__(
        self, model: LargeLanguageModel, *, length: int, batch_tokens: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.model, self.length, self.batch_tokens, self.dtype = model.eval(), length, batch_tokens, dtype
        self.device = model.embed.weight.device

    def log_likelihoods(self, pairs: Sequence[tuple[Ids, Ids]]) -> list[ContinuationScore]:
        """Return the scores of continuations behind their contexts, in order.

        Continuations that differ in their last token alone, as answers of one letter do, are computed once.

        Raises:
            ValueError: a context or continuation is empty, or a continuation is longer than the length.
        """
        # By what the model reads: all but the last token.
        asked: defaultdict[tuple[int, ...], list[tuple[int, Ids]]] = defaultdict(list)
        for number, (context, continuation) in enumerate(pairs):
            if not context or not 0 < len(continuation) <= self.length:
                raise ValueError(
                    f"{len(continuation)} tokens behind {len(context)}: expected one, and 1 to {self.length}"
                )
            asked[tuple([*context, *continuation][-(self.length + 1) : -1])].append((number, continuation))
        scores: list[ContinuationScore | None] = [None] * len(pairs)
        with self._computing():
            for batch in self._batches(list(asked)):
                hidden_BLD = self.model.hidden(self._padded(batch))
                for text, hidden_LD in zip(batch, hidden_BLD, strict=True):
                    for number, continuation in asked[text]:
                        scores[number] = self._score(hidden_LD[len(text) - len(continuation) : len(text)], continuation)
        return [score for score in scores if score is not None]

    def generate(
        self, prompts: Sequence[Ids], most: int, ended: Callable[[Ids], bool], last: int | None = None
    ) -> list[list[int]]:
        """Return what the model writes behind prompts, always the likeliest token, in order.

        Prompts of a batch need not be of one length: tokens are taken in one by one behind the shortest, and a text
        that still has some of its own takes those.

        Args:
            prompts: longer ones lose their beginning, so that `most` tokens have room.
            most: tokens to write.
            ended: told what was written, says whether that is enough.
            last: an id behind which nothing is written; it is left out.

        Raises:
            ValueError: a prompt is empty, or `most` leaves no room for one.
        """
        if not 0 < most < self.length or not all(prompts):
            raise ValueError(f"{most} tokens behind a prompt, of {self.length} in all: expected both to have some")
        cut = [tuple(prompt[-(self.length - most) :]) for prompt in prompts]
        written: dict[tuple[int, ...], list[int]] = {}
        with self._computing():
            for batch in self._batches(list(dict.fromkeys(cut)), more=most):
                written |= zip(batch, self._write_behind(batch, most, ended, last), strict=True)
        return [written[prompt] for prompt in cut]

    def _write_behind(
        self, prompts: Sequence[Ids], most: int, ended: Callable[[Ids], bool], last: int | None
    ) -> list[list[int]]:
        at = min(map(len, prompts))
        state = self.model.empty_state(len(prompts), max(map(len, prompts)) + most)
        written: list[list[int]] = [[] for _ in prompts]
        open_ = set(range(len(prompts)))
        taken = self._ids([prompt[:at] for prompt in prompts])
        while True:
            likeliest = self._head(self.model.extend_hidden(taken, state)[:, -1]).argmax(-1).tolist()
            following = []
            for row, prompt in enumerate(prompts):
                token = prompt[at] if at < len(prompt) else likeliest[row]
                following.append(token)
                if at < len(prompt) or row not in open_:
                    continue
                if token != last:
                    written[row].append(token)
                if token == last or len(written[row]) == most or ended(written[row]):
                    open_.remove(row)
            if not open_:
                return written
            taken, at = self._ids([[token] for token in following]), at + 1

    def _score(self, hidden_TD: Tensor, continuation: Ids) -> ContinuationScore:
        total, greedy = 0.0, True
        targets_T = self._ids(continuation)
        for start in range(0, len(continuation), PIECE_POSITIONS):
            piece = slice(start, start + PIECE_POSITIONS)
            expected_T, logits_TV = targets_T[piece], self._head(hidden_TD[piece])
            total -= float(functional.cross_entropy(logits_TV, expected_T, reduction="sum"))
            greedy = greedy and bool((logits_TV.argmax(-1) == expected_T).all())
        return ContinuationScore(total, greedy)

    def _head(self, hidden_TD: Tensor) -> Tensor:
        return functional.linear(hidden_TD, self.model.embed.weight).float()

    def _batches(self, texts: Sequence[tuple[int, ...]], more: int = 0) -> Iterator[list[tuple[int, ...]]]:
        """Texts of like lengths together, the longest first: what has no room has none at once."""
        waiting: list[tuple[int, ...]] = []
        for text in sorted(texts, key=lambda text: (-len(text), text)):
            if waiting and (len(waiting[0]) + more) * (len(waiting) + 1) > self.batch_tokens:
                yield waiting
                waiting = []
            waiting.append(text)
        if waiting:
            yield waiting

    def _padded(self, texts: Sequence[Ids]) -> Tensor:
        longest = max(map(len, texts))
        return self._ids([[*text, *[0] * (longest - len(text))] for text in texts])

    def _ids(self, ids: Sequence[Ids] | Ids) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Without gradients, products in the type asked for; the residual path stays in float32, as in training."""
        enabled = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=enabled):
            yield
