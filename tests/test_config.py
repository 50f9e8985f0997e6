"""conf/ and the shapes in config/: every choice composes, every wrong value is refused by its key."""

import copy
import math
import re
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from im_bench import config, identity, paper
from im_bench.composing import CONF, SWEEPS, compose_run
from im_bench.config import Run, UserError, load_yaml, validated

CHOICES = sorted(CONF.glob("*/*.yaml"))
FILES = [*CONF.glob("**/*.yaml"), *SWEEPS.glob("*.yaml")]
# What only the user can say.
SAID = {
    "dataset=local": "dataset.path=rows.jsonl",
    "model=local": "model.path=folder",
    "launcher=local_parallel": "runtime=cpu",
    "subset=first": "subset.size=10",
    "subset=random": "subset.size=10",
    "subset=fraction": "subset.fraction=0.1",
    "subset=stratified": "subset.size=10",
    "subset=ratio": "subset.target=5 subset.size=10",
    "subset=ratio_window": "subset.window=[5,10] subset.size=10",
    "dataset=hub": "dataset.id=org/name",
    "dataset=address": "dataset.address=http://127.0.0.1/rows.jsonl",
    "dataset=mixture": "dataset.parts={lima:1,alpagasus_dolly_3k:0.5}",
    "judge=openai": "judge.model=judge-1",
    "judge=local": "judge.model=judge-1",
    "judge=replay": "judge.name=said judge.files=verdicts.jsonl",
}
PUBLISHED = [path for path in (CONF / "dataset").glob("*.yaml") if path.stem not in ("hub", "address")]
IDENTITIES = [
    shape
    for name, shape in vars(identity).items()
    if name.endswith("Identity") and issubclass(shape, BaseModel)
]


def compose(*overrides: str) -> Run:
    """A cell of the default config, but for a judge that needs no name and one benchmark, which is quick."""
    given = {override.partition("=")[0] for override in overrides}
    rest = {"judge": "overlap", "benchmark": "[piqa]"}
    return compose_run("config", CONF, [*(f"{k}={v}" for k, v in rest.items() if k not in given), *overrides])


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", CHOICES, ids=name_of)
def test_every_file_of_conf_is_a_choice_that_composes(path: Path) -> None:
    choice = f"{path.parent.name}={path.stem}"
    said = SAID[choice].split() if choice in SAID else []
    compose(choice, *said)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_config_is_short_and_says_first_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert lines[0].startswith("# ")


@pytest.mark.parametrize("group", ["dataset", "loss"])
def test_a_choice_is_called_what_its_file_is_called(group: str) -> None:
    for path in (CONF / group).glob("*.yaml"):
        assert load_yaml(path)["name"] == path.stem


def test_the_default_cell_is_the_papers_but_for_a_judge_that_is_still_served() -> None:
    run = compose_run("config", CONF, ["judge=overlap"])
    assert (run.model.name, run.dataset.name, run.loss.name) == ("llama2_7b", "lima", "it")
    assert (run.train.learning_rate, run.train.warmup_ratio, run.train.schedule) == (2e-5, 0.03, "linear")
    assert (run.train.global_batch, run.train.epochs, run.train.max_tokens) == (128, 2, 2048)
    assert run.train.precision == "bf16"
    assert len(run.benchmark) == 21


def test_im_is_it_with_the_instructions_counted_in_full() -> None:
    it, im = compose("loss=it").loss, compose("loss=im").loss
    assert im == it.model_copy(update={"name": "im", "prompt_weight": 1.0})
    assert it.prompt_weight == 0.0


def test_none_trains_nothing() -> None:
    assert not compose("loss=none").loss.trains
    assert compose("loss=it").loss.trains


def test_every_hub_model_is_pinned_to_a_commit() -> None:
    for path in (CONF / "model").glob("*.yaml"):
        model = load_yaml(path)
        assert model["source"] != "hub" or len(model["revision"]) == 40


def test_a_published_dataset_without_a_hash_is_pinned_by_its_commit() -> None:
    for path in PUBLISHED:
        dataset = load_yaml(path)
        if dataset["source"] == "address":
            assert dataset["sha256"] or re.fullmatch(r"[0-9a-f]{40}", dataset["git_blob"]), path
            assert re.search(r"/[0-9a-f]{40}/", dataset["address"]), path
        if dataset["source"] == "hub":
            assert re.fullmatch(r"[0-9a-f]{40}", dataset["revision"]), path


def test_every_published_dataset_says_its_licence_format_and_number_of_examples() -> None:
    for path in PUBLISHED:
        dataset = load_yaml(path)
        if dataset["source"] in ("address", "hub"):
            assert dataset["licence"] and dataset["num_examples"] and dataset["format"] != "auto", path


def test_a_field_that_the_chosen_dataset_leaves_at_its_default_may_be_said() -> None:
    run = compose(
        "dataset=lima", "dataset.on_bad_row=skip", "subset=ratio", "subset.target=5", "subset.size=9"
    )
    assert run.dataset.on_bad_row == "skip"
    with pytest.raises(UserError, match="dataset.on_bad_rwo: "):
        compose("dataset=lima", "dataset.on_bad_rwo=skip")


def test_a_mixture_is_named_by_its_parts_and_says_nothing_of_them() -> None:
    parts = "dataset.parts={lima: 1, alpagasus_dolly_3k: 0.5}"
    assert compose("dataset=mixture", parts).dataset.name == "lima-alpagasus_dolly_3k_0.5"
    assert compose("dataset=mixture", parts, "dataset.name=mine").dataset.name == "mine"
    with pytest.raises(UserError, match="dataset.on_bad_row: in a mixture each part has its own"):
        compose("dataset=mixture", parts, "dataset.on_bad_row=skip")
    with pytest.raises(UserError, match="^dataset.parts.lima.on_bad_row='no': "):
        compose("dataset=mixture", "dataset.parts={lima: {on_bad_row: 'no'}}")


def test_every_dataset_of_table_5_is_a_choice_of_its_size() -> None:
    """Those that are parts of Tulu V2 have fewer: it is published after its authors' filter."""
    for row in paper.lengths():
        dataset = load_yaml(CONF / "dataset" / f"{row['dataset']}.yaml")
        if dataset["source"] == "address":
            assert dataset["num_examples"] == int(row["examples"])
        elif dataset["source"] == "mixture":
            ((whole, fraction),) = dataset["parts"].items()
            assert (whole, f"tulu_v2_{100 * fraction:g}") == ("tulu_v2", row["dataset"])


@pytest.fixture(scope="module")
def whole() -> DictConfig:
    """A composed cell with benchmarks of every kind, and a judge that has every dial."""
    price = "judge.price={prompt: 2.5, answer: 10, date: 2026-11-01}"
    run = compose("benchmark=[piqa,humaneval,mt_bench]", "judge=openai", "judge.model=judge-1", price)
    return OmegaConf.create(run.model_dump(mode="json"))


def changed(cfg: DictConfig, changes: dict[str, object]) -> Run:
    """What becomes of a composed config with other values."""
    cfg = copy.deepcopy(cfg)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    return validated(cfg)


def test_a_composed_config_loses_nothing_when_it_is_written_and_read(whole: DictConfig) -> None:
    assert changed(whole, {}).model_dump(mode="json") == OmegaConf.to_container(whole)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", 0),
        ("train.epochs", "many"),
        ("train.global_batch", 0),
        ("train.max_tokens", 7),
        ("train.learning_rate", 0),
        ("train.learning_rate", math.inf),
        ("train.learning_rate", math.nan),
        ("train.warmup_ratio", 1.1),
        ("train.schedule", "step"),
        ("train.max_grad_norm", -1),
        ("train.precision", "fp8"),
        ("loss.prompt_weight", 1.5),
        ("loss.prompt_weight", -0.1),
        ("loss.average", "mean"),
        ("limit", 0),
        ("seed", -1),
        ("seed", 1.5),
        ("subset.size", 0),
        ("judge.temperature", 3),
        ("judge.temperature", -0.1),
        ("judge.pairwise", "both"),
        ("judge.both_orders", "sometimes"),
        ("judge.concurrency", 0),
        ("judge.timeout_seconds", 0),
        ("judge.deadline_seconds", 0),
        ("judge.budget", 0),
        ("judge.price.prompt", -1),
        ("judge.price.date", "yesterday"),
        ("runtime.device", "tpu"),
        ("runtime.micro_batch_tokens", 0),
        ("benchmark.piqa.shots", -1),
        ("benchmark.humaneval.samples", 0),
        ("benchmark.humaneval.temperatures", 0.1),
        ("benchmark.humaneval.temperatures", [0.1, 0.7, 0.1]),
        ("benchmark.mt_bench.max_new_tokens", 0),
        ("report.reading", "both"),
        ("dataset.format", "xml"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_its_key(whole: DictConfig, key: str, value: object) -> None:
    with pytest.raises(UserError) as error:
        changed(whole, {key: value})
    assert str(error.value).startswith(f"{key}={value!r}: ")
    assert "\n" not in str(error.value)


def test_all_wrong_values_are_told_together(whole: DictConfig) -> None:
    with pytest.raises(UserError) as error:
        changed(whole, {"limit": 0, "train.epochs": 0})
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["train.epochs=0", "limit=0"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["judge=openai", "benchmark=mt_bench"], "judge.model"),
        (["judge=local", "benchmark=alpaca_eval_2"], "judge.model"),
        (["judge=replay", "benchmark=mt_bench"], "judge.name"),
        (["judge=replay", "judge.name=said", "benchmark=mt_bench"], "judge.files"),
        (["dataset=local"], "dataset.path"),
        (["model=local"], "model.path"),
        (["subset=first"], "subset.size"),
        (["~train.epochs"], "train.epochs"),
        (["~loss"], "loss"),
    ],
)
def test_a_missing_value_is_named_with_what_to_type(overrides: list[str], key: str) -> None:
    with pytest.raises(UserError) as error:
        compose(*overrides)
    assert str(error.value) == f"{key}: a value is needed, e.g. {key}=VALUE"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["engine.batch_size=0"], "engine.batch_size=0: give a number of prompts from 1, or auto"),
        (["engine.batch_size=many"], "engine.batch_size=many: give a number of prompts from 1, or auto"),
        (["engine=server", "engine.concurrency=0"], "engine.concurrency=0: input should be greater than or"),
        (["subset=full", "subset.size=5"], "subset.size=5 has no meaning with subset=full"),
        (["subset=first", "subset.size=null"], "subset.size: subset=first needs it, e.g. subset.size=1000"),
        (["subset=fraction", "subset.fraction=null"], "subset.fraction: subset=fraction needs it"),
        (
            ["subset=random", "subset.size=5", "+subset.target=3"],
            "subset.target=3.0 has no meaning with subset=random; use subset=ratio",
        ),
        (
            ["subset=ratio_window", "subset.window=[9,3]", "subset.size=5"],
            "subset.window=9,3: the lowest ratio comes first",
        ),
        (
            ["subset=random", "subset.size=5", "+subset.unit=tokens"],
            "subset.unit=tokens has no meaning with subset=random",
        ),
        (["dataset=wizardlm", "dataset.source_field=null"], "dataset.only: dataset.source_field must say"),
        (["dataset=wizardlm", "dataset.id=null"], "dataset.id: a hub dataset needs its hub id"),
        (["dataset=mixture", "dataset.parts={}"], "dataset.parts: name datasets and the fraction of each"),
        (["dataset=mixture", "dataset.parts=[lima]"], "dataset.parts: expected names and fractions"),
        (
            ["dataset=mixture", "dataset.parts={limo: 1}"],
            "dataset.parts.limo: there is no such dataset; did you mean",
        ),
        (
            ["dataset=mixture", "dataset.parts={tulu_v2_10: 1}"],
            "dataset.parts.tulu_v2_10: a mixture has no mixtures",
        ),
        (["loss.output_weight=0"], "loss=it: prompt, output and template weight are 0, 0, 0"),
        (["loss=none", "loss.prompt_weight=1"], "loss=none: prompt, output and template weight are 1, 0, 0"),
        (
            ["loss=im", "loss.output_weight=0", "loss.name=prompt_only"],
            "loss.output_weight=0: with loss=prompt_only no end of a turn would be trained",
        ),
        (["loss=it", "loss.kl_weight=1"], "loss=it with other dials than its own is another loss; name it"),
        (["loss=im", "loss.turns=last"], "loss=im with other dials than its own is another loss; name it"),
        (["loss=im_released", "loss.prompt_weight=0"], "loss.labels=released_im says itself which tokens"),
        (["loss=it_released", "loss.turns=last"], "loss.labels=released_it says itself which tokens"),
        (["loss=it_released", "model.chat_template=chatml"], "loss=it_released: the published code's labels"),
        (["loss=kl_released", "loss.kl_weight=0"], "loss.kl=target has no meaning without loss.kl_weight"),
        (
            ["loss=plw", "loss.prompt_weight=1.5"],
            "loss.prompt_weight=1.5: input should be less than or equal",
        ),
        (["loss=plw", "loss.prompt_weight=-0.5"], "loss.prompt_weight=-0.5: input should be greater than"),
        (["dataset=local", "dataset.path=null"], "dataset.path: give the file"),
        (["model=local", "model.path=null"], "model.path: give the folder"),
        (["model.id=null"], "model.id: a hub model needs its hub id"),
        (["dataset.address=null"], "dataset.address: a published dataset needs its address"),
        (["benchmark=[piqa]", "~benchmark.piqa"], "benchmark: at least one is needed"),
        (
            ["judge=openai", "judge.model=m", "judge.budget=5"],
            "judge.budget: needs judge.price, in US dollars per million tokens, e.g. 'judge.price={",
        ),
        (
            ["judge=openai", "judge.model=m", "judge.price={prompt: 1, answer: 2}"],
            "judge.price.date: a value is needed",
        ),
        (["judge=overlap", "judge.model=m"], "judge.model: the chosen judge has no such key"),
        (["judge=replay", "judge.name=said", "judge.files=[]"], "judge.files=[]: tuple should have at least"),
        (
            ["benchmark=alpaca_eval_1", "+benchmark.alpaca_eval_1.length_controlled=true"],
            "benchmark.alpaca_eval_1.length_controlled: length control is of AlpacaEval 2.0",
        ),
        (["loss.name=${nosuch}"], "loss.name: Interpolation key 'nosuch' not found"),
        (["+train.momentum=1"], "train.momentum: there is no such key"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError) as error:
        compose(*overrides)
    assert str(error.value).startswith(reason)


# --- judges ---


@pytest.mark.parametrize(
    ("ways", "label"),
    [
        ([], "overlap"),
        (["judge.pairwise=ranking"], "overlap (ranking)"),
        (["judge.both_orders=true"], "overlap (both orders)"),
        (["judge.pairwise=ranking", "judge.both_orders=true"], "overlap (ranking, both orders)"),
        (["judge.name=mine", "judge.both_orders=true"], "mine (both orders)"),
    ],
)
def test_a_judges_label_says_in_which_way_it_compares(ways: list[str], label: str) -> None:
    assert compose(*ways).judge.label == label


def test_a_served_judge_is_called_like_its_model_unless_it_is_named() -> None:
    served = ["judge=openai", "judge.model=judge-1"]
    assert compose(*served).judge.label == "judge-1"
    assert compose(*served, "judge.name=mine").judge.label == "mine"


def test_the_default_judge_is_one_that_the_user_serves_and_names() -> None:
    judge = compose_run("config", CONF, ["judge.model=judge-1", "benchmark=mt_bench"]).judge
    assert isinstance(judge, config.Served)
    assert (judge.name, judge.base_url, judge.api_key_env) == ("judge-1", "http://localhost:8000/v1", None)
    with pytest.raises(UserError, match="^judge.model: a value is needed"):
        compose_run("config", CONF, ["benchmark=mt_bench"])


@pytest.mark.parametrize(
    ("judge", "model"), [("gpt4", "gpt-4"), ("gpt4_turbo", "gpt-4-1106-preview"), ("openai", None)]
)
def test_the_papers_judges_are_there_and_say_that_they_are_retired(judge: str, model: str | None) -> None:
    found = compose(f"judge={judge}", f"judge.model={model or 'm'}").judge
    assert load_yaml(CONF / "judge" / f"{judge}.yaml")["model"] == (model or "???")
    assert (found.retired is None) == (model is None)
    assert (found.price is None) == (model is None)
    if model:
        assert "no longer served" in found.retired and "paper" in found.retired


def test_files_of_verdicts_are_one_or_several() -> None:
    said = ["judge=replay", "judge.name=said"]
    assert compose(*said, "judge.files=a.json").judge.files == (Path("a.json"),)
    assert compose(*said, "judge.files=[a.json,b.json]").judge.files == (Path("a.json"), Path("b.json"))


def test_length_control_is_wanted_of_alpaca_eval_2_unless_it_is_refused() -> None:
    asked = compose("benchmark=[alpaca_eval_1,alpaca_eval_2]").benchmark
    assert [spec.length_controlled for spec in asked.values()] == [False, True]
    without = compose("benchmark=alpaca_eval_2", "benchmark.alpaca_eval_2.length_controlled=false")
    assert not without.benchmark["alpaca_eval_2"].length_controlled


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda shape: shape.__name__)
def test_no_identity_holds_where_or_how_a_step_runs(identity: type[BaseModel]) -> None:
    execution = {
        config.Runtime,
        config.Tracker,
        config.Paths,
        config.Report,
        config.Overlap,
        config.Replay,
        config.Served,
        config.Price,
        config.Model,
        config.HF,
        config.Fast,
        config.Server,
        Path,
    }
    assert execution.isdisjoint(field.annotation for field in identity.model_fields.values())


def test_defaults_in_identities_never_change() -> None:
    """A default is left out of a key, so another default would give old keys to new results.

    Raise the version of the steps that it touches instead, and add the field here.
    """
    shapes = [*IDENTITIES, config.Subset, config.Train, config.HumanEval]
    defaults = {
        (shape.__name__, name): field.default
        for shape in shapes
        for name, field in shape.model_fields.items()
        if not field.is_required()
    }
    assert defaults == {
        ("BaseIdentity", "id"): None,
        ("BaseIdentity", "revision"): None,
        ("BaseIdentity", "sha256"): None,
        ("BaseIdentity", "seed"): None,
        ("SourceIdentity", "fraction"): 1.0,
        ("SourceIdentity", "source_field"): None,
        ("SourceIdentity", "only"): (),
        ("SourceIdentity", "allow_empty_output"): False,
        ("SourceIdentity", "on_bad_row"): "error",
        ("Subset", "size"): None,
        ("Subset", "fraction"): None,
        ("Subset", "target"): None,
        ("Subset", "window"): None,
        ("Subset", "unit"): "words",
        ("LossIdentity", "labels"): "parts",
        ("LossIdentity", "turns"): "all",
        ("LossIdentity", "prompt_min_tokens"): 0,
        ("LossIdentity", "prompt_min_ratio"): 0.0,
        ("LossIdentity", "neftune_alpha"): 0.0,
        ("LossIdentity", "kl_weight"): 0.0,
        ("LossIdentity", "kl"): "full",
        ("HarnessIdentity", "prompt"): "raw",
        ("HarnessIdentity", "engine"): "hf",
        ("HumanEvalIdentity", "engine"): "hf",
        ("AnswersIdentity", "engine"): "hf",
        ("HarnessIdentity", "context"): None,
        ("HarnessIdentity", "epoch"): None,
        ("HumanEvalIdentity", "context"): None,
        ("HumanEvalIdentity", "epoch"): None,
        ("AnswersIdentity", "context"): None,
        ("AnswersIdentity", "epoch"): None,
        ("LossesIdentity", "epoch"): None,
        ("MemorisationIdentity", "engine"): "hf",
        ("MemorisationIdentity", "context"): None,
        ("MemorisationIdentity", "epoch"): None,
        ("JudgeIdentity", "model"): None,
        ("JudgeIdentity", "temperature"): None,
        ("JudgeIdentity", "body"): {},
        ("JudgeIdentity", "sha256"): (),
        ("JudgeIdentity", "pairwise"): "own",
        ("JudgeIdentity", "both_orders"): False,
        ("VerdictsIdentity", "length_control"): False,
        ("Train", "lora"): None,
        ("Train", "save_epochs"): False,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [1", "not YAML: "), ("a: @b", "not YAML: "), ("- a", "expected keys, found list")],
)
def test_a_file_that_is_no_config_is_refused_by_its_name(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_yaml(path)
    assert reason in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)
