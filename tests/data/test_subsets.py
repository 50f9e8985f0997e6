"""Data sizes and ratios: which conversations a subset has."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.subsets import draws, fraction, select


def conversation(row, instruction="", output="", stratum=""):
    turns = (Turn("user", f"{row} {instruction}".strip()), Turn("assistant", output or "yes"))
    return Conversation(row, turns, stratum=stratum)


HUNDRED = [conversation(row) for row in range(100)]


def chosen(conversations, name, seed=0, **values):
    return [one.row for one in select(conversations, Subset(name=name, **values), seed=seed)]


def test_full_is_every_conversation():
    assert chosen(HUNDRED, "full") == list(range(100))


def test_first_is_the_head_of_the_file_whatever_the_seed():
    assert chosen(HUNDRED, "first", size=3) == chosen(HUNDRED, "first", size=3, seed=1) == [0, 1, 2]


def test_random_keeps_the_order_of_the_file_and_takes_none_twice():
    found = chosen(HUNDRED, "random", size=40)
    assert found == sorted(set(found))
    assert len(found) == 40
    assert found != list(range(40))


def test_another_seed_is_another_random_subset_and_the_same_seed_the_same():
    first, again, other = (chosen(HUNDRED, "random", size=40, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_every_conversation_is_as_likely_to_be_drawn():
    seeds = range(400)
    counts = Counter(row for seed in seeds for row in chosen(HUNDRED, "random", size=25, seed=seed))
    # 100 draws of probability 1/4 have a standard deviation of 8.7; six of them leave one run in a million.
    assert all(abs(counts[row] - 100) < 6 * 8.7 for row in range(100))


SIZES = {
    "first": {},
    "random": {},
    "stratified": {},
    "ratio": {"target": 1},
    "ratio_window": {"window": (0, 9)},
}


@pytest.mark.parametrize("name", SIZES)
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=60), st.data())
def test_a_smaller_subset_is_inside_a_larger_of_the_same_seed(name, strata, data):
    rows = [conversation(row, "of " * (row % 4), stratum=stratum) for row, stratum in enumerate(strata)]
    small, large = sorted(data.draw(st.tuples(*2 * [st.integers(1, len(rows))])))
    found = [set(chosen(rows, name, size=size, **SIZES[name])) for size in (small, large)]
    assert found[0] <= found[1]
    assert [len(one) for one in found] == [small, large]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("aaab"), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 5))
def test_a_fraction_takes_of_every_source_its_share_to_the_nearest_whole(strata, share, seed):
    rows = [conversation(row, stratum=stratum) for row, stratum in enumerate(strata)]
    found = Counter(strata[row] for row in fraction(rows, share, f"{seed}"))
    for stratum, count in Counter(strata).items():
        assert abs(found[stratum] - share * count) <= 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("aaab"), min_size=1, max_size=60), st.floats(0.01, 1))
def test_what_a_fraction_takes_of_a_source_does_not_depend_on_the_others(strata, share):
    rows = [conversation(row, stratum=stratum) for row, stratum in enumerate(strata)]
    alone = [one for one in rows if one.stratum == "a"]
    found = {rows[index].row for index in fraction(rows, share, "any")}
    assert found & {one.row for one in alone} == {alone[index].row for index in fraction(alone, share, "any")}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("aaab"), min_size=1, max_size=60), st.data())
def test_a_stratified_subset_has_of_every_source_its_share(strata, data):
    rows = [conversation(row, stratum=stratum) for row, stratum in enumerate(strata)]
    size = data.draw(st.integers(1, len(rows)))
    found = Counter(strata[row] for row in chosen(rows, "stratified", size=size))
    for stratum, count in Counter(strata).items():
        assert abs(found[stratum] - size * count / len(rows)) <= 1


def test_the_draw_is_of_the_content_wherever_it_stands():
    moved = [one._replace(row=99 - one.row, file="copy.jsonl") for one in reversed(HUNDRED)]
    texts = [
        {one.turns for one in select(rows, Subset(name="random", size=30), seed=0)}
        for rows in (HUNDRED, moved)
    ]
    assert texts[0] == texts[1]
    assert draws(HUNDRED, "a") == draws(HUNDRED, "a") != draws(HUNDRED, "b")


def test_equal_conversations_are_drawn_by_themselves():
    """Half of the rows say the same: of 100 drawn about 50 are copies, whatever the seed."""
    rows = [conversation(row) for row in range(500)] + [
        conversation(0)._replace(row=row) for row in range(500, 1000)
    ]
    copies = [sum(row >= 500 for row in chosen(rows, "random", size=100, seed=seed)) for seed in range(20)]
    # A hypergeometric draw has a standard deviation of 4.7.
    assert all(abs(count - 50) < 5 * 4.7 for count in copies)


def test_how_equal_conversations_lie_in_a_file_does_not_matter():
    rows = [*HUNDRED[:10], *HUNDRED[:5]]
    turned = [one._replace(row=row) for row, one in enumerate(reversed(rows))]
    found = [
        sorted(one.turns for one in select(each, Subset(name="random", size=7), seed=0))
        for each in (rows, turned)
    ]
    assert found[0] == found[1]


def test_a_small_source_is_not_left_out_for_rounding_down():
    """The published code gives a source of one in a hundred nothing at 10 %, and the first source the rest."""
    rows = [conversation(row, stratum="large" if row < 93 else "small") for row in range(100)]
    found = [rows[index].stratum for index in fraction(rows, 0.1, "any")]
    assert Counter(found) == {"large": 9, "small": 1}


def of_ratio(row, instruction, output):
    """A conversation of so many words, role tags included."""
    return Conversation(
        row,
        (
            Turn("user", " ".join([f"w{row}"] * (instruction - 1))),
            Turn("assistant", "x " * (output - 1) + ""),
        ),
    )


RATIOS = [
    of_ratio(row, instruction, 10) for row, instruction in enumerate([5, 10, 20, 40, 80, 100, 120, 160])
]


def test_ratio_takes_the_nearest_to_the_target():
    """As the published code sorts: by the distance of the ratio, not of its logarithm."""
    assert chosen(RATIOS, "ratio", target=10, size=1) == [5]
    assert chosen(RATIOS, "ratio", target=10, size=3) == [4, 5, 6]
    assert chosen(RATIOS, "ratio", target=10, size=5) == [3, 4, 5, 6, 7]


def test_conversations_as_near_as_each_other_are_taken_by_chance():
    alike = [of_ratio(row, 20, 10) for row in range(50)]
    first, other = (chosen(alike, "ratio", target=2, size=20, seed=seed) for seed in (0, 1))
    assert first != other
    assert first != list(range(20))


def test_a_window_is_chosen_from_by_chance_and_not_by_nearness():
    found = {tuple(chosen(RATIOS, "ratio_window", window=(2, 12), size=2, seed=seed)) for seed in range(40)}
    assert {row for pair in found for row in pair} == {2, 3, 4, 5, 6}
    assert len(found) > 5


def test_a_ratio_in_tokens_is_by_the_tokenizer(tokenizer):
    # One word of many tokens each: in words the two are alike.
    rows = [
        Conversation(0, (Turn("user", "a"), Turn("assistant", "honorificabilitudinitatibus"))),
        Conversation(1, (Turn("user", "honorificabilitudinitatibus"), Turn("assistant", "a"))),
    ]
    subset = Subset(name="ratio", target=20, size=1, unit="tokens")
    assert [one.row for one in select(rows, subset, seed=0, tokenizer=tokenizer)] == [1]


def test_a_ratio_in_words_is_by_words_whatever_tokenizer_is_at_hand(tokenizer):
    subset = Subset(name="ratio", target=10, size=3)
    found = [select(RATIOS, subset, seed=0, tokenizer=each) for each in (None, tokenizer)]
    assert found[0] == found[1]


WRONG = {
    "a fraction of nothing": (
        {"name": "fraction", "fraction": 0.01},
        "subset=fraction_0.01: none of the 8 conversations is chosen",
    ),
    "more than there are": ({"name": "first", "size": 9}, "subset.size=9: the dataset has 8 conversations"),
    "more than the window has": (
        {"name": "ratio_window", "window": (2, 4), "size": 3},
        "subset.size=3: the dataset has 8 conversations, 2 of them in subset.window",
    ),
    "a ratio that none is near": (
        {"name": "ratio", "target": 100, "size": 3},
        "subset.target=100: no conversation's instruction/output ratio is near it; the nearest is 16, and they go "
        "from 0.5 to 16",
    ),
}


@pytest.mark.parametrize("values, said", WRONG.values(), ids=WRONG)
def test_what_a_dataset_has_not_is_refused(values, said):
    with pytest.raises(UserError) as error:
        select(RATIOS, Subset(**values), seed=0)
    assert str(error.value) == said
