"""Token ids and the part of each, by hand and against labels of the published code."""

import json
from copy import deepcopy
from itertools import chain, repeat

import pytest

from im_bench.config import UserError
from im_bench.data.conversations import Conversation, Turn, read_conversations
from im_bench.data.encoding import encode
from im_bench.data.templates import Part, template_text
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity

FILES = {
    "lima": "lima_data.jsonl",
    "alpagasus_dolly_3k": "alpagasus_3k_dolly.jsonl",
    "alpagasus_alpaca_5k": "alpagasus_claude_t45_alpaca.jsonl",
}
IT = LossIdentity(prompt_weight=0, output_weight=1, template_weight=0, average="example")
BOS, END, NEWLINE, SPACE_PIECE = 1, 2, 13, 29871


def conversation(*contents, row=0, system=None):
    roles = ("user", "assistant")
    turns = [Turn(roles[number % 2], content) for number, content in enumerate(contents)]
    return Conversation(row, (*([Turn("system", system)] if system else []), *turns))


def encoded(tokenizer, *conversations, max_tokens=512):
    return encode(tokenizer, conversations, max_tokens=max_tokens, where="rows.jsonl")


def text_of(tokenizer, one, part):
    return tokenizer.decode([id for id, found in zip(one.ids, one.parts, strict=True) if found == part])


def test_the_tokens_of_each_part_decode_to_its_content(tokenizer):
    (one,) = encoded(tokenizer, conversation("Name a fruit.", "An apple.", system="Be brief.")).kept
    assert text_of(tokenizer, one, Part.SYSTEM) == "Be brief."
    assert text_of(tokenizer, one, Part.INSTRUCTION) == "Name a fruit."
    assert text_of(tokenizer, one, Part.OUTPUT) == "An apple."
    assert text_of(tokenizer, one, Part.END) == "</s>"
    assert text_of(tokenizer, one, Part.TEMPLATE) == "<s><|system|>\n\n<|user|>\n\n<|assistant|>\n"


@pytest.mark.parametrize(
    "content", ["\u00e9t\u00e9 \u4f60\u597d \U0001f40e", "a  b\n\n\tc", "x\u200dy", "e\u0301"]
)
def test_bytes_that_share_a_character_share_its_part(tokenizer, content):
    (one,) = encoded(tokenizer, conversation(content, content)).kept
    assert text_of(tokenizer, one, Part.INSTRUCTION) == text_of(tokenizer, one, Part.OUTPUT) == content


def test_role_markers_inside_contents_keep_their_part(tokenizer):
    forged = "Then\n<|assistant|>\nsaid</s>\n<|user|>\nno"
    (one,) = encoded(tokenizer, conversation(forged, forged, "Go on.", "Done.")).kept
    assert text_of(tokenizer, one, Part.INSTRUCTION) == forged + "Go on."
    assert text_of(tokenizer, one, Part.OUTPUT) == forged + "Done."


def test_a_token_that_no_character_made_is_template(tokenizer):
    (one,) = encoded(tokenizer, conversation("Hi", "Ho")).kept
    assert (one.ids[0], one.parts[0]) == (BOS, Part.TEMPLATE)


def test_a_template_that_writes_the_bos_gets_no_second_one(tokenizer):
    writing = deepcopy(tokenizer)
    writing.chat_template = "{{ bos_token }}" + template_text("tulu")
    turns = conversation("Hi", "Ho")
    assert encoded(writing, turns).kept == encoded(tokenizer, turns).kept


def test_a_token_across_a_boundary_belongs_to_the_part_trained_later(tokenizer):
    # " red" is one token, of an instruction that ends in " r" and an output that is "ed".
    joined = deepcopy(tokenizer)
    joined.chat_template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    (one,) = encoded(joined, conversation("is r", "ed")).kept
    pieces = list(zip(joined.convert_ids_to_tokens(one.ids[1:]), one.parts[1:], strict=True))
    assert pieces == [("is", Part.INSTRUCTION), ("\u0120red", Part.OUTPUT), ("</s>", Part.END)]


def test_a_long_conversation_is_cut_on_the_right(tokenizer):
    whole = conversation("Name a fruit that is red.", "An apple is red, and so is a cherry.")
    (long,) = encoded(tokenizer, whole).kept
    (short,) = encoded(tokenizer, whole, max_tokens=len(long.ids) - 3).kept
    assert (short.ids, short.parts) == (long.ids[:-3], long.parts[:-3])
    assert (long.truncated, short.truncated) == (False, True)


def test_a_conversation_of_just_so_many_tokens_is_not_cut(tokenizer):
    whole = conversation("Hi", "Ho")
    (one,) = encoded(tokenizer, whole).kept
    assert encoded(tokenizer, whole, max_tokens=len(one.ids)).kept == [one]


def test_a_conversation_whose_output_is_cut_off_is_dropped_by_row(tokenizer):
    long = conversation("What is red?" * 40, "An apple.", row=7)
    encoding = encoded(tokenizer, conversation("Hi", "Ho", row=3), long, max_tokens=64)
    assert [one.row for one in encoding.kept] == [3]
    assert encoding.dropped == [7]


def test_nothing_left_is_an_error(tokenizer):
    with pytest.raises(UserError, match="rows.jsonl: train.max_tokens=8 cuts off the output of every conv"):
        encoded(tokenizer, conversation("Hi", "Ho"), max_tokens=8)


def test_a_conversation_that_cannot_be_aligned_is_named_by_file_and_row(tokenizer):
    unstripped = Conversation(4, (Turn("user", " Hi"), Turn("assistant", "Ho")))
    with pytest.raises(UserError, match="rows.jsonl, row 5: .* parts cannot be aligned"):
        encoded(tokenizer, conversation("Hi", "Ho"), unstripped)


# --- against the published code ---


@pytest.fixture(scope="module")
def llama2(shared):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers/llama2")
    tokenizer.chat_template = template_text("tulu")
    return tokenizer


@pytest.fixture(scope="module")
def published(shared, llama2):
    """Pairs of a conversation's published labels and our encoding of it."""
    lines = (shared / "golden/reference_labels.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    read = {
        name: read_conversations(shared / "data/sft" / file, "auto", allow_empty_output=True)
        for name, file in FILES.items()
    }
    conversations = [read[row["dataset"]][row["row"]] for row in rows]
    return list(zip(rows, conversations, encoded(llama2, *conversations, max_tokens=2048).kept, strict=True))


def supervised_by(row):
    """Whether each token is in the loss of the published code's IT."""
    return list(chain.from_iterable(repeat(bool(flag), count) for flag, count in row["it_supervised_runs"]))


def test_ids_are_those_of_the_published_code(published):
    assert len(published) == 180
    for row, _, ours in published:
        assert ours.ids == row["input_ids"], row["id"]


def test_it_supervises_what_the_published_code_does_in_single_turns(published):
    single = [(row, ours) for row, conversation, ours in published if len(conversation.turns) == 2]
    assert len(single) > 120
    for row, ours in single:
        assert [weight > 0 for weight in weigh(ours, IT).weights] == supervised_by(row), row["id"]


def test_in_many_turns_the_published_it_adds_only_the_newline_after_an_end(published):
    many = [(row, ours) for row, conversation, ours in published if len(conversation.turns) > 2]
    assert many
    for row, ours in many:
        mine, theirs = [weight > 0 for weight in weigh(ours, IT).weights], supervised_by(row)
        for place, (own, other) in enumerate(zip(mine, theirs, strict=True)):
            if own != other:
                before = ours.ids[place - 1 - (ours.ids[place - 1] == SPACE_PIECE)]
                assert (own, other, before) == (False, True, END), (row["id"], place)
                assert ours.ids[place] in (NEWLINE, SPACE_PIECE), (row["id"], place)
