"""A trained model as lm-evaluation-harness asks for one: texts in, scores and texts out.

A text begins with the separator, as each document did in training; lm_eval's split of context and continuation is its
own. Greedy writing alone is covered; sampling is refused. Not covered: chat templates, several processes.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer

from aira_evaluator.downstream.scoring import Ids, TextScorer

MOST_WRITTEN = 256
"""Tokens written behind a prompt where a task does not say how many; lm_eval's own default."""


class LmEvalModel(TemplateLM):
    """A model of ours under lm_eval's interface.

    Args:
        scorer: the model.
        tokenizer: its file of the `tokenizers` library.
        separator: the id that documents begin with.
    """

    def __init__(self, scorer: TextScorer, tokenizer: Path, separator: int) -> None:
        super().__init__()
        self._scorer, self._separator = scorer, separator
        self._tokenizer = Tokenizer.from_file(str(tokenizer))

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text: the one that begins the next."""
        return self._separator

    @property
    def max_length(self) -> int:
        """Positions that a text may have."""
        return self._scorer.length

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_more: object) -> list[int]:
        """Return the ids of a text, the separator first; without it where `add_special_tokens` is False."""
        ids: list[int] = self._tokenizer.encode(string, add_special_tokens=False).ids
        if add_special_tokens is False or ids[:1] == [self._separator]:
            return ids
        return [self._separator, *ids]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts, in windows of the length that follow each other."""
        windows: list[tuple[int, tuple[list[int], list[int]]]] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            pieces: Iterator[tuple[list[int], list[int]]] = get_rolling_token_windows(
                self.tok_encode(text, add_special_tokens=False), self._separator, self.max_length, 1
            )
            windows += ((number, make_disjoint_window(piece)) for piece in pieces)
        scores = self._scorer.log_likelihoods([window for _, window in windows])
        totals = [0.0] * len(requests)
        for (number, _), score in zip(windows, scores, strict=True):
            totals[number] += score.log_likelihood
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes behind each prompt until a stop text, the likeliest token each time.

        Raises:
            ValueError: a task asks for sampling.
        """
        asked = [(number, *request.args) for number, request in enumerate(requests)]
        found = [""] * len(asked)
        for _, group in groupby(sorted(asked, key=lambda each: repr(each[2])), key=lambda each: repr(each[2])):
            alike = list(group)
            texts = self._written([prompt for _, prompt, _ in alike], alike[0][2])
            for (number, _, _), text in zip(alike, texts, strict=True):
                found[number] = text
        return found

    def _written(self, prompts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        known = normalize_gen_kwargs(settings, MOST_WRITTEN)
        if known.get("do_sample"):
            raise ValueError("a task asks for sampled text; greedy text alone is covered")
        until = handle_stop_sequences(known.get("until"), eos=None)
        most = min(int(known["max_gen_toks"]), self.max_length - 1)
        written = self._scorer.generate(
            [self.tok_encode(prompt) for prompt in prompts],
            most,
            lambda ids: self._stopped(ids, until),
            self._separator,
        )
        return [postprocess_generated_text(self._decoded(ids), until, None) for ids in written]

    def _stopped(self, ids: Ids, until: Sequence[str]) -> bool:
        text = self._decoded(ids)
        return any(each and each in text for each in until)

    def _decoded(self, ids: Ids) -> str:
        text: str = self._tokenizer.decode(list(ids))
        return text

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_more: object
    ) -> list[tuple[float, bool]]:
        scores = self._scorer.log_likelihoods([(context, continuation) for _, context, continuation in requests])
        return [(score.log_likelihood, score.greedy) for score in scores]
