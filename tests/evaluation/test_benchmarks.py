"""The registry of 21 benchmarks, and its agreement with conf/."""

from collections import Counter
from pathlib import Path

import pytest

from im_bench.config import load_yaml
from im_bench.evaluation.benchmarks import BENCHMARKS, CATEGORIES, JUDGED

CONF = Path(__file__).parents[2] / "conf/benchmark"
SETS = {"all", "nlp", "toy", "toy_alpaca"}


def test_there_are_21_benchmarks_of_which_3_are_judged():
    assert len(BENCHMARKS) == 21
    assert sum(entry.category == JUDGED for entry in BENCHMARKS.values()) == 3


def test_the_18_others_are_in_the_six_categories_of_the_paper():
    counts = Counter(entry.category for entry in BENCHMARKS.values() if entry.category != JUDGED)
    assert tuple(counts) == CATEGORIES
    assert counts == {
        "knowledge": 5,
        "multilingual": 3,
        "commonsense": 4,
        "math_code": 2,
        "bbh": 1,
        "safety": 3,
    }


def test_each_has_one_file_in_conf_under_its_name_and_nothing_else_has():
    assert {path.stem for path in CONF.glob("*.yaml")} - SETS == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_file_holds_its_benchmark_alone_with_the_runner_of_the_registry(name):
    ((key, spec),) = load_yaml(CONF / f"{name}.yaml").items()
    assert key == name
    entry = BENCHMARKS[name]
    if entry.tasks:
        assert spec["runner"] == "harness"
    else:
        assert spec["runner"] in ("humaneval", "mt_bench", "alpaca_eval")


def test_all_is_the_18_and_the_judged():
    nlp, everything = (load_yaml(CONF / f"{name}.yaml")["defaults"] for name in ("nlp", "all"))
    assert sorted(nlp) == sorted(name for name, entry in BENCHMARKS.items() if entry.category != JUDGED)
    assert sorted(everything) == sorted(["nlp", *(set(BENCHMARKS) - set(nlp))])


def test_only_translation_edit_rate_is_better_when_lower():
    assert {name for name, entry in BENCHMARKS.items() if entry.direction == "lower"} == {"wmt14", "wmt16"}
    assert {name for name, entry in BENCHMARKS.items() if entry.metric == "ter,none"} == {"wmt14", "wmt16"}


def test_no_task_is_asked_by_two_benchmarks():
    tasks = [task for entry in BENCHMARKS.values() for task in entry.tasks]
    assert len(tasks) == len(set(tasks))
