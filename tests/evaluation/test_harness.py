"""The harness's own tasks on data from a folder: its scores to the last digit, errors and groups of ours."""

import json
import math
import statistics

import datasets
import lm_eval
import pyarrow
import pyarrow.parquet
import pytest
import sacrebleu
import yaml
from lm_eval.tasks import TaskManager
from settings import ENGINE, RUNTIME

from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Harness, UserError
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS, Entry, group_score
from im_bench.evaluation.engine import open_engine
from im_bench.evaluation.tasks import TASKS, load_tasks
from im_bench.scores import Score, read_scores

FOLDERS = [TASKS / (entry.folder or name) for name, entry in BENCHMARKS.items() if entry.tasks]
FRUITS = ("apple", "cherry", "plum", "pear", "fig", "lime", "quince", "date", "grape", "melon")


def piqa(count, start=0):
    return [
        {
            "goal": f"Eat {number} of {FRUITS[number % 10]}",
            "sol1": f"Peel the {FRUITS[number % 10]}" + ", slowly" * (number % 3),
            "sol2": "Call a horse" + " and the wind" * (number % 2),
            "label": number % 2,
        }
        for number in range(start, start + count)
    ]


def arc(count, start=0):
    return [
        {
            "id": f"q{number}",
            "question": f"Which of these is {FRUITS[number % 10]} {number}?",
            "choices": {
                "text": ["the sea", f"a {FRUITS[number % 10]}", f"{number}", "the wind is cold"],
                "label": list("ABCD"),
            },
            "answerKey": "ABCD"[number % 4],
        }
        for number in range(start, start + count)
    ]


def translations(count):
    return [
        {"translation": {"de": f"Die {fruit} ist rot.", "en": f"The {fruit} is red."}}
        for fruit in FRUITS[:count]
    ]


TABLES = {
    ("baber/piqa", "default"): {"train": piqa(20), "validation": piqa(11, start=20)},
    ("allenai/ai2_arc", "ARC-Easy"): {"train": arc(30), "validation": arc(2, 30), "test": arc(9, 32)},
    ("allenai/ai2_arc", "ARC-Challenge"): {"train": arc(30), "validation": arc(2, 30), "test": arc(5, 41)},
    ("wmt/wmt16", "de-en"): {"validation": translations(2), "test": translations(4)},
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder in hub layout with a few rows of our own."""
    folder = tmp_path_factory.mktemp("hub")
    for dataset in {dataset for dataset, _ in TABLES}:
        configs = []
        for config, splits in [
            (config, splits) for (name, config), splits in TABLES.items() if name == dataset
        ]:
            (folder / dataset / config).mkdir(parents=True)
            for split, rows in splits.items():
                pyarrow.parquet.write_table(
                    pyarrow.Table.from_pylist(rows), folder / dataset / config / f"{split}.parquet"
                )
            files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in splits]
            configs.append({"config_name": config, "data_files": files})
        (folder / dataset / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return str(folder)


@pytest.fixture(scope="module")
def engine(make_model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, make_model(positions=2048), tokenizer)
    return open_engine(Checkpoint(str(folder), None, folder), ENGINE, RUNTIME)


@pytest.fixture
def official(engine, monkeypatch):
    """lm-eval's own entry on the same data, which it is given where it asks for a dataset."""

    def evaluate(tasks, shots, hub, limit=None):
        load = datasets.load_dataset
        with monkeypatch.context() as patch:
            patch.setattr(datasets, "load_dataset", lambda path, **options: load(f"{hub}/{path}", **options))
            return lm_eval.simple_evaluate(
                engine.lm,
                tasks=list(tasks),
                num_fewshot=shots,
                limit=limit,
                bootstrap_iters=100,
                task_manager=TaskManager(include_path=FOLDERS, include_defaults=False),
            )

    return evaluate


def scored(engine, out, name, hub, shots=None, limit=None, entry=None):
    entry = entry or BENCHMARKS[name]
    spec = Harness(runner="harness", shots=shots)
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub)
    return {score.task: score for score in read_scores(out)}


def items(out):
    return pyarrow.parquet.read_table(out / "items.parquet").to_pylist()


@pytest.mark.parametrize("name, shots", [("piqa", 10), ("arc", 0), ("arc", 3)])
def test_scores_and_errors_are_those_of_the_harness_itself(engine, official, hub, tmp_path, name, shots):
    theirs = official(BENCHMARKS[name].tasks, shots, hub)
    ours = scored(engine, tmp_path, name, hub, shots)
    for task in BENCHMARKS[name].tasks:
        results = theirs["results"][task]
        assert ours[task].value == results["acc_norm,none"]
        assert ours[task].stderr == pytest.approx(results["acc_norm_stderr,none"], rel=1e-12)
        asked = [sample["prompt_hash"] for sample in theirs["samples"][task]]
        assert [item["prompt"] for item in items(tmp_path) if item["task"] == task] == asked


def test_shots_change_the_prompts(engine, hub, tmp_path):
    prompts = []
    for shots in (0, 2):
        scored(engine, tmp_path, "piqa", hub, shots)
        prompts.append({item["prompt"] for item in items(tmp_path)})
    assert not set.intersection(*prompts)


def test_prompts_do_not_depend_on_what_was_scored_before(engine, hub, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        out.mkdir()
        scored(engine, out, "piqa", hub, shots=5)
    assert items(first) == items(second)


def test_a_benchmark_of_one_task_has_one_score(engine, hub, tmp_path):
    (score,) = scored(engine, tmp_path, "piqa", hub).values()
    assert (score.task, score.category, score.direction, score.count, score.total) == (
        "piqa",
        "knowledge",
        "higher",
        11,
        11,
    )


def test_a_benchmark_of_several_tasks_has_the_mean_of_them_first(engine, hub, tmp_path):
    easy, challenge = (scored(engine, tmp_path, "arc", hub)[task] for task in BENCHMARKS["arc"].tasks)
    first = read_scores(tmp_path)[0]
    assert (first.task, first.count) == ("arc", 14)
    assert first.value == pytest.approx((easy.value + challenge.value) / 2)
    assert first.stderr == pytest.approx(math.hypot(easy.stderr, challenge.stderr) / 2)


def test_a_limit_takes_so_many_items_of_every_task(engine, hub, tmp_path):
    scores = scored(engine, tmp_path, "arc", hub, limit=3)
    assert {task: score.count for task, score in scores.items()} == {
        "arc": 6,
        "arc_easy": 3,
        "arc_challenge": 3,
    }


def test_every_item_is_kept_with_its_outcome(engine, hub, tmp_path):
    scores = scored(engine, tmp_path, "arc", hub)
    for task in BENCHMARKS["arc"].tasks:
        outcomes = [item["outcome"] for item in items(tmp_path) if item["task"] == task]
        assert statistics.mean(outcomes) == scores[task].value
    assert len({(item["task"], item["item"]) for item in items(tmp_path)}) == 14
    assert json.loads((tmp_path / "results.json").read_text())["results"].keys() >= {"arc_easy"}


def test_translation_is_scored_by_the_edit_rate_of_the_corpus(engine, official, hub, tmp_path):
    entry = BENCHMARKS["wmt16"]._replace(tasks=("wmt16-de-en",))
    theirs = official(entry.tasks, None, hub, limit=3)
    score = scored(engine, tmp_path, "wmt16", hub, limit=3, entry=entry)["wmt16"]
    assert score.value == theirs["results"]["wmt16-de-en"]["ter,none"]
    rows = items(tmp_path)
    rate = 100 * sum(row["outcome"] for row in rows) / sum(row["size"] for row in rows)
    assert rate == pytest.approx(score.value)


def test_tasks_are_built_once_whatever_the_checkpoint(hub):
    assert load_tasks("piqa", BENCHMARKS["piqa"], 0, hub) is load_tasks("piqa", BENCHMARKS["piqa"], 0, hub)


@pytest.mark.parametrize("of_hub", [False, True], ids=["folder", "hub"])
def test_data_that_is_not_there_is_named_with_the_remedy(hub, of_hub):
    remedy = "paths.hub=FOLDER can serve it" if of_hub else f"look at {hub}"
    with pytest.raises(UserError, match=f"benchmark data of openbookqa: .*; .*{remedy}"):
        load_tasks("openbookqa", BENCHMARKS["openbookqa"], None, None if of_hub else hub)


# --- by hand ---


def leaf(value, stderr, count):
    return Score("b", "c", "t", "m", value, stderr, count, count, "higher")


LEAVES = [leaf(0.5, 0.1, 10), leaf(0.8, 0.2, 30)]


def test_a_group_weighs_its_tasks_alike():
    score = group_score("b", Entry("c", metric="m"), LEAVES)
    assert score.value == pytest.approx(0.65)
    assert score.stderr == pytest.approx(math.sqrt(0.05**2 + 0.1**2))
    assert (score.task, score.count, score.total) == ("b", 40, 40)


def test_a_group_weighs_its_tasks_by_items_where_the_harness_does():
    score = group_score("b", Entry("c", metric="m", weighting="items"), LEAVES)
    assert score.value == pytest.approx((0.5 * 10 + 0.8 * 30) / 40)
    assert score.stderr == pytest.approx(math.sqrt((0.1 / 4) ** 2 + (0.2 * 3 / 4) ** 2))


def test_a_group_of_one_is_its_task():
    score = group_score("b", Entry("c", metric="m"), LEAVES[:1])
    assert (score.value, score.stderr, score.count) == (0.5, 0.1, 10)


def test_an_unknown_error_of_one_task_leaves_that_of_the_group_unknown():
    assert group_score("b", Entry("c", metric="m"), [LEAVES[0], leaf(1.0, None, 1)]).stderr is None


def test_the_error_of_a_mean_is_that_of_the_harness():
    from lm_eval.api.metrics import mean_stderr

    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert harness.mean_stderr(values) == pytest.approx(math.sqrt(0.3 / 5))  # squares sum to 1.2, over 4
    assert harness.mean_stderr(values) == pytest.approx(mean_stderr(values))


def test_a_single_item_has_no_error():
    assert harness.mean_stderr([1.0]) is None
    assert harness.ratio_stderr([1.0], [4.0]) is None


def test_the_error_of_a_ratio_is_that_of_a_mean_where_all_lengths_are_one():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert harness.ratio_stderr(values, [1.0] * 5) == pytest.approx(100 * harness.mean_stderr(values))


def test_the_error_of_a_ratio_by_hand():
    # 4 edits of 10 words; residuals 1 - 0.4 * 5 = -1 and 3 - 0.4 * 5 = 1.
    assert harness.ratio_stderr([1, 3], [5, 5]) == pytest.approx(100 * math.sqrt(2 * 2 / 1) / 10)


def test_edits_over_lengths_are_the_corpus_rate_of_sacrebleu():
    pairs = [
        ("The sea is wide.", "The sea is very wide."),
        ("A horse has four legs.", "four legs has a horse"),
        ("Yes.", ""),
        ("The wind is cold today .", "The wind is cold today ."),
    ]
    edits = [harness._edits(pair) for pair in pairs]
    expected = sacrebleu.corpus_ter([said for _, said in pairs], [[gold for gold, _ in pairs]]).score
    assert 100 * sum(count for count, _ in edits) / sum(length for _, length in edits) == pytest.approx(
        expected
    )


@pytest.mark.slow
def test_the_folders_hold_the_tasks_that_the_harness_knows_by_these_names():
    every, chosen = TaskManager(), TaskManager(include_path=FOLDERS, include_defaults=False)
    for task in chosen.all_tasks:
        assert every.task_index[task].yaml_path == chosen.task_index[task].yaml_path
    asked = {task for entry in BENCHMARKS.values() for task in entry.tasks}
    assert asked <= set(chosen.all_tasks)


# --- real rows ---


@pytest.mark.slow
def test_a_task_that_states_no_shots_keeps_none_whatever_is_asked(engine, official, shared, tmp_path):
    entry = BENCHMARKS["truthfulqa"]
    theirs = official(entry.tasks, 2, shared / "hub", limit=3)["samples"]["truthfulqa_mc2"]
    scored(engine, tmp_path, "truthfulqa", str(shared / "hub"), shots=2, limit=3)
    asked = [item["prompt"] for item in items(tmp_path)]
    assert asked == [sample["prompt_hash"] for sample in theirs]
    scored(engine, tmp_path, "truthfulqa", str(shared / "hub"), shots=0, limit=3)
    assert asked == [item["prompt"] for item in items(tmp_path)]


def test_more_shots_than_the_data_has_examples_are_refused_by_the_key(hub):
    with pytest.raises(UserError, match=r"benchmark\.piqa\.shots=500: the data of piqa has \d+ examples"):
        load_tasks("piqa", BENCHMARKS["piqa"], 500, hub)
