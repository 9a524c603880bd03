"""A list as it stood at one moment, and what is counted along it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.record.growing import Growing, tallied


class Total:
    """Counts what it was given; refuses -1."""

    def __init__(self, factor: int = 1) -> None:
        self.sum, self.taken, self._factor = 0, 0, factor

    def add(self, item: int) -> None:
        self.taken += 1
        if item == -1:
            raise ValueError
        self.sum += self._factor * item


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)), st.integers(-25, 25), st.slices(20))
def test_a_moment_is_what_a_copy_at_that_moment_is(first: list[int], later: list[int], at: int, part: slice) -> None:
    growing = Growing(first)
    moment, copy = growing.so_far(), tuple(first)
    for item in later:
        growing.append(item)
    assert (moment, len(moment), list(reversed(moment)), moment[part]) == (copy, len(copy), first[::-1], copy[part])
    assert growing.so_far() == (*first, *later)
    if -len(copy) <= at < len(copy):
        assert moment[at] == copy[at]
    else:
        with pytest.raises(IndexError):
            moment[at]


def test_a_tally_takes_each_item_once_while_the_list_grows() -> None:
    growing = Growing[int]()
    for item in range(1, 1000):
        growing.append(item)
        total = tallied(growing.so_far(), Total)
        assert total.sum == item * (item + 1) // 2
    assert total.taken == 999


def test_a_moment_before_has_its_own_tally_and_other_settings_have_theirs() -> None:
    growing = Growing([1, 2])
    before = growing.so_far()
    growing.append(3)
    assert tallied(growing.so_far(), Total).sum == 6
    assert tallied(before, Total).sum == 3
    assert tallied(growing.so_far(), Total, 10).sum == 60
    assert tallied(growing.so_far(), Total).sum == 6


def test_a_tally_that_failed_half_way_is_begun_anew() -> None:
    growing = Growing([1, -1])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            tallied(growing.so_far(), Total)
    assert tallied(Growing([4]).so_far(), Total).sum == 4
