"""Mechanisms that code names: those of the modules we ship, and what proves nothing."""

from pathlib import Path

import pytest

from aira_bench.agent_code.evidence import read_evidence
from aira_bench.agent_code.mechanisms import mechanisms

PARTS = Path(__file__).parents[2] / "evaluator/aira_evaluator/lra/agent/baselines/parts"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("self_attention", {"self-attention"}),
        ("linear_attention", {"linear attention"}),
        ("cross_covariance", {"cross-covariance attention", "convolution"}),
        ("gated_recurrence", {"recurrence", "both directions", "gating"}),
        ("gated_convolution", {"convolution", "linear attention", "gating", "layer norm"}),
        ("local_global", {"local attention", "gating"}),
    ],
)
def test_the_mixers_we_ship_are_told_by_what_they_are(part: str, expected: set[str]) -> None:
    assert set(mechanisms(read_evidence((PARTS / f"{part}.py").read_text()))) == expected


def test_words_outside_code_prove_nothing() -> None:
    assert mechanisms(read_evidence('"""Attention, convolution."""\n# a gated LSTM\nNAME = "fft rope"\n')) == ()


def test_order_does_not_hang_on_the_code() -> None:
    one, other = "def fft(): pass\ndef gate(): pass\n", "def gate(): pass\ndef fft(): pass\n"
    assert mechanisms(read_evidence(one)) == mechanisms(read_evidence(other)) == ("Fourier transform", "gating")
