"""Files of verdicts: what is read of them, whose they are, and how a bad row is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from im_bench.config import UserError
from im_bench.data.rows import write_rows
from im_bench.evaluation import alpaca_eval, mt_bench
from im_bench.evaluation.verdict_files import Judged, read_verdicts

RATED = {"question_id": 81, "turn": 1, "score": 7, "model": "ours", "judge": ["strict", "single-v1"]}
COMPARED = {
    "instruction": "Name a fruit.",
    "preference": 1.25,
    "generator_1": "gpt4_1106_preview",
    "generator_2": "ours",
    "annotator": "weighted",
    "dataset": "fruits",
}


def written(folder: Path, *rows: dict[str, Any], name: str = "verdicts.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    write_rows(folder / name, rows)
    return folder / name


def read(folder: Path, *rows: dict[str, Any]) -> list[Judged]:
    return read_verdicts(written(folder, *rows))


def whose(found: list[Judged]) -> list[tuple[str, str, str, int]]:
    return [(each.benchmark, each.model, each.judge, len(each.rows)) for each in found]


# --- formats ---


def test_judgments_of_fastchat_are_ratings_by_question_and_turn(tmp_path):
    [found] = read(tmp_path, RATED, RATED | {"turn": 2, "score": 5.5})
    assert (found.benchmark, found.model, found.judge) == ("mt_bench", "ours", "strict")
    assert found.values() == {(81, 1): 7.0, (81, 2): 5.5}


def test_annotations_of_alpaca_eval_are_preferences_by_instruction(tmp_path):
    [found] = read(tmp_path, COMPARED, COMPARED | {"instruction": "Name a tree.", "preference": 2})
    assert (found.benchmark, found.model, found.judge) == ("alpaca_eval_2", "ours", "weighted")
    assert found.values() == {"Name a fruit.": 1.25, "Name a tree.": 2.0}


@pytest.mark.parametrize(
    ("rival", "benchmark"),
    [
        ("text_davinci_003", "alpaca_eval_1"),
        ("gpt4_1106_preview", "alpaca_eval_2"),
        ("gpt4_turbo", "alpaca_eval_2"),
    ],
)
def test_the_rival_tells_the_version_of_alpaca_eval(tmp_path, rival, benchmark):
    [found] = read(tmp_path, COMPARED | {"generator_1": rival})
    assert found.benchmark == benchmark


def test_a_judge_may_be_a_name_or_a_name_with_its_prompt(tmp_path):
    found = read(tmp_path, RATED | {"judge": "strict"}, RATED | {"turn": 2})
    assert whose(found) == [("mt_bench", "ours", "strict", 2)]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_rows_may_be_lines_or_a_list_as_they_are_or_compressed(tmp_path, suffix):
    import gzip

    path = tmp_path / f"verdicts{suffix}"
    text = json.dumps([COMPARED]) if suffix == ".json" else json.dumps(COMPARED)
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    assert whose(read_verdicts(path)) == [("alpaca_eval_2", "ours", "weighted", 1)]


# --- groups ---


def test_verdicts_are_grouped_by_model_and_judge_in_the_order_in_which_they_come(tmp_path):
    rows = [
        {"model": model, "judge": [judge, "single-v1"]}
        for model, judge in [("b", "x"), ("a", "x"), ("b", "y"), ("b", "x"), ("a", "x")]
    ]
    found = read(tmp_path, *(RATED | row | {"question_id": n} for n, row in enumerate(rows)))
    assert whose(found) == [
        ("mt_bench", "b", "x", 2),
        ("mt_bench", "a", "x", 2),
        ("mt_bench", "b", "y", 1),
    ]


def test_the_prompt_of_a_judgment_makes_no_other_judge(tmp_path):
    found = read(tmp_path, RATED, RATED | {"turn": 2, "judge": ["strict", "single-v1-multi-turn"]})
    assert whose(found) == [("mt_bench", "ours", "strict", 2)]


def test_both_versions_of_alpaca_eval_may_be_in_one_file(tmp_path):
    found = read(tmp_path, COMPARED, COMPARED | {"generator_1": "text_davinci_003"})
    assert [each.benchmark for each in found] == ["alpaca_eval_2", "alpaca_eval_1"]


def test_two_judges_may_judge_the_same_answer(tmp_path):
    found = read(tmp_path, COMPARED, COMPARED | {"annotator": "other", "preference": 2.0})
    assert [each.values() for each in found] == [{"Name a fruit.": 1.25}, {"Name a fruit.": 2.0}]


# --- values, outcomes, categories ---


def test_a_verdict_that_could_not_be_parsed_has_no_value(tmp_path):
    ratings, preferences = read(
        tmp_path,
        RATED,
        RATED | {"turn": 2, "score": mt_bench.UNRATED},
        COMPARED,
        COMPARED | {"instruction": "Name a tree.", "preference": None},
    )
    assert (ratings.values(), len(ratings.rows)) == ({(81, 1): 7.0}, 2)
    assert (preferences.values(), len(preferences.rows)) == ({"Name a fruit.": 1.25}, 2)


def test_the_outcome_of_a_rating_is_the_nearest_whole_one():
    found = Judged("mt_bench", "ours", "strict", Path("file"))
    assert [found.outcome(value) for value in (7.0, 7.4, 7.6)] == [7.0, 7.0, 8.0]


@pytest.mark.parametrize("benchmark", ["alpaca_eval_1", "alpaca_eval_2"])
def test_the_outcome_of_a_preference_is_which_answer_is_better_or_a_tie(benchmark):
    found = Judged(benchmark, "ours", "weighted", Path("file"))
    values = (1.0, 1.4999, 1.5, 1.5001, 2.0)
    assert [found.outcome(value) for value in values] == [1.0, 1.0, 1.5, 2.0, 2.0]


def test_a_rating_has_its_questions_category_and_a_preference_its_data_set(tmp_path):
    rest = {key: value for key, value in COMPARED.items() if key != "dataset"}
    ratings, preferences = read(
        tmp_path, RATED, RATED | {"turn": 2}, COMPARED, rest | {"instruction": "Name a tree."}
    )
    assert ratings.categories({81: "writing"}) == {(81, 1): "writing", (81, 2): "writing"}
    assert preferences.categories({}) == {"Name a fruit.": "fruits", "Name a tree.": "unknown"}


# --- folders of steps ---


@pytest.mark.parametrize(("name", "row"), [(mt_bench.JUDGMENTS, RATED), (alpaca_eval.ANNOTATIONS, COMPARED)])
def test_of_a_steps_folder_its_verdicts_are_read(tmp_path, name, row):
    written(tmp_path / "step", row, name=name)
    (tmp_path / "step" / "step.json").write_text("{}")
    assert len(read_verdicts(tmp_path / "step")) == 1


def test_a_folder_without_verdicts_is_none(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_verdicts(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: there is no such file"):
        read_verdicts(tmp_path / "none.jsonl")


# --- bad rows ---


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    "row",
    [
        *(without(RATED, field) for field in RATED),
        *(without(COMPARED, field) for field in COMPARED if field not in ("dataset", "generator_1")),
        RATED | {"turn": 3},
        RATED | {"score": "7"},
        RATED | {"score": None},
        RATED | {"question_id": "81"},
        COMPARED | {"preference": "1"},
        COMPARED | {"generator_2": None},
        {"instruction": "Name a fruit.", "output": "An apple.", "generator": "ours"},
    ],
    ids=lambda row: " ".join(f"{value}"[:9] for value in row.values()),
)
def test_a_row_that_is_no_verdict_is_named_by_file_and_number(tmp_path, row):
    first = RATED if "question_id" in row else COMPARED
    with pytest.raises(UserError) as refused:
        read(tmp_path, first | {"question_id": 82, "instruction": "Name a tree."}, row)
    assert str(refused.value).startswith(
        f"{tmp_path}/verdicts.jsonl, row 1 (line 2): is no verdict; FastChat's "
    )


def test_a_judgment_of_a_pair_is_refused_for_what_it_is(tmp_path):
    pair = {"question_id": 81, "model_1": "ours", "model_2": "theirs", "g1_winner": "model_1", "turn": 1}
    with pytest.raises(UserError, match=r"verdicts\.jsonl, row 1 \(line 2\): a judgment of a pair"):
        read(tmp_path, RATED, pair)


@pytest.mark.parametrize("rival", [{"generator_1": "someone"}, {"generator_1": None}])
def test_an_unknown_rival_is_named_beside_those_that_are_known(tmp_path, rival):
    expected = (
        rf"row 0 \(line 1\): generator_1 is {rival['generator_1']!r}; .*text_davinci_003.*gpt4_1106_preview"
    )
    with pytest.raises(UserError, match=expected):
        read(tmp_path, COMPARED | rival)


@pytest.mark.parametrize(
    ("row", "again", "item"),
    [
        (RATED, RATED | {"score": 3}, r"strict judged ours twice on '\(81, 1\)'"),
        (COMPARED, COMPARED | {"preference": 2.0}, r"weighted judged ours twice on 'Name a fruit\.'"),
    ],
)
def test_a_doubled_item_is_named_with_its_judge_and_model(tmp_path, row, again, item):
    with pytest.raises(UserError, match=rf"verdicts\.jsonl: {item}"):
        read(tmp_path, row, again)


def test_a_row_that_is_no_json_is_named(tmp_path):
    path = written(tmp_path, RATED)
    path.write_text(path.read_text() + "{")
    with pytest.raises(UserError, match=r"verdicts\.jsonl, row 1 \(line 2\): not JSON"):
        read_verdicts(path)


@pytest.mark.parametrize(
    "row",
    [
        RATED | {"judge": []},
        RATED | {"judge": None},
        RATED | {"judge": 5},
        COMPARED | {"generator_1": ["gpt4_turbo"]},
    ],
)
def test_a_judge_or_rival_that_is_no_name_is_named_by_file_and_number(tmp_path, row):
    with pytest.raises(UserError, match=r"row 0 \(line 1\)"):
        read(tmp_path, row)


def test_an_annotation_may_have_a_question_id_besides(tmp_path):
    assert whose(read(tmp_path, COMPARED | {"question_id": 3})) == [("alpaca_eval_2", "ours", "weighted", 1)]


@pytest.mark.parametrize(
    "row",
    [
        RATED | {"score": True},
        RATED | {"score": float("nan")},
        COMPARED | {"preference": float("nan")},
    ],
)
def test_a_value_that_is_no_number_is_no_verdict(tmp_path, row):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"row 0 \(line 1\)"):
        read_verdicts(path)


def test_a_preference_of_zero_is_a_draw_as_in_annotations_of_alpaca_eval_1(tmp_path):
    [found] = read(tmp_path, COMPARED | {"preference": 0, "generator_1": "text_davinci_003"})
    [value] = found.values().values()
    assert (value, found.outcome(value)) == (1.5, 1.5)
