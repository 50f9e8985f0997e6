"""The loop: what a training ends in, and that nothing but its identity decides it."""

import os
import shutil
import signal
from copy import deepcopy
from multiprocessing import get_context

import pytest
import torch
from definition import by_definition
from settings import RUNTIME, TRAIN
from transformers.models.llama.modeling_llama import LlamaMLP

from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity
from im_bench.training import TOTALS
from im_bench.training.loss import Objective
from im_bench.training.trainer import STATE, fit

IM = LossIdentity(prompt_weight=1, output_weight=1, template_weight=0, average="example")


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
    return [weigh(encoded, IM) for encoded in encode(tokenizer, rows, max_tokens=128).kept]


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


def trained(model, examples, out, *, train=TRAIN, runtime=RUNTIME, seed=0, stop_after=None, **options):
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
        **options,
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
    states = tmp_path / "cut" / STATE / "alone"
    shutil.copytree(states / "checkpoint-3", states / "checkpoint-6")
    (states / "checkpoint-6" / "trainer_state.json").unlink()
    if torn is not None:
        (states / "checkpoint-6" / "trainer_state.json").write_text(torn)
    resumed, events = trained(dropping, examples, tmp_path / "cut")
    assert events[0]["step"] == 4
    assert same(whole, resumed)


NOISY = Objective(neftune_alpha=5.0)


def train_and_die(model, examples, out, die_after):
    """In a process of its own: what a machine that fails in the middle leaves."""

    def log(values):
        if values["step"] == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    torch.manual_seed(0)
    fit(
        deepcopy(model),  # the one given shares its memory with the parent process
        examples,
        train=TRAIN,
        average=IM.average,
        seed=0,
        runtime=RUNTIME,
        out=out,
        log=log,
        objective=NOISY,
    )


def test_a_training_that_is_killed_ends_bit_equal_with_noise_dropout_and_all(dropping, examples, tmp_path):
    uninterrupted, _ = trained(dropping, examples, tmp_path / "whole", objective=NOISY)
    process = get_context("spawn").Process(
        target=train_and_die, args=(dropping, examples, tmp_path / "cut", 5)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed, events = trained(dropping, examples, tmp_path / "cut", objective=NOISY)
    assert events[0]["step"] == 4
    assert same(uninterrupted, resumed)


def test_noise_changes_what_a_training_ends_in(dropping, examples, whole, tmp_path):
    noisy, _ = trained(dropping, examples, tmp_path, objective=NOISY)
    assert not same(whole, noisy)


@pytest.mark.parametrize("save_epochs, kept", [(True, [1, 2]), (False, [2])])
def test_weights_are_kept_after_every_epoch_when_asked(model, examples, tmp_path, save_epochs, kept):
    weights = {}

    def keep(found, epoch):
        weights[epoch] = {name: weight.clone() for name, weight in found.items()}

    train = TRAIN.model_copy(update={"save_epochs": save_epochs})
    end, _ = trained(model, examples, tmp_path, train=train, keep=keep)
    assert list(weights) == kept
    assert same(end, weights[2])
    if save_epochs:
        assert not same(end, weights[1])


def test_keeping_weights_draws_no_random_numbers_of_the_training(dropping, examples, whole, tmp_path):
    train = TRAIN.model_copy(update={"save_epochs": True})
    kept, _ = trained(dropping, examples, tmp_path, train=train, keep=lambda weights, epoch: torch.rand(1000))
    assert same(whole, kept)


def test_the_counts_of_a_resumed_training_are_those_of_the_whole(model, examples, tmp_path):
    _, events = trained(model, examples, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(model, examples, tmp_path / "cut", stop_after=5)
    _, resumed = trained(model, examples, tmp_path / "cut")
    for name in ("supervised_tokens", "tokens", "flops", "loss"):
        assert resumed[-1][name] == events[-1][name]


def test_packed_training_ends_in_the_same_weights(model, examples, tmp_path):
    ends = [
        trained(model, examples, tmp_path / layout, runtime=RUNTIME.model_copy(update={"layout": layout}))[0]
        for layout in ("buckets", "packed")
    ]
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=1e-4)


def test_only_one_state_is_kept_and_none_outlives_the_training(model, examples, tmp_path):
    with pytest.raises(Killed):
        trained(model, examples, tmp_path, stop_after=8)
    assert [path.name for path in (tmp_path / STATE / "alone").glob("checkpoint-*")] == ["checkpoint-6"]
    trained(model, examples, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [TOTALS]


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


def test_activations_computed_again_give_the_same_weights(make_model, examples, tmp_path, monkeypatch):
    calls, forward = [], LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: calls.append(self) or forward(self, x))
    kept, _ = trained(make_model(), examples, tmp_path / "kept")
    once = len(calls)
    calls.clear()
    runtime = RUNTIME.model_copy(update={"gradient_checkpointing": True})
    again, _ = trained(make_model(), examples, tmp_path / "again", runtime=runtime)
    assert len(calls) > 1.5 * once
    assert all(torch.equal(kept[name], again[name]) for name in kept)
