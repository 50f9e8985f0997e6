"""Advice: what is expected by ratio and size, said with its uncertainty, and what else a file's owner should know."""

import json
import math
from pathlib import Path

import pytest

from im_bench import advice, paper
from im_bench.analysis.trends import predict
from im_bench.data.conversations import Conversation, Turn, scan_conversations
from im_bench.data.survey import Survey


def surveyed(ratio: float, examples: int, words: int = 200) -> Survey:
    """A survey of conversations of one ratio; a role tag is one word of each."""
    instruction, output = (words, words / ratio) if ratio > 1 else (words * ratio, words)
    turns = (Turn("user", "w " * (round(instruction) - 1)), Turn("assistant", "w " * (round(output) - 1)))
    survey = Survey()
    survey.read(Conversation(row, turns) for row in range(examples))
    return survey


def advised(ratio: float, examples: int = 1000) -> dict[str, object]:
    return advice.advise(surveyed(ratio, examples), "file")["recommendation"]


def test_long_instructions_and_few_examples_are_for_im() -> None:
    assert advised(26) | {"reason": ""} == {"loss": "im", "sure": True, "reason": ""}


def test_in_between_im_is_a_leaning() -> None:
    assert advised(0.64) | {"reason": ""} == {"loss": "im", "sure": False, "reason": ""}


def test_short_instructions_are_for_it() -> None:
    found = advised(0.09)
    assert found["loss"] == "it"
    assert "Instructions are short beside outputs (0.09" in str(found["reason"])


def test_very_many_examples_are_for_it_whatever_their_ratio() -> None:
    found = advice._recommendation(26, 300_000)
    assert (found["loss"], found["sure"]) == ("it", False)
    assert "300,000 examples" in found["reason"]


def test_the_gains_are_those_of_the_printed_and_the_corrected_lines() -> None:
    gains = {gain["fit"]: gain for gain in advice.advise(surveyed(2.0, 500), "file")["gains"]}
    expected = {name: gains[name]["expected_percent"] for name in gains}
    assert expected == pytest.approx(
        {
            "paper_ratio": 18.85 * math.log(2) + 25.83,
            "paper_size": -39.37 * math.log(500) + 431.74,
            "corrected_ratio": 19.50 * math.log(2) + 27.72,
            "corrected_ratio_table_1": 19.57 * math.log(2) + 31.11,
        },
        abs=0.05,
    )
    assert all(
        gain["low_percent"] < gain["expected_percent"] < gain["high_percent"] for gain in gains.values()
    )
    assert gains["paper_size"]["extrapolated"] and not gains["paper_ratio"]["extrapolated"]


def test_the_interval_holds_nearly_all_points_that_it_was_made_of() -> None:
    by_name = {trend.name: trend for trend in advice.trends()}
    told = [(point, predict(by_name["paper_ratio"].fit, point.x)) for point in paper.ratio_points()]
    assert sum(each.low <= point.gain <= each.high for point, each in told) >= 18


def test_a_dataset_lies_between_its_neighbours_of_table_5() -> None:
    places = advice.advise(surveyed(0.55, 6000), "file")["among_the_paper_s"]
    ratio, size = places["instruction_over_output"], places["examples"]
    assert (ratio["next_below"], ratio["next_above"], ratio["of"]) == (
        "tulu_v2_10",
        "alpagasus_alpaca_5k",
        16,
    )
    assert (size["next_below"], size["next_above"], size["below_it"]) == (
        "alpagasus_alpaca_5k",
        "science_literature",
        3,
    )
    beyond = advice.advise(surveyed(50, 10), "file")["among_the_paper_s"]
    assert (beyond["instruction_over_output"]["next_above"], beyond["examples"]["next_below"]) == (None, None)


def test_the_nearest_datasets_say_what_im_changed_there() -> None:
    first, *_ = advice.advise(surveyed(26.3, 13_533, words=60), "file")["nearest"]
    assert (first["dataset"], first["im_minus_it"]["safety"], first["suspect"]) == (
        "less_mmlu_chat",
        -2.8,
        None,
    )
    by_name = {
        each["dataset"]: each for each in advice.advise(surveyed(3.3, 13_000, words=60), "file")["nearest"]
    }
    assert by_name["less_bbh_icl"]["suspect"]


def test_what_would_change_the_advice_lies_on_the_other_side() -> None:
    low, high = (advice.advise(surveyed(ratio, 100), "file")["what_would_change_it"] for ratio in (0.1, 10))
    assert [line.split(",")[0] for line in low[:2]] == ["A ratio above 0.24", "A ratio above 2.2"]
    assert [line.split(",")[0] for line in high[:2]] == ["A ratio below 0.24", "A ratio below 2.2"]
    assert low[2].startswith("A size above 57,") and list(advice._changes(1, 10**6))[0].startswith(
        "A size below 57,"
    )


def test_a_ratio_that_a_few_long_instructions_make_is_told() -> None:
    survey = surveyed(0.1, 50)
    survey.read([Conversation(99, (Turn("user", "w " * 20_000), Turn("assistant", "w")))])
    assert any("half of your conversations" in line for line in advice.advise(survey, "file")["caveats"])
    assert not any("half of" in line for line in advice.advise(surveyed(0.1, 50), "file")["caveats"])


REAL = {
    "lima_data.jsonl": ("it", 0.0942, "lima"),
    "alpagasus_3k_dolly.jsonl": ("im", 0.6439, "alpagasus_dolly_3k"),
    "alpagasus_claude_t45_alpaca.jsonl": ("im", 0.5672, "alpagasus_alpaca_5k"),
}


@pytest.mark.parametrize(("file", "expected"), REAL.items(), ids=REAL)
def test_the_paper_s_own_files_are_nearest_to_themselves(
    shared: Path, file: str, expected: tuple[str, float, str]
) -> None:
    survey = Survey()
    survey.read(scan_conversations(shared / "data/sft" / file, "auto", allow_empty_output=True))
    found = json.loads(json.dumps(advice.advise(survey, file)))
    loss, ratio, name = expected
    assert (found["recommendation"]["loss"], found["recommendation"]["sure"]) == (loss, False)
    assert found["lengths"]["instruction_over_output"] == pytest.approx(ratio, abs=5e-5)
    assert found["nearest"][0]["dataset"] == name
