"""The losses of a checkpoint: rows for each conversation, and the scores made of them."""

import json
import math
from statistics import fmean, stdev
from typing import NamedTuple

import pyarrow.parquet
import pytest
import torch
from settings import RUNTIME

from im_bench.analysis.losses import LOSSES, Heldout, measure
from im_bench.analysis.sets import Trained, some
from im_bench.assets import file_sha256
from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.sources import Source
from im_bench.identity import SourceIdentity
from im_bench.scores import read_scores

OUTPUTS = ["Red.", "The sea is wide and the wind is cold.", "An apple is red, and so is a cherry."]
TRAINED = [(f"Question {number}?", text) for number, text in enumerate(OUTPUTS)]
NEW = [("Name it.", "Four."), ("And now?", "A horse has four legs.")]


class Made(NamedTuple):
    model: Checkpoint
    base: Checkpoint


@pytest.fixture
def made(tmp_path, make_model, tokenizer):
    """A base model, and one that has gone some way from it."""
    model = make_model()
    save(tmp_path / "base", model, tokenizer)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save(tmp_path / "model", model, tokenizer)
    places = (tmp_path / "model", tmp_path / "base")
    return Made(*(Checkpoint(str(place), None, place) for place in places))


@pytest.fixture
def source(tmp_path):
    def write(name, pairs):
        path = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": prompt, "completion": output} for prompt, output in pairs]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = SourceIdentity(sha256=file_sha256(path), format="prompt_completion")
        return Source(name=name, file=path, spec=spec, num_examples=None)

    return write


@pytest.fixture
def looked_at(tmp_path, made, source):
    """The rows and the scores of a checkpoint, trained or not."""

    def run(trained=TRAINED, heldout=NEW, *, examples=None, max_tokens=128, precision="fp32"):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        measure(
            out,
            made.model,
            base=made.base if trained else None,
            trained=trained and Trained((source("rows", trained),), Subset(name="full"), 0),
            heldout=heldout and Heldout("others", (source("others", heldout),)),
            examples=examples,
            max_tokens=max_tokens,
            precision=precision,
            runtime=RUNTIME,
        )
        rows = pyarrow.parquet.read_table(out / LOSSES).to_pylist()
        return rows, {(score.task, score.metric): score for score in read_scores(out)}

    return run


def test_each_conversation_has_a_row_with_its_set_and_its_place(looked_at):
    rows, _ = looked_at()
    assert [(row["set"], row["example"], row["in_training"]) for row in rows] == [
        ("train", "rows/0", True),
        ("train", "rows/1", True),
        ("train", "rows/2", True),
        ("heldout", "others/0", False),
        ("heldout", "others/1", False),
    ]
    kinds = [row["output_nll"] > 0 and row["output_kl"] > 0 and row["output_tokens"] > 0 for row in rows]
    assert kinds == [True] * 5


def test_the_mean_over_tokens_and_the_mean_over_conversations_are_two(looked_at):
    rows, scores = looked_at()
    rows = [row for row in rows if row["set"] == "train"]
    for part in ("output", "instruction"):
        sums, tokens = ([row[f"{part}_{what}"] for row in rows] for what in ("nll", "tokens"))
        each = [nll / count for nll, count in zip(sums, tokens, strict=True)]
        per_token = scores["train", f"{part}_loss_per_token"]
        per_example = scores["train", f"{part}_loss_per_example"]
        assert per_token.value == pytest.approx(sum(sums) / sum(tokens))
        assert per_example.value == pytest.approx(fmean(each))
        residuals = [nll - per_token.value * count for nll, count in zip(sums, tokens, strict=True)]
        linearised = math.sqrt(3 / 2 * sum(each * each for each in residuals)) / sum(tokens)
        assert per_token.stderr == pytest.approx(linearised)
        assert per_example.stderr == pytest.approx(stdev(each) / math.sqrt(3))
        assert (per_token.count, per_token.total, per_token.direction) == (3, 3, "neither")
    assert scores["train", "output_loss_per_token"].value != pytest.approx(
        scores["train", "output_loss_per_example"].value, rel=1e-3
    )
    kl = sum(row["output_kl"] for row in rows) / sum(row["output_tokens"] for row in rows)
    assert scores["train", "output_kl_per_token"].value == pytest.approx(kl)


def test_what_the_training_holds_of_the_held_out_set_is_found_told_and_left_out(looked_at, caplog):
    again = [("Question  1?", OUTPUTS[1]), *NEW]
    rows, scores = looked_at(heldout=again)
    rows = [row for row in rows if row["set"] == "heldout"]
    assert [row["in_training"] for row in rows] == [True, False, False]
    overlap = scores["heldout", "overlap"]
    assert (overlap.value, overlap.stderr, overlap.count, overlap.total) == (pytest.approx(1 / 3), None, 3, 3)
    assert "1 of 3 held-out conversations of others stand in the training set" in caplog.text
    whole, new = (scores[task, "output_loss_per_example"] for task in ("heldout", "heldout_new"))
    each = [row["output_nll"] / row["output_tokens"] for row in rows]
    assert (whole.value, whole.count) == (pytest.approx(fmean(each)), 3)
    assert (new.value, new.count, new.total) == (pytest.approx(fmean(each[1:])), 2, 2)


def test_without_overlap_nothing_is_told_and_all_is_new(looked_at, caplog):
    _, scores = looked_at()
    assert scores["heldout", "overlap"].value == 0.0 and caplog.text == ""
    for metric in ("output_loss_per_token", "instruction_loss_per_example", "output_kl_per_token"):
        assert scores["heldout", metric].value == scores["heldout_new", metric].value


def test_where_all_stands_in_the_training_set_nothing_is_said_of_the_rest(looked_at):
    _, scores = looked_at(heldout=TRAINED[:2])
    assert scores["heldout", "overlap"].value == 1.0
    new = scores["heldout_new", "output_loss_per_token"]
    assert (new.value, new.stderr, new.count, new.total) == (None, None, 0, 0)


def test_a_base_model_has_held_out_losses_alone(looked_at):
    rows, scores = looked_at(trained=None)
    assert {row["set"] for row in rows} == {"heldout"} and {row["output_kl"] for row in rows} == {None}
    losses = {
        f"{part}_loss_per_{mean}" for part in ("output", "instruction") for mean in ("token", "example")
    }
    assert set(scores) == {("heldout", metric) for metric in losses}


def test_without_a_held_out_set_there_is_the_training_set(looked_at):
    rows, scores = looked_at(heldout=None)
    assert {row["set"] for row in rows} == {"train"}
    assert {task for task, _ in scores} == {"train"} and len(scores) == 5


def test_the_name_of_the_held_out_set_stands_beside_its_scores_alone(looked_at):
    _, scores = looked_at()
    notes = {task: score.reading_note for (task, _), score in scores.items()}
    assert notes == {"train": None, "heldout": "held out: others", "heldout_new": "held out: others"}


def test_an_output_that_is_cut_off_whole_is_counted_as_asked_and_not_as_known(looked_at):
    rows, scores = looked_at(trained=[*TRAINED, ("a " * 200, "b")], heldout=None)
    assert [row["example"] for row in rows] == ["rows/0", "rows/1", "rows/2"]
    assert {(score.count, score.total) for score in scores.values()} == {(3, 4)}


def test_some_conversations_are_the_same_whatever_their_order_and_nested():
    rows = [Conversation(row, (Turn("user", str(row)), Turn("assistant", "a"))) for row in range(20)]
    few, more = some(rows, 5), some(rows, 9)
    assert [each.row for each in few] == sorted(each.row for each in few) and len(more) == 9
    assert set(few) < set(more)
    assert set(some(rows[::-1], 5)) == set(few)
    assert some(rows, None) == some(rows, 99) == rows


def test_in_bf16_the_losses_are_nearly_those_of_fp32(looked_at):
    (_, exact), (_, rough) = looked_at(), looked_at(precision="bf16")
    for task, metric in exact:
        if metric not in ("overlap", "output_kl_per_token"):
            assert rough[task, metric].value == pytest.approx(exact[task, metric].value, rel=0.02)
            assert rough[task, metric].value != exact[task, metric].value


def test_examples_limit_each_set(looked_at):
    rows, scores = looked_at(examples=2)
    assert [row["set"] for row in rows] == ["train"] * 2 + ["heldout"] * 2
    assert scores["train", "output_loss_per_token"].total == 2


def test_equal_inputs_give_equal_bytes(looked_at, tmp_path):
    looked_at()
    first = {name: (tmp_path / "out" / name).read_bytes() for name in (LOSSES, "scores.json")}
    looked_at()
    assert first == {name: (tmp_path / "out" / name).read_bytes() for name in first}


def test_a_file_that_was_changed_meanwhile_is_refused(made, source, tmp_path):
    changed = source("others", NEW)
    changed.file.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(UserError, match="was changed while it waited to be read; run the command again"):
        measure(
            tmp_path,
            made.model,
            base=None,
            trained=None,
            heldout=Heldout("others", (changed,)),
            examples=None,
            max_tokens=64,
            precision="fp32",
            runtime=RUNTIME,
        )
