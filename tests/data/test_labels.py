"""The label report: every conversation, token and end of turn is in it, and what cannot be learned from is named."""

import json

import pytest

from im_bench.config import UserError
from im_bench.data.conversations import Conversation, Turn
from im_bench.data.encoding import encode
from im_bench.data.labels import describe, label_report
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity

SHORT = Conversation(
    0, (Turn("user", "Hi"), Turn("assistant", "Ho"), Turn("user", "He"), Turn("assistant", "Ha"))
)
CUT = Conversation(4, (Turn("user", "Say"), Turn("assistant", "Ho! " * 40 + "Ho")))
LONG = Conversation(7, (Turn("user", "Hi! " * 60 + "Hi"), Turn("assistant", "Ho")))


@pytest.fixture
def report(tokenizer):
    def make(*conversations, max_tokens=60, **dials):
        it = {"prompt_weight": 0, "output_weight": 1, "template_weight": 0, "average": "example"}
        named = [one._replace(file=one.file or "rows.jsonl") for one in conversations]
        encoding = encode(tokenizer, named, max_tokens=max_tokens)
        examples = [weigh(encoded, LossIdentity(**it | dials)) for encoded in encoding.kept]
        return label_report(encoding, examples)

    return make


def size(tokenizer, *texts):
    return sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)


def test_every_token_is_counted_once_in_its_part(report, tokenizer):
    found = report(SHORT)
    assert found["tokens"] == {
        "template": 1
        + size(tokenizer, "<|user|>\n", "\n<|assistant|>\n", "\n", "<|user|>\n", "\n<|assistant|>\n"),
        "system": 0,
        "instruction": size(tokenizer, "Hi", "He"),
        "output": size(tokenizer, "Ho", "Ha"),
        "end": 2,
    }
    assert found["supervised"] == found["tokens"] | {"template": 0, "instruction": 0}
    assert found["supervised_tokens"] == found["weight"] == found["tokens"]["output"] + 2
    assert found["instruction_output_ratio"] == found["tokens"]["instruction"] / found["tokens"]["output"]


def test_kept_truncated_and_dropped_conversations_are_named_by_row(report):
    found = report(SHORT, CUT, LONG)
    assert (found["conversations"], found["kept"], found["truncated"]) == (3, 2, 1)
    assert (found["truncated_rows"], found["dropped_rows"]) == ([4], [7])


def test_rows_of_several_files_are_named_with_their_file(report):
    found = report(SHORT._replace(file="a/one.jsonl"), CUT, LONG)
    assert (found["truncated_rows"], found["dropped_rows"]) == (["rows.jsonl:4"], ["rows.jsonl:7"])


def test_every_loss_keeps_the_same_conversations(report):
    it, im = report(SHORT, CUT, LONG), report(SHORT, CUT, LONG, prompt_weight=1)
    for field in ("conversations", "kept", "truncated_rows", "dropped_rows", "tokens"):
        assert it[field] == im[field]
    assert im["supervised_tokens"] == it["supervised_tokens"] + it["tokens"]["instruction"]


def test_a_fractional_weight_is_a_supervised_token_of_less_weight(report):
    it, half = report(SHORT), report(SHORT, prompt_weight=0.5)
    assert half["supervised_tokens"] == it["supervised_tokens"] + it["tokens"]["instruction"]
    assert half["weight"] == it["weight"] + 0.5 * it["tokens"]["instruction"]


def test_ends_outside_the_loss_are_those_cut_off_and_those_of_earlier_turns(report):
    assert report(SHORT)["ends_outside"] == 0
    assert report(SHORT, CUT)["ends_outside"] == 1
    assert report(SHORT, CUT, turns="last")["ends_outside"] == 2


def test_no_end_in_the_loss_at_all_is_refused_with_the_remedy(report):
    with pytest.raises(
        UserError,
        match=r"rows.jsonl, row 4 \(line 5\) and every other: no end of an output .*raise train.max_to",
    ):
        report(CUT)


def test_the_report_is_json_and_a_few_lines_for_a_person(report):
    found = report(SHORT, CUT, LONG)
    assert json.loads(json.dumps(found)) == found
    first, second, *parts = describe(found).splitlines()
    assert first.startswith(
        "labels: 2 of 3 conversations (1 truncated, 1 dropped as no output fits), instruction"
    )
    assert "tokens are supervised" in second and second.endswith("1 ends of turn are not")
    assert [line.split()[0] for line in parts] == ["template", "instruction", "output", "end"]
