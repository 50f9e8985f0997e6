"""A cell's key: what changes it, and the keys of which of its steps."""

import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from small_cell import STEPS, cell_of, kinds, words

from im_bench.composing import CONF, compose_run
from im_bench.config import UserError, judge_for
from im_bench.pipeline import Cell, plan


@pytest.fixture(scope="module")
def planned(given: Path) -> Callable[..., Cell]:
    return cache(partial(cell_of, given))


@pytest.mark.parametrize(
    "override",
    [
        "runtime.micro_batch_tokens=64",
        "runtime.save_steps=7",
        "engine.batch_size=3",
        "runtime.threads=2",
        "runtime=gpu",
        "tracker=wandb",
        "paths.results=elsewhere",
        "paths.cache=elsewhere",
        "loss.name=a_label",
        "model.name=a_label",
        "dataset.name=a_label",
        "dataset.format=prompt_completion",
        "dataset.source_field=nowhere",
        "dataset.num_examples=24",
        "judge.name=a_label",
        "report.reading=published",
        "report.baseline=im",
    ],
)
def test_where_and_how_a_cell_runs_does_not_change_its_key(
    planned: Callable[..., Cell], override: str
) -> None:
    assert planned(override).key == planned().key


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("train.global_batch=8", {"base"}),
        ("train.precision=bf16", {"base"}),
        ("train.learning_rate=0.01", {"base"}),
        ("loss=im", {"base"}),
        ("loss.average=token", {"base"}),
        ("dataset.on_bad_row=skip", {"base"}),
        ("seed=1", {"base"}),
        ("limit=3", {"base", "train"}),
        ("benchmark.piqa.shots=1", {"base", "train", "answers", "verdicts"}),
        ("model.chat_template=own", set()),
    ],
)
def test_what_changes_a_number_changes_the_keys_of_what_it_touches(
    planned: Callable[..., Cell], override: str, kept: set[str]
) -> None:
    before, after = planned(), planned(override)
    assert after.key != before.key
    keys = {step.key for step in before.steps()}
    assert {step.kind for step in after.steps() if step.key in keys} == kept


SERVED = ("judge=openai", "judge.model=judge-1")


@pytest.mark.parametrize(
    "override",
    [
        "judge.name=a_label",
        "judge.concurrency=7",
        "judge.timeout_seconds=7",
        "judge.deadline_seconds=7",
        "judge.base_url=http://127.0.0.1:1/v1",
        "judge.api_key_env=null",
        "judge.price={prompt: 1, answer: 2, date: 2026-11-01}",
        "judge.tokenizer=elsewhere",
        "judge.retired=since today",
    ],
)
def test_where_and_how_a_judge_is_asked_does_not_change_the_key(
    planned: Callable[..., Cell], override: str
) -> None:
    assert planned(*SERVED, override).key == planned(*SERVED).key


@pytest.mark.parametrize(
    "override",
    [
        "judge.model=another",
        "judge.temperature=1",
        "judge.temperature=null",
        "judge.body={reasoning_effort: low}",
    ],
)
def test_what_changes_a_verdict_is_another_key_for_the_verdicts_alone(
    planned: Callable[..., Cell], override: str
) -> None:
    before, after = planned(*SERVED), planned(*SERVED, override)
    keys = {step.key for step in before.steps()}
    assert kinds([step.kind for step in after.steps() if step.key not in keys]) == {"verdicts": 2}


@pytest.mark.parametrize(
    ("override", "others"),
    [
        ("judge.pairwise=ranking", {"alpaca_eval_2"}),
        ("judge.both_orders=true", {"alpaca_eval_1", "alpaca_eval_2"}),
    ],
)
def test_a_way_of_comparing_is_another_judge_only_where_it_changes_what_is_asked(
    planned: Callable[..., Cell], override: str, others: set[str]
) -> None:
    judged = "benchmark=[mt_bench,alpaca_eval_1,alpaca_eval_2]"
    before, after = planned(judged), planned(judged, override)
    keys = {step.key for step in before.benchmarks.values()}
    assert {name for name, step in after.benchmarks.items() if step.key not in keys} == others
    labels = {name: judge_for(after.run.judge, spec).label for name, spec in after.run.benchmark.items()}
    assert {name for name, label in labels.items() if label != "overlap"} == others


def test_files_of_verdicts_are_known_by_their_content(planned: Callable[..., Cell], tmp_path: Path) -> None:
    said = [tmp_path / "mine.jsonl", tmp_path / "copied.jsonl", tmp_path / "other.jsonl"]
    for path, text in zip(said, ("{}", "{}", "{ }"), strict=True):
        path.write_text(text)
    replayed = [planned("judge=replay", "judge.name=said", f"judge.files={path}").key for path in said]
    assert replayed[0] == replayed[1] != replayed[2]
    several = f"judge.files=[{said[0]},{said[2]}]"
    assert planned("judge=replay", "judge.name=said", several).key not in replayed
    with pytest.raises(UserError, match=f"judge.files={tmp_path}/none.jsonl: there is no such file"):
        planned("judge=replay", "judge.name=said", f"judge.files={tmp_path}/none.jsonl")


def test_length_control_is_of_its_own_benchmark_alone(planned: Callable[..., Cell]) -> None:
    both = "benchmark=[piqa,alpaca_eval_1,alpaca_eval_2]"
    with_it, without = planned(both), planned(both, "benchmark.alpaca_eval_2.length_controlled=false")
    kept = {step.key for step in with_it.steps()} & {step.key for step in without.steps()}
    assert [step.label for step in with_it.steps() if step.key not in kept] == [
        "local-local-full-it-seed0-alpaca_eval_2-overlap"
    ]


def test_a_mixture_of_one_whole_file_is_that_file(planned: Callable[..., Cell], given: Path) -> None:
    def mixed(fraction: float) -> str:
        parts = f"dataset.parts={{mine: {{path: '{given / 'rows.jsonl'}', fraction: {fraction}}}}}"
        overrides = [word for word in words(given, Path("results")) if not word.startswith("dataset")]
        return plan(compose_run("config", CONF, [*overrides, "dataset=mixture", parts])).checkpoint.key

    assert mixed(1) == planned().checkpoint.key != mixed(0.5)


def test_every_value_of_a_subset_is_in_its_key(planned: Callable[..., Cell]) -> None:
    subsets = [
        ["subset=ratio", "subset.target=2", "subset.size=8"],
        ["subset=ratio", "subset.target=3", "subset.size=8"],
        ["subset=ratio", "subset.target=3", "subset.size=8", "subset.unit=tokens"],
        ["subset=ratio_window", "subset.window=[1,3]", "subset.size=8"],
        ["subset=stratified", "subset.size=8"],
        ["subset=fraction", "subset.fraction=0.5"],
        ["subset=fraction", "subset.fraction=0.25"],
    ]
    assert len({planned(*each).checkpoint.key for each in subsets}) == len(subsets)


def test_a_subset_is_another_training(planned: Callable[..., Cell]) -> None:
    first, random = (planned(f"subset={name}", "+subset.size=8") for name in ("first", "random"))
    assert len({planned().checkpoint.key, first.checkpoint.key, random.checkpoint.key}) == 3


def test_a_file_or_folder_is_known_by_its_content_and_not_its_place(
    planned: Callable[..., Cell], given: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    for name in ("model", "hub", "assets"):
        shutil.copytree(given / name, moved / name)
    shutil.copy(given / "rows.jsonl", moved / "other.jsonl")
    places = [f"model.path={moved}/model", f"paths.hub={moved}/hub", f"paths.assets={moved}/assets"]
    assert planned(*places, f"dataset.path={moved}/other.jsonl").key == planned().key
    (moved / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert planned(*places, f"dataset.path={moved}/rows.jsonl").key != planned().key


def test_the_base_model_is_one_cell_whatever_would_have_been_trained(
    planned: Callable[..., Cell], tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "a", "completion": "b"}\n')
    changes = [f"dataset.path={other}", "train.epochs=9", "subset=first", "+subset.size=1"]
    assert planned("loss=none", *changes).key == planned("loss=none").key


def test_both_versions_of_alpaca_eval_judge_the_same_answers(planned: Callable[..., Cell]) -> None:
    both = planned("benchmark=[piqa,mt_bench,alpaca_eval_1,alpaca_eval_2]")
    assert kinds([step.kind for step in both.steps()]) == STEPS | {"verdicts": 3}
