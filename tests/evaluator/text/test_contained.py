"""Near duplicates across splits: what is found, and what is left alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.text.contained import DUPLICATE_SHARE, RUN_TOKENS, NearDuplicates, keep_fresh
from aira_evaluator.text.tokenizer import Tokens

tokens = st.lists(st.integers(0, 50), min_size=1, max_size=60).map(lambda ids: np.array(ids, dtype=np.uint16))


def flags(held_out: list[Tokens], reference: list[Tokens]) -> list[bool]:
    found = NearDuplicates(held_out)
    found.look_at(reference)
    return found.duplicates().tolist()


def exact_share(document: Tokens, reference: list[Tokens]) -> float:
    """The same by comparing runs themselves."""

    def runs(ids: Tokens) -> list[tuple[int, ...]]:
        return [tuple(ids[at : at + RUN_TOKENS].tolist()) for at in range(max(len(ids) - RUN_TOKENS + 1, 1))]

    known = {run for other in reference for run in runs(other)}
    # The end of a longer document also answers for a short one.
    known |= {
        tuple(other[at:].tolist()) for other in reference for at in range(len(other)) if len(other) - at < RUN_TOKENS
    }
    own = runs(document)
    return sum(run in known for run in own) / len(own)


@settings(deadline=None)
@given(st.lists(tokens, max_size=6), st.lists(tokens, max_size=6))
def test_shares_are_those_of_a_direct_comparison(held_out: list[Tokens], reference: list[Tokens]) -> None:
    found = NearDuplicates(held_out)
    found.look_at(reference)
    assert found.shares().tolist() == [exact_share(document, reference) for document in held_out]


def test_a_copy_with_a_new_heading_is_a_near_duplicate_and_a_shared_quotation_is_not() -> None:
    rng = np.random.default_rng(0)
    original, other = (rng.integers(0, 2000, 200).astype(np.uint16) for _ in range(2))
    copy = np.concatenate([rng.integers(0, 2000, 30).astype(np.uint16), original])
    quoting = np.concatenate([other, original[:40]])
    assert flags([copy, quoting, other], [original]) == [True, False, False]


def test_blocks_of_the_reference_do_not_change_what_is_found() -> None:
    rng = np.random.default_rng(1)
    reference = [rng.integers(0, 30, 50).astype(np.uint16) for _ in range(20)]
    together, apart = NearDuplicates(reference[:5]), NearDuplicates(reference[:5])
    together.look_at(reference)
    for document in reference:
        apart.look_at([document])
    assert together.shares().tolist() == apart.shares().tolist() == [1.0] * 5


@settings(deadline=None)
@given(st.lists(st.lists(tokens, max_size=4), max_size=3), st.lists(tokens, max_size=4))
def test_what_is_kept_is_near_to_nothing_public_and_to_nothing_kept_before(
    parts: list[list[Tokens]], public: list[Tokens]
) -> None:
    earlier: list[Tokens] = []
    for place, kept in keep_fresh(dict(enumerate(parts)), iter(public)).items():
        expected = [
            document
            for document in parts[place]
            if exact_share(document, public) < DUPLICATE_SHARE and exact_share(document, earlier) < DUPLICATE_SHARE
        ]
        assert [document.tolist() for document in kept] == [document.tolist() for document in expected]
        earlier += kept


def test_a_document_of_two_lots_stays_in_the_first() -> None:
    one, two, shown = (np.random.default_rng(seed).integers(0, 2000, 60).astype(np.uint16) for seed in range(3))
    kept = keep_fresh({"a": [one, shown], "b": [two, one]}, [shown])
    assert {part: [document.tolist() for document in documents] for part, documents in kept.items()} == {
        "a": [one.tolist()],
        "b": [two.tolist()],
    }
