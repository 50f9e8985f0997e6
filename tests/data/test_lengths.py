"""Lengths: words as the paper counts them, and tokens."""

import csv

import numpy as np
import pytest
from transformers import AutoTokenizer

from im_bench.data.conversations import Conversation, Turn, read_conversations
from im_bench.data.lengths import in_words, measured, summary

FILES = {
    "lima": "lima_data.jsonl",
    "alpagasus_dolly_3k": "alpagasus_3k_dolly.jsonl",
    "alpagasus_alpaca_5k": "alpagasus_claude_t45_alpaca.jsonl",
}


def test_a_role_tag_is_a_word_and_the_end_of_a_turn_is_none():
    turns = (
        Turn("user", "one two"),
        Turn("assistant", "three"),
        Turn("user", "four"),
        Turn("assistant", "5 6"),
    )
    assert in_words(Conversation(0, turns)) == (3 + 2, 2 + 3)


def test_after_an_empty_output_the_end_is_a_word():
    assert in_words(Conversation(0, (Turn("user", "one"), Turn("assistant", "")))) == (2, 2)


def test_a_system_turn_is_in_neither_length(tokenizer):
    turns = (Turn("user", "one two"), Turn("assistant", "three"))
    with_system = (Turn("system", "Be brief, and again brief."), *turns)
    for by in (None, tokenizer):
        assert measured([Conversation(0, with_system)], by) == measured([Conversation(0, turns)], by)


def test_tokens_are_of_the_content_as_it_stands_in_the_file(tokenizer):
    (found,) = measured(
        [Conversation(0, (Turn("user", "Hi"), Turn("assistant", "Ho", " Ho\n\n")))], tokenizer
    )
    assert found == tuple(
        len(tokenizer(text, add_special_tokens=False).input_ids) for text in ("Hi", " Ho\n\n")
    )


def test_an_output_of_no_tokens_has_an_infinite_ratio(tokenizer):
    (found,) = measured([Conversation(0, (Turn("user", "Hi"), Turn("assistant", "")))], tokenizer)
    assert found.ratio == float("inf")


def test_ratios_are_of_the_means_and_spreads_of_the_population():
    found = summary(np.array([1, 3, 3, 9]), np.array([2, 2, 4, 4]), "words")
    assert found == {
        "examples": 4,
        "total_words_mean": 7.0,
        "output_words_mean": 3.0,
        "output_words_std": 1.0,
        "instruction_words_mean": 4.0,
        "instruction_words_std": 3.0,
        "output_over_instruction": 0.75,
        "instruction_over_output": 4 / 3,
        "output_words_median": 3.0,
        "output_words_mode": 2,
        "instruction_words_median": 3.0,
        "instruction_words_mode": 3,
    }


def test_a_ratio_to_nothing_is_null():
    found = summary(np.array([1]), np.array([0]), "tokens")
    assert (found["instruction_over_output"], found["output_over_instruction"]) == (None, 0.0)


@pytest.fixture(scope="module")
def real(shared):
    return {
        name: read_conversations(shared / "data/sft" / file, "auto", allow_empty_output=True)
        for name, file in FILES.items()
    }


def arrays(conversations, tokenizer=None):
    return np.array(measured(conversations, tokenizer)).T


@pytest.mark.parametrize("name", FILES)
def test_the_row_of_table_5_comes_out_to_its_last_digit(real, shared, name):
    with (shared / "paper/table5_lengths.csv").open() as file:
        printed = next(row for row in csv.DictReader(file) if row["dataset"] == name)
    found = {"dataset": name} | summary(*arrays(real[name]), "words")
    for field, value in printed.items():
        digits = len(value.partition(".")[2])
        assert value in (str(found[field]), f"{found[field]:.{digits}f}" if digits else None), field


@pytest.mark.parametrize(
    "name, median, mode", [("lima", 269, 29), ("alpagasus_dolly_3k", 36, 7), ("alpagasus_alpaca_5k", 16, 2)]
)
def test_medians_and_modes_of_figure_7_come_out(real, name, median, mode):
    found = summary(*arrays(real[name]), "words")
    assert (round(found["output_words_median"]), found["output_words_mode"]) == (median, mode)


@pytest.mark.parametrize(
    "name, instruction, output, ratio",
    [
        ("lima", "60.20", "650.40", "0.0926"),
        ("alpagasus_dolly_3k", "70.94", "104.73", "0.6774"),
        ("alpagasus_alpaca_5k", "26.36", "45.27", "0.5822"),
    ],
)
def test_lengths_in_llama_2_tokens_are_those_measured_before(real, shared, name, instruction, output, ratio):
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/llama2")
    found = summary(*arrays(real[name], tokenizer), "tokens")
    assert f"{found['instruction_tokens_mean']:.2f}" == instruction
    assert f"{found['output_tokens_mean']:.2f}" == output
    assert f"{found['instruction_over_output']:.4f}" == ratio
