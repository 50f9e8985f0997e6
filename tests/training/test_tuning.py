"""Instruction tuning from a file to a checkpoint: the label report, and what is saved."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Dataset, Runtime, Subset, Train, UserError
from im_bench.identity import LossIdentity, TrainIdentity
from im_bench.training.tuning import describe, tune

ROWS = [{"prompt": f"What is {n} + 1?", "completion": f"{n + 1}."} for n in range(6)]
LONG = {"prompt": "Hi! " * 60, "completion": "Ho."}
DATASET = Dataset(name="rows", source="local", format="auto", path="rows.jsonl")
RUNTIME = Runtime(device="cpu", micro_batch_tokens=256, save_steps=2, eval_batch_size=8, threads=None)
TRAIN = Train(
    epochs=1,
    global_batch=2,
    max_tokens=64,
    learning_rate=1e-2,
    warmup_ratio=0.0,
    schedule="linear",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    max_grad_norm=1.0,
    precision="fp32",
)


def spec(prompt_weight=0.0, size=None, **train):
    return TrainIdentity(
        dataset_sha256="",
        dataset_format="messages",
        subset=Subset(name="first" if size else "full", size=size),
        loss=LossIdentity(prompt_weight=prompt_weight, output_weight=1, template_weight=0, average="example"),
        train=TRAIN.model_copy(update=train),
        seed=0,
    )


@pytest.fixture
def base(model, tokenizer, tmp_path):
    folder = tmp_path / "base"
    save(folder, model, tokenizer)
    return Checkpoint(str(folder), None, folder)


@pytest.fixture
def tuned(base, tmp_path):
    """Tune on rows into a folder of that name, and return the folder."""

    def run(name, spec, rows=(*ROWS, LONG), follow=lambda values: None, dataset=DATASET):
        file, out = tmp_path / "rows.jsonl", tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out.mkdir(exist_ok=True)
        tune(out, base, spec=spec, dataset=dataset, file=file, runtime=RUNTIME, follow=follow)
        return out

    return run


def labels(folder):
    return json.loads((folder / "labels.json").read_text())


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()


def test_the_label_report_counts_every_token_once(tuned, tokenizer):
    report = labels(tuned("it", spec(), rows=ROWS[:1]))
    size = {text: len(tokenizer(text, add_special_tokens=False).input_ids) for text in ROWS[0].values()}
    markers = len(tokenizer("<|user|>\n").input_ids) + len(tokenizer("\n<|assistant|>\n").input_ids) - 1
    assert report["tokens"] == {
        "template": markers,
        "system": 0,
        "instruction": size["What is 0 + 1?"],
        "output": size["1."],
        "end": 1,
    }
    assert report["supervised_tokens"] == size["1."] + 1
    assert report["instruction_output_ratio"] == size["What is 0 + 1?"] / size["1."]


def test_im_supervises_the_instruction_too_and_drops_the_same_rows(tuned):
    it, im = labels(tuned("it", spec())), labels(tuned("im", spec(prompt_weight=1.0)))
    assert it["dropped_rows"] == im["dropped_rows"] == [6]
    assert (it["kept"], it["conversations"], it["truncated"]) == (6, 7, 0)
    assert it["tokens"] == im["tokens"]
    assert im["supervised_tokens"] == it["supervised_tokens"] + it["tokens"]["instruction"]


def test_the_report_is_one_line_for_a_person(tuned):
    said = describe(labels(tuned("it", spec())))
    assert said.startswith("6 of 7 conversations (0 truncated, 1 dropped as no output fits), ")
    assert "\n" not in said


def test_a_subset_is_trained_on_alone(tuned):
    assert labels(tuned("two", spec(size=2)))["conversations"] == 2


def test_training_records_what_it_did(tuned):
    out = tuned("it", spec())
    training = json.loads((out / "training.json").read_text())
    assert training["steps"] == 3
    assert training["supervised_tokens"] == labels(out)["supervised_tokens"]
    assert training["seconds"] > 0


def test_it_and_im_end_in_other_weights_and_it_twice_in_the_same(tuned):
    it, again, im = (weights(tuned(*run)) for run in (("a", spec()), ("b", spec()), ("c", spec(1.0))))
    assert all(torch.equal(it[name], again[name]) for name in it)
    assert any(not torch.equal(it[name], im[name]) for name in it)


def test_tuning_that_was_interrupted_goes_on_to_the_same_weights(tuned):
    def interrupt(values):
        if values["step"] == 3:
            raise KeyboardInterrupt

    whole = weights(tuned("whole", spec()))
    with pytest.raises(KeyboardInterrupt):
        tuned("cut", spec(), follow=interrupt)
    steps = []
    resumed = weights(tuned("cut", spec(), follow=lambda values: steps.append(values["step"])))
    assert steps == [3]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_saved_in_the_precision_of_the_training(tuned, precision, dtype):
    assert {weight.dtype for weight in weights(tuned("out", spec(precision=precision))).values()} == {dtype}


def test_an_empty_output_can_be_learned_where_it_is_allowed(tuned):
    rows, allowed = (
        [{"prompt": "Hush.", "completion": ""}],
        DATASET.model_copy(update={"allow_empty_output": True}),
    )
    report = labels(tuned("out", spec(), rows=rows, dataset=allowed))
    assert (report["supervised_tokens"], report["tokens"]["output"], report["tokens"]["end"]) == (1, 0, 1)


def test_a_row_that_cannot_be_trained_on_is_named_and_nothing_is_written(tuned, tmp_path):
    with pytest.raises(UserError, match=r"rows\.jsonl, row 2, turn 2: the output is empty"):
        tuned("out", spec(), rows=[ROWS[0], {"prompt": "Hush.", "completion": ""}])
    assert list((tmp_path / "out").iterdir()) == []
