"""Conversations: one training example each, read from a file in any of three formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from im_bench.config import UserError
from im_bench.data.files import at
from im_bench.data.rows import scan

Role = Literal["system", "user", "assistant"]
ROLES = {role: role for role in get_args(Role)} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
}
"""Names of roles in files, ShareGPT's among them."""
Format = Literal["messages", "prompt_completion", "alpaca"]
LONGEST = 200
"""Characters of a value that a message shows."""
FIELDS: dict[Format, str] = {
    "messages": "`messages` (or `conversations`)",
    "prompt_completion": "`prompt` and `completion` (or `response`)",
    "alpaca": "`instruction` (`input`) and `output` (or `response`)",
}


class Turn(NamedTuple):
    role: Role
    content: str
    """Without surrounding white space, as the paper's code trains it."""
    raw: str | None = None
    """The content as it stands in the file, where it has white space around it."""

    @property
    def text(self) -> str:
        """The content as it stands in the file."""
        return self.content if self.raw is None else self.raw


class Conversation(NamedTuple):
    row: int
    """Line (or list index) in the file, from 0; it names the example whatever the subset."""
    turns: tuple[Turn, ...]
    file: str = ""
    stratum: str | None = None
    """The source that the row names itself, or the part of a mixture it is of."""

    @property
    def where(self) -> str:
        return at(self.file, self.row)


class BadRow(NamedTuple):
    """A row that is no conversation."""

    row: int
    reason: str
    """A sentence that begins with the file and the row."""
    stratum: str | None = None
    """None where it could not be read."""


def scan_conversations(
    path: Path, format: str, *, allow_empty_output: bool = False, source_field: str | None = None
) -> Iterator[Conversation | BadRow]:
    """The conversations of a file one after another, and its rows that are none.

    Args:
        path: see `im_bench.data.rows.scan`.
        format: `messages`, `prompt_completion`, `alpaca`, or `auto`: that of the first good row.
        allow_empty_output: whether an output may be empty.
        source_field: the field in which a row names its source.

    Raises:
        UserError: when the file cannot be read, or read any further.
    """
    chosen = None if format == "auto" else cast(Format, format)
    file = str(path)
    for row, where, value in scan(path):
        stratum = None
        try:
            if isinstance(value, UserError):
                raise value
            if source_field is not None:
                stratum = _text(value, source_field, where)
            found, turns = _read(value, where, chosen, allow_empty_output)
        except UserError as error:
            yield BadRow(row, str(error), stratum)
        else:
            chosen = found
            yield Conversation(row, turns, file, stratum)


def read_conversations(path: Path, format: str, *, allow_empty_output: bool = False) -> list[Conversation]:
    """All conversations of a file in which every row must be one; arguments as of `scan_conversations`.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    conversations = []
    for found in scan_conversations(path, format, allow_empty_output=allow_empty_output):
        if isinstance(found, BadRow):
            raise UserError(found.reason)
        conversations.append(found)
    return conversations


def file_format(path: Path, format: str, *, allow_empty_output: bool = False) -> Format:
    """The format itself, or where it is `auto` that of the file's first row that is a conversation.

    Raises:
        UserError: naming the file and what is wrong with its first row, where none is.
    """
    if format != "auto":
        return cast(Format, format)
    first: UserError | None = None
    for _, where, value in scan(path):
        try:
            if isinstance(value, UserError):
                raise value
            return _read(value, where, None, allow_empty_output)[0]
        except UserError as error:
            first = first or error
    assert first is not None  # a file without rows is refused by the scan
    raise first


def _read(
    value: dict[str, Any], where: str, expected: Format | None, allow_empty_output: bool
) -> tuple[Format, tuple[Turn, ...]]:
    # Where rows of several shapes share their columns, what a row has not is null.
    value = {field: each for field, each in value.items() if each is not None}
    format = _format(value, where, expected)
    turns = _TURNS[format](value, where)
    _check(turns, where, allow_empty_output)
    return format, tuple(turns)


def _format(value: dict[str, Any], where: str, expected: Format | None) -> Format:
    """The format of a row, by its fields; `expected` is the file's."""
    if expected is not None and _FITS[expected](value):
        return expected
    found = next((format for format, fits in _FITS.items() if fits(value)), None)
    if found is None:
        needed = FIELDS[expected] if expected else ", ".join(FIELDS.values())
        raise UserError(f"{where}: fields {_short(sorted(value))} fit no format; give {needed}")
    if expected is not None:
        raise UserError(
            f"{where}: has {FIELDS[found]}, but the file is of {FIELDS[expected]}; keep to one format"
        )
    return found


_FITS: dict[Format, Callable[[dict[str, Any]], bool]] = {
    "messages": lambda value: "messages" in value or "conversations" in value,
    "prompt_completion": lambda value: "prompt" in value and ("completion" in value or "response" in value),
    "alpaca": lambda value: "instruction" in value and ("output" in value or "response" in value),
}


def _messages(value: dict[str, Any], where: str) -> list[Turn]:
    name = "messages" if "messages" in value else "conversations"
    messages = value.get(name)
    if isinstance(messages, str):
        raise UserError(
            f"{where}: `{name}` is text, not a list; csv has no lists, so use JSON lines or parquet"
        )
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{where}: {FIELDS['messages']} must be a list of objects with `role` and `content`")
    turns = []
    for number, message in enumerate(messages, start=1):
        at = f"{where}, message {number}"
        if not isinstance(message, dict):
            raise UserError(f"{at}: expected an object with `role` and `content`")
        role = message["role"] if message.get("role") is not None else message.get("from")
        if not isinstance(role, str) or role not in ROLES:
            raise UserError(f"{at}: role {_short(role)} is unknown; use one of {', '.join(ROLES)}")
        turns.append(_turn(cast(Role, ROLES[role]), _text(message, "content", at, "value")))
    if isinstance(value.get("system"), str) and value["system"].strip() and turns[0].role != "system":
        turns.insert(0, _turn("system", value["system"]))  # as ShareGPT's rows may say it
    return turns


def _prompt_completion(value: dict[str, Any], where: str) -> list[Turn]:
    prompt, completion = _text(value, "prompt", where), _text(value, "completion", where, "response")
    return [_turn("user", prompt), _turn("assistant", completion)]


def _alpaca(value: dict[str, Any], where: str) -> list[Turn]:
    instruction, output = _text(value, "instruction", where), _text(value, "output", where, "response")
    extra = next(
        (_text(value, field, where) for field in ("input", "context") if value.get(field)), ""
    ).strip()
    instruction = f"{instruction.strip()}\n\n{extra}" if extra else instruction
    return [_turn("user", instruction), _turn("assistant", output)]


def _turn(role: Role, text: str) -> Turn:
    content = text.strip()
    return Turn(role, content) if content == text else Turn(role, content, text)


_TURNS = {"messages": _messages, "prompt_completion": _prompt_completion, "alpaca": _alpaca}


def _text(value: dict[str, Any], field: str, where: str, alias: str | None = None) -> str:
    if alias is not None and value.get(field) is None and alias in value:
        field = alias
    text = value.get(field)
    if not isinstance(text, str):
        found = (
            "is missing"
            if field not in value
            else "is null"
            if text is None
            else f"is {_kind(text)}, not text"
        )
        raise UserError(f"{where}: `{field}` {found}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise UserError(f"{where}: `{field}` has half a character ({half}, a lone surrogate)") from None
    return text


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"of type {type(value).__name__}"


def _check(turns: list[Turn], where: str, allow_empty_output: bool) -> None:
    if not any(turn.role == "assistant" for turn in turns):
        raise UserError(f"{where}: there is no assistant turn, so nothing to learn an output from")
    for number, turn in enumerate(turns, start=1):
        if not turn.content and not (turn.role == "assistant" and allow_empty_output):
            if turn.role != "assistant":
                raise UserError(
                    f"{where}, turn {number}: the {turn.role} turn is empty; remove the row or fill it"
                )
            raise UserError(
                f"{where}, turn {number}: the output is empty; remove the row or fill it, or let a model learn to "
                "stop at once by dataset.allow_empty_output=true"
            )
    if turns[-1].role != "assistant":
        raise UserError(
            f"{where}: the conversation ends on the {turns[-1].role}, which nothing answers; remove its last turn"
        )
