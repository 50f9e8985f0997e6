"""Scores are what the items of a benchmark score by the benchmark's own definition."""

import json

import pyarrow.parquet
import pytest
from oracles import Half
from recomputed import extracted, outcome, scores

from im_bench.config import Harness
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engine import Engine
from im_bench.evaluation.engines.hf import Model
from im_bench.evaluation.tasks import load_tasks
from im_bench.scores import read_scores
from im_bench.toy.hub import hub_tables
from im_bench.toy.hub.tables import write_tables
from im_bench.toy.world import make_world

ENTRIES = {name: entry for name, entry in BENCHMARKS.items() if entry.tasks}
# To be quick, one of MMLU's four groups.
OF_TOY = ENTRIES | {"mmlu": ENTRIES["mmlu"]._replace(tasks=("mmlu_other",))}
# Other languages are not among the real rows.
OF_REAL = ENTRIES | {
    "lambada_multilingual": ENTRIES["lambada_multilingual"]._replace(tasks=("lambada_openai_mt_en",))
}

LARGER = ("business_ethics", "global_facts", "navigate", "snarks", "word_sorting")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy world's rows, more of some tasks so that weights show, and a place for what is read of them."""
    folder = tmp_path_factory.mktemp("toy")
    tables = [
        table._replace(rows=table.rows * 5) if table.config in LARGER and table.split == "test" else table
        for table in hub_tables(make_world(0))
    ]
    write_tables(folder / "hub", tables)
    return str(folder / "hub"), str(folder / "rows")


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    # A place of their own: `datasets` takes what it has read of a folder for that of any with the same README.
    return str(shared / "hub"), str(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def small(make_model, tokenizer):
    """A real model with random weights."""
    return Model(make_model(positions=2048).eval(), tokenizer, at_once=32)


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
def test_of_an_answer_in_steps_its_end_is_kept(toy, tokenizer, tmp_path, monkeypatch, name):
    entry, written = OF_TOY[name], []
    lm = half(name, entry, toy)
    write = lm.generate_until
    monkeypatch.setattr(lm, "generate_until", lambda requests: written.extend(write(requests)) or written)
    items = items_of(tmp_path, lm, tokenizer, name, entry, toy, None)
    ends = [extracted(name, text) for text in written]
    assert [item["responses"] for item in items] == [[end] for end in ends]
    assert 0 < ends.count("[invalid]") < len(ends)
