"""The loss of a model: equal to what it is by definition, however a step is laid out."""

import math

import pytest
import torch
from definition import by_definition
from torch.nn.functional import log_softmax

from im_bench.data.batching import step_batch
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.weights import Example, weigh
from im_bench.identity import LossIdentity
from im_bench.training.loss import weighted_nll

AVERAGES = ["example", "token", "nonzero", "output"]
PAIRS = [
    ("Name a fruit that is red.", "An apple."),
    ("What is 12 + 30?", "42."),
    ("Write a line about the sea.", "The sea is wide and the wind is cold."),
    ("Hi", "Ho"),
    ("How many legs has a horse?", "Four, and a tail, and two ears."),
]


def point(prompt, average="example"):
    return LossIdentity(prompt_weight=prompt, output_weight=1.0, template_weight=0.0, average=average)


@pytest.fixture
def examples(tokenizer):
    """Examples of different lengths under a loss of this prompt weight."""
    rows = [
        Conversation(row, (Turn("user", asked), Turn("assistant", said)))
        for row, (asked, said) in enumerate(PAIRS)
    ]
    kept = encode(tokenizer, rows, max_tokens=200, where="rows").kept
    return lambda prompt: [weigh(encoded, point(prompt)) for encoded in kept]


def step_loss(model, examples, average, max_tokens):
    batch = step_batch(examples, average=average, max_tokens=max_tokens)
    return sum(weighted_nll(model, micro_batch) for micro_batch in batch.micro_batches) / batch.denominator


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("average", AVERAGES)
def test_the_loss_and_its_gradient_are_those_of_the_definition(model, examples, average):
    chosen = examples(0.25)
    loss, expected = step_loss(model, chosen, average, 128), by_definition(model, chosen, average)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient(model, loss), gradient(model, expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_the_gradient_does_not_depend_on_the_micro_batches(model, examples, average):
    whole = gradient(model, step_loss(model, examples(0.25), average, 10_000))
    for max_tokens in (1, 40, 90, 128):
        cut = gradient(model, step_loss(model, examples(0.25), average, max_tokens))
        assert (cut - whole).norm() / whole.norm() < 1e-6, max_tokens


def test_the_loss_of_one_example_is_that_of_transformers(model, examples):
    for prompt in (0.0, 1.0):
        for example in examples(prompt):
            ids = torch.tensor([example.ids])
            labels = torch.where(torch.tensor([example.weights]) > 0, ids, -100)
            theirs = model(input_ids=ids, labels=labels).loss
            assert step_loss(model, [example], "example", 999).item() == pytest.approx(
                theirs.item(), rel=1e-6
            )


def test_a_model_that_knows_nothing_has_a_loss_of_log_vocabulary(model, examples):
    torch.nn.init.zeros_(model.lm_head.weight)
    for average in ("example", "token", "nonzero"):
        loss = step_loss(model, examples(1.0), average, 128).item()
        assert loss == pytest.approx(math.log(model.config.vocab_size), rel=1e-6)


def test_the_loss_of_it_at_the_first_token_of_an_output_is_that_token_s_alone(model, examples):
    (example, *_) = examples(0.0)
    first = next(place for place, weight in enumerate(example.weights) if weight)
    cut = Example(example.ids[: first + 1], example.weights[: first + 1], outputs=1)
    logits = model(input_ids=torch.tensor([cut.ids[:-1]])).logits[0, -1]
    expected = -log_softmax(logits, dim=-1)[cut.ids[-1]]
    assert step_loss(model, [cut], "token", 999).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_examples_with_nothing_supervised_add_zero(model, examples, average):
    silent = Example([1, 5, 6, 7], [0.0] * 4, outputs=0)
    alone = step_loss(model, [silent], average, 1)
    assert alone.item() == 0
    assert gradient(model, alone).abs().max() == 0
    chosen = examples(0.25)
    without = step_loss(model, chosen, average, 1)
    assert step_loss(model, [*chosen, silent], average, 1).item() == pytest.approx(without.item(), rel=1e-6)


def test_an_example_of_one_token_adds_zero(model):
    assert step_loss(model, [Example([1], [0.0], outputs=0)], "token", 99).item() == 0
