"""Token ids and the part of each, by hand and against labels of the published code."""

import json
from copy import deepcopy
from itertools import chain, repeat

import pytest

from im_bench.checkpoint import templated_tokenizer
from im_bench.config import UserError
from im_bench.data.conversations import Conversation, Turn, read_conversations
from im_bench.data.encoding import encode, prompt_ids
from im_bench.data.released import markers
from im_bench.data.templates import Part, render, template_text
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity

FILES = {
    "lima": "lima_data.jsonl",
    "alpagasus_dolly_3k": "alpagasus_3k_dolly.jsonl",
    "alpagasus_alpaca_5k": "alpagasus_claude_t45_alpaca.jsonl",
}
IT = LossIdentity(prompt_weight=0, output_weight=1, template_weight=0, average="example")
RELEASED_IT = IT.model_copy(update={"labels": "released_it"})
BOS, NEWLINE, SPACE_PIECE = 1, 13, 29871


def conversation(*contents, row=0, system=None):
    roles = ("user", "assistant")
    turns = [Turn(roles[number % 2], content) for number, content in enumerate(contents)]
    return Conversation(row, (*([Turn("system", system)] if system else []), *turns))


def encoded(tokenizer, *conversations, max_tokens=512):
    named = [one._replace(file="rows.jsonl") for one in conversations]
    return encode(tokenizer, named, max_tokens=max_tokens)


def arrays(one):
    return [array.tolist() for array in (one.ids_t, one.parts_t, one.turns_t, one.strays_t)]


def text_of(tokenizer, one, part):
    return tokenizer.decode([id for id, found in zip(one.ids_t, one.parts_t, strict=True) if found == part])


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
    assert (one.ids_t[0], one.parts_t[0]) == (BOS, Part.TEMPLATE)


def test_a_template_that_writes_the_bos_gets_no_second_one(tokenizer):
    writing = deepcopy(tokenizer)
    writing.chat_template = "{{ bos_token }}" + template_text("tulu")
    turns = conversation("Hi", "Ho")
    assert arrays(encoded(writing, turns).kept[0]) == arrays(encoded(tokenizer, turns).kept[0])


def test_a_token_across_a_boundary_belongs_to_the_part_trained_later(tokenizer):
    # " red" is one token, of an instruction that ends in " r" and an output that is "ed".
    joined = deepcopy(tokenizer)
    joined.chat_template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    (one,) = encoded(joined, conversation("is r", "ed")).kept
    pieces = list(zip(joined.convert_ids_to_tokens(one.ids_t[1:]), one.parts_t[1:], strict=True))
    assert pieces == [("is", Part.INSTRUCTION), ("\u0120red", Part.OUTPUT), ("</s>", Part.END)]


def test_a_long_conversation_is_cut_on_the_right(tokenizer):
    whole = conversation("Name a fruit that is red.", "An apple is red, and so is a cherry.")
    (long,) = encoded(tokenizer, whole).kept
    (short,) = encoded(tokenizer, whole, max_tokens=len(long.ids_t) - 3).kept
    assert arrays(short) == [array[:-3] for array in arrays(long)]
    assert (long.truncated, short.truncated) == (False, True)


def test_a_conversation_of_just_so_many_tokens_is_not_cut(tokenizer):
    whole = conversation("Hi", "Ho")
    (one,) = encoded(tokenizer, whole).kept
    (again,) = encoded(tokenizer, whole, max_tokens=len(one.ids_t)).kept
    assert arrays(again) == arrays(one)
    assert not again.truncated


def test_a_conversation_whose_output_is_cut_off_is_dropped_by_row(tokenizer):
    long = conversation("What is red?" * 40, "An apple.", row=7)
    encoding = encoded(tokenizer, conversation("Hi", "Ho", row=3), long, max_tokens=64)
    assert [one.row for one in encoding.kept] == [3]
    assert [one.row for one in encoding.dropped] == [7]


def test_nothing_left_is_an_error(tokenizer):
    with pytest.raises(UserError, match="rows.jsonl: train.max_tokens=8 cuts off the output of every conv"):
        encoded(tokenizer, conversation("Hi", "Ho"), max_tokens=8)


def test_a_conversation_that_cannot_be_aligned_is_named_by_file_and_row(tokenizer):
    unstripped = Conversation(4, (Turn("user", " Hi"), Turn("assistant", "Ho")))
    with pytest.raises(UserError, match=r"rows.jsonl, row 4 \(line 5\): .* parts cannot be aligned"):
        encoded(tokenizer, conversation("Hi", "Ho"), unstripped)


def test_a_conversation_that_opens_with_an_output_is_one_like_any_other(tokenizer):
    opening = Conversation(0, (Turn("assistant", "Hi"), Turn("user", "Ho")))
    assert [one.row for one in encoded(tokenizer, opening, conversation("Hi", "Ho", row=1)).kept] == [0, 1]
    assert len(encoded(tokenizer, opening).kept) == 1


def test_a_template_that_asks_otherwise_than_it_answers_is_refused(tokenizer):
    thinking = deepcopy(tokenizer)
    thinking.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}Hm. {% endif %}{{ m.content }}"
        "{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>So: {% endif %}"
    )
    with pytest.raises(UserError, match="the model would be asked what it was not trained on"):
        encoded(thinking, conversation("Hi", "Ho"))


CONTROLS = ["</s>", "<s>", "<pad>", "Say </s> and <s>.", "</s></s>", "a</s>b"]


@pytest.mark.parametrize("text", CONTROLS)
def test_a_control_string_inside_a_content_is_text(tokenizer, text):
    (one,) = encoded(tokenizer, conversation(text, text, text, text, system=text)).kept
    inside = (one.parts_t != Part.TEMPLATE) & (one.parts_t != Part.END)
    assert not {0, 1, 2} & set(one.ids_t[inside].tolist())
    assert (one.ids_t == 2).sum() == 2, "the template's own ends are control tokens"
    assert text_of(tokenizer, one, Part.INSTRUCTION) == text_of(tokenizer, one, Part.OUTPUT) == text * 2


def test_every_token_belongs_to_the_turn_that_it_is_in_or_introduces(tokenizer):
    (one,) = encoded(tokenizer, conversation("Hi", "Ho", "He", "Ha")).kept
    spoken = [tokenizer.decode(one.ids_t[one.turns_t == turn]) for turn in range(4)]
    assert spoken == [
        "<s><|user|>\nHi",
        "\n<|assistant|>\nHo</s>\n",
        "<|user|>\nHe",
        "\n<|assistant|>\nHa</s>",
    ]


def test_strays_are_the_newline_after_an_output_and_markers_of_assistants_that_answer_nobody(tokenizer):
    turns = [Turn("assistant", "A"), Turn("assistant", "B"), Turn("user", "C"), Turn("assistant", "D")]
    (one,) = encoded(tokenizer, Conversation(0, tuple(turns))).kept
    strays = tokenizer.decode(one.ids_t[one.strays_t])
    assert strays == "<|assistant|>\n" + "\n<|assistant|>\n" + "\n"


def test_a_prompt_is_how_the_encoding_of_the_answered_conversation_begins(tokenizer):
    whole = conversation("Hi </s>", "Ho", "He", "Ha", system="Be brief.")
    (one,) = encoded(tokenizer, whole).kept
    for turns in (2, 4):
        prompt = prompt_ids(tokenizer, whole.turns[:turns])
        assert one.ids_t[: len(prompt)].tolist() == prompt
        assert one.parts_t[len(prompt)] == Part.OUTPUT


def test_a_tokenizer_that_appends_an_end_of_its_own_does_not_get_it_in(tokenizer):
    from tokenizers import processors

    appending = deepcopy(tokenizer)
    appending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    turns = conversation("Hi", "Ho")
    assert arrays(encoded(appending, turns).kept[0]) == arrays(encoded(tokenizer, turns).kept[0])


# --- against the published code, and the tokenizer itself ---


@pytest.fixture(scope="module")
def llama2(shared):
    return templated_tokenizer(shared / "tokenizers/llama2", None, "tulu")


@pytest.fixture(scope="module")
def read(shared):
    return {
        name: read_conversations(shared / "data/sft" / file, "auto", allow_empty_output=True)
        for name, file in FILES.items()
    }


@pytest.fixture(scope="module")
def published(shared, llama2, read):
    """Pairs of a conversation's published labels and our encoding of it."""
    lines = (shared / "golden/reference_labels.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    conversations = [read[row["dataset"]][row["row"]] for row in rows]
    return list(zip(rows, encoded(llama2, *conversations, max_tokens=2048).kept, strict=True))


def test_ids_are_those_of_the_published_code(published):
    assert len(published) == 180
    for row, ours in published:
        assert ours.ids_t.tolist() == row["input_ids"], row["id"]


@pytest.mark.parametrize("labels, runs", [("released_it", "it"), ("released_im", "im_released")])
def test_supervised_tokens_are_those_of_the_published_code(published, llama2, labels, runs):
    loss = LossIdentity(prompt_weight=0, output_weight=1, template_weight=0, average="example", labels=labels)
    for row, ours in published:
        expected = chain.from_iterable(repeat(flag, count) for flag, count in row[f"{runs}_supervised_runs"])
        assert weigh(ours, loss, markers(llama2)).weights_t.tolist() == list(expected), row["id"]


def test_it_differs_from_the_published_it_only_between_turns(published):
    for row, ours in published:
        theirs = weigh(ours, RELEASED_IT).weights_t > 0
        mine = weigh(ours, IT).weights_t > 0
        assert not (mine & ~theirs).any(), row["id"]
        assert set(ours.ids_t[theirs & ~mine].tolist()) <= {NEWLINE, SPACE_PIECE}, row["id"]


@pytest.mark.parametrize("name", FILES)
def test_ids_of_real_text_are_the_tokenizer_s_own(llama2, read, name):
    kept = encoded(llama2, *read[name], max_tokens=100_000).kept
    assert len(kept) == len(read[name])
    for conversation, one in zip(read[name], kept, strict=True):
        assert one.ids_t.tolist() == llama2(render(llama2, conversation.turns))["input_ids"], one.row
