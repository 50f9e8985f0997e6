"""lm-eval's files of results, old and new ones, as rows of the ledger."""

import json
from pathlib import Path
from typing import Any

import pytest
from ingested import Command, Said, digest, in_ledger, ledger, refused

from im_bench.cli import main
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.costs import COSTS
from im_bench.evaluation.result_files import GROUPS, NO_COUNTS, OFFICIAL, leaf_tasks
from im_bench.report.collect import read_ledger

OLD_CONFIG = {"model": "hf-causal", "model_args": "pretrained=EleutherAI/pythia-1b,dtype=float16"}


@pytest.fixture
def take(said: Command, tmp_path: Path):
    """Ingests a file of this content, under this name; as JSON, or as text where it is text."""

    def run(content: Any, name: str = "results.json", *words: object) -> Said:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return said("ingest", tmp_path / name, *words, "--json")

    return run


def old(tasks: dict[str, dict[str, float]], version: int = 0, **config: Any) -> dict[str, Any]:
    """A file of lm-eval 0.3."""
    rest = {"num_fewshot": 0, "limit": None} | config
    return {"results": tasks, "versions": dict.fromkeys(tasks, version), "config": OLD_CONFIG | rest}


def new(tasks: dict[str, dict[str, Any]], items: int = 100, **other: Any) -> dict[str, Any]:
    """A file of lm-eval since 0.4.2."""
    return {
        "results": {task: {"alias": task} | metrics for task, metrics in tasks.items()},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 5),
        "n-samples": {task: {"original": 2 * items, "effective": items} for task in tasks},
        "config": {"model": "hf", "model_args": "pretrained=org/ours", "limit": float(items)},
        "model_name": "org/ours",
    } | other


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture):
    """What was said beside the rows, without the file's name."""
    return lambda: [record.getMessage().partition("results.json: ")[2] for record in caplog.records]


# --- what lm-eval itself writes ---


@pytest.fixture(scope="module")
def own(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a tiny model on two benchmarks of several tasks."""
    results = tmp_path_factory.mktemp("own")
    cell = [
        "experiment=toy",
        "loss=none",
        "model=local",
        f"model.path={given / 'model'}",
        "benchmark=[lambada,wmt14,piqa]",
        f"paths.hub={given / 'hub'}",
        f"paths.results={results}",
        "runtime.threads=1",
        "limit=4",
    ]
    assert main(["run", *cell]) == 0
    return results


@pytest.mark.slow
def test_the_folder_of_a_step_gives_the_rows_that_the_step_made(said, own):
    made = {(row.task, row.metric): row for row in read_ledger(own / "scores.jsonl")}
    folders = sorted((own / "store/harness").glob("local-*"))
    assert said("ingest", *folders).code == 0
    taken = {(row.task, row.metric): row for row in in_ledger()}
    assert taken.keys() == made.keys() and len(made) == 1 + 3 + 3
    for place, row in taken.items():
        same = ("benchmark", "category", "value", "stderr", "count", "total", "direction", "version")
        assert [getattr(row, key) for key in same] == [getattr(made[place], key) for key in same], place
        assert row.model == "model" and row.source.startswith("results.json (sha256 ")


@pytest.mark.slow
def test_of_a_folder_that_lm_eval_wrote_the_newest_file_is_taken(said, own, tmp_path, caplog):
    from lm_eval.loggers import EvaluationTracker

    [step] = (own / "store/harness").glob("*-piqa-*")
    content = json.loads((step / "results.json").read_text())
    for value in (0.25, 0.75):
        content["results"]["piqa"]["acc_norm,none"] = value
        tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
        tracker.general_config_tracker.log_experiment_args("hf", "pretrained=org/ours", None, None, False)
        tracker.save_results_aggregated(dict(content))
    [folder] = (tmp_path / "out").iterdir()
    newest = max(folder.iterdir())
    assert (folder.name, len(list(folder.iterdir()))) == ("org__ours", 2)
    rows = said("ingest", folder, "--json").rows
    assert rows["org/ours", "piqa"]["value"] == 0.75
    assert rows["org/ours", "piqa"]["source"] == f"{newest.name} (sha256 {digest(newest)})"
    assert f"{newest.name} is the newest of 2 files" in caplog.text


def test_groups_and_their_sizes_are_those_of_lm_evals_own_files():
    from lm_eval.tasks import TaskManager

    from im_bench.evaluation.tasks import TASKS

    for group, folder in (("mmlu", "mmlu/default"), ("bbh_cot_fewshot", "bbh/cot_fewshot")):
        manager = TaskManager(include_path=TASKS / folder, include_defaults=False)
        assert set(GROUPS[group]) == {task for task in manager.all_subtasks if task.startswith(f"{group}_")}
    assert {OFFICIAL[f"mmlu_{name}"] for name in ("professional_law", "miscellaneous")} == {1534, 783}
    few = {
        f"bbh_cot_fewshot_{name}": OFFICIAL[f"bbh_cot_fewshot_{name}"] for name in ("snarks", "word_sorting")
    }
    assert list(few.values()) == [178, 250]
    assert OFFICIAL["bbh_cot_fewshot_causal_judgement"] == 187
    assert OFFICIAL["bbh_cot_fewshot_penguins_in_a_table"] == 146
    assert {
        len(leaf_tasks(entry)) == len(COSTS[name].items) for name, entry in BENCHMARKS.items() if entry.tasks
    } == {True}


# --- new files ---


def test_a_task_becomes_its_benchmark_with_its_items_version_and_shots(take, tmp_path):
    rows = take(new({"piqa": {"acc,none": 0.5, "acc_norm,none": 0.6, "acc_norm_stderr,none": 0.02}})).rows
    row = rows["org/ours", "piqa"]
    assert len(rows) == 1
    assert (row["benchmark"], row["category"], row["metric"]) == ("piqa", "knowledge", "acc_norm,none")
    assert (row["value"], row["stderr"], row["count"], row["total"]) == (0.6, 0.02, 100, 100)
    assert (row["version"], row["judge"], row["reading_note"]) == ("1.0", None, "5 shots")
    assert row["source"] == f"results.json (sha256 {digest(tmp_path / 'results.json')})"
    assert (row["dataset"], row["loss"], row["sweep"]) == ("unknown", "unknown", "ingested")


def test_a_benchmark_of_several_tasks_is_their_mean_and_each_has_a_row(take):
    ter = {"wmt14-en-fr": 80.0, "wmt14-fr-en": 60.0}
    rows = take(new({task: {"ter,none": each, "ter_stderr,none": 3.0} for task, each in ter.items()})).rows
    assert {task: row["value"] for (_, task), row in rows.items()} == ter | {"wmt14": 70.0}
    headline = rows["org/ours", "wmt14"]
    assert (headline["direction"], headline["count"]) == ("lower", 200)
    assert headline["stderr"] == pytest.approx((3**2 + 3**2) ** 0.5 / 2)


def test_mmlu_weighs_its_subjects_by_their_items(take):
    tasks = {task: {"acc,none": 0.0, "acc_stderr,none": 0.0} for task in GROUPS["mmlu"]}
    tasks["mmlu_virology"] = {"acc,none": 1.0, "acc_stderr,none": 0.0}
    content = new(tasks, items=10)
    content["n-samples"]["mmlu_virology"] = {"original": 166, "effective": 40}
    rows = take(content).rows
    assert rows["org/ours", "mmlu"]["value"] == pytest.approx(40 / (40 + 56 * 10))
    assert rows["org/ours", "mmlu"]["count"] == 600 and len(rows) == 1 + 57


def test_a_partial_benchmark_has_no_score_and_what_lacks_is_told(take, told):
    rows = take(new({"arc_easy": {"acc_norm,none": 0.4, "acc_norm_stderr,none": "N/A"}})).rows
    assert {task: (row["value"], row["stderr"]) for (_, task), row in rows.items()} == {
        "arc_easy": (0.4, None)
    }
    assert told() == ["no score of arc, as it lacks arc_challenge"]


def test_tasks_of_no_benchmark_are_told_but_groups_and_aliases_are_not(take, told):
    tasks = {
        "piqa": {"acc_norm,none": 0.5},
        "mmlu_stem": {"acc,none": 0.5},
        "gsm8k": {"exact_match,strict-match": 0.5},
        "mmlu_pro": {"exact_match,custom-extract": 0.5},
        "coqa": {"em,none": 0.5},
    }
    content = new(tasks, groups={"mmlu_stem": {"acc,none": 0.5}})
    assert len(take(content).rows) == 1
    assert told() == [
        "left out, as no task of the benchmarks: gsm8k (gsm8k_cot shows other examples), mmlu_pro, "
        "coqa (has no f1,none)"
    ]


def test_gsm8k_is_the_benchmark_under_gsm8k_cot_alone(take):
    [(_, row)] = take(new({"gsm8k_cot": {"exact_match,strict-match": 0.3}})).rows.items()
    assert (row["benchmark"], row["task"], row["value"]) == ("gsm8k", "gsm8k", 0.3)
    said = take(new({"gsm8k": {"exact_match,strict-match": 0.3}}))
    assert (
        said.code == 2
        and "no task of the benchmarks, but gsm8k (gsm8k_cot shows other examples)" in said.error
    )


def test_two_files_of_one_model_are_one_cell(said, tmp_path):
    for task in ("piqa", "toxigen"):
        metrics = {"acc,none": 0.5, "acc_norm,none": 0.5}
        (tmp_path / f"{task}.json").write_text(json.dumps(new({task: metrics})))
    assert len(said("ingest", tmp_path / "piqa.json", tmp_path / "toxigen.json", "--json").rows) == 2
    assert len({row.cell for row in in_ledger()}) == 1
    before = ledger()
    said("ingest", tmp_path / "toxigen.json")
    assert ledger() == before


def test_two_files_that_say_different_things_of_one_task_are_refused(said, tmp_path):
    for name, value in (("a", 0.5), ("b", 0.6)):
        (tmp_path / f"{name}.json").write_text(json.dumps(new({"piqa": {"acc_norm,none": value}})))
    done = said("ingest", tmp_path / "a.json", tmp_path / "b.json")
    assert done.code == 2 and "both have piqa of org/ours; give one" in done.error


def test_the_table_for_a_person_shows_tasks_only_where_their_benchmark_has_no_score(said, tmp_path):
    content = new({task: {"acc,none": 0.5} for task in ("lambada_openai", "lambada_standard", "ethics_cm")})
    (tmp_path / "results.json").write_text(json.dumps(content))
    output = said("ingest", tmp_path / "results.json").output
    assert "lambada " in output and "ethics_cm" in output and "50.00" in output
    assert "lambada_openai" not in output
    assert "50.00" in said("report", "ingested").output


# --- old files ---


def test_old_names_and_metrics_are_those_of_today(take, told):
    tasks = {
        "hellaswag": {"acc": 0.3, "acc_stderr": 0.01, "acc_norm": 0.4, "acc_norm_stderr": 0.02},
        "truthfulqa_mc": {"mc1": 0.2, "mc1_stderr": 0.01, "mc2": 0.35, "mc2_stderr": 0.03},
        "coqa": {"f1": 0.6, "f1_stderr": 0.02, "em": 0.5, "em_stderr": 0.02},
        "wmt14-en-fr": {"bleu": 20.0, "ter": 70.0, "ter_stderr": 0.5, "chrf": 50.0},
        "wmt14-fr-en": {"bleu": 20.0, "ter": 60.0, "ter_stderr": 0.5, "chrf": 50.0},
    }
    rows = take(old(tasks)).rows
    found = {task: (row["metric"], row["value"], row["count"]) for (_, task), row in rows.items()}
    assert found == {
        "hellaswag": ("acc_norm,none", 0.4, 10042),
        "truthfulqa": ("acc,none", 0.35, 817),
        "coqa": ("f1,none", 0.6, 500),
        "wmt14": ("ter,none", 65.0, 6006),
        "wmt14-en-fr": ("ter,none", 70.0, 3003),
        "wmt14-fr-en": ("ter,none", 60.0, 3003),
    }
    assert {model for model, _ in rows} == {"EleutherAI/pythia-1b"}
    row = rows["EleutherAI/pythia-1b", "truthfulqa"]
    assert (row["stderr"], row["reading_note"]) == (0.03, f"0 shots; {NO_COUNTS}")
    assert told() == []


def test_a_version_of_an_old_file_is_told_from_those_of_today(take):
    rows = take(old({"piqa": {"acc": 0.5, "acc_norm": 0.6}}, version=1)).rows
    assert rows["EleutherAI/pythia-1b", "piqa"]["version"] == "1 of lm-eval 0.3"


def test_hendryckstest_is_mmlu_since_its_version_1(take, told):
    tasks = {
        task.replace("mmlu_", "hendrycksTest-"): {"acc": 0.5, "acc_stderr": 0.1} for task in GROUPS["mmlu"]
    }
    rows = take(old(tasks, version=1, num_fewshot=5)).rows
    row = rows["EleutherAI/pythia-1b", "mmlu"]
    assert (row["value"], row["count"]) == (pytest.approx(0.5), 14042)
    assert row["reading_note"] == f"5 shots; {NO_COUNTS}"
    assert rows["EleutherAI/pythia-1b", "mmlu_anatomy"]["count"] == 135
    said = take(old(tasks, version=0))
    assert said.code == 2 and "the letters of choices are scored since its version 1" in said.error


@pytest.mark.parametrize(("limit", "count"), [(None, 1838), (50, 50), (5000, 1838), (0.1, 184)])
def test_without_counts_items_are_the_official_ones_up_to_the_limit(take, limit, count):
    rows = take(old({"piqa": {"acc_norm": 0.6}}, limit=limit)).rows
    assert rows["EleutherAI/pythia-1b", "piqa"]["count"] == count


def test_files_of_0_4_0_have_filters_and_no_counts(take):
    content = {
        "results": {"openbookqa": {"acc,none": 0.2, "acc_norm,none": 0.3, "acc_norm_stderr,none": 0.02}},
        "versions": {"openbookqa": "Yaml"},
        "n-shot": {"openbookqa": 0},
        "config": {"model": "hf", "model_args": "pretrained=org/ours,peft=org/adapter", "limit": None},
    }
    rows = take(content).rows
    row = rows["org/adapter", "openbookqa"]
    assert (row["value"], row["count"], row["version"]) == (0.3, 500, "Yaml")


def test_what_is_ambiguous_in_old_files_is_not_guessed(take, told):
    tasks = {"piqa": {"acc_norm": 0.5}, "lambada": {"ppl": 4.0, "acc": 0.6}, "bigbench_snarks": {"acc": 0.5}}
    assert len(take(old(tasks)).rows) == 1
    assert told() == [
        "left out, as no task of the benchmarks: lambada (does not say whether it is lambada_openai or "
        "lambada_standard), bigbench_snarks"
    ]


# --- what is no file of results ---


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (new({"piqa": {"acc_norm,none": float("nan")}}), "results.piqa.acc_norm,none is nan, not a number"),
        (new({"piqa": {"acc_norm,none": "0.5"}}), "results.piqa.acc_norm,none is '0.5', not a number"),
        (new({"piqa": {"acc_norm,none": 62.5}}), "results.piqa.acc_norm,none is 62.5, above 1"),
        (new({"piqa": {"acc_norm,none": -1}}), "results.piqa.acc_norm,none is -1, below 0"),
        (
            new({"piqa": {"acc_norm,none": 0.5, "acc_norm_stderr,none": float("inf")}}),
            "results.piqa.acc_norm_stderr,none is inf, not a number",
        ),
        (
            new({"piqa": {"acc_norm,none": 0.5}}, items=0),
            "n-samples.piqa.effective is 0, not a number of items",
        ),
        (old({"piqa": {"acc_norm": 0.5}}, limit=0), "config.limit is 0, not a number of items"),
        (old({"piqa": {"acc_norm": 0.5}}, limit="all"), "config.limit is 'all', not a number"),
        (
            new({"piqa": {"acc_norm,none": 0.5}}, versions=[1]),
            "versions is list, where lm-eval writes an object",
        ),
        ({"results": []}, "results is list, where lm-eval writes an object"),
        ({"results": {"piqa": 0.5}}, "results.piqa is float, where lm-eval writes an object"),
        ({"results": {}}, "results has no task of the benchmarks"),
        ({"results": {"piqa": {"acc_norm": 0.5}}}, 'names no model; add "model_name" to it'),
        (
            {"results": {"piqa": {"acc_norm": 0.5}}, "config": {"model_args": 5}},
            "config.model_args is int, where lm-eval writes an object",
        ),
        ({"scores": []}, "is an object without verdicts or results; lm-eval's results have"),
        (json.dumps(new({"piqa": {}}), indent=1)[:80], "not JSON"),
        ('{"results": ' + "[" * 100_000, "nested too deeply"),
        ("", "the file holds no rows"),
        ("results", "row 0: not JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_key(take, tmp_path, content, reason):
    said = take(content)
    assert f"im-bench: {tmp_path}/results.json" in said.error
    refused(said, "")
    assert reason in said.error


def test_a_file_cut_off_is_told_with_the_place(take, tmp_path):
    text = json.dumps(new({"piqa": {"acc_norm,none": 0.5}}), indent=1)
    refused(take(text[:200]), f"{tmp_path}/results.json: not JSON (")
    assert "it may be cut off" in take(text[:200]).error


def test_a_file_that_is_not_utf_8_is_told(said, tmp_path):
    (tmp_path / "results.json").write_bytes(b'{"results": {"caf\xe9": {}}}')
    refused(said("ingest", tmp_path / "results.json"), f"{tmp_path}/results.json: not UTF-8")


def test_a_folder_without_results_is_told_what_it_might_have(said, tmp_path):
    (tmp_path / "empty").mkdir()
    done = said("ingest", tmp_path / "empty")
    refused(
        done,
        f"{tmp_path}/empty: is a folder without judgments.jsonl or annotations.json; lm-eval's results",
    )


def test_a_file_of_nothing_known_is_told_all_that_can_be_taken(said, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    error = said("ingest", tmp_path / "a.jsonl").error
    for word in (
        "a.jsonl, row 0 (line 1): is no verdict",
        "FastChat's",
        "annotations",
        "results.json",
        "leaderboards",
    ):
        assert word in error
