"""What `im-bench plan` foretells: values worked by hand, nothing run, fetched or written, and no framework loaded."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_imports import loaded

from im_bench.assets import ASSETS
from im_bench.cli import main
from im_bench.composing import CONF, compose_run, sweep_runs
from im_bench.config import Model, UserError
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.costs import COSTS, VERDICTS, amount, items, judged
from im_bench.pipeline import Cell, plan, plan_sweep
from im_bench.planning import Plan, foresee
from im_bench.planning.forecast import PEAK, READING, TRAINING, WRITING, Hours
from im_bench.planning.shown import _hours
from im_bench.planning.sizes import parameters
from im_bench.planning.tokens import TURN, WORD
from im_bench.store import Step, Store

WORDS = 5
"""Of each conversation below: three in the instruction, two in the output."""
TOKENS = WORD * WORDS + 2 * TURN
SIZE = 6.738e9
Planned = Callable[..., Plan]


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """A cell of Llama-2-7B on twenty conversations, at hand; of the model and the benchmarks nothing is."""
    row = {"prompt": "Name a fruit.", "completion": "An apple."}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 20)
    (tmp_path / "assets").mkdir()
    return [
        *("model=llama2_7b", "dataset=local", f"dataset.path={tmp_path}/rows.jsonl", "loss=im"),
        *("benchmark=[piqa]", f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"),
    ]


@pytest.fixture
def cell(given: list[str]) -> Callable[..., Cell]:
    def planned(*words: str) -> Cell:
        return plan(compose_run("config", CONF, [*given, *words]), fetch=False)

    return planned


@pytest.fixture
def planned(cell: Callable[..., Cell]) -> Planned:
    return lambda *words: foresee([cell(*words)])


def finish(cells: Sequence[Cell], took: float = 1.0, **totals: Any) -> None:
    """Give every step its record."""
    store = Store(cells[0].run.paths.results / "store")
    whole = {"tokens": 1.0, "seconds": 1.0, "flops": 1.0, "device": "cuda", "processes": 1} | totals
    for step in {step.key: step for cell in cells for step in cell.steps()}.values():
        record(store, step, took, whole)


def record(store: Store, step: Step, took: float, totals: dict[str, Any]) -> None:
    out = store.root / step.kind / step.folder
    out.mkdir(parents=True, exist_ok=True)
    if step.kind == "train":
        (out / "training.json").write_text(json.dumps(totals))
        (out / "model.safetensors").write_text("")
    store._commit(step, out, seconds=took)


def counts(plan: Plan) -> dict[str, tuple[int, int]]:
    return {kind: (tally.done, tally.todo) for kind, tally in plan.steps.items()}


# --- steps ---


def test_shared_steps_are_counted_once(given: list[str]) -> None:
    runs = [
        compose_run(
            "config", CONF, [*given, f"loss={loss}", "benchmark=[alpaca_eval_1,alpaca_eval_2]", *JUDGE]
        )
        for loss in ("none", "it", "im")
    ]
    found = foresee(plan_sweep(runs, fetch=False))
    assert found.cells == 3
    assert counts(found) == {"base": (0, 1), "train": (0, 2), "answers": (0, 3), "verdicts": (0, 6)}


def test_a_finished_cell_has_nothing_to_do(given: list[str], cell: Callable[..., Cell], capsys) -> None:
    finish([cell()])
    found = foresee([cell()])
    assert counts(found) == {"base": (1, 0), "train": (1, 0), "harness": (1, 0)}
    assert (found.todo, found.hours, found.tokens, found.judges, found.disk.bytes) == (0, {}, [], {}, 0)
    assert main(["plan", *given]) == 0
    said = capsys.readouterr().out
    assert said.endswith(": 1 cell, llama2_7b-local-full-im-seed0; every step is done\n")


def test_weights_that_were_dropped_are_made_again_where_they_are_needed(cell: Callable[..., Cell]) -> None:
    first = cell()
    finish([first])
    store = Store(first.run.paths.results / "store")
    store.drop(first.checkpoint, [store.path(first.checkpoint) / "model.safetensors"])
    assert foresee([cell()]).todo == 0
    assert counts(foresee([cell("benchmark=[piqa,arc]")])) == {
        "base": (1, 0),
        "train": (0, 1),
        "harness": (1, 1),
    }


# --- what is not at hand ---

JUDGE = ["judge=openai", "judge.model=judge-1"]
UNHASHED = ("alpagasus_dolly_9k", "less_tydiqa", "less_mmlu_chat", "less_bbh_icl")


def test_the_main_table_is_planned_without_data_or_network(tmp_path: Path, capsys) -> None:
    here = [f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"]
    assert main(["plan", "main_table", "judge.model=judge-1", "--json", *here]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"] == 22
    assert {kind: tally["todo"] for kind, tally in found["steps"].items()} == {
        "base": 1,
        "train": 21,
        "harness": 22 * 17,
        "humaneval": 22,
        "answers": 44,
        "verdicts": 66,
    }
    # Three trainings each, and 23 steps that need one.
    assert found["absent"] == {f"dataset {name}": 3 * 24 for name in UNHASHED}
    assert {share["origin"] for share in found["tokens"]} == {"words of Table 5"}
    assert found["judges"]["judge-1"]["calls"] == 22 * (160 + 805 + 805)
    assert not list(tmp_path.iterdir())


def test_a_dataset_whose_hash_is_known_is_looked_for_though_it_is_not_at_hand(
    tmp_path: Path, cell: Callable[..., Cell]
) -> None:
    lima = ["dataset=lima", "dataset.path=null"]
    assert counts(foresee([cell(*lima)]))["train"] == (0, 1)
    finish([cell(*lima)])
    assert foresee([cell(*lima)]).todo == 0


def test_assets_that_will_be_fetched_are_what_they_must_be(cell: Callable[..., Cell]) -> None:
    verdicts = cell("benchmark=[alpaca_eval_2]", *JUDGE).benchmarks["alpaca_eval_2"]
    hashes = {name: ASSETS[f"alpaca_eval/{name}"].sha256 for name in ("reference_outputs_v2", "df_gamed")}
    assert verdicts.identity["config"]["assets_sha256"] == hashes


def test_whatever_is_missing_is_named_and_nothing_is_refused(tmp_path: Path, planned: Planned) -> None:
    found = planned(
        *("model=local", f"model.path={tmp_path}/model", f"dataset.path={tmp_path}/none.jsonl"),
        *("benchmark=[piqa,mt_bench]", f"paths.hub={tmp_path}", f"paths.assets={tmp_path}/assets"),
        *("judge=replay", "judge.name=said", f"judge.files={tmp_path}/said.jsonl"),
    )
    assert found.absent == {
        f"model {tmp_path}/model": 5,
        f"dataset.path={tmp_path}/none.jsonl": 4,
        "benchmark piqa": 1,
        "mt_bench/question": 2,
        f"judge.files {tmp_path}/said.jsonl": 1,
        "mt_bench/reference_answer": 1,
        "mt_bench/judge_prompts": 1,
    }
    (hours,) = {hours.unknown for hours in found.hours.values()} - {2}
    assert hours == 1 and found.disk.unknown == 1 and found.tokens[0].tokens is None


def test_a_path_without_a_file_is_named_also_where_the_content_is_known(
    tmp_path: Path, planned: Planned
) -> None:
    lima = planned("dataset=lima", f"dataset.path={tmp_path}/lima.jsonl")
    assert lima.absent == {f"dataset.path={tmp_path}/lima.jsonl": 2}
    assert lima.tokens[0].origin == "words of Table 5"
    parts = f"dataset.parts={{lima: {{path: {tmp_path}/lima.jsonl}}, dolly_15k: 1}}"
    found = planned("dataset=mixture", "~dataset.path", parts)
    assert f"dataset.parts.lima.path={tmp_path}/lima.jsonl" in found.absent
    assert planned("dataset=lima", "dataset.path=null").absent == {}


def test_the_toy_world_is_not_made(tmp_path: Path, capsys) -> None:
    assert main(["plan", "demo", f"paths.results={tmp_path}/results"]) == 0
    assert "the toy world: 120 steps" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_what_is_run_is_planned_with_all_that_it_needs(given: list[str], tmp_path: Path) -> None:
    run = compose_run("config", CONF, [*given, f"dataset.path={tmp_path}/none.jsonl"])
    with pytest.raises(UserError, match="there is no such file"):
        plan(run)


def test_planning_either_way_finds_the_same_steps_where_all_is_at_hand(given: list[str]) -> None:
    run = compose_run("config", CONF, given)
    assert plan(run).key == plan(run, fetch=False).key


def test_no_framework_is_loaded_and_nothing_written(tmp_path: Path) -> None:
    code = "import sys; from im_bench.cli import main; main(['plan', 'main_table', *sys.argv[1:]])"
    here = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    assert loaded(code, "judge.model=judge-1", *here) == set()
    assert not list(tmp_path.iterdir())


# --- tokens and hours ---


def test_tokens_are_those_of_the_words_of_the_file(planned: Planned) -> None:
    (share,) = planned("train.epochs=3").tokens
    assert share == ("local", 1, pytest.approx(3 * 20 * TOKENS), "words of its file")
    (share,) = planned("train.epochs=1", "train.max_tokens=16").tokens
    assert share.tokens == 20 * 16
    (share,) = planned("train.epochs=1", "subset=first", "subset.size=5").tokens
    assert share == ("local first_5", 1, pytest.approx(5 * TOKENS), "words of its file")


def test_a_mixture_has_the_tokens_of_its_parts(tmp_path: Path, planned: Planned) -> None:
    parts = f"dataset.parts={{mine: {{fraction: 0.5, path: {tmp_path}/rows.jsonl}}, lima: 1}}"
    (share,) = planned("dataset=mixture", "~dataset.path", parts, "train.epochs=1").tokens
    lima = 1030 * (WORD * 484.47 + 2 * TURN)
    assert share.tokens == pytest.approx(10 * TOKENS + lima)
    assert share.origin == "words of its file and words of Table 5"


@pytest.mark.parametrize(("words", "passes"), [((), 3), (("train=lora",), 2), (("loss=kl",), 4)])
def test_training_takes_its_passes_over_every_token(
    planned: Planned, words: tuple[str, ...], passes: int
) -> None:
    hours = planned("train.epochs=1", *words).hours["training", "GPU"]
    flops = 2 * passes * SIZE * 20 * TOKENS
    assert hours.estimated == pytest.approx(flops / (PEAK["bf16"] * TRAINING) / 3600)
    assert list(hours.origins) == ["312 TFLOP/s (A100, bf16) at 40%, assumed"]


def test_hours_of_training_are_measured_where_the_store_has_trainings_of_the_model(
    cell: Callable[..., Cell], planned: Planned
) -> None:
    # Two devices for 10 s: 1e14 a second each. Its two epochs had 100 tokens.
    finish([cell("loss=it")], flops=2e15, seconds=10.0, processes=2, tokens=100.0)
    found = planned()
    assert found.tokens == [("local", 1, 100.0, "a training of the store")]
    hours = found.hours["training", "GPU"]
    assert hours.measured == pytest.approx(6 * SIZE * 100 / 1e14 / 3600)
    assert list(hours.origins) == ["1 training of this model in the store, 1e+14 FLOP/s"]
    other = planned("model=llama2_13b").hours["training", "GPU"]
    assert list(other.origins) == ["1 training of other models in the store, 1e+14 FLOP/s"]
    assert planned("runtime=cpu").hours["training", "CPU"].measured == 0


def test_hours_of_scoring_are_those_of_reading_and_writing(planned: Planned) -> None:
    found = planned("benchmark=[piqa,wmt14]").hours["scoring", "GPU"]
    read = 1838 * 2 * 484 + 6006 * 42.5
    written = 6006 * 85.1
    flops = 2 * SIZE * (read / READING + written / WRITING["hf"])
    assert found.estimated == pytest.approx(flops / PEAK["bf16"] / 3600)


def test_hours_of_scoring_are_measured_where_a_checkpoint_of_the_model_was_asked_the_same(
    cell: Callable[..., Cell], planned: Planned
) -> None:
    finish([cell(f"seed={seed}") for seed in (1, 2, 3)], took=7200.0)
    hours = planned("benchmark=[piqa,arc]").hours["scoring", "GPU"]
    assert hours.measured == 2.0 and hours.estimated > 0
    assert "the same benchmarks of this model in the store" in hours.origins
    for asked_otherwise in ("limit=5", "benchmark.piqa.shots=0", "model=llama2_13b"):
        assert planned(asked_otherwise).hours["scoring", "GPU"].measured == 0


def test_of_the_toy_worlds_benchmarks_nothing_is_known_until_they_were_asked(planned: Planned) -> None:
    hours = planned("experiment=toy", "judge=overlap", "benchmark=[piqa,arc]").hours["scoring", "CPU"]
    assert (hours.known, hours.unknown) == (0, 2)


def test_a_damaged_record_is_passed_over(cell: Callable[..., Cell], planned: Planned) -> None:
    finish([cell("loss=it")])
    store = cell().run.paths.results / "store"
    for path in store.glob("*/*/step.json"):
        path.write_text("{}" if "harness" in str(path) else "no JSON")
    assert counts(planned())["train"] == (0, 1)


@pytest.mark.parametrize(
    ("hours", "unknown", "said"),
    [
        ((5.4, 0.01), 0, "GPU-hours: 5.4\n  training: 5.4\n  scoring: under 0.1"),
        ((99.6, 250.0), 0, "GPU-hours: 350\n  training: 100\n  scoring: 250"),
        ((0.2, 0.05), 0, "GPU-minutes: 15\n  training: 12\n  scoring: 3"),
        ((0.0, 2.1e-05), 1, "GPU-minutes: under 0.1, and unknown for 1 step"),
        ((0.0, 0.0), 2, "GPU-hours: unknown for 2 steps"),
    ],
)
def test_time_is_in_hours_or_where_it_is_less_than_one_in_minutes(
    planned: Planned, hours: tuple[float, float], unknown: int, said: str
) -> None:
    parts = [Hours(estimated=each, origins={"": 1} if each else {}) for each in hours]
    parts[0].unknown = unknown
    both = {("training", "GPU"): parts[0], ("scoring", "GPU"): parts[1]}
    lines = "\n".join(_hours(replace(planned(), hours=both)))
    assert said in lines.replace(", estimated from ", "")


# --- what benchmarks take ---


def test_every_benchmark_has_its_cost_and_every_judged_one_its_verdicts() -> None:
    assert list(COSTS) == list(BENCHMARKS)
    assert list(VERDICTS) == [name for name, entry in BENCHMARKS.items() if entry.category == "judged"]
    assert {name: items(name, None) for name in ("mmlu", "bbh", "ethics")} == {
        "mmlu": 14042,
        "bbh": 6511,
        "ethics": 19968,
    }


def test_costs_are_of_the_shots_of_conf(given: list[str]) -> None:
    run = compose_run("config", CONF, [*given, "benchmark=nlp"])
    shots = {name: spec.shots for name, spec in run.benchmark.items() if hasattr(spec, "shots")}
    assert {name: each for name, each in shots.items() if each} == {
        name: COSTS[name].shots for name in shots if COSTS[name].shots and name not in ("bbh", "gsm8k")
    }


def asked(given: list[str], name: str, *words: str) -> tuple[float, float]:
    run = compose_run("config", CONF, [*given, f"benchmark=[{name}]", *JUDGE, *words])
    return tuple(amount(name, run.benchmark[name], run.engine, run.limit))


def test_limit_shots_samples_and_lengths_scale_what_is_asked(given: list[str]) -> None:
    assert asked(given, "arc", "limit=10") == pytest.approx((20 * 3.80 * 983, 0))
    assert asked(given, "piqa", "benchmark.piqa.shots=4") == pytest.approx((1838 * 2 * 484 * 5 / 11, 0))
    programs = asked(
        given, "humaneval", "benchmark.humaneval.samples=5", "benchmark.humaneval.temperatures=[0.2]"
    )
    assert programs == pytest.approx((164 * 5 * 157, 164 * 5 * 224))
    assert asked(given, "alpaca_eval_1", "benchmark.alpaca_eval_1.max_new_tokens=64") == (
        805 * 55.6,
        805 * 64,
    )
    assert asked(given, "mmlu", "engine=vllm")[0] == 14042 * 4 * 805


# --- judges ---


@pytest.mark.parametrize(
    ("benchmark", "words", "calls"),
    [
        ("mt_bench", (), 160),
        ("alpaca_eval_1", (), 805),
        ("alpaca_eval_2", (), 805),
        ("alpaca_eval_2", ("judge.both_orders=true",), 1610),
        ("mt_bench", ("judge.both_orders=true",), 160),
        ("mt_bench", ("limit=2",), 32),
        ("alpaca_eval_1", ("limit=2",), 2),
    ],
)
def test_a_judge_is_called_once_a_verdict(
    planned: Planned, benchmark: str, words: tuple[str, ...], calls: int
) -> None:
    (said,) = planned(f"benchmark=[{benchmark}]", *JUDGE, *words).judges.values()
    assert said.calls == calls and said.dollars is None


def test_calls_cost_what_the_price_says(planned: Planned) -> None:
    price = "judge.price={prompt: 10, answer: 30, date: 2026-11-01}"
    (said,) = planned("benchmark=[alpaca_eval_1]", *JUDGE, price).judges.values()
    assert said.prompt_tokens == 805 * 606 and said.answer_tokens == 805 * 36
    assert said.dollars == pytest.approx((805 * 606 * 10 + 805 * 36 * 30) / 1e6)


def test_calls_of_a_judge_that_nobody_has_named_are_counted(given: list[str], capsys) -> None:
    assert main(["plan", *given, "benchmark=[alpaca_eval_1]", "judge=openai"]) == 0
    assert "judge UNNAMED (judge.model is still to be given): 805 calls" in capsys.readouterr().out


def test_answers_that_may_not_be_long_make_a_verdict_shorter(given: list[str]) -> None:
    run = compose_run("config", CONF, [*given, "benchmark=toy", *JUDGE])
    spec = run.benchmark["mt_bench"]
    assert judged("mt_bench", spec, ranking=False) == pytest.approx((860 - 1.5 * (288 - 64), 189))


def test_a_judge_that_is_no_model_is_not_called(planned: Planned) -> None:
    assert planned("benchmark=[mt_bench]", "judge=overlap").judges == {}


# --- disk and sizes ---


@pytest.mark.parametrize(
    ("keep", "weights"), [("all", 2 * 3), ("none_but_final", 2 + 2), ("until_scored", 3)]
)
def test_the_disk_holds_what_keep_checkpoints_leaves(given: list[str], keep: str, weights: int) -> None:
    said = [*given, f"keep_checkpoints={keep}", "train.epochs=3", "train.save_epochs=true"]
    runs = [compose_run("config", CONF, [*said, f"loss={loss}"]) for loss in ("it", "im")]
    peak = foresee(plan_sweep(runs, fetch=False)).disk
    assert peak.bytes == pytest.approx(weights * 2 * SIZE)  # bf16; no state is saved in three steps
    assert (peak.jobs, peak.unknown) == (1, 0)


@pytest.mark.parametrize(("save_steps", "states"), [(1, 2), (4, 1), (6, 0)])
def test_a_running_training_has_its_state_and_for_a_moment_the_last(
    planned: Planned, save_steps: int, states: int
) -> None:
    # Twenty conversations by four are five steps; in the last no state is saved.
    words = ["train.epochs=1", "train.global_batch=4", f"runtime.save_steps={save_steps}"]
    assert planned(*words).disk.bytes == pytest.approx((2 + 12 * states) * SIZE)


@pytest.mark.parametrize(
    ("launcher", "jobs", "more"),
    [
        (["launcher=slurm"], 3, False),
        (["launcher=slurm", "launcher.jobs=2"], 2, False),
        (["launcher=ray"], 1, True),
    ],
)
def test_trainings_at_a_time_are_the_launchers(
    given: list[str], launcher: list[str], jobs: int, more: bool
) -> None:
    said = [*given, *launcher, "keep_checkpoints=until_scored"]
    runs = [compose_run("config", CONF, [*said, f"seed={seed}"]) for seed in range(3)]
    peak = foresee(plan_sweep(runs, fetch=False)).disk
    assert (peak.jobs, peak.each_more > 0) == (jobs, more)
    assert peak.bytes == pytest.approx(jobs * 2 * SIZE)


def test_sizes_are_counted_from_weights_that_are_at_hand(tmp_path: Path) -> None:
    header = json.dumps(
        {"__metadata__": {}, "w": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}}
    )
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(24))
    model = Model(name="mine", source="local", path=str(tmp_path), chat_template="tulu")
    assert parameters(model) == 12
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text('{"torch_dtype": "float16"}')
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(20))
    assert parameters(model) == 10
    assert parameters(model.model_copy(update={"path": "none"})) is None


def test_the_toy_models_size_is_that_of_its_config(tokenizer) -> None:
    from im_bench.toy.base import VOCABULARY, make_model

    (run,) = sweep_runs("config", CONF, ["model=toy", "benchmark=[piqa]"])
    own = make_model(tokenizer).num_parameters() + (VOCABULARY - len(tokenizer)) * 256
    assert parameters(run.model) == pytest.approx(own, rel=0.01)
