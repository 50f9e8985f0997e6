"""The one model of a cell: what it answers, and where an answer ends."""

from copy import deepcopy

import pytest
import torch
from settings import ENGINE, RUNTIME, TRAIN
from transformers import GenerationConfig

from im_bench.checkpoint import Checkpoint, load_model, save
from im_bench.config import HF, UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.templates import render, with_template
from im_bench.data.weights import weigh
from im_bench.evaluation.engine import open_engine
from im_bench.identity import LossIdentity
from im_bench.training.trainer import fit

SAYINGS = {
    "Name a fruit.": "An apple.",
    "Name a fruit that is red.": "A cherry. Or an apple.",
    "What is 12 + 30?": "42.",
    "Write about the sea.": "The sea is wide\nand the wind is cold.",
    "How many legs has a horse?": "Four.",
}


def learn(model, tokenizer, out):
    """Have a model learn a few answers by heart."""
    turns = [(Turn("user", asked), Turn("assistant", said)) for asked, said in SAYINGS.items()]
    rows = [Conversation(row, pair) for row, pair in enumerate(turns)]
    loss = LossIdentity(prompt_weight=0, output_weight=1, template_weight=0, average="token")
    examples = [weigh(one, loss) for one in encode(tokenizer, rows, max_tokens=128).kept]
    torch.manual_seed(0)
    fit(
        model,
        examples,
        train=TRAIN.model_copy(update={"epochs": 60, "global_batch": 5}),
        average="token",
        seed=0,
        runtime=RUNTIME,
        out=out,
        log=lambda values: None,
    )


@pytest.fixture(scope="module")
def parrot(make_model, tokenizer, tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("parrot"), make_model()
    learn(model, tokenizer, folder)
    save(folder, model, tokenizer)
    return Checkpoint(str(folder), None, folder)


@pytest.fixture
def engine(parrot):
    return open_engine(parrot, ENGINE, RUNTIME)


def ask(engine, questions, **options):
    prompts = [engine.chat_prompt([{"role": "user", "content": question}]) for question in questions]
    return engine.generate(prompts, **{"max_new_tokens": 40, "temperature": 0.0, "seed": 0} | options)


def test_a_prompt_is_what_training_saw_up_to_the_output(engine, tokenizer):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    turns = [Turn("system", "Be brief."), Turn("user", "Hi")]
    assert engine.chat_prompt(messages) == tokenizer(render(tokenizer, turns, prompt=True))["input_ids"]


def test_a_control_string_in_a_question_is_text_as_it_was_in_training(engine, tokenizer):
    (asked,) = [engine.chat_prompt([{"role": "user", "content": " What is </s>? "}])]
    assert tokenizer.eos_token_id not in asked
    assert tokenizer.decode(asked) == "<s><|user|>\nWhat is </s>?\n<|assistant|>\n"
    assert engine.generate([asked], max_new_tokens=3, temperature=0, seed=0) != [""]


def test_answers_come_in_the_order_of_their_prompts_and_end_before_the_end_token(engine):
    assert ask(engine, SAYINGS) == list(SAYINGS.values())


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_greedy_answers_do_not_depend_on_the_batch(parrot, batch):
    engine = open_engine(parrot, HF(kind="hf", batch_size=batch), RUNTIME)
    assert ask(engine, SAYINGS) == list(SAYINGS.values())


def test_an_answer_ends_before_a_stop_string(engine):
    said = ask(engine, SAYINGS, stop=("\n", " apple"))
    assert said == ["An", "A cherry. Or an", "42.", "The sea is wide", "Four."]


def test_an_answer_has_no_more_than_so_many_tokens(engine, tokenizer):
    for limit in (1, 3):
        said = ask(engine, SAYINGS, max_new_tokens=limit)
        expected = [
            tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)[:limit])
            for text in SAYINGS.values()
        ]
        assert said == expected


def test_greedy_does_not_know_the_seed(engine):
    assert ask(engine, SAYINGS, seed=0) == ask(engine, SAYINGS, seed=1)


def test_sampling_draws_by_the_seed_and_each_prompt_for_itself(engine):
    options = {"temperature": 2.0, "max_new_tokens": 20}
    questions = ["Name a fruit."] * 3
    first = ask(engine, questions, **options, seed=0)
    assert first == ask(engine, questions, **options, seed=0)
    assert first != ask(engine, questions, **options, seed=1)
    assert len(set(first)) == 3


def test_a_small_nucleus_is_greedy(engine):
    assert ask(engine, SAYINGS, temperature=1.0, top_p=1e-6) == list(SAYINGS.values())


def test_more_new_tokens_than_the_model_holds_are_refused(engine):
    with pytest.raises(UserError, match="max_new_tokens=256: the model holds 256, prompt included"):
        ask(engine, ["Hi"], max_new_tokens=256)


def test_a_prompt_without_room_loses_its_beginning(engine):
    short, end = "The sea is wide. " * 60, "The wind is cold. " * 60 + "What is 12 + 30?"
    first, other = (
        engine.generate([engine.text_prompt(text)], max_new_tokens=9, temperature=0, seed=0)
        for text in (end, short + end)
    )
    assert first == other


def test_an_answer_keeps_its_first_space_whatever_the_decoder_drops(shared, tmp_path):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    llama2 = AutoTokenizer.from_pretrained(shared / "tokenizers/llama2")
    small = LlamaConfig(
        vocab_size=len(llama2), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    save(tmp_path, LlamaForCausalLM(small), llama2)
    engine = open_engine(Checkpoint(str(tmp_path), None, tmp_path), ENGINE, RUNTIME)
    prompts = [f"The {word}" for word in ("sea", "wind", "horse", "apple", "cherry", "plum", "fig", "pear")]
    asked = [engine.text_prompt(prompt) for prompt in prompts]
    said = engine.generate(asked, max_new_tokens=1, temperature=0, seed=0)
    for prompt, text in zip(prompts, said, strict=True):
        ids = llama2(prompt, return_tensors="pt").input_ids
        (next_id,) = engine.lm.model(ids).logits[0, -1:].argmax(-1).tolist()
        assert prompt + text == llama2.decode([*ids[0], next_id], skip_special_tokens=True)
    assert any(text.startswith(" ") for text in said)


def test_no_question_no_answer(engine):
    assert ask(engine, []) == []


def test_a_pad_token_that_the_tokenizer_lacks_is_replaced(parrot, tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path / "one")
    AutoTokenizer.from_pretrained(tmp_path / "one", pad_token=None).save_pretrained(tmp_path / "other")
    engine = open_engine(Checkpoint(parrot.weights, None, tmp_path / "other"), ENGINE, RUNTIME)
    assert engine.tokenizer.pad_token == "</s>"
    assert ask(engine, SAYINGS) == list(SAYINGS.values())


def test_a_template_with_control_tokens_of_its_own_is_learned_and_ends_answers(
    make_model, tokenizer, tmp_path
):
    """ChatML on a tokenizer and a model that know nothing of it."""
    named = with_template(deepcopy(tokenizer), "chatml", "here")
    (tmp_path / "base").mkdir()
    save(tmp_path / "base", None, named)
    save(tmp_path / "weights", make_model(), tokenizer)
    base = Checkpoint(str(tmp_path / "weights"), None, tmp_path / "base")
    model = load_model(base, dtype=torch.float32)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 2
    learn(model, named, tmp_path / "tuned")
    save(tmp_path / "tuned", model, named)
    engine = open_engine(Checkpoint(str(tmp_path / "tuned"), None, tmp_path / "tuned"), ENGINE, RUNTIME)
    assert ask(engine, SAYINGS) == list(SAYINGS.values())
    ends = GenerationConfig.from_pretrained(tmp_path / "tuned").eos_token_id
    assert ends == [tokenizer.eos_token_id, named.convert_tokens_to_ids("<|im_end|>")]
