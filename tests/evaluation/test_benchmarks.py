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


IN_THE_TASK = {"gsm8k": "8", "bbh": "3", "truthfulqa": "6"}
SOURCES = {"paper": "paper", "published code": "code", "lm-eval": "lm-eval"}


def documented():
    lines = (CONF.parents[1] / "docs/benchmarks.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows if row[0].strip("`") in BENCHMARKS}


def test_the_documented_table_is_the_registry():
    table = documented()
    assert list(table) == [name for name, entry in BENCHMARKS.items() if entry.category != JUDGED]
    for name, (category, tasks, score, shots, whose, group) in table.items():
        entry, spec = BENCHMARKS[name], load_yaml(CONF / f"{name}.yaml")[name]
        assert category == entry.category
        assert tasks == (", ".join(f"`{task}`" for task in entry.tasks) or "ours")
        assert score == f"`{entry.metric}`{'↓' if entry.direction == 'lower' else ''}"
        assert SOURCES[whose] == entry.shots_from
        assert group.endswith("by items") == (entry.weighting == "items")
        if name == "humaneval":
            assert shots == "raw prompt"
        elif name in IN_THE_TASK:
            assert (shots, spec["shots"]) == (f"{IN_THE_TASK[name]}, in the task", None)
        else:
            assert shots == str(spec["shots"] or 0)


def test_shots_that_nobody_states_are_the_tasks_own():
    for name, entry in BENCHMARKS.items():
        spec = load_yaml(CONF / f"{name}.yaml")[name]
        if entry.shots_from == "lm-eval" and spec["runner"] == "harness":
            assert not spec["shots"], name
