"""Scores are what the items of a benchmark score by the benchmark's own definition."""

import json

import pyarrow.parquet
import pytest
from entries import ENTRIES, OF_REAL, OF_TOY
from oracles import Half
from recomputed import extracted, outcome, scores

from im_bench.config import Harness
from im_bench.evaluation import harness
from im_bench.evaluation.engine import Engine
from im_bench.evaluation.tasks import load_tasks
from im_bench.scores import read_scores


def half(name, entry, data):
    hub, rows = data
    return Half(load_tasks(name, entry, None, hub, rows)["tasks"])


def items_of(out, lm, tokenizer, name, entry, data, limit):
    hub, rows = data
    spec = Harness(runner="harness", shots=None)
    engine = Engine(lm, tokenizer)
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub, rows=rows)
    items = pyarrow.parquet.read_table(out / "items.parquet").to_pylist()
    return [item | {key: json.loads(item[key]) for key in ("row", "responses")} for item in items]


def check(out, *asked):
    name = asked[2]
    items = items_of(out, *asked)
    ours = {score.task: score.value for score in read_scores(out)}
    by_hand = scores(name, items)
    assert ours == pytest.approx({task: by_hand[task] for task in ours}, rel=1e-12)
    assert len(ours) == (1 if len(by_hand) == 2 else len(by_hand))
    if not name.startswith("wmt"):
        for item in items:
            right = outcome(name, item["task"], item["row"], item["responses"])
            assert item["outcome"] == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("name", ENTRIES)
def test_scores_follow_from_the_items(toy, small, tokenizer, tmp_path, name):
    check(tmp_path, small, tokenizer, name, OF_TOY[name], toy, 3)


@pytest.mark.parametrize("name", ENTRIES)
def test_scores_follow_from_the_items_of_who_knows_every_other_answer(toy, tokenizer, tmp_path, name):
    entry = OF_TOY[name]
    check(tmp_path, half(name, entry, toy), tokenizer, name, entry, toy, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_scores_follow_from_the_items_of_real_rows(real, small, tokenizer, tmp_path, name):
    check(tmp_path, small, tokenizer, name, OF_REAL[name], real, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_scores_follow_from_the_items_of_who_knows_every_other_real_answer(real, tokenizer, tmp_path, name):
    entry = OF_REAL[name]
    check(tmp_path, half(name, entry, real), tokenizer, name, entry, real, 60)


@pytest.mark.parametrize("name", ["gsm8k", "bbh"])
def test_of_an_answer_in_steps_the_whole_is_kept_and_its_end_is_the_prediction(
    toy, tokenizer, tmp_path, name
):
    items = items_of(tmp_path, half(name, OF_TOY[name], toy), tokenizer, name, OF_TOY[name], toy, None)
    ends = [extracted(name, item["responses"][0]) for item in items]
    assert [item["prediction"] for item in items] == ends
    assert all(
        "One and one" in item["responses"][0] or end == "[invalid]"
        for item, end in zip(items, ends, strict=True)
    )
    assert 0 < ends.count("[invalid]") < len(ends)
