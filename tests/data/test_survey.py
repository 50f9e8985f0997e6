"""One pass over a dataset: lengths, and findings by name and row."""

import random

import numpy as np
import pytest

from im_bench.data.contamination import Index, Item
from im_bench.data.conversations import BadRow, Conversation, Turn
from im_bench.data.lengths import in_words
from im_bench.data.survey import BATCH, NAMED, Survey


def conversation(row, instruction="Name a fruit.", output="An apple.", file="rows.jsonl"):
    return Conversation(row, (Turn("user", instruction), Turn("assistant", output)), file)


def findings(*found, **options):
    survey = Survey(**options)
    survey.read(found)
    return survey.findings()


def several(count):
    """Different conversations of like length."""
    return [conversation(row, f"Name fruit number {row}.", f"That is {row}.") for row in range(count)]


def test_lengths_are_those_of_each_conversation_however_many_batches_there_are():
    rng = random.Random(0)
    found = [
        conversation(row, "x " * rng.randint(1, 50), "y " * rng.randint(1, 9)) for row in range(2 * BATCH + 3)
    ]
    survey, told = Survey(), []
    survey.read(found, told.append)
    assert np.array(survey.lengths()).T.tolist() == [list(in_words(one)) for one in found]
    assert told == [BATCH, BATCH, 3]
    assert survey.summary("mine")["examples"] == len(found)


def test_lengths_in_tokens_are_by_the_tokenizer(tokenizer):
    survey = Survey(tokenizer=tokenizer, unit="tokens")
    survey.read([conversation(0)])
    assert survey.summary("mine")["output_tokens_mean"] == len(
        tokenizer("An apple.", add_special_tokens=False).input_ids
    )


def test_nothing_is_found_where_nothing_is_wrong():
    assert {found.found for found in findings(*several(50), max_tokens=2048).values()} == {0}


def test_a_duplicate_is_named_with_what_it_equals():
    found = findings(conversation(0), conversation(1, "Other."), conversation(2), conversation(3))[
        "duplicates"
    ]
    assert found == (2, ["2 = 0", "3 = 0"])


def test_another_output_is_no_duplicate():
    assert findings(conversation(0), conversation(1, output="A pear."))["duplicates"].found == 0


def test_an_empty_output_is_found():
    assert findings(conversation(0), conversation(7, output=""))["empty_outputs"] == (1, ["7"])


LONG = "this output has many words and it goes on " * 4
ENDS = {
    "a word": (LONG + "and then", True),
    "a comma": (LONG + "and then,", True),
    "an open bracket": (LONG + "and then (", True),
    "a full stop": (LONG + "and ends.", False),
    "a full stop of another script": (LONG + "終わり。", False),
    "a closing bracket": (LONG + "and ends)", False),
    "a code fence": (LONG + "\n```", False),
    "a word, but short": ("an apple", False),
}


@pytest.mark.parametrize("output, cut", ENDS.values(), ids=ENDS)
def test_a_long_output_that_ends_in_the_middle_of_a_sentence_may_be_cut_off(output, cut):
    assert findings(conversation(0, output=output))["cut_off_outputs"].found == cut


ROLES = {
    "one pair": (["user", "assistant"], False),
    "a system turn first": (["system", "user", "assistant", "user", "assistant"], False),
    "an output first": (["assistant", "user", "assistant"], True),
    "two instructions": (["user", "user", "assistant"], True),
    "two outputs": (["user", "assistant", "assistant"], True),
    "a system turn later": (["user", "assistant", "system", "user", "assistant"], True),
}


@pytest.mark.parametrize("roles, odd", ROLES.values(), ids=ROLES)
def test_turns_that_do_not_alternate_are_found(roles, odd):
    turns = tuple(Turn(role, "text") for role in roles)
    assert findings(Conversation(0, turns))["roles_that_do_not_alternate"].found == odd


def test_a_length_that_stands_out_is_found_in_any_script():
    rng = random.Random(0)
    usual = [conversation(row, "字" * rng.randint(20, 40), "x" * rng.randint(20, 40)) for row in range(100)]
    found = findings(
        *usual, conversation(100, "字" * 9000, "x" * 30), conversation(101, "字" * 30, "x" * 9000)
    )
    assert found["long_or_short_instructions"] == (1, ["100"])
    assert found["long_or_short_outputs"] == (1, ["101"])


def test_what_is_longer_than_the_model_takes_is_found(tokenizer):
    short, long = conversation(0), conversation(1, "word " * 50, "word " * 50)
    assert findings(short, long, max_tokens=100)["too_long"] == (1, ["1"])  # 500 characters, four a token
    assert findings(short, long, max_tokens=100, tokenizer=tokenizer)["too_long"].found == 1
    assert "too_long" not in findings(short, long)


def test_bad_rows_are_counted_by_kind_and_the_first_are_told():
    survey = Survey()
    bad = [
        BadRow(row, f"a, b.jsonl, row {row} (line {row + 1}), turn 2: the output is empty")
        for row in range(7)
    ]
    survey.read([*bad, BadRow(9, "b.jsonl, line 10: not UTF-8; save the file as UTF-8"), conversation(8)])
    assert survey.bad == {"the output is empty": 7, "not UTF-8": 1}
    assert survey.findings()["bad_rows"] == (8, [one.reason for one in bad[:NAMED]])


def test_rows_of_several_files_are_named_with_their_file():
    found = findings(conversation(0, output="", file="a.jsonl"), conversation(0, output="", file="b.jsonl"))
    assert found["empty_outputs"].rows == ["a.jsonl:0", "b.jsonl:0"]


def test_test_items_are_counted_by_benchmark_and_named_by_row():
    items = [
        Item("piqa", "to open a jar of honey turn its lid"),
        Item("piqa", "one two three four five six seven eight nine"),
    ]
    survey = Survey(index=Index(items))
    survey.read(
        [*several(3), conversation(3, "Tell me: to open a jar of honey turn its lid"), conversation(4)]
    )
    assert survey.contamination() == {"piqa": {"texts": 2, "found": 1, "rows": ["3"]}}
    assert Survey().contamination() is None
