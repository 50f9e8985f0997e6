"""Sums over the tokens of conversations, against plain transformers and by hand."""

import copy

import pytest
import torch

from im_bench.analysis.likelihoods import likelihoods
from im_bench.config import UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.templates import Part

SAID = [
    ("system", "Be brief."),
    ("user", "Name a fruit that is red."),
    ("assistant", "An apple."),
    ("user", "And?"),
    ("assistant", "A cherry is red, too."),
]
FEW = [("user", "12 + 30?"), ("assistant", "42")]
MANY = [
    ("user", "Write a line about the sea."),
    ("assistant", "The sea is wide" + ", and the wind is cold" * 3),
]


@pytest.fixture
def encoded(tokenizer):
    rows = [
        Conversation(row, tuple(Turn(*turn) for turn in said)) for row, said in enumerate((SAID, FEW, MANY))
    ]
    return encode(tokenizer, rows, max_tokens=200).kept


@pytest.fixture
def other(make_model):
    """Another model of the same shape."""
    model = make_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def by_transformers(model, one, parts):
    """The summed loss of one conversation on the tokens of these parts, by the model's own loss, and how many."""
    chosen = torch.tensor([part in parts for part in one.parts_t.tolist()])
    ids = torch.from_numpy(one.ids_t)
    labels = torch.where(chosen, ids, torch.tensor(-100))[None]
    count = int((labels[:, 1:] != -100).sum())
    return model(input_ids=ids[None], labels=labels).loss.item() * count, count


def test_each_sum_is_the_models_own_loss_on_the_tokens_of_its_part(model, encoded):
    found = likelihoods(model, None, encoded, max_tokens=64)
    for one, sums in zip(encoded, found, strict=True):
        output, outputs = by_transformers(model, one, {Part.OUTPUT, Part.END})
        instruction, instructions = by_transformers(model, one, {Part.SYSTEM, Part.INSTRUCTION})
        assert (sums.output_tokens, sums.instruction_tokens) == (outputs, instructions)
        assert sums.output_nll == pytest.approx(output, rel=1e-5)
        assert sums.instruction_nll == pytest.approx(instruction, rel=1e-5)
        assert sums.output_kl is None


def test_the_tokens_are_those_of_all_outputs_with_their_ends_and_of_all_instructions(
    model, encoded, tokenizer
):
    def tokens(*texts):
        return sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)

    sums, few, _ = likelihoods(model, None, encoded, max_tokens=64)
    assert sums.output_tokens == tokens(SAID[2][1], SAID[4][1]) + 2
    assert sums.instruction_tokens == tokens(SAID[0][1], SAID[1][1], SAID[3][1])
    assert (few.output_tokens, few.instruction_tokens) == (tokens("42") + 1, tokens("12 + 30?"))


def test_one_output_by_hand(model, encoded):
    _, one, _ = encoded
    (sums,) = likelihoods(model, None, [one], max_tokens=64)
    with torch.no_grad():
        logp_tv = model(torch.from_numpy(one.ids_t)[None]).logits[0].log_softmax(-1)
    places = [place for place, part in enumerate(one.parts_t.tolist()) if part >= Part.OUTPUT]
    expected = -sum(float(logp_tv[place - 1, one.ids_t[place]]) for place in places)
    assert sums.output_nll == pytest.approx(expected, rel=1e-5)


def test_kl_is_of_the_whole_vocabulary_over_the_output_tokens(model, other, encoded):
    found = likelihoods(model, other, encoded, max_tokens=64)
    for one, sums in zip(encoded, found, strict=True):
        ids = torch.from_numpy(one.ids_t)[None]
        with torch.no_grad():
            logp_tv, base_tv = (each(ids).logits[0].log_softmax(-1) for each in (model, other))
        places = [place - 1 for place, part in enumerate(one.parts_t.tolist()) if part >= Part.OUTPUT]
        expected = torch.nn.functional.kl_div(
            base_tv[places], logp_tv[places], reduction="sum", log_target=True
        )
        assert sums.output_kl == pytest.approx(float(expected), rel=1e-4)
        assert sums.output_kl > 0


def test_a_model_is_at_no_distance_from_itself(model, encoded):
    found = likelihoods(model, copy.deepcopy(model), encoded, max_tokens=64)
    assert [sums.output_kl for sums in found] == pytest.approx([0.0] * 3, abs=1e-5)


def test_sums_depend_neither_on_what_is_read_beside_nor_on_the_chunk(model, other, encoded, monkeypatch):
    whole = likelihoods(model, other, encoded, max_tokens=10_000)
    alone = [likelihoods(model, other, [one], max_tokens=1)[0] for one in encoded]
    monkeypatch.setattr("im_bench.analysis.likelihoods.CHUNK", 3)
    chunked = likelihoods(model, other, encoded, max_tokens=10_000)
    for one, two, three in zip(whole, alone, chunked, strict=True):
        assert one == pytest.approx(two, rel=1e-5) and one == pytest.approx(three, rel=1e-5)


def test_a_conversation_whose_output_alone_counts_has_no_instruction_loss(model, tokenizer):
    alone = Conversation(0, (Turn("assistant", "The sea is wide."),))
    (sums,) = likelihoods(model, None, encode(tokenizer, [alone], max_tokens=64).kept, max_tokens=64)
    assert (sums.instruction_nll, sums.instruction_tokens) == (0.0, 0) and sums.output_nll > 0


def test_it_is_told_how_many_conversations_are_done(model, encoded):
    told = []
    likelihoods(model, None, encoded, max_tokens=1, follow=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_nothing(model):
    assert likelihoods(model, None, [], max_tokens=64) == []


def test_a_model_with_more_than_a_projection_is_refused(model, encoded):
    plain = model.forward
    model.forward = lambda *arguments, **options: _scaled(plain(*arguments, **options))
    with pytest.raises(UserError, match="the logits of LlamaForCausalLM are more than a projection"):
        likelihoods(model, None, encoded, max_tokens=64)


def _scaled(found):
    found.logits = 2 * found.logits
    return found
