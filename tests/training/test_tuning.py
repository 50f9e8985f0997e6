"""Instruction tuning from a file to a checkpoint: what is trained on, and what is saved."""

import json
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from im_bench.checkpoint import save
from im_bench.config import Lora, UserError
from im_bench.data.templates import with_template

ROWS = [{"prompt": f"What is {n} + 1?", "completion": f"{n + 1}."} for n in range(6)]
LONG = {"prompt": "Hi! " * 60, "completion": "Ho."}
IM = {"prompt_weight": 1.0}
LORA = Lora(rank=4, alpha=8, dropout=0.1)


def labels(folder):
    return json.loads((folder / "labels.json").read_text())


def training(folder):
    return json.loads((folder / "training.json").read_text())


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_im_supervises_the_instruction_too_and_drops_the_same_rows(tuned):
    it, im = labels(tuned("it", [*ROWS, LONG])), labels(tuned("im", [*ROWS, LONG], loss=IM))
    assert (it["kept"], it["conversations"]) == (im["kept"], im["conversations"]) == (6, 7)
    assert it["tokens"] == im["tokens"]
    assert im["supervised_tokens"] == it["supervised_tokens"] + it["tokens"]["instruction"]


def test_what_is_trained_on_is_said_before_it_is_trained_on(tuned, caplog):
    said = []
    with caplog.at_level("INFO"):
        tuned("it", ROWS, follow=lambda values: said.append(caplog.text))
    assert "supervised" in said[0]


def test_the_label_report_and_the_totals_are_told_to_whoever_tracks_the_run(tuned):
    told = {}
    out = tuned("it", ROWS, tell=told.update)
    assert told["labels/supervised_tokens"] == labels(out)["supervised_tokens"]
    assert told["labels/tokens/output"] == labels(out)["tokens"]["output"]
    assert told["training/flops"] == training(out)["flops"]
    assert all(isinstance(value, (int, float)) for value in told.values())


def test_a_subset_is_trained_on_alone(tuned):
    assert labels(tuned("two", ROWS, size=2))["conversations"] == 2


def test_training_records_what_it_did(tuned):
    out = tuned("it", ROWS)
    done = training(out)
    assert done["steps"] == 3
    assert done["supervised_tokens"] == labels(out)["supervised_tokens"]
    assert done["tokens"] == sum(labels(out)["tokens"].values())
    assert done["seconds"] > 0


def test_im_costs_more_operations_than_it_by_the_projection_of_its_prompts(tuned):
    it, im = tuned("it", ROWS), tuned("im", ROWS, loss=IM)
    more = labels(im)["supervised_tokens"] - labels(it)["supervised_tokens"]
    assert training(im)["flops"] - training(it)["flops"] == 3 * 2 * 32 * 320 * more


def test_it_and_im_end_in_other_weights_and_it_twice_in_the_same(tuned, weights):
    it, again, im = (
        weights(tuned(*run, ROWS, loss=loss)) for *run, loss in (("a", {}), ("b", {}), ("c", IM))
    )
    assert same(it, again)
    assert not same(it, im)


def test_tuning_that_was_interrupted_goes_on_to_the_same_weights(tuned, weights):
    def interrupt(values):
        if values["step"] == 3:
            raise KeyboardInterrupt

    whole = weights(tuned("whole", ROWS))
    with pytest.raises(KeyboardInterrupt):
        tuned("cut", ROWS, follow=interrupt)
    steps = []
    resumed = weights(tuned("cut", ROWS, follow=lambda values: steps.append(values["step"])))
    assert steps == [3]
    assert same(whole, resumed)


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_saved_in_the_precision_of_the_training(tuned, weights, precision, dtype):
    found = weights(tuned("out", ROWS, precision=precision))
    assert {weight.dtype for weight in found.values()} == {dtype}


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_every_epoch_s_checkpoint_loads_by_itself(tuned, weights, lora):
    out = tuned("out", ROWS, epochs=3, save_epochs=True, lora=lora)
    assert sorted(path.name for path in (out / "epochs").iterdir()) == ["1", "2"]
    for folder in (out, out / "epochs" / "1", out / "epochs" / "2"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_tensors="pt")
        AutoModelForCausalLM.from_pretrained(folder)(**ids)
    assert not same(weights(out), weights(out / "epochs" / "2"))
    assert same(weights(out), weights(tuned("once", ROWS, epochs=3, lora=lora)))


def test_lora_changes_linear_layers_by_updates_of_its_rank_and_nothing_else(tuned, weights, base):
    before, after = weights(base), weights(tuned("lora", ROWS, lora=LORA))
    assert before.keys() == after.keys()
    for name in before:
        change = after[name] - before[name]
        rank = int(torch.linalg.matrix_rank(change, atol=1e-5)) if change.ndim == 2 else 0
        assert (0 < rank <= 4) if "_proj" in name else (change == 0).all(), name


def test_the_kl_term_keeps_a_model_nearer_to_its_base(tuned, weights, base):
    def distance(name, loss):
        before, after = weights(base), weights(tuned(name, ROWS, epochs=4, loss=loss))
        return sum(((after[key] - before[key]) ** 2).sum() for key in before)

    assert distance("kl", {"kl_weight": 100.0}) < 0.9 * distance("it", {})


def test_the_published_kl_at_one_leaves_the_weights_as_they_are(tuned, weights, base):
    released = {"kl_weight": 1.0, "kl": "target"}
    assert same(weights(tuned("out", ROWS, loss=released)), weights(base))


def test_im_and_noise_and_kl_compose(tuned, weights):
    losses = [IM, IM | {"neftune_alpha": 5.0}, IM | {"neftune_alpha": 5.0, "kl_weight": 1.0}]
    ends = [weights(tuned(str(number), ROWS, loss=loss)) for number, loss in enumerate(losses)]
    assert not same(ends[0], ends[1])
    assert not same(ends[1], ends[2])


def test_an_empty_output_can_be_learned_where_it_is_allowed(tuned):
    rows = [{"prompt": "Hush.", "completion": ""}]
    report = labels(tuned("out", rows, allow_empty_output=True))
    assert (report["supervised_tokens"], report["tokens"]["output"], report["tokens"]["end"]) == (1, 0, 1)


def test_a_row_that_cannot_be_trained_on_is_named_and_nothing_is_written(tuned, tmp_path):
    with pytest.raises(UserError, match=r"rows\.jsonl, row 1 \(line 2\), turn 2: the output is empty"):
        tuned("out", [ROWS[0], {"prompt": "Hush.", "completion": ""}])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_conversation_longer_than_the_model_is_named_with_the_remedy(tuned):
    rows = [ROWS[0], {"prompt": "Hi! " * 200, "completion": "Ho."}]
    with pytest.raises(
        UserError,
        match=r"rows.jsonl, row 1 \(line 2\): \d+ tokens, but the model has 256 positions; train.max_tokens=256",
    ):
        tuned("out", rows, max_tokens=2048)


def test_low_rank_updates_are_refused_where_a_template_added_tokens(tuned, tokenizer, tmp_path):
    save(tmp_path / "templated", None, with_template(deepcopy(tokenizer), "chatml", "base"))
    with pytest.raises(
        UserError, match="adds 2 control tokens to the tokenizer, whose embeddings low-rank updates"
    ):
        tuned("out", ROWS, lora=LORA, tokenizer=tmp_path / "templated")


@pytest.mark.parametrize(
    "precision, said", [("fp32", "it computes in bf16 only"), ("bf16", "not to be had for LlamaForCausalLM")]
)
def test_an_attention_that_cannot_be_had_is_refused(tuned, precision, said):
    with pytest.raises(UserError, match=f"runtime.attention=flash_attention_2: {said}"):
        tuned("out", ROWS, runtime={"attention": "flash_attention_2"}, precision=precision)
