"""The length-controlled win rate: the package's own fit, at the official places, or why there is none."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from favours import answers, headline

from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation import alpaca_eval
from im_bench.judging.overlap import NOTE, OverlapJudge
from im_bench.scores import read_scores


def test_length_control_says_why_it_is_missing(files, tmp_path):
    folder, judge = answers(tmp_path, ["red"] * 6), OverlapJudge("overlap")
    alpaca_eval.judge(tmp_path, folder, judge, version=2, seed=0, length_control=True, **files)
    scores = {score.metric: score for score in read_scores(tmp_path)}
    assert scores["length_controlled_winrate"].value is None
    assert "df_gamed.csv" in scores["length_controlled_winrate"].reading_note
    assert scores["avg_length"].value == 3.0


def test_where_it_is_not_wanted_there_is_no_row_of_length_control(files, tmp_path):
    folder, judge = answers(tmp_path, ["red"] * 6), OverlapJudge("overlap")
    alpaca_eval.judge(tmp_path, folder, judge, version=2, seed=0, **files)
    assert [score.metric for score in read_scores(tmp_path)] == ["win_rate", "avg_length"]


MANY = [f"Task {number}." for number in range(30)]


@pytest.fixture
def gamed(tmp_path) -> Path:
    """A made-up df_gamed.csv: the later an instruction, the easier; a long baseline wins and a short one loses."""
    fields = "model,index,instruction_difficulty,preference,std_delta_len,not_gamed_baseline"
    long = [f"long,{i},{i / 10 - 1},{0.6 + i % 3 / 10},{-1 - i % 4 / 10},False" for i in range(len(MANY))]
    short = [f"short,{i},{i / 10 - 1},{0.4 - i % 3 / 10},{1 + i % 4 / 10},False" for i in range(len(MANY))]
    path = tmp_path / "df_gamed.csv"
    path.write_text("\n".join([fields, *long, *short]) + "\n")
    return path


def annotated(place: int, **changed: object) -> dict[str, object]:
    """An annotation of the instruction at this place, won the more likely the later it stands."""
    texts = {"instruction": MANY[place], "output_1": "x" * (place % 5 + 2), "output_2": "y" * (place % 7 + 1)}
    rest = {"generator_1": "strong", "generator_2": "mine", "preference": 1 + place / len(MANY)}
    return {**texts, **rest, **changed}


def fitted(annotations: Sequence[dict[str, object]], places: Sequence[int], gamed: Path) -> dict[str, float]:
    """What the package itself makes of annotations whose official places are told."""
    from alpaca_eval.metrics import glm_winrate
    from pandas import DataFrame

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glm_winrate, "hf_hub_download", lambda **_: str(gamed))
        frame = DataFrame([{**row, "index": place} for row, place in zip(annotations, places, strict=True)])
        return glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None)


def test_a_subset_in_another_order_is_fitted_with_the_official_places(gamed):
    chosen = list(range(29, 0, -2))
    annotations = [annotated(place) for place in chosen]
    official = {instruction: place for place, instruction in enumerate(MANY)}
    score = alpaca_eval.length_controlled(annotations, official, gamed, judge="j", note="a note")
    own = fitted(annotations, chosen, gamed)
    assert (score.value, score.stderr) == (own["length_controlled_winrate"], own["lc_standard_error"])
    assert score.value != fitted(annotations, range(len(chosen)), gamed)["length_controlled_winrate"]
    assert (score.count, score.total, score.judge, score.reading_note) == (15, 15, "j", "a note")


def test_length_control_is_the_packages_own_fit(gamed, tmp_path):
    gold = [
        {"instruction": each, "output": "good " * (2 + i % 5), "generator": "g"}
        for i, each in enumerate(MANY)
    ]
    mine = [row | {"output": "good " * (1 + i // 4), "generator": "mine"} for i, row in enumerate(gold)]
    write_rows(tmp_path / "gold.json", gold)
    (tmp_path / "answers").mkdir()
    write_rows(tmp_path / "answers" / alpaca_eval.ANSWERS, mine[:24][::-1])
    paths = {"references": tmp_path / "gold.json", "gold": tmp_path / "gold.json", "gamed": gamed}
    judge, how = OverlapJudge("overlap"), {"length_control": True, "limit": 24}
    alpaca_eval.judge(tmp_path, tmp_path / "answers", judge, version=2, seed=0, **paths, **how)
    score = read_scores(tmp_path)[1]
    own = fitted(read_rows(tmp_path / alpaca_eval.ANNOTATIONS), range(23, -1, -1), gamed)
    assert (score.task, score.count, score.reading_note) == ("alpaca_eval_2_length_controlled", 24, NOTE)
    assert score.value == pytest.approx(own["length_controlled_winrate"], abs=1e-9)
    assert score.stderr == pytest.approx(own["lc_standard_error"], abs=1e-9)
    assert score.value != pytest.approx(headline(tmp_path).value, abs=0.1)


def test_a_preference_that_is_not_there_makes_the_count_of_a_fit_smaller(gamed):
    annotations = [annotated(place, **({"preference": None} if place < 5 else {})) for place in range(30)]
    places = {instruction: place for place, instruction in enumerate(MANY)}
    score = alpaca_eval.length_controlled(annotations, places, gamed, judge="j", note=None)
    assert score.value == fitted(annotations, range(30), gamed)["length_controlled_winrate"]
    assert (score.count, score.total) == (25, 30)


def test_what_cannot_be_fitted_has_no_value_and_says_why(gamed):
    places = {instruction: place for place, instruction in enumerate(MANY)}
    score = alpaca_eval.length_controlled([annotated(3)], places, gamed, judge="j", note=None)
    assert (score.value, score.stderr, score.count, score.total) == (None, None, 0, 1)
    assert score.reading_note == alpaca_eval.NO_FIT
    unsaid = [annotated(place, preference=None) for place in range(30)]
    score = alpaca_eval.length_controlled(unsaid, places, gamed, judge="j", note="a note")
    assert (score.value, score.count, score.total, score.reading_note) == (None, 0, 30, "a note")
