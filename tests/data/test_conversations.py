"""Conversations from files: the three formats, and what a wrong row is told."""

import json

import pytest

from im_bench.config import UserError
from im_bench.data.conversations import Turn, read_conversations

ASKED = [Turn("user", "Name a fruit."), Turn("assistant", "Apple.")]


@pytest.fixture
def written(tmp_path):
    """Write a file and return its path."""

    def write(content, name="rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def turns(path, format="auto", **options):
    return [list(conversation.turns) for conversation in read_conversations(path, format, **options)]


MESSAGES = {
    "messages": [
        {"role": "user", "content": "Name a fruit."},
        {"role": "assistant", "content": "Apple."},
    ]
}
FORMATS = {
    "messages": MESSAGES,
    "prompt_completion": {"prompt": "Name a fruit.", "completion": "Apple."},
    "alpaca": {"instruction": "Name a fruit.", "input": "", "output": "Apple."},
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_conversation_named_or_guessed(written, format):
    path = written(json.dumps(FORMATS[format]))
    assert turns(path, format) == turns(path, "auto") == [ASKED]


def test_the_input_of_an_alpaca_row_follows_its_instruction_after_an_empty_line(written):
    row = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    assert turns(written(json.dumps(row))) == [[Turn("user", "Add.\n\n1 and 2"), Turn("assistant", "3")]]


@pytest.mark.parametrize("row", [{"input": None}, {"input": "  "}, {}], ids=["null", "blank", "absent"])
def test_an_alpaca_row_without_input_is_its_instruction(written, row):
    row = {"instruction": "Name a fruit.", "output": "Apple."} | row
    assert turns(written(json.dumps(row))) == [ASKED]


def test_contents_lose_the_white_space_around_them_and_none_within(written):
    row = {"prompt": "\n a  b \t", "completion": "c\n\nd\n"}
    assert turns(written(json.dumps(row))) == [[Turn("user", "a  b"), Turn("assistant", "c\n\nd")]]


def test_a_conversation_may_have_a_system_turn_many_turns_and_end_with_the_user(written):
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    row = {"messages": [{"role": role, "content": f"{number}"} for number, role in enumerate(roles)]}
    assert [turn.role for turn in turns(written(json.dumps(row)))[0]] == roles


def test_a_json_file_is_one_list(written):
    assert turns(written(json.dumps([MESSAGES, MESSAGES]), "rows.json")) == [ASKED, ASKED]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(MESSAGES) + "\r\n" + json.dumps(MESSAGES) + "\r\n",
        "\ufeff" + json.dumps(MESSAGES) + "\n" + json.dumps(MESSAGES),
        "\n" + json.dumps(MESSAGES) + "\n   \n" + json.dumps(MESSAGES) + "\n\n",
    ],
    ids=["carriage returns", "byte order mark", "blank lines"],
)
def test_how_an_editor_saved_the_lines_does_not_matter(written, content):
    assert turns(written(content)) == [ASKED, ASKED]


def test_a_byte_order_mark_before_a_list_does_not_matter(written):
    assert turns(written("\ufeff" + json.dumps([MESSAGES]), "rows.json")) == [ASKED]


def test_only_a_newline_ends_a_row_whatever_else_unicode_calls_a_line_end(written):
    text = "one\u2028two\u0085three\u2029four\x1cfive"
    row = json.dumps({"prompt": text, "completion": "Apple."}, ensure_ascii=False)
    row = row.replace("\\u001c", "\x1c").replace("\x1c", "\\u001c")
    assert turns(written(row)) == [[Turn("user", text), Turn("assistant", "Apple.")]]


def test_a_row_number_counts_lines_with_the_blank_ones(written):
    rows = read_conversations(written(f"\n{json.dumps(MESSAGES)}\n\n{json.dumps(MESSAGES)}"), "auto")
    assert [conversation.row for conversation in rows] == [1, 3]


def test_the_first_row_decides_the_format_of_a_file(written):
    path = written(json.dumps(MESSAGES) + "\n" + json.dumps(FORMATS["alpaca"]))
    with pytest.raises(UserError, match=r"row 1 \(line 2\): `messages` must be a list"):
        read_conversations(path, "auto")


def message(**fields):
    return json.dumps({"messages": [{"role": "user", "content": "Hi"}, fields]})


WRONG_ROWS = {
    "not json": ('{"messages": [', r"row 1 \(line 2\): not JSON \(Expecting value at column 15\)"),
    "too deep": ("[" * 100_000, r"row 1 \(line 2\): nested too deeply"),
    "thousands of digits": ('{"n": ' + "1" * 5000 + "}", r"row 1 \(line 2\): Exceeds the limit"),
    "not an object": ("[1, 2]", r"row 1 \(line 2\): expected an object with fields, found list"),
    "null": ("null", r"row 1 \(line 2\): expected an object with fields, found NoneType"),
    "messages no list": ('{"messages": "Hi"}', r"row 1 \(line 2\): `messages` must be a list of objects"),
    "messages empty": ('{"messages": []}', r"row 1 \(line 2\): `messages` must be a list of objects"),
    "message no object": (
        '{"messages": ["Hi"]}',
        r"row 1 \(line 2\), message 1: expected an object with `role`",
    ),
    "role unknown": (
        message(role="bot", content="x"),
        r"row 1 \(line 2\), message 2: role 'bot' is unknown; use one of sys",
    ),
    "role missing": (message(content="x"), r"row 1 \(line 2\), message 2: role None is unknown"),
    "content missing": (message(role="assistant"), r"row 1 \(line 2\), message 2: `content` is missing"),
    "content a list": (message(role="assistant", content=[]), "message 2: `content` is list, not text"),
    "content null": (message(role="assistant", content=None), "message 2: `content` is NoneType, not text"),
    "output empty": (
        message(role="assistant", content=" \n"),
        r"row 1 \(line 2\), turn 2: the output is empty",
    ),
    "instruction empty": (message(role="user", content=""), r"row 1 \(line 2\): there is no assistant turn"),
    "half a character": (message(role="assistant", content="\ud83d"), "message 2: `content` has half a char"),
}


@pytest.mark.parametrize("row, said", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_wrong_row_is_named_with_its_file_and_what_is_wrong(written, row, said):
    path = written(json.dumps(MESSAGES) + "\n" + row + "\n")
    with pytest.raises(UserError, match=said) as error:
        read_conversations(path, "auto")
    assert str(error.value).startswith(f"{path}, row 1 (line 2)")


def test_an_empty_instruction_is_named(written):
    with pytest.raises(
        UserError, match=r"row 0 \(line 1\), turn 1: the user turn is empty; remove the row or fill it"
    ):
        read_conversations(written('{"prompt": "", "completion": "x"}'), "auto")


@pytest.mark.parametrize("format, field", [("prompt_completion", "prompt"), ("alpaca", "instruction")])
def test_a_row_that_lacks_a_field_of_the_named_format_is_told_which(written, format, field):
    with pytest.raises(UserError, match=rf"row 0 \(line 1\): `{field}` is missing"):
        read_conversations(written('{"text": "x"}'), format)


def test_a_row_of_no_known_format_is_told_the_known_ones(written):
    said = r"row 0 \(line 1\): fields \['question', 'reply'\] fit no format; give `messages`, `prompt` and `completion`"
    with pytest.raises(UserError, match=said):
        read_conversations(written('{"reply": "x", "question": "y"}'), "auto")


WRONG_FILES = {
    "empty": ("rows.jsonl", b"", ": the file holds no rows"),
    "blank": ("rows.jsonl", b"\n \n", ": the file holds no rows"),
    "empty list": ("rows.json", b"[]", ": the file holds no rows"),
    "latin 1": ("rows.jsonl", b'{}\n{"prompt": "caf\xe9"}', ", line 2: not UTF-8; save the file as UTF-8"),
    "object": ("rows.json", b"{}", ": expected a JSON list of rows; for one object a line name it .jsonl"),
    "broken": ("rows.json", b'[\n{"prompt": }\n]', ": not JSON (Expecting value at line 2, column 12)"),
    "lines": (
        "rows.json",
        b"{}\n{}\n",
        ": not JSON (Extra data at line 2, column 1); for one object a line name",
    ),
}


@pytest.mark.parametrize("name, content, said", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_cannot_be_read_is_told_why(written, name, content, said):
    path = written(content, name)
    with pytest.raises(UserError) as error:
        read_conversations(path, "auto")
    assert str(error.value).startswith(f"{path}{said}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"rows\.jsonl: there is no such file"):
        read_conversations(tmp_path / "rows.jsonl", "auto")


def test_an_empty_output_is_a_row_like_any_other_when_it_is_allowed(written):
    path = written('{"prompt": "Say nothing.", "completion": ""}')
    assert turns(path, allow_empty_output=True) == [[Turn("user", "Say nothing."), Turn("assistant", "")]]
    with pytest.raises(
        UserError, match=r"row 0 \(line 1\), turn 2: the output is empty; remove the row or fill it"
    ):
        read_conversations(path, "auto")


def test_an_empty_instruction_is_never_allowed(written):
    with pytest.raises(UserError, match="the user turn is empty"):
        read_conversations(written('{"prompt": "", "completion": "x"}'), "auto", allow_empty_output=True)


@pytest.mark.parametrize(
    "name, count",
    [
        ("lima_data.jsonl", 1030),
        ("alpagasus_3k_dolly.jsonl", 2996),
        ("alpagasus_claude_t45_alpaca.jsonl", 5305),
        ("alpaca_data_1k.json", 1000),
    ],
)
def test_real_files_are_read_whole(shared, name, count):
    rows = read_conversations(shared / "data/sft" / name, "auto", allow_empty_output=True)
    assert len(rows) == count
