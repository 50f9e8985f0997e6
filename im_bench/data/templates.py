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


CONTENTS = frozenset(PART_OF_ROLE.values())


class Span(NamedTuple):
    text: str
    part: Part
    turn: int
    """Index of the turn it belongs to: a role marker to the one it introduces, what closes a turn to that one."""
    stray: bool = False
    """Whether the published code's IT leaves this part of the template in its loss."""


CONTROLS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}
"""The control tokens of our templates besides the tokenizer's own end token."""


def with_template(tokenizer: PreTrainedTokenizerFast, name: str, where: str) -> PreTrainedTokenizerFast:
    """The tokenizer with the chat template of that name, and with the control tokens which that needs.

    Args:
        where: the tokenizer's place, for messages.

    Raises:
        UserError: when `own` is asked for and there is none, or the name is unknown.
    """
    if name != "own":
        tokenizer.chat_template = template_text(name)
        missing = [token for token in CONTROLS.get(name, ()) if token not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
    elif tokenizer.chat_template is None:
        raise UserError(
            f"model.chat_template=own: {where} has no chat template; use model.chat_template=tulu"
        )
    return tokenizer


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The strings that are control tokens where the template writes them, the longest first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True)


def template_text(name: str) -> str:
    """The Jinja text of `tulu`, `chatml`, `llama3` or `zephyr`, or of a file.

    Raises:
        UserError: when `name` is neither a template of ours nor a file.
    """
    known = {path.stem: path for path in CHAT.glob("*.jinja")}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise UserError(
            f"model.chat_template={name}: use {', '.join(sorted(known))}, own, or the path of a Jinja file"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"model.chat_template={name}: not UTF-8; save the file as UTF-8") from None


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
    except Exception as error:  # a template is a program, and fails as one
        raise UserError(
            f"model.chat_template: the template fails on roles {[turn.role for turn in turns]}: "
            f"{type(error).__name__}: {error}"
        ) from error


def spans(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], *, prompt: bool = False) -> list[Span]:
    """The rendering of a conversation, cut into parts; the texts concatenate to `render`'s.

    Args:
        prompt: render up to where the assistant's next turn begins.

    Raises:
        UserError: when a content does not stand in the rendering as it is, once and in order, or when
            an assistant turn is not followed by a token that ends it.
    """
    frame = _frame(tokenizer, tokenizer.chat_template, tuple(turn.role for turn in turns), prompt)
    cut = [span._replace(text=turns[span.turn].content) if span.part in CONTENTS else span for span in frame]
    if "".join(span.text for span in cut) != render(tokenizer, turns, prompt=prompt):
        raise UserError(
            "model.chat_template: the rendering is not the template's own text with the contents as they are "
            "(the template changes, measures or times one), so parts cannot be aligned"
        )
    return cut


def turn_end(tokenizer: PreTrainedTokenizerFast) -> str:
    """What the template writes after an output to end the turn.

    Raises:
        UserError: when no control token ends it.
    """
    frame = _frame(tokenizer, tokenizer.chat_template, ("user", "assistant"), False)
    return next(span.text for span in frame if span.part == Part.END)


@lru_cache(maxsize=1024)
def _frame(
    tokenizer: PreTrainedTokenizerFast, template: str, roles: tuple[Role, ...], prompt: bool
) -> tuple[Span, ...]:
    """The spans of turns with these roles, whatever their contents, which are left empty.

    Args:
        template: the tokenizer's, which may have had another one before.
    """
    marks = [f"{OPEN}{number}{CLOSE}" for number in range(len(roles))]
    turns = [Turn(role, mark) for role, mark in zip(roles, marks, strict=True)]
    before, *after = _between(render(tokenizer, turns, prompt=prompt), marks, roles)
    frame: list[Span] = []
    for number, (role, rest) in enumerate(zip(roles, after, strict=True)):
        frame += _introduction(before, roles, number)
        frame.append(Span("", PART_OF_ROLE[role], number))
        before = rest
        if role == "assistant":
            end = _end(tokenizer, rest)
            frame.append(Span(end, Part.END, number))
            before = rest.removeprefix(end)
    return (*frame, Span(before, Part.TEMPLATE, len(roles) - 1))


def _between(text: str, marks: Sequence[str], roles: Sequence[Role]) -> Iterator[str]:
    """The template's own text before, between and after the marks."""
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise UserError(
                f"model.chat_template: a turn of roles {list(roles)} is left out, repeated or moved"
            )
        yield before
    yield text


def _introduction(text: str, roles: Sequence[Role], number: int) -> Iterator[Span]:
    """The template's text before a turn.

    Of it the published code's IT (finetune.py, encode_with_messages_format) leaves in its loss the newline that
    closes an output, and the role marker of an assistant that answers nobody.
    """
    follows_output = number > 0 and roles[number - 1] == "assistant"
    answers_nobody = roles[number] == "assistant" and (number == 0 or follows_output)
    if answers_nobody:
        yield Span(text, Part.TEMPLATE, number, stray=True)
    elif follows_output and text.startswith("\n"):
        yield Span(text[:1], Part.TEMPLATE, number - 1, stray=True)
        yield Span(text[1:], Part.TEMPLATE, number)
    else:
        yield Span(text, Part.TEMPLATE, number)


def _end(tokenizer: PreTrainedTokenizerFast, piece: str) -> str:
    """The template's text after an output, up to and with the control token that ends the turn."""
    ends = [piece.find(token) + len(token) for token in control_tokens(tokenizer) if token in piece]
    if not ends:
        raise UserError(
            "model.chat_template: no end token follows an assistant turn, so the model would never stop"
        )
    return piece[: min(ends)]
