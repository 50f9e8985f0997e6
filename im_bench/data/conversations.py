"""Conversations: one training example each, read from a file in any of three formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from im_bench.config import UserError
from im_bench.data.rows import numbered_rows

Role = Literal["system", "user", "assistant"]
ROLES = get_args(Role)
Format = Literal["messages", "prompt_completion", "alpaca"]


class Turn(NamedTuple):
    role: Role
    content: str
    """Without surrounding white space, as the paper's code trains it."""


class Conversation(NamedTuple):
    row: int
    """Line (or list index) in the file, from 0; it names the example whatever the subset."""
    turns: tuple[Turn, ...]


def read_conversations(path: Path, format: str, *, allow_empty_output: bool = False) -> list[Conversation]:
    """All conversations of a JSON-lines or JSON-list file.

    Args:
        path: the file; `.json` holds one list, anything else one object a line.
        format: `messages`, `prompt_completion`, `alpaca`, or `auto`: decided by the first row's fields.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    format = file_format(path, format)
    conversations = []
    for row, where, value in numbered_rows(path):
        turns = _TURNS[format](value, where)
        _check(turns, where, allow_empty_output)
        conversations.append(Conversation(row, tuple(turns)))
    return conversations


def file_format(path: Path, format: str) -> Format:
    """The format itself, or that of the file's first row where it is `auto`.

    Raises:
        UserError: naming the file and what is wrong with its first row.
    """
    if format != "auto":
        return cast(Format, format)
    _, where, value = next(numbered_rows(path))
    return _format(value, where)


def _format(value: dict[str, Any], where: str) -> Format:
    if "messages" in value:
        return "messages"
    if "prompt" in value and "completion" in value:
        return "prompt_completion"
    if "instruction" in value and "output" in value:
        return "alpaca"
    raise UserError(
        f"{where}: fields {sorted(value)} fit no format; give `messages`, `prompt` and `completion`, "
        "or `instruction` (`input`) and `output`"
    )


def _messages(value: dict[str, Any], where: str) -> list[Turn]:
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{where}: `messages` must be a list of objects with `role` and `content`")
    turns = []
    for number, message in enumerate(messages, start=1):
        at = f"{where}, message {number}"
        if not isinstance(message, dict):
            raise UserError(f"{at}: expected an object with `role` and `content`")
        role = message.get("role")
        if role not in ROLES:
            raise UserError(f"{at}: role {role!r} is unknown; use one of {', '.join(ROLES)}")
        turns.append(Turn(cast(Role, role), _text(message, "content", at)))
    return turns


def _prompt_completion(value: dict[str, Any], where: str) -> list[Turn]:
    return [Turn("user", _text(value, "prompt", where)), Turn("assistant", _text(value, "completion", where))]


def _alpaca(value: dict[str, Any], where: str) -> list[Turn]:
    instruction, output = _text(value, "instruction", where), _text(value, "output", where)
    extra = _text(value, "input", where) if value.get("input") else ""
    return [Turn("user", f"{instruction}\n\n{extra}" if extra else instruction), Turn("assistant", output)]


_TURNS = {"messages": _messages, "prompt_completion": _prompt_completion, "alpaca": _alpaca}


def _text(value: dict[str, Any], field: str, where: str) -> str:
    text = value.get(field)
    if not isinstance(text, str):
        found = "is missing" if field not in value else f"is {type(text).__name__}, not text"
        raise UserError(f"{where}: `{field}` {found}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise UserError(f"{where}: `{field}` has half a character ({half}, a lone surrogate)") from None
    return text.strip()


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
