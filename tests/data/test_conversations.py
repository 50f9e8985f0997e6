"""Conversations from files: the three formats, and what a wrong row is told."""

import gzip
import io
import json
import os
from threading import Thread

import pyarrow
import pyarrow.parquet
import pytest

from im_bench.config import UserError
from im_bench.data import files
from im_bench.data.conversations import Turn, file_format, read_conversations, scan_conversations

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


def message(**fields):
    return json.dumps({"messages": [{"role": "user", "content": "Hi"}, fields]})


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
    (found,) = turns(written(json.dumps(row)))
    assert [turn.content for turn in found] == ["a  b", "c\n\nd"]
    assert [turn.text for turn in found] == ["\n a  b \t", "c\n\nd\n"]


def test_a_conversation_may_have_a_system_turn_and_many_turns(written):
    roles = ["system", "user", "assistant", "user", "assistant"]
    row = {"messages": [{"role": role, "content": f"{number}"} for number, role in enumerate(roles)]}
    assert [turn.role for turn in turns(written(json.dumps(row)))[0]] == roles


def test_a_json_file_is_one_list(written):
    assert turns(written(json.dumps([MESSAGES, MESSAGES]), "rows.json")) == [ASKED, ASKED]


def parquet(rows):
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in [MESSAGES, MESSAGES]).encode()
CSV = 'prompt,completion\n"Name a fruit.",Apple.\n"Name a\nfruit",Apple.\n'
CSV_TURNS = [ASKED, [Turn("user", "Name a\nfruit"), Turn("assistant", "Apple.")]]
FILES = {
    "rows.json": LINES,
    "rows.jsonl.gz": gzip.compress(LINES),
    "rows.json.gz": gzip.compress(json.dumps([MESSAGES, MESSAGES]).encode()),
    "rows.jsonl.zst": pyarrow.compress(LINES, "zstd", asbytes=True),
    "rows.parquet": parquet([MESSAGES, MESSAGES]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_may_be_of_many_forms(written, name):
    assert turns(written(FILES[name], name)) == [ASKED, ASKED]


def test_a_csv_has_a_column_a_field_and_its_cells_may_hold_lines(written):
    assert turns(written(CSV, "rows.csv")) == CSV_TURNS
    assert turns(written(CSV.replace(",", "\t"), "rows.tsv")) == CSV_TURNS
    assert turns(written(gzip.compress(CSV.encode()), "rows.csv.gz")) == CSV_TURNS


def test_a_list_is_read_whole_however_its_pieces_are_cut(written, monkeypatch):
    path = written(json.dumps([MESSAGES, FORMATS["messages"]], indent=3, ensure_ascii=False), "rows.json")
    for size in (1, 2, 7, 50):
        monkeypatch.setattr(files, "CHUNK", size)
        assert turns(path) == [ASKED, ASKED]


def test_a_byte_order_mark_within_a_list_is_text(written, monkeypatch):
    row = {"prompt": "\ufeffa\ufeff", "completion": "b\ufeff"}
    path = written(json.dumps([row], ensure_ascii=False), "rows.json")
    for size in (1, 3, 17):
        monkeypatch.setattr(files, "CHUNK", size)
        assert [turn.content for turn in turns(path)[0]] == list(row.values())


def test_an_error_early_in_a_list_is_told_without_reading_on(written, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 64)
    read = []
    chunks = files._chunks
    monkeypatch.setattr(files, "_chunks", lambda path: (read.append(each) or each for each in chunks(path)))
    with pytest.raises(UserError, match="line 1, column 7"):
        turns(written('[{"a" 5}, ' + " " * 5000 + "]", "rows.json"))
    assert len(read) < 5


def test_a_cell_of_parquet_that_is_no_text_names_file_and_rows(written):
    column = pyarrow.array([b"ok", b"caf\xe9"]).cast(pyarrow.string(), safe=False)
    table = pyarrow.table({"prompt": column, "completion": ["a", "b"]})
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    with pytest.raises(UserError, match=r"rows.parquet, rows 0 to 1: a cell cannot be read \("):
        turns(written(file.getvalue(), "rows.parquet"))


def test_a_quote_that_is_left_open_is_named_where_it_opens(written):
    content = 'prompt,completion\na,b\nc,"d\ne\nf\n'
    with pytest.raises(UserError, match="rows.csv, line 3: not csv .* is a quote left open there"):
        turns(written(content, "rows.csv"))


def test_a_prompt_may_have_a_response(written):
    assert turns(written(json.dumps({"prompt": "Name a fruit.", "response": "Apple."}))) == [ASKED]


def test_a_long_value_is_not_shown_whole(written):
    with pytest.raises(UserError) as error:
        turns(written(message(role="x" * 10**5, content="y")))
    assert len(str(error.value)) < 1000


def test_a_list_without_an_end_is_told_at_its_end(written):
    path = written(f"[{json.dumps(MESSAGES)},\n{json.dumps(MESSAGES)}", "rows.json")
    length = len(json.dumps(MESSAGES))
    with pytest.raises(UserError, match=rf"row 1: not JSON \(Expecting ',' at line 2, column {length + 1}\)"):
        turns(path)


def test_a_csv_may_have_a_column_that_begins_like_an_archive(written):
    assert turns(written("PK,prompt,completion\n1,Name a fruit.,Apple.\n", "rows.csv")) == [ASKED]


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_text(json.dumps(MESSAGES) + "\n"))
    writer.start()
    assert [list(one.turns) for one in scan_conversations(pipe, "auto")] == [ASKED]
    writer.join()


def test_a_corrupt_page_of_parquet_names_the_file(written):
    content = bytearray(parquet([{"prompt": "a" * 900, "completion": "b" * 900}] * 50))
    content[40:60] = b"\0" * 20
    with pytest.raises(UserError, match=r"rows.parquet: not parquet \("):
        turns(written(bytes(content), "rows.parquet"))


def test_a_null_is_a_field_that_is_not_there(written):
    """As where rows of several shapes share the columns of a parquet file."""
    asked = [{"role": None, "from": "human", "value": "Name a fruit.", "content": None}]
    rows = [
        {"messages": None, "prompt": "Name a fruit.", "completion": "Apple."},
        {"instruction": "Name a fruit.", "output": None, "response": "Apple.", "input": None},
        {"messages": None, "conversations": [*asked, {"from": "gpt", "value": "Apple."}]},
    ]
    for row in rows:
        assert turns(written(json.dumps(row))) == [ASKED]


def test_a_system_text_beside_the_conversation_is_its_first_turn(written):
    row = MESSAGES | {"system": "Be brief."}
    assert turns(written(json.dumps(row))) == [[Turn("system", "Be brief."), *ASKED]]
    assert turns(written(json.dumps(MESSAGES | {"system": None}))) == [ASKED]


def test_the_format_is_that_of_the_first_row_that_is_a_conversation(written):
    unanswered = {"messages": [{"role": "user", "content": "Hi"}]}
    path = written(json.dumps(unanswered) + "\n" + json.dumps(FORMATS["alpaca"]))
    assert file_format(path, "auto") == "alpaca"
    assert [type(one).__name__ for one in scan_conversations(path, "auto")] == ["BadRow", "Conversation"]


def test_wrong_rows_are_told_one_by_one_and_the_good_ones_given(written):
    bad = ['{"messages": [', '{"text": "x"}', message(role="bot", content="x"), ""]
    path = written("\n".join([json.dumps(MESSAGES), *bad, json.dumps(MESSAGES)]))
    found = list(scan_conversations(path, "auto"))
    assert [type(one).__name__ for one in found] == ["Conversation", *3 * ["BadRow"], "Conversation"]
    assert [one.row for one in found] == [0, 1, 2, 3, 5]


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
    found = read_conversations(written(f"\n{json.dumps(MESSAGES)}\n\n{json.dumps(MESSAGES)}"), "auto")
    assert [conversation.row for conversation in found] == [1, 3]


def test_a_file_is_of_one_format_that_of_its_first_row(written):
    path = written(json.dumps(MESSAGES) + "\n" + json.dumps(FORMATS["alpaca"]))
    said = r"row 1 \(line 2\): has `instruction` .* but the file is of `messages` .*; keep to one format"
    with pytest.raises(UserError, match=said):
        read_conversations(path, "auto")


def test_sharegpt_names_roles_and_contents_otherwise(written):
    asked = [{"from": "human", "value": "Name a fruit."}, {"from": "gpt", "value": "Apple."}]
    assert turns(written(json.dumps({"id": "a", "conversations": asked}))) == [ASKED]


def test_dolly_names_input_and_output_otherwise(written):
    row = {"instruction": "Name a", "context": "fruit.", "response": "Apple.", "category": "qa"}
    assert turns(written(json.dumps(row))) == [
        [Turn("user", "Name a\n\nfruit."), Turn("assistant", "Apple.")]
    ]


WRONG_ROWS = {
    "not json": ('{"messages": [', r"row 1 \(line 2\): not JSON \(Expecting value at column 15\)"),
    "too deep": ("[" * 100_000, r"row 1 \(line 2\): nested too deeply"),
    "thousands of digits": ('{"n": ' + "1" * 5000 + "}", r"row 1 \(line 2\): Exceeds the limit"),
    "not an object": ("[1, 2]", r"row 1 \(line 2\): expected an object with fields, found list"),
    "null": ("null", r"row 1 \(line 2\): expected an object with fields, found NoneType"),
    "messages no list": (
        '{"messages": {}}',
        r"row 1 \(line 2\): `messages` \(or `conversations`\) must be a list of obj",
    ),
    "messages empty": (
        '{"messages": []}',
        r"row 1 \(line 2\): `messages` \(or `conversations`\) must be a list of obj",
    ),
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
    "content a list": (message(role="assistant", content=[]), "message 2: `content` is a list, not text"),
    "content null": (message(role="assistant", content=None), "message 2: `content` is null"),
    "output empty": (
        message(role="assistant", content=" \n"),
        r"row 1 \(line 2\), turn 2: the output is empty",
    ),
    "instruction empty": (message(role="user", content=""), r"row 1 \(line 2\): there is no assistant turn"),
    "content a number": (
        message(role="assistant", content=5),
        "message 2: `content` is of type int, not text",
    ),
    "ends on the user": (
        json.dumps({"messages": [*MESSAGES["messages"], {"role": "user", "content": "And?"}]}),
        r"row 1 \(line 2\): the conversation ends on the user, which nothing answers; remove its last turn",
    ),
    "role a list": (message(role=["user"], content="x"), r"message 2: role \['user'\] is unknown"),
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


@pytest.mark.parametrize(
    "format, fields", [("prompt_completion", "`prompt` and"), ("alpaca", "`instruction`")]
)
def test_a_row_that_lacks_a_field_of_the_named_format_is_told_which(written, format, fields):
    with pytest.raises(UserError, match=rf"row 0 \(line 1\): fields \['text'\] fit no format; give {fields}"):
        read_conversations(written('{"text": "x"}'), format)


def test_a_row_that_fits_two_formats_is_read_as_the_named_one(written):
    both = MESSAGES | {"prompt": "Name a colour.", "completion": "Red."}
    assert turns(written(json.dumps(both)), "auto") == turns(written(json.dumps(both)), "messages") == [ASKED]
    assert turns(written(json.dumps(both)), "prompt_completion")[0][1].content == "Red."


def test_a_row_of_no_known_format_is_told_the_known_ones(written):
    said = r"row 0 \(line 1\): fields \['question', 'reply'\] fit no format; give `messages` \(or `conv"
    with pytest.raises(UserError, match=said):
        read_conversations(written('{"reply": "x", "question": "y"}'), "auto")


WRONG_FILES = {
    "empty": ("rows.jsonl", b"", ": the file holds no rows"),
    "blank": ("rows.jsonl", b"\n \n", ": the file holds no rows"),
    "empty list": ("rows.json", b"[]", ": the file holds no rows"),
    "latin 1": ("rows.jsonl", b'\n{"prompt": "caf\xe9"}', ", line 2: not UTF-8; save the file as UTF-8"),
    "broken": (
        "rows.json",
        b'[\n{"prompt": }\n]',
        ", row 0: not JSON (Expecting value at line 2, column 12)",
    ),
    "cut off": (
        "rows.json",
        b'[\n{"prompt": "a',
        ", row 0: not JSON (Unterminated string starting at at line 2",
    ),
    "no comma": ("rows.json", b"[\n{}\n{}]", ", row 0: fields [] fit no format"),
    "an object in lines": (
        "rows.json",
        b'{\n"prompt": "a"}',
        ", row 0: not JSON (Expecting property name enclosed in double quotes at column 2); a .json file holds",
    ),
    "gzip cut off": ("rows.jsonl.gz", gzip.compress(b"{}" * 999)[:20], ": cannot be unpacked ("),
    "no gzip": ("rows.jsonl.gz", b"{}", ": is no gz file; its name should say what it is"),
    "an unknown compression": (
        "rows.jsonl.bz2",
        b"BZh91AY&SY",
        ": is packed by bzip2; unpack it",
    ),
    "no zstandard": ("rows.jsonl.zst", b"{}", ": is no zst file; its name should say what it is"),
    "zstandard cut off": (
        "rows.jsonl.zst",
        pyarrow.compress(b"{}" * 999, "zstd", asbytes=True)[:12],
        ": cannot be unpacked (",
    ),
    "no parquet": ("rows.parquet", b"PAR1{}PAR1", ": not parquet ("),
    "parquet of another name": ("rows", b"PAR1", ": is parquet; name it .parquet"),
    "utf-16": ("rows.jsonl", "{}".encode("utf-16"), ": is UTF-16; save it as UTF-8"),
    "a list in lines": (
        "rows.jsonl",
        b"[\n{}\n]",
        ", row 0 (line 1): not JSON (Expecting value at column 2); a file that is one JSON list is named .json",
    ),
    "a list on a line": (
        "rows.jsonl",
        b"[{}]",
        ", row 0 (line 1): expected an object with fields, found list; a file",
    ),
    "messages in csv": (
        "rows.csv",
        b"messages\n[]\n",
        ", row 0 (line 2): `messages` is text, not a list; csv has no",
    ),
    "csv without columns": (
        "rows.csv",
        b"question,reply\na,b\n",
        ", row 0 (line 2): fields ['question', 'reply']",
    ),
    "csv with a long row": (
        "rows.csv",
        b"prompt,completion\na,b,c\n",
        ", row 0 (line 2): more cells, but the header has 2 columns",
    ),
    "csv with a short row": (
        "rows.csv",
        b"prompt,completion\na\n",
        ", row 0 (line 2): 1 cells, but the header has 2 columns",
    ),
    "csv with an open quote": (
        "rows.csv",
        b'prompt,completion\na,"b\n',
        ", line 2: not csv (unexpected end of data",
    ),
    "csv of a header": ("rows.csv", b"prompt,completion\n", ": the file holds no rows"),
}


@pytest.mark.parametrize("name, content, said", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_cannot_be_read_is_told_why(written, name, content, said):
    path = written(content, name)
    with pytest.raises(UserError) as error:
        read_conversations(path, "auto")
    assert str(error.value).startswith(f"{path}{said}")


def test_the_comma_that_a_list_lacks_is_named_with_its_line(written):
    path = written(f"[{json.dumps(MESSAGES)}\n{json.dumps(MESSAGES)}]", "rows.json")
    with pytest.raises(UserError, match=r"row 0: not JSON \(Expecting ',' at line 2, column 1\)"):
        read_conversations(path, "auto")


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
    found = read_conversations(shared / "data/sft" / name, "auto", allow_empty_output=True)
    assert len(found) == count
