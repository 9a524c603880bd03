"""Hidden seeds under a key, and pairs of tasks that publish the same ones."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from aira_evaluator.compose.mad.splits import read_split
from aira_evaluator.compose.prepare import mad
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import HiddenSeeds, hidden_folder, keyed_seed, seed_set_of, seeds_in_force

TASKS = Path(__file__).resolve().parents[3] / "tasks"
PAIRS = {
    "AutoregressiveLanguageModellingAutoresearchBPB": "AutoregressiveLanguageModellingWithLiteratureAutoresearchBPB",
    **{f"LongContextReasoningLRA{name}Accuracy": f"LongContextReasoningLRA{name}ConfigurableAccuracy"
       for name in ("Text", "ListOps", "Retrieval")},
}  # fmt: skip
PUBLISHED = {"search": HiddenSeeds(1, 2, 3), "final": HiddenSeeds(1, 5, 6)}
ONE, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize(("fixed", "other"), PAIRS.items())
def test_tasks_of_a_pair_publish_the_same_seeds(fixed: str, other: str) -> None:
    """Before, each folder had its own: a difference between the two tasks was of the data as well."""
    seeds = [runpy.run_path(str(TASKS / name / "evaluate_prepare.py"))["HIDDEN_SEEDS"] for name in (fixed, other)]
    assert seeds[0] == seeds[1]


def test_no_two_tasks_that_are_no_pair_share_a_seed() -> None:
    alone = [folder.name for folder in TASKS.iterdir() if folder.is_dir() and folder.name not in PAIRS.values()]
    drawn: list[int] = []
    for name in alone:
        published = runpy.run_path(str(TASKS / name / "evaluate_prepare.py"))["HIDDEN_SEEDS"].values()
        for seeds in published:
            drawn += [seeds] if isinstance(seeds, int) else [*seeds.by_split().values(), seeds.training]
    assert len(set(drawn)) == len(drawn)


def test_without_a_key_the_published_seeds_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRA_HIDDEN_KEY", raising=False)
    assert seeds_in_force(PUBLISHED) == PUBLISHED
    assert keyed_seed(None, "search", 7) == 7


def test_a_key_makes_every_seed_another_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for key in (ONE, OTHER, ONE):
        monkeypatch.setenv("AIRA_HIDDEN_KEY", key)
        made.setdefault(key, []).append(seeds_in_force(PUBLISHED))
    assert made[ONE][0] == made[ONE][1]
    seeds = [seed for found in (made[ONE][0], made[OTHER][0]) for each in found.values()
             for seed in (each.validation, each.test, each.training)]  # fmt: skip
    assert len(set(seeds)) == 12, "equal published seeds of two sets are told apart too"
    assert all(0 <= seed < 2**60 for seed in seeds)
    # By hand: HMAC-SHA256 over name and published seed, its first 60 bits (checked with openssl dgst -hmac).
    assert keyed_seed(bytes.fromhex(ONE), "search validation", 1) == made[ONE][0]["search"].validation


@pytest.mark.parametrize("wrong", ["1" * 63, "G" * 64, "1" * 64 + " ", "A" * 64])
def test_what_is_no_key_is_an_error_and_no_published_seed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_HIDDEN_KEY", wrong)
    with pytest.raises(DataError, match="no key"):
        seeds_in_force(PUBLISHED)


def test_a_document_serves_one_seed_set_under_every_key() -> None:
    sets = [seed_set_of(f"document {number}".encode(), ["search", "final"]) for number in range(2000)]
    assert 900 < sets.count("search") < 1100


def test_hidden_splits_are_drawn_from_the_key_and_the_train_split_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    drawn = {}
    for name, key in (("public", ""), ("one", ONE), ("again", ONE), ("other", OTHER)):
        monkeypatch.setenv("AIRA_HIDDEN_KEY", key)
        mount, raw = tmp_path / name, tmp_path / "raw"
        mount.mkdir()
        raw.mkdir(exist_ok=True)
        arguments = ["--global-shared-data-dir", str(raw), "--agent-data-mount-dir", str(mount)]
        assert mad.evaluate_prepare(("M", "mA"), {"final": HiddenSeeds(1, 2, 3)}, arguments) == 0
        corpus, manifest = read_split(hidden_folder(mount, "test", "final"))
        train, _ = read_split(mount / "train")
        drawn[name] = (
            np.concatenate([corpus[task].inputs.ravel() for task in corpus]),
            manifest.training_seed,
            np.concatenate([train[task].inputs.ravel() for task in train]),
        )
    assert np.array_equal(drawn["one"][0], drawn["again"][0])
    assert len({each[1] for each in drawn.values()}) == 3
    for other in ("public", "other"):
        assert not np.array_equal(drawn["one"][0], drawn[other][0])
        assert np.array_equal(drawn["one"][2], drawn[other][2])
