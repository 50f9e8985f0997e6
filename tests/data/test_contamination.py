"""Contamination: an item is found where more than half of its words lie in shared runs of eight."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im_bench.data.contamination import GRAM, Hit, Index, Item, words

TEXT = "the small grey fox walks over the old stone bridge at noon and sleeps there"
WORDS = TEXT.split()


def hits(item, *texts):
    return Index([Item("toy", item)]).hits(texts)


def test_an_item_that_stands_in_a_text_is_found_whatever_its_case_and_punctuation():
    assert hits(TEXT, "Nothing.", f"Q: {TEXT.upper().replace(' ', ', ')}! A: no.") == [Hit(0, 1)]


def test_an_item_of_another_text_is_not_found():
    assert hits(TEXT, "seven green birds fly under the new glass roof at night and sing aloud") == []


@pytest.mark.parametrize("shared, found", [(7, False), (8, True), (15, True)])
def test_more_than_half_of_the_words_must_be_shared_in_runs_of_eight(shared, found):
    """Of 15 words a run of eight is more than half."""
    text = " ".join([*WORDS[:shared], *["other"] * 10])
    assert bool(hits(TEXT, text)) == found


def test_half_of_the_words_is_not_more_than_half():
    item = " ".join(WORDS[:8] + ["a", "b", "c", "d", "e", "f", "g", "h"])
    assert hits(item, " ".join(WORDS[:8])) == []
    assert hits(item, " ".join([*WORDS[:8], "a"])) == [Hit(0, 0)]


def test_the_same_words_in_runs_of_seven_are_not_found():
    broken = " x ".join(" ".join(WORDS[start : start + 7]) for start in range(0, 15, 7))
    assert hits(TEXT, broken) == []


def test_no_run_goes_from_one_text_into_the_next():
    assert hits(TEXT, " ".join(WORDS[:7]), " ".join(WORDS[7:14])) == []


def test_an_item_of_fewer_than_eight_words_is_not_looked_for():
    assert hits("too short to be found here", "too short to be found here") == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcde"), max_size=60))
def test_it_finds_what_a_plain_search_finds(item, text):
    runs = {tuple(text[start : start + GRAM]) for start in range(len(text) - GRAM + 1)}
    covered = {
        place
        for start in range(len(item) - GRAM + 1)
        if tuple(item[start : start + GRAM]) in runs
        for place in range(start, start + GRAM)
    }
    assert bool(hits(" ".join(item), " ".join(text))) == (len(covered) > 0.5 * len(item))


def test_words_of_other_scripts_are_words():
    assert words("Öl, naïve; 東京") == ["öl", "naïve", "東京"]
