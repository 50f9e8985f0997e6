"""Data sizes: which conversations a subset has."""

import pytest

from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation
from im_bench.data.subsets import select

HUNDRED = [Conversation(row, ()) for row in range(100)]


def rows(name, size, seed=0):
    return [conversation.row for conversation in select(HUNDRED, Subset(name=name, size=size), seed=seed)]


def test_full_is_every_conversation():
    assert rows("full", None) == list(range(100))


def test_first_is_the_head_of_the_file_whatever_the_seed():
    assert rows("first", 3, seed=0) == rows("first", 3, seed=1) == [0, 1, 2]


def test_random_keeps_the_order_of_the_file_and_takes_none_twice():
    chosen = rows("random", 40)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 40
    assert chosen != list(range(40))


def test_the_smaller_random_subset_is_inside_the_larger():
    assert set(rows("random", 10)) < set(rows("random", 40)) < set(rows("random", 100))


def test_another_seed_is_another_random_subset_and_the_same_seed_the_same():
    assert rows("random", 40, seed=0) == rows("random", 40, seed=0) != rows("random", 40, seed=1)


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="subset.size=101: the dataset has 100 conversations"):
        rows("first", 101)
