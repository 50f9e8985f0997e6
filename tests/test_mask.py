"""im-bench mask: a conversation as a loss sees it, with nothing but a tokenizer and a file."""

import json
from pathlib import Path

import pytest

from im_bench.cli import main

ROWS = [
    {"messages": [{"role": "user", "content": "Hi </s>"}, {"role": "assistant", "content": "Ho\nho"}]},
    {"messages": [{"role": "user", "content": "He"}, {"role": "assistant", "content": "Ha"}]},
    {"messages": [{"role": "user", "content": "Long! " * 60}, {"role": "assistant", "content": "Ha"}]},
    {"messages": [{"role": "user", "content": "Five"}, {"role": "assistant", "content": "Six"}]},
]


@pytest.fixture
def mask(tokenizer, tmp_path, capsys, monkeypatch):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        files = ["dataset=local", "dataset.path=rows.jsonl", "model=local", "model.path=tokenizer"]
        code = main(["mask", *files, *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def objects(output):
    return [json.loads(line) for line in output.splitlines()]


def test_each_row_is_one_object_with_a_part_and_a_weight_for_every_token(mask, tokenizer):
    code, output, _ = mask("loss=plw", "loss.prompt_weight=0.3", "--rows", "1,0", "--json")
    assert code == 0
    one, other = objects(output)
    assert (one["row"], other["row"]) == (1, 0)
    assert one["kept"] and not one["truncated"]
    text = "<s><|user|>\nHe\n<|assistant|>\nHa</s>"
    assert tokenizer.decode(one["input_ids"]) == text
    assert len(one["input_ids"]) == len(one["parts"]) == len(one["weights"])
    weight = {"template": 0.0, "instruction": 0.3, "output": 1.0, "end": 1.0}
    assert one["weights"] == [weight[part] for part in one["parts"]]
    assert set(one["parts"]) == set(weight)


def test_a_control_string_in_a_row_stays_text(mask, tokenizer):
    (one,) = objects(mask("loss=im", "--rows=0", "--json")[1])
    ends = [
        part for id, part in zip(one["input_ids"], one["parts"], strict=True) if id == tokenizer.eos_token_id
    ]
    assert ends == ["end"]


def test_a_row_of_a_mixture_is_that_of_each_file_and_says_which(mask, tmp_path, capsys):
    (tmp_path / "more.jsonl").write_text('{"prompt": "Name a colour.", "completion": "Red."}\n')
    parts = f"{{a: {{path: '{tmp_path / 'rows.jsonl'}'}}, b: {{path: '{tmp_path / 'more.jsonl'}'}}}}"
    model = ["model=local", f"model.path={tmp_path / 'tokenizer'}"]
    main(["mask", *model, "dataset=mixture", f"dataset.parts={parts}", "loss=im", "--rows", "0", "--json"])
    output = capsys.readouterr().out
    assert [(one["row"], Path(one["file"]).name) for one in objects(output)] == [
        (0, "rows.jsonl"),
        (0, "more.jsonl"),
    ]


def test_the_first_three_rows_are_shown_where_none_is_named(mask):
    assert [one["row"] for one in objects(mask("loss=it", "--json")[1])] == [0, 1, 2]


def test_a_row_whose_output_is_cut_off_is_shown_as_dropped(mask):
    arguments = ("loss=im", "train.max_tokens=40", "--rows", "2")
    (one,) = objects(mask(*arguments, "--json")[1])
    assert (one["kept"], one["truncated"], len(one["input_ids"])) == (False, True, 40)
    assert "dropped, as no output fits in train.max_tokens" in mask(*arguments)[1]


def test_without_colour_what_carries_loss_is_in_brackets(mask):
    _, output, _ = mask("loss=it", "--rows", "0")
    assert "<s><|user|>\u21b5\nHi </s>\u21b5\n<|assistant|>\u21b5\n[[Ho\u21b5\nho]][[</s>]]\n" in output
    _, output, _ = mask("loss=plw", "loss.prompt_weight=0.3", "--rows", "1")
    assert "<s><|user|>\u21b5\n[[0.3: He]]\u21b5\n<|assistant|>\u21b5\n[[Ha]][[</s>]]\n" in output


def test_with_colour_what_carries_loss_stands_on_the_colour_of_its_part(mask, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, output, _ = mask("loss=it", "--rows", "1")
    assert "[[" not in output
    # Black on green for the output; blue letters for the instruction.
    assert "\x1b[30;42mHa\x1b[0m" in output
    assert "\x1b[34mHe\x1b[0m" in output


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["--rows", "9"],
            "--rows 9: not among the 4 rows of dataset=local subset=full, from 0: 0, 1, 2, ... 3",
        ),
        (["loss=em"], "loss=em: there is no such loss; did you mean im?"),
        (["model.path=none"], "model.path=none: there is no such folder"),
        (["dataset.path=none"], "dataset.path=none: there is no such file"),
        (["loss=it_released", "model.chat_template=zephyr"], "loss=it_released: the published code's labels"),
    ],
)
def test_what_is_wrong_is_named(mask, words, said):
    code, output, error = mask(*words)
    assert (code, output) == (2, "")
    assert said in error and "Traceback" not in error


def test_rows_that_are_no_numbers_are_refused(mask, capsys):
    with pytest.raises(SystemExit):
        mask("--rows", "one")
    assert "'one' are no row numbers; e.g. --rows 0,5,7" in capsys.readouterr().err


def test_the_toy_world_needs_no_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["mask", "model=toy", "dataset=toy_long", "loss=im", "--rows", "5", "--json"]) == 0
    (one,) = objects(capsys.readouterr().out)
    assert one["row"] == 5 and sum(one["weights"]) > 0
