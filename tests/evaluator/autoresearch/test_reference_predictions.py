"""Reference models: proper, causal, and stored as a direct computation says."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from aira_evaluator.autoresearch.contract.profiles import PAPER
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.prepare.ngram import CachedBigram, earlier
from aira_evaluator.autoresearch.prepare.reference_models import SEED_LINE, ReferenceModels, train_references
from aira_evaluator.split_manifest import DataError

VOCABULARY = 7
BOS = VOCABULARY - 1


@pytest.fixture
def ngram() -> CachedBigram:
    rng = np.random.default_rng(0)
    return CachedBigram([rng.integers(0, BOS, size).astype(np.uint16) for size in (30, 1, 12)], VOCABULARY)


def test_the_cached_bigram_is_a_distribution_and_causal(ngram: CachedBigram) -> None:
    row = np.r_[BOS, np.random.default_rng(1).integers(0, BOS, 20)].astype(np.uint16)
    for position in range(1, len(row)):
        others = np.repeat(row[None], VOCABULARY, axis=0)
        others[:, position] = np.arange(VOCABULARY)
        nats = ngram.nats(others)
        assert np.exp(-nats[:, position - 1]).sum() == pytest.approx(1, rel=1e-12)
        assert np.ptp(nats[:, : position - 1], axis=0) == pytest.approx(0), "what follows changes nothing before it"


def test_counts_of_the_row_so_far() -> None:
    keys = np.array([[5, 5, 3, 5, 3, -1], [0, 1, 2, 3, 4, 5]])
    assert earlier(keys).tolist() == [[0, 1, 0, 2, 1, 0], [0, 0, 0, 0, 0, 0]]


def test_repetition_is_cheaper_for_a_model_with_a_cache(ngram: CachedBigram) -> None:
    rows = np.array([[BOS, *([1, 2, 3, 4] * 4)]], dtype=np.uint16)
    nats = ngram.nats(rows)[0]
    assert nats[-4:].mean() < nats[4:8].mean() < nats[:4].mean()


def test_stored_values_are_those_of_a_trained_baseline_for_prefixes(prepared: Path) -> None:
    models = train_references(prepared / "public/data", (0.2,))
    rows = np.load(prepared / "hidden/data/search/test.npy")[:3]
    values = models.describe(rows).astype(np.float64)
    assert values.shape == (3, 256, 3)
    assert values[..., 0] == pytest.approx(models.ngram.nats(rows), rel=1e-3)
    tokens = torch.from_numpy(rows.astype(np.int64))
    for position in (1, 2, 100, 256):
        with torch.no_grad():
            logits = models.baselines[0].model(tokens[:, :position])[:, -1]  # no more than the prefix
        nats = functional.cross_entropy(logits, tokens[:, position], reduction="none")
        assert values[:, position - 1, 1] == pytest.approx(nats.numpy(), abs=5e-3)
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        assert values[:, position - 1, 2] == pytest.approx(entropy.numpy(), abs=5e-3)
    assert not list((prepared / "public/data").glob("reference*")), "training leaves nothing behind"


def test_a_baseline_that_does_not_train_is_one_line(prepared: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shutil.copytree(prepared / "public/data", public)
    script = public / "train.py"
    script.write_text(script.read_text().replace(SEED_LINE, "raise SystemExit('no luck')"))
    with pytest.raises(DataError, match=r"does not hold the line torch.manual_seed\(int"):
        train_references(public, (0.2,))
    script.write_text(script.read_text() + f"\n{SEED_LINE}\n")
    with pytest.raises(DataError, match=r"did not train as a reference \(exit status 1\): no luck"):
        train_references(public, (0.2,))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_of_the_paper_profile_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train for 26 minutes on a GPU, and there is none here"):
        train_references(tmp_path, PAPER.reference_budgets_s, on_gpu=PAPER.trains_on_gpu)


def test_what_is_known_of_a_split_is_of_its_scored_targets(ngram: CachedBigram) -> None:
    rows = np.random.default_rng(2).integers(0, VOCABULARY, (5, 9)).astype(np.uint16)
    lengths = np.r_[np.arange(1, VOCABULARY), 0]
    values = ReferenceModels(ngram, ()).describe(rows)
    found = References.of(values, lengths[rows[:, 1:]])
    scored = rows[:, 1:] != BOS
    assert (found.targets, found.bytes) == (scored.sum(), lengths[rows[:, 1:]].sum())
    assert found.mean == pytest.approx([1, values[scored].astype(np.float64).mean()])
    at = found.at(np.array([4, 0]), np.array([1, 8]))
    assert at.tolist() == [[1, values[4, 0, 0]], [1, values[0, 7, 0]]]
