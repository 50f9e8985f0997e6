"""The loop: what a training ends in, and that nothing but its identity decides it."""

import shutil
from copy import deepcopy

import pytest
import torch
from definition import by_definition

from im_bench.config import Runtime, Train
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity
from im_bench.training.trainer import STATE, fit

IM = LossIdentity(prompt_weight=1, output_weight=1, template_weight=0, average="example")
TRAIN = Train(
    epochs=2,
    global_batch=4,
    max_tokens=128,
    learning_rate=1e-2,
    warmup_ratio=0.25,
    schedule="linear",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    max_grad_norm=1.0,
    precision="fp32",
)
RUNTIME = Runtime(device="cpu", micro_batch_tokens=128, save_steps=3, eval_batch_size=8, threads=None)


class Killed(Exception):
    """Stands for whatever ends a process in the middle."""


@pytest.fixture(scope="module")
def examples(tokenizer):
    """14 examples: 4 optimiser steps an epoch, the last of 2."""
    rows = [
        Conversation(
            row, (Turn("user", f"What is {row} + 1?"), Turn("assistant", f"{row + 1}." * (1 + row % 3)))
        )
        for row in range(14)
    ]
    return [weigh(encoded, IM) for encoded in encode(tokenizer, rows, max_tokens=128, where="rows").kept]


@pytest.fixture(scope="module")
def dropping(make_model):
    """A model that draws random numbers while it trains."""
    model = make_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    return model


@pytest.fixture(scope="module")
def whole(dropping, examples, tmp_path_factory):
    """The weights that uninterrupted training ends in."""
    return trained(dropping, examples, tmp_path_factory.mktemp("whole"))[0]


def trained(model, examples, out, *, train=TRAIN, runtime=RUNTIME, seed=0, stop_after=None):
    """The model's weights and what was logged; `stop_after` steps something goes wrong."""
    events = []

    def log(values):
        events.append(values)
        if values["step"] == stop_after:
            raise Killed

    model = deepcopy(model)
    torch.manual_seed(seed)
    fit(
        model,
        examples,
        train=train,
        average=IM.average,
        seed=seed,
        runtime=runtime,
        out=out,
        log=log,
    )
    return {name: weight.clone() for name, weight in model.state_dict().items()}, events


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_goes_down(model, examples, tmp_path):
    _, events = trained(model, examples, tmp_path, train=TRAIN.model_copy(update={"epochs": 8}))
    losses = [event["loss"] for event in events]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def test_the_same_seed_ends_in_the_same_weights_and_another_in_others(model, examples, tmp_path):
    first, _ = trained(model, examples, tmp_path / "a")
    second, _ = trained(model, examples, tmp_path / "b")
    other, _ = trained(model, examples, tmp_path / "c", seed=1)
    assert same(first, second)
    assert not same(first, other)


def test_steps_are_those_of_adamw_on_the_loss_by_definition(model, examples, tmp_path):
    """Neither the loop nor its library scales, clips or accumulates anything of its own."""
    three = {"epochs": 3, "global_batch": 14, "warmup_ratio": 0.0, "schedule": "constant"}
    plain = three | {"max_grad_norm": 0.0, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
    ours, _ = trained(model, examples, tmp_path, train=TRAIN.model_copy(update=plain))
    # Biases and norms are not decayed; this model has no bias.
    decayed = [weight for name, weight in model.named_parameters() if "norm" not in name]
    kept = [weight for name, weight in model.named_parameters() if "norm" in name]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.8, 0.95),
        eps=1e-3,
    )
    for _ in range(3):
        optimiser.zero_grad()
        by_definition(model, examples, "example").backward()
        optimiser.step()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-5)


def test_weights_do_not_depend_on_the_micro_batches(model, examples, tmp_path):
    few, _ = trained(model, examples, tmp_path / "few")
    small = RUNTIME.model_copy(update={"micro_batch_tokens": 1})
    many, _ = trained(model, examples, tmp_path / "many", runtime=small)
    for name in few:
        torch.testing.assert_close(few[name], many[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 8])
def test_interrupted_training_ends_bit_equal_to_uninterrupted(
    dropping, examples, whole, tmp_path, stop_after
):
    with pytest.raises(Killed):
        trained(dropping, examples, tmp_path / "cut", stop_after=stop_after)
    resumed, events = trained(dropping, examples, tmp_path / "cut")
    assert events[0]["step"] == (stop_after - 1) // 3 * 3 + 1
    assert same(whole, resumed)


def test_twice_interrupted_training_ends_bit_equal_too(dropping, examples, whole, tmp_path):
    for stop_after in (4, 8):
        with pytest.raises(Killed):
            trained(dropping, examples, tmp_path / "cut", stop_after=stop_after)
    resumed, _ = trained(dropping, examples, tmp_path / "cut")
    assert same(whole, resumed)


@pytest.mark.parametrize("torn", ["", '{"epoch": 1.0,', None], ids=["empty", "half", "missing"])
def test_a_state_that_was_cut_off_while_it_was_saved_is_ignored(dropping, examples, whole, tmp_path, torn):
    with pytest.raises(Killed):
        trained(dropping, examples, tmp_path / "cut", stop_after=5)
    states = tmp_path / "cut" / STATE
    shutil.copytree(states / "checkpoint-3", states / "checkpoint-6")
    (states / "checkpoint-6" / "trainer_state.json").unlink()
    if torn is not None:
        (states / "checkpoint-6" / "trainer_state.json").write_text(torn)
    resumed, events = trained(dropping, examples, tmp_path / "cut")
    assert events[0]["step"] == 4
    assert same(whole, resumed)


def test_only_one_state_is_kept_and_none_outlives_the_training(model, examples, tmp_path):
    with pytest.raises(Killed):
        trained(model, examples, tmp_path, stop_after=8)
    assert [path.name for path in (tmp_path / STATE).glob("checkpoint-*")] == ["checkpoint-6"]
    trained(model, examples, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_step_reports_its_loss_its_rate_and_what_it_counted(model, examples, tmp_path):
    _, events = trained(model, examples, tmp_path)
    assert [event["step"] for event in events] == list(range(1, 9))
    assert {event["steps"] for event in events} == {8}
    supervised = sum(int((example.weights_t > 0).sum()) for example in examples)
    assert events[3]["supervised_tokens"] == supervised
    assert events[7]["supervised_tokens"] == 2 * supervised


RATES = {
    # Warm-up of a quarter of 8 steps, then down to nothing: the rate of step n is that after n - 1 steps.
    "linear": [0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6],
    "constant": [0, 1 / 2, 1, 1, 1, 1, 1, 1],
}


@pytest.mark.parametrize("schedule", RATES)
def test_the_learning_rate_warms_up_and_follows_its_schedule(model, examples, tmp_path, schedule):
    train = TRAIN.model_copy(update={"schedule": schedule})
    _, events = trained(model, examples, tmp_path, train=train)
    rates = [event["learning_rate"] / 1e-2 for event in events]
    assert rates == pytest.approx(RATES[schedule])


def test_training_in_bf16_learns_with_weights_kept_in_fp32(model, examples, tmp_path):
    train = TRAIN.model_copy(update={"precision": "bf16", "epochs": 8})
    weights, events = trained(model, examples, tmp_path, train=train)
    assert events[-1]["loss"] < 0.5 * events[0]["loss"]
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_activations_computed_again_give_the_same_weights(make_model, examples, tmp_path):
    again = RUNTIME.model_copy(update={"gradient_checkpointing": True})
    ends = [
        trained(make_model(), examples, tmp_path / name, runtime=runtime)[0]
        for name, runtime in (("kept", RUNTIME), ("again", again))
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
