"""Who knows every answer has the best score of every benchmark, and who guesses has that of chance."""

import json
import math
from collections import Counter, defaultdict

import pyarrow.parquet
import pytest
from oracles import Guesser, Oracle

from im_bench.config import Harness
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engine import Engine
from im_bench.evaluation.tasks import load_tasks
from im_bench.scores import read_scores

NAMES = [name for name, entry in BENCHMARKS.items() if entry.tasks]
BY_ITEMS = ("mmlu", "bbh")


def asked(who, out, name, entry, data, tokenizer, limit, **how):
    """The scores and the items of one benchmark."""
    hub, rows = data
    engine = Engine(who(load_tasks(name, entry, None, hub, rows)["tasks"], **how), tokenizer)
    spec = Harness(runner="harness", shots=None)
    out.mkdir()
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub, rows=rows)
    items = pyarrow.parquet.read_table(out / "items.parquet").to_pylist()
    return read_scores(out), items


def by_task(items):
    found = defaultdict(list)
    for item in items:
        found[item["task"]].append(item)
    return found


def check_oracle(name, scores, items):
    headline, *leaves = scores
    if headline.direction == "lower":
        assert {score.value for score in scores} == {0.0}
        return
    best = {task: best_share(name, mine) for task, mine in by_task(items).items()}
    assert {leaf.task: leaf.value for leaf in leaves} == pytest.approx(best if leaves else {}, rel=1e-12)
    weights = {task: len(mine) if name in BY_ITEMS else 1 for task, mine in by_task(items).items()}
    mean = sum(weights[task] * best[task] for task in best) / sum(weights.values())
    assert headline.value == pytest.approx(mean, rel=1e-12)


def best_share(name, items):
    """All; but two questions of BBH's causal judgement are there twice, answered yes and answered no."""
    if name != "bbh":
        return 1.0
    answers = defaultdict(Counter)
    for item in items:
        answers[json.loads(item["row"])["input"]][item["target"]] += 1
    return sum(max(each.values()) for each in answers.values()) / len(items)


def check_guesser(name, scores, items):
    value = scores[0].value
    if scores[0].direction == "lower":
        assert value > 80
    elif name == "coqa":
        assert value < 0.05
    else:
        mean, error = by_chance(name, items)
        assert abs(value - mean) <= 4 * error


def by_chance(name, items):
    """The headline that a guess has on average, and its standard error."""
    tasks = by_task(items)
    mean = square = 0.0
    for mine in tasks.values():
        weight = len(mine) / len(items) if name in BY_ITEMS else 1 / len(tasks)
        chances = [chance(name, json.loads(item["row"])) for item in mine]
        mean += weight * sum(chances) / len(mine)
        square += weight**2 * sum(each * (1 - each) for each in chances) / len(mine) ** 2
    return mean, math.sqrt(square)


def chance(name, row):
    """That a choice picked blindly is right, or is one of those that are true."""
    match name:
        case "mmlu":
            return 1 / len(row["choices"])
        case "openbookqa" | "arc":
            return 1 / len(row["choices"]["text"])
        case "hellaswag":
            return 1 / len(row["endings"])
        case "truthfulqa":
            labels = row["mc2_targets"]["labels"]
            return sum(labels) / len(labels)
        case "piqa" | "wsc273" | "winogrande" | "toxigen" | "ethics":
            return 1 / 2
        case "lambada" | "lambada_multilingual" | "gsm8k" | "bbh":
            return 0.0


def check(tmp_path, name, entry, data, tokenizer, limit=None):
    check_oracle(name, *asked(Oracle, tmp_path / "oracle", name, entry, data, tokenizer, limit))
    by_letter = entry.metric == "acc_norm,none"
    guessed = asked(Guesser, tmp_path / "guesser", name, entry, data, tokenizer, limit, by_letter=by_letter)
    check_guesser(name, *guessed)


@pytest.mark.parametrize("name", NAMES)
def test_an_oracle_has_the_best_score_and_a_guesser_that_of_chance(toy, tokenizer, tmp_path, name):
    entry = BENCHMARKS[name]
    if name == "mmlu":
        entry = entry._replace(tasks=("mmlu_other",))  # one of its four groups, to be quick
    check(tmp_path, name, entry, toy, tokenizer, limit=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_oracle_has_the_best_score_of_real_rows_and_a_guesser_that_of_chance(
    real, tokenizer, tmp_path, name
):
    entry = BENCHMARKS[name]
    if name == "lambada_multilingual":
        entry = entry._replace(tasks=("lambada_openai_mt_en",))  # other languages are not among them
    check(tmp_path, name, entry, real, tokenizer)
