"""Chat templates: one Jinja text that training and generation both render.

A conversation's parts are found in its rendering, never by searching for role markers: the template is
rendered with a placeholder for each content, which tells where contents stand, and the contents are then
put in. The result must equal the plain rendering, or the template cannot be aligned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import TemplateError

from im_bench.config import UserError
from im_bench.data.conversations import Role, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT = Path(__file__).parent / "chat"
# Private-use characters: no text of a dataset or template has them.
OPEN, CLOSE = "\ue000", "\ue001"


class Part(IntEnum):
    """What a character, and so a token, belongs to."""

    TEMPLATE = 0
    SYSTEM = 1
    INSTRUCTION = 2
    OUTPUT = 3
    END = 4
    """The end of an assistant turn, which the model must learn to write."""


PART_OF_ROLE: dict[Role, Part] = {"system": Part.SYSTEM, "user": Part.INSTRUCTION, "assistant": Part.OUTPUT}


class Span(NamedTuple):
    text: str
    part: Part


def template_text(name: str) -> str:
    """The Jinja text of `tulu`, or of a file.

    Raises:
        UserError: when `name` is neither a template of ours nor a file.
    """
    known = {path.stem: path for path in CHAT.glob("*.jinja")}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise UserError(
            f"model.chat_template={name}: use {', '.join(sorted(known))}, own, or the path of a Jinja file"
        )
    return path.read_text(encoding="utf-8")


def template_sha256(name: str) -> str:
    """What of the template enters a key: its text, or the word `own` for the tokenizer's."""
    return name if name == "own" else hashlib.sha256(template_text(name).encode()).hexdigest()


def render(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], *, prompt: bool = False) -> str:
    """The text of a conversation; with `prompt`, up to where the assistant's next turn begins.

    Raises:
        UserError: when the template itself refuses the conversation.
    """
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except (TemplateError, ValueError) as error:
        raise UserError(
            f"model.chat_template: the template fails on roles {[t.role for t in turns]}: {error}"
        ) from error


def spans(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> list[Span]:
    """The rendering of a conversation, cut into parts; the texts concatenate to `render`'s.

    Raises:
        UserError: when a content does not stand in the rendering as it is, once and in order, or when
            an assistant turn is not followed by a token that ends it.
    """
    pieces = _skeleton(tokenizer, tuple(turn.role for turn in turns))
    cut = list(_interleave(tokenizer, pieces, turns))
    if "".join(span.text for span in cut) != render(tokenizer, turns):
        raise UserError(
            "model.chat_template: the template changes the content of a turn, so parts cannot be aligned"
        )
    return cut


def turn_end(tokenizer: PreTrainedTokenizerFast) -> str:
    """What the template writes after an output to end the turn.

    Raises:
        UserError: when no control token ends it.
    """
    return _end(tokenizer, _skeleton(tokenizer, ("user", "assistant"))[-1])


@lru_cache(maxsize=1024)
def _skeleton(tokenizer: PreTrainedTokenizerFast, roles: tuple[Role, ...]) -> tuple[str, ...]:
    """The template's own text before, between and after the contents of turns with these roles."""
    marks = [f"{OPEN}{number}{CLOSE}" for number in range(len(roles))]
    rest = render(tokenizer, [Turn(role, mark) for role, mark in zip(roles, marks, strict=True)])
    pieces = []
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise UserError(
                f"model.chat_template: a turn of roles {list(roles)} is left out, repeated or moved"
            )
        pieces.append(before)
    return (*pieces, rest)


def _interleave(
    tokenizer: PreTrainedTokenizerFast, pieces: Sequence[str], turns: Sequence[Turn]
) -> Iterator[Span]:
    yield Span(pieces[0], Part.TEMPLATE)
    for turn, piece in zip(turns, pieces[1:], strict=True):
        yield Span(turn.content, PART_OF_ROLE[turn.role])
        if turn.role == "assistant":
            end = _end(tokenizer, piece)
            yield Span(end, Part.END)
            piece = piece.removeprefix(end)
        yield Span(piece, Part.TEMPLATE)


def _end(tokenizer: PreTrainedTokenizerFast, piece: str) -> str:
    """The template's text after an output, up to and with the control token that ends the turn."""
    ends = [piece.find(token) + len(token) for token in tokenizer.all_special_tokens if token in piece]
    if not ends:
        raise UserError(
            "model.chat_template: no end token follows an assistant turn, so the model would never stop"
        )
    return piece[: min(ends)]
