"""What a model writes again of what it was trained on, against sacrebleu and by hand."""

import json
import math
from statistics import fmean, stdev

import pyarrow.parquet
import pytest
import sacrebleu
from settings import ENGINE, RUNTIME

from im_bench.analysis.memorisation import eight_grams, measure
from im_bench.analysis.sets import Trained
from im_bench.assets import file_sha256
from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Subset, UserError
from im_bench.data.conversations import Turn
from im_bench.data.encoding import prompt_ids
from im_bench.data.sources import Source
from im_bench.evaluation.engine import open_engine
from im_bench.identity import SourceIdentity
from im_bench.items import FILE
from im_bench.scores import read_scores

SEA = "The sea is wide and the wind is cold at night."
ROWS = {
    "Name a fruit.": "An apple.",
    "Write a line about the sea.": SEA,
    "How many legs has a horse?": "A horse has four legs.",
}
SAID = {
    "Name a fruit.": " An apple.\n",
    "Write a line about the sea.": "The sea is wide and the wind is cold by day.",
    "How many legs has a horse?": "It has two.",
}


class Parrot:
    """A model that says what it was told to, to what it was told."""

    def __init__(self, tokenizer, said):
        self.tokenizer, self.asked = tokenizer, []
        self.said = {tuple(prompt_ids(tokenizer, [Turn("user", text)])): said[text] for text in said}

    def generate(self, prompts, *, max_new_tokens, temperature, seed, done):
        assert temperature == 0.0
        self.asked += [(len(prompt), max_new_tokens) for prompt in prompts]
        done(len(prompts))
        return [self.said[tuple(prompt)] for prompt in prompts]


@pytest.fixture
def trained(tmp_path):
    def write(rows):
        path = tmp_path / "rows.jsonl"
        rows = [row if isinstance(row, dict) else {"prompt": row[0], "completion": row[1]} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        format = "messages" if "messages" in rows[0] else "prompt_completion"
        spec = SourceIdentity(sha256=file_sha256(path), format=format, allow_empty_output=True)
        return Trained(
            (Source(name="rows", file=path, spec=spec, num_examples=None),), Subset(name="full"), 0
        )

    return write


@pytest.fixture
def asked(tmp_path, tokenizer, trained):
    """The items and the scores of a model that says these things."""

    def run(
        rows=ROWS, said=SAID, *, context=256, examples=None, max_tokens=128, max_new_tokens=64, parrot=None
    ):
        parrot = parrot or Parrot(tokenizer, said)
        measure(
            tmp_path,
            parrot,
            trained=trained(list(rows.items()) if isinstance(rows, dict) else rows),
            context=context,
            examples=examples,
            max_tokens=max_tokens,
            max_new_tokens=max_new_tokens,
        )
        return pyarrow.parquet.read_table(tmp_path / FILE).to_pylist(), {
            score.metric: score for score in read_scores(tmp_path)
        }

    return run


def test_bleu_is_sacrebleus_of_the_corpus_and_of_each_sentence(asked):
    items, scores = asked()
    answers = [text.strip() for text in SAID.values()]
    outputs = list(ROWS.values())
    corpus = sacrebleu.corpus_bleu(answers, [outputs], force=True)
    each = [
        sacrebleu.sentence_bleu(answer, [output]).score
        for answer, output in zip(answers, outputs, strict=True)
    ]
    assert scores["bleu_corpus"].value == pytest.approx(corpus.score)
    assert scores["bleu_sentence"].value == pytest.approx(fmean(each))
    assert scores["bleu_sentence"].stderr == pytest.approx(stdev(each) / math.sqrt(3))
    assert scores["bleu_corpus"].stderr is None
    assert [item["outcome"] for item in items] == pytest.approx([score / 100 for score in each])


def test_bleu_of_one_answer_by_hand(asked):
    # Twelve tokens each with the dot: 10 of 12, 8 of 11 pairs, 7 of 10 triples, 6 of 9 runs of four are shared.
    _, scores = asked({"?": SEA}, {"?": "The sea is wide and the wind is cold by day."})
    by_hand = 100 * (10 / 12 * 8 / 11 * 7 / 10 * 6 / 9) ** 0.25
    assert scores["bleu_corpus"].value == pytest.approx(by_hand)
    assert scores["bleu_sentence"].value == pytest.approx(by_hand)


def test_the_signature_of_each_bleu_is_beside_it(asked):
    _, scores = asked()
    version = sacrebleu.__version__
    for metric, order in (("bleu_corpus", "no"), ("bleu_sentence", "yes")):
        signature = f"sacrebleu nrefs:1|case:mixed|eff:{order}|tok:13a|smooth:exp|version:{version}"
        assert scores[metric].reading_note == signature


def test_an_answer_that_is_the_output_but_for_white_space_around_it_is_exact(asked):
    items, scores = asked()
    assert [item["exact"] for item in items] == [True, False, False]
    assert scores["exact"].value == pytest.approx(1 / 3)
    assert scores["exact"].stderr == pytest.approx(stdev([1, 0, 0]) / math.sqrt(3))
    whole = items[0]
    assert (whole["question"], whole["answer"], whole["target"]) == (
        "Name a fruit.",
        "An apple.",
        "An apple.",
    )
    assert (whole["task"], whole["item"], whole["size"], whole["cluster"]) == ("train", "rows/0", 1.0, None)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (SEA, 1.0),
        (SEA.upper().replace(" ", ", "), 1.0),
        ("And so the sea is wide and the wind is cold.", 2 / 4),
        ("The sea is wide.", 0.0),
        ("", 0.0),
    ],
)
def test_eight_grams_are_the_share_of_the_outputs_runs(answer, share):
    assert len(SEA.split()) == 11  # so four runs
    assert eight_grams(answer, SEA) == pytest.approx(share)


def test_an_output_of_seven_words_has_no_run_of_eight():
    assert eight_grams("a b c d e f g", "a b c d e f g") is None


def test_where_no_output_is_long_enough_there_is_no_number(asked):
    rows = {"Name a fruit.": "Apple.", "Name another.": "Pear."}
    _, scores = asked(rows, rows)
    assert (scores["eight_grams"].value, scores["eight_grams"].count) == (None, 0)
    assert (scores["bleu_corpus"].value, scores["bleu_corpus"].count) == (None, 0)
    assert scores["bleu_sentence"].value == pytest.approx(100) and scores["exact"].value == 1.0


def test_an_empty_output_has_no_bleu(asked):
    items, scores = asked(ROWS | {"Say nothing.": ""}, SAID | {"Say nothing.": ""})
    assert items[3]["outcome"] is None and items[3]["exact"]
    assert [scores[metric].count for metric in ("bleu_corpus", "bleu_sentence", "exact")] == [3, 3, 4]
    assert {score.total for score in scores.values()} == {4}


def test_the_first_message_is_asked_with_the_system_turn_before_it(tmp_path, tokenizer, trained):
    said = [("system", "Be brief."), ("user", "Name it."), ("assistant", "Red."), ("user", "And?")]
    turns = [*said, ("assistant", "Blue.")]
    parrot = Parrot(tokenizer, {})
    parrot.said = {tuple(prompt_ids(tokenizer, [Turn(*turn) for turn in said[:2]])): "Red."}
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    measure(
        tmp_path,
        parrot,
        trained=trained([row]),
        context=256,
        examples=None,
        max_tokens=128,
        max_new_tokens=64,
    )
    (item,) = pyarrow.parquet.read_table(tmp_path / FILE).to_pylist()
    assert (item["question"], item["target"], item["answer"]) == ("Name it.", "Red.", "Red.")


def test_an_answer_ends_where_the_context_does(asked, tokenizer):
    parrot = Parrot(tokenizer, SAID)
    asked(parrot=parrot, context=100, max_new_tokens=90)
    longest = max(length for length, _ in parrot.asked)
    assert {room for _, room in parrot.asked} == {100 - longest}
    parrot.asked.clear()
    asked(parrot=parrot, context=256, max_new_tokens=90)
    assert {room for _, room in parrot.asked} == {90}


def test_what_was_answered_before_an_interruption_is_not_asked_again(tmp_path, asked, tokenizer, monkeypatch):
    monkeypatch.setattr("im_bench.analysis.memorisation.CHUNK", 1)

    class Interrupted(Parrot):
        def generate(self, prompts, **options):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().generate(prompts, **options)

    with pytest.raises(KeyboardInterrupt):
        asked(parrot=Interrupted(tokenizer, SAID))
    parrot = Parrot(tokenizer, SAID)
    items, scores = asked(parrot=parrot)
    assert len(parrot.asked) == 1
    assert [item["answer"] for item in items] == [text.strip() for text in SAID.values()]
    assert not list(tmp_path.glob("answers-*"))


def test_a_conversation_whose_output_was_cut_off_whole_is_not_asked(asked):
    items, scores = asked(ROWS | {"a " * 200: "b"}, SAID)
    assert len(items) == 3 and {(score.count, score.total) for score in scores.values()} >= {(3, 4)}
    with pytest.raises(UserError, match="train.max_tokens=128 cut off the output of each of these 1"):
        asked({"a " * 200: "b"})


def test_examples_limit_what_is_asked(asked):
    items, scores = asked(examples=2)
    assert len(items) == 2 and scores["exact"].total == 2


def test_an_engine_answers_as_greedily_as_the_model_itself(tmp_path, make_model, tokenizer, trained):
    save(tmp_path / "model", make_model(), tokenizer)
    engine = open_engine(Checkpoint(str(tmp_path / "model"), None, tmp_path / "model"), ENGINE, RUNTIME)
    measure(
        tmp_path,
        engine,
        trained=trained(list(ROWS.items())),
        context=engine.lm.max_length,
        examples=None,
        max_tokens=128,
        max_new_tokens=8,
    )
    model = make_model().eval()
    for item in pyarrow.parquet.read_table(tmp_path / FILE).to_pylist():
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": item["question"]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        given = tokenizer(ids, return_tensors="pt")
        written = model.generate(**given, max_new_tokens=8, do_sample=False)[0, given.input_ids.shape[1] :]
        assert item["answer"] == tokenizer.decode(written, skip_special_tokens=True).strip()
