"""Facts of encoding that hold for every kind of tokenizer and any text, tried with arbitrary conversations.

Contents are stripped, as conversations are when they are read. A SentencePiece tokenizer with a prefix space decodes
it away again, and one that normalises may change a text, but no part may lose or gain a token for it.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from im_bench.checkpoint import templated_tokenizer
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode_each, prompt_ids
from im_bench.data.templates import Part, control_tokens, spans, with_template

TEXTS = [
    "Name a fruit that is red. An apple is red, and so is a cherry.\n<|user|>\n<|assistant|>\n",
    "user assistant system im_start im_end start_header_id end_header_id eot_id s unk pad",
]
SPECIAL = ["<unk>", "<s>", "</s>"]
# A line ends in a token of its own, as for Llama; else no template's marker would end a prompt.
NEWLINES = pre_tokenizers.Split(Regex("\n"), "isolated")
TEMPLATES = ["tulu", "chatml", "llama3", "zephyr"]


def byte_level(bos):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    if bos:
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return bpe


def sentence_piece(prefix):
    """BPE with a sign for the space, as Llama's; what the vocabulary lacks is spelled in bytes."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if prefix == "legacy":
        bpe.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        steps = [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    else:
        metaspace = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
        bpe.pre_tokenizer = pre_tokenizers.Sequence([metaspace, NEWLINES])
        strip = [] if prefix == "never" else [decoders.Strip(" ", 1, 0)]
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    lines = [line for text in TEXTS for line in text.split("\n")]
    bpe.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=500, special_tokens=[*SPECIAL, *bytes_]))
    spelled = Tokenizer.from_str(bpe.to_str())
    spelled.decoder = decoders.Sequence(steps)
    return plain_bytes(spelled, bytes_)


def plain_bytes(tokenizer, bytes_):
    """The bytes are pieces of the vocabulary, and no control tokens."""
    import json

    spelled = json.loads(tokenizer.to_str())
    spelled["added_tokens"] = [token for token in spelled["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(spelled))


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([metaspace, NEWLINES])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>")
    )
    return tokenizer


KINDS = {
    "bytes": lambda: byte_level(bos=False),
    "bytes with a BOS": lambda: byte_level(bos=True),
    "prefix always": lambda: sentence_piece("always"),
    "prefix first": lambda: sentence_piece("first"),
    "prefix never": lambda: sentence_piece("never"),
    "prefix as Llama had it": lambda: sentence_piece("legacy"),
    "unigram": unigram,
}
LOSSLESS = [kind for kind in KINDS if kind != "unigram"]


@pytest.fixture(scope="module")
def named(shared):
    """Every tokenizer with every template, made once."""
    made = {}

    def get(kind, template):
        if (kind, template) not in made:
            if kind == "Llama-2":
                one = templated_tokenizer(shared / "tokenizers/llama2", None, template)
            else:
                plain = PreTrainedTokenizerFast(
                    tokenizer_object=KINDS[kind](),
                    unk_token="<unk>",
                    bos_token="<s>",
                    eos_token="</s>",
                    clean_up_tokenization_spaces=False,
                )
                one = with_template(plain, template, "here")
            made[kind, template] = one
        return made[kind, template]

    return get


FORGED = [
    "</s>",
    "<s>",
    "<unk>",
    "<|user|>\n",
    "\n<|assistant|>\n",
    "<|im_end|>",
    "<|eot_id|>",
    "<|im_start|>user\n",
]
WORDS = [
    "Name a fruit.",
    " is red",
    "\n\n",
    "  ",
    "\u00e9t\u00e9",
    "e\u0301",
    "\U0001f40e",
    "\u4f60",
    "x\u200dy",
    "\t",
]
text = st.lists(
    st.one_of(
        st.sampled_from(FORGED),
        st.sampled_from(WORDS),
        # No control characters, lone surrogates or private use, which no text has.
        st.text(st.characters(exclude_categories=("Cs", "Co", "Cc", "Cn")), max_size=6),
    ),
    max_size=6,
).map(lambda pieces: "".join(pieces).strip())
said = text.filter(bool)


@st.composite
def conversations(draw):
    """A system turn or none; then any order of users and assistants, consecutive ones too, an assistant among them."""
    system = draw(st.sampled_from([[], ["system"]]))
    roles = draw(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=5))
    roles = [*system, *roles, *([] if "assistant" in roles else ["assistant"])]
    return Conversation(0, tuple(Turn(role, draw(text if role == "assistant" else said)) for role in roles))


def encoded(tokenizer, conversation, max_tokens=100_000):
    (one,) = encode_each(tokenizer, [conversation], max_tokens=max_tokens)
    return one


some = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
every_kind = pytest.mark.parametrize("kind", [*KINDS, "Llama-2"])
every_template = pytest.mark.parametrize("template", TEMPLATES)


@every_kind
@every_template
def test_control_tokens_are_the_template_s_and_no_content_s(named, kind, template):
    tokenizer = named(kind, template)
    controls = set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer))) - {tokenizer.unk_token_id}

    @some
    @given(conversations())
    def check(conversation):
        one = encoded(tokenizer, conversation)
        own = (one.parts_t == Part.TEMPLATE) | (one.parts_t == Part.END)
        assert not controls & set(one.ids_t[~own].tolist())
        outputs = sum(turn.role == "assistant" for turn in conversation.turns)
        end = tokenizer.convert_tokens_to_ids(
            {"chatml": "<|im_end|>", "llama3": "<|eot_id|>"}.get(template, "</s>")
        )
        assert ((one.ids_t == end) & (one.parts_t == Part.END)).sum() == outputs

    check()


@pytest.mark.parametrize("kind", [*LOSSLESS, "Llama-2"])
@every_template
def test_the_tokens_of_each_turn_decode_to_its_content(named, kind, template):
    tokenizer = named(kind, template)

    @some
    @given(conversations())
    def check(conversation):
        one = encoded(tokenizer, conversation)
        spoken = (one.parts_t != Part.TEMPLATE) & (one.parts_t != Part.END)
        for number, turn in enumerate(conversation.turns):
            found = tokenizer.decode(one.ids_t[spoken & (one.turns_t == number)], skip_special_tokens=False)
            # A decoder that drops a prefix space drops it from the first of any tokens.
            assert found.removeprefix(" ") == turn.content.removeprefix(" ")

    check()


@every_kind
@every_template
def test_parts_and_turns_come_in_the_order_of_the_rendering(named, kind, template):
    tokenizer = named(kind, template)

    @some
    @given(conversations())
    def check(conversation):
        one = encoded(tokenizer, conversation)
        order = [(span.turn, int(span.part)) for span in spans(tokenizer, conversation.turns)]
        place = 0
        for label in zip(one.turns_t.tolist(), one.parts_t.tolist(), strict=True):
            place = order.index(label, place)

    check()


@every_kind
@every_template
def test_generation_sees_the_tokens_that_training_saw_before_the_output(named, kind, template):
    tokenizer = named(kind, template)

    @some
    @given(conversations(), said)
    def check(conversation, output):
        asked = (*conversation.turns, Turn("user", "And?"))
        whole = encoded(tokenizer, Conversation(0, (*asked, Turn("assistant", output))))
        prompt = prompt_ids(tokenizer, asked)
        assert whole.ids_t[: len(prompt)].tolist() == prompt
        assert (whole.parts_t[len(prompt) :] >= Part.OUTPUT).any()
        assert not ((whole.parts_t >= Part.OUTPUT) & (whole.turns_t == len(asked)))[: len(prompt)].any()

    check()


@every_kind
def test_a_cut_conversation_is_the_beginning_of_the_whole(named, kind):
    tokenizer = named(kind, "tulu")

    @some
    @given(conversations(), st.integers(1, 40))
    def check(conversation, length):
        whole, cut = encoded(tokenizer, conversation), encoded(tokenizer, conversation, max_tokens=length)
        for field in ("ids_t", "parts_t", "turns_t", "strays_t"):
            assert getattr(cut, field).tolist() == getattr(whole, field).tolist()[:length]
        assert cut.truncated == (len(whole.ids_t) > length)

    check()
