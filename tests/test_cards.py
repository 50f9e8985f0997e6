"""Model cards: what the hub reads, what a person reads, and that nothing of a machine is in what is uploaded."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from small_cell import words

from im_bench.carding import write_cards
from im_bench.composing import CONF, compose_run
from im_bench.config import Dataset, Run
from im_bench.identity import AnswersIdentity, HarnessIdentity, JudgeIdentity, VerdictsIdentity
from im_bench.judging.overlap import NOTE
from im_bench.pipeline import Cell, loss_identity, plan
from im_bench.report.cards import LOAD, Made, Scored, card, write_card
from im_bench.report.collect import FILE, rows, write_ledger
from im_bench.scores import Score, write_scores
from im_bench.store import RECORD, Step, Store
from im_bench.sweep import cell_rows

LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml") if path.stem != "none")
PIQA = Score("piqa", "knowledge", "piqa", "acc_norm,none", 0.625, 0.171, 8, 8, "higher", truncated=1)
WMT = Score("wmt14", "multilingual", "wmt14", "ter,none", 88.5, 2.25, 16, 16, "lower")
LEAF = Score("wmt14", "multilingual", "wmt14-en-fr", "ter,none", 90.0, 3.0, 8, 8, "lower")
RATED = Score(
    "mt_bench", "judged", "mt_bench", "score", 4.5, 0.3, 30, 32, "higher", judge="overlap", reading_note=NOTE
)
LOST = Score("arc", "commonsense", "arc", "acc_norm,none", None, None, 0, 8, "higher")
TRAIN_LOSS = Score(
    "losses", "analysis", "train", "output_loss_per_token", 1.25, 0.05, 24, 24, "lower", reading_note="nats"
)
SCORES = (PIQA, WMT, LEAF, RATED, LOST, TRAIN_LOSS)


def toy(*overrides: str) -> Run:
    return compose_run("config", CONF, ["experiment=toy", *overrides])


def scored(run: Run, *scores: Score, sweep: str = "small", data: str | None = None) -> list[Scored]:
    """The rows of these scores, each of a step of its own."""
    found = []
    for number, score in enumerate(scores):
        of_step = {"sweep": sweep, "cell": "cell", "step": f"{number:08x}", "examples": 24, "ratio": 1.5}
        found += [Scored(row, "5 shots", data) for row in rows(run, [score], **of_step)]
    return found


def made(run: Run, **others: Any) -> Made:
    """A training that came to these numbers."""
    tokens = {"template": 528, "system": 0, "instruction": 204, "output": 157, "end": 24}
    supervised = {"template": 0, "system": 0, "instruction": 0, "output": 157, "end": 24}
    parts = [part.dataset for part in run.dataset.parts.values()] or [run.dataset]
    labels = {
        "conversations": 24,
        "kept": 24,
        "truncated": 3,
        "dropped_rows": [],
        "skipped_rows": [],
        "tokens": tokens,
        "supervised": supervised,
        "supervised_tokens": 181,
        "ends_outside": 0,
        "words": {"instruction_over_output": 1.5},
    }
    values: dict[str, Any] = {
        "name": "toy-toy_long-full-it-seed0",
        "key": "0123abcd",
        "identity": {
            "dataset": [{"sha256": f"{number}" * 64} for number, _ in enumerate(parts)],
            "loss": loss_identity(run.loss).model_dump(mode="json", exclude_defaults=True),
        },
        "base": {"sha256": "b" * 64},
        "made": {"python": "3.11.7", "packages": {"im-bench": "0.1.0", "torch": "2.13.0", "absent": None}},
        "labels": labels,
        "training": {
            "steps": 12,
            "tokens": 1826,
            "supervised_tokens": 362,
            "flops": 2.5e8,
            "loss": 5.3489,
            "device": "cpu",
            "processes": 1,
        },
    }
    return Made(**values | others)


def front(text: str) -> dict[str, Any]:
    """What the hub reads of a card."""
    return ModelCard(text).data.to_dict()


def table(text: str, heading: str) -> list[dict[str, str]]:
    """The first table of a section, row by row."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:] if len(line) == len(cells[0])]


# --- what the hub reads ---


def test_the_hub_reads_every_score_of_a_benchmark_in_its_model_index(tmp_path: Path) -> None:
    run = toy("loss=it")
    write_card(tmp_path, card(run, scored(run, *SCORES), made(run)))
    read = ModelCard.load(tmp_path / "README.md")
    results = {each.dataset_type: each for each in read.data.eval_results}
    assert set(results) == {"piqa", "wmt14", "mt_bench"}  # no value is none of 0, and a leaf no benchmark
    assert results["piqa"].metric_value == 62.5
    assert results["piqa"].metric_type == "acc_norm"
    assert results["piqa"].metric_args["stderr"] == 17.1
    assert results["wmt14"].metric_value == 88.5
    assert results["wmt14"].metric_args["direction"] == "lower"
    assert results["mt_bench"].metric_args == {
        "stderr": 0.3,
        "count": 30,
        "total": 32,
        "direction": "higher",
        "judge": "overlap",
        "asked": "5 shots",
        "note": NOTE,
    }
    assert not any(each.verified for each in read.data.eval_results)
    index = eval_results_to_model_index(read.data.model_name, read.data.eval_results)
    assert index == front(read.content)["model-index"]
    assert str(read) == (tmp_path / "README.md").read_text()


def test_the_front_matter_has_what_the_hub_checks() -> None:
    """Its types, a task, a dataset and a metric with type and value for each result; and no language, which `it` is."""
    run = toy("loss=it")
    values = front(card(run, scored(run, *SCORES), made(run)))
    assert values["library_name"] == "transformers"
    assert values["pipeline_tag"] == "text-generation"
    assert values["tags"] == ["im-bench", "instruction-tuning", "loss-it"]
    assert not {"language", "license", "datasets", "base_model", "base_model_relation"} & set(values)
    [model] = values["model-index"]
    assert model["name"] == "toy-toy_long-full-it-seed0"
    for result in model["results"]:
        assert result["task"]["type"] == "text-generation"
        assert all(isinstance(result["dataset"][key], str) for key in ("type", "name"))
        for metric in result["metrics"]:
            assert isinstance(metric["type"], str)
            assert isinstance(metric["value"], float)
            assert metric["verified"] is False


def test_a_checkpoint_without_a_score_has_a_card_without_a_model_index() -> None:
    run = toy()
    for found in ([], scored(run, LOST)):
        text = card(run, found, made(run))
        assert "model-index" not in front(text)
    assert "Not scored yet." in card(run, [], made(run))


@pytest.fixture
def mixed() -> Run:
    """A dataset by its address, one of the hub and a file of somebody's."""
    run = toy("model=llama2_7b", "dataset=lima", "loss=im")
    lima = run.dataset.model_copy(
        update={"address": "https://name:secret@example.org/lima.jsonl?token=hidden"}
    )
    datasets = {
        "lima": lima,
        "other": Dataset(name="other", source="hub", id="org/other", revision="abc123"),
        "mine": Dataset(name="mine", source="local", path="/home/somebody/mine.jsonl"),
    }
    parts = {name: {"dataset": each, "fraction": 0.5} for name, each in datasets.items()}
    mixture = Dataset.model_validate({"name": "mixture", "source": "mixture", "parts": parts})
    model = run.model.model_copy(update={"chat_template": "/home/somebody/mine.jinja"})
    return run.model_copy(update={"dataset": mixture, "model": model})


def test_a_model_and_datasets_of_the_hub_are_named_by_id(mixed: Run) -> None:
    text = card(mixed, [], made(mixed))
    values = front(text)
    assert values["base_model"] == "meta-llama/Llama-2-7b-hf"
    assert values["base_model_relation"] == "finetune"
    assert values["datasets"] == ["org/other"]
    assert f"revision `{mixed.model.revision}`" in text
    assert [(line["dataset"], line["sha256 of its file"][1]) for line in table(text, "Training data")] == [
        ("`lima`", "0"),
        ("`other`", "1"),
        ("`mine`", "2"),
    ]
    assert "Of the data is known: `lima`: CC-BY-NC-SA-4.0." in text


def test_what_is_on_somebodys_machine_is_nowhere_in_a_card(mixed: Run) -> None:
    text = card(mixed, [], made(mixed))
    assert "https://example.org/lima.jsonl" in text
    for secret in ("secret", "hidden", "somebody", ".jinja` "):
        assert secret not in text
    local = toy(
        "model=local", "model.path=/home/somebody/model", "dataset=local", "dataset.path=/home/somebody/rows"
    )
    assert "somebody" not in card(local, [], made(local))
    assert "names no base model" in card(local, [], made(local))


# --- what a person reads ---


def test_scores_stand_with_count_error_judge_and_what_must_be_said() -> None:
    run = toy()
    text = card(run, scored(run, *SCORES), made(run))
    lines = {line["benchmark"]: line for line in table(text, "Scores")}
    assert list(lines) == ["PIQA", "WMT14", "ARC", "MT-Bench"]
    assert lines["PIQA"] == {
        "benchmark": "PIQA",
        "metric": "acc_norm, percent",
        "score": "62.50",
        "standard error": "17.10",
        "items": "8",
        "asked": "5 shots",
        "judge": "",
    }
    assert lines["WMT14"]["metric"] == "ter, percent, lower is better"
    assert (lines["ARC"]["score"], lines["ARC"]["items"]) == ("n/a", "0 of 8")
    assert (lines["MT-Bench"]["judge"], lines["MT-Bench"]["items"]) == ("overlap", "30 of 32")
    assert f"- MT-Bench: {NOTE}." in text
    assert "no language model has judged" in text
    assert "- PIQA: 1 prompts were longer than the model's context" in text
    assert "| Training loss, output, per token | 1.2500 | 0.0500 | 24 |" in text


def test_a_language_model_that_judges_is_not_told_to_be_none() -> None:
    run = toy()
    text = card(run, scored(run, replace(RATED, judge="gpt-4", reading_note=None)), made(run))
    assert "overlap" not in text


def test_data_that_are_not_the_published_ones_are_told_in_both_places() -> None:
    run = toy()
    text = card(run, scored(run, PIQA, data="0a1b2c3d"), made(run))
    [result] = front(text)["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "PIQA (local data 0a1b2c3d)",
        "type": "piqa",
        "config": "local-0a1b2c3d",
    }
    assert "compare such scores only with others on the same data" in text
    assert "Local data" not in card(run, scored(run, PIQA), made(run))


def test_a_card_does_not_depend_on_the_order_of_the_rows_or_on_how_many_sweeps_share_them() -> None:
    run = toy()
    found = scored(run, *SCORES)
    text = card(run, found, made(run))
    assert card(run, found[::-1], made(run)) == text
    assert card(run, [*scored(run, *SCORES, sweep="another"), *found], made(run)) == text


def test_one_benchmark_asked_in_two_ways_has_two_lines() -> None:
    run = toy()
    [first], [second] = scored(run, PIQA), scored(run, replace(PIQA, value=0.5))
    other = Scored(replace(second.row, step="ffffffff"), "0 shots", None)
    lines = table(card(run, [first, other], made(run)), "Scores")
    assert [(line["asked"], line["score"]) for line in lines] == [("0 shots", "50.00"), ("5 shots", "62.50")]


def test_which_tokens_carry_loss_is_told_by_part() -> None:
    run = toy("loss=it")
    text = card(run, [], made(run))
    assert "Of 913 tokens 181 carry loss (19.8%):" in text
    assert [(line["part"], line["tokens"], line["carry loss"]) for line in table(text, "Loss")] == [
        ("template", "528", "0"),
        ("instruction", "204", "0"),
        ("output", "157", "157"),
        ("end", "24", "24"),
    ]
    assert "3 of those cut at 512 tokens" in text


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("plw", "Instruction and system tokens weigh 0.242, output and end-of-turn tokens 1,"),
        ("full", "template tokens (role markers, separators) 1."),
        ("wit", "divided by the count of tokens with a weight"),
        ("im_released", "leaves in its IM, all with weight 1."),
        ("last_turn", "the last output alone carries loss"),
        ("length_gated", "at least 0 tokens, and 1 for each token of output"),
        ("neftune", "NEFTune, alpha 5"),
        ("kl", "1 times the KL divergence of the next-token distribution to the base model's."),
        ("kl_released", "the published code's KL term"),
    ],
)
def test_a_loss_is_told_in_words(loss: str, said: str) -> None:
    run = toy(f"loss={loss}")
    assert said in card(run, [], made(run))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "others",
    [
        ("dataset=toy_short",),
        ("train=lora", "seed=7", "subset=random", "subset.size=100"),
        ("train.max_grad_norm=0.3", "train.save_epochs=true", "subset=ratio_window", "subset.window=[0.5,2]")
        + ("subset.size=10", "subset.unit=tokens", "model.chat_template=chatml"),
    ],
    ids=["plain", "lora", "window"],
)
def test_the_command_of_a_card_is_the_same_training(loss: str, others: tuple[str, ...]) -> None:
    if "released" in loss:
        others = tuple(word for word in others if "template" not in word)
    run = toy(f"loss={loss}", *others)
    [line] = re.findall(r"```sh\nim-bench run (.*)\n```", card(run, [], made(run)))
    again = toy(*shlex.split(line))
    for part in ("model", "dataset", "subset", "loss", "train", "seed"):
        assert getattr(again, part) == getattr(run, part)


# --- the folder of a checkpoint ---


def score(out: Path, checkpoint: Path, *, scores: tuple[Score, ...]) -> None:
    write_scores(out, scores)


def harness(checkpoint: Step, shots: int = 0, epoch: int | None = None, data: str = "official") -> Step:
    """A step that scores PIQA, and knows the scores already."""
    identity = HarnessIdentity(
        benchmark="piqa", benchmark_version=1, shots=shots, limit=8, data_sha256=data, epoch=epoch
    )
    found = (replace(PIQA, value=0.5 + (epoch or 0) / 8),)
    return Step("harness", identity, partial(score, scores=found), needs=(checkpoint,), label="piqa")


def verdicts(checkpoint: Step) -> Step:
    """As `harness`, of MT-Bench."""
    asked = AnswersIdentity(
        questions="mt_bench", questions_sha256="c" * 64, max_new_tokens=16, limit=None, seed=0
    )
    answers = Step("answers", asked, partial(score, scores=()), needs=(checkpoint,), label="answers")
    identity = VerdictsIdentity(
        benchmark="mt_bench",
        benchmark_version=1,
        judge=JudgeIdentity(kind="overlap"),
        assets_sha256={"question": "c" * 64},
        seed=0,
    )
    return Step("verdicts", identity, partial(score, scores=(RATED,)), needs=(answers,), label="mt_bench")


def swept(name: str, *cells: Cell) -> Store:
    """Make every step of the cells, write the ledger's rows, and the cards."""
    results = cells[0].run.paths.results
    store = Store(results / "store")
    for cell in cells:
        for step in cell.steps():
            store.ensure(step)
    write_ledger(results / FILE, name, [row for cell in cells for row in cell_rows(name, cell, store)])
    write_cards(cells, store)
    return store


Planned = Callable[..., Cell]


@pytest.fixture
def planned(given: Path, tmp_path: Path) -> Planned:
    """A training of two epochs, with whatever scores it."""

    def cell(*overrides: str, shots: int = 0, judged: bool = False, data: str = "official") -> Cell:
        small = (
            "train.epochs=2",
            "train.save_epochs=true",
            "benchmark=[piqa,mt_bench]",
            "dataset.on_bad_row=skip",
        )
        found = plan(compose_run("config", CONF, words(given, tmp_path, *small, *overrides)))
        benchmarks = {"piqa": harness(found.checkpoint, shots, found.run.scored_epoch, data)}
        if judged:
            benchmarks["mt_bench"] = verdicts(found.checkpoint)
        return Cell(found.run, found.checkpoint, benchmarks, found.wires)

    return cell


def scores_on(place: Path) -> list[tuple[str, str, str]]:
    found = table((place / "README.md").read_text(), "Scores")
    return [(line["benchmark"], line["score"], line["asked"]) for line in found]


def test_a_checkpoint_has_the_scores_that_any_sweep_has_of_it_and_of_no_other(planned: Planned) -> None:
    """Also under another name; and a training that differs in what no name says is another."""
    it = planned("loss=it")
    store = swept("first", it)
    folder = store.path(it.checkpoint)
    alone = (folder / "README.md").read_bytes()
    assert scores_on(folder) == [("PIQA", "50.00", "0 shots, first 8 of each task")]
    swept("other", planned("loss=it", "train.learning_rate=1e-4", shots=3))
    write_cards([it], store)
    assert (folder / "README.md").read_bytes() == alone
    swept("second", planned("loss=it", "loss.name=my_it", shots=5, judged=True))
    write_cards([it], store)
    assert scores_on(folder) == [
        ("PIQA", "50.00", "0 shots, first 8 of each task"),
        ("PIQA", "50.00", "5 shots, first 8 of each task"),
        ("MT-Bench (local data cccccccc)", "4.50", "answers of at most 16 tokens"),
    ]


def test_an_epoch_that_was_scored_has_a_card_of_its_own(planned: Planned) -> None:
    first = planned("epoch=1", data="d" * 64)
    folder = swept("epochs", first).path(first.checkpoint)
    assert scores_on(folder) == []
    assert scores_on(folder / "epochs/1") == [
        ("PIQA (local data dddddddd)", "62.50", "0 shots, first 8 of each task")
    ]
    text = (folder / "epochs/1/README.md").read_text()
    assert "as it was after epoch 1 of 2" in text
    assert front(text)["model-index"][0]["name"].endswith("-epoch1")
    last = planned("epoch=2")
    swept("epochs", first, last)
    assert scores_on(folder) == [("PIQA", "50.00", "0 shots, first 8 of each task")]
    assert not (folder / "epochs/2").exists()


def test_a_base_model_has_no_card_and_neither_has_a_checkpoint_without_weights(planned: Planned) -> None:
    cell, base = planned(), planned("loss=none")
    store = Store(cell.run.paths.results / "store")
    folder = store.ensure(cell.checkpoint)
    store.drop(cell.checkpoint, folder.rglob("*.safetensors"))
    write_cards([cell, base], store)
    swept("base", base)
    assert list(store.root.rglob("README.md")) == []


def test_a_card_is_no_output_of_a_step(planned: Planned) -> None:
    """It neither undoes the step, nor is part of what the next training of it leaves; and no draft stays."""
    cell = planned()
    store = swept("small", cell)
    folder = store.path(cell.checkpoint)
    before = json.loads((folder / RECORD).read_text())
    assert store.whole(cell.checkpoint)
    store.drop(cell.checkpoint, folder.rglob("*.safetensors"))
    assert not any("README" in name for name in json.loads((folder / RECORD).read_text())["dropped"])
    (folder / "README.md.draft").write_text("cut off")
    store.ensure(cell.checkpoint, whole=True)
    assert json.loads((folder / RECORD).read_text())["files"].keys() == before["files"].keys()
    for name in ("README.md", "epochs/1/README.md"):
        write_card(folder / Path(name).parent, "another card\n")
        assert store.whole(cell.checkpoint)
    assert not list(folder.rglob("README.md.draft"))


def test_a_card_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    run = toy()
    write_card(tmp_path, card(run, [], made(run)))
    first = (tmp_path / "README.md").stat()
    write_card(tmp_path, card(run, [], made(run)))
    assert (tmp_path / "README.md").stat().st_ino == first.st_ino
    write_card(tmp_path, card(run, scored(run, PIQA), made(run)))
    assert "62.50" in (tmp_path / "README.md").read_text()


def test_a_card_that_cannot_be_written_is_told_and_costs_nothing(
    planned: Planned, caplog: pytest.LogCaptureFixture
) -> None:
    it, im = planned("loss=it"), planned("loss=im")
    store = Store(it.run.paths.results / "store")
    in_the_way = store.ensure(it.checkpoint) / "README.md"
    in_the_way.mkdir()
    swept("small", it, im)
    assert f"{in_the_way.parent} has no card of what is known now" in caplog.text
    assert (store.path(im.checkpoint) / "README.md").is_file()


def test_a_checkpoint_that_is_made_again_just_now_waits_for_its_card(planned: Planned) -> None:
    cell = planned()
    store = Store(cell.run.paths.results / "store")
    folder = store.ensure(cell.checkpoint)
    with store._lock(cell.checkpoint, lambda: True):
        write_cards([cell], store)
    assert not (folder / "README.md").exists()
    write_cards([cell], store)
    assert (folder / "README.md").exists()


def test_what_is_uploaded_loads_as_its_card_says_and_tells_nothing_of_the_machine(
    planned: Planned, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole folder, as `hf upload` takes it; of rows that were skipped, too."""
    file = tmp_path / "private" / "rows.jsonl"
    file.parent.mkdir()
    file.write_text((given / "rows.jsonl").read_text() + '{"prompt": 1}\n')
    cell = planned(f"dataset.path={file}")
    folder = swept("small", cell).path(cell.checkpoint)
    uploaded = shutil.copytree(folder, tmp_path / "uploaded")
    assert "1 rows were no conversations" in (uploaded / "README.md").read_text()
    for place in (uploaded, uploaded / "epochs/1"):
        code = LOAD.removeprefix("```python\n").removesuffix("```")
        assert 'place = "."' in code
        code = code.replace('place = "."', f"place = {str(place)!r}").replace("=256", "=4")
        exec(compile(code, "the card", "exec"), {})
    assert capsys.readouterr().out.endswith("\n")
    for path in uploaded.rglob("*"):
        text = path.read_bytes() if path.is_file() else b""
        assert bytes(tmp_path) not in text, path.name
        assert bytes(given) not in text, path.name
