"""Scores are those of lm-eval's own entry on the same rows, with the same shots and model."""

import datasets
import lm_eval
import pyarrow.parquet
import pytest
from entries import ENTRIES, OF_REAL, OF_TOY
from lm_eval import evaluator
from lm_eval.tasks import TaskManager
from oracles import Half

from im_bench.config import Harness
from im_bench.evaluation import harness
from im_bench.evaluation.engine import Engine
from im_bench.evaluation.tasks import TASKS, load_tasks
from im_bench.scores import read_scores

GROUPS = ("mmlu", "bbh")
# The paper's, but for HellaSwag, of whose examples the real rows have six; the others keep their task's own.
SHOTS = {"mmlu": 5, "piqa": 10, "hellaswag": 5, "winogrande": 5, "arc": 25}


def half(name, entry, data):
    hub, rows = data
    return Half(load_tasks(name, entry, SHOTS.get(name), hub, rows)["tasks"])


@pytest.fixture
def official(monkeypatch):
    """lm-eval's own entry, which is given the rows where it asks for a dataset."""
    load = datasets.load_dataset
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    # What it notes of the machine takes seconds to find out.
    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)
    monkeypatch.setattr(evaluator, "get_git_commit_hash", lambda: None)

    def evaluate(lm, name, entry, data, limit):
        hub, rows = data
        folder = TASKS / (entry.folder or name)
        with monkeypatch.context() as patch:
            patch.setattr(
                datasets, "load_dataset", lambda path, **how: load(f"{hub}/{path}", cache_dir=rows, **how)
            )
            return lm_eval.simple_evaluate(
                lm,
                tasks=list(entry.tasks),
                num_fewshot=SHOTS.get(name),
                limit=limit,
                bootstrap_iters=2,  # of none is no error at all, not even of a mean
                task_manager=TaskManager(include_path=folder, include_defaults=False),
            )

    return evaluate


def ours(out, lm, tokenizer, name, entry, data, limit):
    """The headline, the scores of the tasks, and the items."""
    hub, rows = data
    spec = Harness(runner="harness", shots=SHOTS.get(name))
    engine = Engine(lm, tokenizer)
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub, rows=rows)
    headline, *leaves = read_scores(out)
    return headline, leaves or [headline], pyarrow.parquet.read_table(out / "items.parquet").to_pylist()


def check(out, official, lm, tokenizer, name, entry, data, limit):
    headline, leaves, items = ours(out, lm, tokenizer, name, entry, data, limit)
    theirs = official(lm, name, entry, data, limit)
    metric, filter_ = entry.metric.split(",")
    assert len(leaves) == len(theirs["samples"])
    for leaf, (task, samples) in zip(leaves, theirs["samples"].items(), strict=True):
        assert leaf.task == task or leaf is headline
        check_score(leaf, theirs["results"][task])
        check_items(
            metric,
            [item for item in items if item["task"] == task],
            [sample for sample in samples if sample["filter"] == filter_],
        )
    if name in GROUPS:
        even = len({leaf.count for leaf in leaves}) == 1
        check_score(headline, theirs["results"][entry.tasks[0]], error=even)


def check_score(score, results, error=True):
    """Of an error the harness has a formula where it is that of a mean, or of a group of even tasks."""
    metric, filter_ = score.metric.split(",")
    assert score.value == results[score.metric]
    stderr = results[f"{metric}_stderr,{filter_}"]
    if stderr == "N/A":
        assert score.stderr is None
    elif error and metric != "ter":
        assert score.stderr == pytest.approx(stderr, rel=1e-9)


def check_items(metric, items, samples):
    assert [item["prompt"] for item in items] == [sample["prompt_hash"] for sample in samples]
    assert [item["item"] for item in items] == [sample["doc_hash"] for sample in samples]
    if metric != "ter":
        assert [item["outcome"] for item in items] == [sample[metric] for sample in samples]


@pytest.mark.parametrize("name", "piqa lambada winogrande truthfulqa coqa wmt14 gsm8k".split())
def test_scores_are_those_of_the_harness(official, toy, small, tokenizer, tmp_path, name):
    check(tmp_path, official, small, tokenizer, name, OF_TOY[name], toy, 3)


@pytest.mark.parametrize("name", "mmlu piqa lambada winogrande truthfulqa coqa wmt14 gsm8k bbh".split())
def test_scores_of_who_knows_every_other_answer_are_those_of_the_harness(
    official, toy, tokenizer, tmp_path, name
):
    entry = OF_TOY[name]
    check(tmp_path, official, half(name, entry, toy), tokenizer, name, entry, toy, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_scores_of_real_rows_are_those_of_the_harness(official, real, small, tokenizer, tmp_path, name):
    check(tmp_path, official, small, tokenizer, name, OF_REAL[name], real, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_scores_of_who_knows_every_other_real_answer_are_those_of_the_harness(
    official, real, tokenizer, tmp_path, name
):
    entry, limit = OF_REAL[name], 8 if name in GROUPS else 30
    check(tmp_path, official, half(name, entry, real), tokenizer, name, entry, real, limit)
