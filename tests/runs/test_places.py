"""Which cores and GPU go together: alike for all runs, and as many cores as a step would have alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.runs.places import Place, Wanted, places_of

counts = st.integers(1, 12)


@st.composite
def wishes(draw: st.DrawFn) -> Wanted:
    cores = sorted(draw(st.sets(st.integers(0, 63), min_size=1, max_size=16)))
    machine = [f"GPU-{number}" for number in range(draw(st.integers(0, 8)))]
    gpus = [gpu for gpu in machine if draw(st.booleans())]
    chosen = draw(st.none() | counts)
    return Wanted(cores, draw(counts), gpus, chosen, machine if chosen is None and draw(st.booleans()) else ())


@given(wishes())
def test_every_place_has_as_many_cores_and_a_gpu_of_its_own(wanted: Wanted) -> None:
    places = places_of(wanted)
    assert {len(place.cores) for place in places} == {wanted.cores_a_place}
    assert {core for place in places for core in place.cores} <= set(wanted.cores)
    assert [place.gpu for place in places] == (list(wanted.gpus) or [None] * len(places))
    assert len(places) >= wanted.most
    assert {place.shares for place in places} == {wanted.shares_cores}
    if not wanted.gpus:
        used = [core for place in places for core in place.cores]
        assert wanted.shares_cores or len(used) == len(set(used)), "slots share no core"
        crowd = -(-wanted.most // wanted.core_count)
        assert max(map(used.count, used)) <= crowd, "no more of them share one than would at the least"


@given(wishes(), wishes())
def test_a_gpu_has_the_same_cores_in_every_run_that_chose_no_cores(one: Wanted, other: Wanted) -> None:
    machine = [f"GPU-{number}" for number in range(8)]
    both = [Wanted(range(64), each.slots, each.gpus, None, machine) for each in (one, other)]
    first, second = ({place.gpu: place.cores for place in places_of(each)} for each in both)
    assert all(first[gpu] == second[gpu] for gpu in first.keys() & second.keys() - {None})


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (Wanted(range(4), 2), [Place((0, 1)), Place((2, 3))]),
        (Wanted(range(4), 1), [Place((0, 1, 2, 3))]),
        (Wanted(range(4), 1, (), 2), [Place((0, 1)), Place((2, 3))]),
        (Wanted(range(5), 2), [Place((0, 1)), Place((2, 3))]),
        (Wanted([0], 2), [Place((0,), shares=True)] * 2),
        (Wanted(range(4), 4, ["a", "b"], None, ["a", "b"]), [Place((0, 1), "a"), Place((2, 3), "b")]),
        (Wanted(range(4), 1, ["b"], None, ["a", "b"]), [Place((2, 3), "b")]),
        (Wanted(range(4), 1, ["a", "b"], None, ["a", "b"]), [Place((0, 1), "a"), Place((2, 3), "b")]),
        (Wanted(range(8), 2, ["b", "c"], 4), [Place((0, 1), "b"), Place((2, 3), "c")]),
    ],
)  # fmt: skip
def test_places_by_example(wanted: Wanted, places: list[Place]) -> None:
    assert places_of(wanted) == places
