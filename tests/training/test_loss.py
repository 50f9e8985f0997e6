"""The loss of a model: equal to what it is by definition, however a step is laid out."""

import math

import numpy as np
import pytest
import torch
from definition import by_definition
from torch.nn.functional import log_softmax
from transformers import AutoConfig, AutoModelForCausalLM

from im_bench.config import UserError
from im_bench.data.batching import share, step_batch
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.weights import Example, weigh
from im_bench.identity import LossIdentity
from im_bench.training.loss import Objective, as_forward, check_packing, weighted_loss

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
    kept = encode(tokenizer, rows, max_tokens=200).kept
    return lambda prompt: [weigh(encoded, point(prompt)) for encoded in kept]


NLL = Objective()


def step_loss(model, examples, average, max_tokens, objective=NLL, **layout):
    batch = step_batch(examples, average=average, max_tokens=max_tokens, **layout)
    losses = [weighted_loss(model, micro_batch, objective) for micro_batch in batch.micro_batches]
    return sum(losses) / batch.denominator


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


@pytest.mark.parametrize("average", AVERAGES)
def test_the_gradient_does_not_depend_on_packing(model, examples, average):
    whole = gradient(model, step_loss(model, examples(0.25), average, 10_000))
    for max_tokens in (1, 90, 128, 10_000):
        packed = gradient(model, step_loss(model, examples(0.25), average, max_tokens, packed=True))
        assert (packed - whole).norm() / whole.norm() < 1e-6, max_tokens


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_gradient_does_not_depend_on_how_many_processes_share_a_step(model, examples, ranks):
    whole = gradient(model, step_loss(model, examples(0.25), "example", 10_000))
    batch = step_batch(examples(0.25), average="example", max_tokens=40)
    shares = [share(batch.micro_batches, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(mine) for mine in shares}) == 1
    losses = [weighted_loss(model, micro_batch, Objective()) for mine in shares for micro_batch in mine]
    shared = gradient(model, sum(losses) / batch.denominator)
    assert (shared - whole).norm() / whole.norm() < 1e-6


@pytest.mark.parametrize("packed", [False, True])
def test_noise_does_not_depend_on_the_layout(model, examples, packed):
    noisy, seeds = Objective(neftune_alpha=5.0), [11, 12, 13, 14, 15]
    whole = gradient(model, step_loss(model, examples(1.0), "token", 10_000, noisy, seeds=seeds))
    cut = gradient(model, step_loss(model, examples(1.0), "token", 90, noisy, seeds=seeds, packed=packed))
    plain = gradient(model, step_loss(model, examples(1.0), "token", 10_000))
    assert (cut - whole).norm() / whole.norm() < 1e-6
    assert (plain - whole).norm() / whole.norm() > 1e-3


def test_chunks_of_the_projection_change_nothing(model, examples, monkeypatch):
    whole = gradient(model, step_loss(model, examples(0.25), "token", 10_000))
    monkeypatch.setattr("im_bench.training.loss.CHUNK", 7)
    cut = gradient(model, step_loss(model, examples(0.25), "token", 10_000))
    assert (cut - whole).norm() / whole.norm() < 1e-6


def moved(make_model):
    """A model that has moved away from `make_model`'s."""
    model = make_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def test_kl_is_that_of_the_whole_vocabulary_by_hand(make_model, examples):
    model, base = moved(make_model), make_model()
    (example, *_) = examples(0.25)
    ids = torch.from_numpy(example.ids_t)[None]
    logp, base_logp = (log_softmax(each(input_ids=ids).logits[0], dim=-1) for each in (model, base))
    expected = 0.0
    for place in range(1, len(example.ids_t)):
        row, base_row = logp[place - 1].double(), base_logp[place - 1].double()
        kl = sum(math.exp(p) * (p - q) for p, q in zip(row.tolist(), base_row.tolist(), strict=True))
        nll = -row[example.ids_t[place]].item()
        expected += float(example.weights_t[place]) * (nll + 0.3 * kl)
    (batch,) = step_batch([example], average="token", max_tokens=999).micro_batches
    found = weighted_loss(model, batch, Objective(kl_weight=0.3, base=base)).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_kl_to_itself_is_zero_and_pulls_nowhere(make_model, examples):
    model, base = make_model(), make_model()
    plain = gradient(model, step_loss(model, examples(1.0), "token", 999))
    objective = Objective(kl_weight=3.0, base=base)
    loss = step_loss(model, examples(1.0), "token", 999, objective)
    torch.testing.assert_close(loss, step_loss(model, examples(1.0), "token", 999))
    assert (gradient(model, loss) - plain).norm() / plain.norm() < 1e-5


def test_the_published_kl_has_no_gradient_at_one_and_the_true_one_has(make_model, examples):
    model, base = moved(make_model), make_model()
    for kl, zero in (("target", True), ("full", False)):
        objective = Objective(kl_weight=1.0, kl=kl, base=base)
        size = gradient(model, step_loss(model, examples(0.0), "example", 999, objective)).abs().max()
        assert (size == 0) == zero, kl


@pytest.mark.parametrize("weight", [0.1, 0.5, 2.0])
def test_the_published_kl_only_scales_the_gradient_of_the_likelihood(make_model, examples, weight):
    model, base = moved(make_model), make_model()
    plain = gradient(model, step_loss(model, examples(0.0), "example", 999))
    objective = Objective(kl_weight=weight, kl="target", base=base)
    scaled = gradient(model, step_loss(model, examples(0.0), "example", 999, objective))
    assert (scaled - (1 - weight) * plain).norm() / plain.norm() < 1e-5


def test_the_base_model_of_the_kl_term_has_neither_noise_nor_gradient(make_model, examples):
    model, base = make_model(), make_model()
    objective = Objective(neftune_alpha=5.0, kl_weight=1.0, base=base)
    step_loss(model, examples(1.0), "token", 999, objective, seeds=[1, 2, 3, 4, 5]).backward()
    assert all(weight.grad is None for weight in base.parameters())
    quiet = Objective(neftune_alpha=5.0)
    noisy = step_loss(model, examples(1.0), "token", 999, objective, seeds=[1, 2, 3, 4, 5])
    assert noisy > step_loss(model, examples(1.0), "token", 999, quiet, seeds=[1, 2, 3, 4, 5])


def small(kind, **more):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        **more,
    )
    return AutoModelForCausalLM.from_config(config)


KINDS = {
    "mistral": {"num_key_value_heads": 1, "intermediate_size": 64},
    "qwen3": {"num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 16},
    "gpt_neox": {"intermediate_size": 64},
    "gemma2": {
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "head_dim": 16,
        "final_logit_softcapping": 0.5,
    },
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_definition_for_every_family_of_models(kind, examples):
    model, chosen = small(kind, **KINDS[kind]), examples(0.25)
    model.train()
    expected = by_definition(model, chosen, "token")
    with as_forward(model, Objective()):
        pass  # it is a model for which the loss is written
    assert step_loss(model, chosen, "token", 90).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_model_that_mixes_packed_examples_is_refused(model):
    check_packing(model)
    with pytest.raises(
        UserError, match="OPTForCausalLM mixes the examples of a row; use runtime.layout=buck"
    ):
        check_packing(small("opt", **KINDS["opt"]))


def test_a_model_whose_logits_are_no_plain_projection_is_refused(model):
    plain = model.forward
    model.forward = lambda *arguments, **options: _capped(plain(*arguments, **options))
    with (
        pytest.raises(UserError, match="LlamaForCausalLM are more than a projection"),
        as_forward(model, Objective()),
    ):
        pass


def _capped(output):
    output.logits = torch.tanh(output.logits)
    return output


def test_the_loss_of_one_example_is_that_of_transformers(model, examples):
    for prompt in (0.0, 1.0):
        for example in examples(prompt):
            ids = torch.from_numpy(example.ids_t)[None]
            labels = torch.where(torch.from_numpy(example.weights_t)[None] > 0, ids, -100)
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
    first = next(place for place, weight in enumerate(example.weights_t) if weight)
    cut = Example(example.ids_t[: first + 1], example.weights_t[: first + 1], outputs=1)
    logits = model(input_ids=torch.from_numpy(cut.ids_t[:-1])[None]).logits[0, -1]
    expected = -log_softmax(logits, dim=-1)[int(cut.ids_t[-1])]
    assert step_loss(model, [cut], "token", 999).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_examples_with_nothing_supervised_add_zero(model, examples, average):
    silent = Example(np.array([1, 5, 6, 7]), np.zeros(4, dtype=np.float32), outputs=0)
    alone = step_loss(model, [silent], average, 1)
    assert alone.item() == 0
    assert gradient(model, alone).abs().max() == 0
    chosen = examples(0.25)
    without = step_loss(model, chosen, average, 1)
    assert step_loss(model, [*chosen, silent], average, 1).item() == pytest.approx(without.item(), rel=1e-6)


def test_an_example_of_one_token_adds_zero(model):
    assert (
        step_loss(
            model, [Example(np.array([1]), np.zeros(1, dtype=np.float32), outputs=0)], "token", 99
        ).item()
        == 0
    )
